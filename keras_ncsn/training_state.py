"""All that a training run is, in one file: stop, and go on to the last bit.

Weights, their average, the optimizer, seeds and the running loss; with the
number of steps taken, from which the data goes on (see `shuffled_batches`).
"""

import pathlib
from zipfile import BadZipFile

import keras
import numpy as np

from keras_ncsn.files import open_whole

STEP = "step"


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

    Args:
        model: A compiled `NCSNModel`, made and compiled by the same arguments.
        path: Path of the file.

    Returns:
        Integer, how many steps had been taken.
    """
    try:
        # NumPy leaves a file open that turns out to be no archive.
        with (
            open(path, "rb") as stream,
            np.load(stream, allow_pickle=False) as file,
        ):
            arrays = {name: file[name] for name in file.files}
            step = int(arrays.pop(STEP))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"A checkpoint must be readable. Received: {path}, {error}"
        ) from None
    variables = dict(_variables(model))
    odd = sorted(variables.keys() ^ arrays.keys()) + [
        name
        for name in variables.keys() & arrays.keys()
        if tuple(variables[name].shape) != arrays[name].shape
    ]
    if odd:
        raise ValueError(
            "A checkpoint must be of the same model, compiled the same way. "
            f"Received: {path}, which differs in {', '.join(odd[:3])}"
            f"{' and others' if odd[3:] else ''}"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return step


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
