# SPDX-License-Identifier: Apache-2.0
"""Tests of the projector ``unzip_projector``; see ``docs/spec.md`` for the PJ contracts.

The classes named ``Twin...`` are negative twins: each plants one fault on the testbench's side and
passes only if the right checker finds it.
"""

import os
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cocotb
import pyuvm
from cocotb.triggers import ClockCycles
from pyuvm import uvm_test

from verif.env.errors import Leftover, Mismatch, NotCovered, SawNothing, TimingError
from verif.env.projector_env import ProjectorEnv, ProjectorOptions
from verif.env.projector_model import CHANNELS, KERNEL, KernelTile
from verif.env.seeds import SEED, SEEDS, run_seeds
from verif.seqs.projector import (
    CHANNEL_CODES,
    Layer,
    ProjectorSequence,
    Steps,
    corner_layers,
    kernel_tile,
    operands_of,
    random_layer,
)

# Operands that a seed of the random test compares.
ITEMS = int(os.environ.get("UNZIP_ITEMS", "200"))
IDLE = (0.0, 0.1, 0.3, 0.6)  # probabilities of idle cycles
TIMEOUT = {"timeout_time": 500, "timeout_unit": "us"}
CODES = (3, 12, 5, 0, 15, 9, 6, 10)


class ProjectorTest(uvm_test):
    """Base: builds the environment, runs the layers of `layers`."""

    options = ProjectorOptions()

    def build_phase(self) -> None:
        """Create the environment."""
        self.rng = random.Random(f"{SEED} {type(self).__name__}")
        self.env = ProjectorEnv("env", self)
        self.env.options = self.choose_options()
        self.env.rng = self.rng

    def choose_options(self) -> ProjectorOptions:
        """Return the environment's options."""
        return self.options

    def layers(self) -> list[Layer]:
        """Return the layers to run."""
        p = self.env.parameters
        tile = kernel_tile(p, 3 * p.S, 0, 2 * p.S, 0, min(4, p.D), 1, blocks=2)
        return [Layer(CODES, (tile, Steps(4, 3, 1), Steps(0, 3)))]

    async def stimulate(self) -> None:
        """Run the layers."""
        await ProjectorSequence(self.env, self.rng, self.layers()).start()

    async def run_phase(self) -> None:
        """Reset, run, wait for what is still to come."""
        self.raise_objection()
        await self.env.start()
        self.logger.info("SEED=%s %s", SEED, self.env.parameters)
        await self.stimulate()
        await self.env.drain()
        self.finish()
        self.drop_objection()

    def finish(self) -> None:
        """Check what concerns the whole run."""

    def report_phase(self) -> None:
        """Write what was seen to the file that the environment names, if it does."""
        if "UNZIP_TRACE" in os.environ:
            lines = [f"{operand.cycle}\n" for operand in self.env.operands]
            Path(os.environ["UNZIP_TRACE"]).write_text("".join(lines), encoding="utf-8")


@pyuvm.test(**TIMEOUT)
class Corners(ProjectorTest):
    """Every corner case, in random order, with random idle cycles."""

    def choose_options(self) -> ProjectorOptions:
        """Pause differently with every seed."""
        return ProjectorOptions(idle=self.rng.choice(IDLE[:3]), least=100)

    def layers(self) -> list[Layer]:
        """Return all corner cases, shuffled."""
        layers = corner_layers(self.env.parameters)
        self.rng.shuffle(layers)
        return layers


@pyuvm.test(**TIMEOUT)
class CornersUnstalled(ProjectorTest):
    """Every corner case without idle cycles: tiles follow each other at once."""

    options = ProjectorOptions(least=100)

    def layers(self) -> list[Layer]:
        """Return all corner cases."""
        return corner_layers(self.env.parameters)


@pyuvm.test(timeout_time=2 * SEEDS, timeout_unit="ms")
class RandomLayers(ProjectorTest):
    """Random layers with random idle cycles and latencies.

    Each seed has its own layers and pauses, and a reset in front of it.
    """

    options = ProjectorOptions(least=SEEDS)

    async def stimulate(self) -> None:
        """Run every seed's layers to their end."""
        await run_seeds("RandomLayers", self.one_seed, ITEMS)

    async def one_seed(self, rng: random.Random) -> int:
        """Reset, run a seed's layers; return the number of operands compared."""
        env = self.env
        env.reseed(rng, rng.choice(IDLE))
        env.agent.driver.bus_driver.latency = rng.randint(1, 9)
        await env.reset()
        before = env.scoreboard.compared
        layers: list[Layer] = []
        while sum(map(operands_of, layers)) < ITEMS:
            layers.append(random_layer(rng, env.parameters))
        await ProjectorSequence(env, rng, layers).start()
        await env.drain()
        env.check_phase()
        return env.scoreboard.compared - before


