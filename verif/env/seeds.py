# SPDX-License-Identifier: Apache-2.0
"""Many seeds of a random test in one process, one after the other."""

import logging
import os
import random
from collections.abc import Awaitable, Callable

import cocotb
from cocotb.triggers import FallingEdge

from verif.env.errors import SawNothing

# The seed of stimuli and power-up state, unless the stimuli's is given apart. (cocotb.RANDOM_SEED
# is another one for every test.)
SEED = os.environ.get("UNZIP_STIMULI") or os.environ["COCOTB_RANDOM_SEED"]
# How many seeds the random test runs, from SEED on.
SEEDS = int(os.environ.get("UNZIP_SEEDS", "1"))
LEAST = 200  # items that a seed compares


async def run_seeds(
    test: str, one: Callable[[random.Random], Awaitable[int]], least: int = LEAST
) -> None:
    """Run a test's seeds, each with random numbers of its own.

    Parameters
    ----------
    test : str
        Name of the test: two tests do not share random numbers.
    one : callable
        Resets, runs one seed to its end, and returns how many items were compared.
    least : int
        Fewest items of a seed.

    Raises
    ------
    SawNothing
        A seed compared fewer items.
    """
    log = logging.getLogger("cocotb.seeds")
    for seed in range(int(SEED), int(SEED) + SEEDS):
        # What stands last in the log names the seed that failed, however it ended.
        log.info("running SEED=%d", seed)
        # Whatever draws random numbers does so at rising edges: each seed begins between two.
        await FallingEdge(cocotb.top.clk_i)
        items = await one(random.Random(f"{seed} {test}"))
        if items < least:
            raise SawNothing(f"SEED={seed}: {items} items, at least {least} expected")
