# SPDX-License-Identifier: Apache-2.0
"""Run every block's testbench on every simulator with several seeds (``make regress``).

``--random N`` (``make regress RANDOM=N``) runs N seeds of the blocks' random tests instead, many in
one process, each of them at least 200 items.
"""

import argparse
import sys
from collections.abc import Callable

from verif.runner import BLOCKS, MAX_SEED, Result, RunError, design_files, run_block, sources_of

# Tests that run UNZIP_SEEDS seeds from SEED on.
RANDOM_TESTS = {"wgen": "RandomJobs", "pe": "RandomTiles"}
BATCH = 100  # seeds of a process: a failure is found, and repeated, without those before it


def batches(count: int) -> list[tuple[int, int]]:
    """Cut seeds 1 to `count` into (first, number)."""
    return [(first, min(BATCH, count + 1 - first)) for first in range(1, count + 1, BATCH)]


def run_random(name: str, first: int, count: int) -> Result:
    """Run `count` seeds of a block's random test."""
    test = rf"\.{RANDOM_TESTS[name]}$"
    return run_block(name, seed=first, test_filter=test, extra_env={"UNZIP_SEEDS": str(count)})


def attempt(label: str, run: Callable[[], Result]) -> bool:
    """Run, print one line, and say whether it passed."""
    try:
        result = run()
        verdict, passed = f"{result.tests} tests passed in {result.seconds:.1f} s", True
    except RunError as error:
        verdict, passed = f"FAILED\n{error}", False
    print(f"{label} {verdict}", flush=True)
    return passed


def main() -> int:
    """Print a line per run; 0: all passed, 1: some failed, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1 2 3")
    parser.add_argument("--random", default="")
    options = parser.parse_args()
    seeds = options.seeds.split()
    if not seeds or not all(s.isdecimal() and 1 <= int(s) <= MAX_SEED for s in seeds):
        print(f"error: SEEDS '{options.seeds}': expected numbers 1 to {MAX_SEED}", file=sys.stderr)
        return 2
    if options.random and not (options.random.isdecimal() and 1 <= int(options.random) <= MAX_SEED):
        print(f"error: RANDOM '{options.random}': expected a number of seeds", file=sys.stderr)
        return 2
    results = []
    if options.random:
        for name in RANDOM_TESTS:
            for first, count in batches(int(options.random)):
                label = f"{name:<8} {'verilator':<10} seeds {first} to {first + count - 1:<6}"
                results.append(
                    attempt(label, lambda n=name, f=first, c=count: run_random(n, f, c))  # type: ignore[misc]
                )
    else:
        files = design_files()
        for name, block in BLOCKS.items():
            try:
                sources_of(block.toplevel, files)
            except RunError:
                print(f"{name:<8} not run: {block.toplevel} is not written yet")
                continue
            for sim in block.simulators:
                for seed in seeds:
                    label = f"{name:<8} {sim:<10} seed {seed:<6}"
                    results.append(
                        attempt(label, lambda n=name, m=sim, s=seed: run_block(n, m, seed=int(s)))  # type: ignore[misc]
                    )
    failed = results.count(False)
    print(f"regress: {len(results)} runs, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
