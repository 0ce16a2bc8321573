# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga convert`: a trained ONNX model to integers, weights optionally as OVSF alphas."""

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import load_images, mnist_images, print_json, progress
from unzipfpga.errors import DataError, ModelError
from unzipfpga.frontend import Network, Options, convert, write_converted
from unzipfpga.frontend.calibrate import METHODS, check_images
from unzipfpga.frontend.files import check_writable
from unzipfpga.frontend.graph import FloatGraph
from unzipfpga.frontend.host import describe
from unzipfpga.frontend.network import WIDTHS
from unzipfpga.frontend.quantise import AXES, Codes, LayerFit
from unzipfpga.ovsf.choose import CHOOSERS


def read_rho_config(path: Path) -> dict[str, int | Codes]:
    """Read a YAML or JSON file that maps layer names to numbers of codes, or to `n` and `axis`.

    Raises
    ------
    ModelError
        If the file is missing, is neither YAML nor JSON, or maps anything else.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: neither YAML nor JSON: {reason}") from error
    result: dict[str, int | Codes] = {}
    axis: Any
    for name, entry in value.items() if isinstance(value, dict) else [("", value)]:
        whole = isinstance(entry, dict) and set(entry) == {"n", "axis"}
        n, axis = (entry["n"], entry["axis"]) if whole else (entry, "kernel")
        known = isinstance(name, str) and axis in ("kernel", "channel")
        if not known or not isinstance(n, int) or isinstance(n, bool):
            raise ModelError(
                f"{path}: expected lines `layer: number of codes` or "
                f"`layer: {{n: number, axis: kernel or channel}}`, found {name}: {entry}"
            )
        result[name] = Codes(n, axis) if whole else n
    return result


def summary(network: Network, fits: list[LayerFit]) -> dict[str, Any]:
    """Return what the report shows, one entry per layer with weights, as values for JSON."""
    snr = {fit.name: fit.snr_db for fit in fits}
    rows = []
    for layer in network.layers:
        if layer.weights is None or not layer.multiplies:
            continue
        rows.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "axis": layer.axis,
                "codes": list(layer.codes),
                "n": len(layer.codes) or None,
                "rho": layer.rho,
                "dense_bytes": layer.weights.nbytes,
                "stored_bytes": layer.stored_bytes,
                # JSON has no infinity: null where the integers are exact.
                "weight_snr_db": snr[layer.name] if math.isfinite(snr[layer.name]) else None,
                "acc_bound": layer.acc_bound,
            }
        )
    return {
        "source": network.source,
        "dw": network.dw,
        "layers": rows,
        "dense_bytes": sum(row["dense_bytes"] for row in rows),
        "stored_bytes": sum(row["stored_bytes"] for row in rows),
    }


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"{report['source']['file']}: weights as stored")
    for heading in ("layer", "axis"):
        table.add_column(heading)
    for heading in ("n", "rho", "bytes", "of dense", "weight SNR dB"):
        table.add_column(heading, justify="right")
    for row in report["layers"]:
        snr = row["weight_snr_db"]
        table.add_row(
            row["name"],
            row["axis"],
            "-" if row["n"] is None else str(row["n"]),
            f"{row['rho']:.3f}",
            str(row["stored_bytes"]),
            f"{100 * row['stored_bytes'] / row['dense_bytes']:.1f} %",
            "exact" if snr is None else f"{snr:.1f}",
        )
    share = 100 * report["stored_bytes"] / report["dense_bytes"]
    table.add_section()
    table.add_row("all", "", "", "", str(report["stored_bytes"]), f"{share:.1f} %", "")
    return table


def convert_command(
    model: Annotated[Path, typer.Argument(help="Trained floating-point model, ONNX.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Converted model to write.")],
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Sample images: an .npz file (array `images`, preprocessed, in the model's order "
            "of axes), or `mnist` for MNIST training images. Not needed for quantised models."
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            help="OVSF codes per 3x3 convolution, 1 to 9; with --axis channel per convolution of "
            "at least 16 channels, 1 to 16. Left out or the largest: dense."
        ),
    ] = None,
    axis: Annotated[
        str,
        typer.Option(
            help="Axis of the codes: kernel, channel, or auto: kernel for 3x3 convolutions, "
            "channel with about the same rho for others of at least 16 channels."
        ),
    ] = "kernel",
    rho_config: Annotated[
        Path | None,
        typer.Option(
            help="YAML or JSON file of `layer: number of codes` or "
            "`layer: {n: 4, axis: channel}`; overrides --n."
        ),
    ] = None,
    codes: Annotated[
        str, typer.Option(help="Choice of codes: greedy (least squares) or sequential.")
    ] = "greedy",
    dense_first: Annotated[
        bool,
        typer.Option(
            help="Keep the first layer dense under --n. It holds few weights, and its errors "
            "reach all that follows."
        ),
    ] = True,
    keep_codes: Annotated[
        bool, typer.Option(help="Emit codes even at rho = 1 (a test point; dense is better).")
    ] = False,
    method: Annotated[
        str, typer.Option(help="ONNX Runtime's calibration: minmax, percentile or entropy.")
    ] = "minmax",
    calibrate_images: Annotated[
        int, typer.Option(min=1, help="How many of the sample images to use, at most.")
    ] = 1000,
    dw: Annotated[
        int, typer.Option(help="Bits of activations and weights, as the build's DW: 8 or 16.")
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a trained ONNX model to the integers that the engine computes with."""
    if codes not in CHOOSERS:
        raise ModelError(f"--codes {codes}: unknown; valid: {', '.join(CHOOSERS)}")
    if method not in METHODS:
        raise DataError(f"--method {method}: unknown; valid: {', '.join(METHODS)}")
    if dw not in WIDTHS:
        raise ModelError(f"--dw {dw}: unknown; valid: {', '.join(map(str, WIDTHS))}")
    if axis not in AXES:
        raise ModelError(f"--axis {axis}: unknown; valid: {', '.join(AXES)}")
    check_writable(output)

    def images(graph: FloatGraph) -> NDArray[np.float32]:
        if calibrate is None:
            raise DataError(
                f"{model}: it does not state the range of {', '.join(graph.unranged[:3])}: pass "
                "--calibrate with sample images"
            )
        if calibrate == "mnist":
            found: NDArray[Any] = mnist_images("train", graph.preprocess, calibrate_images)[0]
        else:
            found = load_images(Path(calibrate))[0][:calibrate_images]
        return check_images(graph, found, f"--calibrate {calibrate}")

    options = Options(
        n=n,
        per_layer=read_rho_config(rho_config) if rho_config else None,
        dense_first=dense_first,
        code_method=codes,
        keep_codes=keep_codes,
        calibration_method=method,
        dw=dw,
        axis=axis,
    )
    network, fits = convert(model, images, options, progress)
    write_converted(network, output)
    report = summary(network, fits) | {"output": str(output), "host": list(network.host)}
    if as_json:
        print_json(report)
        return
    console = Console()
    console.print(_table(report))
    if network.host:
        text = f"left to the host, behind the output: {describe(network.host)}"
        console.print(text, soft_wrap=True, highlight=False)
    console.print(f"wrote {output}", soft_wrap=True, highlight=False)
