# SPDX-License-Identifier: Apache-2.0
"""Memory side of a synchronous read port: the word stands one cycle after the read."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

import cocotb
from cocotb.simtime import get_sim_time
from cocotb_bus.drivers import BusDriver

from verif.agents.edges import at_edges, read_int
from verif.agents.stream import drive_garbage
from verif.env.errors import ProtocolError


class ReadMemory(BusDriver):
    """Answers a read port from a dictionary of words.

    Only words that were written may be read: a read of any other is an error. In cycles that
    follow no read, the data port holds garbage.

    Parameters
    ----------
    entity, clock, reset_n
        cocotb handles.
    signals : mapping of str to str
        Ports "read" (enable), "address" and "data".
    rng : random.Random
        For the garbage.

    Attributes
    ----------
    words : dict of int to int
        Contents by address.
    reads : int
        Number of reads so far.
    flip : dict of int to int
        Negative twins: bits to flip in the answer to read number k.
    """

    def __init__(
        self,
        entity: Any,
        clock: Any,
        reset_n: Any,
        signals: Mapping[str, str],
        rng: random.Random,
    ):
        self._signals = dict(signals)
        super().__init__(entity, None, clock)
        self.words: dict[int, int] = {}
        self.reads = 0
        self.flip: dict[int, int] = {}
        self._reset_n = reset_n
        self._writes: dict[int, int] = {}  # how often each address was written
        self._released: list[tuple[int, dict[int, int]]] = []
        self._rng = rng
        self._garbage = False  # stands on the data port
        cocotb.start_soon(self._start())

    async def _driver_send(self, transaction: dict[int, int], sync: bool = True) -> None:
        self.write(transaction)

    def write(self, words: Mapping[int, int]) -> None:
        """Write words by address: a backdoor, no time passes."""
        for address, word in words.items():
            self.words[address] = word
            self._writes[address] = self._writes.get(address, 0) + 1

    def release(self, addresses: Iterable[int]) -> None:
        """Forget words, from the next clock edge on; words written there meanwhile stay."""
        writes = {address: self._writes[address] for address in addresses}
        self._released.append((get_sim_time("step"), writes))

    def _apply_releases(self) -> None:
        now = get_sim_time("step")
        while self._released and self._released[0][0] < now:
            for address, writes in self._released.pop(0)[1].items():
                if self._writes[address] == writes:
                    self.words.pop(address, None)

    async def _start(self) -> None:
        at_edges(self.clock, self._respond)

    def _respond(self) -> None:
        if self._released:
            self._apply_releases()
        if not read_int(self._reset_n) or not read_int(self.bus.read):
            if not self._garbage:
                drive_garbage(self.bus.data, self._rng)
            self._garbage = True
            return
        address = read_int(self.bus.address)
        if address not in self.words:
            raise ProtocolError(f"read of address {address}, which holds no word")
        self.bus.data.value = self.words[address] ^ self.flip.get(self.reads, 0)
        self.reads += 1
        self._garbage = False
