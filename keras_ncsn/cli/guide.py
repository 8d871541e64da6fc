"""keras-ncsn guide: a preset whose network a worse one guides."""

import pathlib

import click

# What the metadata of the network say that stays true.
TRAINING = ("data", "recipe", "steps", "batch_size", "license")


@click.command()
@click.argument("preset")
@click.argument("guide_preset", metavar="GUIDE")
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--weight",
    type=click.FloatRange(min=1),
    default=2.0,
    show_default=True,
    help="How far to go from what the guide says to what the network says, "
    "and beyond, with the preset's own sampler; 1 is the network alone.",
)
@click.option(
    "--sigma-range",
    type=(click.FloatRange(min=0), click.FloatRange(min=0, min_open=True)),
    default=(0.2, 3.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Noise levels between which it guides.",
)
@click.option(
    "--weights-dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="How the weights of both are stored; they load in any precision.",
)
def guide(preset, guide_preset, output, weight, sigma_range, weights_dtype):
    """Make OUTPUT, a preset of PRESET guided by a worse preset, GUIDE.

    Samples get better, and somewhat less varied the larger the weight is. The
    guide is trained on the same data: a smaller network, or the same one as it
    was earlier.

    \b
    keras-ncsn train mnist runs/mnist
    keras-ncsn train mnist runs/small --width 16 --steps 3000
    keras-ncsn guide runs/mnist/best runs/small/best guided
    """
    from keras_ncsn.checks import check_at_least, check_levels
    from keras_ncsn.presets import format, sources
    from keras_ncsn.presets.format import check_folder
    from keras_ncsn.presets.terms import common_terms

    check_folder(output)
    check_at_least(1, weight=weight)
    check_levels(sigma_range=sigma_range)
    folders = [sources.find(name) for name in (preset, guide_preset)]
    if folders[0].samefile(folders[1]):
        raise ValueError(
            "The guide must be a worse network than the one that it guides. "
            f"Received: the same preset twice, {folders[0]}"
        )
    known = [format.read_metadata(folder) for folder in folders]
    terms = common_terms(*known)

    from keras_ncsn import Guide, NCSNModel

    model, worse = (NCSNModel.from_preset(folder) for folder in folders)
    if worse.prediction != model.prediction:
        raise ValueError(
            "The guide must predict what the network does. Received: "
            f"prediction={worse.prediction!r} and {model.prediction!r}"
        )
    guided = NCSNModel.from_config(
        model.get_config()
        | {
            "network": model.network,
            "guide": Guide(worse.network, weight, sigma_range),
        }
    )
    # What was measured of the network alone does not hold for both.
    metadata = {name: known[0][name] for name in TRAINING if name in known[0]}
    metadata |= terms
    command = _command(folders, known, weight, sigma_range)
    if command and weights_dtype != "float32":
        command += f" --weights-dtype {weights_dtype}"
    if command:
        metadata["command"] = command
    guided.save_to_preset(output, metadata, weights_dtype=weights_dtype)
    click.echo(
        f"Wrote {output}: {model.network.count_params():,} parameters, guided "
        f"by {worse.network.count_params():,}"
    )


def _command(folders, metadata, weight, sigma_range):
    """Returns what makes the preset from nothing, `None` unless runs did."""
    commands = [str(known.get("command")) for known in metadata]
    names = "NETWORK", "GUIDE"
    words = ["keras-ncsn guide"]
    for name, folder, command in zip(names, folders, commands, strict=True):
        if folder.name not in ("best", "last") or not command.startswith(
            "keras-ncsn train "
        ):
            return None
        words.append(f"{name}/{folder.name}")
    low, high = sigma_range
    words.append(f"OUTPUT --weight {weight:g} --sigma-range {low:g} {high:g}")
    trainings = [
        command.replace("OUTPUT", name)
        for command, name in zip(commands, names, strict=True)
    ]
    return " && ".join([*trainings, " ".join(words)])
