"""Failures of other libraries, in words."""

from keras_ncsn.text import one_line


def reason(error):
    """Returns what an exception says, or at least its kind, as one line.

    Args:
        error: An exception that a library raised on a file.

    Returns:
        A string for the end of a message.

    Example:

    >>> reason(EOFError("the file ends too early")), reason(MemoryError())
    ('the file ends too early', 'MemoryError')
    >>> reason(KeyError(34))
    'KeyError 34'
    """
    text, kind = one_line(error), type(error).__name__
    if isinstance(error, KeyError):
        # It says the key, and nothing else.
        return f"{kind} {text}"
    return text or kind
