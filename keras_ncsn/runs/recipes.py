"""The named recipes, and the recipe of a run."""

import dataclasses
from typing import Any

from keras_ncsn.annotations import StrPath
from keras_ncsn.checks import check_choice
from keras_ncsn.runs.network_recipes import (
    NCSNRecipe,
    NetworkRecipe,
    UNetRecipe,
    known_stages,
)
from keras_ncsn.runs.recipe import Recipe, check_values
from keras_ncsn.text import one_line

# https://arxiv.org/abs/2006.09011, Table 4.
_NCSNV2 = NCSNRecipe(
    network="ncsnv2",
    dequantize=False,
    learning_rate=1e-4,
    ema_momentum=0.999,
    steps_per_level=5,
    denoise=True,
)

RECIPES = {
    "unet-mnist": UNetRecipe(
        width=44,
        width_multipliers=(1, 2),
        patch_size=2,
        sigma_max=20.0,
        log_sigma_mean=-0.7,
        random_flip=False,
        steps=18_000,
        learning_rate=2e-3,
        warmup_steps=500,
        ema_momentum=0.999,
        num_steps=24,
        churn=10.0,
    ),
    "unet-cifar10": UNetRecipe(num_blocks=3, dropout=0.1),
    "unet-celeba": UNetRecipe(image_size=32),
    "ncsn-mnist": NCSNRecipe(width=64, random_flip=False),
    "ncsn-cifar10": NCSNRecipe(),
    "ncsn-celeba": NCSNRecipe(image_size=32),
    "ncsnv2-cifar10": dataclasses.replace(
        _NCSNV2,
        sigma_max=50.0,
        num_levels=232,
        steps=300_000,
        step_size=6.2e-6,
    ),
    "ncsnv2-celeba64": dataclasses.replace(
        _NCSNV2,
        image_size=64,
        sigma_max=90.0,
        num_levels=500,
        steps=210_000,
        step_size=3.3e-6,
    ),
}

_OF_DATA = {
    "mnist": "unet-mnist",
    "fashion_mnist": "unet-mnist",
    "celeb_a": "unet-celeba",
}


def find(name: str, settings: dict[str, Any] | None = None) -> NetworkRecipe:
    """Returns a named recipe, with some of its values replaced.

    Args:
        name: String, a key of `RECIPES`.
        settings: Dictionary from names of the recipe's settings to new values.
            Without `attention_stages`, the recipe's own are used, except for
            stages that the U-Net does not have. Defaults to `None`.

    Returns:
        A `UNetRecipe` or `NCSNRecipe`.

    Example:

    >>> find("ncsn-cifar10", {"width": 32}).width
    32
    """
    check_choice("recipe", name, RECIPES)
    settings = dict(settings or {})
    recipe: NetworkRecipe = RECIPES[name]
    if "sampler" in settings:
        # The sampler decides which settings the recipe has.
        recipe = dataclasses.replace(recipe, sampler=settings["sampler"])
    known = recipe.values()
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise ValueError(
            "Only settings of the recipe can be replaced. Received: "
            f"{one_line(', '.join(unknown))} for {name}, which has "
            f"{', '.join(known)}"
        )
    check_values(type(recipe), settings)
    if isinstance(recipe, UNetRecipe):
        stages = known_stages(
            settings.get("width_multipliers", recipe.width_multipliers),
            recipe.attention_stages,
        )
        settings.setdefault("attention_stages", stages)
    return dataclasses.replace(recipe, **settings)


def find_for_preset(
    name: str, from_preset: str, settings: dict[str, Any] | None = None
) -> Recipe:
    """Returns a named recipe, as a run uses it to train a preset's model.

    Args:
        name: String, a key of `RECIPES`.
        from_preset: String, the preset.
        settings: Dictionary from names of settings of a `Recipe` to new
            values. Defaults to `None`.

    Returns:
        A `Recipe`.

    Example:

    >>> recipe = find_for_preset("unet-mnist", "mnist", {"dtype": "float32"})
    >>> recipe.steps, recipe.dtype, recipe.sigma_distribution
    (18000, 'float32', None)
    """
    check_choice("recipe", name, RECIPES)
    settings = settings or {}
    fields = dataclasses.fields(Recipe)
    unknown = sorted(settings.keys() - {field.name for field in fields})
    if unknown:
        raise ValueError(
            "Settings of the model must come from the preset. Received: "
            f"from_preset={from_preset!r}, and "
            f"{one_line(', '.join(unknown))}. Leave them out (a preset with "
            "labels is trained with labels), or start from random weights."
        )
    values = {
        field.name: getattr(RECIPES[name], field.name)
        for field in fields
        if not field.metadata.get("of_preset")
    }
    return Recipe(**(values | settings))


def restore(
    name: str, values: dict[str, Any], from_preset: str | None = None
) -> Recipe:
    """Returns the recipe that a run file holds.

    Args:
        name: String, a key of `RECIPES`.
        values: Dictionary from names of settings to values. Settings that are
            newer than the run file may be missing.
        from_preset: String, the preset that the run starts from. Defaults to
            `None`.

    Returns:
        A `UNetRecipe` or `NCSNRecipe`, or with `from_preset` a `Recipe`.
        Raises a `ValueError` or `KeyError` for invalid values.

    Example:

    >>> values = find("unet-mnist").values()
    >>> del values["churn"]
    >>> restore("unet-mnist", values).churn
    0.0
    """
    kind = type(RECIPES[name]) if from_preset is None else Recipe
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(values.keys() - fields.keys())
    if unknown:
        raise ValueError(f"{one_line(', '.join(unknown))}, which no recipe has")
    check_values(kind, values)
    if {"width_multipliers", "attention_stages"} <= values.keys():
        # Earlier versions accepted other stages, which had no effect.
        stages = known_stages(
            values["width_multipliers"], values["attention_stages"]
        )
        values = values | {"attention_stages": stages}
    recipe = kind(**values)
    missing = [
        name
        for name in recipe.values().keys() - values.keys()
        if not _may_be_missing(fields[name])
    ]
    if missing:
        raise ValueError(f"a recipe without {', '.join(sorted(missing))}")
    return recipe


def _may_be_missing(field):
    marks = field.metadata
    of_preset = marks.get("of_preset") and field.default is None
    return bool(marks.get("added") or of_preset)


def recipe_of_data(data: StrPath) -> str:
    """Returns the name of the default recipe for a data set.

    Args:
        data: Name or path of the data set.

    Returns:
        A string, a key of `RECIPES`.

    Example:

    >>> recipe_of_data("mnist")
    'unet-mnist'
    """
    return _OF_DATA.get(str(data), "unet-cifar10")
