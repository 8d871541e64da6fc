"""All that a training run is, in one file: stop, and go on to the last bit.

Weights, their average, the optimizer, seeds and the running loss; with the
number of steps taken, from which the data goes on (see `shuffled_batches`).
"""

import pathlib
from zipfile import ZIP_STORED, ZipFile

import lazy_loader
import numpy as np

from keras_ncsn.files import open_regular, open_whole
from keras_ncsn.text import one_line, reason

# The command line knows the file, and does not wait for Keras.
keras = lazy_loader.load("keras")

STATE_FILE = "state.npz"
STEP = "step"
# Optimizers count in 32 bits.
MAX_STEPS = 2**31 - 1

# By the versions of its format that NumPy writes arrays of numbers in.
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def save_state(model, path, step):
    """Writes the state of a model in training.

    The file appears whole or not at all: what was there before stays until
    the new one is on the disk.

    Args:
        model: A compiled `NCSNModel`.
        path: Path of the file, `.npz`.
        step: Integer, how many steps were taken.
    """
    path = pathlib.Path(path)
    arrays = {name: _to_array(variable) for name, variable in _variables(model)}
    try:
        with open_whole(path) as file:
            np.savez(file, **arrays, **{STEP: step})
    except OSError as error:
        kept = f" The one before it is whole: {path}." if path.exists() else ""
        raise OSError(
            f"The checkpoint of step {step} could not be written: {error}."
            f"{kept} Make room, and go on from there."
        ) from error


def load_state(model, path):
    """Puts a model back where `save_state` found it.

    A file of someone else may claim to hold more than fits into memory: names
    and shapes are compared with the model's before anything is read.

    Args:
        model: A compiled `NCSNModel`, made and compiled by the same arguments.
        path: Path of the file.

    Returns:
        Integer, how many steps had been taken.
    """
    variables = dict(_variables(model))
    wanted = {name: _like(variable) for name, variable in variables.items()}
    wanted[STEP] = ((), "integer")
    try:
        with open_regular(path) as stream, ZipFile(stream) as archive:
            odd = _differences(archive, wanted)
            arrays = {} if odd else _read(archive, wanted)
    except Exception as error:  # A damaged file can raise anything.
        raise ValueError(
            f"A checkpoint must be readable. Received: {path}, {reason(error)}"
        ) from None
    if odd:
        raise ValueError(
            "A checkpoint must be of the same model, compiled the same way. "
            f"Received: {path}, which differs in "
            f"{one_line(', '.join(odd[:3]))}{' and others' if odd[3:] else ''}"
        )
    step = int(arrays.pop(STEP))
    if not 0 <= step <= MAX_STEPS:
        raise ValueError(
            "A checkpoint must state how many steps were taken, from 0 to "
            f"{MAX_STEPS:,}. Received: {path}, which states {step}"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return step


def _like(variable):
    return tuple(variable.shape), _kind(variable.dtype)


def _kind(dtype):
    # Not how many bits: backends keep seeds and steps in different ones.
    dtype = keras.backend.standardize_dtype(dtype)
    if keras.backend.is_int_dtype(dtype):
        return "integer"
    return "float" if keras.backend.is_float_dtype(dtype) else dtype


def _differences(archive, wanted):
    """Returns the names of the arrays that a file must have, and has not."""
    members = {
        member.filename.removesuffix(".npy"): member
        for member in archive.infolist()
    }
    odd = sorted(wanted.keys() ^ members.keys())
    return odd or [
        name
        for name, member in members.items()
        if _stated(archive, member) != wanted[name]
    ]


def _stated(archive, member):
    """Returns the shape and kind of an array, as its header states them."""
    # `save_state` does not compress, so that an array is in no way larger
    # than the file.
    if member.compress_type != ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = _HEADERS[version](file)
    return shape, _kind(dtype.name)


def _read(archive, names):
    arrays = {}
    for name in names:
        with archive.open(f"{name}.npy") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        # PyTorch takes no numbers whose bytes are the other way round.
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
            # Not by name: Keras numbers layers anew for each model.
            yield f"{group}/{index}", variable


def _to_array(variable):
    array = keras.ops.convert_to_numpy(variable.value)
    # NumPy's files do not know bfloat16, which float32 holds exactly.
    return array.astype("float32") if array.dtype == "bfloat16" else array
