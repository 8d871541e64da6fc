"""Pipes, folders and links where files should be: a sentence, and no hang."""

import os
import pathlib

import pytest
from hub_runs import HERE, push

import keras_ncsn
from keras_ncsn.hub import cache
from keras_ncsn.presets import format, publishing, sources

CARD = format.CARD_FILE
pytestmark = pytest.mark.usefixtures("alarm")


def make_irregular(path, kind, outside):
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
def test_an_unreadable_card_gives_one_sentence(folder, tmp_path, kind):
    make_irregular(folder / CARD, kind, tmp_path / "outside\x1b[2J")
    with pytest.raises(ValueError, match=r"Received: .*README\.md|preset") as e:
        sources.read_card(folder)
    assert "secret" not in str(e.value)
    assert str(e.value).isprintable()


@pytest.mark.parametrize("kind", [x for x in KINDS if x != "sparse"])
@pytest.mark.parametrize("name", ["config.json", format.WEIGHTS_FILE])
def test_a_preset_of_irregular_files_gives_one_sentence(
    folder, tmp_path, name, kind
):
    make_irregular(folder / name, kind, tmp_path / "outside")
    with pytest.raises(ValueError, match="Received: ") as e:
        sources.find(folder)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("kind", ["circle", "long circle"])
def test_a_link_to_itself_is_refused_as_a_preset(tmp_path, kind):
    make_irregular(tmp_path / "preset", kind, None)
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
def test_irregular_files_are_not_uploaded(model, folder, tmp_path, name, kind):
    (folder / CARD).write_text("![A](a.png)\n")
    make_irregular(folder / name, kind, tmp_path / "outside")
    (tmp_path / "made").mkdir()
    upload = publishing.prepare(
        folder, tmp_path / "made", model, "owner/preset", None
    )
    sent = upload.files.get(name)
    assert sent is None or sent.parent == tmp_path / "made"
    assert "secret" not in upload.files[CARD].read_text()


def test_a_card_that_is_too_large_is_not_uploaded(folder, tmp_path):
    with open(folder / CARD, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(
        ValueError, match=r"card must.*README\.md, it must have"
    ):
        prepare(folder, tmp_path)


def test_invalid_names_of_pictures_are_left_out(folder):
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
def test_names_of_pictures_send_no_control_characters(
    run, server, folder, arguments
):
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
    """Puts something else into the cache, in place of a file."""
    import huggingface_hub

    path = pathlib.Path(
        huggingface_hub.try_to_load_from_cache("owner/preset", name)
    )
    outside = path.parents[4] / "outside"
    make_irregular(path, kind, outside)


def show():
    return sources.read_card(HERE)


def plant_and_show(kind):
    show()
    plant(CARD, kind)
    return show()


@pytest.mark.parametrize("kind", [*KINDS, "blob"])
def test_an_irregular_cached_card_is_refused_without_waiting(
    run, server, published, kind
):
    published.commit({CARD: b"# A card\n"}, "main")
    if kind == "blob":
        report = run.report(plant_blob_and_show)
    else:
        report = run.report(plant_and_show, kind)
    if report["error"] is None:
        # What cannot be read at all is fetched again.
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


def test_a_circular_link_in_the_cache_gives_no_traceback(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for kind in ("circle", "long circle", "pipe", "folder"):
        path = tmp_path / kind.replace(" ", "_")
        make_irregular(path, kind, None)
        assert cache.is_whole(path) is None
        cache.check(path)
        cache.distrust(path)
