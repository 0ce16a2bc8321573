# SPDX-License-Identifier: Apache-2.0
"""A parameter outside its limits stops elaboration on three tools, and a preset with it is refused.

Every module of ``rtl/`` is tried alone. The message holds the value, and the limit where that
depends on other parameters. Values at the limits elaborate, so that no limit is tighter than said.
"""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from scripts.lint import LINT, include_flags
from unzipfpga.config import Config, load_config
from verif.runner import (
    core_files,
    design_files,
    module_parameters,
    sources_of,
    tool_environment,
    verilator_root,
)

TOOLS = ("verilator", "icarus", "yosys")

# Limits of the build's parameters: values outside and what is said of them, values just inside.
# The other parameters are those of `tiny`.
LIMITS: dict[str, tuple[list[tuple[dict[str, int], str]], list[dict[str, int]]]] = {
    "T_P": (
        [({"T_P": v}, f"T_P ({v}) is not 8, 16 or 32.") for v in (0, 4, 12, 64)],
        [{"T_P": 16}, {"T_P": 32}],
    ),
    "T_C": (
        [
            ({"T_C": v, "Q": 1}, f"T_C ({v}) is not an even number from 2 to 256.")
            for v in (0, 7, 258)
        ],
        [{"T_C": 2, "Q": 2}, {"T_C": 256, "Q": 8}],
    ),
    "T_R": (
        [({"T_R": v}, f"T_R ({v}) is outside 2 to 2048.") for v in (1, 2049)],
        [{"T_R": 2}, {"T_R": 2048}],
    ),
    "S": ([({"S": v}, f"S ({v}) is not 1, 2 or 4.") for v in (0, 3, 8)], []),
    "ACT_BANKS_S": ([({"S": 2, "ACT_BANKS": 2}, "ACT_BANKS (2) is less than 2*S; S is 2.")], []),
    "J": (
        [({"J": v, "CHANNEL_AXIS": 0}, f"J ({v}) is outside 1 to 64.") for v in (0, 65)],
        [{"J": 1}, {"J": 64, "N_MAX": 64, "CHANNEL_AXIS": 0}],
    ),
    "G": (
        [({"G": v, "T_C": 48}, f"G ({v}) is not 1, 2, 4 or 8.") for v in (0, 3, 6, 16)],
        [{"G": 8}],
    ),
    "G_T_C": ([({"G": 4, "T_C": 10, "Q": 2}, "T_C (10) is not a multiple of G (4).")], []),
    "S_T_C": (
        [
            ({"S": 4, "ACT_BANKS": 8, "T_C": 4}, "T_C (4) is too small for S (4) groups of 2."),
            (
                {"S": 2, "ACT_BANKS": 4, "T_C": 4, "G": 4},
                "T_C (4) is too small for S (2) groups of 4.",
            ),
        ],
        [{"S": 4, "ACT_BANKS": 8, "T_C": 8}],
    ),
    "D": (
        [({"D": v}, f"D ({v}) is outside 2 to 64.") for v in (1, 65)],
        [{"D": 2}, {"D": 64}],
    ),
    "N_MAX": (
        [({"N_MAX": v}, f"N_MAX ({v}) is outside 1 to 64.") for v in (0, 65)],
        [{"N_MAX": 1}, {"N_MAX": 64}],
    ),
    "CHANNEL_AXIS": (
        [({"CHANNEL_AXIS": 2}, "CHANNEL_AXIS (2) is neither 0 nor 1.")],
        [{"CHANNEL_AXIS": 0}, {"CHANNEL_AXIS": 1, "J": 8}],
    ),
    "CHANNEL_AXIS_J": (
        [
            ({"J": v}, f"J ({v}) is not 1, 2, 4 or 8, as CHANNEL_AXIS (1) needs it.")
            for v in (3, 16)
        ],
        [],
    ),
    "Q_T_P": (
        [
            (
                {"Q": v, "T_C": 192, "ACT_BANKS": 8},
                f"Q ({v}) is neither a divisor of T_P (8) nor 2*T_P or 4*T_P.",
            )
            for v in (0, 3, 24, 64)
        ],
        [{"Q": 1}, {"Q": 8}, {"Q": 16, "T_C": 16}, {"Q": 32, "T_C": 32, "ACT_BANKS": 4}],
    ),
    "Q_ACT_BANKS": (
        [
            (
                {"Q": 32, "T_C": 32},
                "ACT_BANKS (2) is too small for Q (32): a bank takes T_P (8) at a time.",
            )
        ],
        [],
    ),
    "Q_T_C": ([({"T_C": 6}, "T_C (6) is not a multiple of Q (4).")], []),
    "GROUPS": (
        [({"T_C": 248, "Q": 1}, "Q (1) is too small: (T_C + T_P)/Q is 256, at most 255.")],
        [{"T_C": 246, "Q": 1}],
    ),
    "DW": (
        [({"DW": v, "PAIR": 0}, f"DW ({v}) is neither 8 nor 16.") for v in (0, 12, 32)],
        [{"DW": 16, "PAIR": 0, "OPERAND_W": 20}],
    ),
    "PAIR": ([({"PAIR": 3}, "PAIR (3) is not 0, 1 or 2.")], [{"PAIR": 0}, {"PAIR": 2}]),
    "PAIR_DW": (
        [({"PAIR": 1, "DW": 16, "OPERAND_W": 16}, "PAIR (1) needs DW = 8; DW is 16.")],
        [],
    ),
    "PAIR_OPERAND_W": (
        [({"PAIR": 2, "OPERAND_W": 8}, "PAIR (2) needs OPERAND_W = 12; OPERAND_W is 8.")],
        [],
    ),
    "OPERAND_W": (
        [({"OPERAND_W": v}, f"OPERAND_W ({v}) is neither DW (8) nor DW + 4.") for v in (0, 9, 16)],
        [{"OPERAND_W": 8, "PROJECTOR": 0}, {"OPERAND_W": 12}],
    ),
    "PROJECTOR": (
        [({"PROJECTOR": v}, f"PROJECTOR ({v}) is neither 0 nor 1.") for v in (2, 3)],
        [{"PROJECTOR": 0}, {"PROJECTOR": 1}],
    ),
    "PROJECTOR_OPERAND_W": (
        [
            (
                {"PROJECTOR": 1, "OPERAND_W": 8},
                "PROJECTOR (1) needs OPERAND_W of DW + 4; OPERAND_W is 8.",
            )
        ],
        [],
    ),
    "ACT_DEPTH": (
        [({"ACT_DEPTH": v}, f"ACT_DEPTH ({v}) is outside 2 to 65536.") for v in (1, 65537)],
        [{"ACT_DEPTH": 2}, {"ACT_DEPTH": 65536}],
    ),
    "ACT_BANKS": (
        [({"ACT_BANKS": v}, f"ACT_BANKS ({v}) is not 2, 4 or 8.") for v in (0, 1, 3, 16)],
        [{"ACT_BANKS": 8}],
    ),
    "ALPHA_DEPTH": (
        [({"ALPHA_DEPTH": v}, f"ALPHA_DEPTH ({v}) is outside 2 to 65536.") for v in (1, 65537)],
        [{"ALPHA_DEPTH": 2}, {"ALPHA_DEPTH": 65536}],
    ),
    "PARAM_DEPTH": (
        [({"PARAM_DEPTH": v}, f"PARAM_DEPTH ({v}) is outside 2 to 4096.") for v in (1, 4097)],
        [{"PARAM_DEPTH": 2}, {"PARAM_DEPTH": 4096}],
    ),
    "POOL_W": (
        [({"POOL_W": v}, f"POOL_W ({v}) is outside 2 to 4095.") for v in (1, 4096)],
        [{"POOL_W": 2}, {"POOL_W": 4095}],
    ),
    "AXI_DATA_W": (
        [
            ({"AXI_DATA_W": v}, f"AXI_DATA_W ({v}) is not 64, 128, 256 or 512.")
            for v in (0, 32, 96, 1024)
        ],
        [{"AXI_DATA_W": 512}],
    ),
    "AXI_ADDR_W": (
        [({"AXI_ADDR_W": v}, f"AXI_ADDR_W ({v}) is outside 40 to 64.") for v in (39, 65)],
        [{"AXI_ADDR_W": 64}],
    ),
    "BURST_LEN": (
        [
            ({"BURST_LEN": v}, f"BURST_LEN ({v}) is not a power of two from 1 to 256.")
            for v in (0, 12, 512)
        ],
        [{"BURST_LEN": 1}, {"BURST_LEN": 256}],
    ),
    "BURST_BYTES": (
        [
            (
                {"BURST_LEN": 128, "AXI_DATA_W": 512},
                "BURST_LEN (128) times AXI_DATA_W (512) is 8192 bytes, more than 4096.",
            )
        ],
        [{"BURST_LEN": 64, "AXI_DATA_W": 512}],
    ),
    "OUTSTANDING": (
        [
            ({"OUTSTANDING": v}, f"OUTSTANDING ({v}) is not a power of two from 2 to 64.")
            for v in (0, 1, 3, 128)
        ],
        [{"OUTSTANDING": 2}, {"OUTSTANDING": 64}],
    ),
    "TRACE_DEPTH": (
        [({"TRACE_DEPTH": v}, f"TRACE_DEPTH ({v}) is outside 2 to 65536.") for v in (1, 65537)],
        [{"TRACE_DEPTH": 2}],
    ),
}

