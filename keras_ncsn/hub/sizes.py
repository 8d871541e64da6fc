"""Limits for the size of what the Hub sends."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

from keras_ncsn.hub import LIBRARY

# For answers that are not files: lists of files, addresses, errors.
MAX_ANSWER_BYTES = 2**22
# For files: 64 GiB.
MAX_FILE_BYTES = 2**36

# The client unpacks others, too, and with some a piece may become gigabytes.
_PACKINGS = "", "identity", "gzip"


class WrongSize(ValueError):
    """A file on the Hub is too large, as sent or as stated."""


class Size:
    """The largest size that a file may have.

    Args:
        filename: String, the name of the file.
        max_bytes: Integer, at most `MAX_FILE_BYTES`, or `None` for the size
            that the Hub states.
    """

    def __init__(self, filename: str, max_bytes: int | None = None) -> None:
        self.filename = filename
        self.max_bytes = max_bytes

    def hear(self, response: Any) -> None:
        """Notes the size that the Hub states, or raises if it is too large.

        Args:
            response: The Hub's answer to the question for the size.
        """
        stated = _stated(response)
        if stated is None:
            return
        most = MAX_FILE_BYTES if self.max_bytes is None else self.max_bytes
        if stated > most:
            raise WrongSize(
                f"{stated:,} bytes, where at most {most:,} bytes are expected"
            )
        self.max_bytes = stated

    def left(self, response: Any) -> int:
        """Returns how many bytes of a file may still come.

        Args:
            response: The Hub's answer, a file or the rest of one.

        Returns:
            Integer.
        """
        if self.max_bytes is None:
            raise WrongSize("no size, neither from the Hub nor from the preset")
        start = 0
        if response.status_code == 206:
            asked = response.request.headers.get("Range", "")
            start = int(asked.removeprefix("bytes=").partition("-")[0] or 0)
        return self.max_bytes - start


_current = contextvars.ContextVar[Size | None]("size", default=None)


@contextlib.contextmanager
def limiting(size: Size | None = None) -> Iterator[None]:
    """A context in which `current` returns a limit, in this thread.

    Args:
        size: A `Size`, the limit of the file that is downloaded. Defaults to
            `None`: no file is.
    """
    before = _current.set(size)
    try:
        yield
    finally:
        _current.reset(before)


def current() -> Size | None:
    """Returns the `Size` of the file that this thread downloads, or `None`."""
    return _current.get()


def ask_unpacked(request: Any) -> None:
    """Makes a request ask for a body that is not packed.

    Args:
        request: A request of the Hub's client.
    """
    if _is_ours(request):
        request.headers["Accept-Encoding"] = "identity"


def limit(response: Any) -> None:
    """Limits the body of an answer to its largest size.

    Args:
        response: The Hub's answer, of which the body is not read yet.
    """
    request, size = response.request, current()
    if not _is_ours(request):
        return
    is_good = response.status_code < 400
    if request.method == "HEAD":
        if size is not None and is_good:
            size.hear(response)
        return
    packing = response.headers.get("Content-Encoding", "")
    if packing.lower() not in _PACKINGS:
        raise WrongSize(f"Content-Encoding={packing!r}, which hides the size")
    max_bytes, kind = MAX_ANSWER_BYTES, ValueError
    if size is not None and is_good and not response.is_redirect:
        max_bytes, kind = size.left(response), WrongSize
    response.iter_bytes = functools.partial(
        _read, response.iter_bytes, max_bytes, kind
    )


def _read(iter_bytes, max_bytes, kind, chunk_size=None):
    # Piece by piece as they come, whatever the size of a chunk: nothing waits
    # for bytes beyond the limit.
    left = max_bytes
    for piece in iter_bytes():
        left -= len(piece)
        if left < 0:
            raise kind(f"more than the {max_bytes:,} bytes that are expected")
        yield piece


def _stated(response):
    # As the client does: the first header is for a file on another server.
    text = response.headers.get("X-Linked-Size", "")
    if not text and not response.is_redirect:
        text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 100 else None


def _is_ours(request):
    # Other threads may use the client for something else. Uploads to the store
    # of large files carry no name, and their answers are short.
    name = request.headers.get("User-Agent", "")
    return name.startswith(f"{LIBRARY}/") or request.method == "PUT"
