"""Hooks on the requests of the Hub's client, whichever client that is.

The client of `huggingface_hub` is replaced after a connection was refused: its
hooks must not end with it.
"""

import contextlib
import functools
from typing import Any

# Of the contexts that are open, in all threads: the client is one for all.
_open: dict[str, list[Any]] = {"request": [], "response": []}


@contextlib.contextmanager
def hooking(**hooks):
    """A context in which all that the client sends or hears meets hooks.

    Args:
        **hooks: Functions of a `request` or of a `response`.
    """
    # First, so that no client is without what is open.
    for event, hook in hooks.items():
        _open[event].append(hook)
    try:
        _reach_clients()
        yield
    finally:
        for event, hook in hooks.items():
            _open[event].remove(hook)


def _reach_clients():
    import huggingface_hub
    from huggingface_hub.utils import _http

    # Not by `set_client_factory`, which closes the client that others use.
    # Two threads at once do the same thing twice. The name is the client's own:
    # should it change, the hooks end where the client is replaced.
    factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", None)
    if factory is not None and getattr(factory, "func", None) is not _make:
        _http._GLOBAL_CLIENT_FACTORY = functools.partial(_make, factory)
    _reach(huggingface_hub.get_session())


def _make(factory):
    return _reach(factory())


def _reach(client):
    for event, call in ("request", _ask), ("response", _hear):
        if call not in client.event_hooks[event]:
            client.event_hooks[event].append(call)
    return client


def _ask(request):
    for hook in tuple(_open["request"]):
        hook(request)


def _hear(response):
    for hook in tuple(_open["response"]):
        hook(response)
