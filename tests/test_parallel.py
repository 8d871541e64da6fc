"""Many devices do what one does, seen from processes of their own."""

import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import parallel_run
import pytest

import keras_ncsn
from keras_ncsn import parallel
from keras_ncsn.backend import BACKEND

CODE = f"""
import os, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
if os.environ["KERAS_BACKEND"] == "jax":
    sys.modules["tensorflow"] = None  # Keras would import it, at length.
import parallel_run
parallel_run.main(sys.argv[1])
"""

on_jax = pytest.mark.skipif(BACKEND != "jax", reason="the way of JAX")
on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="the way of TensorFlow"
)


def run(folder, *environments):
    """Trains in one process for each environment, all at the same time."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(folder)],
            env=os.environ | {"KERAS_BACKEND": BACKEND} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for environment in environments
    ]
    try:
        printed = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    codes = [process.returncode for process in started]
    assert codes == [0] * len(codes), "".join(printed)[-3000:]
    return [dict(np.load(path)) for path in sorted(folder.glob("*.npz"))]


@pytest.fixture(scope="module")
def one_device():
    return parallel_run.train()


def assert_equal_to(one_device, result):
    for name, expected in one_device.items():
        if np.asarray(expected).dtype.kind == "f":
            np.testing.assert_allclose(
                result[name], expected, rtol=1e-4, atol=1e-5, err_msg=name
            )
        else:
            np.testing.assert_array_equal(result[name], expected)
    assert "loss became nan" in str(result["nan"])


def assert_is_saved(folder, one_device):
    model = keras.models.load_model(folder / "model.keras")
    preset = keras_ncsn.NCSNModel.from_preset(str(folder / "preset"))
    np.testing.assert_allclose(
        preset.network.get_weights()[0], one_device["average 0"], atol=1e-5
    )
    np.testing.assert_array_equal(
        model.generate(2, seed=0, steps_per_level=1),
        preset.generate(2, seed=0, steps_per_level=1),
    )


@pytest.mark.slow
@on_tensorflow
def test_four_devices_of_tensorflow_equal_one(tmp_path, one_device):
    (result,) = run(tmp_path, {})
    assert result["devices"] == 4
    assert "a batch of 5 for 4 devices" in str(result["uneven"])
    assert "a batch of 1 for 4 devices" in str(result["rest"])
    assert_equal_to(one_device, result)
    assert_is_saved(tmp_path, one_device)


@pytest.mark.slow
@on_jax
def test_four_devices_of_jax_equal_one(tmp_path, one_device):
    (result,) = run(tmp_path, devices(4))
    assert result["devices"] == 4
    assert result["devices of samples"] == 4
    assert "a batch of 5 for 4 devices" in str(result["uneven"])
    assert "a batch of 1 for 4 devices" in str(result["rest"])
    assert_equal_to(one_device, result)
    assert_is_saved(tmp_path, one_device)


@pytest.mark.slow
@on_jax
def test_two_processes_of_two_devices_equal_one(tmp_path, one_device):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    cluster = devices(2) | {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    main, other = run(
        tmp_path,
        cluster | {"KERAS_DISTRIBUTION_PROCESS_ID": "0"},
        cluster | {"KERAS_DISTRIBUTION_PROCESS_ID": "1"},
    )
    assert main["devices"] == 4
    assert "a batch of 5 for 2 devices" in str(main["uneven"])
    assert "a batch of 3 for 2 processes" in str(main["share"])
    assert_equal_to(one_device, main)
    assert_equal_to(
        {name: main[name] for name in other if "images" not in name}, other
    )
    assert_is_saved(tmp_path, one_device)


def devices(number):
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"}


@pytest.mark.skipif(BACKEND != "torch", reason="the others can")
def test_pytorch_is_refused():
    with pytest.raises(ValueError, match="jax or tensorflow.*BACKEND=torch"):
        parallel.data_parallel()
