# SPDX-License-Identifier: Apache-2.0
"""Synthesis counts what it should, and refuses what it must."""

from pathlib import Path

import pytest

from scripts import synth
from unzipfpga.config import load_config
from verif.runner import RunError, design_files, module_parameters, sources_of

MULTIPLIER = """module multiplier (
    input  logic               clk_i,
    input  logic signed [26:0] a_i,
    input  logic signed [11:0] b_i,
    output logic signed [38:0] y_o
);
  always_ff @(posedge clk_i) y_o <= a_i * b_i;
endmodule
"""


def test_a_multiplier_is_one_dsp_block(tmp_path):
    path = tmp_path / "multiplier.sv"
    path.write_text(MULTIPLIER)
    cells = synth.classify(synth.synthesise("multiplier", [path], {}, "xcup"))
    assert cells["DSP blocks"] == 1


def test_a_syntax_error_is_reported(tmp_path):
    path = tmp_path / "bad.sv"
    path.write_text("module bad; assign = 1; endmodule\n")
    with pytest.raises(RunError, match="syntax error"):
        synth.synthesise("bad", [path], {}, "xcup")


def test_weights_generator_uses_no_dsp_block():
    files: list[Path] = sources_of("unzip_wgen", design_files())
    accepted = module_parameters("unzip_wgen", files)
    preset = load_config("tiny").parameters()
    parameters = {name: value for name, value in preset.items() if name in accepted}
    cells = synth.classify(synth.synthesise("unzip_wgen", files, parameters, "xcup"))
    assert cells["DSP blocks"] == 0
    assert cells["LUTs"] > 100


def pair_dsp_blocks(family: str, operand_w: int) -> int:
    """Return the DSP blocks of a pair of PEs with 8 multipliers."""
    files = sources_of("unzip_pe_pair", design_files())
    parameters = {"T_P": 8, "T_R": 4, "D": 2, "PAIR": 1, "OPERAND_W": operand_w}
    cells = synth.synthesise("unzip_pe_pair", files, parameters, family)
    return synth.classify(cells)["DSP blocks"]


@pytest.mark.parametrize(("family", "operand_w"), [("xcup", 12), ("xc7", 8)])
def test_a_pair_of_pes_has_one_dsp_block_per_multiplier(family, operand_w):
    assert pair_dsp_blocks(family, operand_w) == 8


def test_wide_operands_cost_a_7_series_pair_more():
    assert pair_dsp_blocks("xc7", 12) > 8
