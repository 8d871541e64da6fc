"""Conjugate gradients, for the covariance of measurements."""

from collections.abc import Callable

import lazy_loader

from keras_ncsn.annotations import Tensor

keras = lazy_loader.load("keras")


def pulled_solution(
    residual: Tensor,
    pull: Callable[[Tensor], Tensor],
    push: Callable[[Tensor], Tensor],
    noise_std: Tensor,
    num_iterations: int,
    zeros: Tensor,
) -> Tensor:
    """Returns pull(v), where noise_std**2 * v + push(pull(v)) = residual.

    `residual` is measurements less their mean, the matrix on the left is their
    covariance, and pull(v) is the score of their likelihood. Each image has
    its own v. The method of conjugate gradients would be exact after as many
    iterations as the matrix has different eigenvalues. An image stops early
    where it is exact, or where the matrix is not positive definite.

    Args:
        residual: Float32 tensor of shape `(batch, ...)`.
        pull: Linear function from tensors shaped like `residual` to images.
            It is called once in each iteration.
        push: Linear function from images to tensors shaped like `residual`.
        noise_std: Scalar tensor.
        num_iterations: Integer, at least 1.
        zeros: Float32 tensor of zeros, shaped like what `pull` returns.

    Returns:
        A float32 tensor shaped like `zeros`.

    Example:

    >>> matrix = ops.array([[3.0, 1.0], [1.0, 2.0]])
    >>> v = pulled_solution(
    ...     ops.array([[5.0, 5.0]]),
    ...     lambda v: v,
    ...     lambda v: ops.matmul(v, matrix),
    ...     noise_std=0.0,
    ...     num_iterations=2,
    ...     zeros=ops.zeros((1, 2)),
    ... )
    >>> [round(float(x), 4) for x in v[0]]
    [1.0, 2.0]

    Reference:

    - [Hestenes and Stiefel, 1952](https://doi.org/10.6028/jres.049.044).
    """
    from keras_ncsn.noise import expand_like

    ops = keras.ops
    axes = tuple(range(1, len(residual.shape)))
    noise_variance = ops.square(ops.convert_to_tensor(noise_std, "float32"))

    def ratio(numerator, denominator):
        positive = denominator > 0
        safe = ops.where(positive, denominator, 1.0)
        return ops.where(positive, numerator / safe, 0.0)

    def step(index, state):
        solution, rest, direction, squared = state
        pulled = pull(direction)
        product = noise_variance * direction + push(pulled)
        length = ratio(squared, ops.sum(direction * product, axis=axes))
        solution = solution + expand_like(length, pulled) * pulled
        rest = rest - expand_like(length, rest) * product
        squared, before = ops.sum(ops.square(rest), axis=axes), squared
        # Without a step, the direction becomes 0 and stays so.
        growth = expand_like(ratio(squared, before), rest)
        moved = expand_like(length > 0, rest)
        direction = ops.where(moved, rest + growth * direction, 0.0)
        return solution, rest, direction, squared

    squared = ops.sum(ops.square(residual), axis=axes)
    state = zeros, residual, residual, squared
    return ops.fori_loop(0, num_iterations, step, state)[0]
