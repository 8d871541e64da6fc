"""The density of images: the change of variables along the flow.

The probability flow turns noise into images, one to one, so it gives images a
density: that of the noise, times the volume that the flow leaves to it.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import lazy_loader
import numpy as np

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.score_function import (
    ScoreFunction,
    fill_levels,
    flow_sigmas,
    flow_slope,
)

keras = lazy_loader.load("keras")


def log_density(
    score_fn: ScoreFn,
    x: np.ndarray,
    sigma_max: float,
    sigma_min: float,
    probes: np.ndarray,
    num_steps: int,
    middle: float = 0.0,
    on_step: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Returns estimates of ln p(x), one for each probe.

    p is the density at `sigma_min` of the flow that starts at `sigma_max` with
    normal noise around `middle`. Heun's method follows the flow from x up to
    `sigma_max`, through `flow_sigmas`. On the way, the divergence of the flow
    is estimated by probes v, as the mean of v^T J v, where J is the Jacobian.
    A probe is the same at all levels.

    Args:
        score_fn: As in `Sampler.sample`.
        x: Float32 array of shape `(batch, ...)`.
        sigma_max: Float, the largest noise level.
        sigma_min: Float, the smallest noise level.
        probes: Float32 array of shape `(num_probes, batch, ...)`, of random
            numbers without mean and correlation, and of variance 1, such as
            random signs. `unit_probes` make the divergence exact.
        num_steps: Integer, at least 1. It takes `2 * num_steps + 1`
            evaluations of the score, and `num_probes * (num_steps + 1)`
            products with its Jacobian.
        middle: Float, the mean of the noise. Defaults to `0.0`.
        on_step: Function that is called with the number of levels that are
            done, and with their total. Defaults to `None`.

    Returns:
        A float64 array of shape `(num_probes, batch)`. Raises a
        `FloatingPointError` if the flow diverges.

    Example:

    >>> x = np.zeros((1, 2), "float32")
    >>> normal = lambda x, sigma: -x / (1.0 + ops.square(sigma)[:, None])
    >>> estimates = log_density(
    ...     normal, x, 100.0, 0.01, unit_probes((1, 2)), num_steps=50
    ... )
    >>> [round(float(value), 2) for value in estimates.mean(axis=0)]
    [-1.84]

    Reference:

    - [Song et al., 2021](https://arxiv.org/abs/2011.13456), Appendix D.2;
      [Grathwohl et al., 2019](https://arxiv.org/abs/1810.01367), the probes.
    """
    score_fn = ScoreFunction.of(score_fn)
    x = keras.ops.convert_to_tensor(x)
    sigmas = flow_sigmas(sigma_max, sigma_min, num_steps + 1)[::-1].tolist()
    total = np.zeros(probes.shape[:2])
    for index, (sigma, weight) in enumerate(
        zip(sigmas, _trapezoid(np.log(sigmas)), strict=True)
    ):
        score, traces = score_fn.run(probe_score, x, sigma, probes)
        traces = keras.ops.convert_to_numpy(traces).astype("float64")
        # In ln(sigma), the divergence of the flow is -sigma**2 times that of
        # the score. It goes from 0 to the dimension without a peak.
        total -= weight * sigma**2 * traces
        if not np.isfinite(total).all():
            raise FloatingPointError(
                "The flow from the images to noise diverged at noise level "
                f"{sigma:.4g}. Take more steps. If that does not help, the "
                "weights are unusable."
            )
        if index < num_steps:
            x = _heun_step(score_fn, x, sigma, sigmas[index + 1], score)
        if on_step:
            on_step(index + 1, num_steps + 1)
    z = (keras.ops.convert_to_numpy(x).astype("float64") - middle) / sigma_max
    squares = np.sum(np.square(z).reshape(len(z), -1), axis=1)
    scale = math.log(2.0 * math.pi) + 2.0 * math.log(sigma_max)
    return total - 0.5 * (squares + z[0].size * scale)


def probe_score(
    score_fn: ScoreFunction, x: Tensor, sigma: Tensor, probes: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the score, and v^T J v for probes v and its Jacobian J.

    Args:
        score_fn: A `ScoreFunction`.
        x: Float32 tensor of shape `(batch, ...)`.
        sigma: Scalar tensor, the noise level of all images.
        probes: Float32 tensor of shape `(num_probes, batch, ...)`.

    Returns:
        A tensor shaped like `x`, and one of shape `(num_probes, batch)`.
    """
    from keras_ncsn import backend

    score, pull_back = backend.output_and_pull_back(
        score_fn.function, x, fill_levels(x, sigma), *score_fn.bound
    )
    axes = tuple(range(1, len(x.shape)))
    traces = keras.ops.map(
        lambda probe: keras.ops.sum(probe * pull_back(probe), axis=axes), probes
    )
    return score, traces


def unit_probes(shape: Sequence[int]) -> np.ndarray:
    """Returns a probe for each dimension, which make the divergence exact.

    Args:
        shape: Tuple `(batch, ...)`, the shape of the images.

    Returns:
        A float32 array of shape `(dimension, batch, ...)`.

    Example:

    >>> unit_probes((1, 4))[:, 0].tolist()[0]
    [2.0, 0.0, 0.0, 0.0]
    """
    size = math.prod(shape[1:])
    # The length makes the mean over the probes the trace.
    probes = math.sqrt(size) * np.eye(size, dtype="float32")
    probes = probes.reshape(size, 1, *shape[1:])
    return np.repeat(probes, shape[0], axis=1)


def _heun_step(score_fn, x, sigma, next_sigma, score):
    slope = -sigma * score
    step = next_sigma - sigma
    next_slope = score_fn.run(flow_slope, x + step * slope, next_sigma)
    return x + step * 0.5 * (slope + next_slope)


def _trapezoid(points):
    """Returns the weights of the trapezoidal rule."""
    weights = np.zeros(len(points))
    for index, (left, right) in enumerate(itertools.pairwise(points)):
        weights[index : index + 2] += 0.5 * (right - left)
    return weights
