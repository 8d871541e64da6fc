"""Text of strangers, such as cards and what a server says."""

import unicodedata

# They turn the direction of what follows, so that it reads as something else.
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text):
    """Returns a text without what would give orders to a terminal.

    Args:
        text: String.

    Returns:
        The same without control characters but for ends of lines and tabs.

    Example:

    >>> printable("\\x1b[2Jred\\n")
    '[2Jred\\n'
    """
    return "".join(
        character
        for character in text
        if character in "\n\t"
        or (
            unicodedata.category(character) != "Cc"
            and character not in _TURNING
        )
    )
