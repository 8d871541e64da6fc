"""Writing presets, beside and over what a stranger may have put there."""

import contextlib
import os
import stat
import subprocess
import threading

import numpy as np
import pytest
from conftest import two_convolutions

import keras_ncsn
from keras_ncsn.files import hidden_name
from keras_ncsn.presets import recovery, saving


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


def test_saving_does_not_wait_for_named_pipes(model, tmp_path):
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
    assert (preset / "pipe").is_fifo()
    assert not (preset / "model_00000.weights.h5").exists()


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
        recovery.recover(tmp_path / "run" / "last")
    assert len(list(home.iterdir())) == 4


def test_recovering_does_not_treat_names_as_patterns(tmp_path):
    # As patterns, the names of each match those of others.
    others = [".ab.abcd1234", ".last.d", ".last.ABCD1234", ".last.abcd1234.x"]
    # Eight characters, but not the hexadecimal digits of `save`.
    others += [".l*.versions", ".l*.abcd_234", ".l*.old_ones.old"]
    ours = [".l*.abcd1234", ".l*.abcdef34.old"]
    for name in ("l*", *others, *ours):
        (tmp_path / name).mkdir()
    (tmp_path / ".l*.ffff1234").symlink_to(tmp_path / ".ab.abcd1234")
    (tmp_path / ".l*.eeee1234").write_text("a file")
    recovery.recover(tmp_path / "l*")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"l*", *others, ".l*.ffff1234", ".l*.eeee1234"}


@pytest.mark.parametrize("killed", ["before", "between"])
def test_a_preset_is_restored_after_a_kill(
    model, tmp_path, monkeypatch, killed
):
    preset = tmp_path / "pre*set"
    model.save_to_preset(preset)

    class Killed(BaseException):
        pass

    def kill(folder, temporary):
        if killed == "between":
            folder.rename(temporary.with_name(temporary.name + ".old"))
        raise Killed

    monkeypatch.setattr(recovery, "replace", kill)
    # What a process that is killed does not do.
    monkeypatch.setattr(saving.shutil, "rmtree", lambda *args, **kwargs: None)
    with pytest.raises(Killed):
        model.save_to_preset(preset)
    monkeypatch.undo()
    assert len(recovery.leftovers(preset)) == (1 if killed == "before" else 2)
    recovery.recover(preset)
    keras_ncsn.NCSNModel.from_preset(preset)
    assert [path.name for path in tmp_path.iterdir()] == ["pre*set"]


@pytest.fixture
def make_deep(tmp_path):
    """Makes folders in each other, deeper than any path may be."""

    def make(folder):
        here = os.getcwd()
        os.chdir(folder)
        for _ in range(700):
            os.mkdir("nested")
            os.chdir("nested")
        os.chdir(here)

    yield make
    # pytest cannot remove them.
    subprocess.run(["rm", "-rf", tmp_path], check=True)


def test_added_files_are_moved_not_copied(model, tmp_path, make_deep):
    preset = tmp_path / "preset"
    model.save_to_preset(preset, card="# Mine\n")
    (preset / "Config.JSON").write_text("mine")
    (preset / "sparse").touch()
    os.truncate(preset / "sparse", 2**42)
    (preset / "link").symlink_to("nowhere")
    (preset / "deep").mkdir()
    make_deep(preset / "deep")
    added = ["Config.JSON", "README.md", "deep", "link", "sparse"]
    before = [(preset / name).lstat().st_ino for name in added]
    model.save_to_preset(preset)
    assert [(preset / name).lstat().st_ino for name in added] == before
    assert (preset / "sparse").stat().st_blocks == 0
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


