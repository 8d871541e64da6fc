"""What `keras-ncsn train` shows, and how a signal stops it."""

import io
import re
import signal
import sys

import keras
import pytest
from interrupt import Interrupt

from keras_ncsn import datasets, progress
from keras_ncsn.cli.progress import ProgressBar, StopOnSignal


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Stop(keras.callbacks.Callback):
    """Raises an exception in the third step."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt


def train(bar, model, images, callbacks=()):
    """Shows how four steps are trained."""
    model.compile("sgd")
    with bar:
        model.fit(images, batch_size=4, callbacks=[bar, *callbacks], verbose=0)


@pytest.mark.parametrize("make_stream", [Terminal, io.StringIO])
def test_the_bar_shows_step_loss_and_speed(
    monkeypatch, make_model, images, make_stream
):
    stream = make_stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    train(ProgressBar(10, 4, len(images)), make_model(), images)
    shown = stream.getvalue()
    assert shown.startswith("16 images of 8x8x1, ")
    assert "steps 6 to 10 of 4 images\n" in shown
    last = re.split("[\r\n]", shown.rstrip())[-1]
    assert re.search(r"step 10 of 10 .*loss [\d.]+, [\d.]+ images/s\]", last)
    assert shown.endswith("\n")


def test_a_log_file_gets_a_line_a_minute(monkeypatch, make_model, images):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    train(ProgressBar(4, 4, len(images)), make_model(), images)
    lines = [line for line in sys.stderr.getvalue().splitlines() if line]
    assert 1 <= len(lines[1:]) <= 2


@pytest.mark.parametrize("make_stream", [Terminal, io.StringIO])
def test_an_interrupted_bar_ends_its_line(
    monkeypatch, make_model, images, make_stream
):
    stream = make_stream()
    monkeypatch.setattr(sys, "stderr", stream)
    # It would end its line as well when Python forgets it.
    bar = ProgressBar(4, 4, len(images))
    with pytest.raises(KeyboardInterrupt):
        train(bar, make_model(), images, [Stop()])
    assert stream.getvalue().endswith("\n")
    assert "step 3 of 4" in stream.getvalue().rstrip().splitlines()[-1]


def test_the_first_ctrl_c_restores_the_old_handler(make_model, images):
    before = signal.getsignal(signal.SIGINT)
    model = make_model()
    model.compile("sgd")
    with StopOnSignal() as stop:
        model.fit(
            datasets.shuffled_batches(images, 4, seed=0),
            steps_per_epoch=9,
            callbacks=[Interrupt(signal.SIGINT), stop],
            verbose=0,
        )
    assert stop.received == signal.SIGINT
    assert int(model.optimizer.iterations) == 3
    assert signal.getsignal(signal.SIGINT) == before
