"""A run that was killed ends as one that never was."""

import json
import os
import random
import shutil
import signal

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import two_convolutions
from interrupt import Interrupt, KillAt
from training_runs import (
    NUM_STEPS,
    killable_model,
    read_rows,
)

import keras_ncsn
from keras_ncsn import cli, runs
from keras_ncsn.callbacks import Checkpoint, TrainingLog
from keras_ncsn.images import save_images
from keras_ncsn.runs import provenance, run_file


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


def train_unless_killed(folder, kill_step=None, kill_write=None):
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
def run_process(processes):
    """Trains in a process; they share one import of the packages."""

    def run(*args):
        process = processes.Process(target=train_unless_killed, args=args)
        process.start()
        process.join(300)
        return process.exitcode

    return run


def state(folder):
    with np.load(folder / "state.npz") as file:
        return {name: file[name].tobytes() for name in file.files}


def losses(folder):
    clocks = ("seconds", "images_per_second")
    return [
        {name: row[name] for name in row if name not in clocks}
        for row in read_rows(folder)
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
def test_a_run_killed_repeatedly_ends_with_the_same_weights(
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


def test_a_run_resumes_without_its_original_preset(train, tmp_path):
    network = ("--from-preset", tmp_path / "small", "--log-sigma-mean", -0.5)
    # All steps are alike, however many there are to be.
    network += ("--sigma-distribution", "log_normal", "--decay", "none")
    network += ("--warmup-steps", 0)
    train(network=network)
    whole = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    shutil.rmtree(tmp_path / "run")

    train("--steps", 2, network=network)
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    written["recipe"]["steps"] = 4
    (tmp_path / "run" / "run.json").write_text(json.dumps(written))
    # Another model with weights of the same shapes lies there now, then none.
    shutil.rmtree(tmp_path / "small")
    other = keras_ncsn.NCSNModel(two_convolutions(), weighting="edm")
    other.save_to_preset(tmp_path / "small")
    train("--resume", network=network)
    resumed = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    assert resumed.get_config()["weighting"] == "ncsn"
    assert all(map(np.array_equal, resumed.get_weights(), whole.get_weights()))
    shutil.rmtree(tmp_path / "small")
    train("--resume", network=())


def test_a_run_stopped_by_a_signal_can_be_resumed(train, tmp_path, monkeypatch):
    real = runs.train

    def interrupted(*args, extra_callbacks, **kwargs):
        extra = [Interrupt(signal.SIGTERM), *extra_callbacks]
        return real(*args, extra_callbacks=extra, **kwargs)

    monkeypatch.setattr(runs, "train", interrupted)
    printed = train("--sample-every", 3, status=128 + signal.SIGTERM)
    assert "SIGTERM: stopping after this step; once more to leave" in printed
    assert "SIGTERM: step 3 is saved" in printed
    assert not (tmp_path / "run" / "samples").exists()
    with np.load(tmp_path / "run" / "state.npz") as file:
        assert file["step"] == 3
    monkeypatch.undo()
    train("--resume")
    stopped = read_rows(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "stopped")
    train()
    whole = read_rows(tmp_path / "run")
    assert [row["loss"] for row in stopped] == [row["loss"] for row in whole]
    assert "Step 4 is saved" in train("--resume")


def test_resume_needs_the_original_images(train, tmp_path):
    train()
    save_images(np.ones((41, 8, 8, 1)), tmp_path / "pictures")
    message = r"its own images.*\[41, 8, 8, 1\].*\[40, 8, 8, 1\]"
    with pytest.raises(ValueError, match=message):
        train("--resume")


def test_resume_uses_the_original_settings(train, tmp_path):
    begun = {"learning_rate": 0.5, "steps": 4, "batch_size": 4}
    settings = "--recipe", "unet-mnist", "--learning-rate", 0.5, "--seed", 3
    assert "holds no run" in train(*settings, "--resume")
    command = [*("train", tmp_path / "pictures", tmp_path / "run", "--resume")]
    command = [str(argument) for argument in command]
    result = CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert "Step 4 is saved" in result.output
    run = run_file.read(tmp_path / "run")
    assert run["recipe"] == run["recipe"] | begun
    assert (run["recipe_name"], run["seed"]) == ("unet-mnist", 3)
    assert run["writing"] == {
        "log_every": 2,
        "checkpoint_every": 2,
        "sample_every": 0,
        "tensorboard": False,
    }
    assert run["writing"]["tensorboard"] is False
    for given, message in [
        (("--learning-rate", "0.4"), "learning_rate=0.4; .*learning_rate=0.5"),
        (("--seed", "0"), "seed=0; .*seed=3"),
        (("--recipe", "ncsn-mnist"), "recipe_name='ncsn-mnist'"),
        (("--from-preset", "mnist"), "from_preset='mnist'"),
    ]:
        with pytest.raises(ValueError, match=message):
            CliRunner().invoke(
                cli.cli, [*command, *given], catch_exceptions=False
            )


def test_a_run_killed_at_its_first_file_can_be_resumed(
    train, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def kill(folder):
        os.mkdir(folder)
        raise Killed

    writers = "tensorboard.summary.writer.event_file_writer"
    monkeypatch.setattr(f"{writers}.EventFileWriter", kill)
    with pytest.raises(Killed):
        train("--tensorboard")
    monkeypatch.undo()
    assert "Step 4 is saved" in train("--tensorboard", "--resume")


def test_a_finished_run_is_trained_for_longer(train, tmp_path):
    network = "--recipe", "unet-mnist", "--from-preset", tmp_path / "small"
    assert "longer" not in train(network=network)
    longer = train("--resume", "--steps", 6, network=network)
    assert "6 steps after 4. The learning rate is now that of a run" in longer
    assert "Step 6 is saved" in longer
    run = run_file.read(tmp_path / "run")
    assert (run["recipe"]["steps"], run["earlier_steps"]) == (6, [4])
    first, then = provenance.command(run).split(" && ")
    assert "--steps 4" in first
    assert then.endswith("train pictures OUTPUT --resume --steps 6")
    # As it is now, there is nothing to tell.
    again = train("--resume", "--steps", 6, network=network)
    assert "longer" not in again
    with pytest.raises(ValueError, match="steps=5; .*began with steps=6"):
        train("--resume", "--steps", 5, network=network)


def test_a_checkpoint_brings_its_row(train, tmp_path):
    command = ["train", tmp_path / "pictures", tmp_path / "run", "--steps", 1]
    command += ["--from-preset", tmp_path / "small", "--batch-size", 4]
    command += ["--checkpoint-every", 5, "--sample-every", 0]
    command = [str(argument) for argument in command]
    CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert run_file.read(tmp_path / "run")["writing"]["log_every"] == 5
