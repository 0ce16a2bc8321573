# SPDX-License-Identifier: Apache-2.0
"""Synthesise a block with Yosys and count its cells (``make synth TOPLEVEL=wgen``).

Cells are those of Yosys's own mapping, without place and route: DSP blocks and memories are
dependable, LUTs an estimate; on xcup registers around a multiplier stay outside the DSP block.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from unzipfpga.config import load_config
from unzipfpga.errors import UnzipError
from verif.runner import BLOCKS, BUILD, RunError, design_files, module_parameters, sources_of

FAMILIES = {
    "xcup": "synth_xilinx -family xcup -noiopad -noclkbuf",
    "xc7": "synth_xilinx -family xc7 -noiopad -noclkbuf",
    "ecp5": "synth_ecp5",
}
CLASSES = {
    "DSP blocks": ("DSP", "MULT18"),
    "block RAMs": ("RAMB", "DP16KD", "URAM"),
    "LUT RAMs": ("RAM32", "RAM64", "RAM128", "RAM256", "TRELLIS_DPR", "SRL"),
    "registers": ("FD", "TRELLIS_FF"),
    "LUTs": ("LUT",),
    "carry": ("CARRY", "CCU2"),
}
# Yosys may end the process that it runs in: it gets one of its own.
SCRIPT = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


def synthesise(
    toplevel: str, files: list[Path], parameters: dict[str, int], family: str
) -> Counter[str]:
    """Return the number of cells of each type.

    Parameters
    ----------
    toplevel : str
        Module to synthesise.
    files : list of Path
        Its files.
    parameters : dict of str to int
        Values of its parameters.
    family : str
        Key of `FAMILIES`.

    Raises
    ------
    RunError
        Yosys refused the design; the text is the end of its log.
    """
    folder = BUILD / "synth"
    folder.mkdir(parents=True, exist_ok=True)
    statistics = folder / f"{toplevel}-{family}.json"
    statistics.unlink(missing_ok=True)
    sources = [path for path in files if path.suffix != ".svh"]
    includes = " ".join(sorted({f"-I{path.parent}" for path in files if path.suffix == ".svh"}))
    values = " ".join(f"-chparam {name} {value}" for name, value in parameters.items())
    commands = [
        f"read_verilog -sv {includes} {' '.join(map(str, sources))}",
        f"hierarchy -check -top {toplevel} {values}",
        f"{FAMILIES[family]} -top {toplevel} -flatten" if family != "ecp5" else "synth_ecp5",
        f"tee -q -o {statistics} stat -json",
    ]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *commands], capture_output=True, text=True)
    (folder / f"{toplevel}-{family}.log").write_text(done.stdout + done.stderr)
    if done.returncode != 0 or not statistics.is_file():
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RunError(f"Yosys refused {toplevel}:\n{tail}")
    design = json.loads(statistics.read_text())["design"]
    cells = design["num_cells_by_type"]
    return Counter({name: n for name, n in cells.items() if not name.startswith("$scopeinfo")})


def classify(cells: Counter[str]) -> dict[str, int]:
    """Add up cell types by what they are; the first class whose prefix fits counts."""
    totals = dict.fromkeys([*CLASSES, "others"], 0)
    for cell, number in cells.items():
        for name, prefixes in CLASSES.items():
            if cell.startswith(prefixes):
                totals[name] += number
                break
        else:
            totals["others"] += number
    return totals


def main() -> int:
    """Print the table; 0: synthesised, 1: Yosys refused, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("block")
    parser.add_argument("--family", default="xcup")
    parser.add_argument("--config", default="")
    options = parser.parse_args()
    toplevels = {"top": "unzip"} | {
        name: block.toplevel
        for name, block in BLOCKS.items()
        if not block.toplevel.startswith("tb_")
    }
    try:
        if options.block not in toplevels:
            raise RunError(f"unknown TOPLEVEL '{options.block}'; valid: {', '.join(toplevels)}")
        if options.family not in FAMILIES:
            raise RunError(f"unknown FAMILY '{options.family}'; valid: {', '.join(FAMILIES)}")
        config = options.config or "base"
        toplevel = toplevels[options.block]
        files = sources_of(toplevel, design_files())
        accepted = module_parameters(toplevel, files)
        preset = load_config(config).parameters()
        parameters = {name: value for name, value in preset.items() if name in accepted}
    except (RunError, UnzipError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        cells = synthesise(toplevel, files, parameters, options.family)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{toplevel}, preset {config}, {options.family} (Yosys, before place and route)")
    for name, number in classify(cells).items():
        print(f"  {name:<12} {number:>7}")
    print("  " + ", ".join(f"{cell} {number}" for cell, number in sorted(cells.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
