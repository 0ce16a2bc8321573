# SPDX-License-Identifier: Apache-2.0
"""A small discrete-event simulator: processes are generators.

A process yields the time to go on at, or a `Signal` to wait for. One that waits for a signal must
look again at what it waits for: others may have been there before it.
"""

from collections.abc import Callable, Generator
from heapq import heappop, heappush


class Signal:
    """Something that processes wait for."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[Process] = []


Process = Generator[int | Signal, None, None]


class Simulator:
    """Time, and what happens when.

    Attributes
    ----------
    now : int
        The present cycle.
    """

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Process | Callable[[], None]]] = []
        self._count = 0  # events of one time keep their order

    def at(self, time: int, what: Process | Callable[[], None]) -> None:
        """Call a function, or go on with a process, at a time that is not past."""
        self._count += 1
        heappush(self._heap, (time, self._count, what))

    def notify(self, signal: Signal) -> None:
        """Let all that wait for a signal go on."""
        if signal.waiting:
            waiting, signal.waiting = signal.waiting, []
            for process in waiting:
                self.at(self.now, process)

    def run(self) -> None:
        """Run until nothing is left that could happen."""
        heap = self._heap
        while heap:
            self.now, _, what = heappop(heap)
            if callable(what):
                what()
                continue
            for wanted in what:
                if isinstance(wanted, Signal):
                    wanted.waiting.append(what)
                    break
                if wanted > self.now:
                    if heap and heap[0][0] <= wanted:
                        self.at(wanted, what)
                        break
                    self.now = wanted
