"""Which sizes a network can have. Asked before Keras is imported."""

from keras_ncsn.checks import check_count, is_integer


def check_unet_sizes(image_shape, widths, patch_size):
    """Raises a `ValueError` unless there is a `UNet` of these sizes.

    Args:
        image_shape: As in `UNet`, or `None` where it is not known yet.
        widths: As in `UNet`.
        patch_size: As in `UNet`.
    """
    check_count(patch_size=patch_size)
    if not widths or not all(is_integer(x) and x > 0 for x in widths):
        raise ValueError(
            "`widths` must hold at least one positive integer, the channels "
            f"of each stage. Received: widths={widths}"
        )
    if widths[0] % 2:
        raise ValueError(
            "The first of `widths` must be even, because noise levels are told "
            f"by as many sines as cosines. Received: widths={widths}"
        )
    if image_shape is None:
        return
    factor = patch_size * 2 ** (len(widths) - 1)
    if len(image_shape) != 3 or any(side % factor for side in image_shape[:2]):
        raise ValueError(
            "`image_shape` must be (height, width, channels), with height and "
            f"width divisible by {factor}, because patches are of {patch_size} "
            f"by {patch_size} pixels and {len(widths) - 1} stages halve them. "
            f"Received: image_shape={tuple(image_shape)}. Use fewer `widths`, "
            "or resize the images."
        )


def check_refinenet_shape(image_shape):
    """Returns the shape of images as integers; a `ValueError` if it cannot be.

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
    return tuple(int(size) for size in image_shape)
