"""The table of losses that a run writes, `log.csv`."""

import csv
import io
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_regular, open_whole
from keras_ncsn.text import reason

LOG_FILE = "log.csv"
# Optimizers count steps in 32 bits.
MAX_STEPS = 2**31 - 1
# A row has a few hundred bytes, so the log of a million rows fits.
MAX_LOG_BYTES = 2**28


def read_log(
    path: StrPath, needed: Sequence[str] = ("step",)
) -> list[dict[str, str]]:
    """Returns the rows of a `log.csv`, without a truncated last row.

    Args:
        path: Path of the file. Without a file there are no rows.
        needed: Sequence of strings, the columns that must have a value in
            every row. Defaults to `("step",)`.

    Returns:
        A list of dictionaries from columns to strings. `step` is an integer;
        the others are numbers or empty.
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
            f"Received: {path}, {reason(error)}. Move it away to resume "
            "without it."
        ) from None
    return rows


def _check_row(row, needed):
    # `csv` stores surplus cells under `None`, and missing cells as `None`.
    if None in row or None in row.values():
        raise ValueError("a row of another length than the header")
    for name in needed:
        if not row.get(name):
            raise ValueError(f"a row without `{name}`")
    for name, text in row.items():
        if text and not _is_number(name, text):
            raise ValueError(f"{name}={text!r}, which is not a valid number")


def _is_number(name, text):
    try:
        if name == "step":
            return 0 <= int(text) <= MAX_STEPS
        # A loss may be any number. The time is finite and not negative.
        number = float(text)
        return name != "seconds" or 0 <= number < math.inf
    except ValueError:
        return False


def write_log(
    path: StrPath, columns: Sequence[str], rows: Sequence[dict[str, Any]]
) -> None:
    """Replaces a `log.csv`, completely or not at all.

    Args:
        path: Path of the file.
        columns: Sequence of strings.
        rows: Sequence of dictionaries from columns to values.
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


def append_row(
    path: StrPath, columns: Sequence[str], row: dict[str, Any]
) -> None:
    """Adds a row to a `log.csv`.

    Args:
        path: Path of the file.
        columns: As in `write_log`.
        row: Dictionary from columns to values.
    """
    try:
        with open(path, "a", newline="") as file:
            csv.DictWriter(file, columns).writerow(row)
    except OSError as error:
        raise OSError(
            f"The row of step {row['step']} could not be written to {path}: "
            f"{error.strerror}. The last checkpoint is intact. Make room, and "
            "resume from it."
        ) from error
