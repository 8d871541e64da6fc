"""The random numbers of the samplers: one stream per image."""

from collections.abc import Sequence

import numpy as np


class NoiseStream:
    """Noise for a batch of images: each image has its own random stream.

    The noise of image i depends only on the seed and on i. It is the same for
    every batch size, and on every backend, because NumPy draws it.

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

    def __init__(self, seed: int, first: int, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        # PCG64 hashes (seed, index). With seed + index, image 1 of seed 0
        # would be image 0 of seed 1.
        self._generators = [
            np.random.Generator(np.random.PCG64((seed, index)))
            for index in range(first, first + self.shape[0])
        ]

    def normal(self, num_steps: int | None = None) -> np.ndarray:
        """Returns standard normal noise.

        Args:
            num_steps: Integer, the number of draws per image. Defaults to
                `None`, one draw without an axis of its own.

        Returns:
            A float32 array of shape `(num_steps, batch, ...)`, or
            `(batch, ...)` without `num_steps`.
        """
        leading = () if num_steps is None else (num_steps,)
        draws = [
            generator.standard_normal(leading + self.shape[1:], "float32")
            for generator in self._generators
        ]
        return np.stack(draws, axis=len(leading))

    def uniform(self) -> np.ndarray:
        """Returns one draw per image, uniform in [0, 1).

        Returns:
            A float32 array of shape `(batch, ...)`.
        """
        return np.stack(
            [
                generator.random(self.shape[1:], "float32")
                for generator in self._generators
            ]
        )
