"""Untrusted text made safe to show: cards, file names, server messages."""

import re
import unicodedata

# Control characters, and the ends of lines. Those of formatting turn the
# direction of a text, or show nothing: a token with one inside it looks like
# the token. Emoji of several parts and some letters of Persian and of Indian
# languages lose their joiners, and are still read.
_LEFT_OUT = {"Cc", "Cf", "Zl", "Zp"}
# These show nothing, and are letters, marks or not assigned to Unicode.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164"
    "\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    """Returns a text without characters that give orders or show nothing.

    Args:
        text: String.

    Returns:
        The text, safe for a terminal. Newlines and tabs stay. Bytes of a file
        name that are not UTF-8 become question marks.

    Example:

    >>> printable("\\x1b[2Jred\\n")
    '[2Jred\\n'
    """
    return "".join(
        "?" if unicodedata.category(character) == "Cs" else character
        for character in _BLANK.sub("", text)
        if character in "\n\t"
        or unicodedata.category(character) not in _LEFT_OUT
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
