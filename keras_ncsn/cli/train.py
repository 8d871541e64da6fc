"""keras-ncsn train: a U-Net, from images to a preset."""

import pathlib
import time

import click


def parse_widths(text):
    """Returns `"32,64"` as a list of integers.

    Args:
        text: String.

    Returns:
        A list of positive integers.
    """
    try:
        widths = [int(width) for width in text.split(",")]
    except ValueError:
        widths = [0]
    if min(widths) < 1:
        raise click.BadParameter(
            f"must be positive integers with commas between. Received: {text}"
        )
    return widths


@click.command()
@click.argument("data")
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Training steps, rounded up to whole savings.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Images a step.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=2e-3,
    show_default=True,
    help="Adam's rate after warm-up; it decays to 0 along a cosine.",
)
@click.option(
    "--warmup-steps",
    type=click.IntRange(min=0),
    default=500,
    show_default=True,
    help="Steps until the full learning rate, at most half of all.",
)
@click.option(
    "--ema-momentum",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.998,
    show_default=True,
    help="Momentum of the average of the weights.",
)
@click.option(
    "--widths",
    callback=lambda context, option, value: parse_widths(value),
    default="32,64,64",
    show_default=True,
    help="Channels of each stage of the U-Net, finest first.",
)
@click.option(
    "--sigma-max",
    type=click.FloatRange(min=0.01, min_open=True),
    default=20.0,
    show_default=True,
    help="Largest noise level; the smallest is 0.01.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    help="Crop a folder's images to squares of this size. Default: as is.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False),
    help="Folder of tensorflow-datasets. Default: its own.",
)
@click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Go on without pictures that cannot be read, and count them.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    default="float32",
    show_default=True,
    help="Precision of the layers.",
)
@click.option(
    "--save-every",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Steps between savings of the preset.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of weights, noise and order.",
)
def train(data, output, steps, batch_size, seed, save_every, **options):
    """Train a U-Net on DATA and save it as a preset in the folder OUTPUT.

    DATA is mnist, fashion_mnist, cifar10, celeb_a, a folder of images, an .npz
    or .npy file, or another image set of tensorflow-datasets. While training
    runs, OUTPUT holds the last saved preset, which the other commands take.
    """
    import keras

    from keras_ncsn import datasets
    from keras_ncsn.callbacks import SavePreset
    from keras_ncsn.checks import check_images
    from keras_ncsn.presets import check_folder

    check_folder(output)
    images = datasets.load_images(
        data,
        image_size=options["image_size"],
        data_dir=options["data_dir"],
        skip_unreadable=options["skip_unreadable"],
    )
    check_images(images, images.shape[1:])
    save_every = min(save_every, steps)
    epochs = -(-steps // save_every)
    steps = epochs * save_every
    warmup_steps = min(options["warmup_steps"], steps // 2)
    keras.utils.set_random_seed(seed)
    model = build_model(images, seed, options)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=options["learning_rate"],
        warmup_steps=warmup_steps,
    )
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0))
    click.echo(
        f"{len(images)} images of {'x'.join(map(str, model.image_shape))}, "
        f"{model.network.count_params():,} parameters, {steps} steps of "
        f"{batch_size}"
    )
    started = time.monotonic()
    model.fit(
        datasets.shuffled_batches(images, batch_size, seed),
        steps_per_epoch=save_every,
        epochs=epochs,
        callbacks=[
            SavePreset(output, {"data": str(data), "batch_size": batch_size})
        ],
        verbose=2,
    )
    minutes = (time.monotonic() - started) / 60
    click.echo(f"Saved {output} after {minutes:.1f} minutes")


def build_model(images, seed, options):
    """Returns the model of the recipe, fitted to the spread of the images."""
    import numpy as np

    from keras_ncsn import NCSNModel, NoiseSchedule
    from keras_ncsn.images import to_floats
    from keras_ncsn.networks import UNet

    sample = to_floats(images[:: max(1, len(images) // 10_000)])
    mean = round(float(np.mean(sample)), 4)
    std = round(float(np.std(sample)), 4)
    network = UNet(
        images.shape[1:],
        widths=options["widths"],
        data_mean=mean,
        data_std=std,
        dtype=options["dtype"],
    )
    return NCSNModel(
        network,
        NoiseSchedule.geometric(options["sigma_max"], 0.01, num_levels=100),
        sigma_distribution="log_normal",
        log_sigma_mean=-1.0,
        log_sigma_std=1.3,
        weighting="edm",
        data_std=std,
        ema_momentum=options["ema_momentum"],
        sampler="heun",
        sampler_settings={
            "heun": {"num_steps": 18},
            "annealed_langevin": {
                "steps_per_level": 5,
                "step_size": 1.1e-5,
                "denoise": True,
            },
        },
        seed=seed,
    )
