"""The folder of a run: what it may hold, looked at before training begins."""

import pathlib
import re

from keras_ncsn.annotations import StrPath
from keras_ncsn.callbacks.log_file import LOG_FILE, read_log
from keras_ncsn.callbacks.training_state import STATE_FILE
from keras_ncsn.files import check_no_links
from keras_ncsn.hub import addresses
from keras_ncsn.presets import recovery
from keras_ncsn.text import one_line

RUN_FILE = "run.json"
LOCK_FILE = ".lock"
# All that a run writes into its folder.
FILES = (RUN_FILE, LOCK_FILE, STATE_FILE, LOG_FILE)
PRESETS = ("last", "best")
FOLDERS = ("samples", "tensorboard")
# As `SamplePictures` names them.
_PICTURE = re.compile(r"\d{7,}\.png")


def check_links(folder: StrPath) -> None:
    """Raises a `ValueError` if a run would read or write through a link.

    Args:
        folder: Path of the run's folder.
    """
    check_no_links(folder, FILES + PRESETS + FOLDERS)
    # TensorBoard names its files itself.
    check_no_links(pathlib.Path(folder, "tensorboard"))


def check_contents(folder: StrPath, num_steps: int) -> None:
    """Raises a `ValueError` unless a run can write over what a folder holds.

    Args:
        folder: Path of the run's folder.
        num_steps: Integer, the steps of the run, the most that its log has.
    """
    folder = pathlib.Path(folder)
    check_links(folder)
    for names, kind in ((FILES, "file"), (FOLDERS, "folder")):
        for name in names:
            path = folder / name
            is_one = path.is_file() if kind == "file" else path.is_dir()
            if path.exists() and not is_one:
                raise ValueError(
                    f"`{name}` in the folder of a run must be a {kind}. "
                    f"Received: {path}, which is none. Remove it, or choose "
                    "another folder."
                )
    for name in PRESETS:
        recovery.check_place(folder / name)
    _check_pictures(folder / "samples")
    for _ in read_log(folder / LOG_FILE, num_steps):
        pass


def _check_pictures(folder):
    for path in folder.iterdir() if folder.is_dir() else ():
        if _PICTURE.fullmatch(path.name) and not path.is_file():
            raise ValueError(
                f"`{path.name}` in the folder of a run must be a file. "
                f"Received: {one_line(path)}, which is none. Remove it, or "
                "choose another folder."
            )


def check_not_from_hub(folder: StrPath, from_preset: str | None) -> None:
    """Raises a `ValueError` for a run without a checkpoint, of a Hub's preset.

    Resuming asks no Hub: anyone may have written the address, and the token
    is the user's.

    Args:
        folder: Path of the run's folder.
        from_preset: String, the preset that the run began from, or `None`.
    """
    if from_preset is None or not from_preset.startswith(addresses.PREFIX):
        return
    raise ValueError(
        "A run that began from a preset on the Hub must be resumed from its "
        f"own checkpoint. Received: {folder}, without `{STATE_FILE}` and "
        "`last`. Nothing is lost: start again in another folder, with "
        "--from-preset."
    )
