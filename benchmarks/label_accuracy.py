"""Measures how often samples of a preset show the label that was asked for.

A classifier (from `examples/train_classifier.py`) looks at equally many samples
of each class, for some weights of the guidance.

    python benchmarks/label_accuracy.py runs/digits/last mnist \
        --classifier classifier.keras --guidance 1 --guidance 2
"""

import pathlib

import click
import numpy as np
from sample_quality import Judge, frechet_distance, load_shuffled

from keras_ncsn import NCSNModel


def measure(model, judge, num_images, guidance, real, seed=0):
    """Returns the share with the right label, the confidence, the distance."""
    labels = np.arange(num_images) % len(model.class_names)
    images = model.generate(
        labels=labels, seed=seed, batch_size=250, guidance=guidance
    )
    probabilities, features = judge(images)
    right = np.mean(probabilities.argmax(axis=1) == labels)
    confidence = probabilities.max(axis=1).mean()
    return right, confidence, frechet_distance(features, real)


@click.command(help=__doc__)
@click.argument("preset")
@click.argument("data", type=click.Choice(["mnist", "cifar10"]))
@click.option(
    "--classifier",
    type=click.Path(exists=True, path_type=pathlib.Path),
    required=True,
)
@click.option("--data-dir", type=click.Path(path_type=pathlib.Path))
@click.option("--num-images", default=1000, show_default=True)
@click.option("--guidance", multiple=True, type=float, default=[1.0, 2.0])
@click.option("--seed", default=0, show_default=True)
def main(preset, data, classifier, data_dir, num_images, guidance, seed):
    model = NCSNModel.from_preset(preset)
    judge = Judge(classifier)
    real = judge(load_shuffled(data, "test", data_dir))[1]
    click.echo(f"{num_images} samples of {preset} (seed {seed}):\n")
    click.echo(
        "| guidance | right label | mean confidence | Frechet distance |"
    )
    click.echo("|---|---|---|---|")
    for weight in guidance:
        right, confidence, distance = measure(
            model, judge, num_images, weight, real, seed
        )
        click.echo(
            f"| {weight:g} | {right:.1%} | {confidence:.3f} | {distance:.2f} |"
        )


if __name__ == "__main__":
    main()
