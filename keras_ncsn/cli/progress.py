"""The progress bar of a training run, and how a person stops the run."""

import contextlib
import signal
from typing import Any, Self

import click
import keras

from keras_ncsn.callbacks.every_steps import training_clock
from keras_ncsn.progress import make_bar


class ProgressBar(keras.callbacks.Callback):
    """A bar with the step, time left, loss and images per second.

    Used in a `with` statement, which ends the line of the bar whatever
    happens.

    Args:
        num_steps: Integer, the steps of the run in all.
        batch_size: Integer.
        num_images: Integer, images that there are.
    """

    def __init__(
        self, num_steps: int, batch_size: int, num_images: int
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.num_images = num_images
        self.bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        start = self.num_steps - self.params["steps"]
        shape = "x".join(str(side) for side in self.model.image_shape)
        click.echo(
            f"{self.num_images} images of {shape}, "
            f"{self.model.network.count_params():,} parameters, steps {start} "
            f"to {self.num_steps} of {self.batch_size} images",
            err=True,
        )
        self.step = self.start = start
        self.bar = make_bar(
            self.num_steps,
            initial=start,
            desc="Training",
            # Without the rate of tqdm, which counts the time of checkpoints.
            bar_format="{desc}: {percentage:3.0f}%|{bar}| step {n_fmt} of "
            "{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        trained = training_clock()
        previous, self.step = self.step, self.start + batch + 1
        if previous == self.start:
            # The first call compiles: its time says nothing of the others.
            self.timed_from = trained, self.step
        text = f"loss {float((logs or {})['loss']):.2f}"
        then, first = self.timed_from
        if self.step > first:
            speed = (self.step - first) * self.batch_size / (trained - then)
            text += f", {speed:.1f} images/s"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(self.step - previous)


class StopOnSignal(keras.callbacks.Callback):
    """Ends training after the step at hand on Ctrl-C or SIGTERM.

    What was asked for is confirmed at once: a step may take long, and so may
    pictures that are being made; no new ones are begun. Used in a `with`
    statement, within which the signals mean this. A second one ends the
    process as if this were not here.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        super().__init__()
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        self.before = {
            number: signal.signal(number, self._receive)
            for number in self.SIGNALS
        }
        return self

    def __exit__(self, *exception: Any) -> None:
        self._restore()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self.received is not None:
            self.model.stop_training = True

    def _receive(self, number: int, frame: Any) -> None:
        self.received = signal.Signals(number)
        self._restore()
        # A signal that came while a line was being printed gets none.
        with contextlib.suppress(RuntimeError):
            click.echo(
                f"\n{self.received.name}: stopping after this step; once more "
                "to leave at once, without saving",
                err=True,
            )

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
