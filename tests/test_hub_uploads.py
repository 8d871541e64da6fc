"""Faults while presets go up: a sentence each, and no harm."""

import pathlib
import re
import socket
import time
import traceback

import hub_server
import numpy as np
import pytest
from hub_runs import find, push, read_files, weights
from PIL import Image

import keras_ncsn
from keras_ncsn.hub import uploads
from keras_ncsn.presets import format, publishing


def push_repeatedly(folder, times):
    """Returns the error of each time, and what the last one returned."""
    # Between its tries the client waits for up to eight seconds.
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, 0.01))
    files = {path.name: path for path in folder.iterdir()}
    errors, address = [], None
    for _ in range(times):
        started = time.monotonic()
        try:
            address = uploads.push(files, "owner/preset", "A preset")
        except (ValueError, OSError) as error:
            text = "".join(traceback.format_exception(error))
            assert hub_server.Hub.token not in text
            kind = type(error).__name__
            seconds = time.monotonic() - started
            errors.append((kind, str(error), seconds))
    return errors, address


# So that what goes up does not all fit into what waits on the way.
SMALL_SENDER = socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16
SMALL_RECEIVER = socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16


def push_slowly(folder):
    connect = socket.create_connection

    def create_connection(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.setsockopt(*SMALL_SENDER)
        return connection

    socket.create_connection = create_connection
    return push_repeatedly(folder, 1)


SENTENCES = {
    (401,): ("PermissionError", r"one that is wrong.*\(401\)"),
    (403,): ("PermissionError", r"does not let this token write.*\(403\)"),
    (409,): ("OSError", "answered 409, because someone else.*Try again"),
    (412,): ("OSError", "answered 412, because someone else.*Try again"),
    (429,): ("OSError", r"too many requests.*\(429\)"),
    (500,): ("OSError", "answered 500 for the files"),
    "close": ("ConnectionError", "the files of .*Check the connection"),
    "hang": ("TimeoutError", "did not answer in time.*about the files"),
}
CREATE = "/api/repos/create"
PREUPLOAD = "/api/models/owner/preset/preupload/main"
COMMIT = "/api/models/owner/preset/commit/main"


@pytest.mark.parametrize(
    ("end", "faults"),
    [
        (COMMIT, SENTENCES),
        (CREATE, [(401,), (403,), (500,), "close", "hang"]),
        (PREUPLOAD, [(401,), (403,), "hang"]),
    ],
)
def test_failed_uploads_give_one_sentence_and_can_be_repeated(
    run, server, folder, end, faults
):
    before = read_files(folder)
    server.faults["POST", end] = list(faults)
    errors, address = run(
        push_repeatedly,
        folder,
        len(faults) + 1,
        patience=2.0,
        HF_TOKEN=server.token,
    )
    assert len(errors) == len(faults)
    for fault, (kind, message, seconds) in zip(faults, errors, strict=True):
        assert (fault, kind) == (fault, SENTENCES[fault][0])
        assert re.search(SENTENCES[fault][1], message)
        assert message.count("\n") == 0
        assert seconds < 5
    assert address.startswith(f"{server.endpoint}/owner/preset/commit/")
    assert read_files(folder) == before
    repository = server.repositories["owner/preset"]
    assert len(repository.commits) == 2
    stored = repository.commits[repository.branches["main"]]
    assert stored == before | {".gitattributes": b""}


def test_failed_retries_of_the_client_raise_its_errors(run, server, folder):
    tries = 6
    server.faults["POST", PREUPLOAD] = tries * [(500,)] + tries * ["close"]
    errors, address = run(
        push_repeatedly, folder, 3, patience=2.0, HF_TOKEN=server.token
    )
    assert [kind for kind, *_ in errors] == ["OSError", "ConnectionError"]
    assert address
    assert server.faults["POST", PREUPLOAD] == []


def test_a_slow_upload_does_not_time_out(run, server, folder):
    noise = np.random.default_rng(0).bytes(3 << 19)
    (folder / "film.gif").write_bytes(noise)
    server.socket.setsockopt(*SMALL_RECEIVER)
    server.pause = 0.3
    started = time.monotonic()
    errors, address = run(
        push_slowly, folder, patience=2.0, HF_TOKEN=server.token
    )
    assert errors == []
    assert address
    assert time.monotonic() - started > 8 * server.pause


def test_a_card_that_the_hub_refuses_is_named(run, server, folder):
    (folder / "README.md").write_text("---\nlicense: \n---\n")
    failed = run.report(push, folder, "owner/preset", HF_TOKEN=server.token)
    assert failed["error"][0] == "ValueError"
    assert re.search(
        'front matter.*Received:.*"license" must be a string.*Correct the card',
        failed["error"][1],
    )
    assert "\n" not in failed["error"][1]


def test_unchanged_files_are_not_sent_again(run, server, folder):
    secret = {"HF_TOKEN": server.token}
    first = run(push, folder, "owner/preset", **secret)
    again = run(push, folder, "owner/preset", **secret)
    assert again.splitlines()[-1] == first.splitlines()[-1]
    assert len(server.repositories["owner/preset"].commits) == 2


def test_large_files_are_uploaded_separately(run, server, folder):
    server.large = (".h5",)
    (digest,) = format.checksums(folder).values()
    verify = "/lfs/verify"
    server.faults["PUT", digest] = [(403,), "hang"]
    server.faults["POST", verify] = [(404,)]
    server.faults["POST", "/objects/batch"] = [(429, None, 0)]
    errors, address = run(
        push_repeatedly,
        folder,
        4,
        patience=2.0,
        HF_TOKEN=server.token,
        HF_HUB_DISABLE_XET="1",
    )
    kinds = ["PermissionError", "TimeoutError", "OSError"]
    assert [kind for kind, *_ in errors] == kinds
    for (_, message, seconds), said in zip(
        errors,
        ("write to .*403", "did not answer", "answered 404"),
        strict=True,
    ):
        assert re.search(said, message)
        assert message.count("\n") == 0
        assert seconds < 5
    assert address
    assert list(server.objects) == [digest]
    assert ("POST", verify) in server.requests
    assert run(find) == weights(folder)


def test_errors_of_xet_become_one_sentence(run, server, folder):
    """All of Xet that a server like this one can be: it refuses a token."""
    pytest.importorskip("hf_xet")
    server.large = (".h5",)
    token = "/api/models/owner/preset/xet-write-token/main"
    server.faults["GET", token] = [(403,)]
    errors, _ = run(push_repeatedly, folder, 2, HF_TOKEN=server.token)
    assert server.requests.count(("GET", token)) == 2
    assert [kind for kind, *_ in errors] == ["PermissionError", "OSError"]
    assert "does not let this token write" in errors[0][1]
    assert "answered 404 for the files of hf://owner/preset" in errors[1][1]


def newest(server, repo_id="owner/preset"):
    repository = server.repositories[repo_id]
    return repository.commits[repository.branches["main"]]


def test_a_card_is_replaced_until_someone_edits_it_on_the_hub(
    run, server, folder
):
    secret = {"HF_TOKEN": server.token}
    dry = (push, folder, "owner/preset", "--dry-run")
    card = folder / "README.md"
    card.write_text("# Mine\n")
    assert "no card on the Hub yet" in run(*dry, **secret)
    run(push, folder, "owner/preset", **secret)
    assert newest(server)["README.md"].startswith(b"# Mine\n")
    card.write_text("# Mine\n\nNow better.\n")
    assert "card on the Hub is replaced" in run(*dry, **secret)
    run(push, folder, "owner/preset", **secret)
    assert b"Now better." in newest(server)["README.md"]
    # A card that was made does not take the place of one that was written.
    card.unlink()
    assert "stays as it is" in run(*dry, **secret)
    # What was edited there can be edited on here, and goes up by hand alone.
    edited = newest(server)["README.md"].replace(b"Mine", b"Ours")
    server.repositories["owner/preset"].commit({"README.md": edited}, "main")
    card.write_bytes(edited + b"And more.\n")
    assert "stays as it is" in run(*dry, **secret)
    assert "stays as it is" in run(push, folder, "owner/preset", **secret)
    assert newest(server)["README.md"] == edited


def test_cards_in_other_encodings_are_kept_or_refused(run, server, folder):
    dry = (push, folder, "owner/preset", "--dry-run")
    repository = server.repositories["owner/preset"] = hub_server.Repository()
    repository.commit({"README.md": "# Für Zahlen\n".encode("latin-1")}, "main")
    assert "stays as it is" in run(*dry)
    (folder / "README.md").write_bytes("# Für\n".encode("latin-1"))
    kind, message = run.report(*dry)["error"]
    assert kind == "ValueError"
    assert re.search(
        "UTF-8. Received: .*README.md, with byte 0xfc at 3", message
    )


def test_pictures_of_a_relative_folder_are_uploaded(folder, monkeypatch):
    (folder / "a.png").write_text("shown")
    (folder.parent / "here").mkdir()
    monkeypatch.chdir(folder.parent / "here")
    above = pathlib.Path("..", folder.name)
    assert publishing._linked("![A](a.png)", above) == ["a.png"]


def test_only_files_of_the_preset_are_uploaded(run, server, folder, tmp_path):
    secret = {"HF_TOKEN": server.token}
    for name in ("old.weights.h5", "notes.json", "diary.md", "me.png"):
        (folder / name).write_text("private")
    for name in ("a.png", "b.gif", "c.json", "LICENSE"):
        (folder / name).write_text("shown")
    (tmp_path / "secret.png").write_text("secret")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner").mkdir()
    (folder / "inner" / "g h.png").write_text("shown")
    (folder / "outer").symlink_to(tmp_path)
    (folder / "README.md").write_text(
        "![A](./a.png) <img src='b.gif'> [c](c.json) ![d](link.png) "
        "![e](../secret.png) ![f](missing.png) ![g](inner/g%20h.png) "
        f"![h](outer/secret.png) ![i]({tmp_path}/secret.png) ![j](a%00.png)\n"
    )
    before = read_files(folder)
    run(push, folder, "owner/preset", **secret)
    belong = {
        *("README.md", "config.json", "metadata.json", "model.weights.h5"),
        *("samples.png", "a.png", "b.gif", ".gitattributes"),
        "inner/g h.png",
    }
    assert set(newest(server)) == belong | {"LICENSE"}
    assert read_files(folder) == before
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to(tmp_path / "secret.png")
    run(push, folder, "owner/other", **secret)
    assert set(newest(server, "owner/other")) == belong


@pytest.mark.parametrize("option", ["--private", "--dry-run"])
@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_nothing_is_uploaded_offline(run, server, folder, option, token):
    environment = {"HF_HUB_OFFLINE": "1", "HF_TOKEN": token}
    refused = run.report(push, folder, "owner/preset", option, **environment)
    assert refused["error"][0] == "OSError"
    assert re.fullmatch(
        "The Hub must be asked before files are uploaded to hf://owner/preset.*"
        "HF_HUB_OFFLINE forbids. Unset it to push.",
        refused["error"][1],
    )
    assert server.requests == []


WHO = ("GET", "/api/whoami-v2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["owner"], "must be named owner/repo"),
        (["owner/x.git"], "must be named owner/repo"),
        (["owner/x", "--revision=-x"], "must be a branch"),
        (["owner/x", "--revision="], "must be a branch"),
        (["owner/x"], "must be a name of the zoo"),
        (["owner/x", "--dry-run"], "must be a name of the zoo"),
    ],
)
def test_bad_input_is_refused_before_the_hub_is_asked(
    run, server, arguments, message
):
    refused = run.report(push, "clowntown", *arguments, HF_TOKEN="hf_wrong")
    assert re.search(message, refused["error"][1])
    assert server.requests == []


