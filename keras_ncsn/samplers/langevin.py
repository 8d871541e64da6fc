"""Langevin dynamics at one noise level, and the step that annealing shares."""

import dataclasses

import lazy_loader
import numpy as np

from keras_ncsn.checks import check_above_zero, check_choice, check_count
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.sampler import MAX_STEPS, Sampler, setting
from keras_ncsn.samplers.score_function import (
    ScoreFunction,
    denoised,
    fill_levels,
)

# The command line reads the settings, and does not wait for Keras.
keras = lazy_loader.load("keras")

# Steps that one call of the compiled loop takes: often enough for a progress
# bar and a film, seldom enough not to cost.
STEPS_PER_CALL = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Langevin(Sampler):
    """Langevin dynamics at one noise level.

    What annealing improves on: at a small noise level the score is wrong
    where there is no data, and modes do not get their weights in any
    reasonable time. Start and known pixels are as in `AnnealedLangevin`.

    Args:
        sigma: Float, the noise level, within the schedule. Defaults to
            `None`, its smallest.
        num_steps: Integer, at least 1. Defaults to `1000`.
        step_size: Float above 0. The step is
            `step_size` * (sigma / smallest sigma)**2. Defaults to `2e-5`.
        denoise: Boolean, as in `AnnealedLangevin`. Defaults to `False`.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> noise = NoiseStream(seed=0, first=0, shape=(4, 2))
    >>> x = Langevin(num_steps=5).sample(
    ...     lambda x, sigma: -x, NoiseSchedule.geometric(), noise
    ... )
    >>> tuple(x.shape)
    (4, 2)

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Equation 4.
    """

    name = "langevin"

    sigma: float | None = setting(
        None, "Noise level; without it, the smallest of the schedule."
    )
    num_steps: int = setting(1000, "Number of steps.")
    step_size: float = setting(2e-5, "Step at the smallest noise level.")
    denoise: bool = setting(False, "Remove the noise that is left.")

    def __post_init__(self):
        if self.sigma is not None:
            check_above_zero(sigma=self.sigma)
        check_count(most=MAX_STEPS, num_steps=self.num_steps)
        check_above_zero(step_size=self.step_size)
        check_choice("denoise", self.denoise, (False, True))

    def sample(
        self,
        score_fn,
        schedule,
        noise,
        known=None,
        on_progress=None,
        value_range=None,
    ):
        sigma = schedule.sigma_min if self.sigma is None else float(self.sigma)
        schedule.check_sigma(sigma)
        score_fn = ScoreFunction.of(score_fn)
        known = known or Known.nothing(noise)
        eta = self.step_size * (sigma / schedule.sigma_min) ** 2
        done = 0
        x = start(noise, value_range, schedule.sigma_max)
        target = known.perturb(sigma, noise)
        for count in split_steps(self.num_steps):
            fresh = noise.normal(count)
            x = score_fn.run(langevin_steps, x, fresh, sigma, eta, *target)
            done += count
            if on_progress:
                on_progress(x, done, self.num_steps)
        if self.denoise:
            x = score_fn.run(denoised, x, sigma)
        return x

    def num_evaluations(self, schedule):
        return self.num_steps + self.denoise


def langevin_steps(score_fn, x, noise, sigma, eta, known, known_mask):
    """Takes a Langevin step for each draw of noise.

    Args:
        score_fn: As in `Sampler.sample`.
        x: Float32 tensor of shape `(batch, ...)`.
        noise: Float32 tensor of shape `(steps, batch, ...)`, standard normal.
        sigma: Scalar tensor, the noise level.
        eta: Scalar tensor, the step.
        known: Float32 tensor, noisy known pixels, as `Known.perturb` returns
            them.
        known_mask: Boolean tensor, `True` where a pixel is known.

    Returns:
        A tensor shaped like `x`.
    """
    ops = keras.ops
    levels = fill_levels(x, sigma)

    def step(index, x):
        x = x + eta * score_fn(x, levels) + ops.sqrt(2.0 * eta) * noise[index]
        return ops.where(known_mask, known, x)

    return ops.fori_loop(0, noise.shape[0], step, x)


def start(noise, value_range, sigma_max):
    """Returns where Langevin dynamics starts.

    Args:
        noise: As in `Sampler.sample`.
        value_range: As in `Sampler.sample`.
        sigma_max: Float, the largest noise level.

    Returns:
        A float32 array of shape `noise.shape`.
    """
    if value_range is None:
        return noise.normal() * sigma_max
    low, high = np.float32(value_range)
    return low + (high - low) * noise.uniform()


def split_steps(num_steps: int) -> list[int]:
    """Returns `num_steps` as a list of at most `STEPS_PER_CALL` each."""
    whole, rest = divmod(num_steps, STEPS_PER_CALL)
    return [STEPS_PER_CALL] * whole + [rest] * (rest > 0)
