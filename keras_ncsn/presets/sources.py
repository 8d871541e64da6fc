"""Where presets come from: the zoo of this package, the Hub, or a folder."""

import os
import pathlib
from typing import NoReturn

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import read_regular
from keras_ncsn.hub import addresses, cache, downloads
from keras_ncsn.presets import format
from keras_ncsn.text import one_line

# Inside the package if a wheel is installed, beside it in a checkout.
_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
ZOO_FOLDERS = (_PACKAGE / "zoo", _PACKAGE.parent / "presets")


def zoo() -> dict[str, pathlib.Path]:
    """Returns the presets that come with the package.

    Returns:
        A dictionary from names to folders, sorted by name.

    Example:

    >>> "mnist" in zoo()
    True
    """
    folder = next((path for path in ZOO_FOLDERS if path.is_dir()), None)
    if folder is None:
        return {}
    configs = sorted(folder.glob(f"*/{format.CONFIG_FILE}"))
    return {config.parent.name: config.parent for config in configs}


def find(
    preset: StrPath,
    revision: str | None = None,
    token: str | None = None,
    load_weights: bool = True,
) -> pathlib.Path:
    """Returns the verified folder of a preset, from the Hub if need be.

    Args:
        preset: A name of the zoo, `"hf://owner/repo[/subfolder][@revision]"`,
            or a path of a folder. A name of the zoo wins.
        revision: String, a branch, tag or commit on the Hub. Defaults to
            `None`: the revision in `preset`, or else the main branch; for a
            name of the zoo, the preset that comes with the package.
        token: String, a token of the Hub. Defaults to `None`, the token of the
            environment or of `hf auth login`.
        load_weights: Boolean, whether the weights are needed. Defaults to
            `True`.

    Returns:
        A `pathlib.Path`.
    """
    known = zoo()
    name = str(preset)
    if not isinstance(preset, (str, os.PathLike)):
        _refuse(preset, known)
    if name in known:
        return _find_in_zoo(name, known[name], revision, token, load_weights)
    if name.startswith(addresses.PREFIX):
        source = addresses.parse(name, revision)
        return _download(source, token, load_weights)
    folder = pathlib.Path(preset)
    if (folder / format.CONFIG_FILE).is_file():
        if revision is not None:
            raise ValueError(
                "`revision` must be for a preset on the Hub. Received: "
                f"revision={revision!r} for the folder {one_line(folder)}"
            )
        if folder not in known.values():
            _check_links(folder)
        format.check_whole(folder, load_weights)
        return folder
    _refuse(name, known)


def read_card(preset: StrPath) -> str:
    """Returns the card of a preset.

    Args:
        preset: As in `find`.

    Returns:
        A string, Markdown.
    """
    name = str(preset)
    if name.startswith(addresses.PREFIX) and name not in zoo():
        download = downloads.Download(addresses.parse(name), format.CARD_FILE)
        path = download.get(format.CARD_FILE, format.MAX_CARD_BYTES)
        cache.check(path)
        if not cache.is_cached(download.source, format.CONFIG_FILE):
            download.remember(format.CARD_FILE)
    else:
        path = find(preset, load_weights=False) / format.CARD_FILE
    if not path.is_file():
        raise ValueError(
            f"A preset must have a card, {format.CARD_FILE}, to be shown. "
            f"Received: {one_line(preset)}, which has none"
        )
    return read_card_file(path).decode("utf-8", errors="replace")


def read_card_file(path: pathlib.Path) -> bytes:
    """Returns the bytes of a card.

    Args:
        path: A `pathlib.Path`.

    Returns:
        Bytes.
    """
    try:
        return read_regular(path, format.MAX_CARD_BYTES)
    except OSError as error:
        raise ValueError(
            f"A card must be a readable file. Received: {one_line(path)}, "
            f"{one_line(error)}. Download or write it again."
        ) from None


def whereabouts(folder: pathlib.Path) -> str:
    """Returns where the weights of a preset of the zoo are now.

    Args:
        folder: Path of its folder.

    Returns:
        `"bundled"`, `"cached"`, `"on the Hub"` or `"not published"`.
    """
    metadata = format.read_metadata(folder)
    repo_id = metadata.get("hub_repository")
    stated = _stated(folder, metadata)
    if stated and all((folder / name).is_file() for name in stated):
        return "bundled"
    if not stated or repo_id is None:
        return "not published"
    source = addresses.Source(repo_id, "", metadata.get("hub_revision"))
    return "on the Hub" if _cached(source, stated) is None else "cached"


