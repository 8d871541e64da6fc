import keras
import numpy as np
import pytest
from contract import assert_equal, check_layer, random_images, randomize
from keras import ops

from keras_ncsn.layers import InstanceNormalizationPlus

LEVELS = np.array([0.0, 1.25, 3.0], "float32")


def reference(x, gamma, alpha, beta):
    """Instance normalization++ in float64, by its formula."""
    x = x.astype("float64")
    mean = x.mean(axis=(1, 2), keepdims=True)
    means_mean = mean.mean(axis=-1, keepdims=True)
    means_variance = mean.var(axis=-1, keepdims=True, ddof=1)
    means = (mean - means_mean) / np.sqrt(means_variance + 1e-5)
    variance = x.var(axis=(1, 2), keepdims=True)
    normalized = (x - mean) / np.sqrt(variance + 1e-5)
    return gamma * (normalized + alpha * means) + beta


def built(layer, x, **call_kwargs):
    layer(ops.convert_to_tensor(x), **call_kwargs)
    randomize(layer)
    return layer


def rows(layer, levels):
    """Returns gamma, alpha and beta between the rows of the table."""
    table = ops.convert_to_numpy(layer.table)
    row = np.stack(
        [np.interp(levels, range(len(table)), column) for column in table.T],
        axis=-1,
    )
    return np.split(row[:, None, None, :], 3, axis=-1)


def test_unconditional_contract():
    check_layer(InstanceNormalizationPlus(), random_images(2, 5, 6, 3))


def test_conditional_contract():
    layer = InstanceNormalizationPlus(num_levels=4, epsilon=1e-3)
    check_layer(layer, random_images(3, 5, 6, 3), levels=LEVELS)


def test_unconditional_formula():
    x = 3 + random_images(2, 5, 6, 4)
    layer = built(InstanceNormalizationPlus(), x)
    weights = (layer.gamma, layer.alpha, layer.beta)
    weights = [ops.convert_to_numpy(weight) for weight in weights]
    assert_equal(
        layer(ops.convert_to_tensor(x)), reference(x, *weights), rtol=1e-5
    )


def test_conditional_formula_on_and_between_levels():
    x = 3 + random_images(3, 5, 6, 4)
    levels = ops.convert_to_tensor(LEVELS)
    layer = built(InstanceNormalizationPlus(num_levels=4), x, levels=levels)
    outputs = layer(ops.convert_to_tensor(x), levels=levels)
    assert_equal(outputs, reference(x, *rows(layer, LEVELS)), rtol=1e-5)


def test_activation_comes_last():
    x = random_images(2, 5, 6, 4)
    layer = built(InstanceNormalizationPlus(activation="elu"), x)
    weights = (layer.gamma, layer.alpha, layer.beta)
    weights = [ops.convert_to_numpy(weight) for weight in weights]
    normalized = reference(x, *weights)
    expected = np.where(normalized > 0, normalized, np.expm1(normalized))
    assert_equal(layer(ops.convert_to_tensor(x)), expected, rtol=1e-5)
    assert type(layer).from_config(layer.get_config()).activation is (
        keras.activations.elu
    )


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_of_the_ladder_uses_its_row_and_no_other(level):
    x = ops.convert_to_tensor(random_images(1, 4, 4, 2))
    levels = ops.convert_to_tensor(np.array([level], "float32"))
    layer = built(InstanceNormalizationPlus(num_levels=3), x, levels=levels)
    expected = layer(x, levels=levels)
    others = np.arange(3) != level
    table = ops.convert_to_numpy(layer.table)
    layer.table.assign(table + 1e6 * others[:, None])
    assert_equal(layer(x, levels=levels), expected)


def test_weights_start_near_the_identity():
    layer = InstanceNormalizationPlus(num_levels=50)
    layer.build((None, 4, 4, 40))
    gamma, alpha, beta = np.split(ops.convert_to_numpy(layer.table), 3, axis=-1)
    assert gamma.mean() == pytest.approx(1.0, abs=2e-3)
    assert alpha.mean() == pytest.approx(1.0, abs=2e-3)
    assert gamma.std() == pytest.approx(0.02, rel=0.1)
    assert alpha.std() == pytest.approx(0.02, rel=0.1)
    assert np.all(beta == 0)


def test_half_precision_keeps_all_digits_of_the_level():
    # 700.75 is 700 in bfloat16.
    x = random_images(1, 4, 4, 2)
    levels = ops.convert_to_tensor(np.array([700.75], "float32"))
    layer = InstanceNormalizationPlus(num_levels=1000, dtype="mixed_bfloat16")
    layer = built(layer, x, levels=levels)
    outputs = ops.cast(
        layer(ops.convert_to_tensor(x), levels=levels), "float32"
    )
    expected = reference(x, *rows(layer, [700.75]))
    assert_equal(outputs, expected, rtol=0.02)


def test_statistics_of_float16_images_do_not_overflow():
    # The sum of squares is 2e8, and float16 ends at 65504.
    x = (400 + random_images(1, 40, 40, 2)).astype("float16")
    layer = built(InstanceNormalizationPlus(dtype="mixed_float16"), x)
    weights = (layer.gamma, layer.alpha, layer.beta)
    weights = [ops.convert_to_numpy(weight) for weight in weights]
    outputs = ops.cast(layer(ops.convert_to_tensor(x)), "float32")
    assert_equal(outputs, reference(x, *weights), rtol=0.01)


def test_a_large_mean_does_not_drown_the_variance():
    x = 1000 + random_images(1, 8, 8, 2)
    layer = built(InstanceNormalizationPlus(), x)
    weights = (layer.gamma, layer.alpha, layer.beta)
    weights = [ops.convert_to_numpy(weight) for weight in weights]
    outputs = layer(ops.convert_to_tensor(x))
    assert_equal(outputs, reference(x, *weights), rtol=2e-3)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_a_constant_image_stays_finite(dtype):
    layer = InstanceNormalizationPlus(dtype=dtype)
    outputs = ops.convert_to_numpy(layer(ops.ones((1, 4, 4, 2))))
    np.testing.assert_array_equal(outputs, np.zeros((1, 4, 4, 2)))


@pytest.mark.parametrize(
    ("num_levels", "shape", "levels", "message"),
    [
        (0, (1, 4, 4, 2), None, "at least 1.*Received: num_levels=0"),
        (None, (1, 4, 4, 1), None, r"two channels.*\(1, 4, 4, 1\)"),
        (3, (1, 4, 4, 2), None, "`levels` must be given.*num_levels=3"),
        (None, (1, 4, 4, 2), [0.0], "must be `None`.*num_levels=None"),
    ],
)
def test_rejects(num_levels, shape, levels, message):
    if levels is not None:
        levels = keras.ops.convert_to_tensor(levels)
    with pytest.raises(ValueError, match=message):
        InstanceNormalizationPlus(num_levels)(ops.ones(shape), levels=levels)
