"""keras-ncsn train: from images to a preset, by a recipe."""

import pathlib
import sys
from typing import Any

import click

from keras_ncsn.cli.options import Command, Option, given
from keras_ncsn.cli.preset_facts import class_names
from keras_ncsn.cli.recipe_options import OPTIONS, recipe_options, show_recipe
from keras_ncsn.presets import sources
from keras_ncsn.runs import run_file
from keras_ncsn.runs.recipe import DATA, OPTIMISATION
from keras_ncsn.text import one_line

# The title of the options of what a run writes.
FILES = "Files"


@click.command(cls=Command)
@click.argument("data")
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--recipe",
    help="Name of the recipe. Default: unet-mnist for mnist and "
    "fashion_mnist, unet-celeba for celeb_a, else unet-cifar10.",
)
@click.option(
    "--show-recipe",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=show_recipe,
    help="Print the settings of a recipe and exit. Default: print none.",
)
@click.option(
    "--from-preset",
    metavar="PRESET",
    help="Start from the model of a preset, given by its name or folder. The "
    "recipe says how to train it. A preset with labels keeps them, and needs "
    "no --conditional. Default: random weights.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the run in OUTPUT with its original options, bit for bit as "
    "if it had not stopped. Give --data-dir, --skip-unreadable and "
    "--data-parallel again. More --steps than before train it for longer. If "
    "OUTPUT holds no run, start one.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    help="Seed of weights, noise and order. Default: 0.",
)
@recipe_options
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False),
    help="Folder of tensorflow-datasets. Default: its own.",
    cls=Option,
    group=DATA,
)
@click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Skip pictures that cannot be read, and report how many.",
    cls=Option,
    group=DATA,
)
@click.option(
    "--data-parallel",
    is_flag=True,
    help="Divide each batch among all devices (TensorFlow and JAX).",
    cls=Option,
    group=OPTIMISATION,
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    help="Steps between checkpoints, each with the loss on held-out images; "
    "a multiple of --log-every. Default: 500.",
    cls=Option,
    group=FILES,
)
@click.option(
    "--log-every",
    type=click.IntRange(min=1),
    help="Steps between rows of log.csv. Default: the largest divisor of "
    "--checkpoint-every that is at most 50.",
    cls=Option,
    group=FILES,
)
@click.option(
    "--sample-every",
    type=click.IntRange(min=0),
    help="Steps between pictures of new images; 0 for none. Default: 1000.",
    cls=Option,
    group=FILES,
)
@click.option(
    "--tensorboard/--no-tensorboard",
    default=None,
    help="Also write logs for TensorBoard, into OUTPUT/tensorboard. "
    "Default: no.",
    cls=Option,
    group=FILES,
)
def train(
    data: str,
    output: pathlib.Path,
    recipe: str | None,
    from_preset: str | None,
    resume: bool,
    seed: int | None,
    data_dir: str | None,
    skip_unreadable: bool,
    data_parallel: bool,
    **options: Any,
) -> None:
    """Train a score network on DATA, into the folder OUTPUT.

    DATA is mnist, fashion_mnist, cifar10, celeb_a or another image set of
    tensorflow-datasets, a folder of images, or an .npz or .npy file.

    \b
    OUTPUT/last, OUTPUT/best  presets, which the other commands take
    OUTPUT/log.csv            losses
    OUTPUT/samples            pictures
    OUTPUT/state.npz          what --resume needs

    \b
    keras-ncsn train mnist runs/mnist
    """
    settings = given(**{name: options.pop(name) for name in OPTIONS})
    before = run_file.read(output) if resume else None
    run = run_file.describe(data, recipe, settings, from_preset, seed, before)
    run_file.check(output, run, resume)
    if resume and before is None:
        click.echo(
            f"{output} holds no run to resume: starting one, by the recipe "
            f"{run['recipe_name']}",
            err=True,
        )
    if before is not None:
        _tell_longer(before["recipe"], run["recipe"])
    began = run_file.WRITING if before is None else before["writing"]
    chosen = given(**options)
    if "checkpoint_every" in chosen and "log_every" not in chosen:
        chosen["log_every"] = run_file.log_interval(
            chosen["checkpoint_every"], began["log_every"]
        )
    writing = began | chosen
    run_file.check_intervals(writing["log_every"], writing["checkpoint_every"])

    # Wrong options are refused before Keras is imported.
    from keras_ncsn import parallel, runs
    from keras_ncsn.cli.progress import ProgressBar, StopOnSignal

    if data_parallel:
        parallel.data_parallel()
    loaded = runs.load_images(run, data_dir, skip_unreadable)
    if before is None and run.get("conditional"):
        _tell_classes(run["from_preset"], loaded.class_names)
    steps, batch_size = run["recipe"]["steps"], run["recipe"]["batch_size"]
    bar = ProgressBar(steps, batch_size, len(loaded.images))
    with bar, StopOnSignal() as signals:
        step = runs.train(
            output,
            run,
            loaded,
            extra_callbacks=[bar, signals],
            **writing,
        )
    if signals.received is not None:
        click.echo(
            f"{signals.received.name}: step {step} is saved in {output}. "
            "Continue with --resume.",
            err=True,
        )
        sys.exit(128 + signals.received)
    click.echo(f"Step {step} is saved in {output}")


def _tell_classes(preset, names):
    known = class_names(sources.find(preset, load_weights=False), None)
    if known != names:
        click.echo(
            f"The classes {one_line(', '.join(names))} take the places of the "
            f"preset's {one_line(', '.join(known))}",
            err=True,
        )


def _tell_longer(before, recipe):
    old, new = before["steps"], recipe["steps"]
    if new == old:
        return
    rate = "The learning rate stays."
    if recipe["decay"] == "cosine":
        rate = (
            f"The learning rate is now that of a run of {new} steps: it rises "
            "to the value of its cosine at the current step, and falls again."
        )
    click.echo(
        f"The run becomes longer, {new} steps after {old}. {rate}", err=True
    )
