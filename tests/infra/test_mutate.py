# SPDX-License-Identifier: Apache-2.0
"""Mutants: what is changed and what is not; good and bad testbenches are told apart."""

import shutil

import pytest

from scripts import mutate
from scripts.mutate import Mutant, apply, enumerate_mutants
from verif.runner import Block, RunError

from .test_runner import HDL

MODULE = """module m #(
    parameter int W = 4  // 5 && 6
) (
    input logic [W-1:0] a_i
);
  // a + b
  logic [3:0] q;
  initial begin
    if (W < 1) $fatal(1, "W == 0");
  end
  always_ff @(posedge clk_i) begin
    if (a_i == 4'd3) q <= q + 1'b1;
  end
  `UNZIP_ASSERT(A, q != 4'd9, clk_i, rst_ni)
endmodule
"""


def test_only_the_logic_is_mutated():
    mutants = enumerate_mutants(MODULE)
    assert {mutant.line for mutant in mutants} == {12}
    changed = {apply(MODULE, mutant).splitlines()[11].strip() for mutant in mutants}
    assert changed == {
        "if (a_i != 4'd3) q <= q + 1'b1;",
        "if (a_i == 4'd2) q <= q + 1'b1;",
        "if (a_i == 4'd4) q <= q + 1'b1;",
        "if (a_i == 4'd3) q <= q - 1'b1;",
        "if (a_i == 4'd3) q <= q + 1'b0;",
        "if (!(a_i == 4'd3)) q <= q + 1'b1;",
        "if (a_i == 4'd3) ;",
    }


def test_mutants_are_single_and_in_place():
    for mutant in enumerate_mutants(MODULE):
        assert MODULE[mutant.offset :].startswith(mutant.before)
        assert apply(MODULE, mutant).count("\n") == MODULE.count("\n")


def run(tmp_path, module, number=3):
    shutil.copy(HDL / "counter.sv", tmp_path)
    file = tmp_path / "counter.sv"
    before = file.read_text()
    rows = mutate.run_mutants(
        "counter", "tiny", "icarus", file, [file], number, 1, [{}], [], tmp_path / "build",
        name="counter.sv", blocks={"counter": Block("counter", f"tests.infra.tb.{module}")},
    )  # fmt: skip
    assert file.read_text() == before
    return [row["verdict"] for row in rows if row["verdict"] in ("killed", "survived")]


def test_a_testbench_that_looks_kills(tmp_path):
    assert run(tmp_path, "counter_good") == ["killed"] * 3


def test_a_testbench_that_does_not_look_lets_them_live(tmp_path):
    assert run(tmp_path, "counter_blind") == ["survived"] * 3


def test_waivers_need_a_reason(tmp_path):
    path = tmp_path / "waivers.yaml"
    entry = "- {file: a.sv, source: x, before: '1', after: '2', reason: '%s'}\n"
    path.write_text(entry % "the counter never gets there")
    waivers = mutate.load_waivers(path)
    mutant = Mutant(0, 1, "1", "2", "x")
    assert mutate.waiver(mutant, "a.sv", waivers) == "the counter never gets there"
    assert mutate.waiver(mutant, "b.sv", waivers) is None
    path.write_text(entry % " ")
    with pytest.raises(RunError, match="each entry needs"):
        mutate.load_waivers(path)
