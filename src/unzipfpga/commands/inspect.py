# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga inspect`: a compiled program in readable form."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unzipfpga.commands.common import print_json
from unzipfpga.compiler import inspect_program, load_compiled, manifest_config
from unzipfpga.compiler.disassemble import disassemble, listing
from unzipfpga.compiler.errors import ProgramError


def inspect_command(
    directory: Annotated[Path, typer.Argument(help="Directory that unzipfpga compile wrote.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every field of every instruction as JSON.")
    ] = False,
) -> None:
    """Print the three instruction streams of a compiled program and check it anew."""
    compiled = load_compiled(directory)
    manifest = compiled.manifest
    sizes = {
        "WEIGHT": manifest.weights.bytes,
        "INPUT": manifest.input.bytes,
        "OUTPUT": manifest.output.bytes,
    }
    config = manifest_config(manifest)
    report = inspect_program(compiled.program, config, sizes)
    if as_json:
        streams = disassemble(compiled.program)
        print_json(
            {"config": manifest.config, **streams, "problems": report.problems}
            | {"tokens": report.most_tokens}
        )
    else:
        console = Console(soft_wrap=True, highlight=False)
        for line in listing(compiled.program, manifest):
            console.print(line, markup=False)
        tokens = ", ".join(f"{name} {count}" for name, count in report.most_tokens.items())
        console.print(
            f"\n{report.accesses:,} word accesses ordered; most tokens at once: {tokens or 'none'}"
        )
    if report.problems:
        more = len(report.problems) - 1
        raise ProgramError(
            f"{directory}: {report.problems[0]}" + (f" (and {more} more)" if more else "")
        )
