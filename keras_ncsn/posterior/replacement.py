"""Replacement of the known pixels, as in inpainting."""

import dataclasses

import lazy_loader

from keras_ncsn.posterior.method import Method
from keras_ncsn.posterior.operators import LinearOperator, Mask
from keras_ncsn.score_function import ScoreFunction

keras = lazy_loader.load("keras")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replacement(Method):
    """Replacement of the known pixels by their noisy values; for `Mask` only.

    The score of known pixels becomes that of their measured values with noise,
    (y - x) / (noise_std**2 + sigma**2). The others keep their score, given
    these noisy values. So what is known reaches the other pixels only through
    noise, and late.

    `inpaint` with `AnnealedLangevin` is the paper's algorithm as published,
    which sets the known pixels to y + sigma * z instead.

    Example:

    >>> Replacement().num_passes
    1

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Algorithm 2.
    """

    name = "replacement"

    @property
    def num_passes(self) -> int:
        return 1

    def posterior(
        self, score_fn: ScoreFunction, operator: LinearOperator
    ) -> ScoreFunction:
        if not isinstance(operator, Mask):
            raise ValueError(
                "The method replacement must get the operator `Mask`, which "
                f"says what to replace. Received: {type(operator).__name__}. "
                "Use the method mmps."
            )

        def function(x, sigma, noise_std, measurements, *bound):
            from keras_ncsn.noise import expand_like

            ops = keras.ops
            noise_std = ops.convert_to_tensor(noise_std, "float32")
            variance = ops.square(noise_std) + ops.square(sigma)
            of_known = (measurements - x) / expand_like(variance, x)
            score = score_fn.function(x, sigma, *bound)
            is_known = ops.convert_to_tensor(operator.known_mask(x.shape[1:]))
            return ops.where(is_known, of_known, score)

        return ScoreFunction(function, score_fn.variables)
