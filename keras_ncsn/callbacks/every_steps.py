"""What the callbacks have in common: they act every so many steps."""

import time

import keras

from keras_ncsn.checks import check_count


class EverySteps(keras.callbacks.Callback):
    """Calls `on_step(step, logs)` every so many steps of a model.

    Steps are counted by the model, `NCSNModel.steps_taken`, over all of its
    `fit`s and from the checkpoint that it was restored from.

    Args:
        every: Integer, at least 1.
    """

    # Of all such callbacks together: what `training_clock` leaves out.
    seconds_beside = 0.0

    def __init__(self, every):
        super().__init__()
        check_count(every=every)
        self.every = every
        self.step = 0

    def on_train_begin(self, logs=None):
        self.step = self.model.steps_taken

    def on_train_batch_end(self, batch, logs=None):
        # More than one where a call executes several steps.
        before, self.step = self.step, self.model.steps_taken
        if self.step // self.every > before // self.every:
            began = time.monotonic()
            self.on_step(self.step, logs)
            EverySteps.seconds_beside += time.monotonic() - began

    def on_step(self, step, logs):
        raise NotImplementedError


def training_clock():
    """Returns seconds, of which none pass while an `EverySteps` is at work.

    Returns:
        A float; only differences mean something.
    """
    return time.monotonic() - EverySteps.seconds_beside
