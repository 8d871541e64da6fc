"""keras-ncsn generate: new images from a preset."""

import pathlib
import random
from typing import Any

import click

from keras_ncsn.cli.options import (
    FILES,
    IMAGES,
    SAMPLING,
    Command,
    Option,
    given,
    parse_labels,
    sampler_options,
)
from keras_ncsn.cli.preset_facts import check_sampler, class_names


@click.command(cls=Command)
@click.argument("preset")
@click.option(
    "--num-images",
    type=click.IntRange(min=1),
    help="Number of images. Default: 64, or one for each of --labels.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--label",
    help="What to draw, if the preset knows labels: the name or the number of "
    "a class, or none. Default: random labels, as in the training data.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--labels",
    callback=parse_labels,
    metavar="LABELS",
    help="A label for each image, with commas between: 0,1,frog. A class with "
    "a comma in its name needs its number. Default: --label for all.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--grid-by-class",
    is_flag=True,
    help="Draw one row of images for each class. The images of a column come "
    "from the same noise. --num-images is the length of a row, by default 8.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--output",
    type=click.Path(path_type=pathlib.Path),
    default="grid.png",
    show_default=True,
    help="One picture of all images (grid.png), a new or empty folder for "
    "one PNG per image (folder/), or an array (samples.npy). The array is "
    "float32, num_images x height x width x channels, in the preset's value "
    "range, usually [0, 1].",
    cls=Option,
    group=FILES,
)
@click.option(
    "--gif",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    help="Also write a film of the sampling, such as film.gif.",
    cls=Option,
    group=FILES,
)
@click.option(
    "--guidance",
    type=click.FloatRange(min=1),
    help="Weight of the guidance, if the preset has a guide or knows labels. 1 "
    "turns it off. Default: the preset's, or 1 if --sampler is not the "
    "preset's.",
    cls=Option,
    group=SAMPLING,
)
@sampler_options
def generate(
    preset: str,
    num_images: int | None,
    label: str | None,
    labels: list[str] | None,
    grid_by_class: bool,
    output: pathlib.Path,
    gif: pathlib.Path | None,
    seed: int | None,
    batch_size: int,
    sampler: str | None,
    **settings: Any,
) -> None:
    """Generate images with a preset.

    PRESET is a name such as mnist (`keras-ncsn presets` lists them), a folder,
    or hf://owner/repo on the Hugging Face Hub.

    \b
    keras-ncsn generate mnist --num-images 64 --seed 0 --output digits.png
    keras-ncsn generate runs/digits/best --label 7 --num-images 16
    """
    if (label is not None) + (labels is not None) + grid_by_class > 1:
        raise click.UsageError(
            "give one of --label, --labels and --grid-by-class"
        )
    if labels is not None and num_images not in (None, len(labels)):
        raise click.UsageError(
            f"give one label for each image, not {len(labels)} for {num_images}"
        )
    from keras_ncsn.cli.files import check_output, write_images

    check_output(output)
    if gif is not None:
        check_output(gif, suffixes=(".gif",))
    settings = given(**settings)
    guidance = settings.pop("guidance", None)
    folder = check_sampler(preset, sampler, settings)
    if seed is None and grid_by_class:
        # All rows need the same one.
        seed = random.getrandbits(63)
    chosen = label if labels is None else labels
    names = class_names(folder, chosen, needed=grid_by_class)
    if num_images is None and labels is None:
        num_images = 8 if grid_by_class else 64

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
            "Write an array with --output samples.npy, without --gif.",
        )
    rows = names if grid_by_class else [chosen]
    images = np.concatenate(
        [
            model.generate(
                num_images,
                seed=seed,
                batch_size=batch_size,
                sampler=sampler,
                return_trajectory=gif is not None,
                verbose=1,
                guidance=guidance,
                labels=row,
                **settings,
            )
            for row in rows
        ]
    )
    columns = num_images if grid_by_class else None
    if gif is not None:
        frames = images.swapaxes(0, 1)
        images = frames[-1]
        shown = to_unit_range(frames, model.value_range)
        grids = [make_grid(frame, columns) for frame in shown]
        grids = [grid / np.float32(255) for grid in grids]
        save_gif(np.stack(grids), gif)
        click.echo(f"Wrote {gif}")
    write_images(images, output, model.value_range, columns)
    click.echo(f"Wrote {output}")
