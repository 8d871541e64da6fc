"""A run that was killed ends as one that never was."""

import contextlib
import csv
import errno
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import signal

import keras
import numpy as np
import pytest
from conftest import two_convolutions

import keras_ncsn
from keras_ncsn import files
from keras_ncsn.callbacks import Checkpoint, TrainingLog, log_file
from keras_ncsn.callbacks.training_state import load_state, save_state
from keras_ncsn.runs import run_file

NUM_STEPS = 24


def killable_model():
    """Every kind of state: dropout and other seeds, average, momentum."""
    keras.utils.set_random_seed(0)
    network = two_convolutions()
    layers = keras.layers
    noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
    x = layers.Dropout(0.1, seed=3)(network([noisy, sigma]))
    model = keras_ncsn.NCSNModel(
        keras.Model([noisy, sigma], x), ema_momentum=0.9, seed=0
    )
    rate = keras.optimizers.schedules.CosineDecay(1e-2, NUM_STEPS)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    return model


class KillAt(keras.callbacks.Callback):
    """Kills its own process, by SIGKILL, at a step of the whole run."""

    def __init__(self, step, start):
        super().__init__()
        self.left = step - start

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in_the_middle_of_a_write(number):
    """The process dies when half of the `number`-th file is on the disk."""
    save, calls = np.savez, []

    def savez(file, **arrays):
        calls.append(file)
        save(file, **arrays)
        if len(calls) == number:
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    np.savez = savez


def train(folder, kill_step=None, kill_write=None):
    model = killable_model()
    checkpoint = Checkpoint(folder, every=4)
    start = checkpoint.restore(model)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), "uint8")
    log = TrainingLog(folder, every=2, batch_size=8)
    if kill_write is not None:
        kill_in_the_middle_of_a_write(kill_write)
    killer = [] if kill_step is None else [KillAt(kill_step, start)]
    model.fit(
        keras_ncsn.datasets.shuffled_batches(
            images, 8, seed=0, flip=True, start=start
        ),
        steps_per_epoch=NUM_STEPS - start,
        callbacks=[*killer, checkpoint, log],
        verbose=0,
    )


@pytest.fixture(scope="module")
def run_process():
    """Runs `train` in a process; they share one import of the packages."""
    context = multiprocessing.get_context("forkserver")
    # TensorFlow is imported by `keras.utils.set_random_seed` on any backend.
    shared = ["tensorflow", "keras_ncsn.model", "test_resume"]
    context.set_forkserver_preload(shared)

    def run(*args):
        process = context.Process(target=train, args=args)
        process.start()
        process.join(300)
        return process.exitcode

    return run


def state(folder):
    with np.load(folder / "state.npz") as file:
        return {name: file[name].tobytes() for name in file.files}


def losses(folder):
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    clocks = ("seconds", "images_per_second")
    return [
        {name: row[name] for name in row if name not in clocks} for row in rows
    ]


@pytest.fixture(scope="module")
def whole(run_process, tmp_path_factory):
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_process(folder) == 0
    return folder


@pytest.mark.parametrize(
    "num_kills", [2, pytest.param(10, marks=pytest.mark.slow)]
)
def test_a_run_killed_again_and_again_ends_to_the_last_bit(
    run_process, whole, tmp_path, num_kills
):
    killed = tmp_path / "killed"
    # The first with half of its second checkpoint on the disk.
    assert run_process(killed, None, 2) == -signal.SIGKILL
    assert len(list(killed.glob(".state*"))) == 1
    with np.load(killed / "state.npz") as file:
        assert file["step"] == 4
    # Then the others, at any step past that one.
    steps = random.Random(0).sample(range(5, NUM_STEPS + 1), num_kills - 1)
    for step in sorted(steps):
        assert run_process(killed, step) == -signal.SIGKILL
    assert run_process(killed) == 0
    assert losses(killed) == losses(whole)
    assert state(killed) == state(whole)
    assert not list(killed.glob(".*"))


def test_a_preset_that_stepped_aside_comes_back(
    make_model, images, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def rename(self, target):
        # All that a killed process does of saving: `finally` it does not.
        real(self, target)
        monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        monkeypatch.setattr(pathlib.Path, "rename", killed)

    def killed(self, target):
        raise Killed

    model = make_model()
    model.compile("sgd")
    for name in ("last", "best"):
        model.save_to_preset(tmp_path / name)
        (tmp_path / name / "added").write_text("by a person")
        real = pathlib.Path.rename
        monkeypatch.setattr(pathlib.Path, "rename", rename)
        with pytest.raises(Killed):
            model.save_to_preset(tmp_path / name)
        monkeypatch.undo()
        assert not (tmp_path / name).exists()
    log = TrainingLog(
        tmp_path, 1, 4, validation_images=images, validate_every=1
    )
    callbacks = [log, Checkpoint(tmp_path, every=1)]
    model.fit(images, batch_size=16, callbacks=callbacks, verbose=0)
    for name in ("last", "best"):
        assert (tmp_path / name / "added").exists()
        assert (tmp_path / name / "metadata.json").exists()
    assert not list(tmp_path.glob(".*"))


@contextlib.contextmanager
def files_may_grow_to(num_bytes):
    """A file that may not grow any more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_with_the_last_checkpoint_whole(tmp_path):
    model = killable_model()
    path = tmp_path / "state.npz"
    save_state(model, path, 7)
    before = path.read_bytes()
    with files_may_grow_to(1000):
        with pytest.raises(OSError, match="step 8 could not.*one before it is"):
            save_state(model, path, 8)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]
    assert load_state(model, path) == 7


def test_a_log_on_a_full_disk_says_so_and_is_read_without_half_a_row(tmp_path):
    path, columns = tmp_path / "log.csv", ["step", "seconds"]
    log_file.write_log(path, columns, [{"step": 1, "seconds": 2.0}])
    with files_may_grow_to(path.stat().st_size + 3):
        with pytest.raises(OSError, match=r"log could not.*\.csv: F.*Make"):
            log_file.write_log(path, columns, [{"step": 10**9}])
        with pytest.raises(OSError, match=r"run could not.*\.json: F.*Make"):
            run_file.write(tmp_path, {"data": "x" * 99})
        with pytest.raises(OSError, match=r"row of step 2 could not.*\.csv: F"):
            log_file.append_row(path, columns, {"step": 2, "seconds": 3.0})
    assert list(log_file.read_log(path)) == [{"step": "1", "seconds": "2.0"}]


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with files.open_whole(path) as file:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_checkpoints_of_another_model_are_refused(make_model, tmp_path):
    path = tmp_path / "state.npz"
    model = make_model()
    model.compile("sgd")
    save_state(model, path, 1)
    other = make_model(ema_momentum=0.5)
    other.compile("sgd")
    with pytest.raises(ValueError, match="same model.*differs in model"):
        load_state(other, path)


def test_damaged_checkpoints_are_refused(make_model, tmp_path):
    path = tmp_path / "state.npz"
    model = make_model()
    model.compile("sgd")
    save_state(model, path, 1)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="must be readable.*state.npz"):
        load_state(model, path)