@pytest.mark.parametrize(
    ("token", "message", "requests"),
    [
        ("hf_wrong", r"was revoked \(401\)", [WHO]),
        ("", r"was revoked \(401\)", []),
        ("hf_\x07", r"was revoked \(401\)", [WHO]),
        ("hf_\u00e9", "must be .* one line", []),
    ],
)
def test_a_bad_token_is_refused_before_any_work(
    run, server, folder, token, message, requests
):
    refused = run.report(push, folder, "owner/x", HF_TOKEN=token)
    assert re.search(message, refused["error"][1])
    assert "\n" not in refused["error"][1]
    assert token == "" or token not in refused["error"][1]
    assert server.requests == requests


def test_a_dry_run_needs_no_token(run, server, folder):
    dry = (push, folder, "owner/preset", "--dry-run")
    assert "or your token (if any) cannot see it" in run(*dry)
    assert WHO not in server.requests
    private = server.repositories["owner/preset"] = hub_server.Repository(True)
    private.commit({"README.md": b"# Mine\n"}, "main")
    assert "or your token (if any) cannot see it" in run(*dry)
    assert "stays as it is" in run(*dry, HF_TOKEN=server.token)


def test_a_push_keeps_the_cache_for_offline_mode(
    run, server, published, folder
):
    run(find)
    published.commit({"README.md": b"# Mine\n"}, "main")
    dry = (push, folder, "owner/preset", "--dry-run")
    assert "stays as it is" in run(*dry)
    assert run(find, HF_HUB_OFFLINE="1") == weights(folder)
    server.commit = lambda oid: "../x"
    assert "X-Repo-Commit='../x'" in run.report(*dry)["error"][1]


