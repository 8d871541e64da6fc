"""Presets that nobody saved, and what must be left of them: nothing."""

import copy
import json
import os
import random
import shutil
import socket
import time

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from contract import randomize
from fuzzing import few_or_many, fuzz, mutations, refused_in_words
from hypothesis import given
from json_mutations import json_mutations
from PIL import Image
from preset_files import restate, state_checksum

import keras_ncsn
from keras_ncsn.cli import cli
from keras_ncsn.guidance import Guide
from keras_ncsn.networks import MLP, RefineNet, UNet
from keras_ncsn.presets import (
    format,
    loading,
    trust,
    weights_files,
)
from keras_ncsn.presets.sources import zoo
from keras_ncsn.presets.terms import common_terms, keep_terms
from keras_ncsn.samplers import Heun
from keras_ncsn.samplers.settings import chosen_sampler

pytestmark = pytest.mark.usefixtures("alarm")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras.utils.set_random_seed(0)
    small = {"num_blocks": 1, "attention_stages": ()}
    network = UNet((4, 4, 1), widths=(4,), **small)
    guide = Guide(UNet((4, 4, 1), widths=(2,), **small))
    model = keras_ncsn.NCSNModel(network, guide=guide, seed=0)
    randomize(model.network)
    folder = tmp_path_factory.mktemp("saved") / "preset"
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "preset")


def edit_config(folder, edit):
    path = folder / format.CONFIG_FILE
    config = json.loads(path.read_text())
    edit(config["config"])
    path.write_text(json.dumps(config))
    restate(folder)


def refuse(folder, message):
    with pytest.raises(ValueError, match=message) as raised:
        keras_ncsn.NCSNModel.from_preset(folder)
    assert str(raised.value).isprintable()
    return str(raised.value)


def functional_arguments():
    """What makes Keras think that a model is made of inputs and outputs."""
    noisy, sigma = keras.Input((4, 4, 1)), keras.Input(())
    network = keras.Model([noisy, sigma], keras.layers.Rescaling(1.0)(noisy))
    serialized = keras.saving.serialize_keras_object(network)
    return {"inputs": serialized, "outputs": 1}


def of_the_model(config):
    config |= functional_arguments()


def of_the_network(config):
    config["network"]["config"] |= functional_arguments()


def of_the_guide(config):
    config["guide"]["config"] |= functional_arguments()


def of_the_network_of_the_guide(config):
    network = config["guide"]["config"]["network"]["config"]
    network |= {"score": 1, "arguments": {}}


def of_the_schedule(config):
    config["schedule"]["config"]["name"] = "x"


def of_a_model_for_a_network(config):
    config["guide"]["config"]["network"] = {
        "module": "keras_ncsn.model",
        "class_name": "NCSNModel",
        "registered_name": "keras_ncsn>NCSNModel",
        "config": functional_arguments(),
    }


def in_a_list(config):
    network = copy.deepcopy(config["network"])
    network["config"]["inputs"] = 3
    config["value_range"] = [[network]]


def in_a_functional_network(config):
    network = copy.deepcopy(config["guide"])
    network["config"]["outputs"] = None
    config["network"] = {
        "module": "keras",
        "class_name": "Functional",
        "registered_name": None,
        "config": {"name": "n", "layers": [network], "input_layers": []},
    }


def traces():
    """What a refused preset could change for all that comes after it."""
    return (
        keras_ncsn.NCSNModel.__mro__,
        Guide.__mro__,
        UNet.__mro__,
        dict(keras.saving.get_custom_objects()),
        dict(keras.src.saving.object_registration.GLOBAL_CUSTOM_OBJECTS),
        keras.config.dtype_policy().name,
        keras.config.floatx(),
        keras.config.image_data_format(),
        keras.src.saving.serialization_lib.in_safe_mode(),
        keras.src.backend.common.global_state.get_global_attribute(
            "shared_objects"
        ),
    )


@pytest.mark.parametrize(
    "spoil",
    [
        of_the_model,
        of_the_network,
        of_the_guide,
        of_the_network_of_the_guide,
        of_the_schedule,
        of_a_model_for_a_network,
        in_a_list,
        in_a_functional_network,
    ],
)
def test_a_refused_preset_leaves_no_trace(saved, folder, spoil, monkeypatch):
    edit_config(folder, spoil)
    before = traces()
    with monkeypatch.context() as patched:
        patched.setattr(
            keras_ncsn.NCSNModel, "from_config", lambda *a: pytest.fail("made")
        )
        message = refuse(folder, "must hold arguments that .* take.*preset;")
    assert message.count("Received: ") == 1
    with pytest.raises(ValueError, match="must hold arguments that"):
        keras_ncsn.NCSNModel.from_preset(folder, dtype="mixed_bfloat16")
    assert traces() == before
    model = keras_ncsn.NCSNModel.from_preset(saved)
    assert model.image_shape == (4, 4, 1)


