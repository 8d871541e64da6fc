"""Checks of the Hub's answers, before its client uses them."""

import contextlib
import re
from collections.abc import Iterator

from keras_ncsn.hub import sizes, tokens
from keras_ncsn.hub.hooks import hooking

_NAME = re.compile(r"[\w+=-][\w.+=-]{0,127}")


@contextlib.contextmanager
def checking_answers(size: sizes.Size | None = None) -> Iterator[None]:
    """A context in which answers of the Hub can do no harm.

    The client uses names from the Hub for files and folders, so these names
    are checked: all files stay in the cache. Answers end at their limit of
    size. Log messages hold no tokens and no control characters. The client is
    not told about Xet, the store of large files, and downloads large files
    like all others.

    Args:
        size: A `Size`, the limit of the file that is downloaded. Defaults to
            `None`: no file is.
    """
    with (
        sizes.limiting(size),
        tokens.cleaning_logs(),
        hooking(request=_prepare, response=_check),
    ):
        yield


def check_name(header: str, name: str) -> None:
    """Raises a `ValueError` unless a name is safe for a file in a folder.

    Args:
        header: String, the header that holds the name.
        name: String.
    """
    name = name.removeprefix("W/").strip('"')
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{header}={name!r}, which is not a file name")


def _prepare(request):
    tokens.note(request)
    sizes.ask_unpacked(request)


def _check(response):
    sizes.limit(response)
    size = sizes.current()
    if size is not None:
        # The progress bar shows this name, or else the file's address.
        shown = f'filename="{size.filename}";'
        response.headers["Content-Disposition"] = shown
    # The client for Xet, if installed, would wait and retry for minutes.
    response.headers.pop("X-Xet-Hash", None)
    # Only these answers name files: bodies may come from another server, and
    # errors have names of their own.
    if response.request.method != "HEAD" or response.status_code >= 400:
        return
    for header in ("X-Repo-Commit", "X-Linked-ETag", "ETag"):
        if header in response.headers:
            check_name(header, response.headers[header])
