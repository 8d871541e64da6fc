"""Checkpoints, and the state of training that they hold."""

import pathlib
import shutil

import numpy as np
import pytest
from conftest import files_may_grow_to
from training_runs import killable_model, read_rows

from keras_ncsn import datasets
from keras_ncsn.callbacks import Checkpoint, TrainingLog
from keras_ncsn.callbacks.training_state import load_state, save_state


def test_steps_are_counted_across_epochs(tmp_path, make_model, images):
    model = make_model()
    model.compile("sgd")
    log = TrainingLog(tmp_path, 3, 4, validation_images=images)
    checkpoint = Checkpoint(tmp_path, every=100)
    model.fit(
        datasets.shuffled_batches(images, 4, seed=0),
        steps_per_epoch=2,
        epochs=4,
        callbacks=[checkpoint, log],
        verbose=0,
    )
    assert model.steps_taken == 8
    steps = [row["step"] for row in read_rows(tmp_path)]
    assert steps == ["3", "6", "8"]
    # Another model of the same make, which Keras gives other names.
    other = make_model()
    other.compile("sgd")
    assert Checkpoint(tmp_path, every=100).restore(other) == 8
    np.testing.assert_array_equal(
        other.get_weights()[0], model.get_weights()[0]
    )


@pytest.mark.parametrize(
    ("callback", "arguments"),
    [(Checkpoint, {}), (TrainingLog, {"batch_size": 4})],
)
def test_wrong_metadata_are_refused_at_once(tmp_path, callback, arguments):
    metadata = {"loss": np.float32(1)}
    with pytest.raises(ValueError, match="`metadata` must be a dictionary"):
        callback(tmp_path, 2, metadata=metadata, **arguments)


def test_a_model_is_compiled_before_it_is_restored(tmp_path, make_model):
    with pytest.raises(ValueError, match="must be compiled"):
        Checkpoint(tmp_path, every=2).restore(make_model())


def test_a_preset_that_was_moved_aside_is_restored(
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


def test_a_full_disk_stops_with_the_last_checkpoint_whole(tmp_path):
    model = killable_model()
    path = tmp_path / "state.npz"
    save_state(model, path, 7)
    before = path.read_bytes()
    with files_may_grow_to(1000):
        with pytest.raises(OSError, match="step 8 could not.*checkpoint is in"):
            save_state(model, path, 8)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]
    assert load_state(model, path) == 7


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
