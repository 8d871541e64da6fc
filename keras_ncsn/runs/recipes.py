"""Recipes: everything about a training run but the data and the seed."""

from keras_ncsn.checks import check_choice
from keras_ncsn.runs.recipe_values import check_values
from keras_ncsn.text import one_line

# A U-Net after NCSN++ and EDM: https://arxiv.org/abs/2206.00364.
_UNET = {
    "network": "unet",
    "image_size": None,
    "width": 128,
    "width_multipliers": (1, 2, 2),
    "patch_size": 1,
    "num_blocks": 2,
    "attention_stages": (1,),
    "num_heads": 1,
    "dropout": 0.0,
    "sigma_max": 80.0,
    "sigma_min": 0.01,
    "num_levels": 100,
    "sigma_distribution": "log_normal",
    "log_sigma_mean": -1.2,
    "log_sigma_std": 1.2,
    "weighting": "edm",
    "dequantize": True,
    "random_flip": True,
    "batch_size": 128,
    "steps": 200_000,
    "learning_rate": 1e-3,
    "adam_epsilon": 1e-7,
    "warmup_steps": 2_000,
    "decay": "cosine",
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "ema_momentum": 0.9995,
    "dtype": "float32",
    "sampler": "heun",
    "num_steps": 18,
    "churn": 0.0,
    "steps_per_level": 5,
    "step_size": 1.1e-5,
    "denoise": True,
}

# The paper's: https://arxiv.org/abs/1907.05600, Appendix B.
_NCSN = {
    "network": "ncsn",
    "image_size": None,
    "width": 128,
    "sigma_max": 1.0,
    "sigma_min": 0.01,
    "num_levels": 10,
    "sigma_distribution": "ladder",
    "log_sigma_mean": -1.2,
    "log_sigma_std": 1.2,
    "weighting": "ncsn",
    "dequantize": True,
    "random_flip": True,
    "batch_size": 128,
    "steps": 200_000,
    "learning_rate": 1e-3,
    "adam_epsilon": 1e-8,
    "warmup_steps": 0,
    "decay": "none",
    "weight_decay": 0.0,
    "clip_norm": None,
    "ema_momentum": None,
    "dtype": "float32",
    "sampler": "annealed_langevin",
    "steps_per_level": 100,
    "step_size": 2e-5,
    "denoise": False,
}

# https://arxiv.org/abs/2006.09011, Table 4.
_NCSNV2 = _NCSN | {
    "network": "ncsnv2",
    "dequantize": False,
    "learning_rate": 1e-4,
    "ema_momentum": 0.999,
    "steps_per_level": 5,
    "denoise": True,
}

RECIPES = {
    "unet-mnist": _UNET
    | {
        "width": 44,
        "width_multipliers": (1, 2),
        "patch_size": 2,
        "sigma_max": 20.0,
        "log_sigma_mean": -0.7,
        "random_flip": False,
        "steps": 18_000,
        "learning_rate": 2e-3,
        "warmup_steps": 500,
        "ema_momentum": 0.999,
        "num_steps": 24,
        "churn": 10.0,
    },
    "unet-cifar10": _UNET | {"num_blocks": 3, "dropout": 0.1},
    "unet-celeba": _UNET | {"image_size": 32},
    "ncsn-mnist": _NCSN | {"width": 64, "random_flip": False},
    "ncsn-cifar10": _NCSN,
    "ncsn-celeba": _NCSN | {"image_size": 32},
    "ncsnv2-cifar10": _NCSNV2
    | {
        "sigma_max": 50.0,
        "num_levels": 232,
        "steps": 300_000,
        "step_size": 6.2e-6,
    },
    "ncsnv2-celeba64": _NCSNV2
    | {
        "image_size": 64,
        "sigma_max": 90.0,
        "num_levels": 500,
        "steps": 210_000,
        "step_size": 3.3e-6,
    },
}

# Heun's own defaults, for recipes of other samplers that are told to take it.
_HEUN = {"num_steps": 18, "churn": 0.0}

# Settings that recipes did not have from the first, and what training did.
ADDED = {"patch_size": 1, "churn": 0.0}

_OF_DATA = {
    "mnist": "unet-mnist",
    "fashion_mnist": "unet-mnist",
    "celeb_a": "unet-celeba",
}

# What a run that goes on from a preset takes of a recipe.
TRAINING_NAMES = (
    "image_size",
    "random_flip",
    "batch_size",
    "steps",
    "learning_rate",
    "adam_epsilon",
    "warmup_steps",
    "decay",
    "weight_decay",
    "clip_norm",
    "ema_momentum",
)

# What it takes where a person says so: else the preset's own.
PRESET_NAMES = (
    "dtype",
    "sigma_distribution",
    "log_sigma_mean",
    "log_sigma_std",
)


def find(name, settings=None):
    """Returns a recipe, with some of its values replaced.

    Args:
        name: String, a key of `RECIPES`.
        settings: Dictionary of values by name, of names that the recipe has,
            or with `sampler="heun"` the settings of that. Defaults to `None`.
            With fewer stages a recipe keeps the attention that is left.

    Returns:
        A dictionary.

    Example:

    >>> find("ncsn-cifar10", {"width": 32})["width"]
    32
    """
    settings = settings or {}
    check_choice("recipe", name, RECIPES)
    recipe = dict(RECIPES[name])
    if settings.get("sampler") == "heun":
        for setting, value in _HEUN.items():
            recipe.setdefault(setting, value)
    odd = sorted(settings.keys() - recipe.keys())
    if odd:
        raise ValueError(
            "The recipe must have what is to be replaced. Received: "
            f"{one_line(', '.join(odd))} for {name}, which has "
            f"{', '.join(recipe)}"
        )
    check_values(settings)
    recipe |= settings
    if recipe["network"] == "unet" and "width_multipliers" not in recipe:
        raise ValueError(
            "`network` must be one that the recipe has settings for. Received: "
            f"network='unet' for {name}. Choose another recipe."
        )
    if "attention_stages" in settings:
        _check_stages(recipe)
    elif recipe["network"] == "unet":
        # With fewer stages, those of the recipe's own that are left.
        recipe["attention_stages"] = tuple(known_stages(recipe))
    return recipe


def known_stages(recipe):
    """Returns the stages with attention that a U-Net of the recipe has.

    Args:
        recipe: Dictionary.

    Returns:
        A list of integers.

    Example:

    >>> known_stages({"width_multipliers": (1, 2), "attention_stages": (1, 2)})
    [1]
    """
    number = len(recipe["width_multipliers"])
    return [s for s in recipe["attention_stages"] if 0 <= s < number]


def _check_stages(recipe):
    stages = list(recipe["attention_stages"])
    if known_stages(recipe) != stages:
        raise ValueError(
            "`attention_stages` must be stages of the U-Net, from 0 to "
            f"{len(recipe['width_multipliers']) - 1}, one for each of "
            f"`width_multipliers`. Received: attention_stages={stages}. "
            'Choose others, or none: --attention-stages "".'
        )


def recipe_of_data(data):
    """Returns the name of the recipe for data, where the user names none.

    Args:
        data: String, a name or a path.

    Returns:
        A string, a key of `RECIPES`.

    Example:

    >>> recipe_of_data("mnist")
    'unet-mnist'
    """
    return _OF_DATA.get(str(data), "unet-cifar10")
