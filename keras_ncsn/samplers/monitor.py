"""Watches a batch while it is sampled: its progress, and its size."""

import math
from typing import TYPE_CHECKING

import lazy_loader

from keras_ncsn.annotations import Tensor
from keras_ncsn.samplers.sampler import Progress

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule

keras = lazy_loader.load("keras")

# Images have diverged if they are so many times larger than the largest noise
# and the range of the images together. Once they grow, they grow
# exponentially, so the number hardly matters.
LIMIT = 100.0


class Monitor:
    """Reports the progress of a batch, and stops it if it diverges.

    The size of the images is read one call late, when the device has already
    been given the next steps. So the device does not wait.

    Args:
        total: Integer, the number of steps.
        schedule: As in `Sampler.sample`.
        value_range: As in `Sampler.sample`.
        on_progress: As in `Sampler.sample`.
    """

    def __init__(
        self,
        total: int,
        schedule: "NoiseSchedule",
        value_range: tuple[float, float] | None,
        on_progress: Progress | None,
    ) -> None:
        self.total = total
        self.done = 0
        largest = max(abs(bound) for bound in value_range or (0.0,))
        self._limit = LIMIT * (schedule.sigma_max + largest)
        self._on_progress = on_progress
        self._last: tuple[Tensor, float, int] | None = None

    def step(self, x: Tensor, sigma: float, count: int = 1) -> None:
        """Takes note of steps.

        Args:
            x: Float32 tensor of shape `(batch, ...)`, the images after them.
            sigma: Float, the noise level of the last of these steps.
            count: Integer, their number. Defaults to `1`.
        """
        self.done += count
        self._check()
        self._last = _mean_square(x), sigma, self.done
        if self._on_progress:
            self._on_progress(x, self.done, self.total)

    def finish(self, x: Tensor) -> Tensor:
        """Returns the final images, if they have not diverged.

        Args:
            x: Float32 tensor of shape `(batch, ...)`.

        Returns:
            `x`. Raises a `FloatingPointError` if it has diverged.
        """
        self._check()
        _, sigma, done = self._last or (None, math.nan, 0)
        self._last = _mean_square(x), sigma, done
        self._check()
        return x

    def _check(self):
        if self._last is None:
            return
        mean_square, sigma, done = self._last
        size = math.sqrt(float(keras.ops.convert_to_numpy(mean_square)))
        # The negation makes NaN fail.
        if not size <= self._limit:
            raise FloatingPointError(
                f"Sampling diverged at noise level {sigma:.4g}, after {done} "
                f"of {self.total} steps: the root mean square of the images "
                f"became {size:.3g}. Take smaller steps, or less guidance. If "
                "that does not help, the weights of the network are no good."
            )


def _mean_square(x):
    # A maximum would lose NaN on TensorFlow.
    return keras.ops.mean(keras.ops.square(x))
