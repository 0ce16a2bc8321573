# SPDX-License-Identifier: Apache-2.0
"""Every lint step catches a planted fault."""

from pathlib import Path

import pytest

from scripts import lint

HDL = Path(__file__).parent / "hdl"
GOOD = [HDL / "counter.sv"]


def test_the_good_design_passes():
    assert lint.verible_format(GOOD) == ""
    assert lint.verible_lint(GOOD) == ""
    for check in (lint.verilator_lint, lint.icarus_lint, lint.yosys_lint):
        assert check("counter", GOOD, {"T_P": 8}) == ""


def test_latch_is_refused():
    files = [HDL / "latch.sv"]
    assert "LATCH" in lint.verilator_lint("latch", files, {})
    assert "latch" in lint.yosys_lint("latch", files, {})


def test_lost_bits_are_refused():
    assert "WIDTHTRUNC" in lint.verilator_lint("width", [HDL / "width.sv"], {})


@pytest.mark.parametrize("check", [lint.verilator_lint, lint.icarus_lint, lint.yosys_lint])
def test_missing_module_and_syntax_error_are_refused(check, tmp_path):
    path = tmp_path / "top.sv"
    path.write_text("module top;\n  absent u_absent ();\nendmodule\n")
    assert check("top", [path], {})
    path.write_text("module top;\n  assign = 1;\nendmodule\n")
    assert check("top", [path], {})


def test_icarus_warning_is_refused(tmp_path):
    path = tmp_path / "top.sv"
    path.write_text(
        "module leaf (\n    input logic [3:0] a_i\n);\nendmodule\n"
        "module top;\n  logic [7:0] a;\n  leaf u_leaf (.a_i(a));\nendmodule\n"
    )
    assert "warning" in lint.icarus_lint("top", [path], {})


def test_style_is_refused(tmp_path):
    path = tmp_path / "ugly.sv"
    path.write_text("module ugly;\nlogic   a ;\n\tassign a=1'b1;\nendmodule\n")
    assert lint.verible_format([path])
    assert "tab" in lint.verible_lint([path])
    lint.verible_format([path], fix=True)
    assert lint.verible_format([path]) == ""


def test_missing_licence_line_is_refused(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    assert str(path) in lint.check_spdx([path])
    path.write_text(f"# {lint.SPDX}\nx = 1\n")
    assert lint.check_spdx([path]) == ""


def test_unlisted_file_is_refused(monkeypatch):
    listed = [lint.ROOT / "rtl" / "a.sv"]
    monkeypatch.setattr(lint, "hdl_files", lambda: [*listed, lint.ROOT / "rtl" / "b.sv"])
    assert lint.check_listed(listed) == "rtl/b.sv is not listed in fusesoc.core"
