"""What the client raises, in the words of this package."""

import re

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

from keras_ncsn.hub import addresses, cache, downloads, errors, hooks, patience

SOURCE = addresses.Source("owner/preset", "", None)


def answered(status, **headers):
    request = httpx2.Request("GET", "http://127.0.0.1")
    headers = {name.replace("_", "-"): headers[name] for name in headers}
    response = httpx2.Response(status, headers=headers, request=request)
    return HfHubHTTPError("It failed.", response=response)


TOKEN = ValueError, "`token`, or HF_TOKEN, must be .* one line"
XET = "Task error: CAS Client Error: Request error: HTTP status"


@pytest.mark.parametrize(
    ("error", "sending", "kind", "message"),
    [
        (
            answered(401),
            False,
            ValueError,
            "you must have access.*expired.*revoked",
        ),
        (answered(401), True, PermissionError, "expired or was revoked"),
        (answered(404), False, ValueError, "and the revision must exist.*404"),
        (answered(404), True, OSError, "answered 404"),
        (answered(429), False, OSError, "Wait some minutes and"),
        (answered(429, Retry_After="9"), True, OSError, "Wait 9 seconds and"),
        (
            answered(429, RateLimit='"api";r=0;t=55', Retry_After="9"),
            False,
            OSError,
            "Wait 55 seconds and",
        ),
        (httpx2.LocalProtocolError("Bearer hf_s"), False, *TOKEN),
        (httpx2.LocalProtocolError("Bearer hf_s"), True, *TOKEN),
        (UnicodeEncodeError("ascii", "hf_s\xe9", 4, 5, ""), False, *TOKEN),
        (
            RuntimeError(f"{XET} client error (404 Not Found), domain: x"),
            True,
            OSError,
            "answered 404 for a file of hf://owner/preset",
        ),
        (
            RuntimeError(f"{XET} server error (500 Internal Server Error)"),
            False,
            OSError,
            "answered 500 for a file",
        ),
    ],
)
def test_errors_of_the_client_become_one_sentence(
    error, sending, kind, message
):
    translated = errors.translated(error, SOURCE, "a file", sending)
    assert type(translated) is kind
    assert re.search(message, str(translated))
    assert "\n" not in str(translated)
    assert "hf_s" not in str(translated)


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("HF_HUB_DOWNLOAD_TIMEOUT", "120", 120.0),
        ("HF_HUB_ETAG_TIMEOUT", "120", 120.0),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "3", 30.0),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "", 30.0),
    ],
)
def test_a_longer_timeout_of_the_client_is_used(
    monkeypatch, name, value, seconds
):
    monkeypatch.setenv(name, value)
    assert errors.patience() == seconds
    silent = errors.translated(TimeoutError(), SOURCE, "a file")
    assert f"within {seconds:g} seconds" in str(silent)


@pytest.mark.parametrize("value", ["abc", "60.5", "-1", "", "99999999999"])
@pytest.mark.parametrize(
    "use",
    [
        lambda: downloads.Download(SOURCE, "config.json"),
        lambda: addresses.check_place("owner/preset"),
        lambda: cache.is_cached(SOURCE, "config.json"),
    ],
)
def test_invalid_timeouts_are_named(monkeypatch, use, value):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", value)
    with pytest.raises(
        ValueError, match=f"whole number.*Received: .*ETAG_TIMEOUT='{value}'"
    ):
        use()


def test_a_request_uses_the_timeout_of_the_client(monkeypatch):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "120")
    with patience.ending_silence():
        (ask,) = huggingface_hub.get_session().event_hooks["request"][-1:]
        request = httpx2.Request("GET", "http://127.0.0.1")
        ask(request)
    assert request.extensions["timeout"]["read"] == 120.0


def test_hooks_outlive_the_client_and_contexts_end_in_any_order():
    """The client is replaced after a refused connection; threads share it."""

    def send():
        asked.clear()
        huggingface_hub.close_session()
        (*_, ask) = huggingface_hub.get_session().event_hooks["request"]
        ask("a request")
        return asked

    asked = []
    hook = asked.append
    first, second = (hooks.hooking(request=hook) for _ in range(2))
    first.__enter__()
    client = huggingface_hub.get_session()
    second.__enter__()
    assert huggingface_hub.get_session() is client
    assert len(client.event_hooks["request"]) == 2
    assert send() == ["a request"] * 2
    first.__exit__(None, None, None)
    assert send() == ["a request"]
    second.__exit__(None, None, None)
    assert send() == []
