"""An end to waiting for a Hub that says nothing.

The client has no limit for some of its calls, and multiplies those it has by
retries.
"""

import contextlib
import contextvars
import functools
import queue
import threading
import time

from keras_ncsn.hub.errors import asked_wait, patience
from keras_ncsn.hub.hooks import hooking

# As often as the client tries again.
NUM_WAITS = 5


def patiently(function, started=None):
    """Returns what a function does, if it does within `patience()`.

    For short questions. A thread that is given up goes on until it fails, and
    ends with the process.

    Args:
        function: A function without arguments.
        started: Float, when the waiting began, of `time.monotonic`. Defaults
            to `None`, now.

    Returns:
        What it returned; what it raises is raised, or a `TimeoutError`.
    """
    waited = 0.0 if started is None else _seconds_since(started)
    results: queue.SimpleQueue = queue.SimpleQueue()

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


def obligingly(function):
    """Returns what a function does, after the waits that the Hub asks for.

    The client itself waits where it asks for metadata, and where it fetches
    a file only for 429.

    Args:
        function: A function without arguments.

    Returns:
        What it returned.
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
def ending_silence():
    """A context in which each request of the client must make headway.

    A request that sends nothing and hears nothing for `patience()` is given up
    and not tried again, and so is one that the Hub asks to wait for longer; one
    that is slow may take as long as it needs, and so may another process that
    fetches the same. What goes up to Xet, the store of large files, is sent by
    a client of its own, with limits of its own.
    """
    import huggingface_hub

    # Files are sent by threads, one request of each at a time.
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
        # The client would wait, however long, and whatever the status.
        if response.status_code >= 400:
            if (asked_wait(response) or 0) > patience():
                huggingface_hub.utils.hf_raise_for_status(response)
        response.iter_raw = functools.partial(_read, response.iter_raw)

    with hooking(request=ask, response=hear):
        yield


def _read(iter_raw, *args, **kwargs):
    # The client would ask again for what fell silent on the way, and hear the
    # beginning again.
    try:
        yield from iter_raw(*args, **kwargs)
    except Exception as error:
        if "Timeout" in type(error).__name__:
            raise TimeoutError from None
        raise


def _seconds_since(moment):
    return time.monotonic() - moment
