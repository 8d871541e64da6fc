"""What the client raises, in the words of this package."""

import re

import pytest

from keras_ncsn import hub, hub_errors

SOURCE = hub.Source("owner/preset", "", None)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            RuntimeError(
                "Task error: CAS Client Error: Request error: HTTP status "
                "client error (404 Not Found), domain: http://127.0.0.1/v1"
            ),
            OSError,
            "answered 404 for a file of hf://owner/preset",
        ),
        (
            RuntimeError("Task error: HTTP status server error (500 Internal"),
            OSError,
            "answered 500 for a file",
        ),
    ],
)
def test_what_the_client_says_is_a_sentence(error, kind, message):
    translated = hub_errors.translated(error, SOURCE, "a file")
    assert type(translated) is kind
    assert re.search(message, str(translated))
    assert "\n" not in str(translated)
