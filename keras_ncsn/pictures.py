"""Pictures in files, as uint8 arrays that stay on disk."""

import os
import tempfile
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
NUM_NAMED = 5


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
        with Image.open(file) as image:
            image.load()
            _check_sides(image.size)
            _check_numbers(image)
            image = _to_plain(image)
    # PIL raises whatever a broken file makes it stumble on.
    except Exception as error:
        raise _unreadable(name or file, error) from None
    if image_size is None:
        return image
    side = min(image.size if crop_size is None else (*image.size, crop_size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Not with resize's own `box`: beyond it, colours would leak in.
    image = image.crop((left, top, left + side, top + side))
    # PIL's bilinear is antialiased, and is what the paper's CelebA got.
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR)


def load_folder(path, image_size=None, skip_unreadable=False):
    """Returns the pictures in a folder and its subfolders, sorted by path.

    They are decoded once, before anything else happens, to a temporary file
    (in the folder that `TMPDIR` names) that the array reads from and that
    vanishes with it: memory does not grow with their number.

    Args:
        path: Path of the folder.
        image_size: As in `load_image`. Defaults to `None`: the pictures must
            all have one size.
        skip_unreadable: Boolean, whether to go on without pictures that cannot
            be read, with a warning that counts them. Defaults to `False`;
            `True` decodes all twice, to know their size and channels.

    Returns:
        A read-only uint8 array of shape
        `(num_images, height, width, channels)`, with one channel if all
        pictures are grey, else three.
    """
    files = sorted(_find_files(path, skip_unreadable))
    if not files:
        raise ValueError(
            f"The folder must hold images ({', '.join(SUFFIXES)}). Received: "
            f"{path}, which has none"
        )
    image_shape = _survey(files, image_size, skip_unreadable)
    with tempfile.TemporaryFile() as stream:
        return store_images(
            zip(files, files, strict=True),
            stream,
            image_shape,
            image_size,
            skip_unreadable=skip_unreadable,
        )


def store_images(
    pictures,
    stream,
    image_shape,
    image_size=None,
    crop_size=None,
    skip_unreadable=False,
):
    """Writes pictures to a file, one by one, and returns them as an array.

    Args:
        pictures: Iterable of pairs: the name of a picture, for messages, and
            its path or file.
        stream: Binary file, open for writing and reading; the pictures begin
            where it stands.
        image_shape: Tuple `(height, width, channels)`.
        image_size: As in `load_image`.
        crop_size: As in `load_image`.
        skip_unreadable: As in `load_folder`.

    Returns:
        A uint8 `np.memmap` of shape `(num_images, *image_shape)`, read-only.
    """
    offset = stream.tell()
    mode = "L" if image_shape[-1] == 1 else "RGB"
    num_images, skipped = 0, []
    for name, file in pictures:
        try:
            image = load_image(file, image_size, crop_size, name)
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
            f"{len(skipped)} images, of which none is, such as "
            f"{', '.join(skipped[:NUM_NAMED])}"
        )
    if skipped:
        more = ", ..." if len(skipped) > NUM_NAMED else ""
        warnings.warn(
            f"Skipped {len(skipped)} of {len(skipped) + num_images} images, "
            f"unreadable: {', '.join(skipped[:NUM_NAMED])}{more}",
            stacklevel=2,
        )
    stream.flush()
    shape = (num_images, *image_shape)
    return np.memmap(stream, np.uint8, "r", offset, shape)


def _find_files(path, skip_unreadable):
    def refuse(error):
        message = f"{error.filename}, {error.strerror}"
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
        # Links may lead to where they are.
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        folders.sort()
        for name in names:
            if name.lower().endswith(SUFFIXES):
                yield os.path.join(folder, name)


def _survey(files, image_size, skip_unreadable):
    """Returns the shape that all images will have, from their headers."""
    # The header of a broken picture may say anything.
    read = _read_whole if skip_unreadable else _read_header
    shape, channels = image_size and (image_size, image_size), 1
    for file in files:
        try:
            size, is_grey = read(file)
        except ValueError as error:
            if not skip_unreadable:
                raise _with_advice(error) from None
            continue
        channels = channels if is_grey else 3
        shape = shape or size
        if image_size is None:
            _check_size(file, size, shape)
    # Without a readable picture, any shape: decoding will find no image.
    return (*(shape or (1, 1)), channels)


def _read_header(file):
    try:
        with Image.open(file) as image:
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


def _read_whole(file):
    image = load_image(file)
    return (image.height, image.width), image.mode == "L"


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


def _check_size(name, size, expected):
    if tuple(size) != tuple(expected):
        raise ValueError(
            "Images must have one size, unless an image size is given. "
            f"Received: {name}, {size[1]} by {size[0]} pixels, after images of "
            f"{expected[1]} by {expected[0]}. Pass an image size."
        )


def _unreadable(file, error):
    return ValueError(f"Images must be readable. Received: {file}, {error}")


def _with_advice(error):
    return ValueError(
        f"{error}. Repair or remove it, or skip what is unreadable by "
        "--skip-unreadable (`skip_unreadable=True`)."
    )
