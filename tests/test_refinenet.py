import functools

import keras
import numpy as np
import pytest
from contract import assert_equal, random_images, randomize
from keras import ops

from keras_ncsn import NCSNModel
from keras_ncsn.backend import BACKEND
from keras_ncsn.networks.refinenet import (
    DivideBySigma,
    LadderPosition,
    RefineNet,
)
from keras_ncsn.noise import NoiseSchedule, geometric_sigmas
from keras_ncsn.training.step import loss_per_image

SIGMAS = [1.0, 0.1, 0.01]


@functools.cache
def made_once(sigmas, dtype, blocks_per_stage):
    keras.utils.set_random_seed(0)
    network = RefineNet(
        (6, 8, 2), 4, sigmas, blocks_per_stage, dtype, name="prior"
    )
    return network, network.get_weights()


def small(sigmas=None, dtype=None, blocks_per_stage=1):
    """Returns a network with its first weights, whatever changed them."""
    sigmas = None if sigmas is None else tuple(sigmas)
    network, weights = made_once(sigmas, dtype, blocks_per_stage)
    network.set_weights(weights)
    return network


def score(network, noisy, sigma):
    # TensorFlow takes seconds to trace what it calls once.
    network.run_eagerly = BACKEND == "tensorflow"
    return network.predict_on_batch([noisy, np.asarray(sigma, "float32")])


def positions(network, sigma):
    part = keras.Model(network.inputs[1], network.get_layer("position").output)
    return ops.convert_to_numpy(
        part(ops.convert_to_tensor(np.asarray(sigma, "float32")))
    )


@pytest.mark.parametrize(
    ("kwargs", "count"),
    [
        (
            {
                "image_shape": (28, 28, 1),
                "width": 64,
                "sigmas": geometric_sigmas(),
            },
            7_638_657,
        ),
        (
            {"image_shape": (32, 32, 3), "sigmas": geometric_sigmas()},
            30_117_635,
        ),
        ({"image_shape": (32, 32, 3)}, 29_694_083),
    ],
)
def test_parameter_counts_equal_the_authors(kwargs, count):
    # The weights have shapes, and no values: they would be 120 MB.
    with keras.StatelessScope(initialize_variables=False):
        assert RefineNet(**kwargs).count_params() == count
    # Nor does a later scope of Keras give them any.
    keras.utils.clear_session()


@pytest.mark.parametrize("sigmas", [None, SIGMAS])
@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_keras_file_keeps_network(tmp_path, sigmas, dtype):
    network = small(sigmas, dtype)
    randomize(network)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert isinstance(loaded, RefineNet)
    assert loaded.get_config() == network.get_config()
    assert loaded.dtype_policy == network.dtype_policy
    np.testing.assert_array_equal(
        np.concatenate([weight.ravel() for weight in loaded.get_weights()]),
        np.concatenate([weight.ravel() for weight in network.get_weights()]),
    )


def test_blocks_per_stage_makes_the_network_deeper():
    deeper = small(blocks_per_stage=2)
    assert deeper.count_params() > small().count_params()
    assert deeper.get_config()["blocks_per_stage"] == 2


@pytest.mark.parametrize("num_levels", [10, 232, 1000])
def test_levels_of_the_ladder_have_their_own_index(num_levels):
    sigmas = geometric_sigmas(50.0, 0.01, num_levels)
    positions = LadderPosition(sigmas)(ops.array(sigmas, "float32"))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(positions), np.arange(num_levels)
    )


def test_position_is_linear_in_log_sigma_and_clipped_at_the_ends():
    network = small(sigmas=[1.0, 0.1, 0.001], dtype="mixed_bfloat16")
    sigma = [2.0, 10**-0.75, 10**-2.0, 0.0001]
    np.testing.assert_allclose(
        positions(network, sigma), [0.0, 0.75, 1.5, 2.0], atol=1e-6
    )


def test_score_depends_on_the_noise_level_of_its_own_image_only():
    network = small(sigmas=SIGMAS)
    randomize(network)
    x = random_images(2, 6, 8, 2)
    both = score(network, x, [1.0, 0.05])
    swapped = score(network, x[::-1], [0.05, 1.0])
    assert_equal(swapped[::-1], both, rtol=1e-5)
    other = score(network, x, [1.0, 0.3])
    assert_equal(other[0], both[0], rtol=1e-5)
    assert np.abs(other[1] - both[1]).max() > 0.01


