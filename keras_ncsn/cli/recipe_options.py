"""The options that override the values of a recipe."""

import dataclasses
from collections.abc import Callable
from typing import Any

import click

from keras_ncsn.cli.options import field_option
from keras_ncsn.runs import recipes
from keras_ncsn.runs.recipe import in_order


def _fields():
    """Returns the fields of all recipes by name, in the order of `--help`."""
    fields: dict[str, dataclasses.Field] = {}
    for recipe in recipes.RECIPES.values():
        for field in dataclasses.fields(recipe):
            fields.setdefault(field.name, field)
    # The name of the recipe chooses it.
    del fields["network"]
    return {field.name: field for field in in_order(fields.values())}


# The fields by name, one option each.
OPTIONS = _fields()


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which gets `None` for those not given.

    Args:
        command: A function that takes them by name.

    Returns:
        The function with its options.
    """
    for field in reversed(OPTIONS.values()):
        help = f"{field.metadata['help']} Default: the recipe's."
        option = field_option(field, help, field.metadata["group"])
        command = option(command)
    return command


def show_recipe(
    context: click.Context, option: click.Parameter, name: str | None
) -> None:
    """Prints a recipe and ends the command.

    Args:
        context: A `click.Context`.
        option: The `click.Option`.
        name: String, the recipe's name, or `None`, which prints nothing.
    """
    if name is None:
        return
    for setting, value in recipes.find(name).values().items():
        click.echo(f"{setting}: {value}")
    context.exit()
