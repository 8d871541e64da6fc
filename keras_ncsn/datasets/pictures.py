"""Folders of pictures, as uint8 arrays that stay on disk."""

import math
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import IO

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.datasets.picture_file import read_header, read_picture
from keras_ncsn.files.scratch import open_scratch
from keras_ncsn.text import one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# How many skipped pictures a warning names.
NUM_NAMED = 5


def load_folder(
    path: StrPath,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    files: Sequence[str] | None = None,
    skipped: list[str] | None = None,
) -> np.ndarray:
    """Returns the pictures in a folder and its subfolders, sorted by path.

    All are decoded first, to a temporary file in the folder that `TMPDIR`
    names. The array reads from this file, so memory does not grow with the
    number of pictures. The file vanishes with the array.

    Args:
        path: Path of the folder.
        image_size: As in `load_image`. Defaults to `None`: the pictures must
            all have one size.
        skip_unreadable: Boolean, whether to skip pictures that cannot be read,
            with a warning that counts them. All pictures are then decoded
            twice, the first time for their size and channels. Defaults to
            `False`.
        files: Sequence of the paths of the pictures. Defaults to `None`: the
            paths that `list_files` returns.
        skipped: List, to which the paths of skipped pictures are added.
            Defaults to `None`.

    Returns:
        A read-only uint8 array of shape
        `(num_images, height, width, channels)`, with one channel if all
        pictures are grey, else three.
    """
    files = list_files(path, skip_unreadable) if files is None else files
    image_shape, num_images = _survey(files, image_size, skip_unreadable)
    with open_scratch(num_images * math.prod(image_shape), path) as stream:
        return store_images(
            zip(files, files, strict=True),
            stream,
            image_shape,
            image_size,
            skip_unreadable=skip_unreadable,
            skipped=skipped,
        )


def store_images(
    pictures: Iterable[tuple[str, StrPath | IO[bytes]]],
    stream: IO[bytes],
    image_shape: Sequence[int],
    image_size: int | None = None,
    crop_size: int | None = None,
    skip_unreadable: bool = False,
    skipped: list[str] | None = None,
) -> np.ndarray:
    """Writes pictures to a file, one by one, and returns them as an array.

    Args:
        pictures: Iterable of pairs: the name of a picture, for messages, and
            its path or file.
        stream: Binary file, open for writing and reading. The pictures begin
            at its current position.
        image_shape: Tuple `(height, width, channels)`.
        image_size: As in `load_image`.
        crop_size: As in `load_image`.
        skip_unreadable: As in `load_folder`.
        skipped: List, to which the names of skipped pictures are added.
            Defaults to `None`.

    Returns:
        A uint8 `np.memmap` of shape `(num_images, *image_shape)`, read-only.
    """
    offset = stream.tell()
    mode = "L" if image_shape[-1] == 1 else "RGB"
    num_images, skipped = 0, [] if skipped is None else skipped
    for name, file in pictures:
        try:
            image = read_picture(file, image_size, crop_size, name)
        except ValueError as error:
            if not skip_unreadable:
                raise _with_advice(error) from None
            skipped.append(name)
            continue
        _check_size(name, (image.height, image.width), image_shape[:2])
        stream.write(image.convert(mode).tobytes())
        num_images += 1
    if not num_images:
        raise ValueError(
            "At least one image must be readable. Received: "
            f"{len(skipped)} images, none of them readable, such as "
            f"{_names(skipped)}"
        )
    if skipped:
        more = ", ..." if len(skipped) > NUM_NAMED else ""
        warnings.warn(
            f"Skipped {len(skipped)} of {len(skipped) + num_images} images, "
            f"which are unreadable: {_names(skipped)}{more}",
            stacklevel=2,
        )
    stream.flush()
    shape = (num_images, *image_shape)
    return np.memmap(stream, np.uint8, "r", offset, shape)


def _names(skipped):
    return ", ".join(map(one_line, skipped[:NUM_NAMED]))


def list_files(path: StrPath, skip_unreadable: bool = False) -> list[str]:
    """Returns the paths of the pictures in a folder and its subfolders.

    Args:
        path: Path of the folder.
        skip_unreadable: Boolean, whether to skip folders that cannot be read,
            with a warning. Defaults to `False`.

    Returns:
        A sorted list of strings. A `ValueError` is raised if there are none.
    """
    try:
        files = sorted(_find_files(path, skip_unreadable))
    except RecursionError:
        # Before Python 3.12, `os.walk` is recursive.
        raise ValueError(
            "Folders of images must be nested less deeply. Received: "
            f"{one_line(path)}"
        ) from None
    if not files:
        raise ValueError(
            f"The folder must hold images ({', '.join(SUFFIXES)}). Received: "
            f"{one_line(path)}, which has none"
        )
    return files


def _find_files(path, skip_unreadable):
    def refuse(error):
        message = f"{one_line(error.filename)}, {error.strerror}"
        if not skip_unreadable:
            raise _with_advice(
                ValueError(
                    f"Folders of images must be readable. Received: {message}"
                )
            ) from None
        warnings.warn(f"Skipped the folder {message}", stacklevel=2)

    seen = set()
    for folder, folders, names in os.walk(
        path, onerror=refuse, followlinks=True
    ):
        # A link may lead back to a folder above it.
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            if name.lower().endswith(SUFFIXES):
                yield os.path.join(folder, name)


def _survey(files, image_size, skip_unreadable):
    """Returns the common shape of the images, and how many are readable."""
    # The header of a broken picture may state anything.
    read = _read_whole if skip_unreadable else read_header
    shape, channels = image_size and (image_size, image_size), 1
    num_images = 0
    for file in files:
        try:
            size, is_grey = read(file)
        except ValueError as error:
            if not skip_unreadable:
                raise _with_advice(error) from None
            continue
        channels = channels if is_grey else 3
        shape = shape or size
        num_images += 1
        if image_size is None:
            _check_size(file, size, shape)
    # If no picture is readable, `store_images` raises an error for any shape.
    return (*(shape or (1, 1)), channels), num_images


def _read_whole(file):
    image = read_picture(file)
    return (image.height, image.width), image.mode == "L"


def _check_size(name, size, expected):
    if tuple(size) != tuple(expected):
        raise ValueError(
            "Images must have one size, unless an image size is given. "
            f"Received: {one_line(name)}, {size[1]} by {size[0]} pixels, after "
            f"images of {expected[1]} by {expected[0]}. Pass an image size."
        )


def _with_advice(error):
    return ValueError(
        f"{error}. Repair or remove it, or skip unreadable pictures with "
        "--skip-unreadable (`skip_unreadable=True`)."
    )
