"""Trains a U-Net on MNIST and saves it as a preset.

This does in Python about what `keras-ncsn train mnist digits` does. Start here
to train on other images or with other settings. A step takes about 0.75 s on
two CPU cores.

    python examples/train_mnist.py digits
"""

import pathlib

import click
import keras
import numpy as np

import keras_ncsn
from keras_ncsn.images import save_grid, to_floats
from keras_ncsn.presets.format import check_folder


def main(
    output, steps=5000, batch_size=64, images=None, widths=(32, 64, 64), seed=0
):
    """Trains on `images`, by default MNIST, and returns the model.

    Saves a preset and a picture of new images in the folder `output`.
    """
    check_folder(output)
    keras.utils.set_random_seed(seed)
    if images is None:
        images = keras_ncsn.datasets.load_images("mnist")
    data_mean = float(np.mean(to_floats(images[:10_000])))
    data_std = float(np.std(to_floats(images[:10_000])))

    network = keras_ncsn.networks.UNet(
        images.shape[1:], widths, data_mean=data_mean, data_std=data_std
    )
    model = keras_ncsn.NCSNModel(
        network,
        keras_ncsn.NoiseSchedule.geometric(20.0, 0.01, num_levels=100),
        sigma_distribution="log_normal",
        weighting="edm",
        data_std=data_std,
        ema_momentum=0.998,
        sampler="heun",
    )
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=steps - steps // 10,
        warmup_target=2e-3,
        warmup_steps=steps // 10,
    )
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    model.fit(
        keras_ncsn.datasets.shuffled_batches(images, batch_size, seed),
        steps_per_epoch=steps,
    )
    model.save_to_preset(output)
    samples = model.generate(64, seed=seed)
    save_grid(samples, pathlib.Path(output) / "samples.png")
    return model


@click.command(help=__doc__)
@click.argument("output", type=click.Path(file_okay=False))
@click.option("--steps", default=5000, show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--seed", default=0, show_default=True)
def command(**arguments):
    main(**arguments)


if __name__ == "__main__":
    command()
