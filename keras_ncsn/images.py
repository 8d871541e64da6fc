"""Images: conversion between uint8 and floats, grids, and picture files."""

import io
import math
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_whole


def to_floats(
    images: npt.ArrayLike, value_range: Sequence[float] | None = (0.0, 1.0)
) -> np.ndarray:
    """Returns images as float32; uint8 is mapped from [0, 255] to a range.

    Args:
        images: Array of uint8 or floats.
        value_range: Pair of floats, the range that uint8 is mapped to, or
            `None` to keep the values from 0 to 255. Defaults to `(0.0, 1.0)`.

    Returns:
        A float32 NumPy array of the same shape.

    Example:

    >>> to_floats(np.array([0, 51, 255], "uint8")).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    images = np.asarray(images)
    floats = images.astype("float32")
    if images.dtype == np.uint8 and value_range is not None:
        low, high = map(np.float32, value_range)
        return low + (high - low) * (floats / np.float32(255))
    return floats


def to_uint8(images: npt.ArrayLike) -> np.ndarray:
    """Returns images in [0, 1] as uint8, rounded; other values are clipped.

    Args:
        images: Array of floats, or of uint8, which is returned unchanged.

    Returns:
        A uint8 NumPy array of the same shape.

    Example:

    >>> to_uint8(np.array([-1.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    return np.clip(images * 255 + 0.5, 0, 255).astype("uint8")


def to_unit_range(
    images: np.ndarray, value_range: Sequence[float]
) -> np.ndarray:
    """Returns images mapped from a range to [0, 1], as pictures need.

    Args:
        images: Array of floats.
        value_range: Pair of floats, the range of the images.

    Returns:
        An array of the same shape.

    Example:

    >>> to_unit_range(np.array([-1.0, 0.0, 1.0]), (-1.0, 1.0)).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = value_range
    return (images - low) / (high - low)


def can_be_drawn(
    image_shape: Sequence[int], value_range: Sequence[float] | None
) -> bool:
    """Returns whether a model's images can be drawn as pictures.

    Args:
        image_shape: Tuple, the shape of one image.
        value_range: Pair of floats, the range of the images, or `None`.
            Without a range, nothing says which values are black and white.

    Returns:
        A boolean.
    """
    is_image = len(image_shape) == 3 and image_shape[-1] in (1, 3)
    return is_image and value_range is not None


def check_drawable(
    image_shape: Sequence[int],
    value_range: Sequence[float] | None,
    advice: str,
) -> None:
    """Raises a `ValueError` unless a model's images can be drawn.

    Args:
        image_shape: As in `can_be_drawn`.
        value_range: As in `can_be_drawn`.
        advice: String, a sentence on what to do instead.
    """
    if not can_be_drawn(image_shape, value_range):
        raise ValueError(
            "Pictures need images with 1 or 3 channels and a `value_range`. "
            f"Received: a model of shape {tuple(image_shape)} with "
            f"value_range={value_range}. {advice}"
        )


def make_grid(
    images: np.ndarray, columns: int | None = None, gap: int = 2
) -> np.ndarray:
    """Returns images side by side, row by row, on a white background.

    Args:
        images: Float array of shape `(num_images, height, width, channels)`,
            in [0, 1].
        columns: Integer, images in a row. Defaults to `None`, as square as
            possible.
        gap: Integer, pixels between images. Defaults to `2`.

    Returns:
        A uint8 array of shape `(rows, columns, channels)` in pixels.

    Example:

    >>> make_grid(np.zeros((3, 8, 8, 1)), columns=2).shape
    (18, 18, 1)
    """
    num_images, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(num_images))
    rows = math.ceil(num_images / columns)
    grid = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels),
        255,
        "uint8",
    )
    for index, image in enumerate(to_uint8(images)):
        top = index // columns * (height + gap)
        left = index % columns * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def to_pil(image: np.ndarray) -> Image.Image:
    """Returns a uint8 array of 1 or 3 channels as a PIL image.

    Args:
        image: Array of shape `(height, width, channels)`.

    Returns:
        A PIL image, grey or RGB.
    """
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save_grid(
    images: np.ndarray, path: StrPath, columns: int | None = None
) -> None:
    """Writes images as one picture, side by side.

    Args:
        images: As in `make_grid`.
        path: Path of the file. Its ending, such as `.png`, sets the format.
        columns: As in `make_grid`.
    """
    picture = to_pil(make_grid(images, columns))
    _write_whole(path, lambda file, kind: picture.save(file, kind))


def save_images(images: np.ndarray, folder: StrPath) -> None:
    """Writes each image as a PNG, named by its number.

    Args:
        images: As in `make_grid`.
        folder: Path of the folder, created if it does not exist.
    """
    for index, image in enumerate(to_uint8(images)):
        path = pathlib.Path(folder, f"{index:05d}.png")
        _write_whole(path, to_pil(image).save)


def save_gif(frames: np.ndarray, path: StrPath, seconds: float = 4.0) -> None:
    """Writes an animation that stays on its last frame for a second.

    Args:
        frames: Float array of shape `(num_frames, height, width, channels)`,
            in [0, 1].
        path: Path of the file, ending in `.gif`.
        seconds: Float, how long the animation takes, without the stay at its
            end. Defaults to `4.0`.
    """
    pictures = [to_pil(frame) for frame in to_uint8(frames)]
    duration = max(20, round(1000 * seconds / len(pictures)))
    durations = [duration] * (len(pictures) - 1) + [duration + 1000]
    _write_whole(
        path,
        lambda file, kind: pictures[0].save(
            file,
            kind,
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
        ),
    )


def picture_format(path: StrPath) -> str:
    """Returns the picture format that the ending of a file name stands for.

    Args:
        path: Path of a picture to write.

    Returns:
        A string, such as `"PNG"`.
    """
    suffix = pathlib.Path(path).suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind is None or kind not in Image.SAVE:
        raise ValueError(
            "The name of a picture must end in a known format, such as .png. "
            f"Received: {path}"
        )
    return kind


def _write_whole(
    path: StrPath, write: Callable[[io.BytesIO, str], object]
) -> None:
    # Encoded in memory first: if that fails, no partial file is left.
    buffer = io.BytesIO()
    write(buffer, picture_format(path))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_whole(path) as file:
        file.write(buffer.getvalue())
