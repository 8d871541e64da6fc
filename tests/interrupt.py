"""A training run that is stopped by a signal."""

import os

import keras


class Interrupt(keras.callbacks.Callback):
    """Sends its own process a signal after three steps."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            os.kill(os.getpid(), self.number)
