# SPDX-License-Identifier: Apache-2.0
"""PE array: its testbench on both simulators and on builds with other parameters; packing."""

from pathlib import Path

import numpy as np
import pytest

from verif.runner import design_files, run_block

BUILDS = [
    {"OPERAND_W": 8, "T_C": 6, "G": 2},
    {"PAIR": 2, "T_C": 10},
    {"G": 2, "T_P": 16, "D": 3, "T_R": 4},
    {"PAIR": 0, "DW": 16, "OPERAND_W": 20, "G": 2, "T_P": 32, "T_C": 4},
    {"S": 4, "T_C": 26, "G": 2},
]
MORE_BUILDS = [
    {"PAIR": 0},
    {"PAIR": 2, "G": 2, "T_P": 32, "S": 2, "T_C": 12},
    {"PAIR": 2, "G": 4, "T_P": 16, "T_C": 64},
    {"G": 4, "T_C": 12, "D": 18},
    {"S": 2, "T_C": 10},
    {"PAIR": 0, "OPERAND_W": 8, "T_C": 6, "T_P": 16},
    {"PAIR": 0, "DW": 16, "OPERAND_W": 16, "T_C": 2},
    {"PAIR": 0, "DW": 16, "OPERAND_W": 20, "T_C": 10, "T_P": 16, "G": 2},
    {"OPERAND_W": 8, "T_C": 64, "T_P": 16, "G": 4},
    {"T_C": 10, "T_P": 32},
]
SEEDS = {"UNZIP_SEEDS": "5"}  # of the random test
NOT_TWINS = r"test_pe\.(?!Twin)"


def name_of(parameters: dict[str, int]) -> str:
    """Return the parameters as a test id."""
    return "-".join(f"{key}{value}" for key, value in parameters.items())


@pytest.mark.parametrize("sim, seed", [("verilator", 1), ("icarus", 2)])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    assert run_block("pe", sim, "tiny", seed, extra_env=SEEDS).tests == 17


def test_overlapped_products() -> None:
    """Two filters on a multiplier of 25 bits, on the other simulator."""
    build = {"PAIR": 2}
    result = run_block("pe", "icarus", "tiny", 4, False, NOT_TWINS, SEEDS, parameters=build)
    assert result.tests == 8


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("2'(weight0[DW-1])", "2'b00"),  # the stored weight instead of the true one
        ("true1 * operand[1:0]", "true1 & operand[1:0]"),
        ("sum1 - SumW'($signed(carry_sum))", "sum1 - SumW'(carry_sum)"),
        ("wide_q[Shift+:2] - low_q", "{2{wide_q[Shift-1]}}"),  # as with PAIR = 1
    ],
)
def test_a_fault_in_overlapped_products_is_caught(right: str, wrong: str, tmp_path: Path) -> None:
    """Plant a fault in the RTL: the corner values alone find it."""
    files = design_files()
    number = next(i for i, path in enumerate(files) if path.name == "unzip_pe_pair.sv")
    text = files[number].read_text(encoding="utf-8")
    assert text.count(right) == 1
    files[number] = tmp_path / "unzip_pe_pair.sv"
    files[number].write_text(text.replace(right, wrong), encoding="utf-8")
    result = run_block(
        "pe",
        "icarus",
        "tiny",
        test_filter="CornerProducts",
        expect_fail=True,
        parameters={"PAIR": 2},
        files=files,
        build_root=tmp_path,
    )
    assert "errors.Mismatch" in result.log.read_text(encoding="utf-8")


def test_preset_select() -> None:
    """All tests on input-selective PEs, negative twins included."""
    assert run_block("pe", "verilator", "select", 1, extra_env=SEEDS).tests == 17


@pytest.mark.parametrize("parameters", BUILDS, ids=name_of)
def test_other_parameters(parameters: dict[str, int]) -> None:
    """Without pairs, other widths and depths, several words a beat."""
    result = run_block("pe", "verilator", "tiny", 3, False, NOT_TWINS, SEEDS, parameters=parameters)
    assert result.tests == 8


@pytest.mark.slow
@pytest.mark.parametrize("parameters", MORE_BUILDS, ids=name_of)
def test_more_parameters(parameters: dict[str, int]) -> None:
    """Each kind of multiplier with other widths, odd numbers of pairs, one pair, 64 PEs."""
    test_other_parameters(parameters)


@pytest.mark.slow
@pytest.mark.parametrize("parameters", [{"G": 4}, {"OPERAND_W": 8}], ids=name_of)
def test_largest_array(parameters: dict[str, int]) -> None:
    """256 PEs."""
    build = parameters | {"T_C": 256}
    env = {"UNZIP_ITEMS": "4000"}
    tests = "RandomTiles|CornerProducts"
    assert run_block("pe", "verilator", "tiny", 3, False, tests, env, parameters=build).tests == 2


