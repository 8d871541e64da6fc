"""The denoiser of a score function, with its Jacobian."""

from collections.abc import Callable

import lazy_loader

from keras_ncsn.annotations import Tensor
from keras_ncsn.score_function import ScoreFunction

keras = lazy_loader.load("keras")


def score_and_denoiser(
    score_fn: ScoreFunction, x: Tensor, sigma: Tensor, *bound: Tensor
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Returns the score, the denoised images, and a function that pulls back.

    The denoiser D(x) = x + sigma**2 * score(x) is the mean of the clean images
    given x. Their covariance is sigma**2 times its Jacobian, which is
    symmetric if the score is exact.

    Args:
        score_fn: A `ScoreFunction`.
        x: Float32 tensor of shape `(batch, ...)`.
        sigma: Float32 tensor of shape `(batch,)`.
        *bound: Tensors that `score_fn` takes after `sigma`.

    Returns:
        Two tensors shaped like `x`, and a function that multiplies a tensor of
        that shape by the Jacobian of D.

    Example:

    >>> standard_normal = ScoreFunction(
    ...     lambda x, sigma: -x / (1.0 + sigma[:, None] ** 2)
    ... )
    >>> _, denoised, pull_back = score_and_denoiser(
    ...     standard_normal, ops.array([[10.0]]), ops.array([2.0])
    ... )
    >>> jacobian = pull_back(ops.ones((1, 1)))
    >>> float(denoised[0, 0]), round(float(jacobian[0, 0]), 6)
    (2.0, 0.2)

    Reference:

    - [Efron, 2011](https://doi.org/10.1198/jasa.2011.tm11181), Tweedie's
      formula, for mean and covariance.
    """
    from keras_ncsn import backend
    from keras_ncsn.noise import expand_like

    score, pull_back = backend.output_and_pull_back(
        score_fn.function, x, sigma, *bound
    )
    variance = expand_like(keras.ops.square(sigma), x)
    return (
        score,
        x + variance * score,
        lambda direction: direction + variance * pull_back(direction),
    )
