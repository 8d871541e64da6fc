"""Diffusion posterior sampling."""

import dataclasses

import lazy_loader

from keras_ncsn.checks import check_above_zero
from keras_ncsn.posterior.denoiser import score_and_denoiser
from keras_ncsn.posterior.linear_operator import LinearOperator
from keras_ncsn.posterior.method import Method
from keras_ncsn.score_function import ScoreFunction

keras = lazy_loader.load("keras")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPS(Method):
    """Diffusion posterior sampling, the baseline that people know.

    The score of p(y | x) is replaced by the gradient of
    -scale * |y - A D(x)| / sigma**2, where D is the denoiser. It moves towards
    the measurements, with a strength that is tuned, not derived: `noise_std`
    has no effect, and samples do not follow the posterior.

    The paper subtracts scale times the gradient of |y - A D(x)| in each of
    1,000 steps of DDPM's sampler. The factor 1 / sigma**2 gives the samplers
    of this package such steps too: a step along the probability flow from
    sigma to (1 - h) sigma subtracts h * scale times the gradient.

    Args:
        scale: Float above 0, the strength, in units of the images. Defaults
            to `1.0`.

    Example:

    >>> DPS(scale=0.5).num_passes
    2

    Reference:

    - [Chung et al., 2023](https://arxiv.org/abs/2209.14687), Algorithm 1.
    """

    name = "dps"

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_above_zero(scale=self.scale)

    @property
    def num_passes(self) -> int:
        return 2

    def posterior(
        self, score_fn: ScoreFunction, operator: LinearOperator
    ) -> ScoreFunction:
        def function(x, sigma, noise_std, measurements, *bound):
            from keras_ncsn.noise import expand_like

            ops = keras.ops
            score, clean, pull_back = score_and_denoiser(
                score_fn, x, sigma, *bound
            )
            residual = measurements - operator(clean)
            axes = tuple(range(1, len(residual.shape)))
            squared = ops.sum(ops.square(residual), axis=axes, keepdims=True)
            # The gradient of the length has length 1, or is 0 at its minimum.
            unit = residual * ops.rsqrt(ops.maximum(squared, 1e-30))
            towards = pull_back(operator.adjoint(unit, x.shape[1:]))
            variance = expand_like(ops.square(sigma), x)
            return score + self.scale * towards / variance

        return ScoreFunction(function, score_fn.variables)
