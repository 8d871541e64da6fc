"""Pictures, masks and arrays that somebody made to do harm, or that broke."""

import contextlib
import functools
import inspect
import io
import os
import shutil
import socket
import struct
import sys
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from fuzzing import few_or_many, fuzz, mutations
from hypothesis import given
from PIL import EpsImagePlugin, Image, ImageFile
from sparse_files import write_directory

from keras_ncsn import datasets
from keras_ncsn.cli.files import read_image, read_mask
from keras_ncsn.datasets import arrays, named_sets, pictures

pytestmark = pytest.mark.usefixtures("alarm")

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), "uint8")


def read_folder_of(path, **kwargs):
    return pictures.load_folder(path.parent, **kwargs)


def skip_in_folder(path):
    Image.fromarray(PIXELS).save(path.parent / "z.png")
    with pytest.warns(UserWarning, match="Skipped 1 of 2"):
        read_folder_of(path, skip_unreadable=True)
    raise ValueError(f"{path} was skipped")


PICTURE_READERS = [
    datasets.load_image,
    read_folder_of,
    skip_in_folder,
    lambda path: read_image(path, (8, 8, 3)),
    lambda path: read_mask(path, (8, 8, 1)),
    lambda path: read_mask(str(path), (8, 8, 1)),
]
pictures_read = pytest.mark.parametrize("read", PICTURE_READERS)


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program of this name that leaves a trace; returns the trace."""
    program = tmp_path / "programs" / "gs"
    program.parent.mkdir()
    trace = tmp_path / "started"
    program.write_text(f"#!/bin/sh\necho started > '{trace}'\n")
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    # Pillow looks for it once.
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return trace


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
# A DOS header, and the same text where it says.
DOS_POSTSCRIPT = struct.pack("<IIII", 0xC6D3D0C5, 32, len(POSTSCRIPT), 0)


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.tiff"])
@pytest.mark.parametrize(
    "content", [POSTSCRIPT, DOS_POSTSCRIPT + b"\0" * 16 + POSTSCRIPT]
)
@pictures_read
def test_pictures_start_no_program(tmp_path, ghostscript, name, content, read):
    path = tmp_path / "pictures" / name
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name):
        read(path)
    assert not ghostscript.exists()


def test_images_of_sets_start_no_program(tmp_path, ghostscript):
    with open(tmp_path / "stream", "w+b") as stream:
        with pytest.raises(ValueError, match="set image 0.* PNG, JPEG"):
            pictures.store_images(
                [("set image 0", io.BytesIO(POSTSCRIPT))], stream, (8, 8, 3)
            )
    assert not ghostscript.exists()


@pytest.mark.parametrize(
    "kind", ["PPM", "ICO", "TGA", "PCX", "SGI", "DDS", "PSD", "FITS"]
)
@pictures_read
def test_other_formats_are_refused(tmp_path, kind, read):
    headers = {
        "PSD": struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 8, 8, 8, 3)
        + bytes(12 + 2 + 192),
        "FITS": b"".join(
            card.ljust(80)
            for card in (
                b"SIMPLE  =                    T",
                b"BITPIX  =                    8",
                b"NAXIS   =                    2",
                b"NAXIS1  =                    8",
                b"NAXIS2  =                    8",
                b"END",
            )
        ).ljust(2880)
        + bytes(2880),
    }
    path = tmp_path / "a.png"
    if kind in headers:
        path.write_bytes(headers[kind])
    else:
        Image.fromarray(PIXELS).save(path, kind)
    with Image.open(path) as picture:
        assert picture.format == kind
    with pytest.raises(ValueError, match=r"a\.png"):
        read(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "MPO", "BMP", "GIF", "TIFF"])
def test_the_content_of_a_picture_decides_its_format(tmp_path, kind):
    picture, more = Image.fromarray(PIXELS), {}
    if kind == "MPO":
        # What some cameras name .jpg: a second picture follows the first.
        more = {"save_all": True, "append_images": [picture]}
    picture.save(tmp_path / "a.webp", kind, **more)
    assert pictures.load_folder(tmp_path).shape == (1, 8, 8, 3)


def named_pipe(path):
    os.mkfifo(path)


def link_to_named_pipe(path):
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


def link_to_device(path):
    path.symlink_to("/dev/zero")


def link_to_terminal(path):
    path.symlink_to("/dev/tty")


def listening_socket(path):
    # Addresses of sockets are short.
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def link_to_itself(path):
    path.symlink_to(path.name)


ODD_KINDS = [
    named_pipe,
    link_to_named_pipe,
    link_to_device,
    link_to_terminal,
    listening_socket,
    link_to_itself,
]
odd_kinds = pytest.mark.parametrize("make", ODD_KINDS)


@odd_kinds
@pictures_read
def test_irregular_picture_files_are_refused_without_waiting(
    tmp_path, make, read
):
    make(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png"):
        read(tmp_path / "a.png")


@odd_kinds
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("read", [datasets.load_arrays, datasets.load_images])
def test_irregular_array_files_are_refused_without_waiting(
    tmp_path, make, name, read
):
    make(tmp_path / name)
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "read",
    [
        datasets.load_image,
        datasets.load_arrays,
        lambda path: read_mask(path, (8, 8, 1)),
    ],
)
def test_a_folder_in_place_of_a_file_is_refused(tmp_path, read):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ValueError, match=r"a\.png, .*regular file.*a folder"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["\x1b[2J.png", "a\nError: b.png", "\u202egnp.a.png", "\udc9b.png"]
)
@pytest.mark.parametrize(
    "read", [read for read in PICTURE_READERS if read is not skip_in_folder]
)
def test_names_of_pictures_send_no_control_characters(tmp_path, name, read):
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match="png") as caught:
        read(tmp_path / name)
    message = str(caught.value)
    assert message.isprintable()
    message.encode()


def test_names_of_skipped_pictures_send_no_control_characters(tmp_path):
    (tmp_path / "a\x1b[2J\n.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="At least one") as caught:
        pictures.load_folder(tmp_path, skip_unreadable=True)
    assert str(caught.value).isprintable()
    Image.fromarray(PIXELS).save(tmp_path / "good.png")
    with pytest.warns(UserWarning, match="Skipped 1 of 2") as caught:
        pictures.load_folder(tmp_path, skip_unreadable=True)
    assert str(caught[0].message).isprintable()
    Image.new("L", (9, 9)).save(tmp_path / "h\x1b[2J.png")
    with pytest.raises(ValueError, match="Pass an image size") as caught:
        pictures.load_folder(tmp_path, skip_unreadable=True)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("skip", [False, True])
def test_folders_nested_without_end_are_named(tmp_path, monkeypatch, skip):
    monkeypatch.chdir(tmp_path)
    for _ in range(300):
        os.mkdir("d")
        os.chdir("d")
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    # Python's own limit takes a thousand folders, which are slow to make.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        # From Python 3.12 on, no depth is too much.
        with contextlib.suppress(ValueError):
            pictures.load_folder(tmp_path, skip_unreadable=skip)
    finally:
        sys.setrecursionlimit(limit)


def test_large_photographs_are_read_and_bombs_are_not(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    # Pillow warns beyond its limit, and refuses beyond twice that.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.warns(Image.DecompressionBombWarning):
        assert pictures.load_folder(tmp_path, 4).shape == (1, 4, 4, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 31)
    for read in (datasets.load_image, read_folder_of):
        with pytest.raises(ValueError, match=r"a\.png, .*exceeds limit"):
            read(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png, .*exceeds limit"):
        read_mask(tmp_path / "a.png", (8, 8, 1))


def png_of(width, height):
    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (2**30, 2), (0, 0)])
@pictures_read
def test_pictures_that_state_any_size_are_refused(tmp_path, size, read):
    (tmp_path / "a.png").write_bytes(png_of(*size))
    with pytest.raises(ValueError, match=r"a\.png"):
        read(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_another_size_is_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png_of(13300, 13300))
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(ValueError, match=r"preset asks for.*13300 by 13300\."):
        read_image(path, (8, 8, 3))
    with pytest.raises(ValueError, match=r"size of the.*13300 by 13300\."):
        read_mask(path, (8, 8, 1))


def test_a_picture_that_is_rotated_by_exif_is_read(tmp_path):
    # Its width and height change places when it is decoded.
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = Image.fromarray(PIXELS[:4])
    picture.save(tmp_path / "a.png", exif=turned)
    assert picture.size == (8, 4)
    image = read_image(tmp_path / "a.png", (8, 4, 3))
    np.testing.assert_array_equal(image, np.rot90(PIXELS[:4], -1))
    with pytest.raises(ValueError, match=r"the preset asks for.*, 4 by 8\."):
        read_image(tmp_path / "a.png", (4, 8, 3))


def give_room(monkeypatch, num_bytes):
    usage = (2**40, 2**40 - num_bytes, num_bytes)
    kind = type(shutil.disk_usage(os.curdir))
    monkeypatch.setattr("shutil.disk_usage", lambda path: kind(*usage))


def test_folders_larger_than_the_disk_are_refused_at_once(
    tmp_path, monkeypatch
):
    for index in range(9):
        (tmp_path / f"{index}.png").write_bytes(png_of(9000, 9000))
    give_room(monkeypatch, 8 * 9000**2)
    with pytest.raises(OSError, match="room.* 729,000,000 .*TMPDIR"):
        pictures.load_folder(tmp_path)


def test_folders_that_fit_are_read(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    give_room(monkeypatch, 8 * 8 * 3)
    assert len(pictures.load_folder(tmp_path)) == 1
    (tmp_path / "b.png").write_bytes(png_of(9000, 9000))
    with pytest.warns(UserWarning, match="Skipped 1 of 2"):
        assert len(pictures.load_folder(tmp_path, None, True)) == 1


def npy(header, data=b"", version=(1, 0)):
    """An array file with any header."""
    header = header.encode("latin1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header + data


def stated(shape="(3, 4, 4, 1)", dtype="|u1", order="False"):
    return f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': {shape}}}"


def packed(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


HEADERS = {
    "unclosed": "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4",
    "unclosed_string": "{'descr': '''|u1",
    "nested": "(" * 9000,
    "nested_lists": "[" * 150 + "]" * 150,
    "signs": "-" * 9000 + "1",
    "nul": "\0",
    "no_dict": "1",
    "no_keys": "{}",
    "long_number": stated(f"({'9' * 5000},)"),
    "large": stated("(3, 4, 4, 1)" + " " * 20000),
    "overflowing": stated("(4611686018427387904, 4, 4, 1)"),
    "beyond_64_bits": stated(f"({2**70}, 4, 4, 1)"),
    "overflow_to_nothing": stated(f"({2**32}, {2**32}, 1, 1)"),
    "overflow_and_zero": stated(f"({2**70}, 0, 4, 1)"),
    "negative": stated("(-3, 4, 4, -1)"),
    "two_negatives": stated("(-3, -4, 4, 1)"),
    "empty": stated("(0, 4, 4, 1)"),
    "flat": stated("(3, 0, 4, 1)"),
    "truths": stated("(True, 4, 4, 3)"),
    "many": stated("(1,) * 99"),
    "of_many_dimensions": stated(f"({'1, ' * 99})"),
    "floats": stated("(3.0, 4, 4, 1)"),
    "too_large": stated("(4, 4, 4, 1)"),
    "too_large_in_columns": stated("(4, 4, 4, 1)", order="True"),
    "objects": stated(dtype="|O"),
    "nothing": stated(dtype="|V0"),
    "text": stated("(3, 4, 4)", dtype="<U0"),
    "bytes": stated(dtype="|S1"),
    "void": stated(dtype="|V1"),
    "dates": stated("(1, 2, 3, 1)", dtype="<M8[s]"),
    "complex": stated("(1, 2, 3, 1)", dtype="<c8"),
    "wide_items": stated(dtype="|V2147483647"),
    "no_type": stated(dtype="nonsense"),
    "a_function": "__import__('os').abort()",
}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (4, 7)])
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.filterwarnings("ignore")
def test_headers_that_lie_are_refused(tmp_path, header, version):
    content = npy(header, IMAGES.tobytes(), version)
    (tmp_path / "a.npy").write_bytes(content)
    (tmp_path / "a.npz").write_bytes(packed({"images.npy": content}))
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        with pytest.raises(ValueError, match=f"readable.*{path.name}") as error:
            datasets.load_arrays(path)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 900
        assert "MemoryError" not in str(error.value)


@pytest.mark.parametrize(
    "header", ["too_large", "overflowing", "overflow_to_nothing", "truths"]
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_shapes_are_compared_with_the_size_of_the_data(
    tmp_path, header, is_packed
):
    # Of the truths one byte is missing.
    content = npy(HEADERS[header], IMAGES.tobytes()[1:])
    path = tmp_path / ("a.npz" if is_packed else "a.npy")
    path.write_bytes(packed({"a.npy": content}) if is_packed else content)
    with pytest.raises(ValueError, match=r"must hold the [\d,]+ bytes of its"):
        datasets.load_arrays(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("is_packed", [False, True])
def test_headers_that_do_not_lie_are_read(tmp_path, version, is_packed):
    content = npy(stated() + " " * 70 + "\n", IMAGES.tobytes(), version)
    path = tmp_path / ("a.npz" if is_packed else "a.npy")
    path.write_bytes(packed({"a.npy": content}) if is_packed else content)
    np.testing.assert_array_equal(datasets.load_arrays(path), IMAGES)


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1))
        # All of it a hole.
        file.truncate(2**33)
    assert peak_of(path) < 2**20


def peak_of(path):
    """The memory that it takes to refuse an array file."""
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"must be readable.*{path.name}"):
        datasets.load_arrays(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# A piece of an archive, some copies of it, and a small dictionary of LZMA.
FEW_BYTES = 2**25
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def saved(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@methods
@pytest.mark.parametrize("order", ["C", "F"])
def test_archives_of_all_compression_methods_are_read(tmp_path, method, order):
    # Of more than one of the pieces in which they are unpacked.
    images = np.random.default_rng(0).random((10, 128, 128, 1))
    content = saved(np.asarray(images, order=order))
    (tmp_path / "a.npz").write_bytes(packed({"x.npy": content}, method))
    read = datasets.load_arrays(tmp_path / "a.npz")
    assert isinstance(read, np.memmap)
    np.testing.assert_array_equal(read, images)


@functools.cache
def bomb(method):
    return packed({"x.npy": saved(IMAGES) + bytes(2**26)}, method)


@methods
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, method):
    (tmp_path / "a.npz").write_bytes(bomb(method))
    assert peak_of(tmp_path / "a.npz") < FEW_BYTES


def understated(archive, size):
    """An archive that states another size than it unpacks to."""
    content = bytearray(archive)
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", size)
    return bytes(content)


@methods
@pytest.mark.parametrize("change", [-1, 0, 1, 2**31])
def test_sizes_that_lie_are_refused(tmp_path, method, change):
    good = saved(IMAGES)
    # More than it states, much more, or less.
    archive = bomb(method) if change == 0 else packed({"x.npy": good}, method)
    (tmp_path / "a.npz").write_bytes(understated(archive, len(good) + change))
    assert peak_of(tmp_path / "a.npz") < FEW_BYTES


@methods
def test_a_size_and_a_header_that_both_lie_are_refused(tmp_path, method):
    header = npy(stated("(1000000, 32, 32, 1)"), b"")
    archive = packed({"x.npy": header + bytes(99)}, method)
    content = understated(archive, len(header) + 1024 * 10**6)
    (tmp_path / "a.npz").write_bytes(content)
    assert peak_of(tmp_path / "a.npz") < FEW_BYTES


def test_archives_larger_than_the_disk_are_not_unpacked(tmp_path, monkeypatch):
    images = np.zeros((50, 32, 32, 1), "uint8")
    np.savez_compressed(tmp_path / "a.npz", images)
    give_room(monkeypatch, images.nbytes - 1)
    with pytest.raises(OSError, match=r"room.*a\.npz.* 51,200 .*TMPDIR"):
        datasets.load_arrays(tmp_path / "a.npz")
    give_room(monkeypatch, images.nbytes)
    assert len(datasets.load_arrays(tmp_path / "a.npz")) == 50


@methods
def test_arrays_of_another_size_are_not_unpacked(tmp_path, monkeypatch, method):
    (tmp_path / "a.npz").write_bytes(packed({"x.npy": saved(IMAGES)}, method))
    (tmp_path / "a.npy").write_bytes(saved(IMAGES))
    monkeypatch.setattr(arrays, "open_scratch", None)
    for name in ("a.npz", "a.npy"):
        with pytest.raises(
            ValueError,
            match=f"^`image_size` can resize .*image_size=5.* 4 by 4 .*{name}",
        ):
            datasets.load_images(tmp_path / name, image_size=5)


@pytest.mark.parametrize("is_zip64", [False, True])
def test_a_directory_of_gigabytes_is_not_read(tmp_path, is_zip64):
    write_directory(tmp_path / "a.npz", is_zip64)
    assert peak_of(tmp_path / "a.npz") < FEW_BYTES


def encrypted(content):
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + flags] |= 1


def unknown_method(content):
    for signature, method in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(signature) + method] = 77


def newer_zip(content):
    content[content.index(b"PK\1\2") + 6] = 99


def another_name(content):
    place = content.index(b"PK\3\4") + 30
    content[place : place + 1] = b"\x1b"


def damaged_data(content):
    place = content.index(b"PK\1\2") - 30
    content[place : place + 20] = bytes(range(20))


def wrong_checksum(content):
    content[content.index(b"PK\1\2") + 16] ^= 1


@methods
@pytest.mark.parametrize(
    "change",
    [
        encrypted,
        unknown_method,
        newer_zip,
        another_name,
        damaged_data,
    ],
)
def test_archives_that_cannot_be_read_are_named(tmp_path, method, change):
    content = bytearray(packed({"x.npy": saved(IMAGES)}, method))
    change(content)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"must be readable.*a\.npz") as error:
        datasets.load_arrays(tmp_path / "a.npz")
    assert str(error.value).isprintable()


@methods
def test_checksums_are_compared(tmp_path, method):
    content = bytearray(packed({"x.npy": saved(IMAGES)}, method))
    wrong_checksum(content)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"readable.*a\.npz, .*(CRC|checksum)"):
        datasets.load_arrays(tmp_path / "a.npz")


def test_a_compression_dictionary_of_gigabytes_is_not_allocated(tmp_path):
    content = bytearray(packed({"x.npy": saved(IMAGES)}, zipfile.ZIP_LZMA))
    # After the local header and name, a version, a length, and one setting.
    place = 30 + len("x.npy") + 4 + 1
    assert content[place : place + 4] == struct.pack("<I", 2**23)
    content[place : place + 4] = struct.pack("<I", 2**31)
    (tmp_path / "a.npz").write_bytes(content)
    assert peak_of(tmp_path / "a.npz") < FEW_BYTES


@methods
def test_truncated_archives_are_refused(tmp_path, method):
    content = saved(np.random.default_rng(0).random((9, 32, 32, 1)))
    content = bytearray(packed({"x.npy": content}, method))
    # As the directory states it, so that only the data end too early.
    directory = content.rindex(b"PK\1\2")
    size = struct.unpack_from("<I", content, directory + 20)[0]
    struct.pack_into("<I", content, directory + 20, size // 2)
    (tmp_path / "a.npz").write_bytes(content)
    assert peak_of(tmp_path / "a.npz") < FEW_BYTES


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "\x1b[2J\n.npy"])
def test_names_in_archives_are_not_used_as_paths(tmp_path, name):
    path = tmp_path / "inner" / "a.npz"
    path.parent.mkdir()
    path.write_bytes(packed({name: saved(IMAGES)}))
    np.testing.assert_array_equal(datasets.load_arrays(path), IMAGES)
    path.write_bytes(packed({name: saved(IMAGES), "b.npy": saved(IMAGES)}))
    with pytest.raises(ValueError, match="one named images") as error:
        datasets.load_arrays(path)
    assert str(error.value).isprintable()
    assert [x.name for x in tmp_path.iterdir()] == ["inner"]
    assert [x.name for x in path.parent.iterdir()] == ["a.npz"]


def test_many_names_in_archives_give_a_short_message(tmp_path):
    files = {f"{index}.npy": b"" for index in range(9999)}
    (tmp_path / "a.npz").write_bytes(packed(files))
    with pytest.raises(ValueError, match="one named images") as error:
        datasets.load_arrays(tmp_path / "a.npz")
    assert len(str(error.value)) < 900


@pytest.mark.parametrize(
    "make",
    [
        *ODD_KINDS,
        lambda path: path.write_bytes(npy(HEADERS["unclosed"])),
        lambda path: path.write_bytes(npy(stated("(9, 9, 9, 9)"))),
    ],
)
def test_an_invalid_cache_of_a_set_is_ignored(tmp_path, make):
    (tmp_path / named_sets.INFO_FILE).write_text("{}")
    os.utime(tmp_path / named_sets.INFO_FILE, (1, 1))
    make(tmp_path / "kept.npy")
    kept = named_sets._read_cache(tmp_path / "kept.npy", (3, 4, 4, 1), tmp_path)
    assert kept is None


def test_the_cache_of_a_set_is_written_through_no_link(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("mine")
    path = tmp_path / "kept" / "a.npy"
    path.parent.mkdir()
    links = [f".a.npy.{os.getpid()}", ".a.npy.guess", "a.npy"]
    for name in links:
        (path.parent / name).symlink_to(tmp_path / "secret")
    # Not ours, and no reason to give up.
    (path.parent / ".a.npy.0123").mkdir()
    os.utime(path.parent / ".a.npy.0123", (0, 0))
    (path.parent / ".a.npy.4567").symlink_to("nowhere")

    def store(stream):
        stream.write(IMAGES.tobytes())
        stream.flush()
        return IMAGES

    # As if somebody guessed it.
    with monkeypatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda num_bytes: "guess")
        named_sets._write_cache(path, IMAGES.shape, store)
    assert (tmp_path / "secret").read_text() == "mine"
    named_sets._write_cache(path, IMAGES.shape, store)
    assert (tmp_path / "secret").read_text() == "mine"
    np.testing.assert_array_equal(np.load(path), IMAGES)
    assert not path.is_symlink()


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def transparent():
    buffer = io.BytesIO()
    palette = Image.fromarray(PIXELS).convert("P")
    palette.save(buffer, "PNG", transparency=bytes(range(256)))
    return buffer.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


PICTURES = {
    "a.png": encoded("PNG"),
    "palette.png": transparent(),
    "a.jpg": turned(),
    "a.gif": encoded("GIF"),
    "a.webp": encoded("WEBP"),
    "a.bmp": encoded("BMP"),
    "a.tiff": encoded("TIFF"),
    "packed.tiff": encoded("TIFF", compression="tiff_lzw"),
}
ARRAYS = {
    "a.npy": saved(IMAGES),
    **{
        f"{name}.npz": packed({"images.npy": saved(IMAGES)}, method)
        for name, method in METHODS.items()
    },
}


def read_or_refuse(read, folder, name, content):
    path = folder / name
    path.write_bytes(content)
    with warnings.catch_warnings(), contextlib.suppress(ValueError):
        # As a user has it: of some damage Pillow only warns.
        warnings.simplefilter("ignore")
        np.asarray(read(path)).sum()
    path.unlink()


@few_or_many
@pytest.mark.parametrize("name", PICTURES)
def test_damaged_pictures_are_read_or_refused(tmp_path, name, num_cases):
    @fuzz(num_cases)
    @given(mutations(PICTURES[name]))
    def check(content):
        read_or_refuse(datasets.load_image, tmp_path, name, content)
        read_or_refuse(read_folder_of, tmp_path, name, content)
        read_or_refuse(
            lambda path: read_mask(path, (8, 8, 1)), tmp_path, name, content
        )

    check()


@few_or_many
@pytest.mark.parametrize("name", ARRAYS)
def test_damaged_arrays_are_read_or_refused(tmp_path, name, num_cases):
    @fuzz(num_cases)
    @given(mutations(ARRAYS[name]))
    def check(content):
        read_or_refuse(datasets.load_arrays, tmp_path, name, content)

    check()


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_picture_files_above_the_largest_size_are_refused(tmp_path, start):
    with open(tmp_path / "a.png", "wb") as file:
        file.write(start)
        file.truncate(2**34)
    with pytest.raises(ValueError, match="must have at most 268,435,456 bytes"):
        datasets.load_image(tmp_path / "a.png")
