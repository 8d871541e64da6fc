"""What the header of one of NumPy's array files states."""

import io
import math
from typing import IO, Literal, NamedTuple

import numpy as np

from keras_ncsn.text import one_line

# NumPy's limit for a header, and the 12 bytes before it.
HEADER_BYTES = 10_000 + 12


class ArrayHeader(NamedTuple):
    """The shape, order and type of an array, and where its numbers begin."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype
    offset: int

    @property
    def num_bytes(self) -> int:
        """Integer, how many bytes the numbers take."""
        # In Python's integers, which do not overflow.
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> ArrayHeader:
    """Returns the header of an array file, which need not have a path.

    Args:
        file: A binary file, at its beginning. At most `HEADER_BYTES` of it are
            read.

    Returns:
        An `ArrayHeader`, which may state any sizes of at least 0.

    Example:

    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3), "float32"))
    >>> start = file.seek(0)
    >>> read_header(file).shape
    (2, 3)
    """
    # NumPy would read as many bytes as the header claims to have.
    start = io.BytesIO(file.read(HEADER_BYTES))
    version = np.lib.format.read_magic(start)
    read = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read = np.lib.format.read_array_header_1_0
    try:
        shape, is_fortran, dtype = read(start)
    # Python's parser raises these for text of many brackets or signs.
    except (MemoryError, RecursionError):
        raise ValueError("its header is nested too deeply") from None
    if any(side < 0 for side in shape):
        raise ValueError(f"its header states the shape {one_line(shape)}")
    return ArrayHeader(shape, "F" if is_fortran else "C", dtype, start.tell())
