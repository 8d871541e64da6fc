"""keras-ncsn suggest-schedule: noise levels and step size for a data set."""

import click


@click.command()
@click.argument("data")
@click.option(
    "--sigma-min",
    type=click.FloatRange(min=0, min_open=True),
    default=0.01,
    show_default=True,
    help="Smallest noise level.",
)
@click.option(
    "--steps-per-level",
    type=click.IntRange(min=1),
    help="Langevin steps at each noise level. Default: 5, as in NCSNv2.",
)
@click.option(
    "--total-steps",
    type=click.IntRange(min=1),
    help="Langevin steps in all, shared out among the levels, instead of "
    "--steps-per-level. Default: as many as that makes.",
)
@click.option(
    "--num-images",
    type=click.IntRange(min=2),
    help="Compare a sample of so many images only, which finds a distance as "
    "large or smaller. Default: all.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the sample.",
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
def suggest_schedule(
    data,
    sigma_min,
    steps_per_level,
    total_steps,
    num_images,
    seed,
    image_size,
    data_dir,
    skip_unreadable,
):
    """Suggest noise levels and a step size for DATA, with the reasons.

    DATA is what `train` takes. The rules are those of NCSNv2 (Song and Ermon,
    2020, techniques 1, 2 and 4), for annealed Langevin dynamics.

    \b
    keras-ncsn suggest-schedule my_images/ --image-size 32
    """
    if steps_per_level is not None and total_steps is not None:
        raise ValueError(
            "Only one of --steps-per-level and --total-steps may be given. "
            f"Received: --steps-per-level {steps_per_level} --total-steps "
            f"{total_steps}"
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
    # What is printed is what the rest is computed from.
    sigma_max = float(f"{distance:.4g}")
    if sigma_max <= sigma_min:
        raise ValueError(
            "The largest distance between two images must be above the "
            f"smallest noise level. Received: {data}, with the distance "
            f"{distance:g}, and --sigma-min {sigma_min:g}"
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
            f"largest distance of two among {compared} images: a sample can "
            "walk from any to any",
        ),
        ("sigma_min", f"{sigma_min:g}", "as given: where noise is invisible"),
        (
            "num_levels",
            num_levels,
            "smallest number whose neighbours overlap by half",
        ),
        (
            "ratio",
            f"{ratio:.5g}",
            f"of neighbours, which overlap by {overlap:.2f}",
        ),
        (
            "steps_per_level",
            steps_per_level,
            f"{num_levels * steps_per_level} steps in all",
        ),
        (
            "step_size",
            f"{step_size:g}",
            "brings the variance nearest to a level's own: from "
            f"{ratio**2:.3f} times to {variance:.3f}",
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
    """Returns the steps at each level, 5 if no total is given."""
    if total_steps is None:
        return 5
    if total_steps < num_levels:
        raise ValueError(
            "Every noise level needs a step. Received: --total-steps "
            f"{total_steps}, for {num_levels} levels"
        )
    return total_steps // num_levels
