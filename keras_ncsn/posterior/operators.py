"""Linear operators: how images become measurements.

`keras_ncsn.operators`. An operator is called on a batch of images and returns
a batch of measurements. Its `adjoint` takes measurements back to images, so
that the inner products <A x, y> and <x, A^T y> are equal.
"""

from collections.abc import Sequence

import lazy_loader
import numpy as np
import numpy.typing as npt

from keras_ncsn.annotations import Tensor
from keras_ncsn.checks import check_count, check_known_mask
from keras_ncsn.posterior.linear_operator import (
    LinearOperator as LinearOperator,
)
from keras_ncsn.posterior.linear_operator import to_tensor

# The command line lists the methods without importing Keras.
keras = lazy_loader.load("keras")

# The brightness of red, green and blue (ITU-R BT.601), as PIL converts to grey.
LUMA = (0.299, 0.587, 0.114)


class Mask(LinearOperator):
    """Missing pixels: the unknown ones become 0.

    The mask is the paper's, as in `inpaint`: `True` where a pixel is known.

    Args:
        known: Array of booleans or of zeros and ones, of shape
            `(height, width)` for images, or one that broadcasts to an image
            or a signal. `True` (1) where a pixel is known. `solve` ignores the
            measurements of other pixels, which may be NaN.

    Example:

    >>> mask = Mask(np.array([True, False]))
    >>> ops.convert_to_numpy(mask(ops.array([[3.0, 5.0]]))).tolist()
    [[3.0, 0.0]]
    """

    def __init__(self, known: npt.ArrayLike) -> None:
        self.known = np.array(known)
        super().__init__(self._keep, self._keep)

    def check_shape(self, image_shape: Sequence[int]) -> None:
        self.known_mask(image_shape)

    def known_mask(self, image_shape: Sequence[int]) -> np.ndarray:
        """Returns the mask as booleans of shape `(1, *image_shape)`.

        Args:
            image_shape: Tuple of integers, the shape of one image.
        """
        mask = check_known_mask(self.known, (1, *image_shape), "known")
        return np.broadcast_to(mask, (1, *image_shape))

    def measured(self, measurements: np.ndarray) -> np.ndarray:
        mask = self.known_mask(measurements.shape[1:])
        return np.where(mask, measurements, 0)

    def _keep(self, images):
        return images * to_tensor(self.known_mask(images.shape[1:]))


