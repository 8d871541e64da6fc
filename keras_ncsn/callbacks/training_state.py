"""The state of a training run in one file, to resume it bit for bit.

The file holds the weights, their average, the optimizer, the seeds, the running
loss and the number of steps taken. The data resumes from this number (see
`shuffled_batches`).
"""

import pathlib
from typing import Any
from zipfile import ZIP_STORED

import lazy_loader
import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.callbacks.log_file import MAX_STEPS
from keras_ncsn.files import open_regular, open_whole
from keras_ncsn.files.archives import open_archive
from keras_ncsn.files.array_header import read_header
from keras_ncsn.text import one_line, reason

# The command line imports this module, and must not wait for Keras.
keras = lazy_loader.load("keras")

STATE_FILE = "state.npz"
STEP = "step"


def save_state(model: Any, path: StrPath, step: int) -> None:
    """Writes the state of a model in training.

    The file is written completely or not at all. An old file stays until the
    new one is on the disk.

    Args:
        model: A compiled `NCSNModel`.
        path: Path of the file, `.npz`.
        step: Integer, the number of steps taken.
    """
    path = pathlib.Path(path)
    arrays: dict[str, Any] = {
        name: _to_array(variable) for name, variable in _variables(model)
    }
    try:
        with open_whole(path) as file:
            np.savez(file, **(arrays | {STEP: step}))
    except OSError as error:
        advice = "Make room, and start again."
        if path.exists():
            advice = (
                f"The previous checkpoint is intact: {path}. Make room, and "
                "resume from it."
            )
        raise OSError(
            f"The checkpoint of step {step} could not be written: {error}. "
            f"{advice}"
        ) from error


def load_state(model: Any, path: StrPath) -> int:
    """Restores a model from the state that `save_state` wrote.

    A file from other people may claim to hold more than fits into memory. So
    its names and shapes are compared with the model's before any array is
    read.

    Args:
        model: A compiled `NCSNModel`, built and compiled with the same
            arguments.
        path: Path of the file.

    Returns:
        Integer, the number of steps taken.
    """
    variables = dict(_variables(model))
    wanted = {name: _like(variable) for name, variable in variables.items()}
    wanted[STEP] = ((), "integer")
    try:
        with open_regular(path) as stream, open_archive(stream) as archive:
            differing = _differences(archive, wanted)
            arrays = {} if differing else _read(archive, wanted)
    except Exception as error:  # A damaged file can raise anything.
        raise ValueError(
            f"A checkpoint must be readable. Received: {path}, {reason(error)}"
        ) from None
    if differing:
        names = one_line(", ".join(differing[:3]))
        raise ValueError(
            "A checkpoint must be of the same model, compiled the same way. "
            f"Received: {path}, which differs in {names}"
            f"{' and others' if differing[3:] else ''}"
        )
    step = int(arrays.pop(STEP))
    if not 0 <= step <= MAX_STEPS:
        raise ValueError(
            "A checkpoint must state the number of steps taken, from 0 to "
            f"{MAX_STEPS:,}. Received: {path}, which states {step}"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return step


def _like(variable):
    return tuple(variable.shape), _kind(variable.dtype)


def _kind(dtype):
    # The number of bits is left out, because for seeds and steps it depends on
    # the backend.
    dtype = keras.backend.standardize_dtype(dtype)
    if keras.backend.is_int_dtype(dtype):
        return "integer"
    return "float" if keras.backend.is_float_dtype(dtype) else dtype


def _differences(archive, wanted):
    """Returns the names of the arrays in which file and model differ."""
    names = archive.namelist()
    # Otherwise a member without the ending could be checked, but the one with
    # it read.
    if not all(name.endswith(".npy") for name in names):
        raise ValueError("it has members that are not arrays")
    # Of two members with one name, the last is checked and read.
    members = {
        name.removesuffix(".npy"): archive.getinfo(name) for name in names
    }
    unmatched = sorted(wanted.keys() ^ members.keys())
    return unmatched or [
        name
        for name, member in members.items()
        if _stated(archive, member) != wanted[name]
    ]


def _stated(archive, member):
    """Returns the shape and kind that the header of an array states."""
    # Without compression, an array cannot be larger than the file.
    if member.compress_type != ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with archive.open(member) as file:
        header = read_header(file)
    return header.shape, _kind(header.dtype.name)


def _read(archive, names):
    arrays = {}
    for name in names:
        with archive.open(f"{name}.npy") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        # PyTorch accepts only the native byte order.
        native = array.dtype.newbyteorder("=")
        arrays[name] = array.astype(native, copy=False)
    return arrays


def _variables(model):
    groups = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "loss": model.loss_tracker.variables,
    }
    for group, variables in groups.items():
        for index, variable in enumerate(variables):
            # Not by name: Keras numbers layers across models, so names differ.
            yield f"{group}/{index}", variable


def _to_array(variable):
    array = keras.ops.convert_to_numpy(variable.value)
    # NumPy's files cannot hold bfloat16. float32 holds its values exactly.
    return array.astype("float32") if array.dtype == "bfloat16" else array
