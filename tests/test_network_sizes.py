"""The size of a network is known before it is built."""

import json
import shutil
import time

import keras
import numpy as np
import pytest

import keras_ncsn
from keras_ncsn.networks import MLP, RefineNet, UNet, sizes
from keras_ncsn.presets.sources import zoo
from keras_ncsn.runs import recipes, run_file

SIGMAS = np.geomspace(1.0, 0.01, 50)


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (UNet, {"image_shape": (8, 8, 3), "widths": (64,)}),
        (UNet, {"image_shape": (8, 8, 3), "widths": (32, 64, 64)}),
        (UNet, {"image_shape": (8, 8, 3), "widths": (16, 96), "num_blocks": 4}),
        (UNet, {"image_shape": (64, 64, 300), "widths": (4,), "patch_size": 8}),
        (RefineNet, {"image_shape": (8, 8, 3), "width": 32}),
        (RefineNet, {"image_shape": (8, 8, 3), "width": 8, "sigmas": SIGMAS}),
        (RefineNet, {"image_shape": (8, 8, 9999), "width": 8}),
        (
            RefineNet,
            {"image_shape": (8, 8, 3), "width": 16, "blocks_per_stage": 5},
        ),
        (MLP, {"width": 200, "num_layers": 5}),
        (MLP, {"width": 8, "num_dimensions": 999}),
    ],
)
def test_estimates_are_close(cls, arguments, monkeypatch):
    estimates = []
    monkeypatch.setattr(
        sizes,
        "_check_parameters",
        lambda estimate, **sizes: estimates.append(estimate),
    )
    # The weights have shapes, and no values, which take longest.
    with keras.StatelessScope(initialize_variables=False):
        number = cls(**arguments).count_params()
    # Nor does a later scope of Keras give them any.
    keras.utils.clear_session()
    assert estimates == [pytest.approx(number, rel=0.15)]


HUGE = [
    ("unet-mnist", {"width": 2**16}),
    ("unet-mnist", {"width_multipliers": [1, 2**16]}),
    ("unet-mnist", {"patch_size": 2**16}),
    ("ncsn-mnist", {"width": 2**16}),
    ("ncsn-mnist", {"num_levels": 10**6, "steps_per_level": 1}),
    ("ncsnv2-cifar10", {"width": 2**16}),
]


@pytest.mark.parametrize(("name", "settings"), HUGE)
def test_no_run_asks_for_a_huge_network(name, settings, tmp_path):
    message = r"at most 8,589,934,592 parameters\. Received: .*about \de\+"
    with pytest.raises(ValueError, match=message):
        run_file.describe("mnist", name, settings)
    run = run_file.describe("mnist", name)
    run["recipe"] |= settings
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(ValueError, match=f"readable run.json.*{message}"):
        run_file.read(tmp_path)


def test_ncsnv2_may_have_many_levels():
    recipes.find("ncsnv2-cifar10", {"num_levels": 10**5})


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist", {"widths": [10**9, 10**9]}),
        ("mnist", {"widths": [2, 10**4000]}),
        ("mnist", {"num_blocks": 10**9}),
        ("mnist", {"image_shape": [28, 28, 10**12]}),
        ("ncsn_mnist", {"width": 10**9}),
        ("ncsn_mnist", {"blocks_per_stage": 10**9}),
    ],
)
def test_no_preset_asks_for_a_huge_network(tmp_path, name, sizes):
    for file in ("config.json", "metadata.json"):
        shutil.copy(zoo()[name] / file, tmp_path)
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    metadata.pop("config_sha256", None)
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["network"]["config"] |= sizes
    (tmp_path / "config.json").write_text(json.dumps(config))
    began = time.monotonic()
    with pytest.raises(ValueError, match="parameters. Choose smaller sizes"):
        keras_ncsn.NCSNModel.from_preset(tmp_path, load_weights=False)
    assert time.monotonic() - began < 5


def test_sizes_from_numpy_do_not_overflow():
    with pytest.raises(ValueError, match="Choose smaller sizes"):
        UNet((8, 8, 3), widths=[np.int64(2**31)] * 2)
    with pytest.raises(ValueError, match="Choose smaller sizes"):
        RefineNet((8, 8, 3), width=np.int64(2**31))
    with pytest.raises(ValueError, match="Choose smaller sizes"):
        MLP(width=np.int64(2**31))