@pytest.mark.parametrize("failing", ["move", "replace"])
def test_added_files_stay_if_they_cannot_be_moved(
    model, tmp_path, monkeypatch, failing
):
    preset = tmp_path / "preset"
    model.save_to_preset(preset)
    for name in "abc":
        (preset / name).write_text(name)
    before = {x.name: x.read_bytes() for x in preset.iterdir()}
    rename, fails = os.rename, []

    def fail(old, new):
        # Once, for files or for the whole.
        if not fails and os.path.basename(old) == "b":
            fails.append(old)
            raise PermissionError(13, "Permission denied")
        rename(old, new)

    def fail_last(path, target):
        if not fails and not path.name.endswith(".old") and target == preset:
            fails.append(path)
            raise KeyboardInterrupt
        rename(path, target)

    if failing == "move":
        monkeypatch.setattr(os, "rename", fail)
    else:
        monkeypatch.setattr("pathlib.Path.rename", fail_last)
    with pytest.raises((OSError, KeyboardInterrupt)):
        model.save_to_preset(preset)
    assert len(fails) == 1
    assert {x.name: x.read_bytes() for x in preset.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


class Killed(BaseException):
    """A kill, after which nothing is cleaned up."""


PARTS = "config.json", "metadata.json", "model.weights.h5"


def fill(folder, content, names=PARTS):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(content)


def kill_after(steps, monkeypatch):
    """Renames and removes this often. Undoing is a step, too."""
    done = []

    def until_killed(function):
        def step(*args):
            if len(done) == steps:
                raise Killed
            done.append(args)
            return function(*args)

        return step

    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, until_killed(getattr(os, name)))


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("saved_again", [False, True])
def test_a_kill_between_any_two_steps_loses_nothing(
    tmp_path, monkeypatch, steps, saved_again
):
    preset, new = tmp_path / "preset", tmp_path / ".preset.0123abcd"
    fill(preset, "old")
    fill(preset, "mine", ["README.md", "mine"])
    fill(new, "new")
    with monkeypatch.context() as patched:
        kill_after(steps, patched)
        with pytest.raises(Killed) if steps < 7 else contextlib.nullcontext():
            recovery.replace(preset, new)
    if saved_again and not preset.exists():
        fill(preset, "newer")
    recovery.recover(preset)
    content = {x.name: x.read_text() for x in preset.iterdir()}
    assert content.pop("README.md") == content.pop("mine") == "mine"
    assert content.keys() == set(PARTS)
    assert len(set(content.values())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


@pytest.mark.parametrize("ending", ["", ".old"])
def test_recovering_removes_no_folders(tmp_path, ending, make_deep):
    left_over = tmp_path / f".last.abcd1234{ending}"
    left_over.mkdir()
    make_deep(left_over)
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "nested").mkdir()
    recovery.recover(tmp_path / "last")
    assert (left_over / "nested").is_dir()


def test_folders_in_place_of_weights_are_refused(model, tmp_path):
    preset = tmp_path / "preset"
    model.save_to_preset(preset)
    (preset / "model_00007.weights.h5").mkdir()
    with pytest.raises(ValueError, match="files for its weights.*a folder"):
        model.save_to_preset(preset)


def modes(folder):
    paths = [folder, *sorted(folder.iterdir())]
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


@pytest.mark.parametrize(("umask", "usual"), [(0o22, 0o644), (0o77, 0o600)])
def test_permissions_follow_the_umask_or_stay(model, tmp_path, umask, usual):
    preset = tmp_path / "preset"
    before = os.umask(umask)
    try:
        model.save_to_preset(preset)
        assert modes(preset) == [0o777 & ~umask, *[usual] * 3]
        preset.chmod(0o750)
        (preset / "config.json").chmod(0o600)
        (preset / "model.weights.h5").chmod(0o440)
        model.save_to_preset(preset, card="# New\n")
    finally:
        os.umask(before)
    assert modes(preset) == [0o750, usual, 0o600, usual, 0o440]


def test_presets_may_have_long_names(model, tmp_path):
    preset = tmp_path / ("\u00e4" * 127)
    for _ in range(2):
        model.save_to_preset(preset)
    aside = preset.rename(tmp_path / f"{hidden_name(preset.name)}.old")
    assert recovery.leftovers(preset) == [aside]
    recovery.recover(preset)
    keras_ncsn.NCSNModel.from_preset(preset)
