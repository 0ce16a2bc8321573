# SPDX-License-Identifier: Apache-2.0
"""The whole engine: its testbench on both simulators and on other builds."""

from pathlib import Path

import pytest

from verif.runner import RunError, design_files, run_block

TESTS, TWINS = 11, 27
BUILDS = [
    {"DW": 16, "PAIR": 0, "OPERAND_W": 16},
    {"AXI_DATA_W": 128, "G": 2, "ACT_BANKS": 4, "PAIR": 0, "T_C": 12, "D": 7, "J": 3}
    | {"CHANNEL_AXIS": 0},
    {"AXI_DATA_W": 512, "BURST_LEN": 4, "OUTSTANDING": 2, "J": 1, "Q": 8, "D": 4, "T_R": 5}
    | {"TRACE_DEPTH": 4},
    {"AXI_DATA_W": 256, "BURST_LEN": 1, "G": 4, "ACT_BANKS": 8, "PAIR": 0, "T_C": 4, "Q": 2}
    | {"D": 2, "J": 9, "CHANNEL_AXIS": 0, "T_P": 32, "T_R": 2, "ALPHA_DEPTH": 512, "POOL_W": 64},
    {"T_C": 32, "Q": 16, "ACT_BANKS": 8, "S": 2, "G": 2, "ALPHA_DEPTH": 1024},
    {"T_C": 32, "Q": 32, "ACT_BANKS": 4, "DW": 16, "PAIR": 0, "OPERAND_W": 16, "T_R": 7}
    | {"ALPHA_DEPTH": 2048},
]
TWO_WORDS = {"T_C": 16, "Q": 16, "ALPHA_DEPTH": 1024}
FOUR_WORDS = {"T_C": 32, "Q": 32, "ACT_BANKS": 8, "ALPHA_DEPTH": 2048}
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


@pytest.mark.parametrize("parameters", [TWO_WORDS, FOUR_WORDS], ids=["two", "four"])
def test_groups_of_words(parameters: dict[str, int]) -> None:
    """Post-processing drains, adds, pools and writes two or four words of T_P channels a cycle."""
    run_build(parameters)


def test_icarus_groups_of_words() -> None:
    """The same on a four-state simulator."""
    names = "RandomNetworks|Residuals"
    parameters = TWO_WORDS
    result = run_block("engine", "icarus", "tiny", 3, False, names, parameters=parameters)
    assert result.tests == 2


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("NumberW'(p) - NumberW'(out_bank)", "NumberW'(p)"),  # a word is at the other's port
        ("<= block_addr_q[number*16+:16] +", "<= block_addr_q[15:0] +"),  # in the other's entry
    ],
    ids=["port", "entry"],
)
def test_faults_of_groups_of_words(line: str, fault: str, tmp_path: Path) -> None:
    """Negative twins: what only a drain of several words can do wrong shows in the outputs."""
    files = []
    for path in design_files():
        files.append(path)
        if path.name == "unzip_post.sv":
            text = path.read_text(encoding="utf-8")
            assert text.count(line) == 1
            files[-1] = tmp_path / path.name
            files[-1].write_text(text.replace(line, fault), encoding="utf-8")
    with pytest.raises(RunError):
        run_block(
            *("engine", "verilator", "tiny", 3, False, "RandomNetworks"),
            parameters=TWO_WORDS,
            files=files,
            build_root=tmp_path / "build",
        )
    log = next(tmp_path.glob("build/**/sim.log")).read_text(encoding="utf-8")
    assert "Mismatch" in log or "AddressInside" in log or "BankOfPort" in log


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
    assert traces[0].count("\n") >= 6
    assert traces[0] == traces[1]
    assert traces[1] != traces[2], "other stimuli leave the same trace: it shows nothing"
