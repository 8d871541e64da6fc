"""keras-ncsn inpaint: fill in hidden pixels."""

import pathlib
from typing import Any

import click

from keras_ncsn.cli.options import (
    FILES,
    IMAGES,
    Command,
    Option,
    given,
    picture_options,
    sampler_options,
)
from keras_ncsn.cli.preset_facts import check_sampler, class_names, image_space


@click.command(cls=Command)
@click.option(
    "--mask",
    required=True,
    help="The known part: left-half, right-half, top-half, bottom-half, "
    "centre (all but the centre square), or a picture. The picture has the "
    "size of the images, is white where a pixel is known and black where it "
    "is filled in.",
    cls=Option,
    group=IMAGES,
)
@picture_options("completions")
@click.option(
    "--output",
    type=click.Path(path_type=pathlib.Path),
    default="inpainted.png",
    show_default=True,
    help="A picture with a row for each image: its known part, then its "
    "completions. A new or empty folder or an .npy file gets only the "
    "completions.",
    cls=Option,
    group=FILES,
)
@sampler_options
def inpaint(
    preset: str,
    images: tuple[pathlib.Path, ...],
    mask: str,
    num_samples: int,
    label: str | None,
    output: pathlib.Path,
    seed: int | None,
    batch_size: int,
    sampler: str | None,
    **settings: Any,
) -> None:
    """Fill in hidden pixels of images, with a preset.

    PRESET is a name such as mnist (`keras-ncsn presets` lists them), a folder,
    or hf://owner/repo. Each IMAGE is a file, in the size of the preset's
    images.

    \b
    keras-ncsn inpaint mnist digit.png --mask left-half --output filled.png
    """
    import numpy as np

    from keras_ncsn.cli.files import (
        check_mask,
        check_output,
        read_image,
        read_mask,
        write_images,
    )
    from keras_ncsn.images import check_drawable, to_floats

    check_output(output)
    settings = given(**settings)
    folder = check_sampler(preset, sampler, settings)
    class_names(folder, label)
    image_shape, value_range = image_space(folder, preset)
    check_drawable(
        image_shape,
        value_range,
        "Use `NCSNModel.inpaint` in Python for arrays.",
    )
    check_mask(mask, image_shape)
    # A picture of the stated size is there before a mask of this size is made.
    given_images = np.stack([read_image(path, image_shape) for path in images])
    known_mask = read_mask(mask, image_shape)

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
        labels=label,
        **settings,
    )
    filled = filled.reshape(len(images), num_samples, *model.image_shape)
    if output.suffix.lower() in ("", ".npy"):
        filled = filled.reshape(-1, *model.image_shape)
        write_images(filled, output, model.value_range)
    else:
        # Hidden pixels are shown in grey.
        known = to_floats(given_images, model.value_range)
        grey = sum(model.value_range) / 2
        shown = np.where(known_mask[..., None], known, grey)
        rows = np.concatenate([shown[:, None], filled], axis=1)
        rows = rows.reshape(-1, *model.image_shape)
        write_images(rows, output, model.value_range, num_samples + 1)
    click.echo(f"Wrote {output}")
