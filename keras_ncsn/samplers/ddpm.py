"""DDPM's ancestral sampling: one step at each noise level."""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.samplers.descent import descend, ladder_steps, next_levels
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import Progress, Sampler
from keras_ncsn.samplers.starts import normal_start
from keras_ncsn.score_function import ScoreFunction

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDPM(Sampler):
    """Ancestral sampling, as in DDPM: one step at each noise level.

    A step estimates the clean image. It then draws the image at the next level
    from its distribution given the image at the current level and the clean
    one, q(x_{t-1} | x_t, x_0) in DDPM's terms. The last step returns the
    estimate of the clean image. The steps need many levels, such as the
    thousand of `NoiseSchedule.linear_beta()`.

    DDPM's y = sqrt(alpha_bar) * x, with alpha_bar = 1 / (1 + sigma**2), has
    unit variance for images of unit variance. Samplers work on
    x = image + sigma * z instead, and the model converts. In these terms, with
    s for the next level, the step replaces x by

        x + (sigma**2 - s**2) * score + s * sqrt(1 - s**2 / sigma**2) * noise,

    which equals DDPM's step exactly. To first order in beta, it is one Langevin
    step of size beta / 2 and one step along the probability flow. So annealed
    Langevin dynamics with one step a level and DDPM differ by the flow.

    Where the schedule preserves variance, sampling starts from y ~ N(0, I).
    Otherwise it starts from normal noise of the largest level around the middle
    of `value_range`. Known pixels are overwritten by their noisy values after
    each step.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> def score_fn(x, sigma):  # of data at 0.5, with spread 0.2
    ...     variance = 0.2**2 + sigma[:, None] ** 2
    ...     return (0.5 - x) / variance
    >>> noise = NoiseStream(seed=0, first=0, shape=(1000, 1))
    >>> x = DDPM().sample(score_fn, NoiseSchedule.linear_beta(), noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Ho et al., 2020](https://arxiv.org/abs/2006.11239), Equations 6 and 7,
      and Algorithm 2 with the variance beta-tilde.
    """

    name = "ddpm"

    def sample(
        self,
        score_fn: ScoreFn,
        schedule: "NoiseSchedule",
        noise: NoiseStream,
        known: Known | None = None,
        on_progress: Progress | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Tensor:
        spread = schedule.sigma_max
        if schedule.variance_preserving:
            # Of y / sqrt(alpha_bar), for y ~ N(0, I).
            spread = math.hypot(1.0, spread)
        table = ancestral_table(schedule.sigmas)
        monitor = Monitor(len(table), schedule, value_range, on_progress)
        x = descend(
            ScoreFunction.of(score_fn),
            ladder_steps,
            normal_start(noise, value_range, spread),
            table,
            noise,
            known,
            monitor,
        )
        return monitor.finish(x)

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return schedule.num_levels


def ancestral_table(sigmas: np.ndarray) -> np.ndarray:
    """Returns the steps of ancestral sampling, for `ladder_steps`.

    Args:
        sigmas: Float array of shape `(num_levels,)`, largest first.

    Returns:
        A float64 array of shape `(num_levels, 4)`.

    Example:

    >>> ancestral_table(np.array([1.0, 0.6]))[0].round(2).tolist()
    [1.0, 0.6, 0.64, 0.48]
    """
    # Divide the mean of q(x_{t-1} | x_t, x_0) in DDPM's Equation 7 by the root
    # of its alpha_bar_{t-1}. The mean is then x_0 + kept * (x - x_0), with kept
    # = s**2 / sigma**2. With x_0 = x + sigma**2 * score, it is
    # x + (1 - kept) * sigma**2 * score. Divided by alpha_bar_{t-1}, beta-tilde
    # is s**2 * (1 - kept).
    ends = next_levels(sigmas)
    drift = np.square(sigmas) - np.square(ends)
    spread = ends * np.sqrt(1.0 - np.square(ends / sigmas))
    return np.stack([sigmas, ends, drift, spread], axis=1)
