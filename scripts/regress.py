# SPDX-License-Identifier: Apache-2.0
"""Run every block's testbench on every simulator with several seeds (``make regress``).

``--random N`` (``make regress RANDOM=N``) runs N seeds of the blocks' random tests instead, many in
one process, each of them at least 200 items.
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from verif.runner import BLOCKS, MAX_SEED, Result, RunError, design_files, run_block, sources_of

# Tests that run UNZIP_SEEDS seeds from SEED on, and what else they are given.
RANDOM_TESTS: dict[str, tuple[str, dict[str, str]]] = {
    "wgen": ("RandomJobs", {}),
    "pe": ("RandomTiles", {}),
    "projector": ("RandomLayers", {}),
    "csr": ("RandomAccesses", {}),
    "dma": ("Transfers", {}),
    "engine": ("RandomNetworks", {"UNZIP_ITEMS": "1"}),
}
BATCH = 100  # seeds of a process: a failure is found, and repeated, without those before it


@dataclass(frozen=True)
class Run:
    """One process: all tests of a block with a seed or, with `count`, its random test with several.

    Attributes
    ----------
    block, sim : str
        As for `run_block`.
    seed : int
        The first seed.
    count : int
        Number of seeds of the random test, 0 for all tests.
    """

    block: str
    sim: str
    seed: int
    count: int = 0

    @property
    def label(self) -> str:
        """What is printed in front of the result."""
        last = self.seed + self.count - 1
        seeds = f"seeds {self.seed} to {last}" if self.count else f"seed {self.seed}"
        return f"{self.block:<8} {self.sim:<10} {seeds:<18}"


def batches(count: int) -> list[tuple[int, int]]:
    """Cut seeds 1 to `count` into (first, number)."""
    return [(first, min(BATCH, count + 1 - first)) for first in range(1, count + 1, BATCH)]


def run_random(run: Run) -> Result:
    """Run seeds of a block's random test.

    Raises
    ------
    RunError
        The text ends with the command that repeats the failing seed alone.
    """
    test, more = RANDOM_TESTS[run.block]
    test_filter = rf"\.{test}$"
    try:
        return run_block(
            run.block,
            run.sim,
            seed=run.seed,
            test_filter=test_filter,
            extra_env=more | {"UNZIP_SEEDS": str(run.count)},
        )
    except RunError as error:
        started = re.findall(r"running SEED=(\d+)", str(error))
        if not started:
            raise
        last = started[-1]
        what, _, _ = str(error).rpartition("\nrepeat with: ")
        setting = "".join(f"{name}='{value}' " for name, value in more.items())
        raise RunError(
            f"{what}\nseed {last} failed\nrepeat with: {setting}make sim TOPLEVEL={run.block} "
            f"SIM={run.sim} SEED={last} FILTER='{test_filter}'"
        ) from error


def attempt(run: Run) -> tuple[bool, str]:
    """Run; say whether it passed, and how."""
    try:
        result = run_random(run) if run.count else run_block(run.block, run.sim, seed=run.seed)
        return True, f"{result.tests} tests passed in {result.seconds:.1f} s"
    except RunError as error:
        return False, f"FAILED\n{error}"


def runs_of(seeds: Sequence[int], random: int) -> list[Run]:
    """Return what is to be run: every block, or `random` seeds of the random tests."""
    if random:
        return [
            Run(name, "verilator", first, count)
            for first, count in batches(random)  # a fault in any block shows early
            for name in RANDOM_TESTS
        ]
    files, runs = design_files(), []
    for name, block in BLOCKS.items():
        try:
            sources_of(block.toplevel, files)
        except RunError:
            print(f"{name:<8} not run: {block.toplevel} is not written yet")
            continue
        runs += [Run(name, sim, seed) for sim in block.simulators for seed in seeds]
    return runs


def run_all(runs: Sequence[Run], jobs: int) -> int:
    """Run all, `jobs` at a time; print a line for each as it ends. Return how many failed."""
    started, failed = time.monotonic(), 0
    with ProcessPoolExecutor(jobs) as pool:
        waiting = {pool.submit(attempt, run): run for run in runs}
        for done, future in enumerate(as_completed(waiting), 1):
            passed, verdict = future.result()
            failed += not passed
            print(f"[{done}/{len(runs)}] {waiting[future].label} {verdict}", flush=True)
    seconds = time.monotonic() - started
    print(f"regress: {len(runs)} runs, {failed} failed, {seconds:.0f} s with {jobs} at a time")
    return failed


def main() -> int:
    """Print a line per run; 0: all passed, 1: some failed, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1 2 3")
    parser.add_argument("--random", default="")
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    seeds = options.seeds.split()
    if not seeds or not all(s.isdecimal() and 1 <= int(s) <= MAX_SEED for s in seeds):
        print(f"error: SEEDS '{options.seeds}': expected numbers 1 to {MAX_SEED}", file=sys.stderr)
        return 2
    if options.random and not (options.random.isdecimal() and 1 <= int(options.random) <= MAX_SEED):
        print(f"error: RANDOM '{options.random}': expected a number of seeds", file=sys.stderr)
        return 2
    if not (options.jobs.isdecimal() and int(options.jobs) >= 1):
        print(f"error: JOBS '{options.jobs}': expected a number of processes", file=sys.stderr)
        return 2
    runs = runs_of([int(s) for s in seeds], int(options.random or 0))
    return 1 if run_all(runs, int(options.jobs)) or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
