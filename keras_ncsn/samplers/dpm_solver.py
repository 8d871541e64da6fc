"""DPM-Solver++ along the probability flow, of second order."""

import dataclasses
import math

from keras_ncsn.annotations import Tensor
from keras_ncsn.samplers.flow import FlowPoint, FlowSampler
from keras_ncsn.samplers.sampler import setting
from keras_ncsn.score_function import ScoreFunction

# The most by which a step after fresh noise extrapolates. Beyond, it would
# amplify what this noise has changed in the denoised images.
MAX_EXTRAPOLATION = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolver(FlowSampler):
    """DPM-Solver++ (2M) along the probability flow.

    Along the flow, x / sigma changes by the denoised images times the change
    of 1 / sigma. A step extrapolates the denoised images linearly in
    ln(sigma), from its start and that of the previous step. So its error is of
    second order, as that of Heun's method, with one evaluation instead of two.
    The first and the last step are Euler's. `FlowSampler` says what this method
    shares with the others along the flow, and describes the settings.

    Args:
        num_steps: Integer, at least 2. Defaults to `20`.
        churn: Float, at least 0. With churn, a step extrapolates at most by
            half of the last change. Defaults to `0.0`, which is deterministic.
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
    >>> x = DPMSolver().sample(score_fn, schedule, noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Lu et al., 2022](https://arxiv.org/abs/2211.01095), Algorithm 2.
    """

    name = "dpm_solver"

    num_steps: int = setting(20, "Number of steps, at least 2.")

    def _step(
        self,
        score_fn: ScoreFunction,
        here: FlowPoint,
        next_sigma: float,
        last: FlowPoint | None,
    ) -> Tensor:
        x = here.x + (next_sigma - here.sigma) * here.slope
        # Churn may have raised the noise level to that of the last step.
        if last is None or last.sigma <= here.sigma:
            return x
        length = math.log(here.sigma / next_sigma)
        share = length / (2.0 * math.log(last.sigma / here.sigma))
        if self.churn > 0:
            share = min(share, MAX_EXTRAPOLATION)
        share *= 1.0 - next_sigma / here.sigma
        return x + share * (here.clean - last.clean)
