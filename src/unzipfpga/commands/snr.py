# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga snr`: what each layer of a converted model costs against floating point."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import DATA_HELP, print_json, progress
from unzipfpga.errors import ModelError
from unzipfpga.evaluate import find_source
from unzipfpga.frontend import LayerNoise, layer_noise, read_converted, read_float
from unzipfpga.frontend.images import find_images

COLUMNS = {"weights_db": "weights", "own_db": "layer", "total_db": "so far"}


def _shown(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "exact"


def noise_table(rows: list[LayerNoise], title: str) -> Table:
    """Return the report as a table; the dearest value of each column is bold."""
    table = Table(
        title=title,
        caption="signal-to-noise ratio of each layer's result in dB. weights: inputs in floating "
        "point, integer weights; layer: result quantised, too; so far: in the converted network, "
        "with the errors of all layers in front",
    )
    table.add_column("layer")
    table.add_column("codes")
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right")
    least = {key: min(getattr(row, key) for row in rows) for key in COLUMNS}
    for row in rows:
        values = {key: getattr(row, key) for key in COLUMNS}
        cells = [
            f"[bold]{_shown(value)}[/bold]" if value == least[key] else _shown(value)
            for key, value in values.items()
        ]
        table.add_row(row.name, row.codes, *cells)
    return table


def snr_command(
    converted: Annotated[Path, typer.Argument(help="Converted model.")],
    data: Annotated[str, typer.Option(help=f"Images: {DATA_HELP} for its test images.")],
    source: Annotated[
        Path | None,
        typer.Option(help="Floating-point model; looked for next to the converted one."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Use so many images at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Print the signal-to-noise ratio of every layer: what it costs, and what has been lost so far.

    Both models run in ONNX Runtime, the converted one as any runtime executes it.

    Example: unzipfpga snr mnist-n6.onnx --data mnist --source examples/mnist/mnist.onnx
    """
    network = read_converted(converted)
    path = find_source(network, converted, source)
    if path is None:
        raise ModelError(
            f"{converted}: its floating-point model {network.source.get('file')} is not next to "
            "it, or is another version; pass --source"
        )
    shape = network.tensors[network.input].shape
    images = find_images(data, network.preprocess, shape, limit=limit).all()
    with progress("layers", len(images)) as advance:
        rows = layer_noise(network, read_float(path), images, advance)
    if as_json:
        layers = [
            {
                # JSON has no infinity: null where nothing differs.
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in asdict(row).items()
            }
            for row in rows
        ]
        print_json({"model": str(converted), "images": len(images), "layers": layers})
        return
    Console().print(noise_table(rows, f"{converted.name} on {len(images)} images of {data}"))
