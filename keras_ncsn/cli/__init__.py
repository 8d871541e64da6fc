"""The command line: one module for each command."""

import importlib
import sys
import warnings
from typing import Any

import click

from keras_ncsn.cli.onednn import use_onednn
from keras_ncsn.cli.quiet import keep_quiet
from keras_ncsn.memory import is_of_memory, shortage
from keras_ncsn.text import printable

COMMANDS = (
    "generate",
    "inpaint",
    "restore",
    "train",
    "guide",
    "suggest-schedule",
    "presets",
    "push",
    "convert",
)


class _Commands(click.Group):
    """Loads each command from the module of the same name."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(
        self, context: click.Context, name: str
    ) -> click.Command | None:
        if name not in COMMANDS:
            return None
        name = name.replace("-", "_")
        module = importlib.import_module(f"keras_ncsn.cli.{name}")
        return getattr(module, name)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except click.ClickException as error:
            # A file name in the message may hold control characters.
            error.message = printable(error.message)  # type: ignore[misc]
            raise


@click.group(cls=_Commands)
@click.version_option(package_name="keras-ncsn")
def cli() -> None:
    """Generate, inpaint and train with noise conditional score networks.

    To start, draw 64 digits with a preset that comes with the package:

    \b
    keras-ncsn generate mnist

    `keras-ncsn COMMAND --help` lists the options of a command. To choose a
    backend, set the environment variable KERAS_BACKEND to tensorflow (the
    default), jax or torch.
    """


def main() -> None:
    """Runs the command line.

    An error prints one sentence and exits with status 2.
    """
    warnings.formatwarning = _format_warning
    keep_quiet()
    use_onednn()
    try:
        cli()
    except (ValueError, FloatingPointError, OSError, ImportError) as error:
        message = str(error)
    except Exception as error:
        if not is_of_memory(error):
            raise
        message = (
            "The images and the network must fit into memory. Received: too "
            f"little, {shortage(error)}. Ask for fewer or smaller images at a "
            "time, with a smaller --batch-size."
        )
    else:
        return
    click.echo(printable(f"Error: {message}"), err=True)
    sys.exit(2)


def _format_warning(message, category, *place, **line):
    # A user needs the message, not the line of our code.
    return printable(f"Warning: {message}") + "\n"
