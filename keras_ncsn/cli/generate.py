"""keras-ncsn generate: new images from a preset."""

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
@click.option(
    "--num-images",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="How many images.",
)
@click.option(
    "--output",
    type=click.Path(path_type=pathlib.Path),
    default="grid.png",
    show_default=True,
    help="A picture of all (grid.png), a new or empty folder for one PNG each "
    "(folder/), or an array (samples.npy: float32, num_images x height x width "
    "x channels, in the preset's range, [0, 1] for ours).",
)
@click.option(
    "--gif",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    help="Also write a film of the sampling, such as film.gif.",
)
@click.option(
    "--guidance",
    type=click.FloatRange(min=1),
    help="Weight of the guide, of a preset that has one; 1 is the network "
    "alone. Default: the preset's own, 1 with another sampler than its own.",
)
@sampler_options
def generate(
    preset, num_images, output, gif, seed, batch_size, sampler, **settings
):
    """Generate images from PRESET, a name (mnist) or a folder.

    \b
    keras-ncsn generate mnist --num-images 64 --seed 0 --output digits.png
    """
    from keras_ncsn.cli.files import check_output, write_images

    check_output(output)
    if gif is not None:
        check_output(gif, suffixes=(".gif",))
    settings = given(**settings)
    guidance = settings.pop("guidance", None)
    check_sampler(preset, sampler, settings)

    import numpy as np

    from keras_ncsn import NCSNModel
    from keras_ncsn.images import (
        check_drawable,
        make_grid,
        save_gif,
        to_unit_range,
    )

    model = NCSNModel.from_preset(preset)
    if gif is not None or output.suffix.lower() != ".npy":
        check_drawable(
            model.image_shape,
            model.value_range,
            "Write an array, --output samples.npy, and no film.",
        )
    images = model.generate(
        num_images,
        seed=seed,
        batch_size=batch_size,
        sampler=sampler,
        return_trajectory=gif is not None,
        verbose=1,
        guidance=guidance,
        **settings,
    )
    if gif is not None:
        frames = images.swapaxes(0, 1)
        images = frames[-1]
        shown = to_unit_range(frames, model.value_range)
        grids = [make_grid(frame) / np.float32(255) for frame in shown]
        save_gif(np.stack(grids), gif)
        click.echo(f"Wrote {gif}")
    write_images(images, output, model.value_range)
    click.echo(f"Wrote {output}")
