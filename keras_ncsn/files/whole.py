"""Files that are written completely or not at all."""

import contextlib
import os
import pathlib
import re
import secrets
from collections.abc import Iterator
from typing import BinaryIO

from keras_ncsn.annotations import StrPath

# Most disks allow names of 255 bytes, of which the rest takes up to 15.
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
    temporary = path.with_name(f"{hidden_name(path.name)}.tmp")
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


def hidden_name(name: str) -> str:
    """Returns a new name for a temporary file or folder beside another.

    Args:
        name: String, the name of the other.

    Returns:
        A string. It leaves room for four characters: a name has at most 255
        bytes on most disks.
    """
    return f"{_hidden_start(name)}{secrets.token_hex(4)}"


def hidden_pattern(name: str) -> str:
    """Returns a regular expression for the names that `hidden_name` makes.

    Args:
        name: String, as in `hidden_name`.

    Returns:
        A string.

    Example:

    >>> bool(re.fullmatch(hidden_pattern("a.txt"), hidden_name("a.txt")))
    True
    """
    return f"{re.escape(_hidden_start(name))}[0-9a-f]{{8}}"


def _hidden_start(name):
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
    name = re.compile(rf"{hidden_pattern(path.name)}\.tmp")
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
