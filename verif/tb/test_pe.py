# SPDX-License-Identifier: Apache-2.0
"""Tests of the PE array ``unzip_pe_array``; see ``docs/spec.md`` for the PE contracts.

The classes named ``Twin...`` are negative twins: each plants one fault on the testbench's side and
passes only if the right checker finds it.
"""

import os
import random
from itertools import pairwise, product
from pathlib import Path

import cocotb
import numpy as np
import pyuvm
from cocotb.triggers import ClockCycles, RisingEdge
from pyuvm import uvm_test

from verif.agents.edges import read_int
from verif.env.bits import unpack
from verif.env.errors import (
    Leftover,
    Mismatch,
    NotCovered,
    ProtocolError,
    SawNothing,
    TimingError,
)
from verif.env.pe_env import PeEnv, PeOptions
from verif.env.seeds import SEED, SEEDS, run_seeds
from verif.seqs.pe import PeSequence, PeTile, corner_tiles, corner_values, random_tile

# Accumulators that a seed of the random test compares.
ITEMS = int(os.environ.get("UNZIP_ITEMS", "200"))
IDLE = (0.0, 0.1, 0.3, 0.6)  # probabilities of idle cycles
TIMEOUT = {"timeout_time": 500, "timeout_unit": "us"}


class PeTest(uvm_test):
    """Base: builds the environment, runs the tiles of `tiles`."""

    options = PeOptions()

    def build_phase(self) -> None:
        """Create the environment."""
        self.rng = random.Random(f"{SEED} {type(self).__name__}")
        self.env = PeEnv("env", self)
        self.env.options = self.choose_options()
        self.env.rng = self.rng

    def choose_options(self) -> PeOptions:
        """Return the environment's options."""
        return self.options

    def random_options(self, least: int) -> PeOptions:
        """Return options that stall differently with every seed."""
        return PeOptions(
            word_idle=self.rng.choice(IDLE),
            operand_idle=self.rng.choice(IDLE),
            drain_idle=self.rng.choice(IDLE),
            least=least,
        )

    def tiles(self) -> list[PeTile]:
        """Return the tiles to run."""
        p = self.env.parameters
        return [PeTile(p.T_C, (2, 1), (0, 1, 1)), PeTile(p.T_C, (2,), (1, 0))]

    async def stimulate(self) -> None:
        """Run the tiles."""
        await PeSequence(self.env, self.rng, self.tiles()).start()

    async def run_phase(self) -> None:
        """Reset, run, wait for what is still to come."""
        self.raise_objection()
        await self.env.start()
        self.logger.info("SEED=%s %s", SEED, self.env.parameters)
        await self.stimulate()
        await ClockCycles(cocotb.top.clk_i, 20)
        self.finish()
        self.drop_objection()

    def finish(self) -> None:
        """Check what concerns the whole run."""

    def report_phase(self) -> None:
        """Write what was seen to the file that the environment names, if it does."""
        if "UNZIP_TRACE" in os.environ:
            lines = [f"{cycle}\n" for cycle in self.env.words]
            lines += [f"{cycle} {value}\n" for cycle, value in self.env.chunk_ready]
            Path(os.environ["UNZIP_TRACE"]).write_text("".join(lines), encoding="utf-8")


@pyuvm.test(**TIMEOUT)
class Corners(PeTest):
    """Every corner case, in random order, with random idle cycles."""

    def choose_options(self) -> PeOptions:
        """Stall differently with every seed."""
        return self.random_options(least=30)

    def tiles(self) -> list[PeTile]:
        """Return all corner cases, shuffled."""
        tiles = corner_tiles(self.env.parameters)
        self.rng.shuffle(tiles)
        return tiles


@pyuvm.test(**TIMEOUT)
class CornersUnstalled(PeTest):
    """Every corner case without idle cycles: rows are summed back to back."""

    options = PeOptions(least=30)

    def tiles(self) -> list[PeTile]:
        """Return all corner cases."""
        return corner_tiles(self.env.parameters)


@pyuvm.test(timeout_time=2 * SEEDS, timeout_unit="ms")
class RandomTiles(PeTest):
    """Random tiles with random idle cycles.

    Each seed has its own tiles and pauses, and a reset in front of it.
    """

    options = PeOptions(least=SEEDS)

    async def stimulate(self) -> None:
        """Run every seed's tiles to their end."""
        await run_seeds("RandomTiles", self.one_seed, ITEMS)

    async def one_seed(self, rng: random.Random) -> int:
        """Reset, run a seed's tiles; return the number of accumulators compared."""
        env = self.env
        env.reseed(rng, (rng.choice(IDLE), rng.choice(IDLE), rng.choice(IDLE)))
        await env.reset()
        before = env.checked
        await PeSequence(env, rng, self.random_tiles(rng)).start()
        await ClockCycles(cocotb.top.clk_i, 20)
        env.check_phase()
        return env.checked - before

    def random_tiles(self, rng: random.Random) -> list[PeTile]:
        """Return random tiles until they have enough accumulators."""
        tiles: list[PeTile] = []
        while sum(len(set(t.rows)) * t.filters * t.groups for t in tiles) < ITEMS:
            tiles.append(random_tile(rng, self.env.parameters))
        return tiles


