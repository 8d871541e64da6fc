"""Sizes: what the Hub sends ends where it was said to end."""

import contextlib
import contextvars
import functools

from keras_ncsn.hub import LIBRARY

# Of what is no file: names of files, addresses, what went wrong.
MAX_ANSWER_BYTES = 2**22

# The client unpacks others, some of which make gigabytes of one piece.
_PACKINGS = "", "identity", "gzip"

_current = contextvars.ContextVar("size", default=None)


class WrongSize(ValueError):
    """What the Hub sends of a file, or says that it would, is too large."""


class Size:
    """The size that a file has at most.

    Args:
        filename: String, the name of the file.
        max_bytes: Integer, or `None` if it is the one that the Hub states.
    """

    def __init__(self, filename, max_bytes=None):
        self.filename = filename
        self.max_bytes = max_bytes

    def hear(self, response):
        """Takes the size that the Hub states, unless it is too large.

        Args:
            response: What it answered when it was asked for that.
        """
        stated = _stated(response)
        if stated is None:
            return
        if self.max_bytes is not None and stated > self.max_bytes:
            raise WrongSize(
                f"{stated:,} bytes, where at most {self.max_bytes:,} bytes are "
                "expected"
            )
        self.max_bytes = stated

    def left(self, response):
        """Returns how many bytes of a file may still come.

        Args:
            response: What the Hub answered, which may be the rest of a file.

        Returns:
            Integer.
        """
        if self.max_bytes is None:
            raise WrongSize("a Hub and a preset of which neither states a size")
        start = 0
        if response.status_code == 206:
            asked = response.request.headers.get("Range", "")
            start = int(asked.removeprefix("bytes=").partition("-")[0] or 0)
        return self.max_bytes - start


@contextlib.contextmanager
def limiting(size=None):
    """A context in which the Hub's answers in this thread end.

    Args:
        size: A `Size`, of the file that is fetched. Defaults to `None`: no
            file is.
    """
    before = _current.set(size)
    try:
        yield
    finally:
        _current.reset(before)


def current():
    """Returns the `Size` of the file that this thread fetches, or `None`."""
    return _current.get()


def ask_unpacked(request):
    """Asks for a body that is of its own size.

    Args:
        request: A request of the Hub's client.
    """
    if _is_ours(request):
        request.headers["Accept-Encoding"] = "identity"


def limit(response):
    """Lets the body of an answer end where it was said to end.

    Args:
        response: What the Hub answered; its body is not read yet.
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
        raise WrongSize(f"Content-Encoding={packing!r}, which has any size")
    max_bytes, kind = MAX_ANSWER_BYTES, ValueError
    if size is not None and is_good and not response.is_redirect:
        max_bytes, kind = size.left(response), WrongSize
    response.iter_bytes = functools.partial(
        _read, response.iter_bytes, max_bytes, kind
    )


def _read(iter_bytes, max_bytes, kind, chunk_size=None):
    # As the pieces come, so that none is waited for beyond the end.
    left = max_bytes
    for piece in iter_bytes():
        left -= len(piece)
        if left < 0:
            raise kind(f"more than the {max_bytes:,} bytes that are expected")
        yield piece


def _stated(response):
    # As the client reads it: of a file that lies elsewhere, the first says it.
    text = response.headers.get("X-Linked-Size", "")
    if not text and not response.is_redirect:
        text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 100 else None


def _is_ours(request):
    # Other threads of this process may use the client as well. What stores
    # files apart is sent no name, and answers with next to nothing.
    name = request.headers.get("User-Agent", "")
    return name.startswith(f"{LIBRARY}/") or request.method == "PUT"