def test_power_up_state() -> None:
    """The same stimuli on another power-up state take the same cycles."""
    traces = []
    for power_up, stimuli in [(4, 7), (5, 7), (5, 8)]:
        env = {"UNZIP_STIMULI": str(stimuli), "UNZIP_TRACE": "cycles.txt"}
        result = run_block("pe", "verilator", "tiny", power_up, False, "RandomTiles", env)
        traces.append((result.run_dir / "cycles.txt").read_text())
    assert traces[0].count("\n") >= 200
    assert traces[0] == traces[1]
    assert traces[1] != traces[2], "other stimuli leave the same trace: it shows nothing"


def unpacked_products(
    w1: int, w0: np.ndarray, x: np.ndarray, operand_w: int, correction: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Multiply packed weights as ``unzip_pe_pair`` does and take the product apart."""
    shift = 7 + operand_w
    # Word as it is stored: w1 less one where w0 is negative, w0's sign, w0; read as signed.
    signs = np.where(w0 < 0, (1 << (shift - 8)) - 1, 0)
    stored = ((w1 - (w0 < 0)) & 0xFF) << shift | signs << 8 | (w0 & 0xFF)
    packed = (stored ^ (1 << (shift + 7))) - (1 << (shift + 7))
    wide = packed * x
    half = 1 << (shift - 1)
    low = ((wide & (2 * half - 1)) ^ half) - half
    return low, (wide >> shift) + correction * ((wide >> (shift - 1)) & 1)


def check_packing(operands: np.ndarray, operand_w: int) -> None:
    """Hold both products against plain ones, for all 255*255 weights and some operands."""
    w0 = np.arange(-127, 128)[:, None]
    x = operands[None, :]
    expected0 = w0 * x
    for w1 in range(-127, 128):
        low, high = unpacked_products(w1, w0, x, operand_w)
        assert np.array_equal(low, expected0)
        assert np.array_equal(high, np.broadcast_to(w1 * x, high.shape))


def test_packing_is_exact_with_8_bit_operands() -> None:
    """All 255*255*256 operands of the 23x8 product."""
    check_packing(np.arange(-128, 128), 8)


def test_packing_is_exact_with_12_bit_operands() -> None:
    """All 255*255*4096 operands of the 27x12 product."""
    check_packing(np.arange(-2048, 2048), 12)


@pytest.mark.parametrize("operand_w", [8, 12])
def test_packing_needs_its_correction(operand_w: int) -> None:
    """Negative twin: without the bit below it the upper product is wrong."""
    _, high = unpacked_products(5, np.array([[-3]]), np.array([[7]]), operand_w, correction=0)
    assert high[0, 0] != 35


def overlapped_products(
    w1: int, w0: np.ndarray, x: np.ndarray, true_weight: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Do as `unpacked_products`, with a shift two bits too small for the lower product."""
    shift = 17
    signs = np.where(w0 < 0, (1 << (shift - 8)) - 1, 0)
    stored1 = (w1 - (w0 < 0)) & 0xFF
    stored = stored1 << shift | signs << 8 | (w0 & 0xFF)
    packed = (stored ^ (1 << (shift + 7))) - (1 << (shift + 7))
    wide = packed * x
    lowest = (stored1 + ((w0 < 0) if true_weight else 0)) % 4 * (x & 3)
    carry = (((wide >> shift) - lowest) & 3 ^ 2) - 2
    return (carry << shift) + (wide & ((1 << shift) - 1)), (wide >> shift) - carry


def test_overlapped_packing_is_exact() -> None:
    """All 255*255*4096 operands of the 25x12 product."""
    w0 = np.arange(-127, 128)[:, None]
    x = np.arange(-2048, 2048)[None, :]
    expected0 = w0 * x
    assert set(np.unique(expected0 >> 17)) == {-2, -1, 0, 1}
    for w1 in range(-127, 128):
        low, high = overlapped_products(w1, w0, x)
        assert np.array_equal(low, expected0)
        assert np.array_equal(high, np.broadcast_to(w1 * x, high.shape))


def test_overlapped_packing_needs_the_true_weight() -> None:
    """Negative twin: the stored weight of filter 1 is not its weight where w0 is negative."""
    low, high = overlapped_products(5, np.array([[-3]]), np.array([[7]]), true_weight=False)
    assert low[0, 0] != -21 and high[0, 0] != 35


def test_packing_needs_its_shift() -> None:
    """Negative twin: operands of 12 bits do not fit the shift of those of 8."""
    with pytest.raises(AssertionError):
        check_packing(np.array([2047]), 8)
