"""keras-ncsn guide: combine a network with a worse score that guides it."""

import pathlib
import shlex

import click

from keras_ncsn.text import one_line

# Metadata of the network that also hold for the guided preset.
TRAINING = ("data", "recipe", "steps", "batch_size", "license")
# All options of a recipe have about a thousand characters.
MAX_COMMAND = 5000


@click.command()
@click.argument("presets", metavar="PRESET [GUIDE]", nargs=-1, required=True)
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--unconditional",
    is_flag=True,
    help="Guide by the network's own score without a label, instead of GUIDE "
    "(classifier-free guidance).",
)
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
def guide(
    presets: tuple[str, ...],
    output: pathlib.Path,
    unconditional: bool,
    weight: float,
    sigma_range: tuple[float, float],
    weights_dtype: str,
) -> None:
    """Combine a preset with a worse one that guides it.

    OUTPUT is the new preset: the network of PRESET, and the network of GUIDE
    to show it what to avoid (autoguidance). Samples get better. The larger
    the weight, the less varied they are. Train the guide on the same data: a
    smaller network, or an earlier checkpoint of the same network.

    A preset that knows labels needs no GUIDE: with --unconditional its samples
    move away from what it draws without a label.

    \b
    keras-ncsn train mnist runs/mnist
    keras-ncsn train mnist runs/small --width 16 --steps 3000
    keras-ncsn guide runs/mnist/best runs/small/best guided

    \b
    keras-ncsn train mnist runs/digits --conditional
    keras-ncsn guide runs/digits/best guided --unconditional
    """
    if len(presets) != (1 if unconditional else 2):
        raise click.UsageError(
            "give PRESET GUIDE OUTPUT, or PRESET OUTPUT --unconditional"
        )
    from keras_ncsn.checks import check_at_least, check_levels
    from keras_ncsn.presets import format, sources
    from keras_ncsn.presets.format import check_folder
    from keras_ncsn.presets.terms import common_terms

    check_folder(output)
    check_at_least(1, weight=weight)
    check_levels(sigma_range=sigma_range)
    folders = [sources.find(name) for name in presets]
    if not unconditional and folders[0].samefile(folders[1]):
        raise ValueError(
            "The guide must be a worse network than the one that it guides. "
            f"Received: the same preset twice, {folders[0]}. Pass a preset of "
            "a smaller network, or of an earlier checkpoint."
        )
    known = [format.read_metadata(folder) for folder in folders]
    terms = common_terms(*known)

    from keras_ncsn import Guide, NCSNModel

    model, *others = (NCSNModel.from_preset(folder) for folder in folders)
    network = None
    for worse in others:
        _check_fits(worse, model)
        network = worse.network
    guided = NCSNModel.from_config(
        model.get_config()
        | {
            "network": model.network,
            "guide": Guide(network, weight, sigma_range),
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
    _tell(output, model, network)


def _tell(output, model, network):
    by = "its own unconditional score"
    if network is not None:
        by = f"{network.count_params():,}"
    if model.guide is not None:
        by += ", in place of the guide that the preset had"
    click.echo(
        f"Wrote {output}: {model.network.count_params():,} parameters, guided "
        f"by {by}"
    )


def _check_fits(worse, model):
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
    takes_condition = worse.condition is not None
    if takes_condition and model.has_unconditional > worse.has_unconditional:
        raise ValueError(
            "The guide must know the score without a condition, as the network "
            "does. Received: a guide with condition_dropout=0. Train it with a "
            "`condition_dropout` above 0."
        )


def _command(folders, metadata, weight, sigma_range):
    """Returns the commands that make the preset, from training onwards.

    Returns `None` unless all presets are results of `keras-ncsn train`.
    """
    commands = [str(known.get("command")) for known in metadata]
    names = ["NETWORK", "GUIDE"][: len(folders)]
    words = ["keras-ncsn guide"]
    for name, folder, command in zip(names, folders, commands, strict=True):
        if folder.name not in ("best", "last") or not _is_training(command):
            return None
        words.append(f"{name}/{folder.name}")
    low, high = sigma_range
    words.append("OUTPUT")
    if len(folders) == 1:
        words.append("--unconditional")
    words.append(f"--weight {weight:g} --sigma-range {low:g} {high:g}")
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
