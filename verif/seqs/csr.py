# SPDX-License-Identifier: Apache-2.0
"""Sequences for the control and status registers."""

import random

from cocotb.triggers import gather
from pyuvm import uvm_sequence

from verif.agents.stream import StreamSequenceItem
from verif.env.csr_env import CsrEnv
from verif.seqs.wgen import OneItem


async def send_write(env: CsrEnv, address: int, data: int, strobes: int = 15) -> None:
    """Send a write, without waiting for its answer."""
    payload = {"address": address, "data": data, "strobes": strobes}
    await OneItem(StreamSequenceItem("write", payload)).start(env.agent.sequencers["write"])


async def send_read(env: CsrEnv, address: int) -> None:
    """Send a read, without waiting for its answer."""
    item = StreamSequenceItem("read", {"address": address})
    await OneItem(item).start(env.agent.sequencers["read"])


async def write(env: CsrEnv, name: str, data: int, strobes: int = 15) -> None:
    """Write a register and wait for the answer."""
    await send_write(env, env.model.address_of(name), data, strobes)
    await env.agent.drivers["write"].wait()


async def read(env: CsrEnv, name: str) -> int:
    """Read a register and return the (already checked) value."""
    await send_read(env, env.model.address_of(name))
    await env.agent.drivers["read"].wait()
    return env.read_data[-1]


def random_address(rng: random.Random, env: CsrEnv) -> int:
    """Return an address: of a register mostly, anywhere else, not a multiple of 4 sometimes."""
    if rng.random() < 0.85:
        address = rng.choice(list(env.model.by_address))
    else:
        address = rng.randrange(0, 4096, 4)
    return address + (rng.randrange(4) if rng.random() < 0.1 else 0)


def random_data(rng: random.Random) -> int:
    """Return a data word: any bits, few ones, or all."""
    kind = rng.random()
    if kind < 0.3:
        return 1 << rng.randrange(32)
    if kind < 0.4:
        return 0xFFFFFFFF
    return rng.getrandbits(32)


class RandomAccess(uvm_sequence):
    """Random reads and writes at the same time.

    Parameters
    ----------
    env : CsrEnv
        Environment with the sequencers.
    rng : random.Random
        For addresses, data and strobes.
    count : int
        Number of reads, and of writes.
    lock : float
        Probability that a write to the window lock is let through.
    """

    def __init__(self, env: CsrEnv, rng: random.Random, count: int, lock: float = 0.05):
        super().__init__("random_access")
        self.env = env
        self.rng = rng
        self.count = count
        self.lock = lock

    async def body(self) -> None:
        """Send all, wait for all answers."""
        await gather(self._writes(), self._reads())
        for driver in self.env.agent.drivers.values():
            await driver.wait()

    async def _writes(self) -> None:
        rng = random.Random(self.rng.getrandbits(64))
        lock = self.env.model.address_of("WINDOW_LOCK")
        for _ in range(self.count):
            address = random_address(rng, self.env)
            if address & ~3 == lock and rng.random() >= self.lock:
                continue
            strobes = 15 if rng.random() < 0.7 else rng.getrandbits(4)
            await send_write(self.env, address, random_data(rng), strobes)

    async def _reads(self) -> None:
        rng = random.Random(self.rng.getrandbits(64))
        for _ in range(self.count):
            await send_read(self.env, random_address(rng, self.env))
