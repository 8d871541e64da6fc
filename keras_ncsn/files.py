"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib


@contextlib.contextmanager
def open_whole(path):
    """Opens a file for bytes that takes its place when it is complete.

    What was there before stays until then, and for good where writing fails
    or the process dies.

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
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
