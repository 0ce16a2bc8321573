# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga convert`: a trained ONNX model to integers, weights optionally as OVSF alphas."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import DATA_HELP, TABLE_WIDTH, print_json, progress
from unzipfpga.errors import ModelError
from unzipfpga.frontend import Codes, LayerFit, Network, Options, Share, convert, write_converted
from unzipfpga.frontend.calibrate import METHODS
from unzipfpga.frontend.convert import FITS, is_converted, reread
from unzipfpga.frontend.files import check_writable
from unzipfpga.frontend.host import describe
from unzipfpga.frontend.images import read_preprocess
from unzipfpga.frontend.network import WIDTHS
from unzipfpga.frontend.quantise import AXES
from unzipfpga.ovsf.choose import CHOOSERS


def read_rho_config(path: Path) -> dict[str, int | Codes | Share]:
    """Read a YAML or JSON file that maps layer names to numbers of codes, or to n or rho and axis.

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
    result: dict[str, int | Codes | Share] = {}
    for name, entry in value.items() if isinstance(value, dict) else [("", value)]:
        wanted = _rho_entry(entry) if isinstance(name, str) else None
        if wanted is None:
            raise ModelError(
                f"{path}: expected lines `layer: number of codes`, `layer: {{n: number, axis: "
                f"kernel or channel}}` or `layer: {{rho: share}}`, found {name}: {entry}"
            )
        result[name] = wanted
    return result


def _rho_entry(entry: Any) -> int | Codes | Share | None:
    """Return a layer's entry, None if it is not valid."""
    if isinstance(entry, dict):
        n: Any = entry.get("n")
        rho: Any = entry.get("rho")
        axis: Any = entry.get("axis")
        if axis not in ("kernel", "channel", None) or not set(entry) <= {"n", "rho", "axis"}:
            return None
        if set(entry) == {"n", "axis"} and isinstance(n, int) and not isinstance(n, bool):
            return Codes(n, axis)
        number = isinstance(rho, int | float) and not isinstance(rho, bool)
        return Share(float(rho), axis) if number and n is None else None
    return entry if isinstance(entry, int) and not isinstance(entry, bool) else None


def summary(network: Network, fits: list[LayerFit]) -> dict[str, Any]:
    """Return what the report shows, one entry per layer with weights, as values for JSON."""
    snr = {fit.name: fit.snr_db for fit in fits}
    output_snr = {fit.name: fit.output_snr_db for fit in fits}

    def finite(value: float | None) -> float | None:
        # JSON has no infinity: null where the integers are exact.
        return value if value is not None and math.isfinite(value) else None

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
                "weight_snr_db": finite(snr.get(layer.name)),
                "output_snr_db": finite(output_snr.get(layer.name)),
                "acc_bound": layer.acc_bound,
            }
        )
    return {
        "source": network.source,
        "dw": network.dw,
        "preprocess": network.preprocess,
        "fitted": bool(fits),
        "layers": rows,
        "dense_bytes": sum(row["dense_bytes"] for row in rows),
        "stored_bytes": sum(row["stored_bytes"] for row in rows),
    }


def _table(report: dict[str, Any]) -> Table:
    table = Table(
        title=f"{report['source']['file']}: weights as stored",
        caption="output SNR: of the sums of a layer with codes on the sample images, its inputs in "
        "floating point; `unzipfpga snr` compares whole layers and networks",
    )
    for heading in ("layer", "axis"):
        table.add_column(heading)
    for heading in ("n", "rho", "bytes", "of dense", "weight SNR dB", "output SNR dB"):
        table.add_column(heading, justify="right")
    for row in report["layers"]:
        snr, output = row["weight_snr_db"], row["output_snr_db"]
        table.add_row(
            row["name"],
            row["axis"],
            "-" if row["n"] is None else str(row["n"]),
            f"{row['rho']:.3f}",
            str(row["stored_bytes"]),
            f"{100 * row['stored_bytes'] / row['dense_bytes']:.1f} %",
            f"{snr:.1f}" if snr is not None else "exact" if report["fitted"] else "-",
            "-" if output is None else f"{output:.1f}",
        )
    share = 100 * report["stored_bytes"] / report["dense_bytes"]
    table.add_section()
    table.add_row("all", "", "", "", str(report["stored_bytes"]), f"{share:.1f} %", "", "")
    return table


