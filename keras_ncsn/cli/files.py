"""The images and masks that commands read and write."""

import contextlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_ncsn.datasets.picture_file import (
    load_image,
    open_picture,
    read_sides,
)
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


def check_output(
    path: pathlib.Path, suffixes: Sequence[str] | None = None
) -> None:
    """Raises a `ValueError` if images cannot be written to a path.

    It creates nothing. Missing folders are created when images are written.

    Args:
        path: A `pathlib.Path`.
        suffixes: Tuple of the file endings that are allowed. Defaults to
            `None`, which allows all that `write_images` supports.
    """
    suffix = path.suffix.lower()
    if suffixes is not None and suffix not in suffixes:
        raise ValueError(
            f"The file name must end in {' or '.join(suffixes)}. Received: "
            f"{path}. Choose another name."
        )
    if suffix not in ("", ".npy"):
        picture_format(path)
    if suffix == "" and os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(
            "An output without a file ending must be a folder. Received: "
            f"{path}, a file. Add an ending such as .png, or choose another "
            "folder."
        )
    if suffix == "" and os.path.isdir(path) and os.listdir(path):
        raise ValueError(
            "The output must be a new or empty folder, so that the images do "
            f"not mix with other files. Received: {path}. Choose another one."
        )
    if suffix != "" and os.path.isdir(path):
        raise ValueError(
            f"The output must be a file. Received: {path}, a folder. Choose "
            "another name."
        )
    _check_writable(path, path if suffix == "" else path.parent)


def write_images(
    images: np.ndarray,
    path: pathlib.Path,
    value_range: tuple[float, float],
    columns: int | None = None,
) -> None:
    """Writes images as an array, a folder of PNGs, or one picture.

    Args:
        images: Float array of shape `(num_images, height, width, channels)`.
        path: A `pathlib.Path`. An ending of `.npy` means an array, no ending
            means a folder, and any other ending one picture of all images.
        value_range: Pair of floats, the values of black and white in a
            picture. Arrays are written unchanged.
        columns: Integer, the number of images in a row of the picture.
            Defaults to `None`, a square grid.
    """
    if path.suffix.lower() == ".npy":
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:
            np.save(file, images.astype("float32"))
    elif path.suffix == "":
        save_images(to_unit_range(images, value_range), path)
    else:
        save_grid(to_unit_range(images, value_range), path, columns)


def read_image(
    path: str | os.PathLike, image_shape: tuple[int, int, int]
) -> np.ndarray:
    """Reads an image, which must have the size that the preset asks for.

    Args:
        path: Path of the file.
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A uint8 array of that shape.
    """
    height, width = image_shape[:2]
    # A small file may hold a large picture, so this is before it is decoded. A
    # picture that lies on its side is not yet turned.
    sides = read_sides(path)
    if sorted(sides) != sorted((width, height)):
        raise _wrong_size(path, sides, (width, height))
    image = load_image(path).convert("L" if image_shape[-1] == 1 else "RGB")
    if image.size != (width, height):
        raise _wrong_size(path, image.size, (width, height))
    return np.asarray(image).reshape(image_shape)


def _wrong_size(path, size, expected):
    return ValueError(
        f"An image must have the size that the preset asks for: {expected[0]} "
        f"pixels wide and {expected[1]} high. Received: {one_line(path)}, "
        f"{size[0]} by {size[1]}. Crop or resize it."
    )


def read_mask(
    mask: str | os.PathLike, image_shape: tuple[int, int, int]
) -> np.ndarray:
    """Returns the mask of known pixels, from a name or a picture.

    Args:
        mask: One of `MASKS`, the part that is known (with `"centre"`, all but
            the centre square is known), or the path of a picture. The picture
            is white where a pixel is known and black where it is filled in.
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A boolean array of shape `(height, width)`, `True` where a pixel is
        known.
    """
    height, width = image_shape[:2]
    if mask in MASKS:
        return _named_mask(mask, height, width)
    values, white = _read_grey(mask, (width, height))
    wrong = values[(values != 0) & (values != white)]
    if wrong.size:
        raise ValueError(
            f"The mask must be white ({white}) where a pixel is known and "
            "black (0) where it is filled in. Received: "
            f"{one_line(mask)}, which has the value {wrong[0]}. Save it as a "
            "PNG without smooth edges."
        )
    return values == white


def check_mask(
    mask: str | os.PathLike, image_shape: tuple[int, int, int]
) -> None:
    """Raises a `ValueError` unless `read_mask` can return a mask.

    Args:
        mask: As in `read_mask`.
        image_shape: As in `read_mask`.
    """
    if mask not in MASKS:
        read_mask(mask, image_shape)


def _named_mask(mask, height, width):
    rows, columns = np.ogrid[:height, :width]
    known = {
        "left-half": columns < width // 2,
        "right-half": columns >= width // 2,
        "top-half": rows < height // 2,
        "bottom-half": rows >= height // 2,
        "centre": (abs(rows - (height - 1) / 2) >= height / 4)
        | (abs(columns - (width - 1) / 2) >= width / 4),
    }
    return np.broadcast_to(known[mask], (height, width))


def _check_writable(path, folder):
    missing = [
        place
        for place in (folder, *folder.parents)
        if not os.path.lexists(place)
    ]
    try:
        # Creating it is the only sure test; it is removed again below.
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        cause = ""
    except OSError as error:
        writable, cause = False, f", {error.strerror}"
    for place in missing:
        with contextlib.suppress(OSError):
            place.rmdir()
    if not writable:
        raise ValueError(
            "The folder of the output must be writable. Received: "
            f"{path}{cause}. Choose another folder."
        )


def _read_grey(mask, size):
    """Returns the grey values of a mask, and the value of white."""
    with contextlib.ExitStack() as stack:
        with _mask_is_readable(mask):
            picture = stack.enter_context(open_picture(mask))
        # Before it is decoded, as in `read_image`.
        if picture.size != size:
            raise ValueError(
                f"The mask must have the size of the images: {size[0]} pixels "
                f"wide and {size[1]} high. Received: {one_line(mask)}, "
                f"{picture.width} by {picture.height}. Draw it in that size."
            )
        with _mask_is_readable(mask):
            picture.load()
            mode, is_opaque = picture.mode, _is_opaque(picture)
            # PIL would clip 16-bit values to 255.
            is_16_bit = mode.startswith("I")
            values = np.asarray(picture if is_16_bit else picture.convert("L"))
    if not is_16_bit and mode not in MASK_MODES:
        raise ValueError(
            "The mask must be a picture in grey or RGB. Received: "
            f"{one_line(mask)}, of mode {mode}. Convert it."
        )
    if not is_opaque:
        raise ValueError(
            "The mask must be a picture without transparent pixels. "
            f"Received: {one_line(mask)}. Save it without an alpha channel."
        )
    return values, 65535 if is_16_bit else 255


@contextlib.contextmanager
def _mask_is_readable(mask):
    try:
        yield
    # A broken file can make PIL raise any exception.
    except Exception as error:
        raise ValueError(
            f"The mask must be one of {', '.join(MASKS)}, or a readable "
            f"picture. Received: {one_line(mask)}, {reason(error)}"
        ) from None


def _is_opaque(picture):
    if not picture.has_transparency_data:
        return True
    # In 16 bits, PIL does not tell which pixels are transparent.
    is_16_bit = picture.mode.startswith("I")
    return not is_16_bit and picture.convert("RGBA").getextrema()[3] == (
        255,
        255,
    )
