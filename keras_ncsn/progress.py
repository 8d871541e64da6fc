"""Progress bars: in a terminal, in a notebook, and as lines in a log file."""

import sys
import warnings
from typing import Any

# The interval of the lines in a log file.
SECONDS_BETWEEN_LINES = 60.0


def make_bar(total: int | None, verbose: int | str = 1, **options: Any) -> Any:
    """Returns a progress bar on standard error.

    Args:
        total: Integer, the number of steps, or `None` if it is not known yet.
        verbose: 0 (silent), 1 (a bar; in a log file a line each minute) or
            `"auto"` (a bar in a terminal or notebook, silent elsewhere).
            Defaults to `1`.
        **options: Arguments of `tqdm.tqdm`, such as `desc` and `unit`.

    Returns:
        A `tqdm.tqdm`.
    """
    from tqdm import TqdmExperimentalWarning, std

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmExperimentalWarning)
        from tqdm.autonotebook import tqdm
    if tqdm is not std.tqdm or sys.stderr.isatty():
        return tqdm(total=total, disable=not verbose, **options)

    class Lines(std.tqdm):
        """Writes a new line instead of redrawing a bar."""

        @staticmethod
        def status_printer(file):
            def write(line):
                if line.strip():
                    file.write(f"{line.strip()}\n")
                    file.flush()

            return write

    return Lines(
        total=total,
        disable=verbose in {0, "auto"},
        mininterval=SECONDS_BETWEEN_LINES,
        maxinterval=SECONDS_BETWEEN_LINES,
        **options,
    )
