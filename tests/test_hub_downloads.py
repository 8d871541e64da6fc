"""Faults while presets come down: a sentence each, and no harm to the cache."""

import hashlib
import json
import pathlib
import re
import socket
import time

import hub_server
import pytest
from hub_runs import (
    HERE,
    find,
    find_without_pauses,
    load,
    read_files,
    weights,
)
from preset_files import restate

import keras_ncsn
from keras_ncsn.hub import addresses, cache, downloads
from keras_ncsn.presets import format, sources

WEIGHTS = format.WEIGHTS_FILE
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def cached_files(tmp_path):
    cache = tmp_path / "home" / "hub"
    return sorted(
        path.relative_to(cache)
        for kind in ("blobs", "snapshots")
        for path in cache.glob(f"*/{kind}/**/*")
        if path.is_file()
    )


def flip(path):
    """Changes a byte of a file, where it is."""
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


CODES = {
    (500,): ("OSError", "answered 500"),
    (401, "RepoNotFound"): ("ValueError", "exist, and you must have access"),
    (403,): ("PermissionError", r"refuses access.*\(403\)"),
    (403, "GatedRepo"): ("PermissionError", "accepted its terms"),
    (404,): ("ValueError", "and the revision must exist"),
    (404, "RepoNotFound"): ("ValueError", "exist, and you must have access"),
    (404, "RevisionNotFound"): ("ValueError", "has no such branch"),
    (404, "EntryNotFound"): ("ValueError", "must hold a preset"),
    (429,): ("OSError", r"too many requests.*\(429\)"),
    "close": ("ConnectionError", "Check the connection"),
    "hang": ("TimeoutError", "did not answer in time"),
}
BODIES = {
    (500,): ("OSError", f"answered 500 for {WEIGHTS}"),
    (403,): ("PermissionError", r"refuses access.*\(403\)"),
    "cut": ("ConnectionError", f"{WEIGHTS} of .*Check the connection"),
    "flip": ("ValueError", "SHA-256.*stated"),
    (429, None, 60): ("OSError", r"\(429\).*Wait 60 seconds and try again"),
}


@pytest.mark.parametrize(
    ("method", "end", "fault", "expected"),
    [
        *(("HEAD", "config.json", *pair) for pair in CODES.items()),
        *(("GET", WEIGHTS, *pair) for pair in BODIES.items()),
        # The client would wait an hour, five times.
        ("HEAD", WEIGHTS, (503, None, 3600), ("OSError", "answered 503")),
    ],
)
def test_each_fault_gives_one_sentence_and_can_be_repeated(
    run, server, published, folder, tmp_path, method, end, fault, expected
):
    server.faults[method, end] = fault
    # The others tell how long to wait, or are waited for.
    repeated = fault in ("cut", "close", (500,))
    ask = find_without_pauses if repeated else find
    failed = run.report(ask, patience=1.5)
    kind, message = failed["error"]
    assert kind == expected[0]
    assert re.search(expected[1], message)
    assert message.count("\n") == 0
    assert failed["seconds"] < 20
    before = [path for path in cached_files(tmp_path) if WEIGHTS in str(path)]
    assert before == []
    server.faults.clear()
    if method == "GET" or fault == (500,):
        assert run(find) == weights(folder)


@pytest.mark.parametrize(
    ("method", "end", "fault"),
    [
        ("HEAD", "config.json", "hang"),
        ("GET", WEIGHTS, "stall"),
        *(
            pytest.param(*silence, marks=pytest.mark.slow)
            for silence in (
                # Once answered, when asked which commit there is.
                ("HEAD", "config.json", [None, *["hang"] * 9]),
                ("HEAD", "metadata.json", "hang"),
                ("HEAD", WEIGHTS, "hang"),
                ("GET", "config.json", "hang"),
            )
        ),
    ],
)
def test_a_silent_hub_times_out(
    run, server, published, folder, method, end, fault
):
    server.faults[method, end] = fault
    # The client's own limit for the first question, which it would repeat.
    failed = run.report(find, patience=1.5, HF_HUB_ETAG_TIMEOUT="1")
    kind, message = failed["error"]
    assert kind == "TimeoutError"
    assert re.search(f"did not answer in time.*about {end}", message)
    assert message.count("\n") == 0
    assert failed["seconds"] < 5.0
    server.faults.clear()
    assert run(find) == weights(folder)


