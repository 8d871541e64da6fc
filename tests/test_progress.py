import io
import sys

import pytest

from keras_ncsn import progress


def draw(monkeypatch, stream, verbose, **options):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.make_bar(30, verbose, desc="Sampling", **options) as bar:
        for _ in range(30):
            bar.update()
    return stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_file_gets_lines(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    shown = draw(monkeypatch, io.StringIO(), 1, unit=" steps")
    lines = shown.rstrip().splitlines()
    assert len(lines) >= 30
    assert all(line.startswith("Sampling: ") for line in lines)
    assert "30/30" in lines[-1]
    assert "steps/s" in lines[-1]


def test_a_log_file_gets_a_line_a_minute(monkeypatch):
    lines = draw(monkeypatch, io.StringIO(), 1).rstrip().splitlines()
    assert 1 <= len(lines) <= 2


@pytest.mark.parametrize("verbose", [1, "auto"])
def test_a_terminal_gets_one_line_that_is_redrawn(monkeypatch, verbose):
    shown = draw(monkeypatch, Terminal(), verbose, mininterval=0.0)
    assert shown.count("\n") == 1
    assert shown.count("\r") >= 30


@pytest.mark.parametrize(
    ("stream", "verbose", "delay"),
    [(Terminal, 0, 0), (io.StringIO, 0, 0), (io.StringIO, "auto", 0)]
    + [(Terminal, 1, 9), (io.StringIO, 1, 9)],
)
def test_short_or_silent_work_shows_nothing(
    monkeypatch, stream, verbose, delay
):
    assert draw(monkeypatch, stream(), verbose, delay=delay) == ""
