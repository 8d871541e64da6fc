"""Heun's method along the probability flow."""

import dataclasses
from typing import TYPE_CHECKING

from keras_ncsn.annotations import Tensor
from keras_ncsn.samplers.flow import FlowPoint, FlowSampler
from keras_ncsn.score_function import ScoreFunction, flow_slope

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heun(FlowSampler):
    """Heun's method along the probability flow.

    A step goes along the mean of the slopes at its two ends. It takes two
    evaluations, and its error is of second order. `FlowSampler` says what this
    method shares with the others along the flow, and describes the settings.

    Args:
        num_steps: Integer, at least 2. Defaults to `18`.
        churn: Float, at least 0. Defaults to `0.0`, which is deterministic.
        churn_range: Pair of floats, the noise levels between which churn adds
            noise. Defaults to `(0.05, 50.0)`.
        num_langevin_steps: Integer, at least 0, the Langevin steps at the
            largest noise level, before the flow. Defaults to `0`.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> def score_fn(x, sigma):  # of data at 0.5, with spread 0.2
    ...     variance = 0.2**2 + sigma[:, None] ** 2
    ...     return (0.5 - x) / variance
    >>> noise = NoiseStream(seed=0, first=0, shape=(1000, 1))
    >>> schedule = NoiseSchedule.geometric(20.0, 0.01)
    >>> x = Heun().sample(score_fn, schedule, noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Algorithms 1 and
      2, with `S_noise` = 1.
    """

    name = "heun"

    def _step(
        self,
        score_fn: ScoreFunction,
        here: FlowPoint,
        next_sigma: float,
        last: FlowPoint | None,
    ) -> Tensor:
        length = next_sigma - here.sigma
        end = here.x + length * here.slope
        slope = score_fn.run(flow_slope, end, next_sigma)
        return here.x + 0.5 * length * (here.slope + slope)

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return super().num_evaluations(schedule) + self.num_steps - 1
