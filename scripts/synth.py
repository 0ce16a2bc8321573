# SPDX-License-Identifier: Apache-2.0
"""Synthesise the core in every preset, or one block, and count its cells (``make synth``).

Cells are those of Yosys's own mapping, without place and route: DSP blocks and memories are
dependable, LUTs an estimate; registers around a multiplier stay outside the DSP block. The
hierarchy is kept: a PE pair is mapped once for the whole array, and every block can be counted.
"""

import argparse
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unzipfpga.config import Config, load_config, load_configs
from unzipfpga.errors import UnzipError
from verif.runner import (
    BLOCKS,
    BUILD,
    ROOT,
    RunError,
    design_files,
    module_parameters,
    sources_of,
)

# Commands behind `hierarchy`. What follows map_ffs in synth_xilinx is done here with abc: abc9 does
# not end on the core with its hierarchy.
XILINX = (
    "synth_xilinx -family {family} -noiopad -noclkbuf {options} -top {top} -run begin:map_luts",
    "opt_expr -mux_undef -noclkinv",
    "abc -luts 2:2,3,6:5,10,20",
    "clean",
    "xilinx_srl -fixed -minlen 3",
    "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6",
    "xilinx_dffopt",
    "opt_lut_ins -tech xilinx",
    "clean",
)
FAMILIES = {
    "xc7": [command.replace("{family}", "xc7").replace("{options}", "") for command in XILINX],
    "xcup": [
        command.replace("{family}", "xcup").replace("{options}", "-uram") for command in XILINX
    ],
    "ecp5": ["synth_ecp5 -noflatten -top {top}"],
}
# The first class whose prefix fits counts.
CLASSES = {
    "DSP blocks": ("DSP", "MULT18"),
    "UltraRAMs": ("URAM",),
    "block RAMs": ("RAMB", "DP16KD", "PDPW16KD"),
    "LUT RAMs": ("RAM32", "RAM64", "RAM128", "RAM256", "RAM512", "TRELLIS_DPR", "SRL"),
    "registers": ("FD", "TRELLIS_FF"),
    "LUTs": ("LUT", "INV"),
    "carry": ("CARRY", "CCU2"),
}
# A block RAM of 18 Kbit is half one of 36.
HALVES = ("RAMB18",)
# Blocks of the table; a block that another holds is counted there, too.
AREAS = {
    "unzip": "whole core",
    "unzip_wgen": "weights generator",
    "unzip_window_reader": "window reader",
    "unzip_projector": "projector",
    "unzip_pe_array": "PE array",
    "unzip_pe_pair": "- a PE pair, one of T_C/2",
    "unzip_act_mem": "activation memory",
    "unzip_residual": "residual prefetcher",
    "unzip_post": "post-processing",
    "unzip_max_pool": "- max pooling",
    "unzip_fetch": "instruction fetch",
    "unzip_dispatch": "dispatch",
    "unzip_stage": "stage, one of 5",
    "unzip_tokens": "tokens",
    "unzip_load": "load DMA",
    "unzip_store": "store DMA",
    "unzip_axi_read": "AXI read",
    "unzip_axi_write": "AXI write",
    "unzip_csr": "registers",
    "unzip_counters": "counters",
    "unzip_trace": "trace",
    "unzip_ctrl": "run control",
}
# Yosys may end the process that it runs in: it gets one of its own.
SCRIPT = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""
DOCUMENT = ROOT / "docs" / "area.md"


@dataclass(frozen=True)
class Area:
    """What a module takes, with all that it holds.

    Attributes
    ----------
    instances : int
        How many of it there are in the design.
    cells : dict of str to int
        Cells of one of them, by their type.
    """

    instances: int
    cells: dict[str, int]


