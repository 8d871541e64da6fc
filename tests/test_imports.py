"""What importing the package brings along, in processes of their own."""

import os
import pathlib
import subprocess
import sys

import pytest
from conftest import needs_torch

import keras_ncsn
from keras_ncsn.backend import BACKEND

DATA = pathlib.Path(__file__).parent / "data"
OTHERS = {"tensorflow", "jax", "torch"} - {BACKEND}


def run(code, *blocked, **environment):
    # A module that is None cannot be imported.
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", block + code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_import_is_lean_and_enough_to_load_keras_files(tmp_path):
    """Beyond what Keras and its backend load themselves."""
    path = str(tmp_path / "model.keras")
    network = keras_ncsn.networks.MLP(width=4)
    keras_ncsn.NCSNModel(network, value_range=None).save(path)
    code = f"""
import keras
before = set(sys.modules)
import keras_ncsn
heavy = {{"tensorflow_datasets", "huggingface_hub", "matplotlib"}}
print(sorted(heavy & set(sys.modules) - before))
print(type(keras.models.load_model({path!r})).__name__)
"""
    done = run(code)
    assert done.stdout.split() == ["[]", "NCSNModel"], done.stderr


@needs_torch
@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow is what runs")
def test_only_tensorflow_datasets_needs_tensorflow(tmp_path):
    sources = [str(tmp_path / name) for name in ("", "in.npy", "in.npz")]
    code = f"""
import keras
import numpy as np
import keras_ncsn
from keras_ncsn import cli
assert "tensorflow" not in [m for m in sys.modules if sys.modules[m]]
noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
score = keras.layers.Conv2D(1, 3, padding="same")(noisy)
network = keras.Model([noisy, sigma], score)
model = keras_ncsn.NCSNModel(network, ema_momentum=0.9)
model.compile()
images = np.random.default_rng(0).random((8, 8, 8, 1), "float32")
model.fit(images, batch_size=4, verbose=0)
model.evaluate(images, verbose=0)
model.save_to_preset({str(tmp_path / "preset")!r})
model = keras_ncsn.NCSNModel.from_preset({str(tmp_path / "preset")!r})
print(model.generate(1, steps_per_level=1).shape)
print(model.inpaint(images[0], np.eye(8), steps_per_level=1).shape)
from PIL import Image
Image.new("L", (8, 8)).save({str(tmp_path / "in.png")!r})
np.save({str(tmp_path / "in.npy")!r}, images)
np.savez({str(tmp_path / "in.npz")!r}, images=images)
for source in {sources!r}:
    loaded = keras_ncsn.datasets.load_images(source)
    print(next(keras_ncsn.datasets.shuffled_batches(loaded, 1, 0)).shape)
preset = {str(tmp_path / "preset")!r}
common = ["--sampler", "heun", "--num-steps", "2", "--output"]
for command in (
    ["generate", preset, *common, {str(tmp_path / "a.png")!r}],
    ["inpaint", preset, {str(tmp_path / "in.png")!r}, "--mask", "centre",
     *common, {str(tmp_path / "b.png")!r}],
    ["convert", {str(DATA / "ncsn_28x28x1_ngf8.pth")!r},
     {str(tmp_path / "converted")!r}],
):
    cli.cli(command, standalone_mode=False)
"""
    done = run(code, "tensorflow", "tensorflow_datasets")
    assert done.returncode == 0, done.stderr
    shapes = ["(1, 8, 8, 1)", "(8, 8, 1)", *3 * ["(1, 8, 8, 1)"]]
    assert done.stdout.split("\n")[:5] == shapes


def test_the_package_imports_only_the_chosen_backend():
    """Keras itself may look for others, so they are blocked by name."""
    code = """
import builtins
original = builtins.__import__
def watch(name, globals=None, *args, **kwargs):
    importer = (globals or {}).get("__name__", "")
    if name.split(".")[0] in OTHERS and importer.startswith("keras_ncsn"):
        raise AssertionError(f"{importer} imports {name}")
    return original(name, globals, *args, **kwargs)
builtins.__import__ = watch
import keras_ncsn
from keras_ncsn import cli
[cli.cli.get_command(None, name) for name in cli.COMMANDS]
print("imported")
""".replace("OTHERS", repr(OTHERS))
    done = run(code)
    assert done.stdout.strip() == "imported", done.stderr


def test_other_backends_are_refused():
    pytest.importorskip("scipy", reason="Keras' NumPy backend imports SciPy")
    done = run("import keras_ncsn; keras_ncsn.NCSNModel", KERAS_BACKEND="numpy")
    assert "runs on the backends tensorflow, jax and torch" in done.stderr
