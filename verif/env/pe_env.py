# SPDX-License-Identifier: Apache-2.0
"""Environment of the PE array: weight words in, operands in, accumulators drained.

The expected model is a plain one: it keeps the weights of every chunk as they were seen on the
stream, and adds the whole dot product to the accumulator when an operand is seen. It knows no
pipeline, no packing and no forwarding.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.simtime import get_sim_time
from cocotb.triggers import ClockCycles, Event, RisingEdge
from cocotb_bus.drivers import BusDriver
from pyuvm import uvm_agent, uvm_analysis_port, uvm_env, uvm_sequencer

from verif.agents.edges import read_int, start_clock
from verif.agents.pins import PinsMonitor
from verif.agents.stream import (
    Payload,
    PayloadDriver,
    StreamAgent,
    StreamConfig,
    StreamItem,
    Subscriber,
    drive_garbage,
)
from verif.env.bits import unpack
from verif.env.errors import Leftover, TimingError, Unexpected
from verif.env.scoreboard import Scoreboard

WORD_SIGNALS = {"valid": "word_valid_i", "ready": "word_ready_o"} | {
    name: f"word_{name}_i" for name in ("data", "filter", "step", "last", "groups")
}
OPERAND_FIELDS = (
    "data",
    "step",
    "row",
    "bank",
    "fresh",
    "first",
    "last",
    "chunk_last",
    "tile_last",
)
OPERAND_SIGNALS = {"valid": "operand_valid_i"} | {n: f"operand_{n}_i" for n in OPERAND_FIELDS}
CHUNK_SIGNALS = {"ready": "chunk_valid_o", "take": "chunk_take_i"}
DRAIN_SIGNALS = {"read": "drain_re_i", "bank": "drain_bank_i", "row": "drain_row_i"}


@dataclass(frozen=True)
class PeParameters:
    """RTL parameters of the array under test; see ``rtl/engine/unzip_pe_array.sv``."""

    T_P: int
    T_C: int
    T_R: int
    S: int
    D: int
    G: int
    DW: int
    PAIR: int
    OPERAND_W: int
    ACC_W: int

    @property
    def latency(self) -> int:
        """Cycles from a tile's last operand to ``tile_done_o``."""
        tree_stages = ((self.T_P - 1).bit_length() + 1) // 2
        return 7 + tree_stages

    def pitch(self, groups: int) -> int:
        """PEs from one group to the next: as many as fit, whole pairs and whole beats of G."""
        unit = max(2, self.G)
        return self.T_C // groups // unit * unit


class OperandDriver(BusDriver):
    """Plays the window reader: takes chunks of weights and sends their operands.

    A transaction is the list of operands of a chunk, each a payload. The first one follows the
    chunk's take by at least one cycle. Chunks are taken up to two ahead.
    """

    def __init__(self, entity: Any, clock: Any, rng: random.Random, idle: float):
        self._signals = OPERAND_SIGNALS | {f"chunk_{k}": v for k, v in CHUNK_SIGNALS.items()}
        super().__init__(entity, None, clock)
        self.rng = rng
        self.idle = idle
        self.taken = 0
        self._edge_time = -1
        self.bus.chunk_take.value = 0
        self._clear()
        cocotb.start_soon(self._take())

    def _clear(self) -> None:
        self.bus.valid.value = 0
        for name in OPERAND_FIELDS:
            drive_garbage(getattr(self.bus, name), self.rng)

    async def _edge(self) -> None:
        await RisingEdge(self.clock)
        self._edge_time = get_sim_time("step")

    async def _take(self) -> None:
        taking = False
        while True:
            await RisingEdge(self.clock)
            self.taken += taking
            wanted = self.taken < 2 and self.rng.random() >= self.idle
            ready = read_int(self.entity.rst_ni) and read_int(self.bus.chunk_ready)
            before, taking = taking, bool(not taking and wanted and ready)
            if taking != before:
                self.bus.chunk_take.value = taking

    def reset(self) -> None:
        """Forget what was taken: the array was reset."""
        self.taken = 0

    async def _driver_send(self, transaction: list[Payload], sync: bool = True) -> None:
        if get_sim_time("step") != self._edge_time:
            await self._edge()
        while not self.taken:
            await self._edge()
        self.taken -= 1
        for operand in transaction:
            if self.rng.random() < self.idle:
                self._clear()
                await self._edge()
                while self.rng.random() < self.idle:
                    await self._edge()
            for name in OPERAND_FIELDS:
                getattr(self.bus, name).value = operand[name]
            self.bus.valid.value = 1
            await self._edge()
        self._clear()


