# SPDX-License-Identifier: Apache-2.0
"""Weights generator: its testbench on both simulators, and on builds with other parameters."""

import pytest

from verif.runner import run_block

BUILDS = [
    {"J": 1, "G": 2},
    {"J": 9, "G": 1, "CHANNEL_AXIS": 0},
    {"J": 8, "G": 4, "T_P": 32, "ALPHA_DEPTH": 512},
    {"J": 4, "G": 1, "N_MAX": 64, "DW": 16, "ALPHA_DEPTH": 512},
]
# Long code lists, 16 bits and groups together with every T_P: random jobs only, many of them.
MORE_BUILDS = [
    {"J": 2, "G": 4, "T_P": 16, "ALPHA_DEPTH": 512},
    {"J": 1, "T_P": 16, "N_MAX": 64, "ALPHA_DEPTH": 1024},
    {"J": 8, "G": 8, "T_P": 8},
    {"J": 4, "G": 2, "T_P": 32, "DW": 16, "ALPHA_DEPTH": 512},
    {"J": 2, "T_P": 16, "DW": 16, "N_MAX": 64, "ALPHA_DEPTH": 1024},
    {"J": 7, "T_P": 32, "CHANNEL_AXIS": 0},
]
NOT_TWINS = r"test_wgen\.(?!Twin)"


def name_of(parameters: dict[str, int]) -> str:
    """Return the parameters as a test id."""
    return "-".join(f"{key}{value}" for key, value in parameters.items())


@pytest.mark.parametrize("sim, seed", [("verilator", 1), ("icarus", 2)])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    result = run_block("wgen", sim, "tiny", seed)
    # The X twin needs a four-state simulator.
    assert result.tests == (32 if sim == "icarus" else 31)


@pytest.mark.parametrize("parameters", BUILDS, ids=name_of)
def test_other_parameters(parameters: dict[str, int]) -> None:
    """Other widths, other numbers of lanes and of alphas a cycle."""
    result = run_block("wgen", "verilator", "tiny", 3, False, NOT_TWINS, parameters=parameters)
    assert result.tests == 8


@pytest.mark.slow
@pytest.mark.parametrize("parameters", MORE_BUILDS, ids=name_of)
def test_more_parameters(parameters: dict[str, int]) -> None:
    """50 seeds of random jobs on other builds."""
    env = {"UNZIP_SEEDS": "50"}
    run_block("wgen", "verilator", "tiny", 1, False, "RandomJobs", env, parameters=parameters)


def test_power_up_state() -> None:
    """The same stimuli on another power-up state give the same words in the same cycles."""
    traces = []
    for power_up, stimuli in [(4, 7), (5, 7), (5, 8)]:
        env = {"UNZIP_STIMULI": str(stimuli), "UNZIP_TRACE": "words.txt"}
        result = run_block("wgen", "verilator", "tiny", power_up, False, "RandomJobs", env)
        traces.append((result.run_dir / "words.txt").read_text())
    assert traces[0].count("\n") >= 200
    assert traces[0] == traces[1]
    assert traces[1] != traces[2], "other stimuli leave the same trace: it shows nothing"
