"""Presets: a folder with a config, weights and what is known about them.

config.json is the serialised model, model.weights.h5 its weights (or
model.weights.json an index of several such files), all as Keras writes them;
metadata.json has the checksums; README.md is the card. What they say is known
here; `sources` knows where such a folder comes from, `loading` makes a model
of it, and `saving` writes them.
"""

import hashlib
import json
import pathlib
import re

from keras_ncsn.files import open_regular, read_regular
from keras_ncsn.hub import cache
from keras_ncsn.text import one_line

CONFIG_FILE = "config.json"
METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "model.weights.h5"
INDEX_FILE = "model.weights.json"
CARD_FILE = "README.md"
FORMAT_VERSION = 1

# What is larger is none that this package wrote: the largest config of the zoo
# has some thousand bytes, and 2**24 are enough for a network of any size.
MAX_METADATA_BYTES = 2**20
MAX_CONFIG_BYTES = 2**24
MAX_CARD_BYTES = 2**20
# Of one file, whose checksum takes a minute; there may be several.
MAX_WEIGHTS_BYTES = 2**36
_MAX_BYTES = {
    CONFIG_FILE: MAX_CONFIG_BYTES,
    INDEX_FILE: MAX_CONFIG_BYTES,
    METADATA_FILE: MAX_METADATA_BYTES,
}

WEIGHTS_NAME = re.compile(r"model(_\d{5})?\.weights\.h5|model\.weights\.json")


def check_folder(folder):
    """Raises a `ValueError` where no preset may be saved.

    Args:
        folder: Path.

    Returns:
        Boolean, whether there is a preset to replace.
    """
    folder = pathlib.Path(folder)
    files = METADATA_FILE, CONFIG_FILE
    if all((folder / name).is_file() for name in files):
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            "A preset must be saved to a new or empty folder, or to one that "
            f"holds a preset. Received: {folder}"
        )
    return False


def check_whole(folder, load_weights=True):
    """Raises a `ValueError` unless what a preset consists of is whole.

    A file that came damaged from the Hub, or may have, is removed from the
    cache, so that it is fetched anew; all others stay, for other presets may
    share them.

    Args:
        folder: Path of the preset.
        load_weights: Boolean, whether the weights must be there too. Defaults
            to `True`.
    """
    for name in (CONFIG_FILE, METADATA_FILE):
        cache.check(folder / name)
    # Of a format that is known, before anything else may seem wrong.
    metadata = read_metadata(folder)
    if "config_sha256" in metadata:
        _check_sha256(folder, CONFIG_FILE, metadata["config_sha256"])
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
        _check_sha256(folder, name, expected)


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
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        # A newer one is whole, and would only come again.
        if type(version) is not int or version < 1:
            cache.distrust(path)
        raise ValueError(
            "A preset must be of a format that this version of keras-ncsn "
            f"knows, from 1 to {FORMAT_VERSION}. Received: format "
            f"{one_line(repr(version))} in {path}. If it is newer, upgrade: "
            "pip install --upgrade keras-ncsn"
        )
    return metadata


def checksums(folder):
    """Returns the SHA-256 of each file of weights, as the metadata state it.

    Args:
        folder: Path of the preset.

    Returns:
        A dictionary from names of files to strings.
    """
    folder = pathlib.Path(folder)
    stated = read_metadata(folder).get("sha256")
    names = stated.keys() if isinstance(stated, dict) else ()
    if (
        not {WEIGHTS_FILE, INDEX_FILE} & set(names)
        or not all(WEIGHTS_NAME.fullmatch(name) for name in names)
        or not all(isinstance(digest, str) for digest in stated.values())
    ):
        cache.distrust(folder / METADATA_FILE)
        raise ValueError(
            f"A preset must state the SHA-256 of its weights in "
            f"`{METADATA_FILE}`, by names of weights such as {WEIGHTS_FILE}. "
            f"Received: {one_line(repr(stated))} in {folder}"
        )
    return stated


def read_json(path):
    """Returns what a file of a preset holds.

    Args:
        path: A `pathlib.Path`.

    Returns:
        A dictionary.
    """
    try:
        content = read_regular(path, _MAX_BYTES[path.name]).decode("utf-8")
        content = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        cache.distrust(path)
        raise _unreadable(path, one_line(error)) from None
    if not isinstance(content, dict):
        cache.distrust(path)
        raise _unreadable(path, "which holds something else")
    return content


def sha256(path, max_bytes=None):
    """Returns the SHA-256 of a file.

    Args:
        path: Path.
        max_bytes: As in `files.open_regular`.

    Returns:
        A string of 64 hexadecimal digits.
    """
    with open_regular(path, max_bytes) as file:
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


def _check_sha256(folder, name, expected):
    path = folder / name
    try:
        received = sha256(path, _MAX_BYTES.get(name, MAX_WEIGHTS_BYTES))
    except OSError as error:
        raise _unreadable(path, one_line(error)) from None
    if received == expected:
        return
    # The one that is wrong may be either; what is as the Hub has it stays.
    cache.distrust(path)
    cache.distrust(folder / METADATA_FILE)
    own = (
        ", or remove `config_sha256` from the metadata if you changed the "
        "config yourself"
    )
    raise ValueError(
        f"`{name}` must have the SHA-256 that the preset's `{METADATA_FILE}` "
        "states, else it is damaged or belongs to another. Received: "
        f"{received} in {path}, stated: {one_line(repr(expected))}. Fetch or "
        f"save the preset anew{own if name == CONFIG_FILE else ''}."
    )


def _unreadable(path, reason):
    return ValueError(
        f"A preset must have a readable `{path.name}`. Received: {path}, "
        f"{reason}"
    )
