#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of the MNIST network on the 10,000 test images, dense and with n = 8, 6, 4 of 9 codes.

No retraining. Integer results come from the golden model, floating-point ones from ONNX Runtime.
`--snr` prints the signal-to-noise ratio of the logits instead, with n = 9, 8, 6, 4, fitted to
weights and to outputs; there the converted models run in ONNX Runtime.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import mnist_images, print_json
from unzipfpga.evaluate import accuracy, float_logits, integer_logits
from unzipfpga.frontend import Options, convert, read_float, write_converted
from unzipfpga.frontend.convert import FITS
from unzipfpga.frontend.network import WIDTHS
from unzipfpga.ovsf import snr_db

MODEL = Path(__file__).with_name("mnist.onnx")


def print_snr(
    calibration: NDArray[np.float32], images: NDArray[np.float32], dw: int, as_json: bool
) -> None:
    """Print the signal-to-noise ratio of the logits for each fit and number of codes."""
    exact = float_logits(MODEL, images)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "converted.onnx"
        for n in (None, 9, 8, 6, 4):
            for dense_first in (True, False) if n else (True,):
                row: dict[str, Any] = {
                    "n": n or "dense",
                    "layers": ("all but the first" if dense_first else "all") if n else "-",
                }
                for fit in FITS if n else ("weights",):
                    options = Options(n=n, dense_first=dense_first, fit=fit, keep_codes=True, dw=dw)
                    network, _ = convert(MODEL, calibration, options)
                    write_converted(network, path)
                    row[fit] = snr_db(exact, float_logits(path, images))
                rows.append(row)
    if as_json:
        print_json({"images": len(images), "dw": dw, "rows": rows})
        return
    table = Table(title=f"MNIST, {len(images)} test images: output SNR in dB")
    for heading in ("n of 9", "3x3 layers with codes", *(f"fit to {fit}" for fit in FITS)):
        table.add_column(heading)
    for row in rows:
        ratios = (f"{row[fit]:.2f}" if fit in row else "" for fit in FITS)
        table.add_row(str(row["n"]), row["layers"], *ratios)
    Console().print(table)


def main() -> None:
    """Convert, run and print one row per number of codes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, help="use the first test images only")
    parser.add_argument("--codes", default="greedy", choices=("greedy", "sequential"))
    parser.add_argument("--dw", type=int, default=8, choices=WIDTHS, help="bits (8)")
    parser.add_argument("--snr", action="store_true", help="ratios at the output, all fits")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    preprocess = read_float(MODEL).preprocess
    calibration, _ = mnist_images("train", preprocess, 1000)
    images, labels = mnist_images("test", preprocess, arguments.limit)
    if arguments.snr:
        print_snr(calibration, images, arguments.dw, arguments.json)
        return
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "converted.onnx"
        for n in (None, 8, 6, 4):
            # Dense layers are the same whether or not the first one is kept dense.
            for dense_first in (True, False) if n else (True,):
                options = Options(
                    n=n, dense_first=dense_first, code_method=arguments.codes, dw=arguments.dw
                )
                network, _ = convert(MODEL, lambda _graph: calibration, options)
                write_converted(network, path)
                rows.append(
                    {
                        "n": n or "dense",
                        "layers": ("all but the first" if dense_first else "all") if n else "-",
                        "convolution_bytes": sum(
                            layer.stored_bytes for layer in network.layers if layer.kind == "conv"
                        ),
                        "accuracy": accuracy(integer_logits(path, images), labels),
                    }
                )
    reference = accuracy(float_logits(MODEL, images), labels)
    if arguments.json:
        print_json(
            {"images": len(images), "dw": arguments.dw, "float_accuracy": reference, "rows": rows}
        )
        return
    title = f"MNIST, {len(images)} test images, {arguments.dw} bits, {arguments.codes} codes"
    table = Table(title=f"{title}, not retrained")
    table.add_column("n of 9")
    table.add_column("3x3 layers with codes")
    table.add_column("convolution bytes", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_row("floating point", "-", "-", f"{100 * reference:.2f} %")
    for row in rows:
        cells = (str(row["n"]), str(row["layers"]), str(row["convolution_bytes"]))
        table.add_row(*cells, f"{100 * row['accuracy']:.2f} %")  # type: ignore[operator]
    Console().print(table)


if __name__ == "__main__":
    main()
