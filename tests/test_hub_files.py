"""Odd files and odd answers: a sentence each, and nothing hangs."""

import json
import os
import pathlib
import re
import signal

import hub_server
import pytest
from hub_runs import HERE, find, find_without_pauses, push

import keras_ncsn
from keras_ncsn.hub import cache, errors, uploads
from keras_ncsn.presets import format, publishing, sources

CARD = format.CARD_FILE


@pytest.fixture(autouse=True)
def alarm():
    """Ends a test that hangs."""

    def give_up(number, frame):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_odd(path, kind, outside):
    """Puts something where a file is expected."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(2**40)
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "long circle":
        path.with_name("other").symlink_to(path.name)
        path.symlink_to("other")
    elif kind == "link to a pipe":
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")
    else:
        outside.write_text("secret")
        path.symlink_to(outside)


KINDS = [
    *("pipe", "folder", "sparse", "circle", "long circle"),
    *("link to a pipe", "link out"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_of_an_odd_kind_is_a_sentence(folder, tmp_path, kind):
    make_odd(folder / CARD, kind, tmp_path / "outside\x1b[2J")
    with pytest.raises(ValueError, match=r"Received: .*README\.md|preset") as e:
        sources.read_card(folder)
    assert "secret" not in str(e.value)
    assert str(e.value).isprintable()


@pytest.mark.parametrize("kind", [x for x in KINDS if x != "sparse"])
@pytest.mark.parametrize("name", ["config.json", format.WEIGHTS_FILE])
def test_a_preset_of_odd_files_is_a_sentence(folder, tmp_path, name, kind):
    make_odd(folder / name, kind, tmp_path / "outside")
    with pytest.raises(ValueError, match="Received: ") as e:
        sources.find(folder)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("kind", ["circle", "long circle"])
def test_a_folder_in_a_circle_is_no_preset(tmp_path, kind):
    make_odd(tmp_path / "preset", kind, None)
    with pytest.raises(ValueError, match="must be a name of the zoo"):
        sources.find(tmp_path / "preset")
    with pytest.raises(ValueError, match="must be a name of the zoo"):
        sources.read_card(tmp_path / "preset" / ".." / "preset")


@pytest.fixture(scope="module")
def model(made_once):
    return keras_ncsn.NCSNModel.from_preset(made_once)


def prepare(folder, made):
    model = keras_ncsn.NCSNModel.from_preset(folder)
    return publishing.prepare(folder, made, model, "owner/preset", None)


@pytest.mark.parametrize("kind", [x for x in KINDS if x != "sparse"])
@pytest.mark.parametrize("name", [CARD, "LICENSE", "samples.png", "a.png"])
def test_odd_files_do_not_go_up(model, folder, tmp_path, name, kind):
    (folder / CARD).write_text("![A](a.png)\n")
    make_odd(folder / name, kind, tmp_path / "outside")
    (tmp_path / "made").mkdir()
    upload = publishing.prepare(
        folder, tmp_path / "made", model, "owner/preset", None
    )
    sent = upload.files.get(name)
    assert sent is None or sent.parent == tmp_path / "made"
    assert "secret" not in upload.files[CARD].read_text()


def test_a_card_that_is_too_large_does_not_go_up(folder, tmp_path):
    with open(folder / CARD, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(
        ValueError, match=r"card must.*README\.md, it must have"
    ):
        prepare(folder, tmp_path)


def test_pictures_of_odd_names_are_none(folder):
    """Names that no file can have, or that lead in circles."""
    (folder / "circle").symlink_to("circle")
    (folder / "a\x1b[2J.png").write_text("shown")
    names = [
        *(f"{'x' * 5000}.png", "circle/a.png", "circle/../../a.png"),
        *("a%00.png", "%2e%2e/a.png", "%ff%fe.png", "a%1b[2J.png"),
    ]
    card = "".join(f"![A]({name})\n" for name in names)
    assert publishing._linked(card, folder) == ["a\x1b[2J.png"]


@pytest.mark.parametrize("arguments", [["--dry-run"], []])
def test_names_of_pictures_give_no_orders(run, server, folder, arguments):
    name = "a\x1b[2J\n\x9bError: all is lost\u202e.png"
    (folder / name).write_text("shown")
    (folder / CARD).write_text(
        "![A](a%1b[2J%0a%c2%9bError:%20all%20is%20lost%e2%80%ae.png)\n"
    )
    printed = run(
        push, folder, "owner/preset", *arguments, HF_TOKEN=server.token
    )
    assert printed.replace("\n", "").isprintable()
    (line,) = [x for x in printed.splitlines() if "all is lost" in x]
    assert line.endswith("  a[2J Error: all is lost.png")


def plant(name, kind):
    """Puts something odd into the cache, in place of a file."""
    import huggingface_hub

    path = pathlib.Path(
        huggingface_hub.try_to_load_from_cache("owner/preset", name)
    )
    outside = path.parents[4] / "outside"
    make_odd(path, kind, outside)


def show():
    return sources.read_card(HERE)


def plant_and_show(kind):
    show()
    plant(CARD, kind)
    return show()


@pytest.mark.parametrize("kind", [*KINDS, "blob"])
def test_a_cached_card_of_an_odd_kind_hangs_nothing(
    run, server, published, kind
):
    published.commit({CARD: b"# A card\n"}, "main")
    if kind == "blob":
        report = run.report(plant_blob_and_show)
    else:
        report = run.report(plant_and_show, kind)
    if report["error"] is None:
        # What cannot be read at all is fetched anew.
        assert report["result"] in ("# A card\n", "secret")
        return
    assert report["error"][0] == "ValueError"
    assert "Received: " in report["error"][1]
    assert report["error"][1].isprintable()


def plant_blob_and_show():
    """A blob of a name that says nothing of its size."""
    import huggingface_hub

    show()
    path = huggingface_hub.try_to_load_from_cache("owner/preset", CARD)
    with open(os.path.realpath(path), "wb") as file:
        file.truncate(2**25)
    return show()


def test_a_circle_in_the_cache_is_forgotten_without_a_traceback(
    tmp_path, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for kind in ("circle", "long circle", "pipe", "folder"):
        path = tmp_path / kind.replace(" ", "_")
        make_odd(path, kind, None)
        assert cache.is_whole(path) is None
        cache.check(path)
        cache.distrust(path)


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
def test_answers_of_wrong_types_are_a_sentence_each(
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


def test_an_answer_that_has_more_digits_than_a_number_is_a_sentence(
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


def test_answers_are_asked_for_how_long_to_wait():
    class Answer:
        status_code = 429
        headers = {"Retry-After": "9" * 5000}

    assert errors.asked_wait(Answer) > 10**18
    Answer.headers = {"RateLimit": f'"api";r=0;t={"9" * 5000}'}
    assert errors.asked_wait(Answer) > 10**18


def test_a_hub_that_is_none_is_a_sentence(run, server, published):
    """A server of some other kind, and one that speaks no HTTP."""

    def not_http(handler):
        handler.close_connection = True
        handler.wfile.write(b"220 \x1b[2J ready hf_secret_of_the_tests\r\n\r\n")

    server.faults["HEAD", "config.json"] = not_http
    report = run.report(find_without_pauses, HF_TOKEN=hub_server.Hub.token)
    kind, message = report["error"]
    assert kind == "ConnectionError"
    assert message.isprintable()


def test_metadata_on_the_hub_that_are_of_wrong_types(run, published, folder):
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
