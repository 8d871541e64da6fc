"""The known pixels of an inpainting, at any noise level."""

import numpy as np


class Known:
    """Images of which some pixels are given and the others are sampled.

    Args:
        images: Float32 array of shape `(batch, ...)`, clean.
        known_mask: Boolean array that broadcasts to it, `True` where a pixel
            is known.

    Example:

    >>> from keras_ncsn.samplers.noise_stream import NoiseStream
    >>> known = Known(np.ones((1, 2), "float32"), np.array([[True, False]]))
    >>> noisy, mask = known.perturb(0.0, NoiseStream(0, 0, (1, 2)))
    >>> noisy.tolist(), mask.tolist()
    ([[1.0, 1.0]], [[True, False]])
    """

    def __init__(self, images, known_mask):
        self.images = images
        self.known_mask = known_mask

    @classmethod
    def nothing(cls, noise):
        """Returns what is known when images are generated from nothing."""
        single = (1,) * len(noise.shape)
        return cls(None, np.zeros(single, "bool"))

    def perturb(self, sigma, noise):
        """Returns the images at noise level sigma, and the mask.

        Args:
            sigma: Float, the noise level.
            noise: A `NoiseStream`, asked only where something is known.

        Returns:
            A float32 array and the boolean mask, which broadcasts to it.
        """
        if self.images is None:
            zeros = np.zeros(self.known_mask.shape, "float32")
            return zeros, self.known_mask
        noisy = self.images + np.float32(sigma) * noise.normal()
        return noisy, self.known_mask
