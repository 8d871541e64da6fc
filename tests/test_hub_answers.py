"""Answers of a Hub that no Hub should give: a sentence each, and no hang."""

import json
import re

import hub_server
import pytest
from hub_runs import find, find_without_pauses

from keras_ncsn.hub import errors, uploads
from keras_ncsn.presets import format

CARD = format.CARD_FILE
pytestmark = pytest.mark.usefixtures("alarm")

WRONG = [
    *("null", "[]", "1", "{}", "[[]]", "{"),
    *('{"url": 5}', '{"files": 5}', '{"files": [{"path": "a"}]}'),
    '{"commitUrl": 5, "commitOid": 5}',
    '{"commitUrl": "a", "commitOid": "b", "pullRequestUrl": 5}',
    '{"error": {"a": [1]}, "errors": 5}',
    '{"errors": [{"message": {"a": "\\u001b[2J\\ud800"}}]}',
    '{"a":' * 10**5,
    "1" * 10**4,
    b"\xff\xfe\x00",
]


PLACES = [
    ("GET", "/api/whoami-v2"),
    ("POST", "/api/repos/create"),
    ("POST", "/api/models/owner/preset/preupload/main"),
    ("POST", "/api/models/owner/preset/commit/main"),
    ("POST", "/objects/batch"),
    ("POST", "/api/validate-yaml"),
]


def send(answer, status):
    body = answer if isinstance(answer, bytes) else answer.encode()

    def fault(handler):
        headers = {"Content-Type": "application/json"}
        handler.answer(status, body, headers)

    return fault


def push_repeatedly(folder, token, count):
    """Returns the type and the message of what each answer raises."""
    files = {path.name: path for path in folder.iterdir()}
    raised = []
    for _ in range(count):
        try:
            uploads.check_sender("owner/preset", token=token)
            address = uploads.push(files, "owner/preset", "A", token=token)
            raised.append(("address", address))
        except (ValueError, OSError) as error:
            raised.append((type(error).__name__, str(error)))
    return raised


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1][-9:])
@pytest.mark.parametrize("status", [200, 400])
def test_answers_of_wrong_types_give_one_sentence(
    run, server, folder, place, status
):
    server.large = (".h5",)
    (folder / CARD).write_text("---\nlicense: mit\n---\n# Mine\n")
    server.faults[place] = [send(answer, status) for answer in WRONG]
    environment = {"HF_HUB_DISABLE_XET": "1"}
    raised = run(
        push_repeatedly, folder, server.token, len(WRONG), **environment
    )
    assert server.faults[place] == []
    for answer, (kind, message) in zip(WRONG, raised, strict=True):
        assert message.isprintable(), answer
        assert len(message) < 1500
        assert kind == "address" or re.search("Received|Hub answered", message)


def test_an_answer_with_too_many_digits_gives_one_sentence(
    run, server, published
):
    for headers in (
        {"Retry-After": "9" * 5000},
        {"RateLimit": f'"api";r=0;t={"9" * 5000}'},
        {"X-Linked-Size": "9" * 5000},
        {"X-Linked-Size": "1_0"},
    ):
        status = 200 if "X-Linked-Size" in headers else 429

        def fault(handler, status=status, headers=headers):
            oid, content = handler.stored()
            names = {"X-Repo-Commit": oid, "ETag": '"abc"'}
            handler.answer(status, content, names | headers)

        server.faults["HEAD", "config.json"] = fault
        report = run.report(find)
        error = report["error"]
        assert error is None or error[0] in ("OSError", "ValueError")
        assert error is None or error[1].isprintable()


def test_a_wait_of_too_many_digits_is_read_as_very_long():
    class Answer:
        status_code = 429
        headers = {"Retry-After": "9" * 5000}

    assert errors.asked_wait(Answer) > 10**18
    Answer.headers = {"RateLimit": f'"api";r=0;t={"9" * 5000}'}
    assert errors.asked_wait(Answer) > 10**18


def test_a_server_that_is_not_a_hub_gives_one_sentence(run, server, published):
    """A server of some other kind, and one that speaks no HTTP."""

    def not_http(handler):
        handler.close_connection = True
        handler.wfile.write(b"220 \x1b[2J ready hf_secret_of_the_tests\r\n\r\n")

    server.faults["HEAD", "config.json"] = not_http
    report = run.report(find_without_pauses, HF_TOKEN=hub_server.Hub.token)
    kind, message = report["error"]
    assert kind == "ConnectionError"
    assert message.isprintable()


def test_metadata_of_wrong_types_on_the_hub_are_refused(run, published, folder):
    known = json.loads((folder / "metadata.json").read_text())
    texts = WRONG[:3] + WRONG[-3:]
    for name in ("sha256", "config_sha256", "format_version"):
        for value in (5, {"\x1b[2J": 5}):
            texts.append(json.dumps(known | {name: value}))
    for text in texts:
        content = text if isinstance(text, bytes) else text.encode()
        published.commit({"metadata.json": content}, "main")
        kind, message = run.report(find)["error"]
        assert kind == "ValueError", text
        assert message.isprintable()
