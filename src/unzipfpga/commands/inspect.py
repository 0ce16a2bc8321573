# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga inspect`: a compiled program in readable form."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unzipfpga.commands.common import print_json
from unzipfpga.compiler import Manifest, inspect_program, load_compiled, manifest_config
from unzipfpga.compiler.disassemble import disassemble, listing
from unzipfpga.compiler.errors import ProgramError
from unzipfpga.errors import UnzipError
from unzipfpga.memory_map import alive, draw, entries_in_use, memory_table


def _memory(manifest: Manifest, as_json: bool, picture: Path | None) -> None:
    """Print, and draw, what lies in act mem."""
    if picture is not None:
        draw(manifest, picture)
    if as_json:
        layers = [
            {"name": layer.name, "entries": entries_in_use(manifest, index)}
            | {"dram": layer.dram, "stripes": layer.stripes}
            | {"act_mem": [place.model_dump() for place in alive(manifest, index)]}
            for index, layer in enumerate(manifest.layers)
        ]
        depth = manifest.parameters["ACT_DEPTH"]
        print_json(
            {"config": manifest.config, "act_depth": depth}
            | {"scratch_bytes": manifest.scratch_bytes, "layers": layers}
        )
        return
    console = Console()
    console.print(memory_table(manifest))
    console.print(
        f"{manifest.scratch_bytes:,} bytes of DRAM hold tensors between layers; an image reads "
        f"{manifest.read_bytes:,} bytes and writes {manifest.written_bytes:,}",
        highlight=False,
    )
    if picture is not None:
        console.print(f"wrote {picture}", soft_wrap=True, highlight=False)


def inspect_command(
    directory: Annotated[Path, typer.Argument(help="Directory that unzipfpga compile wrote.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every field of every instruction as JSON.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Print what lies in act mem in each layer instead.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="With --memory: draw it, an .svg or .png file.")
    ] = None,
) -> None:
    """Print the three instruction streams of a compiled program and check it anew.

    Example: unzipfpga inspect build/mnist/dense --memory --picture act-mem.svg
    """
    compiled = load_compiled(directory)
    manifest = compiled.manifest
    if picture is not None and not memory:
        raise UnzipError("--picture goes with --memory")
    if memory:
        _memory(manifest, as_json, picture)
        return
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
