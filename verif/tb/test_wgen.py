# SPDX-License-Identifier: Apache-2.0
"""Tests of the weights generator ``unzip_wgen``; see ``docs/spec.md`` for the WG contracts.

The classes named ``Twin...`` are negative twins: each plants one fault on the testbench's side and
passes only if the right checker finds it.
"""

import os
import random
from itertools import pairwise
from pathlib import Path

import cocotb
import pyuvm
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.types import LogicArray
from pyuvm import uvm_test

from verif.agents.edges import read_int
from verif.agents.stream import StreamItem, StreamMonitor
from verif.env.errors import (
    Leftover,
    Mismatch,
    NotCovered,
    ProtocolError,
    SawNothing,
    TimingError,
    Unexpected,
    UnknownValue,
)
from verif.env.seeds import LEAST, SEED, SEEDS, run_seeds
from verif.env.wgen_env import Status, WgenEnv, WgenOptions
from verif.env.wgen_model import WgenJob
from verif.seqs.wgen import WgenSequence, corner_shapes, fits, random_shape, shape

TIMEOUT = {"timeout_time": 500, "timeout_unit": "us"}


class WgenTest(uvm_test):
    """Base: builds the environment, runs the shapes of `shapes`, waits for the end."""

    options = WgenOptions()

    def build_phase(self) -> None:
        """Create the environment."""
        self.rng = random.Random(f"{SEED} {type(self).__name__}")
        self.env = WgenEnv("env", self)
        self.env.options = self.choose_options()
        self.env.rng = self.rng

    def choose_options(self) -> WgenOptions:
        """Return the environment's options."""
        return self.options

    def shapes(self) -> list[WgenJob]:
        """Return the jobs to run."""
        return small_shapes(self.env)

    async def stimulate(self) -> None:
        """Run the jobs."""
        self.sequence = WgenSequence(self.env, self.rng, self.shapes())
        await self.sequence.start()

    async def run_phase(self) -> None:
        """Reset, run, drain."""
        self.raise_objection()
        await self.env.start()
        self.logger.info("SEED=%s %s", SEED, self.env.parameters)
        await self.stimulate()
        await self.env.drain()
        self.finish()
        self.drop_objection()

    def finish(self) -> None:
        """Check what concerns the whole run, after it drained."""

    def report_phase(self) -> None:
        """Write words and cycles to the file that the environment names, if it does."""
        if "UNZIP_TRACE" in os.environ:
            lines = [f"{item.cycle} {word.data:x}\n" for word, item in self.env.matched]
            Path(os.environ["UNZIP_TRACE"]).write_text("".join(lines), encoding="utf-8")


def small_shapes(env: WgenEnv) -> list[WgenJob]:
    """Return a few jobs, enough for a planted fault."""
    g = env.parameters.G
    return [shape(2 * g, (3, 3), 2), shape(g, (3, 3), 0), shape(g, (2, 2), 1, 2)]


@pyuvm.test(**TIMEOUT)
class Corners(WgenTest):
    """Every corner case that the build can run, in random order, with random stalls."""

    def choose_options(self) -> WgenOptions:
        """Stall differently with every seed."""
        return WgenOptions(
            idle=self.rng.choice([0.0, 0.5]), stall=self.rng.choice([0.0, 0.3, 0.7]), least=200
        )

    def shapes(self) -> list[WgenJob]:
        """Return all corner cases, shuffled."""
        shapes = corner_shapes(self.env.parameters)
        self.rng.shuffle(shapes)
        return shapes

    def finish(self) -> None:
        """Refuse a run that left out what it exists for."""
        p = self.env.parameters
        jobs = [job for job, _ in self.env.jobs]
        require = {
            "dense": any(j.dense for j in jobs),
            "kernel axis": any(not j.dense and not j.channel for j in jobs),
            "channel axis": not p.CHANNEL_AXIS or any(j.channel for j in jobs),
            "sets of one alpha word and of several chunks": not p.CHANNEL_AXIS
            or any(j.channel and len(j.pieces) > 1 for j in jobs),
            "split taps": any(len(j.pieces) > 1 and not j.dense for j in jobs),
            "several blocks a chunk": any(1 < j.chunk_blocks <= j.blocks for j in jobs),
            "tail of filters": p.G == 1 or any(j.filters % p.G for j in jobs),
            "n not a multiple of J": p.J == 1 or any(j.codes % p.J for j in jobs),
            "code list loaded again": self.sequence.reloads > 1,
            "jobs back to back": p.J > 2 or len(jobs) > self.sequence.reloads + 1,
        }
        missing = [name for name, seen in require.items() if not seen]
        if missing:
            raise NotCovered(f"not seen: {', '.join(missing)}")


