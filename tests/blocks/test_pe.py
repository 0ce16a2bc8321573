# SPDX-License-Identifier: Apache-2.0
"""PE array: its testbench on both simulators and on builds with other parameters; packing."""

import re
from pathlib import Path

import numpy as np
import pytest

from verif.runner import RunError, run_block

BUILDS = [
    {"PAIR": 0},
    {"G": 2, "T_P": 16, "D": 3, "T_R": 4},
    {"G": 4, "T_C": 12, "D": 18},
    {"PAIR": 0, "DW": 16, "G": 2, "T_P": 32, "T_C": 4},
]
BAD_BUILDS = [
    ({"T_C": 7}, r"T_C \(7\)"),
    ({"T_C": 10, "G": 4}, r"T_C \(10\)"),
    ({"G": 3, "T_C": 6}, r"G \(3\)"),
    ({"T_R": 4096}, r"T_R \(4096\)"),
    ({"DW": 16, "PAIR": 1}, r"DW is 16"),
]
NOT_TWINS = r"test_pe\.(?!Twin)"


def name_of(parameters: dict[str, int]) -> str:
    """Return the parameters as a test id."""
    return "-".join(f"{key}{value}" for key, value in parameters.items())


@pytest.mark.parametrize("sim, seed", [("verilator", 1), ("verilator", 2), ("icarus", 1)])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    assert run_block("pe", sim, "tiny", seed).tests == 15


@pytest.mark.parametrize("parameters", BUILDS, ids=name_of)
def test_other_parameters(parameters: dict[str, int]) -> None:
    """Without pairs, other widths and depths, several words a beat."""
    result = run_block("pe", "verilator", "tiny", 3, False, NOT_TWINS, parameters=parameters)
    assert result.tests == 7


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


@pytest.mark.parametrize("parameters, message", BAD_BUILDS, ids=[name_of(p) for p, _ in BAD_BUILDS])
def test_bad_parameters(parameters: dict[str, int], message: str) -> None:
    """The simulation ends with a message that holds the value."""
    with pytest.raises(RunError) as caught:
        run_block("pe", "icarus", "tiny", 1, False, NOT_TWINS, parameters=parameters)
    log = re.search(r"^log: (.+)$", str(caught.value), re.MULTILINE)
    assert log, caught.value
    assert re.search(rf"FATAL: .*unzip_pe_(array|pair): .*{message}", Path(log[1]).read_text())


def unpacked_products(
    w1: int, w0: np.ndarray, x: np.ndarray, correction: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Multiply packed weights as ``unzip_pe_pair`` does and take the product apart."""
    # Word as it is stored: w1 less one where w0 is negative, w0's sign, w0; read as 27 bits.
    stored = ((w1 - (w0 < 0)) & 0xFF) << 19 | (np.where(w0 < 0, 0x7FF, 0) << 8) | (w0 & 0xFF)
    packed = (stored ^ (1 << 26)) - (1 << 26)
    wide = packed * x
    low = ((wide & 0x7FFFF) ^ (1 << 18)) - (1 << 18)
    return low, (wide >> 19) + correction * ((wide >> 18) & 1)


def test_packing_is_exact_for_all_operands() -> None:
    """All 255*255*4096 operands: two products out of one multiplication."""
    w0 = np.arange(-127, 128)[:, None]
    x = np.arange(-2048, 2048)[None, :]
    expected0 = w0 * x
    for w1 in range(-127, 128):
        low, high = unpacked_products(w1, w0, x)
        assert np.array_equal(low, expected0)
        assert np.array_equal(high, np.broadcast_to(w1 * x, high.shape))


def test_packing_needs_its_correction() -> None:
    """Negative twin: without bit 18 the upper product is wrong."""
    _, high = unpacked_products(5, np.array([[-3]]), np.array([[7]]), correction=0)
    assert high[0, 0] != 35
