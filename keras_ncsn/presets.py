"""Presets: a folder with a config, weights and what is known about them.

config.json is the serialised model, model.weights.h5 its weights, both as
Keras writes them; metadata.json has the checksum of the weights; README.md is
the card.
"""

import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import shutil
import tempfile
import warnings

import keras

CONFIG_FILE = "config.json"
METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "model.weights.h5"
CARD_FILE = "README.md"
FORMAT_VERSION = 1

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


def find(preset):
    """Returns the folder of a preset.

    Args:
        preset: A name of the zoo, or a path of a folder. A name of the zoo
            wins.

    Returns:
        A `pathlib.Path`.
    """
    known = zoo()
    if str(preset) in known:
        return known[str(preset)]
    folder = pathlib.Path(preset)
    if (folder / CONFIG_FILE).is_file():
        return folder
    raise ValueError(
        "`preset` must be a name of the zoo, or a folder with a "
        f"`{CONFIG_FILE}`. Received: preset={str(preset)!r}. Names: "
        f"{', '.join(known)}."
    )


def read_config(folder):
    """Returns the config of a preset.

    Args:
        folder: Path of its folder.

    Returns:
        A dictionary, as `keras.saving.serialize_keras_object` writes it.
    """
    config = _read_json(pathlib.Path(folder) / CONFIG_FILE)
    arguments = config.get("config") if isinstance(config, dict) else None
    if not isinstance(arguments, dict) or "network" not in arguments:
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
    return _read_json(pathlib.Path(folder) / METADATA_FILE)


def load_weights(model, folder):
    """Loads the weights of a preset, after checking them.

    Args:
        model: A Keras model, built from the config of the preset.
        folder: Path of its folder.
    """
    path = pathlib.Path(folder) / WEIGHTS_FILE
    expected = read_metadata(folder).get("sha256")
    if not path.is_file():
        raise ValueError(
            f"A preset must have its weights in `{WEIGHTS_FILE}`. Received: "
            f"{folder}, which has none. Pass `load_weights=False` for random "
            "weights."
        )
    received = _sha256(path)
    if received != expected:
        raise ValueError(
            "The weights of a preset must have the SHA-256 that its "
            f"`{METADATA_FILE}` states, else they are damaged or belong to "
            f"another. Received: {received} in {path}, stated: {expected}. "
            "Fetch or save the preset anew."
        )
    try:
        with warnings.catch_warnings():
            # Keras only warns of weights that it did not find.
            warnings.filterwarnings("error", category=UserWarning)
            model.load_weights(path)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise ValueError(
            f"The weights of a preset must fit its `{CONFIG_FILE}`, and what "
            f"overrides it. Received: {folder}; {error}"
        ) from None


def save(model, folder, metadata=None, card=None):
    """Writes a preset; a crash on the way leaves the old one or none.

    Args:
        model: An `NCSNModel`.
        folder: Path of the folder to make, or to replace if it is a preset.
        metadata: Dictionary of more to be kept with it. Defaults to `None`.
        card: String, the text of its card, in Markdown. Defaults to `None`.
    """
    folder = pathlib.Path(folder).absolute()
    is_preset = check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
    )
    try:
        # What a person added, a card among it, stays.
        if is_preset:
            new = shutil.ignore_patterns(WEIGHTS_FILE)
            shutil.copytree(folder, temporary, ignore=new, dirs_exist_ok=True)
        _write(model, temporary, metadata or {}, card)
        temporary.chmod(0o755)
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_folder(folder):
    """Raises a `ValueError` where no preset may be saved.

    Args:
        folder: Path.

    Returns:
        Boolean, whether there is a preset to replace.
    """
    folder = pathlib.Path(folder)
    if (folder / METADATA_FILE).is_file() and (folder / CONFIG_FILE).is_file():
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            "A preset must be saved to a new or empty folder, or to one that "
            f"holds a preset. Received: {folder}"
        )
    return False


def _write(model, folder, metadata, card):
    config = keras.saving.serialize_keras_object(model)
    for run_time in ("compile_config", "build_config"):
        config.pop(run_time, None)
    # Weights load in any precision: who loads them chooses.
    config["config"]["network"]["config"].pop("dtype", None)
    weights = folder / WEIGHTS_FILE
    _save_weights(model, weights)
    metadata = {
        "format_version": FORMAT_VERSION,
        "keras_version": keras.__version__,
        "keras_ncsn_version": importlib.metadata.version("keras-ncsn"),
        "parameter_count": model.count_params(),
        "date_saved": f"{datetime.datetime.now():%Y-%m-%d@%H:%M:%S}",
        "sha256": _sha256(weights),
    } | metadata
    _write_json(folder / CONFIG_FILE, config)
    _write_json(folder / METADATA_FILE, metadata)
    if card is not None:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _save_weights(model, path):
    # HDF5 takes a full disk badly, up to a crash of the process: so fill what
    # it will need before, with room for what it notes of each array.
    needed = sum(4096 + 4 * math.prod(w.shape) for w in model.weights)
    try:
        with open(path, "wb") as file:
            file.write(bytes(needed))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"A preset of {needed:,} bytes could not be written: "
            f"{error.strerror}. Make room, or choose another disk",
            str(path),
        ) from None
    path.unlink()
    model.save_weights(path)


def _replace(folder, temporary):
    if not folder.exists():
        temporary.rename(folder)
        return
    # A folder cannot be renamed over another that is not empty: the old one
    # steps aside, and back if the new one does not take its place.
    aside = temporary.with_name(temporary.name + ".old")
    folder.rename(aside)
    try:
        temporary.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"A preset must have a readable `{path.name}`. Received: {path}, "
            f"{error}"
        ) from None


def _write_json(path, content):
    text = json.dumps(content, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _sha256(path):
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
    return tuple(network.get("image_shape", ()))
