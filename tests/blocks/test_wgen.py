# SPDX-License-Identifier: Apache-2.0
"""Weights generator: its testbench on both simulators, and on builds with other parameters."""

import pytest

from verif.runner import run_block

BUILDS = [
    {"J": 1, "G": 2},
    {"J": 2, "G": 4},
    {"J": 9, "G": 1},
    {"J": 9, "G": 4, "T_P": 16, "ALPHA_DEPTH": 512},
    {"J": 4, "G": 1, "N_MAX": 64, "DW": 16, "ALPHA_DEPTH": 512},
]
NOT_TWINS = r"test_wgen\.(?!Twin)"


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("sim", ["verilator", "icarus"])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    result = run_block("wgen", sim, "tiny", seed)
    # The X twin needs a four-state simulator.
    assert result.tests == (27 if sim == "icarus" else 26)


@pytest.mark.parametrize(
    "parameters", BUILDS, ids=lambda p: "-".join(f"{k}{v}" for k, v in p.items())
)
def test_other_parameters(parameters: dict[str, int]) -> None:
    """Other widths, other numbers of lanes and of alphas a cycle."""
    result = run_block("wgen", "verilator", "tiny", 3, False, NOT_TWINS, parameters=parameters)
    assert result.tests == 6