class DrainDriver(BusDriver):
    """Reads accumulator rows; a transaction is a list of (bank, row)."""

    def __init__(self, entity: Any, clock: Any, rng: random.Random, idle: float):
        self._signals = DRAIN_SIGNALS
        super().__init__(entity, None, clock)
        self.rng = rng
        self.idle = idle
        self._clear()

    def _clear(self) -> None:
        self.bus.read.value = 0
        drive_garbage(self.bus.bank, self.rng)
        drive_garbage(self.bus.row, self.rng)

    async def _driver_send(self, transaction: list[tuple[int, int]], sync: bool = True) -> None:
        for bank, row in transaction:
            while self.rng.random() < self.idle:
                await RisingEdge(self.clock)
            self.bus.read.value = 1
            self.bus.bank.value = bank
            self.bus.row.value = row
            await RisingEdge(self.clock)
            self._clear()


class PinsAgent(uvm_agent):
    """Driver, sequencer and monitor of pins without back-pressure.

    Its parent sets, right after construction, `make_driver` (returns the `BusDriver`) and
    `make_monitor` (takes the callback, returns the monitor).
    """

    make_driver: Callable[[], BusDriver]
    make_monitor: Callable[[Callable[[StreamItem], None]], PinsMonitor]

    def build_phase(self) -> None:
        """Create the parts."""
        self.port = uvm_analysis_port("port", self)
        self.monitor = self.make_monitor(self.port.write)
        self.sequencer = uvm_sequencer("sequencer", self)
        self.driver = PayloadDriver("driver", self)
        self.driver.bus_driver = self.make_driver()

    def connect_phase(self) -> None:
        """Connect driver and sequencer."""
        self.driver.seq_item_port.connect(self.sequencer.seq_item_export)


@dataclass
class PeOptions:
    """How a test wants its environment.

    Attributes
    ----------
    word_idle, operand_idle, drain_idle : float
        Probability of idle cycles on the three inputs.
    tamper_drain, tamper_word : callable, optional
        Negative twins: change drained data; change a weight word on its way to the model.
    hide_done : bool
        Negative twins: tile_done_o is not seen.
    least : int
        Fewest drained rows that count as a test.
    """

    word_idle: float = 0.0
    operand_idle: float = 0.0
    drain_idle: float = 0.0
    tamper_drain: Callable[[int], int] | None = None
    tamper_word: Callable[[Payload], Payload] | None = None
    hide_done: bool = False
    least: int = 1


@dataclass
class ExpectedRow:
    """An accumulator row as the model has it.

    Attributes
    ----------
    acc : int64 array [T_C]
        The sums.
    known : bool array [T_C]
        PEs whose weights were all loaded; the others hold anything.
    bank, row : int
        Where it was read.
    """

    acc: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]
    bank: int
    row: int


@dataclass
class ChunkWeights:
    """Weights of a chunk, as seen on the stream.

    Attributes
    ----------
    weights : int64 array [T_C, D, T_P]
        The weights.
    known : bool array [T_C, D]
        Those that were loaded.
    bus : int array [T_C]
        Row bus that each PE listens to.
    """

    weights: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]
    bus: npt.NDArray[np.int64]


def row_differs(expected: ExpectedRow, observed: npt.NDArray[np.int64]) -> str:
    """Say what differs between an expected row and the drained one; "" if nothing."""
    wrong = np.nonzero(expected.known & (expected.acc != observed))[0]
    if not len(wrong):
        return ""
    f = wrong[0]
    return (
        f"bank {expected.bank}, row {expected.row}, PE {f}: {observed[f]}, expected "
        f"{expected.acc[f]} ({len(wrong)} PEs wrong)"
    )


@dataclass
class TileState:
    """What the sequences wait for: tiles done, and banks drained.

    Attributes
    ----------
    done : int
        Tiles done.
    done_event : Event
        Set when a tile is done.
    """

    done: int = 0
    done_event: Event = field(default_factory=Event)


