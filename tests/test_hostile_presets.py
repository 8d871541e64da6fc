"""Presets that nobody saved, and what must be left of them: nothing."""

import copy
import json
import shutil
import signal

import keras
import pytest
from contract import randomize
from preset_files import restate

import keras_ncsn
from keras_ncsn import presets, trust
from keras_ncsn.guidance import Guide
from keras_ncsn.networks import MLP, RefineNet, UNet


@pytest.fixture(autouse=True)
def alarm():
    """What hangs fails."""

    def give_up(number, frame):
        raise TimeoutError("it took a minute")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras.utils.set_random_seed(0)
    network = UNet((4, 4, 1), widths=(4,), num_blocks=1)
    guide = Guide(UNet((4, 4, 1), widths=(2,), num_blocks=1))
    model = keras_ncsn.NCSNModel(network, guide=guide, seed=0)
    randomize(model.network)
    folder = tmp_path_factory.mktemp("saved") / "preset"
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "preset")


def edit_config(folder, edit):
    path = folder / presets.CONFIG_FILE
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
def test_a_refused_preset_leaves_no_trace(folder, spoil, monkeypatch):
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
    model = keras_ncsn.NCSNModel.from_preset("mnist", load_weights=False)
    assert model.image_shape == (28, 28, 1)


def test_a_model_is_made_of_no_inputs_and_outputs():
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


def test_every_class_takes_what_its_config_holds():
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


def test_a_model_of_the_user_takes_what_its_bases_take(folder):
    edit_config(folder, lambda config: config.update(colour="blue"))
    assert Mine.from_preset(folder).colour == "blue"
    refuse(folder, "hold arguments.*colour for NCSNModel")
    edit_config(folder, lambda config: config.update(outputs=1))
    with pytest.raises(ValueError, match="hold arguments.*outputs for Mine"):
        Mine.from_preset(folder)