class Downsample(LinearOperator):
    """Super-resolution: each measurement is the mean of a block of pixels.

    Args:
        factor: Integer, at least 1. A block has `factor` by `factor` pixels in
            an image of shape `(height, width, channels)`, and `factor` values
            in a signal of shape `(length,)` or `(length, channels)`.

    Example:

    >>> images = ops.array([[1.0, 3.0, 0.0, 8.0]])
    >>> ops.convert_to_numpy(Downsample(2)(images)).tolist()
    [[2.0, 4.0]]
    """

    def __init__(self, factor: int) -> None:
        check_count(factor=factor)
        self.factor = factor
        super().__init__(self._means, self._spread)

    def check_shape(self, image_shape: Sequence[int]) -> None:
        sides = _sides(image_shape)
        if any(side % self.factor for side in sides):
            raise ValueError(
                "`factor` must divide the sides of the images. Received: "
                f"factor={self.factor}, and images of shape "
                f"{tuple(image_shape)}"
            )

    def _means(self, images):
        for axis in _axes(images):
            shape = tuple(images.shape)
            blocks = (shape[axis] // self.factor, self.factor)
            split = (*shape[:axis], *blocks, *shape[axis + 1 :])
            images = keras.ops.mean(keras.ops.reshape(images, split), axis + 1)
        return images

    def _spread(self, measurements):
        axes = _axes(measurements)
        for axis in axes:
            measurements = keras.ops.repeat(
                measurements, self.factor, axis=axis
            )
        return measurements / float(self.factor ** len(axes))


class Blur(LinearOperator):
    """Deblurring: each measurement is a weighted mean around a pixel.

    It is a convolution in which pixels outside of an image are 0.

    Args:
        kernel: Float array with odd sides, the weights: of shape
            `(height, width)` for images, or `(length,)` for signals.

    Example:

    >>> blur = Blur([0.5, 0.3, 0.2])
    >>> measurements = blur(ops.array([[0.0, 1.0, 0.0, 0.0]]))
    >>> [round(float(x), 2) for x in measurements[0]]
    [0.5, 0.3, 0.2, 0.0]
    """

    def __init__(self, kernel: npt.ArrayLike) -> None:
        self.kernel = np.array(kernel, "float32")
        is_kernel = self.kernel.ndim in (1, 2) and all(
            side % 2 for side in self.kernel.shape
        )
        if not is_kernel or not np.all(np.isfinite(self.kernel)):
            raise ValueError(
                "`kernel` must hold finite numbers, with one or two sides "
                f"that are odd. Received: kernel.shape={self.kernel.shape}"
            )
        # The convolutions of networks do not turn the kernel.
        turned = np.flip(self.kernel)
        super().__init__(
            lambda images: _correlate(images, turned),
            lambda measurements: _correlate(measurements, self.kernel),
        )

    def check_shape(self, image_shape: Sequence[int]) -> None:
        if self.kernel.ndim != len(_sides(image_shape)):
            raise ValueError(
                "`kernel` must have two sides for images, and one for "
                f"signals. Received: kernel.shape={self.kernel.shape}, and "
                f"images of shape {tuple(image_shape)}"
            )


class Grayscale(LinearOperator):
    """Colourisation: each measurement is the brightness of a pixel.

    The brightness is 0.299 red + 0.587 green + 0.114 blue, as in the pictures
    that PIL converts to grey. The measurements have one channel.

    Example:

    >>> white = ops.ones((1, 8, 8, 3))
    >>> grey = Grayscale()(white)
    >>> tuple(grey.shape), round(float(grey[0, 0, 0, 0]), 3)
    ((1, 8, 8, 1), 1.0)
    """

    def __init__(self) -> None:
        super().__init__(
            lambda images: keras.ops.sum(
                images * to_tensor(LUMA), -1, keepdims=True
            ),
            lambda measurements: measurements * to_tensor(LUMA),
        )

    def check_shape(self, image_shape: Sequence[int]) -> None:
        if len(image_shape) < 2 or image_shape[-1] != len(LUMA):
            raise ValueError(
                "`Grayscale` must get images with 3 channels. Received: "
                f"images of shape {tuple(image_shape)}"
            )


class Matrix(LinearOperator):
    """Compressed sensing: each measurement is a weighted sum of all values.

    Args:
        matrix: Float array of shape `(num_measurements, num_values)`, where
            `num_values` is the number of values of one image.

    Example:

    >>> measurements = Matrix([[1.0, 10.0]])(ops.array([[3.0, 5.0]]))
    >>> ops.convert_to_numpy(measurements).tolist()
    [[53.0]]
    """

    def __init__(self, matrix: npt.ArrayLike) -> None:
        self.matrix = np.array(matrix, "float32")
        if self.matrix.ndim != 2 or not np.all(np.isfinite(self.matrix)):
            raise ValueError(
                "`matrix` must hold finite numbers, in rows and columns. "
                f"Received: matrix.shape={self.matrix.shape}"
            )
        super().__init__(self._multiply)

    def adjoint(
        self, measurements: Tensor, image_shape: Sequence[int]
    ) -> Tensor:
        flat = keras.ops.matmul(to_tensor(measurements), to_tensor(self.matrix))
        return keras.ops.reshape(flat, (-1, *image_shape))

    def check_shape(self, image_shape: Sequence[int]) -> None:
        if self.matrix.shape[1] != np.prod(image_shape):
            raise ValueError(
                "`matrix` must have a column for each value of an image. "
                f"Received: matrix.shape={self.matrix.shape}, and images of "
                f"shape {tuple(image_shape)}"
            )

    def _multiply(self, images):
        flat = keras.ops.reshape(images, (-1, self.matrix.shape[1]))
        return keras.ops.matmul(flat, to_tensor(self.matrix.T))


class Fourier(LinearOperator):
    """Subsampled Fourier data, as in magnetic resonance imaging.

    The discrete Fourier transform of each channel, over height and width (or
    the length of a signal), divided by the square root of the number of its
    values, so that it keeps lengths. The measurements have the shape of the
    images, and a last axis of two: the real and the imaginary part. `solve`
    also takes complex arrays without this axis. `noise_std` is that of each
    part.

    Args:
        mask: Array as in `Mask`, `True` (1) where a frequency is known, in
            the order of `numpy.fft.fft2`. `solve` ignores the measurements of
            other frequencies.

    Example:

    >>> fourier = Fourier(np.array([True, False]))
    >>> measurements = fourier(ops.array([[3.0, 3.0]]))
    >>> [round(float(x), 3) for x in measurements[0, 0]]
    [4.243, 0.0]
    """

    def __init__(self, mask: npt.ArrayLike) -> None:
        self.mask = Mask(mask)
        super().__init__(self._transform, self._transform_back)

    def check_shape(self, image_shape: Sequence[int]) -> None:
        self.mask.check_shape(image_shape)

    def measured(self, measurements: np.ndarray) -> np.ndarray:
        mask = self.mask.known_mask(measurements.shape[1:-1])
        return np.where(mask[..., None], measurements, 0)

    def _transform(self, images):
        mask = to_tensor(self.mask.known_mask(images.shape[1:]))
        parts = _fourier(images, keras.ops.zeros_like(images))
        return keras.ops.stack([part * mask for part in parts], axis=-1)

    def _transform_back(self, measurements):
        mask = to_tensor(self.mask.known_mask(measurements.shape[1:-1]))
        real, imaginary = (measurements[..., part] * mask for part in (0, 1))
        # The inverse is the conjugate of the transform of the conjugate.
        return _fourier(real, -imaginary)[0]


def _fourier(real, imaginary):
    """Returns the unitary transform of each channel, as two tensors."""
    ops = keras.ops
    sides = _sides(real.shape[1:])
    # Keras transforms the last axes, so the channels go before them.
    has_channels = len(real.shape) > 1 + len(sides)
    if has_channels:
        real, imaginary = (ops.moveaxis(x, -1, 1) for x in (real, imaginary))
    transform = ops.fft2 if len(sides) == 2 else ops.fft
    parts = transform((real, imaginary))
    parts = [part / np.sqrt(np.prod(sides)).item() for part in parts]
    return [ops.moveaxis(x, 1, -1) for x in parts] if has_channels else parts


def _correlate(images, kernel):
    """Returns the sum of the kernel and the pixels around each pixel."""
    ops = keras.ops
    shape = images.shape
    sides = _sides(shape[1:])
    # Each channel is an image of its own, so that one kernel serves them all.
    has_channels = len(shape) > 1 + len(sides)
    if has_channels:
        images = ops.moveaxis(images, -1, 1)
    planes = ops.reshape(images, (-1, *sides, 1))
    planes = ops.conv(
        planes,
        to_tensor(kernel[..., None, None].copy()),
        padding="same",
        data_format="channels_last",
    )
    planes = ops.reshape(planes, images.shape)
    return ops.moveaxis(planes, 1, -1) if has_channels else planes


def _sides(image_shape):
    """Returns the sides of an image, or the length of a signal."""
    return tuple(image_shape[: max(1, len(image_shape) - 1)])


def _axes(images):
    return range(1, 1 + len(_sides(images.shape[1:])))
