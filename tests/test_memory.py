"""Too little memory is one sentence, whatever a backend says of it."""

import click
import keras
import pytest

import keras_ncsn
from keras_ncsn import cli
from keras_ncsn.backend import BACKEND
from keras_ncsn.memory import is_of_memory, shortage
from keras_ncsn.networks import UNet


def allocate_petabytes():
    keras.ops.convert_to_numpy(keras.ops.ones((2**25, 2**25)))


class ResourceExhaustedError(Exception):
    """The name of TensorFlow's, which is no `RuntimeError`."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("Unable to allocate 1. GiB"), "Unable to allocate 1. GiB"),
        (ResourceExhaustedError("Detected\n\nat"), "Detected at"),
        (
            ResourceExhaustedError("Graph:\n\nOOM when allocating x\n [[{n}]]"),
            "OOM when allocating x",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory 9 bytes.\nLimit"),
            "RESOURCE_EXHAUSTED: Out of memory 9 bytes.",
        ),
        (RuntimeError("[x] DefaultCPUAllocator: can't allocate memory: y"), ""),
        (RuntimeError("[x] DefaultCPUAllocator: not enough memory: y"), ""),
        (RuntimeError("CUDA out of memory. Tried"), "CUDA out of memory. T"),
    ],
)
def test_memory_errors_are_recognised(error, message):
    assert is_of_memory(error)
    assert message in shortage(error)
    assert shortage(error).isprintable()


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), TypeError("out of memory"), KeyError("x")]
)
def test_other_errors_are_not_memory_errors(error):
    assert not is_of_memory(error)


def run(monkeypatch, function):
    monkeypatch.setattr(
        cli._Commands,
        "get_command",
        lambda *arguments: click.Command("fail", callback=function),
    )
    monkeypatch.setattr("sys.argv", ["keras-ncsn", "fail"])
    cli.main()


@pytest.mark.parametrize(
    "allocate",
    [
        pytest.param(
            allocate_petabytes,
            # TensorFlow waits ten seconds for memory.
            marks=[pytest.mark.slow] if BACKEND == "tensorflow" else [],
        )
    ],
)
def test_a_backend_out_of_memory_gives_one_sentence(
    monkeypatch, capsys, allocate
):
    with pytest.raises(SystemExit):
        run(monkeypatch, allocate)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("Error: The images and the network must fit into")
    assert said.endswith("with a smaller --batch-size.")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(monkeypatch, fail)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "preset"
    network = UNet((8, 8, 1), widths=(4,), num_blocks=1)
    keras_ncsn.NCSNModel(network).save_to_preset(folder)
    return folder


@pytest.mark.parametrize("place", ["network", "weights", "model"])
def test_a_lack_of_memory_is_not_blamed_on_the_preset(
    monkeypatch, preset, place
):
    def fail(*arguments, **options):
        raise MemoryError("Unable to allocate 1. GiB")

    patched = {
        "network": (UNet, "from_config"),
        "weights": (keras.Model, "load_weights"),
        "model": (keras_ncsn.NCSNModel, "from_config"),
    }
    monkeypatch.setattr(*patched[place], fail)
    with pytest.raises(MemoryError):
        keras_ncsn.NCSNModel.from_preset(preset)
