"""The layers of RefineNet: units, pooling, fusion and refinement."""

import contextlib

import numpy as np
import pytest
from conftest import needs_torch
from contract import assert_equal, check_layer, random_images, randomize
from keras import ops

from keras_ncsn.layers import (
    ChainedResidualPooling,
    MultiResolutionFusion,
    RefineBlock,
    ResidualConvUnit,
)

with contextlib.suppress(ImportError):
    import torch
    import torch.nn.functional as F

LEVELS = np.array([0.0, 1.5], "float32")


def to_torch(array):
    return torch.tensor(array.transpose(0, 3, 1, 2).copy())


def from_torch(x):
    return x.permute(0, 2, 3, 1).numpy()


def convolve(x, layer):
    kernel = ops.convert_to_numpy(layer.kernel).transpose(3, 2, 0, 1).copy()
    bias = None
    if layer.use_bias:
        bias = torch.tensor(ops.convert_to_numpy(layer.bias))
    return F.conv2d(x, torch.tensor(kernel), bias, padding=1)


def norm(x, layer, level):
    """Conditional instance normalization++ at a level of the ladder."""
    row = torch.tensor(ops.convert_to_numpy(layer.table))[level]
    gamma, alpha, beta = row[:, None, None].chunk(3)
    mean = x.mean((2, 3), keepdim=True)
    means = (mean - mean.mean(1, keepdim=True)) / torch.sqrt(
        mean.var(1, keepdim=True) + 1e-5
    )
    return gamma * (F.instance_norm(x) + alpha * means) + beta


def run(layer, inputs, level=None):
    """Calls a layer on new weights, and on torch tensors for the reference."""
    kwargs = {}
    if level is not None:
        kwargs["levels"] = ops.full((2,), float(level))
    tensors = (
        [ops.convert_to_tensor(x) for x in inputs]
        if isinstance(inputs, list)
        else ops.convert_to_tensor(inputs)
    )
    layer(tensors, **kwargs)
    randomize(layer)
    return layer(tensors, **kwargs)


@pytest.mark.parametrize("num_levels", [None, 3])
@pytest.mark.parametrize(
    "layer_class", [ResidualConvUnit, ChainedResidualPooling]
)
def test_contract(layer_class, num_levels):
    kwargs = {} if num_levels is None else {"levels": LEVELS}
    layer = layer_class(num_levels=num_levels)
    check_layer(layer, random_images(2, 5, 6, 4), **kwargs)


@pytest.mark.parametrize("num_levels", [None, 3])
@pytest.mark.parametrize("layer_class", [MultiResolutionFusion, RefineBlock])
def test_contract_of_layers_with_several_inputs(layer_class, num_levels):
    kwargs = {} if num_levels is None else {"levels": LEVELS}
    layer = layer_class(6, num_levels=num_levels)
    inputs = [random_images(2, 6, 8, 4), random_images(2, 3, 4, 5)]
    check_layer(layer, inputs, **kwargs)


def test_refine_block_contract_with_one_input():
    layer = RefineBlock(4, num_output_blocks=3)
    check_layer(layer, [random_images(2, 6, 8, 4)])


@needs_torch
def test_residual_conv_unit_equals_torch():
    images = random_images(2, 6, 8, 4)
    unit = ResidualConvUnit(num_blocks=2)
    outputs = run(unit, images)
    x = to_torch(images)
    x = x + convolve(F.elu(convolve(F.elu(x), unit.convs[0])), unit.convs[1])
    x = x + convolve(F.elu(convolve(F.elu(x), unit.convs[2])), unit.convs[3])
    assert_equal(outputs, from_torch(x), rtol=1e-5)


@needs_torch
def test_conditional_residual_conv_unit_equals_torch():
    images = random_images(2, 6, 8, 4)
    unit = ResidualConvUnit(num_blocks=1, num_levels=3)
    outputs = run(unit, images, level=1)
    x = to_torch(images)
    h = convolve(F.elu(norm(x, unit.norms[0], 1)), unit.convs[0])
    h = convolve(F.elu(norm(h, unit.norms[1], 1)), unit.convs[1])
    assert_equal(outputs, from_torch(x + h), rtol=1e-5)


@needs_torch
def test_chained_pooling_is_max_pooling_without_levels():
    images = random_images(2, 7, 8, 4)
    layer = ChainedResidualPooling()
    outputs = run(layer, images)
    x = F.elu(to_torch(images))
    first = convolve(F.max_pool2d(x, 5, 1, 2), layer.convs[0])
    second = convolve(F.max_pool2d(first, 5, 1, 2), layer.convs[1])
    assert_equal(outputs, from_torch(x + first + second), rtol=1e-5)


@needs_torch
def test_chained_pooling_averages_padding_too_with_levels():
    images = random_images(2, 7, 8, 4)
    layer = ChainedResidualPooling(num_levels=3)
    outputs = run(layer, images, level=2)
    x = F.elu(to_torch(images))
    path = F.avg_pool2d(norm(x, layer.norms[0], 2), 5, 1, 2)
    first = convolve(path, layer.convs[0])
    path = F.avg_pool2d(norm(first, layer.norms[1], 2), 5, 1, 2)
    second = convolve(path, layer.convs[1])
    assert_equal(outputs, from_torch(x + first + second), rtol=1e-5)


@needs_torch
@pytest.mark.parametrize("size", [(7, 8), (14, 16), (8, 9)])
def test_fusion_aligns_corners(size):
    sharp = random_images(2, *size, 4)
    coarse = random_images(2, 7, 8, 5, seed=1)
    layer = MultiResolutionFusion(6)
    outputs = run(layer, [sharp, coarse])
    enlarged = F.interpolate(
        convolve(to_torch(coarse), layer.convs[1]),
        size,
        mode="bilinear",
        align_corners=True,
    )
    expected = convolve(to_torch(sharp), layer.convs[0]) + enlarged
    assert_equal(outputs, from_torch(expected), rtol=1e-5)


@needs_torch
def test_conditional_fusion_normalizes_first():
    sharp = random_images(2, 6, 8, 4)
    other = random_images(2, 6, 8, 5, seed=1)
    layer = MultiResolutionFusion(6, num_levels=3)
    outputs = run(layer, [sharp, other], level=0)
    expected = convolve(
        norm(to_torch(sharp), layer.norms[0], 0), layer.convs[0]
    ) + convolve(norm(to_torch(other), layer.norms[1], 0), layer.convs[1])
    assert_equal(outputs, from_torch(expected), rtol=1e-5)


def test_refine_block_is_the_chain_of_its_parts():
    inputs = [random_images(2, 6, 8, 4), random_images(2, 3, 4, 5)]
    block = RefineBlock(6, num_output_blocks=3)
    outputs = run(block, inputs)
    adapted = [
        adapter(ops.convert_to_tensor(x))
        for adapter, x in zip(block.adapters, inputs, strict=True)
    ]
    expected = block.output_unit(block.pooling(block.fusion(adapted)))
    assert_equal(outputs, expected)
    assert [len(adapter.convs) for adapter in block.adapters] == [4, 4]
    assert len(block.output_unit.convs) == 6


def test_refine_block_rejects_other_filters_than_its_single_input():
    with pytest.raises(ValueError, match="single input.*filters=6.*4"):
        RefineBlock(6)([ops.ones((1, 6, 6, 4))])