@pyuvm.test(timeout_time=500 * SEEDS, timeout_unit="us")
class RandomJobs(WgenTest):
    """Random jobs with random idle cycles and stalls: WG-001 to WG-008, WG-013.

    Each seed has its own jobs, pauses and stalls, and a reset in front of it.
    """

    options = WgenOptions(least=LEAST * SEEDS)

    async def stimulate(self) -> None:
        """Run every seed's jobs to their end."""
        await run_seeds("RandomJobs", self.one_seed)

    async def one_seed(self, rng: random.Random) -> int:
        """Reset, run a seed's jobs; return the number of words."""
        dut, env = cocotb.top, self.env
        dut.rst_ni.value = 0
        await RisingEdge(dut.clk_i)
        env.reseed(rng, rng.choice([0.0, 0.2, 0.8]), rng.choice([0.0, 0.1, 0.5, 0.9]))
        await RisingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        before = env.scoreboard.compared
        await WgenSequence(env, rng, self.random_shapes(rng)).start()
        await env.drain()
        if SEEDS > 1:
            env.matched.clear()
        return env.scoreboard.compared - before

    def random_shapes(self, rng: random.Random) -> list[WgenJob]:
        """Return random jobs of at least 300 words in all."""
        p, shapes, words = self.env.parameters, [], 0
        while words < 300 or len(shapes) < 12:
            shapes.append(random_shape(rng, p))
            words += shapes[-1].weight_words(p.G)
        return shapes


@pyuvm.test(**TIMEOUT)
class StalledFromReset(WgenTest):
    """The first word comes and stands although ready stays low: valid does not wait for ready."""

    options = WgenOptions(stall=1.0)

    async def stimulate(self) -> None:
        """Run jobs, and release ready only after a word stands and stood for a while."""
        dut = cocotb.top
        await super().stimulate()
        for _ in range(200):
            await RisingEdge(dut.clk_i)
            if read_int(dut.word_valid_o):
                break
        else:
            raise TimingError("word_valid_o stayed low while word_ready_i was low")
        await ClockCycles(dut.clk_i, 30)
        if not read_int(dut.word_valid_o):
            raise ProtocolError("word_valid_o fell without ready")
        self.env.word_agent.sink.stall = 0.3

    def shapes(self) -> list[WgenJob]:
        """Return jobs that the generator can take without ready."""
        return small_shapes(self.env)[:2]


class ThroughputTest(WgenTest):
    """Base: no stall, no idle cycle, and every word's time is checked."""

    def finish(self) -> None:
        """Check the distance of every two words, and the latency of the first."""
        p, words = self.env.parameters, self.env.matched
        jobs = [job for job, _ in self.env.jobs]
        for (last, before), (expected, item) in pairwise(words):
            distance = item.cycle - before.cycle
            needed = jobs[expected.job].cycles_per_word(p.J)
            single = jobs[last.job].weight_words(p.G) * jobs[last.job].cycles_per_word(p.J) == 1
            if distance != needed and not (single and distance == needed + 1):
                raise TimingError(
                    f"job {expected.job} ({jobs[expected.job]}), filter {expected.filter}, step "
                    f"{expected.step}: {distance} cycles after the word before, expected {needed}"
                )
        latency = words[0][1].cycle - self.env.jobs[0][1]
        alphas = 1 if jobs[0].channel else jobs[0].codes
        expected_latency = alphas + jobs[0].cycles_per_word(p.J) + LATENCY
        if latency != expected_latency:
            raise TimingError(f"latency of {latency} cycles, expected {expected_latency}")


LATENCY = 5  # cycles besides those to read the first alphas and to sum them


def hidden(job: WgenJob, j: int) -> bool:
    """Say whether reading the alphas of a set hides behind the words of the set before it."""
    return bool(job.dense or job.channel) or all(
        len(piece) * job.cycles_per_word(j) >= job.codes for piece in job.pieces
    )


