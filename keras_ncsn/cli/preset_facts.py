"""What a command must know of a preset before Keras is imported."""

import pathlib
from typing import Any

from keras_ncsn import samplers
from keras_ncsn.text import one_line


def check_sampler(
    preset: str, sampler: str | None, settings: dict[str, Any]
) -> pathlib.Path:
    """Checks the settings of a sampler without importing Keras.

    A missing preset or a wrong setting raises a `ValueError`.

    Args:
        preset: String, as in `sources.find`.
        sampler: String, the name of a sampler, or `None` for the preset's own.
        settings: Dictionary of settings that override the preset's.

    Returns:
        A `pathlib.Path`, the folder of the preset. It has no weights if these
        are not downloaded yet.
    """
    from keras_ncsn.presets import format, sources

    folder = sources.find(preset, load_weights=False)
    config = format.read_config(folder)["config"]
    name = sampler or config.get("sampler", "annealed_langevin")
    stored = config.get("sampler_settings")
    # An invalid value in the preset is ignored here: `from_preset` refuses it.
    known = stored.get(str(name)) if isinstance(stored, dict) else None
    known = known if isinstance(known, dict) else {}
    samplers.make(name, known | settings)
    return folder


def class_names(
    folder: pathlib.Path,
    labels: str | list[str] | None,
    needed: bool = False,
) -> tuple[str, ...]:
    """Returns the names of a preset's classes, without importing Keras.

    Args:
        folder: Path of a preset, from `check_sampler`.
        labels: String or list of strings, the labels that the user gave, or
            `None`. Wrong ones raise a `ValueError`.
        needed: Boolean, whether the command needs the classes even if there
            are no labels. Defaults to `False`.

    Returns:
        A tuple of strings, empty if the preset takes no labels.
    """
    from keras_ncsn.conditions import Labels, checked_class_names
    from keras_ncsn.presets import format

    names = format.read_config(folder)["config"].get("class_names")
    if names is None:
        if labels is None and not needed:
            return ()
        raise ValueError(
            "Labels need a preset that was trained with labels. Received: "
            f"{one_line(folder.name)}, which has no `class_names`"
        )
    names = checked_class_names(names, None)
    try:
        for label in [labels] if isinstance(labels, str) else labels or ():
            Labels(names).index(label)
    except ValueError as error:
        if isinstance(labels, str) or "," not in "".join(names):
            raise
        raise ValueError(
            f"{error}. A comma ends a label of --labels, so give a class with "
            "a comma in its name by its number."
        ) from None
    return names


def image_space(folder: pathlib.Path, preset: str) -> tuple[Any, Any]:
    """Returns the shape and value range of a preset's images.

    Keras is imported only if the config does not state a valid shape, as for a
    network that is not of this package.

    Args:
        folder: Path of a preset, from `check_sampler`.
        preset: String, as in `sources.find`.

    Returns:
        A tuple of integers, and a pair of floats or `None`.
    """
    from keras_ncsn.checks import is_integer
    from keras_ncsn.presets import format

    image_shape = format.image_shape(folder)
    if len(image_shape) == 3 and all(
        is_integer(side) and side > 0 for side in image_shape
    ):
        config = format.read_config(folder)["config"]
        return image_shape, config.get("value_range", (0.0, 1.0))

    from keras_ncsn import NCSNModel

    model = NCSNModel.from_preset(preset, load_weights=False)
    return model.image_shape, model.value_range
