"""A linear function of images, and its adjoint."""

from collections.abc import Callable, Sequence
from typing import Any

import lazy_loader
import numpy as np

from keras_ncsn.annotations import Tensor

# The command line lists the methods without importing Keras.
keras = lazy_loader.load("keras")


class LinearOperator:
    """A linear function of a batch of images.

    Args:
        function: Function of a float32 tensor of shape `(batch, ...)`, images,
            that returns real measurements, a float32 tensor of shape
            `(batch, ...)`. It must treat each image alike and be linear,
            without an offset. It uses `keras.ops`. Return complex numbers as
            an axis of two, the real and the imaginary part.
        adjoint: Function of a tensor of measurements that returns a tensor of
            images. Defaults to `None`: the adjoint by automatic
            differentiation.

    Call arguments:
        images: Float tensor or array of shape `(batch, ...)`.

    Returns:
        A float32 tensor of shape `(batch, ...)`.

    Example:

    >>> difference = LinearOperator(lambda x: x[:, 1:] - x[:, :-1])
    >>> images = ops.array([[1.0, 4.0, 9.0]])
    >>> ops.convert_to_numpy(difference(images)).tolist()
    [[3.0, 5.0]]
    >>> back = difference.adjoint(ops.array([[1.0, 0.0]]), image_shape=(3,))
    >>> ops.convert_to_numpy(back).tolist()
    [[-1.0, 1.0, 0.0]]
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.function = function
        self._adjoint = adjoint

    def __call__(self, images: Tensor) -> Tensor:
        return self.function(to_tensor(images))

    def adjoint(
        self, measurements: Tensor, image_shape: Sequence[int]
    ) -> Tensor:
        """Returns the adjoint of the operator, applied to measurements.

        Args:
            measurements: Float tensor or array of shape `(batch, ...)`.
            image_shape: Tuple of integers, the shape of one image.

        Returns:
            A float32 tensor of shape `(batch, *image_shape)`.
        """
        measurements = to_tensor(measurements)
        if self._adjoint is not None:
            return self._adjoint(measurements)
        from keras_ncsn import backend

        # The Jacobian of a linear function is the same everywhere.
        zeros = keras.ops.zeros((measurements.shape[0], *image_shape))
        _, pull_back = backend.output_and_pull_back(self.function, zeros)
        return pull_back(measurements)

    def check_shape(self, image_shape: Sequence[int]) -> None:
        """Raises a `ValueError` unless the operator fits images of a shape.

        Args:
            image_shape: Tuple of integers.
        """

    def measured(self, measurements: np.ndarray) -> np.ndarray:
        """Returns measurements without what the operator does not measure.

        Args:
            measurements: Array of shape `(batch, ...)`.

        Returns:
            An array of that shape. `Mask` and `Fourier` set to 0 what is
            unknown, whatever it was.
        """
        return measurements


def to_tensor(values: Any) -> Tensor:
    """Returns values as a float32 tensor.

    Args:
        values: Tensor, array or sequence of numbers or booleans.
    """
    return keras.ops.convert_to_tensor(values, "float32")
