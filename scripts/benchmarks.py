# SPDX-License-Identifier: Apache-2.0
"""Run the benchmark commands of the documentation (``make benchmarks``).

A block of commands behind the line ``<!-- nightly -->`` in a page of ``docs/`` is run: what the
pages say was measured so. A command fails with its own exit status: an output that is wrong, a
cycle model beyond its bounds, too little of a bandwidth used. All run, then the exit status is 1
if one failed. What they print is in ``build/benchmarks``.
"""

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from verif.runner import BUILD, ROOT, tool_environment

DOCS = ROOT / "docs"
MARK = "<!-- nightly -->"
BLOCK = re.compile(rf"^{re.escape(MARK)}\n+((?: {{4}}.*\n)+)", re.MULTILINE)
TAIL = 15  # lines of a failed command's output


def commands(folder: Path = DOCS) -> list[str]:
    """Return the marked commands of all pages of a folder, in order.

    Raises
    ------
    ValueError
        A mark without commands behind it, one that is not `unzipfpga`, or no mark at all.
    """
    found = []
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        blocks = BLOCK.findall(text)
        if len(blocks) != text.splitlines().count(MARK):
            raise ValueError(f"{page.name}: no commands behind a {MARK}")
        for block in blocks:
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                found.append(line.strip())
                if not found[-1].startswith("unzipfpga bench "):
                    raise ValueError(f"{page.name}: '{found[-1]}' is no benchmark")
    if not found:
        raise ValueError(f"{folder}: no commands behind a {MARK}")
    return found


def run(command: str, log: Path) -> int:
    """Run a command with this Python, its output in `log`; return its exit status."""
    program = [sys.executable, "-c", "from unzipfpga.cli import main; main()"]
    with log.open("w", encoding="utf-8") as output:
        return subprocess.run(
            [*program, *shlex.split(command)[1:]],
            cwd=ROOT,
            env=tool_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def run_all(chosen: Sequence[str], folder: Path) -> int:
    """Run all, one after the other; print a line for each. Return how many failed."""
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for number, command in enumerate(chosen, 1):
        started, log = time.monotonic(), folder / f"{number}.log"
        status = run(command, log)
        failed += status != 0
        verdict = f"FAILED with {status}" if status else "passed"
        seconds = time.monotonic() - started
        print(f"[{number}/{len(chosen)}] {command}: {verdict}, {seconds:.0f} s", flush=True)
        if status:
            lines = log.read_text(encoding="utf-8").splitlines()
            print("\n".join([*lines[-TAIL:], f"log: {log}", f"repeat with: {command}"]))
    print(f"benchmarks: {len(chosen)} commands, {failed} failed")
    return failed


def main() -> int:
    """Run, or list; 0: all passed, 1: some failed, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", help="only commands that match this expression")
    parser.add_argument("--list", action="store_true", help="print the commands")
    options = parser.parse_args()
    try:
        chosen = [one for one in commands() if re.search(options.filter, one)]
    except (ValueError, re.error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not chosen:
        print(f"error: FILTER '{options.filter}': no command of docs matches", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(chosen))
        return 0
    return 1 if run_all(chosen, BUILD / "benchmarks") else 0


if __name__ == "__main__":
    sys.exit(main())
