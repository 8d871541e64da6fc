"""Publishing presets on the Hub, with a card and a picture."""

import pathlib
import re
import urllib.parse
from typing import Any, NamedTuple

from keras_ncsn.annotations import StrPath
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
    """The files to upload.

    Attributes:
        files: Dictionary from names to paths.
        card: What happens to the card on the Hub: `"new"`, `"replaced"` or
            `"kept"`.
    """

    files: dict[str, pathlib.Path]
    card: str


def ask(
    repo_id: str,
    revision: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
) -> str | None:
    """Asks the Hub whether files can be uploaded, before any work is done.

    Args:
        repo_id: String, `"owner/repo"`.
        revision: String, the branch. Defaults to `None`, the main one.
        token: String, a token of the Hub. Defaults to `None`.
        dry_run: Boolean, whether this is a dry run, which sends nothing and
            needs no token. Defaults to `False`.

    Returns:
        The text of the card on the Hub, or `None`. An exception is raised if
        files cannot be uploaded.
    """
    addresses.check_place(repo_id, revision)
    if not dry_run:
        uploads.check_sender(repo_id, revision, token)
    return uploads.read_text(
        repo_id, format.CARD_FILE, format.MAX_CARD_BYTES, revision, token
    )


def prepare(
    folder: StrPath,
    made: StrPath,
    model: Any,
    repo_id: str,
    published: str | None,
) -> Upload:
    """Collects the files of a preset, and makes a missing card or picture.

    Args:
        folder: Path of the preset, which is not changed.
        made: Path of a folder for the new card and picture.
        model: The `NCSNModel` of the preset.
        repo_id: String, `"owner/repo"`.
        published: String or `None`, the card on the Hub, as `ask` returned it.

    Returns:
        An `Upload`.
    """
    folder, made = pathlib.Path(folder), pathlib.Path(made)
    names = [format.CONFIG_FILE, format.METADATA_FILE]
    names += format.checksums(folder)
    files = {name: folder / name for name in names}
    if _is_own(folder / LICENSE_FILE):
        files[LICENSE_FILE] = folder / LICENSE_FILE
    drawn = (
        not _is_own(folder / PICTURE_FILE)
        and can_be_drawn(model.image_shape, model.value_range)
        and not model.needs_conditions
    )
    if drawn or _is_own(folder / PICTURE_FILE):
        files[PICTURE_FILE] = (made if drawn else folder) / PICTURE_FILE
    # A picture from the folder gets no caption, because its origin is unknown.
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
    upload: Upload,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
) -> str:
    """Uploads what `prepare` returned, in one commit.

    Args:
        upload: An `Upload`.
        repo_id: As in `NCSNModel.push_to_hub`.
        private: As in `NCSNModel.push_to_hub`.
        revision: As in `NCSNModel.push_to_hub`.
        create_pr: As in `NCSNModel.push_to_hub`.
        token: As in `NCSNModel.push_to_hub`.

    Returns:
        String, the address of the commit or of the pull request.
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
    # A card that a person edited on the Hub is kept. A copy of a person's card
    # is kept too, if this package made the new card.
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
        # No file can have this name.
        return False


def _is_own(path):
    # A link could point to any file of this machine.
    return path.is_file() and not path.is_symlink()
