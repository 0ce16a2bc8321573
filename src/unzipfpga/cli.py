# SPDX-License-Identifier: Apache-2.0
"""The command `unzipfpga`: one sub-command per stage, each in a module of `unzipfpga.commands`."""

import re
import sys

import typer
from rich.console import Console
from rich.text import Text
from typer.exceptions import TyperException

from unzipfpga import __version__
from unzipfpga.commands import (
    bench,
    bench_networks,
    compile,
    convert,
    evaluate,
    inspect,
    predict,
    run,
    snr,
)
from unzipfpga.errors import UnzipError

app = typer.Typer(
    name="unzipfpga",
    help="CNN inference from weights that are regenerated on chip from OVSF codes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("convert")(convert.convert_command)
app.command("compile")(compile.compile_command)
app.command("inspect")(inspect.inspect_command)
app.command("predict")(predict.predict_command)
app.command("run")(run.run_command)
app.command("eval")(evaluate.eval_command)
app.command("snr")(snr.snr_command)
bench.app.command("networks")(bench_networks.networks_command)
app.add_typer(bench.app, name="bench")


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


def _fail(message: str, status: int) -> None:
    """Print one red line on standard error, or one and an indented one a problem, and exit."""
    lines = [" ".join(line.split()) for line in re.split(r"\n {2}(?=\S)", message)]
    text = Text("error: " + "\n  ".join(lines), style="red")
    Console(stderr=True, soft_wrap=True).print(text)
    sys.exit(status)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what a user can cause is one red message and exit status 2.

    Parameters
    ----------
    arguments : list of str, optional
        Without the program's name; `sys.argv[1:]` if left out.
    """
    try:
        status = app(arguments, prog_name="unzipfpga", standalone_mode=False)
    except UnzipError as error:
        _fail(str(error), 2)
    except TyperException as error:
        _fail(f"{error.format_message()} (see unzipfpga --help)", 2)
    except (KeyboardInterrupt, typer.Abort):  # Typer turns the one into the other
        sys.exit(130)
    sys.exit(status or 0)


if __name__ == "__main__":
    main()