def test_inputs_and_outputs_are_refused_as_arguments(saved):
    before = traces()
    arguments = {"network": MLP(width=4), "inputs": [], "outputs": []}
    for make in (
        lambda: keras_ncsn.NCSNModel(**arguments),
        lambda: keras_ncsn.NCSNModel.from_config(arguments),
        lambda: keras_ncsn.NCSNModel.from_preset(
            "mnist", load_weights=False, inputs=[], outputs=[]
        ),
    ):
        with pytest.raises(ValueError, match="`network` .*Received: inputs"):
            make()
    assert traces() == before


def test_every_class_accepts_its_own_config():
    registered = keras.src.saving.object_registration.GLOBAL_CUSTOM_OBJECTS
    ours = {n: c for n, c in registered.items() if n.startswith("keras_ncsn>")}
    made = [
        MLP(width=4),
        UNet((4, 4, 1), widths=(4,), num_blocks=1),
        RefineNet((4, 4, 1), width=2, sigmas=[1.0, 0.5]),
        Guide(MLP(width=4)),
        keras_ncsn.noise.NoiseSchedule.geometric(),
        keras_ncsn.NCSNModel(MLP(width=4), name="mine"),
    ]
    made += [layer for network in made[:3] for layer in network.layers]
    for instance in made:
        if type(instance) in ours.values():
            trust.check_arguments(type(instance), instance.get_config())
    for name, cls in ours.items():
        with pytest.raises(ValueError, match=f"inputs for {cls.__name__}"):
            trust.check_arguments(cls, {"inputs": 1})
        assert "name" in trust.arguments(cls) or name == (
            "keras_ncsn>NoiseSchedule"
        )


class Mine(keras_ncsn.NCSNModel):
    def __init__(self, network, colour="red", **kwargs):
        super().__init__(network, **kwargs)
        self.colour = colour

    def get_config(self):
        return super().get_config() | {"colour": self.colour}


def test_a_subclass_accepts_arguments_of_its_bases(folder):
    edit_config(folder, lambda config: config.update(colour="blue"))
    assert Mine.from_preset(folder).colour == "blue"
    refuse(folder, "hold arguments.*colour for NCSNModel")
    edit_config(folder, lambda config: config.update(outputs=1))
    with pytest.raises(ValueError, match="hold arguments.*outputs for Mine"):
        Mine.from_preset(folder)


def named_pipe(path, tmp_path):
    os.mkfifo(path)


