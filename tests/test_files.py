import os
import socket
import stat
import threading

import pytest

from keras_ncsn.files import (
    check_no_links,
    leftovers,
    open_regular,
    open_whole,
    read_regular,
    remove_leftovers,
)


def finish(function, seconds=10):
    """Returns what a function returns or raises; fails if it hangs."""
    results = []

    def call():
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it hangs"
    return results[0]


def test_a_file_appears_whole_with_the_usual_permissions(tmp_path):
    with open_whole(tmp_path / "a.txt") as file:
        file.write(b"new")
        assert not (tmp_path / "a.txt").exists()
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    modes = [stat.S_IMODE(x.stat().st_mode) for x in sorted(tmp_path.iterdir())]
    assert modes[0] == modes[1]
    assert (tmp_path / "a.txt").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["a" * 255, "\u00e4" * 127, "\u20ac" * 85])
def test_names_may_be_as_long_as_the_disk_allows(tmp_path, name, monkeypatch):
    with open_whole(tmp_path / name) as file:
        file.write(b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", lambda *args, **kwargs: None)
        with pytest.raises(KeyError):
            fail_to_write(tmp_path / name)
    assert len(leftovers(tmp_path / name)) == 1
    remove_leftovers(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def fail_to_write(path):
    with open_whole(path) as file:
        file.write(b"new")
        raise KeyError


def test_a_failed_write_leaves_only_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"old")
    with pytest.raises(KeyError):
        fail_to_write(tmp_path / "a.txt")
    assert [x.name for x in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


@pytest.mark.parametrize("name", [".a.txt.tmp", "a.txt", ".a.txt.00000000.tmp"])
def test_no_planted_link_is_followed(tmp_path, monkeypatch, name):
    monkeypatch.setattr("secrets.token_hex", lambda size: "00" * size)
    (tmp_path / "profile").write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "profile")
    try:
        with open_whole(tmp_path / "run" / "a.txt") as file:
            file.write(b"theirs")
    except FileExistsError:
        # Nobody can know the name, but if they did:
        assert name == ".a.txt.00000000.tmp"
    assert (tmp_path / "profile").read_bytes() == b"mine"


def test_a_dangling_link_makes_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: "00" * size)
    (tmp_path / ".a.00000000.tmp").symlink_to(tmp_path / "made")
    with pytest.raises(FileExistsError), open_whole(tmp_path / "a"):
        pass
    assert not (tmp_path / "made").exists()


def test_a_file_is_closed_before_it_is_removed(tmp_path, monkeypatch):
    """Windows removes no open file."""
    files, closed = [], []

    def fail():
        with open_whole(tmp_path / "a") as file:
            files.append(file)
            raise KeyError

    monkeypatch.setattr(
        "pathlib.Path.unlink",
        lambda *args, **kwargs: closed.append(files[0].closed),
    )
    with pytest.raises(KeyError):
        fail()
    assert closed == [True]


def test_only_names_of_this_package_count_as_leftovers(tmp_path):
    ours = [".[a]*.1234abcd.tmp", ".[a]*.00000000.tmp"]
    others = [".[a]*.tmp", ".a1.1234abcd.tmp", ".[a]*.1234abcX.tmp", "[a]*"]
    for name in ours + others:
        (tmp_path / name).write_text("")
    (tmp_path / ".[a]*.ffffffff.tmp").mkdir()
    (tmp_path / "kept").write_text("")
    (tmp_path / ".[a]*.11111111.tmp").symlink_to(tmp_path / "kept")
    assert len(leftovers(tmp_path / "[a]*")) == 4
    remove_leftovers(tmp_path / "[a]*")
    assert {x.name for x in tmp_path.iterdir()} == {
        *others,
        "kept",
        ".[a]*.ffffffff.tmp",
    }
    assert leftovers(tmp_path / "none" / "a") == []


def test_leftovers_of_a_killed_writer_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.unlink", lambda *args, **kwargs: None)
    with pytest.raises(KeyError):
        fail_to_write(tmp_path / "a.txt")
    assert leftovers(tmp_path / "a.txt") == list(tmp_path.iterdir())


@pytest.mark.parametrize("through_link", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_irregular_files_are_refused_without_waiting(
    tmp_path, kind, through_link
):
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    elif kind == "device":
        path = "/dev/zero"
    else:
        path.mkdir()
    if through_link:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    error = finish(lambda: open_regular(path))
    assert isinstance(error, OSError)
    # A socket cannot even be opened.
    assert kind == "socket" or f"is a {kind}" in str(error).replace(
        "named ", ""
    )


def test_files_above_the_largest_size_are_refused(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="at most 10 bytes, and has 1,099,511"):
        read_regular(tmp_path / "sparse", 10)
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "a", 10) == b"0123456789"
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"0123456789"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_links_in_a_folder_are_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "run")
    check_no_links(tmp_path / "here", ["last", "log.csv"])
    (tmp_path / "run" / "last").symlink_to(tmp_path / "a\x1b[31m")
    with pytest.raises(ValueError, match=r"`last` must .* link to .*a\[31m"):
        check_no_links(tmp_path / "here", ["log.csv", "last"])
