"""Files that are opened only if they are regular files."""

import io
import os
import pathlib
import stat

from keras_ncsn.annotations import StrPath

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(
    path: StrPath, max_bytes: int | None = None
) -> io.BufferedReader:
    """Opens a regular file for reading bytes, and refuses any other kind.

    Opening a named pipe could block for ever, and a device may never end.

    Args:
        path: Path of the file, or of a link to it.
        max_bytes: Integer, the largest size in bytes. Defaults to `None`, no
            limit.

    Returns:
        A binary file. An `OSError` is raised if the file does not exist, is
        not a regular file, or is too large.

    Example:

    >>> open_regular(os.curdir)
    Traceback (most recent call last):
    ...
    OSError: it must be a regular file, and is a folder
    """
    descriptor = _open_descriptor(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        if max_bytes is not None and size > max_bytes:
            raise OSError(
                f"it must have at most {max_bytes:,} bytes, and has {size:,}"
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_to_append(path: StrPath) -> io.BufferedWriter:
    """Opens a regular file for adding bytes at its end, and follows no link.

    Args:
        path: Path of the file, which is created if it does not exist.

    Returns:
        A binary file. An `OSError` is raised for a link and for anything else
        that is not a regular file.

    Example:

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "log.txt")
    >>> with open_to_append(path) as file:
    ...     written = file.write(b"one more")
    >>> path.read_text()
    'one more'
    """
    if pathlib.Path(path).is_symlink():
        raise OSError("it must be a regular file, and is a link")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    # Windows lacks it.
    flags |= getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(_open_descriptor(path, flags), "ab")


def _open_descriptor(path, flags):
    """Returns a descriptor of a regular file; other kinds are refused."""
    flags |= getattr(os, "O_BINARY", 0)
    # Without O_NONBLOCK, opening a named pipe blocks.
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    descriptor = os.open(path, flags, 0o666)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise OSError(f"it must be a regular file, and is {kind}")


def read_regular(path: StrPath, max_bytes: int) -> bytes:
    """Returns the bytes of a regular file.

    Args:
        path: As in `open_regular`.
        max_bytes: As in `open_regular`.

    Returns:
        Bytes. An `OSError` is raised as in `open_regular`.
    """
    with open_regular(path, max_bytes) as file:
        return file.read(max_bytes)
