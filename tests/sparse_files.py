"""Archives of which most is a hole: they state much and take little room."""

import struct
import tracemalloc
import zlib

HOLE_BYTES = 2**28


def write_zip(path, members):
    """Writes an archive, of which each member may end in a hole.

    Args:
        path: Path of the file.
        members: Iterable of triples: name, bytes at the start, and the number
            of bytes of the hole after them.
    """
    directory = []
    with open(path, "wb") as file:
        for name, start, hole in members:
            name = name.encode()
            # A checksum of a hole takes long, and no reader gets that far.
            check = 0 if hole else zlib.crc32(start)
            sizes = (check, *[len(start) + hole] * 2, len(name))
            offset = file.tell()
            file.write(struct.pack("<4s5H3I2H", *local(sizes)) + name + start)
            file.seek(hole, 1)
            entry = (b"PK\1\2", 20, *local(sizes)[1:], *[0] * 4, offset)
            directory.append(struct.pack("<4s6H3I5H2I", *entry) + name)
        offset = file.tell()
        directory = b"".join(directory)
        file.write(directory)
        count = len(members)
        end = (b"PK\5\6", 0, 0, count, count, len(directory), offset, 0)
        file.write(struct.pack("<4s4H2IH", *end))


def local(sizes):
    return (b"PK\3\4", 20, 0, 0, 0, 0, *sizes, 0)


def write_directory(path, is_zip64=False):
    """Writes an archive whose directory is one hole."""
    with open(path, "wb") as file:
        file.write(b"PK\3\4")
        file.truncate(HOLE_BYTES)
        file.seek(HOLE_BYTES)
        counts = (0, 0, 1, 1)
        size = HOLE_BYTES - 4
        if is_zip64:
            end = (b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, 4)
            file.write(struct.pack("<4sQ2H2I4Q", *end))
            file.write(struct.pack("<4sIQI", b"PK\6\7", 0, HOLE_BYTES, 1))
            size = 2**32 - 1
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", *counts, size, 4, 0))


def peak_of(call):
    """Returns the most memory that a call takes, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
