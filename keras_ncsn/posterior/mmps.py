"""Moment matching posterior sampling."""

import dataclasses

import lazy_loader

from keras_ncsn.checks import check_count
from keras_ncsn.posterior.conjugate_gradients import pulled_solution
from keras_ncsn.posterior.denoiser import score_and_denoiser
from keras_ncsn.posterior.linear_operator import LinearOperator
from keras_ncsn.posterior.method import Method
from keras_ncsn.score_function import ScoreFunction

keras = lazy_loader.load("keras")

# Each takes a pass through the network.
MAX_ITERATIONS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMPS(Method):
    """Moment matching posterior sampling.

    It takes the clean images given x as normal, with their true mean D(x) and
    their true covariance sigma**2 * J, where J is the Jacobian of the denoiser
    D. The score of p(y | x) is then
    J A^T (noise_std**2 + sigma**2 A J A^T)^-1 (y - A D(x)), if changes of J
    with x are left out. Conjugate gradients solve the system.

    For normal data all of this is exact.

    Args:
        num_iterations: Integer, at least 1, the iterations of conjugate
            gradients. Each takes one backward pass. With many steps of the
            sampler, five are better calibrated. Defaults to `3`.

    Example:

    >>> prior = ScoreFunction(lambda x, sigma: -x / (1 + sigma[:, None] ** 2))
    >>> mask = keras_ncsn.operators.Mask([True, False])
    >>> posterior = MMPS().posterior(prior, mask)
    >>> score_fn = posterior.bind(0.0, ops.array([[3.0, 0.0]]))
    >>> score = score_fn(ops.array([[1.0, 1.0]]), ops.array([2.0]))
    >>> [round(float(x), 4) for x in score[0]]
    [0.5, -0.2]

    Reference:

    - [Rozet et al., 2024](https://arxiv.org/abs/2405.13712).
    """

    name = "mmps"

    num_iterations: int = 3

    def __post_init__(self) -> None:
        check_count(most=MAX_ITERATIONS, num_iterations=self.num_iterations)

    @property
    def num_passes(self) -> int:
        return 1 + self.num_iterations

    def posterior(
        self, score_fn: ScoreFunction, operator: LinearOperator
    ) -> ScoreFunction:
        def function(x, sigma, noise_std, measurements, *bound):
            from keras_ncsn.noise import expand_like

            score, clean, pull_back = score_and_denoiser(
                score_fn, x, sigma, *bound
            )
            variance = expand_like(keras.ops.square(sigma), x)
            return score + pulled_solution(
                measurements - operator(clean),
                lambda v: pull_back(operator.adjoint(v, x.shape[1:])),
                lambda images: operator(variance * images),
                noise_std,
                self.num_iterations,
                keras.ops.zeros_like(x),
            )

        return ScoreFunction(function, score_fn.variables)
