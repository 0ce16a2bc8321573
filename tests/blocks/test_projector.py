# SPDX-License-Identifier: Apache-2.0
"""Projector: its testbench on both simulators and on builds with other parameters; its model."""

from pathlib import Path

import numpy as np
import pytest

from verif.env.projector_model import Flags, KernelTile, ProjectorModel, ProjectorParameters
from verif.runner import design_files, run_block

BUILDS = [
    {"S": 2, "T_P": 16, "D": 5, "T_R": 3},
    {"S": 4, "T_P": 32, "DW": 16, "OPERAND_W": 20},
    {"S": 4, "T_P": 16, "D": 64, "T_R": 2},
]
MORE_BUILDS = [
    {"S": 1, "T_P": 16},
    {"S": 1, "T_P": 32, "D": 2},
    {"S": 2, "T_P": 8, "DW": 16, "OPERAND_W": 20},
    {"S": 2, "T_P": 32},
    {"S": 4, "T_P": 32, "T_R": 64},
]
# (RTL, planted fault) of what the random test must find.
FAULTS = [
    ("signs_q[2]), x2, signs_q[3]", "signs_q[2]), x2, signs_q[2]"),
    ("{b ^ {OPERAND_W{minus}}, minus}", "{b ^ {OPERAND_W{minus}}, 1'b0}"),
    ("assign pixels_last = left_q <= groups_q;", "assign pixels_last = left_q < groups_q;"),
    ("column_sums_q[2*b*SumsW+:3*SumsW]", "column_sums_q[b*SumsW+:3*SumsW]"),
    ("tile_first && first_block_q", "tile_first"),
    ("blocks_left_q == 12'd1 && tile_last", "tile_last"),
    ("places != 4'(Places)", "places < 4'(Places + 4)"),
    ("line_left_q <= tile_out_w - tile_out_x;", "line_left_q <= tile_out_w;"),
    ("lane_index, 2'd3", "lane_index, 2'd2"),
    ("lane_q - lane_value : lane_q + lane_value", "lane_value : lane_q + lane_value"),
    ("channel_valid_q[4] && channel_part_last", "channel_valid_q[4] || channel_part_last"),
]
SEEDS = {"UNZIP_SEEDS": "5"}  # of the random test
NOT_TWINS = r"test_projector\.(?!Twin)"


def name_of(parameters: dict[str, int]) -> str:
    """Return the parameters as a test id."""
    return "-".join(f"{key}{value}" for key, value in parameters.items())


@pytest.mark.parametrize("sim, seed", [("verilator", 1), ("icarus", 2)])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    assert run_block("projector", sim, "tiny", seed, extra_env=SEEDS).tests == 17


def test_preset_select() -> None:
    """All tests with four row buses, negative twins included."""
    assert run_block("projector", "verilator", "select", 1, extra_env=SEEDS).tests == 17


@pytest.mark.parametrize("parameters", BUILDS, ids=name_of)
def test_other_parameters(parameters: dict[str, int]) -> None:
    """Other numbers of row buses, lanes and bits."""
    result = run_block(
        "projector", "verilator", "tiny", 3, False, NOT_TWINS, SEEDS, parameters=parameters
    )
    assert result.tests == 7


@pytest.mark.slow
@pytest.mark.parametrize("parameters", MORE_BUILDS, ids=name_of)
def test_more_parameters(parameters: dict[str, int]) -> None:
    """The others."""
    test_other_parameters(parameters)


@pytest.mark.slow
@pytest.mark.parametrize("right, wrong", FAULTS)
def test_a_planted_fault_is_caught(right: str, wrong: str, tmp_path: Path) -> None:
    """Plant a fault in the RTL: the tests that are not twins find it."""
    files = design_files()
    number = next(i for i, path in enumerate(files) if path.name == "unzip_projector.sv")
    text = files[number].read_text(encoding="utf-8")
    assert text.count(right) >= 1
    files[number] = tmp_path / "unzip_projector.sv"
    files[number].write_text(text.replace(right, wrong), encoding="utf-8")
    result = run_block(
        "projector",
        "icarus",
        "tiny",
        test_filter="CornersUnstalled|RandomLayers",
        expect_fail=True,
        parameters={"S": 2, "T_R": 8},
        files=files,
        build_root=tmp_path,
    )
    assert result.failures


