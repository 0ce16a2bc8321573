# SPDX-License-Identifier: Apache-2.0
"""Tests of the control and status registers ``unzip_csr``; see ``docs/spec.md`` for CSR contracts.

The classes named ``Twin...`` are negative twins: each plants one fault on the testbench's side and
passes only if the right checker finds it.
"""

import random
from itertools import pairwise

import cocotb
import pyuvm
from cocotb.triggers import ClockCycles, RisingEdge, gather
from pyuvm import uvm_test

from verif.env.csr_env import CsrEnv, CsrOptions
from verif.env.csr_model import SLVERR
from verif.env.errors import Leftover, Mismatch, NotCovered, SawNothing, TimingError, Unexpected
from verif.env.seeds import SEED, SEEDS, run_seeds
from verif.seqs.csr import RandomAccess, read, send_read, send_write, write

TIMEOUT = {"timeout_time": 500, "timeout_unit": "us"}


class CsrTest(uvm_test):
    """Base: builds the environment, resets, runs `stimulate`."""

    options = CsrOptions()

    def build_phase(self) -> None:
        """Create the environment."""
        self.rng = random.Random(f"{SEED} {type(self).__name__}")
        self.env = CsrEnv("env", self)
        self.env.options = self.choose_options()
        self.env.rng = self.rng

    def choose_options(self) -> CsrOptions:
        """Return the environment's options."""
        return self.options

    async def stimulate(self) -> None:
        """Access registers."""
        await RandomAccess(self.env, self.rng, 40).start()

    async def run_phase(self) -> None:
        """Reset and run."""
        self.raise_objection()
        await self.env.start()
        self.logger.info("SEED=%s %s", SEED, self.env.model.parameters)
        await self.stimulate()
        await ClockCycles(cocotb.top.clk_i, 10)
        self.drop_objection()


@pyuvm.test(**TIMEOUT)
class ResetValues(CsrTest):
    """Every register reads as the map says after reset; every other address answers SLVERR."""

    options = CsrOptions(least=0)

    async def stimulate(self) -> None:
        """Read all registers, what lies around them and other addresses; write some of those."""
        rng = self.rng
        addresses = list(range(0, 0x240, 4)) + [rng.randrange(0x240, 4096, 4) for _ in range(40)]
        for address in addresses:
            await send_read(self.env, address)
        await self.env.agent.drivers["read"].wait(2000)
        if not set(self.env.model.by_address) <= set(addresses):
            raise NotCovered("a register was not read")
        if sum(self.env.model.response(address) == SLVERR for address in addresses) < 50:
            raise NotCovered("too few addresses without a register")
        for address in range(0x200, 0x240, 4):
            await send_write(self.env, address, 0xFFFFFFFF)
        await self.env.agent.drivers["write"].wait()


@pyuvm.test(timeout_time=200 * SEEDS, timeout_unit="us")
class RandomAccesses(CsrTest):
    """Random reads and writes at the same time, random pauses, a core side that changes.

    Each seed has its own accesses and pauses, and a reset in front of it: that alone ends the lock.
    """

    def choose_options(self) -> CsrOptions:
        """Refuse too few accesses."""
        return CsrOptions(least=80 * SEEDS)

    async def stimulate(self) -> None:
        """Run every seed's accesses to their end."""
        await run_seeds("RandomAccesses", self.one_seed)

    async def one_seed(self, rng: random.Random) -> int:
        """Reset, run a seed's accesses; return how many were answered."""
        env = self.env
        env.reseed(rng, rng.choice([0.0, 0.2, 0.6]), rng.choice([0.05, 0.5]))
        await env.reset()
        before = env.reads + env.writes
        await RandomAccess(env, rng, 120).start()
        await ClockCycles(cocotb.top.clk_i, 5)
        return env.reads + env.writes - before


@pyuvm.test(**TIMEOUT)
class Lock(CsrTest):
    """A set lock keeps the windows, and nothing but the reset pin clears it."""

    async def stimulate(self) -> None:
        """Write windows, lock, write them again, with soft reset, start, errors between."""
        env, rng = self.env, self.rng
        windows = [n for _, n, _ in env.model.by_address.values() if "_WINDOW_" in n]
        for name in windows:
            await write(env, name, rng.getrandbits(32) | 1)
        before = [await read(env, name) for name in windows]
        await write(env, "WINDOW_LOCK", 0)  # writing 0 sets nothing
        await write(env, windows[0], before[0] ^ 2)
        if await read(env, windows[0]) != before[0] ^ 2:
            raise NotCovered("the lock held without being set")
        await write(env, windows[0], before[0])
        await write(env, "WINDOW_LOCK", 0xFFFFFF01)
        await write(env, "CTRL", 3)
        await write(env, "WINDOW_LOCK", 0)
        for name in windows:
            await write(env, name, rng.getrandbits(32))
        after = [await read(env, name) for name in windows]
        if after != before or await read(env, "WINDOW_LOCK") != 1:
            raise Mismatch("a locked window changed")
        await write(env, "PROGRAM_BASE_LO", 0x12345678)  # not locked
        if await read(env, "PROGRAM_BASE_LO") != 0x12345678:
            raise Mismatch("PROGRAM_BASE_LO is locked")
        await env.reset()
        await write(env, windows[0], 0x55)
        if await read(env, windows[0]) != 0x55:
            raise Mismatch("the lock survived the reset pin")


