"""Tokens of the Hub, which no message may show.

A server may repeat a request in its answer, including the token.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from keras_ncsn.files import read_regular
from keras_ncsn.text import one_line

_HIDDEN = "[token]"
_VARIABLES = "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"
# Tokens as the Hub makes them, or as a header of a request holds them. They are
# longer than words and than most names of repositories.
_SHAPE = re.compile(r"hf_[A-Za-z0-9]{20,}|(?<=Bearer )[^\s\"',;]{16,}")
# Letters and digits. A server may put other characters between them.
_LETTER = re.compile(r"%([0-9a-f]{2})|([a-z0-9])", re.IGNORECASE)
# Shorter strings are not tokens, and would hide parts of words.
_SHORTEST = 4
_FEWEST_LETTERS = 8

# The tokens of this process's requests, wherever the client found them.
_sent: set[str] = set()


def note(request: Any) -> None:
    """Notes the token that a request holds, so that `said` hides it.

    Args:
        request: A request of the Hub's client.
    """
    token = request.headers.get("Authorization", "").partition(" ")[2]
    _sent.add(token)


def said(value: object, max_length: int = 500) -> str:
    """Returns what a server says, as one printable line without tokens.

    Args:
        value: A string, or an object that has one, such as an exception.
        max_length: Integer, the most characters. Longer text is cut at the
            end. Defaults to `500`.

    Returns:
        A string.

    Example:

    >>> said("Wrong:\\n Bearer hf_0123456789abcdef")
    'Wrong: Bearer [token]'
    """
    text = str(value)
    # Printable first, because that may join the pieces of a token. Cut last,
    # because a piece of a token would not be found.
    text = one_line(text, len(text))
    for token in sorted(_known(), key=len, reverse=True):
        text = _pattern(token).sub(_HIDDEN, text)
        text = _without_pieces(token, text)
    return one_line(_SHAPE.sub(_HIDDEN, text), max_length)


@contextlib.contextmanager
def cleaning_logs() -> Iterator[None]:
    """A context in which the client's log messages pass through `said`."""
    # On the handlers: a logger's filter does not see its children's messages.
    handlers = list(logging.getLogger("huggingface_hub").handlers)
    cleaning = _Cleaning()
    for handler in handlers:
        handler.addFilter(cleaning)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(cleaning)


class _Cleaning(logging.Filter):
    def filter(self, record):
        record.msg, record.args = said(record.getMessage(), 2000), ()
        return True


def _known():
    """Returns the tokens that this process sends, or could send."""
    tokens = {os.environ.get(name, "") for name in _VARIABLES}
    tokens |= {*_sent, _in_file()}
    # In messages they are made printable, too.
    tokens = {one_line(token, len(token)) for token in tokens}
    return {token for token in tokens if len(token) >= _SHORTEST}


def _in_file():
    # Without the client, nothing was asked yet.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is None:
        return ""
    try:
        content = read_regular(constants.HF_TOKEN_PATH, 2**16)
    except OSError:
        return ""
    return content.decode("utf-8", "replace").strip()


def _pattern(token):
    """Returns a pattern for a token, of which any part may be %-encoded."""
    return re.compile("".join(map(_either, token)), re.IGNORECASE)


def _either(character):
    encoded = character.encode("utf-8", "surrogatepass")
    quoted = "".join(f"%{byte:02x}" for byte in encoded)
    return f"(?:{re.escape(character)}|{quoted})"


def _without_pieces(token, text):
    """Returns a text without a token that other characters divide."""
    sought = "".join(letter for letter, _, _ in _letters(token))
    if len(sought) < _FEWEST_LETTERS:
        return text
    letters = list(_letters(text))
    shown = "".join(letter for letter, _, _ in letters)
    kept, end = [], 0
    first = shown.find(sought)
    while first >= 0:
        last = first + len(sought) - 1
        kept += [text[end : letters[first][1]], _HIDDEN]
        end = letters[last][2]
        first = shown.find(sought, last + 1)
    return "".join([*kept, text[end:]])


def _letters(text):
    """Yields the letters and digits of ASCII in a text, and their places."""
    for found in _LETTER.finditer(text):
        encoded, letter = found.groups()
        letter = letter or chr(int(encoded, 16))
        if letter.isascii() and letter.isalnum():
            yield letter.lower(), found.start(), found.end()