def convert_command(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(help="Trained model, ONNX; or a converted one, which is written unchanged."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Converted model to write.")],
    calibrate: Annotated[
        str | None,
        typer.Option(
            help=f"Sample images: {DATA_HELP} for its training images. Not needed for "
            "quantised models."
        ),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="YAML",
            help="How images become the input: a YAML file or YAML such as '{divide_by: 255, mean: "
            "[0.5], std: [0.25]}', with x = (pixel / divide_by - mean) / std; also channels (RGB, "
            "BGR, grey) and resize (shorter side, or height and width; then the middle is cut "
            "out). Stored in the converted model.",
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            help="OVSF codes per 3x3 convolution, 1 to 9; with --axis channel per convolution of "
            "at least 16 channels, 1 to 16. Left out or the largest: dense."
        ),
    ] = None,
    rho: Annotated[
        float | None,
        typer.Option(
            help="In the place of --n: stored values per weight, 0 to 1, for every convolution "
            "that can have codes; the nearest number of codes is taken."
        ),
    ] = None,
    target_snr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="In the place of --n: each layer gets the fewest codes with which its sums keep "
            "this signal-to-noise ratio on the sample images; dense if none do.",
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
            help="YAML or JSON file of `layer: number of codes`, `layer: {n: 4, axis: channel}` "
            "or `layer: {rho: 0.5}`; overrides --n, --rho and --target-snr."
        ),
    ] = None,
    codes: Annotated[
        str,
        typer.Option(
            help="Choice of codes: greedy (joint least squares); energy (of each code alone) and "
            "sequential (the first ones) are worse, to compare with."
        ),
    ] = "greedy",
    fit: Annotated[
        str,
        typer.Option(
            help="What alphas are fitted to: outputs (of the layer, on the sample images) or "
            "weights."
        ),
    ] = "outputs",
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
    percentile: Annotated[
        float, typer.Option(help="With --method percentile: per cent of values not clipped.")
    ] = 99.999,
    calibrate_images: Annotated[
        int, typer.Option(min=1, help="How many of the sample images to use, at most.")
    ] = 1000,
    dw: Annotated[
        int, typer.Option(help="Bits of activations and weights, as the build's DW: 8 or 16.")
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a trained ONNX model to the integers that the engine computes with.

    Example: unzipfpga convert net.onnx -o net-n6.onnx --calibrate photos/ --n 6 --preprocess
    '{divide_by: 255, resize: 256}'
    """
    check_writable(output)
    if is_converted(model):
        network = reread(model)
        fits: list[LayerFit] = []
        given = [
            parameter.opts[0]
            for parameter in context.command.params
            if parameter.name not in ("model", "output", "as_json")
            and (source := context.get_parameter_source(parameter.name or "")) is not None
            and source.name == "COMMANDLINE"
        ]
        if given:
            raise ModelError(
                f"{model}: it is converted already, and its integers stay as they are; leave out "
                f"{', '.join(given)}, or convert its source {network.source.get('file')}"
            )
    else:
        for option, value, valid in (
            ("--codes", codes, CHOOSERS),
            ("--method", method, METHODS),
            ("--fit", fit, FITS),
            ("--dw", dw, WIDTHS),
            ("--axis", axis, AXES),
        ):
            if value not in valid:
                raise ModelError(f"{option} {value}: unknown; valid: {', '.join(map(str, valid))}")
        options = Options(
            n=n,
            rho=rho,
            target_snr=target_snr,
            per_layer=read_rho_config(rho_config) if rho_config else None,
            dense_first=dense_first,
            code_method=codes,
            fit=fit,
            keep_codes=keep_codes,
            calibration_method=method,
            percentile=percentile,
            dw=dw,
            axis=axis,
            preprocess=read_preprocess(preprocess) if preprocess is not None else None,
            calibration_images=calibrate_images,
        )
        network, fits = convert(model, calibrate, options, progress)
    write_converted(network, output)
    report = summary(network, fits) | {"output": str(output), "host": list(network.host)}
    if as_json:
        print_json(report)
        return
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(_table(report))
    if network.host:
        text = f"left to the host, behind the output: {describe(network.host)}"
        console.print(text, soft_wrap=True, highlight=False)
    console.print(f"wrote {output}", soft_wrap=True, highlight=False)
