"""Presets: a folder with a config, weights and what is known about them.

config.json is the serialised model, model.weights.h5 its weights (or
model.weights.json an index of several such files), all as Keras writes them;
metadata.json has the checksums; README.md is the card. Where such a folder
comes from, and what its texts say, is known here; `loading` makes a model of
it, and `saving` writes them.
"""

import hashlib
import json
import pathlib
import re

from keras_ncsn import hub, hub_cache

CONFIG_FILE = "config.json"
METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "model.weights.h5"
INDEX_FILE = "model.weights.json"
CARD_FILE = "README.md"
FORMAT_VERSION = 1

_WEIGHTS_NAME = re.compile(r"model(_\d{5})?\.weights\.h5|model\.weights\.json")
# Beside the package in a checkout, inside it where a wheel is installed.
_PACKAGE = pathlib.Path(__file__).resolve().parent
ZOO_FOLDERS = (_PACKAGE / "zoo", _PACKAGE.parent / "presets")


def zoo():
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
    configs = sorted(folder.glob(f"*/{CONFIG_FILE}"))
    return {config.parent.name: config.parent for config in configs}


def find(preset, revision=None, token=None, load_weights=True):
    """Returns the folder of a preset, whole, from the Hub if need be.

    Args:
        preset: A name of the zoo, `"hf://owner/repo[/subfolder][@revision]"`,
            or a path of a folder. A name of the zoo wins.
        revision: String, a branch, tag or commit on the Hub. Defaults to
            `None`: what `preset` says, else the main branch; for a name of
            the zoo what comes with the package.
        token: String, of the Hub. Defaults to `None`, that of the environment
            or of `hf auth login`.
        load_weights: Boolean, whether the weights are needed. Defaults to
            `True`.

    Returns:
        A `pathlib.Path`.
    """
    known = zoo()
    name = str(preset)
    if name in known:
        return _find_in_zoo(name, known[name], revision, token, load_weights)
    if name.startswith(hub.PREFIX):
        source = hub.parse(name, revision)
        return _download(source, token, load_weights)
    folder = pathlib.Path(preset)
    if (folder / CONFIG_FILE).is_file():
        if revision is not None:
            raise ValueError(
                "`revision` must be of a preset on the Hub. Received: "
                f"revision={revision!r} for the folder {folder}"
            )
        if folder not in known.values():
            _check_links(folder)
        check_whole(folder, load_weights)
        return folder
    raise ValueError(
        "`preset` must be a name of the zoo, `hf://owner/repo`, or a folder "
        f"with a `{CONFIG_FILE}`. Received: preset={name!r}. Names: "
        f"{', '.join(known)}."
    )


def check_whole(folder, load_weights=True):
    """Raises a `ValueError` unless what a preset consists of is whole.

    A file that came damaged from the Hub is removed from the cache, so that it
    is fetched anew; all others stay, for other presets may share them.

    Args:
        folder: Path of the preset.
        load_weights: Boolean, whether the weights must be there too. Defaults
            to `True`.
    """
    for name in (CONFIG_FILE, METADATA_FILE):
        hub_cache.check(folder / name)
    # Of a format that is known, before anything else may seem wrong.
    read_metadata(folder)
    if not load_weights:
        return
    for name, expected in checksums(folder).items():
        path = folder / name
        if not path.is_file():
            raise ValueError(
                f"A preset must have its weights in `{name}`. Received: "
                f"{folder}, which has none. Pass `load_weights=False` for "
                "random weights."
            )
        received = sha256(path)
        if received != expected:
            # If they are what the Hub has, what it says of them is wrong.
            if not hub_cache.is_whole(path):
                hub_cache.forget(path)
            raise ValueError(
                "The weights of a preset must have the SHA-256 that its "
                f"`{METADATA_FILE}` states, else they are damaged or belong "
                f"to another. Received: {received} in {path}, stated: "
                f"{expected}. Fetch or save the preset anew."
            )


def read_config(folder):
    """Returns the config of a preset.

    Args:
        folder: Path of its folder.

    Returns:
        A dictionary, as `keras.saving.serialize_keras_object` writes it.
    """
    config = read_json(pathlib.Path(folder) / CONFIG_FILE)
    arguments = config.get("config")
    network = arguments.get("network") if isinstance(arguments, dict) else None
    if (
        not isinstance(network, dict)
        or not isinstance(network.get("class_name"), str)
        or not isinstance(network.get("config"), dict)
    ):
        raise ValueError(
            "A preset must hold the config of an `NCSNModel`. Received: "
            f"{folder}, whose `{CONFIG_FILE}` is of something else"
        )
    return config


def read_metadata(folder):
    """Returns what is known about a preset.

    Args:
        folder: Path of its folder.

    Returns:
        A dictionary.
    """
    path = pathlib.Path(folder) / METADATA_FILE
    metadata = read_json(path)
    version = metadata.get("format_version", 1)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(
            "A preset must be of a format that this version of keras-ncsn "
            f"knows, at most {FORMAT_VERSION}. Received: format {version} in "
            f"{path}. Upgrade: pip install --upgrade keras-ncsn"
        )
    return metadata