@pyuvm.test(**TIMEOUT)
class LargestSums(PeTest):
    """Sums close to the accumulator's limits, of both signs."""

    options = PeOptions(least=2)

    def tiles(self) -> list[PeTile]:
        """Return tiles whose single row takes as many extreme products as fit."""
        p = self.env.parameters
        largest = p.T_P * ((1 << (p.DW - 1)) - 1) << (p.OPERAND_W - 1)
        steps = ((1 << (p.ACC_W - 1)) - 1) // largest
        pixels = min(steps // p.D, 250)
        self.reachable = pixels == steps // p.D
        self.share = pixels * p.D * largest / (1 << (p.ACC_W - 1))
        return [PeTile(p.T_C, (p.D,), (0,) * pixels, extreme=sign) for sign in (1, -1)]

    def finish(self) -> None:
        """Refuse a run whose sums stayed small."""
        if self.reachable and self.share < 0.9:
            raise NotCovered(f"sums reach only {self.share:.0%} of the accumulator")


@pyuvm.test(**TIMEOUT)
class CornerProducts(PeTest):
    """All corner values of both filters' weights and the operand meet in one multiplier: PE-010."""

    options = PeOptions(least=2)

    def tiles(self) -> list[PeTile]:
        """Return as many full tiles as bring each combination about 20 times."""
        p = self.env.parameters
        tile = PeTile(p.T_C, (p.D,), tuple(range(p.T_R)), corners=True)
        products = p.D * p.T_R * p.T_P * p.T_C // 2
        combinations = len(corner_values(p.DW, True)) ** 2 * len(corner_values(p.OPERAND_W, False))
        return [tile] * (20 * combinations // products + 1)

    async def stimulate(self) -> None:
        """Note which combinations of weights and operand the array was given."""
        p = self.env.parameters
        seen = self.env.subscribers[1].write
        self.met: set[tuple[int, int, int]] = set()

        def note(item):
            weights = self.env.chunk_weights()[:, item.payload["step"]]
            operand = unpack(item.payload["data"], p.OPERAND_W, p.T_P)
            pairs = zip(weights[0::2].flat, weights[1::2].flat, strict=True)
            operands = np.tile(operand, p.T_C // 2)
            self.met.update((*w, x) for w, x in zip(pairs, operands.tolist(), strict=True))
            seen(item)

        self.env.subscribers[1].write = note
        await super().stimulate()

    def finish(self) -> None:
        """Refuse a run in which a combination is missing."""
        p = self.env.parameters
        weights = corner_values(p.DW, symmetric=True)
        operands = corner_values(p.OPERAND_W, symmetric=False)
        missing = set(product(weights, weights, operands)) - self.met
        if missing:
            raise NotCovered(f"{len(missing)} combinations are missing: {min(missing)}")


@pyuvm.test(**TIMEOUT)
class FiltersBeyond(PeTest):
    """Words of filters that the array does not have are dropped: PE-003."""

    options = PeOptions(least=2)

    async def stimulate(self) -> None:
        """Let a chunk's words end with some for filters from T_C on."""
        p = self.env.parameters
        self.beyond = min(p.T_C + 2 * p.G, 256)
        await super().stimulate()
        if max(self.filters) < p.T_C:
            raise NotCovered("no filter beyond T_C")

    def choose_options(self) -> PeOptions:
        """Note the filters that are seen."""
        self.filters: set[int] = set()

        def note(word):
            self.filters.add(word["filter"])
            return word

        return PeOptions(least=2, tamper_word=note)

    def tiles(self) -> list[PeTile]:
        """Return a tile of more filters than there are."""
        return [PeTile(self.beyond, (3, 2), (0, 1))]


@pyuvm.test(**TIMEOUT)
class LoadRate(PeTest):
    """Weight words are taken one a cycle until both halves are full, then not: PE-002."""

    async def stimulate(self) -> None:
        """Offer three chunks of weights without sending operands, then run them."""
        dut, p = cocotb.top, self.env.parameters
        tile = PeTile(p.T_C, (p.D, p.D, p.D), (0, 1))
        sequence = PeSequence(self.env, self.rng, [tile])
        self.env.operand_agent.driver.bus_driver.idle = 1.0  # takes no chunk
        task = cocotb.start_soon(sequence.start())
        words = 2 * p.D * (p.T_C // p.G)
        await ClockCycles(dut.clk_i, words + 20)
        if len(self.env.words) != words:
            raise TimingError(f"{len(self.env.words)} words taken, two chunks have {words}")
        if any(after - before != 1 for before, after in pairwise(self.env.words)):
            raise TimingError("a cycle without a word between two words of the first chunks")
        if read_int(dut.word_ready_o):
            raise ProtocolError("word_ready_o is high although both halves are full")
        # The first chunk is ready in the cycle after its last word.
        expected = self.env.words[words // 2 - 1] + 1
        if self.env.chunk_ready[1] != (expected, 1):
            raise TimingError(f"chunk_valid_o: {self.env.chunk_ready}, expected at {expected}")
        self.env.operand_agent.driver.bus_driver.idle = 0.0
        await task


@pyuvm.test(**TIMEOUT)
class ResetInFlight(PeTest):
    """A reset with chunks loaded, half loaded and computing leaves nothing behind: PE-008."""

    options = PeOptions(word_idle=0.2)

    async def stimulate(self) -> None:
        """Three times: load, compute, reset after a random number of cycles. Then run tiles."""
        p = self.env.parameters
        for _ in range(3):
            operands = self.env.operand_agent.driver.bus_driver
            operands.idle = 1.0
            sequence = PeSequence(self.env, self.rng, [])
            sequence.before = 0
            tile = PeTile(p.T_C, (2, 1), (0, 1, 2, 3))
            for steps in tile.chunks:
                await sequence.send_chunk(tile, steps)
            # Operands without the driver: the tile is to be cut anywhere.
            operands.idle = 0.0
            cut = self.rng.randint(0, 6)
            full = sequence.operands(0, tile, 0)
            await operands.send(full[:cut])
            await self.env.reset()
        await super().stimulate()


# --------------------------------------------------------------------------------------------------
# Negative twins
# --------------------------------------------------------------------------------------------------


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinDrain(PeTest):
    """The lowest bit of the last filter's accumulator is seen wrong."""

    def choose_options(self) -> PeOptions:
        """Flip the bit in every row."""
        return PeOptions(tamper_drain=self.flip)

    def flip(self, data: int) -> int:
        """Flip the lowest bit of filter T_C - 1."""
        p = self.env.parameters
        return data ^ (1 << ((p.T_C - 1) * p.ACC_W))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinWeight(PeTest):
    """The model sees one bit of one weight wrong."""

    def choose_options(self) -> PeOptions:
        """Flip the lowest bit of channel 0 of filter 0, step 0."""
        return PeOptions(tamper_word=self.flip)

    def flip(self, word):
        """Flip it."""
        hit = word["filter"] == 0 and word["step"] == 0
        return word | {"data": word["data"] ^ int(hit)}

    def tiles(self) -> list[PeTile]:
        """Return tiles whose operands are not 0."""
        return [PeTile(self.env.parameters.T_C, (1,), (0, 1, 0), extreme=1)]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinGroups(PeTest):
    """The model takes one group of PEs for two, or two for one."""

    def choose_options(self) -> PeOptions:
        """Change the number of groups that the model sees."""
        return PeOptions(tamper_word=lambda word: word | {"groups": 3 - word["groups"]})

    def tiles(self) -> list[PeTile]:
        """Return tiles for each number of groups, the largest sums in every row."""
        p = self.env.parameters
        counts = range(1, min(p.S, 2) + 1)
        return [PeTile(p.pitch(2), (2,), (0, 1), 1, groups=groups) for groups in counts]


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinNoDone(PeTest):
    """tile_done_o is not seen."""

    options = PeOptions(hide_done=True)


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinLateDone(PeTest):
    """tile_done_o is expected one cycle later than it comes."""

    async def stimulate(self) -> None:
        """Move every time that is due."""
        seen = self.env._operand

        def late(item):
            seen(item)
            if item.payload["tile_last"]:
                self.env._done_due.append(self.env._done_due.pop() + 1)

        self.env.subscribers[1].write = late
        await super().stimulate()


@pyuvm.test(expect_error=SawNothing, **TIMEOUT)
class TwinNothing(PeTest):
    """Nothing is drained."""

    async def stimulate(self) -> None:
        """Do nothing."""


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinLeftover(PeTest):
    """A chunk of weights is loaded that no operand uses."""

    async def stimulate(self) -> None:
        """Load one more."""
        await super().stimulate()
        tile = self.tiles()[0]
        await PeSequence(self.env, self.rng, []).send_chunk(tile, 2)


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinDrainTooEarly(PeTest):
    """A row is drained while its tile is still in the pipeline: what PE-006 forbids shows."""

    async def stimulate(self) -> None:
        """Drain as soon as the last operand's row has been read to be added to."""
        p = self.env.parameters
        sequence = PeSequence(self.env, self.rng, [])
        sequence.before = 0
        tile = PeTile(p.T_C, (1,), (0,), extreme=1)
        for _ in range(2):  # the first one leaves something else than the second
            await sequence.send_chunk(tile, 1)
            operands = sequence.operands(0, tile, 0)
            await self.env.operand_agent.driver.bus_driver.send(operands)
            tile = PeTile(p.T_C, (1,), (0,))
        for _ in range(4):
            await RisingEdge(cocotb.top.clk_i)
        await self.env.drain_agent.driver.bus_driver.send([(0, 0)])


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinSlowLoad(LoadRate):
    """Idle cycles between the weight words."""

    options = PeOptions(word_idle=0.3)
