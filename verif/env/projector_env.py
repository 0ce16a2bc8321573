# SPDX-License-Identifier: Apache-2.0
"""Environment of the projector: a driver that plays the window reader, monitors, model, scoreboard.

Monitors feed the model: code lists, tiles and words are taken from the ports where they are seen.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
from cocotb.simtime import get_sim_time
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotb_bus.drivers import BusDriver
from cocotb_bus.monitors import BusMonitor
from pyuvm import uvm_agent, uvm_analysis_port, uvm_env, uvm_sequencer

from verif.agents.edges import at_edges, read_int, start_clock
from verif.agents.pins import PinsMonitor
from verif.agents.stream import (
    Payload,
    PayloadDriver,
    StreamItem,
    StreamMonitor,
    Subscriber,
    drive_garbage,
)
from verif.env.bits import unpack
from verif.env.errors import Leftover, ProtocolError, TimingError, Unexpected, UnknownValue
from verif.env.projector_model import (
    CHANNELS,
    KERNEL,
    PASS,
    ExpectedOperand,
    Flags,
    KernelTile,
    ProjectorModel,
    ProjectorParameters,
)
from verif.env.scoreboard import Scoreboard

LIST_SIGNALS = {"write": "list_we_i", "list": "list_i"}
JOB_FIELDS = tuple(KernelTile.__annotations__)
JOB_SIGNALS = {"valid": "job_valid_i", "ready": "job_ready_o"} | {
    name: f"job_{name}_i" for name in JOB_FIELDS
}
FLAGS = tuple(Flags.__annotations__)
WORD_FIELDS = ("data", "domain", "log2_codes", "part", "part_last", "single", *FLAGS)
# What nobody may look at with words along the kernel, and with those that pass.
KERNEL_FIELDS = ("data", "domain")
PASS_FIELDS = ("data", "domain", *FLAGS)
WORD_SIGNALS = {"valid": "word_valid_i"} | {name: f"word_{name}_i" for name in WORD_FIELDS}
LIST_CODES = 16
CODE_BITS = 6
PLACES = 8  # reads along the kernel that may be on their way or wait


@dataclass
class ReaderRun:
    """What the driver does next: write a list, start a tile, bring words of one domain.

    Attributes
    ----------
    domain : int
        Domain of the words; PASS for a list alone.
    words : list of dict of str to int
        Words in their order; fields that are missing are driven with garbage.
    code_list : int or None
        List to be written first.
    tile : KernelTile or None
        Job to be given before the words.
    """

    domain: int
    words: list[Payload] = field(default_factory=list)
    code_list: int | None = None
    tile: KernelTile | None = None


class ReaderDriver(BusDriver):
    """Plays the window reader and the dispatcher's list port; a transaction is a `ReaderRun`.

    Words come `latency` cycles after they were issued, and later: in order, with random gaps. The
    issues of a tile go on while words of the one before are on their way.
    """

    def __init__(self, entity: Any, clock: Any, rng: random.Random, idle: float):
        self._signals = (
            LIST_SIGNALS
            | {f"job_{name}": port for name, port in JOB_SIGNALS.items()}
            | {f"word_{name}": port for name, port in WORD_SIGNALS.items()}
            | {"issue": "issue_i", "room": "room_o", "busy": "busy_o"}
        )
        super().__init__(entity, None, clock)
        self.rng = rng
        self.idle = idle
        self.latency = 6
        self._edge_time = -1
        self.reset()
        at_edges(clock, self._deliver)

    def reset(self) -> None:
        """Take everything back: the projector is reset."""
        self.now = 0
        self._flying: deque[tuple[int, Payload]] = deque()
        self._last_due = 0
        self._domain = PASS
        self.bus.write.value = 0
        self.bus.issue.value = 0
        self.bus.job_valid.value = 0
        self.bus.word_valid.value = 0
        self._word = False
        drive_garbage(self.bus.list, self.rng)
        self._garbage("job", JOB_FIELDS)
        self._garbage("word", WORD_FIELDS)

    def _garbage(self, port: str, names: tuple[str, ...]) -> None:
        for name in names:
            drive_garbage(getattr(self.bus, f"{port}_{name}"), self.rng)

    def _deliver(self) -> None:
        """Bring the word that is due, at a rising edge."""
        self.now += 1
        if self._flying and self._flying[0][0] <= self.now:
            _, word = self._flying.popleft()
            for name in WORD_FIELDS:
                handle = getattr(self.bus, f"word_{name}")
                if name in word:
                    handle.value = word[name]
                else:
                    drive_garbage(handle, self.rng)
            self.bus.word_valid.value = 1
            self._word = True
        elif self._word:
            self.bus.word_valid.value = 0
            self._garbage("word", WORD_FIELDS)
            self._word = False

    @property
    def flying(self) -> bool:
        """Whether words are on their way."""
        return bool(self._flying or self._word)

    async def _quiet(self) -> None:
        """Wait until no word is on its way and the projector is not busy."""
        await FallingEdge(self.clock)
        while self.flying or read_int(self.bus.busy):
            await FallingEdge(self.clock)

    async def _driver_send(self, transaction: ReaderRun, sync: bool = True) -> None:
        run = transaction
        if run.code_list is not None:
            await self._quiet()
            self.bus.write.value = 1
            self.bus.list.value = run.code_list
            await RisingEdge(self.clock)
            self.bus.write.value = 0
            drive_garbage(self.bus.list, self.rng)
        if run.words and run.domain != self._domain:
            await self._quiet()
            self._domain = run.domain
        if run.tile is not None:
            await self._start(run.tile)
        for word in run.words:
            await self._issue(run.domain, word)
        if run.domain == KERNEL:
            await RisingEdge(self.clock)
            self.bus.issue.value = 0

    async def _start(self, tile: KernelTile) -> None:
        """Give a job."""
        await RisingEdge(self.clock)
        self.bus.issue.value = 0
        while self.rng.random() < self.idle:
            await RisingEdge(self.clock)
        for name in JOB_FIELDS:
            getattr(self.bus, f"job_{name}").value = getattr(tile, name)
        self.bus.job_valid.value = 1
        await RisingEdge(self.clock)
        while not read_int(self.bus.job_ready):
            await RisingEdge(self.clock)
        self.bus.job_valid.value = 0
        self._garbage("job", JOB_FIELDS)

    async def _issue(self, domain: int, word: Payload) -> None:
        """Send a word on its way. Whether there is room shows in the middle of the cycle."""
        await FallingEdge(self.clock)
        while self.rng.random() < self.idle or (domain == KERNEL and not read_int(self.bus.room)):
            self.bus.issue.value = 0
            await FallingEdge(self.clock)
        self.bus.issue.value = int(domain == KERNEL)
        late = self.rng.randint(1, 5) if self.rng.random() < self.idle else 0
        self._last_due = max(self._last_due + 1 + late, self.now + self.latency)
        self._flying.append((self._last_due, word))


class OperandMonitor(BusMonitor):
    """Reports the operands: the data as text, as buses that do not count may hold X."""

    def __init__(self, entity: Any, clock: Any, reset_n: Any, callback: Any):
        self._signals = {"valid": "operand_valid_o", "data": "operand_data_o"} | {
            name: f"operand_{name}_o" for name in FLAGS
        }
        self.cycle = 0
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)

    async def _monitor_recv(self) -> None:
        at_edges(self.clock, self._edge)

    def _edge(self) -> None:
        self.cycle += 1
        if read_int(self._reset_n) and read_int(self.bus.valid):
            flags = Flags(**{name: read_int(getattr(self.bus, name)) for name in FLAGS})
            data = self.bus.data._handle.get_signal_val_binstr()
            self._recv(ObservedOperand(data, flags, self.cycle))


@dataclass(frozen=True)
class ObservedOperand:
    """An operand as it was seen.

    Attributes
    ----------
    data : str
        All buses, bit by bit, the highest first.
    flags : Flags
        What goes with it.
    cycle : int
        Number of the clock edge.
    """

    data: str
    flags: Flags
    cycle: int


class ReaderAgent(uvm_agent):
    """Driver, sequencer and monitors of the inputs; `rng`, `idle` and `when_status` are set before.

    `when_status` is called at every edge, before the other monitors look at it.
    """

    rng: random.Random
    idle: float
    when_status: Callable[[StreamItem], None]

    def build_phase(self) -> None:
        """Create the parts. Words are seen before the operands of the same edge."""
        dut = cocotb.top
        reset_n = dut.rst_ni
        self.lists = uvm_analysis_port("lists", self)
        self.jobs = uvm_analysis_port("jobs", self)
        self.words = uvm_analysis_port("words", self)
        status = {"busy": "busy_o", "room": "room_o"}
        PinsMonitor(dut, dut.clk_i, reset_n, status, self.when_status)
        PinsMonitor(dut, dut.clk_i, reset_n, LIST_SIGNALS, self.lists.write, when="write")
        StreamMonitor(dut, dut.clk_i, reset_n, JOB_SIGNALS, callback=self.jobs.write)
        self.word_monitor = WordMonitor(dut, dut.clk_i, reset_n, callback=self.words.write)
        self.sequencer = uvm_sequencer("sequencer", self)
        self.driver = PayloadDriver("driver", self)
        self.driver.bus_driver = ReaderDriver(dut, dut.clk_i, self.rng, self.idle)

    def connect_phase(self) -> None:
        """Connect driver and sequencer."""
        self.driver.seq_item_port.connect(self.sequencer.seq_item_export)


class WordMonitor(BusMonitor):
    """Reports the words: of each the fields that count in its domain."""

    def __init__(self, entity: Any, clock: Any, reset_n: Any, callback: Any):
        self._signals = WORD_SIGNALS
        self.cycle = 0
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)

    async def _monitor_recv(self) -> None:
        at_edges(self.clock, self._edge)

    def _edge(self) -> None:
        self.cycle += 1
        if not read_int(self._reset_n) or not read_int(self.bus.valid):
            return
        domain = read_int(self.bus.domain)
        names = {KERNEL: KERNEL_FIELDS, PASS: PASS_FIELDS, CHANNELS: WORD_FIELDS}[domain]
        if domain == CHANNELS and not read_int(self.bus.part_last):
            names = tuple(name for name in WORD_FIELDS if name not in FLAGS)
        payload = {name: read_int(getattr(self.bus, name)) for name in names}
        self._recv(StreamItem(payload, self.cycle))


@dataclass
class ProjectorOptions:
    """How a test wants its environment.

    Attributes
    ----------
    idle : float
        Probability of idle cycles in front of jobs, issues and words.
    tamper_word : callable, optional
        Negative twins: change a word on its way to the model.
    tamper_list : callable, optional
        Negative twins: change a list of codes on its way to the model.
    tamper_operand : callable, optional
        Negative twins: change an observed operand, or drop it (None).
    least : int
        Fewest operands that count as a test.
    """

    idle: float = 0.0
    tamper_word: Callable[[Payload], Payload] | None = None
    tamper_list: Callable[[list[int]], list[int]] | None = None
    tamper_operand: Callable[[ObservedOperand], ObservedOperand | None] | None = None
    least: int = 1


class ProjectorEnv(uvm_env):
    """Agent around ``unzip_projector``. `options` and `rng` are set by the test.

    Attributes
    ----------
    operands : list of ObservedOperand
        All that were seen since the last reset.
    word_cycles : list of int
        Clock edges at which words were seen since the last reset.
    """

    options: ProjectorOptions
    rng: random.Random

    def build_phase(self) -> None:
        """Create agent, model and scoreboard, and hold the reset pin low."""
        dut = cocotb.top
        self.parameters = ProjectorParameters(
            **{name: int(getattr(dut, name).value) for name in ProjectorParameters.__annotations__}
        )
        dut.rst_ni.value = 0
        self.model = ProjectorModel(self.parameters)
        self.operands: list[ObservedOperand] = []
        self.word_cycles: list[int] = []
        self._row_start = 0
        self._own_rng = random.Random(self.rng.getrandbits(64))
        self.agent = ReaderAgent("agent", self)
        self.agent.rng = self._own_rng
        self.agent.idle = self.options.idle
        self.agent.when_status = self._status
        self.scoreboard = Scoreboard("operands", self, self.differs, self.options.least)
        self.subscribers = [
            Subscriber("on_list", self, self._list),
            Subscriber("on_job", self, self._job),
            Subscriber("on_word", self, self._word),
        ]

    def connect_phase(self) -> None:
        """Connect the monitors to the model; the operands' monitor comes last."""
        dut = cocotb.top
        ports = (self.agent.lists, self.agent.jobs, self.agent.words)
        for port, subscriber in zip(ports, self.subscribers, strict=True):
            port.connect(subscriber)
        self.operand_monitor = OperandMonitor(dut, dut.clk_i, dut.rst_ni, callback=self._operand)

    # ---- Model -----------------------------------------------------------------------------------

    def _status(self, item: StreamItem) -> None:
        """Check busy_o: PJ-009. Called before the edge's words and jobs are seen."""
        owed = self.scoreboard.expected and self.scoreboard.expected[0].domain != PASS
        if (owed or self.model.tiles) and not item.payload["busy"]:
            raise ProtocolError(f"busy_o is 0 with work left, cycle {item.cycle}")

    def _list(self, item: StreamItem) -> None:
        packed = item.payload["list"]
        codes = [(packed >> (CODE_BITS * k)) % 16 for k in range(LIST_CODES)]
        if self.options.tamper_list:
            codes = self.options.tamper_list(codes)
        self.model.codes = codes

    def _job(self, item: StreamItem) -> None:
        self.model.tiles.append(KernelTile(**item.payload))

    def _word(self, item: StreamItem) -> None:
        p, word = self.parameters, item.payload
        self.word_cycles.append(item.cycle)
        if self.options.tamper_word:
            word = self.options.tamper_word(word)
        buses = unpack(word["data"], p.DW, p.S * p.T_P).reshape(p.S, p.T_P)
        flags = Flags(**{name: word.get(name, 0) for name in FLAGS})
        if word["domain"] == KERNEL:
            if not self.model.tiles:
                raise Unexpected(f"a word along the kernel without a tile, cycle {item.cycle}")
            operands = self.model.kernel_word(item.cycle, buses)
        elif word["domain"] == CHANNELS:
            operands = self.model.channel_word(
                item.cycle, buses, word["log2_codes"], word["single"], word["part_last"], flags
            )
        else:
            operands = self.model.passed(item.cycle, buses, flags)
        for operand in operands:
            self.scoreboard.expect(operand)

    def _operand(self, observed: ObservedOperand) -> None:
        seen = self.options.tamper_operand(observed) if self.options.tamper_operand else observed
        if seen is not None:
            self.operands.append(seen)
            self.scoreboard.write(seen)

    def differs(self, expected: ExpectedOperand, seen: ObservedOperand) -> str:
        """Say what differs between an expected operand and the one seen; "" if nothing.

        Raises
        ------
        TimingError
            It is the right one at a wrong time.
        UnknownValue
            A bus that counts holds X.
        """
        p = self.parameters
        live = len(expected.buses)
        bits = seen.data[-live * p.T_P * p.OPERAND_W :]
        if not set(bits) <= {"0", "1"}:
            raise UnknownValue(f"operand_data_o is {seen.data}, cycle {seen.cycle}")
        buses = unpack(int(bits, 2), p.OPERAND_W, live * p.T_P).reshape(live, p.T_P)
        for name in FLAGS:
            want, have = getattr(expected.flags, name), getattr(seen.flags, name)
            counts = name != "fresh" or expected.domain != KERNEL or expected.flags.first
            if counts and want != have:
                return f"{name} is {have}, expected {want} ({expected.flags}), cycle {seen.cycle}"
        wrong = np.argwhere(buses != expected.buses)
        if len(wrong):
            bus, lane = wrong[0]
            return (
                f"bus {bus}, lane {lane} is {buses[bus, lane]}, expected "
                f"{expected.buses[bus, lane]} ({len(wrong)} wrong), {expected.flags}, "
                f"domain {expected.domain}, cycle {seen.cycle}"
            )
        if seen.cycle < expected.earliest:
            raise TimingError(f"operand in cycle {seen.cycle}, not before {expected.earliest}")
        if 0 <= expected.latest < seen.cycle:
            raise TimingError(f"operand in cycle {seen.cycle}, due in {expected.latest}")
        if expected.domain == KERNEL:  # PJ-006: the operands of a row come without a gap
            if expected.flags.first:
                self._row_start = seen.cycle
            elif seen.cycle != self._row_start + expected.flags.step:
                raise TimingError(f"a gap between the codes of a row, cycle {seen.cycle}")
        return ""

    def check_phase(self) -> None:
        """Refuse words that made no operand."""
        if self.model.unfinished:
            raise Leftover(f"{len(self.model.tiles)} tiles left over")

    # ---- Running ---------------------------------------------------------------------------------

    def reseed(self, rng: random.Random, idle: float) -> None:
        """Start all random choices anew, with another probability of idle cycles."""
        self._own_rng.seed(rng.getrandbits(64))
        self.agent.driver.bus_driver.idle = idle

    async def reset(self) -> None:
        """Reset the projector, and forget what it forgets."""
        dut = cocotb.top
        dut.rst_ni.value = 0
        self.agent.driver.bus_driver.reset()
        await ClockCycles(dut.clk_i, 2)
        self.model.forget()
        self.scoreboard.expected.clear()
        self.operands.clear()
        self.word_cycles.clear()
        dut.rst_ni.value = 1
        await RisingEdge(dut.clk_i)

    async def start(self, cycles: int = 3) -> None:
        """Start the clock and reset the projector."""
        await start_clock(cocotb.top, cycles)

    async def drain(self, patience: int = 300) -> None:
        """Wait until no word is on its way, nothing expected and busy_o is 0, then 10 cycles.

        Raises
        ------
        Leftover
            No operand came for `patience` cycles.
        """
        dut = cocotb.top
        waited, seen = 0, len(self.operands)
        driver = self.agent.driver.bus_driver
        while driver.flying or self.scoreboard.expected or read_int(dut.busy_o):
            await RisingEdge(dut.clk_i)
            waited = waited + 1 if seen == len(self.operands) else 0
            seen = len(self.operands)
            if waited > patience:
                raise Leftover(
                    f"{len(self.scoreboard.expected)} operands missing at {get_sim_time('ns')} ns"
                )
        await ClockCycles(dut.clk_i, 10)
