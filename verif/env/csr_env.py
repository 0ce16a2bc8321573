# SPDX-License-Identifier: Apache-2.0
"""Environment of the control and status registers: AXI4-Lite master, core side, model.

The AXI side is cocotbext-axi's `AxiLiteMaster`; what goes over the channels is watched by our own
monitors, and the model (`verif.env.csr_model`) follows the ports from clock edge to clock edge.
"""

import logging
import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from cocotbext.axi.axil_channels import (
    AxiLiteARTransaction,
    AxiLiteAWTransaction,
    AxiLiteWTransaction,
)
from pyuvm import uvm_agent, uvm_analysis_port, uvm_driver, uvm_env, uvm_sequencer

from verif.agents.pins import PinsMonitor
from verif.agents.stream import StreamItem, StreamMonitor, Subscriber
from verif.env.csr_model import CsrModel, Write
from verif.env.errors import Leftover, Mismatch, SawNothing, Unexpected

# cocotbext-axi calls what cocotb 2.1 deprecates.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"cocotbext\.axi")

PARAMETERS = (
    "AXI_ADDR_W",
    "T_P",
    "T_C",
    "T_R",
    "S",
    "J",
    "G",
    "D",
    "Q",
    "DW",
    "ACT_DEPTH",
    "ACT_BANKS",
    "ALPHA_DEPTH",
    "PARAM_DEPTH",
    "TRACE_DEPTH",
)
INPUTS = (
    "busy",
    "error",
    "resetting",
    "done",
    "failed",
    "error_code",
    "error_stage",
    "error_addr",
    "build_id",
    "counters",
    "trace_count",
    "trace_data",
)
OUTPUTS = (
    "irq",
    "start",
    "soft_reset",
    "bases",
    "read_first",
    "read_last",
    "write_first",
    "write_last",
    "watchdog",
    "trace_index",
)
CHANNELS = {
    "aw": ("awaddr",),
    "w": ("wdata", "wstrb"),
    "b": ("bresp",),
    "ar": ("araddr",),
    "r": ("rdata", "rresp"),
}


def channel_signals(channel: str) -> dict[str, str]:
    """Return the signals of an AXI4-Lite channel as `StreamMonitor` takes them."""
    names = {"valid": f"{channel}valid", "ready": f"{channel}ready"}
    names |= {name: name for name in CHANNELS[channel]}
    return {key: f"s_axil_{name}" for key, name in names.items()}


class AxiLiteDriver(uvm_driver):
    """Sends the accesses of sequence items; serves reads or writes.

    A payload is {"address"} for a read, {"address", "data", "strobes"} for a write. Several may be
    under way at a time; `wait` waits for the answers.
    """

    master: AxiLiteMaster
    writes: bool

    def start_of_simulation_phase(self) -> None:
        """Start with nothing under way."""
        self.open = 0

    async def run_phase(self) -> None:
        """Serve the sequencer for ever."""
        cocotb.start_soon(self._answers())
        write, read = self.master.write_if, self.master.read_if
        while True:
            item = await self.seq_item_port.get_next_item()
            self.open += 1
            if self.writes:
                address = AxiLiteAWTransaction(awaddr=item.payload["address"])
                data = AxiLiteWTransaction(
                    wdata=item.payload["data"], wstrb=item.payload["strobes"]
                )
                await write.aw_channel.send(address)
                await write.w_channel.send(data)
            else:
                await read.ar_channel.send(AxiLiteARTransaction(araddr=item.payload["address"]))
            self.seq_item_port.item_done()

    async def _answers(self) -> None:
        master = self.master
        channel = master.write_if.b_channel if self.writes else master.read_if.r_channel
        while True:
            await channel.recv()
            self.open -= 1

    async def wait(self, patience: int = 500) -> None:
        """Wait for all answers.

        Raises
        ------
        Leftover
            After `patience` cycles.
        """
        for _ in range(patience):
            if not self.open:
                return
            await RisingEdge(cocotb.top.clk_i)
        raise Leftover(f"{self.open} {'writes' if self.writes else 'reads'} without an answer")


class AxiLiteAgent(uvm_agent):
    """Two sequencers with a driver each, for writes and for reads, on one AXI4-Lite master."""

    pause: Callable[[], Iterator[int]]

    def build_phase(self) -> None:
        """Create the parts."""
        dut = cocotb.top
        bus = AxiLiteBus.from_prefix(dut, "s_axil")
        for name in ("write", "read"):
            logging.getLogger(f"cocotb.{dut._name}.s_axil.{name}").setLevel(logging.WARNING)
        logging.getLogger(f"cocotb.{dut._name}.s_axil").setLevel(logging.WARNING)
        self.master = AxiLiteMaster(bus, dut.clk_i, dut.rst_ni, reset_active_level=False)
        write, read = self.master.write_if, self.master.read_if
        for channel in (
            write.aw_channel,
            write.w_channel,
            write.b_channel,
            read.ar_channel,
            read.r_channel,
        ):
            channel.set_pause_generator(self.pause())
        self.sequencers, self.drivers = {}, {}
        for name in ("write", "read"):
            self.sequencers[name] = uvm_sequencer(f"{name}_sequencer", self)
            self.drivers[name] = driver = AxiLiteDriver(f"{name}_driver", self)
            driver.master, driver.writes = self.master, name == "write"

    def connect_phase(self) -> None:
        """Connect drivers and sequencers."""
        for name, driver in self.drivers.items():
            driver.seq_item_port.connect(self.sequencers[name].seq_item_export)


