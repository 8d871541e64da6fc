"""What the Hub answers, before its client makes use of it."""

import contextlib
import re

_NAME = re.compile(r"[\w+=-][\w.+=-]*")


@contextlib.contextmanager
def checking_answers():
    """A context in which answers of the Hub name files that stay in the cache.

    The client names files and folders by what the Hub calls them. Of Xet, the
    store of large files, it is told nothing: they come as other files do.
    """
    import huggingface_hub

    hooks = huggingface_hub.get_session().event_hooks["response"]
    hooks.append(_check)
    try:
        yield
    finally:
        hooks.remove(_check)


def _check(response):
    # The client for Xet, if installed, would wait and try again for minutes.
    response.headers.pop("X-Xet-Hash", None)
    # Bodies may come from elsewhere, and name nothing.
    if response.request.method != "HEAD":
        return
    for header in ("X-Repo-Commit", "X-Linked-ETag", "ETag"):
        name = response.headers.get(header, "")
        name = name.removeprefix("W/").strip('"')
        if name and (not _NAME.fullmatch(name) or ".." in name):
            raise ValueError(f"{header}={name!r}, which is no name of a file")