@pyuvm.test(**TIMEOUT)
class Throughput(ThroughputTest):
    """ceil(n/J) cycles a word, exactly, across filters, chunks and jobs: WG-009."""

    def shapes(self) -> list[WgenJob]:
        """Return jobs that share one code list, so that they follow each other at once.

        Kernel-axis ones come first: the words of the others leave no time to read n alphas.
        """
        p = self.env.parameters
        n = min(9, p.N_MAX)
        shapes = [
            shape(3 * p.G, (3, 3), n),
            shape(2 * p.G + 1, (3, 3), p.J if p.J < 9 else 1, 2, chunk_blocks=2),
            shape(2 * p.G, (3, 3), n, chunk_taps=5),
            shape(5 * p.G, (3, 3), 1, chunk_taps=4),
            shape(3 * p.G, (3, 3), 4),
            shape(1, (3, 3), n),
            shape(1, (3, 3), n),
            shape(1, (3, 3), min(4, p.J)),
            shape(9 * p.G, (1, 1), n, 3, chunk_blocks=2, channel=True),
            shape(2 * p.G, (3, 3), min(n, 3), 2, chunk_taps=4, channel=True),
            shape(1, (1, 1), 1, channel=True),
            shape(9 * p.G, (1, 1), min(n, p.J), 2, channel=True),
            shape(4 * p.G, (3, 3), 0, chunk_taps=2),
            shape(2 * p.G, (3, 3), 0, 2, chunk_blocks=2),
        ]
        return [job for job in shapes if fits(job, p) and hidden(job, p.J)]

    async def stimulate(self) -> None:
        """Load one list for all jobs."""
        self.sequence = WgenSequence(self.env, self.rng, self.shapes(), reload=0.0)
        await self.sequence.start()
        if self.sequence.reloads != 1:
            raise NotCovered(f"{self.sequence.reloads} code lists loaded, expected 1")


class Stalled(WgenTest):
    """Base: `stalls` counts the cycles in which a word waited, at each word taken."""

    async def watch(self) -> None:
        """Count at every clock edge outside reset."""
        dut, count = cocotb.top, 0
        self.stalls: list[int] = []
        while True:
            await RisingEdge(dut.clk_i)
            if read_int(dut.rst_ni) and read_int(dut.word_valid_o):
                if read_int(dut.word_ready_i):
                    self.stalls.append(count)
                else:
                    count += 1


@pyuvm.test(**TIMEOUT)
class ThroughputStalled(Throughput, Stalled):
    """Under stalls a word takes ceil(n/J) cycles and those in which one waited: WG-009."""

    def choose_options(self) -> WgenOptions:
        """Stall differently with every seed."""
        return WgenOptions(stall=self.rng.choice([0.1, 0.3, 0.5, 0.8]))

    async def stimulate(self) -> None:
        """Count stalls meanwhile."""
        cocotb.start_soon(self.watch())
        await super().stimulate()

    def finish(self) -> None:
        """Take the stalls out of the words' times; the first word itself may have waited."""
        for (_, item), stalls in zip(self.env.matched, self.stalls, strict=True):
            item.cycle -= stalls
        if not self.stalls[-1]:
            raise NotCovered("no word waited")
        super().finish()


@pyuvm.test(**TIMEOUT)
class ThroughputChannel(ThroughputTest):
    """Channel-axis words as fast as others, whatever n, across chunks and jobs: WG-009."""

    def shapes(self) -> list[WgenJob]:
        """Return jobs of every n; the list holds all codes."""
        p = self.env.parameters
        shapes = []
        for n in range(min(16, p.N_MAX), 0, -1):
            filters, blocks = self.rng.randint(1, 4 * p.G), self.rng.randint(1, 4)
            kernel = self.rng.choice([(1, 1), (1, 2), (2, 2)])
            chunk = self.rng.randint(1, blocks)
            shapes.append(shape(filters, kernel, n, blocks, chunk_blocks=chunk, channel=True))
        return [job for job in shapes if fits(job, p)] or [shape(p.G, (3, 3), 0)]

    async def stimulate(self) -> None:
        """Load one list for all jobs."""
        self.sequence = WgenSequence(self.env, self.rng, self.shapes(), reload=0.0)
        await self.sequence.start()
        if self.sequence.reloads > 1:
            raise NotCovered(f"{self.sequence.reloads} code lists loaded, expected one")


