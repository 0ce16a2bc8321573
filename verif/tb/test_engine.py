# SPDX-License-Identifier: Apache-2.0
"""Tests of the whole engine, ``tb_unzip``; see ``docs/spec.md`` for the EN, ER and TK contracts.

The classes named ``Twin...`` are negative twins: each plants one fault on the testbench's side and
passes only if the right checker finds it.
"""

import dataclasses
import os
import random
import zlib
from collections import Counter
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import cocotb
import numpy as np
import pyuvm
from pyuvm import uvm_test

from unzipfpga.compiler import Compiled, compile_network, tiling
from unzipfpga.compiler.tokens import Token
from unzipfpga.config import load_config
from unzipfpga.frontend import Network
from verif.env.engine_env import EngineEnv, EngineOptions
from verif.env.engine_model import Job, Observation, Timing, instructions, place, with_program
from verif.env.errors import Leftover, Mismatch, NotCovered, SawNothing, TimingError, Unexpected
from verif.env.seeds import LEAST, SEED, SEEDS, run_seeds
from verif.host import COUNTERS, HostError
from verif.seqs.engine import HostSequence, JobsSequence, ScriptSequence, random_timing
from verif.seqs.engine_faults import (
    ERRORS,
    RACES,
    RESIDUAL_FAULTS,
    WATCHDOG,
    Planter,
    bad_domain,
    bad_magic,
    bad_opcode,
    busy_store,
    computes,
    edit_computes,
    numbered,
    patch_header,
    patch_instruction,
    through_scratch,
    token_overflow,
    with_low_bits,
    without_wait,
)
from verif.seqs.engine_networks import (
    SOURCE,
    NetworkBuilder,
    all_features,
    features,
    random_network,
    shapes,
)

CONFIG_NAME = os.environ["UNZIP_CONFIG"]
# What was built: the preset's parameters, or those that the run was given instead.
CONFIG = load_config(CONFIG_NAME).model_copy(
    update={
        name: int(getattr(cocotb.top, name).value)
        for name in load_config(CONFIG_NAME).parameters()
        if hasattr(cocotb.top, name)
    }
)
SLOW = cocotb.SIM_NAME.lower().startswith("icarus")
ITEMS = int(os.environ.get("UNZIP_ITEMS", "4" if SLOW else "40"))
STEPS = 300 if SLOW else 3000
TIMEOUT = {"timeout_time": 200, "timeout_unit": "ms"}


class EngineTest(uvm_test):
    """Base: builds the environment, resets the core, runs `stimulate`."""

    options = EngineOptions()

    def build_phase(self) -> None:
        """Create the environment."""
        self.rng = random.Random(f"{SEED} {type(self).__name__}")
        self.env = EngineEnv("env", self)
        self.env.options = self.choose_options()

    def choose_options(self) -> EngineOptions:
        """Return the environment's options."""
        return self.options

    async def run_phase(self) -> None:
        """Reset, run."""
        self.raise_objection()
        host = self.env.agent.host
        await host.reset(seed=self.rng.getrandbits(32))
        self.logger.info("SEED=%s CONFIG=%s %s", SEED, CONFIG_NAME, CONFIG.parameters())
        await self.stimulate()
        await host.wait(20)
        self.finish()
        self.drop_objection()

    async def stimulate(self) -> None:
        """Run the test's sequences."""
        raise NotImplementedError

    async def script(self, sequence: HostSequence) -> None:
        """Body of the test's own sequence, for tests that need no more than one."""
        raise NotImplementedError

    def finish(self) -> None:
        """Check what concerns the whole test."""

    async def run(self, sequence: HostSequence) -> None:
        """Start a sequence on the host agent."""
        await sequence.start(self.env.agent.sequencer)

    def random_job(
        self, name: str, layers: int = 1, steps: int = STEPS, timing: Timing | None = None
    ) -> Job:
        """Return a job with a random network whose tensors stay in act mem."""
        while True:
            generator = np.random.default_rng(self.rng.getrandbits(64))
            drawn = random_network(generator, CONFIG_NAME, CONFIG, layers, steps)
            if not drawn.compiled.manifest.scratch_bytes:
                break
        timing = random_timing(self.rng) if timing is None else timing
        job = place(name, drawn.network, drawn.compiled, CONFIG, self.rng, timing)
        # Now and then with a watchdog, which must not bark at a slow memory.
        return dataclasses.replace(job, watchdog=self.rng.choice([0, WATCHDOG]))

    def job_of(
        self, name: str, network: Network, timing: Timing, smaller: dict[str, int] | None = None
    ) -> Job:
        """Return a job with a given network, compiled for a smaller build of the same array."""
        config = CONFIG.model_copy(update=smaller or {})
        compiled = compile_network(network, CONFIG_NAME, config, SOURCE)
        program = patch_header(compiled.program, build_id=CONFIG.build_id())
        compiled = dataclasses.replace(compiled, program=program)
        return place(name, network, compiled, CONFIG, self.rng, timing)