def test_files_in_xet_are_downloaded_without_xet(
    run, server, published, folder
):
    """Its client waits for minutes for a store that is silent."""
    pytest.importorskip("hf_xet")
    server.xet = (".h5",)
    loaded = run.report(find)
    assert loaded["error"] is None
    assert loaded["result"] == weights(folder)
    assert ("GET", hub_server.XET_TOKEN) not in server.requests


def get_after_a_refusal(name):
    """Gets a file with a client that took the place of another on the way."""
    import huggingface_hub

    download = downloads.Download(addresses.parse(HERE), "config.json")
    huggingface_hub.close_session()
    connect, refusals = socket.create_connection, [1, 2]

    def create_connection(*args, **kwargs):
        if refusals and refusals.pop():
            raise ConnectionRefusedError
        return connect(*args, **kwargs)

    socket.create_connection = create_connection
    # The client rests for a second before it tries again.
    time.sleep = lambda seconds: None
    try:
        return str(download.get(name))
    finally:
        assert refusals == []


def test_checks_continue_after_a_refused_connection(
    run, server, published, tmp_path
):
    server.faults["GET", WEIGHTS] = "hang"
    silent = run.report(get_after_a_refusal, WEIGHTS, patience=2.0)
    assert silent["error"][0] == "TimeoutError"
    assert silent["seconds"] < 7.0
    server.faults.clear()
    first = [1]
    server.commit = lambda oid: oid if first and first.pop() else "../../evil"
    refused = run.report(get_after_a_refusal, WEIGHTS)
    assert "X-Repo-Commit='../../evil'" in refused["error"][1]
    assert not list(tmp_path.glob("**/evil*"))
    server.commit = str
    server.xet = (".h5",)
    assert run(get_after_a_refusal, WEIGHTS).endswith(WEIGHTS)
    assert ("GET", hub_server.XET_TOKEN) not in server.requests


def test_a_slow_download_does_not_time_out(run, server, published, folder):
    server.faults["GET", WEIGHTS] = "slow"
    server.pause = 0.6
    # The second waits for the first, which holds the lock of the file.
    finish = [run.start(find, patience=2.0), run.start(find, patience=2.0)]
    results = [wait() for wait in finish]
    assert [result["error"] for result in results] == [None, None]
    assert results[0]["result"] == results[1]["result"] == weights(folder)
    assert min(result["seconds"] for result in results) > 2.0
    fetched = [path for method, path in server.requests if method == "GET"]
    assert sum(path.endswith(WEIGHTS) for path in fetched) == 1


def test_a_download_waits_as_long_as_the_hub_asks(
    run, server, published, folder
):
    later = [(429, None, 0), (503, None, 1)]
    server.faults["HEAD", "config.json"] = later[::-1]
    server.faults["GET", WEIGHTS] = later
    loaded = run.report(find)
    assert loaded["error"] is None
    assert loaded["result"] == weights(folder)
    assert loaded["seconds"] > 3.0
    faults = [fault for fault in server.faults.values() if fault]
    assert faults == []


def cached(tmp_path, name):
    (path,) = (tmp_path / "home" / "hub").glob(f"*/snapshots/*/{name}")
    return path


@pytest.mark.parametrize("fault", [(500,), (401, "RepoNotFound"), "close"])
def test_the_cache_is_used_while_the_hub_fails(
    run, server, published, folder, tmp_path, fault
):
    run(find)
    server.faults["HEAD", "config.json"] = fault
    served = run.report(find_without_pauses, patience=2.0)
    assert served["result"] == weights(folder)
    assert "in the cache, because the Hub could not" in served["warnings"][0]
    flip(cached(tmp_path, WEIGHTS).resolve())
    damaged = run.report(find_without_pauses, patience=2.0)
    assert "SHA-256" in damaged["error"][1]
    server.faults.clear()
    assert run(find) == weights(folder)


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_a_damaged_text_is_refused_and_fetched_again(
    run, server, published, folder, tmp_path, name
):
    server.faults["GET", name] = "flip"
    failed = run.report(find)
    assert failed["error"][0] == "ValueError"
    assert re.search(
        rf"match the file on the Hub.*{name}.*Try again", failed["error"][1]
    )
    assert failed["error"][1].count("\n") == 0
    server.faults.clear()
    assert run(find) == weights(folder)
    # So it is where the disk damages it later.
    flip(cached(tmp_path, name).resolve())
    assert "match the file on the Hub" in run.report(find)["error"][1]
    assert run(find) == weights(folder)


