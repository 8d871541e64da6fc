"""Zip archives that other people made, read in pieces."""

import zipfile
from typing import IO

# Archives are read in pieces of at most this size. The directory must fit into
# one.
PIECE_BYTES = 2**20


class _Pieces:
    """A file for `zipfile` that never reads more than a piece at a time."""

    def __init__(self, file):
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.seekable = file.seekable

    def read(self, size=-1):
        # Only the directory is read at once, whatever its size.
        if size > PIECE_BYTES:
            raise ValueError(
                f"its directory must have at most {PIECE_BYTES:,} bytes, and "
                f"has {size:,}"
            )
        return self._file.read(size)


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Opens a zip archive whose directory may state any size.

    Args:
        file: A binary file that can seek.

    Returns:
        A `zipfile.ZipFile`. Its members must be opened, and read in pieces of
        at most `PIECE_BYTES`. A `ValueError` is raised if its directory is
        larger than that.
    """
    return zipfile.ZipFile(_Pieces(file))
