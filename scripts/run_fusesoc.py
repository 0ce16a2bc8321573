# SPDX-License-Identifier: Apache-2.0
"""Run FuseSoC's lint and sim targets and check what they really did (``make fusesoc``).

edalize 0.6.8 with cocotb 2.1 reports success for a simulation that ran no test, or whose tests
failed. So the exit status counts for lint only; a simulation counts as passed if its results file
holds tests and no failure.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cocotb_tools.config
import find_libpython

from verif.runner import ROOT, RunError, read_results, tool_environment

CORE = "unzipfpga:unzipfpga:unzip:0.1.0"
SIMULATOR_NAMES = {"verilator": "Verilator", "icarus": "Icarus Verilog"}


def fusesoc_environment() -> dict[str, str]:
    """Return the environment in which edalize's cocotb flow runs the tests at all."""
    env = tool_environment()
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    # Without this variable cocotb loads no test: a run that passes and proves nothing.
    libpython = find_libpython.find_libpython()
    env["GPI_USERS"] = f"{libpython};{cocotb_tools.config.pygpi_entry_point()}"
    env["COCOTB_RANDOM_SEED"] = "1"  # the same run every time
    return env


def run_target(target: str, tool: str, root: Path, build: Path, core: str = CORE) -> str:
    """Run one target of a core.

    Parameters
    ----------
    target, tool : str
        Target of the core file; ``verilator`` or ``icarus``.
    root : Path
        Directory with the core file.
    build : Path
        Build directory; what was there is deleted first.
    core : str
        Name of the core.

    Returns
    -------
    str
        One line that says what was run.

    Raises
    ------
    RunError
        The flow failed, or a simulation left no results, no tests, or failed ones.
    """
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    # Or the next scan for cores finds the generated one in here.
    (build / "FUSESOC_IGNORE").touch()
    command = [
        *[str(Path(sys.executable).parent / "fusesoc"), "--cores-root", str(root), "run"],
        *["--build-root", str(build), f"--target={target}"],
        core,
        # An option of the flow: FuseSoC's own --tool, before the core's name, changes nothing.
        *([] if target == "lint" else ["--tool", tool]),
    ]
    done = subprocess.run(
        command,
        cwd=root,
        env=fusesoc_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    tail = "\n".join(done.stdout.splitlines()[-40:])
    if done.returncode != 0:
        raise RunError(f"fusesoc {target} ({tool}) failed:\n{tail}")
    if target == "lint":
        # A lint run that did not start Verilator would pass as well.
        if not list(build.rglob("*.vc")):
            raise RunError(f"fusesoc {target} ran no tool:\n{tail}")
        return f"fusesoc {target}: no warnings"
    if f"Running on {SIMULATOR_NAMES[tool]}" not in done.stdout:
        raise RunError(f"fusesoc {target} did not run {tool}:\n{tail}")
    results = list(build.rglob("results.xml"))
    if len(results) != 1:
        raise RunError(f"fusesoc {target} ({tool}) left {len(results)} results files:\n{tail}")
    tests, failures = read_results(results[0])
    if failures:
        raise RunError(f"fusesoc {target} ({tool}): {failures} of {tests} tests failed:\n{tail}")
    return f"fusesoc {target} ({tool}): {tests} tests passed"


def main() -> int:
    """Run the targets; 0: all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="directory of the core file")
    parser.add_argument("--targets", default="lint,sim", help="comma-separated")
    options = parser.parse_args()
    for target in options.targets.split(","):
        for tool in ["verilator"] if target == "lint" else ["verilator", "icarus"]:
            build = ROOT / "build" / "fusesoc" / f"{target}-{tool}"
            try:
                print(run_target(target, tool, options.root.resolve(), build), flush=True)
            except RunError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