def test_a_read_only_cache_keeps_damaged_files(monkeypatch, tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    monkeypatch.setattr(cache, "holds", lambda path: True)

    def refuse(self, missing_ok):
        raise PermissionError

    monkeypatch.setattr(type(path), "unlink", refuse)
    cache.forget(path)
    assert path.is_file()


def show(preset):
    return sources.read_card(preset)


def test_a_damaged_card_is_refused_and_fetched_again(run, server, published):
    published.commit({"README.md": b"# A card\n"}, "main")
    server.faults["GET", "README.md"] = "flip"
    assert "match the file on the Hub" in run.report(show, HERE)["error"][1]
    server.faults.clear()
    assert run(show, HERE) == "# A card\n"


def plain_sha1(content):
    return hashlib.sha1(content).hexdigest()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def no_hash(content):
    return f"{hashlib.md5(content).hexdigest()}-1"


@pytest.mark.parametrize("etag", [plain_sha1, sha256, no_hash])
def test_mirrors_may_name_files_in_other_ways(
    run, server, published, folder, etag
):
    server.etag = etag
    server.faults["GET", WEIGHTS] = "flip"
    assert "SHA-256" in run.report(find)["error"][1]
    server.faults.clear()
    assert run(find) == weights(folder)
    assert run(find, **OFFLINE) == weights(folder)


def test_a_cache_without_links_works(run, server, published, folder):
    no_links = {"HF_HUB_DISABLE_SYMLINKS": "1"}
    server.faults["GET", WEIGHTS] = "flip"
    assert "SHA-256" in run.report(find, **no_links)["error"][1]
    server.faults.clear()
    assert run(find, **no_links) == weights(folder)
    assert run(find, **no_links, **OFFLINE) == weights(folder)


@pytest.mark.parametrize(
    ("etag", "commit", "message"),
    [
        (sha256, None, "no header X-Repo-Commit"),
        (lambda content: "../../../x", str, "ETag='../../../x'"),
        (lambda content: "/tmp/x", str, "ETag='/tmp/x'"),
        (lambda content: "..", str, "ETag='..'"),
        (lambda content: "", str, "ETag=''"),
        (lambda content: "f" * 300, str, "ETag='f+'"),
        (sha256, lambda oid: "../x", "X-Repo-Commit='../x'"),
    ],
)
def test_names_that_leave_the_cache_are_refused(
    run, server, published, tmp_path, etag, commit, message
):
    server.etag, server.commit = etag, commit
    kind, said = run.report(find)["error"]
    assert kind == "OSError"
    assert re.search(f"must give an answer.*{message}", said)
    assert cached_files(tmp_path) == []
    assert not list(tmp_path.glob("**/x"))


DAMAGE = {
    "another config": ("config.json", b'"num_blocks": 1', b'"num_blocks": 2'),
    "a config cut short": ("config.json", b"}\n", b""),
    "metadata cut short": ("metadata.json", b"}\n", b""),
    "a wrong format": ("metadata.json", b'_version": 1', b'_version": 0'),
    "no checksum": ("metadata.json", b'"sha256": {', b'"sha257": {'),
    "another checksum": (
        "metadata.json",
        b'weights.h5": "',
        b'weights.h5": "f',
    ),
}


@pytest.mark.parametrize(
    ("damage", "links"),
    [*((damage, False) for damage in DAMAGE), ("another config", True)],
)
def test_a_damaged_text_of_unknown_hash_is_fetched_again(
    run, server, published, folder, tmp_path, damage, links
):
    """Where there are no links, or a mirror names files in its own way."""
    server.etag = no_hash
    environment = {} if links else {"HF_HUB_DISABLE_SYMLINKS": "1"}
    name, old, new = DAMAGE[damage]
    damaged, fetched = run(
        find_damaged_and_again, name, old, new, **environment
    )
    assert damaged[0] == "ValueError"
    assert fetched == weights(folder)


def find_damaged_and_again(name, old, new):
    import huggingface_hub

    find()
    path = huggingface_hub.try_to_load_from_cache("owner/preset", name)
    path = pathlib.Path(path).resolve()
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    try:
        find()
        error = None
    except ValueError as raised:
        error = type(raised).__name__, str(raised)
    return error, find()


@pytest.fixture(scope="module")
def updated(made_once, tmp_path_factory):
    """The preset with other weights and another config."""
    model = keras_ncsn.NCSNModel.from_preset(made_once, ema_momentum=0.5)
    weights = model.network.get_weights()
    model.network.set_weights([weight + 1.0 for weight in weights])
    model.reset_ema()
    folder = tmp_path_factory.mktemp("updated") / "preset"
    model.save_to_preset(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["config"]["sampler_settings"] = {"heun": {"num_steps": 3}}
    path.write_text(json.dumps(config))
    restate(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        (WEIGHTS, (500,), "answered 500"),
        (WEIGHTS, "flip", "SHA-256"),
        ("metadata.json", "flip", "match the file on the Hub"),
        ("config.json", "flip", "match the file on the Hub"),
    ],
)
def test_a_failed_update_leaves_the_old_preset(
    run, server, published, folder, updated, tmp_path, name, fault, message
):
    run(find)
    before = cached_files(tmp_path)
    published.commit(read_files(updated), "main")
    server.faults["GET", name] = fault
    assert message in run.report(find_without_pauses)["error"][1]
    assert set(before) <= set(cached_files(tmp_path))
    assert run(find, **OFFLINE) == weights(folder)
    server.faults.clear()
    assert run(load_bare)
    assert run(find, **OFFLINE) == weights(folder)
    assert run(find) == run(find, **OFFLINE) == weights(updated)


def test_a_wrong_update_keeps_files_shared_with_the_old_preset(
    run, published, folder, updated, tmp_path
):
    run(find)
    before = cached_files(tmp_path)
    published.commit(read_files(updated), "main")
    published.commit({WEIGHTS: (folder / WEIGHTS).read_bytes()}, "main")
    for _ in range(2):
        assert "SHA-256" in run.report(find)["error"][1]
        assert set(before) <= set(cached_files(tmp_path))
        assert run(find, **OFFLINE) == weights(folder)


def load_bare():
    return load(load_weights=False)


def load_with(arguments):
    return load(**arguments)


def publish_changed(published, folder, pattern, new):
    path = folder / "config.json"
    path.write_text(re.sub(pattern, new, path.read_text()))
    restate(folder)
    published.commit(read_files(folder), "main")


def publish_wider(published, folder):
    """A config that the weights do not fit."""
    publish_changed(published, folder, r'("widths": \[\s*)4', r"\g<1>8")


def publish_misspelt(published, folder):
    publish_changed(published, folder, '"widths"', '"heights"')


def publish_strange(published, folder):
    publish_changed(published, folder, '"UNet"', '"VNet"')


def publish_as_it_is(published, folder):
    published.commit({}, "main")


@pytest.mark.parametrize(
    ("publish", "arguments", "message"),
    [
        (publish_strange, {}, "must consist of classes"),
        (publish_misspelt, {}, "hold arguments that"),
        (publish_wider, {}, "must fit"),
        (publish_as_it_is, {"sampler": "dice"}, "`sampler` must be one of"),
        (publish_as_it_is, {"dtype": "float33"}, "float33"),
        (publish_as_it_is, {"colour": "red"}, "Unrecognized.*colour"),
    ],
)
def test_presets_that_cannot_be_built_stay_in_the_cache(
    run, server, published, folder, tmp_path, publish, arguments, message
):
    publish(published, folder)
    assert re.search(message, run.report(load_with, arguments)["error"][1])
    before = cached_files(tmp_path)
    assert {path.name for path in before} >= {"config.json", WEIGHTS}
    fetched = sum(method == "GET" for method, _ in server.requests)
    assert re.search(message, run.report(load_with, arguments)["error"][1])
    assert cached_files(tmp_path) == before
    assert sum(method == "GET" for method, _ in server.requests) == fetched


def test_two_processes_fetch_at_the_same_time(run, published, folder):
    finish = [run.start(find), run.start(find)]
    results = [wait() for wait in finish]
    assert [result["error"] for result in results] == [None, None]
    assert results[0]["result"] == results[1]["result"] == weights(folder)
