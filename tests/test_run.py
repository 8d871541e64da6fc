"""`keras-ncsn train`, from images to what it leaves behind."""

import json
import shutil
import sys

import filelock
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import two_convolutions
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from training_runs import TINY, read_rows

import keras_ncsn
from keras_ncsn import cli, datasets, runs
from keras_ncsn.backend import BACKEND
from keras_ncsn.presets import format


def test_train_leaves_presets_a_log_and_pictures(train, tmp_path, untraced):
    (tmp_path / "pictures" / "broken.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"Skipped 1 of 41.*broken\.png"):
        printed = train(
            *("--sample-every", 2, "--num-steps", 3),
            *("--tensorboard", "--skip-unreadable"),
            network=TINY,
        )
    assert "40 images of 8x8x1" in printed
    run = tmp_path / "run"
    model = keras_ncsn.NCSNModel.from_preset(str(run / "last"))
    with untraced():
        assert model.generate(1, seed=0, num_steps=2).shape == (1, 8, 8, 1)
    metadata = json.loads((run / "best" / "metadata.json").read_text())
    assert metadata["recipe"] == "unet-cifar10"
    options = "--width 4 --width-multipliers 1 --num-blocks 1"
    assert options in metadata["command"]
    # Presets get published: where things lie on a machine is its own.
    assert metadata["data"] == "pictures"
    assert str(tmp_path) not in json.dumps(metadata)
    rows = read_rows(run)
    assert [row["step"] for row in rows] == ["2", "4"]
    assert [row["images"] for row in rows] == ["8", "16"]
    best = min(float(row["validation_loss"]) for row in rows)
    assert metadata["validation_loss"] == best
    with Image.open(run / "samples" / "0000004.png") as picture:
        assert picture.size == (4 * 10 - 2, 4 * 10 - 2)
    assert_tensorboard_shows(run / "tensorboard", rows)


def assert_tensorboard_shows(folder, rows):
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [
        (int(row["step"]), pytest.approx(float(row["loss"]))) for row in rows
    ]
    assert [event.step for event in events.Images("samples")] == [2, 4]


@pytest.mark.skipif(BACKEND == "tensorflow", reason="see test_parallel.py")
def test_data_parallel_is_a_flag(train, tmp_path):
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="needs the backend jax or tens"):
            train("--data-parallel")
        assert not (tmp_path / "run").exists()
        return
    try:
        train("--data-parallel")
    finally:
        keras.distribution.set_distribution(None)
    assert (tmp_path / "run" / "last").is_dir()


def test_floats_must_lie_in_the_range_of_the_preset(train, tmp_path):
    model = keras_ncsn.NCSNModel(two_convolutions(), value_range=(-1.0, 1.0))
    model.save_to_preset(tmp_path / "signed")
    network = ("--from-preset", tmp_path / "signed")
    images = np.linspace(-1.0, 1.0, 40 * 64, dtype="float32")
    np.save(tmp_path / "floats.npy", images.reshape(40, 8, 8, 1))
    train(network=network, data=tmp_path / "floats.npy")
    np.save(tmp_path / "floats.npy", 2 * images.reshape(40, 8, 8, 1))
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
        train("--resume", network=network, data=tmp_path / "floats.npy")


def test_training_starts_from_a_preset(tmp_path, pictures):
    network = two_convolutions()
    before = keras_ncsn.NCSNModel(network, weighting="edm", data_std=0.3)
    terms = {"license": "other", "license_name": "a"}
    before.save_to_preset(tmp_path / "preset", terms)
    command = [
        *("train", pictures, tmp_path / "run"),
        *("--from-preset", tmp_path / "preset", "--learning-rate", 1e-9),
        *("--steps", 1, "--batch-size", 4, "--sample-every", 0),
        *("--sigma-distribution", "log_normal", "--log-sigma-mean", 0.5),
    ]
    command = [str(argument) for argument in command]
    result = CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    metadata = format.read_metadata(tmp_path / "run" / "last")
    assert {name: metadata[name] for name in terms} == terms
    assert "--from-preset preset --seed 0" in metadata["command"]
    after = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    assert after.data_std == 0.3
    assert after.log_sigma_mean == 0.5
    assert after.sigma_distribution == "log_normal"
    assert after.weighting == before.weighting
    for old, new in zip(before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)


