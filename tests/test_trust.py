"""Hostile presets, one of each kind."""

import json
import shutil

import h5py
import keras
import numpy as np
import pytest
from keras import ops
from preset_files import restate, state_checksum

import keras_ncsn
from keras_ncsn.presets import format, sources, trust


def functional():
    noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
    x = keras.layers.Reshape((1, 1, 1))(ops.log(sigma)) + noisy
    x = keras.layers.Rescaling(0.5)(x)
    x = keras.layers.Dense(1, "silu", kernel_regularizer="l2")(x)
    x = keras.layers.Dropout(0.1, seed=1)(x)[:, ::1]
    x = keras.Sequential([keras.layers.Dense(1, ops.tanh)])(x)
    return keras.Model([noisy, sigma], ops.cast(x, "float32"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "preset"
    keras_ncsn.NCSNModel(functional(), seed=0).save_to_preset(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "preset")


def edit_config(folder, edit):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config["config"]["network"]["config"]["layers"])
    path.write_text(json.dumps(config))
    restate(folder)


def entry(module, name, config=None, **more):
    return {"module": module, "class_name": name, "config": config or {}} | more


def test_a_network_of_plain_layers_is_trusted(folder):
    model = keras_ncsn.NCSNModel.from_preset(folder)
    assert model.score(np.zeros((1, 8, 8, 1)), 0.5).shape == (1, 8, 8, 1)


def test_presets_of_the_zoo_are_trusted():
    for preset in sources.zoo().values():
        trust.check_config(format.read_config(preset))


@pytest.mark.parametrize(
    "hostile",
    [
        entry("builtins", "__lambda__", {"value": ["", None, None]}),
        entry("keras.layers", "Lambda", {"function": "print"}),
        entry("keras.layers", "TFSMLayer", {"filepath": "/etc"}),
        entry("keras.layers", "TorchModuleWrapper", {"module": "x"}),
        entry("keras.layers", "JaxLayer", {}),
        entry("keras.layers", "FlaxLayer", {}),
        entry("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
        entry("keras.layers", "TextVectorization", {"vocabulary": "/etc"}),
        entry("keras.src.layers.core.lambda_layer", "Lambda", {}),
        entry("os", "system", {"command": "true"}),
        entry("subprocess", "Popen", {"args": "true"}),
        entry("keras.saving", "load_model", {"filepath": "model.keras"}),
        entry("keras.utils", "get_file", {"origin": "file:///etc/passwd"}),
        entry("keras.src.ops.core", "Map", {}),
        entry("builtins", "function", "eval"),
        entry("os", "function", "system"),
        entry("keras_ncsn.cli", "main", {}, registered_name="keras_ncsn>main"),
        entry("keras.layers", "Dense", {}, registered_name="other>Dense"),
        entry("builtins", "__typespec__", {}, spec_name="TensorSpec"),
        entry("keras_hub.x", "function", "relu"),
        entry("builtins", "function", "deserialize"),
        entry("builtins", "function", {}),
        entry("keras.layers", "Dense", {}, registered_name=[]),
        entry("keras.src.ops.numpy", "mine>Doubled", {}),
        entry("keras.layers", "Dense", {"kernel_initializer": "mine>Doubled"}),
        {"class_name": "Dense", "config": {}},
        {"class_name": ["Dense"], "config": {}},
        entry("keras.layers", "add", {}),
    ],
    ids=lambda hostile: f"{hostile.get('module')}.{hostile['class_name']}",
)
def test_other_classes_are_refused_before_anything_is_made(
    folder, monkeypatch, hostile
):
    edit_config(folder, lambda layers: layers.append(hostile))
    monkeypatch.setattr(
        keras_ncsn.NCSNModel, "from_config", lambda *args: pytest.fail("made")
    )
    with pytest.raises(ValueError, match="could run code. Received: "):
        keras_ncsn.NCSNModel.from_preset(folder)


@pytest.mark.parametrize("name", ["__numpy__", "__tensor__"])
@pytest.mark.parametrize("dtype", ["S2000000000", "V9999999", "object", None])
def test_arrays_in_a_config_must_hold_numbers(name, dtype):
    array = {"class_name": name, "config": {"value": [1], "dtype": "float32"}}
    trust.check_config([array])
    array["config"]["dtype"] = dtype
    with pytest.raises(ValueError, match="numbers.*Received: dtype="):
        trust.check_config([array])
    with pytest.raises(ValueError, match="numbers.*Received: dtype=None"):
        trust.check_config({"class_name": name, "config": ["float32"]})


@keras.saving.register_keras_serializable(package="mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x


def test_classes_of_the_user_are_given_as_custom_objects(tmp_path):
    noisy, sigma = keras.Input((4, 4, 1)), keras.Input(())
    network = keras.Model([noisy, sigma], Doubled()(noisy))
    keras_ncsn.NCSNModel(network).save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match=r"Doubled.*custom_objects"):
        keras_ncsn.NCSNModel.from_preset(tmp_path / "preset")
    model = keras_ncsn.NCSNModel.from_preset(
        tmp_path / "preset", custom_objects={"Doubled": Doubled}
    )
    score = model.score(np.ones((1, 4, 4, 1)), 0.5)
    np.testing.assert_allclose(score, 2.0)


class Tripled(keras.layers.Layer):
    def call(self, x):
        return 3.0 * x


def halved(x):
    return 0.5 * x


@pytest.mark.parametrize("own", [Tripled, halved])
def test_parts_that_keras_cannot_rebuild_are_named(tmp_path, own):
    noisy, sigma = keras.Input((4, 4, 1)), keras.Input(())
    layer = keras.layers.Activation(own) if own is halved else own()
    network = keras.Model([noisy, sigma], layer(noisy))
    message = f"`network` must.*{own.__name__}.*register_keras_serializable"
    with pytest.raises(ValueError, match=message) as raised:
        keras_ncsn.NCSNModel(network, ema_momentum=0.9)
    assert "\n" not in str(raised.value)
    model = keras_ncsn.NCSNModel(network)
    with pytest.raises(ValueError, match=message):
        model.save_to_preset(tmp_path / "preset")
    assert list(tmp_path.iterdir()) == []
    given = {own.__name__: own}
    with keras.saving.custom_object_scope(given):
        model.save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match=rf"{own.__name__}.*custom_objects"):
        keras_ncsn.NCSNModel.from_preset(tmp_path / "preset")
    copy = keras_ncsn.NCSNModel.from_preset(
        tmp_path / "preset", custom_objects=given
    )
    ones = np.ones((1, 4, 4, 1))
    assert np.array_equal(copy.score(ones, 0.5), model.score(ones, 0.5))


def first_array(file):
    names = []
    file.visititems(
        lambda name, item: (
            names.append(name) if isinstance(item, h5py.Dataset) else None
        )
    )
    return names[0]


def external_link(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("other.h5", "/data")


def soft_link(file, name):
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def external_storage(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(
        name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


def virtual(file, name):
    layout = h5py.VirtualLayout(file[name].shape, "f4")
    del file[name]
    file.create_virtual_dataset(name, layout)


def objects(file, name):
    del file[name]
    file.create_dataset(name, (3,), dtype=h5py.string_dtype())


def bomb(file, name):
    del file[name]
    file.create_dataset(name, (2**40,), "f4")


def large_chunk(file, name):
    """Some kilobytes, for which HDF5 takes a chunk of 32 megabytes."""
    array = file[name][...]
    del file[name]
    sides = len(array.shape)
    file.create_dataset(
        name,
        data=array,
        maxshape=sides * (None,),
        chunks=(2**23, *(sides - 1) * (1,)),
        compression="gzip",
    )


def twice(file, name):
    file["again"] = file[name]


def circle(file, name):
    file["circle"] = file["/"]


def nothing(file, name):
    del file[name]
    file[name] = h5py.Empty("f4")


def opaque(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "V1000000")


def wrong_shape(file, name):
    shape = file[name].shape
    del file[name]
    file[name] = np.zeros((*shape[:-1], 1, shape[-1]), "float32")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (external_link, "link to elsewhere"),
        (soft_link, "link to elsewhere"),
        (external_storage, "stored in another file"),
        (virtual, "stored in another file"),
        (objects, "holds no numbers"),
        (twice, "has another name, too"),
        (circle, "has another name, too|more levels"),
        (nothing, "is not an array"),
        (opaque, "holds no numbers"),
        (bomb, "more numbers than the model has"),
        (large_chunk, "is stored in chunks"),
        (wrong_shape, "must fit its `config.json`"),
    ],
)
def test_weights_that_are_more_than_numbers_are_refused(folder, spoil, message):
    path = folder / format.WEIGHTS_FILE
    with h5py.File(path, "r+") as file:
        spoil(file, first_array(file))
    state_checksum(folder)
    with pytest.raises(ValueError, match=message):
        keras_ncsn.NCSNModel.from_preset(folder)


def test_the_checksums_must_cover_the_weights_that_are_loaded(folder):
    metadata = format.read_metadata(folder)
    (digest,) = metadata["sha256"].values()
    shutil.copy(folder / format.WEIGHTS_FILE, folder / "model_00000.weights.h5")
    metadata["sha256"] = {"model_00000.weights.h5": digest}
    (folder / format.METADATA_FILE).write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="for each weights file"):
        keras_ncsn.NCSNModel.from_preset(folder)


def test_a_trusted_name_does_not_cover_another():
    config = entry("mine", "Mine", {}, registered_name="mine>Doubled")
    with pytest.raises(ValueError, match="could run code"):
        trust.check_config(config, {"Mine": keras.layers.Dense})


def test_deep_configs_are_refused():
    config = []
    for _ in range(100_000):
        config = [config]
    with pytest.raises(ValueError, match="nested too deeply"):
        trust.check_config(config)


def test_names_of_files_cannot_leave_the_folder(folder, tmp_path):
    shutil.copy(folder / format.WEIGHTS_FILE, tmp_path / format.WEIGHTS_FILE)
    metadata = format.read_metadata(folder)
    (digest,) = metadata["sha256"].values()
    for name in ("../model.weights.h5", "/etc/passwd", "a/model.weights.h5"):
        metadata["sha256"] = {name: digest}
        (folder / format.METADATA_FILE).write_text(json.dumps(metadata))
        with pytest.raises(ValueError, match="for each weights file"):
            keras_ncsn.NCSNModel.from_preset(folder)
