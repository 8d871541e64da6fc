"""Predictor-corrector sampling: down the ladder, with Langevin steps."""

import dataclasses
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.checks import check_above_zero, check_choice, check_count
from keras_ncsn.samplers.ddpm import ancestral_table
from keras_ncsn.samplers.descent import descend
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import Progress, Sampler, setting
from keras_ncsn.samplers.starts import normal_start
from keras_ncsn.score_function import ScoreFunction, fill_levels

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule

# The command line reads the settings without importing Keras.
keras = lazy_loader.load("keras")

PREDICTORS = ("reverse_diffusion", "ancestral")
# At each level: a table has a row for each. The authors took one.
MAX_CORRECTOR_STEPS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorCorrector(Sampler):
    """Predictor-corrector sampling down the ladder of noise levels.

    At each level the corrector takes Langevin steps, which draw the image
    towards the distribution of that level. Then the predictor steps to the next
    level. This is the order of the authors' code; their paper predicts first.
    The last predictor step adds no noise, and returns denoised images.

    The size eta of a Langevin step comes from its signal-to-noise ratio:
    eta = 2 * (ratio * norm of noise / norm of score)**2. Each image has its own
    step, which does not depend on the other images of the batch. In the
    authors' code it does. A step is at most sigma**2. Norms say little about
    points of few coordinates: their samples are biased.

    Sampling starts from normal noise of the largest level around the middle of
    `value_range`. Known pixels are overwritten by their noisy values after each
    step. Their noise is drawn once per level.

    Args:
        num_corrector_steps: Integer, from 0 to 1000, the Langevin steps at
            each level. Defaults to `1`.
        signal_to_noise: Float above 0, the ratio. Defaults to `0.16`, as the
            authors chose for CIFAR-10.
        predictor: `"reverse_diffusion"`, which adds as much noise as the
            forward process, or `"ancestral"`, DDPM's step, which adds less.
            Defaults to `"reverse_diffusion"`.

    Example:

    >>> from keras_ncsn.noise import NoiseSchedule
    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> def score_fn(x, sigma):  # of data at 0.5, with spread 0.2
    ...     variance = 0.2**2 + sigma[:, None] ** 2
    ...     return (0.5 - x) / variance
    >>> noise = NoiseStream(seed=0, first=0, shape=(100, 64))
    >>> schedule = NoiseSchedule.geometric(20.0, 0.01, num_levels=100)
    >>> x = PredictorCorrector().sample(score_fn, schedule, noise)
    >>> round(float(ops.mean(x)), 1)
    0.5

    Reference:

    - [Song et al., 2021](https://arxiv.org/abs/2011.13456), Section 4.2 and
      Appendix G.
    """

    name = "predictor_corrector"

    num_corrector_steps: int = setting(
        1, "Langevin steps of the corrector at each noise level."
    )
    signal_to_noise: float = setting(
        0.16, "Ratio of score to noise in a step of the corrector."
    )
    predictor: str = setting(
        "reverse_diffusion",
        "Step to the next noise level.",
        choices=PREDICTORS,
    )

    def __post_init__(self) -> None:
        steps = self.num_corrector_steps
        check_count(0, MAX_CORRECTOR_STEPS, num_corrector_steps=steps)
        check_above_zero(signal_to_noise=self.signal_to_noise)
        check_choice("predictor", self.predictor, PREDICTORS)

    def sample(
        self,
        score_fn: ScoreFn,
        schedule: "NoiseSchedule",
        noise: NoiseStream,
        known: Known | None = None,
        on_progress: Progress | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Tensor:
        table = self._table(schedule.sigmas)
        monitor = Monitor(len(table), schedule, value_range, on_progress)
        x = descend(
            ScoreFunction.of(score_fn),
            predictor_corrector_steps,
            normal_start(noise, value_range, schedule.sigma_max),
            table,
            noise,
            known,
            monitor,
        )
        return monitor.finish(x)

    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        return (self.num_corrector_steps + 1) * schedule.num_levels

    def _table(self, sigmas: np.ndarray) -> np.ndarray:
        """Returns the steps, for `predictor_corrector_steps`."""
        predict = ancestral_table(sigmas)
        if self.predictor == "reverse_diffusion":
            ends, drift = predict[:, 1], predict[:, 2]
            predict[:, 3] = np.where(ends > 0, np.sqrt(drift), 0.0)
        zeros = np.zeros_like(sigmas)
        predict = np.column_stack([predict, zeros])
        ratio = np.full_like(sigmas, self.signal_to_noise)
        correct = np.stack([sigmas, sigmas, zeros, zeros, ratio], axis=1)
        of_level = [correct] * self.num_corrector_steps + [predict]
        return np.stack(of_level, axis=1).reshape(-1, 5)


def predictor_corrector_steps(
    score_fn: ScoreFn,
    x: Tensor,
    num_steps: Tensor,
    noise: Tensor,
    table: Tensor,
    targets: Tensor,
    known_mask: Tensor,
) -> Tensor:
    """Returns x after steps of the predictor and the corrector.

    Args:
        score_fn: As in `ladder_steps`.
        x: As in `ladder_steps`.
        num_steps: As in `ladder_steps`.
        noise: As in `ladder_steps`.
        table: Float32 tensor of shape `(steps, 5)`, as in `ladder_steps`, and
            the signal-to-noise ratio. Where this is above 0, the row is a step
            of the corrector.
        targets: As in `ladder_steps`.
        known_mask: As in `ladder_steps`.

    Returns:
        A tensor shaped like `x`.
    """
    ops = keras.ops

    def step(index, x):
        sigma, _, drift, spread, ratio = (table[index, i] for i in range(5))
        # Both kinds of step in one expression, so that the network is compiled
        # only once.
        score = score_fn(x, fill_levels(x, sigma))
        eta = 2.0 * ops.square(ratio) * _relative_square(noise[index], score)
        eta = ops.minimum(eta, ops.square(sigma))
        x = x + (drift + eta) * score
        x = x + (spread + ops.sqrt(2.0 * eta)) * noise[index]
        return ops.where(known_mask, targets[index], x)

    return ops.fori_loop(0, num_steps, step, x)


def _relative_square(noise, score):
    """Returns the squared norm of noise, relative to that of the score."""
    # A score of 0 gives a large number, not a division by 0.
    return _square_of_norm(noise) / (_square_of_norm(score) + 1e-30)


def _square_of_norm(images):
    axes = tuple(range(1, len(images.shape)))
    return keras.ops.sum(keras.ops.square(images), axis=axes, keepdims=True)
