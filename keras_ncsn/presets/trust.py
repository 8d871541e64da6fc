"""What an untrusted config may name: known layers that only compute.

A config names classes, which Keras builds from it. Keras would import the
modules of some, and some of its own layers run code or read files that the
config names. So all classes but a list of harmless ones are refused before
anything is built. Arguments that a class of this package does not take are
refused, too. `weights_files` checks the weights.

A config may still describe a network that does not fit into memory. The
networks of this package refuse absurd sizes before they are built; the size of
others is not known before.
"""

import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

import keras

from keras_ncsn.text import one_line

# Where Keras defines layers that compute with numbers, and nothing else.
_LAYERS = re.compile(
    r"keras\.src\.layers\.(activations|attention|convolutional|core|merging|"
    r"normalization|pooling|regularization|reshaping|rnn)\."
)
_CODE = {"Lambda"}
# Preprocessing layers that only compute. Others read vocabularies from files.
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
# Other types are unsafe: the elements of text, for example, may have any size.
_DTYPE = re.compile("bool|u?int(8|16|32|64)|bfloat16|float(16|32|64)")
_ACTIVATIONS = {
    name
    for name in vars(keras.activations)
    if not name.startswith("_")
    and name not in ("get", "serialize", "deserialize")
}
_OURS = "keras_ncsn>"
# Arguments that layers and models pass on to Keras. Keras would take more, but
# a model that is given `inputs` and `outputs` changes its class for good.
_ARGUMENTS_OF_KERAS = {"name", "trainable", "dtype", "activity_regularizer"}


def check_config(
    config: Any, custom_objects: Mapping[str, Any] | None = None
) -> None:
    """Raises a `ValueError` if a config names something that could run code.

    Classes of this package are trusted, and so are classes of Keras that only
    compute. The caller must pass all others.

    Args:
        config: A config of `keras.saving.serialize_keras_object`, or a part of
            one.
        custom_objects: Dictionary from names to classes that the caller
            trusts. Defaults to `None`.

    Example:

    >>> check_config({"module": "keras.layers", "class_name": "Lambda"})
    Traceback (most recent call last):
    ...
    ValueError: A preset must consist of classes of keras-ncsn and of layers ...
    """
    try:
        _check(config, custom_objects or {})
    except RecursionError:
        raise ValueError(
            "A config must not be nested too deeply. Received: more levels "
            "than Python's recursion limit"
        ) from None


def check_arguments(cls: type[Any], config: Any) -> None:
    """Raises a `ValueError` for arguments that a class does not take.

    Args:
        cls: The class that is built from the config, of this package or a
            subclass of one.
        config: Dictionary, its arguments, which `check_config` has passed. If
            they hold configs of other classes of this package, these are
            checked too.

    Example:

    >>> check_arguments(keras_ncsn.NCSNModel, {"inputs": [], "outputs": []})
    Traceback (most recent call last):
    ...
    ValueError: A config must hold only arguments that its class takes. ...
    """
    _check_names(cls, config)
    for part in _dictionaries(config):
        registered = part.get("registered_name")
        if isinstance(registered, str) and _is_ours(registered):
            cls = keras.saving.get_registered_object(registered)
            _check_names(cls, part.get("config"))


def arguments(cls: type[Any]) -> set[str]:
    """Returns the names of the arguments that a config may give a class.

    Args:
        cls: A class of this package, or a subclass of one.

    Returns:
        A set of strings.

    Example:

    >>> sorted(arguments(keras_ncsn.noise.NoiseSchedule))
    ['sigmas', 'variance_preserving']
    """
    names = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        init = vars(base)["__init__"]
        parameters = inspect.signature(init).parameters.values()
        names |= {x.name for x in parameters if x.kind is not x.VAR_KEYWORD}
        if all(x.kind is not x.VAR_KEYWORD for x in parameters):
            break
        if base.__module__.startswith("keras_ncsn."):
            # The classes of Keras below it take only these from a config.
            names |= _ARGUMENTS_OF_KERAS
            break
    return names - {"self"}


def _check_names(cls, config):
    if not isinstance(config, dict):
        raise ValueError(
            f"The arguments of {cls.__name__} must be a dictionary. Received: "
            f"{one_line(repr(config), 100)}"
        )
    unknown = sorted(config.keys() - arguments(cls))
    if unknown:
        raise ValueError(
            "A config must hold only arguments that its class takes. Received: "
            f"{one_line(', '.join(unknown), 100)} for {cls.__name__}, which "
            f"takes {', '.join(sorted(arguments(cls)))}"
        )


def _dictionaries(config):
    """Yields all dictionaries in a config, however deep."""
    left = [config]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
            left.extend(part.values())
        elif isinstance(part, (list, tuple)):
            left.extend(part)


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
        "A preset must consist of classes of keras-ncsn and of layers of Keras "
        "that only compute, because others could run code. Received: "
        f"{one_line(name)}. If it is yours, pass it in `custom_objects`."
    )


def _check_array(config):
    dtype = config.get("dtype") if isinstance(config, dict) else None
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise ValueError(
            "An array in a config must hold numbers of a type known to Keras. "
            f"Received: dtype={one_line(repr(dtype))}"
        )


def _name(config):
    names = [config.get(key) for key in ("module", "class_name")]
    if config.get("class_name") == "function":
        names.append(config.get("config"))
    return ".".join(str(name) for name in names if name is not None)


def _is_harmless(text, custom_objects):
    # Keras also finds objects, such as initializers, by their registered names.
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
    # Keras looks here first, whatever else the config names.
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
