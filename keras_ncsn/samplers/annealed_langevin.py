"""Annealed Langevin dynamics, the paper's sampler (Algorithms 1 and 2)."""

import dataclasses
from typing import TYPE_CHECKING

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.checks import check_above_zero, check_choice, check_count
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.langevin import run_langevin
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import MAX_STEPS, Progress, Sampler, setting
from keras_ncsn.samplers.starts import uniform_start
from keras_ncsn.score_function import ScoreFunction, denoised

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnealedLangevin(Sampler):
    """Annealed Langevin dynamics, from large to small noise.

    At each noise level sigma of the schedule, a step replaces x by
    x + eta * score + sqrt(2 * eta) * noise, with
    eta = `step_size` * (sigma / smallest sigma)**2. This is the convention of
    the authors' code; the paper's epsilon is 2 * `step_size`. The result
    includes the last update, which the authors' code drops. Sampling starts
    from uniform noise in `value_range`, or from normal noise of the largest
    level if there is no range.

    Known pixels are overwritten by their noisy values after each step. Their
    noise is drawn once per level (Algorithm 2).

    Args:
        steps_per_level: Integer, at least 1. The paper calls it T. Defaults
            to `100`.
        step_size: Float above 0, the step at the smallest noise level.
            Defaults to `2e-5`, as in the authors' code.
        denoise: Boolean, whether to add sigma**2 * score at the end, which
            removes the noise of the last level. Defaults to `False`, as in
            NCSN; NCSNv2 adds it.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> def score_fn(x, sigma):  # of data at 0.5, with spread 0.2
    ...     variance = 0.2**2 + sigma[:, None] ** 2
    ...     return (0.5 - x) / variance
    >>> noise = NoiseStream(seed=0, first=0, shape=(1000, 1))
    >>> sampler = AnnealedLangevin()
    >>> x = sampler.sample(score_fn, NoiseSchedule.geometric(), noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Algorithms 1, 2.
    """

    name = "annealed_langevin"

    steps_per_level: int = setting(100, "Steps at each noise level.")
    step_size: float = setting(2e-5, "Step at the smallest noise level.")
    denoise: bool = setting(False, "Remove the noise of the last level.")

    def __post_init__(self) -> None:
        check_count(most=MAX_STEPS, steps_per_level=self.steps_per_level)
        check_above_zero(step_size=self.step_size)
        check_choice("denoise", self.denoise, (False, True))

    def sample(
        self,
        score_fn: ScoreFn,
        schedule: "NoiseSchedule",
        noise: NoiseStream,
        known: Known | None = None,
        on_progress: Progress | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Tensor:
        score_fn = ScoreFunction.of(score_fn)
        known = known or Known.nothing(noise)
        total = self.steps_per_level * schedule.num_levels
        monitor = Monitor(total, schedule, value_range, on_progress)
        x = uniform_start(noise, value_range, schedule.sigma_max)
        for sigma in schedule.sigmas:
            eta = self.step_size * (sigma / schedule.sigma_min) ** 2
            target = known.perturb(sigma, noise)
            x = run_langevin(
                score_fn,
                x,
                sigma,
                eta,
                self.steps_per_level,
                noise,
                target,
                monitor,
            )
        if self.denoise:
            x = score_fn.run(denoised, x, schedule.sigma_min)
        return monitor.finish(x)

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return self.steps_per_level * schedule.num_levels + self.denoise
