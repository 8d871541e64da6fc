"""Images: uint8 and [0, 1], grids, pictures and films."""

import io
import math
import pathlib

import numpy as np
from PIL import Image

from keras_ncsn.files import open_whole


def to_floats(images, value_range=(0.0, 1.0)):
    """Returns images as float32; uint8 is mapped from [0, 255] to a range.

    Args:
        images: Array of uint8 or floats.
        value_range: Pair of floats, or `None` to keep uint8 values. Defaults
            to `(0.0, 1.0)`.

    Returns:
        A float32 NumPy array of the same shape.

    Example:

    >>> to_floats(np.array([0, 51, 255], "uint8")).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    images = np.asarray(images)
    floats = images.astype("float32")
    if images.dtype == np.uint8 and value_range is not None:
        low, high = np.float32(value_range)
        return low + (high - low) * (floats / np.float32(255))
    return floats


def to_uint8(images):
    """Returns images in [0, 1] as uint8, rounded; what lies outside is clipped.

    Args:
        images: Array of floats, or of uint8, which stays as it is.

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


def to_unit_range(images, value_range):
    """Returns images of a range in [0, 1], as pictures take them.

    Args:
        images: Array of floats.
        value_range: Pair of floats, where the images lie.

    Returns:
        An array of the same shape.

    Example:

    >>> to_unit_range(np.array([-1.0, 0.0, 1.0]), (-1.0, 1.0)).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = value_range
    return (images - low) / (high - low)


def can_be_drawn(image_shape, value_range):
    """Returns whether pictures can be made of a model's images.

    Args:
        image_shape: Tuple, the shape of one image.
        value_range: Pair of floats, where the images lie, or `None`: of
            values without a range nobody knows which are bright.

    Returns:
        A boolean.
    """
    is_image = len(image_shape) == 3 and image_shape[-1] in (1, 3)
    return is_image and value_range is not None


def check_drawable(image_shape, value_range, advice):
    """Raises a `ValueError` unless pictures can be made of a model's images.

    Args:
        image_shape: As in `can_be_drawn`.
        value_range: As in `can_be_drawn`.
        advice: String, a sentence on what to do instead.
    """
    if not can_be_drawn(image_shape, value_range):
        raise ValueError(
            "Pictures can be made of images of 1 or 3 channels that have a "
            f"`value_range`. Received: a model of shape {tuple(image_shape)} "
            f"with value_range={value_range}. {advice}"
        )


def make_grid(images, columns=None, gap=2):
    """Returns images side by side, row by row, on white.

    Args:
        images: Float array of shape `(num_images, height, width, channels)`,
            in [0, 1].
        columns: Integer, images in a row. Defaults to `None`, as square as
            can be.
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


def to_pil(image):
    """Returns a uint8 array of 1 or 3 channels as a PIL image.

    Args:
        image: Array of shape `(height, width, channels)`.

    Returns:
        A PIL image, grey or RGB.
    """
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save_grid(images, path, columns=None):
    """Writes images as one picture, side by side.

    Args:
        images: As in `make_grid`.
        path: Path of the file; its ending says the format, such as `.png`.
        columns: As in `make_grid`.
    """
    picture = to_pil(make_grid(images, columns))
    _write_whole(path, lambda file, kind: picture.save(file, kind))


def save_images(images, folder):
    """Writes each image as a PNG, named by its number.

    Args:
        images: As in `make_grid`.
        folder: Path; made if it does not exist.
    """
    for index, image in enumerate(to_uint8(images)):
        path = pathlib.Path(folder, f"{index:05d}.png")
        _write_whole(path, to_pil(image).save)


def save_gif(frames, path, seconds=4.0):
    """Writes a film that stays on its last frame for a second.

    Args:
        frames: Float array of shape `(num_frames, height, width, channels)`,
            in [0, 1].
        path: Path of the file, ending in `.gif`.
        seconds: Float, how long the film takes. Defaults to `4.0`.
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


def picture_format(path):
    """Returns the format that the ending of a file name stands for.

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


def _write_whole(path, write):
    # To memory first: a picture that cannot be written leaves no half file.
    buffer = io.BytesIO()
    write(buffer, picture_format(path))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_whole(path) as file:
        file.write(buffer.getvalue())
