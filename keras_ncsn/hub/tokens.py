"""Tokens of the Hub, which no message shows.

A server may answer with what it was sent, the token with it.
"""

import contextlib
import logging
import os
import re
import sys

from keras_ncsn.files import read_regular
from keras_ncsn.text import one_line

_HIDDEN = "[token]"
_VARIABLES = "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"
# As the Hub makes them, and what a header of a request holds: longer than
# words, and than most names of repositories.
_SHAPE = re.compile(r"hf_[A-Za-z0-9]{20,}|(?<=Bearer )[^\s\"',;]{16,}")
# What is shorter is no token, and would hide parts of words.
_SHORTEST = 4

# Of this process, wherever the client had them from.
_sent: set[str] = set()


def note(request):
    """Notes the token that a request holds, so that `said` hides it.

    Args:
        request: A request of the Hub's client.
    """
    token = request.headers.get("Authorization", "").partition(" ")[2]
    _sent.add(token)


def said(value, max_length=500):
    """Returns what a server says as one printable line without tokens.

    Args:
        value: A string, or what has one: an exception.
        max_length: Integer, characters; longer text loses its end. Defaults
            to `500`.

    Returns:
        A string.

    Example:

    >>> said("Wrong:\\n Bearer hf_0123456789abcdef")
    'Wrong: Bearer [token]'
    """
    text = str(value)
    # Printable first, which may make a token of its pieces, and cut to length
    # last, which would leave a piece.
    text = one_line(text, len(text))
    for token in sorted(_known(), key=len, reverse=True):
        text = _pattern(token).sub(_HIDDEN, text)
    return one_line(_SHAPE.sub(_HIDDEN, text), max_length)


@contextlib.contextmanager
def cleaning_logs():
    """A context in which what the client logs passes `said`."""
    # Handlers, because a filter of a logger does not see those below it.
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
    # In messages they are printable too.
    tokens = {one_line(token, len(token)) for token in tokens}
    return {token for token in tokens if len(token) >= _SHORTEST}


def _in_file():
    # Of a client that was imported: else nothing was asked yet.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is None:
        return ""
    try:
        content = read_regular(constants.HF_TOKEN_PATH, 2**16)
    except OSError:
        return ""
    return content.decode("utf-8", "replace").strip()


def _pattern(token):
    """Returns a pattern of a token, any of it encoded as in addresses."""
    return re.compile("".join(map(_either, token)), re.IGNORECASE)


def _either(character):
    encoded = character.encode("utf-8", "surrogatepass")
    quoted = "".join(f"%{byte:02x}" for byte in encoded)
    return f"(?:{re.escape(character)}|{quoted})"