@pyuvm.test(**TIMEOUT)
class Interrupts(CsrTest):
    """An event is never lost, whenever it comes against the write that clears the one before."""

    async def stimulate(self) -> None:
        """Move the event over the clearing write, cycle by cycle."""
        env = self.env
        env.fixed = {"done": 0, "failed": 0}
        kept = {"done": set(), "failed": set()}
        for bit, event in enumerate(("done", "failed")):
            await write(env, "IRQ_ENABLE", 1 << bit)
            for delay in range(14):
                await self.pulse(event)
                if not (await read(env, "IRQ_STATE")) & (1 << bit):
                    raise Mismatch(f"{event} did not set its bit")
                await gather(self.pulse(event, 7), self.clear(bit, delay))
                kept[event].add((await read(env, "IRQ_STATE") >> bit) & 1)
                await write(env, "IRQ_STATE", 3)
            await write(env, "IRQ_ENABLE", 0)
        if any(values != {0, 1} for values in kept.values()):
            raise NotCovered(f"the event always came before, or after the clearing: {kept}")

    async def pulse(self, event: str, delay: int = 0) -> None:
        """Let an event last one cycle."""
        await ClockCycles(cocotb.top.clk_i, delay + 1)
        self.env.pulse(event)
        await RisingEdge(cocotb.top.clk_i)

    async def clear(self, bit: int, delay: int) -> None:
        """Clear a bit of the interrupt state."""
        await ClockCycles(cocotb.top.clk_i, delay + 1)
        await write(self.env, "IRQ_STATE", 1 << bit)


@pyuvm.test(**TIMEOUT)
class DoneBit(CsrTest):
    """STATUS.DONE stands from done on until the core is busy, in error or resetting."""

    async def stimulate(self) -> None:
        """End it with each of the three alone."""
        env = self.env
        done = 1 << 1
        await write(env, "IRQ_STATE", 0)
        for state in ("busy", "error", "resetting"):
            env.fixed = dict.fromkeys(("busy", "error", "resetting", "done", "failed"), 0)
            await ClockCycles(cocotb.top.clk_i, 2)
            env.pulse("done")
            await ClockCycles(cocotb.top.clk_i, 3)
            if not await read(env, "STATUS") & done:
                raise Mismatch("STATUS.DONE is not set")
            env.fixed[state] = 1
            await ClockCycles(cocotb.top.clk_i, 2)
            env.fixed[state] = 0
            await ClockCycles(cocotb.top.clk_i, 2)
            if await read(env, "STATUS") & done:
                raise Mismatch(f"STATUS.DONE survived {state}")


@pyuvm.test(**TIMEOUT)
class Rate(CsrTest):
    """Unpaused, an access takes three cycles at most."""

    async def stimulate(self) -> None:
        """Send many accesses of one kind, then of the other, and look at the distances."""
        env = self.env
        for _ in range(20):
            await send_write(env, env.model.address_of("WEIGHT_BASE_LO"), self.rng.getrandbits(32))
        await env.agent.drivers["write"].wait()
        for _ in range(20):
            await send_read(env, env.model.address_of("WEIGHT_BASE_LO"))
        await env.agent.drivers["read"].wait()
        for cycles in (env.write_cycles, env.read_cycles):
            slow = [after - before for before, after in pairwise(cycles) if after - before > 3]
            if slow:
                raise TimingError(f"answers {slow} cycles apart, at most 3 expected")


# --------------------------------------------------------------------------------------------------
# Negative twins
# --------------------------------------------------------------------------------------------------


