"""The options that override what a recipe says."""

import click

from keras_ncsn import samplers
from keras_ncsn.cli.options import parse_integers


def _above_zero():
    return click.FloatRange(min=0, min_open=True)


# Type and help by name; the names are those of `recipes.RECIPES`.
OPTIONS = {
    "image_size": (
        click.IntRange(min=1),
        "Crop and resize images to squares of this size.",
    ),
    "width": (click.IntRange(min=1), "Channels of the first stage."),
    "width_multipliers": (
        None,
        "Channels of each stage of a U-Net, as multiples of the width: 1,2,2.",
    ),
    "patch_size": (
        click.IntRange(min=1),
        "Side of the squares of pixels that a U-Net takes for one.",
    ),
    "num_blocks": (click.IntRange(min=1), "Residual blocks of a stage."),
    "attention_stages": (
        None,
        "Stages of a U-Net with attention, 0 the finest: 1,2.",
    ),
    "num_heads": (click.IntRange(min=1), "Heads of the attention."),
    "dropout": (click.FloatRange(0, 1, max_open=True), "Rate of dropout."),
    "sigma_max": (_above_zero(), "Largest noise level."),
    "sigma_min": (_above_zero(), "Smallest noise level."),
    "num_levels": (click.IntRange(min=2), "Noise levels of the ladder."),
    "sigma_distribution": (
        click.Choice(["ladder", "log_uniform", "log_normal"]),
        "How training draws noise levels.",
    ),
    "log_sigma_mean": (float, "Mean of ln(sigma), for log_normal."),
    "log_sigma_std": (_above_zero(), "Its spread."),
    "weighting": (
        click.Choice(["ncsn", "edm"]),
        "How the loss weighs noise levels.",
    ),
    "dequantize": (bool, "Add noise of one grey level to images."),
    "random_flip": (bool, "Mirror half of the images."),
    "batch_size": (click.IntRange(min=1), "Images a step."),
    "steps": (click.IntRange(min=1), "Training steps in all."),
    "learning_rate": (_above_zero(), "Adam's rate after warm-up."),
    "adam_epsilon": (_above_zero(), "Adam's epsilon."),
    "warmup_steps": (
        click.IntRange(min=0),
        "Steps until the full learning rate, at most half of all.",
    ),
    "decay": (
        click.Choice(["cosine", "none"]),
        "How the learning rate falls after warm-up.",
    ),
    "weight_decay": (click.FloatRange(min=0), "Weight decay, as in AdamW."),
    "clip_norm": (
        click.FloatRange(min=0),
        "Largest norm of all gradients together; 0 for any.",
    ),
    "ema_momentum": (
        click.FloatRange(0, 1, max_open=True),
        "Momentum of the average of the weights; 0 for no average.",
    ),
    "dtype": (
        click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
        "Precision of the layers.",
    ),
    "sampler": (
        click.Choice(list(samplers.NAMES)),
        "Sampler of the preset.",
    ),
    "num_steps": (click.IntRange(min=2), "Its setting, for heun."),
    "churn": (click.FloatRange(min=0), "Its setting, for heun."),
    "steps_per_level": (
        click.IntRange(min=1),
        "Its setting, for annealed_langevin.",
    ),
    "step_size": (_above_zero(), "Its setting, for annealed_langevin."),
    "denoise": (bool, "Its setting, for annealed_langevin."),
}


def recipe_options(command):
    """Adds the options to a command, which gets `None` for those not given.

    Args:
        command: A function that takes them by name.

    Returns:
        The function with its options.
    """
    for name, (kind, text) in reversed(OPTIONS.items()):
        flag = f"--{name.replace('_', '-')}"
        extra = {"type": kind}
        if kind is bool:
            flag = f"{flag}/--no-{name.replace('_', '-')}"
            extra = {"default": None}
        elif kind is None:
            extra = {"callback": parse_integers}
        text = f"{text} Default: the recipe's."
        command = click.option(flag, name, help=text, **extra)(command)
    return command


def show_recipe(context, option, name):
    """Prints a recipe and ends the command.

    Args:
        context: A `click.Context`.
        option: The `click.Option`.
        name: String, the recipe's name, or `None` to go on.
    """
    if name is None:
        return
    from keras_ncsn.runs import recipes

    for setting, value in recipes.find(name).items():
        click.echo(f"{setting}: {value}")
    context.exit()
