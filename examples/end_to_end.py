# SPDX-License-Identifier: Apache-2.0
"""What the examples share: a network from its floating-point ONNX file to integers out of the RTL.

Converted dense and with OVSF codes, compiled, evaluated by the golden model on photographs, and run
on the RTL in simulation, whose every output must be the golden model's.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import TABLE_WIDTH, print_json, progress
from unzipfpga.commands.run import count_mismatches, simulate
from unzipfpga.compiler import compile_model, manifest_config, write_compiled
from unzipfpga.errors import UnzipError
from unzipfpga.frontend import Options, convert, write_converted
from unzipfpga.frontend.calibrate import METHODS
from unzipfpga.frontend.layout import as_stored
from unzipfpga.model import predict
from unzipfpga.sim import DEFAULT_MEMORY_BYTES, Memory
from unzipfpga.source_tree import ROOT, import_from_tree

Images = NDArray[np.float32]


def float_outputs(path: Path, images: Images) -> Images:
    """Run a floating-point ONNX file in ONNX Runtime, one image after the other."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return each("floating point", images, lambda one: session.run(None, {name: one})[0])


def golden_outputs(path: Path, images: Images) -> NDArray[np.int32]:
    """Run a converted model in the golden model: integers [N, ...]."""
    return each("golden model", images, import_from_tree("verif.refmodel.model").load(path).run)


def each(what: str, images: Images, function: Callable[[Images], NDArray[Any]]) -> NDArray[Any]:
    """Apply a function to one image [1, ...] after the other, behind a progress bar."""
    parts = []
    with progress(what, len(images)) as advance:
        for image in images:
            parts.append(function(image[np.newaxis]))
            advance(1)
    return np.concatenate(parts)


@dataclass(frozen=True)
class Example:
    """A network and the images that it is run on.

    Attributes
    ----------
    name : str
    write_model : callable
        Writes the floating-point ONNX file to a path.
    calibration : callable
        Returns images to calibrate with, float32 [N, ...], preprocessed, in the model's layout.
    images : callable
        Given a number, returns as many images to test, likewise.
    reference : callable
        Given the model's path and images, returns its outputs in floating point.
    descriptor : bool
        The output describes an image; else it is a value for each class.
    memory_bytes : int
        Simulated memory, a power of two. Runs that name the same share a build of the RTL.
    """

    name: str
    write_model: Callable[[Path], Path]
    calibration: Callable[[], Images]
    images: Callable[[int], Images]
    reference: Callable[[Path, Images], Images] = float_outputs
    descriptor: bool = False
    memory_bytes: int = DEFAULT_MEMORY_BYTES


@dataclass(frozen=True)
class Agreement:
    """How well integers agree with floating point.

    Attributes
    ----------
    cosine_least, cosine_mean : float
        Cosine of the angle between an image's outputs and those in floating point.
    snr_db : float
        Signal-to-noise ratio over the outputs of all images.
    top1 : float
        Share of images with the same class; for descriptors, of those whose own descriptor in
        floating point is nearer than every other image's.
    """

    cosine_least: float
    cosine_mean: float
    snr_db: float
    top1: float


def agreement(found: Images, wanted: Images, descriptor: bool) -> Agreement:
    """Compare dequantised outputs [N, outputs] with those in floating point."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    # An output of zeros has no direction: it agrees with nothing.
    cosines = (found * wanted).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    noise = ((found - wanted) ** 2).sum()
    if descriptor:
        distances = np.linalg.norm(found[:, np.newaxis] - wanted[np.newaxis], axis=2)
        same = distances.argmin(axis=1) == np.arange(len(found))
    else:
        same = found.argmax(axis=1) == wanted.argmax(axis=1)
    return Agreement(
        cosine_least=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        snr_db=float(10 * np.log10((wanted**2).sum() / noise)) if noise else float("inf"),
        top1=float(same.mean()),
    )


def run_variant(
    example: Example,
    model: Path,
    codes: int | None,
    images: Images,
    reference: Images,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Convert one variant, compile it, evaluate it and run it on the RTL; return what was seen."""
    path = arguments.output / ("dense.onnx" if codes is None else f"ovsf{codes}.onnx")
    start = time.monotonic()
    options = Options(n=codes, keep_codes=True, calibration_method=arguments.method)
    network, _ = convert(model, lambda _graph: example.calibration(), options, progress)
    write_converted(network, path)
    converted = time.monotonic()
    compiled = compile_model(path, arguments.config)
    write_compiled(compiled, path.with_suffix(""))
    done = time.monotonic()

    images = as_stored(images, network.preprocess)
    integers = golden_outputs(path, images)
    outputs = integers * np.float32(network.tensors[network.output].scale)
    seen = agreement(outputs, reference, example.descriptor)
    prediction = predict(compiled.program, manifest_config(compiled.manifest), Memory())
    row: dict[str, Any] = {
        "name": "dense int8" if codes is None else f"OVSF n={codes} of 9",
        "weight_bytes": sum(layer.stored_bytes for layer in network.layers),
        "convert_seconds": converted - start,
        "compile_seconds": done - converted,
        **asdict(seen),
        "predicted_cycles": prediction.cycles,
        "rtl_images": arguments.rtl,
        "outputs": None,
        "mismatches": None,
        "cycles": None,
        "rtl_seconds": None,
    }
    if arguments.rtl:
        run = simulate(
            compiled,
            images[: arguments.rtl],
            f"RTL, {row['name']}",
            sim=arguments.sim,
            least_memory=example.memory_bytes,
        )
        row |= {
            "outputs": int(run.outputs.size),
            "mismatches": count_mismatches(run.outputs, integers[: arguments.rtl]),
            "cycles": float(run.cycles.mean()),
            "rtl_seconds": run.seconds,
        }
    return row


