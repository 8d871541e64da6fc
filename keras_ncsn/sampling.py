"""What a trained model can do: generate, inpaint, score and denoise.

The functions take the model as an argument. `NCSNModel` has a method of the
same name for each, which describes the arguments.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_ncsn.annotations import Tensor
from keras_ncsn.checks import (
    check_at_least,
    check_count,
    check_images,
    check_known_mask,
    check_seed,
)
from keras_ncsn.conditions import NONE, Labels, shape_of
from keras_ncsn.guidance import Guide, guided, mixture, without_condition
from keras_ncsn.images import to_floats
from keras_ncsn.noise import expand_like
from keras_ncsn.samplers import Sampler
from keras_ncsn.samplers.batches import sample_in_batches
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.settings import chosen_sampler
from keras_ncsn.score_function import ScoreFunction, denoised
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
    sampler = chosen_sampler(
        sampler, settings, model.sampler, model.sampler_settings
    )
    score_fn = _guided(model, guidance, sampler)
    condition = choose_condition(model, labels, conditions, num_images, seed)
    samples = sample_in_batches(
        bind_rows(model, sampler, score_fn, condition),
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
    sampler = chosen_sampler(
        sampler, settings, model.sampler, model.sampler_settings
    )
    condition = choose_condition(model, labels, conditions, len(images))
    if condition is not None:
        condition = np.repeat(condition, num_samples, axis=0)
    images = to_floats(images, model.value_range)
    images = np.repeat(images, num_samples, axis=0)
    if len(known_mask) > 1:
        known_mask = np.repeat(known_mask, num_samples, axis=0)
    known = Known(model.to_sampled(images), known_mask)
    samples = sample_in_batches(
        bind_rows(model, sampler, model.score_function, condition, known=known),
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
    shape = shape_of(labels, "labels")
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return shape[0]
    shape = shape_of(conditions, "conditions")
    if len(shape) == 2:
        return shape[0]
    raise ValueError(
        "`num_images` must be given, unless there is a label or a condition "
        "for each image. Received: num_images=None"
    )


def _guided(model, guidance, sampler):
    """Returns the score function to generate with."""
    guide = model.guide
    if guidance is not None:
        check_at_least(1, guidance=guidance)
    if guidance == 1 or (guide is None and guidance is None):
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
    key = guide.network, guide.sigma_range, share, weight
    functions = model.guided_score_functions
    if key not in functions:
        worse = mixture(
            [_of_guide(model, guide), _unconditional(model)], [1 - share, share]
        )
        functions[key] = guided(model.score_function, worse, guide, weight)
    return functions[key]


def _of_guide(model, guide):
    """Returns the score of the guide's network."""

    def function(x, sigma, *condition):
        scale = expand_like(model.schedule.scale(sigma), x)
        inputs = [scale * x, sigma, *condition][: len(guide.network.inputs)]
        output = guide.network(inputs, training=False)
        return scale * model.output_to_score(output, sigma)

    return ScoreFunction(function, guide.variables)


def _unconditional(model):
    """Returns the score without a condition."""
    none = getattr(model.condition, "none_value", 0)
    return without_condition(model.score_function, none)


def bind_rows(
    model: Any,
    sampler: Sampler,
    score_fn: ScoreFunction,
    *arrays: np.ndarray | None,
    known: Known | None = None,
) -> Callable[..., Tensor]:
    """Returns `sampler.sample`, as `sample_in_batches` calls it.

    Args:
        model: An `NCSNModel`.
        sampler: A `Sampler`.
        score_fn: A `ScoreFunction`.
        *arrays: Arrays with a row for each image, which are bound to
            `score_fn`, such as conditions. `None` is left out.
        known: A `Known`. Defaults to `None`.

    Returns:
        A function, as `sampler` of `sample_in_batches`.
    """
    value_range = model.value_range
    if value_range is not None:
        value_range = tuple(model.to_sampled(np.array(value_range)))
    given = [array for array in arrays if array is not None]

    def run(noise, rows, on_progress):
        return sampler.sample(
            score_fn.bind(*(array[rows] for array in given)),
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