def nth(channel: str, n: int, change):
    """Return a `CsrOptions.tamper` that changes the payload of item n of a channel."""
    seen = -1

    def tamper(name: str, payload: dict[str, int]) -> dict[str, int]:
        nonlocal seen
        if name != channel:
            return payload
        seen += 1
        return payload | change(payload) if seen == n else payload

    return tamper


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinReadData(CsrTest):
    """A bit of read data is seen wrong."""

    def choose_options(self) -> CsrOptions:
        """Flip it in read 7."""
        return CsrOptions(tamper=nth("r", 7, lambda p: {"rdata": p["rdata"] ^ 0x100}))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinReadResponse(CsrTest):
    """The response to a read is seen wrong."""

    def choose_options(self) -> CsrOptions:
        """Change it in read 7."""
        return CsrOptions(tamper=nth("r", 7, lambda p: {"rresp": p["rresp"] ^ 2}))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinWriteResponse(CsrTest):
    """The response to a write is seen wrong."""

    def choose_options(self) -> CsrOptions:
        """Change it in write 7."""
        return CsrOptions(tamper=nth("b", 7, lambda p: {"bresp": p["bresp"] ^ 2}))


class TwinAccess(CsrTest):
    """Base: writes one register with random values and reads it back."""

    async def stimulate(self) -> None:
        """Write and read."""
        for _ in range(5):
            await write(self.env, "TRACE_INDEX", self.rng.getrandbits(31) << 1)
            await read(self.env, "TRACE_INDEX")


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinWriteData(TwinAccess):
    """A bit of write data is seen wrong: the model keeps another value than the register."""

    def choose_options(self) -> CsrOptions:
        """Flip it in write 3."""
        return CsrOptions(tamper=nth("w", 3, lambda p: {"wdata": p["wdata"] ^ 0x80000000}))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinStrobes(TwinAccess):
    """A byte strobe is seen wrong."""

    def choose_options(self) -> CsrOptions:
        """Drop the lowest one in write 0."""
        return CsrOptions(tamper=nth("w", 1, lambda p: {"wstrb": 0}))


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinInterrupt(CsrTest):
    """The interrupt is not seen."""

    def choose_options(self) -> CsrOptions:
        """Hide it."""
        return CsrOptions(tamper_pins=lambda pins: pins | {"irq": 0})

    async def stimulate(self) -> None:
        """Enable it, and let a run end."""
        await write(self.env, "IRQ_ENABLE", 3)
        self.env.pulse("done")
        await ClockCycles(cocotb.top.clk_i, 3)
        await read(self.env, "IRQ_STATE")


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinStart(CsrTest):
    """The start pulse is not seen."""

    def choose_options(self) -> CsrOptions:
        """Hide it."""
        return CsrOptions(tamper_pins=lambda pins: pins | {"start": 0})

    async def stimulate(self) -> None:
        """Start."""
        await write(self.env, "CTRL", 1)
        await read(self.env, "CTRL")


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinLongStart(TwinStart):
    """The start pulse is seen one cycle longer than it lasts."""

    def choose_options(self) -> CsrOptions:
        """Stretch it."""
        self.before = 0
        return CsrOptions(tamper_pins=self.stretch)

    def stretch(self, pins: dict[str, int]) -> dict[str, int]:
        """Report start in the cycle after it, too."""
        start, self.before = pins["start"] | self.before, pins["start"]
        return pins | {"start": start}


@pyuvm.test(expect_error=Mismatch, **TIMEOUT)
class TwinCounter(CsrTest):
    """A counter port is seen wrong: the model expects another value than is read."""

    def choose_options(self) -> CsrOptions:
        """Flip bit 64: the lowest one of MAC_ACTIVE."""
        return CsrOptions(tamper_pins=lambda pins: pins | {"counters": pins["counters"] ^ 1 << 64})

    async def stimulate(self) -> None:
        """Read it."""
        await write(self.env, "CTRL", 0)
        await read(self.env, "MAC_ACTIVE_LO")


@pyuvm.test(expect_error=Unexpected, **TIMEOUT)
class TwinUnaskedAnswer(CsrTest):
    """A write address is not seen: its answer comes unasked."""

    async def stimulate(self) -> None:
        """Lose the address of a write."""
        self.env.subscribers["aw"].write = lambda item: None
        await write(self.env, "TRACE_INDEX", 1)


@pyuvm.test(expect_error=Leftover, **TIMEOUT)
class TwinLostAnswer(CsrTest):
    """The answer to the last read is not seen."""

    async def stimulate(self) -> None:
        """Lose it."""
        await super().stimulate()
        self.env.subscribers["r"].write = lambda item: None
        await send_read(self.env, 0)
        await self.env.agent.drivers["read"].wait()


@pyuvm.test(expect_error=SawNothing, **TIMEOUT)
class TwinNothing(CsrTest):
    """No access at all."""

    async def stimulate(self) -> None:
        """Do nothing."""


@pyuvm.test(expect_error=TimingError, **TIMEOUT)
class TwinSlow(Rate):
    """Pauses in the rate test."""

    options = CsrOptions(pause=0.5)
