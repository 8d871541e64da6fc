"""What a preset of someone else may hold: numbers, and layers that are known.

A config names the classes that are made of it. Keras would import the module
of some, and some of its own layers run code or read files that the config
names; here all but a list of what is harmless is refused, before anything is
made. Weights may point to other files, or claim to be larger than they are.

A config may still ask for a network that is larger than the memory, and fails
as any such network does: how large it is shows only when it is made.
"""

import re
import sys

import h5py
import keras

from keras_ncsn.text import printable

# Where Keras defines layers that compute with numbers, and nothing else.
_LAYERS = re.compile(
    r"keras\.src\.layers\.(activations|attention|convolutional|core|merging|"
    r"normalization|pooling|regularization|reshaping|rnn)\."
)
_CODE = {"Lambda"}
# Of those for preprocessing, where others read vocabularies from files.
_IMAGE_LAYERS = {"Rescaling", "Resizing", "CenterCrop", "Normalization"}
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
_ARRAYS = {"__numpy__", "__tensor__"}
_VALUES = {"__keras_tensor__", "__slice__", "__ellipsis__"} | _ARRAYS
# Of text, say, NumPy makes elements as large as the config says.
_DTYPE = re.compile("bool|u?int(8|16|32|64)|bfloat16|float(16|32|64)")
_ACTIVATIONS = {
    name
    for name in vars(keras.activations)
    if not name.startswith("_")
    and name not in ("get", "serialize", "deserialize")
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
    try:
        _check(config, custom_objects or {})
    except RecursionError:
        raise ValueError(
            "A config must not be nested that deeply. Received: more levels "
            "than Python can follow"
        ) from None


def check_weights_file(path, num_weights):
    """Raises a `ValueError` unless a file holds numbers, and not too many.

    Args:
        path: Path of an HDF5 file.
        num_weights: Integer, how many numbers the model has.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_group(file, path, num_weights, set())
    except (OSError, RecursionError) as error:
        raise ValueError(
            f"Weights must be a readable HDF5 file. Received: {path}, {error}"
        ) from None


def _check(config, custom_objects):
    if isinstance(config, (list, tuple)):
        for part in config:
            _check(part, custom_objects)
    elif isinstance(config, dict):
        if "class_name" in config and not _is_trusted(config, custom_objects):
            _refuse_class(_name(config))
        if config.get("class_name") in _ARRAYS:
            _check_array(config.get("config"))
        for part in config.values():
            _check(part, custom_objects)
    elif isinstance(config, str) and not _is_harmless(config, custom_objects):
        _refuse_class(config)


def _refuse_class(name):
    raise ValueError(
        "A preset must be of classes of keras-ncsn and of layers of Keras that "
        "only compute, because others could run code. Received: "
        f"{printable(name)}. If it is yours, pass it in `custom_objects`."
    )


def _check_array(config):
    dtype = config.get("dtype") if isinstance(config, dict) else None
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise ValueError(
            "An array in a config must be of numbers that Keras knows. "
            f"Received: dtype={dtype!r}"
        )


def _name(config):
    names = [config.get(key) for key in ("module", "class_name")]
    if config.get("class_name") == "function":
        names.append(config.get("config"))
    return ".".join(str(name) for name in names if name is not None)


def _is_harmless(text, custom_objects):
    # Keras takes an initializer, say, by the name it was registered under.
    known = keras.saving.get_registered_object(text, custom_objects)
    return known is None or _is_given(known, custom_objects) or _is_ours(text)


def _is_trusted(config, custom_objects):
    module, name = config.get("module"), config["class_name"]
    registered = config.get("registered_name")
    strings = (module, name, registered)
    if not all(isinstance(x, (str, type(None))) for x in strings) or not name:
        return False
    if name in _VALUES:
        return True
    if name == "function":
        return _is_trusted_function(
            config.get("config"), module, custom_objects
        )
    # What Keras will look for first, wherever else the config points.
    known = keras.saving.get_registered_object(
        registered or name, custom_objects
    )
    if known is not None:
        return _is_given(known, custom_objects) or (
            registered == _OURS + name and _is_ours(registered)
        )
    if registered not in (None, name):
        return False
    return _is_of_keras(module, name)


def _is_trusted_function(name, module, custom_objects):
    if not isinstance(name, str):
        return False
    known = keras.saving.get_registered_object(name, custom_objects)
    if known is not None:
        return _is_given(known, custom_objects)
    if module not in (None, "builtins", "keras.activations"):
        return False
    return name in _ACTIVATIONS


def _is_given(known, custom_objects):
    return any(known is given for given in custom_objects.values())


def _is_ours(registered):
    known = keras.saving.get_registered_object(registered)
    return (
        registered.startswith(_OURS)
        and known is not None
        and known.__module__.startswith("keras_ncsn.")
    )


def _is_of_keras(module, name):
    if (module, name) in _MODELS:
        return True
    if module == "keras.layers":
        layer = getattr(keras.layers, name, None)
        known = bool(_LAYERS.match(getattr(layer, "__module__", "")))
        known = known and name not in _CODE
        return isinstance(layer, type) and (known or name in _IMAGE_LAYERS)
    if module in _OBJECTS:
        found = getattr(getattr(keras, module.removeprefix("keras.")), name, 0)
        return isinstance(found, type)
    if module == "keras.src.ops.core":
        return name in _CORE_OPERATIONS
    return module in _OPERATIONS and _is_operation(module, name)


def _is_operation(module, name):
    found = getattr(sys.modules.get(module), name, None)
    return (
        isinstance(found, type)
        and issubclass(found, keras.Operation)
        and found.__module__ == module
    )


def _check_group(group, path, num_weights, seen):
    """Returns how many of `num_weights` are left after the group's."""
    for name in group:
        place = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            _refuse(path, f"{place} is a link to elsewhere")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            _refuse(path, f"{place} is there under another name too")
        seen.add(address)
        if isinstance(item, h5py.Group):
            num_weights = _check_group(item, path, num_weights, seen)
            continue
        _check_dataset(item, path, place)
        num_weights -= item.size
        if num_weights < 0:
            _refuse(path, "it holds more numbers than the model has")
    return num_weights


def _check_dataset(item, path, place):
    if not isinstance(item, h5py.Dataset) or item.size is None:
        _refuse(path, f"{place} is no array")
    # A bfloat16 array is one of two bytes each.
    kind, size = item.dtype.kind, item.dtype.itemsize
    if not (kind in "fiub" and size <= 8 or (kind == "V" and size == 2)):
        _refuse(path, f"{place} holds no numbers, but {item.dtype}")
    if item.external or item.is_virtual:
        _refuse(path, f"{place} is kept in another file")
    # Keras writes none. HDF5 takes memory for a whole chunk, which a small
    # file may claim to be of gigabytes, for an array of any size.
    if item.chunks is not None:
        _refuse(path, f"{place} is stored in chunks")


def _refuse(path, reason):
    raise ValueError(
        "Weights must be arrays of numbers, in the file itself and no more "
        f"than the model has. Received: {path}, where {printable(reason)}"
    )
