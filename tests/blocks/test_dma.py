# SPDX-License-Identifier: Apache-2.0
"""DMAs: the testbench on both simulators, and on builds with other parameters."""

import re
from pathlib import Path

import pytest

from verif.runner import RunError, run_block

BUILDS = [
    {"AXI_DATA_W": 128, "ACT_BANKS": 4, "OUTSTANDING": 2},
    {"AXI_DATA_W": 512, "BURST_LEN": 8, "T_P": 16, "Q": 16, "G": 2},
    {"BURST_LEN": 8, "OUTSTANDING": 8, "T_P": 32, "DW": 16, "AXI_ADDR_W": 48},
]
BAD_BUILDS = [
    ({"BURST_LEN": 12}, r"BURST_LEN \(12\)"),
    ({"OUTSTANDING": 3}, r"OUTSTANDING \(3\)"),
    ({"AXI_ADDR_W": 36}, r"AXI_ADDR_W \(36\)"),
]
NOT_TWINS = r"test_dma\.(?!Twin)"


def name_of(parameters: dict[str, int]) -> str:
    """Return the parameters as a test id."""
    return "-".join(f"{key}{value}" for key, value in parameters.items())


@pytest.mark.parametrize("sim, seed", [("verilator", 1), ("icarus", 2)])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    assert run_block("dma", sim, "tiny", seed).tests == 25


@pytest.mark.parametrize("parameters", BUILDS, ids=name_of)
def test_other_parameters(parameters: dict[str, int]) -> None:
    """Words narrower and wider than the bus, long and short bursts."""
    result = run_block("dma", "verilator", "tiny", 3, False, NOT_TWINS, parameters=parameters)
    assert result.tests == 11


@pytest.mark.parametrize("parameters, message", BAD_BUILDS, ids=[name_of(p) for p, _ in BAD_BUILDS])
def test_bad_parameters(parameters: dict[str, int], message: str) -> None:
    """The simulation ends with a message that holds the value."""
    with pytest.raises(RunError) as caught:
        run_block("dma", "icarus", "tiny", 1, False, NOT_TWINS, parameters=parameters)
    log = re.search(r"^log: (.+)$", str(caught.value), re.MULTILINE)
    assert log, caught.value
    assert re.search(rf"FATAL: .*unzip_load: .*{message}", Path(log[1]).read_text())
