"""Heun's method along the probability flow."""

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.checks import check_at_least, check_count, check_levels
from keras_ncsn.samplers.flow_inpainting import inpaint_along_flow
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import MAX_STEPS, Progress, Sampler, setting
from keras_ncsn.score_function import (
    ScoreFunction,
    flow_slope,
)

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule

# The command line reads the settings without importing Keras.
keras = lazy_loader.load("keras")

# The most by which one step may raise the noise level.
MAX_CHURN = 2.0**0.5 - 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """Heun's method along the probability flow.

    The flow dx/dsigma = -sigma * score turns noise into images without
    drawing more noise, in far fewer evaluations than Langevin dynamics. It
    needs a score network that knows all noise levels between the ends of the
    schedule, not only the levels of the ladder. The flow starts around the
    middle of `value_range`.

    With `churn` each step first adds some fresh noise. Later steps can then
    correct errors of earlier ones, but more steps are needed.

    Inpainting uses another algorithm, with the same number of evaluations and
    without churn: see `flow_inpainting`.

    Args:
        num_steps: Integer, at least 2. Defaults to `18`.
        churn: Float, at least 0, EDM's S_churn. A step first multiplies the
            noise level by 1 + churn / num_steps, but at most by sqrt(2), and
            never raises it above the first level. Values above
            0.414 * `num_steps` therefore have no further effect. Defaults to
            `0.0`, which is deterministic.
        churn_range: Pair of floats, the noise levels between which churn adds
            noise. Defaults to `(0.05, 50.0)`.

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

    num_steps: int = setting(18, "Number of steps, at least 2.")
    churn: float = setting(
        0.0,
        "Extra noise added at each step, as a share of the noise level (EDM's "
        "S_churn). 0 is deterministic.",
    )
    churn_range: tuple[float, float] = setting(
        (0.05, 50.0), "Noise levels between which churn adds noise."
    )

    def __post_init__(self) -> None:
        check_count(most=MAX_STEPS, num_steps=self.num_steps)
        if self.num_steps < 2:
            raise ValueError(
                "`num_steps` must be at least 2, from the largest to the "
                "smallest noise level and from there to 0. Received: "
                f"num_steps={self.num_steps}"
            )
        check_at_least(0, churn=self.churn)
        check_levels(churn_range=self.churn_range)
        # JSON, and so a preset, stores a pair as a list.
        object.__setattr__(self, "churn_range", tuple(self.churn_range))

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
        report = on_progress or (lambda *progress: None)
        # Without the casts NumPy, and then PyTorch, would compute in float64.
        middle = 0.0 if value_range is None else sum(value_range) / 2
        x = np.float32(schedule.sigma_max) * noise.normal()
        x = keras.ops.convert_to_tensor(np.float32(middle) + x)
        if known is not None:
            sigmas = self._sigmas(schedule, self.num_evaluations(schedule))
            return inpaint_along_flow(score_fn, sigmas, x, noise, known, report)
        sigmas = self._sigmas(schedule, self.num_steps)
        for index, (sigma, next_sigma) in enumerate(itertools.pairwise(sigmas)):
            # The network has not learned levels above the first.
            raised = min(self._raise_factor(sigma) * sigma, sigmas[0])
            if raised > sigma:
                added = keras.ops.convert_to_tensor(noise.normal())
                x = x + math.sqrt(raised**2 - sigma**2) * added
            length = next_sigma - raised
            # Only the slope is compiled. Compiling a whole step would compile
            # the network twice, and the rest of a step is fast anyway.
            first = score_fn.run(flow_slope, x, raised)
            second = score_fn.run(flow_slope, x + length * first, next_sigma)
            x = x + 0.5 * length * (first + second)
            report(x, index + 1, self.num_steps)
        x = x - sigmas[-1] * score_fn.run(flow_slope, x, sigmas[-1])
        report(x, self.num_steps, self.num_steps)
        return x

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return 2 * self.num_steps - 1

    def _sigmas(
        self, schedule: "NoiseSchedule", num_levels: int
    ) -> list[float]:
        ends = schedule.sigma_max, schedule.sigma_min
        return heun_sigmas(*ends, num_levels).tolist()

    def _raise_factor(self, sigma: float) -> float:
        """Returns the factor by which churn raises the noise level."""
        low, high = self.churn_range
        churn = min(self.churn / self.num_steps, MAX_CHURN)
        return 1.0 + churn if low <= sigma <= high else 1.0


def heun_sigmas(
    sigma_max: float, sigma_min: float, num_steps: int
) -> np.ndarray:
    """Returns the noise levels that Heun's method steps through.

    Their seventh roots are evenly spaced, so most steps are at small noise.

    Args:
        sigma_max: Float, the first level.
        sigma_min: Float, the last level before 0.
        num_steps: Integer, at least 2.

    Returns:
        A float64 array of shape `(num_steps,)`.

    Example:

    >>> [round(float(s), 3) for s in heun_sigmas(80.0, 0.002, num_steps=3)]
    [80.0, 2.515, 0.002]

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Equation 5.
    """
    first, last = np.array([sigma_max, sigma_min], "float64") ** (1.0 / 7.0)
    return np.linspace(first, last, num_steps) ** 7.0
