import ml_dtypes
import numpy as np
import pytest
from contract import assert_equal, check_layer, random_images, randomize
from keras import ops

from keras_ncsn.layers.group_normalization import ModulatedGroupNormalization


def normalize(x, groups, gamma, beta, modulation=None):
    """What the layer computes, in NumPy and float64."""
    batch, height, width, channels = x.shape
    grouped = x.astype("float64").reshape(batch, height, width, groups, -1)
    mean = grouped.mean(axis=(1, 2, 4), keepdims=True)
    variance = grouped.var(axis=(1, 2, 4), keepdims=True)
    x = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    x = x * gamma + beta
    if modulation is None:
        return x
    factor, offset = np.split(modulation[:, None, None], 2, axis=-1)
    return x * (1 + factor) + offset


def test_group_normalization_keeps_the_contract():
    check_layer(ModulatedGroupNormalization(2), random_images(2, 6, 6, 8))


def test_group_normalization_equals_numpy():
    layer = ModulatedGroupNormalization(4)
    x = random_images(3, 5, 7, 8) * 2.0 + 1.0
    modulation = np.random.default_rng(1).standard_normal((3, 16), "float32")
    layer(x, modulation)
    randomize(layer)
    gamma, beta = layer.get_weights()
    assert_equal(layer(x), normalize(x, 4, gamma, beta), rtol=1e-5)
    expected = normalize(x, 4, gamma, beta, modulation)
    assert_equal(layer(x, modulation), expected, rtol=1e-5)


def test_small_variance_beside_a_large_mean_keeps_its_digits():
    layer = ModulatedGroupNormalization(2)
    x = random_images(2, 16, 16, 8) + np.float32(1000.0)
    # Inputs have steps of 6e-5.
    assert_equal(layer(x), normalize(x, 2, 1.0, 0.0), rtol=3e-4)


def test_activation_comes_after_and_is_rounded_once():
    layer = ModulatedGroupNormalization(2, "silu", dtype="mixed_bfloat16")
    x = random_images(2, 4, 4, 4).astype(ml_dtypes.bfloat16)
    normalized = normalize(x.astype("float64"), 2, gamma=1.0, beta=0.0)
    exact = normalized / (1.0 + np.exp(-normalized))
    rounded = exact.astype(ml_dtypes.bfloat16).astype("float64")
    output = ops.convert_to_numpy(ops.cast(layer(ops.array(x)), "float32"))
    # Half a unit in the last place, but where float32 was on a tie.
    assert np.mean(output == rounded) > 0.95
    assert_equal(output, exact, rtol=2**-8)


def test_weights_are_not_rounded():
    layer = ModulatedGroupNormalization(1, dtype="mixed_bfloat16")
    x = ops.array(random_images(2, 4, 4, 4))
    layer(x)
    # Between two numbers of bfloat16; normalized values cancel it.
    offset = 1.0 + 2.0**-9
    layer.set_weights([np.zeros(4), np.full(4, offset)])
    layer.activation = lambda x: x - 1.0
    assert ops.convert_to_numpy(layer(x))[0, 0, 0, 0] == 2.0**-9


def test_group_normalization_rejects_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="divide.*groups=3, channels=8"):
        ModulatedGroupNormalization(3).build((None, 4, 4, 8))
