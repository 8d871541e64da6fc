"""Writing presets: whole or not at all."""

import contextlib
import datetime
import functools
import importlib.metadata
import json
import math
import os
import pathlib
import re
import secrets
import shutil
import stat
import tempfile

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_ncsn.checks import check_choice
from keras_ncsn.files import check_no_links
from keras_ncsn.presets import format

# In gigabytes, as Keras counts: a larger preset goes into several files.
MAX_SHARD_SIZE = 5.0
WEIGHTS_DTYPES = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def save(
    model,
    folder,
    metadata=None,
    card=None,
    weights_dtype="float32",
    max_shard_size=MAX_SHARD_SIZE,
):
    """Writes a preset; a crash on the way leaves the old one or none.

    Args:
        model: An `NCSNModel`.
        folder: Path of the folder to make, or to replace if it is a preset.
        metadata: Dictionary of more to be kept with it, of what JSON can
            hold. Defaults to `None`.
        card: String, the text of its card, in Markdown. Defaults to `None`.
        weights_dtype: String, `"float32"`, `"float16"` (of weights within
            65504) or `"bfloat16"`, how they are stored. Defaults to
            `"float32"`.
        max_shard_size: Float, gigabytes above which weights go into several
            files. Defaults to `5.0`.
    """
    check_arguments(metadata, weights_dtype)
    if weights_dtype == "float16":
        _check_range(model)
    # Behind a link, or the link would be replaced.
    folder = pathlib.Path(folder).resolve()
    is_preset = format.check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
    )
    try:
        # What a person added, a card among it, stays.
        if is_preset:
            shutil.copytree(
                folder,
                temporary,
                symlinks=True,
                ignore=functools.partial(_written_anew, folder),
                dirs_exist_ok=True,
            )
        _write_weights(model, temporary, weights_dtype, max_shard_size)
        _write_rest(model, temporary, metadata or {}, card)
        temporary.chmod(0o755)
        _replace(folder, temporary)
    except OSError as error:
        raise OSError(
            f"The preset {folder}, weights of {_bytes_needed(model):,} bytes, "
            f"could not be written: {_reason(error)}. Make room, or choose "
            "another disk."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _reason(error):
    # `copytree` goes on to the end, and lists what failed.
    if isinstance(error, shutil.Error):
        return error.args[0][0][-1]
    return error.strerror or error


def _written_anew(preset, folder, names):
    """Returns the names in a folder of a preset that are not to be copied."""
    left_out = {name for name in names if not _can_copy(folder, name)}
    # What else lies in it, deeper down too, is a person's.
    if pathlib.Path(folder) != preset:
        return left_out
    written = {format.CONFIG_FILE, format.METADATA_FILE}
    # Writing would follow it; other links stay links, so that nothing from
    # elsewhere becomes a part of the preset.
    if (preset / format.CARD_FILE).is_symlink():
        written.add(format.CARD_FILE)
    return left_out | {
        name
        for name in names
        if name in written or format.WEIGHTS_NAME.fullmatch(name)
    }


def _can_copy(folder, name):
    # To copy a named pipe or a device could take for ever.
    mode = os.lstat(os.path.join(folder, name)).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def leftovers(folder):
    """Returns the folders that processes killed in `save` left beside one.

    Args:
        folder: Path of a preset, or of where one may be saved.

    Returns:
        A list of paths. Those that end in `.old` hold the preset before. All
        have names that `save` makes, and none is a link.
    """
    folder = pathlib.Path(folder)
    # As `tempfile.mkdtemp` names them.
    name = re.compile(rf"\.{re.escape(folder.name)}\.[a-z0-9_]{{8}}(\.old)?")
    if not folder.parent.is_dir():
        return []
    return sorted(
        path
        for path in folder.parent.iterdir()
        if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )


def recover(folder):
    """Puts right what a process that was killed in `save` left behind.

    No other process may be saving there.

    Args:
        folder: Path of a preset, or of where one may be saved; not a link.
    """
    folder = pathlib.Path(folder)
    check_no_links(folder.parent, [folder.name])
    for left_over in leftovers(folder):
        # The preset before, which had stepped aside.
        if left_over.suffix == ".old" and not folder.exists():
            left_over.rename(folder)
        else:
            shutil.rmtree(left_over, ignore_errors=True)


def check_arguments(metadata, weights_dtype):
    """Raises a `ValueError` unless `save` takes arguments.

    Args:
        metadata: What should be a dictionary, or `None`.
        weights_dtype: What should be a name.
    """
    check_choice("weights_dtype", weights_dtype, WEIGHTS_DTYPES)
    check_metadata(metadata)


def check_metadata(metadata):
    """Raises a `ValueError` unless `save` takes metadata.

    Args:
        metadata: What should be a dictionary, or `None`.
    """
    try:
        json.dumps(metadata, allow_nan=False)
        _check_keys(metadata)
        reason = type(metadata).__name__
    except (TypeError, ValueError, RecursionError) as error:
        metadata, reason = error, str(error)
    if not isinstance(metadata, (dict, type(None))):
        raise ValueError(
            "`metadata` must be a dictionary of what JSON can hold: strings, "
            "finite numbers, lists and dictionaries by strings. Received: "
            f"{reason}"
        )


def _check_keys(value):
    # JSON would make strings of some.
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r}")
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(item)


