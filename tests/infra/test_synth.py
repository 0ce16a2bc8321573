# SPDX-License-Identifier: Apache-2.0
"""Synthesis counts what it should, and refuses what it must."""

import json
import sys
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
    cells = synth.classify(synth.synthesise("multiplier", [path], {}, "xcup")["multiplier"].cells)
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
    found = synth.synthesise("unzip_wgen", files, parameters, "xcup")
    cells = synth.classify(found["unzip_wgen"].cells)
    assert cells["DSP blocks"] == 0
    assert cells["LUTs"] > 100


def pair_dsp_blocks(family: str, operand_w: int, pair: int = 1) -> int:
    """Return the DSP blocks of a pair of PEs with 8 multipliers."""
    files = sources_of("unzip_pe_pair", design_files())
    parameters = {"T_P": 8, "T_R": 4, "D": 2, "PAIR": pair, "OPERAND_W": operand_w}
    found = synth.synthesise("unzip_pe_pair", files, parameters, family)
    return synth.classify(found["unzip_pe_pair"].cells)["DSP blocks"]


@pytest.mark.parametrize(
    ("family", "operand_w", "pair"), [("xcup", 12, 1), ("xc7", 8, 1), ("xc7", 12, 2)]
)
def test_a_pair_of_pes_has_one_dsp_block_per_multiplier(family, operand_w, pair):
    assert pair_dsp_blocks(family, operand_w, pair) == 8


def test_wide_operands_cost_a_7_series_pair_more():
    assert pair_dsp_blocks("xc7", 12) > 8


# What `stat -json` prints of a design: a core with two pairs of four multipliers, and a generator.
STATISTICS = {
    "modules": {
        "\\unzip": {
            "num_cells_by_type": {
                "$paramod$00ff\\unzip_pe_pair": 2,
                "unzip_wgen": 1,
                "LUT4": 5,
                "RAMB18E2": 1,
                "$scopeinfo": 3,
            }
        },
        "$paramod$00ff\\unzip_pe_pair": {"num_cells_by_type": {"DSP48E2": 4, "FDRE": 7}},
        "\\unzip_wgen": {"num_cells_by_type": {"LUT2": 3}},
    }
}


def planted(**cells: int) -> dict[str, synth.Area]:
    """Return the areas of `STATISTICS`, with these cells more in the generator."""
    statistics = json.loads(json.dumps(STATISTICS))
    statistics["modules"]["\\unzip_wgen"]["num_cells_by_type"].update(cells)
    return synth.areas(statistics, "unzip")


def test_cells_add_up_over_the_hierarchy():
    found = planted()
    assert list(found) == ["unzip", "unzip_pe_pair", "unzip_wgen"]
    assert found["unzip_pe_pair"].instances == 2
    assert found["unzip"].cells == {"DSP48E2": 8, "FDRE": 14, "LUT2": 3, "LUT4": 5, "RAMB18E2": 1}
    counts = synth.classify(found["unzip"].cells)
    assert (counts["DSP blocks"], counts["LUTs"], counts["block RAMs"]) == (8, 8, 0.5)
    rows = synth.table(found)
    assert rows[0] == ["block", "DSP blocks", "block RAMs", "registers", "LUTs"]
    assert rows[1] == ["whole core", "8", "0.5", "14", "8"]


@pytest.mark.parametrize(
    ("preset", "family", "limit"),
    [
        ("bench", "xcup", 16 * 64 // 2 + 3 * 32 + 4),
        ("small", "xcup", 16 * 8 + 3 * 2 + 4),  # a multiplier for each MAC
        ("base", "xc7", 16 * 16 + 3 * 16 + 4),  # a pair of 27x12 does not fit a DSP48E1
        ("zc706", "xc7", 16 * 64 // 2 + 3 * 32 + 4),  # one of 25x12 does
    ],
)
def test_limit_of_dsp_blocks(preset, family, limit):
    assert synth.dsp_limit(load_config(preset), family) == limit


def test_too_many_dsp_blocks_are_reported():
    config = load_config("tiny")  # 48 DSP blocks at most
    assert synth.check(config, "xcup", planted()) == []
    wrong = synth.check(config, "xcup", planted(DSP48E2=41))
    assert wrong == [
        "49 DSP blocks, at most 48 expected",
        "the weights generator takes 41 DSP blocks, none expected",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "xc9"], "unknown FAMILY 'xc9'; valid: xc7, xcup, ecp5"),
        (["--config", "nothing"], "nothing"),
        (["gears"], "unknown TOPLEVEL 'gears'; valid: top, "),
        (["--docs", "--config", "tiny"], "DOCS=1 takes neither CONFIG, FAMILY nor TOPLEVEL"),
    ],
)
def test_a_bad_argument_is_one_error(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["synth", *arguments])
    assert synth.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
