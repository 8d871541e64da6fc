"""A check that an operator is a linear function of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ncsn.posterior.linear_operator import LinearOperator
from keras_ncsn.text import one_line, reason

# Of float32 sums over an image, relative to the largest measurement.
TOLERANCE = 1e-3


def measurement_shape(
    operator: Any, image_shape: Sequence[int]
) -> tuple[int, ...]:
    """Returns the shape of what an operator measures of one image.

    The operator is tried on random images. A `ValueError` refuses one that
    does not fit the images, is not linear or not real, or mixes the images of
    a batch, and an adjoint that is not its own.

    Args:
        operator: The value to check, which must be a `LinearOperator`.
        image_shape: Tuple of integers, the shape of one image.

    Returns:
        A tuple of integers.

    Example:

    >>> measurement_shape(keras_ncsn.operators.Downsample(2), (28, 28, 1))
    (14, 14, 1)
    """
    image_shape = tuple(image_shape)
    if not isinstance(operator, LinearOperator):
        raise ValueError(
            "`operator` must be a `LinearOperator` of `keras_ncsn.operators`. "
            f"Received: operator={one_line(repr(operator))}. Wrap a function "
            "as LinearOperator(function)."
        )
    operator.check_shape(image_shape)
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, *image_shape), "float32")
    zero = np.zeros_like(first)
    together = _apply(operator, np.stack([first, second, first - 2 * second]))
    alone = _apply(operator, np.stack([first, zero, zero]))
    shape = together.shape
    if together.ndim < 2 or len(together) != 3:
        raise ValueError(
            "`operator` must return the measurements of each image, of shape "
            f"(batch, ...). Received: an array of shape {shape} for 3 images"
        )
    if together.dtype.kind != "f":
        raise ValueError(
            "`operator` must return real floats. Received: "
            f"{together.dtype}. Return complex numbers as an axis of two, the "
            "real and the imaginary part."
        )
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        raise ValueError(
            "`operator` must return finite numbers. Received: inf or NaN for "
            "random images"
        )
    scale = TOLERANCE * np.abs(together).max()
    mixed = np.abs(together[0] - alone[0]).max()
    if not mixed <= scale:
        raise ValueError(
            "`operator` must measure each image alone. Received: an operator "
            "whose measurements of an image depend on the rest of the batch, "
            f"by {mixed:.3g}"
        )
    combined = together[0] - 2 * together[1]
    difference = np.abs(together[2] - combined).max()
    offset = np.abs(alone[1:]).max()
    if not (difference <= scale and offset <= scale):
        raise ValueError(
            "`operator` must be linear: A(x - 2 y) = A(x) - 2 A(y), and "
            "A(0) = 0. Received: an operator for which these differ by "
            f"{difference:.3g} and {offset:.3g}"
        )
    direction = rng.standard_normal(shape, "float32")
    _check_adjoint(operator, together, first, direction)
    return shape[1:]


def _check_adjoint(operator, measurements, image, direction):
    images = _apply(
        lambda x: operator.adjoint(x, image.shape), direction, "adjoint"
    )
    if images.shape != (len(direction), *image.shape):
        raise ValueError(
            "The `adjoint` of `operator` must return images. Received: an "
            f"array of shape {images.shape} for {len(direction)} images of "
            f"shape {image.shape}"
        )
    products = measurements[0] * direction[0], image * images[0]
    sums = [product.sum(dtype="float64") for product in products]
    sizes = [np.sqrt(np.square(product).sum()) for product in products]
    if not abs(sums[0] - sums[1]) <= TOLERANCE * max(*sizes, 1e-30):
        raise ValueError(
            "`adjoint` must be the adjoint of `function`: <A x, y> = "
            f"<x, adjoint(y)>. Received: {sums[0]:.5g} and {sums[1]:.5g}. "
            "Leave it out to use automatic differentiation."
        )


def _apply(function, images, name="operator"):
    """Returns a function's result as an array, computed as in sampling."""
    from keras import ops

    from keras_ncsn import backend

    try:
        compiled = backend.compile_inference(lambda x: function(x))
        return np.asarray(ops.convert_to_numpy(compiled(images)))
    except Exception as error:
        # It may be anything: the function is the user's.
        raise ValueError(
            f"`{name}` must be a function of a batch, float32 of shape "
            f"(batch, ...), that uses `keras.ops`. Received: for the shape "
            f"{images.shape} it raised {reason(error)}"
        ) from error
