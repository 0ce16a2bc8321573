# SPDX-License-Identifier: Apache-2.0
"""The main job of `make sim`: MNIST, dense and OVSF, from ONNX file to logits out of the RTL."""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import mnist_images, print_json, progress
from unzipfpga.commands.run import count_mismatches
from unzipfpga.compiler import Compiled, compile_model, write_compiled
from unzipfpga.config import load_config
from unzipfpga.errors import UnzipError
from unzipfpga.evaluate import accuracy, float_logits, integer_logits
from unzipfpga.frontend import Options, convert, read_float, write_converted
from unzipfpga.report import LayerCost, layer_costs
from unzipfpga.sim import Memory, NetworkRun, run_network
from unzipfpga.source_tree import ROOT

MODEL = ROOT / "examples" / "mnist" / "mnist.onnx"
CALIBRATION_IMAGES = 1000


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--sim", default="verilator")
    parser.add_argument("--config", default="")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--waves", default="0")
    parser.add_argument("--images", type=int, default=200, help="test images (200)")
    parser.add_argument("--codes", type=int, default=6, help="n of 9 for the OVSF network (6)")
    parser.add_argument("--bandwidth", type=float, default=0.0, help="DRAM bytes a cycle; 0: bus")
    parser.add_argument("--latency", type=int, default=32, help="DRAM read latency in cycles (32)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "mnist")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parsed = parser.parse_args(arguments)
    problems = []
    if parsed.sim not in ("verilator", "icarus"):
        problems.append(f"SIM={parsed.sim}: verilator or icarus")
    if not parsed.seed.isdigit() or not 1 <= int(parsed.seed) < 2**31:
        problems.append(f"SEED={parsed.seed}: a number from 1 to 2147483647")
    if parsed.waves not in ("0", "1"):
        problems.append(f"WAVES={parsed.waves}: 0 or 1")
    if not 1 <= parsed.images <= 10_000:
        problems.append(f"--images {parsed.images}: 1 to 10000")
    if not 1 <= parsed.codes <= 9:
        problems.append(f"--codes {parsed.codes}: 1 to 9")
    if problems:
        raise UnzipError("; ".join(problems))
    return parsed


def _report_to(queue: Any, name: str, count: int) -> None:
    queue.put((name, count))


def _simulate(
    queue: Any,
    name: str,
    compiled: Compiled,
    images: NDArray[np.float32],
    options: dict[str, Any],
) -> NetworkRun:
    return run_network(compiled, images, progress=partial(_report_to, queue, name), **options)


def _run_all(
    programs: dict[str, Compiled], images: NDArray[np.float32], options: dict[str, Any]
) -> dict[str, NetworkRun]:
    """Run every program on all images, each simulation in a process of its own."""
    context = multiprocessing.get_context("spawn")
    total = len(images) * len(programs)
    done = dict.fromkeys(programs, 0)
    with context.Manager() as manager, progress("RTL", total) as advance:
        queue = manager.Queue()
        with ProcessPoolExecutor(len(programs), mp_context=context) as pool:
            futures = {
                name: pool.submit(_simulate, queue, name, program, images, options)
                for name, program in programs.items()
            }
            while not all(future.done() for future in futures.values()):
                try:
                    name, count = queue.get(timeout=0.2)
                except Empty:
                    continue
                advance(count - done[name])
                done[name] = count
            return {name: future.result() for name, future in futures.items()}


def _summary(rows: list[dict[str, Any]], float_accuracy: float) -> Table:
    table = Table(title="MNIST through the RTL", box=box.SIMPLE)
    table.add_column("")
    for row in rows:
        table.add_column(row["name"], justify="right")
    lines = {
        "images": "{images:,}",
        "logits": "{logits:,}",
        "mismatching logits": "{mismatches:,}",
        "top-1 agreement with float": "{agreement:.2%}",
        "accuracy": "{accuracy:.2%}",
        "cycles per image": "{cycles:,.0f}",
        "bytes read per image": "{bytes_read:,}",
        "weight bytes": "{weight_bytes:,}",
        "MAC utilisation": "{utilisation:.1%}",
        "simulated cycles/s": "{rate:,.0f}",
    }
    for label, text in lines.items():
        table.add_row(label, *(text.format(**row) for row in rows))
    table.caption = f"accuracy of the float network on these images: {float_accuracy:.2%}"
    return table


def _layers(costs: dict[str, list[LayerCost]]) -> Table:
    table = Table(title="per layer, first image: " + ", then ".join(costs), box=box.SIMPLE)
    for heading in ("layer", "MACs", *("codes", "cycles", "use", "KB read") * len(costs)):
        table.add_column(heading, justify="left" if heading == "layer" else "right", no_wrap=True)
    for row in zip(*costs.values(), strict=True):
        cells = [row[0].name, f"{row[0].macs:,}"]
        for cost in row:
            cells += [cost.codes, f"{cost.cycles:,}", f"{cost.utilisation:.1%}"]
            cells += [f"{cost.bytes_read / 1000:.1f}"]
        table.add_row(*cells)
    table.caption = (
        "use: MACs / (cycles * T_P * T_C); a layer counts from the end of the one before; "
        "what it reads includes prefetches"
    )
    return table


def run(arguments: list[str] | None = None) -> int:
    """Convert, compile, simulate, compare and print; returns the number of mismatching logits."""
    parsed = _arguments(arguments)
    config = parsed.config or "base"
    dw = load_config(config).DW
    # A table is not cut where there is no terminal that would cut it.
    width = None if sys.stdout.isatty() else 100
    console = Console(stderr=parsed.json, width=width)
    preprocess = read_float(MODEL).preprocess
    calibration, _ = mnist_images("train", preprocess, CALIBRATION_IMAGES)
    images, labels = mnist_images("test", preprocess, parsed.images)
    parsed.output.mkdir(parents=True, exist_ok=True)
    models, programs = {}, {}
    for name, codes in ((f"dense int{dw}", None), (f"OVSF n={parsed.codes}", parsed.codes)):
        path = parsed.output / ("dense.onnx" if codes is None else f"ovsf{codes}.onnx")
        network, _ = convert(MODEL, lambda _graph: calibration, Options(n=codes, dw=dw))
        write_converted(network, path)
        programs[name] = compile_model(path, config)
        write_compiled(programs[name], path.with_suffix(""))
        models[name] = path
    memory = Memory(parsed.bandwidth, parsed.latency)
    options = {
        "sim": parsed.sim,
        "memory": memory,
        "seed": int(parsed.seed),
        "waves": parsed.waves == "1",
    }
    runs = _run_all(programs, images, options)

    reals = float_logits(MODEL, images)
    rows: list[dict[str, Any]] = []
    costs: dict[str, list[LayerCost]] = {}
    for name, result in runs.items():
        manifest = programs[name].manifest
        golden = integer_logits(models[name], images)
        costs[name] = layer_costs(manifest, result.marks)
        macs = sum(layer.macs for layer in manifest.layers)
        width = manifest.parameters["T_P"] * manifest.parameters["T_C"]
        rows.append(
            {
                "name": name,
                "images": len(images),
                "logits": int(result.outputs.size),
                "mismatches": count_mismatches(result.outputs, golden),
                "agreement": accuracy(result.outputs, reals.argmax(axis=1)),
                "accuracy": accuracy(result.outputs, labels),
                "cycles": float(result.cycles.mean()),
                "bytes_read": result.counters[0]["BYTES_READ"],
                "weight_bytes": manifest.weights.bytes,
                "utilisation": macs / (float(result.cycles.mean()) * width),
                "rate": float(result.cycles.sum() / result.seconds),
                "seconds": result.seconds,
                "waves": None if result.waves is None else str(result.waves),
                "layers": [asdict(cost) for cost in costs[name]],
            }
        )
    mismatches: int = sum(row["mismatches"] for row in rows)
    float_accuracy = accuracy(reals, labels)
    if parsed.json:
        print_json({"config": config, "float_accuracy": float_accuracy, "runs": rows})
        return mismatches
    console.print(_summary(rows, float_accuracy))
    console.print(_layers(costs))
    limit = f"{parsed.bandwidth:g} bytes a cycle" if parsed.bandwidth else "one bus word a cycle"
    console.print(
        f"preset {config} on {parsed.sim}, seed {parsed.seed}; DRAM: {limit}, "
        f"{parsed.latency} cycles of latency; programs and models in {parsed.output}",
        highlight=False,
        soft_wrap=True,
    )
    for row in rows:
        if row["waves"]:
            console.print(f"waves of {row['name']}: {row['waves']}", soft_wrap=True)
    return mismatches


def main() -> None:
    """Exit with 0, 1 if a logit differs from the golden model's, 2 if something cannot be run."""
    try:
        mismatches = run()
    except UnzipError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    if mismatches:
        print(f"error: {mismatches} logits differ from the golden model's", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
