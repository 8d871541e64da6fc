"""Langevin dynamics, annealed (Algorithm 1) and at one noise level."""

import numpy as np
from keras import ops

from keras_ncsn.checks import check_above_zero, check_choice, check_count
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.score_function import ScoreFunction, fill_levels

# Steps that one call of the compiled loop takes: often enough for a progress
# bar and a film, seldom enough not to cost.
STEPS_PER_CALL = 10


def annealed_langevin(
    score_fn,
    schedule,
    noise,
    known=None,
    on_progress=None,
    value_range=None,
    *,
    steps_per_level=100,
    step_size=2e-5,
    denoise=False,
):
    """Samples by annealed Langevin dynamics, from large to small noise.

    At each noise level sigma of the schedule, takes steps
    x + eta * score + sqrt(2 * eta) * noise, with
    eta = `step_size` * (sigma / smallest sigma)**2. This is the convention of
    the authors' code; the paper's epsilon is 2 * `step_size`. The last update
    is returned, where the authors' code drops it.

    With `known`, known pixels are overwritten by their noisy values after
    each step, with noise that is drawn once a level (Algorithm 2).

    Args:
        score_fn: Function of x, a float32 tensor of shape `(batch, ...)`, and
            sigma, of shape `(batch,)`: the score of x + sigma * z.
        schedule: A `NoiseSchedule`, whose levels are visited.
        noise: A `NoiseStream`, or any object with its methods and `shape`.
        known: A `Known`, the pixels that are given. Defaults to `None`.
        on_progress: Function of the state, the number of steps taken and
            their total, called now and then. Defaults to `None`.
        value_range: Pair of floats; sampling starts from uniform noise in it.
            Defaults to `None`: from normal noise of the largest level.
        steps_per_level: Integer, T in the paper. Defaults to `100`.
        step_size: Float above 0, the step at the smallest noise level.
            Defaults to `2e-5`, as in the authors' code.
        denoise: Boolean, whether to add sigma**2 * score at the end, which
            removes the noise of the last level. Defaults to `False`, as in
            NCSN; NCSNv2 does it.

    Returns:
        A float32 tensor of shape `noise.shape`. The score was called
        `steps_per_level` times a level, and once more to denoise.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> def score_fn(x, sigma):  # of data at 0.5, with spread 0.2
    ...     variance = 0.2**2 + sigma[:, None] ** 2
    ...     return (0.5 - x) / variance
    >>> noise = NoiseStream(seed=0, first=0, shape=(1000, 1))
    >>> x = annealed_langevin(score_fn, NoiseSchedule.geometric(), noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Algorithms 1, 2.
    """
    check_annealed_langevin(
        steps_per_level=steps_per_level, step_size=step_size, denoise=denoise
    )
    score_fn, known = ScoreFunction.of(score_fn), known or Known.nothing(noise)
    total = steps_per_level * schedule.num_levels
    done = 0
    x = start(noise, value_range, schedule.sigma_max)
    for sigma in schedule.sigmas:
        eta = step_size * (sigma / schedule.sigma_min) ** 2
        target = known.perturb(sigma, noise)
        for num_steps in split_steps(steps_per_level):
            x = score_fn.run(
                _steps, x, noise.normal(num_steps), sigma, eta, *target
            )
            done += num_steps
            if on_progress:
                on_progress(x, done, total)
    if denoise:
        x = score_fn.run(remove_noise, x, schedule.sigma_min)
    return x


