"""The table of losses that a run writes, `log.csv`."""

import csv
import io
import math
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_regular, open_to_append, open_whole
from keras_ncsn.text import one_line, reason

LOG_FILE = "log.csv"
# The columns of every log. Those with held-out losses follow, one for each of
# some noise levels.
COLUMNS = (
    "step",
    "images",
    "seconds",
    "images_per_second",
    "learning_rate",
    "loss",
    "validation_loss",
)
# Only the log of a model with a condition has this column.
UNCONDITIONAL = "unconditional_loss"
_LOSS_AT = re.compile(r"loss_at_[0-9.e+-]+")
_NEEDED = ("step", "seconds")
# Optimizers count steps in 32 bits.
MAX_STEPS = 2**31 - 1
# A row has a few hundred.
MAX_LINE_BYTES = 4096


def read_log(
    path: StrPath,
    max_step: int = MAX_STEPS,
    columns: Collection[str] | None = None,
) -> Iterator[dict[str, str]]:
    """Yields the rows of a `log.csv`, without a truncated last row.

    One row is in memory at a time. Steps must rise, so that there are at most
    `max_step` of them.

    Args:
        path: Path of the file. Without a file there are no rows.
        max_step: Integer, the largest step that a row may have. Defaults to
            `MAX_STEPS`.
        columns: Collection of strings, the columns that the log may have.
            Defaults to `None`, those of any run.

    Yields:
        A dictionary from columns to strings. `step` and `seconds` are valid;
        the others are numbers or empty.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return
    try:
        with open_regular(path) as file:
            lines = _lines(file)
            header = next(lines, None)
            if header is None:
                return
            _check_header(header, columns)
            before = -1
            for cells in lines:
                row = _row(header, cells)
                step = int(row["step"])
                if step <= before:
                    raise ValueError(f"step {step} after step {before}")
                if step > max_step:
                    raise ValueError(f"step {step} of at most {max_step:,}")
                before = step
                yield row
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(
            f"A log must be a readable {LOG_FILE}, as training writes it. "
            f"Received: {one_line(path)}, {reason(error)}. Move it away to "
            "resume without it."
        ) from None


def _lines(file):
    """Yields the cells of each line, none of which is long."""
    while line := file.readline(MAX_LINE_BYTES):
        if not line.endswith(b"\n"):
            if len(line) == MAX_LINE_BYTES:
                raise ValueError(f"a line of {MAX_LINE_BYTES:,} bytes or more")
            # The process was killed while it wrote the row.
            return
        yield next(csv.reader([line.decode("utf-8")], strict=True))


def _check_header(header, columns):
    for name in _NEEDED:
        if name not in header:
            raise ValueError(f"without a column `{name}`")
    for name in header:
        known = name in (*COLUMNS, UNCONDITIONAL) or _LOSS_AT.fullmatch(name)
        if not (known if columns is None else name in columns):
            raise ValueError(f"a column {name!r}, which the run does not have")


def _row(header, cells):
    if len(cells) != len(header):
        raise ValueError("a row of another length than the header")
    row = dict(zip(header, cells, strict=True))
    for name in _NEEDED:
        if not row[name]:
            raise ValueError(f"a row without `{name}`")
    for name, text in row.items():
        if text and not _is_number(name, text):
            raise ValueError(f"{name}={text!r}, which is not a valid number")
    return row


def _is_number(name, text):
    try:
        if name == "step":
            return 0 <= int(text) <= MAX_STEPS
        # A loss may be any number. The time is finite and not negative.
        number = float(text)
        return name != "seconds" or 0 <= number < math.inf
    except ValueError:
        return False


class Summary(NamedTuple):
    """What a run that goes on needs to know of its log.

    Attributes:
        last_step: Integer, the step of the last row, or `None` without rows.
        seconds: Float, the time of the last row.
        best_loss: Float, the lowest loss on held-out images.
    """

    last_step: int | None = None
    seconds: float = 0.0
    best_loss: float = math.inf


def summarize(rows: Iterable[dict[str, str]]) -> Summary:
    """Returns the summary of rows, from `read_log`.

    Args:
        rows: Iterable of dictionaries.

    Returns:
        A `Summary`.

    Example:

    >>> summarize([{"step": "2", "seconds": "1.5", "validation_loss": "0.3"}])
    Summary(last_step=2, seconds=1.5, best_loss=0.3)
    """
    last, best_loss = Summary(), math.inf
    for row in rows:
        loss = float(row.get("validation_loss") or math.inf)
        # Not `min`, whose result may be NaN.
        best_loss = loss if loss < best_loss else best_loss
        last = Summary(int(row["step"]), float(row["seconds"]), best_loss)
    return last


def write_log(
    path: StrPath, columns: Sequence[str], rows: Iterable[dict[str, Any]]
) -> None:
    """Replaces a `log.csv`, completely or not at all.

    Args:
        path: Path of the file.
        columns: Sequence of strings.
        rows: Iterable of dictionaries from columns to values. They may be
            read from the file that is replaced.
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
        with io.TextIOWrapper(open_to_append(path), newline="") as file:
            csv.DictWriter(file, columns).writerow(row)
    except OSError as error:
        raise OSError(
            f"The row of step {row['step']} could not be written to {path}: "
            f"{error.strerror or error}. The last checkpoint is intact. Make "
            "room, or remove what is there, and resume from it."
        ) from error
