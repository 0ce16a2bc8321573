# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga run`: a compiled network on the RTL in simulation, checked by the golden model."""

from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import DATA_HELP, TABLE_WIDTH, print_json, progress, write_arrays
from unzipfpga.compiler import Compiled, load_compiled, manifest_config
from unzipfpga.config import load_config
from unzipfpga.data.wheel import sha256_of
from unzipfpga.errors import DataError, ModelError
from unzipfpga.evaluate import integer_logits
from unzipfpga.frontend.files import check_writable
from unzipfpga.frontend.images import find_images
from unzipfpga.model import predict
from unzipfpga.report import LayerCost, layer_costs
from unzipfpga.sim import Memory, NetworkRun, run_network


def layer_table(title: str, costs: list[LayerCost], predicted: list[LayerCost]) -> Table:
    """Return the cost of each layer as a table, beside what the cycle model predicts."""
    table = Table(title=title, box=box.SIMPLE)
    for heading in ("layer", "codes", "domain"):
        table.add_column(heading, no_wrap=True)
    for heading in ("MACs", "cycles", "model", "use", "weights", "input", "post", "KB read"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.caption = (
        "model: cycles that the cycle model predicts; weights, input, post: cycles in which the "
        "MAC stage waited for them"
    )
    for cost, model in zip(costs, predicted, strict=True):
        table.add_row(
            cost.name,
            cost.codes,
            cost.domain,
            f"{cost.macs:,}",
            f"{cost.cycles:,}",
            f"{model.cycles:,}",
            f"{cost.utilisation:.1%}",
            f"{cost.wait_weights:,}",
            f"{cost.wait_loads:,}",
            f"{cost.wait_post:,}",
            f"{cost.bytes_read / 1000:.1f}",
        )
    return table


def count_mismatches(outputs: NDArray[np.int32], golden: NDArray[np.int32]) -> int:
    """Return how many integers of a run differ from the golden model's; shapes must agree."""
    if outputs.shape != golden.shape:
        raise DataError(
            f"the run gave {list(outputs.shape)}, the golden model {list(golden.shape)}"
        )
    return int(np.count_nonzero(outputs != golden))


def simulate(
    compiled: Compiled, images: NDArray[np.float32], what: str, **options: Any
) -> NetworkRun:
    """Run images on the RTL behind a progress bar; options as of `unzipfpga.sim.run_network`."""
    with progress(what, len(images)) as advance:
        done = 0

        def report(count: int) -> None:
            nonlocal done
            advance(count - done)
            done = count

        return run_network(compiled, images, progress=report, **options)


def run_command(
    compiled: Annotated[Path, typer.Argument(help="Directory that `unzipfpga compile` wrote.")],
    data: Annotated[
        str,
        typer.Option(help=f"Images: {DATA_HELP} for its test images."),
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="Converted model: compare every output with the golden model's."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Use the first images only.")] = 10,
    config: Annotated[
        str | None, typer.Option(help="Preset to run on; that of the program if left out.")
    ] = None,
    sim: Annotated[str, typer.Option(help="verilator or icarus.")] = "verilator",
    bandwidth: Annotated[
        Fraction,
        typer.Option(
            parser=Fraction,
            metavar="BYTES",
            help="DRAM bytes a cycle, reads and writes, such as 7.5 or 22/3; 0: no limit.",
        ),
    ] = Fraction(0),
    latency: Annotated[
        int, typer.Option(min=2, help="DRAM latency of reads and writes in cycles.")
    ] = 32,
    latency_spread: Annotated[
        int, typer.Option(min=0, help="At random so many cycles of latency more.")
    ] = 0,
    stall: Annotated[
        float, typer.Option(min=0, help="Chance that a channel stalls in a cycle.")
    ] = 0.0,
    jitter: Annotated[bool, typer.Option(help="The bandwidth varies from cycle to cycle.")] = False,
    seed: Annotated[int, typer.Option(min=1, help="Of the initial state of registers.")] = 1,
    waves: Annotated[bool, typer.Option(help="Write an FST file.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write an .npz file: `outputs` (integers) and `dequantised`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run a compiled network on the RTL; exit status 1 if an output is not the golden model's.

    Example: unzipfpga run build/mnist-dense --data mnist --model mnist-dense.onnx
    """
    if output is not None:
        check_writable(output)
    program = load_compiled(compiled, load_config(config) if config else None)
    manifest = program.manifest
    if model is not None and sha256_of(model) != manifest.source.sha256:
        raise ModelError(f"{model}: not the model that {compiled} was compiled from")
    shape = tuple(manifest.input.shape)
    images = find_images(data, manifest.preprocess, shape, limit=limit).all()
    memory = Memory(bandwidth, latency, stall, latency_spread, jitter)
    run = simulate(program, images, "RTL", sim=sim, memory=memory, seed=seed, waves=waves)
    mismatches = None
    if model is not None:
        mismatches = count_mismatches(run.outputs, integer_logits(model, images, progress))
    costs = layer_costs(manifest, run.marks)
    prediction = predict(program.program, manifest_config(manifest), memory)
    report = {
        "images": len(images),
        "outputs": int(run.outputs.size),
        "mismatches": mismatches,
        "cycles": [int(c) for c in run.cycles],
        "predicted_cycles": prediction.cycles,
        "counters": run.counters[0],
        "starved_cycles": run.starved,
        "layers": [asdict(cost) for cost in costs],
        "simulated_cycles_per_second": float(run.cycles.sum() / run.seconds),
        "waves": None if run.waves is None else str(run.waves),
    }
    if output is not None:
        scale = np.float32(manifest.output.scale)
        dequantised = run.outputs.astype(np.float32) * scale
        write_arrays(output, outputs=run.outputs, dequantised=dequantised)
    if as_json:
        print_json(report)
    else:
        console = Console()
        console.width = max(console.width, TABLE_WIDTH)
        title = f"{manifest.source.file} on {manifest.config}, 1st image"
        console.print(layer_table(title, costs, layer_costs(manifest, prediction.marks)))
        console.print(
            f"{len(images)} images, {run.outputs.size} outputs, "
            f"{'not compared' if mismatches is None else f'{mismatches} mismatches'}; "
            f"{run.cycles.mean():,.0f} cycles an image, {prediction.cycles:,} predicted; "
            f"{run.cycles.sum() / run.seconds:,.0f} simulated cycles a second",
            highlight=False,
        )
        if run.waves:
            console.print(f"waves: {run.waves}", soft_wrap=True)
    if mismatches:
        raise typer.Exit(1)
