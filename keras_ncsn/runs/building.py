"""What a recipe says, built: noise schedule, model and optimizer."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ncsn.images import to_floats
from keras_ncsn.model import NCSNModel
from keras_ncsn.networks import RefineNet, UNet
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.runs.network_recipes import NetworkRecipe, UNetRecipe
from keras_ncsn.runs.recipe import Recipe


def make_schedule(recipe: NetworkRecipe) -> NoiseSchedule:
    """Returns the noise schedule of a recipe.

    Args:
        recipe: A `NetworkRecipe`.

    Returns:
        A `NoiseSchedule`.

    Example:

    >>> from keras_ncsn.runs import recipes
    >>> make_schedule(recipes.find("ncsnv2-cifar10")).num_levels
    232
    """
    return NoiseSchedule.geometric(
        recipe.sigma_max, recipe.sigma_min, recipe.num_levels
    )


def make_model(
    recipe: NetworkRecipe,
    images: np.ndarray,
    seed: int,
    class_names: Sequence[str] | None = None,
    class_counts: Sequence[int] | None = None,
) -> NCSNModel:
    """Returns the model of a recipe, which knows the images' spread.

    Args:
        recipe: A `NetworkRecipe`.
        images: Array of shape `(num_images, height, width, channels)`.
        seed: Integer, seed of the noise in training.
        class_names: Sequence of strings, the classes if the recipe is
            conditional. Defaults to `None`.
        class_counts: As in `NCSNModel`. Defaults to `None`.

    Returns:
        An `NCSNModel`.

    Example:

    >>> from keras_ncsn.runs import recipes
    >>> recipe = recipes.find("ncsn-mnist", {"width": 8})
    >>> model = make_model(recipe, np.zeros((1, 28, 28, 1), "uint8"), seed=0)
    >>> model.schedule.num_levels
    10
    """
    schedule = make_schedule(recipe)
    mean, std = None, None
    if isinstance(recipe, UNetRecipe) or recipe.weighting == "edm":
        mean, std = mean_and_spread(images)
        if std == 0:
            raise ValueError(
                "Images must not be all of one colour, because networks scale "
                f"by the spread of pixels. Received: pixels of {mean} alone"
            )
    extra: dict[str, Any] = {}
    if recipe.weighting == "edm":
        extra = {"data_std": std}
    if isinstance(recipe, UNetRecipe):
        extra["condition_dropout"] = recipe.condition_dropout
    num_classes = None if class_names is None else len(class_names)
    return NCSNModel(
        _make_network(
            recipe, images.shape[1:], schedule, mean, std, num_classes
        ),
        schedule,
        sigma_distribution=recipe.sigma_distribution,
        log_sigma_mean=recipe.log_sigma_mean,
        log_sigma_std=recipe.log_sigma_std,
        weighting=recipe.weighting,
        dequantize=recipe.dequantize,
        ema_momentum=recipe.ema_momentum or None,
        sampler=recipe.sampler,
        sampler_settings=recipe.sampler_settings(),
        seed=seed,
        class_names=class_names,
        class_counts=class_counts,
        **extra,
    )


def _make_network(recipe, image_shape, schedule, mean, std, num_classes):
    if isinstance(recipe, UNetRecipe):
        return UNet(
            image_shape,
            widths=recipe.widths,
            patch_size=recipe.patch_size,
            num_blocks=recipe.num_blocks,
            attention_stages=recipe.attention_stages,
            num_heads=recipe.num_heads,
            dropout=recipe.dropout,
            data_mean=mean,
            data_std=std,
            num_classes=num_classes,
            dtype=recipe.dtype,
        )
    return RefineNet(
        image_shape,
        recipe.width,
        sigmas=schedule.sigmas if recipe.network == "ncsn" else None,
        dtype=recipe.dtype,
    )


def mean_and_spread(images: np.ndarray) -> tuple[float, float]:
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


def make_optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe.

    Args:
        recipe: A `Recipe`.

    Returns:
        A `keras.optimizers.Adam`: its rate rises from 0 over `warmup_steps`
        (at most half of all), then falls along a cosine to 0, or stays.

    Example:

    >>> from keras_ncsn.runs import recipes
    >>> make_optimizer(recipes.find("ncsn-mnist")).epsilon
    1e-08
    """
    warmup_steps = min(recipe.warmup_steps, recipe.steps // 2)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, recipe.steps - warmup_steps),
        alpha=0.0 if recipe.decay == "cosine" else 1.0,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup_steps,
    )
    return keras.optimizers.Adam(
        rate,
        epsilon=recipe.adam_epsilon,
        weight_decay=recipe.weight_decay or None,
        global_clipnorm=recipe.clip_norm or None,
    )
