# SPDX-License-Identifier: Apache-2.0
"""The whole engine: its testbench on both simulators and on other builds."""

import pytest

from verif.runner import run_block

TESTS, TWINS = 11, 27
BUILDS = [
    {"DW": 16, "PAIR": 0, "OPERAND_W": 16},
    {"AXI_DATA_W": 128, "G": 2, "ACT_BANKS": 4, "PAIR": 0, "T_C": 12, "D": 7, "J": 3}
    | {"CHANNEL_AXIS": 0},
    {"AXI_DATA_W": 512, "BURST_LEN": 4, "OUTSTANDING": 2, "J": 1, "Q": 8, "D": 4, "T_R": 5}
    | {"TRACE_DEPTH": 4},
    {"AXI_DATA_W": 256, "BURST_LEN": 1, "G": 4, "ACT_BANKS": 8, "PAIR": 0, "T_C": 4, "Q": 2}
    | {"D": 2, "J": 9, "CHANNEL_AXIS": 0, "T_P": 32, "T_R": 2, "ALPHA_DEPTH": 512, "POOL_W": 64},
]
NOT_TWINS = r"test_engine\.(?!Twin)"


def test_preset_tiny() -> None:
    """All tests, negative twins included."""
    assert run_block("engine", "verilator", "tiny", 1).tests == TESTS + TWINS


@pytest.mark.slow
def test_preset_base() -> None:
    """All tests on the build that the network runs use."""
    assert run_block("engine", "verilator", "base", 2, False, NOT_TWINS).tests == TESTS


def test_preset_select() -> None:
    """All tests on input-selective PEs."""
    assert run_block("engine", "verilator", "select", 5, False, NOT_TWINS).tests == TESTS


def test_icarus() -> None:
    """Few programs, errors and resets, on a four-state simulator."""
    names = "RandomNetworks|Residuals|Shapes|ThroughScratch|Errors|SoftReset|LowAddressBits"
    names += "|TwinOutputBit|TwinErrorCode"
    assert run_block("engine", "icarus", "tiny", 3, False, names).tests == 9


def run_build(parameters: dict[str, int]) -> None:
    """Run what holds on every build: the races of the tokens are made for the presets."""
    tests = r"test_engine\.(?!Twin|Tokens)"
    result = run_block("engine", "verilator", "tiny", 4, False, tests, parameters=parameters)
    assert result.tests == TESTS - 1


def test_other_build() -> None:
    """DW = 16 over the whole ranges, a wider bus, two words a cycle, sizes of no power of two."""
    run_build(
        {
            "DW": 16,
            "PAIR": 0,
            "OPERAND_W": 20,
            "AXI_DATA_W": 128,
            "G": 2,
            "ACT_BANKS": 4,
            "T_C": 12,
            "D": 7,
            "J": 3,
            "CHANNEL_AXIS": 0,
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("parameters", BUILDS, ids=range(len(BUILDS)))
def test_more_builds(parameters: dict[str, int]) -> None:
    """16 bits; the widest bus; bursts of one beat; the least rows, steps and marks."""
    run_build(parameters)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["tiny", "select", "wide", "base"])
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_many_networks(config: str, seed: int) -> None:
    """200 random networks a seed; every situation must have occurred."""
    env = {"UNZIP_ITEMS": "200"}
    run_block("engine", "verilator", config, seed, False, "RandomNetworks", env)


def test_power_up_pins() -> None:
    """A seed with which clock and dump pin stand at 1 before the first reset: nothing is dumped."""
    env = {"UNZIP_ITEMS": "1"}
    run_block("engine", "verilator", "tiny", 501, False, "RandomNetworks", env)


def test_power_up_state() -> None:
    """The same programs on another power-up state give the same outputs, counters and marks."""
    traces = []
    for power_up, stimuli in [(4, 7), (5, 7), (5, 8)]:
        env = {"UNZIP_STIMULI": str(stimuli), "UNZIP_TRACE": "runs.txt", "UNZIP_ITEMS": "6"}
        result = run_block("engine", "verilator", "tiny", power_up, False, "RandomNetworks", env)
        traces.append((result.run_dir / "runs.txt").read_text())
    assert traces[0].count("\n") == 6
    assert traces[0] == traces[1]
    assert traces[1] != traces[2], "other stimuli leave the same trace: it shows nothing"
