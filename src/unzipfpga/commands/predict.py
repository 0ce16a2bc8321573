# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga predict`: how long a compiled network takes, by the cycle model."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import TABLE_WIDTH, DomainOfOption, DomainOption, print_json
from unzipfpga.compiler import (
    Compiled,
    DomainChoice,
    Manifest,
    compile_model,
    load_compiled,
    manifest_config,
)
from unzipfpga.errors import UnzipError
from unzipfpga.model import LayerPrediction, Prediction, predict
from unzipfpga.sim import Memory


def _name(manifest: Manifest, layer: LayerPrediction) -> str:
    known = layer.number < len(manifest.layers)
    return manifest.layers[layer.number].name if known else str(layer.number)


def _domain(manifest: Manifest, layer: LayerPrediction) -> str:
    known = layer.number < len(manifest.layers)
    return manifest.layers[layer.number].domain if known else ""


def _program(path: Path, config: str | None, memory: Memory, choice: DomainChoice) -> Compiled:
    """Return a compiled network, or a converted model compiled."""
    if path.is_dir() or not path.exists():
        if config is not None or choice != DomainChoice():
            raise UnzipError(
                f"{path}: a compiled network has its build and domains; --config and --domain go "
                "with a converted model"
            )
        return load_compiled(path)
    return compile_model(path, config or "base", memory=memory, choice=choice)


def _table(manifest: Manifest, prediction: Prediction) -> Table:
    table = Table(title=f"{manifest.source.file} on {manifest.config}, predicted", box=box.SIMPLE)
    for heading in ("layer", "domain"):
        table.add_column(heading, no_wrap=True)
    for heading in ("cycles", "share", "weights", "input", "post", "stores", "KB read", "written"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.caption = (
        "weights, input, post: cycles in which the MAC stage waited for them; stores: in which the "
        "post stage waited for parameters, or for memory that is stored"
    )
    for layer in prediction.layers:
        table.add_row(
            _name(manifest, layer),
            _domain(manifest, layer),
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
    compiled: Annotated[
        Path,
        typer.Argument(
            help="Directory that `unzipfpga compile` wrote, or a converted model to compile."
        ),
    ],
    bandwidth: Annotated[
        float, typer.Option(min=0, help="DRAM bytes a cycle, reads and writes; 0: no limit.")
    ] = 0.0,
    latency: Annotated[int, typer.Option(min=2, help="DRAM read latency in cycles.")] = 32,
    config: Annotated[
        str | None, typer.Option(help="Preset to compile a converted model for; base.")
    ] = None,
    domain: DomainOption = "auto",
    domain_of: DomainOfOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the prediction as JSON.")] = False,
) -> None:
    """Predict how many cycles a compiled network takes, in all and layer by layer, without RTL.

    Example: unzipfpga predict build/mnist/dense --bandwidth 4 --latency 100
    """
    memory = Memory(bandwidth, latency)
    program = _program(compiled, config, memory, DomainChoice.parse(domain, domain_of or ()))
    manifest = program.manifest
    prediction = predict(program.program, manifest_config(manifest), memory)
    if as_json:
        layers = [
            {"name": _name(manifest, layer), "domain": _domain(manifest, layer)} | asdict(layer)
            for layer in prediction.layers
        ]
        print_json(
            {"config": manifest.config, "bandwidth": bandwidth, "latency": latency}
            | {"cycles": prediction.cycles, "counters": prediction.counters, "layers": layers}
        )
        return
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(_table(manifest, prediction))
    counters = prediction.counters
    limit = f"{bandwidth:g} bytes a cycle" if bandwidth else "one bus word a cycle"
    console.print(
        f"{prediction.cycles:,} cycles an image, of which the array computes in "
        f"{counters['MAC_ACTIVE']:,}; {counters['BYTES_READ']:,} bytes read, "
        f"{counters['BYTES_WRITTEN']:,} written; DRAM: {limit}, {latency} cycles of latency",
        highlight=False,
    )