@pyuvm.test(**TIMEOUT)
class ThroughputDense(ThroughputTest):
    """One word a cycle, dense, across jobs: WG-009."""

    def shapes(self) -> list[WgenJob]:
        """Return dense jobs, some of them short."""
        p = self.env.parameters
        shapes = [
            shape(3 * p.G, (3, 3), 0),
            shape(2 * p.G, (3, 3), 0, 2, chunk_blocks=2),
            shape(1, (3, 3), 0, chunk_taps=4),
            shape(p.G, (3, 3), 0),
            shape(p.G, (2, 2), 0, 2, chunk_taps=3),
            shape(4 * p.G, (1, 1), 0, 3, chunk_blocks=2),
        ]
        return [job for job in shapes if fits(job, p)]


@pyuvm.test(**TIMEOUT)
class ResetInFlight(WgenTest):
    """A reset in the middle of a job leaves nothing behind: WG-010."""

    options = WgenOptions(stall=0.3)

    async def stimulate(self) -> None:
        """Six times: have jobs taken, reset after a random number of cycles. Then run jobs."""
        dut, p = cocotb.top, self.env.parameters
        # The last job takes far longer than the wait before the reset; chunks of several blocks
        # and chunks of some taps leave different counters in the middle.
        last = [shape(3 * p.G, (3, 3), 7, chunk_taps=1), shape(p.G, (3, 3), 5, 4, chunk_blocks=4)]
        for k in range(6):
            await self.run([*self.shapes(), last[k % 2]])
            await ClockCycles(dut.clk_i, self.rng.randint(1, 30 * -(-5 // p.J)))
            dut.rst_ni.value = 0
            await ClockCycles(dut.clk_i, 2)
            if not self.env.scoreboard.expected:
                raise NotCovered("the jobs had ended before the reset")
            self.env.forget()
            dut.rst_ni.value = 1
            await RisingEdge(dut.clk_i)
            # Whatever is left over shows in the next job, of whichever kind.
            await self.run([last[(k // 2) % 2]])
            await self.env.drain()

    async def run(self, shapes: list[WgenJob]) -> None:
        """Offer jobs; returns when the last one was taken."""
        p = self.env.parameters
        jobs = [job for job in shapes if fits(job, p)]
        await WgenSequence(self.env, self.rng, jobs).start()

    def shapes(self) -> list[WgenJob]:
        """Return the jobs before the one that the reset ends."""
        p = self.env.parameters
        return [shape(p.G, (3, 3), 1), shape(p.G, (3, 3), 0, chunk_taps=2)]


# --------------------------------------------------------------------------------------------------
# Negative twins
# --------------------------------------------------------------------------------------------------


def nth_word(n: int, change):
    """Return a `WgenOptions.tamper` that applies `change` to word n and leaves the others."""
    seen = -1

    def tamper(item: StreamItem) -> list[StreamItem]:
        nonlocal seen
        seen += 1
        return change(item) if seen == n else [item]

    return tamper


def altered(field: str, bit: int = 0):
    """Return a change that flips one bit of one field."""

    def change(item: StreamItem) -> list[StreamItem]:
        payload = item.payload | {field: item.payload[field] ^ (1 << bit)}
        return [StreamItem(payload, item.cycle)]

    return change


class Twin(WgenTest):
    """Base of the twins: a small job list; tells how many words it makes."""

    def choose_options(self) -> WgenOptions:
        """Plant the fault, with mild stalls."""
        options = WgenOptions(stall=0.2)
        self.plant(options)
        return options

    def plant(self, options: WgenOptions) -> None:
        """Plant the fault; faults that are not planted in the options override other methods."""

    def shapes(self) -> list[WgenJob]:
        """Return jobs that every build can run; the last one makes G filters' 4 words twice."""
        return small_shapes(self.env)


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinData(Twin):
    """One data bit of one word is seen wrong."""

    def plant(self, options: WgenOptions) -> None:
        """Flip a bit of word 11."""
        options.tamper = nth_word(11, altered("data", 5))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinFilter(Twin):
    """The filter number of one word is seen wrong."""

    def plant(self, options: WgenOptions) -> None:
        """Flip a bit of word 11."""
        options.tamper = nth_word(11, altered("filter"))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinStep(Twin):
    """The step of one word is seen wrong."""

    def plant(self, options: WgenOptions) -> None:
        """Flip a bit of word 4."""
        options.tamper = nth_word(4, altered("step"))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinGroups(Twin):
    """The number of groups of PEs of one word is seen wrong."""

    def plant(self, options: WgenOptions) -> None:
        """Flip a bit of word 6."""
        options.tamper = nth_word(6, altered("groups", 1))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinLast(Twin):
    """The end of a chunk is seen where there is none."""

    def plant(self, options: WgenOptions) -> None:
        """Set the flag of word 4."""
        options.tamper = nth_word(4, altered("last"))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinLostWord(Twin):
    """A word in the middle is lost."""

    def plant(self, options: WgenOptions) -> None:
        """Drop word 7."""
        options.tamper = nth_word(7, lambda item: [])


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinLostLastWord(Twin):
    """The last word is lost."""

    def plant(self, options: WgenOptions) -> None:
        """Drop the word once only one is expected."""
        options.tamper = lambda item: [item] if self.words_left() > 1 else []

    def words_left(self) -> int:
        """Return how many words of the whole test are to come, this one included."""
        p = self.env.parameters
        total = sum(job.weight_words(p.G) for job in self.shapes())
        return total - self.env.scoreboard.compared


@pyuvm.test(expect_error=Unexpected, **TIMEOUT)
class TwinExtraWord(TwinLostLastWord):
    """The last word is seen twice."""

    def plant(self, options: WgenOptions) -> None:
        """Report the last word twice."""
        options.tamper = lambda item: [item] * (1 if self.words_left() > 1 else 2)


@pyuvm.test(expect_error=SawNothing, **TIMEOUT)
class TwinNothing(Twin):
    """A test without jobs: nothing is seen, nothing is expected."""

    async def stimulate(self) -> None:
        """Do nothing."""


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinAlpha(Twin):
    """The alpha memory answers one read with one wrong bit."""

    async def stimulate(self) -> None:
        """Flip the lowest bit of the alpha of a live lane."""
        self.env.memory.flip = {2: 1}
        await super().stimulate()


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinCode(Twin):
    """The model takes a code list with one bit wrong."""

    async def stimulate(self) -> None:
        """Change the first code behind the monitor's back when the first job comes."""
        seen = self.env._job

        def changed(item: StreamItem) -> None:
            self.env.code_list[0] ^= 1
            seen(item)

        self.env.subscribers[0].write = changed
        await super().stimulate()

    def shapes(self) -> list[WgenJob]:
        """Return a job whose code 0 stays distinct from the others: it is the only one."""
        return [shape(2, (3, 3), 1)]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinChannelCode(TwinCode):
    """The model takes a channel-axis job's code list with one bit wrong."""

    def shapes(self) -> list[WgenJob]:
        """Return a job with one code; of kernel axis where the build has no other."""
        p = self.env.parameters
        return [shape(p.G, (2, 2), 1, 2, chunk_blocks=2, channel=bool(p.CHANNEL_AXIS))]


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinAlphaWords(Twin):
    """A job says one alpha word too many: nobody wrote the word that is read then."""

    async def stimulate(self) -> None:
        """Change the job on its way to the port."""
        source = self.env.job_agent.driver.bus_driver
        send = source.send

        async def longer(payload: dict[str, int]) -> None:
            await send(payload | {"alpha_words": payload["alpha_words"] + 1})

        source.send = longer
        await super().stimulate()

    def shapes(self) -> list[WgenJob]:
        """Return a dense job."""
        return [shape(2, (3, 3), 0)]


class _UnstableMonitor(StreamMonitor):
    """Sees the payload change while it waits, but rightly when it is taken."""

    def sample(self, name: str) -> int:
        value = super().sample(name)
        if name == "data" and not super().sample("ready"):
            value ^= self.cycle & 1
        return value


class _FallingMonitor(StreamMonitor):
    """Sees valid only every other cycle while it waits, but rightly when an item is taken."""

    def sample(self, name: str) -> int:
        value = super().sample(name)
        if name == "valid" and not super().sample("ready"):
            value &= self.cycle & 1
        return value


class _NeverReadyMonitor(StreamMonitor):
    """Sees ready low for ever: no item is ever taken."""

    def sample(self, name: str) -> int:
        value = super().sample(name)
        return 0 if name == "ready" else value


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinUnstable(Twin):
    """The payload is seen to change while it waits."""

    def plant(self, options: WgenOptions) -> None:
        """Stall much, and watch through the faulty monitor."""
        options.stall = 0.8
        options.word_monitor = _UnstableMonitor


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinFalling(Twin):
    """Valid is seen to fall before ready."""

    def plant(self, options: WgenOptions) -> None:
        """Stall much, and watch through the faulty monitor."""
        options.stall = 0.8
        options.word_monitor = _FallingMonitor


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinMissedTransfer(Twin):
    """A transfer is missed: the next word appears where the first should still stand."""

    def plant(self, options: WgenOptions) -> None:
        """Watch through the faulty monitor."""
        options.word_monitor = _NeverReadyMonitor


@pyuvm.test(
    expect_error=UnknownValue, skip=not cocotb.SIM_NAME.lower().startswith("icarus"), **TIMEOUT
)
class TwinUnknown(Twin):
    """An alpha bit is X (four-state simulators only): the word is refused, not read as 0."""

    def plant(self, options: WgenOptions) -> None:
        """Leave the words unstalled: an assertion of the RTL would end the run first."""
        options.stall = 0.0

    async def stimulate(self) -> None:
        """Put X on the memory's answers, later than the memory does."""
        cocotb.start_soon(self._spoil())
        await super().stimulate()

    async def _spoil(self) -> None:
        dut = cocotb.top
        while True:
            await RisingEdge(dut.clk_i)
            if read_int(dut.alpha_re_o):
                await RisingEdge(dut.clk_i)
                dut.alpha_data_i.value = LogicArray("X" * len(dut.alpha_data_i))


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinBubble(Throughput):
    """One stall in the throughput test."""

    async def stimulate(self) -> None:
        """Hold ready low after some words, for as long as a word of 9 codes takes at most."""
        task = cocotb.start_soon(super().stimulate())
        await ClockCycles(cocotb.top.clk_i, 40)
        await self.env.word_agent.sink.send(9)
        await task


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinLatency(ThroughputDense):
    """The first job is seen one cycle late."""

    def finish(self) -> None:
        """Move the time of the first job."""
        job, cycle = self.env.jobs[0]
        self.env.jobs[0] = (job, cycle + 1)
        super().finish()


class TwinStatus(Twin):
    """Base of the twins of done_o."""

    def change(self, status: Status) -> Status:
        """Return what is seen."""
        raise NotImplementedError

    def plant(self, options: WgenOptions) -> None:
        """Plant it."""
        options.tamper_status = self.change


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinNoDone(TwinStatus):
    """done_o is never seen."""

    def change(self, status: Status) -> Status:
        """Hide it."""
        return Status(0, status.busy, status.read)


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinEarlyDone(TwinStatus):
    """done_o is seen with the first read."""

    def change(self, status: Status) -> Status:
        """Report it with every read."""
        return Status(status.read, status.busy, status.read)


@pyuvm.test(expect_error=Unexpected, **TIMEOUT)
class TwinDoneTwice(TwinStatus):
    """done_o is seen again after the last job."""

    def change(self, status: Status) -> Status:
        """Report it once more when all jobs are done."""
        again = self.env.done_count == len(self.shapes())
        return Status(status.done or int(again), status.busy, status.read)


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinEarlyRelease(Twin):
    """The alpha space of a job is taken away while the job still reads it."""

    async def stimulate(self) -> None:
        """Take a word away that is yet to be read."""
        task = cocotb.start_soon(super().stimulate())
        while self.env.memory.reads < 2:
            await RisingEdge(cocotb.top.clk_i)
        self.env.memory.words.clear()
        await task


@pyuvm.test(expect_error=ProtocolError, **TIMEOUT)
class TwinBusyWrite(Twin):
    """The code list is written while the generator is seen busy."""

    def plant(self, options: WgenOptions) -> None:
        """See it busy all the time."""
        options.tamper_status = lambda status: Status(status.done, 1, status.read)

    def shapes(self) -> list[WgenJob]:
        """Return jobs that need two different lists."""
        return [shape(1, (3, 3), 9), shape(1, (2, 2), 3)]
