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

# Images have diverged if they are so many times larger than the noise and the
# range of the images together. Once they grow, they grow exponentially, so the
# number hardly matters.
LIMIT = 100.0
# At the end, the images may have grown for a few steps only. With a network
# that knows nothing, Langevin dynamics on NCSN's ladder ends at 8, and with
# random weights more.
FINAL_LIMIT = 50.0
# Times the largest noise. Without a range, the data may be anywhere.
LIMIT_WITHOUT_RANGE = 1e6


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
        self._schedule = schedule
        self._value_range = value_range
        self._on_progress = on_progress
        # The mean square, its limit, and where it was reached.
        self._last: tuple[Tensor, float, str] | None = None
        self._levels = math.nan, math.nan

    def step(
        self,
        x: Tensor,
        sigma: float,
        count: int = 1,
        first: float | None = None,
    ) -> None:
        """Takes note of steps.

        Args:
            x: Float32 tensor of shape `(batch, ...)`, the images after them.
            sigma: Float, the noise level of the last of these steps.
            count: Integer, their number. Defaults to `1`.
            first: Float, the noise level of the first of these steps. Defaults
                to `None`: that of the last.
        """
        self.done += count
        self._check()
        self._levels = sigma if first is None else first, sigma
        self._note(x, LIMIT, self._levels[0])
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
        self._levels = self._levels[1], self._levels[1]
        self._note(x, FINAL_LIMIT, self._schedule.sigma_min)
        self._check()
        return x

    def _note(self, x, factor, noise):
        limit = LIMIT_WITHOUT_RANGE * self._schedule.sigma_max
        if self._value_range is not None:
            limit = factor * (max(map(abs, self._value_range)) + noise)
        first, last = self._levels
        place = (
            f"at noise level {last:.4g}"
            if first == last
            else f"between noise levels {first:.4g} and {last:.4g}"
        )
        place = f"{place}, after {self.done} of {self.total} steps"
        self._last = _mean_square(x), limit, place

    def _check(self):
        if self._last is None:
            return
        mean_square, limit, place = self._last
        size = math.sqrt(float(keras.ops.convert_to_numpy(mean_square)))
        # The negation makes NaN fail.
        if not size <= limit:
            raise FloatingPointError(
                f"Sampling diverged {place}: the root mean square of the "
                f"images became {size:.3g}. Take smaller steps, or give less "
                "weight to guidance or to measurements. If that does not "
                "help, the weights are unusable."
            )


def _mean_square(x):
    # A maximum would lose NaN on TensorFlow.
    return keras.ops.mean(keras.ops.square(x))
