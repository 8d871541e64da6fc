"""How well images fit a model: likelihood and typicality.

The functions take the model as an argument, as those of `sampling` do.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_ncsn.checks import (
    check_choice,
    check_count,
    check_images,
    check_seed,
)
from keras_ncsn.likelihood import log_density, unit_probes
from keras_ncsn.noise import geometric_sigmas
from keras_ncsn.samplers.batches import sample_in_batches
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import MAX_STEPS
from keras_ncsn.sampling import choose_condition
from keras_ncsn.score_function import ScoreFunction
from keras_ncsn.typicality import Reference, score_norm

GREY_LEVELS = 256
# Of the norms of the score, as in the paper.
NUM_LEVELS = 10
# Of the flow, where the likelihood is a feature.
NUM_STEPS = 40
NUM_FEATURES = {"score_norms": NUM_LEVELS, "likelihood": 1}


def log_likelihood(
    model: Any,
    images: Any,
    num_probes: int,
    seed: int | None,
    num_steps: int,
    return_error: bool,
    labels: Any,
    batch_size: int,
    verbose: int | str,
    conditions: Any,
) -> Any:
    """Returns log-likelihoods in nats; see `NCSNModel.log_likelihood`."""
    check_count(num_probes=num_probes)
    check_count(most=MAX_STEPS, num_steps=num_steps)
    size = math.prod(model.image_shape)
    exact = num_probes >= size
    if return_error and num_probes < 2 and not exact:
        raise ValueError(
            "`num_probes` must be at least 2 to tell the standard error. "
            f"Received: num_probes={num_probes}, return_error={return_error}"
        )
    schedule = model.schedule
    middle, stretch = _frame(model)

    def estimate(score_fn, x, noise, on_step):
        if exact:
            probes = unit_probes(noise.shape)
        else:
            positive = noise.normal(num_probes) >= 0
            probes = np.where(positive, np.float32(1), np.float32(-1))
        ends = schedule.sigma_max, schedule.sigma_min
        return log_density(
            score_fn, x, *ends, probes, num_steps, middle, on_step
        ).T

    estimates = _in_batches(
        model, images, estimate, seed, labels, batch_size, verbose, conditions
    )
    values = estimates.mean(axis=1) + size * math.log(stretch)
    if not return_error:
        return values
    if exact:
        return values, np.zeros_like(values)
    return values, estimates.std(axis=1, ddof=1) / math.sqrt(num_probes)


def bits_per_dimension(model: Any, images: Any, *arguments: Any) -> Any:
    """Returns bits per dimension; see `NCSNModel.bits_per_dimension`."""
    result = log_likelihood(model, images, *arguments)
    to_bits = 1.0 / (math.prod(model.image_shape) * math.log(2.0))
    grey_level = 1.0
    if model.value_range is not None:
        low, high = model.value_range
        grey_level = (high - low) / GREY_LEVELS
    if isinstance(result, tuple):
        values, errors = result
        return -to_bits * values - math.log2(grey_level), to_bits * errors
    return -to_bits * result - math.log2(grey_level)


def typicality_reference(
    model: Any, images: Any, method: str, *arguments: Any
) -> Reference:
    """Returns what is typical; see `NCSNModel.typicality_reference`."""
    check_choice("method", method, NUM_FEATURES)
    images = _checked(model, images)
    least = NUM_FEATURES[method] + 2
    if len(images) < least:
        raise ValueError(
            f"`images` must be at least {least} images, to tell what is "
            f"typical by `{method}`. Received: {len(images)}"
        )
    return Reference.of(method, _features(model, images, method, *arguments))


def typicality(
    model: Any, images: Any, reference: Reference, *arguments: Any
) -> np.ndarray:
    """Returns how typical images are; see `NCSNModel.typicality`."""
    if not isinstance(reference, Reference):
        raise ValueError(
            "`reference` must be what `typicality_reference` returns for "
            f"typical images. Received: a {type(reference).__name__}"
        )
    features = _features(model, images, reference.method, *arguments)
    return reference.typicality(features)


def _features(
    model, images, method, seed, labels, batch_size, verbose, conditions
):
    """Returns the features of images, of shape `(batch, num_features)`."""
    rest = labels, batch_size, verbose, conditions
    if method == "likelihood":
        values = log_likelihood(model, images, 1, seed, NUM_STEPS, False, *rest)
        return values[:, None]
    ends = model.schedule.sigma_max, model.schedule.sigma_min
    sigmas = geometric_sigmas(*ends, NUM_LEVELS).tolist()

    def norms(score_fn, x, noise, on_step):
        columns = []
        for sigma in sigmas:
            norm = score_fn.run(score_norm, x, sigma)
            columns.append(ops.convert_to_numpy(norm).astype("float64"))
            on_step(len(columns), len(sigmas))
        return np.stack(columns, axis=1)

    return _in_batches(model, images, norms, seed, *rest)


def _in_batches(
    model: Any,
    images: Any,
    function: Callable[..., np.ndarray],
    seed: int | None,
    labels: Any,
    batch_size: int,
    verbose: int | str,
    conditions: Any,
) -> np.ndarray:
    """Returns what `function` gives for images, batch by batch.

    Its arguments are a `ScoreFunction`, images as the score function takes
    them, a `NoiseStream` and a function that it calls with the number of steps
    done and their total.
    """
    check_count(batch_size=batch_size)
    seed = check_seed(seed)
    images = _checked(model, images)
    condition = choose_condition(model, labels, conditions, len(images))

    def run(noise, rows, on_progress):
        x = model.to_sampled(_floats(images[rows], noise, model.value_range))
        score_fn: ScoreFunction = model.score_function
        if condition is not None:
            score_fn = score_fn.bind(condition[rows])
        return function(
            score_fn,
            x.astype("float32"),
            noise,
            lambda done, total: on_progress(x, done, total),
        )

    return sample_in_batches(
        run, images.shape, seed, batch_size, verbose=verbose, desc="Evaluating"
    )


def _checked(model, images):
    if hasattr(images, "shape"):
        images = ops.convert_to_numpy(images)
    images = np.asarray(images)
    check_images(images, model.image_shape, model.value_range)
    return images


def _floats(
    images: np.ndarray, noise: NoiseStream, value_range: Any
) -> np.ndarray:
    """Returns float32 images: uint8 is dequantised, as in training."""
    if images.dtype != np.uint8 or value_range is None:
        return images.astype("float32")
    low, high = map(np.float32, value_range)
    share = (images + noise.uniform()) / np.float32(GREY_LEVELS)
    return low + (high - low) * share


def _frame(model):
    """Returns the middle of the range in which noise is added, and its scale.

    The scale is that of the map from the images to this range.
    """
    if model.value_range is None:
        return 0.0, 1.0
    ends = np.array(model.value_range, "float64")
    low, high = model.to_sampled(ends)
    return (low + high) / 2.0, (high - low) / (ends[1] - ends[0])
