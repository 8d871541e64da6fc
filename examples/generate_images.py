"""Generates images with a preset and saves them as one picture.

python examples/generate_images.py digits.png
"""

import click

import keras_ncsn
from keras_ncsn.images import save_grid, to_unit_range


def main(output, preset="mnist", num_images=64, seed=0):
    """Writes the picture `output` and returns the images as floats."""
    model = keras_ncsn.NCSNModel.from_preset(preset)
    images = model.generate(num_images, seed=seed)
    save_grid(to_unit_range(images, model.value_range), output)
    return images


@click.command(help=__doc__)
@click.argument("output", type=click.Path(dir_okay=False))
@click.option(
    "--preset", default="mnist", show_default=True, help="Name or folder."
)
@click.option("--num-images", default=64, show_default=True)
@click.option("--seed", default=0, show_default=True)
def command(**arguments):
    main(**arguments)


if __name__ == "__main__":
    command()
