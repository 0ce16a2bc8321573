# SPDX-License-Identifier: Apache-2.0
"""DRAM as the simulation has it (``verif/hdl/axi_memory.sv``): one budget for reads and writes.

Each of them moves at most a beat a cycle. Where both want the budget they take turns. Reads answer
in the order of their addresses. An idle bus saves up two beats.
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
        Cycles from an accepted read address to its first beat, and from the last beat of a write
        to its answer.

    Attributes
    ----------
    reads, writes : list of (first, last, bytes)
        Cycles of the first and the last beat of every burst, and what it moves.
    """

    def __init__(self, beat_bytes: int, bytes_per_cycle: float, latency: int) -> None:
        self.beat_bytes = beat_bytes
        self.latency = latency
        share = beat_bytes / bytes_per_cycle if bytes_per_cycle else 0.0
        self.cost = max(1.0, share)  # cycles of a beat
        self.turns = max(1.0, 2 * share)  # of a beat of one kind while both are wanted
        self.reads: list[tuple[int, int, int]] = []
        self.writes: list[tuple[int, int, int]] = []
        self._last = -1  # read beat on the bus
        self._written = -1  # write beat on the bus
        self._paid = 0.0  # when the budget was just enough for the beat before
        self._busy: deque[tuple[float, float]] = deque()  # from, to: reads that may lie ahead

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
        self._busy.append((first, max(last + 1, paid + cost)))
        self.reads.append((first, last, beats * self.beat_bytes))
        return first, last

    def write(self, start: int, beats: int) -> tuple[int, int]:
        """Return the cycles of the first and the last beat of a burst.

        Reads that are known of keep their cycles; those that come later are as much later as the
        writes took of the budget.

        Parameters
        ----------
        start : int
            The first cycle in which a beat can go; not before that of the burst before.
        beats : int
        """
        cost, turns = self.cost, self.turns
        start = max(start, self._written + 1)
        busy = self._busy
        while busy and busy[0][1] <= start:
            busy.popleft()
        time, left, moved = float(start), float(beats), 0.0  # moved: reads that are in the way
        for place, (first, end) in enumerate(busy):
            first, end = first + moved, end + moved
            if left > 0:
                alone = min(left, max(0, (first - time) // cost))
                time, left = time + alone * cost, left - alone
            if left > 0:  # a read beat for each write beat, until this burst's are through
                time = max(time, first)
                both = min(left, max(0.0, (end - time) / cost))
                time, left = time + both * turns, left - both
                moved, end = moved + both * (turns - cost), end + both * (turns - cost)
            busy[place] = first, end
        if left > 0 and turns > 1:
            begin = max(self._paid + moved + cost, time - cost)
            paid = begin + (left - 1) * cost
            time = max(time + left, paid + 1)
            self._paid = max(self._paid, paid)
        else:
            time += left
            self._paid += moved
        self._written = max(start + beats, ceil(time)) - 1
        self.writes.append((start, self._written, beats * self.beat_bytes))
        return start, self._written
