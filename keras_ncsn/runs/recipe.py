"""The settings that all recipes share, and how a setting is defined."""

import dataclasses
import types
from collections.abc import Iterable
from typing import Any

from keras_ncsn.runs.recipe_values import (
    ABOVE_0,
    AT_LEAST_0,
    COUNT,
    FLAG,
    RATE,
    SIZE,
    Kind,
    choice,
    integer,
    number,
)
from keras_ncsn.text import one_line

# The titles under which `keras-ncsn train --help` shows the settings.
DATA = "Data"
NETWORK = "Network"
NOISE = "Noise"
OPTIMISATION = "Optimisation"
SAMPLING = "Sampling"
GROUPS = (DATA, NETWORK, NOISE, OPTIMISATION, SAMPLING)


def setting(
    default: Any, help: str, group: str, kind: Kind, **marks: Any
) -> Any:
    """Returns a field of a recipe.

    Args:
        default: The default value.
        help: String, one sentence for `keras-ncsn train --help`.
        group: String, one of `GROUPS`.
        kind: The `Kind` of its values.
        **marks: `of_preset=True`: a run that starts from a preset uses the
            preset's value, unless another one is given. `added=True`: the
            setting may be missing from old run files. Their runs behaved as
            with the default. `choices`: the values that the command line
            offers, by default all values of the kind. `sampler`: the name of
            the sampler that has the setting.

    Returns:
        A `dataclasses.field`.
    """
    marks = {"choices": kind.choices} | marks if kind.choices else marks
    return dataclasses.field(
        default=default,
        metadata={"help": help, "group": group, "kind": kind, **marks},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train any network.

    A run that starts from a preset needs only these settings. Where `dtype`,
    `sigma_distribution`, `log_sigma_mean` or `log_sigma_std` is `None`, it uses
    the preset's value. The help text of each field says what the setting means.
    The constructor checks the values.

    A subclass for a network adds settings, and may change defaults: a class
    attribute with the name of a setting is its new default.

    Example:

    >>> Recipe(steps=100, learning_rate=0.5).steps
    100
    """

    image_size: int | None = setting(
        None, "Crop and resize images to squares of this size.", DATA, SIZE
    )
    random_flip: bool = setting(True, "Mirror half of the images.", DATA, FLAG)
    steps: int = setting(
        200_000, "Total number of training steps.", OPTIMISATION, COUNT
    )
    batch_size: int = setting(128, "Images per step.", OPTIMISATION, COUNT)
    learning_rate: float = setting(
        1e-3, "Adam's learning rate after warm-up.", OPTIMISATION, ABOVE_0
    )
    warmup_steps: int = setting(
        0,
        "Steps until the full learning rate, at most half of all steps.",
        OPTIMISATION,
        integer(0, 2**31 - 1),
    )
    decay: str = setting(
        "none",
        "How the learning rate falls after warm-up.",
        OPTIMISATION,
        choice("cosine", "none"),
    )
    ema_momentum: float | None = setting(
        None,
        "Momentum of the average of the weights; 0 for no average.",
        OPTIMISATION,
        RATE,
    )
    clip_norm: float | None = setting(
        None,
        "Largest norm of all gradients together; 0 for no limit.",
        OPTIMISATION,
        AT_LEAST_0,
    )
    weight_decay: float | None = setting(
        0.0, "Weight decay, as in AdamW.", OPTIMISATION, AT_LEAST_0
    )
    adam_epsilon: float = setting(
        1e-8, "Adam's epsilon.", OPTIMISATION, ABOVE_0
    )
    dtype: str | None = setting(
        None,
        "Precision of the layers.",
        OPTIMISATION,
        choice(
            "float32",
            "float16",
            "bfloat16",
            "float64",
            "mixed_float16",
            "mixed_bfloat16",
        ),
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        of_preset=True,
    )
    sigma_distribution: str | None = setting(
        None,
        "How training draws noise levels.",
        NOISE,
        choice("ladder", "log_uniform", "log_normal"),
        of_preset=True,
    )
    log_sigma_mean: float | None = setting(
        None,
        "Mean of ln(sigma), for log_normal.",
        NOISE,
        number(),
        of_preset=True,
    )
    log_sigma_std: float | None = setting(
        None,
        "Standard deviation of ln(sigma), for log_normal.",
        NOISE,
        ABOVE_0,
        of_preset=True,
    )

    def __init_subclass__(cls) -> None:
        # A new default changes nothing else about the setting.
        for inherited in dataclasses.fields(cls):
            if inherited.name in cls.__dict__:
                default = cls.__dict__[inherited.name]
                metadata = inherited.metadata
                field = dataclasses.field(default=default, metadata=metadata)
                setattr(cls, inherited.name, field)

    def __post_init__(self) -> None:
        check_values(type(self), vars(self))
        for name, value in vars(self).items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))

    def values(self) -> dict[str, Any]:
        """Returns the settings by name, in the order of `GROUPS`."""
        fields = in_order(dataclasses.fields(self))
        return {field.name: getattr(self, field.name) for field in fields}

    def in_place_of_preset(self) -> dict[str, Any]:
        """Returns the given values that replace the preset's values."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get("of_preset")
            and getattr(self, field.name) is not None
        }


def in_order(
    fields: Iterable[dataclasses.Field[Any]],
) -> list[dataclasses.Field[Any]]:
    """Returns fields of recipes in the order of `--help` and `--show-recipe`.

    Args:
        fields: Iterable of `dataclasses.Field`, made by `setting`.

    Returns:
        A list, sorted by group. The last settings of a group are those that a
        preset has too, because few runs change them.
    """

    def place(field):
        marks = field.metadata
        return GROUPS.index(marks["group"]), marks.get("of_preset", False)

    return sorted(fields, key=place)


def check_values(recipe: type[Recipe], values: dict[str, Any]) -> None:
    """Raises a `ValueError` for a value that a recipe cannot have.

    Args:
        recipe: Class of the recipe.
        values: Dictionary by name of setting.

    Example:

    >>> check_values(Recipe, {"steps": 100, "random_flip": "no"})
    Traceback (most recent call last):
    ...
    ValueError: `random_flip` must be True or False. Received: ...
    """
    for field in dataclasses.fields(recipe):
        name, marks = field.name, field.metadata
        if name not in values or marks["kind"].includes(values[name]):
            continue
        if values[name] is None and isinstance(field.type, types.UnionType):
            continue
        if values[name] is None and marks.get("of_preset"):
            raise ValueError(
                f"`{name}` must be given, because there is no preset to take "
                f"it from. Received: {name}=None"
            )
        raise ValueError(
            f"`{name}` must be {marks['kind'].words}. Received: {name}="
            f"{one_line(repr(values[name]))}"
        )
