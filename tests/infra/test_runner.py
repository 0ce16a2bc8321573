# SPDX-License-Identifier: Apache-2.0
"""The simulation runner: what it builds and runs, and above all what it refuses to call passed."""

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from verif import runner
from verif.runner import Block, RunError, read_results, run_block

ROOT = runner.ROOT
HDL = Path(__file__).parent / "hdl"
FILES = [HDL / "counter.sv", HDL / "counter_bad.sv", HDL / "width.sv", HDL / "latch.sv"]
BUILD = ROOT / "build" / "infra"
BLOCKS = {
    "counter": Block("counter", "tests.infra.tb.counter_good"),
    "empty": Block("counter", "tests.infra.tb.counter_empty"),
    "missing": Block("counter", "tests.infra.tb.no_such_module"),
    "bad": Block("counter_bad", "tests.infra.tb.counter_good"),
    "width": Block("width", "tests.infra.tb.counter_good"),
    "latch": Block("latch", "tests.infra.tb.counter_good"),
    "nowhere": Block("no_such_module", "tests.infra.tb.counter_good"),
}
both = pytest.mark.parametrize("sim", runner.SIMULATORS)


def run(name, sim, build_root=BUILD, **options):
    return run_block(name, sim, blocks=BLOCKS, files=FILES, build_root=build_root, **options)


def facts(result):
    """Return T_P, the unreset register and a random draw, as the testbench logged them."""
    return re.search(r"T_P=(\d+) unreset=(\w+) draw=(\d+)", result.log.read_text()).groups()


@both
def test_passes_and_repeats(sim):
    first, again, other = (run("counter", sim, seed=seed) for seed in (3, 3, 4))
    assert (first.tests, first.failures) == (2, 0)
    assert facts(first) == facts(again)
    assert facts(first)[2] != facts(other)[2], "the seed does not reach Python's generator"


def test_seed_draws_initial_state():
    values = {facts(run("counter", "verilator", seed=seed))[1] for seed in (3, 4, 5)}
    assert len(values) > 1, "registers do not start random"


@both
def test_parameters_arrive(sim):
    assert facts(run("counter", sim))[0] == "8"  # T_P of preset tiny
    assert facts(run("counter", sim, config="base"))[0] == "16"
    assert facts(run("counter", sim, parameters={"T_P": 11}))[0] == "11"
    run("counter", sim, parameters={"LIMIT": 3}, extra_env={"COUNTER_LIMIT": "3"})


@both
def test_unknown_parameter_is_refused(sim):
    with pytest.raises(RunError, match="counter has no parameter WIDTH"):
        run("counter", sim, parameters={"WIDTH": 3})


@both
def test_waves(sim):
    result = run("counter", sim, waves=True)
    assert result.waves.name == "dump.fst"
    assert result.waves.stat().st_size > 100
    assert "-waves" in str(result.waves)


@both
def test_failure_is_reported(sim):
    with pytest.raises(RunError, match=r"1 of 2 tests failed") as error:
        run("counter", sim, seed=9, extra_env={"COUNTER_LIMIT": "4"})
    assert f"make sim TOPLEVEL=counter SIM={sim} CONFIG=tiny SEED=9" in str(error.value)
    assert "COUNTER_LIMIT='4'" in str(error.value)


@both
def test_expected_failure(sim):
    result = run("counter", sim, extra_env={"COUNTER_LIMIT": "4"}, expect_fail=True)
    assert result.failures == 1
    with pytest.raises(RunError, match="a fault was planted"):
        run("counter", sim, expect_fail=True)


@both
def test_vanished_simulation_is_a_failure(sim):
    # The process ends itself with status 0 before the results are written.
    for expect_fail in (False, True):
        with pytest.raises(RunError, match=r"did not reach its end|broke off"):
            run("counter", sim, extra_env={"COUNTER_DIE": "1"}, expect_fail=expect_fail)


@both
def test_run_without_tests_is_a_failure(sim):
    for expect_fail in (False, True):
        with pytest.raises(RunError):
            run("empty", sim, expect_fail=expect_fail)
        with pytest.raises(RunError):
            run("counter", sim, test_filter="no_such_test", expect_fail=expect_fail)


@both
def test_filter(sim):
    assert run("counter", sim, test_filter="counts").tests == 1


@both
def test_fatal_in_the_hdl_is_a_failure(sim):
    assert run("bad", sim).failures == 0
    with pytest.raises(RunError):
        run("bad", sim, parameters={"FAULT": 1})


@both
def test_early_finish_is_a_failure(sim):
    with pytest.raises(RunError):
        run("bad", sim, parameters={"FAULT": 2})


@both
def test_hanging_simulation_is_killed(sim):
    with pytest.raises(RunError, match="killed after"):
        run("counter", sim, extra_env={"COUNTER_HANG": "1"}, timeout_seconds=3)


@both
def test_missing_module_and_toplevel(sim):
    with pytest.raises(RunError, match=r"no Python module tests\.infra\.tb\.no_such_module"):
        run("missing", sim)
    with pytest.raises(RunError, match="defines module no_such_module"):
        run("nowhere", sim)


