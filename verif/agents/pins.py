# SPDX-License-Identifier: Apache-2.0
"""Monitor of pins that follow no handshake."""

from collections.abc import Callable, Mapping
from typing import Any

from cocotb_bus.monitors import BusMonitor

from verif.agents.edges import at_edges, read_int
from verif.agents.stream import StreamItem


class PinsMonitor(BusMonitor):
    """Reports signals at every clock edge outside reset, or at those where one of them is 1.

    Parameters
    ----------
    entity, clock, reset_n
        cocotb handles.
    signals : mapping of str to str
        Name in the payload, and port.
    callback : callable
        Called with a `StreamItem`: the payload and the number of the clock edge.
    when : str
        Name of the signal that must be 1, "" for every edge. The others are not looked at while
        it is 0.
    """

    def __init__(
        self,
        entity: Any,
        clock: Any,
        reset_n: Any,
        signals: Mapping[str, str],
        callback: Callable[[StreamItem], None],
        when: str = "",
    ):
        self._signals = dict(signals)
        self.when = when
        self.cycle = 0
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)
        self._handles = {name: getattr(self.bus, name) for name in signals}

    async def _monitor_recv(self) -> None:
        at_edges(self.clock, self._edge)

    def _edge(self) -> None:
        self.cycle += 1
        if not read_int(self._reset_n):
            return
        if not self.when or read_int(self._handles[self.when]):
            payload = {name: read_int(handle) for name, handle in self._handles.items()}
            self._recv(StreamItem(payload, self.cycle))
