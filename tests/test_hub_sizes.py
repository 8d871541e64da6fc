"""A download ends where it was said to end, whatever a Hub sends."""

import functools
import gzip
import json
import re
import threading
import time

import httpx2
import pytest
from hub_runs import HERE, find, push, weights
from preset_files import restate

from keras_ncsn.hub import sizes
from keras_ncsn.presets import format, sources

WEIGHTS = format.WEIGHTS_FILE
PIECE = bytes(2**16)
# What an endless body ends at, so that a test which fails ends too.
END = 2**26


def head(size, name="Content-Length"):
    """A fault: the Hub says that a file has a size, or says none."""

    def answer(handler):
        oid, content = handler.stored()
        handler.send_response(200)
        handler.send_names(oid, content)
        if size is not None:
            handler.send_header(name, str(size))
        handler.end_headers()

    return answer


class Endless:
    """A fault: a body without an end, and how much of it was sent."""

    def __init__(self, first=b"", encoding=None, length=None, status=200):
        self.first, self.encoding, self.length = first, encoding, length
        self.status = status
        self.sent, self.ended = 0, threading.Event()

    def __call__(self, handler):
        handler.close_connection = True
        handler.send_response(self.status)
        if "/resolve/" in handler.path and self.status == 200:
            handler.send_names(*handler.stored())
        if self.encoding is not None:
            handler.send_header("Content-Encoding", self.encoding)
        if self.length is not None:
            handler.send_header("Content-Length", str(self.length))
        handler.send_header("Connection", "close")
        handler.end_headers()
        piece = self.first
        try:
            while self.sent < END:
                handler.wfile.write(piece)
                self.sent += len(piece)
                piece = PIECE
        except OSError:
            # The client hung up.
            pass
        self.ended.set()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("config.json", format.MAX_CONFIG_BYTES + 1),
        ("metadata.json", format.MAX_METADATA_BYTES + 1),
        ("metadata.json", 10**18),
        (WEIGHTS, 10**9),
    ],
)
@pytest.mark.parametrize("header", ["Content-Length", "X-Linked-Size"])
def test_files_with_a_stated_size_too_large_are_not_fetched(
    run, server, published, name, size, header
):
    server.faults["HEAD", name] = head(size, header)
    kind, message = run.report(find)["error"]
    assert kind == "OSError"
    assert re.search(f"{name} of {HERE} must not be .* size", message)
    assert f"{size:,}" in message
    assert message.count("\n") == 0
    fetched = [path for method, path in server.requests if method == "GET"]
    assert not [path for path in fetched if path.endswith(name)]


@pytest.mark.parametrize(
    ("name", "size", "header"),
    [
        ("config.json", 20, "Content-Length"),
        ("metadata.json", 20, "X-Linked-Size"),
        ("metadata.json", None, None),
        ("config.json", "-1", "X-Linked-Size"),
        (WEIGHTS, 1000, "X-Linked-Size"),
        (WEIGHTS, None, None),
        (WEIGHTS, "many", "X-Linked-Size"),
    ],
)
def test_an_endless_body_is_cut_off(
    run, server, published, folder, tmp_path, name, size, header
):
    server.faults["HEAD", name] = head(size, header)
    endless = server.faults["GET", name] = Endless()
    kind, message = run.report(find)["error"]
    assert kind == "OSError"
    assert re.search(f"{name} of {HERE} must not be .* size", message)
    assert endless.ended.wait(10)
    # The largest limit, and what waits on the way.
    assert endless.sent < format.MAX_CONFIG_BYTES + 2**23
    assert cached(tmp_path, name) == []
    server.faults.clear()
    assert run(find) == weights(folder)


def cached(tmp_path, name):
    hub = tmp_path / "home" / "hub"
    left = list(hub.glob(f"*/snapshots/*/{name}"))
    return left + list(hub.glob("*/blobs/*.incomplete"))


@functools.cache
def bomb(size):
    return gzip.compress(bytes(size))


