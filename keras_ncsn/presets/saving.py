"""Writing presets, completely or not at all."""

import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import secrets
import shutil
import stat
from typing import Any

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.checks import check_choice
from keras_ncsn.files import hidden_name
from keras_ncsn.presets import format, recovery

# In gigabytes, as Keras counts. Larger weights go into several files.
MAX_SHARD_SIZE = 5.0
WEIGHTS_DTYPES = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def save(
    model: Any,
    folder: StrPath,
    metadata: dict[str, Any] | None = None,
    card: str | None = None,
    weights_dtype: str = "float32",
    max_shard_size: float = MAX_SHARD_SIZE,
) -> None:
    """Writes a preset. A crash leaves the previous preset, or none.

    Args:
        model: An `NCSNModel`.
        folder: Path of the folder to create, or to replace if it is a preset.
        metadata: Dictionary of further metadata. JSON must be able to hold its
            values. Defaults to `None`.
        card: String, the text of its card, in Markdown. Defaults to `None`.
        weights_dtype: String, the type of the stored weights: `"float32"`,
            `"float16"` (only for weights within 65504) or `"bfloat16"`.
            Defaults to `"float32"`.
        max_shard_size: Float, gigabytes above which weights go into several
            files. Defaults to `5.0`.
    """
    check_arguments(metadata, weights_dtype)
    if weights_dtype == "float16":
        _check_range(model)
    # Resolved, because otherwise a link itself would be replaced.
    folder = pathlib.Path(folder).resolve()
    format.check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(hidden_name(folder.name))
    mode = stat.S_IMODE(folder.stat().st_mode) if folder.exists() else None
    temporary.mkdir(0o777 if mode is None else 0o700)
    try:
        _write_weights(model, temporary, weights_dtype, max_shard_size)
        _write_rest(model, temporary, metadata or {}, card)
        _finish_files(folder, temporary)
        recovery.replace(folder, temporary)
        if mode is not None:
            folder.chmod(mode)
    except OSError as error:
        raise OSError(
            f"The preset {folder} could not be written, with weights of "
            f"{_bytes_needed(model):,} bytes: {error.strerror or error}. Make "
            "room, or choose another disk."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_arguments(metadata: object, weights_dtype: object) -> None:
    """Raises a `ValueError` unless `save` accepts these arguments.

    Args:
        metadata: As in `save`, but not checked yet.
        weights_dtype: As in `save`, but not checked yet.
    """
    check_choice("weights_dtype", weights_dtype, WEIGHTS_DTYPES)
    check_metadata(metadata)


def check_metadata(metadata: object) -> None:
    """Raises a `ValueError` unless `save` accepts this metadata.

    Args:
        metadata: As in `save`, but not checked yet.
    """
    reason = None
    try:
        json.dumps(metadata, allow_nan=False)
        _check_keys(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    if reason is None and not isinstance(metadata, (dict, type(None))):
        reason = type(metadata).__name__
    if reason is not None:
        raise ValueError(
            "`metadata` must be a dictionary of values that JSON can hold: "
            "strings, finite numbers, lists, and dictionaries with strings as "
            f"keys. Received: {reason}"
        )


def _check_keys(value):
    # JSON would turn some other keys into strings.
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
    # The precision is chosen when a preset is loaded.
    config["config"]["network"]["config"].pop("dtype", None)
    if model.guide is not None:
        guide = config["config"]["guide"]["config"]
        if guide["network"] is not None:
            guide["network"]["config"].pop("dtype", None)
    _write_json(folder / format.CONFIG_FILE, config)
    weights = _weights(folder)
    # Values measured here override the caller's.
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
    if model.guide is not None and model.guide.network is not None:
        metadata["guide_parameter_count"] = model.guide.count_params()
    if model.class_names is not None:
        metadata["class_names"] = list(model.class_names)
    _write_json(folder / format.METADATA_FILE, metadata)
    if card is not None:
        _write_text(folder / format.CARD_FILE, card)


def _version():
    # A checkout that is not installed has no version.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("keras-ncsn")


def _weights(folder):
    return sorted(
        path for path in folder.iterdir() if format.is_weights(path.name)
    )


def _bytes_needed(model):
    # This includes room for HDF5's own data about each array.
    return sum(4096 + 4 * math.prod(w.shape) for w in model.weights)


def _write_weights(model, folder, weights_dtype, max_shard_size):
    # HDF5 may crash the process on a full disk. So a file of the needed size is
    # written first, to see whether it fits.
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
        _check_count(_weights(folder), max_shard_size)
    else:
        model.save_weights(path)
    kept = {weight.dtype for weight in model.weights} & WEIGHTS_DTYPES.keys()
    if kept != {weights_dtype}:
        for path in _weights(folder):
            if path.name != format.INDEX_FILE:
                _convert(path, weights_dtype)


def _check_count(paths, max_shard_size):
    if len(paths) > format.MAX_WEIGHTS_FILES:
        raise ValueError(
            f"Weights must be stored in at most {format.MAX_WEIGHTS_FILES:,} "
            f"files. Received: max_shard_size={max_shard_size}, which makes "
            f"{len(paths):,} files. Choose a larger size."
        )


def _convert(path, weights_dtype):
    # To a new file, because HDF5 does not free space within a file.
    converted = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with h5py.File(path, "r") as old, h5py.File(converted, "x") as new:
        new.attrs.update(old.attrs)

        def copy(name, item):
            if isinstance(item, h5py.Group):
                new.require_group(name).attrs.update(item.attrs)
                return
            array = np.asarray(item[()])
            # HDF5 has no bfloat16. Keras marks it by this attribute.
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


def _finish_files(folder, temporary):
    """Writes files to the disk, and keeps the permissions of old ones."""
    for path in temporary.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        old = folder / path.name
        if old.is_file() and not old.is_symlink():
            path.chmod(stat.S_IMODE(old.stat().st_mode) & 0o777)


def _write_json(path, content):
    text = json.dumps(content, indent=2, sort_keys=True)
    _write_text(path, text + "\n")


def _write_text(path, text):
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
