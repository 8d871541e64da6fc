"""A token stays secret, whatever a Hub makes of it in its answers."""

import contextlib
import io
import json
import os
import time
import urllib.parse

import httpx2
import pytest
from hub_runs import HERE, find, holds, push, weights

from keras_ncsn.hub import addresses, errors, tokens

TOKEN = "hf_s+cr/t=0f.the~tests"
WHO = "GET", "/api/whoami-v2"
CREATE = "POST", "/api/repos/create"
COMMIT = "POST", "/api/models/owner/preset/commit/main"
CONFIG = "HEAD", "config.json"
WEIGHTS = "GET", "model.weights.h5"


def in_json(text):
    return json.dumps({"error": text}).encode(), {}


def in_text(text):
    return text.encode(), {"Content-Type": "text/plain"}


def in_a_list(text):
    return json.dumps({"errors": [{"message": text}]}).encode(), {}


def in_a_header(text):
    return b"", {"X-Error-Message": text}


def as_it_is(header):
    return header


def bare(header):
    return header.removeprefix("Bearer ")


def quoted(header):
    return urllib.parse.quote(header, safe="")


def quoted_twice_over(header):
    return "".join(f"%{ord(character):02X}" for character in header)


def with_control_characters(header):
    return "\x1b".join(header)


def late(header):
    """Where a long message is cut."""
    return "x" * 480 + " " + header


def echo(status, dress=as_it_is, place=in_json):
    """A fault: an answer that repeats the token that came with the request."""

    def answer(handler):
        body, headers = place(f"Bad: {dress(handler.headers['Authorization'])}")
        handler.answer(status, body, headers)

    return answer


def parts(text, size=12):
    """What must not be seen of a token: no long part of it either."""
    return {text[i : i + size] for i in range(len(text) - size + 1)}


@pytest.mark.parametrize(
    ("place", "faults"),
    [
        (
            WHO,
            [
                *(echo(status) for status in (400, 403, 418)),
                echo(418, bare, in_text),
                echo(418, quoted),
                echo(418, quoted_twice_over),
                echo(403, with_control_characters),
                echo(418, late),
                echo(403, as_it_is, in_a_header),
            ],
        ),
        (CREATE, [echo(400, bare, in_a_list), echo(418), echo(403)]),
        (COMMIT, [echo(403, quoted, in_text), echo(500)]),
    ],
)
def test_pushes_that_fail_show_no_token(run, server, folder, place, faults):
    server.token = TOKEN
    server.faults[place] = left = [*faults]
    failed = run.reports(
        push, folder, "owner/preset", times=len(faults), HF_TOKEN=TOKEN
    )
    assert left == []
    for error, message in (report["error"] for report in failed):
        assert error in ("OSError", "PermissionError", "ValueError")
        message = urllib.parse.unquote(message)
        assert message.isprintable()
        assert not [part for part in parts(TOKEN) if part in message]
        assert "Bad:" in message or "x" * 400 in message


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        (CONFIG, echo(418, as_it_is, in_a_header)),
        (CONFIG, echo(400, quoted, in_a_header)),
        (WEIGHTS, echo(418)),
        (WEIGHTS, echo(400, bare, in_text)),
    ],
)
def test_a_download_that_fails_shows_no_token(
    run, server, published, place, fault
):
    server.faults[place] = fault
    failed = run.report(find_with, TOKEN)
    assert "Bad:" in failed["error"][1]
    message = urllib.parse.unquote(failed["error"][1])
    assert not [part for part in parts(TOKEN) if part in message]


def find_with(token):
    return find(HERE, token=token)


def test_a_warning_shows_no_token(run, server, published, folder):
    run(find)
    server.faults[CONFIG] = echo(418, as_it_is, in_a_header)
    served = run.report(find, HF_TOKEN=TOKEN)
    assert served["result"] == weights(folder)
    (warning,) = served["warnings"]
    assert "Bad: " in warning
    assert not [part for part in parts(TOKEN) if part in warning]


def logged():
    written = io.StringIO()
    # The client takes hold of it where it is imported, which is here.
    with contextlib.redirect_stderr(written):
        find()
    return written.getvalue()


