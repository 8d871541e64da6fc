"""Temporary files, which vanish when nothing reads them any more."""

import shutil
import tempfile
from typing import IO

from keras_ncsn.annotations import StrPath
from keras_ncsn.text import one_line


class NoRoomError(OSError):
    """The disk has no room for a temporary file."""


def open_scratch(num_bytes: int, name: StrPath) -> IO[bytes]:
    """Opens a temporary file, if the disk has room for what it will hold.

    A file may claim to hold any size, so this is checked before any of it is
    unpacked or copied.

    Args:
        num_bytes: Integer, how many bytes will be written.
        name: Path of the file that they come from, for the message.

    Returns:
        A binary file for writing and reading, in the folder that `TMPDIR`
        names. A `NoRoomError` is raised if there is too little room.

    Example:

    >>> with open_scratch(5, "five.npz") as file:
    ...     file.write(b"bytes")
    5
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise NoRoomError(
            "The folder for temporary files must have room for what is read. "
            f"Received: {one_line(name)}, which needs {num_bytes:,} bytes, and "
            f"{folder}, with {free:,} bytes free. Set the environment variable "
            "TMPDIR to a folder on a larger disk."
        )
    return tempfile.TemporaryFile()
