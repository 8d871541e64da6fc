"""Scratch files: on disk while somebody reads them, and then gone."""

import shutil
import tempfile

from keras_ncsn.text import one_line


class NoRoomError(OSError):
    """The disk has no room for what a file states that it holds."""


def open_scratch(num_bytes, name):
    """Opens a file without a name, if the disk has room for what it will hold.

    Whoever made the file that is unpacked may state any size, so this comes
    before any of it is unpacked.

    Args:
        num_bytes: Integer, how much will be written.
        name: Path of what is unpacked, for the message.

    Returns:
        A binary file for writing and reading, in the folder that `TMPDIR`
        names. A `NoRoomError` says if that has too little room.

    Example:

    >>> with open_scratch(5, "five.npz") as file:
    ...     file.write(b"bytes")
    5
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise NoRoomError(
            "The folder for temporary files must have room for the images. "
            f"Received: {one_line(name)}, of {num_bytes:,} bytes when "
            f"unpacked, and {folder}, with {free:,} bytes free. Name a folder "
            "of a larger disk by the environment variable TMPDIR."
        )
    return tempfile.TemporaryFile()
