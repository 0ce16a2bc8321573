# SPDX-License-Identifier: Apache-2.0
"""DRAM as the simulation has it (``verif/hdl/axi_memory.sv``): one budget for reads and writes.

Reads answer in the order of their addresses. A write beat takes only a cycle, and only bandwidth,
that no read wants. An idle bus saves up two beats.
"""

from collections import deque
from math import ceil


class Dram:
    """When the beats of bursts come.

    Parameters
    ----------
    beat_bytes : int
        Width of the bus.
    bytes_per_cycle : float
        Bandwidth that reads and writes share; 0 for no limit but the bus.
    latency : int
        Cycles from an accepted read address to its first beat.

    Attributes
    ----------
    reads, writes : list of (first, last, bytes)
        Cycles of the first and the last beat of every burst, and what it moves.
    """

    def __init__(self, beat_bytes: int, bytes_per_cycle: float, latency: int) -> None:
        self.beat_bytes = beat_bytes
        self.latency = latency
        self.cost = max(1.0, beat_bytes / bytes_per_cycle) if bytes_per_cycle else 1.0
        self.reads: list[tuple[int, int, int]] = []
        self.writes: list[tuple[int, int, int]] = []
        self._last = -1  # beat on the bus
        self._paid = 0.0  # when the budget was just enough for the beat before
        self._busy: deque[tuple[int, int]] = deque()  # reads that may lie ahead

    def read(self, accepted: int, beats: int) -> tuple[int, int]:
        """Return the cycles of the first and the last beat of a burst.

        Parameters
        ----------
        accepted : int
            Cycle in which DRAM accepts the address; not before that of the burst before.
        beats : int
        """
        cost = self.cost
        first = max(accepted + self.latency, self._last + 1, ceil(self._paid + cost))
        paid = max(self._paid + cost, first - cost) + (beats - 1) * cost
        last = max(first + beats - 1, ceil(paid))
        self._last, self._paid = last, paid
        self._busy.append((first, last))
        self.reads.append((first, last, beats * self.beat_bytes))
        return first, last

    def write(self, start: int, beats: int) -> int:
        """Return the cycle of the last beat of a burst.

        Parameters
        ----------
        start : int
            The first cycle in which a beat could go; the present one, or a little later.
        beats : int
        """
        cost, left, time = self.cost, beats, start
        busy = self._busy
        while busy and busy[0][1] < start:
            busy.popleft()
        for first, last in busy:
            room = int((first - time) / cost) if first > time else 0
            if room >= left:
                break
            left -= room
            time = last + 1
        else:
            # Behind every read that is known of: it shares the budget with those that come.
            paid = max(self._paid + cost, time - cost) + (left - 1) * cost
            end = max(time + left - 1, ceil(paid))
            self._paid = max(self._paid, paid)
            self.writes.append((start, end, beats * self.beat_bytes))
            return end
        end = time + ceil(left * cost) - 1
        self.writes.append((start, end, beats * self.beat_bytes))
        return end
