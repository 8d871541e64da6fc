"""Options that several commands share."""

import click

SAMPLERS = ("heun", "annealed_langevin", "langevin")


def sampler_options(command):
    """Adds the options of the samplers to a command.

    Args:
        command: A function that takes `seed`, `batch_size`, `sampler` and
            `settings`.

    Returns:
        The function with its options.
    """
    options = [
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            help="Seed; the same one gives the same images. Default: random.",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(min=1),
            default=64,
            show_default=True,
            help="Images sampled at a time.",
        ),
        click.option(
            "--sampler",
            type=click.Choice(SAMPLERS),
            help="Sampler. Default: the preset's own.",
        ),
        click.option(
            "--num-steps",
            type=click.IntRange(min=1),
            help="Steps, of heun (at least 2) or langevin. Default: the "
            "preset's, else 18 and 1000.",
        ),
        click.option(
            "--churn",
            type=click.FloatRange(min=0),
            help="Fresh noise at each step, of heun: the noise grows by its "
            "churn / num-steps, at most 41 %, for new images alone. Default: "
            "the preset's, else 0.",
        ),
        click.option(
            "--steps-per-level",
            type=click.IntRange(min=1),
            help="Steps at each noise level, of annealed_langevin. Default: "
            "the preset's, else 100.",
        ),
        click.option(
            "--step-size",
            type=click.FloatRange(min=0, min_open=True),
            help="Step at the smallest noise level, of annealed_langevin or "
            "langevin. Default: the preset's, else 2e-5.",
        ),
        click.option(
            "--denoise/--no-denoise",
            default=None,
            help="Remove the last noise, of annealed_langevin or langevin. "
            "Default: the preset's, else no.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def given(**settings):
    """Returns the settings that the user gave.

    Args:
        **settings: Values by name, `None` where not given.

    Returns:
        A dictionary.
    """
    return {
        name: value for name, value in settings.items() if value is not None
    }