def langevin(
    score_fn,
    schedule,
    noise,
    known=None,
    on_progress=None,
    value_range=None,
    *,
    sigma=None,
    num_steps=1000,
    step_size=2e-5,
    denoise=False,
):
    """Samples by Langevin dynamics at one noise level.

    What annealing improves on: at a small noise level the score is wrong
    where there is no data, and modes do not get their weights in any
    reasonable time.

    Args:
        score_fn: As in `annealed_langevin`.
        schedule: A `NoiseSchedule`.
        noise: As in `annealed_langevin`.
        known: As in `annealed_langevin`.
        on_progress: As in `annealed_langevin`.
        value_range: As in `annealed_langevin`.
        sigma: Float, the noise level, within the schedule. Defaults to
            `None`, its smallest.
        num_steps: Integer, at least 1. Defaults to `1000`.
        step_size: Float above 0. The step is
            `step_size` * (sigma / smallest sigma)**2. Defaults to `2e-5`.
        denoise: Boolean, as in `annealed_langevin`. Defaults to `False`.

    Returns:
        A float32 tensor of shape `noise.shape`.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> noise = NoiseStream(seed=0, first=0, shape=(4, 2))
    >>> x = langevin(
    ...     lambda x, sigma: -x, NoiseSchedule.geometric(), noise, num_steps=5
    ... )
    >>> tuple(x.shape)
    (4, 2)

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Equation 4.
    """
    check_langevin(
        sigma=sigma, num_steps=num_steps, step_size=step_size, denoise=denoise
    )
    sigma = schedule.sigma_min if sigma is None else float(sigma)
    schedule.check_sigma(sigma)
    score_fn, known = ScoreFunction.of(score_fn), known or Known.nothing(noise)
    eta = step_size * (sigma / schedule.sigma_min) ** 2
    done = 0
    x = start(noise, value_range, schedule.sigma_max)
    target = known.perturb(sigma, noise)
    for count in split_steps(num_steps):
        x = score_fn.run(_steps, x, noise.normal(count), sigma, eta, *target)
        done += count
        if on_progress:
            on_progress(x, done, num_steps)
    if denoise:
        x = score_fn.run(remove_noise, x, sigma)
    return x


def check_annealed_langevin(*, steps_per_level, step_size, denoise):
    """Raises a `ValueError` unless the sampler can have these settings.

    Args:
        steps_per_level: What should be an integer, at least 1.
        step_size: What should be a number above 0.
        denoise: What should be a boolean.
    """
    check_count(steps_per_level=steps_per_level)
    check_above_zero(step_size=step_size)
    check_choice("denoise", denoise, (False, True))


def check_langevin(*, sigma, num_steps, step_size, denoise):
    """Raises a `ValueError` unless the sampler can have these settings.

    Args:
        sigma: What should be a number above 0, or `None`.
        num_steps: What should be an integer, at least 1.
        step_size: As in `check_annealed_langevin`.
        denoise: As in `check_annealed_langevin`.
    """
    if sigma is not None:
        check_above_zero(sigma=sigma)
    check_count(num_steps=num_steps)
    check_above_zero(step_size=step_size)
    check_choice("denoise", denoise, (False, True))


def _steps(score_fn, x, noise, sigma, eta, known, known_mask):
    levels = fill_levels(x, sigma)

    def step(index, x):
        x = x + eta * score_fn(x, levels) + ops.sqrt(2.0 * eta) * noise[index]
        return ops.where(known_mask, known, x)

    return ops.fori_loop(0, noise.shape[0], step, x)


def remove_noise(score_fn, x, sigma):
    """Returns x + sigma**2 * score: the mean of the clean image given x.

    Args:
        score_fn: As in `annealed_langevin`.
        x: Float32 tensor of shape `(batch, ...)`.
        sigma: Scalar tensor, the noise level of all of x.

    Returns:
        A tensor shaped like `x`.
    """
    return x + ops.square(sigma) * score_fn(x, fill_levels(x, sigma))


def start(noise, value_range, sigma_max):
    """Returns where Langevin dynamics starts.

    Args:
        noise: As in `annealed_langevin`.
        value_range: As in `annealed_langevin`.
        sigma_max: Float, the largest noise level.

    Returns:
        A float32 array of shape `noise.shape`.
    """
    if value_range is None:
        return noise.normal() * sigma_max
    low, high = np.float32(value_range)
    return low + (high - low) * noise.uniform()


def split_steps(num_steps):
    """Returns `num_steps` as a list of at most `STEPS_PER_CALL` each."""
    whole, rest = divmod(num_steps, STEPS_PER_CALL)
    return [STEPS_PER_CALL] * whole + [rest] * (rest > 0)