@pyuvm.test(timeout_time=200 * SEEDS, timeout_unit="ms")
class RandomNetworks(EngineTest):
    """Random layers and networks, one after the other without a reset.

    Each seed has its own networks and memory, and a reset in front of it.
    """

    def choose_options(self) -> EngineOptions:
        """Refuse a run with fewer networks."""
        return EngineOptions(least=ITEMS * SEEDS)

    async def stimulate(self) -> None:
        """Run every seed's networks."""
        self.features: Counter[str] = Counter()
        await run_seeds("RandomNetworks", self.one_seed, 0 if SLOW else LEAST)

    async def one_seed(self, rng: random.Random) -> int:
        """Reset, run a seed's networks; return how many activations they put out."""
        await self.env.agent.host.reset(seed=rng.getrandbits(32))
        jobs: list[Job] = []
        outputs = 0
        while len(jobs) < ITEMS or (outputs < LEAST and not SLOW):
            layers = rng.choice([1, 1, 2, 3])
            generator = np.random.default_rng(rng.getrandbits(64))
            drawn = random_network(generator, CONFIG_NAME, CONFIG, layers, STEPS)
            timing = random_timing(rng)
            self.features.update(features(drawn))
            name = f"network {len(jobs)}"
            jobs.append(place(name, drawn.network, drawn.compiled, CONFIG, rng, timing))
            outputs += int(np.prod(drawn.network.tensors[drawn.network.output].shape))
        await self.run(JobsSequence(self.env, rng, jobs))
        return outputs

    def finish(self) -> None:
        """Refuse a large run that left out what it exists for, or whose outputs say little."""
        for prediction, _ in self.env.runs:
            after = np.frombuffer(prediction.after, np.uint8)
            changed = after[after != np.frombuffer(prediction.before, np.uint8)]
            self.features["varied output"] += len(np.unique(changed)) > 4
        self.logger.info("seen: %s", dict(sorted(self.features.items())))
        if SEEDS == 1 and len(self.env.runs) >= 150:
            missing = sorted(all_features(CONFIG_NAME) - set(self.features))
            if missing:
                raise NotCovered(f"not seen: {', '.join(missing)}")
        if self.features["varied output"] < len(self.env.runs) // 3:
            raise NotCovered(f"only {self.features['varied output']} outputs are varied")

    def report_phase(self) -> None:
        """Write what each run showed to the file that the environment names, if it does."""
        if "UNZIP_TRACE" in os.environ:
            lines = []
            for _, seen in self.env.runs:
                counters = [seen.read64(name) for name in COUNTERS]
                lines.append(f"{counters} {seen.marks} {zlib.crc32(seen.memory)}\n")
            Path(os.environ["UNZIP_TRACE"]).write_text("".join(lines), encoding="utf-8")


