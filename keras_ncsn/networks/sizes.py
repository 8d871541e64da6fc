"""Which sizes a network can have. Asked before Keras is imported."""

import itertools
from collections.abc import Sequence
from typing import Any

from keras_ncsn.checks import check_count, is_integer
from keras_ncsn.text import one_line

# They take 34 GB in float32. A config or run file of some bytes may ask for any
# number, and memory is taken while a network is built.
MAX_PARAMETERS = 2**33


def check_unet_sizes(
    image_shape: Sequence[int] | None,
    widths: Sequence[int],
    patch_size: int,
    num_blocks: int,
    num_rows: int = 0,
) -> None:
    """Raises a `ValueError` unless a `UNet` can have these sizes.

    Args:
        image_shape: As in `UNet`, or `None` if it is not known yet.
        widths: As in `UNet`.
        patch_size: As in `UNet`.
        num_blocks: As in `UNet`.
        num_rows: Integer, the rows of the table for the condition. Defaults
            to `0`, no condition.
    """
    check_count(patch_size=patch_size, num_blocks=num_blocks)
    if not widths or not all(is_integer(x) and x > 0 for x in widths):
        raise ValueError(
            "`widths` must hold at least one positive integer, the channels "
            f"of each stage. Received: widths={widths}"
        )
    if widths[0] % 2:
        raise ValueError(
            "The first of `widths` must be even, because the noise level is "
            "encoded by as many sines as cosines. Received: "
            f"widths={widths}"
        )
    if image_shape is None:
        _check_unet_parameters(3, widths, patch_size, num_blocks, num_rows)
        return
    factor = patch_size * 2 ** (len(widths) - 1)
    if len(image_shape) != 3 or any(side % factor for side in image_shape[:2]):
        raise ValueError(
            "`image_shape` must be (height, width, channels), with height and "
            f"width divisible by {factor}, because a patch has {patch_size} by "
            f"{patch_size} pixels and {len(widths) - 1} stages halve the "
            f"image. Received: image_shape={tuple(image_shape)}. Use fewer "
            "`widths`, or resize the images."
        )
    channels = image_shape[-1]
    _check_unet_parameters(channels, widths, patch_size, num_blocks, num_rows)


def _check_unet_parameters(channels, widths, patch_size, num_blocks, num_rows):
    # Integers of NumPy would overflow.
    widths = list(map(int, widths))
    first = widths[0]
    parameters = 18 * patch_size**2 * channels * first + 20 * first**2
    parameters += num_rows * 4 * first
    for width in widths:
        # A block has two convolutions of 3 by 3, and attention four of 1 by 1.
        # On the way up, the first convolution also takes the skip connection,
        # and a shortcut does.
        parameters += num_blocks * 22 * width**2
        parameters += (num_blocks + 1) * 33 * width**2
        parameters += (2 * num_blocks + 1) * 8 * first * width
    for fine, coarse in itertools.pairwise(widths):
        parameters += 18 * fine * coarse
    _check_parameters(
        parameters + 26 * widths[-1] ** 2,
        channels=channels,
        widths=widths,
        patch_size=patch_size,
        num_blocks=num_blocks,
    )


def check_refinenet_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns a valid shape of images as integers, or raises a `ValueError`.

    Args:
        image_shape: As in `RefineNet`.

    Returns:
        A tuple of three integers.
    """
    image_shape = tuple(image_shape)
    if len(image_shape) != 3 or not all(
        is_integer(size) and size > 0 for size in image_shape
    ):
        raise ValueError(
            "`image_shape` must be (height, width, channels), three integers "
            f"above 0. Received: image_shape={image_shape}"
        )
    if image_shape[0] % 2 or image_shape[1] % 2:
        raise ValueError(
            "`image_shape` must have an even height and width, because the "
            f"network halves them once. Received: image_shape={image_shape}. "
            "Crop or pad the images."
        )
    height, width, channels = map(int, image_shape)
    return height, width, channels


def check_refinenet_sizes(
    channels: int,
    width: int,
    num_levels: int | None = None,
    blocks_per_stage: int = 2,
) -> None:
    """Raises a `ValueError` unless a `RefineNet` can have these sizes.

    Args:
        channels: Integer, the channels of an image.
        width: As in `RefineNet`.
        num_levels: Integer, the number of noise levels that it has weights
            for. Defaults to `None`, one set of weights for all.
        blocks_per_stage: As in `RefineNet`. Defaults to `2`.
    """
    check_count(least=2, width=width)
    check_count(blocks_per_stage=blocks_per_stage)
    # Integers of NumPy would overflow.
    width, blocks_per_stage = int(width), int(blocks_per_stage)
    # The factors were counted, in networks with few and many of each.
    _check_parameters(
        18 * channels * width
        + (1345 + 234 * blocks_per_stage) * width**2
        + (259 + 40 * blocks_per_stage) * width * (num_levels or 1),
        channels=channels,
        width=width,
        num_levels=num_levels,
        blocks_per_stage=blocks_per_stage,
    )


def check_mlp_sizes(num_dimensions: int, width: int, num_layers: int) -> None:
    """Raises a `ValueError` unless an `MLP` can have these sizes.

    Args:
        num_dimensions: As in `MLP`.
        width: As in `MLP`.
        num_layers: As in `MLP`.
    """
    sizes = {
        "num_dimensions": num_dimensions,
        "width": width,
        "num_layers": num_layers,
    }
    check_count(**sizes)
    # Integers of NumPy would overflow.
    width = int(width)
    parameters = (2 * num_dimensions + 16) * width
    _check_parameters(parameters + (num_layers - 1) * width**2, **sizes)


def _check_parameters(estimate: int, **sizes: Any) -> None:
    if estimate <= MAX_PARAMETERS:
        return
    shown = ", ".join(f"{name}={size!r}" for name, size in sizes.items())
    raise ValueError(
        f"A network must have at most {MAX_PARAMETERS:,} parameters. Received: "
        # Python shows no integer of thousands of digits.
        f"{one_line(shown)}, about {min(estimate, 10**30):.0e} parameters. "
        "Choose smaller sizes."
    )
