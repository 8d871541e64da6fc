"""The format of a preset: a folder with a config, weights and metadata.

`config.json` is the serialised model, and `model.weights.h5` its weights (or
`model.weights.json` the index of several such files), as Keras writes
them. `metadata.json` has the checksums, and `README.md` is the card. This
module reads and checks these files. `sources` finds the folder, `loading`
builds the model, and `saving` writes the files.
"""

import hashlib
import json
import pathlib
import re
from typing import Any

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_regular, read_regular
from keras_ncsn.hub import cache
from keras_ncsn.hub.sizes import MAX_FILE_BYTES
from keras_ncsn.text import one_line

CONFIG_FILE = "config.json"
METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "model.weights.h5"
INDEX_FILE = "model.weights.json"
CARD_FILE = "README.md"
FORMAT_VERSION = 1

# This package writes no larger files: the largest config of the zoo has a few
# thousand bytes, and 2**24 are enough for a network of any size.
MAX_METADATA_BYTES = 2**20
MAX_CONFIG_BYTES = 2**24
MAX_CARD_BYTES = 2**20
# Of all weights files together. Their checksums take some minutes.
MAX_WEIGHTS_BYTES = MAX_FILE_BYTES
MAX_WEIGHTS_FILES = 1000
_MAX_BYTES = {
    CONFIG_FILE: MAX_CONFIG_BYTES,
    INDEX_FILE: MAX_CONFIG_BYTES,
    METADATA_FILE: MAX_METADATA_BYTES,
}

_WEIGHTS_NAME = re.compile(
    r"model(_[0-9]{5})?\.weights\.h5|model\.weights\.json"
)


def is_weights(name: str) -> bool:
    """Returns whether a file of this name holds weights, or is their index."""
    return bool(_WEIGHTS_NAME.fullmatch(name))


def is_part(name: str) -> bool:
    """Returns whether `saving` writes a file of this name, except the card."""
    return name in (CONFIG_FILE, METADATA_FILE) or is_weights(name)


def check_folder(folder: StrPath) -> bool:
    """Raises a `ValueError` unless a preset may be saved to a folder.

    Args:
        folder: Path.

    Returns:
        Boolean, whether the folder holds a preset, which would be replaced.
    """
    folder = pathlib.Path(folder)
    files = METADATA_FILE, CONFIG_FILE
    if all((folder / name).is_file() for name in files):
        _check_no_folders(folder)
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            "A preset must be saved to a new or empty folder, or to one that "
            f"holds a preset. Received: {folder}"
        )
    return False


def check_whole(folder: pathlib.Path, load_weights: bool = True) -> None:
    """Raises a `ValueError` unless the files of a preset are undamaged.

    A file in the Hub's cache that is or may be damaged is removed, so that it
    is downloaded again. All other files stay, because other presets may share
    them.

    Args:
        folder: A `pathlib.Path`, the folder of the preset.
        load_weights: Boolean, whether to check the weights too. Defaults to
            `True`.
    """
    for name in (CONFIG_FILE, METADATA_FILE):
        cache.check(folder / name)
    # The version is checked first: a newer format could look like damage.
    metadata = read_metadata(folder)
    if "config_sha256" in metadata:
        _check_sha256(folder, CONFIG_FILE, metadata["config_sha256"])
    if not load_weights:
        return
    stated = checksums(folder)
    # Sizes come first, because the checksum of a large file takes long.
    _check_sizes(folder, stated)
    for name, expected in stated.items():
        _check_sha256(folder, name, expected)


def read_config(folder: StrPath) -> dict[str, Any]:
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
            f"{folder}, whose `{CONFIG_FILE}` holds something else"
        )
    return config


def read_metadata(folder: StrPath) -> dict[str, Any]:
    """Returns the metadata of a preset.

    Args:
        folder: Path of its folder.

    Returns:
        A dictionary.
    """
    path = pathlib.Path(folder) / METADATA_FILE
    metadata = read_json(path)
    version = metadata.get("format_version", 1)
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        # A newer format is not damage. Another download would be the same.
        if type(version) is not int or version < 1:
            cache.distrust(path)
        raise ValueError(
            "A preset must have a format that this version of keras-ncsn "
            f"knows, from 1 to {FORMAT_VERSION}. Received: format "
            f"{one_line(repr(version))} in {path}. If it is newer, upgrade: "
            "pip install --upgrade keras-ncsn"
        )
    return metadata