@pytest.mark.parametrize("name", ["metadata.json", WEIGHTS])
@pytest.mark.parametrize(
    ("encoding", "make", "message"),
    [
        ("gzip", bomb, "more than the"),
        ("deflate", bomb, "Content-Encoding='deflate'"),
        ("gzip, gzip", lambda size: gzip.compress(bomb(size)), "gzip, gzip'"),
        ("br", bomb, "Content-Encoding='br'"),
    ],
)
def test_compressed_bodies_are_not_unpacked_beyond_their_size(
    run, server, published, name, encoding, make, message
):
    packed = make(2**27)

    def send(handler):
        handler.close_connection = True
        handler.send_response(200)
        handler.send_names(*handler.stored())
        handler.send_header("Content-Encoding", encoding)
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    server.faults["GET", name] = send
    kind, said = run.report(find)["error"]
    assert kind == "OSError"
    assert message in said


def test_a_hub_may_compress_its_answers(run, server, published, folder):
    """Some do, whether they are asked to or not."""

    def send(handler):
        oid, content = handler.stored()
        handler.send_response(200)
        handler.send_names(oid, content)
        packed = gzip.compress(content)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    for name in ("config.json", "metadata.json", WEIGHTS):
        server.faults["GET", name] = send
    assert run(find) == weights(folder)


def test_a_resumed_download_ends_at_its_size(run, server, published, folder):
    content = (folder / WEIGHTS).read_bytes()
    half = len(content) // 2

    def cut_once(handler):
        oid, _ = handler.stored()
        start = 0
        if "Range" in handler.headers:
            start = int(re.search(r"\d+", handler.headers["Range"])[0])
        asked.append(start)
        handler.close_connection = True
        handler.send_response(206 if start else 200)
        handler.send_names(oid, content)
        handler.send_header("Content-Length", str(len(content) - start))
        if start:
            last = f"{len(content) - 1}/{len(content)}"
            handler.send_header("Content-Range", f"bytes {start}-{last}")
        handler.end_headers()
        handler.wfile.write(content[start:] if start else content[:half])

    asked = []
    server.faults["GET", WEIGHTS] = cut_once
    assert run(find) == weights(folder)
    assert asked == [0, half]


def test_an_endless_resumed_body_is_cut_off(run, server, published, folder):
    content = (folder / WEIGHTS).read_bytes()
    endless = Endless(status=206)

    def send(handler):
        if "Range" in handler.headers:
            endless(handler)
            return
        handler.close_connection = True
        handler.send_response(200)
        handler.send_names(*handler.stored())
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])

    server.faults["GET", WEIGHTS] = send
    kind, message = run.report(find)["error"]
    assert kind == "OSError"
    assert "must not be larger than its stated size" in message
    assert endless.ended.wait(10)
    assert endless.sent < 2**23


@pytest.mark.parametrize(
    ("status", "asked", "left"),
    [
        (200, None, 100),
        (206, "bytes=40-", 60),
        (206, None, 100),
        # Not the rest that was asked for, but all of it.
        (200, "bytes=40-", 100),
    ],
)
def test_the_rest_of_a_file_is_smaller_than_the_file(status, asked, left):
    headers = {} if asked is None else {"Range": asked}
    request = httpx2.Request("GET", "http://127.0.0.1", headers=headers)
    response = httpx2.Response(status, request=request)
    assert sizes.Size("a file", 100).left(response) == left


def state(published, folder, **metadata):
    path = folder / format.METADATA_FILE
    known = json.loads(path.read_text()) | metadata
    known = {name: known[name] for name in known if known[name] is not None}
    path.write_text(json.dumps(known))
    restate(folder)
    published.commit({path.name: path.read_bytes()}, "main")


@pytest.mark.parametrize("size", [0, 1000])
def test_weights_must_have_the_size_in_the_metadata(
    run, server, published, folder, size
):
    state(published, folder, weights_bytes=size)
    kind, message = run.report(find)["error"]
    assert kind == "OSError"
    assert re.search(f"{WEIGHTS} .*at most {size:,} bytes", message)
    fetched = [path for method, path in server.requests if method == "GET"]
    assert not [path for path in fetched if path.endswith(WEIGHTS)]


@pytest.mark.parametrize("size", ["many", -1, 1.5, True, [1]])
def test_an_invalid_size_of_weights_is_refused(run, published, folder, size):
    state(published, folder, weights_bytes=size)
    kind, message = run.report(find)["error"]
    assert kind == "ValueError"
    assert re.search(r"weights_bytes.*whole number.*Received", message)


