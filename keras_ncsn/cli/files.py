"""Where commands write images, and masks they read."""

import contextlib
import os

import numpy as np

from keras_ncsn.datasets.picture_file import load_image, open_picture
from keras_ncsn.files import open_whole
from keras_ncsn.images import (
    picture_format,
    save_grid,
    save_images,
    to_unit_range,
)
from keras_ncsn.text import one_line, reason

MASKS = ("left-half", "right-half", "top-half", "bottom-half", "centre")
MASK_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


def check_output(path, suffixes=None):
    """Raises a `ValueError` if images cannot be written to a path.

    Leaves nothing behind: folders are made by those who write.

    Args:
        path: A `pathlib.Path`.
        suffixes: Tuple of endings to allow. Defaults to `None`, those of
            `write_images`.
    """
    suffix = path.suffix.lower()
    if suffixes is not None and suffix not in suffixes:
        raise ValueError(
            f"The file name must end in {' or '.join(suffixes)}. Received: "
            f"{path}"
        )
    if suffix not in ("", ".npy"):
        picture_format(path)
    if suffix == "" and os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(
            f"A folder is needed to write images to. Received: {path}, a file"
        )
    if suffix == "" and os.path.isdir(path) and os.listdir(path):
        raise ValueError(
            "Images must be written to a new or empty folder, or they would "
            f"mix with what is there. Received: {path}"
        )
    if suffix != "" and os.path.isdir(path):
        raise ValueError(
            f"A file name is needed to write to. Received: {path}, a folder"
        )
    _check_writable(path, path if suffix == "" else path.parent)


def write_images(images, path, value_range, columns=None):
    """Writes images as an array, a folder of PNGs, or one picture.

    Args:
        images: Float array of shape `(num_images, height, width, channels)`.
        path: A `pathlib.Path`: `.npy` for an array, no ending for a folder.
        value_range: Pair of floats, black and white in pictures. An array is
            written as it is.
        columns: Integer, images in a row of the picture. Defaults to `None`.
    """
    if path.suffix.lower() == ".npy":
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:
            np.save(file, images.astype("float32"))
    elif path.suffix == "":
        save_images(to_unit_range(images, value_range), path)
    else:
        save_grid(to_unit_range(images, value_range), path, columns)


def read_image(path, image_shape):
    """Returns an image of a file, which must have the preset's size.

    Args:
        path: Path of the file.
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A uint8 array of that shape.
    """
    image = load_image(path).convert("L" if image_shape[-1] == 1 else "RGB")
    if (image.height, image.width) != tuple(image_shape[:2]):
        raise ValueError(
            f"Images must be {image_shape[1]} pixels wide and "
            f"{image_shape[0]} high, as the preset's. Received: "
            f"{one_line(path)}, "
            f"{image.width} by {image.height}"
        )
    return np.asarray(image).reshape(image_shape)


def read_mask(mask, image_shape):
    """Returns the known pixels that a name or a picture stands for.

    Args:
        mask: One of `MASKS`, the part that is known (`"centre"`: all but the
            centre square), or the path of a picture, white where a pixel is
            known, black where it is to be filled.
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A boolean array of shape `(height, width)`.
    """
    height, width = image_shape[:2]
    rows, columns = np.indices((height, width))
    named = {
        "left-half": columns < width // 2,
        "right-half": columns >= width // 2,
        "top-half": rows < height // 2,
        "bottom-half": rows >= height // 2,
        "centre": ~(
            (abs(rows - (height - 1) / 2) < height / 4)
            & (abs(columns - (width - 1) / 2) < width / 4)
        ),
    }
    if mask in named:
        return named[mask]
    values, white = _read_grey(mask)
    if values.shape != (height, width):
        raise ValueError(
            f"The mask must be {width} pixels wide and {height} high, as the "
            f"images. Received: {one_line(mask)}, {values.shape[1]} by "
            f"{values.shape[0]}"
        )
    wrong = values[(values != 0) & (values != white)]
    if wrong.size:
        raise ValueError(
            f"The mask must be white ({white}) where a pixel is known and "
            "black (0) where it is to be filled. Received: "
            f"{one_line(mask)}, which has the value {wrong[0]}"
        )
    return values == white


def _check_writable(path, folder):
    missing = [
        place
        for place in (folder, *folder.parents)
        if not os.path.lexists(place)
    ]
    try:
        # Made to find out, as there are many ways to fail.
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = ""
    except OSError as error:
        writable, reason = False, f", {error.strerror}"
    for place in missing:
        with contextlib.suppress(OSError):
            place.rmdir()
    if not writable:
        raise ValueError(
            "The folder of the output must be writable. Received: "
            f"{path}{reason}"
        )


def _read_grey(mask):
    """Returns the grey values of a mask, and the one that is white."""
    try:
        with open_picture(mask) as picture:
            picture.load()
            mode, is_opaque = picture.mode, _is_opaque(picture)
            # PIL would clip what 16 bits hold to 255.
            is_16_bit = mode.startswith("I")
            values = np.asarray(picture if is_16_bit else picture.convert("L"))
    # PIL raises whatever a broken file makes it stumble on.
    except Exception as error:
        raise ValueError(
            f"The mask must be one of {', '.join(MASKS)}, or a readable "
            f"picture. Received: {one_line(mask)}, {reason(error)}"
        ) from None
    if not is_16_bit and mode not in MASK_MODES:
        raise ValueError(
            "The mask must be a picture in grey or RGB. Received: "
            f"{one_line(mask)}, of mode {mode}"
        )
    if not is_opaque:
        raise ValueError(
            "The mask must be a picture without transparent pixels. "
            f"Received: {one_line(mask)}"
        )
    return values, 65535 if is_16_bit else 255


def _is_opaque(picture):
    if not picture.has_transparency_data:
        return True
    # Of 16 bits, PIL does not say which pixels are.
    is_16_bit = picture.mode.startswith("I")
    return not is_16_bit and picture.convert("RGBA").getextrema()[3] == (
        255,
        255,
    )
