"""Publishing presets on the Hub, with a card and a picture."""

import pathlib
import re
import urllib.parse
from typing import NamedTuple

from keras_ncsn.hub import addresses, cache, uploads
from keras_ncsn.images import can_be_drawn, save_grid, to_unit_range
from keras_ncsn.presets import cards, format, sources
from keras_ncsn.text import one_line

PICTURE_FILE = "samples.png"
LICENSE_FILE = "LICENSE"
NUM_PICTURED = 16

_PICTURES = {".png", ".gif", ".jpg", ".jpeg", ".webp"}
# In Markdown, or in HTML within it.
_LINK = re.compile(r"""\]\(\s*<?(?:\./)?([^()<>\s]+)|\ssrc=["']([^"']+)""")


class Upload(NamedTuple):
    """What is to go up.

    Attributes:
        files: Dictionary from names to paths.
        card: What happens to the card on the Hub: `"new"`, `"replaced"` or
            `"kept"`.
    """

    files: dict
    card: str


def ask(repo_id, revision=None, token=None, dry_run=False):
    """Asks the Hub, before there is any work, whether files could go there.

    Args:
        repo_id: String, `"owner/repo"`.
        revision: String, the branch. Defaults to `None`, the main one.
        token: String, of the Hub. Defaults to `None`.
        dry_run: Boolean, whether nothing will be sent, which takes no token.
            Defaults to `False`.

    Returns:
        The card that is there, or `None`. An exception says what is wrong.
    """
    addresses.check_place(repo_id, revision)
    if not dry_run:
        uploads.check_sender(repo_id, revision, token)
    return uploads.read_text(
        repo_id, format.CARD_FILE, format.MAX_CARD_BYTES, revision, token
    )


def prepare(folder, made, model, repo_id, published):
    """Gathers what a preset consists of, and makes what it lacks.

    Args:
        folder: Path of the preset, which stays as it is.
        made: Path of a folder for a card and a picture.
        model: The `NCSNModel` of the preset.
        repo_id: String, `"owner/repo"`.
        published: String or `None`, as `ask` returned it.

    Returns:
        An `Upload`.
    """
    folder, made = pathlib.Path(folder), pathlib.Path(made)
    names = format.CONFIG_FILE, format.METADATA_FILE
    names += tuple(format.checksums(folder))
    files = {name: folder / name for name in names}
    if _is_own(folder / LICENSE_FILE):
        files[LICENSE_FILE] = folder / LICENSE_FILE
    drawn = not _is_own(folder / PICTURE_FILE) and can_be_drawn(
        model.image_shape, model.value_range
    )
    if drawn or _is_own(folder / PICTURE_FILE):
        files[PICTURE_FILE] = (made if drawn else folder) / PICTURE_FILE
    # Of one that lies there nobody knows how it was made.
    picture = PICTURE_FILE if PICTURE_FILE in files else None
    card = _card(folder, model, repo_id, picture, drawn)
    fate = _fate(published, card)
    shown = published if fate == "kept" else card
    files |= {name: folder / name for name in _linked(shown, folder)}
    if fate != "kept":
        files[format.CARD_FILE] = made / format.CARD_FILE
        files[format.CARD_FILE].write_text(card, encoding="utf-8")
    if drawn:
        images = model.generate(NUM_PICTURED, seed=0)
        images = to_unit_range(images, model.value_range)
        save_grid(images, files[PICTURE_FILE])
    return Upload(files, fate)


def push(
    upload, repo_id, private=False, revision=None, create_pr=False, token=None
):
    """Uploads what `prepare` returned, in one commit.

    Args:
        upload: An `Upload`.
        repo_id: As in `NCSNModel.push_to_hub`.
        private: As in `NCSNModel.push_to_hub`.
        revision: As in `NCSNModel.push_to_hub`.
        create_pr: As in `NCSNModel.push_to_hub`.
        token: As in `NCSNModel.push_to_hub`.

    Returns:
        String, the address of the commit or of the proposal.
    """
    return uploads.push(
        upload.files,
        repo_id,
        "Upload a preset of keras-ncsn",
        private,
        revision,
        create_pr,
        token,
    )


def _card(folder, model, repo_id, picture, drawn):
    """Returns the card that the preset should have."""
    path = folder / format.CARD_FILE
    if _is_own(path):
        text = _read_card(path)
        if cards.origin(text) != cards.MADE:
            return cards.mark(text, cards.COPIED)
    metadata = format.read_metadata(folder)
    return cards.make(metadata, model, repo_id, picture, drawn)


def _read_card(path):
    try:
        return sources.read_card_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"A card must be text in UTF-8. Received: {one_line(path)}, with "
            f"byte {error.object[error.start]:#04x} at {error.start}"
        ) from None


def _fate(published, card):
    if published is None:
        return "new"
    # What a person did on the Hub stays, and of what a person wrote in a
    # folder nothing is lost to a card that was made.
    origin = cards.origin(published)
    if origin is None or (origin, cards.origin(card)) == (
        cards.COPIED,
        cards.MADE,
    ):
        return "kept"
    return "replaced"


def _linked(card, folder):
    """Returns the names of the pictures in the folder that the card shows."""
    names = {
        urllib.parse.unquote(markdown or html)
        for markdown, html in _LINK.findall(card)
    }
    return [
        name
        for name in sorted(names - {PICTURE_FILE})
        if pathlib.PurePath(name).suffix.lower() in _PICTURES
        and _is_within(folder, name)
    ]


def _is_within(folder, name):
    pure = pathlib.PurePath(name)
    if pure.as_posix() != name or ".." in pure.parts or "\0" in name:
        return False
    whole = cache.resolve(folder)
    try:
        inside = cache.resolve(folder / name).is_relative_to(whole)
        return inside and _is_own(folder / name)
    except OSError:
        # A name that no file can have.
        return False


def _is_own(path):
    # Links could lead anywhere on this machine.
    return path.is_file() and not path.is_symlink()
