# SPDX-License-Identifier: Apache-2.0
"""The command `unzipfpga`: one sub-command per stage, each in a module of `unzipfpga.commands`."""

import sys

import typer
from rich.console import Console
from rich.text import Text

from unzipfpga import __version__
from unzipfpga.commands import convert, evaluate
from unzipfpga.errors import UnzipError

app = typer.Typer(
    name="unzipfpga",
    help="CNN inference from weights that are regenerated on chip from OVSF codes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("convert")(convert.convert_command)
app.command("eval")(evaluate.eval_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unzipfpga {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options before the sub-command."""


def main() -> None:
    """Run the command line; what a user can cause is one red line and exit status 2."""
    try:
        app()
    except UnzipError as error:
        message = Text(f"error: {error}", style="red")
        Console(stderr=True, soft_wrap=True).print(message)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
