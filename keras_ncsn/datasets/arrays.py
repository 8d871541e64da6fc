"""Array files, .npy and .npz, as arrays that stay on disk."""

import bz2
import contextlib
import copy
import io
import lzma
import os
import pathlib
import struct
import zipfile
import zlib

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_regular
from keras_ncsn.files.archives import PIECE_BYTES, open_archive
from keras_ncsn.files.array_header import read_header
from keras_ncsn.files.scratch import NoRoomError, open_scratch
from keras_ncsn.text import one_line, reason

# The most memory for LZMA's dictionary. Its strongest preset takes a quarter.
DICTIONARY_BYTES = 2**28
# The images of an .npz file, and their labels.
NAMES = {"images": "labels", "x_train": "y_train", "x": "y"}


class _SizeError(ValueError):
    """The images do not have the size that is wanted."""


def load_arrays(path: StrPath, image_size: int | None = None) -> np.ndarray:
    """Returns the images in an array file, which stay on disk.

    The sizes that the file states are checked before any of it is unpacked.

    Args:
        path: Path of an `.npy` or `.npz` file. An `.npz` file must hold one
            array, or one named `images`, `x_train` or `x`, and is unpacked to
            a temporary file.
        image_size: Integer, the height and width that the images must have.
            Defaults to `None`, any.

    Returns:
        A read-only array of shape `(num_images, height, width, channels)`.
        Images without an axis for channels get one channel.
    """
    path = pathlib.Path(path)
    try:
        with open_regular(path) as file:
            images = (
                _map_member(file, path, image_size)
                if path.suffix == ".npz"
                else _map_array(file, path, image_size)
            )
    except (NoRoomError, _SizeError):
        raise
    # A broken file can make NumPy and zipfile raise any exception.
    except Exception as error:
        raise ValueError(
            f"Images must be readable. Received: {one_line(path)}, "
            f"{reason(error)}. Write the images again with `np.save` or "
            "`np.savez`."
        ) from None
    return images[..., None] if images.ndim == 3 else images