def test_weights_need_a_size_from_the_hub_or_the_metadata(
    run, server, published, folder
):
    state(published, folder, weights_bytes=None)
    server.faults["HEAD", WEIGHTS] = head(None)
    kind, message = run.report(find)["error"]
    assert kind == "OSError"
    assert "no size, neither from the Hub nor" in message
    server.faults.clear()
    assert run(find) == weights(folder)


@pytest.mark.parametrize("stated", [None, 2**36, 2**36 + 1])
def test_weights_have_a_largest_size(run, server, published, folder, stated):
    state(published, folder, weights_bytes=stated)
    server.faults["HEAD", WEIGHTS] = head(2**36 + 1)
    kind, message = run.report(find)["error"]
    if stated == 2**36 + 1:
        assert "whole number from 0 to 68,719,476,736" in message
    else:
        assert re.search("68,719,476,737 .*at most 68,719,476,736 b", message)
    fetched = [path for method, path in server.requests if method == "GET"]
    assert not [path for path in fetched if path.endswith(WEIGHTS)]


def show():
    return sources.read_card(HERE)


def test_a_card_that_is_too_large_is_not_fetched(run, server, published):
    large = b"x" * (format.MAX_CARD_BYTES + 1)
    published.commit({"README.md": large}, "main")
    kind, message = run.report(show)["error"]
    assert kind == "OSError"
    assert f"{len(large):,}" in message
    assert not [1 for method, _ in server.requests if method == "GET"]
    published.commit({"README.md": large[1:]}, "main")
    assert run(show) == large[1:].decode()


def dry_run(folder):
    return push(folder, "owner/preset", "--dry-run")


def test_a_published_card_that_is_too_large_is_not_fetched(
    run, server, published, folder
):
    published.commit({"README.md": b"# Mine\n"}, "main")
    server.faults["HEAD", "README.md"] = [None, head(10**12)]
    kind, message = run.report(dry_run, folder)["error"]
    assert kind == "OSError"
    assert "1,000,000,000,000" in message
    endless = server.faults["GET", "README.md"] = Endless()
    assert (
        "must not be larger than its stated size"
        in run.report(dry_run, folder)["error"][1]
    )
    assert endless.ended.wait(10)
    assert endless.sent < 2**24


def push_here(folder):
    return push(folder, "owner/preset")


# In the order in which a push comes to them.
PLACES = [
    ("GET", "/api/whoami-v2"),
    ("POST", "/api/repos/create"),
    ("POST", "/api/models/owner/preset/preupload/main"),
    ("POST", "/objects/batch"),
    ("PUT", ""),
    ("POST", "/lfs/verify"),
    ("POST", "/api/models/owner/preset/commit/main"),
]


@pytest.mark.parametrize("status", [200, 400])
def test_endless_answers_are_cut_off(run, server, folder, status):
    server.large = (".h5",)
    answers = [Endless(b"{" + b" " * 50, status=status) for _ in PLACES]
    for place, endless in zip(PLACES, answers, strict=True):
        server.faults[place] = [endless]
    secret = {"HF_TOKEN": server.token, "HF_HUB_DISABLE_XET": "1"}
    failed = run.reports(push_here, folder, times=len(PLACES), **secret)
    for report, endless in zip(failed, answers, strict=True):
        assert report["error"][0] in ("OSError", "ValueError")
        assert "\n" not in report["error"][1]
        assert endless.ended.wait(10)
        assert endless.sent < sizes.MAX_ANSWER_BYTES + 2**23


def find_two():
    """Finds in two repositories at the same time."""
    found, threads = {}, []
    for name in ("preset", "other"):

        def fetch(name=name):
            found[name] = find(f"hf://owner/{name}")

        threads.append(threading.Thread(target=fetch))
        threads[-1].start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    return found


def test_each_thread_has_its_own_limit(run, server, published, folder):
    server.repositories["owner/other"] = published
    server.pause = 0.1
    server.faults["GET", WEIGHTS] = "slow"
    found = run(find_two)
    assert found["preset"] == found["other"] == weights(folder)