def test_logs_of_the_client_hold_no_control_characters_or_token(
    run, server, published
):
    def warn(handler):
        oid, content = handler.stored()
        said = f"old; \x1b[2J Too old: {handler.headers['Authorization']}"
        headers = {
            "X-HF-Warning": said,
            "X-Repo-Commit": oid,
            "ETag": f'"{handler.server.etag(content)}"',
            "Content-Disposition": 'inline; filename="\x1b[31mred"',
        }
        handler.answer(200, content, headers)

    server.faults["HEAD", "config.json"] = warn
    server.faults["GET", "config.json"] = warn
    written = run(logged, HF_TOKEN=TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="0")
    assert "Too old" in written
    # Progress bars move the cursor up, and colour nothing.
    assert "\x1b[2J" not in written
    assert "\x1b[31m" not in written
    assert not [part for part in parts(TOKEN) if part in written]


def push_and_echo(folder):
    return push(folder, "owner/preset")


def test_the_address_of_a_commit_holds_no_control_characters_or_token(
    run, server, folder
):
    def commit(handler):
        place = f"{server.endpoint}/owner/preset"
        header = handler.headers["Authorization"]
        address = f"{place}/commit/\x1b]0;you\x07 \n{header}"
        answer = {"commitUrl": address, "commitOid": "0" * 40}
        handler.answer(200, json.dumps(answer).encode())

    server.token = TOKEN
    server.faults[COMMIT] = commit
    printed = run(push_and_echo, folder, HF_TOKEN=TOKEN)
    assert printed.replace("\n", "").isprintable()
    assert printed.splitlines()[-1].startswith(server.endpoint)
    assert not [part for part in parts(TOKEN) if part in printed]


def test_a_token_is_recognised_by_its_source_and_its_shape(
    tmp_path, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", "first-secret")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "second-secret")
    (tmp_path / "token").write_text("third-secret\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    text = (
        "first-secret, SECOND-SECRET, third%2Dsecret, "
        "hf_abcdefghijklmnopqrstuvwxyz01234567, owner/hf_digits2026, "
        "Bearer eyJhbGciOiJIUzI1NiJ9, hf_hub_download, Bearer of news"
    )
    assert tokens.said(text) == (
        "[token], [token], [token], [token], owner/hf_digits2026, "
        "Bearer [token], hf_hub_download, Bearer of news"
    )


@pytest.mark.parametrize(
    "between",
    [
        " ",
        "\n",
        "\n\t ",
        "-",
        '", "',
        "\U0001d159",
        "\U00016fe4",
        "\u0301",
        "\ue000",
    ],
)
@pytest.mark.parametrize("size", [1, 10, 15])
def test_a_token_in_pieces_is_hidden(monkeypatch, between, size):
    token = "hf_abcdefghijklmnopqrstuvwxyz012345"
    monkeypatch.setenv("HF_TOKEN", token)
    for text in (token, quoted_twice_over(token)):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        if "%" in text and size != 15:
            continue
        said = tokens.said(f"Bad: {between.join(pieces)}, you; ab-cd 01")
        assert said == "Bad: [token], you; ab-cd 01"


def test_a_text_of_a_server_is_searched_in_a_short_time(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a-" * 20 + "b")
    began = time.monotonic()
    tokens.said("hf_" * 20_000 + "a - " * 20_000 + "%61" * 20_000)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("dress", [as_it_is, quoted, quoted_twice_over])
def test_a_shortened_message_holds_no_part_of_a_token(monkeypatch, dress):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for length in (*range(270, 305), *range(470, 505)):
        message = tokens.said("x" * length + " " + dress(TOKEN))
        message = urllib.parse.unquote(message)
        assert len(message) <= 500
        assert not [part for part in parts(TOKEN, 6) if part in message]


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("kind", ["missing", "pipe", "large", "binary"])
def test_an_unreadable_token_file_holds_no_token(tmp_path, monkeypatch, kind):
    from huggingface_hub import constants

    path = tmp_path / "token"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        path.write_bytes(b"x" * 2**21)
    elif kind == "binary":
        path.write_bytes(b"\xff" * 20)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(path))
    assert tokens.said("plain text") == "plain text"


def test_errors_hold_no_reference_to_the_request():
    """Not even to who looks behind `from None`."""
    source = addresses.Source("owner/preset", "", None)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = httpx2.Request("GET", "http://127.0.0.1", headers=headers)

    def fail():
        try:
            raise httpx2.ConnectError("It failed.", request=request)
        except httpx2.ConnectError as error:
            raise OSError(28, "No space left", "a file") from error

    with pytest.raises(OSError, match="No space left") as raised:
        with errors.translating(source, "a file"):
            fail()
    assert raised.value.errno == 28
    assert not holds(raised.value, TOKEN)
    with pytest.raises(ConnectionError) as raised:
        with errors.translating(source, "a file"):
            raise httpx2.ConnectError("It failed.", request=request)
    assert not holds(raised.value, TOKEN)
