"""keras-ncsn restore: images from small, blurred, grey or partial ones."""

import pathlib
from typing import Any

import click

from keras_ncsn import posterior
from keras_ncsn.cli.options import (
    FILES,
    IMAGES,
    SAMPLING,
    Command,
    Option,
    given,
    picture_options,
    sampler_options,
)
from keras_ncsn.cli.preset_facts import check_sampler, class_names, image_space

# The option that each operator needs.
OPERATORS = {
    "super-resolution": "factor",
    "deblurring": "blur_std",
    "colourisation": None,
    "missing-pixels": "mask",
}


@click.command(cls=Command)
@click.option(
    "--operator",
    required=True,
    type=click.Choice(list(OPERATORS)),
    help="What the images have lost.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--factor",
    type=click.IntRange(min=1),
    help="For super-resolution: how many times smaller the images are. Their "
    "pixels are means of squares. Default: none.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--blur-std",
    type=click.FloatRange(min=0, min_open=True, max=100),
    help="For deblurring: the standard deviation of the Gaussian blur, in "
    "pixels. It takes what is outside of an image as 0. Default: none.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--mask",
    help="For missing-pixels: the known part, as in `keras-ncsn inpaint`. "
    "Default: none.",
    cls=Option,
    group=IMAGES,
)
@click.option(
    "--noise",
    type=click.FloatRange(min=0),
    required=True,
    help="Standard deviation of the noise of the images, in the preset's range "
    "of values, such as 0.05 for images in [0, 1].",
    cls=Option,
    group=IMAGES,
)
@picture_options("restorations")
@click.option(
    "--output",
    type=click.Path(path_type=pathlib.Path),
    default="restored.png",
    show_default=True,
    help="A picture with a row for each image: the image, then its "
    "restorations. A new or empty folder or an .npy file gets only the "
    "restorations.",
    cls=Option,
    group=FILES,
)
@click.option(
    "--method",
    type=click.Choice(list(posterior.NAMES)),
    default=posterior.DEFAULT,
    show_default=True,
    help="Method of posterior sampling.",
    cls=Option,
    group=SAMPLING,
)
@sampler_options
def restore(
    preset: str,
    images: tuple[pathlib.Path, ...],
    operator: str,
    factor: int | None,
    blur_std: float | None,
    mask: str | None,
    noise: float,
    num_samples: int,
    label: str | None,
    output: pathlib.Path,
    method: str,
    seed: int | None,
    batch_size: int,
    sampler: str | None,
    **settings: Any,
) -> None:
    """Restore images that are small, blurred, grey or partial.

    PRESET is a name such as mnist (`keras-ncsn presets` lists them), a folder,
    or hf://owner/repo. Each IMAGE is a file, in the size of the preset's
    images, or `--factor` times smaller.

    \b
    keras-ncsn restore mnist small.png --operator super-resolution --factor 2 \\
        --noise 0.05
    """
    import numpy as np

    from keras_ncsn.cli.files import check_output, read_image, write_images
    from keras_ncsn.images import check_drawable, to_floats

    check_output(output)
    settings = given(**settings)
    options = {"factor": factor, "blur_std": blur_std, "mask": mask}
    _check_options(operator, options)
    folder = check_sampler(preset, sampler, settings)
    class_names(folder, label)
    image_shape, value_range = image_space(folder, preset)
    check_drawable(
        image_shape, value_range, "Use `NCSNModel.solve` in Python for arrays."
    )
    measure, known = _make_operator(operator, image_shape, **options)
    shape = _measured_shape(operator, image_shape, factor)
    measured = np.stack([read_image(path, shape) for path in images])

    from keras_ncsn import NCSNModel

    model = NCSNModel.from_preset(preset)
    restored = model.solve(
        measured,
        measure,
        noise,
        num_samples=num_samples,
        seed=seed,
        method=method,
        sampler=sampler,
        labels=label,
        batch_size=batch_size,
        verbose=1,
        **settings,
    )
    restored = restored.reshape(len(images), num_samples, *image_shape)
    if output.suffix.lower() in ("", ".npy"):
        restored = restored.reshape(-1, *image_shape)
        write_images(restored, output, value_range)
    else:
        shown = to_floats(measured, value_range)
        # Unknown pixels are shown in grey, and small images are enlarged.
        shown = np.where(known, shown, sum(value_range) / 2)
        shown = shown.repeat(factor or 1, axis=1).repeat(factor or 1, axis=2)
        shown = np.broadcast_to(shown, (len(images), *image_shape))
        rows = np.concatenate([shown[:, None], restored], axis=1)
        rows = rows.reshape(-1, *image_shape)
        write_images(rows, output, value_range, num_samples + 1)
    click.echo(f"Wrote {output}")


def _check_options(operator, options):
    """Raises a `ValueError` unless an operator has its own option only."""
    needed = OPERATORS[operator]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == needed and value is None:
            raise ValueError(
                f"--operator {operator} needs {flag}. Received: none"
            )
        if name != needed and value is not None:
            raise ValueError(
                f"{flag} is not for --operator {operator}. Received: "
                f"{flag} {value}. Leave it out."
            )


def _measured_shape(operator, image_shape, factor):
    height, width, channels = image_shape
    if operator == "colourisation":
        channels = 1
    return height // (factor or 1), width // (factor or 1), channels


def _make_operator(operator, image_shape, factor, blur_std, mask):
    """Returns a `LinearOperator` that fits, and which pixels are known."""
    import numpy as np

    from keras_ncsn.checks import check_above_zero
    from keras_ncsn.cli.files import check_mask, read_mask

    known: Any = True
    made: posterior.operators.LinearOperator
    if operator == "super-resolution":
        made = posterior.operators.Downsample(factor)
    elif operator == "deblurring":
        check_above_zero(blur_std=blur_std)
        # Beyond three standard deviations, 0.3 % of the weight is left out.
        radius = int(np.ceil(3 * blur_std))
        offsets = np.arange(-radius, radius + 1) / blur_std
        weights = np.exp(-(offsets**2) / 2)
        weights /= weights.sum()
        made = posterior.operators.Blur(np.outer(weights, weights))
    elif operator == "colourisation":
        made = posterior.operators.Grayscale()
    else:
        check_mask(mask, image_shape)
        known = read_mask(mask, image_shape)[..., None]
        made = posterior.operators.Mask(known)
    made.check_shape(image_shape)
    return made, known