class ErrorTest(EngineTest):
    """Base: programs that end in an error; after each a soft reset and a good program."""

    async def one(self, sequence: HostSequence, name: str, plant: Planter, job: Job) -> None:
        """Plant an error, run into it, reset, and run a good program."""
        bad = dataclasses.replace(plant(job, self.rng), name=name)
        await sequence.run_job(bad)
        # Only a soft reset leads out of the error.
        await sequence.write("CTRL", 1)
        await sequence.do("wait", lambda host: host.wait(self.rng.randint(1, 50)))
        status = await sequence.read("STATUS")
        if status != 4:
            raise Mismatch(f"{name}: STATUS is {status} after START in the error state, expected 4")
        await sequence.soft_reset()
        await sequence.run_job(self.random_job(f"after {name}", steps=STEPS // 4))


NO_PROJECTOR = "code domain, no projector"


@pyuvm.test(**TIMEOUT)
class Errors(ErrorTest):
    """Every error ends in its own code, stage and address: ER-001 to ER-007, ER-010, ER-011."""

    async def stimulate(self) -> None:
        """Run every error in random order; on a slow simulator some of them."""
        names = list(ERRORS)
        if not CONFIG.PROJECTOR:
            names.append(NO_PROJECTOR)
        self.names = self.rng.sample(names, 5 if SLOW else len(names))
        await self.run(ScriptSequence(self.env, self.rng, self.script))

    async def script(self, sequence: HostSequence) -> None:
        """Body of the sequence."""
        for name in self.names:
            job = self.random_job(name, self.rng.choice([1, 2]), STEPS // 2)
            plant = bad_domain() if name == NO_PROJECTOR else ERRORS[name]
            await self.one(sequence, name, plant, job)

    def finish(self) -> None:
        """Refuse a test whose STARTs in the error state were not seen."""
        if self.env.tracker.ignored_starts < len(self.names):
            raise NotCovered(f"only {self.env.tracker.ignored_starts} STARTs were ignored")


@pyuvm.test(**TIMEOUT)
class TokenOverflow(ErrorTest):
    """Every stage that gives a token that nobody takes is named, with the instruction: ER-004."""

    def job(self, name: str) -> Job:
        """Return a job with more than 15 loads, tiles and outputs."""
        filters = 17 * CONFIG.T_C
        # A load takes an eighth of alpha mem at most: so many channels that there are 20 of them.
        words = filters // CONFIG.G
        channels = -(-20 * CONFIG.ALPHA_DEPTH // (8 * words)) * CONFIG.T_P
        builder = NetworkBuilder(
            np.random.default_rng(self.rng.getrandbits(64)), (channels, 1, 2), dw=CONFIG.DW
        )
        builder.conv(filters, (1, 1))
        return self.job_of(name, builder.network(), random_timing(self.rng))

    async def stimulate(self) -> None:
        """Overflow a token from each stage that can."""

        async def body(sequence: HostSequence) -> None:
            for stage in ("LOAD", "WGEN", "MAC", "POST"):
                await self.one(sequence, stage, token_overflow(stage), self.job(stage))

        await self.run(ScriptSequence(self.env, self.rng, body))


@pyuvm.test(**TIMEOUT)
class SoftReset(EngineTest):
    """A soft reset ends a run at any time; what it wrote is right, the next run whole: ER-008."""

    async def stimulate(self) -> None:
        """Learn how long a job takes; then reset at random times, twice in a row, and when idle."""
        await self.run(ScriptSequence(self.env, self.rng, self.script))

    def large_output(self, name: str) -> Job:
        """Return a job that takes a while to store its output."""
        builder = NetworkBuilder(
            np.random.default_rng(self.rng.getrandbits(64)), (2, 8, 8), dw=CONFIG.DW
        )
        builder.conv(2 * CONFIG.T_C, (3, 3))
        timing = Timing(Fraction(self.rng.choice([0, 3, 5])), 8, stall=self.rng.choice([0, 100]))
        return self.job_of(name, builder.network(), timing)

    async def script(self, sequence: HostSequence) -> None:
        """Body of the sequence."""
        for index in range(2 if SLOW else 8):
            storing = index % 2 == 0
            job = self.random_job(f"job {index}", self.rng.choice([1, 2]), STEPS // 2)
            if storing:
                job = self.large_output(f"job {index}")
            await sequence.run_job(job)
            cycles = self.env.runs[-1][1].read64("CYCLES")
            for _ in range(2 if SLOW else 5):
                await sequence.load(job)
                await sequence.start_job(job)
                if storing:
                    await sequence.wait_write()
                    at = self.rng.randint(0, 60)
                else:
                    at = self.rng.randint(0, cycles * 4 // 5)
                await sequence.do("run", lambda host, at=at: host.wait(at))
                await sequence.soft_reset()
                if self.rng.random() < 0.3:
                    await sequence.soft_reset()
                await sequence.finish(job)
                await sequence.run_job(self.random_job(f"after {index}", 1, STEPS // 4))
            await sequence.soft_reset()

    def finish(self) -> None:
        """Refuse a test whose resets came too early or too late."""
        aborted = [run for prediction, run in self.env.runs if prediction.outcome == "aborted"]
        partly = [run for run in aborted if run.written_bytes]
        if len(partly) < 2 or len(partly) == len(aborted):
            raise NotCovered(f"{len(aborted)} runs ended early, {len(partly)} of them had written")


@pyuvm.test(**TIMEOUT)
class Control(EngineTest):
    """START while busy, the interrupt's bits, the window lock: EN-008 to EN-010."""

    async def stimulate(self) -> None:
        """Run the script."""
        await self.run(ScriptSequence(self.env, self.rng, self.script))

    async def expect(self, sequence: HostSequence, name: str, value: int, what: str) -> None:
        """Read a register and compare it."""
        seen = await sequence.read(name)
        if seen != value:
            raise Mismatch(f"{what}: {name} is {seen:#x}, expected {value:#x}")

    async def settle(self, sequence: HostSequence) -> None:
        """Wait until the engine is not busy, by polling."""
        for _ in range(10_000):
            if not await sequence.read("STATUS") & 1:
                return
        raise HostError("the program does not end")

    def level(self) -> int:
        """Return the interrupt pin."""
        return int(cocotb.top.irq_o.value)

    async def script(self, sequence: HostSequence) -> None:
        """Body of the sequence."""
        await self.ignored_start(sequence)
        await self.interrupt_bits(sequence)
        await self.window_lock(sequence)

    async def ignored_start(self, sequence: HostSequence) -> None:
        """A START while busy changes nothing, not even with other addresses behind it."""
        job = self.random_job("start while busy", 2)
        await sequence.load(job)
        await sequence.start_job(job)
        for _ in range(4):
            await sequence.write("CTRL", 1)
            await self.expect(sequence, "STATUS", 1, "after START while busy")
        await sequence.wait_interrupt()
        await sequence.finish(job)
        if self.env.tracker.ignored_starts != 4:
            raise NotCovered(f"{self.env.tracker.ignored_starts} of 4 STARTs came while busy")

    async def interrupt_bits(self, sequence: HostSequence) -> None:
        """The pin is up while an enabled bit of the state is set; a written 1 clears its bit."""
        good = self.random_job("interrupt", 1, STEPS // 4)
        bad = bad_magic(self.random_job("error interrupt", 1, STEPS // 4), self.rng)
        for job, own in ((good, 1), (bad, 2)):
            other = 3 - own
            await sequence.load(job)
            await sequence.write("IRQ_ENABLE", other)
            await sequence.start_job(job)
            await self.settle(sequence)
            await self.expect(sequence, "IRQ_STATE", own, "not enabled")
            if self.level():
                raise Mismatch("the interrupt is up although its bit is not enabled")
            await sequence.write("IRQ_STATE", other)
            await self.expect(sequence, "IRQ_STATE", own, "the other bit cleared")
            await sequence.write("IRQ_ENABLE", own)
            await sequence.wait_interrupt(10)
            await sequence.finish(job)
            await self.expect(sequence, "IRQ_STATE", 0, "cleared")
            if job is bad:
                await sequence.soft_reset()

    async def window_lock(self, sequence: HostSequence) -> None:
        """Locked windows cannot be written; the base registers still can, and programs run."""
        job = self.random_job("locked", 1, STEPS // 4)
        await sequence.load(job)
        await sequence.write("WINDOW_LOCK", 1)
        await sequence.write("WINDOW_LOCK", 0)
        await self.expect(sequence, "WINDOW_LOCK", 1, "locked")
        names = [
            f"{kind}_WINDOW_{end}_{half}"
            for kind in ("READ", "WRITE")
            for end in ("FIRST", "LAST")
            for half in ("LO", "HI")
        ]
        before = {name: await sequence.read(name) for name in names}
        for name in names:
            await sequence.write(name, before[name] ^ self.rng.randint(1, 255))
            await self.expect(sequence, name, before[name], "written while locked")
        await sequence.start_job(job)
        await sequence.wait_interrupt()
        await sequence.finish(job)
        await sequence.soft_reset()
        await self.expect(sequence, "WINDOW_LOCK", 1, "after a soft reset")
        host = self.env.agent.host
        host.dut.rst_ni.value = 0
        await host.wait(3)
        host.dut.rst_ni.value = 1
        await host.wait(2)
        await self.expect(sequence, "WINDOW_LOCK", 0, "after the reset pin")
        await sequence.run_job(self.random_job("after reset", 1, STEPS // 4))


@pyuvm.test(**TIMEOUT)
class SameCycles(EngineTest):
    """A run has the same counters and marks whatever ran before: EN-006."""

    async def stimulate(self) -> None:
        """Run job 0 after itself, after others, after an error and after a soft reset."""
        jobs = [
            self.random_job(f"job {i}", 2, STEPS // 2, Timing(latency=self.rng.choice([2, 8, 40])))
            for i in range(3)
        ]
        # All at one latency: it is that of the memory, not of the job.
        jobs = [dataclasses.replace(job, timing=jobs[0].timing) for job in jobs]
        bad = ERRORS["foreign opcode, compute"](jobs[1], self.rng)

        async def body(sequence: HostSequence) -> None:
            first = jobs[0]
            for other in (first, *jobs[1:], bad):
                await sequence.run_job(first, marks=True)
                await sequence.run_job(other)
                if other is bad:
                    await sequence.soft_reset()
            await sequence.load(first)
            await sequence.start_job(first)
            await sequence.do("run", lambda host: host.wait(100))
            await sequence.soft_reset()
            await sequence.finish(first)
            await sequence.run_job(first, marks=True)

        await self.run(ScriptSequence(self.env, self.rng, body))
        runs = [
            (tuple(seen.read64(name) for name in COUNTERS), tuple(seen.marks or ()))
            for prediction, seen in self.env.runs
            if prediction.job is jobs[0] and seen.marks is not None
        ]
        if len(runs) < 5:
            raise NotCovered(f"only {len(runs)} runs of one job")
        for number, run in enumerate(runs):
            if run != runs[0]:
                raise TimingError(f"run {number}: counters and marks {run}, first {runs[0]}")


class BrokenProgramsTest(EngineTest):
    """Base: looks at what the scoreboard says to the runs of broken programs."""

    least = 1

    def choose_options(self) -> EngineOptions:
        """Look at the runs of the broken programs here."""
        self.broken = False
        self.caught: list[str] = []
        return EngineOptions(least=self.least, tamper=self.catch)

    def catch(self, run: Observation) -> list[Observation]:
        """Keep what the scoreboard says to a broken program's run."""
        if not self.broken:
            return [run]
        try:
            self.env.scoreboard.write(run)
        except Mismatch as mismatch:
            self.caught.append(str(mismatch))
        return []

    async def run_broken(self, sequence: HostSequence, job: Job, program: bytes, what: str) -> None:
        """Run the job with another program, which must compute wrongly."""
        self.broken = True
        await sequence.run_job(with_program(job, program))
        self.broken = False
        if not self.caught or "bytes of memory are wrong" not in self.caught.pop():
            raise NotCovered(f"{what}: the program computed rightly")


@pyuvm.test(**TIMEOUT)
class Tokens(BrokenProgramsTest):
    """Without its wait every token shows as a mismatch, with it there is none: TK-001 to TK-010."""

    least = 2 * len(RACES)

    def job(self, token: Token) -> Job:
        """Return a job in which the token matters; its integers are new ones every time."""
        race = RACES[token]
        generator = np.random.default_rng(self.rng.getrandbits(64))
        builder = NetworkBuilder(generator, race.shape(CONFIG.T_P), extremes=0.0, dw=CONFIG.DW)
        race.build(builder, CONFIG.T_P, CONFIG.T_C)
        return self.job_of(token.name, builder.network(), race.timing, race.smaller(CONFIG))

    async def stimulate(self) -> None:
        """Run, for each token, a good program, a broken one, and that one whole."""
        if set(RACES) != set(Token):
            raise NotCovered(f"no race for {set(Token) - set(RACES)}")
        await self.run(ScriptSequence(self.env, self.rng, self.script))

    async def script(self, sequence: HostSequence) -> None:
        """Body of the sequence."""
        for token in RACES:
            await sequence.run_job(self.job(token))
            whole = dataclasses.replace(self.job(token), watchdog=WATCHDOG)
            without = without_wait(whole.program, token, RACES[token].every)
            await self.run_broken(sequence, whole, without, f"without a wait for {token.name}")
            await sequence.run_job(whole)


@pyuvm.test(**TIMEOUT)
class Residuals(BrokenProgramsTest):
    """Faults in what is added show; other readers of act mem do not matter: RS-001 to RS-004."""

    least = 2 if SLOW else 2 * len(RESIDUAL_FAULTS) + 4

    def image_added(self) -> tuple[Network, Compiled]:
        """Return a layer that adds its image and is long enough to be read ahead."""
        rng = np.random.default_rng(self.rng.getrandbits(64))
        width = 6 if CONFIG.T_R == 5 else 5  # so that tiles go over the end of a row
        builder = NetworkBuilder(rng, (2 * CONFIG.T_P, 6, width), extremes=0.0, dw=CONFIG.DW)
        same = (1, 1, 1, 1)
        # The residual alone decides on the output, so that every one of its bits shows.
        post = {"lo": -127, "hi": 127, "s": 15, "m_r": 2**14, "t": 1}
        builder.conv(2 * CONFIG.T_P, (3, 3), (1, 1), same, 0, "image", **post)
        layer = builder.layers[-1]
        builder.layers[-1] = dataclasses.replace(layer, m=np.sign(layer.m))
        network = builder.network()
        return network, compile_network(network, CONFIG_NAME, CONFIG, SOURCE)

    def slow_bank(self) -> tuple[Network, Compiled]:
        """Return a network whose windows stay on one bank for long, and its residual too."""
        rng = np.random.default_rng(self.rng.getrandbits(64))
        builder = NetworkBuilder(rng, (CONFIG.T_P, 12, 12), extremes=0.0, dw=CONFIG.DW)
        builder.conv(CONFIG.T_P, (1, 1), (4, 4))  # so that 4 neighbours lie in one bank
        builder.at("image")
        builder.conv(CONFIG.T_P, (7, 1), (1, 1), (3, 0, 3, 0), 0, "image", lo=-127, hi=127)
        network = builder.network()
        return network, compile_network(network, CONFIG_NAME, CONFIG, SOURCE)

    def fast(self, name: str, network: Network, compiled: Compiled) -> Job:
        """Return a job on a memory without stalls."""
        return place(name, network, compiled, CONFIG, self.rng, Timing())

    async def stimulate(self) -> None:
        """Run the script."""
        await self.run(ScriptSequence(self.env, self.rng, self.script))

    async def script(self, sequence: HostSequence) -> None:
        """Body of the sequence."""
        for name in ["another block"] if SLOW else RESIDUAL_FAULTS:
            fault = RESIDUAL_FAULTS[name]
            timing = Timing(rate=Fraction(1))  # the image takes long to come
            network, compiled = self.image_added()
            # Two images: what the run before has left behind is wrong.
            first, job = (place(name, network, compiled, CONFIG, self.rng, timing) for _ in "ab")
            await sequence.run_job(first)
            await self.run_broken(sequence, job, fault(job.program), name)
            await sequence.run_job(job)
        if not SLOW:
            await self.contention(sequence)

    async def contention(self, sequence: HostSequence) -> None:
        """Run programs whose readers of act mem get in each other's way."""
        conflicts = []
        for network, compiled in (self.image_added(), self.slow_bank()):
            for count in (0, 40):
                job = self.fast(f"{count} more stores", network, busy_store(compiled, count))
                await sequence.run_job(job)
                conflicts.append(self.env.runs[-1][1].read64("BANK_CONFLICTS"))
        self.logger.info("bank conflicts: %s", conflicts)
        if conflicts[0] != 0:
            raise Mismatch(f"the residual cost the window reader {conflicts[0]} cycles, expected 0")
        if load_config("tiny") == CONFIG and conflicts[2] == 0:
            raise NotCovered("the residual prefetcher never waited 15 cycles")


@pyuvm.test(**TIMEOUT)
class ThroughScratch(EngineTest):
    """Words stored behind SCRATCH_BASE, and loaded again, in runs, are as they were: EN-011."""

    def plant(self, job: Job) -> Job:
        """Return the job that is run."""
        return job

    async def stimulate(self) -> None:
        """Run programs whose output goes out, in and out again."""
        jobs: list[Job] = []
        while len(jobs) < (2 if SLOW else 8):
            job = through_scratch(self.random_job(f"scratch {len(jobs)}"), self.rng)
            jobs += [self.plant(job)] if job else []
        await self.run(JobsSequence(self.env, self.rng, jobs))
        if not any(job.scratch and len(job.scratch.words) > 1 for job in jobs):
            raise NotCovered("no output of several words")


@pyuvm.test(**TIMEOUT)
class LowAddressBits(EngineTest):
    """The lowest 6 bits of bases or offsets do not count: ER-009."""

    async def stimulate(self) -> None:
        """Set them in the base registers, or in the program's header and instructions."""
        jobs = []
        for index in range(2 if SLOW else 6):
            job = self.random_job(f"job {index}", 1, STEPS // 2)
            if index % 2:
                bases = {name: base + self.rng.randint(1, 63) for name, base in job.bases.items()}
                jobs.append(dataclasses.replace(job, bases=bases))
            else:
                jobs.append(with_program(job, with_low_bits(job.program, self.rng)))
        await self.run(JobsSequence(self.env, self.rng, jobs))


@pyuvm.test(**TIMEOUT)
class Shapes(EngineTest):
    """One network of each kind that runs as block-diagonal weights or as a sum over pixels."""

    def compiled(self) -> dict[str, Job]:
        """Return the jobs; sums over pixels in several COMPUTEs of few rows."""
        jobs = {}
        generator = np.random.default_rng(self.rng.getrandbits(64))
        with patch.object(tiling, "PIXELS_MAX", 9):
            for name, network in shapes(generator, CONFIG).items():
                jobs[name] = self.job_of(name, network, Timing(latency=self.rng.choice([2, 8])))
        return jobs

    async def stimulate(self) -> None:
        """Run them."""
        jobs = self.compiled()
        sums = [f for job in jobs.values() for f in computes(job.program) if f["row0"]]
        if not any(f["reduce_first"] == 0 for f in sums) or len(jobs) < 9:
            raise NotCovered(f"{len(sums)} sums over pixels, {len(jobs)} jobs")
        await self.run(JobsSequence(self.env, self.rng, list(jobs.values())))


# --------------------------------------------------------------------------------------------------
# Negative twins
# --------------------------------------------------------------------------------------------------


class Twin(EngineTest):
    """Base of the twins: two small programs, the second of which is seen wrongly.

    `outcome` says how the second one ends.
    """

    outcome = "done"

    def choose_options(self) -> EngineOptions:
        """Plant the fault in the second run."""
        self.seen = 0

        def tamper(run: Observation) -> list[Observation]:
            self.seen += 1
            return self.change(run) if self.seen == 2 else [run]

        return EngineOptions(least=2, tamper=tamper)

    def change(self, run: Observation) -> list[Observation]:
        """Return what is reported instead of the second run."""
        return [run]

    async def stimulate(self) -> None:
        """Run the programs."""
        await self.run(ScriptSequence(self.env, self.rng, self.script))

    async def script(self, sequence: HostSequence) -> None:
        """Body of the sequence."""
        first, second = (self.random_job(f"job {i}", 1, STEPS // 4) for i in range(2))
        await sequence.run_job(first)
        if self.outcome == "error":
            second = bad_opcode("store", False)(second, self.rng)
        await sequence.run_job(second, marks=True)


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    """Return data with one bit flipped."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinOutputBit(Twin):
    """One bit of the output is seen wrong."""

    def change(self, run: Observation) -> list[Observation]:
        """Flip it."""
        run.memory = flipped(run.memory, run.start.register64("OUTPUT_BASE"), self.rng.randrange(8))
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinRow0(Shapes):
    """A sum over all pixels is one of the last pixel only."""

    async def stimulate(self) -> None:
        """Run a program without row0."""
        job = self.compiled()["global average, fully connected"]
        program = edit_computes(job.program, lambda _: {"row0": 0})
        await self.run(JobsSequence(self.env, self.rng, [with_program(job, program)]))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinScratch(ThroughScratch):
    """What is loaded again is not what was stored."""

    def plant(self, job: Job) -> Job:
        """Load from 64 bytes further on."""
        index = numbered(job.program, "load", "LOAD")[-1]
        offset = instructions(job.program)["load"][index][1]["offset"] + 64
        return with_program(job, patch_instruction(job.program, "load", index, offset=offset))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinGroup(Shapes):
    """The channels of another group take the place of a tile's own."""

    async def stimulate(self) -> None:
        """Run a program whose tiles all read the first channel block."""
        job = self.compiled()["depthwise"]
        first = computes(job.program)[0]
        wrong = {key: first[key] for key in ("src_bank", "src_base")}

        def change(fields: dict[str, int]) -> dict[str, int]:
            same = all(fields[key] == first[key] for key in ("out_x", "out_y"))
            return wrong if same else {}

        program = edit_computes(job.program, change)
        if program == job.program:
            raise NotCovered("every tile reads the first block")
        await self.run(JobsSequence(self.env, self.rng, [with_program(job, program)]))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinGuardByte(Twin):
    """A byte behind the output is seen to have changed."""

    def change(self, run: Observation) -> list[Observation]:
        """Flip a bit of the last byte, which belongs to no piece."""
        run.memory = flipped(run.memory, len(run.memory) - 1)
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinShortDump(Twin):
    """The end of the memory is not seen."""

    def change(self, run: Observation) -> list[Observation]:
        """Cut it off."""
        run.memory = run.memory[:-8]
        return [run]


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinLostRun(Twin):
    """A run is not seen."""

    def choose_options(self) -> EngineOptions:
        """The other one is enough."""
        options = super().choose_options()
        options.least = 1
        return options

    def change(self, run: Observation) -> list[Observation]:
        """Drop it."""
        return []


@pyuvm.test(expect_error=Unexpected, **TIMEOUT)
class TwinExtraRun(Twin):
    """A run is seen twice."""

    def change(self, run: Observation) -> list[Observation]:
        """Repeat it."""
        return [run, run]


@pyuvm.test(expect_error=SawNothing, **TIMEOUT)
class TwinNothing(Twin):
    """No program is run."""

    async def stimulate(self) -> None:
        """Do nothing."""


@pyuvm.test(expect_error=Unexpected, **TIMEOUT)
class TwinUnannounced(Twin):
    """A program is started that no sequence announced."""

    async def script(self, sequence: HostSequence) -> None:
        """Write START alone."""
        await sequence.load(self.random_job("job"))
        await sequence.write("CTRL", 1)


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinNeverStarted(Twin):
    """A program is announced and never started."""

    async def script(self, sequence: HostSequence) -> None:
        """Announce a third one."""
        await super().script(sequence)
        self.env.tracker.jobs.append(self.random_job("job"))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinInput(Twin):
    """The model is given another input than the core: every filter sees each of its bits."""

    async def script(self, sequence: HostSequence) -> None:
        """Change the image behind the monitor's back."""
        builder = NetworkBuilder(
            np.random.default_rng(1), (CONFIG.T_P, 1, 1), extremes=0.0, dw=CONFIG.DW
        )
        builder.conv(CONFIG.T_C, (1, 1), lo=-127, hi=127)
        job = self.job_of("job", builder.network(), Timing())
        await sequence.load(job)
        image = self.env.tracker.image
        self.env.tracker.image = flipped(image, job.bases["INPUT"], 6)
        await sequence.start_job(job)
        await sequence.wait_interrupt()
        await sequence.finish(job)


class TwinRegister(Twin):
    """Base: a register of the second run is read wrong."""

    register = ""

    def change(self, run: Observation) -> list[Observation]:
        """Flip its lowest bit."""
        run.reads[self.register] ^= 1
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinCycles(TwinRegister):
    """CYCLES is off by one."""

    register = "CYCLES_LO"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinMacActive(TwinRegister):
    """MAC_ACTIVE is off by one."""

    register = "MAC_ACTIVE_LO"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinBytesRead(TwinRegister):
    """BYTES_READ is off by one."""

    register = "BYTES_READ_LO"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinBytesWritten(TwinRegister):
    """BYTES_WRITTEN is off by one."""

    register = "BYTES_WRITTEN_LO"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinStatus(TwinRegister):
    """STATUS shows BUSY besides DONE."""

    register = "STATUS"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinTraceCount(TwinRegister):
    """TRACE_COUNT is off by one."""

    register = "TRACE_COUNT"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinMoved(Twin):
    """The memory has written one beat more than the output has."""

    def change(self, run: Observation) -> list[Observation]:
        """Count it, in the engine's counter too."""
        run.written_bytes += 8
        run.reads["BYTES_WRITTEN_LO"] += 8
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinLostMark(Twin):
    """A mark is not seen."""

    def change(self, run: Observation) -> list[Observation]:
        """Drop the last one."""
        assert run.marks
        run.marks.pop()
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinMarkOrder(Twin):
    """The marks are seen in another order."""

    def change(self, run: Observation) -> list[Observation]:
        """Reverse them."""
        assert run.marks
        run.marks.reverse()
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinNoInterrupt(Twin):
    """The interrupt is not seen."""

    def change(self, run: Observation) -> list[Observation]:
        """Forget it."""
        run.interrupts = []
        return [run]


class TwinError(TwinRegister):
    """Base: the second run ends in an error."""

    outcome = "error"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinErrorCode(TwinError):
    """The error's code is read wrong."""

    register = "ERROR_CODE"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinErrorStage(TwinError):
    """The error's stage is read wrong."""

    def change(self, run: Observation) -> list[Observation]:
        """Flip a bit of it."""
        run.reads["ERROR_CODE"] ^= 0x100
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinErrorAddress(TwinError):
    """The error's address is read wrong."""

    register = "ERROR_ADDR_LO"


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinErrorWrite(TwinError):
    """After an error, a beat outside the output is seen to have changed."""

    def change(self, run: Observation) -> list[Observation]:
        """Change it, and have it counted."""
        at = run.start.register64("PROGRAM_BASE")
        run.memory = flipped(run.memory, at)
        run.written_bytes += 8
        return [run]


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinErrorOutput(TwinError):
    """After an error, a beat of the output is seen that is neither old nor right."""

    def change(self, run: Observation) -> list[Observation]:
        """Change it, and have it counted."""
        run.memory = flipped(run.memory, run.start.register64("OUTPUT_BASE"))
        run.written_bytes += 8
        return [run]
