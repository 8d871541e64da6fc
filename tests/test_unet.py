"""The U-Net, and what it shares with the MLP: files and preconditioning."""

import json

import keras
import numpy as np
import pytest
from contract import assert_equal, randomize
from keras import ops

from keras_ncsn.networks import MLP, UNet
from keras_ncsn.networks.preconditioning import NormalizeNoisy, RawToScore


def small_unet(**kwargs):
    return UNet((8, 8, 1), **({"widths": (8, 16), "num_blocks": 1} | kwargs))


def small_mlp(**kwargs):
    return MLP(**({"width": 8, "num_layers": 2} | kwargs))


def inputs_of(network, count=3):
    shape = (count, *network.inputs[0].shape[1:])
    noisy = np.random.default_rng(0).standard_normal(shape, "float32")
    sigma = np.geomspace(0.01, 20.0, count).astype("float32")
    return [ops.array(noisy), ops.array(sigma)]


def largest(values):
    return np.abs(ops.convert_to_numpy(values)).max()


@pytest.mark.parametrize("make", [small_unet, small_mlp])
def test_config_makes_the_same_network(make):
    network = make(data_mean=0.1, data_std=0.3)
    config = network.get_config()
    json.dumps(config)
    randomize(network)
    copy = type(network).from_config(config)
    copy.set_weights(network.get_weights())
    assert copy.get_config() == config
    inputs = inputs_of(network)
    assert_equal(copy(inputs), network(inputs), rtol=1e-6)


