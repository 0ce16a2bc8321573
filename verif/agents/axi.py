# SPDX-License-Identifier: Apache-2.0
"""Memory side of an AXI4 port.

The standard allows data of different IDs in any order, interleaved beat by beat. This slave does
that, with latency, pauses on every channel, error responses and a record of every burst. One call a
clock edge serves all channels.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cocotb

from verif.agents.edges import at_edges, read_int
from verif.agents.stream import drive_garbage

PAGE = 4096
OKAY, SLVERR, DECERR = 0, 2, 3
CHANNELS = {
    "ar": ("id", "addr", "len"),
    "r": ("id", "data", "resp", "last"),
    "aw": ("id", "addr", "len"),
    "w": ("data", "strb"),
    "b": ("id", "resp"),
}


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
        data = b""
        while len(data) < length:
            number, offset = divmod(address + len(data), PAGE)
            data += self._page(number)[offset : offset + length - len(data)]
        return bytes(data)

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
class _WriteBurst:
    identifier: int
    address: int
    beats: int
    response: int
    taken: int = 0


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
        self.dram = dram
        self.behaviour = behaviour
        self.rng = rng
        self.record = AxiRecord()
        self.cycle = 0
        self._clock = clock
        self._reset_n = reset_n
        names = [f"{channel}{side}" for channel in CHANNELS for side in ("valid", "ready")]
        names += [f"{channel}{name}" for channel in CHANNELS for name in CHANNELS[channel]]
        self._pins = {name: getattr(entity, f"m_axi_{name}") for name in names}
        self._driven: dict[str, int] = {}
        self.bytes_per_beat = len(self._pins["rdata"]) // 8
        cocotb.start_soon(self._start())

    async def _start(self) -> None:
        self._reset()
        at_edges(self._clock, self._edge)

    def _reset(self) -> None:
        """Forget everything under way."""
        self._reads: dict[int, deque[_ReadBurst]] = {}
        self._writes: deque[_WriteBurst] = deque()  # whose data is not all there
        self._data: deque[tuple[int, int]] = deque()  # data, strobes
        self._answers: deque[tuple[int, int, int]] = deque()  # id, response, cycle due
        for name in ("arready", "awready", "wready"):
            self._drive(name, 0)
        for channel in ("r", "b"):
            self._offer(channel, None)

    def _drive(self, name: str, value: int) -> None:
        if self._driven.get(name) != value:
            self._pins[name].value = self._driven[name] = value

    def _offer(self, channel: str, payload: dict[str, int] | None) -> None:
        """Drive valid and the payload, or neither; then garbage stands there."""
        if payload:
            for name, value in payload.items():
                self._drive(f"{channel}{name}", value)
        elif self._driven.get(f"{channel}valid") != 0:
            for name in CHANNELS[channel]:
                drive_garbage(self._pins[f"{channel}{name}"], self.rng)
                self._driven.pop(f"{channel}{name}", None)
        self._drive(f"{channel}valid", int(payload is not None))

    def _sees(self, name: str) -> int:
        return read_int(self._pins[name])

    def _takes(self, channel: str) -> bool:
        """Say whether an item of a channel from the master is taken at this edge."""
        return bool(self._driven[f"{channel}ready"] and self._sees(f"{channel}valid"))

    def _gives(self, channel: str) -> bool:
        """Say whether an item of a channel to the master is taken at this edge."""
        return bool(self._driven[f"{channel}valid"] and self._sees(f"{channel}ready"))

    def _paused(self) -> bool:
        return self.rng.random() < self.behaviour.pause

    def _due(self) -> int:
        return self.cycle + self.rng.randint(*self.behaviour.latency)

    def _edge(self) -> None:
        self.cycle += 1
        if not read_int(self._reset_n):
            self._reset()
            return
        if self._takes("ar"):
            identifier, address = self._sees("arid"), self._sees("araddr")
            burst = _ReadBurst(identifier, address, self._sees("arlen") + 1, self._due())
            self.record.reads.append((identifier, address, burst.beats))
            self._reads.setdefault(identifier, deque()).append(burst)
        if self._takes("aw"):
            self._take_address()
        if self._takes("w"):
            self._data.append((self._sees("wdata"), self._sees("wstrb")))
        self._store()
        for name in ("arready", "awready", "wready"):
            self._drive(name, int(not self._paused()))
        read_given, write_given = self._gives("r"), self._gives("b")
        self.record.read_beats += read_given
        self.record.write_answers += write_given
        if read_given or not self._driven["rvalid"]:
            self._offer("r", None if self._paused() else self._next_beat())
        if write_given or not self._driven["bvalid"]:
            self._offer("b", None if self._paused() else self._next_answer())

    def _take_address(self) -> None:
        identifier, address = self._sees("awid"), self._sees("awaddr")
        beats = self._sees("awlen") + 1
        self.record.writes.append((identifier, address, beats))
        response = self.behaviour.write_response(address)
        self._writes.append(_WriteBurst(identifier, address, beats, response))

    def _store(self) -> None:
        """Write the data that came into the bursts that it is for."""
        while self._writes and self._data:
            burst, (data, strobes) = self._writes[0], self._data.popleft()
            if burst.response == OKAY:
                address = burst.address + burst.taken * self.bytes_per_beat
                self.dram.write(address, data, strobes, self.bytes_per_beat)
            burst.taken += 1
            if burst.taken == burst.beats:
                self._writes.popleft()
                self._answers.append((burst.identifier, burst.response, self._due()))

    def _next_beat(self) -> dict[str, int] | None:
        """Return a beat of read data that is due, of any ID."""
        ready = [q[0] for q in self._reads.values() if q and q[0].due <= self.cycle]
        if not ready:
            return None
        burst = next((b for b in ready if b.sent), None)
        if burst is None or self.behaviour.interleave:
            burst = self.rng.choice(ready)
        address = burst.address + burst.sent * self.bytes_per_beat
        burst.sent += 1
        last = burst.sent == burst.beats
        if last:
            self._reads[burst.identifier].popleft()
        return {
            "id": burst.identifier,
            "data": int.from_bytes(self.dram.read(address, self.bytes_per_beat), "little"),
            "resp": self.behaviour.read_response(address),
            "last": int(last),
        }

    def _next_answer(self) -> dict[str, int] | None:
        """Return the answer to the oldest write burst, if it is due."""
        if not self._answers or self._answers[0][2] > self.cycle:
            return None
        identifier, response, _ = self._answers.popleft()
        return {"id": identifier, "resp": response}
