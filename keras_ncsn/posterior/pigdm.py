"""Pseudoinverse-guided diffusion models."""

import dataclasses

import lazy_loader

from keras_ncsn.checks import check_above_zero, check_count
from keras_ncsn.posterior.conjugate_gradients import pulled_solution
from keras_ncsn.posterior.denoiser import score_and_denoiser
from keras_ncsn.posterior.linear_operator import LinearOperator
from keras_ncsn.posterior.method import Method
from keras_ncsn.score_function import ScoreFunction

keras = lazy_loader.load("keras")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PiGDM(Method):
    """Pseudoinverse-guided diffusion models.

    It takes the clean images given x as normal, with their true mean D(x) and
    independent pixels of variance
    r**2 = sigma**2 data_std**2 / (sigma**2 + data_std**2). The score of
    p(y | x) is then J A^T (noise_std**2 + r**2 A A^T)^-1 (y - A D(x)), where J
    is the Jacobian of the denoiser D.

    For independent normal values of standard deviation `data_std` all of this
    is exact. The values of images depend on each other.

    Args:
        data_std: Float above 0, the assumed standard deviation of the values,
            in the range in which noise is added. Defaults to `1.0`, as in the
            paper.
        num_iterations: Integer, at least 1, the iterations of conjugate
            gradients, which take no passes through the network. `Mask`,
            `Downsample` and `Grayscale` need at most two, `Fourier` three.
            Defaults to `20`.

    Example:

    >>> PiGDM(data_std=0.3).num_passes
    2

    Reference:

    - [Song et al., 2023](https://openreview.net/forum?id=9_gsMA8MRKQ).
    """

    name = "pigdm"

    data_std: float = 1.0
    num_iterations: int = 20

    def __post_init__(self) -> None:
        check_above_zero(data_std=self.data_std)
        check_count(num_iterations=self.num_iterations)

    @property
    def num_passes(self) -> int:
        return 2

    def posterior(
        self, score_fn: ScoreFunction, operator: LinearOperator
    ) -> ScoreFunction:
        def function(x, sigma, noise_std, measurements, *bound):
            from keras_ncsn.noise import expand_like

            score, clean, pull_back = score_and_denoiser(
                score_fn, x, sigma, *bound
            )
            variance = expand_like(keras.ops.square(sigma), x)
            variance = variance / (1.0 + variance / self.data_std**2)
            return score + pull_back(
                pulled_solution(
                    measurements - operator(clean),
                    lambda v: operator.adjoint(v, x.shape[1:]),
                    lambda images: operator(variance * images),
                    noise_std,
                    self.num_iterations,
                    keras.ops.zeros_like(x),
                )
            )

        return ScoreFunction(function, score_fn.variables)