def load_labels(path: StrPath) -> np.ndarray:
    """Returns the labels beside the images of an `.npz` file.

    Args:
        path: Path of the file, in which `labels` (or `y_train`, `y`) stand
            beside `images` (or `x_train`, `x`).

    Returns:
        A read-only array of numbers, of shape `(num_images,)` or
        `(num_images, 1)`.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ValueError(
            "Labels must stand beside the images in an `.npz` file. Received: "
            f"{one_line(path)}. Write both: np.savez(path, images=images, "
            "labels=labels)."
        )
    try:
        with open_regular(path) as file, open_archive(file) as archive:
            images, member = _find_labels(archive)
            num_images = _header_of(archive, images).shape[:1]
            header = _header_of(archive, member)
            _check_type(header.dtype)
            # Before they are unpacked: they may claim to be many.
            if header.shape not in (num_images, (*num_images, 1)):
                raise ValueError(
                    f"it has labels of shape {header.shape} and images of "
                    f"shape {(*num_images, '...')}; there must be one label "
                    "for each image"
                )
            return _unpack(archive, member, header, path)
    except NoRoomError:
        raise
    # A broken file can make NumPy and zipfile raise any exception.
    except Exception as error:
        raise ValueError(
            f"Labels must be readable. Received: {one_line(path)}, "
            f"{reason(error)}. Write the file again with `np.savez`."
        ) from None


def _read_images_header(file, path, image_size):
    header = read_header(file)
    _check_type(header.dtype)
    _check_shape(header.shape)
    _check_size(header.shape, path, image_size)
    return header


def _map(file, header, offset):
    return np.memmap(
        file, header.dtype, "r", offset, header.shape, header.order
    )


def _check_type(dtype):
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if dtype.kind not in "biuf":
        raise ValueError(f"it must hold numbers, and holds {dtype}")


def _check_shape(shape):
    channels = shape[3:] or (1,)
    if len(shape) not in (3, 4) or min(shape) < 1 or channels[0] not in (1, 3):
        raise ValueError(
            "the array must have the shape (num_images, height, width) or "
            "(num_images, height, width, channels), with 1 or 3 channels, and "
            f"has the shape {shape}"
        )


def _check_size(shape, path, image_size):
    if image_size is not None and shape[1:3] != (image_size,) * 2:
        raise _SizeError(
            "`image_size` can resize pictures, but not arrays. Received: "
            f"image_size={image_size}, images of {shape[2]} by {shape[1]} "
            f"pixels in {one_line(path)}. Resize the arrays before you save "
            "them."
        )


def _map_array(file, path, image_size):
    header = _read_images_header(file, path, image_size)
    held = os.fstat(file.fileno()).st_size - header.offset
    if held < header.num_bytes:
        raise ValueError(
            f"it must hold the {header.num_bytes:,} bytes of its shape "
            f"{header.shape}, and holds {held:,}"
        )
    return _map(file, header, header.offset)


def _map_member(file, path, image_size):
    with open_archive(file) as archive:
        member = _find_member(archive)
        with _open_member(archive, member) as packed:
            header = _read_images_header(packed, path, image_size)
        return _unpack(archive, member, header, path)


def _unpack(archive, member, header, path):
    if member.file_size != header.offset + header.num_bytes:
        raise ValueError(
            f"it must hold the {header.num_bytes:,} bytes of its shape "
            f"{header.shape}, and holds {member.file_size - header.offset:,}"
        )
    with open_scratch(header.num_bytes, path) as scratch:
        with _open_member(archive, member) as packed:
            checksum = zlib.crc32(packed.read(header.offset))
            checksum = _copy(packed, scratch, header.num_bytes, checksum)
        if checksum != member.CRC:
            raise ValueError("its content must match its checksum")
        scratch.flush()
        return _map(scratch, header, 0)


def _members(archive):
    return {
        member.filename.removesuffix(".npy"): member
        for member in archive.infolist()
        if member.filename.endswith(".npy")
    }


def _find_labels(archive):
    members = _members(archive)
    pairs = [
        (members[images], members[labels])
        for images, labels in NAMES.items()
        if images in members and labels in members
    ]
    # The images are those of `load_arrays`.
    if not pairs or pairs[0][0] is not _find_member(archive):
        raise ValueError(
            "an .npz file must hold labels beside its images; it holds "
            f"{', '.join(members) or 'nothing'}"
        )
    return pairs[0]


def _header_of(archive, member):
    with _open_member(archive, member) as packed:
        return read_header(packed)


def _find_member(archive):
    members = _members(archive)
    wanted = [name for name in NAMES if name in members]
    if not wanted and len(members) != 1:
        raise ValueError(
            "an .npz file must hold one array, or one named images, "
            f"x_train or x; it holds {', '.join(members) or 'none'}"
        )
    return members[wanted[0]] if wanted else next(iter(members.values()))


@contextlib.contextmanager
def _open_member(archive, member):
    if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with archive.open(member) as file:
            yield file
        return
    # With other methods, zipfile unpacks a whole piece at once, which may
    # become gigabytes. So the packed bytes are read as if they were stored,
    # and `_Unpacked` limits what is unpacked.
    packed = copy.copy(member)
    packed.compress_type = zipfile.ZIP_STORED
    packed.file_size = packed.compress_size
    # The checksum is that of the unpacked bytes.
    del packed.CRC
    with archive.open(packed) as file:
        yield _Unpacked(file, _make_decompressor(member.compress_type, file))


def _make_decompressor(method, file):
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor()
    if method != zipfile.ZIP_LZMA:
        raise ValueError(
            "it must be stored, deflated, or packed by bzip2 or LZMA, and is "
            f"packed by method {method}"
        )
    # The member begins with a version, the length of LZMA's settings, and the
    # settings. An .lzma file begins with the same settings and a size, which is
    # unknown here.
    _, num_settings = struct.unpack("<HH", file.read(4))
    start = file.read(num_settings) + b"\xff" * 8
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, DICTIONARY_BYTES)
    decompressor.decompress(start, 0)
    return decompressor


class _Unpacked:
    """An unpacked file that never unpacks more than is asked for."""

    def __init__(self, file, decompressor):
        self._file = file
        self._decompressor = decompressor

    def read(self, size):
        pieces = []
        while size and not self._decompressor.eof:
            packed = b""
            if self._decompressor.needs_input:
                packed = self._file.read(io.DEFAULT_BUFFER_SIZE)
                if not packed:
                    break
            pieces.append(self._decompressor.decompress(packed, size))
            size -= len(pieces[-1])
        return b"".join(pieces)


def _copy(packed, scratch, num_bytes, checksum):
    """Returns the checksum of the unpacked bytes, after writing them."""
    left = num_bytes
    while left and (piece := packed.read(min(left, PIECE_BYTES))):
        scratch.write(piece)
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    return checksum
