# SPDX-License-Identifier: Apache-2.0
"""Reading Verilator's coverage file, and the report made of it."""

import pytest

from scripts import coverage
from scripts.coverage import Point
from verif.runner import ROOT, RunError, run_block

from .test_runner import BLOCKS, BUILD, FILES


def write(tmp_path, *lines):
    path = tmp_path / "coverage.dat"
    path.write_text("# SystemC::Coverage-3\n" + "\n".join(lines) + "\n")
    return path


def entry(count, line=3, page="v_line/counter", file="a.sv"):
    keys = {"f": file, "l": line, "n": 5, "t": "line", "page": page, "o": "block", "h": "top"}
    return "C '" + "".join(f"\1{key}\2{value}" for key, value in keys.items()) + f"' {count}"


def test_counts_of_instances_are_added(tmp_path):
    counts = coverage.read_coverage(write(tmp_path, entry(2), entry(3), entry(0, line=9)))
    assert counts == {
        Point("a.sv", 3, 5, "line", "block"): 5,
        Point("a.sv", 9, 5, "line", "block"): 0,
    }


def test_kinds_are_kept_apart(tmp_path):
    counts = coverage.read_coverage(write(tmp_path, entry(1), entry(0, page="v_branch/counter")))
    assert {point.kind: count for point, count in counts.items()} == {"line": 1, "branch": 0}


@pytest.mark.parametrize("line", ["C 'nonsense", entry("x"), entry(1, page="v_new/counter")])
def test_unknown_forms_are_refused(tmp_path, line):
    with pytest.raises(RunError, match="not a cover point"):
        coverage.read_coverage(write(tmp_path, line))


def test_no_coverage_is_an_error(tmp_path):
    with pytest.raises(RunError, match="holds no cover point"):
        coverage.read_coverage(write(tmp_path))
    with pytest.raises(RunError, match="was not written"):
        coverage.read_coverage(tmp_path / "none.dat")


def test_report_names_what_was_missed():
    file = str(ROOT / "rtl" / "a.sv")
    counts = coverage.Counter(
        {Point(file, 3, 1, "line", "if"): 4, Point(file, 7, 1, "line", "else"): 0}
    )
    assert coverage.report(counts) == {
        "rtl/a.sv": {"line": {"covered": 1, "points": 2, "missed": [{"line": 7, "what": "else"}]}}
    }


def test_verilator_writes_what_is_read():
    result = run_block(
        "counter", "verilator", blocks=BLOCKS, files=FILES, build_root=BUILD, coverage=True
    )
    counts = coverage.read_coverage(result.run_dir / "coverage.dat")
    assert any(point.kind == "line" and count for point, count in counts.items())
    with pytest.raises(RunError, match="coverage needs SIM verilator"):
        run_block("counter", "icarus", blocks=BLOCKS, files=FILES, coverage=True)
