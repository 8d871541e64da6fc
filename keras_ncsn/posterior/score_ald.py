"""Annealed Langevin dynamics on the posterior."""

import dataclasses

import lazy_loader

from keras_ncsn.checks import check_count
from keras_ncsn.posterior.conjugate_gradients import pulled_solution
from keras_ncsn.posterior.linear_operator import LinearOperator
from keras_ncsn.posterior.method import Method
from keras_ncsn.score_function import ScoreFunction

keras = lazy_loader.load("keras")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreALD(Method):
    """The likelihood of noisy images, for annealed Langevin dynamics.

    It takes the clean images given x as normal around x, not around the
    denoised image, with variance sigma**2. The score of p(y | x) is then
    A^T (noise_std**2 + sigma**2 A A^T)^-1 (y - A x), which needs no gradient
    of the network.

    This ignores what is known of the images, so it is wrong at large noise,
    and right where sigma is small. Annealed Langevin dynamics can make up for
    that: its last levels forget what came before. A sampler along the
    probability flow never does, so do not use it with `Heun`.

    Args:
        num_iterations: As in `PiGDM`. Defaults to `20`.

    Example:

    >>> ScoreALD().num_passes
    1

    Reference:

    - [Jalal et al., 2021](https://arxiv.org/abs/2108.01368), with its
      gamma equal to sigma; the formulas are equal where A A^T = 1;
      [Daras et al., 2024](https://arxiv.org/abs/2410.00083), for the name.
    """

    name = "score_ald"

    num_iterations: int = 20

    def __post_init__(self) -> None:
        check_count(num_iterations=self.num_iterations)

    @property
    def num_passes(self) -> int:
        return 1

    def posterior(
        self, score_fn: ScoreFunction, operator: LinearOperator
    ) -> ScoreFunction:
        def function(x, sigma, noise_std, measurements, *bound):
            from keras_ncsn.noise import expand_like

            variance = expand_like(keras.ops.square(sigma), x)
            return score_fn.function(x, sigma, *bound) + pulled_solution(
                measurements - operator(x),
                lambda v: operator.adjoint(v, x.shape[1:]),
                lambda images: operator(variance * images),
                noise_std,
                self.num_iterations,
                keras.ops.zeros_like(x),
            )

        return ScoreFunction(function, score_fn.variables)
