"""Options that several commands share, and their groups in `--help`."""

import dataclasses
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any

import click

from keras_ncsn import samplers

# Titles of groups in `--help`.
IMAGES = "Images"
FILES = "Files"
SAMPLING = "Sampling"


class Option(click.Option):
    """An option that `--help` shows in a group.

    Args:
        *args: Arguments of `click.Option`.
        group: String, the title of the group. Defaults to `"Options"`.
        **kwargs: Arguments of `click.Option`.
    """

    def __init__(
        self, *args: Any, group: str = "Options", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class Command(click.Command):
    """A command whose `--help` shows its options in groups.

    Groups appear in the order of their first options.
    """

    def format_options(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
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


def picture_options(noun: str) -> Callable[..., Any]:
    """Adds what commands have in common that complete pictures.

    Args:
        noun: String, what they make of each picture, such as "completions".

    Returns:
        A decorator of functions that take `preset`, `images`, `num_samples`
        and `label`.
    """

    def add(command):
        options = [
            click.argument("preset"),
            click.argument(
                "images",
                nargs=-1,
                required=True,
                type=click.Path(
                    exists=True, dir_okay=False, path_type=pathlib.Path
                ),
                metavar="IMAGE...",
            ),
            click.option(
                "--num-samples",
                type=click.IntRange(min=1),
                default=8,
                show_default=True,
                help=f"Number of {noun} of each image.",
                cls=Option,
                group=IMAGES,
            ),
            click.option(
                "--label",
                help="What the images show, if the preset knows labels: the "
                "name or the number of a class. Default: no label.",
                cls=Option,
                group=IMAGES,
            ),
        ]
        for option in reversed(options):
            command = option(command)
        return command

    return add


def sampler_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of the samplers to a command.

    Each field of a sampler is an option. Samplers whose fields have the same
    name share the option.

    Args:
        command: A function that takes `seed`, `batch_size`, `sampler` and
            the fields of all samplers.

    Returns:
        The function with its options.
    """
    options = [
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            help="Seed of the noise. The same seed gives the same images. "
            "Default: random.",
            cls=Option,
            group=IMAGES,
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(min=1),
            default=64,
            show_default=True,
            help="Images drawn at a time. More need more memory.",
            cls=Option,
            group=IMAGES,
        ),
        click.option(
            "--sampler",
            type=click.Choice(list(samplers.NAMES)),
            help="Sampling algorithm. The options below are its settings; "
            "each names the samplers that have it. Default: the preset's.",
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


def parse_labels(
    context: click.Context | None, option: click.Parameter, text: str | None
) -> list[str] | None:
    """Parses a text such as `"0,1,frog"`, as a callback of an option.

    Args:
        context: A `click.Context`.
        option: The `click.Option`.
        text: String, or `None` if the user does not give the option.

    Returns:
        A list of strings, or `None` for `None`.
    """
    if text is None:
        return None
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise click.BadParameter(
            f"must be labels with commas between. Received: {text}. Write, "
            "for example, 0,1,2."
        )
    return labels


def _setting_option(fields):
    """Returns the option for one name, from its field in each sampler."""
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


def field_option(
    field: dataclasses.Field, help: str, group: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns the option for the field of a dataclass.

    Args:
        field: A `dataclasses.Field`, of type `int`, `float`, `bool`, `str`, a
            pair of floats, or a tuple of integers.
        help: String, the help text.
        group: As in `Option`.

    Returns:
        A decorator for a command. The value is `None` if the user does not
        give the option. The dataclass checks the value, not the option.
    """
    flag = f"--{field.name.replace('_', '-')}"
    kind: Any = field.type
    if isinstance(kind, types.UnionType):
        kind = next(x for x in typing.get_args(kind) if x is not type(None))
    extra: dict[str, Any] = {"type": kind}
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


def parse_integers(
    context: click.Context | None, option: click.Parameter, text: str | None
) -> list[int] | None:
    """Parses a text such as `"1,2,2"`, as a callback of an option.

    Args:
        context: A `click.Context`.
        option: The `click.Option`.
        text: String, or `None` if the user does not give the option.

    Returns:
        A list of integers, or `None` for `None`.
    """
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",") if number.strip()]
    except ValueError:
        raise click.BadParameter(
            f"must be integers with commas between. Received: {text}. Write, "
            "for example, 1,2,2."
        ) from None


def given(**settings: Any) -> dict[str, Any]:
    """Returns the settings that the user gave.

    Args:
        **settings: Values by name, `None` for those that are not given.

    Returns:
        A dictionary.
    """
    return {
        name: value for name, value in settings.items() if value is not None
    }
