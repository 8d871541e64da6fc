"""keras-ncsn guide: combine a network with a worse one that guides it."""

import pathlib
import shlex

import click

from keras_ncsn.text import one_line

# Metadata of the network that also hold for the guided preset.
TRAINING = ("data", "recipe", "steps", "batch_size", "license")
# All options of a recipe have about a thousand characters.
MAX_COMMAND = 5000


@click.command()
@click.argument("preset")
@click.argument("guide_preset", metavar="GUIDE")
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--weight",
    type=click.FloatRange(min=1),
    default=2.0,
    show_default=True,
    help="Weight w of the guidance, with the preset's own sampler: the score "
    "is guide + w * (network - guide). 1 is the network alone.",
)
@click.option(
    "--sigma-range",
    type=(click.FloatRange(min=0), click.FloatRange(min=0, min_open=True)),
    default=(0.2, 3.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Range of noise levels in which the guide is used.",
)
@click.option(
    "--weights-dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision in which the weights of both networks are stored. They "
    "load in any precision.",
)
def guide(preset, guide_preset, output, weight, sigma_range, weights_dtype):
    """Combine a preset with a worse one that guides it.

    OUTPUT is the new preset: the network of PRESET, and the network of GUIDE
    to show it what to avoid (autoguidance). Samples get better. The larger
    the weight, the less varied they are. Train the guide on the same data: a
    smaller network, or an earlier checkpoint of the same network.

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
            f"Received: the same preset twice, {folders[0]}. Pass a preset of "
            "a smaller network, or of an earlier checkpoint."
        )
    known = [format.read_metadata(folder) for folder in folders]
    terms = common_terms(*known)

    from keras_ncsn import Guide, NCSNModel

    model, worse = (NCSNModel.from_preset(folder) for folder in folders)
    if worse.prediction != model.prediction:
        raise ValueError(
            "The guide and the network must have the same `prediction`. "
            f"Received: {worse.prediction!r} and {model.prediction!r}. Train "
            "the guide with the network's."
        )
    if worse.class_names not in (None, model.class_names):
        raise ValueError(
            "The guide must have the classes of the network, in the same "
            f"order, or none. Received: {one_line(worse.class_names)} and "
            f"{one_line(model.class_names)}"
        )
    guided = NCSNModel.from_config(
        model.get_config()
        | {
            "network": model.network,
            "guide": Guide(worse.network, weight, sigma_range),
        }
    )
    # Metrics of the network alone do not hold for the guided preset.
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
    """Returns the commands that make the preset, from training onwards.

    Returns `None` unless both presets are results of `keras-ncsn train`.
    """
    commands = [str(known.get("command")) for known in metadata]
    names = "NETWORK", "GUIDE"
    words = ["keras-ncsn guide"]
    for name, folder, command in zip(names, folders, commands, strict=True):
        if folder.name not in ("best", "last") or not _is_training(command):
            return None
        words.append(f"{name}/{folder.name}")
    low, high = sigma_range
    words.append(f"OUTPUT --weight {weight:g} --sigma-range {low:g} {high:g}")
    trainings = [
        command.replace("OUTPUT", name)
        for command, name in zip(commands, names, strict=True)
    ]
    return " && ".join([*trainings, " ".join(words)])


def _is_training(command):
    """Returns whether a command is one of `keras-ncsn train`, and no more.

    A stranger may have written it, and the card of the new preset would give
    it as the user's own. A shell does nothing else with words that are quoted
    as `shlex.join` does it.
    """
    if len(command) > MAX_COMMAND or not command.isprintable():
        return False
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    is_train = words[:2] == ["keras-ncsn", "train"]
    return is_train and shlex.join(words) == command
