"""Building the model of a preset, and loading its weights after checks."""

import contextlib
import math
import pathlib
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_ncsn.annotations import StrPath
from keras_ncsn.memory import is_of_memory
from keras_ncsn.presets import format, trust, weights_files
from keras_ncsn.text import one_line, printable

_INDEX_KEYS = {"metadata", "weight_map"}
# Keras derives this name from the name of the index.
_FIRST_FILE = "model_00000.weights.h5"


def read(
    cls: type[Any],
    folder: StrPath,
    custom_objects: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the arguments of the model of a preset, still as configs.

    They are checked first, so building the model runs no foreign code.

    Args:
        cls: The class of the model that takes them.
        folder: Path of the preset.
        custom_objects: As in `trust.check_config`. Defaults to `None`.

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


@contextlib.contextmanager
def random_state_kept_if_refused() -> Iterator[None]:
    """A context that draws no random numbers of Python if it fails.

    Keras and networks draw their seeds while a model is built.
    """
    before = random.getstate()
    try:
        yield
    except BaseException:
        random.setstate(before)
        raise


def build_parts(
    config: dict[str, Any],
    folder: StrPath,
    custom_objects: Mapping[str, Any] | None = None,
    dtype: Any = None,
) -> dict[str, Any]:
    """Builds the network, the schedule and the guide of a preset.

    Args:
        config: Dictionary, as `read` returns it.
        folder: Path of the preset, for messages.
        custom_objects: As in `read`.
        dtype: Dtype policy of the networks. Defaults to `None`, the global
            one.

    Returns:
        A dictionary like `config`, but with objects for these three.
    """
    if dtype is not None:
        _check_dtype(config["network"], dtype)
    parts = {}
    with _dtype_policy(dtype):
        try:
            for name in ("network", "schedule", "guide"):
                if config.get(name) is not None:
                    parts[name] = keras.saving.deserialize_keras_object(
                        config[name], custom_objects=custom_objects
                    )
        except Exception as error:  # A wrong config can raise anything.
            if is_of_memory(error):
                raise
            raise _unfit(folder, _reason(error)) from error
    return config | parts


def make(
    cls: type[Any],
    config: dict[str, Any],
    folder: StrPath,
    overrides: dict[str, Any],
) -> Any:
    """Returns the model of a preset.

    Args:
        cls: The class of the model.
        config: Dictionary, as `build_parts` returns it.
        folder: Path of the preset, for messages.
        overrides: Dictionary of the caller's arguments, which replace those
            of the config.

    Returns:
        A model. If it cannot be built because of the caller's arguments, or
        because memory is too small, the model's own exception is raised.
    """
    try:
        return cls.from_config(config | overrides)
    except Exception as error:
        if is_of_memory(error) or (overrides and _can_make(cls, config)):
            raise
        raise _unfit(folder, _reason(error)) from error


class _Weights(keras.Model):
    """The parts of a model whose weights a preset holds."""

    def __init__(self, network: keras.Model, guide: Any):
        super().__init__()
        self.network = network
        self.guide = guide
        self.built = True


def load_weights(network: keras.Model, guide: Any, folder: StrPath) -> None:
    """Loads the weights of a preset, after checks of the files.

    Args:
        network: A Keras model, built from the config of the preset.
        guide: The `Guide` of the preset, or `None`.
        folder: Path of its folder, which `format.check_whole` has passed.
    """
    folder = pathlib.Path(folder)
    model = _Weights(network, guide)
    stated = format.checksums(folder)
    paths = [folder / name for name in stated if name != format.INDEX_FILE]
    for path in paths:
        weights_files.check(path, _size(model))
    if format.INDEX_FILE in stated:
        _check_index(folder, stated, _most_places(model))
    name = (
        format.INDEX_FILE
        if format.INDEX_FILE in stated
        else format.WEIGHTS_FILE
    )
    try:
        with warnings.catch_warnings():
            # Keras only warns about weights that it does not find.
            warnings.filterwarnings("error", category=UserWarning)
            model.load_weights(folder / name)
    except Exception as error:
        if is_of_memory(error):
            raise
        # For every fault, Keras only says that layers got no weights.
        raise ValueError(
            f"The weights of a preset must fit its `{format.CONFIG_FILE}` and "
            f"your own arguments. Received: {folder}, with the weights of "
            f"another network; {_difference(model, paths, error)}"
        ) from None


@contextlib.contextmanager
def _dtype_policy(dtype):
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_dtype(network, dtype):
    if not str(network.get("module")).startswith("keras_ncsn."):
        raise ValueError(
            "`dtype` can be chosen only for networks of this package, because "
            "other networks fix it in each layer. Received: "
            f"dtype={dtype!r} for a {one_line(network['class_name'])}"
        )


def _unfit(folder, reason):
    # The message has one "Received: ", before the folder.
    reason = str(reason).replace("Received: ", "")
    return ValueError(
        f"The `{format.CONFIG_FILE}` of a preset must hold arguments that "
        f"the model and its network take. Received: {folder}; {reason}"
    )


def _reason(error):
    # Messages of Keras have many lines. The last ones name the cause.
    text = printable(" ".join(str(error).split()))
    text = text if len(text) <= 300 else f"...{text[-300:]}"
    return f"{type(error).__name__}: {text}"


def _can_make(cls, config):
    try:
        cls.from_config(config)
    except Exception:
        return False
    return True


def _most_places(model):
    # Keras names one for each layer that has variables. A user's own layers may
    # store something else.
    return len(model.variables) + 1000


def _check_index(folder, stated, most_places):
    index = format.read_json(folder / format.INDEX_FILE)
    reason = _index_fault(index, stated, most_places)
    if reason is not None:
        raise ValueError(
            f"`{format.INDEX_FILE}` must name files that "
            f"`{format.METADATA_FILE}` lists, as Keras does. Received: "
            f"{folder}, where {reason}"
        )


def _index_fault(index, stated, most_places):
    """Returns why an index of weights files is invalid, or `None`."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or index.keys() - _INDEX_KEYS:
        return "the index holds something else"
    # For each layer, Keras searches all places.
    if len(places) > most_places:
        return f"{len(places):,} places are named, but {most_places:,} at most"
    # Keras opens this file first, even if the index names others.
    if _FIRST_FILE not in stated:
        return f"{_FIRST_FILE} is not listed"
    further = 0
    for names in places.values():
        names = names if isinstance(names, list) else [names]
        if not names or not all(
            isinstance(name, str) and name in stated for name in names
        ):
            return "another file is named"
        if len(set(names)) < len(names):
            return "a file is named twice for the same weights"
        further += len(names) - 1
    # Each file except the first continues where another file ends. Keras opens
    # all files of a layer again for each of the layer's weights.
    if further >= len(stated):
        return "files are named more often than Keras would"
    return None


def _difference(model, paths, error):
    # Says where the network's shapes and those in the files first differ.
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
