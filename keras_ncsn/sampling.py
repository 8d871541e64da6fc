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
from keras_ncsn.conditions import NONE, Labels
from keras_ncsn.guidance import Guide
from keras_ncsn.images import to_floats
from keras_ncsn.noise import NoiseSchedule, expand_like
from keras_ncsn.samplers import Sampler
from keras_ncsn.samplers.batches import sample_in_batches
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.sampler import check_duration
from keras_ncsn.samplers.score_function import ScoreFunction, denoised
from keras_ncsn.text import one_line


def generate(
    model: Any,
    num_images: int | None,
    seed: int | None,
    batch_size: int,
    sampler: Sampler | str | None,
    return_trajectory: bool,
    verbose: int | str,
    guidance: float | None,
    labels: Any,
    conditions: Any,
    settings: dict[str, Any],
) -> np.ndarray:
    """Returns new images; see `NCSNModel.generate`."""
    num_images = _num_images(num_images, labels, conditions)
    check_count(num_images=num_images, batch_size=batch_size)
    seed = check_seed(seed)
    sampler = choose_sampler(model, sampler, settings)
    score_fn = _guided(model, guidance, sampler)
    condition = choose_condition(model, labels, conditions, num_images, seed)
    samples = sample_in_batches(
        _bind(model, sampler, score_fn, condition),
        (num_images, *model.image_shape),
        seed,
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
    labels: Any,
    conditions: Any,
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
    condition = choose_condition(model, labels, conditions, len(images))
    if condition is not None:
        condition = np.repeat(condition, num_samples, axis=0)
    images = to_floats(images, model.value_range)
    images = np.repeat(images, num_samples, axis=0)
    if len(known_mask) > 1:
        known_mask = np.repeat(known_mask, num_samples, axis=0)
    known = Known(model.to_sampled(images), known_mask)
    samples = sample_in_batches(
        _bind(model, sampler, model.score_function, condition, known),
        images.shape,
        check_seed(seed),
        batch_size,
        verbose=verbose,
    )
    filled = np.where(known_mask, images, model.from_sampled(samples))
    if num_samples > 1:
        filled = filled.reshape(-1, num_samples, *model.image_shape)
    return filled[0] if single else filled


def score(
    model: Any,
    noisy: Tensor,
    sigma: Tensor,
    batch_size: int,
    labels: Any,
    conditions: Any,
) -> np.ndarray:
    """Returns the score of noisy images; see `NCSNModel.score`."""
    noisy, sigma, scale = _check_noisy(model, noisy, sigma, batch_size)
    condition = choose_condition(model, labels, conditions, len(noisy))
    arrays = noisy / scale, sigma, condition
    return _in_batches(model, _score, *arrays, batch_size) / scale


def denoise(
    model: Any,
    noisy: Tensor,
    sigma: Tensor,
    batch_size: int,
    labels: Any,
    conditions: Any,
) -> np.ndarray:
    """Returns the mean of the clean images; see `NCSNModel.denoise`."""
    noisy, sigma, scale = _check_noisy(model, noisy, sigma, batch_size)
    condition = choose_condition(model, labels, conditions, len(noisy))
    arrays = noisy / scale, sigma, condition
    clean = _in_batches(model, denoised, *arrays, batch_size)
    return model.from_sampled(clean, clip=False)


def choose_condition(
    model: Any,
    labels: Any,
    conditions: Any,
    num_images: int,
    seed: int | None = None,
) -> np.ndarray | None:
    """Returns the condition of each image, from the arguments of a method.

    Args:
        model: An `NCSNModel`.
        labels: As in `NCSNModel.generate`.
        conditions: As in `NCSNModel.generate`.
        num_images: Integer.
        seed: Integer, the seed of random labels, if no labels are given.
            Defaults to `None`: without labels, images have no condition.

    Returns:
        An int32 array of shape `(num_images,)`, a float32 array of shape
        `(num_images, size)`, or `None` for a model without a condition.
    """
    condition = model.condition
    given = {"labels": labels, "conditions": conditions}
    for name, value in given.items():
        if value is not None and name != getattr(condition, "argument", None):
            raise ValueError(
                f"`{name}` needs a network that takes them. Received: "
                f"{name}={one_line(repr(value), 50)} for a model that takes "
                f"{condition.argument if condition else 'no condition'}"
            )
    if condition is None:
        return None
    value = given[condition.argument]
    if hasattr(value, "shape"):
        value = ops.convert_to_numpy(value)
    if value is None:
        if seed is not None and isinstance(condition, Labels):
            return condition.drawn(seed, num_images)
        value = NONE
    chosen = condition.chosen(value, num_images)
    if not model.has_unconditional and condition.is_none(chosen).any():
        raise ValueError(
            f"`{condition.argument}` must be given for each image, because "
            "this model has not learned the score without a condition "
            f"(condition_dropout=0). Received: {condition.argument}="
            f"{one_line(repr(value), 50)}"
        )
    return chosen


def _num_images(num_images, labels, conditions):
    """Returns the number of images that `generate` must draw."""
    if num_images is not None:
        return num_images
    if np.ndim(labels) == 1:
        return len(labels)
    if np.ndim(conditions) == 2:
        return len(conditions)
    raise ValueError(
        "`num_images` must be given, unless there is a label or a condition "
        "for each image. Received: num_images=None"
    )


def _guided(model, guidance, sampler):
    """Returns the score function to generate with."""
    guide = model.guide
    if guide is None and guidance is None:
        return model.score_function
    if guide is None:
        if not model.has_unconditional:
            raise ValueError(
                "`guidance` needs a model with a guide, or one with a "
                "condition that was trained with `condition_dropout`. "
                f"Received: guidance={guidance}, guide=None. Pass `guide` to "
                "the model."
            )
        guide = Guide()
    if guidance is None:
        # The weight was chosen for the model's own sampler. Others, such as the
        # paper's, run as published, without guidance.
        usual = sampler.name == model.sampler
        guidance = guide.weight if usual else 1
    check_at_least(1, guidance=guidance)
    if guidance == 1:
        return model.score_function
    return guided_score_function(model, guide, float(guidance))


def score_function(model: Any) -> ScoreFunction:
    """Returns the score of image + sigma * z, on which samplers work.

    With a variance preserving schedule the network takes this sum multiplied
    by a. The two scores differ by the factor a.

    Args:
        model: An `NCSNModel`.

    Returns:
        A `ScoreFunction`.
    """

    def function(x, sigma, *condition):
        scale = expand_like(model.schedule.scale(sigma), x)
        return scale * model([scale * x, sigma, *condition], training=False)

    return ScoreFunction(function, model.sampling_network.variables)


def guided_score_function(
    model: Any, guide: Guide, weight: float
) -> ScoreFunction:
    """Returns the guided score, which moves away from a worse score.

    Args:
        model: An `NCSNModel`.
        guide: A `Guide`, the model's own or one that fits it.
        weight: Float, as in `Guide`.

    Returns:
        A `ScoreFunction`. Equal guide, range and weight give the same object,
        so that it is compiled only once.
    """
    share = guide.unconditional_share

    def function(x, sigma, *condition):
        scale = expand_like(model.schedule.scale(sigma), x)
        inputs = [scale * x, sigma, *condition]
        score = model(inputs, training=False)
        worse = 0.0
        if share < 1:
            known = inputs[: len(guide.network.inputs)]
            output = guide.network(known, training=False)
            worse += (1 - share) * model.output_to_score(output, sigma)
        if share > 0:
            none = ops.full_like(condition[0], model.condition.none_value)
            inputs = [scale * x, sigma, none]
            worse += share * model(inputs, training=False)
        return scale * guide.extrapolate(score, worse, sigma, weight)

    variables = model.sampling_network.variables + guide.variables
    key = guide.network, guide.sigma_range, share, weight
    return model.guided_score_functions.setdefault(
        key, ScoreFunction(function, variables)
    )


def checked_samplers(
    sampler: Sampler | str,
    sampler_settings: dict[str, dict[str, Any]] | None,
    schedule: NoiseSchedule,
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Returns a model's sampler settings as plain values, for presets.

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
        check_duration(samplers.make(name, settings[name]), schedule)
    check_duration(default, schedule)
    sigma = getattr(default, "sigma", None)
    if sigma is not None:
        schedule.check_sigma(sigma)
    return sampler, settings


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
                "A `Sampler` must be passed without other settings. Received: "
                f"{settings} and {sampler}. Put them into the sampler, or pass "
                f"sampler={sampler.name!r}."
            )
        return sampler
    name = model.sampler if sampler is None else sampler
    known = model.sampler_settings.get(str(name), {})
    return samplers.make(name, known | (settings or {}))


def _bind(model, sampler, score_fn, condition, known=None):
    """Returns `sampler.sample`, as `sample_in_batches` calls it."""
    value_range = model.value_range
    if value_range is not None:
        value_range = tuple(model.to_sampled(np.array(value_range)))

    def run(noise, rows, on_progress):
        bound = score_fn
        if condition is not None:
            bound = score_fn.bind(condition[rows])
        return sampler.sample(
            bound,
            model.schedule,
            noise,
            known and known.of_rows(rows),
            on_progress,
            value_range,
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


def _in_batches(model, function, x, sigma, condition, batch_size):
    results = []
    for first in range(0, len(x), batch_size):
        rows = slice(first, first + batch_size)
        score_fn = model.score_function
        if condition is not None:
            score_fn = score_fn.bind(condition[rows])
        result = score_fn.run(function, x[rows], sigma[rows])
        results.append(ops.convert_to_numpy(result))
    return np.concatenate(results)


def _score(score_fn, x, sigma):
    return score_fn(x, sigma)
