"""A preset in place of another: replaced, also if a process was killed."""

import contextlib
import os
import pathlib
import re

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import check_no_links, hidden_pattern
from keras_ncsn.presets import format


def leftovers(folder: StrPath) -> list[pathlib.Path]:
    """Returns the temporary folders that killed processes left beside a preset.

    Args:
        folder: Path of a preset, or of where one may be saved.

    Returns:
        A list of paths. Those that end in `.old` hold the previous preset. All
        have names that `saving.save` makes, and none is a link.
    """
    folder = pathlib.Path(folder)
    # As `saving.save` names them.
    name = re.compile(rf"{hidden_pattern(folder.name)}(\.old)?")
    if not folder.parent.is_dir():
        return []
    return sorted(
        path
        for path in folder.parent.iterdir()
        if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )


def check_place(folder: StrPath) -> None:
    """Raises a `ValueError` unless a preset can be saved after `recover`.

    Args:
        folder: Path of a preset, or of where one may be saved.
    """
    folder = pathlib.Path(folder)
    format.check_folder(folder)
    if folder.exists():
        return
    for left_over in leftovers(folder):
        if left_over.suffix == ".old":
            for path in _ends_of_replacement(left_over):
                format.check_folder(path)


def recover(folder: StrPath) -> None:
    """Cleans up after a process that was killed in `saving.save`.

    If it was killed while the new preset replaced the previous one, the
    replacement is completed. No other process may save there at the same time.

    Args:
        folder: Path of a preset, or of where one may be saved; not a link.
    """
    folder = pathlib.Path(folder)
    check_no_links(folder.parent, [folder.name])
    for left_over in leftovers(folder):
        if left_over.suffix == ".old":
            _complete(folder, left_over)
    for left_over in leftovers(folder):
        _remove(left_over)


def replace(folder: pathlib.Path, temporary: pathlib.Path) -> None:
    """Moves a new preset to its place, with a person's files of the old one.

    Args:
        folder: A `pathlib.Path`, the place, where a preset may be.
        temporary: A `pathlib.Path` beside it, the new preset.
    """
    if not folder.exists():
        temporary.rename(folder)
        return
    # A folder cannot be renamed over a folder that is not empty. So the old one
    # is moved aside. If the new one cannot take its place, it is moved back.
    aside = temporary.with_name(temporary.name + ".old")
    kept = _kept(folder, temporary)
    folder.rename(aside)
    try:
        _move(kept, aside, temporary)
        temporary.rename(folder)
    except BaseException:
        _move(kept, temporary, aside)
        aside.rename(folder)
        raise
    _remove(aside)


def _complete(folder, aside):
    """Completes `replace` after its process was killed."""
    for path in _ends_of_replacement(aside):
        if path not in leftovers(folder):
            continue
        if not folder.exists():
            path.rename(folder)
        elif folder.is_dir():
            _move(_kept(path, folder), path, folder)


def _ends_of_replacement(aside):
    """Returns the paths of the new and of the previous preset."""
    return aside.with_suffix(""), aside


def _kept(old, new):
    """Returns the names in an old preset that a person added, such as a card.

    They are moved to the new preset unchanged. Copying could take for ever, or
    fill the disk.
    """
    # A card that is a link could lead out of the preset. Such a preset is
    # refused.
    linked = (old / format.CARD_FILE).is_symlink()
    return [
        name
        for name in os.listdir(old)
        if not format.is_part(name)
        and not (linked and name == format.CARD_FILE)
        and not os.path.lexists(new / name)
    ]


def _move(names, old, new):
    for name in names:
        if os.path.lexists(old / name):
            os.rename(old / name, new / name)


def _remove(folder):
    """Removes a folder and its files. It stays if it holds a folder."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_symlink() or not path.is_dir():
                path.unlink()
        folder.rmdir()
