"""keras-ncsn convert: the authors' PyTorch checkpoints to presets."""

import pathlib

import click


@click.command()
@click.argument(
    "checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
)
@click.argument("preset_dir", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    help="Height and width of the images, an even number. Default: 28 for "
    "one channel, 32 otherwise.",
)
@click.option(
    "--raw",
    is_flag=True,
    help="Use the raw weights, even if the file has averaged weights too.",
)
@click.option(
    "--sigma-max",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest noise level of an NCSN checkpoint (NCSNv2 checkpoints "
    "store their levels). Default: 1.0.",
)
@click.option(
    "--sigma-min",
    type=click.FloatRange(min=0, min_open=True),
    help="Smallest noise level of an NCSN checkpoint. Default: 0.01.",
)
def convert(
    checkpoint: pathlib.Path,
    preset_dir: pathlib.Path,
    image_size: int | None,
    raw: bool,
    sigma_max: float | None,
    sigma_min: float | None,
) -> None:
    """Convert the authors' PyTorch CHECKPOINT to a preset.

    CHECKPOINT is a .pth file of NCSN or NCSNv2. PRESET_DIR is the new folder
    of the preset. This command needs PyTorch. It reads only tensors from the
    file and runs no code in it.

    \b
    keras-ncsn convert checkpoint.pth my_preset
    """
    from keras_ncsn.presets.format import check_folder

    check_folder(preset_dir)

    from keras_ncsn.conversion import load_model

    model = load_model(
        checkpoint,
        image_size=image_size,
        raw=raw,
        sigma_max=sigma_max,
        sigma_min=sigma_min,
    )
    model.save_to_preset(preset_dir, {"converted_from": checkpoint.name})
    shape = "x".join(str(side) for side in model.image_shape)
    click.echo(
        f"Wrote {preset_dir}: {type(model.network).__name__} for {shape}, "
        f"{model.network.count_params():,} parameters, "
        f"{model.schedule.num_levels} noise levels from "
        f"{model.schedule.sigma_max:g} to {model.schedule.sigma_min:g}"
    )
