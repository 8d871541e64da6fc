"""Untrusted text made safe to show: cards, file names, server messages."""

import unicodedata

# These change the direction of the text, so that it looks like other text.
_TURNING = set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def printable(text: str) -> str:
    """Returns a text without control characters, safe for a terminal.

    Args:
        text: String.

    Returns:
        The text without control characters, except newlines and tabs. Bytes
        of a file name that are not UTF-8 become question marks.

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


def one_line(value: object, max_length: int = 300) -> str:
    """Returns untrusted text as one printable line, for a message.

    Args:
        value: A string, or an object that has one, such as a path or an
            exception.
        max_length: Integer, the most characters. Longer text is cut at the
            end. Defaults to `300`.

    Returns:
        A string.

    Example:

    >>> one_line("a.png\\n\\x1b[31mError: all is lost")
    'a.png [31mError: all is lost'
    """
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


def reason(error: BaseException) -> str:
    """Returns the message of an exception, or else its type, as one line.

    Args:
        error: An exception that a library raised while it read a file.

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
        # Its message is only the key.
        return f"{kind} {text}"
    return text or kind
