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

    def idle(self, time: int) -> int:
        """Return the first cycle from one on in which no read is known to come."""
        busy = self._busy
        while busy and busy[0][1] < time:
            busy.popleft()
        for first, last in busy:
            if first - time >= self.cost:
                break
            time = max(time, last + 1)
        return time

    def write(self, time: int, beats: int, horizon: int) -> tuple[int, int]:
        """Write some beats of a burst.

        Parameters
        ----------
        time : int
            The present cycle, in which no read comes (`idle`).
        beats : int
            Those that are left of the burst.
        horizon : int
            A read that is not yet known of cannot come before this cycle.

        Returns
        -------
        int
            Beats that are written before the next read.
        int
            Cycle of the last of them.
        """
        cost = self.cost
        # Behind the last read that is known of, it shares the budget with those that come.
        begin = time if self._busy else max(time, ceil(self._paid + cost))
        end = next((first for first, _ in self._busy if first > time), horizon)
        count = min(beats, max(1, int((end - begin) / cost)))
        if self._busy:
            last = begin + ceil(count * cost) - 1
            self._paid += cost - 1  # the reads behind it find less saved up
        else:
            self._paid = max(self._paid + cost, begin - cost) + (count - 1) * cost
            last = max(begin + count - 1, ceil(self._paid))
        self.writes.append((begin, last, count * self.beat_bytes))
        return count, last