@pytest.mark.parametrize("make", [small_unet, small_mlp])
def test_keras_files_hold_the_network(make, tmp_path):
    network = make()
    randomize(network)
    network.save(tmp_path / "network.keras")
    copy = keras.models.load_model(tmp_path / "network.keras")
    inputs = inputs_of(network)
    assert type(copy) is type(network)
    assert_equal(copy(inputs), network(inputs), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_images_and_score_stay_float32_under_mixed_precision(policy):
    full, mixed = small_unet(), small_unet(dtype=policy)
    randomize(full)
    mixed.set_weights(full.get_weights())
    # 300 + 1/8 is a whole number in bfloat16: the border must not round it.
    noisy, sigma = inputs_of(full)
    noisy = noisy + 300.125
    score = mixed([noisy, sigma])
    assert keras.backend.standardize_dtype(score.dtype) == "float32"
    assert mixed.get_layer("first_convolution").compute_dtype != "float32"
    assert_equal(score, full([noisy, sigma]), rtol=0.02)
    moved = mixed([noisy + 0.5, sigma])
    assert largest(moved - score) > 0


def test_new_unet_denoises_as_if_data_were_gaussian():
    """Its raw output is 0, which leaves the score of N(mean, spread^2)."""
    network = small_unet(data_mean=0.2, data_std=0.3)
    noisy, sigma = map(ops.convert_to_numpy, inputs_of(network))
    variance = 0.3**2 + sigma[:, None, None, None] ** 2
    expected = (0.2 - noisy) / variance
    assert_equal(network([noisy, sigma]), expected, rtol=1e-6)


def test_preconditioning_equals_that_of_edm():
    """score = (denoised - x)/sigma^2, with EDM's c_skip, c_out and c_in."""
    rng = np.random.default_rng(0)
    x, raw = rng.standard_normal((2, 5, 4))
    sigma = np.geomspace(0.01, 20.0, 5)
    mean, spread, s = 0.2, 0.3, sigma[:, None]
    c_skip = spread**2 / (s**2 + spread**2)
    c_out = s * spread / np.sqrt(s**2 + spread**2)
    c_in = 1 / np.sqrt(s**2 + spread**2)
    denoised = mean + c_skip * (x - mean) + c_out * raw
    normalized = NormalizeNoisy(mean, spread)(
        x.astype("float32"), sigma.astype("float32")
    )
    score = RawToScore(spread)(
        raw.astype("float32"), normalized, sigma.astype("float32")
    )
    assert_equal(normalized, c_in * (x - mean), rtol=1e-5)
    assert_equal(score, (denoised - x) / s**2, rtol=1e-5)


@pytest.mark.parametrize("make", [small_unet, small_mlp])
def test_variance_preserving_is_the_same_score_scaled(make):
    exploding, preserving = make(), make(variance_preserving=True)
    randomize(exploding)
    preserving.set_weights(exploding.get_weights())
    noisy, sigma = inputs_of(exploding)
    scale = ops.reshape(
        ops.rsqrt(1.0 + sigma**2), (-1,) + (1,) * (noisy.ndim - 1)
    )
    score = preserving([scale * noisy, sigma])
    assert_equal(score * scale, exploding([noisy, sigma]), rtol=1e-4)


def test_patches_are_pixels_of_the_convolutions():
    """What a patch of 2 by 2 sees and changes, and at what size."""
    network = small_unet(patch_size=2)
    randomize(network)
    first, last = map(
        network.get_layer, ("first_convolution", "last_convolution")
    )
    assert tuple(first.output.shape) == (None, 4, 4, 8)
    assert tuple(last.output.shape) == (None, 8, 8, 1)
    rng = np.random.default_rng(0)
    # By hand: patch (y, x) sees pixels 2y - 2 to 2y + 3, and likewise across.
    x = rng.standard_normal((1, 8, 8, 1), "float32")
    kernel, bias = map(ops.convert_to_numpy, first.get_weights())
    padded = np.pad(x[0], ((2, 2), (2, 2), (0, 0)))
    seen = np.einsum("yxc,yxcf->f", padded[2:8, 4:10], kernel) + bias
    assert_equal(first(x)[0, 1, 2], seen, rtol=1e-5)
    # And changes the same ones.
    features = np.zeros((1, 4, 4, 8), "float32")
    features[0, 1, 2] = rng.standard_normal(8)
    kernel, bias = map(ops.convert_to_numpy, last.get_weights())
    changed = np.zeros((12, 12, 1), "float32")
    changed[2:8, 4:10] = np.einsum("f,yxcf->yxc", features[0, 1, 2], kernel)
    assert_equal(last(features)[0], changed[2:10, 2:10] + bias, rtol=1e-5)


def test_attention_and_dropout_are_used_as_asked():
    network = small_unet(attention_stages=(0,), num_heads=2, dropout=0.5)
    names = [layer.name for layer in network.layers]
    assert "down0_0_attention" in names
    assert "down1_0_attention" not in names
    randomize(network)
    inputs = inputs_of(network)
    dropped = network(inputs, training=True)
    assert largest(dropped - network(inputs)) > 1e-3


def test_unknown_attention_stages_of_old_configs_are_dropped():
    network = small_unet(attention_stages=(0,))
    config = network.get_config()
    old = UNet.from_config(config | {"attention_stages": [0, 5]})
    assert old.get_config()["attention_stages"] == (0,)


def test_channels_are_last_in_any_setting_of_keras():
    usual = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        network = UNet((8, 8, 3), widths=(8, 8), patch_size=2)
    finally:
        keras.config.set_image_data_format(usual)
    assert network.output_shape == (None, 8, 8, 3)
    score = network([ops.ones((2, 8, 8, 3)), ops.ones(2)])
    assert tuple(score.shape) == (2, 8, 8, 3)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image_shape": (28, 28)}, r"\(height, width, channels\).*Received"),
        ({"image_shape": (30, 30, 1)}, r"divisible by 4.*\(30, 30, 1\)"),
        ({"patch_size": 3}, r"divisible by 12.*\(28, 28, 1\)"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"widths": ()}, r"at least one positive.*widths=\(\)"),
        ({"widths": (8, 0)}, r"widths=\(8, 0\)"),
        ({"widths": (9, 8)}, r"first.*even.*widths=\(9, 8\)"),
        ({"num_blocks": 0}, "num_blocks=0"),
        ({"num_blocks": 1.5}, r"must be an integer.*num_blocks=1\.5"),
        ({"attention_stages": (0, 3)}, r"from 0 to 2.*\(0, 3\)"),
        ({"attention_stages": (-1,)}, r"from 0 to 2.*\(-1,\)"),
        ({"num_heads": 0}, "num_heads=0"),
        ({"dropout": 1.0}, r"dropout=1\.0"),
        ({"data_std": 0.0}, r"data_std=0\.0"),
    ],
)
def test_unet_rejects(kwargs, message):
    valid = {"image_shape": (28, 28, 1), "widths": (8, 8, 8)}
    with pytest.raises(ValueError, match=message):
        UNet(**(valid | kwargs))
