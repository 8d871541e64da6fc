"""Options that several commands share, and how they appear in `--help`."""

import dataclasses
import types
import typing

import click

from keras_ncsn import samplers


class Option(click.Option):
    """An option with the title under which `--help` shows it.

    Args:
        *args: Arguments of `click.Option`.
        group: String, the title. Defaults to `"Options"`.
        **kwargs: Arguments of `click.Option`.
    """

    def __init__(self, *args, group="Options", **kwargs):
        super().__init__(*args, **kwargs)
        self.group = group


class Command(click.Command):
    """A command whose `--help` shows its options in groups."""

    def format_options(self, context, formatter):
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            # Some versions of click have records of arguments too.
            is_option = isinstance(parameter, click.Option)
            record = is_option and parameter.get_help_record(context)
            if record:
                title = getattr(parameter, "group", "Options")
                groups.setdefault(title, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def sampler_options(command):
    """Adds the options of the samplers to a command.

    The options are the fields of the samplers: one for each name.

    Args:
        command: A function that takes `seed`, `batch_size`, `sampler` and
            `settings`.

    Returns:
        The function with its options.
    """
    options = [
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            help="Seed; the same one gives the same images. Default: random.",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(min=1),
            default=64,
            show_default=True,
            help="Images sampled at a time.",
        ),
        click.option(
            "--sampler",
            type=click.Choice(list(samplers.NAMES)),
            help="Sampler. Default: the preset's own.",
            cls=Option,
            group=SAMPLING,
        ),
    ]
    fields: dict[str, dict[str, dataclasses.Field]] = {}
    for sampler, kind in samplers.NAMES.items():
        for field in dataclasses.fields(kind):
            fields.setdefault(field.name, {})[sampler] = field
    options += [_setting_option(of) for of in fields.values()]
    for option in reversed(options):
        command = option(command)
    return command


# The title of the options of the sampler.
SAMPLING = "Sampling"


def check_sampler(preset, sampler, settings):
    """Raises a `ValueError` for wrong settings, before Keras is imported.

    Args:
        preset: String, as in `sources.find`; there must be such a preset.
        sampler: String, the name of a sampler, or `None` for the preset's own.
        settings: Dictionary of settings that override the preset's.

    Returns:
        A `pathlib.Path`, the folder of the preset, without its weights if
        these must be downloaded.
    """
    from keras_ncsn.presets import format, sources

    folder = sources.find(preset, load_weights=False)
    config = format.read_config(folder)["config"]
    name = sampler or config.get("sampler", "annealed_langevin")
    stored = config.get("sampler_settings")
    # What is odd in a preset, `from_preset` refuses.
    known = stored.get(name) if isinstance(stored, dict) else None
    known = known if isinstance(known, dict) else {}
    samplers.make(name, known | settings)
    return folder


def _setting_option(fields):
    """Returns the option for the fields of one name, by sampler."""
    help = " ".join(
        f"{', '.join(names)}: {text}"
        for text, names in _by_text(fields).items()
    )
    field = next(iter(fields.values()))
    return field_option(field, f"{help} Default: the preset's.", group=SAMPLING)


def _by_text(fields):
    texts: dict[str, list[str]] = {}
    for sampler, field in fields.items():
        texts.setdefault(field.metadata["help"], []).append(sampler)
    return texts


def field_option(field, help, group):
    """Returns the option for the field of a dataclass.

    Args:
        field: A `dataclasses.Field`, of type `int`, `float`, `bool`, `str`, a
            pair of floats, or a tuple of integers.
        help: String.
        group: As in `Option`.

    Returns:
        A decorator of commands. The value is `None` where it is not given;
        the dataclass checks it where it is.
    """
    flag = f"--{field.name.replace('_', '-')}"
    kind = field.type
    if isinstance(kind, types.UnionType):
        kind = next(x for x in typing.get_args(kind) if x is not type(None))
    extra = {"type": kind}
    if kind is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
        extra = {"default": None}
    elif typing.get_args(kind) == (float, float):
        extra = {"type": (float, float), "metavar": "LOW HIGH"}
    elif typing.get_origin(kind) is tuple:
        extra = {"callback": parse_integers, "metavar": "INTEGERS"}
    elif "choices" in field.metadata:
        extra = {"type": click.Choice(field.metadata["choices"])}
    return click.option(
        flag, field.name, help=help, cls=Option, group=group, **extra
    )


def parse_integers(context, option, text):
    """Returns `"1,2,2"` as a list of integers, `None` as it is.

    Args:
        context: A `click.Context`.
        option: The `click.Option`.
        text: String or `None`.

    Returns:
        A list of integers, or `None`.
    """
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",") if number.strip()]
    except ValueError:
        raise click.BadParameter(
            f"must be integers with commas between. Received: {text}"
        ) from None


def given(**settings):
    """Returns the settings that the user gave.

    Args:
        **settings: Values by name, `None` where not given.

    Returns:
        A dictionary.
    """
    return {
        name: value for name, value in settings.items() if value is not None
    }
