# SPDX-License-Identifier: Apache-2.0
"""Sequences for the whole engine: what software does with programs, resets and errors."""

import random
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from cocotb.triggers import First, RisingEdge, Timer, ValueChange
from pyuvm import uvm_sequence

from verif.env.engine_agent import Action, HostItem
from verif.env.engine_env import EngineEnv
from verif.env.engine_model import Job, Timing
from verif.host import CLOCK_NS, COUNTERS, IMAGE_FILE, Host, HostError, write_image

MAX_CYCLES = 400_000  # of one run
QUIET = 1000  # cycles; longer than any memory here keeps a beat of write data waiting


def random_timing(rng: random.Random) -> Timing:
    """Return random settings of the memory; half of them are fast."""
    if rng.random() < 0.4:
        return Timing(latency=rng.choice([2, 8, 40]))
    rates = [0, 0, Fraction(1, 4), 1, Fraction(19, 7), Fraction(22, 3), 5, 8]
    return Timing(
        rate=Fraction(rng.choice(rates)),
        latency=rng.choice([2, 3, 9, 30, 120]),
        spread=rng.choice([0, 0, 5, 60]),
        stall=rng.choice([0, 20, 100, 200]),
        jitter=rng.random() < 0.3,
    )


class HostSequence(uvm_sequence):
    """Base: does actions through the agent's sequencer.

    Attributes
    ----------
    env : EngineEnv
    rng : random.Random
    """

    def __init__(self, env: EngineEnv, rng: random.Random, name: str = "sequence"):
        super().__init__(name)
        self.env = env
        self.rng = rng

    async def do(self, name: str, action: Action) -> Any:
        """Have the driver do something; return what that returns."""
        item = HostItem(name, action)
        await self.start_item(item)
        await self.finish_item(item)
        return item.result

    async def write(self, name: str, value: int) -> None:
        """Write a register."""
        await self.do(f"write {name}", lambda host: host.write(name, value))

    async def read(self, name: str) -> int:
        """Read a register."""
        value: int = await self.do(f"read {name}", lambda host: host.read(name))
        return value

    async def load(self, job: Job) -> None:
        """Fill the memory and set it, and the addresses, for a job."""

        async def action(host: Host) -> None:
            host.set_timing(job.timing)
            host.set_bad(*job.bad)
            host.set_guards(*job.guards)
            write_image(Path(IMAGE_FILE), job.image, job.config.AXI_DATA_W)
            await host.load_memory()
            await host.wait(2)
            await host.set_addresses(job.bases, job.read_window, job.write_window)
            await host.write("WATCHDOG", job.watchdog)

        await self.do(f"load {job.name}", action)

    async def start_job(self, job: Job) -> None:
        """Announce a job and write START."""
        self.env.tracker.jobs.append(job)
        await self.write("CTRL", 1)

    async def wait_interrupt(self, max_cycles: int = MAX_CYCLES) -> None:
        """Wait until the interrupt stands."""

        async def action(host: Host) -> None:
            if host.dut.irq_o.value != 1:
                event = RisingEdge(host.dut.irq_o)
                first = await First(event, Timer(max_cycles * CLOCK_NS, unit="ns"))
                if first is not event:
                    raise HostError(f"no interrupt in {max_cycles} cycles")
            await host.wait(2)

        await self.do("wait for the interrupt", action)

    async def wait_write(self, max_cycles: int = MAX_CYCLES) -> None:
        """Wait until the first beat of an output is in memory."""

        async def action(host: Host) -> None:
            event = ValueChange(host.dut.memory_bytes_written_o)
            first = await First(event, Timer(max_cycles * CLOCK_NS, unit="ns"))
            if first is not event:
                raise HostError(f"nothing was written in {max_cycles} cycles")
            await host.wait(1)

        await self.do("wait for a write", action)

    async def finish(self, job: Job, marks: bool = False) -> None:
        """Read what a run left in the registers, clear the interrupt, and dump the memory."""

        async def action(host: Host) -> None:
            for name in ("STATUS", "IRQ_STATE", "ERROR_CODE", "TRACE_COUNT"):
                await host.read(name)
            for name in ("ERROR_ADDR", *COUNTERS):
                await host.read64(name)
            if marks:
                count = min(await host.read("TRACE_COUNT"), job.config.TRACE_DEPTH)
                for index in range(count):
                    await host.write("TRACE_INDEX", index)
                    for word in range(8):
                        await host.read(f"TRACE_DATA{word}")
            await host.write("IRQ_STATE", 3)
            await host.wait(4)
            host.check_memory()
            if host.dut.irq_o.value != 0:
                raise HostError("the interrupt stays up although its state was cleared")
            # After an error, bursts that were asked for are still written.
            count, written = host.dut.memory_bytes_written_o, -1
            while job.error is not None and written != int(count.value):
                written = int(count.value)
                await host.wait(QUIET)
            await host.dump_memory(0, len(job.image), job.config.AXI_DATA_W // 8)

        await self.do(f"finish {job.name}", action)

    async def run_job(self, job: Job, marks: bool = False) -> None:
        """Load, start, wait, read, dump."""
        await self.load(job)
        await self.start_job(job)
        await self.wait_interrupt()
        await self.finish(job, marks)

    async def soft_reset(self) -> None:
        """Reset the engine and wait until it is idle: a slow memory owes it many beats."""

        async def action(host: Host) -> None:
            await host.write("CTRL", 2)
            for _ in range(400):
                if await host.read("STATUS") == 0:
                    return
                await host.wait(100)
            raise HostError("the soft reset does not end")

        await self.do("soft reset", action)


class JobsSequence(HostSequence):
    """Runs jobs one after the other, without a reset between them.

    Parameters
    ----------
    jobs : list of Job
    marks : float
        Chance of reading the trace buffer.
    """

    def __init__(self, env: EngineEnv, rng: random.Random, jobs: list[Job], marks: float = 0.3):
        super().__init__(env, rng)
        self.jobs = jobs
        self.marks = marks

    async def body(self) -> None:
        """Run them."""
        for job in self.jobs:
            await self.run_job(job, self.rng.random() < self.marks)


class ScriptSequence(HostSequence):
    """Does what a function says."""

    def __init__(
        self,
        env: EngineEnv,
        rng: random.Random,
        script: Callable[[HostSequence], Awaitable[None]],
    ):
        super().__init__(env, rng)
        self.script = script

    async def body(self) -> None:
        """Run the script."""
        await self.script(self)
