# SPDX-License-Identifier: Apache-2.0
"""Check all sources (``make lint``), or format them (``make format``).

Each step is a plain function that returns the tools' complaints as text, empty if there are none.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from unzipfpga.config import load_config
from unzipfpga.errors import UnzipError
from verif.runner import (
    BLOCKS,
    RunError,
    design_files,
    module_parameters,
    sources_of,
    tool_environment,
    verilator_root,
)

ROOT = Path(__file__).resolve().parents[1]
LINT = ROOT / "lint"
PRESETS = ("tiny", "select", "base", "zcu104")
HDL_FOLDERS = ("rtl", "verif/hdl")
SPDX = "SPDX-License-Identifier: Apache-2.0"
SPDX_SUFFIXES = {".py", ".sv", ".svh", ".sh", ".yaml", ".yml", ".toml", ".core", ".rdl", ".vlt"}
SPDX_SUFFIXES |= {".c", ".cpp", ".h", ".rules", ".in"}


def run(command: Sequence[object]) -> tuple[int, str]:
    """Run a tool in the repository; return its exit status and all that it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=tool_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout.strip()


def complaints(command: Sequence[object]) -> str:
    """Return a tool's output if it failed, else nothing."""
    status, output = run(command)
    return (output or f"{command[0]} ended with {status}") if status else ""


def bin_path(name: str) -> Path:
    """Return the path of a tool of the Python environment."""
    return Path(sys.executable).parent / name


def tracked(*suffixes: str) -> list[Path]:
    """Return the files that git knows or would add, with one of these suffixes."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    files = {ROOT / name for name in done.stdout.split("\0") if name}
    return sorted(path for path in files if path.suffix in suffixes and path.is_file())


def hdl_files() -> list[Path]:
    """Return the hand-written HDL."""
    folders = [ROOT / folder for folder in HDL_FOLDERS]
    return [
        path
        for path in tracked(".sv", ".svh")
        if any(path.is_relative_to(folder) for folder in folders)
    ]


# --------------------------------------------------------------------------------------------------
# Steps
# --------------------------------------------------------------------------------------------------


def check_listed(files: Sequence[Path]) -> str:
    """All hand-written HDL stands in fusesoc.core, the one list of it."""
    unlisted = sorted(set(hdl_files()) - set(files))
    return "\n".join(f"{path.relative_to(ROOT)} is not listed in fusesoc.core" for path in unlisted)


def check_spdx(files: Sequence[Path]) -> str:
    """Every source names the licence in its first lines."""
    bad = []
    for path in files:
        head = path.read_text(encoding="utf-8", errors="replace")[:400]
        if SPDX not in head:
            bad.append(f"{path}: no '{SPDX}' at the top")
    return "\n".join(bad)


def verible_format(files: Sequence[Path], fix: bool = False) -> str:
    """Verible's formatter would change nothing."""
    mode = "--inplace" if fix else "--verify"
    tool = [bin_path("verible-verilog-format"), "--column_limit=100", mode]
    return "\n".join(filter(None, (complaints([*tool, path]) for path in files)))


def verible_lint(files: Sequence[Path]) -> str:
    """Verible's style rules hold."""
    if not files:
        return ""
    return complaints(
        [bin_path("verible-verilog-lint"), f"--rules_config={LINT / 'verible.rules'}", *files]
    )


def include_flags(files: Sequence[Path]) -> list[str]:
    """Return -I for each directory that holds a header."""
    return [f"-I{folder}" for folder in sorted({f.parent for f in files if f.suffix == ".svh"})]


def verilator_lint(toplevel: str, files: Sequence[Path], parameters: Mapping[str, int]) -> str:
    """Verilator accepts the module without a warning."""
    sources = [path for path in files if path.suffix != ".svh"]
    flags = [f"-G{name}={value}" for name, value in parameters.items()]
    return complaints(
        [
            verilator_root() / "bin" / "verilator",
            *["--lint-only", "-Wall", "--timing", "--assert", "--timescale", "1ns/1ps"],
            *["--top-module", toplevel],
            *[*flags, *include_flags(files), LINT / "verilator.vlt", *sources],
        ]
    )


