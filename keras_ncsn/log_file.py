"""The table of losses that a run writes, `log.csv`."""

import csv
import io
import pathlib

from keras_ncsn.files import open_whole

LOG_FILE = "log.csv"


def read_log(path):
    """Returns the rows of a `log.csv`; one that was cut off is left out.

    Args:
        path: Path of the file, which need not exist.

    Returns:
        A list of dictionaries of strings by column.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with open(path, newline="") as file:
        lines = [line for line in file if line.endswith("\n")]
    return list(csv.DictReader(lines))


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
