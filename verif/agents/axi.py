# SPDX-License-Identifier: Apache-2.0
"""Memory side of an AXI4 port, on cocotbext-axi's channels.

cocotbext-axi's own memories answer reads in the order of the addresses, one burst after the other.
The standard allows more: data of different IDs in any order, interleaved beat by beat. This slave
does that, with latency, pauses on every channel, error responses and a record of every burst.
"""

import logging
import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import RisingEdge
from cocotbext.axi.axi_channels import (
    AxiARBus,
    AxiARSink,
    AxiAWBus,
    AxiAWSink,
    AxiBBus,
    AxiBSource,
    AxiBTransaction,
    AxiRBus,
    AxiRSource,
    AxiRTransaction,
    AxiWBus,
    AxiWSink,
)

# It calls what cocotb 2.1 deprecates.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"cocotbext\.axi")

PAGE = 4096
OKAY, SLVERR, DECERR = 0, 2, 3


class Dram:
    """Byte memory of any size, filled with random bytes that depend on the address only.

    Parameters
    ----------
    seed : int
        Seed of the contents.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self._pages: dict[int, bytearray] = {}

    def _page(self, number: int) -> bytearray:
        if number not in self._pages:
            content = random.Random(f"{self.seed} {number}").randbytes(PAGE)
            self._pages[number] = bytearray(content)
        return self._pages[number]

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes."""
        return bytes(self._page(a // PAGE)[a % PAGE] for a in range(address, address + length))

    def write(self, address: int, data: int, strobes: int, width: int) -> None:
        """Write the bytes of a beat of `width` bytes whose strobe is set."""
        for k in range(width):
            if (strobes >> k) & 1:
                self._page((address + k) // PAGE)[(address + k) % PAGE] = (data >> (8 * k)) & 0xFF


@dataclass
class AxiBehaviour:
    """How the slave behaves; may be changed while it runs.

    Attributes
    ----------
    pause : float
        Probability of a pause in a cycle and channel.
    latency : tuple of int
        Fewest and most cycles between an address and its first answer.
    interleave : bool
        Mix the data of different read IDs.
    read_response, write_response : callable
        Response to a beat's address, to a write burst's address.
    """

    pause: float = 0.0
    latency: tuple[int, int] = (0, 0)
    interleave: bool = True
    read_response: Callable[[int], int] = lambda address: OKAY
    write_response: Callable[[int], int] = lambda address: OKAY


@dataclass(eq=False)
class _ReadBurst:
    identifier: int
    address: int
    beats: int
    due: int  # cycle
    sent: int = 0


@dataclass
class AxiRecord:
    """Bursts that the slave has seen: (id, address, beats).

    Attributes
    ----------
    reads, writes : list of (int, int, int)
        In the order of their addresses.
    read_beats, write_answers : int
        Beats and answers given.
    """

    reads: list[tuple[int, int, int]] = field(default_factory=list)
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    read_beats: int = 0
    write_answers: int = 0


class AxiMemory:
    """AXI4 slave with a `Dram` behind it.

    Parameters
    ----------
    entity, clock, reset_n
        cocotb handles; the channels have the prefix ``m_axi``.
    dram : Dram
        The memory.
    behaviour : AxiBehaviour
        See there.
    rng : random.Random
        For pauses, latencies and order.
    """

    def __init__(
        self,
        entity: Any,
        clock: Any,
        reset_n: Any,
        dram: Dram,
        behaviour: AxiBehaviour,
        rng: random.Random,
    ):
        self.clock = clock
        self.dram = dram
        self.behaviour = behaviour
        self.rng = rng
        self.record = AxiRecord()
        self.cycle = 0
        arguments = (clock, reset_n, False)
        logging.getLogger(f"cocotb.{entity._name}.m_axi").setLevel(logging.WARNING)
        self._ar = AxiARSink(AxiARBus.from_prefix(entity, "m_axi"), *arguments)
        self._r = AxiRSource(AxiRBus.from_prefix(entity, "m_axi"), *arguments)
        self._aw = AxiAWSink(AxiAWBus.from_prefix(entity, "m_axi"), *arguments)
        self._w = AxiWSink(AxiWBus.from_prefix(entity, "m_axi"), *arguments)
        self._b = AxiBSource(AxiBBus.from_prefix(entity, "m_axi"), *arguments)
        self.bytes_per_beat = len(self._r.bus.rdata) // 8
        self._r.queue_occupancy_limit = 2
        self._reads: dict[int, deque[_ReadBurst]] = {}
        self._answers: Queue[tuple[int, int, int]] = Queue()  # id, address, cycle due
        for channel in (self._ar, self._r, self._aw, self._w, self._b):
            channel.set_pause_generator(self._pauses())
        for part in (self._count, self._take_reads, self._send_data, self._writes, self._answer):
            cocotb.start_soon(part())

    def _pauses(self) -> Iterator[int]:
        rng = random.Random(self.rng.getrandbits(64))
        while True:
            yield int(rng.random() < self.behaviour.pause)

    def _due(self) -> int:
        return self.cycle + self.rng.randint(*self.behaviour.latency)

    async def _count(self) -> None:
        while True:
            await RisingEdge(self.clock)
            self.cycle += 1

    async def _take_reads(self) -> None:
        while True:
            item = await self._ar.recv()
            identifier, address, beats = int(item.arid), int(item.araddr), int(item.arlen) + 1
            self.record.reads.append((identifier, address, beats))
            burst = _ReadBurst(identifier, address, beats, self._due())
            self._reads.setdefault(identifier, deque()).append(burst)

    async def _send_data(self) -> None:
        current: _ReadBurst | None = None
        while True:
            ready = [q[0] for q in self._reads.values() if q and q[0].due <= self.cycle]
            if not ready:
                await RisingEdge(self.clock)
                continue
            if current not in ready or self.behaviour.interleave:
                current = self.rng.choice(ready)
            address = current.address + current.sent * self.bytes_per_beat
            current.sent += 1
            last = current.sent == current.beats
            data = self.dram.read(address, self.bytes_per_beat)
            await self._r.send(
                AxiRTransaction(
                    rid=current.identifier,
                    rdata=int.from_bytes(data, "little"),
                    rresp=self.behaviour.read_response(address),
                    rlast=int(last),
                )
            )
            self.record.read_beats += 1
            if last:
                self._reads[current.identifier].popleft()

    async def _writes(self) -> None:
        while True:
            item = await self._aw.recv()
            identifier, address, beats = int(item.awid), int(item.awaddr), int(item.awlen) + 1
            self.record.writes.append((identifier, address, beats))
            response = self.behaviour.write_response(address)
            for beat in range(beats):
                data = await self._w.recv()
                if response == OKAY:
                    self.dram.write(
                        address + beat * self.bytes_per_beat,
                        int(data.wdata),
                        int(data.wstrb),
                        self.bytes_per_beat,
                    )
            self._answers.put_nowait((identifier, address, self._due()))

    async def _answer(self) -> None:
        while True:
            identifier, address, due = await self._answers.get()
            while self.cycle < due:
                await RisingEdge(self.clock)
            response = self.behaviour.write_response(address)
            await self._b.send(AxiBTransaction(bid=identifier, bresp=response))
            self.record.write_answers += 1