def test_warnings_stop_the_build():
    with pytest.raises(RunError, match="WIDTHTRUNC"):
        run("width", "verilator")
    with pytest.raises(RunError, match="LATCH"):
        run("latch", "verilator")


def test_only_ports_are_public():
    log = run("counter", "verilator").run_dir.parents[1] / "build.log"
    assert "--vpi" in log.read_text()
    assert "--public-flat-rw" not in log.read_text()


def test_environment_does_not_change_a_run(monkeypatch):
    monkeypatch.setenv("COCOTB_TEST_FILTER", "no_such_test")
    monkeypatch.setenv("COCOTB_RANDOM_SEED", "77")
    monkeypatch.setenv("WAVES", "1")
    before = dict(os.environ)
    changed = run("counter", "icarus", seed=6)
    assert dict(os.environ) == before
    monkeypatch.undo()
    assert facts(changed) == facts(run("counter", "icarus", seed=6))
    assert changed.waves is None


def _build(root):
    runner.build_block("counter", "icarus", "tiny", blocks=BLOCKS, files=FILES, build_root=root)


def test_parallel_processes_build_once(tmp_path):
    workers = [
        multiprocessing.get_context("spawn").Process(target=_build, args=(tmp_path,))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(list(tmp_path.rglob("sim.vvp"))) == 1


def test_build_is_keyed_by_its_sources(tmp_path):
    source = tmp_path / "counter.sv"
    source.write_text((HDL / "counter.sv").read_text())

    def build(**options):
        arguments = {"blocks": BLOCKS, "files": [source], "build_root": tmp_path / "build"}
        return runner.build_block("counter", "icarus", "tiny", **arguments, **options)

    first = build()
    assert build() == first
    assert build(parameters={"LIMIT": 7}) != first
    source.write_text(source.read_text() + "\n// more\n")
    assert build() != first


def test_builds_leave_no_compiler_output():
    """A build's precompiled headers are 100 times its binary: they once filled a disk."""
    build = runner.build_block(
        "counter", "verilator", "tiny", blocks=BLOCKS, files=FILES, build_root=BUILD
    )
    assert (build / "counter").is_file()
    assert sum(path.stat().st_size for path in build.glob("*")) < 10_000_000


def test_only_needed_files_are_built(tmp_path):
    parts = {
        "pkg.sv": "package pkg; localparam int A = 1; endpackage",
        "leaf.sv": "module leaf; endmodule",
        "other.sv": "module other; leaf u_leaf (); endmodule",
        "top.sv": "module top; leaf u_leaf (); /* other */ localparam int B = pkg::A; endmodule",
        "macros.svh": "`define X 1",
    }
    files = [tmp_path / name for name in parts]
    for path in files:
        path.write_text(parts[path.name])
    chosen = [path.name for path in runner.sources_of("top", files)]
    assert chosen == ["pkg.sv", "leaf.sv", "top.sv", "macros.svh"]


def test_core_file_list(tmp_path):
    assert all(path.is_file() for path in runner.core_files("rtl"))
    with pytest.raises(RunError, match="no fileset 'rtk'"):
        runner.core_files("rtk")
    core = tmp_path / "fusesoc.core"
    core.write_text("CAPI=2:\nfilesets: {rtl: {files: [a.sv]}}\n")
    with pytest.raises(RunError, match=r"a\.sv, which does not exist"):
        runner.core_files("rtl", core=core)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "was not written"),
        ("", "broke off"),
        ("<testsuites><testsuite>", "broke off"),
        ("<testsuites/>", "no test that ran"),
        ("<testsuites><testsuite tests='3'/></testsuites>", "no test that ran"),
        ("<t><testcase name='a'><skipped/></testcase></t>", "no test that ran"),
    ],
)
def test_results_that_prove_nothing(tmp_path, text, message):
    path = tmp_path / "results.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=message):
        read_results(path)


def test_results_are_counted(tmp_path):
    path = tmp_path / "results.xml"
    path.write_text(
        "<t><s><testcase/><testcase><failure/></testcase><testcase><error/></testcase>"
        "<testcase><skipped/></testcase></s></t>"
    )
    assert read_results(path) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wgn"], "unknown TOPLEVEL 'wgn'; valid: top, wgen, pe, projector, engine, csr, dma"),
        (["wgen", "--sim", "vcs"], "unknown SIM 'vcs'; valid: verilator, icarus"),
        (["wgen", "--config", "huge"], "unknown CONFIG 'huge'; valid: tiny, select, small"),
        (["wgen", "--seed", "x"], "SEED 'x' is not a number"),
        (["wgen", "--seed", "0"], "SEED 0 is out of range; valid: 1 to 2147483647"),
        (["wgen", "--waves", "yes"], "unknown WAVES 'yes'; valid: 0, 1"),
        (["wgen", "--parameters", "J:2"], "expected NAME=INTEGER"),
    ],
)
def test_bad_arguments_name_the_valid_ones(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "verif.runner", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_make_passes_arguments_on():
    done = subprocess.run(
        ["make", "sim", "TOPLEVEL=wgen", "SIM=vcs"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "unknown SIM 'vcs'" in done.stderr