def checksums(folder: StrPath) -> dict[str, str]:
    """Returns the SHA-256 of each weights file, as the metadata state it.

    Args:
        folder: Path of the preset.

    Returns:
        A dictionary from file names to strings.
    """
    folder = pathlib.Path(folder)
    stated: Any = read_metadata(folder).get("sha256")
    names = stated.keys() if isinstance(stated, dict) else ()
    if (
        not {WEIGHTS_FILE, INDEX_FILE} & set(names)
        or not all(is_weights(name) for name in names)
        or not all(isinstance(digest, str) for digest in stated.values())
    ):
        cache.distrust(folder / METADATA_FILE)
        raise ValueError(
            "A preset must state the SHA-256 of its weights in "
            f"`{METADATA_FILE}`, for each weights file such as {WEIGHTS_FILE}. "
            f"Received: {one_line(repr(stated))} in {folder}"
        )
    if len(names) > MAX_WEIGHTS_FILES:
        raise ValueError(
            f"A preset must have at most {MAX_WEIGHTS_FILES:,} weights files. "
            f"Received: {one_line(folder)}, with {len(names):,}"
        )
    return stated


def weights_bytes(folder: StrPath) -> int | None:
    """Returns the size of all weights files, as the metadata state it.

    Args:
        folder: Path of the preset.

    Returns:
        Integer, or `None` if they do not state it.
    """
    folder = pathlib.Path(folder)
    size = read_metadata(folder).get("weights_bytes")
    if size is not None and (
        type(size) is not int or not 0 <= size <= MAX_WEIGHTS_BYTES
    ):
        cache.distrust(folder / METADATA_FILE)
        raise ValueError(
            "`weights_bytes` in the metadata of a preset must be a whole "
            f"number from 0 to {MAX_WEIGHTS_BYTES:,}. Received: weights_bytes="
            f"{one_line(repr(size))} in {one_line(folder)}. Tell the publisher "
            "of the preset."
        )
    return size


def check_weights_bytes(folder: StrPath, size: int, stated: int | None) -> None:
    """Raises a `ValueError` if the weights of a preset are too large.

    Args:
        folder: Path of the preset, for messages.
        size: Integer, the size of its weights files together.
        stated: Integer or `None`, as `weights_bytes` returns it.
    """
    most = MAX_WEIGHTS_BYTES if stated is None else stated
    if size > most:
        raise ValueError(
            f"The weights of a preset must have at most {most:,} bytes in "
            "total, and no more than its metadata state. Received: "
            f"{size:,} bytes in {one_line(folder)}. Download or save the "
            "preset again."
        )


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the content of a JSON file of a preset.

    Args:
        path: A `pathlib.Path` of the config, the metadata or the index.

    Returns:
        A dictionary.
    """
    try:
        text = read_regular(path, _MAX_BYTES[path.name]).decode("utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        cache.distrust(path)
        raise _unreadable(path, one_line(error)) from None
    if not isinstance(content, dict):
        cache.distrust(path)
        raise _unreadable(path, "which does not hold a dictionary")
    return content


def sha256(path: StrPath, max_bytes: int | None = None) -> str:
    """Returns the SHA-256 of a file.

    Args:
        path: Path.
        max_bytes: As in `files.open_regular`.

    Returns:
        A string of 64 hexadecimal digits.
    """
    with open_regular(path, max_bytes) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_shape(folder: StrPath) -> tuple[int, ...]:
    """Returns the shape of a preset's images, without building the model.

    Args:
        folder: Path of its folder.

    Returns:
        A tuple of integers, empty if the config does not state it.
    """
    network = read_config(folder)["config"]["network"]["config"]
    shape = network.get("image_shape")
    return tuple(shape) if isinstance(shape, list) else ()


def _check_no_folders(preset):
    for path in preset.iterdir():
        if is_part(path.name) and path.is_dir() and not path.is_symlink():
            raise ValueError(
                f"A preset must have files for its weights. Received: "
                f"{one_line(path)}, a folder. Rename it, or choose another "
                "place."
            )


def _check_sizes(folder, names):
    size = 0
    for name in names:
        path = folder / name
        if not path.is_file():
            raise ValueError(
                f"A preset must have its weights in `{name}`. Received: "
                f"{folder}, which has none. Pass `load_weights=False` for "
                "random weights."
            )
        size += path.stat().st_size
    check_weights_bytes(folder, size, weights_bytes(folder))


def _check_sha256(folder, name, expected):
    path = folder / name
    try:
        received = sha256(path, _MAX_BYTES.get(name, MAX_WEIGHTS_BYTES))
    except OSError as error:
        raise _unreadable(path, one_line(error)) from None
    if received == expected:
        return
    # Either file may be the wrong one. `distrust` keeps an undamaged file.
    cache.distrust(path)
    cache.distrust(folder / METADATA_FILE)
    own = (
        ", or remove `config_sha256` from the metadata if you changed the "
        "config yourself"
    )
    raise ValueError(
        f"`{name}` must have the SHA-256 that the preset's `{METADATA_FILE}` "
        "states. Otherwise it is damaged or belongs to another preset. "
        f"Received: {received} in {path}, stated: {one_line(repr(expected))}. "
        "Download or save the preset again"
        f"{own if name == CONFIG_FILE else ''}."
    )


def _unreadable(path, reason):
    return ValueError(
        f"A preset must have a readable `{path.name}`. Received: {path}, "
        f"{reason}"
    )
