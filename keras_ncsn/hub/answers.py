"""What the Hub answers, before its client makes use of it."""

import contextlib
import re

from keras_ncsn.hub import sizes, tokens
from keras_ncsn.hub.hooks import hooking

_NAME = re.compile(r"[\w+=-][\w.+=-]{0,127}")


@contextlib.contextmanager
def checking_answers(size=None):
    """A context in which answers of the Hub do no harm.

    They name files that stay in the cache, for the client names files and
    folders by what the Hub calls them. They end where they should, and what is
    shown of them holds no tokens and nothing that gives orders to a terminal.
    Of Xet, the store of large files, the client is told nothing: they come as
    other files do.

    Args:
        size: A `Size`, of the file that is fetched. Defaults to `None`: no
            file is.
    """
    with (
        sizes.limiting(size),
        tokens.cleaning_logs(),
        hooking(request=_prepare, response=_check),
    ):
        yield


def check_name(header, name):
    """Raises a `ValueError` unless a file may have a name in its folder.

    Args:
        header: String, where the Hub says it.
        name: String.
    """
    name = name.removeprefix("W/").strip('"')
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{header}={name!r}, which is no name of a file")


def _prepare(request):
    tokens.note(request)
    sizes.ask_unpacked(request)


def _check(response):
    sizes.limit(response)
    size = sizes.current()
    if size is not None:
        # The bar of progress shows it, or else where the Hub has the file.
        shown = f'filename="{size.filename}";'
        response.headers["Content-Disposition"] = shown
    # The client for Xet, if installed, would wait and try again for minutes.
    response.headers.pop("X-Xet-Hash", None)
    # Bodies may come from elsewhere, and errors have names of their own: no
    # file is called by either.
    if response.request.method != "HEAD" or response.status_code >= 400:
        return
    for header in ("X-Repo-Commit", "X-Linked-ETag", "ETag"):
        if header in response.headers:
            check_name(header, response.headers[header])