@pytest.mark.parametrize("condition_dropout", [0.0, 0.1])
def test_no_picture_is_drawn_of_samples_that_need_vectors(
    tmp_path, condition_dropout
):
    network = keras_ncsn.networks.UNet(
        (4, 4, 1), widths=(4,), num_blocks=1, condition_size=3
    )
    model = keras_ncsn.NCSNModel(
        network,
        sampler=keras_ncsn.samplers.Heun(num_steps=2),
        condition_dropout=condition_dropout,
    )
    folder = tmp_path / "preset"
    model.save_to_preset(folder)
    upload = publishing.prepare(folder, tmp_path, model, "owner/preset", None)
    card = upload.files["README.md"].read_text()
    assert "conditions=[0.0] * 3)" in card
    drawn = condition_dropout > 0
    assert ("samples.png" in upload.files) == drawn
    assert ("samples.png" in card) == drawn


@pytest.mark.parametrize(
    "value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), None]
)
def test_sample_pictures_keep_the_brightness(
    folder, tmp_path, monkeypatch, value_range
):
    (folder / "samples.png").unlink()
    model = keras_ncsn.NCSNModel.from_preset(folder, value_range=value_range)
    low, high = value_range or (0.0, 1.0)
    images = np.full((16, 4, 4, 1), low + 0.8 * (high - low), "float32")
    monkeypatch.setattr(model, "generate", lambda num_images, seed: images)
    upload = publishing.prepare(folder, tmp_path, model, "owner/preset", None)
    if value_range is None:
        assert "samples.png" not in upload.files
        assert "samples.png" not in upload.files["README.md"].read_text()
    else:
        # One that lies there already may be of anything.
        card = upload.files["README.md"].read_text()
        assert "![Samples, seed 0, not selected](samples.png)" in card
        drawn = upload.files["samples.png"]
        (folder / "samples.png").write_bytes(drawn.read_bytes())
        upload = publishing.prepare(folder, tmp_path, model, "owner/p", None)
        assert upload.files["samples.png"] == folder / "samples.png"
        card = upload.files["README.md"].read_text()
        assert "![Samples](samples.png)" in card
        assert "selected" not in card
        picture = np.asarray(Image.open(upload.files["samples.png"]))
        assert picture[0, 0] == 204