@dataclass
class CsrOptions:
    """How a test wants its environment.

    Attributes
    ----------
    pause : float
        Probability of a pause, in a cycle and channel.
    change : float
        Probability that a port on the core's side changes in a cycle.
    tamper : callable, optional
        Negative twins: changes the payload of an observed item, given the channel.
    tamper_pins : callable, optional
        Negative twins: changes the observed values of the other ports.
    least : int
        Fewest reads, and fewest writes, that count as a test.
    """

    pause: float = 0.0
    change: float = 0.0
    tamper: Callable[[str, dict[str, int]], dict[str, int]] | None = None
    tamper_pins: Callable[[dict[str, int]], dict[str, int]] | None = None
    least: int = 1


class CsrEnv(uvm_env):
    """Master, core side and model around ``unzip_csr``. `options` and `rng` are set by the test.

    Attributes
    ----------
    model : CsrModel
        The expected registers.
    reads, writes : int
        Answers checked.
    read_data : list of int
        Data of the reads, in order.
    read_cycles, write_cycles : list of int
        Clock edges at which answers were taken.
    """

    options: CsrOptions
    rng: random.Random

    def build_phase(self) -> None:
        """Create master, monitors and model, and hold the reset pin low."""
        dut = cocotb.top
        dut.rst_ni.value = 0
        self.model = CsrModel({name: int(getattr(dut, name).value) for name in PARAMETERS})
        self.reads = self.writes = 0
        self.read_data: list[int] = []
        self.read_cycles: list[int] = []
        self.write_cycles: list[int] = []
        self._rngs: list[random.Random] = []
        self.fixed: dict[str, int] = {}  # ports of the core's side that a test holds
        self._driven: dict[str, int] = {}
        self._wanted_pulses: set[str] = set()
        for name in INPUTS:
            self._drive(name, 0)
        self.forget()

        # Before the channels' monitors: it says what is due at an edge.
        pins = {"bvalid": "s_axil_bvalid", "rvalid": "s_axil_rvalid"}
        pins |= {"bready": "s_axil_bready", "rready": "s_axil_rready"}
        pins |= {name: f"{name}_i" for name in INPUTS} | {name: f"{name}_o" for name in OUTPUTS}
        PinsMonitor(dut, dut.clk_i, dut.rst_ni, pins, self._edge)

        self.agent = AxiLiteAgent("agent", self)
        self.agent.pause = self._pauses
        self.ports, self.subscribers = {}, {}
        for channel in CHANNELS:
            self.ports[channel] = uvm_analysis_port(f"{channel}_port", self)
            self.subscribers[channel] = Subscriber(f"on_{channel}", self, self._seen(channel))
            StreamMonitor(
                dut,
                dut.clk_i,
                dut.rst_ni,
                channel_signals(channel),
                callback=self.ports[channel].write,
            )

    def connect_phase(self) -> None:
        """Connect the channel monitors."""
        for channel, port in self.ports.items():
            port.connect(self.subscribers[channel])

    def _rng(self) -> random.Random:
        self._rngs.append(random.Random(self.rng.getrandbits(64)))
        return self._rngs[-1]

    def _pauses(self) -> Iterator[int]:
        rng = self._rng()
        while True:
            yield int(rng.random() < self.options.pause)

    # ---- Core side -------------------------------------------------------------------------------

    def _drive(self, name: str, value: int) -> None:
        if self._driven.get(name) != value:
            getattr(cocotb.top, f"{name}_i").value = value
            self._driven[name] = value

    def pulse(self, name: str) -> None:
        """Let `done` or `failed` be 1 for one cycle; called right after a clock edge."""
        self._wanted_pulses.add(name)

    async def play_core(self) -> None:
        """Change the ports on the core's side at random; pulses last one cycle."""
        dut = cocotb.top
        rng = self._rng()
        widths = {name: len_of(getattr(dut, f"{name}_i")) for name in INPUTS}
        while True:
            for name in INPUTS:
                pulse = name in ("done", "failed")
                if name in self._wanted_pulses:
                    self._drive(name, 1)
                    self._wanted_pulses.remove(name)
                elif name in self.fixed:
                    self._drive(name, self.fixed[name])
                elif rng.random() < self.options.change:
                    self._drive(name, rng.getrandbits(widths[name]))
                elif pulse:
                    self._drive(name, 0)
            await RisingEdge(dut.clk_i)

    # ---- Model -----------------------------------------------------------------------------------

    def forget(self) -> None:
        """Take the state after reset."""
        self.model.reset()
        self._last: dict[str, int] | None = None  # ports at the edge before
        self._addresses: deque[int] = deque()
        self._data: deque[tuple[int, int]] = deque()
        self._read_addresses: deque[int] = deque()
        self._responses: deque[int] = deque()  # of writes that took effect
        self._results: deque[tuple[int, int]] = deque()  # data, response of reads

    def _seen(self, channel: str) -> Callable[[StreamItem], None]:
        def write(item: StreamItem) -> None:
            payload = item.payload
            if self.options.tamper:
                payload = self.options.tamper(channel, payload)
            getattr(self, f"_{channel}")(payload, item.cycle)

        return write

    def _aw(self, payload: dict[str, int], cycle: int) -> None:
        self._addresses.append(payload["awaddr"])

    def _w(self, payload: dict[str, int], cycle: int) -> None:
        self._data.append((payload["wdata"], payload["wstrb"]))

    def _ar(self, payload: dict[str, int], cycle: int) -> None:
        self._read_addresses.append(payload["araddr"])

    def _b(self, payload: dict[str, int], cycle: int) -> None:
        if not self._responses:
            raise Unexpected(f"write answer without a write, cycle {cycle}")
        expected = self._responses.popleft()
        if payload["bresp"] != expected:
            raise Mismatch(f"bresp {payload['bresp']}, expected {expected}, cycle {cycle}")
        self.writes += 1
        self.write_cycles.append(cycle)

    def _r(self, payload: dict[str, int], cycle: int) -> None:
        if not self._results:
            raise Unexpected(f"read data without a read, cycle {cycle}")
        data, response = self._results.popleft()
        if (payload["rdata"], payload["rresp"]) != (data, response):
            raise Mismatch(
                f"read {self.reads}: {payload['rdata']:#x} ({payload['rresp']}), expected "
                f"{data:#x} ({response}), cycle {cycle}"
            )
        self.reads += 1
        self.read_data.append(data)
        self.read_cycles.append(cycle)

    def _edge(self, item: StreamItem) -> None:
        """Follow one clock edge.

        An answer that stands at this edge and did not stand at the one before was made by the
        edge before: a write took effect there, a read took its value in the cycle before it.
        """
        now = item.payload
        if self.options.tamper_pins:
            now = self.options.tamper_pins(dict(now))
        last, self._last = self._last, now
        if last is not None:
            if now["rvalid"] and not (last["rvalid"] and not last["rready"]):
                if not self._read_addresses:
                    raise Unexpected(f"rvalid without a read, cycle {item.cycle}")
                address = self._read_addresses.popleft()
                result = self.model.read(address, last), self.model.response(address)
                self._results.append(result)
            access = None
            if now["bvalid"] and not (last["bvalid"] and not last["bready"]):
                if not self._addresses or not self._data:
                    raise Unexpected(f"bvalid without a write, cycle {item.cycle}")
                address, (data, strobes) = self._addresses.popleft(), self._data.popleft()
                access = Write(address, data, strobes)
                self._responses.append(self.model.response(address))
            self.model.step(last, access)
        for name, value in self.model.outputs().items():
            if now[name] != value:
                raise Mismatch(f"{name}_o {now[name]:#x}, expected {value:#x}, cycle {item.cycle}")

    def check_phase(self) -> None:
        """Refuse too few accesses, and accesses without an answer."""
        if min(self.reads, self.writes) < self.options.least:
            raise SawNothing(
                f"only {self.reads} reads and {self.writes} writes of at least "
                f"{self.options.least} each were answered"
            )
        waiting = {
            "write addresses": self._addresses,
            "write data": self._data,
            "read addresses": self._read_addresses,
            "write answers": self._responses,
            "read answers": self._results,
        }
        if any(waiting.values()):
            left = ", ".join(f"{len(queue)} {name}" for name, queue in waiting.items())
            raise Leftover(f"left over: {left}")

    async def start(self, cycles: int = 3) -> None:
        """Start the clock, the core side and reset the registers."""
        dut = cocotb.top
        cocotb.start_soon(Clock(dut.clk_i, 10, unit="ns").start())
        cocotb.start_soon(self.play_core())
        await self.reset(cycles)

    def reseed(self, rng: random.Random, pause: float, change: float) -> None:
        """Start all random choices anew, with other probabilities of pauses and changes."""
        for own in self._rngs:
            own.seed(rng.getrandbits(64))
        self.options.pause, self.options.change = pause, change
        for name in INPUTS:
            self._drive(name, 0)

    async def reset(self, cycles: int = 3) -> None:
        """Reset the registers."""
        dut = cocotb.top
        dut.rst_ni.value = 0
        await ClockCycles(dut.clk_i, cycles)
        self.forget()
        dut.rst_ni.value = 1
        await RisingEdge(dut.clk_i)


def len_of(handle: Any) -> int:
    """Return the width of a port in bits."""
    return len(handle) if hasattr(handle, "__len__") else 1
