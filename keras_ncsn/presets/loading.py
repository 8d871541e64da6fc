"""Making what a preset holds: a network, and its weights after checks."""

import math
import pathlib
import warnings
from collections import Counter

from keras_ncsn.presets import format, trust, weights_files
from keras_ncsn.text import printable


def read_config(cls, folder, custom_objects):
    """Returns the arguments of the model of a preset, which run no code.

    Args:
        cls: The class of the model that takes them.
        folder: Path of the preset.
        custom_objects: As in `trust.check_config`.

    Returns:
        A dictionary.
    """
    config = format.read_config(folder)
    trust.check_config(config, custom_objects)
    try:
        trust.check_arguments(cls, config["config"])
    except ValueError as error:
        raise _unfit(folder, error) from None
    return config["config"]


def build(make, folder, config, overrides):
    """Returns what is made of the config of a preset.

    Args:
        make: A function of a config.
        folder: Path of the preset.
        config: Dictionary, as `read_config` returns it.
        overrides: Dictionary of what the caller wants instead.

    Returns:
        What `make` returns. If it cannot because of what the caller wants,
        its exception is raised as it is.
    """
    try:
        return make(config | overrides)
    except Exception as error:
        if overrides and _is_buildable(make, config):
            raise
        reason = f"{type(error).__name__}: {_reason(error)}"
        raise _unfit(folder, reason) from error


def load_weights(model, folder):
    """Loads the weights of a preset, after checking what they hold.

    Args:
        model: A Keras model, built from the config of the preset.
        folder: Path of its folder, whole by `presets.check_whole`.
    """
    folder = pathlib.Path(folder)
    stated = format.checksums(folder)
    paths = [folder / name for name in stated if name != format.INDEX_FILE]
    for path in paths:
        weights_files.check(path, _size(model))
    if format.INDEX_FILE in stated:
        _check_index(folder, stated)
    name = (
        format.INDEX_FILE
        if format.INDEX_FILE in stated
        else format.WEIGHTS_FILE
    )
    try:
        with warnings.catch_warnings():
            # Keras only warns of weights that it did not find.
            warnings.filterwarnings("error", category=UserWarning)
            model.load_weights(folder / name)
    except Exception as error:
        # Keras says of each layer that it found nothing, whatever is wrong.
        raise ValueError(
            f"The weights of a preset must fit its `{format.CONFIG_FILE}`, "
            f"and what overrides it. Received: {folder}, with the weights of "
            f"another network; {_difference(model, paths, error)}"
        ) from None


def _unfit(folder, reason):
    # One sentence, of which what was received comes last.
    reason = str(reason).replace("Received: ", "")
    return ValueError(
        f"The `{format.CONFIG_FILE}` of a preset must hold arguments that "
        f"the model and its network take. Received: {folder}; {reason}"
    )


def _reason(error):
    # Keras says much in many lines, and at the end what is wrong.
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= 300 else f"...{text[-300:]}"


def _is_buildable(make, config):
    try:
        make(config)
    except Exception:
        return False
    return True


def _check_index(folder, stated):
    index = format.read_json(folder / format.INDEX_FILE)
    places = index.get("weight_map")
    if isinstance(places, dict) and all(
        _are_stated(names, stated) for names in places.values()
    ):
        return
    raise ValueError(
        f"`{format.INDEX_FILE}` must name files that "
        f"`{format.METADATA_FILE}` states. Received: {folder}"
    )


def _are_stated(names, stated):
    names = names if isinstance(names, list) else [names]
    return bool(names) and all(
        isinstance(name, str) and name in stated for name in names
    )


def _difference(model, paths, error):
    # Where the network's shapes and those in the files first differ.
    shapes = Counter(
        shape for path in paths for shape in weights_files.shapes(path)
    )
    for variable in model.weights:
        shape = tuple(variable.shape)
        if not shapes[shape]:
            return f"they have no {printable(variable.path)} of shape {shape}"
        shapes[shape] -= 1
    return f"they have the same shapes ({type(error).__name__})"


def _size(model):
    return sum(math.prod(variable.shape) for variable in model.variables)
