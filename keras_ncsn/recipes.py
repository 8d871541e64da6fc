"""Recipes: everything about a training run but the data and the seed."""

import math

import keras
import numpy as np

from keras_ncsn.checks import check_choice
from keras_ncsn.images import to_floats
from keras_ncsn.model import NCSNModel
from keras_ncsn.networks import RefineNet, UNet
from keras_ncsn.noise import NoiseSchedule

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
        settings: Dictionary of values by name, of names that the recipe has;
            numbers must be finite. Defaults to `None`.

    Returns:
        A dictionary.

    Example:

    >>> find("ncsn-cifar10", {"width": 32})["width"]
    32
    """
    settings = settings or {}
    check_choice("recipe", name, RECIPES)
    odd = sorted(settings.keys() - RECIPES[name].keys())
    if odd:
        raise ValueError(
            f"The recipe must have what is to be replaced. Received: "
            f"{', '.join(odd)} for {name}, which has "
            f"{', '.join(RECIPES[name])}"
        )
    for setting, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(
                f"`{setting}` must be a finite number. Received: "
                f"{setting}={value}"
            )
    return RECIPES[name] | settings


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


def make_schedule(recipe):
    """Returns the noise schedule of a recipe.

    Args:
        recipe: Dictionary, such as those of `RECIPES`.

    Returns:
        A `NoiseSchedule`.

    Example:

    >>> make_schedule(RECIPES["ncsnv2-cifar10"]).num_levels
    232
    """
    return NoiseSchedule.geometric(
        recipe["sigma_max"], recipe["sigma_min"], recipe["num_levels"]
    )


def make_model(recipe, images, seed):
    """Returns the model of a recipe, which knows the images' spread.

    Args:
        recipe: Dictionary, such as those of `RECIPES`.
        images: Array of shape `(num_images, height, width, channels)`.
        seed: Integer, seed of the noise in training.

    Returns:
        An `NCSNModel`.

    Example:

    >>> recipe = RECIPES["ncsn-mnist"] | {"width": 8}
    >>> model = make_model(recipe, np.zeros((1, 28, 28, 1), "uint8"), seed=0)
    >>> model.schedule.num_levels
    10
    """
    schedule = make_schedule(recipe)
    image_shape = images.shape[1:]
    if recipe["network"] == "unet" or recipe["weighting"] == "edm":
        mean, std = mean_and_spread(images)
        if std == 0:
            raise ValueError(
                "Images must not be all of one colour, because networks scale "
                f"by the spread of pixels. Received: pixels of {mean} alone"
            )
    if recipe["network"] == "unet":
        network = UNet(
            image_shape,
            widths=[
                recipe["width"] * factor
                for factor in recipe["width_multipliers"]
            ],
            patch_size=recipe["patch_size"],
            num_blocks=recipe["num_blocks"],
            attention_stages=recipe["attention_stages"],
            num_heads=recipe["num_heads"],
            dropout=recipe["dropout"],
            data_mean=mean,
            data_std=std,
            dtype=recipe["dtype"],
        )
    else:
        network = RefineNet(
            image_shape,
            recipe["width"],
            sigmas=schedule.sigmas if recipe["network"] == "ncsn" else None,
            dtype=recipe["dtype"],
        )
    return NCSNModel(
        network,
        schedule,
        sigma_distribution=recipe["sigma_distribution"],
        log_sigma_mean=recipe["log_sigma_mean"],
        log_sigma_std=recipe["log_sigma_std"],
        weighting=recipe["weighting"],
        dequantize=recipe["dequantize"],
        ema_momentum=recipe["ema_momentum"] or None,
        sampler=recipe["sampler"],
        sampler_settings=_sampler_settings(recipe),
        seed=seed,
        **({"data_std": std} if recipe["weighting"] == "edm" else {}),
    )


def mean_and_spread(images):
    """Returns the mean of pixels in [0, 1], and their standard deviation.

    Of ten to twenty thousand images, spread evenly: enough for four digits.
    Memory does not grow with their number.

    Args:
        images: Array of shape `(num_images, ...)`, uint8 or floats.

    Returns:
        Two floats, rounded to four digits.

    Example:

    >>> mean_and_spread(np.array([[0, 255], [255, 0]], "uint8"))
    (0.5, 0.5)
    """
    sample = images[:: max(1, len(images) // 10_000)]
    total, total_of_squares = 0.0, 0.0
    for first in range(0, len(sample), 16):
        pixels = to_floats(sample[first : first + 16]).astype("float64")
        total += pixels.sum()
        total_of_squares += np.square(pixels).sum()
    mean = total / sample.size
    variance = max(0.0, total_of_squares / sample.size - mean**2)
    return round(float(mean), 4), round(float(variance**0.5), 4)


def make_optimizer(recipe):
    """Returns the optimizer of a recipe.

    Args:
        recipe: Dictionary, such as those of `RECIPES`.

    Returns:
        A `keras.optimizers.Adam`: its rate rises from 0 over `warmup_steps`
        (at most half of all), then falls along a cosine to 0, or stays.

    Example:

    >>> make_optimizer(RECIPES["ncsn-mnist"]).epsilon
    1e-08
    """
    warmup_steps = min(recipe["warmup_steps"], recipe["steps"] // 2)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, recipe["steps"] - warmup_steps),
        alpha=0.0 if recipe["decay"] == "cosine" else 1.0,
        warmup_target=recipe["learning_rate"],
        warmup_steps=warmup_steps,
    )
    return keras.optimizers.Adam(
        rate,
        epsilon=recipe["adam_epsilon"],
        weight_decay=recipe["weight_decay"] or None,
        global_clipnorm=recipe["clip_norm"] or None,
    )


def _sampler_settings(recipe):
    langevin = "steps_per_level", "step_size", "denoise"
    settings = {"annealed_langevin": {name: recipe[name] for name in langevin}}
    if recipe["sampler"] == "heun":
        names = "num_steps", "churn"
        settings["heun"] = {name: recipe[name] for name in names}
    return settings
