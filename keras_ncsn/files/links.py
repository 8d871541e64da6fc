"""Links, which nothing is written through."""

import os
import pathlib
from collections.abc import Iterable

from keras_ncsn.annotations import StrPath
from keras_ncsn.text import one_line


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