def _refuse(preset: object, known: dict[str, pathlib.Path]) -> NoReturn:
    raise ValueError(
        "`preset` must be a name of the zoo, `hf://owner/repo`, or a folder "
        f"with a `{format.CONFIG_FILE}`. Received: preset={preset!r}. Names: "
        f"{', '.join(known)}."
    )


def _check_links(folder):
    # A link in someone else's folder could point to any file of this machine.
    # The Hub's cache consists of links, to other places in the cache.
    whole = cache.resolve(folder)
    names = {format.CONFIG_FILE, format.METADATA_FILE, format.CARD_FILE}
    # Some disks take upper case for lower case.
    names |= {x for x in os.listdir(folder) if format.is_weights(x.casefold())}
    for name in sorted(names):
        path = folder / name
        if not path.is_symlink():
            continue
        target = cache.resolve(path)
        if not target.is_relative_to(whole) and not cache.holds(target):
            raise ValueError(
                "The files of a preset must be in its folder. Received: "
                f"{one_line(path)}, a link to {one_line(target)}. Copy the "
                "file into the folder, if you trust it."
            )


def _find_in_zoo(name, folder, revision, token, load_weights):
    metadata = format.read_metadata(folder)
    repo_id = metadata.get("hub_repository")
    stated = _stated(folder, metadata)
    here = stated and all((folder / x).is_file() for x in stated)
    if revision is None and (here or not load_weights):
        format.check_whole(folder, load_weights)
        return folder
    if not stated or repo_id is None:
        raise ValueError(
            f"The weights of {name} are not published yet. Received: "
            f"preset={name!r}. Pass `load_weights=False` for random weights."
        )
    if revision is not None:
        source = addresses.parse(addresses.PREFIX + repo_id, revision)
        return _download(source, token, load_weights)
    source = addresses.Source(repo_id, "", metadata.get("hub_revision"))
    # A tag never moves, so a cached preset needs no question to the Hub.
    found = _cached(source, stated)
    if found is None:
        return _download(source, token, load_weights, stated)
    format.check_whole(found)
    return found


def _stated(folder, metadata):
    # A preset of the zoo that is not trained yet is only a config and a card.
    return format.checksums(folder) if "sha256" in metadata else {}


def _cached(source, expected):
    # Returns the folder in the cache, if its weights have these checksums.
    config = cache.cached_path(source, format.CONFIG_FILE)
    names = format.METADATA_FILE, *expected
    if config is None or not all(cache.is_cached(source, x) for x in names):
        return None
    folder = config.parent
    try:
        return folder if format.checksums(folder) == expected else None
    except ValueError:
        return None


def _download(source, token, load_weights, expected=None):
    download = downloads.Download(source, format.CONFIG_FILE, token)
    path = download.get(format.CONFIG_FILE, format.MAX_CONFIG_BYTES)
    download.get(format.METADATA_FILE, format.MAX_METADATA_BYTES)
    folder = path.parent
    format.check_whole(folder, load_weights=False)
    format.read_config(folder)
    stated = format.checksums(folder)
    if expected is not None and stated != expected:
        raise ValueError(
            f"The weights at {source} must be those that this version of "
            "keras-ncsn was made for. Received: weights of another SHA-256. "
            "Upgrade: pip install --upgrade keras-ncsn"
        )
    if load_weights:
        _download_weights(download, folder, stated)
        format.check_whole(folder)
    # Only now: offline mode uses the previous commit until this one is whole.
    if load_weights or not cache.is_cached(source, format.CONFIG_FILE):
        download.remember(format.CONFIG_FILE)
    return folder


def _download_weights(download, folder, names):
    # Together they may be as large as the metadata state.
    stated = format.weights_bytes(folder)
    size = 0
    for name in names:
        left = None if stated is None else max(stated - size, 0)
        size += download.get(name, left).stat().st_size
        format.check_weights_bytes(folder, size, stated)