def table(title: str, rows: list[dict[str, Any]], descriptor: bool) -> Table:
    """Return the results, a column for each variant."""
    result = Table(title=title, box=box.SIMPLE)
    result.add_column("")
    for row in rows:
        result.add_column(row["name"], justify="right")
    lines = {
        "weight bytes": ("weight_bytes", "{:,}"),
        "cosine with float, least": ("cosine_least", "{:.4f}"),
        "cosine with float, mean": ("cosine_mean", "{:.4f}"),
        "signal-to-noise ratio (dB)": ("snr_db", "{:.1f}"),
        ("own descriptor nearest" if descriptor else "same top-1 answer"): ("top1", "{:.1%}"),
        "seconds to convert": ("convert_seconds", "{:.1f}"),
        "seconds to compile": ("compile_seconds", "{:.1f}"),
        "cycles predicted": ("predicted_cycles", "{:,}"),
        "cycles in RTL": ("cycles", "{:,.0f}"),
        "outputs of the RTL": ("outputs", "{:,}"),
        "differ from the golden model's": ("mismatches", "{:,}"),
        "seconds in RTL": ("rtl_seconds", "{:.0f}"),
    }
    for label, (key, text) in lines.items():
        cells = ("-" if row[key] is None else text.format(row[key]) for row in rows)
        result.add_row(label, *cells)
    return result


def run(example: Example, what: str, given: list[str] | None = None) -> int:
    """Run an example with command-line arguments; return the number of mismatching outputs."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--photographs", type=int, default=20, help="images in all (20)")
    parser.add_argument("--rtl", type=int, default=1, help="how many of them on the RTL (1)")
    parser.add_argument(
        "--codes", type=int, nargs="*", default=[9, 4], help="n of 9, a variant each (9 4)"
    )
    parser.add_argument("--method", default="minmax", choices=METHODS, help="calibration (minmax)")
    parser.add_argument("--config", default="bench", help="preset of configs.yaml (bench)")
    parser.add_argument("--sim", default="verilator", choices=("verilator", "icarus"))
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "examples" / example.name)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args(given)
    if arguments.photographs < 1 or not 0 <= arguments.rtl <= arguments.photographs:
        raise UnzipError(
            f"--photographs {arguments.photographs}, --rtl {arguments.rtl}: at least one image, "
            "and no more of them on the RTL"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = example.write_model(arguments.output / "float.onnx")
    images = example.images(arguments.photographs)
    reference = example.reference(model, images)
    rows = [
        run_variant(example, model, codes, images, reference, arguments)
        for codes in (None, *arguments.codes)
    ]
    report = {
        "network": example.name,
        "config": arguments.config,
        "images": len(images),
        "variants": rows,
    }
    if arguments.json:
        print_json(report)
    else:
        console = Console()
        console.width = max(console.width, TABLE_WIDTH)
        title = f"{example.name} on {arguments.config}, {len(images)} images"
        console.print(table(title, rows, example.descriptor))
    return sum(row["mismatches"] or 0 for row in rows)


def main(example: Example, what: str) -> None:
    """Exit with 0; 1 if an output differs from the golden model's, 2 if something cannot be run."""
    try:
        mismatches = run(example, what)
    except (UnzipError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if mismatches:
        print(f"error: {mismatches} outputs differ from the golden model's", file=sys.stderr)
        sys.exit(1)
