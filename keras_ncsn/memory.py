"""Errors of too little memory, of which each backend has its own."""

import re

from keras_ncsn.text import one_line, reason

# TensorFlow and JAX; JAX; PyTorch on GPUs; PyTorch on CPUs.
_WORDS = re.compile(
    "RESOURCE_EXHAUSTED|OOM when allocating|out of memory|"
    "can't allocate memory|not enough memory",
    re.IGNORECASE,
)


def is_of_memory(error: Exception) -> bool:
    """Returns whether an exception says that memory is too small.

    Args:
        error: An exception, of Python, NumPy or a backend.

    Returns:
        A boolean.

    Example:

    >>> is_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
    True
    """
    # By name, because nothing here imports a backend. Keras may turn the error
    # of a layer into a `RuntimeError` with its text.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"
        or (isinstance(error, RuntimeError) and bool(_WORDS.search(str(error))))
    )


def shortage(error: Exception) -> str:
    """Returns what such an exception says of the memory, in one line.

    Args:
        error: An exception for which `is_of_memory` is true.

    Returns:
        A string.

    Example:

    >>> shortage(RuntimeError("Graph:\\nnode a\\nOOM when allocating 9 bytes"))
    'OOM when allocating 9 bytes'
    """
    # Between the lines of a backend's stack.
    for line in str(error).splitlines():
        if _WORDS.search(line):
            return one_line(line)
    return reason(error)
