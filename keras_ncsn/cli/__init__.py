"""The command line, one module a command."""

import importlib
import sys
import warnings

import click

from keras_ncsn.cli.quiet import keep_quiet
from keras_ncsn.text import printable

COMMANDS = (
    "generate",
    "inpaint",
    "train",
    "guide",
    "suggest-schedule",
    "presets",
    "push",
    "convert",
)


class _Commands(click.Group):
    """Finds the command of a name in the module of that name."""

    def list_commands(self, context):
        return COMMANDS

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        name = name.replace("-", "_")
        module = importlib.import_module(f"keras_ncsn.cli.{name}")
        return getattr(module, name)

    def invoke(self, context):
        try:
            return super().invoke(context)
        except click.ClickException as error:
            # An argument may be the name that a stranger gave to a file.
            error.message = printable(error.message)
            raise


@click.group(cls=_Commands)
@click.version_option(package_name="keras-ncsn")
def cli():
    """Noise conditional score networks: generate, inpaint, train, convert.

    The environment variable KERAS_BACKEND chooses tensorflow (the default),
    jax or torch.
    """


def main():
    """Runs the command line; a wrong value is one sentence and status 2."""
    warnings.formatwarning = _format_warning
    keep_quiet()
    try:
        cli()
    except (ValueError, FloatingPointError, OSError, ImportError) as error:
        message = str(error)
    except MemoryError as error:
        message = (
            "The memory of this machine must hold what is asked for. Received: "
            f"too little{f', {error}' if str(error) else ''}. Ask for fewer or "
            "smaller images at a time."
        )
    else:
        return
    click.echo(printable(f"Error: {message}"), err=True)
    sys.exit(2)


def _format_warning(message, category, *place, **line):
    # Where in the code it was is nothing to who reads this.
    return printable(f"Warning: {message}") + "\n"
