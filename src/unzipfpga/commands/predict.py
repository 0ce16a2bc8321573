# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga predict`: how long a compiled network takes, by the cycle model."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import print_json
from unzipfpga.compiler import Manifest, load_compiled, manifest_config
from unzipfpga.model import LayerPrediction, Prediction, predict
from unzipfpga.sim import Memory


def _name(manifest: Manifest, layer: LayerPrediction) -> str:
    known = layer.number < len(manifest.layers)
    return manifest.layers[layer.number].name if known else str(layer.number)


def _table(manifest: Manifest, prediction: Prediction) -> Table:
    table = Table(title=f"{manifest.source.file} on {manifest.config}, predicted", box=box.SIMPLE)
    table.add_column("layer", no_wrap=True)
    for heading in ("cycles", "share", "weights", "input", "post", "stores", "KB read", "written"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.caption = (
        "weights, input, post: cycles in which the MAC stage waited for them; stores: in which the "
        "post stage waited for parameters, or for memory that is stored"
    )
    for layer in prediction.layers:
        table.add_row(
            _name(manifest, layer),
            f"{layer.cycles:,}",
            f"{layer.cycles / prediction.cycles:.1%}",
            f"{layer.wait_weights:,}",
            f"{layer.wait_loads:,}",
            f"{layer.wait_post:,}",
            f"{layer.wait_stores:,}",
            f"{layer.bytes_read / 1000:.1f}",
            f"{layer.bytes_written / 1000:.1f}",
        )
    return table


def predict_command(
    compiled: Annotated[Path, typer.Argument(help="Directory that `unzipfpga compile` wrote.")],
    bandwidth: Annotated[
        float, typer.Option(min=0, help="DRAM bytes a cycle, reads and writes; 0: no limit.")
    ] = 0.0,
    latency: Annotated[int, typer.Option(min=2, help="DRAM read latency in cycles.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print the prediction as JSON.")] = False,
) -> None:
    """Predict how many cycles a compiled network takes, in all and layer by layer, without RTL.

    Example: unzipfpga predict build/mnist/dense --bandwidth 4 --latency 100
    """
    program = load_compiled(compiled)
    manifest = program.manifest
    prediction = predict(program.program, manifest_config(manifest), Memory(bandwidth, latency))
    if as_json:
        layers = [{"name": _name(manifest, layer)} | asdict(layer) for layer in prediction.layers]
        print_json(
            {"config": manifest.config, "bandwidth": bandwidth, "latency": latency}
            | {"cycles": prediction.cycles, "counters": prediction.counters, "layers": layers}
        )
        return
    console = Console()
    console.print(_table(manifest, prediction))
    counters = prediction.counters
    limit = f"{bandwidth:g} bytes a cycle" if bandwidth else "one bus word a cycle"
    console.print(
        f"{prediction.cycles:,} cycles an image, of which the array computes in "
        f"{counters['MAC_ACTIVE']:,}; {counters['BYTES_READ']:,} bytes read, "
        f"{counters['BYTES_WRITTEN']:,} written; DRAM: {limit}, {latency} cycles of latency",
        highlight=False,
    )