def checksums(folder):
    """Returns the SHA-256 of each file of weights, as the metadata state it.

    Args:
        folder: Path of the preset.

    Returns:
        A dictionary from names of files to strings.
    """
    stated = read_metadata(folder).get("sha256")
    names = stated.keys() if isinstance(stated, dict) else ()
    if (
        not {WEIGHTS_FILE, INDEX_FILE} & set(names)
        or not all(_WEIGHTS_NAME.fullmatch(name) for name in names)
        or not all(isinstance(digest, str) for digest in stated.values())
    ):
        raise ValueError(
            f"A preset must state the SHA-256 of its weights in "
            f"`{METADATA_FILE}`, by names of weights such as {WEIGHTS_FILE}. "
            f"Received: {stated!r} in {folder}"
        )
    return stated


def read_card(preset):
    """Returns the card of a preset.

    Args:
        preset: As in `find`.

    Returns:
        A string, Markdown.
    """
    name = str(preset)
    if name.startswith(hub.PREFIX) and name not in zoo():
        download = hub.Download(hub.parse(name), CARD_FILE)
        path = download.get(CARD_FILE)
        hub_cache.check(path)
        if not hub_cache.is_cached(download.source, CONFIG_FILE):
            download.remember(CARD_FILE)
    else:
        path = find(preset, load_weights=False) / CARD_FILE
    if not path.is_file():
        raise ValueError(
            f"A preset must have a card, {CARD_FILE}, to be shown. Received: "
            f"{preset}, which has none"
        )
    return path.read_text(encoding="utf-8")


def whereabouts(folder):
    """Returns where the weights of a preset of the zoo are now.

    Args:
        folder: Path of its folder.

    Returns:
        `"bundled"`, `"cached"`, `"on the Hub"` or `"not published"`.
    """
    stated = checksums(folder)
    if all((folder / name).is_file() for name in stated):
        return "bundled"
    metadata = read_metadata(folder)
    repo_id = metadata.get("hub_repository")
    if repo_id is None:
        return "not published"
    source = hub.Source(repo_id, "", metadata.get("hub_revision"))
    return "on the Hub" if _cached(source, stated) is None else "cached"


def read_json(path):
    """Returns what a file of a preset holds.

    Args:
        path: A `pathlib.Path`.

    Returns:
        A dictionary.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"A preset must have a readable `{path.name}`. Received: {path}, "
            f"{error}"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(
            f"A preset must have a readable `{path.name}`. Received: {path}, "
            "which holds something else"
        )
    return content


def sha256(path):
    """Returns the SHA-256 of a file.

    Args:
        path: Path.

    Returns:
        A string of 64 hexadecimal digits.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_shape(folder):
    """Returns the shape of the images of a preset, without building it.

    Args:
        folder: Path of its folder.

    Returns:
        A tuple of integers, empty where the config does not say.
    """
    network = read_config(folder)["config"]["network"]["config"]
    shape = network.get("image_shape")
    return tuple(shape) if isinstance(shape, list) else ()


def _check_links(folder):
    # A folder that somebody packed could point at files of this machine. The
    # Hub's cache is made of links, to another place in it.
    whole = folder.resolve()
    for path in folder.iterdir():
        is_part = path.name in (CONFIG_FILE, METADATA_FILE, CARD_FILE)
        if not path.is_symlink() or not (
            is_part or _WEIGHTS_NAME.fullmatch(path.name)
        ):
            continue
        target = path.resolve()
        if not target.is_relative_to(whole) and not hub_cache.holds(target):
            raise ValueError(
                "The files of a preset must be in its folder. Received: "
                f"{path}, a link to {target}. Copy it, if you trust it."
            )


def _find_in_zoo(name, folder, revision, token, load_weights):
    stated = checksums(folder)
    if revision is None and (
        not load_weights or all((folder / x).is_file() for x in stated)
    ):
        check_whole(folder, load_weights)
        return folder
    metadata = read_metadata(folder)
    repo_id = metadata.get("hub_repository")
    if repo_id is None:
        raise ValueError(
            f"The weights of {name} are not published yet. Received: "
            f"preset={name!r}. Pass `load_weights=False` for random weights."
        )
    if revision is not None:
        source = hub.Source(repo_id, "", revision)
        return _download(source, token, load_weights)
    source = hub.Source(repo_id, "", metadata.get("hub_revision"))
    # A tag stays what it is: what is cached need not be asked for.
    found = _cached(source, stated)
    if found is None:
        return _download(source, token, load_weights, stated)
    check_whole(found)
    return found


def _cached(source, expected):
    # The folder in the cache, if it has the weights of these checksums.
    names = CONFIG_FILE, METADATA_FILE, *expected
    if not all(hub_cache.is_cached(source, name) for name in names):
        return None
    folder = hub_cache.cached_path(source, CONFIG_FILE).parent
    try:
        return folder if checksums(folder) == expected else None
    except ValueError:
        return None


def _download(source, token, load_weights, expected=None):
    download = hub.Download(source, CONFIG_FILE, token)
    folder = download.get(CONFIG_FILE).parent
    download.get(METADATA_FILE)
    check_whole(folder, load_weights=False)
    read_config(folder)
    stated = checksums(folder)
    if expected is not None and stated != expected:
        raise ValueError(
            f"The weights at {source} must be those that this version of "
            "keras-ncsn was made for. Received: others, by their SHA-256. "
            "Upgrade: pip install --upgrade keras-ncsn"
        )
    if load_weights:
        for name in stated:
            download.get(name)
        check_whole(folder)
    # Only now: what was there before serves until all that is needed is whole.
    if load_weights or not hub_cache.is_cached(source, CONFIG_FILE):
        download.remember(CONFIG_FILE)
    return folder