def link_to_a_named_pipe(path, tmp_path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def unix_socket(path, tmp_path):
    # The names of sockets must be short.
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


def link_to_a_device(path, tmp_path):
    path.symlink_to("/dev/zero")


def a_folder(path, tmp_path):
    path.mkdir()


def link_to_itself(path, tmp_path):
    path.symlink_to(path.name)


def terabytes_of_nothing(path, tmp_path):
    path.touch()
    os.truncate(path, 2**42)


KINDS = [
    named_pipe,
    link_to_a_named_pipe,
    unix_socket,
    link_to_a_device,
    a_folder,
    link_to_itself,
    terabytes_of_nothing,
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", ["config", "metadata", "weights", "index"])
def test_irregular_files_are_refused_without_waiting(
    folder, tmp_path, name, make
):
    path = (
        folder
        / {
            "config": format.CONFIG_FILE,
            "metadata": format.METADATA_FILE,
            "weights": format.WEIGHTS_FILE,
            "index": format.INDEX_FILE,
        }[name]
    )
    if name == "index":
        state_checksum(folder, path.name, "0" * 64)
    path.unlink(missing_ok=True)
    make(path, tmp_path)
    began = time.monotonic()
    with pytest.raises(ValueError, match="Received: "):
        keras_ncsn.NCSNModel.from_preset(folder)
    if name == "metadata":
        with pytest.raises(ValueError, match="readable `metadata.json`"):
            format.read_metadata(folder)
    elif name == "config":
        with pytest.raises(ValueError, match="readable `config.json`"):
            format.read_config(folder)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.json", '{"a": ' + "[" * 100_000, "readable `metadata"),
        ("metadata.json", '{"a": "' + "x" * 2**20 + '"}', "at most 1,048,576"),
        ("metadata.json", b'\xff{"a": 1}', "readable `metadata"),
        ("metadata.json", '{"a": ' + "9" * 5000 + "}", "readable `metadata"),
        ("config.json", '{"a": "' + "x" * 2**24 + '"}', "at most 16,777,216"),
        ("config.json", '{"a": ' + "[" * 100_000, "readable `config"),
    ],
)
def test_the_size_and_depth_of_json_are_limited(folder, name, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(content)
    if name == "config.json":
        restate(folder)
    refuse(folder, message)


def test_metadata_are_one_printable_line_in_messages(folder):
    def read_spoilt(changes):
        metadata = json.loads((folder / "metadata.json").read_text())
        metadata |= changes
        (folder / "metadata.json").write_text(json.dumps(metadata))
        format.check_whole(folder)

    own = {"license_name": "\x1b[2J\n\u202e" + "x" * 10_000}
    for call in (
        lambda: common_terms(own, {"license_name": "b"}),
        lambda: keep_terms(own, {"license_name": "b"}),
        lambda: keep_terms({"license_name": "b"}, own),
        lambda: read_spoilt({"format_version": own["license_name"]}),
        lambda: read_spoilt({"sha256": own}),
        lambda: read_spoilt({"config_sha256": own}),
    ):
        with pytest.raises(ValueError, match="Received: ") as raised:
            call()
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 2000


@pytest.mark.parametrize("make", KINDS)
def test_weights_must_be_regular_files(tmp_path, make):
    make(tmp_path / "w.h5", tmp_path)
    with pytest.raises(ValueError, match="readable HDF5"):
        weights_files.check(tmp_path / "w.h5", 1000)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A preset that is made in no time, without a checksum of its config."""
    keras.utils.set_random_seed(0)
    noisy, sigma = keras.Input((2,)), keras.Input(())
    x = keras.layers.Dense(2)(noisy) + keras.layers.Reshape((1,))(sigma)
    model = keras_ncsn.NCSNModel(
        keras.Model([noisy, sigma], x),
        value_range=None,
        guide=Guide(MLP(width=2, num_layers=1)),
        sampler_settings={"heun": {"num_steps": 3}},
        seed=0,
    )
    folder = tmp_path_factory.mktemp("small") / "preset"
    model.save_to_preset(folder, max_shard_size=2e-7)
    metadata = format.read_metadata(folder)
    del metadata["config_sha256"]
    (folder / format.METADATA_FILE).write_text(json.dumps(metadata))
    return folder


@few_or_many
@pytest.mark.parametrize("mutate", [mutations, json_mutations])
@pytest.mark.parametrize(
    "name", [format.CONFIG_FILE, format.METADATA_FILE, format.INDEX_FILE]
)
def test_damaged_json_is_read_or_refused(
    small, tmp_path, name, mutate, num_cases
):
    folder = shutil.copytree(small, tmp_path / "preset")
    path = folder / name
    good = path.read_bytes()
    before = traces()

    @fuzz(num_cases)
    @given(mutate(good if mutate is mutations else good.decode()))
    def read(damaged):
        damaged = damaged if isinstance(damaged, bytes) else damaged.encode()
        path.write_bytes(damaged)
        if name == format.INDEX_FILE:
            state_checksum(folder, name)
        load_weights = name != format.CONFIG_FILE
        with refused_in_words():
            keras_ncsn.NCSNModel.from_preset(folder, load_weights)

    read()
    assert traces() == before
    path.write_bytes(good)
    if name == format.INDEX_FILE:
        state_checksum(folder, name)
    keras_ncsn.NCSNModel.from_preset(folder)


@few_or_many
def test_damaged_weights_are_read_or_refused(small, tmp_path, num_cases):
    folder = tmp_path / "preset"
    model = keras_ncsn.NCSNModel.from_preset(small)
    model.save_to_preset(folder)
    path = folder / format.WEIGHTS_FILE
    good = path.read_bytes()

    @fuzz(num_cases)
    @given(mutations(good))
    def read(damaged):
        path.write_bytes(damaged)
        state_checksum(folder)
        with refused_in_words():
            loading.load_weights(model.network, model.guide, folder)

    read()
    path.write_bytes(good)
    state_checksum(folder)
    loading.load_weights(model.network, model.guide, folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": []}, "`sampler` must be one of"),
        ({"sampler": {}, "sampler_settings": {"heun": {}}}, "must be one of"),
        ({"sampler_settings": {"heun": []}}, "must map names of samplers"),
        ({"sampler_settings": {"heun": "num_steps"}}, "must map names"),
    ],
)
def test_invalid_sampler_settings_of_a_model_are_refused(
    make_model, arguments, message
):
    with pytest.raises(ValueError, match=message):
        make_model(**arguments)


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("annealed_langevin", {"steps_per_level": 10**7}, "100,000,000"),
        ("annealed_langevin", {"steps_per_level": 100_001}, "1,000,010"),
        ("langevin", {"num_steps": 10**7}, "10,000,000"),
        ("heun", {"num_steps": 10**6}, "1,999,999"),
    ],
)
def test_a_preset_with_too_many_evaluations_is_refused(
    folder, name, settings, count
):
    settings = {"sampler_settings": {name: settings}}
    edit_config(folder, lambda config: config.update(settings))
    message = refuse(folder, f"at most 1,000,000 times.*{count} eval")
    assert message.count("Received: ") == 1


def test_a_preset_with_too_long_a_ladder_is_refused(folder):
    def edit(config):
        sigmas = np.linspace(1.0, 0.01, 20_000).tolist()
        config["schedule"]["config"]["sigmas"] = sigmas
        config["guide"] = None

    edit_config(folder, edit)
    refuse(folder, "2,000,000 evaluations .*, with 20,000 noise levels")


def test_a_caller_may_take_as_many_steps_as_they_want(make_zero):
    model = make_zero((1,), value_range=None, sampler="heun")
    with pytest.raises(ValueError, match="at most 1,000,000 times"):
        make_zero((1,), sampler=Heun(num_steps=600_000))
    sampler = chosen_sampler(
        None, {"num_steps": 600_000}, model.sampler, model.sampler_settings
    )
    assert sampler.num_steps == 600_000


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "1"])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((), "log_sigma_mean"),
        ((), "log_sigma_std"),
        ((), "data_std"),
        (("network", "config"), "data_mean"),
        (("network", "config"), "data_std"),
        (("network", "config"), "dropout"),
        (("guide", "config"), "weight"),
    ],
)
def test_numbers_in_a_config_must_be_finite(folder, place, name, value):
    def edit(config):
        for part in place:
            config = config[part]
        config[name] = value

    edit_config(folder, edit)
    refuse(folder, f"`{name}` must be ")


def test_integers_too_large_for_a_float_are_refused_in_words(make_model):
    with pytest.raises(ValueError, match="`data_std` must be a number above 0"):
        make_model(data_std=10**400)


@pytest.mark.parametrize("value", [["a"], 3, {"a": "b"}])
def test_terms_must_be_strings(value):
    with pytest.raises(ValueError, match="`license_name` .* must be a string"):
        common_terms({"license_name": value})


@pytest.mark.parametrize(
    "shape",
    [
        [28.0, 28.0, 1],
        [None, 28, 1],
        [[28], 28, 1],
        [True, True, 1],
        [float("inf"), 28, 1],
        [28, 28],
        [30_000, 30_000, 1],
    ],
)
def test_inpaint_refuses_a_preset_with_a_wrong_shape(tmp_path, shape):
    folder = tmp_path / "preset"
    folder.mkdir()
    config, metadata = (
        json.loads((zoo()["mnist"] / name).read_text())
        for name in (format.CONFIG_FILE, format.METADATA_FILE)
    )
    del metadata["config_sha256"]
    config["config"]["network"]["config"]["image_shape"] = shape
    (folder / format.CONFIG_FILE).write_text(json.dumps(config))
    (folder / format.METADATA_FILE).write_text(json.dumps(metadata))
    Image.fromarray(np.zeros((28, 28), "uint8")).save(tmp_path / "a.png")
    command = ["inpaint", folder, tmp_path / "a.png", "--mask", "left-half"]
    result = CliRunner().invoke(cli, [str(word) for word in command])
    assert isinstance(result.exception, ValueError)


@pytest.mark.parametrize("changes", [{"sampler": "zzz"}, {}])
def test_a_refused_preset_leaves_the_random_state(saved, tmp_path, changes):
    """A later model with the same seed starts from the same weights."""
    folder = tmp_path / "preset"
    shutil.copytree(saved, folder)
    config = json.loads((folder / "config.json").read_text())
    config["config"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    restate(folder)
    keras.utils.set_random_seed(0)
    before = random.getstate()
    if changes:
        with pytest.raises(ValueError, match="zzz"):
            keras_ncsn.NCSNModel.from_preset(folder)
    else:
        keras_ncsn.NCSNModel.from_preset(folder)
    assert (random.getstate() == before) == bool(changes)