def test_score_of_ncsnv2_is_divided_by_sigma():
    network = small()
    x = random_images(2, 6, 8, 2)
    expected = score(network, x, [1.0, 1.0]) / np.array([4.0, 0.5]).reshape(
        2, 1, 1, 1
    )
    assert_equal(score(network, x, [4.0, 0.5]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "sigmas"), [("mixed_bfloat16", SIGMAS), ("mixed_float16", None)]
)
def test_half_precision_returns_a_close_float32_score(dtype, sigmas):
    network = small(sigmas=sigmas)
    half = small(sigmas=sigmas, dtype=dtype)
    half.set_weights(network.get_weights())
    x = random_images(2, 6, 8, 2)
    sigma = [1.0, 0.05]
    outputs, expected = score(half, x, sigma), score(network, x, sigma)
    assert outputs.dtype == "float32"
    assert half.get_layer("res1_0").compute_dtype == dtype.split("_")[1]
    assert half.get_layer("begin_conv").compute_dtype == "float32"
    assert half.get_layer("end_conv").compute_dtype == "float32"
    assert_equal(outputs, expected, rtol=0.1)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_the_border_in_float32(dtype):
    # Both are 0.5 in half precision.
    noisy = np.full((1, 6, 8, 2), 0.5 + 1e-5, "float32")
    network = small(dtype=dtype)
    border = keras.Model(
        network.inputs, network.get_layer("to_symmetric").output
    )
    symmetric = border([ops.convert_to_tensor(noisy), ops.ones(1)])
    np.testing.assert_allclose(ops.convert_to_numpy(symmetric), 2e-5, rtol=0.01)
    # 3e-4 is subnormal and 1e-8 is 0 in float16.
    divided = DivideBySigma(dtype="float32")(
        ops.ones((1, 1, 1, 1)), ops.array([1e-8])
    )
    assert float(divided[0, 0, 0, 0]) == pytest.approx(1e8)


def test_a_training_step_lowers_the_loss_and_moves_every_weight():
    network = small(sigmas=SIGMAS)
    schedule = NoiseSchedule(SIGMAS)
    model = NCSNModel(network, schedule, value_range=None, seed=0)
    # Eagerly: compiling takes longer than the step.
    model.compile(keras.optimizers.Adam(1e-4), run_eagerly=True)
    images = ops.convert_to_tensor(random_images(6, 6, 8, 2))
    noise = ops.convert_to_tensor(random_images(6, 6, 8, 2, seed=1))
    sigma = ops.convert_to_tensor(np.array(2 * SIGMAS, "float32"))

    def loss():
        losses = loss_per_image(model, images, sigma, noise)
        return float(ops.convert_to_numpy(losses).mean())

    loss_before, before = loss(), network.get_weights()
    model.train_on_batch(np.tile(ops.convert_to_numpy(images), (16, 1, 1, 1)))
    assert loss() < loss_before
    pairs = zip(network.weights, before, network.get_weights(), strict=True)
    assert [w.path for w, old, new in pairs if np.all(old == new)] == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image_shape": (7, 8, 1)}, r"even.*image_shape=\(7, 8, 1\)"),
        ({"image_shape": (8, 9, 1)}, r"even.*image_shape=\(8, 9, 1\)"),
        ({"image_shape": (8, 8)}, r"three integers.*image_shape=\(8, 8\)"),
        ({"image_shape": (8, 8, 0)}, "three integers"),
        ({"image_shape": (8.0, 8, 1)}, "three integers"),
        ({"image_shape": (None, 8, 1)}, "three integers"),
        ({"width": 0}, "`width`.*at least 2.*width=0"),
        ({"width": 1}, "`width`.*at least 2.*width=1"),
        ({"width": 8.5}, "`width`.*integer.*width=8.5"),
        ({"blocks_per_stage": 0}, "`blocks_per_stage`.*at least 1"),
        ({"sigmas": [0.1, 1.0]}, r"decreasing.*sigmas=\[0.1, 1. \]"),
        ({"sigmas": [1.0, 1.0]}, "decreasing"),
        ({"sigmas": [1.0]}, "at least two"),
        ({"sigmas": [1.0, 0.0]}, "above 0"),
        ({"sigmas": [[1.0, 0.1]]}, "at least two"),
        ({"sigmas": [float("inf"), 0.1]}, "finite"),
    ],
)
def test_rejects(kwargs, message):
    valid = {"image_shape": (6, 8, 2), "width": 4}
    with pytest.raises(ValueError, match=message):
        RefineNet(**(valid | kwargs))
