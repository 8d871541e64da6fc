"""The random numbers of the samplers: one stream an image."""

import numpy as np


class NoiseStream:
    """Noise for a batch of images, of which each has a stream of its own.

    Image i of seed s depends on (s, i) alone, so the same images come out
    whatever the batch size; and on every backend, because NumPy draws.

    Args:
        seed: Integer, at least 0.
        first: Integer, index of the first image of the batch.
        shape: Tuple `(batch, ...)`, the shape of the batch.

    Example:

    >>> both = NoiseStream(7, first=0, shape=(2, 4)).normal()
    >>> second = NoiseStream(7, first=1, shape=(1, 4)).normal()
    >>> bool((both[1] == second[0]).all())
    True
    """

    def __init__(self, seed, first, shape):
        self.shape = tuple(shape)
        # A hash of (seed, index): seed + index would repeat images of one
        # seed under the next.
        self._generators = [
            np.random.Generator(np.random.PCG64((seed, index)))
            for index in range(first, first + self.shape[0])
        ]

    def normal(self, num_steps=None):
        """Returns standard normal noise.

        Args:
            num_steps: Integer, how many draws an image. Defaults to `None`,
                one draw and no axis for it.

        Returns:
            A float32 array of shape `(num_steps, batch, ...)`.
        """
        leading = () if num_steps is None else (num_steps,)
        draws = [
            generator.standard_normal(leading + self.shape[1:], "float32")
            for generator in self._generators
        ]
        return np.stack(draws, axis=len(leading))

    def uniform(self):
        """Returns one draw an image, uniform in [0, 1).

        Returns:
            A float32 array of shape `(batch, ...)`.
        """
        return np.stack(
            [
                generator.random(self.shape[1:], "float32")
                for generator in self._generators
            ]
        )
