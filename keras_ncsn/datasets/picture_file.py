"""Picture files, one at a time, upright and in grey or RGB."""

import contextlib

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from keras_ncsn.files import open_regular
from keras_ncsn.text import one_line, reason

# To read others, such as PostScript, Pillow starts programs. (Its MPO, of
# cameras, counts as JPEG.)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


@contextlib.contextmanager
def open_picture(file):
    """Opens a picture of one of `FORMATS`, and starts no program.

    Args:
        file: Path of a regular file, or a binary file object.

    Yields:
        A PIL image, of which only the header has been read. What Pillow makes
        of a broken file may be any exception.
    """
    with contextlib.ExitStack() as stack:
        if not hasattr(file, "read"):
            file = stack.enter_context(open_regular(file))
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(
                f"it must be a picture in {', '.join(FORMATS[:-1])} or "
                f"{FORMATS[-1]}"
            ) from None
        yield stack.enter_context(image)


def load_image(file, image_size=None, crop_size=None, name=None):
    """Returns one picture, upright, grey (mode L) or RGB.

    Sixteen bits become eight, palettes and CMYK become RGB, what is
    transparent is laid over white, and of a film the first frame is taken.

    Args:
        file: Path, or a binary file object.
        image_size: Integer; the centre square is cropped and resized to this
            height and width, with antialiasing. Defaults to `None`, as it is.
        crop_size: Integer, at most how many pixels wide and high the square
            is that `image_size` resizes. Defaults to `None`, as large as the
            picture holds.
        name: String, what messages call the picture. Defaults to `None`, the
            path.

    Returns:
        A PIL image.
    """
    try:
        return read_picture(file, image_size, crop_size, name)
    except ValueError as error:
        raise ValueError(
            f"{error}. Repair it, or save it anew as a PNG."
        ) from None


def read_picture(file, image_size=None, crop_size=None, name=None):
    """Returns one picture as `load_image` does; its messages end with why.

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
    # PIL raises whatever a broken file makes it stumble on.
    except Exception as error:
        raise _unreadable(name or file, error) from None


def _resize(image, image_size, crop_size):
    if image_size is None:
        return image
    side = min(image.size if crop_size is None else (*image.size, crop_size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Not with resize's own `box`: beyond it, colours would leak in.
    image = image.crop((left, top, left + side, top + side))
    # PIL's bilinear is antialiased, and is what the paper's CelebA got.
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR)


def read_header(file):
    """Returns what the header of a picture says that `read_picture` returns.

    Args:
        file: As in `load_image`.

    Returns:
        A pair: the height and width, and whether it is grey.
    """
    try:
        with open_picture(file) as image:
            _check_sides(image.size)
            _check_numbers(image)
            width, height = image.size
            orientation = ExifTags.Base.Orientation
            # From 5 on, cameras lay on their sides.
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
        # PIL would clip to 255 where it should divide.
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
    # Whatever these count to, it is not 255 or 65535.
    if image.mode == "F":
        raise ValueError("it must hold whole numbers, and holds floats")
    if image.mode == "I" and image.format == "TIFF":
        raise ValueError("it must hold numbers of at most 16 bits, not 32")


def _unreadable(file, error):
    return ValueError(
        f"Images must be readable. Received: {one_line(file)}, {reason(error)}"
    )