def run_yosys(commands: Sequence[str], log: Path) -> None:
    """Run Yosys commands in a process of their own.

    Raises
    ------
    RunError
        Yosys refused the design; the text is the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, "-c", SCRIPT, *commands], capture_output=True, text=True)
    log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RunError(f"Yosys refused the design:\n{tail}\nlog: {log}")


def reading(files: Sequence[Path]) -> str:
    """Return the command that reads files."""
    sources = [path for path in files if path.suffix != ".svh"]
    includes = " ".join(sorted({f"-I{path.parent}" for path in files if path.suffix == ".svh"}))
    return f"read_verilog -sv {includes} {' '.join(map(str, sources))}"


def parameters_of(toplevel: str, files: Sequence[Path], preset: str) -> dict[str, int]:
    """Return a preset's values of the parameters that a module has."""
    accepted = module_parameters(toplevel, files)
    return {name: v for name, v in load_config(preset).parameters().items() if name in accepted}


def key_of(files: Sequence[Path], *options: object) -> str:
    """Return what names a result: files, Yosys and options decide it."""
    digest = hashlib.sha256(repr((importlib.metadata.version("pyosys"), options)).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def elaborating(
    toplevel: str, files: Sequence[Path], parameters: Mapping[str, int]
) -> tuple[str, str]:
    """Return the commands that read a module's files and give it its parameters."""
    values = " ".join(f"-chparam {name} {value}" for name, value in parameters.items())
    return reading(files), f"hierarchy -check -top {toplevel} {values}"


def stem_of(
    toplevel: str, files: Sequence[Path], parameters: Mapping[str, int], family: str
) -> Path:
    """Return where a module's result is kept, without a suffix."""
    key = key_of(files, FAMILIES[family], SCRIPT, toplevel, sorted(parameters.items()), family)
    return BUILD / "synth" / f"{toplevel}-{family}-{key}"


def counted_dsp(config: Config, family: str) -> int | None:
    """Return the DSP blocks of the whole core if it was synthesised before, None if not."""
    files = sources_of("unzip", design_files())
    accepted = module_parameters("unzip", files)
    values = {name: v for name, v in config.parameters().items() if name in accepted}
    statistics = stem_of("unzip", files, values, family).with_suffix(".json")
    if not statistics.is_file():
        return None
    found = areas(json.loads(statistics.read_text()), "unzip")
    return int(classify(found["unzip"].cells)["DSP blocks"])


def synthesise(
    toplevel: str, files: Sequence[Path], parameters: Mapping[str, int], family: str
) -> dict[str, Area]:
    """Synthesise a module, or find what was counted before.

    Parameters
    ----------
    toplevel : str
        Module to synthesise.
    files : sequence of Path
        Its files.
    parameters : mapping of str to int
        Values of its parameters.
    family : str
        Key of `FAMILIES`.

    Returns
    -------
    dict of str to Area
        Module -> its area, `toplevel` first. Modules that differ in parameters only are one; its
        area is then that of the largest.

    Raises
    ------
    RunError
        Yosys refused the design; the text is the end of its log.
    """
    stem = stem_of(toplevel, files, parameters, family)
    statistics = stem.with_suffix(".json")
    if not statistics.is_file():
        partial = stem.with_suffix(".partial")
        run_yosys(
            [
                *elaborating(toplevel, files, parameters),
                *(command.replace("{top}", toplevel) for command in FAMILIES[family]),
                f"tee -q -o {partial} stat -json",
            ],
            stem.with_suffix(".log"),
        )
        partial.rename(statistics)
    return areas(json.loads(statistics.read_text()), toplevel)


def areas(statistics: Mapping[str, Any], toplevel: str) -> dict[str, Area]:
    """Add up Yosys's counts of each module over what it holds."""
    modules: dict[str, dict[str, int]] = {}
    for name, module in statistics["modules"].items():
        cells_of = module["num_cells_by_type"]
        # A module without parameters is called \\name, and name where it is used.
        modules[name.removeprefix("\\")] = cells_of
    totals: dict[str, Counter[str]] = {}

    def total(name: str) -> Counter[str]:
        if name not in totals:
            cells: Counter[str] = Counter()
            for cell, number in modules[name].items():
                if cell in modules:
                    for inner, count in total(cell).items():
                        cells[inner] += number * count
                elif not cell.startswith("$scopeinfo"):
                    cells[cell] += number
            totals[name] = cells
        return totals[name]

    instances: Counter[str] = Counter()

    def count(name: str, number: int) -> None:
        instances[name] += number
        for cell, inner in modules[name].items():
            if cell in modules:
                count(cell, number * inner)

    (top,) = [name for name in modules if plain(name) == toplevel]
    count(top, 1)
    result: dict[str, Area] = {}
    for name, number in instances.items():
        before = result.get(plain(name), Area(0, {}))
        cells = max(dict(total(name)), before.cells, key=lambda cells: sum(cells.values()))
        result[plain(name)] = Area(before.instances + number, cells)
    return result


def plain(name: str) -> str:
    """Return a module's name without its parameters."""
    match = re.fullmatch(r"\$paramod(?:\$[0-9a-f]+)?\\(\w+)(?:\\.*)?", name)
    return match[1] if match else name


def classify(cells: Mapping[str, int]) -> dict[str, float]:
    """Add up cell types by what they are; the first class whose prefix fits counts."""
    totals: dict[str, float] = dict.fromkeys([*CLASSES, "others"], 0)
    for cell, number in cells.items():
        share = 0.5 if cell.startswith(HALVES) else 1
        for name, prefixes in CLASSES.items():
            if cell.startswith(prefixes):
                totals[name] += share * number
                break
        else:
            totals["others"] += number
    return {name: int(n) if n == int(n) else n for name, n in totals.items()}


def dsp_limit(config: Config, family: str) -> int:
    """Return how many DSP blocks the whole core may take.

    One for each two MACs where two filters share a multiplier that fits one block (23x8, 25x12 or
    27x12 on UltraScale+, 23x8 or 25x12 on 7-series), else one for each; three for each
    post-processing lane; four more.
    """
    shared = config.PAIR != 0 and (family == "xcup" or config.PAIR == 2 or config.OPERAND_W == 8)
    array = config.T_P * config.T_C // (2 if shared else 1)
    return array + 3 * config.Q + 4


def check(config: Config, family: str, found: Mapping[str, Area]) -> list[str]:
    """Return what is wrong with the DSP blocks of the whole core."""
    problems = []
    dsp = classify(found["unzip"].cells)["DSP blocks"]
    if dsp > dsp_limit(config, family):
        problems.append(f"{dsp} DSP blocks, at most {dsp_limit(config, family)} expected")
    wgen = classify(found["unzip_wgen"].cells)["DSP blocks"]
    if wgen:
        problems.append(f"the weights generator takes {wgen} DSP blocks, none expected")
    return problems


def table(found: Mapping[str, Area]) -> list[list[str]]:
    """Return the blocks' areas as rows of text, a header first."""
    kinds = [kind for kind in (*CLASSES, "others") if classify(found["unzip"].cells)[kind]]
    rows = [["block", *kinds]]
    for module, title in AREAS.items():
        if module in found:
            counts = classify(found[module].cells)
            rows.append([title, *(f"{counts[kind]:,}" for kind in kinds)])
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines of aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells))
    return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table of Markdown."""
    lines = [" | ".join(row) for row in rows]
    lines.insert(1, "|".join(["---", *["---:"] * (len(rows[0]) - 1)]))
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def document(results: Mapping[tuple[str, str], Mapping[str, Area]]) -> str:
    """Return ``docs/area.md``."""
    text = [
        "# Area",
        "",
        "<!-- Written by `make synth DOCS=1`; do not edit. -->",
        "",
        f"Cells after synthesis with Yosys (pyosys {importlib.metadata.version('pyosys')}),",
        "before place and route, hierarchy kept: DSP blocks and memories are dependable, LUTs an",
        "estimate, and registers around a multiplier are not yet drawn into the DSP block. A block",
        "RAM has 36 Kbit; two of 18 Kbit count as one. A row holds all that is inside its block.",
        "The limit of DSP blocks is one for each two MACs (for each MAC where a pair does not fit",
        "a block), three for each post-processing lane, and four; `make synth` fails above it, and",
        "if the weights generator takes any.",
        "",
        "`make synth DOCS=1` writes this page, `make synth` prints it, `make synth JSON=1` gives",
        "it to programs; `make synth CONFIG=base FAMILY=xcup` does one preset, `make synth",
        "TOPLEVEL=wgen` one block.",
    ]
    for (preset, family), found in results.items():
        config = load_config(preset)
        dsp = classify(found["unzip"].cells)["DSP blocks"]
        text += [
            "",
            f"## {preset}, {family}",
            "",
            f"{config.T_P * config.T_C} MACs, {dsp} DSP blocks (limit {dsp_limit(config, family)})",
            "",
            markdown(table(found)),
        ]
    return "\n".join(text) + "\n"


def whole_core(presets: Sequence[str], families: Sequence[str], as_json: bool, docs: bool) -> int:
    """Synthesise the core in presets for families, one after the other; print or write tables."""
    files = sources_of("unzip", design_files())
    results: dict[tuple[str, str], dict[str, Area]] = {}
    problems = []
    for preset in presets:
        config = load_config(preset)
        values = parameters_of("unzip", files, preset)
        for family in families:
            started = time.monotonic()
            print(f"{preset}, {family} ...", file=sys.stderr, end="", flush=True)
            found = synthesise("unzip", files, values, family)
            print(f" {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            results[preset, family] = found
            wrong = check(config, family, found)
            problems += [f"{preset}, {family}: {text}" for text in wrong]
            if not as_json:
                dsp = classify(found["unzip"].cells)["DSP blocks"]
                limit = dsp_limit(config, family)
                print(f"{preset}, {family}: {dsp} DSP blocks, limit {limit}")
                print(aligned(table(found)), flush=True)
    if as_json:
        listing = [
            {
                "preset": preset,
                "family": family,
                "dsp_limit": dsp_limit(load_config(preset), family),
                "blocks": {
                    name: {"instances": area.instances, "each": classify(area.cells)}
                    for name, area in found.items()
                },
                "cells": found["unzip"].cells,
            }
            for (preset, family), found in results.items()
        ]
        print(json.dumps(listing, indent=1))
    if docs:
        DOCUMENT.write_text(document(results), encoding="utf-8")
        print(f"written: {DOCUMENT.relative_to(ROOT)}", file=sys.stderr)
    for text in problems:
        print(f"error: {text}", file=sys.stderr)
    return 1 if problems else 0


def one_block(block: str, preset: str, family: str) -> int:
    """Synthesise one block and print its cells."""
    toplevels = {
        name: value.toplevel
        for name, value in BLOCKS.items()
        if not value.toplevel.startswith("tb_")
    }
    if block not in toplevels:
        raise UnzipError(f"unknown TOPLEVEL '{block}'; valid: top, {', '.join(toplevels)}")
    toplevel = toplevels[block]
    files = sources_of(toplevel, design_files())
    values = parameters_of(toplevel, files, preset)
    cells = synthesise(toplevel, files, values, family)[toplevel].cells
    print(f"{toplevel}, preset {preset}, {family} (Yosys, before place and route)")
    for name, number in classify(cells).items():
        print(f"  {name:<12} {number:>7}")
    print("  " + ", ".join(f"{cell} {number}" for cell, number in sorted(cells.items())))
    return 0


def main() -> int:
    """Print the tables; 0: as expected, 1: refused or too many DSP blocks, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("block", nargs="?", default="", help="one block; else all of the core")
    parser.add_argument("--family", default="", help=f"{', '.join(FAMILIES)}")
    parser.add_argument("--config", default="", help="one preset of configs.yaml")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--docs", action="store_true", help="write docs/area.md, all presets")
    options = parser.parse_args()
    try:
        if options.family and options.family not in FAMILIES:
            raise UnzipError(f"unknown FAMILY '{options.family}'; valid: {', '.join(FAMILIES)}")
        if options.config:
            load_config(options.config)
        if options.docs and (options.config or options.family or options.block):
            raise UnzipError("DOCS=1 takes neither CONFIG, FAMILY nor TOPLEVEL: the page has all")
        if options.block not in ("", "top"):
            return one_block(options.block, options.config or "base", options.family or "xcup")
        presets = [options.config] if options.config else list(load_configs())
        families = [options.family] if options.family else ["xc7", "xcup"]
        return whole_core(presets, families, options.json, options.docs)
    except UnzipError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
