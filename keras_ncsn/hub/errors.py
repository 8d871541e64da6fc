"""One sentence for each way that talking to the Hub can fail."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from keras_ncsn.hub.sentences import SENDING, SENTENCES
from keras_ncsn.hub.sizes import WrongSize
from keras_ncsn.hub.tokens import said

# How many seconds to wait for a silent server, unless the client's own
# settings are longer.
PATIENCE = 30.0

# A week, in seconds. Some systems allow no more than some weeks.
_LONGEST = 604800
_TIME_OUTS = "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"

# No requests are left, and the seconds until there are more.
_SPENT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")

# What the client raises if an answer does not have the types that it expects.
_NOT_UNDERSTOOD = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
    RecursionError,
)


def check_time_outs() -> None:
    """Raises a `ValueError` unless the client's time-out variables are valid.

    Call it before `huggingface_hub` is imported, which reads them.
    """
    for name in _TIME_OUTS:
        value = os.environ.get(name, "0")
        if not value.strip().isdecimal() or int(value) > _LONGEST:
            raise ValueError(
                f"{name} must be a whole number of seconds, at most "
                f"{_LONGEST}. Received: {name}={value!r}"
            )


def patience() -> float:
    """Returns how many seconds to wait for a silent server.

    Returns:
        Float, `PATIENCE`, or the user's setting for the client if it is longer.
    """
    limits = [os.environ.get(name, "").strip() for name in _TIME_OUTS]
    return max([PATIENCE, *(float(x) for x in limits if x.isdecimal())])


def asked_wait(response: Any) -> int | None:
    """Returns the seconds that the Hub asks to wait before the next request.

    Args:
        response: The Hub's answer.

    Returns:
        Integer, or `None` if the Hub does not ask for a wait.
    """
    limit = _SPENT.search(response.headers.get("RateLimit", ""))
    if limit is not None and response.status_code == 429:
        seconds = limit[1]
    else:
        seconds = response.headers.get("Retry-After", "").strip()
    # Cut, because Python refuses integers of thousands of digits.
    return int(seconds[:20]) if seconds.isdecimal() else None


@contextlib.contextmanager
def translating(
    source: object, filename: str, sending: bool = False
) -> Iterator[None]:
    """A context that turns exceptions of the client into those of this package.

    Args:
        source: A `Source`.
        filename: String, what is downloaded or uploaded.
        sending: Boolean, whether it is an upload. Defaults to `False`.
    """
    try:
        yield
    except Exception as error:
        failure = translated(error, source, filename, sending)
        try:
            raise failure from None
        finally:
            # The context would lead to the request, which holds the token.
            failure.__context__ = None


def translated(
    error: BaseException,
    source: object,
    filename: str,
    sending: bool = False,
) -> Exception:
    """Returns an exception that says what went wrong and what to do.

    Args:
        error: An exception of `huggingface_hub`, or of a library that it uses.
        source: A `Source`.
        filename: String, what was downloaded or uploaded.
        sending: Boolean, whether it was an upload. Defaults to `False`.

    Returns:
        A `ValueError` or an `OSError`.
    """
    from huggingface_hub import errors

    if isinstance(error, (errors.LocalEntryNotFoundError, RuntimeError)):
        # The cause is what kept the client from asking, or from sending.
        error = error.__cause__ or error
    status = _status(error)
    name = _of_class(error) or _of_status(status) or _of_kind(error)
    if name == "machine":
        return _of_machine(error)
    sentences = SENTENCES | SENDING if sending else SENTENCES
    if name not in sentences:
        name = "connection" if name is None else "status"
    kind, sentence = sentences[name]
    return kind(
        sentence.format(
            source=source,
            filename=filename,
            status=status,
            reason=_reason(error, name),
            patience=patience(),
            wait=_wait(error),
            kind=type(error).__name__,
        )
    )


def _status(error):
    response = getattr(error, "response", None)
    if response is None and isinstance(error, (ConnectionError, RuntimeError)):
        # Xet, which uploads large files, states it only in its message.
        found = re.search(r"HTTP status \w+ error \((\d{3})\b", str(error))
        return found and int(found[1])
    return getattr(response, "status_code", None)


def _wait(error):
    response = getattr(error, "response", None)
    seconds = None if response is None else asked_wait(response)
    return "some minutes" if seconds is None else f"{seconds} seconds"


def _reason(error, name):
    # What the server says, in one line. Most servers say nothing.
    if name in ("answer", "card", "size"):
        is_sentence = isinstance(error, (ValueError, OSError))
        kind = "" if is_sentence else f"{type(error).__name__}: "
        return " " + said(f"{kind}{error}")
    text = getattr(error, "server_message", None)
    return f" ({said(text)})" if text else ""


def _of_class(error):
    from huggingface_hub import errors

    classes = {
        errors.LocalTokenNotFoundError: "repository",
        errors.OfflineModeIsEnabled: "offline",
        errors.LocalEntryNotFoundError: "offline",
        errors.RevisionNotFoundError: "revision",
        errors.EntryNotFoundError: "entry",
        errors.GatedRepoError: "gated",
        errors.RepositoryNotFoundError: "repository",
        errors.FileMetadataError: "answer",
        WrongSize: "size",
        UnicodeEncodeError: "token",
        TimeoutError: "silence",
    }
    for kind, name in classes.items():
        if isinstance(error, kind):
            return name
    # Exceptions of the HTTP client, which differs between versions.
    if type(error).__name__ == "LocalProtocolError":
        # A header is invalid, and only the token's comes from the caller.
        return "token"
    return "silence" if "Timeout" in type(error).__name__ else None


def _of_status(status):
    known = {
        401: "repository",
        403: "forbidden",
        404: "missing",
        409: "conflict",
        412: "conflict",
        429: "requests",
    }
    return None if status is None else known.get(status, "status")


def _of_kind(error):
    from huggingface_hub import errors

    if isinstance(error, ConnectionError):
        return None
    if isinstance(error, OSError):
        # The client's own have no number, and are about an answer.
        return "answer" if error.errno is None else "machine"
    if not isinstance(error, _NOT_UNDERSTOOD):
        return None
    is_card = isinstance(error.__cause__, errors.BadRequestError)
    return "card" if is_card else "answer"


def _of_machine(error):
    # Such as a full disk, or a cache that cannot be written.
    named = () if error.filename is None else (error.filename,)
    return OSError(error.errno, said(error.strerror), *named)
