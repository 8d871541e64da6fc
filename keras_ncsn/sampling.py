"""What a trained model can do: generate, inpaint, score and denoise.

The functions take the model as an argument. `NCSNModel` has a method of the
same name for each, which describes the arguments.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_ncsn import samplers
from keras_ncsn.annotations import Tensor
from keras_ncsn.checks import (
    check_at_least,
    check_count,
    check_images,
    check_known_mask,
    check_seed,
)
from keras_ncsn.images import to_floats
from keras_ncsn.noise import NoiseSchedule, expand_like
from keras_ncsn.samplers import Sampler
from keras_ncsn.samplers.batches import sample_in_batches
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.score_function import ScoreFunction, denoised
from keras_ncsn.text import one_line

# By the settings that a model keeps, which may be a stranger's. The paper's
# sampler has a thousand.
MAX_EVALUATIONS = 10**6


def generate(
    model: Any,
    num_images: int,
    seed: int | None,
    batch_size: int,
    sampler: Sampler | str | None,
    return_trajectory: bool,
    verbose: int | str,
    guidance: float | None,
    settings: dict[str, Any],
) -> np.ndarray:
    """Returns new images; see `NCSNModel.generate`."""
    check_count(num_images=num_images, batch_size=batch_size)
    sampler = choose_sampler(model, sampler, settings)
    score_fn = _guided(model, guidance, sampler)
    samples = sample_in_batches(
        _bind(model, sampler, score_fn),
        (num_images, *model.image_shape),
        check_seed(seed),
        batch_size,
        keep_frames=return_trajectory,
        verbose=verbose,
    )
    return model.from_sampled(samples)


def inpaint(
    model: Any,
    images: Any,
    known_mask: Any,
    num_samples: int,
    seed: int | None,
    batch_size: int,
    sampler: Sampler | str | None,
    verbose: int | str,
    settings: dict[str, Any],
) -> np.ndarray:
    """Returns completed images; see `NCSNModel.inpaint`."""
    check_count(num_samples=num_samples, batch_size=batch_size)
    images = np.asarray(images)
    single = images.ndim == len(model.image_shape)
    if single:
        images = images[None]
    check_images(images, model.image_shape, model.value_range)
    known_mask = check_known_mask(known_mask, images.shape)
    sampler = choose_sampler(model, sampler, settings)
    images = to_floats(images, model.value_range)
    images = np.repeat(images, num_samples, axis=0)
    if len(known_mask) > 1:
        known_mask = np.repeat(known_mask, num_samples, axis=0)
    samples = sample_in_batches(
        _bind(model, sampler, model.score_function),
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


def score(
    model: Any, noisy: Tensor, sigma: Tensor, batch_size: int
) -> np.ndarray:
    """Returns the score of noisy images; see `NCSNModel.score`."""
    noisy, sigma, scale = _check_noisy(model, noisy, sigma, batch_size)
    return _in_batches(model, _score, noisy / scale, sigma, batch_size) / scale


def denoise(
    model: Any, noisy: Tensor, sigma: Tensor, batch_size: int
) -> np.ndarray:
    """Returns the mean of the clean images; see `NCSNModel.denoise`."""
    noisy, sigma, scale = _check_noisy(model, noisy, sigma, batch_size)
    clean = _in_batches(model, denoised, noisy / scale, sigma, batch_size)
    return model.from_sampled(clean, clip=False)


def _guided(model, guidance, sampler):
    """Returns the score function to generate with."""
    if model.guide is None:
        if guidance is not None:
            raise ValueError(
                "`guidance` needs a model with a guide. Received: "
                f"guidance={guidance}, guide=None. Pass `guide` to the model."
            )
        return model.score_function
    if guidance is None:
        # The weight was chosen for the model's own sampler. Others, such as the
        # paper's, run as published.
        usual = sampler.name == model.sampler
        guidance = model.guide.weight if usual else 1
    check_at_least(1, guidance=guidance)
    if guidance == 1:
        return model.score_function
    return guided_score_function(model, float(guidance))


def score_function(model: Any) -> ScoreFunction:
    """Returns the score of image + sigma * z, on which samplers work.

    With a variance preserving schedule the network takes this sum multiplied
    by a. The two scores differ by the factor a.

    Args:
        model: An `NCSNModel`.

    Returns:
        A `ScoreFunction`.
    """

    def function(x, sigma):
        scale = expand_like(model.schedule.scale(sigma), x)
        return scale * model([scale * x, sigma], training=False)

    return ScoreFunction(function, model.sampling_network.variables)


def guided_score_function(model: Any, weight: float) -> ScoreFunction:
    """Returns the guided score, which moves away from the guide's score.

    Args:
        model: An `NCSNModel` with a guide.
        weight: Float, as in `Guide`.

    Returns:
        A `ScoreFunction`. Equal guide, range and weight give the same object,
        so that it is compiled only once.
    """
    guide = model.guide

    def function(x, sigma):
        scale = expand_like(model.schedule.scale(sigma), x)
        inputs = [scale * x, sigma]
        score = model(inputs, training=False)
        worse = guide.network(inputs, training=False)
        worse = model.output_to_score(worse, sigma)
        return scale * guide.extrapolate(score, worse, sigma, weight)

    variables = model.sampling_network.variables + guide.variables
    return model.guided_score_functions.setdefault(
        (guide, guide.sigma_range, weight), ScoreFunction(function, variables)
    )


def checked_samplers(
    sampler: Sampler | str,
    sampler_settings: dict[str, dict[str, Any]] | None,
    schedule: NoiseSchedule,
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Returns a model's samplers as plain values, as presets store them.

    Args:
        sampler: The default sampler, a `Sampler` or its name.
        sampler_settings: Dictionary from names of samplers to settings, or
            `None`.
        schedule: A `NoiseSchedule`.

    Returns:
        The name of the default sampler, and the dictionary of settings. Raises
        a `ValueError` for invalid ones.
    """
    settings = dict(sampler_settings or {})
    if isinstance(sampler, Sampler):
        settings[sampler.name] = sampler.settings()
        sampler = sampler.name
    for name, of_sampler in settings.items():
        if not isinstance(of_sampler, Mapping):
            raise ValueError(
                "`sampler_settings` must map names of samplers to dictionaries "
                f"of settings. Received: {name}={one_line(repr(of_sampler))}"
            )
    default = samplers.make(sampler, settings.get(str(sampler)))
    for name in settings:
        _check_duration(samplers.make(name, settings[name]), schedule)
    _check_duration(default, schedule)
    sigma = getattr(default, "sigma", None)
    if sigma is not None:
        schedule.check_sigma(sigma)
    return sampler, settings


