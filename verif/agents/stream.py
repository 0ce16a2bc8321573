# SPDX-License-Identifier: Apache-2.0
"""Valid/ready streams: source, sink, monitor and the pyuvm agent around them.

The rules that the monitor checks: valid, once up, stays up until the item is taken, and the
payload is stable meanwhile. An item is taken at a rising clock edge with valid and ready.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import cocotb
from cocotb.simtime import get_sim_time
from cocotb.triggers import RisingEdge
from cocotb.types import LogicArray
from cocotb_bus.drivers import BusDriver
from cocotb_bus.monitors import BusMonitor
from pyuvm import (
    uvm_agent,
    uvm_analysis_export,
    uvm_analysis_port,
    uvm_component,
    uvm_driver,
    uvm_sequence_item,
    uvm_sequencer,
)

from verif.agents.edges import at_edges, read_int
from verif.env.errors import ProtocolError

Payload = dict[str, int]


def drive_garbage(handle: Any, rng: random.Random) -> None:
    """Drive what nobody may look at: X where the simulator knows it, random bits elsewhere."""
    width = len(handle) if hasattr(handle, "__len__") else 1
    if cocotb.SIM_NAME.lower().startswith("icarus"):
        handle.value = LogicArray("X" * width)
    else:
        handle.value = rng.getrandbits(width)


class StreamSource(BusDriver):
    """Sends payloads, one or a list at a time, with random idle cycles between them.

    Parameters
    ----------
    entity, clock
        cocotb handles of the toplevel and its clock.
    signals : mapping of str to str
        Port of "valid", of "ready" and of each payload field.
    rng : random.Random
        Source of idle cycles and of the garbage that stands on the payload without valid.
    idle : float
        Probability of (one more) idle cycle before an item, 0 to below 1.
    """

    def __init__(
        self,
        entity: Any,
        clock: Any,
        signals: Mapping[str, str],
        rng: random.Random,
        idle: float = 0.0,
    ):
        self._signals = dict(signals)
        super().__init__(entity, None, clock)
        self.fields = [name for name in signals if name not in ("valid", "ready")]
        self.rng = rng
        self.idle = idle
        self._edge_time = -1
        self._clear()

    def _clear(self) -> None:
        self.bus.valid.value = 0
        for name in self.fields:
            drive_garbage(getattr(self.bus, name), self.rng)

    async def _edge(self) -> None:
        await RisingEdge(self.clock)
        self._edge_time = get_sim_time("step")

    async def _driver_send(self, transaction: Payload | list[Payload], sync: bool = True) -> None:
        # Right after an edge there is no need to wait for another: items go back to back.
        if get_sim_time("step") != self._edge_time:
            await self._edge()
        valid = False
        for payload in transaction if isinstance(transaction, list) else [transaction]:
            while self.rng.random() < self.idle:
                if valid:
                    self._clear()
                    valid = False
                await self._edge()
            for name in self.fields:
                getattr(self.bus, name).value = payload[name]
            if not valid:
                self.bus.valid.value = valid = True
            await self._edge()
            while not read_int(self.bus.ready):
                await self._edge()
        self._clear()


class StreamSink(BusDriver):
    """Drives ready, low in random cycles.

    Parameters
    ----------
    entity, clock, signals, rng
        As for `StreamSource`; only "ready" is driven.
    stall : float
        Probability of ready being low in a cycle, 0 to 1.

    Notes
    -----
    A number sent to it (``append(20)``, ``await send(20)``) holds ready low for so many cycles.
    """

    def __init__(
        self,
        entity: Any,
        clock: Any,
        signals: Mapping[str, str],
        rng: random.Random,
        stall: float = 0.0,
    ):
        self._signals = dict(signals)
        super().__init__(entity, None, clock)
        self.rng = rng
        self.stall = stall
        self._pause = 0
        self._ready: bool | None = None  # what was driven last
        cocotb.start_soon(self._start())

    async def _start(self) -> None:
        self._drive()
        at_edges(self.clock, self._drive)

    def _drive(self) -> None:
        paused = self._pause > 0
        self._pause -= paused
        ready = not paused and self.rng.random() >= self.stall
        if ready != self._ready:
            self.bus.ready.value = self._ready = ready

    async def _driver_send(self, transaction: int, sync: bool = True) -> None:
        self._pause = transaction
        while self._pause > 0:
            await RisingEdge(self.clock)


@dataclass
class StreamItem:
    """One item taken from a stream: its payload and the number of the clock edge."""

    payload: Payload
    cycle: int


class StreamMonitor(BusMonitor):
    """Watches a stream: reports the items taken and checks the rules.

    Parameters
    ----------
    entity, clock, reset_n
        cocotb handles.
    signals : mapping of str to str
        As for `StreamSource`.
    callback : callable
        Called with each `StreamItem`.

    Raises
    ------
    ProtocolError, UnknownValue
        In its own task, which ends the test.
    """

    def __init__(
        self, entity: Any, clock: Any, reset_n: Any, signals: Mapping[str, str], callback: Any
    ):
        self._signals = dict(signals)
        self.fields = [name for name in signals if name not in ("valid", "ready")]
        self.cycle = 0
        self.label = signals["valid"]
        self._waiting: Payload | None = None  # what stood at the edge before without ready
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)
        self._handles = {name: getattr(self.bus, name) for name in signals}

    def sample(self, name: str) -> int:
        """Return the value of a signal of the bus; negative twins tamper with it here."""
        return read_int(self._handles[name])

    async def _monitor_recv(self) -> None:
        at_edges(self.clock, self._edge)

    def _edge(self) -> None:
        self.cycle += 1
        waiting = self._waiting
        if not read_int(self._reset_n):
            self._waiting = None
            return
        valid, ready = self.sample("valid"), self.sample("ready")
        if not valid:
            if waiting is not None:
                raise ProtocolError(f"{self.label} fell before ready, cycle {self.cycle}")
            return
        payload = {name: self.sample(name) for name in self.fields}
        if waiting is not None and payload != waiting:
            changed = [name for name in payload if payload[name] != waiting[name]]
            raise ProtocolError(
                f"{self.label}: {', '.join(changed)} changed without ready, cycle {self.cycle}"
            )
        if ready:
            self._waiting = None
            self._recv(StreamItem(payload, self.cycle))
        else:
            self._waiting = payload


class StreamSequenceItem(uvm_sequence_item):
    """A payload to be sent, or a list of them.

    Attributes
    ----------
    payload : dict of str to int, or list of such
        Value of each field.
    """

    def __init__(self, name: str, payload: Payload | list[Payload]):
        super().__init__(name)
        self.payload = payload


class PayloadDriver(uvm_driver):
    """Sends the payloads of sequence items through a `StreamSource`, or what has such a `send`."""

    bus_driver: Any

    async def run_phase(self) -> None:
        """Serve the sequencer for ever."""
        while True:
            item = await self.seq_item_port.get_next_item()
            await self.bus_driver.send(item.payload)
            self.seq_item_port.item_done()


@dataclass
class StreamConfig:
    """How a `StreamAgent` is connected.

    Attributes
    ----------
    role : {"source", "sink", "passive"}
        Which side the agent plays.
    signals : mapping of str to str
        As for `StreamSource`.
    rng : random.Random
        For idle cycles, stalls and garbage.
    pause : float
        Probability of idle (source) or stall (sink) cycles.
    monitor_class : type
        `StreamMonitor`, or one of a negative twin that sees falsely.
    reset : str
        Port of the reset, active low, that the stream belongs to.
    """

    role: Literal["source", "sink", "passive"]
    signals: Mapping[str, str]
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    pause: float = 0.0
    monitor_class: type[StreamMonitor] = StreamMonitor
    reset: str = "rst_ni"


class StreamAgent(uvm_agent):
    """Monitor of a stream, with a driver and sequencer (source) or a ready driver (sink).

    `config` is set by the environment right after construction. Observed items go out through
    `port` as `StreamItem`.
    """

    config: StreamConfig

    def build_phase(self) -> None:
        """Create the parts that the role needs."""
        dut, config = cocotb.top, self.config
        self.port = uvm_analysis_port("port", self)
        self.monitor = config.monitor_class(
            dut, dut.clk_i, getattr(dut, config.reset), config.signals, callback=self.port.write
        )
        if config.role == "source":
            self.sequencer = uvm_sequencer("sequencer", self)
            self.driver = PayloadDriver("driver", self)
            self.driver.bus_driver = StreamSource(
                dut, dut.clk_i, config.signals, config.rng, config.pause
            )
        elif config.role == "sink":
            self.sink = StreamSink(dut, dut.clk_i, config.signals, config.rng, config.pause)

    def connect_phase(self) -> None:
        """Connect driver and sequencer."""
        if self.config.role == "source":
            self.driver.seq_item_port.connect(self.sequencer.seq_item_export)


class Subscriber(uvm_analysis_export):
    """Calls a function with everything that an analysis port writes."""

    def __init__(self, name: str, parent: uvm_component, function: Any):
        super().__init__(name, parent)
        self.write = function
