"""Files: written completely or not at all, and opened only if regular."""

import contextlib
import io
import os
import pathlib
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from keras_ncsn.annotations import StrPath
from keras_ncsn.text import one_line

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_MAX_START = 240


@contextlib.contextmanager
def open_whole(path: StrPath) -> Iterator[BinaryIO]:
    """Opens a binary file that appears at `path` when it is complete.

    Until then, an existing file stays there. It also stays if writing fails
    or the process dies. A link at `path` is replaced, never followed.

    Args:
        path: Path of the file.

    Yields:
        A binary file.

    Example:

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "notes.txt")
    >>> with open_whole(path) as file:
    ...     written = file.write(b"all of it")
    >>> path.read_text()
    'all of it'
    """
    path = pathlib.Path(path)
    # A random name and mode "x": a file or link that already has this name
    # is an error, and is never written to.
    start = hidden_start(path.name)
    temporary = path.with_name(f"{start}{secrets.token_hex(4)}.tmp")
    file = open(temporary, "xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # Windows neither renames nor removes an open file.
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def hidden_start(name: str) -> str:
    """Returns how the names of temporary files beside a file start.

    Args:
        name: String, the name of the file, or of a folder.

    Returns:
        A string. It leaves room for 13 characters: a name has at most 255
        bytes on most disks.

    Example:

    >>> hidden_start("notes.txt")
    '.notes.txt.'
    """
    whole = os.fsencode(name)
    if len(whole) > _MAX_START:
        name = whole[:_MAX_START].decode("utf-8", "ignore")
    return f".{name}."


def leftovers(path: StrPath) -> list[pathlib.Path]:
    """Returns the temporary files that killed processes left beside a file.

    Args:
        path: Path of a file that `open_whole` writes.

    Returns:
        A list of paths, with names as `open_whole` makes them.
    """
    path = pathlib.Path(path)
    start = re.escape(hidden_start(path.name))
    name = re.compile(rf"{start}[0-9a-f]{{8}}\.tmp")
    if not path.parent.is_dir():
        return []
    return sorted(x for x in path.parent.iterdir() if name.fullmatch(x.name))


def remove_leftovers(path: StrPath) -> None:
    """Removes the temporary files that killed processes left beside a file.

    No other process may be writing the file at the same time.

    Args:
        path: Path of a file that `open_whole` writes.
    """
    for left_over in leftovers(path):
        # A folder with such a name is not ours.
        if left_over.is_symlink() or left_over.is_file():
            left_over.unlink(missing_ok=True)


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


def check_no_links(folder: StrPath, names: Iterable[str] | None = None) -> None:
    """Raises a `ValueError` if a name in a folder is a link.

    This keeps everything that is written to the folder inside it.

    Args:
        folder: Path of the folder, which may itself be a link.
        names: Iterable of strings, the names that will be written. Defaults to
            `None`, all that the folder holds.
    """
    if names is None:
        names = os.listdir(folder) if os.path.isdir(folder) else ()
    for name in names:
        path = pathlib.Path(folder, name)
        if path.is_symlink():
            raise ValueError(
                f"`{one_line(name)}` must not be a link, because it will be "
                "written. "
                f"Received: {one_line(path)}, a link to "
                f"{one_line(os.readlink(path))}. Remove the link, or choose "
                "another folder."
            )
