"""Small runs of `keras-ncsn train`, in a folder of the test."""

import csv
import functools
import shutil

import lazy_loader
import numpy as np
import pytest
from click.testing import CliRunner
from small_networks import two_convolutions

import keras_ncsn
from keras_ncsn import cli
from keras_ncsn.images import save_images

keras = lazy_loader.load("keras")

TINY = [
    *("--width", 4, "--width-multipliers", "1", "--num-blocks", 1),
    *("--attention-stages", ""),
]
NUM_STEPS = 24


def save_pictures(folder):
    """Saves forty small pictures."""
    images = np.random.default_rng(0).random((40, 8, 8, 1))
    save_images(images, folder / "pictures")


@pytest.fixture
def pictures(tmp_path):
    save_pictures(tmp_path)
    return tmp_path / "pictures"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A preset of a network that compiles in no time."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("small") / "small"
    keras_ncsn.NCSNModel(two_convolutions()).save_to_preset(folder)
    return folder


def train_in(folder, *arguments, network=None, data=None, status=0):
    """Runs `keras-ncsn train` on what lies in a folder."""
    data = data or folder / "pictures"
    if network is None:
        network = "--from-preset", folder / "small"
    command = [
        *("train", data, folder / "run", "--steps", 4),
        *("--batch-size", 4, "--log-every", 2, "--checkpoint-every", 2),
        *("--sample-every", 0, *network, *arguments),
    ]
    command = [str(argument) for argument in command]
    result = CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def train(pictures, small, tmp_path):
    shutil.copytree(small, tmp_path / "small")
    return functools.partial(train_in, tmp_path)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A folder in which a run took two steps."""
    folder = tmp_path_factory.mktemp("trained")
    save_pictures(folder)
    shutil.copytree(small, folder / "small")
    train_in(folder, "--steps", 2)
    return folder


@pytest.fixture
def resume(trained, tmp_path):
    """Continues a copy of that run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return functools.partial(train_in, tmp_path, "--resume", network=())


def read_rows(folder):
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def killable_model():
    """Every kind of state: dropout and other seeds, average, momentum."""
    keras.utils.set_random_seed(0)
    network = two_convolutions()
    layers = keras.layers
    noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
    x = layers.Dropout(0.1, seed=3)(network([noisy, sigma]))
    model = keras_ncsn.NCSNModel(
        keras.Model([noisy, sigma], x), ema_momentum=0.9, seed=0
    )
    rate = keras.optimizers.schedules.CosineDecay(1e-2, NUM_STEPS)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    return model