def test_power_up_state() -> None:
    """The same stimuli on another power-up state take the same cycles."""
    traces = []
    for power_up, stimuli in [(4, 7), (5, 7), (5, 8)]:
        env = {"UNZIP_STIMULI": str(stimuli), "UNZIP_TRACE": "cycles.txt"}
        result = run_block("projector", "verilator", "tiny", power_up, False, "RandomLayers", env)
        traces.append((result.run_dir / "cycles.txt").read_text())
    assert traces[0].count("\n") >= 200
    assert traces[0] == traces[1]
    assert traces[1] != traces[2], "other stimuli leave the same trace: it shows nothing"


# --------------------------------------------------------------------------------------------------
# The model: projections and then alphas are weights and then activations
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ways, stride", [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)])
def test_model_along_the_kernel(ways: int, stride: int) -> None:
    """Alphas times the model's operands are the convolution with the weights they generate."""
    rng = np.random.default_rng(ways + 10 * stride)
    lanes, width, codes = 8, 8, (3, 5, 14, 0)
    p = ProjectorParameters(lanes, 16, ways, 9, 8, 12)
    model = ProjectorModel(p, [*codes, *range(12)])
    tile = KernelTile(2 * width, 0, width, stride - 1, 1, len(codes), 1, 1, 1, 0)
    model.tiles.append(tile)
    # Columns of the input from the ones on that the words before a line hold.
    before = tile.rows_before(ways) * ways * stride
    image = rng.integers(-127, 128, (2, 3, before + width * stride, lanes))
    seen = []
    for line in image:
        for row in range(tile.line_rows(width, ways)):
            for ky in range(3):
                for phase in range(stride):
                    columns = [(row * ways + bus) * stride + phase for bus in range(ways)]
                    seen += model.kernel_word(0, line[ky, columns])
    assert not model.unfinished
    alphas = rng.integers(-127, 128, (len(codes), lanes))
    sums = [
        sum(int((alphas[j] * seen[4 * pixel + j].buses[0]).sum()) for j in range(4))
        for pixel in range(2 * width)
    ]
    signs = np.array([[(-1) ** bin(c & i).count("1") for i in range(16)] for c in codes])
    weights = np.einsum("jl,ji->il", alphas, signs).reshape(4, 4, lanes)[:3, :3]
    for pixel, total in enumerate(sums):
        line, x = divmod(pixel, width)
        end = before + (x + 1) * stride
        assert total == (weights * image[line, :, end - 3 : end]).sum()


@pytest.mark.parametrize("lanes", [8, 16, 32])
@pytest.mark.parametrize("codes", [1, 2, 4, 8])
def test_model_along_the_channels(lanes: int, codes: int) -> None:
    """Alphas times the model's operand are the product with the weights they generate."""
    rng = np.random.default_rng(codes + lanes)
    p = ProjectorParameters(lanes, 16, 2, 9, 8, 12)
    listed = [7, 2, 15, 0, 9, 4, 1, 10]
    model = ProjectorModel(p, [*listed, *range(8)])
    words = rng.integers(-127, 128, (16 // codes, 2, lanes))
    flags = Flags(0, 0, 0, 0, 0, 0, 0, 0)
    for number, word in enumerate(words):
        last = number == len(words) - 1
        seen = model.channel_word(0, word, codes.bit_length() - 1, 0, last, flags)
    alphas = rng.integers(-127, 128, lanes)
    for bus in range(2):
        channels = words[:, bus].reshape(-1)
        total = 0
        for c, x in enumerate(channels):
            block = alphas[c // 16 * codes : (c // 16 + 1) * codes]
            signs = [(-1) ** bin(listed[j] & (c % 16)).count("1") for j in range(codes)]
            total += int(x) * int((block * signs).sum())
        assert total == (alphas * seen[0].buses[bus]).sum()
