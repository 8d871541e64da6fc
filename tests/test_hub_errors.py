"""What the client raises, in the words of this package."""

import re

import httpx2
import pytest
from huggingface_hub import errors

from keras_ncsn import hub, hub_errors

SOURCE = hub.Source("owner/preset", "", None)


def answered(status):
    request = httpx2.Request("GET", "http://127.0.0.1")
    response = httpx2.Response(status, request=request)
    return errors.HfHubHTTPError("It failed.", response=response)


TOKEN = ValueError, "`token`, or HF_TOKEN, must be .* one line"
XET = "Task error: CAS Client Error: Request error: HTTP status"


@pytest.mark.parametrize(
    ("error", "sending", "kind", "message"),
    [
        (answered(401), False, ValueError, "yours to use.*expired.*revoked"),
        (answered(401), True, PermissionError, "expired or was revoked"),
        (answered(404), False, ValueError, "and the revision must exist.*404"),
        (answered(404), True, OSError, "answered 404"),
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
def test_what_the_client_says_is_a_sentence(error, sending, kind, message):
    translated = hub_errors.translated(error, SOURCE, "a file", sending)
    assert type(translated) is kind
    assert re.search(message, str(translated))
    assert "\n" not in str(translated)
    assert "hf_s" not in str(translated)