def _check_duration(sampler, schedule):
    count = sampler.num_evaluations(schedule)
    if count > MAX_EVALUATIONS:
        raise ValueError(
            "The sampler of a model must evaluate the network at most "
            f"{MAX_EVALUATIONS:,} times, because `generate` would take days. "
            f"Received: {count:,} evaluations by {sampler}, with "
            f"{schedule.num_levels:,} noise levels. Pass so many steps to "
            "`generate`, if you want them."
        )


def choose_sampler(
    model: Any,
    sampler: Sampler | str | None = None,
    settings: dict[str, Any] | None = None,
) -> Sampler:
    """Returns the sampler that the arguments of `generate` describe.

    Args:
        model: An `NCSNModel`.
        sampler: A `Sampler`, which is used unchanged; or a name, which is used
            with the model's settings of that sampler. Defaults to `None`, the
            model's own sampler.
        settings: Dictionary of settings that override the model's. Defaults
            to `None`.

    Returns:
        A `Sampler`.
    """
    if isinstance(sampler, Sampler):
        if settings:
            raise ValueError(
                "The settings of a `Sampler` must be its own. Received: "
                f"{settings} and {sampler}. Put them into the sampler, or pass "
                f"sampler={sampler.name!r}."
            )
        return sampler
    name = model.sampler if sampler is None else sampler
    known = model.sampler_settings.get(str(name), {})
    return samplers.make(name, known | (settings or {}))


def _bind(model, sampler, score_fn):
    """Returns `sampler.sample`, as `sample_in_batches` calls it."""
    value_range = model.value_range
    if value_range is not None:
        value_range = tuple(model.to_sampled(np.array(value_range)))

    def run(noise, known, on_progress):
        return sampler.sample(
            score_fn, model.schedule, noise, known, on_progress, value_range
        )

    return run


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
    scale = expand_like(model.schedule.scale(sigma), noisy)
    return noisy, sigma, ops.convert_to_numpy(scale)


def _in_batches(model, function, x, sigma, batch_size):
    results = []
    for first in range(0, len(x), batch_size):
        rows = slice(first, first + batch_size)
        result = model.score_function.run(function, x[rows], sigma[rows])
        results.append(ops.convert_to_numpy(result))
    return np.concatenate(results)


def _score(score_fn, x, sigma):
    return score_fn(x, sigma)
