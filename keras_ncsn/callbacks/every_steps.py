"""The base of the callbacks, which act at regular steps."""

import time
from typing import Any

import keras

from keras_ncsn.checks import check_count


class EverySteps(keras.callbacks.Callback):
    """Calls `on_step(step, logs)` each time `every` more steps are taken.

    The model counts its steps, `NCSNModel.steps_taken`, over all calls of `fit`
    and including those before a restored checkpoint.

    Args:
        every: Integer, at least 1, the number of steps between calls.
    """

    # The time spent in all such callbacks, which `training_clock` leaves out.
    seconds_beside = 0.0

    def __init__(self, every: int) -> None:
        super().__init__()
        check_count(every=every)
        self.every = every
        self.step = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.step = self.model.steps_taken

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        # One call may execute several steps.
        before, self.step = self.step, self.model.steps_taken
        if self.step // self.every > before // self.every:
            began = time.monotonic()
            self.on_step(self.step, logs)
            EverySteps.seconds_beside += time.monotonic() - began

    def on_step(self, step: int, logs: dict[str, Any] | None) -> None:
        """Does the work of the callback.

        Args:
            step: Integer, the number of steps taken.
            logs: As in `keras.callbacks.Callback.on_train_batch_end`.
        """
        raise NotImplementedError


def training_clock() -> float:
    """Returns a time in seconds that leaves out the work of `EverySteps`.

    Returns:
        A float. Only differences are meaningful.
    """
    return time.monotonic() - EverySteps.seconds_beside
