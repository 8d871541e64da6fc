"""Heun's method along the probability flow."""

import itertools
import math

import numpy as np
from keras import ops

from keras_ncsn.checks import check_at_least, check_count, check_levels
from keras_ncsn.samplers.score_function import ScoreFunction, fill_levels

# By so much at most a step raises the noise.
MOST_CHURN = 2.0**0.5 - 1.0


def heun_sigmas(sigma_max, sigma_min, num_steps, rho=7.0):
    """Returns the noise levels between which Heun's method steps.

    Args:
        sigma_max: Float, the first level.
        sigma_min: Float, the last before 0.
        num_steps: Integer, at least 2.
        rho: Float; the larger, the more steps at small noise. Defaults to
            `7.0`.

    Returns:
        A float64 array of shape `(num_steps,)`.

    Example:

    >>> [round(float(s), 3) for s in heun_sigmas(80.0, 0.002, num_steps=3)]
    [80.0, 2.515, 0.002]

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Equation 5.
    """
    ends = np.array([sigma_max, sigma_min], "float64") ** (1.0 / rho)
    return np.linspace(*ends, num_steps) ** rho


def heun(
    score_fn,
    schedule,
    noise,
    known=None,
    on_progress=None,
    value_range=None,
    *,
    num_steps=18,
    churn=0.0,
    churn_range=(0.05, 50.0),
):
    """Samples by Heun's method along the probability flow.

    The flow dx/dsigma = -sigma * score carries noise to images without
    drawing any more noise, in far fewer evaluations than Langevin dynamics.
    It needs a score network that knows all noise levels between the ends of
    the schedule, not only its rungs. With `churn` each step first adds some
    fresh noise, which lets images leave what the network got wrong before, and
    wants more steps.

    With `known`, the flow would settle on the rest before it sees what is
    known. Each step then first raises the noise to twice its level, puts the
    known pixels into the denoised image, and comes down from there with fresh
    noise, as DDPM does: one evaluation a step, as many of them in all.
    `churn` has no part in it.

    Args:
        score_fn: As in `annealed_langevin`.
        schedule: A `NoiseSchedule`, of which the ends are used.
        noise: As in `annealed_langevin`.
        known: As in `annealed_langevin`.
        on_progress: As in `annealed_langevin`.
        value_range: Pair of floats; the flow starts around its middle.
            Defaults to `None`, around 0.
        num_steps: Integer, at least 2. Defaults to `18`.
        churn: Float, at least 0. A step first raises the noise to
            1 + churn / num_steps times its level, at most sqrt(2) times and
            not above the first level: more than 0.414 * `num_steps` changes
            nothing. Defaults to `0.0`.
        churn_range: Pair of floats, the noise levels between which steps do
            so. Defaults to `(0.05, 50.0)`.

    Returns:
        A float32 tensor of shape `noise.shape`. The score was called
        2 * `num_steps` - 1 times.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> def score_fn(x, sigma):  # of data at 0.5, with spread 0.2
    ...     variance = 0.2**2 + sigma[:, None] ** 2
    ...     return (0.5 - x) / variance
    >>> noise = NoiseStream(seed=0, first=0, shape=(1000, 1))
    >>> schedule = NoiseSchedule.geometric(20.0, 0.01)
    >>> x = heun(score_fn, schedule, noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Algorithms 1 and
      2, with `S_noise` = 1.
    """
    check_heun(num_steps=num_steps, churn=churn, churn_range=churn_range)
    score_fn = ScoreFunction.of(score_fn)

    def slope(x, sigma):
        # All that is compiled: networks are slow to compile, and what is
        # around them is quick as it is.
        return score_fn.run(_slope, x, sigma)

    def normal():
        return ops.convert_to_tensor(noise.normal())

    if known is not None:
        given = ops.convert_to_tensor(known.images, "float32")
        is_known = ops.convert_to_tensor(known.known_mask)
    # With known pixels a step takes one evaluation, not two.
    num_levels = num_steps if known is None else 2 * num_steps - 1
    ends = schedule.sigma_max, schedule.sigma_min
    sigmas = heun_sigmas(*ends, num_levels).tolist()
    middle = 0.0 if value_range is None else sum(value_range) / 2
    # NumPy would go on in float64, and PyTorch with it.
    x = np.float32(middle) + np.float32(schedule.sigma_max) * noise.normal()
    x = ops.convert_to_tensor(x)
    report = on_progress or (lambda *progress: None)
    for index, (sigma, next_sigma) in enumerate(itertools.pairwise(sigmas)):
        # The network does not know what lies above the first level.
        if known is None:
            factor = _raise_factor(sigma, churn / num_steps, churn_range)
            raised = min(factor * sigma, sigmas[0])
            if raised > sigma:
                x = x + _between(raised, sigma) * normal()
            length = next_sigma - raised
            first = slope(x, raised)
            second = slope(x + length * first, next_sigma)
            x = x + 0.5 * length * (first + second)
        else:
            # The flow decides early what it draws, while noise still hides
            # the known pixels, and never reconsiders. More noise before each
            # step, and fresh noise on the way down, lets the rest adapt.
            raised = min(2.0 * sigma, sigmas[0])
            x = x + _between(raised, sigma) * normal()
            clean = x - raised * slope(x, raised)
            clean = ops.where(is_known, given, clean)
            # A draw of the image at the next level, given it now and clean
            # (DDPM).
            kept = (next_sigma / raised) ** 2
            x = clean + kept * (x - clean)
            x = x + next_sigma * math.sqrt(1.0 - kept) * normal()
        report(x, index + 1, num_levels)
    x = x - sigmas[-1] * slope(x, sigmas[-1])
    report(x, num_levels, num_levels)
    return x


def check_heun(*, num_steps, churn, churn_range):
    """Raises a `ValueError` unless `heun` can have these settings.

    Args:
        num_steps: What should be an integer, at least 2.
        churn: What should be a number, at least 0.
        churn_range: What should be a pair of noise levels.
    """
    check_count(num_steps=num_steps)
    if num_steps < 2:
        raise ValueError(
            "`num_steps` must be at least 2, from the largest to the smallest "
            f"noise level and from there to 0. Received: num_steps={num_steps}"
        )
    check_at_least(0, churn=churn)
    check_levels(churn_range=churn_range)


def _raise_factor(sigma, churn, churn_range):
    """Returns by how much noise grows before a step (EDM, Algorithm 2)."""
    low, high = churn_range
    return 1.0 + min(churn, MOST_CHURN) if low <= sigma <= high else 1.0


def _between(large, small):
    """Returns the level of the noise that raises a small level to a large."""
    return math.sqrt(large**2 - small**2)


def _slope(score_fn, x, sigma):
    return -sigma * score_fn(x, fill_levels(x, sigma))