@pyuvm.test(**TIMEOUT)
class LargestSums(ProjectorTest):
    """The largest and the smallest projections that there are: PJ-001, PJ-002."""

    def layers(self) -> list[Layer]:
        """Return layers of extreme values with the code of all ones."""
        p = self.env.parameters
        pieces = (kernel_tile(p, p.S, 0, p.S, 0, 1, 1), Steps(1, 2, 1), Steps(8, 2, 0))
        return [Layer((0,) * 8, pieces, extreme) for extreme in (1, -1)]

    def finish(self) -> None:
        """Refuse a run that did not reach them."""
        p = self.env.parameters
        limit = (1 << (p.DW - 1)) - 1
        seen = {int(operand.data[-p.OPERAND_W :], 2) for operand in self.env.operands}
        for value in (9 * limit, -9 * limit, 16 * limit, -16 * limit):
            if value % (1 << p.OPERAND_W) not in seen:
                raise NotCovered(f"no projection of {value}")


@pyuvm.test(**TIMEOUT)
class KernelRate(ProjectorTest):
    """Cycles along the kernel: PJ-007, PJ-008."""

    options = ProjectorOptions(least=30)

    async def stimulate(self) -> None:
        """Run each tile alone and look at the times of its operands."""
        p = self.env.parameters
        for stride_two in (0, 1):
            for groups in (g for g in (1, 2) if p.S % g == 0):
                for codes in range(1, min(8, p.D) + 1):
                    await self.one(stride_two, groups, codes)

    async def one(self, stride_two: int, groups: int, codes: int) -> None:
        """Run a tile of six rows of S pixels of a line, twice, and two blocks of two lines."""
        env, p = self.env, self.env.parameters
        reads = 3 * (1 + stride_two)
        sums = codes * p.S // groups  # operands of S pixels
        rows = min(6, p.T_R * groups // p.S)
        tile = kernel_tile(p, rows * p.S, 0, rows * p.S, stride_two, codes, groups)
        if not rows:
            return
        await self.run(tile)
        cycles = [operand.cycle for operand in env.operands]
        before = tile.rows_before(p.S)
        # Words in front of the first operand, and the last of them.
        filled = env.word_cycles[(before + 1) * reads - 1]
        if cycles[0] != filled + 5:
            raise TimingError(f"first operand in cycle {cycles[0]}, its last word in {filled}")
        starts = cycles[::sums]
        steps = {after - start for start, after in pairwise(starts)}
        if steps and steps != {max(sums, reads)}:
            raise TimingError(f"{tile}: {steps} cycles for {p.S} pixels, not {max(sums, reads)}")
        if sums <= 2 * reads:
            return
        # The columns left of a line are read meanwhile, too: no gap at all.
        line = tile.pixels // 2 // p.S * p.S
        if line:
            more = replace(tile, pixels=2 * line, out_w=line, blocks=2)
            # From tile to tile the words pause.
            await self.run(*[more] * (2 if sums > 2 * reads + 1 else 1))
            cycles = [operand.cycle for operand in env.operands]
            if cycles[-1] - cycles[0] != len(cycles) - 1:
                raise TimingError(f"{more}: {cycles[-1] - cycles[0] + 1} cycles, {len(cycles)} due")

    async def run(self, *tiles: KernelTile) -> None:
        """Run tiles from a reset on."""
        await self.env.reset()
        await ProjectorSequence(self.env, self.rng, [Layer(CODES, tiles)]).start()
        await self.env.drain()


@pyuvm.test(**TIMEOUT)
class AllCodes(ProjectorTest):
    """Every code of 16, along the kernel and at every place of the list along the channels."""

    options = ProjectorOptions(least=100)

    def layers(self) -> list[Layer]:
        """Return layers whose lists hold all codes at all places."""
        p = self.env.parameters
        n = min(8, p.D)
        tile = kernel_tile(p, p.S, 0, p.S, 0, n, 1)
        layers = []
        for first in range(16):
            codes = tuple((first + k) % 16 for k in range(8))
            steps = tuple(Steps(count, 1, single) for count in CHANNEL_CODES for single in (0, 1))
            layers.append(Layer(codes, (tile, *steps)))
        return layers


@pyuvm.test(**TIMEOUT)
class ResetInFlight(ProjectorTest):
    """A reset with tiles, words and steps under way leaves nothing behind: PJ-010."""

    options = ProjectorOptions(idle=0.1)

    async def stimulate(self) -> None:
        """Cut runs anywhere and reset; then run layers."""
        env, p = self.env, self.env.parameters
        driver = env.agent.driver.bus_driver
        tile = kernel_tile(p, 4 * p.S, 0, 2 * p.S, 0, min(8, p.D), 1, blocks=2)
        for piece in (tile, Steps(1, 2), tile, Steps(8, 4, 1), tile):
            runs = ProjectorSequence(env, self.rng, []).runs(Layer(CODES, (piece,)))
            for run in runs:
                cut = self.rng.randint(1, max(1, len(run.words) - 1))
                await driver.send(replace(run, words=run.words[:cut]))
            await ClockCycles(cocotb.top.clk_i, self.rng.randint(1, 12))
            await env.reset()
        await super().stimulate()


# --------------------------------------------------------------------------------------------------
# Negative twins
# --------------------------------------------------------------------------------------------------


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinOperand(ProjectorTest):
    """The lowest bit of lane 0 is seen wrong."""

    def choose_options(self) -> ProjectorOptions:
        """Flip it."""
        return ProjectorOptions(tamper_operand=self.flip)

    def flip(self, operand):
        """Flip the lowest bit."""
        return replace(operand, data=operand.data[:-1] + "10"[int(operand.data[-1])])


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinKernelWord(ProjectorTest):
    """The model sees one bit of the first bus wrong in the words along the kernel."""

    domain = KERNEL

    def choose_options(self) -> ProjectorOptions:
        """Flip the lowest bit of lane 0."""
        return ProjectorOptions(tamper_word=self.flip)

    def flip(self, word):
        """Flip it in the words of one domain."""
        return word | {"data": word["data"] ^ int(word["domain"] == self.domain)}


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinChannelWord(TwinKernelWord):
    """The same in the words along the channels."""

    domain = CHANNELS


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinList(ProjectorTest):
    """The model takes the first two codes in the other order."""

    def choose_options(self) -> ProjectorOptions:
        """Swap them."""
        return ProjectorOptions(tamper_list=lambda codes: [codes[1], codes[0], *codes[2:]])


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinFlag(ProjectorTest):
    """The end of a chunk is not seen."""

    def choose_options(self) -> ProjectorOptions:
        """Clear the flag."""
        return ProjectorOptions(tamper_operand=self.clear)

    def clear(self, operand):
        """Clear it."""
        return replace(operand, flags=replace(operand.flags, chunk_last=0))


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinLate(ProjectorTest):
    """Operands along the channels are seen one cycle later than they come."""

    def choose_options(self) -> ProjectorOptions:
        """Move them."""
        return ProjectorOptions(tamper_operand=lambda o: replace(o, cycle=o.cycle + 1))

    def layers(self) -> list[Layer]:
        """Return steps along the channels only."""
        return [Layer(CODES, (Steps(4, 3, 1),))]


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinSlow(KernelRate):
    """Words along the kernel with idle cycles."""

    options = ProjectorOptions(idle=0.3)


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinLost(ProjectorTest):
    """The last operand is not seen."""

    def choose_options(self) -> ProjectorOptions:
        """Drop it."""
        return ProjectorOptions(tamper_operand=self.drop)

    def layers(self) -> list[Layer]:
        """Return words that pass."""
        return [Layer(CODES, (Steps(0, 3),))]

    def drop(self, operand):
        """Drop the third one."""
        return None if len(self.env.operands) == 2 else operand


@pyuvm.test(expect_error=SawNothing, **TIMEOUT)
class TwinNothing(ProjectorTest):
    """No word comes."""

    async def stimulate(self) -> None:
        """Do nothing."""


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinLeftover(ProjectorTest):
    """A step along the channels is not finished."""

    async def stimulate(self) -> None:
        """Send all but a step's last word."""
        await super().stimulate()
        sequence = ProjectorSequence(self.env, self.rng, [])
        run = sequence.runs(Layer(CODES, (Steps(4, 1),)))[1]
        await self.env.agent.driver.bus_driver.send(replace(run, words=run.words[:-1]))