def icarus_lint(toplevel: str, files: Sequence[Path], parameters: Mapping[str, int]) -> str:
    """Icarus Verilog accepts the module and prints nothing."""
    sources = [path for path in files if path.suffix != ".svh"]
    flags = [f"-P{toplevel}.{name}={value}" for name, value in parameters.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".f") as timescale:
        timescale.write("+timescale+1ns/1ps\n")
        timescale.flush()
        status, output = run(
            [
                *["iverilog", "-g2012", "-Wall", "-tnull", "-f", timescale.name, "-s", toplevel],
                *[*flags, *include_flags(files), *sources],
            ]
        )
    return output or (f"iverilog ended with {status}" if status else "")


def yosys_lint(toplevel: str, files: Sequence[Path], parameters: Mapping[str, int]) -> str:
    """Yosys's own reader accepts the module, and it holds no latch."""
    sources = [path for path in files if path.suffix != ".svh"]
    values = " ".join(f"-chparam {name} {value}" for name, value in parameters.items())
    commands = [
        f"read_verilog -sv {' '.join(include_flags(files))} {' '.join(map(str, sources))}",
        f"hierarchy -check -top {toplevel} {values}",
        "proc",
        "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr",
    ]
    # An error ends the process that Yosys runs in.
    script = (
        "import sys\nfrom pyosys import libyosys\n"
        "design = libyosys.Design()\n"
        "for command in sys.argv[1:]:\n    libyosys.run_pass(command, design)\n"
    )
    status, output = run([sys.executable, "-c", script, *commands])
    warnings = [line for line in output.splitlines() if line.startswith("Warning:")]
    if status:
        return "\n".join(output.splitlines()[-15:]) or f"yosys ended with {status}"
    return "\n".join(warnings)


def hdl_steps(files: Sequence[Path]) -> list[tuple[str, Callable[[], str]]]:
    """Return the elaborating checks: the engine and every block that exists, in each preset."""
    steps: list[tuple[str, Callable[[], str]]] = []
    for toplevel in dict.fromkeys(["unzip", *(block.toplevel for block in BLOCKS.values())]):
        try:
            chosen = sources_of(toplevel, files)
        except RunError:
            continue  # not written yet, and `make sim` says so
        accepted = module_parameters(toplevel, chosen)
        synthesised = all(path.is_relative_to(ROOT / "rtl") for path in _own(chosen))
        for preset in PRESETS:
            values = load_config(preset).parameters()
            values = {name: value for name, value in values.items() if name in accepted}
            tools = [("verilator", verilator_lint), ("icarus", icarus_lint)]
            tools += [("yosys", yosys_lint)] if synthesised else []
            for tool, check in tools:
                steps.append(
                    (
                        f"{tool} {toplevel} {preset}",
                        lambda c=check, t=toplevel, f=chosen, v=values: c(t, f, v),  # type: ignore[misc]
                    )
                )
    return steps


def _own(files: Sequence[Path]) -> list[Path]:
    return [path for path in files if not path.is_relative_to(ROOT / "build")]


def main() -> int:
    """Run all steps and name those that fail; 0: none did, 1: some did, 2: could not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", action="store_true", help="format the sources, check nothing")
    options = parser.parse_args()
    if options.format:
        problems = verible_format(hdl_files(), fix=True)
        problems += complaints([bin_path("ruff"), "check", "--quiet", "--fix-only", "."])
        problems += complaints([bin_path("ruff"), "format", "--quiet", "."])
        print(problems or "formatted")
        return 1 if problems else 0
    try:
        files = design_files()
        steps: list[tuple[str, Callable[[], str]]] = [
            ("ruff check", lambda: complaints([bin_path("ruff"), "check", "."])),
            ("ruff format", lambda: complaints([bin_path("ruff"), "format", "--check", "."])),
            ("mypy", lambda: complaints([bin_path("mypy")])),
            ("licence lines", lambda: check_spdx(tracked(*SPDX_SUFFIXES))),
            ("files listed", lambda: check_listed(files)),
            ("verible format", lambda: verible_format(hdl_files())),
            ("verible lint", lambda: verible_lint(hdl_files())),
            *hdl_steps(files),
        ]
    except (RunError, UnzipError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failed = []
    for name, step in steps:
        started = time.monotonic()
        problems = step()
        verdict = "FAIL" if problems else "ok"
        print(f"{name:<34} {verdict:<5} {time.monotonic() - started:5.1f} s", flush=True)
        if problems:
            failed.append(name)
            print(problems, flush=True)
    print(
        f"lint: {len(steps)} steps, {len(failed)} failed{': ' if failed else ''}"
        + ", ".join(failed)
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
