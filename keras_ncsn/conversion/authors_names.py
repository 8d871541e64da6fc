"""The names of a `RefineNet`'s weights in the authors' PyTorch code."""

from collections.abc import Iterator
from typing import Any

from keras_ncsn.networks.refinenet import RefineNet


def named_weights(network: RefineNet) -> Iterator[tuple[str, Any]]:
    """Yields the authors' name and the variable of every weight.

    Args:
        network: A `RefineNet`.

    Yields:
        Pairs of a string and a Keras variable.
    """
    yield from _convolution("begin_conv", network.get_layer("begin_conv"))
    yield from _convolution("end_conv", network.get_layer("end_conv"))
    yield from _norm("normalizer", network.get_layer("normalizer"))
    for stage in (1, 2, 3, 4):
        for block in range(network.blocks_per_stage):
            yield from _residual_block(
                f"res{stage}.{block}", network.get_layer(f"res{stage}_{block}")
            )
        yield from _refine_block(
            f"refine{stage}", network.get_layer(f"refine{stage}")
        )


def _residual_block(name, block):
    # There, a convolution with pooling is a module that contains a `conv`.
    inner = ".conv" if block.downsample else ""
    yield from _norm(f"{name}.normalize1", block.norm1)
    yield from _convolution(f"{name}.conv1", block.conv1)
    yield from _norm(f"{name}.normalize2", block.norm2)
    yield from _convolution(f"{name}.conv2{inner}", block.conv2)
    yield from _convolution(f"{name}.shortcut{inner}", block.shortcut)


def _refine_block(name, block):
    for index, adapter in enumerate(block.adapters):
        yield from _residual_conv_unit(f"{name}.adapt_convs.{index}", adapter)
    yield from _residual_conv_unit(f"{name}.output_convs", block.output_unit)
    parts = [("crp", block.pooling)]
    if block.fusion is not None:
        parts.append(("msf", block.fusion))
    for part, layer in parts:
        for index, (norm, conv) in enumerate(
            zip(layer.norms, layer.convs, strict=True)
        ):
            yield from _norm(f"{name}.{part}.norms.{index}", norm)
            yield from _convolution(f"{name}.{part}.convs.{index}", conv)


def _residual_conv_unit(name, unit):
    for index, (norm, conv) in enumerate(
        zip(unit.norms, unit.convs, strict=True)
    ):
        block, stage = divmod(index, 2)
        prefix = f"{name}.{block + 1}_{stage + 1}"
        yield from _norm(f"{prefix}_norm", norm)
        yield from _convolution(f"{prefix}_conv", conv)


def _convolution(name, layer):
    if layer is None:
        return
    yield f"{name}.weight", layer.kernel
    if layer.use_bias:
        yield f"{name}.bias", layer.bias


def _norm(name, layer):
    if layer is None:
        return
    if layer.num_levels is not None:
        yield f"{name}.embed.weight", layer.table
        return
    for weight in ("gamma", "alpha", "beta"):
        yield f"{name}.{weight}", getattr(layer, weight)