def _check_range(model):
    largest = float(np.finfo(np.float16).max)
    for variable in model.weights:
        size = float(np.abs(keras.ops.convert_to_numpy(variable)).max())
        if size > largest:
            raise ValueError(
                f"Weights must be within {largest:.0f} to be stored in "
                f"float16. Received: {size:g} in {variable.path}. Store them "
                "in bfloat16 or float32."
            )


def _write_rest(model, folder, metadata, card):
    config = keras.saving.serialize_keras_object(model)
    for run_time in ("compile_config", "build_config"):
        config.pop(run_time, None)
    # Weights load in any precision: who loads them chooses.
    config["config"]["network"]["config"].pop("dtype", None)
    if model.guide is not None:
        guide = config["config"]["guide"]["config"]
        guide["network"]["config"].pop("dtype", None)
    _write_json(folder / format.CONFIG_FILE, config)
    weights = _weights(folder)
    # What is measured here wins over what the caller says.
    metadata = metadata | {
        "format_version": format.FORMAT_VERSION,
        "keras_version": keras.__version__,
        "keras_ncsn_version": _version(),
        "parameter_count": model.network.count_params(),
        "date_saved": f"{datetime.datetime.now():%Y-%m-%d@%H:%M:%S}",
        "weights_bytes": sum(path.stat().st_size for path in weights),
        "config_sha256": format.sha256(folder / format.CONFIG_FILE),
        "sha256": {path.name: format.sha256(path) for path in weights},
    }
    if model.guide is not None:
        metadata["guide_parameter_count"] = model.guide.count_params()
    _write_json(folder / format.METADATA_FILE, metadata)
    if card is not None:
        (folder / format.CARD_FILE).write_text(card, encoding="utf-8")


def _version():
    # A checkout on the path, that is not installed, has none.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("keras-ncsn")


def _weights(folder):
    return sorted(
        path
        for path in folder.iterdir()
        if format.WEIGHTS_NAME.fullmatch(path.name)
    )


def _bytes_needed(model):
    # With room for what HDF5 notes of each array.
    return sum(4096 + 4 * math.prod(w.shape) for w in model.weights)


def _write_weights(model, folder, weights_dtype, max_shard_size):
    # HDF5 takes a full disk badly, up to a crash of the process: so fill what
    # it will need before.
    needed = _bytes_needed(model)
    path = folder / format.WEIGHTS_FILE
    with open(path, "xb") as file:
        file.write(bytes(needed))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    if needed > max_shard_size * 2**30:
        index = folder / format.INDEX_FILE
        model.save_weights(index, max_shard_size=max_shard_size)
    else:
        model.save_weights(path)
    kept = {weight.dtype for weight in model.weights} & WEIGHTS_DTYPES.keys()
    if kept != {weights_dtype}:
        for path in _weights(folder):
            if path.name != format.INDEX_FILE:
                _convert(path, weights_dtype)


def _convert(path, weights_dtype):
    # A file of its own: HDF5 gives no room back that was used once.
    converted = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with h5py.File(path, "r") as old, h5py.File(converted, "x") as new:
        new.attrs.update(old.attrs)

        def copy(name, item):
            if isinstance(item, h5py.Group):
                new.require_group(name).attrs.update(item.attrs)
                return
            array = np.asarray(item[()])
            # How Keras marks what HDF5 does not know.
            if item.attrs.get("dtype") == "bfloat16":
                array = array.view(ml_dtypes.bfloat16)
            if array.dtype not in WEIGHTS_DTYPES.values():
                new[name] = array
                return
            new[name] = array.astype(WEIGHTS_DTYPES[weights_dtype])
            if weights_dtype == "bfloat16":
                new[name].attrs["dtype"] = "bfloat16"

        old.visititems(copy)
    os.replace(converted, path)


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


def _write_json(path, content):
    text = json.dumps(content, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
