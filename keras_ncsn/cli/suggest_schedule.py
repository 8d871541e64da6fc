"""keras-ncsn suggest-schedule: noise levels and step size for a data set."""

import click

from keras_ncsn.cli.options import Command, Option

DATA = "Data"
LEVELS = "Noise levels"


@click.command(cls=Command)
@click.argument("data")
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    help="Crop and resize the images of a folder to squares of this size. "
    "Default: unchanged.",
    cls=Option,
    group=DATA,
)
@click.option(
    "--num-images",
    type=click.IntRange(min=2),
    help="Compare only this many images, drawn at random. This may miss the "
    "largest distance. Default: all.",
    cls=Option,
    group=DATA,
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed that draws the images of --num-images.",
    cls=Option,
    group=DATA,
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False),
    help="Folder where tensorflow-datasets keeps its data. Default: its own.",
    cls=Option,
    group=DATA,
)
@click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Skip pictures that cannot be read, and report how many.",
    cls=Option,
    group=DATA,
)
@click.option(
    "--sigma-min",
    type=click.FloatRange(min=0, min_open=True),
    default=0.01,
    show_default=True,
    help="Smallest noise level, at which the noise is invisible.",
    cls=Option,
    group=LEVELS,
)
@click.option(
    "--steps-per-level",
    type=click.IntRange(min=1),
    help="Langevin steps at each noise level. Default: 5, as in NCSNv2.",
    cls=Option,
    group=LEVELS,
)
@click.option(
    "--total-steps",
    type=click.IntRange(min=1),
    help="Langevin steps in total, divided among the levels. Give this or "
    "--steps-per-level. Default: the steps per level times the levels.",
    cls=Option,
    group=LEVELS,
)
def suggest_schedule(
    data: str,
    sigma_min: float,
    steps_per_level: int | None,
    total_steps: int | None,
    num_images: int | None,
    seed: int,
    image_size: int | None,
    data_dir: str | None,
    skip_unreadable: bool,
) -> None:
    """Suggest noise levels and a step size for your images.

    DATA is a folder of images, or another data set that `keras-ncsn train`
    takes. The values are for annealed Langevin dynamics, by the rules of
    NCSNv2 (Song and Ermon, 2020, techniques 1, 2 and 4). Each is printed with
    its reason, and as Python code.

    \b
    keras-ncsn suggest-schedule my_images/ --image-size 32
    """
    if steps_per_level is not None and total_steps is not None:
        raise ValueError(
            "Only one of --steps-per-level and --total-steps may be given. "
            f"Received: --steps-per-level {steps_per_level} --total-steps "
            f"{total_steps}. Leave one out."
        )

    from keras_ncsn import datasets, ladder
    from keras_ncsn.checks import check_images

    images = datasets.load_images(
        data,
        image_size=image_size,
        data_dir=data_dir,
        skip_unreadable=skip_unreadable,
    )
    image_shape = images.shape[1:]
    check_images(images, image_shape)
    dimension = images[0].size
    distance = ladder.largest_distance(images, num_images, seed)
    # Rounded first, so that the rest follows from the printed value.
    sigma_max = float(f"{distance:.4g}")
    if sigma_max <= sigma_min:
        raise ValueError(
            "The largest distance between two images must be above the "
            f"smallest noise level. Received: {data}, with the distance "
            f"{distance:g}, and --sigma-min {sigma_min:g}. Pass more varied "
            "images, or a smaller --sigma-min."
        )

    from keras_ncsn.noise import geometric_sigmas

    num_levels = ladder.suggested_num_levels(sigma_max, sigma_min, dimension)
    sigmas = geometric_sigmas(sigma_max, sigma_min, num_levels)
    steps_per_level = steps_per_level or _shared_out(total_steps, num_levels)
    step_size = float(
        f"{ladder.suggested_step_size(sigmas, steps_per_level):.3g}"
    )
    variance = ladder.variance_after(sigmas, steps_per_level, step_size)
    ratio = sigmas[0] / sigmas[1]
    overlap = ladder.shell_overlap(ratio, dimension)
    compared = min(len(images), num_images or len(images))
    rows = [
        (
            "sigma_max",
            f"{sigma_max:g}",
            f"largest distance between two among {compared} images, so that "
            "a sample can move from any to any other",
        ),
        (
            "sigma_min",
            f"{sigma_min:g}",
            "as given; the noise is invisible there",
        ),
        (
            "num_levels",
            num_levels,
            "the fewest levels whose neighbours overlap by half",
        ),
        (
            "ratio",
            f"{ratio:.5g}",
            f"between neighbouring levels, which overlap by {overlap:.2f}",
        ),
        (
            "steps_per_level",
            steps_per_level,
            f"{num_levels * steps_per_level} steps in total",
        ),
        (
            "step_size",
            f"{step_size:g}",
            "brings the variance closest to the level's own: from "
            f"{ratio**2:.3f} times to {variance:.3f} times",
        ),
    ]
    sides = "x".join(str(side) for side in image_shape)
    click.echo(f"{len(images)} images of {sides}, {dimension} numbers each\n")
    for name, value, reason in rows:
        click.echo(f"{name:<17}{value:<11}{reason}")
    click.echo(
        f"""
schedule = keras_ncsn.NoiseSchedule.geometric(
    sigma_max={sigma_max:g}, sigma_min={sigma_min:g}, num_levels={num_levels}
)
settings = {{"steps_per_level": {steps_per_level}, "step_size": {step_size:g}}}
model = keras_ncsn.NCSNModel(
    network, schedule, sampler_settings={{"annealed_langevin": settings}}
)"""
    )


def _shared_out(total_steps, num_levels):
    """Returns the number of steps at each level, 5 without a total."""
    if total_steps is None:
        return 5
    if total_steps < num_levels:
        raise ValueError(
            "Every noise level needs a step. Received: --total-steps "
            f"{total_steps}, for {num_levels} levels. Pass at least "
            f"{num_levels}."
        )
    return total_steps // num_levels
