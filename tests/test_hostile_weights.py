"""Weights that nobody saved: too large, too many, or no arrays of numbers."""

import json
import os
import shutil
import time

import h5py
import keras
import numpy as np
import pytest
from preset_files import restate_metadata, state_checksum

import keras_ncsn
from keras_ncsn.presets import format, loading, weights_files


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A preset in several files, and one in one."""
    noisy, sigma = keras.Input((2,)), keras.Input(())
    x = keras.layers.Dense(2)(noisy) + keras.layers.Reshape((1,))(sigma)
    x = keras.layers.Dense(2)(x)
    model = keras_ncsn.NCSNModel(
        keras.Model([noisy, sigma], x), value_range=None
    )
    folder = tmp_path_factory.mktemp("saved")
    model.save_to_preset(folder / "one")
    model.save_to_preset(folder / "several", max_shard_size=2e-8)
    return folder


@pytest.fixture
def one(saved, tmp_path):
    return shutil.copytree(saved / "one", tmp_path / "preset")


@pytest.fixture
def several(saved, tmp_path):
    return shutil.copytree(saved / "several", tmp_path / "preset")


@pytest.fixture
def nothing_is_hashed(monkeypatch):
    """Whatever a file holds, reading all of it takes too long."""
    whole = format.sha256

    def sha256(path, *args):
        assert path.name == format.CONFIG_FILE, "it is hashed"
        return whole(path, *args)

    monkeypatch.setattr(format, "sha256", sha256)


def refuse(folder, message):
    with pytest.raises(ValueError, match=message) as raised:
        keras_ncsn.NCSNModel.from_preset(folder)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("size", [2**34, 2**36 + 1])
@pytest.mark.parametrize("stated", ["as it was", None])
def test_sizes_are_compared_before_anything_is_hashed(
    one, nothing_is_hashed, size, stated
):
    most = (one / format.WEIGHTS_FILE).stat().st_size
    if stated is None:
        restate_metadata(one, weights_bytes=None)
        most, size = format.MAX_WEIGHTS_BYTES, max(size, 2**36 + 1)
    os.truncate(one / format.WEIGHTS_FILE, size)
    refuse(one, f"at most {most:,} bytes.*Received: {size:,} bytes")


@pytest.mark.parametrize("stated", ["as it was", None, 2**36])
def test_the_total_size_of_files_is_limited(several, nothing_is_hashed, stated):
    if stated != "as it was":
        restate_metadata(several, weights_bytes=stated)
    for index in range(40):
        name = f"model_{index:05}.weights.h5"
        state_checksum(several, name, "0" * 64)
        (several / name).touch()
        os.truncate(several / name, 2**31)
    refuse(several, "at most .* bytes.*Received: 85,899,")


def test_a_stated_size_above_the_limit_is_refused(one, nothing_is_hashed):
    restate_metadata(one, weights_bytes=2**36 + 1)
    refuse(one, "from 0 to 68,719,476,736. Received: weights_bytes=687194767")


def test_the_number_of_files_is_limited(one, nothing_is_hashed):
    for index in range(format.MAX_WEIGHTS_FILES):
        name = f"model_{index:05}.weights.h5"
        (one / name).touch()
    stated = {f"model_{i:05}.weights.h5": "0" * 64 for i in range(1000)}
    stated |= format.checksums(one)
    restate_metadata(one, sha256=stated)
    refuse(one, "at most 1,000 weights files. Received: .*, with 1,001")


def test_saving_too_many_files_is_refused(saved, tmp_path, monkeypatch):
    model = keras_ncsn.NCSNModel.from_preset(saved / "one")
    monkeypatch.setattr(format, "MAX_WEIGHTS_FILES", 3)
    with pytest.raises(ValueError, match="at most 3 files.*max_shard_size=2e"):
        model.save_to_preset(tmp_path / "preset", max_shard_size=2e-8)
    assert not list(tmp_path.iterdir())


def first_twice(index):
    name, files = next(iter(index["weight_map"].items()))
    files = files if isinstance(files, list) else [files]
    index["weight_map"][name] = files * 1000


def all_for_each(index):
    files = [f"model_{number:05}.weights.h5" for number in range(4)]
    index["weight_map"] = dict.fromkeys(index["weight_map"], files)


def another_key(index):
    index["more"] = 1


def another_file(index):
    index["weight_map"]["/vars"] = "model_00009.weights.h5"


def many_places(index):
    name = "model_00000.weights.h5"
    index["weight_map"] |= {f"/layers/x{i}": name for i in range(1100)}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (many_places, r"1,1.. places are named, but 1,0.. at most"),
        (first_twice, "named twice"),
        (all_for_each, "named more often than Keras would"),
        (another_key, "holds something else"),
        (another_file, "another file is named"),
    ],
)
def test_an_index_that_names_files_too_often_is_refused(
    several, spoil, message
):
    assert len(format.checksums(several)) > 3
    keras_ncsn.NCSNModel.from_preset(several)
    path = several / format.INDEX_FILE
    index = json.loads(path.read_text())
    spoil(index)
    path.write_text(json.dumps(index))
    state_checksum(several, path.name)
    refuse(several, f"as Keras does. Received: .*{message}")


def test_keras_opens_no_file_that_is_not_listed(several):
    stated = format.checksums(several)
    path = several / format.INDEX_FILE
    index = json.loads(path.read_text())
    (several / "model_00000.weights.h5").unlink()
    os.mkfifo(several / "model_00000.weights.h5")
    files = "model_00001.weights.h5"
    index["weight_map"] = dict.fromkeys(index["weight_map"], files)
    path.write_text(json.dumps(index))
    stated = {x: stated[x] for x in stated if x != "model_00000.weights.h5"}
    restate_metadata(several, sha256=stated)
    state_checksum(several, path.name)
    refuse(several, "model_00000.weights.h5 is not listed")


def test_the_check_of_an_index_takes_no_longer_for_many_names(tmp_path):
    stated = {f"model_{i:05}.weights.h5": "0" * 64 for i in range(20_000)}
    index = {"weight_map": {str(i): x for i, x in enumerate(stated)}}
    path = tmp_path / format.INDEX_FILE
    path.write_text(json.dumps(index))
    began = time.monotonic()
    loading._check_index(tmp_path, stated, 20_000)
    index["weight_map"]["0"] = list(stated) + ["other.h5"]
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="must name files that"):
        loading._check_index(tmp_path, stated, 20_000)
    assert time.monotonic() - began < 2


def object_references(file):
    file["a"] = np.zeros(3)
    file.create_dataset("b", (3,), h5py.ref_dtype)


def region_references(file):
    file.create_dataset("b", (3,), h5py.regionref_dtype)


def named_type(file):
    file["b"] = np.dtype("float32")


def compound(file):
    file.create_dataset("b", (3,), np.dtype([("x", "f4"), ("y", "f4")]))


def array_type(file):
    file.create_dataset("b", (3,), np.dtype(("f4", (1000, 1000))))


def times(file):
    kind = h5py.h5t.UNIX_D32LE
    h5py.h5d.create(file.id, b"b", kind, h5py.h5s.create_simple((3,)))


def filtered(file):
    file.create_dataset("b", (1,), "f4", chunks=(1,), fletcher32=True)


def many_groups(file):
    for index in range(300):
        file.create_group(f"{index}/a/b")


def deep_groups(file):
    group = file
    for _ in range(2000):
        group = group.create_group("g")
    group["a"] = np.zeros(10**6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (object_references, "/b holds no numbers"),
        (region_references, "/b holds no numbers"),
        (named_type, "/b is not an array"),
        (compound, "/b holds no numbers"),
        (array_type, "/b holds no numbers"),
        (times, "/b holds no numbers|readable HDF5"),
        (filtered, "/b is stored in chunks"),
        (many_groups, "more than 500 arrays and groups"),
        (deep_groups, "more than 500|more numbers than the model has"),
    ],
)
def test_weights_must_be_arrays_of_numbers(
    tmp_path, make, message, monkeypatch
):
    monkeypatch.setattr(weights_files, "MAX_OBJECTS", 500)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        make(file)
    with pytest.raises(ValueError, match=message) as raised:
        weights_files.check(tmp_path / "w.h5", 1000)
    assert str(raised.value).isprintable()


def test_large_attributes_are_refused(tmp_path):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", libver="latest") as file:
        array = file.create_dataset("a", (1,), "f4")
        array.attrs["dtype"] = "bfloat16"
        for index in range(20):
            array.attrs[str(index)] = np.zeros(1000)
    weights_files.check(path, 1000)
    with h5py.File(path, "a", libver="latest") as file:
        file["a"].attrs["large"] = np.zeros(10_000)
    with pytest.raises(ValueError, match="attribute large of 80,000 bytes"):
        weights_files.check(path, 1000)
