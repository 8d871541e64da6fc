"""What a trained model is for: images, completions, scores.

The functions take the model as an argument; `NCSNModel` has a method of the
same name for each, where the arguments are described.
"""

import numpy as np
from keras import ops

from keras_ncsn import samplers
from keras_ncsn.checks import (
    check_at_least,
    check_choice,
    check_count,
    check_images,
    check_known_mask,
    check_seed,
)
from keras_ncsn.images import to_floats
from keras_ncsn.samplers.batches import sample_in_batches
from keras_ncsn.samplers.heun import check_heun
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.langevin import (
    check_annealed_langevin,
    check_langevin,
)

SAMPLERS = {
    "annealed_langevin": samplers.annealed_langevin,
    "langevin": samplers.langevin,
    "heun": samplers.heun,
}

# What refuses their settings.
CHECKS = {
    "annealed_langevin": check_annealed_langevin,
    "langevin": check_langevin,
    "heun": check_heun,
}


def generate(
    model,
    num_images,
    seed,
    batch_size,
    sampler,
    return_trajectory,
    verbose,
    guidance,
    settings,
):
    """Returns new images; see `NCSNModel.generate`."""
    check_count(num_images=num_images, batch_size=batch_size)
    score_fn = _guided(model, guidance, sampler)
    samples = sample_in_batches(
        configure_sampler(model, sampler, settings, score_fn),
        (num_images, *model.image_shape),
        check_seed(seed),
        batch_size,
        keep_frames=return_trajectory,
        verbose=verbose,
    )
    return model.from_sampled(samples)


def inpaint(
    model,
    images,
    known_mask,
    num_samples,
    seed,
    batch_size,
    sampler,
    verbose,
    settings,
):
    """Returns completed images; see `NCSNModel.inpaint`."""
    check_count(num_samples=num_samples, batch_size=batch_size)
    images = np.asarray(images)
    single = images.ndim == len(model.image_shape)
    if single:
        images = images[None]
    check_images(images, model.image_shape, model.value_range)
    known_mask = check_known_mask(known_mask, images.shape)
    run = configure_sampler(model, sampler, settings)
    images = to_floats(images, model.value_range)
    images = np.repeat(images, num_samples, axis=0)
    if len(known_mask) > 1:
        known_mask = np.repeat(known_mask, num_samples, axis=0)
    samples = sample_in_batches(
        run,
        images.shape,
        check_seed(seed),
        batch_size,
        known=Known(model.to_sampled(images), known_mask),
        verbose=verbose,
    )
    filled = np.where(known_mask, images, model.from_sampled(samples))
    if num_samples > 1:
        filled = filled.reshape(-1, num_samples, *model.image_shape)
    return filled[0] if single else filled


def score(model, noisy, sigma, batch_size):
    """Returns the score of noisy images; see `NCSNModel.score`."""
    noisy, sigma, scale = _check_noisy(model, noisy, sigma, batch_size)
    return _in_batches(model, _score, noisy / scale, sigma, batch_size) / scale


def denoise(model, noisy, sigma, batch_size):
    """Returns the mean of the clean images; see `NCSNModel.denoise`."""
    noisy, sigma, scale = _check_noisy(model, noisy, sigma, batch_size)
    clean = _in_batches(model, _denoise, noisy / scale, sigma, batch_size)
    return model.from_sampled(clean, clip=False)


def _guided(model, guidance, sampler):
    """Returns the score to generate by."""
    if model.guide is None:
        if guidance is not None:
            raise ValueError(
                "`guidance` can be chosen for a model with a guide. Received: "
                f"guidance={guidance}"
            )
        return model.score_function
    if guidance is None:
        # Its weight was chosen for the model's sampler; others, such as the
        # paper's, are as published.
        usual = sampler in (None, model.sampler)
        guidance = model.guide.weight if usual else 1
    check_at_least(1, guidance=guidance)
    if guidance == 1:
        return model.score_function
    return model.guided_score_function(float(guidance))


def configure_sampler(model, name, settings, score_fn=None):
    """Returns the sampler of a name, with all but its noise settled.

    Args:
        model: An `NCSNModel`.
        name: String, or `None` for the model's default.
        settings: Dictionary of settings that override the model's.
        score_fn: A `ScoreFunction`. Defaults to `None`, the model's own.

    Returns:
        A function of a `NoiseStream`, a `Known` or `None`, and a function
        that is told of progress, that returns a batch.
    """
    name = model.sampler if name is None else name
    check_sampler(name, settings)
    settings = model.sampler_settings.get(name, {}) | settings
    value_range = model.value_range
    if value_range is not None:
        value_range = tuple(model.to_sampled(np.array(value_range)))

    def run(noise, known, on_progress):
        return SAMPLERS[name](
            score_fn or model.score_function,
            model.schedule,
            noise,
            known,
            on_progress,
            value_range,
            **settings,
        )

    return run


def check_sampler(name, settings):
    """Raises a `ValueError` for an unknown sampler or setting, or a bad value.

    Args:
        name: String.
        settings: Dictionary from names of settings to values.
    """
    check_choice("sampler", name, SAMPLERS)
    known = SAMPLERS[name].__kwdefaults__
    for setting in settings:
        if setting not in known:
            raise ValueError(
                f"The sampler {name} has the settings {', '.join(known)}. "
                f"Received: {setting}={settings[setting]!r}"
            )
    CHECKS[name](**(known | settings))


def _check_noisy(model, noisy, sigma, batch_size):
    check_count(batch_size=batch_size)
    noisy = np.asarray(ops.convert_to_numpy(noisy), "float32")
    check_images(noisy, model.image_shape, value_range=None, name="noisy")
    sigma = np.asarray(ops.convert_to_numpy(sigma), "float32")
    if sigma.ndim > 1 or (sigma.ndim == 1 and len(sigma) != len(noisy)):
        raise ValueError(
            "`sigma` must be one noise level, or one for each image. "
            f"Received: sigma.shape={sigma.shape}, noisy.shape={noisy.shape}"
        )
    model.schedule.check_sigma(sigma)
    sigma = np.broadcast_to(sigma, len(noisy)).copy()
    scale = ops.convert_to_numpy(model.schedule.scale(sigma))
    return noisy, sigma, scale.reshape(-1, *(1,) * len(model.image_shape))


def _in_batches(model, function, x, sigma, batch_size):
    results = []
    for first in range(0, len(x), batch_size):
        rows = slice(first, first + batch_size)
        result = model.score_function.run(function, x[rows], sigma[rows])
        results.append(ops.convert_to_numpy(result))
    return np.concatenate(results)


def _score(score_fn, x, sigma):
    return score_fn(x, sigma)


def _denoise(score_fn, x, sigma):
    variance = ops.square(sigma)
    axes = tuple(range(1, len(x.shape)))
    return x + ops.expand_dims(variance, axes) * score_fn(x, sigma)
