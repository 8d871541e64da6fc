"""Euler's method along the probability flow: DDIM."""

import dataclasses

from keras_ncsn.annotations import Tensor
from keras_ncsn.samplers.flow import FlowPoint, FlowSampler
from keras_ncsn.samplers.sampler import setting
from keras_ncsn.score_function import ScoreFunction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Euler(FlowSampler):
    """Euler's method along the probability flow.

    A step goes along the slope at its start. It takes one evaluation, and its
    error is of first order. Where the schedule preserves variance, this is
    DDIM without noise: samplers work on image + sigma * z, and DDIM's step is
    Euler's in these terms. `FlowSampler` says what this method shares with the
    others along the flow, and describes the settings.

    Args:
        num_steps: Integer, at least 2. Defaults to `50`.
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
    >>> schedule = NoiseSchedule.linear_beta()
    >>> x = Euler().sample(score_fn, schedule, noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Song et al., 2021](https://arxiv.org/abs/2010.02502), DDIM, Equations 13
      and 14.
    """

    name = "euler"

    num_steps: int = setting(50, "Number of steps, at least 2.")

    def _step(
        self,
        score_fn: ScoreFunction,
        here: FlowPoint,
        next_sigma: float,
        last: FlowPoint | None,
    ) -> Tensor:
        return here.x + (next_sigma - here.sigma) * here.slope
