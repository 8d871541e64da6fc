"""Text of strangers: cards, names of files, what a server says."""

import unicodedata

# They turn the direction of what follows, so that it reads as something else.
_TURNING = set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def printable(text):
    """Returns a text without what would give orders to a terminal.

    Args:
        text: String.

    Returns:
        The same without control characters but for ends of lines and tabs.
        Bytes of a file name that are not UTF-8 become question marks.

    Example:

    >>> printable("\\x1b[2Jred\\n")
    '[2Jred\\n'
    """
    return "".join(
        "?" if unicodedata.category(character) == "Cs" else character
        for character in text
        if character in "\n\t"
        or (
            unicodedata.category(character) not in ("Cc", "Zl", "Zp")
            and character not in _TURNING
        )
    )


def one_line(value, max_length=300):
    """Returns what a stranger chose as one printable line for a message.

    Args:
        value: A string, or what has one: a path, an exception.
        max_length: Integer, characters; longer text loses its end. Defaults
            to `300`.

    Returns:
        A string.

    Example:

    >>> one_line("a.png\\n\\x1b[31mError: all is lost")
    'a.png [31mError: all is lost'
    """
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


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
