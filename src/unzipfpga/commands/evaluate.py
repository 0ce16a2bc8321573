# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga eval`: accuracy of a converted model on its integers, in RTL, and in float."""

from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import DATA_HELP, print_json, progress, write_arrays
from unzipfpga.errors import DataError
from unzipfpga.evaluate import Evaluation, accuracy, evaluate, find_source
from unzipfpga.frontend import read_converted
from unzipfpga.frontend.files import check_writable
from unzipfpga.frontend.images import find_images, read_classes


def summary(found: Evaluation) -> dict[str, Any]:
    """Return accuracies as values for JSON; None for what was not run."""
    labels = found.labels
    report: dict[str, Any] = {"images": len(labels)}
    for top in found.tops:
        suffix = "" if top == 1 else f"_top{top}"
        report[f"integer_accuracy{suffix}"] = accuracy(found.integers, labels, top)
        report[f"float_accuracy{suffix}"] = (
            None if found.reals is None else accuracy(found.reals, labels, top)
        )
    report["top1_agreement"] = (
        None if found.reals is None else accuracy(found.integers, found.reals.argmax(axis=1))
    )
    report["rtl"] = None
    if found.rtl is not None:
        report["rtl"] = {
            "images": len(found.rtl),
            "outputs": int(found.rtl.size),
            "mismatches": found.rtl_mismatches,
            "accuracy": accuracy(found.rtl, labels[found.rtl_indices]),
        }
    return report


def _table(report: dict[str, Any], title: str, tops: tuple[int, ...]) -> Table:
    table = Table(title=title)
    for heading in ("model", *(f"top-{top}" if len(tops) > 1 else "accuracy" for top in tops)):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, key in (("integer (golden model)", "integer"), ("floating point", "float")):
        if report[f"{key}_accuracy"] is not None:
            keys = [f"{key}_accuracy" + ("" if top == 1 else f"_top{top}") for top in tops]
            table.add_row(name, *(f"{100 * report[k]:.2f} %" for k in keys))
    if report["top1_agreement"] is not None:
        table.add_row("same top-1 answer", f"{100 * report['top1_agreement']:.2f} %")
    if report["rtl"] is not None:
        rtl = report["rtl"]
        table.add_row(f"RTL, {rtl['images']} of the images", f"{100 * rtl['accuracy']:.2f} %")
    return table


def eval_command(
    converted: Annotated[Path, typer.Argument(help="Converted model.")],
    directory: Annotated[
        Path | None,
        typer.Argument(help="Folder of labelled images: one folder for each class."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"In the place of the folder: {DATA_HELP} for its test images. An .npz file holds "
            "`labels`, too."
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Text file of the names of all classes, one a line, in the order of the outputs. "
            "Without it the folders are the classes, in the order of their names (numbers: of "
            "their values)."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use so many images only: the first, of folders some of each."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Floating-point model; looked for next to the converted one."),
    ] = None,
    rtl: Annotated[
        int,
        typer.Option(
            min=0, help="Run so many of the images in RTL, too, and compare every output."
        ),
    ] = 0,
    config: Annotated[
        str | None, typer.Option(help="Preset of configs.yaml that the RTL is built from.")
    ] = None,
    sim: Annotated[str, typer.Option(help="verilator or icarus.")] = "verilator",
    outputs: Annotated[
        Path | None,
        typer.Option(
            help="Write an .npz file: `labels`; `integers`, `dequantised` (real values of these), "
            "`results` (behind the steps that are left to the host, such as a softmax) and, if "
            "they were run, `reals` (floating-point model), `rtl` and `rtl_indices`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Print the accuracy of a converted model (golden model) and of its floating-point source.

    Exit status 1 if an output of the RTL is not the golden model's.

    Example: unzipfpga eval mnist.onnx digits/ --rtl 4 --config base
    """
    if (directory is None) == (data is None):
        raise DataError("name one set of labelled images: a folder, or --data")
    if outputs is not None:
        check_writable(outputs)
    network = read_converted(converted)
    shape = network.tensors[network.input].shape
    names = None if classes is None else read_classes(classes)
    images = find_images(
        directory or data or "",
        network.preprocess,
        shape,
        limit=limit,
        labelled=True,
        classes=names,
    )
    float_path = find_source(network, converted, source)
    found = evaluate(
        converted, images, source=float_path, rtl=rtl, config=config, sim=sim, track=progress
    )
    if outputs is not None:
        arrays: dict[str, NDArray[Any]] = {
            "labels": found.labels,
            "integers": found.integers,
            "dequantised": found.dequantised,
            "results": found.results,
        }
        optional = {"reals": found.reals, "rtl": found.rtl, "rtl_indices": found.rtl_indices}
        arrays |= {key: value for key, value in optional.items() if value is not None}
        write_arrays(outputs, **arrays)
    report = {
        "model": str(converted),
        "data": images.what,
        "float_model": None if float_path is None else str(float_path),
        **summary(found),
    }
    if as_json:
        print_json(report)
    else:
        console = Console()
        title = f"{converted.name} on {images.count} images of {images.what}"
        console.print(_table(report, title, found.tops))
        if found.rtl is not None:
            console.print(
                f"RTL ({config}, {sim}): {found.rtl.size} outputs compared with the golden "
                f"model's, {found.rtl_mismatches} mismatches",
                highlight=False,
            )
        if float_path is None:
            console.print(
                f"no floating-point model: {network.source.get('file')} is not next to "
                f"{converted.name}, or is another version; pass --source",
                soft_wrap=True,
            )
        if outputs is not None:
            console.print(f"wrote {outputs}", soft_wrap=True, highlight=False)
    if found.rtl_mismatches:
        raise typer.Exit(1)
