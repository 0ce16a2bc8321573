# SPDX-License-Identifier: Apache-2.0
"""Run every block's testbench on every simulator with several seeds (``make regress``)."""

import argparse
import sys

from verif.runner import BLOCKS, MAX_SEED, RunError, design_files, run_block, sources_of


def main() -> int:
    """Print a line per run; 0: all passed, 1: some failed, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1 2 3")
    options = parser.parse_args()
    seeds = options.seeds.split()
    if not seeds or not all(s.isdecimal() and 1 <= int(s) <= MAX_SEED for s in seeds):
        print(f"error: SEEDS '{options.seeds}': expected numbers 1 to {MAX_SEED}", file=sys.stderr)
        return 2
    files = design_files()
    failed = ran = 0
    for name, block in BLOCKS.items():
        try:
            sources_of(block.toplevel, files)
        except RunError:
            print(f"{name:<8} not run: {block.toplevel} is not written yet")
            continue
        for sim in block.simulators:
            for seed in seeds:
                ran += 1
                try:
                    result = run_block(name, sim, seed=int(seed))
                    verdict = f"{result.tests} tests passed in {result.seconds:.1f} s"
                except RunError as error:
                    failed += 1
                    verdict = f"FAILED\n{error}"
                print(f"{name:<8} {sim:<10} seed {seed:<6} {verdict}", flush=True)
    print(f"regress: {ran} runs, {failed} failed")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
