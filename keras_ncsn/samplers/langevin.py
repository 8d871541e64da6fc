"""Langevin dynamics at one noise level; `AnnealedLangevin` uses its steps."""

import dataclasses
from typing import TYPE_CHECKING

import lazy_loader

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.checks import check_above_zero, check_choice, check_count
from keras_ncsn.samplers.calls import calls, padded
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import MAX_STEPS, Progress, Sampler, setting
from keras_ncsn.samplers.starts import uniform_start
from keras_ncsn.score_function import ScoreFunction, denoised, fill_levels

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule

# The command line reads the settings without importing Keras.
keras = lazy_loader.load("keras")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Langevin(Sampler):
    """Langevin dynamics at one noise level.

    Annealing improves on it: at a small noise level the score is wrong where
    there is no data, and samples hardly move between modes, so that the modes
    get wrong weights. The start and the known pixels are as in
    `AnnealedLangevin`.

    Args:
        sigma: Float, the noise level, within the schedule. Defaults to
            `None`, the smallest level of the schedule.
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

    def __post_init__(self) -> None:
        if self.sigma is not None:
            check_above_zero(sigma=self.sigma)
        check_count(most=MAX_STEPS, num_steps=self.num_steps)
        check_above_zero(step_size=self.step_size)
        check_choice("denoise", self.denoise, (False, True))

    def check_schedule(self, schedule: "NoiseSchedule") -> None:
        if self.sigma is not None:
            schedule.check_sigma(self.sigma)

    def sample(
        self,
        score_fn: ScoreFn,
        schedule: "NoiseSchedule",
        noise: NoiseStream,
        known: Known | None = None,
        on_progress: Progress | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Tensor:
        self.check_schedule(schedule)
        sigma = schedule.sigma_min if self.sigma is None else float(self.sigma)
        score_fn = ScoreFunction.of(score_fn)
        known = known or Known.nothing(noise)
        eta = self.step_size * (sigma / schedule.sigma_min) ** 2
        monitor = Monitor(self.num_steps, schedule, value_range, on_progress)
        x = uniform_start(noise, value_range, schedule.sigma_max)
        target = known.perturb(sigma, noise)
        x = run_langevin(
            score_fn, x, sigma, eta, self.num_steps, noise, target, monitor
        )
        if self.denoise:
            x = score_fn.run(denoised, x, sigma)
        return monitor.finish(x)

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return self.num_steps + self.denoise


def run_langevin(
    score_fn: ScoreFunction,
    x: Tensor,
    sigma: float,
    eta: float,
    num_steps: int,
    noise: NoiseStream,
    target: tuple[Tensor, Tensor],
    monitor: Monitor,
) -> Tensor:
    """Takes Langevin steps at one noise level, some at a time.

    Args:
        score_fn: A `ScoreFunction`.
        x: Float32 tensor of shape `(batch, ...)`.
        sigma: Float, the noise level.
        eta: Float, the step size.
        num_steps: Integer, at least 1.
        noise: As in `Sampler.sample`.
        target: The known pixels with noise and their mask, as from
            `Known.perturb`.
        monitor: A `Monitor`.

    Returns:
        A tensor shaped like `x`.
    """
    for steps in calls(num_steps):
        count = steps.stop - steps.start
        fresh = padded(noise.normal(count), num_steps)
        x = score_fn.run(langevin_steps, x, count, fresh, sigma, eta, *target)
        monitor.step(x, sigma, count)
    return x


def langevin_steps(
    score_fn: ScoreFn,
    x: Tensor,
    num_steps: Tensor,
    noise: Tensor,
    sigma: Tensor,
    eta: Tensor,
    known: Tensor,
    known_mask: Tensor,
) -> Tensor:
    """Returns x after some Langevin steps.

    Args:
        score_fn: As in `Sampler.sample`.
        x: Float32 tensor of shape `(batch, ...)`.
        num_steps: Integer tensor, the number of steps.
        noise: Float32 tensor of shape `(steps, batch, ...)`, standard normal.
            It may have more rows than there are steps.
        sigma: Scalar tensor, the noise level.
        eta: Scalar tensor, the step size.
        known: Float32 tensor, the known pixels with noise, as from
            `Known.perturb`.
        known_mask: Boolean tensor, `True` where a pixel is known.

    Returns:
        A tensor shaped like `x`.
    """
    ops = keras.ops
    levels = fill_levels(x, sigma)

    def step(index, x):
        x = x + eta * score_fn(x, levels) + ops.sqrt(2.0 * eta) * noise[index]
        return ops.where(known_mask, known, x)

    return ops.fori_loop(0, num_steps, step, x)
