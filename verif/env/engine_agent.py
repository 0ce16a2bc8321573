# SPDX-License-Identifier: Apache-2.0
"""Host agent of ``tb_unzip``: what software does to the core, and what can be seen of it.

The driver works through actions (see `verif.host.Host`). The monitors see the AXI4-Lite port, the
interrupt pin and the memory's backdoor, and know nothing of the driver. All of them sleep while
the engine works, so that a run costs no Python.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
from cocotb.simtime import get_sim_time
from cocotb.triggers import ClockCycles, First, RisingEdge, ValueChange
from cocotb_bus.monitors import BusMonitor
from pyuvm import uvm_agent, uvm_analysis_port, uvm_driver, uvm_sequence_item, uvm_sequencer

from verif.agents.edges import read_int
from verif.env.errors import ProtocolError
from verif.host import CLOCK_NS, DUMP_FILE, IMAGE_FILE, Host, offsets, read_dump

Action = Callable[[Host], Awaitable[Any]]


def edge_now() -> int:
    """Return the number of the clock edge at or before now."""
    return int(get_sim_time("ns")) // CLOCK_NS


# Monitors ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Access:
    """A register access, when it was answered.

    Attributes
    ----------
    kind : {"write", "read"}
    name : str
        Of the register; its offset if there is none.
    value : int
    edge : int
        Clock edge at which the address and the data (write) or the answer (read) were taken.
    """

    kind: str
    name: str
    value: int
    edge: int


class AxiLiteMonitor(BusMonitor):
    """Reports register accesses as `Access`, in the order of their answers.

    Raises
    ------
    ProtocolError
        In its own task: an answer other than OKAY, or one that nobody asked for.
    """

    def __init__(self, entity: Any, clock: Any, reset_n: Any, callback: Any):
        channels = {"aw": "addr", "w": "data", "b": "resp", "ar": "addr", "r": "data"}
        self._signals = {
            f"{channel}{name}": f"s_axil_{channel}{name}"
            for channel, payload in channels.items()
            for name in ("valid", "ready", payload)
        } | {"rresp": "s_axil_rresp", "wstrb": "s_axil_wstrb"}
        self.names = {offset: name for name, offset in offsets().items()}
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)
        cocotb.start_soon(self._reads())

    def _taken(self, channel: str) -> bool:
        valid, ready = (getattr(self.bus, f"{channel}{name}") for name in ("valid", "ready"))
        return bool(read_int(valid) and read_int(ready))

    def _name(self, address: int) -> str:
        return self.names.get(address & ~3, f"{address:#x}")

    def _check(self, what: str, response: int) -> None:
        if response != 0:
            raise ProtocolError(f"{what}: response {response}")

    async def _monitor_recv(self) -> None:
        """Follow the writes."""
        bus, address, value, at = self.bus, None, None, 0
        while True:
            if address is None and value is None:
                await First(RisingEdge(bus.awvalid), RisingEdge(bus.wvalid))
            await RisingEdge(self.clock)
            if not read_int(self._reset_n):
                address = value = None
                continue
            if self._taken("b"):
                if address is None or value is None:
                    raise ProtocolError("a write was answered that nobody asked for")
                self._check(f"write to {self._name(address)}", read_int(bus.bresp))
                self._recv(Access("write", self._name(address), value, at))
                address = value = None
            if self._taken("aw"):
                address, at = read_int(bus.awaddr), edge_now()
            if self._taken("w"):
                value, at = read_int(bus.wdata), edge_now()
                if read_int(bus.wstrb) != 0xF:
                    raise ProtocolError("this monitor knows whole words only")

    async def _reads(self) -> None:
        """Follow the reads."""
        bus, address = self.bus, None
        while True:
            if address is None:
                await RisingEdge(bus.arvalid)
            await RisingEdge(self.clock)
            if not read_int(self._reset_n):
                address = None
                continue
            if self._taken("r"):
                if address is None:
                    raise ProtocolError("a read was answered that nobody asked for")
                self._check(f"read of {self._name(address)}", read_int(bus.rresp))
                self._recv(Access("read", self._name(address), read_int(bus.rdata), edge_now()))
                address = None
            if self._taken("ar"):
                address = read_int(bus.araddr)


@dataclass(frozen=True)
class Interrupt:
    """A change of the interrupt pin."""

    level: int
    edge: int


class InterruptMonitor(BusMonitor):
    """Reports every change of the interrupt pin as `Interrupt`."""

    def __init__(self, entity: Any, clock: Any, reset_n: Any, callback: Any):
        self._signals = {"irq": "irq_o"}
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)

    async def _monitor_recv(self) -> None:
        while True:
            await ValueChange(self.bus.irq)
            if read_int(self._reset_n):
                self._recv(Interrupt(read_int(self.bus.irq), edge_now()))


@dataclass(frozen=True)
class Backdoor:
    """The memory was filled or dumped.

    Attributes
    ----------
    kind : {"load", "dump"}
    data : bytes
        Contents from address 0 on.
    read, written : int
        Bytes that the memory has moved up to now.
    """

    kind: str
    data: bytes
    read: int
    written: int


class BackdoorMonitor(BusMonitor):
    """Reports what the memory was filled with and what was found in it, from the files."""

    def __init__(self, entity: Any, clock: Any, reset_n: Any, callback: Any):
        names = ("load_i", "dump_i", "dump_first_i", "bytes_read_o", "bytes_written_o")
        self._signals = {name: f"memory_{name}" for name in names}
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)

    async def _monitor_recv(self) -> None:
        bus = self.bus
        while True:
            await First(RisingEdge(bus.load_i), RisingEdge(bus.dump_i))
            kind = "load" if read_int(bus.load_i) else "dump"
            # The memory acts at the next edge; the file of a dump is there then.
            await ClockCycles(self.clock, 2)
            if kind == "dump" and read_int(bus.dump_first_i):
                raise ProtocolError("this monitor knows dumps from address 0 on only")
            data = read_dump(Path(IMAGE_FILE if kind == "load" else DUMP_FILE))
            moved = read_int(bus.bytes_read_o), read_int(bus.bytes_written_o)
            self._recv(Backdoor(kind, data, *moved))


# Driver ------------------------------------------------------------------------------------------


class HostItem(uvm_sequence_item):
    """Something that software does; `result` is what it returned."""

    def __init__(self, name: str, action: Action):
        super().__init__(name)
        self.action = action
        self.result: Any = None


class HostDriver(uvm_driver):
    """Does what the items say, one after the other; `host` is set by the agent."""

    host: Host

    async def run_phase(self) -> None:
        """Serve the sequencer for ever."""
        while True:
            item = await self.seq_item_port.get_next_item()
            item.result = await item.action(self.host)
            self.seq_item_port.item_done()


class HostAgent(uvm_agent):
    """Driver, sequencer and monitors; everything seen goes out through `port`, in its order."""

    def build_phase(self) -> None:
        """Create the parts."""
        dut = cocotb.top
        self.port = uvm_analysis_port("port", self)
        self.host = Host(dut)
        self.monitors = [
            kind(dut, dut.clk_i, dut.rst_ni, callback=self.port.write)
            for kind in (AxiLiteMonitor, InterruptMonitor, BackdoorMonitor)
        ]
        self.sequencer = uvm_sequencer("sequencer", self)
        self.driver = HostDriver("driver", self)
        self.driver.host = self.host

    def connect_phase(self) -> None:
        """Connect driver and sequencer."""
        self.driver.seq_item_port.connect(self.sequencer.seq_item_export)
