# SPDX-License-Identifier: Apache-2.0
"""DMAs: the testbench on both simulators, and on builds with other parameters."""

import pytest

from verif.runner import run_block

BUILDS = [
    {"AXI_DATA_W": 128, "ACT_BANKS": 4, "OUTSTANDING": 2},
    {"AXI_DATA_W": 512, "BURST_LEN": 8, "T_P": 16, "Q": 16, "G": 2},
    {"BURST_LEN": 8, "OUTSTANDING": 8, "T_P": 32, "DW": 16, "AXI_ADDR_W": 48},
]
SEEDS = {"UNZIP_SEEDS": "5"}  # of the random test
NOT_TWINS = r"test_dma\.(?!Twin)"


def name_of(parameters: dict[str, int]) -> str:
    """Return the parameters as a test id."""
    return "-".join(f"{key}{value}" for key, value in parameters.items())


@pytest.mark.parametrize("sim, seed", [("verilator", 1), ("icarus", 2)])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    assert run_block("dma", sim, "tiny", seed, extra_env=SEEDS).tests == 30


@pytest.mark.parametrize("parameters", BUILDS, ids=name_of)
def test_other_parameters(parameters: dict[str, int]) -> None:
    """Words narrower and wider than the bus, long and short bursts."""
    result = run_block(
        "dma", "verilator", "tiny", 3, False, NOT_TWINS, SEEDS, parameters=parameters
    )
    assert result.tests == 12