# Parameters that are no part of a preset, and what their modules say of bad values.
PARTS: list[tuple[str, dict[str, int], str]] = [
    ("unzip_fifo", {"DEPTH": 6}, "DEPTH (6) is not a power of two of at least 2."),
    ("unzip_fifo", {"DEPTH": 1}, "DEPTH (1) is not a power of two of at least 2."),
    ("unzip_fifo", {"WIDTH": 0}, "WIDTH (0) is not at least 1."),
    ("unzip_ram", {"WIDTH": 12, "MASKS": 5}, "WIDTH (12) is not a multiple of MASKS (5)."),
    ("unzip_ram", {"MASKS": 0}, "WIDTH (8) is not a multiple of MASKS (0)."),
    ("unzip_ram", {"DEPTH": 0}, "DEPTH (0) is not at least 1."),
    ("unzip_ram", {"WIDTH": 0}, "WIDTH (0) is not at least 1."),
    ("unzip_gearbox", {"IN_W": 24}, "IN_W (24) to OUT_W (64) is not a power-of-two ratio."),
    ("unzip_gearbox", {"OUT_W": 192}, "IN_W (64) to OUT_W (192) is not a power-of-two ratio."),
    ("unzip_gearbox", {"IN_W": 0}, "IN_W (0) is not at least 1."),
    ("unzip_gearbox", {"OUT_W": 0}, "OUT_W (0) is not at least 1."),
    (
        "unzip_projector",
        {"OPERAND_W": 8},
        "OPERAND_W (8) is not DW (8) + 4: projections need as much.",
    ),
    ("unzip_adder_tree", {"N": 12}, "N (12) is not a power of two of at least 2."),
    ("unzip_adder_tree", {"WIDTH": 0}, "WIDTH (0) is not at least 1."),
    ("unzip_max_pool", {"Q": 0}, "Q (0) is not at least 1."),
    ("unzip_max_pool", {"GROUPS": 0}, "GROUPS (0) is not at least 1."),
    ("unzip_max_pool", {"POOL_DEPTH": 1}, "POOL_DEPTH (1) is not at least 2."),
    ("unzip_ctrl", {"SOURCES": 0}, "SOURCES (0) is not at least 1."),
    ("unzip_counters", {"EVENTS": 0}, "EVENTS (0) is not at least 1."),
    ("unzip_trace", {"STAGES": 0}, "STAGES (0) is outside 1 to 8."),
    ("unzip_trace", {"STAGES": 9}, "STAGES (9) is outside 1 to 8."),
    ("unzip_tokens", {"TOKENS": 0}, "TOKENS (0) is not at least 1."),
    ("unzip_tokens", {"STAGES": 8}, "STAGES (8) is outside 1 to 7."),
    ("unzip_stage", {"TOKENS": 0}, "TOKENS (0) is not at least 1."),
    ("unzip_stage", {"JOBS": 3}, "JOBS (3) is not a power of two of at least 2."),
    ("unzip_load", {"JOBS": 3}, "JOBS (3) is not a power of two of at least 2."),
    ("unzip_axi_write", {"BURSTS": 3}, "BURSTS (3) is not a power of two of at least 2."),
    ("unzip_dispatch", {"DEPTH": 3}, "DEPTH (3) is not a power of two of at least 2."),
    ("unzip_residual", {"DEPTH": 3}, "DEPTH (3) is not a power of two of at least 2."),
    ("unzip_fetch", {"QUEUE_DEPTH": 3}, "QUEUE_DEPTH (3) is not a power of two of at least 2."),
]


