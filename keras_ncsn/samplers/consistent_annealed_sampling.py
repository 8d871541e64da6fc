"""Consistent annealed sampling: the noise of each step follows the ladder."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.checks import check_above_zero, check_choice
from keras_ncsn.samplers.descent import descend, ladder_steps, next_levels
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import Progress, Sampler, setting
from keras_ncsn.samplers.starts import normal_start
from keras_ncsn.score_function import ScoreFunction, denoised

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistentAnnealedSampling(Sampler):
    """Consistent annealed sampling: one step at each noise level.

    In annealed Langevin dynamics the noise of an image is larger than the
    level says. Here a step removes a share of the noise, and adds just so much
    that the noise of the next level is left:

        x + share * sigma**2 * score + beta * next_sigma * noise,

    with beta**2 = 1 - ((1 - share) * sigma / next_sigma)**2. The last step adds
    no noise. With ratio = next_sigma / sigma, a share of 1 - ratio adds no
    noise at all, which is Euler's step along the probability flow, and a share
    of 1 - ratio**2 is DDPM's step.

    Sampling starts from normal noise of the largest level around the middle of
    `value_range`. Known pixels are overwritten by their noisy values after each
    step.

    Args:
        step_size: Float, the share times the square of the smallest level. It
            must lie between (1 - ratio) and (1 + ratio) times this square, for
            each ratio of neighbouring levels. Defaults to `None`: a share of
            1 - ratio**1.5, between those of Euler and DDPM. On NCSNv2's
            ladder for CIFAR-10 this is 5.4e-6; the authors chose 5.6e-6.
        denoise: Boolean, whether to add sigma**2 * score at the end, with the
            smallest level. Defaults to `True`.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> def score_fn(x, sigma):  # of data at 0.5, with spread 0.2
    ...     variance = 0.2**2 + sigma[:, None] ** 2
    ...     return (0.5 - x) / variance
    >>> noise = NoiseStream(seed=0, first=0, shape=(1000, 1))
    >>> schedule = NoiseSchedule.geometric(20.0, 0.01, num_levels=200)
    >>> x = ConsistentAnnealedSampling().sample(score_fn, schedule, noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Jolicoeur-Martineau et al., 2020](https://arxiv.org/abs/2009.05475),
      Section 3.
    """

    name = "consistent_annealed_sampling"

    step_size: float | None = setting(
        None,
        "Step at the smallest noise level; without it, between those of Euler "
        "and DDPM.",
    )
    denoise: bool = setting(True, "Remove the noise of the last level.")

    def __post_init__(self) -> None:
        if self.step_size is not None:
            check_above_zero(step_size=self.step_size)
        check_choice("denoise", self.denoise, (False, True))

    def check_schedule(self, schedule: "NoiseSchedule") -> None:
        if self.step_size is None:
            return
        ratio = float(np.min(schedule.sigmas[1:] / schedule.sigmas[:-1]))
        unit = schedule.sigma_min**2
        low, high = (1.0 - ratio) * unit, (1.0 + ratio) * unit
        if not low <= self.step_size <= high:
            raise ValueError(
                "`step_size` of consistent annealed sampling must leave no "
                "more noise than the next level has: from "
                f"{low:.4g} to {high:.4g} with these noise levels. Received: "
                f"step_size={self.step_size}. Leave it out for a good one."
            )

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
        score_fn = ScoreFunction.of(score_fn)
        table = self._table(schedule)
        monitor = Monitor(len(table), schedule, value_range, on_progress)
        x = descend(
            score_fn,
            ladder_steps,
            normal_start(noise, value_range, schedule.sigma_max),
            table,
            noise,
            known,
            monitor,
        )
        if self.denoise:
            x = score_fn.run(denoised, x, schedule.sigma_min)
        return monitor.finish(x)

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return schedule.num_levels + self.denoise

    def _table(self, schedule: "NoiseSchedule") -> np.ndarray:
        """Returns the steps, for `ladder_steps`."""
        sigmas, ends = schedule.sigmas, next_levels(schedule.sigmas)
        ratios = ends / sigmas
        if self.step_size is None:
            # The last step has the share of the one before.
            usual = np.append(ratios[:-1], ratios[-2])
            shares = 1.0 - usual**1.5
        else:
            shares = np.full(len(sigmas), self.step_size / sigmas[-1] ** 2)
        left = (1.0 - shares) * sigmas
        # No noise below 0, by rounding or in the last step.
        added = np.sqrt(np.maximum(np.square(ends) - np.square(left), 0.0))
        drift = shares * np.square(sigmas)
        return np.stack([sigmas, ends, drift, added], axis=1)
