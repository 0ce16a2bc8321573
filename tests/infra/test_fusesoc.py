# SPDX-License-Identifier: Apache-2.0
"""FuseSoC's targets really run, and a fault makes each of them fail.

A small core of the same shape stands in for the project's, so that the fault can be planted and
the test does not wait for a build of the whole engine.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import run_fusesoc
from verif.runner import ROOT, RunError

HERE = Path(__file__).parent
CORE = "unzipfpga:test:counter:0.1.0"
CORE_TEXT = """CAPI=2:
name: unzipfpga:test:counter:0.1.0
filesets:
  rtl:
    files: [counter.sv]
    file_type: systemVerilogSource
targets:
  lint: {filesets: [rtl], toplevel: counter, flow: lint, flow_options: {tool: verilator,
    verilator_options: [-Wall, --timescale 1ns/1ps]}}
  sim: {filesets: [rtl], toplevel: counter, flow: sim, flow_options: {tool: icarus,
    timescale: 1ns/1ps, cocotb_module: MODULE, iverilog_options: [-g2012],
    make_options: ["CFG_CXXFLAGS_PCH_I=-include", "CFG_LDLIBS_THREADS=-lpthread"],
    verilator_options: [-Wall, --timescale 1ns/1ps]}}
"""


@pytest.fixture
def core(tmp_path):
    """Return a function that writes the core, with a fault if asked, and runs a target."""

    def run(target, tool="icarus", module="tests.infra.tb.counter_good", fault=("", "")):
        folder = tmp_path / "core"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        text = (HERE / "hdl" / "counter.sv").read_text()
        assert fault[0] in text
        (folder / "counter.sv").write_text(text.replace(*fault))
        (folder / "counter.core").write_text(CORE_TEXT.replace("MODULE", module))
        return run_fusesoc.run_target(target, tool, folder, tmp_path / "build", CORE)

    return run


def test_lint_passes_and_fails(core):
    assert core("lint") == "fusesoc lint: no warnings"
    with pytest.raises(RunError, match="WIDTHTRUNC"):
        core("lint", fault=("8'(T_P)", "T_P"))


@pytest.mark.parametrize("tool", ["icarus", "verilator"])
def test_sim_passes_and_fails(core, tool):
    assert core("sim", tool) == f"fusesoc sim ({tool}): 2 tests passed"
    with pytest.raises(RunError, match="1 of 2 tests failed"):
        core("sim", tool, fault=("count_q + 8'd1", "count_q + 8'd2"))


def test_sim_without_tests_fails(core):
    with pytest.raises(RunError):
        core("sim", module="tests.infra.tb.counter_empty")
    with pytest.raises(RunError):
        core("sim", module="tests.infra.tb.no_such_module")


def test_sim_without_cocotbs_variable_is_caught(core, monkeypatch):
    # The trap that the checks are for: nothing is run, and FuseSoC reports success.
    environment = run_fusesoc.fusesoc_environment()
    del environment["GPI_USERS"]
    monkeypatch.setattr(run_fusesoc, "fusesoc_environment", lambda: environment)
    with pytest.raises(RunError, match="did not run icarus"):
        core("sim")


def test_the_other_simulator_is_noticed(core, monkeypatch):
    # `--tool` in the wrong place is ignored: both runs would be the default tool's.
    real = subprocess.run

    def run(command, **options):
        return real([word for word in command if word not in ("--tool", "verilator")], **options)

    monkeypatch.setattr(run_fusesoc.subprocess, "run", run)
    with pytest.raises(RunError, match="did not run verilator"):
        core("sim", "verilator")


def test_the_projects_core_is_read():
    done = subprocess.run(
        [Path(sys.executable).parent / "fusesoc", "--cores-root", ROOT, "core", "show",
         run_fusesoc.CORE], cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for target in ("default", "lint", "sim"):
        assert target in done.stdout


def test_the_projects_lint_target(tmp_path):
    assert run_fusesoc.run_target("lint", "verilator", ROOT, tmp_path) == (
        "fusesoc lint: no warnings"
    )
