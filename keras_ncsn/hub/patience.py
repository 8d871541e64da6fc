"""Time limits for a Hub that does not answer.

The client has no time limit for some of its calls. For the others, retries
multiply the limit.
"""

import contextlib
import contextvars
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from keras_ncsn.hub.errors import asked_wait, patience
from keras_ncsn.hub.hooks import hooking

# As many as the client's own retries.
NUM_WAITS = 5

_Result = TypeVar("_Result")


def patiently(
    function: Callable[[], _Result], started: float | None = None
) -> _Result:
    """Returns a function's result, if it takes no longer than `patience()`.

    This is for short questions. After a time-out, the function's thread runs
    until the function fails or the process ends.

    Args:
        function: A function without arguments.
        started: Float, when the waiting began, by `time.monotonic`. Defaults
            to `None`, now.

    Returns:
        The result. The function's exceptions are raised, or a `TimeoutError`.
    """
    waited = 0.0 if started is None else _seconds_since(started)
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run():
        try:
            results.put((function(), None))
        except BaseException as error:
            results.put((None, error))

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), daemon=True).start()
    try:
        left = max(patience() - waited, 0.0)
        result, error = results.get(timeout=left)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result


def obligingly(function: Callable[[], _Result]) -> _Result:
    """Returns a function's result, after the waits that the Hub asks for.

    The client itself waits when it asks for metadata. When it downloads a
    file, it only waits for status 429.

    Args:
        function: A function without arguments.

    Returns:
        The result.
    """
    from huggingface_hub import errors

    for _ in range(NUM_WAITS):
        try:
            return function()
        except errors.HfHubHTTPError as error:
            seconds = asked_wait(error.response)
            if (
                error.response.status_code != 503
                or seconds is None
                or seconds > patience()
            ):
                raise
            time.sleep(seconds)
    return function()


@contextlib.contextmanager
def ending_silence() -> Iterator[None]:
    """A context in which requests of the client that stand still end.

    A request that sends and receives nothing for `patience()` is given up, and
    not tried again. So is one for which the Hub asks to wait longer than that.
    A slow request may take as long as it needs, and so may another process that
    downloads the same file. Uploads to Xet, the store of large files, have
    their own client, with its own limits.
    """
    import huggingface_hub

    # Files are uploaded by threads, each of one request at a time.
    unanswered = threading.local()

    def ask(request):
        since = getattr(unanswered, "since", None)
        if since is not None and _seconds_since(since) >= patience():
            raise TimeoutError
        unanswered.since = time.monotonic()
        request.extensions["timeout"] = dict.fromkeys(
            ("connect", "read", "write", "pool"), patience()
        )

    def hear(response):
        unanswered.since = None
        # The client would wait as long as the Hub asks, whatever the status.
        if response.status_code >= 400:
            if (asked_wait(response) or 0) > patience():
                huggingface_hub.utils.hf_raise_for_status(response)
        response.iter_raw = functools.partial(_read, response.iter_raw)

    with hooking(request=ask, response=hear):
        yield


def _read(iter_raw, *args, **kwargs):
    # After a time-out in the middle of a body, the client would ask again, and
    # receive the beginning again.
    try:
        yield from iter_raw(*args, **kwargs)
    except Exception as error:
        if "Timeout" in type(error).__name__:
            raise TimeoutError from None
        raise


def _seconds_since(moment):
    return time.monotonic() - moment
