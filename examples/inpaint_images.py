"""Hides a part of each image and fills it in with a preset.

Each row shows the image, its known part (the rest is grey), and several
completions. First the lower half is hidden, then the centre, then three
quarters of the pixels at random. Without image files, the model draws the
images itself.

    python examples/inpaint_images.py filled.png
    python examples/inpaint_images.py filled.png three.png seven.png
"""

import click
import numpy as np

import keras_ncsn
from keras_ncsn.images import save_grid, to_floats, to_unit_range


def main(output, preset="mnist", files=(), num_images=3, num_samples=6, seed=0):
    """Writes the picture `output` and returns the completions.

    They are floats in the model's `value_range`, of shape
    `(images * masks, num_samples, height, width, channels)`.
    """
    model = keras_ncsn.NCSNModel.from_preset(preset)
    if files:
        images = np.stack([read_image(file, model) for file in files])
    else:
        images = model.generate(num_images, seed=seed)
    masks = known_masks(*model.image_shape[:2], seed)
    # Each image with each mask. A mask is True where a pixel is known.
    known_mask = np.tile(masks, (len(images), 1, 1, 1))
    images = np.repeat(images, len(masks), axis=0)

    filled = model.inpaint(
        images, known_mask, num_samples=num_samples, seed=seed
    )
    filled = filled.reshape(-1, num_samples, *model.image_shape)
    given = np.where(known_mask, images, sum(model.value_range) / 2)
    rows = np.concatenate([images[:, None], given[:, None], filled], axis=1)
    rows = to_unit_range(rows, model.value_range)
    save_grid(
        rows.reshape(-1, *model.image_shape), output, columns=num_samples + 2
    )
    return filled


def read_image(path, model):
    """Reads an image file, cropped and resized to the size of the model."""
    size, _, channels = model.image_shape
    image = keras_ncsn.datasets.load_image(path, image_size=size)
    image = image.convert("L" if channels == 1 else "RGB")
    image = np.asarray(image).reshape(model.image_shape)
    return to_floats(image, model.value_range)


def known_masks(height, width, seed):
    """Returns three masks, of shape `(3, height, width, 1)`."""
    lower_half, centre = np.ones((2, height, width), bool)
    lower_half[height // 2 :] = False
    centre[
        height // 4 : height - height // 4, width // 4 : width - width // 4
    ] = False
    scattered = np.random.default_rng(seed).random((height, width)) < 0.25
    return np.stack([lower_half, centre, scattered])[..., None]


@click.command(help=__doc__)
@click.argument("output", type=click.Path(dir_okay=False))
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--preset", default="mnist", show_default=True, help="Name or folder."
)
@click.option("--num-images", default=3, show_default=True)
@click.option("--num-samples", default=6, show_default=True)
@click.option("--seed", default=0, show_default=True)
def command(**arguments):
    main(**arguments)


if __name__ == "__main__":
    command()
