"""Posterior sampling with a model: images that explain measurements.

`solve` takes the model as an argument, as the functions of `sampling` do.
"""

from typing import Any

import numpy as np
from keras import ops

from keras_ncsn.checks import check_at_least, check_count, check_seed
from keras_ncsn.images import to_floats
from keras_ncsn.posterior import Method, chosen_method
from keras_ncsn.posterior.linearity import measurement_shape
from keras_ncsn.posterior.operators import LinearOperator
from keras_ncsn.samplers import Sampler
from keras_ncsn.samplers.batches import sample_in_batches
from keras_ncsn.samplers.settings import chosen_sampler
from keras_ncsn.sampling import bind_rows, choose_condition
from keras_ncsn.score_function import ScoreFunction

# Each keeps its compiled functions.
MOST_KEPT = 8


def solve(
    model: Any,
    measurements: Any,
    operator: LinearOperator,
    noise_std: float,
    num_samples: int,
    seed: int | None,
    method: Method | str | None,
    sampler: Sampler | str | None,
    labels: Any,
    batch_size: int,
    verbose: int | str,
    conditions: Any,
    settings: dict[str, Any],
) -> np.ndarray:
    """Returns images that explain measurements; see `NCSNModel.solve`."""
    check_count(num_samples=num_samples, batch_size=batch_size)
    check_at_least(0, noise_std=noise_std)
    seed = check_seed(seed)
    method = chosen_method(method)
    sampler = chosen_sampler(
        sampler, settings, model.sampler, model.sampler_settings
    )
    score_fn, shape = _posterior(model, method, operator)
    measurements, single = _checked(
        measurements, operator, shape, model.value_range
    )
    condition = choose_condition(model, labels, conditions, len(measurements))
    # Samplers work on images mapped to another range: images = scale * sampled
    # + offset.
    ends = np.stack([np.full(model.image_shape, x, "float32") for x in (0, 1)])
    offset, one = model.from_sampled(ends, clip=False)
    scale = float((one - offset).flat[0])
    of_offset = ops.convert_to_numpy(operator(offset[None]))
    rows = (measurements - of_offset) / np.float32(scale), condition
    arrays = [
        None if array is None else np.repeat(array, num_samples, axis=0)
        for array in rows
    ]
    samples = sample_in_batches(
        bind_rows(model, sampler, score_fn.bind(noise_std / scale), *arrays),
        (len(measurements) * num_samples, *model.image_shape),
        seed,
        batch_size,
        verbose=verbose,
    )
    images = model.from_sampled(samples)
    if num_samples > 1:
        images = images.reshape(-1, num_samples, *model.image_shape)
    return images[0] if single else images


def _posterior(
    model: Any, method: Method, operator: LinearOperator
) -> tuple[ScoreFunction, tuple[int, ...]]:
    """Returns the posterior score, and the shape of measurements."""
    functions = model.posterior_score_functions
    key = method, operator
    if not isinstance(operator, LinearOperator) or key not in functions:
        shape = measurement_shape(operator, model.image_shape)
        while len(functions) >= MOST_KEPT:
            del functions[next(iter(functions))]
        score_fn = method.posterior(model.score_function, operator)
        functions[key] = score_fn, shape
    # The last used is the last to be dropped.
    functions[key] = functions.pop(key)
    return functions[key]


def _checked(measurements, operator, shape, value_range):
    """Returns a batch of measurements, and whether they were one image's."""
    if hasattr(measurements, "shape"):
        measurements = ops.convert_to_numpy(measurements)
    measurements = np.asarray(measurements)
    received = measurements.shape
    if measurements.dtype.kind == "c":
        parts = measurements.real, measurements.imag
        measurements = np.stack(parts, axis=-1)
    if measurements.dtype.kind not in "fiub":
        raise ValueError(
            "`measurements` must be numbers. Received: measurements.dtype="
            f"{measurements.dtype}"
        )
    single = measurements.shape == shape
    if single:
        measurements = measurements[None]
    if measurements.shape[1:] != shape or not len(measurements):
        sides = ", ".join(map(str, shape))
        raise ValueError(
            f"`measurements` must have the shape ({sides}) of what `operator` "
            f"returns for an image, or (batch, {sides}). Received: "
            f"measurements.shape={received}"
        )
    measurements = operator.measured(to_floats(measurements, value_range))
    if not np.all(np.isfinite(measurements)):
        raise ValueError(
            "`measurements` must be finite numbers, except where a mask says "
            "that they are unknown. Received: "
            f"{np.sum(~np.isfinite(measurements))} others"
        )
    return measurements, single