class Spoil(keras.callbacks.Callback):
    """Makes the weights no numbers after a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.step:
            for weight in self.model.network.trainable_variables:
                weight.assign(weight * float("nan"))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (1, "loss became nan.*Nothing is saved yet. Start again"),
        (3, r"loss became nan.*holds step 2\. .* --from-preset .*/run/last"),
    ],
)
def test_a_nan_loss_says_how_to_continue(train, monkeypatch, step, message):
    real = runs.train

    def spoiled(*args, extra_callbacks, **kwargs):
        return real(*args, extra_callbacks=[Spoil(step)], **kwargs)

    monkeypatch.setattr(runs, "train", spoiled)
    with pytest.raises(FloatingPointError, match=message):
        train()


def test_a_run_is_trained_by_one_process_at_a_time(train, tmp_path):
    (tmp_path / "run").mkdir()
    with filelock.FileLock(tmp_path / "run" / ".lock"):
        with pytest.raises(ValueError, match="another process is training"):
            train()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_no_run_starts_if_tensorboard_is_missing(train, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        train("--tensorboard")
    assert not (tmp_path / "run").exists()


def test_wrong_intervals_are_named_before_images_are_loaded(
    train, tmp_path, monkeypatch
):
    monkeypatch.setattr(runs, "load_images", None)
    message = "checkpoint_every=2, log_every=3.*--log-every"
    with pytest.raises(ValueError, match=message):
        train("--log-every", 3)
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_value_range_has_no_pictures(train, tmp_path):
    preset = tmp_path / "unbounded"
    model = keras_ncsn.NCSNModel(two_convolutions(), value_range=None)
    model.save_to_preset(preset)
    network = "--from-preset", preset
    with pytest.raises(ValueError, match="value_range=None.*--sample-every 0"):
        train("--sample-every", 1, network=network)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("last", "best", "samples", "tensorboard"),
        *("run.json", "log.csv", "state.npz", ".lock"),
    ],
)
@pytest.mark.parametrize("target", ["emacs", "*"])
def test_a_run_writes_nothing_outside_its_folder(
    resume, tmp_path, name, target, monkeypatch
):
    home, run = tmp_path / "home", tmp_path / "run"
    (home / ".emacs.d").mkdir(parents=True)
    (home / "emacs").mkdir()
    if name == "run.json":
        (home / "emacs").rmdir()
        shutil.move(run / name, home / target)
    elif (run / name).is_dir():
        shutil.rmtree(run / name)
    else:
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(home / target)
    before = sorted(home.rglob("*")), sorted(run.rglob("*"))
    monkeypatch.setattr(datasets, "load_images", None)
    with pytest.raises(ValueError, match=f"`{name}` must not be a link"):
        resume()
    assert (sorted(home.rglob("*")), sorted(run.rglob("*"))) == before


def test_planted_temporary_files_are_not_used(resume, tmp_path):
    profile = tmp_path / "profile"
    profile.write_text("mine")
    for name in ("log.csv", "run.json", "state.npz"):
        (tmp_path / "run" / f".{name}.tmp").symlink_to(profile)
        (tmp_path / "run" / f".{name}.0123abcd.tmp").symlink_to(profile)
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    written["recipe"]["steps"] = 4
    (tmp_path / "run" / "run.json").write_text(json.dumps(written))
    assert "Step 4 is saved" in resume()
    assert profile.read_text() == "mine"
    # What a killed run left is removed, and nothing else.
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert ".log.csv.tmp" in names
    assert not any("0123abcd" in name for name in names)
