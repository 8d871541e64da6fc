"""The table of losses that a run writes, `log.csv`."""

import csv
import io
import math
import pathlib

from keras_ncsn.files import open_regular, open_whole
from keras_ncsn.text import reason

LOG_FILE = "log.csv"
# A row has some hundred bytes; a run of a million rows fits.
MAX_LOG_BYTES = 2**28
# As in `training_state`: optimizers count in 32 bits.
MAX_STEPS = 2**31 - 1


def read_log(path, needed=("step",)):
    """Returns the rows of a `log.csv`; one that was cut off is left out.

    Args:
        path: Path of the file, which need not exist.
        needed: Sequence of strings, columns without gaps. Defaults to
            `("step",)`.

    Returns:
        A list of dictionaries of strings by column. `step` is an integer, and
        all others are numbers or empty.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    try:
        with open_regular(path, MAX_LOG_BYTES) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            lines = [line for line in text if line.endswith("\n")]
        rows = list(csv.DictReader(lines))
        for row in rows:
            _check_row(row, needed)
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(
            f"A log must be a readable {LOG_FILE}, as training writes it. "
            f"Received: {path}, {reason(error)}. Move it away to go on without "
            "it."
        ) from None
    return rows


def _check_row(row, needed):
    # `None` is what Python calls cells beyond the columns, and gaps in them.
    if None in row or None in row.values():
        raise ValueError("a row of another length than the columns")
    for name in needed:
        if not row.get(name):
            raise ValueError(f"a row without `{name}`")
    for name, text in row.items():
        if text and not _is_number(name, text):
            raise ValueError(f"{name}={text!r}, which is no such number")


def _is_number(name, text):
    try:
        if name == "step":
            return 0 <= int(text) <= MAX_STEPS
        # A loss may be any; time goes on.
        number = float(text)
        return name != "seconds" or 0 <= number < math.inf
    except ValueError:
        return False


def write_log(path, columns, rows):
    """Writes a `log.csv` anew, whole or not at all.

    Args:
        path: Path of the file.
        columns: List of strings.
        rows: List of dictionaries by column.
    """
    try:
        with open_whole(path) as file:
            text = io.TextIOWrapper(file, newline="", write_through=True)
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(rows)
            text.detach()
    except OSError as error:
        raise OSError(
            f"The log could not be written to {path}: {error.strerror}. Make "
            "room, or choose another disk."
        ) from error


def append_row(path, columns, row):
    """Adds a row to a `log.csv`.

    Args:
        path: Path of the file.
        columns: As in `write_log`.
        row: Dictionary by column.
    """
    try:
        with open(path, "a", newline="") as file:
            csv.DictWriter(file, columns).writerow(row)
    except OSError as error:
        raise OSError(
            f"The row of step {row['step']} could not be written to {path}: "
            f"{error.strerror}. The last checkpoint is whole. Make room, and "
            "go on from there."
        ) from error