class PeEnv(uvm_env):
    """Agents around ``unzip_pe_array``. `options` and `rng` are set by the test.

    Attributes
    ----------
    words : list of int
        Clock edges at which weight words were taken.
    chunk_ready : list of (int, int)
        For every change of ``chunk_valid_o``: clock edge and value.
    checked : int
        Accumulators compared.
    """

    options: PeOptions
    rng: random.Random

    def build_phase(self) -> None:
        """Create agents, model state and scoreboard, and hold the reset pin low."""
        dut = cocotb.top
        self.parameters = p = PeParameters(
            **{name: int(getattr(dut, name).value) for name in PeParameters.__annotations__}
        )
        dut.rst_ni.value = 0
        self._rngs: list[random.Random] = []
        self.forget()
        self.tiles = TileState()
        self.words: list[int] = []
        self.chunk_ready: list[tuple[int, int]] = []
        self.checked = 0
        self.acc = np.zeros((2, p.T_R, p.T_C), dtype=np.int64)
        self.known = np.zeros((2, p.T_R, p.T_C), dtype=bool)

        self.word_agent = StreamAgent("word_agent", self)
        self.word_agent.config = StreamConfig(
            "source", WORD_SIGNALS, self._rng(), self.options.word_idle
        )
        self.operand_agent = PinsAgent("operand_agent", self)
        self.operand_agent.make_driver = lambda: OperandDriver(
            dut, dut.clk_i, self._rng(), self.options.operand_idle
        )
        self.operand_agent.make_monitor = lambda callback: PinsMonitor(
            dut, dut.clk_i, dut.rst_ni, OPERAND_SIGNALS, callback, when="valid"
        )
        self.drain_agent = PinsAgent("drain_agent", self)
        self.drain_agent.make_driver = lambda: DrainDriver(
            dut, dut.clk_i, self._rng(), self.options.drain_idle
        )
        self.drain_agent.make_monitor = lambda callback: PinsMonitor(
            dut, dut.clk_i, dut.rst_ni, DRAIN_SIGNALS, callback, when="read"
        )
        # At every edge, first of all: last cycle's read is answered now.
        PinsMonitor(
            dut,
            dut.clk_i,
            dut.rst_ni,
            {"done": "tile_done_o", "ready": "chunk_valid_o"},
            self._status,
        )
        self.scoreboard = Scoreboard("accumulators", self, row_differs, self.options.least)
        self.subscribers = [
            Subscriber("on_word", self, self._word),
            Subscriber("on_operand", self, self._operand),
            Subscriber("on_drain", self, self._drain),
        ]

    def _rng(self) -> random.Random:
        self._rngs.append(random.Random(self.rng.getrandbits(64)))
        return self._rngs[-1]

    def reseed(self, rng: random.Random, idle: tuple[float, float, float]) -> None:
        """Start all drivers' random choices anew, with other probabilities of idle cycles.

        `idle` is that of weight words, operands and drains.
        """
        for own in self._rngs:
            own.seed(rng.getrandbits(64))
        self.word_agent.driver.bus_driver.idle = idle[0]
        self.operand_agent.driver.bus_driver.idle = idle[1]
        self.drain_agent.driver.bus_driver.idle = idle[2]

    async def reset(self) -> None:
        """Reset the array, and forget what it forgets."""
        dut = cocotb.top
        dut.rst_ni.value = 0
        await ClockCycles(dut.clk_i, 2)
        self.forget()
        self.operand_agent.driver.bus_driver.reset()
        dut.rst_ni.value = 1
        await RisingEdge(dut.clk_i)

    def connect_phase(self) -> None:
        """Connect the monitors to the model."""
        for agent, subscriber in zip(
            (self.word_agent, self.operand_agent, self.drain_agent), self.subscribers, strict=True
        ):
            agent.port.connect(subscriber)

    def forget(self) -> None:
        """Drop everything that a reset drops: chunks, operands and tiles under way."""
        self._filling: ChunkWeights | None = None
        self._chunks: deque[ChunkWeights] = deque()
        self._done_due: deque[int] = deque()

    def chunk_weights(self) -> npt.NDArray[np.int64]:
        """Return the weights that the next operand meets, [T_C, D, T_P]."""
        return self._chunks[0].weights

    # ---- Model -----------------------------------------------------------------------------------

    def _word(self, item: StreamItem) -> None:
        p, word = self.parameters, item.payload
        self.words.append(item.cycle)
        if self.options.tamper_word:
            word = self.options.tamper_word(word)
        if self._filling is None:
            self._filling = ChunkWeights(
                np.zeros((p.T_C, p.D, p.T_P), dtype=np.int64),
                np.zeros((p.T_C, p.D), dtype=bool),
                np.zeros(p.T_C, dtype=np.int64),
            )
        lanes = unpack(word["data"], p.DW, p.G * p.T_P).reshape(p.G, p.T_P)
        pitch = p.pitch(word["groups"])
        for g, group in product(range(p.G), range(word["groups"])):
            if word["filter"] + g < pitch:
                pe = group * pitch + word["filter"] + g
                self._filling.weights[pe, word["step"]] = lanes[g]
                self._filling.known[pe, word["step"]] = True
                self._filling.bus[pe] = min(group, p.S - 1)
        if word["last"]:
            self._chunks.append(self._filling)
            self._filling = None

    def _operand(self, item: StreamItem) -> None:
        p, seen = self.parameters, item.payload
        if not self._chunks:
            raise Unexpected(f"operand without weights, cycle {item.cycle}")
        chunk, bank, row = self._chunks[0], seen["bank"], seen["row"]
        buses = unpack(seen["data"], p.OPERAND_W, p.S * p.T_P).reshape(p.S, p.T_P)
        if seen["first"] and seen["fresh"]:
            self.acc[bank, row] = 0
            self.known[bank, row] = True
        self.acc[bank, row] += (chunk.weights[:, seen["step"]] * buses[chunk.bus]).sum(axis=1)
        self.known[bank, row] &= chunk.known[:, seen["step"]]
        limit = 1 << (p.ACC_W - 1)
        sums = self.acc[bank, row][self.known[bank, row]]
        if len(sums) and (sums.max() >= limit or sums.min() < -limit):
            raise ValueError("the test's own sums leave the accumulator")
        if seen["chunk_last"]:
            self._chunks.popleft()
        if seen["tile_last"]:
            self._done_due.append(item.cycle + p.latency)

    def _drain(self, item: StreamItem) -> None:
        bank, row = item.payload["bank"], item.payload["row"]
        self.scoreboard.expect(
            ExpectedRow(self.acc[bank, row].copy(), self.known[bank, row].copy(), bank, row)
        )
        cocotb.start_soon(self._answer())

    async def _answer(self) -> None:
        """Compare the data that stands three cycles after a read."""
        dut, p = cocotb.top, self.parameters
        for _ in range(3):
            await RisingEdge(dut.clk_i)
        data = read_int(dut.drain_data_o)
        if self.options.tamper_drain:
            data = self.options.tamper_drain(data)
        self.checked += int(self.scoreboard.expected[0].known.sum())
        self.scoreboard.write(unpack(data, p.ACC_W, p.T_C))

    def _status(self, item: StreamItem) -> None:
        """Check tile_done_o: exactly so many cycles after the tile's last operand."""
        ready = item.payload["ready"]
        if not self.chunk_ready or self.chunk_ready[-1][1] != ready:
            self.chunk_ready.append((item.cycle, ready))
        due = bool(self._done_due) and self._done_due[0] == item.cycle
        done = item.payload["done"] and not self.options.hide_done
        if done and not due:
            raise TimingError(f"tile_done_o in cycle {item.cycle}, due: {list(self._done_due)}")
        if due and not done:
            raise TimingError(f"no tile_done_o in cycle {item.cycle}")
        if done:
            self._done_due.popleft()
            self.tiles.done += 1
            self.tiles.done_event.set()

    def check_phase(self) -> None:
        """Refuse tiles whose end never came, and weights that no operand used."""
        if self._done_due or self._chunks or self._filling:
            raise Leftover(f"{len(self._done_due)} tiles and {len(self._chunks)} chunks left over")

    async def start(self, cycles: int = 3) -> None:
        """Start the clock and reset the array."""
        await start_clock(cocotb.top, cycles)
