# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga compile`: a converted model to a program, a weight image and a manifest."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import TABLE_WIDTH, DomainOfOption, DomainOption, print_json
from unzipfpga.compiler import DomainChoice, Manifest, compile_model, write_compiled
from unzipfpga.sim import Memory


def plan_table(manifest: Manifest) -> Table:
    """Return the plan of a network, a row for each layer."""
    t_p, t_c = manifest.parameters["T_P"], manifest.parameters["T_C"]
    table = Table(
        title=f"{manifest.source.file} for {manifest.config}: {t_p}x{t_c} MACs",
        caption="steps: cycles of the array if it never waits; use: share of its multipliers that "
        "the layer's shape keeps busy; g: groups, as block-diagonal weights; bytes: stored, "
        "then read from DRAM; domain: what the PEs multiply, activations by weights or "
        "projections by alphas (codes)",
        box=box.SIMPLE,
    )
    for heading in ("layer", "output", "kernel", "codes", "domain"):
        table.add_column(heading)
    for heading in ("steps", "use", "tiles", "stored", "read"):
        table.add_column(heading, justify="right")
    for layer in manifest.layers:
        taps = layer.kernel[0] * layer.kernel[1]
        kernel = f"{layer.kernel[0]}x{layer.kernel[1]}/{layer.stride[0]}"
        kernel += f" g{layer.groups}" if layer.groups > 1 else ""
        if layer.folded_from:
            of = layer.folded_from
            kernel = f"{of.kernel[0]}x{of.kernel[1]}/{of.stride[0]} as {kernel}"
        table.add_row(
            layer.name,
            "x".join(map(str, layer.output_map)),
            kernel,
            f"{len(layer.codes)}/{16 if layer.axis == 'channel' else taps}"
            if layer.codes
            else "dense",
            layer.domain,
            f"{layer.steps:,}",
            f"{layer.macs / (layer.steps * t_p * t_c):.0%}",
            str(layer.tiles),
            f"{layer.alpha_bytes + layer.param_bytes:,}",
            f"{layer.loaded_bytes:,}",
        )
    layers = manifest.layers
    steps = sum(layer.steps for layer in layers)
    table.add_section()
    table.add_row(
        *("all", "", "", "", ""),
        f"{steps:,}",
        f"{sum(layer.macs for layer in layers) / (steps * t_p * t_c):.0%}",
        str(sum(layer.tiles for layer in layers)),
        f"{manifest.weights.bytes:,}",
        f"{sum(layer.loaded_bytes for layer in layers):,}",
    )
    return table


def compile_command(
    model: Annotated[Path, typer.Argument(help="Converted model (unzipfpga convert).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")],
    config: Annotated[str, typer.Option(help="Preset of configs.yaml to compile for.")] = "base",
    bandwidth: Annotated[
        float, typer.Option(min=0, help="DRAM bytes a cycle to plan for; 0: no limit.")
    ] = 0.0,
    latency: Annotated[int, typer.Option(min=2, help="DRAM read latency to plan for.")] = 32,
    domain: DomainOption = "auto",
    domain_of: DomainOfOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Compile a converted model: plan tiles and memories, emit and check the program.

    Of the plans that fit, the cycle model chooses the one that is fastest with the DRAM given.
    Layers that cannot run in the domain that is asked for are an error that names all of them.

    Example: unzipfpga compile mnist-dense.onnx -o build/mnist-dense --config base --bandwidth 4
    """
    choice = DomainChoice.parse(domain, domain_of or ())
    compiled = compile_model(model, config, memory=Memory(bandwidth, latency), choice=choice)
    write_compiled(compiled, output)
    manifest = compiled.manifest
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(plan_table(manifest))
    depth = manifest.parameters["ACT_DEPTH"]
    counts = ", ".join(f"{count} {queue}" for queue, count in manifest.instructions.items())
    console.print(
        f"act mem {manifest.act_entries} of {depth} entries a bank; an image reads "
        f"{manifest.read_bytes:,} bytes and writes {manifest.written_bytes:,}; "
        f"instructions: {counts}",
        highlight=False,
    )
    console.print(f"wrote {output}", soft_wrap=True, highlight=False)
