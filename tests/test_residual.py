import contextlib

import numpy as np
import pytest
from conftest import needs_torch
from contract import assert_equal, check_layer, random_images, randomize
from keras import ops

from keras_ncsn.layers import ResidualBlock
from keras_ncsn.layers.convolution import convolution

with contextlib.suppress(ImportError):
    import torch
    import torch.nn.functional as F

LEVELS = np.array([0.0, 1.5], "float32")


def kernel(layer):
    array = ops.convert_to_numpy(layer.kernel).transpose(3, 2, 0, 1).copy()
    return torch.tensor(array)


def convolve(x, layer, **kwargs):
    bias = torch.tensor(ops.convert_to_numpy(layer.bias))
    return F.conv2d(x, kernel(layer), bias, **kwargs)


def norm(x, layer):
    gamma, alpha, beta = (
        torch.tensor(ops.convert_to_numpy(weight))[:, None, None]
        for weight in (layer.gamma, layer.alpha, layer.beta)
    )
    mean = x.mean((2, 3), keepdim=True)
    means = (mean - mean.mean(1, keepdim=True)) / torch.sqrt(
        mean.var(1, keepdim=True) + 1e-5
    )
    return gamma * (F.instance_norm(x) + alpha * means) + beta


def reference(block, images, finish, shortcut, **kwargs):
    """The block in PyTorch's words, on the layer's weights."""
    x = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    h = convolve(F.elu(norm(x, block.norm1)), block.conv1, **kwargs)
    h = convolve(F.elu(norm(h, block.norm2)), block.conv2, **kwargs)
    return (finish(h) + finish(shortcut(x))).permute(0, 2, 3, 1).numpy()


def identity(x):
    return x


def mean_of_four(x):
    return (
        x[:, :, ::2, ::2]
        + x[:, :, 1::2, ::2]
        + x[:, :, ::2, 1::2]
        + x[:, :, 1::2, 1::2]
    ) / 4


def built(block, images):
    block(ops.convert_to_tensor(images))
    randomize(block)
    return block, block(ops.convert_to_tensor(images))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"filters": 4},
        {"filters": 6},
        {"filters": 6, "downsample": True},
        {"filters": 4, "dilation_rate": 2},
        {"filters": 4, "dilation_rate": 2, "convolve_shortcut": True},
    ],
)
def test_contract(kwargs):
    images = random_images(2, 6, 8, 4)
    check_layer(ResidualBlock(**kwargs), images)


def test_conditional_contract():
    block = ResidualBlock(6, downsample=True, num_levels=3)
    check_layer(block, random_images(2, 6, 8, 4), levels=LEVELS)


@needs_torch
@pytest.mark.parametrize("dilation_rate", [1, 2, 4])
def test_plain_block_equals_torch(dilation_rate):
    images = random_images(2, 10, 12, 4)
    block, outputs = built(
        ResidualBlock(4, dilation_rate=dilation_rate), images
    )
    expected = reference(
        block,
        images,
        finish=identity,
        shortcut=identity,
        padding=dilation_rate,
        dilation=dilation_rate,
    )
    assert_equal(outputs, expected, rtol=1e-5)


@needs_torch
def test_pooled_block_equals_torch():
    images = random_images(2, 6, 8, 4)
    block, outputs = built(ResidualBlock(6, downsample=True), images)
    expected = reference(
        block,
        images,
        finish=mean_of_four,
        shortcut=lambda x: convolve(x, block.shortcut),
        padding=1,
    )
    assert_equal(outputs, expected, rtol=1e-5)


@needs_torch
def test_dilated_block_with_convolved_shortcut_equals_torch():
    images = random_images(2, 6, 8, 4)
    block, outputs = built(
        ResidualBlock(4, dilation_rate=2, convolve_shortcut=True), images
    )
    dilated = {"padding": 2, "dilation": 2}
    expected = reference(
        block,
        images,
        finish=identity,
        shortcut=lambda x: convolve(x, block.shortcut, **dilated),
        **dilated,
    )
    assert_equal(outputs, expected, rtol=1e-5)


def test_convolutions_start_like_torch():
    layer = convolution(64, 3, input_channels=16)
    layer.build((None, 8, 8, 16))
    bound = 1 / np.sqrt(9 * 16)
    weights = ops.convert_to_numpy(layer.kernel)
    assert np.abs(weights).max() == pytest.approx(bound, rel=0.01)
    assert weights.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    bias = ops.convert_to_numpy(layer.bias)
    assert np.abs(bias).max() == pytest.approx(bound, rel=0.1)


@pytest.mark.parametrize(
    ("kwargs", "shape", "message"),
    [
        (
            {"downsample": True, "dilation_rate": 2},
            (1, 4, 4, 2),
            "must be 1.*Received: dilation_rate=2",
        ),
        ({"downsample": True}, (1, 5, 4, 2), r"even.*\(1, 5, 4, 2\)"),
        ({"num_levels": 3}, (1, 4, 4, 2), "`levels` must be given"),
    ],
)
def test_rejects(kwargs, shape, message):
    with pytest.raises(ValueError, match=message):
        ResidualBlock(2, **kwargs)(ops.ones(shape))