# --------------------------------------------------------------------------------------------------
# Elaboration
# --------------------------------------------------------------------------------------------------


@cache
def modules() -> list[str]:
    """Return the modules of the RTL."""
    found = []
    for path in core_files("rtl"):
        found += re.findall(r"^module (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found


@cache
def checks_of(module: str) -> set[str]:
    """Return the limits that a module checks."""
    (path,) = [path for path in core_files("rtl") if path.stem == module]
    return set(re.findall(r"`UNZIP_LIMIT_([A-Z_]+)$", path.read_text(), re.MULTILINE))


@cache
def sources(module: str) -> tuple[list[str], list[str], set[str]]:
    """Return a module's files, the directories of its headers, and its parameters."""
    files = sources_of(module, design_files())
    paths = [str(path) for path in files if path.suffix != ".svh"]
    return paths, include_flags(files), module_parameters(module, files)


def values_of(module: str, change: dict[str, int]) -> dict[str, int]:
    """Return the parameters of a module of `tiny`, changed."""
    accepted = sources(module)[2]
    preset = load_config("tiny").parameters() | change
    return {name: value for name, value in preset.items() if name in accepted}


# Yosys ends its process on an error: one process reads the files and leaves each set of parameters
# (a line: MODULE NAME=VALUE ...) to a child.
YOSYS = """
import os, sys
from pyosys import libyosys
design = libyosys.Design()
libyosys.run_pass(sys.argv[1], design)
for number, line in enumerate(sys.argv[2:]):
    child = os.fork()
    if child == 0:
        log = os.open(f"{number}.log", os.O_CREAT | os.O_WRONLY, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        module, *values = line.split()
        words = " ".join("-chparam " + value.replace("=", " ") for value in values)
        libyosys.run_pass(f"hierarchy -check -top {module} {words}", design)
        libyosys.run_pass("proc", design)
        os.write(1, b"\\nELABORATED\\n")
        os._exit(0)
    os.waitpid(child, 0)
"""


def run(command: list[str], folder: Path) -> tuple[bool, str]:
    """Run a tool; return whether it ended well, and what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=tool_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode == 0, done.stdout


def elaborate(
    tool: str, module: str, changes: list[dict[str, int]], folder: Path
) -> list[tuple[bool, str]]:
    """Return for each set of parameters whether a module was accepted, and the log."""
    paths, includes, _ = sources(module)
    if tool == "yosys":
        lines = [
            " ".join([module, *(f"{k}={v}" for k, v in values_of(module, change).items())])
            for change in changes
        ]
        reading = f"read_verilog -sv -defer {' '.join(includes)} {' '.join(paths)}"
        ended, log = run([sys.executable, "-c", YOSYS, reading, *lines], folder)
        assert ended, log
        logs = [(folder / f"{number}.log").read_text() for number in range(len(changes))]
        return [(log.endswith("\nELABORATED\n"), log) for log in logs]
    results = []
    for change in changes:
        values = values_of(module, change)
        if tool == "verilator":
            flags = [f"-G{name}={value}" for name, value in values.items()]
            command = [str(verilator_root() / "bin" / "verilator"), "--lint-only", "-Wall"]
            command += ["--timescale", "1ns/1ps", "--top-module", module, *flags, *includes]
            results.append(run([*command, str(LINT / "verilator.vlt"), *paths], folder))
            continue
        flags = [f"-P{module}.{name}={value}" for name, value in values.items()]
        command = ["iverilog", "-g2012", "-tnull", "-s", module, *flags, *includes, *paths]
        accepted, log = run(command, folder)
        results.append((accepted, icarus_messages(log)))
    return results


def icarus_messages(log: str) -> str:
    """Put the values that Icarus prints behind a format into their places."""
    lines = []
    for line in log.splitlines():
        call = re.search(r"\$outside_limits\((.*)\)", line)
        if call:
            text, *values = re.findall(r"\"[^\"]*\"|'sd-?\d+", call[1])
            for value in values:
                text = re.sub("%0d|%s", value.removeprefix("'sd").strip('"'), text, count=1)
            line = text
        lines.append(line)
    return "\n".join(lines)


Row = tuple[dict[str, int], str]


def covered(module: str) -> list[str]:
    """Return the entries of LIMITS whose macro a module has."""
    macros = checks_of(module)
    inside = {
        "CHANNEL_AXIS_J": "CHANNEL_AXIS",
        "PAIR_DW": "PAIR",
        "PAIR_OPERAND_W": "PAIR",
        "GROUPS": "Q_T_C",
        "BURST_BYTES": "BURST_LEN",
    }
    return [name for name in LIMITS if inside.get(name, name) in macros]


def rows_of(module: str) -> list[Row]:
    """Return one bad value of each limit of a module's parameters, and what is to be said of it."""
    rows = [LIMITS[name][0][-1] for name in covered(module)]
    return rows + [(change, message) for part, change, message in PARTS if part == module]


def refused(tool: str, module: str, rows: list[Row], folder: Path) -> None:
    """Fail unless the tool refuses each of a module's bad parameters with the right message."""
    results = elaborate(tool, module, [change for change, _ in rows], folder)
    for (change, message), (accepted, log) in zip(rows, results, strict=True):
        assert not accepted, f"{module} with {change} was accepted"
        assert message in log, f"{module} with {change}:\n{log[-2000:]}"


# --------------------------------------------------------------------------------------------------
# Tests
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("module", ["unzip_wgen", "unzip_post", "unzip_gearbox", "unzip_axi_write"])
def test_bad_parameters_stop_a_block(module, tool, tmp_path):
    refused(tool, module, rows_of(module), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("module", modules())
def test_bad_parameters_stop_every_block(module, tool, tmp_path):
    refused(tool, module, rows_of(module), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", LIMITS)
def test_every_bad_value_stops_the_smallest_block(name, tool, tmp_path):
    sizes = {
        module: sum(Path(path).stat().st_size for path in sources(module)[0])
        for module in modules()
        if name in covered(module)
    }
    refused(tool, min(sizes, key=lambda module: sizes[module]), LIMITS[name][0], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_parameters_at_their_limits_elaborate(tool, tmp_path):
    changes = [change for _, good in LIMITS.values() for change in good]
    results = elaborate(tool, "unzip", changes, tmp_path)
    for change, (accepted, log) in zip(changes, results, strict=True):
        assert accepted, f"{change}: {log[-2000:]}"


def test_every_module_checks_all_its_parameters():
    for module in modules():
        own = sources(module)[2]
        known = {name for bad, _ in LIMITS.values() for change, _ in bad for name in change}
        inside = {"Q": "Q_T_P"}
        (path,) = [path for path in core_files("rtl") if path.stem == module]
        text = path.read_text(encoding="utf-8")
        for name in own & known:
            macro = inside.get(name, name)
            pattern = rf"`UNZIP_LIMIT_({macro}$|\w+\({name}, )"
            assert re.search(pattern, text, re.MULTILINE), f"{module} does not check {name}"
        for name in own - known:
            assert any(part == module and name in change for part, change, _ in PARTS), (
                f"{module}: no bad value of {name} is tried"
            )


def test_presets_have_the_same_limits():
    preset = load_config("tiny").parameters()
    for name, (bad, good) in LIMITS.items():
        for change, _ in bad:
            with pytest.raises(ValueError) as refusal:
                Config.model_validate(preset | change)
            assert any(parameter in str(refusal.value) for parameter in change), (name, change)
        for change in good:
            Config.model_validate(preset | change)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_missing_check_is_seen(tool, tmp_path, monkeypatch):
    """Negative twin: a module that has lost its check takes the bad value."""
    paths, includes, own = sources("unzip_tokens")
    (source,) = [Path(path) for path in paths if Path(path).stem == "unzip_tokens"]
    changed = tmp_path / source.name
    text = source.read_text(encoding="utf-8").replace("`UNZIP_LIMIT_RANGE(STAGES", "// ")
    changed.write_text(text, encoding="utf-8")
    others = [path for path in paths if path != str(source)]
    monkeypatch.setattr(f"{__name__}.sources", lambda _: ([*others, str(changed)], includes, own))
    with pytest.raises(AssertionError, match="'STAGES': 8} was accepted"):
        refused(tool, "unzip_tokens", rows_of("unzip_tokens")[-1:], tmp_path)
