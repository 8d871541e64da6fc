"""What every layer of the package keeps to."""

import json

import keras
import numpy as np
from keras import ops, tree


def check_layer(layer, inputs, **call_kwargs):
    """Checks shape, config, weights and half precision of a layer."""
    inputs = tree.map_structure(ops.convert_to_tensor, inputs)
    call_kwargs = tree.map_structure(ops.convert_to_tensor, call_kwargs)
    config = layer.get_config()

    keras.utils.set_random_seed(0)
    outputs = layer(inputs, **call_kwargs)
    if isinstance(inputs, list):
        input_shape = [tuple(x.shape) for x in inputs]
    else:
        input_shape = tuple(inputs.shape)
    assert tuple(outputs.shape) == layer.compute_output_shape(input_shape)

    assert layer.get_config() == config, "a call changed the config"
    json.dumps(config)
    clone = type(layer).from_config(config)
    assert clone.get_config() == config
    assert_equal(run_clone(clone, layer, inputs, call_kwargs), outputs)

    check_dtype(layer, "mixed_bfloat16", inputs, call_kwargs, outputs)
    check_dtype(layer, "mixed_float16", inputs, call_kwargs, outputs)
    check_dtype(layer, "bfloat16", inputs, call_kwargs, outputs)
    check_dtype(layer, "float16", inputs, call_kwargs, outputs)


def run_clone(clone, layer, inputs, call_kwargs):
    clone(inputs, **call_kwargs)
    clone.set_weights(layer.get_weights())
    return clone(inputs, **call_kwargs)


def check_dtype(layer, policy, inputs, call_kwargs, expected):
    clone = type(layer).from_config({**layer.get_config(), "dtype": policy})
    outputs = run_clone(clone, layer, inputs, call_kwargs)
    assert keras.backend.standardize_dtype(outputs.dtype) == (
        keras.DTypePolicy(policy).compute_dtype
    )
    outputs = ops.convert_to_numpy(ops.cast(outputs, "float32"))
    expected = ops.convert_to_numpy(expected)
    assert np.all(np.isfinite(outputs))
    np.testing.assert_allclose(
        outputs, expected, atol=0.05 * np.abs(expected).max()
    )


def assert_equal(outputs, expected, rtol=0.0):
    """Checks that two tensors agree to `rtol` of the largest value."""
    outputs, expected = map(ops.convert_to_numpy, (outputs, expected))
    assert outputs.shape == expected.shape
    np.testing.assert_allclose(
        outputs, expected, rtol=0, atol=rtol * np.abs(expected).max()
    )


def randomize(layer, seed=0, scale=0.3):
    """Moves every weight away from its initial value."""
    rng = np.random.default_rng(seed)
    layer.set_weights(
        [
            weight + scale * rng.standard_normal(weight.shape).astype("float32")
            for weight in layer.get_weights()
        ]
    )


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")
