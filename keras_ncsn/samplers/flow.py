"""What the samplers along the probability flow have in common."""

import abc
import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import lazy_loader

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.checks import check_at_least, check_count, check_levels
from keras_ncsn.samplers.flow_inpainting import inpaint_along_flow
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.langevin import run_langevin
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import MAX_STEPS, Progress, Sampler, setting
from keras_ncsn.samplers.starts import normal_start
from keras_ncsn.score_function import (
    ScoreFunction,
    flow_sigmas,
    flow_slope,
)

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule

# The command line reads the settings without importing Keras.
keras = lazy_loader.load("keras")

# The most by which one step may raise the noise level.
MAX_CHURN = 2.0**0.5 - 1.0
# A Langevin step before the flow, as a share of sigma**2. NCSN's own: 2e-5 at
# a level of 0.01.
LANGEVIN_SHARE = 0.2


class FlowPoint(NamedTuple):
    """Where a step along the flow starts: images, noise level and slope."""

    x: Tensor
    sigma: float
    slope: Tensor

    @property
    def clean(self) -> Tensor:
        """The denoised images, where the slope meets noise level 0."""
        return self.x - self.sigma * self.slope


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSampler(Sampler):
    """A method that follows the probability flow.

    The flow dx/dsigma = -sigma * score turns noise into images without
    drawing more noise, in far fewer evaluations than Langevin dynamics. It
    needs a score network that knows all noise levels between the ends of the
    schedule, not only the levels of the ladder. The flow starts around the
    middle of `value_range`, and steps through `flow_sigmas`. The last step
    goes from the smallest level to 0.

    With `churn` each step first adds some fresh noise. Later steps can then
    correct errors of earlier ones, but more steps are needed.

    Inpainting uses another algorithm, with the same number of evaluations and
    without churn: see `flow_inpainting`.

    The flow follows normal noise, but noisy images of the largest level are
    normal only if this level hides the images. NCSN's ladder starts at
    sigma = 1, where they are not: the flow then draws wrong images, however
    many steps it takes. There, `num_langevin_steps` first draw noisy images of
    that level, with steps of 0.2 * sigma**2, as in NCSN. Each costs one
    evaluation. For example, of two modes 2 apart, with spread 0.1 and weights
    3/4 and 1/4, Heun's method alone drew the smaller one 37 % of the time, and
    27 % and 26 % after 20 and 100 Langevin steps (`tests/test_flow.py`).

    A method is a subclass that defines `_step`.

    Args:
        num_steps: Integer, at least 2. Defaults to `18`.
        churn: Float, at least 0, EDM's S_churn. A step first multiplies the
            noise level by 1 + churn / num_steps, but at most by sqrt(2), and
            never raises it above the first level. Values above
            0.414 * `num_steps` therefore have no further effect. Defaults to
            `0.0`, which is deterministic.
        churn_range: Pair of floats, the noise levels between which churn adds
            noise. Defaults to `(0.05, 50.0)`.
        num_langevin_steps: Integer, at least 0, the Langevin steps at the
            largest noise level, before the flow. Defaults to `0`.

    Reference:

    - [Song et al., 2021](https://arxiv.org/abs/2011.13456), the flow;
      [Karras et al., 2022](https://arxiv.org/abs/2206.00364), the noise levels,
      and churn with `S_noise` = 1.
    """

    num_steps: int = setting(18, "Number of steps, at least 2.")
    churn: float = setting(
        0.0,
        "Extra noise added at each step, as a share of the noise level (EDM's "
        "S_churn). 0 is deterministic.",
    )
    churn_range: tuple[float, float] = setting(
        (0.05, 50.0), "Noise levels between which churn adds noise."
    )
    num_langevin_steps: int = setting(
        0, "Langevin steps at the largest noise level, before the flow."
    )

    def __post_init__(self) -> None:
        check_count(most=MAX_STEPS, num_steps=self.num_steps)
        if self.num_steps < 2:
            raise ValueError(
                "`num_steps` must be at least 2, from the largest to the "
                "smallest noise level and from there to 0. Received: "
                f"num_steps={self.num_steps}"
            )
        steps = self.num_langevin_steps
        check_count(0, MAX_STEPS, num_langevin_steps=steps)
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
        x = normal_start(noise, value_range, schedule.sigma_max)
        ends = schedule.sigma_max, schedule.sigma_min
        num_levels = self.num_steps
        if known is not None:
            num_levels = self.num_evaluations(schedule)
            num_levels -= self.num_langevin_steps
        sigmas = flow_sigmas(*ends, num_levels).tolist()
        total = self.num_langevin_steps + num_levels
        monitor = Monitor(total, schedule, value_range, on_progress)
        if self.num_langevin_steps:
            sigma = schedule.sigma_max
            x = run_langevin(
                score_fn,
                x,
                sigma,
                LANGEVIN_SHARE * sigma**2,
                self.num_langevin_steps,
                noise,
                (known or Known.nothing(noise)).perturb(sigma, noise),
                monitor,
            )
        x = keras.ops.convert_to_tensor(x)
        if known is not None:
            return inpaint_along_flow(
                score_fn, sigmas, x, noise, known, monitor
            )
        last = None
        for sigma, next_sigma in itertools.pairwise(sigmas):
            # The network has not learned levels above the first.
            raised = min(self._raise_factor(sigma) * sigma, sigmas[0])
            if raised > sigma:
                added = keras.ops.convert_to_tensor(noise.normal())
                x = x + math.sqrt(raised**2 - sigma**2) * added
            # Only the slope is compiled. Compiling a whole step of Heun's
            # method would compile the network twice, and the rest of a step is
            # fast anyway.
            here = FlowPoint(x, raised, score_fn.run(flow_slope, x, raised))
            x = self._step(score_fn, here, next_sigma, last)
            last = here
            monitor.step(x, raised)
        x = x - sigmas[-1] * score_fn.run(flow_slope, x, sigmas[-1])
        monitor.step(x, sigmas[-1])
        return monitor.finish(x)

    @abc.abstractmethod
    def _step(
        self,
        score_fn: ScoreFunction,
        here: FlowPoint,
        next_sigma: float,
        last: FlowPoint | None,
    ) -> Tensor:
        """Returns the images at the next noise level, above 0.

        Args:
            score_fn: A `ScoreFunction`.
            here: A `FlowPoint`, where the step starts.
            next_sigma: Float, where it ends.
            last: The `FlowPoint` where the previous step started, or `None` in
                the first step.

        Returns:
            A float32 tensor shaped like `here.x`.
        """

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return self.num_langevin_steps + self.num_steps

    def _raise_factor(self, sigma: float) -> float:
        """Returns the factor by which churn raises the noise level."""
        low, high = self.churn_range
        churn = min(self.churn / self.num_steps, MAX_CHURN)
        return 1.0 + churn if low <= sigma <= high else 1.0
