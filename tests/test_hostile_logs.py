"""Logs that no run wrote: each is read row by row, or refused in words."""

import math
import os
import tracemalloc

import pytest
from fuzzing import few_or_many, fuzz, mutations, refused_in_words
from hypothesis import given

import keras_ncsn
from keras_ncsn.callbacks import TrainingLog
from keras_ncsn.callbacks.log_file import append_row, read_log, summarize

LOG = (
    "step,images,seconds,images_per_second,learning_rate,loss,validation_loss\n"
    "2,8,0.5,16.0,0.001,3.25,\n"
    "4,16,1.5,16.0,0.001,2.25,nan\n"
)


def refuse(path, message, **arguments):
    with pytest.raises(ValueError, match=message) as raised:
        summarize(read_log(path, **arguments))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("step,", "steps,", "without a column `step`"),
        ("seconds,", "second,", "without a column `seconds`"),
        ("images,", "image\x1b[2J,", "'image.*', which the run does not have"),
        ("images,", "loss_at_x,", "'loss_at_x', which the run does not have"),
        ("\n2,8", "\n,8", "without `step`"),
        ("0.5", "", "without `seconds`"),
        ("\n4,", "\nnan,", "step='nan'"),
        ("\n4,", "\n1e400,", "step='1e400'"),
        ("\n4,", f"\n{2**62},", "step='4611686018427387904'"),
        ("\n4,", "\n-4,", "step='-4'"),
        ("\n4,", f"\n{'9' * 4000},", "step='999"),
        ("\n4,", "\n2,", "step 2 after step 2"),
        ("\n4,", "\n1,", "step 1 after step 2"),
        ("\n4,", "\n7,", "step 7 of at most 6"),
        ("\n4,", "\n\n4,", "another length"),
        ("1.5", "1e400", "seconds='1e400'"),
        ("1.5", "nan", "seconds='nan'"),
        ("1.5", "-1", "seconds='-1'"),
        ("2.25", "=cmd|' /C calc'!A0", "loss='?\"?=cmd"),
        ("2.25", "\x1b[2J", r"loss='\\x1b\[2J'"),
        ("nan", "nan,1", "another length"),
        (",nan", "", "another length"),
        ("2.25", "x" * 200_000, "a line of 4,096 bytes or more"),
        ("2.25", "\x00", "readable log.csv"),
        ("2.25", '"2.25', "readable log.csv"),
        ("2.25", "\udcff", "readable log.csv"),
    ],
)
def test_a_log_with_invalid_values_is_refused(tmp_path, old, new, message):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    assert len(list(read_log(path, max_step=6))) == 2
    damaged = LOG.replace(old, new, 1)
    path.write_text(damaged, errors="surrogateescape")
    refuse(path, message, max_step=6)


def many_columns(file):
    file.write("step,seconds" + ",loss" * 10**6 + "\n")


def many_rows(file):
    file.write("step,seconds\n")
    for step in range(20_000):
        file.write(f"{step},1\n")


def many_quoted_lines(file):
    file.write("step,seconds\n" + '"1\n","' * 10**5)


def one_quoted_row(file):
    file.write("step,seconds\n1,1" + ',"\n"' * 10**5)


@pytest.mark.parametrize(
    "write",
    [many_columns, many_rows, many_quoted_lines, one_quoted_row],
)
def test_a_log_takes_only_the_memory_of_a_row(tmp_path, write):
    with open(tmp_path / "log.csv", "w") as file:
        write(file)
    tracemalloc.start()
    try:
        with refused_in_words():
            summarize(read_log(tmp_path / "log.csv"))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2**18


def test_a_truncated_row_is_left_out(tmp_path):
    path = tmp_path / "log.csv"
    for end in range(len(LOG)):
        path.write_text(LOG[:end])
        rows = list(read_log(path))
        assert len(rows) == max(0, LOG[:end].count("\n") - 1)


def test_a_log_without_rows_is_summarized(tmp_path):
    nothing = (None, 0.0, math.inf)
    assert summarize(read_log(tmp_path / "log.csv")) == nothing
    (tmp_path / "log.csv").write_text(LOG.splitlines(keepends=True)[0])
    assert summarize(read_log(tmp_path / "log.csv")) == nothing


def test_the_best_loss_ignores_nan():
    def best(*losses):
        return summarize(
            {"step": "1", "seconds": "1", "validation_loss": loss}
            for loss in losses
        ).best_loss

    assert best("nan", "0.5", "", "0.7") == 0.5
    assert best("0.5", "nan", "0.25") == 0.25
    assert best("nan") == math.inf


@few_or_many
def test_a_damaged_log_is_read_or_refused(tmp_path_factory, num_cases):
    path = tmp_path_factory.mktemp("fuzz") / "log.csv"

    @fuzz(num_cases)
    @given(mutations(LOG.encode()))
    def read(damaged):
        path.write_bytes(damaged)
        rows = []
        with refused_in_words():
            rows = list(read_log(path))
        for row in rows:
            assert int(row["step"]) >= 0
            assert float(row["seconds"]) >= 0
            float(row.get("validation_loss") or 0)

    read()


def fit(folder, model, images, steps):
    model.compile("sgd")
    model.fit(
        images[8:],
        batch_size=4,
        epochs=steps // 2,
        callbacks=TrainingLog(
            folder, 2, 4, validation_images=images[:8], validate_every=2
        ),
        verbose=0,
    )


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("step,loss\n2,1.0\n", "without a column `seconds`"),
        ("step,seconds,loss_at_3\n2,1.0,1\n", "'loss_at_3', which the run"),
    ],
)
def test_a_log_of_another_run_stays(tmp_path, make_model, images, log, message):
    (tmp_path / "log.csv").write_text(log)
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, make_model(), images, 2)
    assert (tmp_path / "log.csv").read_text() == log


def test_the_rows_of_few_noise_levels_are_read_again(
    tmp_path, make_model, images
):
    """Columns have the names of levels, of which there may be two alike."""
    schedule = keras_ncsn.NoiseSchedule.geometric(1.0, 0.1, 3)
    model = make_model(schedule=schedule)
    fit(tmp_path, model, images, 2)
    fit(tmp_path, model, images, 4)
    log = (tmp_path / "log.csv").read_text()
    assert [line.split(",")[0] for line in log.split()[1:]] == ["2", "4", "6"]
    assert "nan" not in log


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_a_row_is_written_only_to_a_regular_log(tmp_path, kind, monkeypatch):
    path, profile = tmp_path / "log.csv", tmp_path / "profile"
    profile.write_text("mine")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(profile if kind == "link" else tmp_path / "made")
    row = {"step": 2, "seconds": 1.0}
    message = "row of step 2 could not .*checkpoint is intact"
    with pytest.raises(OSError, match=message):
        append_row(path, ["step", "seconds"], row)
    # Even if the link is made after a look at the path.
    monkeypatch.setattr("pathlib.Path.is_symlink", lambda path: False)
    with pytest.raises(OSError, match=message):
        append_row(path, ["step", "seconds"], row)
    assert profile.read_text() == "mine"
    assert not (tmp_path / "made").exists()
