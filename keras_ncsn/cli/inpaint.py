"""keras-ncsn inpaint: pixels that are not known, filled in."""

import pathlib

import click

from keras_ncsn.cli.options import (
    Command,
    check_sampler,
    given,
    sampler_options,
)


@click.command(cls=Command)
@click.argument("preset")
@click.argument(
    "images",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    metavar="IMAGE...",
)
@click.option(
    "--mask",
    required=True,
    help="What is known: left-half, right-half, top-half, bottom-half, centre "
    "(all but the centre square), or a picture of the images' size, white "
    "where a pixel is known and black where it is to be filled.",
)
@click.option(
    "--num-samples",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Completions of each image.",
)
@click.option(
    "--output",
    type=click.Path(path_type=pathlib.Path),
    default="inpainted.png",
    show_default=True,
    help="A picture with a row for each image: what is known, then its "
    "completions; or a new or empty folder, or an .npy array, of the "
    "completions alone.",
)
@sampler_options
def inpaint(
    preset,
    images,
    mask,
    num_samples,
    output,
    seed,
    batch_size,
    sampler,
    **settings,
):
    """Fill in the hidden pixels of images, with PRESET.

    The images must have the size of the preset's.

    \b
    keras-ncsn inpaint mnist digit.png --mask left-half --output filled.png
    """
    import numpy as np

    from keras_ncsn.cli.files import (
        check_output,
        read_image,
        read_mask,
        write_images,
    )
    from keras_ncsn.images import check_drawable, to_floats

    check_output(output)
    settings = given(**settings)
    image_shape, value_range = _image_space(preset, sampler, settings)
    check_drawable(
        image_shape,
        value_range,
        "Complete arrays in Python, by `NCSNModel.inpaint`.",
    )
    known_mask = read_mask(mask, image_shape)
    given_images = np.stack([read_image(path, image_shape) for path in images])

    from keras_ncsn import NCSNModel

    model = NCSNModel.from_preset(preset)
    filled = model.inpaint(
        given_images,
        known_mask,
        num_samples=num_samples,
        seed=seed,
        batch_size=batch_size,
        sampler=sampler,
        verbose=1,
        **settings,
    )
    filled = filled.reshape(len(images), num_samples, *model.image_shape)
    if output.suffix.lower() in ("", ".npy"):
        filled = filled.reshape(-1, *model.image_shape)
        write_images(filled, output, model.value_range)
    else:
        # Hidden pixels are grey, which neither ink nor paper is.
        known = to_floats(given_images, model.value_range)
        grey = sum(model.value_range) / 2
        shown = np.where(known_mask[..., None], known, grey)
        rows = np.concatenate([shown[:, None], filled], axis=1)
        rows = rows.reshape(-1, *model.image_shape)
        write_images(rows, output, model.value_range, num_samples + 1)
    click.echo(f"Wrote {output}")


def _image_space(preset, sampler, settings):
    """Returns the shape and range of a preset's images, without Keras if told.

    The config of a network of others does not say the shape.
    """
    from keras_ncsn.presets import format

    folder = check_sampler(preset, sampler, settings)
    image_shape = format.image_shape(folder)
    if image_shape:
        config = format.read_config(folder)["config"]
        return image_shape, config.get("value_range", (0.0, 1.0))

    from keras_ncsn import NCSNModel

    model = NCSNModel.from_preset(preset, load_weights=False)
    return model.image_shape, model.value_range
