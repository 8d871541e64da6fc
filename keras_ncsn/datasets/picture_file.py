"""One picture file, read upright, in grey or RGB."""

import contextlib
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_regular
from keras_ncsn.text import one_line, reason

# For others, such as PostScript, Pillow starts external programs. (MPO, which
# some cameras write, counts as JPEG.)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

# Pillow searches damaged files byte by byte, and reads some files whole.
MAX_BYTES = 2**28


@contextlib.contextmanager
def open_picture(file: StrPath | IO[bytes]) -> Iterator[Image.Image]:
    """Opens a picture in one of `FORMATS`, without external programs.

    Args:
        file: Path of a regular file, or a binary file object.

    Yields:
        A PIL image, of which only the header has been read. For a broken file,
        Pillow may raise any exception.
    """
    with contextlib.ExitStack() as stack:
        if not hasattr(file, "read"):
            file = stack.enter_context(open_regular(file, MAX_BYTES))
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(
                f"it must be a picture in {', '.join(FORMATS[:-1])} or "
                f"{FORMATS[-1]}"
            ) from None
        yield stack.enter_context(image)


def load_image(
    file: StrPath | IO[bytes],
    image_size: int | None = None,
    crop_size: int | None = None,
    name: StrPath | None = None,
) -> Image.Image:
    """Returns one picture, upright, grey (mode L) or RGB.

    Sixteen bits become eight, palettes and CMYK become RGB, transparent parts
    become white, and of an animation only the first frame is read.

    Args:
        file: Path, or a binary file object.
        image_size: Integer; the centre square is cropped and resized to this
            height and width, with antialiasing. Defaults to `None`: the
            picture keeps its size.
        crop_size: Integer, the largest side of the square that is cropped
            before resizing. Defaults to `None`, as large as the picture
            allows.
        name: String, the name of the picture in messages. Defaults to `None`,
            the path.

    Returns:
        A PIL image.
    """
    try:
        return read_picture(file, image_size, crop_size, name)
    except ValueError as error:
        raise _with_advice(error) from None


def read_sides(file: StrPath | IO[bytes]) -> tuple[int, int]:
    """Returns the width and height of a picture, as they are stored.

    Only the header of the picture is read. One that lies on its side is turned
    when it is loaded.

    Args:
        file: As in `load_image`.

    Returns:
        A pair of integers.
    """
    try:
        with open_picture(file) as image:
            return image.size
    # A broken file can make PIL raise any exception.
    except Exception as error:
        raise _with_advice(_unreadable(file, error)) from None


def read_picture(
    file: StrPath | IO[bytes],
    image_size: int | None = None,
    crop_size: int | None = None,
    name: StrPath | None = None,
) -> Image.Image:
    """Returns one picture as `load_image` does; its errors hold no advice.

    Args:
        file: As in `load_image`.
        image_size: As in `load_image`.
        crop_size: As in `load_image`.
        name: As in `load_image`.

    Returns:
        A PIL image.
    """
    try:
        with open_picture(file) as image:
            image.load()
            _check_sides(image.size)
            _check_numbers(image)
            return _resize(_to_plain(image), image_size, crop_size)
    # A broken file can make PIL raise any exception.
    except Exception as error:
        raise _unreadable(name or file, error) from None


def _resize(image, image_size, crop_size):
    if image_size is None:
        return image
    side = min(image.size if crop_size is None else (*image.size, crop_size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Not with the `box` of `resize`: colours from outside it would leak in.
    image = image.crop((left, top, left + side, top + side))
    # PIL's bilinear filter is antialiased, and the paper's for CelebA.
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR)


def read_header(file: StrPath | IO[bytes]) -> tuple[tuple[int, int], bool]:
    """Returns the size and colours that `read_picture` would return.

    Only the header of the picture is read.

    Args:
        file: As in `load_image`.

    Returns:
        A pair: `(height, width)`, and whether the picture is grey.
    """
    try:
        with open_picture(file) as image:
            _check_sides(image.size)
            _check_numbers(image)
            width, height = image.size
            orientation = ExifTags.Base.Orientation
            # From 5 on, the picture is stored on its side.
            if "exif" in image.info and image.getexif().get(orientation, 1) > 4:
                width, height = height, width
            return (height, width), _is_grey(image)
    except Exception as error:
        raise _unreadable(file, error) from None


def _is_grey(image):
    return image.mode in ("1", "L", "LA") or image.mode.startswith("I")


def _to_plain(image):
    mode = "L" if _is_grey(image) else "RGB"
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # PIL itself would clip to 255 instead of dividing.
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)


def _check_sides(size):
    if min(size) < 2:
        raise ValueError(
            "it must be at least 2 pixels wide and high, and is "
            f"{size[0]} by {size[1]}"
        )


def _check_numbers(image):
    # Nothing says which value of these is white.
    if image.mode == "F":
        raise ValueError("it must hold whole numbers, and holds floats")
    if image.mode == "I" and image.format == "TIFF":
        raise ValueError("it must hold numbers of at most 16 bits, not 32")


def _unreadable(file, error):
    return ValueError(
        f"Images must be readable. Received: {one_line(file)}, {reason(error)}"
    )


def _with_advice(error):
    return ValueError(f"{error}. Repair it, or save it again as a PNG.")
