"""What a preset of someone else may hold: numbers, and layers that are known.

A config names the classes that are made of it. Keras would import the module
of some, and some of its own layers run code or read files that the config
names; here all but a list of what is harmless is refused, before anything is
made. Weights may point to other files, or claim to be larger than they are.
"""

import re

import h5py
import keras

# Where Keras defines layers that compute with numbers, and nothing else.
_LAYERS = re.compile(
    r"keras\.src\.layers\.(activations|attention|convolutional|core|merging|"
    r"normalization|pooling|regularization|reshaping|rnn)\."
)
_CODE = {"Lambda"}
_OPERATIONS = {"keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.math"}
_CORE_OPERATIONS = {"Cast", "StopGradient"}
_MODELS = {
    ("keras.src.models.functional", "Functional"),
    ("keras", "Functional"),
    ("keras", "Sequential"),
    ("keras", "DTypePolicy"),
    ("keras", "FloatDTypePolicy"),
    ("keras.random", "SeedGenerator"),
}
_OBJECTS = {
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.activations",
}
_VALUES = {
    "__keras_tensor__",
    "__tensor__",
    "__numpy__",
    "__slice__",
    "__ellipsis__",
}
_OURS = "keras_ncsn>"


def check_config(config, custom_objects=None):
    """Raises a `ValueError` if a config names what could run code.

    Classes of this package are trusted, and those of Keras that only compute;
    all others must come from the caller.

    Args:
        config: What `keras.saving.serialize_keras_object` made, or part of it.
        custom_objects: Dictionary from names to classes that the caller
            trusts. Defaults to `None`.

    Example:

    >>> check_config({"module": "keras.layers", "class_name": "Lambda"})
    Traceback (most recent call last):
    ...
    ValueError: A preset must be of classes of keras-ncsn and of layers of ...
    """
    if isinstance(config, (list, tuple)):
        for part in config:
            check_config(part, custom_objects)
    if not isinstance(config, dict):
        return
    if "class_name" in config and not _is_trusted(config, custom_objects or {}):
        raise ValueError(
            "A preset must be of classes of keras-ncsn and of layers of Keras "
            "that only compute, because others could run code. Received: "
            f"{_name(config)}. If it is yours, pass it in `custom_objects`."
        )
    for part in config.values():
        check_config(part, custom_objects)


def check_weights_file(path, num_weights):
    """Raises a `ValueError` unless a file holds numbers, and not too many.

    Args:
        path: Path of an HDF5 file.
        num_weights: Integer, how many numbers the model has.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_group(file, path, num_weights)
    except OSError as error:
        raise ValueError(
            f"Weights must be a readable HDF5 file. Received: {path}, {error}"
        ) from None


def _name(config):
    names = [config.get(key) for key in ("module", "class_name")]
    if config.get("class_name") == "function":
        names.append(config.get("config"))
    return ".".join(str(name) for name in names if name is not None)


def _is_trusted(config, custom_objects):
    module, name = config.get("module"), config["class_name"]
    registered = config.get("registered_name")
    if not isinstance(name, str) or isinstance(module, (dict, list)):
        return False
    if name in _VALUES:
        return True
    if name == "function":
        return config.get("config") in custom_objects or hasattr(
            keras.activations, str(config.get("config"))
        )
    if name in custom_objects or registered in custom_objects:
        return True
    if str(registered).startswith(_OURS):
        return registered == _OURS + name and _is_ours(registered)
    if registered not in (None, name):
        # Keras would look for a class that was registered under that name.
        return False
    return _is_of_keras(module, name)


def _is_ours(registered):
    known = keras.saving.get_registered_object(registered)
    return known is not None and known.__module__.startswith("keras_ncsn.")


def _is_of_keras(module, name):
    if (module, name) in _MODELS:
        return True
    if module == "keras.layers":
        layer = getattr(keras.layers, name, None)
        source = getattr(layer, "__module__", "")
        return bool(_LAYERS.match(source)) and name not in _CODE
    if module in _OBJECTS:
        return hasattr(getattr(keras, module.removeprefix("keras.")), name)
    if module == "keras.src.ops.core":
        return name in _CORE_OPERATIONS
    return module in _OPERATIONS


def _check_group(group, path, num_weights):
    """Returns how many of `num_weights` are left after the group's."""
    for name in group:
        place = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            _refuse(path, f"{place} is a link to elsewhere")
        item = group[name]
        if isinstance(item, h5py.Group):
            num_weights = _check_group(item, path, num_weights)
            continue
        _check_dataset(item, path, place)
        num_weights -= item.size
        if num_weights < 0:
            _refuse(path, "it holds more numbers than the model has")
    return num_weights


def _check_dataset(item, path, place):
    if not isinstance(item, h5py.Dataset):
        _refuse(path, f"{place} is no array")
    # A bfloat16 array is one of two bytes each.
    if item.dtype.kind not in "fiubV" or item.dtype.hasobject:
        _refuse(path, f"{place} holds no numbers, but {item.dtype}")
    if item.external or item.is_virtual:
        _refuse(path, f"{place} is kept in another file")


def _refuse(path, reason):
    raise ValueError(
        "Weights must be arrays of numbers, in the file itself and no more "
        f"than the model has. Received: {path}, where {reason}"
    )
