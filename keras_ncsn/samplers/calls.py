"""Many steps, some at a time in one call of a compiled loop."""

from collections.abc import Iterator

import numpy as np

# Progress and intermediate states are reported between calls; with more calls
# their overhead would show.
STEPS_PER_CALL = 10


def calls(num_steps: int) -> Iterator[slice]:
    """Yields the steps of each call.

    Args:
        num_steps: Integer, at least 1.

    Yields:
        Slices of up to `STEPS_PER_CALL` steps.

    Example:

    >>> list(calls(13))
    [slice(0, 10, None), slice(10, 13, None)]
    """
    for first in range(0, num_steps, STEPS_PER_CALL):
        yield slice(first, min(first + STEPS_PER_CALL, num_steps))


def padded(array: np.ndarray, num_steps: int) -> np.ndarray:
    """Returns what a call needs for each step, padded if it is the last call.

    All calls then have arrays of one shape, so that the loop is compiled once.

    Args:
        array: Array of shape `(steps of this call, ...)`.
        num_steps: Integer, the number of steps of all calls.

    Returns:
        An array with as many rows as the first call has steps.

    Example:

    >>> padded(np.ones((3, 2)), num_steps=13).shape
    (10, 2)
    """
    missing = min(num_steps, STEPS_PER_CALL) - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
