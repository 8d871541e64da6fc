"""The known pixels of images to inpaint, at any noise level."""

from typing import Self

import numpy as np

from keras_ncsn.samplers.noise_stream import NoiseStream


class Known:
    """Images with some pixels given; the others are sampled.

    Args:
        images: Float32 array of shape `(batch, ...)`, clean images; or `None`
            if no pixel is known.
        known_mask: Boolean array that broadcasts to the images, `True` where a
            pixel is known.

    Example:

    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> known = Known(np.ones((1, 2), "float32"), np.array([[True, False]]))
    >>> noisy, mask = known.perturb(0.0, NoiseStream(0, 0, (1, 2)))
    >>> noisy.tolist(), mask.tolist()
    ([[1.0, 1.0]], [[True, False]])
    """

    def __init__(
        self, images: np.ndarray | None, known_mask: np.ndarray
    ) -> None:
        self.images = images
        self.known_mask = known_mask

    @classmethod
    def nothing(cls, noise: NoiseStream) -> Self:
        """Returns a `Known` without known pixels, to generate new images."""
        single = (1,) * len(noise.shape)
        return cls(None, np.zeros(single, "bool"))

    def of_rows(self, rows: np.ndarray) -> Self:
        """Returns the known pixels of some of the images.

        Args:
            rows: Integer array, the indices of these images.

        Returns:
            A `Known`.
        """
        images = None if self.images is None else self.images[rows]
        one = len(self.known_mask) == 1
        mask = self.known_mask if one else self.known_mask[rows]
        return type(self)(images, mask)

    def perturb(
        self, sigma: float, noise: NoiseStream
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images at noise level sigma, and the mask.

        Args:
            sigma: Float, the noise level.
            noise: A `NoiseStream`. It is used only if some pixels are known.

        Returns:
            A float32 array, and the boolean mask, which broadcasts to the
            images.
        """
        if self.images is None:
            zeros = np.zeros(self.known_mask.shape, "float32")
            return zeros, self.known_mask
        noisy = self.images + np.float32(sigma) * noise.normal()
        return noisy, self.known_mask
