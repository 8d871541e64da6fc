"""Hooks on the requests and answers of the Hub's client.

`huggingface_hub` replaces its HTTP client after a refused connection. The hooks
must survive that.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

_Hook = Callable[[Any], None]

# The hooks of all open contexts, in all threads, which share one client.
_open: dict[str, list[_Hook]] = {"request": [], "response": []}


@contextlib.contextmanager
def hooking(**hooks: _Hook) -> Iterator[None]:
    """A context in which hooks see all that the client sends and receives.

    Args:
        **hooks: Functions of a `request` or of a `response`.
    """
    # First, so that a new client never lacks a hook.
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
    # Two threads at once do no harm. The name is private: if it changes, the
    # hooks are lost when the client is replaced.
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
