# SPDX-License-Identifier: Apache-2.0
"""The whole engine: its testbench on both simulators and on other builds."""

import pytest

from verif.runner import run_block

TESTS, TWINS = 8, 24
NOT_TWINS = r"test_engine\.(?!Twin)"


def test_preset_tiny() -> None:
    """All tests, negative twins included."""
    assert run_block("engine", "verilator", "tiny", 1).tests == TESTS + TWINS


def test_preset_base() -> None:
    """All tests on the build that the network runs use."""
    assert run_block("engine", "verilator", "base", 2, False, NOT_TWINS).tests == TESTS


def test_icarus() -> None:
    """Few programs, errors and resets, on a four-state simulator."""
    names = "RandomNetworks|Errors|SoftReset|LowAddressBits|TwinOutputBit|TwinErrorCode"
    assert run_block("engine", "icarus", "tiny", 3, False, names).tests == 6


@pytest.mark.slow
@pytest.mark.parametrize("config", ["tiny", "base"])
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_many_networks(config: str, seed: int) -> None:
    """200 random networks a seed; every situation must have occurred."""
    env = {"UNZIP_ITEMS": "200"}
    run_block("engine", "verilator", config, seed, False, "RandomNetworks", env)


def test_power_up_state() -> None:
    """The same programs on another power-up state give the same outputs, counters and marks."""
    traces = []
    for power_up, stimuli in [(4, 7), (5, 7), (5, 8)]:
        env = {"UNZIP_STIMULI": str(stimuli), "UNZIP_TRACE": "runs.txt", "UNZIP_ITEMS": "12"}
        result = run_block("engine", "verilator", "tiny", power_up, False, "RandomNetworks", env)
        traces.append((result.run_dir / "runs.txt").read_text())
    assert traces[0].count("\n") == 12
    assert traces[0] == traces[1]
    assert traces[1] != traces[2], "other stimuli leave the same trace: it shows nothing"
