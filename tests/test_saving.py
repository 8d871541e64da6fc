"""Writing presets, beside and over what a stranger may have put there."""

import os
import threading

import numpy as np
import pytest
from conftest import two_convolutions

import keras_ncsn
from keras_ncsn.presets import saving


@pytest.fixture
def model(make_model):
    return make_model(two_convolutions(dtype="float32"))


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "home" / ".profile"
    path.parent.mkdir()
    path.write_text("mine")
    yield path
    assert path.read_text() == "mine"
    assert [x.name for x in path.parent.iterdir()] == [".profile"]


@pytest.mark.parametrize(
    "name",
    [
        ".model.weights.h5.converted",
        "model.weights.h5",
        "metadata.json",
        "config.json",
        "README.md",
        "model_00000.weights.h5",
    ],
)
@pytest.mark.parametrize("weights_dtype", ["float16", "float32"])
def test_saving_over_a_preset_follows_no_link(
    model, tmp_path, secret, name, weights_dtype
):
    preset = tmp_path / "preset"
    model.save_to_preset(preset)
    (preset / name).unlink(missing_ok=True)
    (preset / name).symlink_to(secret)
    saving.save(model, preset, card="# New", weights_dtype=weights_dtype)
    keras_ncsn.NCSNModel.from_preset(preset)


def test_named_pipes_in_a_preset_hang_nothing(model, tmp_path):
    preset = tmp_path / "preset"
    model.save_to_preset(preset)
    (preset / "mine").mkdir()
    (preset / "mine" / "notes.txt").write_text("kept")
    for name in ("README.md", "pipe", "mine/pipe", "model_00000.weights.h5"):
        os.mkfifo(preset / name)
    thread = threading.Thread(
        target=model.save_to_preset, args=[preset], daemon=True
    )
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it hangs"
    assert (preset / "mine" / "notes.txt").read_text() == "kept"
    assert not (preset / "pipe").exists()


def test_a_preset_that_is_a_link_stays_one(model, tmp_path):
    model.save_to_preset(tmp_path / "there")
    (tmp_path / "here").symlink_to(tmp_path / "there")
    for weight in model.network.weights:
        weight.assign(np.ones(weight.shape))
    model.save_to_preset(tmp_path / "here")
    assert (tmp_path / "here").is_symlink()
    loaded = keras_ncsn.NCSNModel.from_preset(tmp_path / "there")
    assert all((x == 1).all() for x in loaded.network.get_weights())


@pytest.mark.parametrize("target", ["emacs", "*", "none", "?m[a-z]*"])
def test_recovering_deletes_nothing_elsewhere(tmp_path, target):
    home = tmp_path / "home"
    for name in (".emacs.d", ".emacs.old", ".emacs.abcd1234", "emacs"):
        (home / name).mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last").symlink_to(home / target)
    with pytest.raises(ValueError, match="`last` must not be a link"):
        saving.recover(tmp_path / "run" / "last")
    assert len(list(home.iterdir())) == 4


def test_recovering_takes_names_for_names(tmp_path):
    # As patterns, the names of each match those of others.
    others = [".ab.abcd1234", ".last.d", ".last.ABCD1234", ".last.abcd1234.x"]
    ours = [".l*.abcd1234", ".l*.abcd_234.old"]
    for name in ("l*", *others, *ours):
        (tmp_path / name).mkdir()
    (tmp_path / ".l*.zzzz1234").symlink_to(tmp_path / ".ab.abcd1234")
    (tmp_path / ".l*.yyyy1234").write_text("a file")
    saving.recover(tmp_path / "l*")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"l*", *others, ".l*.zzzz1234", ".l*.yyyy1234"}


@pytest.mark.parametrize("killed", ["before", "between"])
def test_a_preset_comes_back_after_a_kill(model, tmp_path, monkeypatch, killed):
    preset = tmp_path / "pre*set"
    model.save_to_preset(preset)

    class Killed(BaseException):
        pass

    def kill(folder, temporary):
        if killed == "between":
            folder.rename(temporary.with_name(temporary.name + ".old"))
        raise Killed

    monkeypatch.setattr(saving, "_replace", kill)
    # What a process that is killed does not do.
    monkeypatch.setattr(saving.shutil, "rmtree", lambda *args, **kwargs: None)
    with pytest.raises(Killed):
        model.save_to_preset(preset)
    monkeypatch.undo()
    assert len(saving.leftovers(preset)) == (1 if killed == "before" else 2)
    saving.recover(preset)
    keras_ncsn.NCSNModel.from_preset(preset)
    assert [path.name for path in tmp_path.iterdir()] == ["pre*set"]
