"""Trains a recipe for a given processor time, and judges what it learned.

Contenders get equal processor time, summed over cores, so a machine that is
used by others compares them as well as a free one. The first steps measure the
time of a step, and so the number of steps. The compilation at the start is not
counted. A trial that was stopped goes on when the command is repeated.

A trial is judged by the loss on held-out images, at equal noise levels and
equal noise, and by samples, with a classifier.

    python benchmarks/recipe_trial.py run cifar10 trials/labels \
        --classifier benchmarks/classifiers/cifar10.keras \
        --set patch_size=2 --set conditional=True
    python benchmarks/recipe_trial.py table trials/*
"""

import ast
import json
import math
import pathlib
import statistics
import tempfile
import time

import click
import keras
import numpy as np
from sample_quality import Judge, frechet_distance, load_shuffled

from keras_ncsn import NCSNModel, datasets, runs
from keras_ncsn.runs import run_file
from keras_ncsn.training.validation import validation_losses

# Steps that are not timed, and steps that are.
WARM_UP, TIMED = 20, 60
# The levels of the loss: the middles of 16 equal parts of EDM's log-normal
# distribution, whatever the recipe's own is.
PARTS = [(part + 0.5) / 16 for part in range(16)]
SIGMAS = [
    math.exp(statistics.NormalDist(-1.2, 1.2).inv_cdf(part)) for part in PARTS
]
NUM_HELD_OUT = 1000
# Seeds of the sets of samples. Their spread says what chance explains.
SEEDS = (0, 1)


class Clock(keras.callbacks.Callback):
    """Measures the processor time of a step."""

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == WARM_UP:
            self.start = time.process_time()
        if batch + 1 == WARM_UP + TIMED:
            self.seconds = (time.process_time() - self.start) / TIMED
            self.model.stop_training = True


def count_steps(data, labelled, settings, minutes):
    """Returns how many steps of training take the processor time."""
    run = run_file.describe(data, None, settings | {"steps": 1000})
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "run")
        runs.train(path, run, labelled, sample_every=0, extra_callbacks=[clock])
    return round(60 * minutes / clock.seconds)


def train(folder, data, labelled, settings, minutes, seed):
    """Trains the run in `folder`, or what is left of it."""
    run = run_file.read(folder)
    if run is None:
        steps = count_steps(data, labelled, settings, minutes)
        settings = settings | {"steps": steps}
        run = run_file.describe(data, None, settings, seed=seed)
    print(f"{folder}: {run['recipe']['steps']} steps", flush=True)
    runs.train(folder, run, labelled, sample_every=0)
    return run["recipe"]


def held_out_loss(model, data, data_dir):
    """Returns the loss of test images, in EDM's weighting."""
    labelled = datasets.load_labelled_images(data, "test", data_dir=data_dir)
    images = labelled.images[:NUM_HELD_OUT]
    condition = labelled.labels[:NUM_HELD_OUT] if model.condition else None
    levels = validation_losses(model, images, SIGMAS, condition=condition)
    return float(levels.mean())


def judge_samples(model, judge, real, num_images, guidance):
    """Returns the figures of sets of samples, one for each seed."""
    figures = []
    for seed in SEEDS:
        labels = None
        if model.condition:
            labels = np.arange(num_images) % len(model.class_names)
        images = model.generate(
            num_images, seed, 250, labels=labels, guidance=guidance, verbose=0
        )
        probabilities, features = judge(images)
        figures.append(
            {
                "distance": frechet_distance(features, real),
                "confidence": float(probabilities.max(axis=1).mean()),
                "right": None
                if labels is None
                else float(np.mean(probabilities.argmax(axis=1) == labels)),
            }
        )
    return figures


def parse(context, parameter, texts):
    """Returns a dictionary of settings from texts such as `width=32`."""
    settings = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            settings[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            settings[name] = value
    return settings


@click.group(help=__doc__)
def main():
    pass


@main.command()
@click.argument("data")
@click.argument("folder", type=click.Path(path_type=pathlib.Path))
@click.option("--minutes", default=40.0, show_default=True)
@click.option("--classifier", type=click.Path(exists=True), required=True)
@click.option("--data-dir", help="Folder of tensorflow-datasets.")
@click.option("--num-images", default=2000, show_default=True)
@click.option("--guidance", multiple=True, type=float, default=[1.0])
@click.option("--seed", default=0, show_default=True, help="Of the training.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=parse,
    metavar="NAME=VALUE",
    help="A setting of the recipe. Repeatable.",
)
def run(data, folder, settings, classifier, num_images, guidance, **options):
    """Train a recipe on DATA in FOLDER, and judge it."""
    data_dir = options["data_dir"]
    described = run_file.describe(data, None, settings)
    labelled = runs.load_images(described, data_dir)
    recipe = train(
        folder, data, labelled, settings, options["minutes"], options["seed"]
    )
    model = NCSNModel.from_preset(str(folder / "last"))
    judge = Judge(classifier)
    real = judge(load_shuffled(data, "test", data_dir))[1]
    trial = {
        "steps": recipe["steps"],
        "images": recipe["steps"] * recipe["batch_size"],
        "minutes": options["minutes"],
        "loss": held_out_loss(model, data, data_dir),
        "samples": {
            f"{weight:g}": judge_samples(model, judge, real, num_images, weight)
            for weight in guidance
        },
    }
    (folder / "trial.json").write_text(json.dumps(trial, indent=1))


@main.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=pathlib.Path))
def table(folders):
    """Compare the trials in FOLDERS."""
    print("| trial | steps | loss | distance | confidence | right label |")
    print("|---" * 6 + "|")
    for folder in folders:
        trial = json.loads((folder / "trial.json").read_text())
        for guidance, figures in trial["samples"].items():
            name = folder.name
            if guidance != "1":
                name += f", guidance {guidance}"
            row = [name, f"{trial['steps']:,}", f"{trial['loss']:.2f}"]
            row += [spread(figures, "distance", 2)]
            row += [spread(figures, "confidence", 3)]
            row += [spread(figures, "right", 3)]
            print("| " + " | ".join(row) + " |")


def spread(figures, name, digits):
    """Returns the mean over seeds, and half the range."""
    values = [figure[name] for figure in figures]
    if None in values:
        return ""
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.{digits}f} ± {half:.{digits}f}"


if __name__ == "__main__":
    main()
