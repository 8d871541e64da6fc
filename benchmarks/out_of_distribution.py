"""Measures how well a preset tells its own kind of images from others.

Test images of the preset's data set are compared with images of other sets, by
the log-likelihood alone and by the two kinds of typicality. Other images are
resized, and made grey or coloured like those of the preset.

    python benchmarks/out_of_distribution.py mnist mnist \
        --other cifar10 --other celeba32/test
    python benchmarks/out_of_distribution.py cifar10 cifar10 \
        --other mnist --other celeba32/test
"""

import pathlib

import click
import numpy as np

from keras_ncsn import NCSNModel
from keras_ncsn.datasets import load_images
from keras_ncsn.typicality import Reference

# Of red, green and blue in the brightness that television signals have.
LUMA = np.array([0.299, 0.587, 0.114])


def auroc(typical, other):
    """Returns how often a typical image has the higher score."""
    apart = np.subtract.outer(typical, other)
    return float(np.mean(apart > 0) + 0.5 * np.mean(apart == 0))


def with_channels(images, channels):
    """Returns uint8 images that are grey or coloured."""
    if images.shape[-1] > channels:
        images = np.rint(images @ LUMA)[..., None].astype("uint8")
    return np.repeat(images, channels // images.shape[-1], axis=-1)


def load(model, source, split, data_dir, count):
    """Returns the first of the shuffled images of a set, for a model."""
    if pathlib.Path(source).is_dir():
        split = "train"
    size, _, channels = model.image_shape
    images = load_images(source, split, image_size=size, data_dir=data_dir)
    rows = np.random.default_rng(0).permutation(len(images))[:count]
    return with_channels(np.asarray(images[np.sort(rows)]), channels)


def measure(model, reference, sets, num_steps, seed=0):
    """Yields the name of each set, its bits, and three scores of its images.

    Args:
        model: An `NCSNModel`.
        reference: Training images.
        sets: Dictionary from names to images.
        num_steps: As in `log_likelihood`.
        seed: As in `log_likelihood`.
    """
    settings = {"seed": seed, "verbose": 0}
    norms = model.typicality_reference(reference, **settings)
    flow = settings | {"num_steps": num_steps}
    usual = model.bits_per_dimension(reference, **flow)
    usual = Reference.of("likelihood", usual[:, None])
    for name, images in sets.items():
        # Other noise than that of the reference.
        flow["seed"] += 1
        bits = model.bits_per_dimension(images, **flow)
        scores = [
            -bits,
            usual.typicality(bits[:, None]),
            model.typicality(images, norms, **settings),
        ]
        yield name, float(bits.mean()), scores


@click.command(help=__doc__)
@click.argument("preset")
@click.argument("data")
@click.option("--other", multiple=True, required=True, help="Repeatable.")
@click.option("--data-dir", type=click.Path(path_type=pathlib.Path))
@click.option("--num-images", default=200, show_default=True)
@click.option("--num-reference", default=200, show_default=True)
@click.option("--num-steps", default=40, show_default=True)
def main(preset, data, other, data_dir, num_images, num_reference, num_steps):
    model = NCSNModel.from_preset(preset)
    sets = {
        name: load(model, name, "test", data_dir, num_images)
        for name in (data, *other)
    }
    reference = load(model, data, "train", data_dir, num_reference)
    click.echo(
        "| images | bits per dimension | log-likelihood | typical likelihood "
        "| score norms |\n|---|---|---|---|---|"
    )
    typical = None
    for name, bits, scores in measure(model, reference, sets, num_steps):
        shown = ["", "", ""]
        if typical is None:
            typical = scores
        else:
            pairs = zip(typical, scores, strict=True)
            shown = [f"{auroc(*pair):.3f}" for pair in pairs]
        click.echo(f"| {name} | {bits:.2f} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
