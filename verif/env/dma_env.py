# SPDX-License-Identifier: Apache-2.0
"""Environment of the DMAs: job streams, memory side, AXI memory, rules of the AXI port.

Monitors feed the model: what a load must write, and what a store must read and leave in DRAM, is
computed when its job is taken.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb_bus.drivers import BusDriver
from pyuvm import uvm_env

from verif.agents.axi import AxiBehaviour, AxiMemory, AxiRecord, Dram
from verif.agents.edges import at_edges, read_int
from verif.agents.pins import PinsMonitor
from verif.agents.stream import (
    Payload,
    StreamAgent,
    StreamConfig,
    StreamItem,
    StreamMonitor,
    Subscriber,
    drive_garbage,
)
from verif.env.dma_model import (
    ACT,
    DmaParameters,
    MemoryWrite,
    Transfer,
    View,
    expected_writes,
    in_window,
)
from verif.env.errors import Leftover, Mismatch, ProtocolError, SawNothing, Unexpected
from verif.env.scoreboard import Scoreboard

VIEW_FIELDS = ("base", "row", "block", "shift", "bank", "width", "rows")
STORE_FIELDS = ("addr", "offset", "words", "run", "pitch", *VIEW_FIELDS)
LOAD_FIELDS = ("memory", *STORE_FIELDS)
FETCH, LOAD = 0, 1  # read IDs


def stream(prefix: str, fields: tuple[str, ...], drives: bool) -> dict[str, str]:
    """Return the signals of a stream; `drives` if the testbench drives its payload."""
    ours, theirs = ("i", "o") if drives else ("o", "i")
    signals = {"valid": f"{prefix}_valid_{ours}", "ready": f"{prefix}_ready_{theirs}"}
    return signals | {name: f"{prefix}_{name}_{ours}" for name in fields}


def axi_channel(channel: str, *fields: str) -> dict[str, str]:
    """Return the signals of an AXI channel."""
    return {
        "valid": f"m_axi_{channel}valid",
        "ready": f"m_axi_{channel}ready",
    } | {name: f"m_axi_{channel}{name}" for name in fields}


AXI_CHANNELS = {
    "ar": axi_channel("ar", "id", "addr", "len", "size", "burst"),
    "r": axi_channel("r", "id", "data", "resp", "last"),
    "aw": axi_channel("aw", "id", "addr", "len", "size", "burst"),
    "w": axi_channel("w", "data", "strb", "last"),
    "b": axi_channel("b", "resp"),
}


class StoreMemory(BusDriver):
    """Answers the store DMA's reads of the activation memory: three cycles after the grant."""

    def __init__(self, entity: Any, clock: Any, rng: random.Random, stall: float):
        self._signals = {
            "valid": "read_valid_o",
            "ready": "read_ready_i",
            "bank": "read_bank_o",
            "addr": "read_addr_o",
            "data": "read_data_i",
        }
        super().__init__(entity, None, clock)
        self.rng = rng
        self.stall = stall
        self.words: dict[tuple[int, int], int] = {}
        self.flip = 0  # negative twins: bits to flip in every answer
        cocotb.start_soon(self._start())

    async def _driver_send(
        self, transaction: dict[tuple[int, int], int], sync: bool = True
    ) -> None:
        """Write words: a backdoor, no time passes."""
        self.words.update(transaction)

    async def _start(self) -> None:
        self._ready = False
        self._garbage = False  # stands on the data port
        # Of the reads granted at the last edges but one.
        self._words: deque[int | None] = deque([None, None])
        self.bus.ready.value = 0
        at_edges(self.clock, self._respond)

    def _respond(self) -> None:
        word = self._words.popleft()
        if word is not None:
            self.bus.data.value = word
            self._garbage = False
        elif not self._garbage:
            drive_garbage(self.bus.data, self.rng)
            self._garbage = True
        granted = None
        if self._ready and read_int(self.bus.valid):
            place = read_int(self.bus.bank), read_int(self.bus.addr)
            if place not in self.words:
                raise ProtocolError(f"store reads bank {place[0]}, entry {place[1]}: no word")
            granted = self.words[place] ^ self.flip
        self._words.append(granted)
        ready = self.rng.random() >= self.stall
        if ready != self._ready:
            self.bus.ready.value = self._ready = ready


@dataclass
class DmaOptions:
    """How a test wants its environment.

    Attributes
    ----------
    idle : float
        Probability of idle cycles before jobs and fetch requests.
    stall : float
        Probability that the activation memory stalls, in a cycle.
    axi : AxiBehaviour
        Of the memory behind the AXI port.
    tamper : callable, optional
        Negative twins: changes the payload of an observed AXI item, given the channel.
    tamper_write : callable, optional
        Negative twins: changes an observed write to a memory.
    least : int
        Fewest words loaded and stored that count as a test.
    """

    idle: float = 0.0
    stall: float = 0.0
    axi: AxiBehaviour = field(default_factory=AxiBehaviour)
    tamper: Callable[[str, Payload], Payload] | None = None
    tamper_write: Callable[[MemoryWrite], MemoryWrite] | None = None
    least: int = 1


@dataclass
class Burst:
    """A write burst whose beats are still coming."""

    address: int
    beats: int
    offset: int  # of the instruction


def differs(expected: Any, observed: Any) -> str:
    """Say that two items differ; "" if they do not."""
    return "" if expected == observed else f"{observed}, expected {expected}"


class DmaEnv(uvm_env):
    """Agents around ``tb_dma``. `options` and `rng` are set by the test.

    Attributes
    ----------
    loaded, stored, fetched : int
        Words written to the memories, words stored, beats of instruction fetch.
    loads_done, stores_done : int
        Pulses of the done ports.
    events : dict of str to int
        Number of cycles in which each error port was 1.
    write_cycles : list of int
        Clock edges at which the load DMA wrote a word.
    arrived_cycles : list of int
        Clock edges at which a beat of write data was taken.
    """

    options: DmaOptions
    rng: random.Random

    def build_phase(self) -> None:
        """Create agents, memory and scoreboards, and hold both resets low."""
        dut = cocotb.top
        self.parameters = p = DmaParameters(
            **{name: int(getattr(dut, name).value) for name in DmaParameters.__annotations__}
        )
        dut.rst_ni.value = 0
        dut.engine_rst_ni.value = 0
        dut.halt_i.value = 0
        self._rngs: list[random.Random] = []
        self._connections: list[tuple[StreamAgent, Subscriber]] = []
        self.loaded = self.stored = self.fetched = 0
        self.loads_done = self.stores_done = 0
        self.events = dict.fromkeys(("fetch_window", "load_window", "write_window"), 0)
        self.events |= dict.fromkeys(("fetch_response", "load_response", "write_response"), 0)
        self.write_cycles: list[int] = []
        self.arrived_cycles: list[int] = []
        self.window_reads = self.window_writes = (0, (1 << p.AXI_ADDR_W) - 1)
        self.tolerant = False  # jobs end early: errors are what the test is about

        self.dram = Dram(self.rng.getrandbits(32))
        self.axi = AxiMemory(dut, dut.clk_i, dut.rst_ni, self.dram, self.options.axi, self._rng())
        self.act = StoreMemory(dut, dut.clk_i, self._rng(), self.options.stall)
        self.forget()
        self.write_image: dict[int, int] = {}  # byte address -> value that the stores must leave
        self._settled: dict[int, int] = {}  # bytes of stores that were checked before

        self.load_agent = self._stream("load", LOAD_FIELDS, self._load)
        self.store_agent = self._stream("store", STORE_FIELDS, self._store)
        self.fetch_agent = self._stream("fetch", ("addr", "beats", "offset"), self._fetch)
        self.act_agent = self._stream("act", ("bank", "addr", "data"), self._act, sink=True)
        self._stream("read", ("bank", "addr"), self._read, passive=True)
        for channel in AXI_CHANNELS:
            StreamMonitor(
                dut, dut.clk_i, dut.rst_ni, AXI_CHANNELS[channel], callback=self._axi(channel)
            )
        for memory in ("alpha", "param"):
            PinsMonitor(
                dut,
                dut.clk_i,
                dut.rst_ni,
                {name: f"{memory}_{name}_o" for name in ("we", "addr", "data")},
                self._memory(memory),
                when="we",
            )
        PinsMonitor(
            dut,
            dut.clk_i,
            dut.rst_ni,
            {"beat": "load_beat_o", "offset": "load_beat_offset_o"},
            self._load_beat,
            when="beat",
        )
        PinsMonitor(
            dut,
            dut.clk_i,
            dut.rst_ni,
            {"beat": "fetch_beat_o", "data": "fetch_data_o"},
            self._fetch_beat,
            when="beat",
        )
        self.status_monitor = PinsMonitor(
            dut,
            dut.clk_i,
            dut.rst_ni,
            {
                "load_done": "load_done_o",
                "store_done": "store_done_o",
                "window": "read_window_error_o",
                "write_window": "write_window_error_o",
                "response": "read_error_o",
                "write_response": "write_error_o",
                "halt": "halt_i",
                "arvalid": "m_axi_arvalid",
                "awvalid": "m_axi_awvalid",
            },
            self._status,
        )
        self.writes = Scoreboard("memory_writes", self, differs, self.options.least)
        self.fetches = Scoreboard("fetch_beats", self, differs, 0)

    @property
    def items(self) -> int:
        """Words loaded and stored, and beats fetched."""
        return self.loaded + self.stored + self.fetched

    @property
    def _open(self) -> bool:
        """Something that was asked for did not end yet."""
        ends = self._written_ends + self._answered_ends
        return bool(self._load_left or self._store_left or ends or self.fetches.expected)

    @property
    def stored_left(self) -> bool:
        """Words of a store are still to be read."""
        return bool(self._store_reads)

    def _rng(self) -> random.Random:
        self._rngs.append(random.Random(self.rng.getrandbits(64)))
        return self._rngs[-1]

    def _stream(
        self,
        prefix: str,
        fields: tuple[str, ...],
        function: Any,
        sink: bool = False,
        passive: bool = False,
    ) -> StreamAgent:
        agent = StreamAgent(f"{prefix}_agent", self)
        role = "passive" if passive else "sink" if sink else "source"
        pause = self.options.stall if sink else self.options.idle
        signals = stream(prefix, fields, drives=role == "source")
        agent.config = StreamConfig(role, signals, self._rng(), pause, reset="engine_rst_ni")
        self._connections.append((agent, Subscriber(f"on_{prefix}", self, function)))
        return agent

    def connect_phase(self) -> None:
        """Connect the monitors."""
        for agent, subscriber in self._connections:
            agent.port.connect(subscriber)

    # ---- Model -----------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop all jobs, as the engine's reset does."""
        # What must be read and written: addresses of beats, offsets of their instructions.
        self._load_beats: deque[tuple[int, int]] = deque()
        self._load_offsets: deque[int] = deque()  # of the instruction of each beat to come
        self._load_left: deque[int] = deque()  # words left of each load
        self._fetch_beats: deque[tuple[int, int]] = deque()
        self._store_beats: deque[tuple[int, int]] = deque()
        self._fetch_times: deque[tuple[int, int]] = deque()  # beats, cycle of each one accepted
        self._store_left: deque[int] = deque()  # beats of each store that are not answered
        self._store_reads: deque[tuple[int, int]] = deque()
        self._bursts: deque[Burst] = deque()
        self._lasts: list[int] = []  # wlast of beats whose burst has not been answered
        if hasattr(self, "writes"):
            self.writes.expected.clear()
            self.fetches.expected.clear()
        self._last: Payload | None = None
        self._written_ends = 0  # loads that are written, whose end was not seen
        self._answered_ends = 0  # stores that are answered, whose end was not seen

    @staticmethod
    def _transfer(payload: Payload, memory: int) -> Transfer:
        view = View(**{name: payload[name] for name in VIEW_FIELDS})
        run, pitch = payload["run"], payload["pitch"]
        return Transfer(payload["addr"], payload["words"], memory, view, run, pitch)

    def _load(self, item: StreamItem) -> None:
        p = self.parameters
        load = self._transfer(item.payload, item.payload["memory"])
        offset = item.payload["offset"]
        self._load_beats.extend((address, offset) for address in load.beats(p))
        self._load_offsets.extend([offset] * len(load.beats(p)))
        self._load_left.append(load.words)
        for write in expected_writes(load, self.dram.read, p):
            self.writes.expect(write)

    def _store(self, item: StreamItem) -> None:
        p = self.parameters
        store = self._transfer(item.payload, ACT)
        beats = store.beats(p)
        self._store_left.append(len(beats))
        self._store_beats.extend((address, item.payload["offset"]) for address in beats)
        size = p.word_bytes(ACT)
        for k in range(store.words):
            place = store.view.place(k, p.ACT_BANKS)
            self._store_reads.append(place)
            word = self.act.words[place]
            for byte in range(size):
                self.write_image[store.word_address(k, p) + byte] = (word >> (8 * byte)) & 0xFF

    def _fetch(self, item: StreamItem) -> None:
        p = self.parameters
        self._fetch_times.append((item.payload["beats"], item.cycle))
        for k in range(item.payload["beats"]):
            address = item.payload["addr"] + k * p.beat_bytes
            self._fetch_beats.append((address, item.payload["offset"]))
            self.fetches.expect(int.from_bytes(self.dram.read(address, p.beat_bytes), "little"))

    def _fetch_beat(self, item: StreamItem) -> None:
        self.fetches.write(item.payload["data"])
        self.fetched += 1

    def _load_beat(self, item: StreamItem) -> None:
        """Check which instruction a beat is said to be for."""
        if not self._load_offsets:
            raise Unexpected(f"beat of a load that nobody asked for, cycle {item.cycle}")
        expected = self._load_offsets.popleft()
        if item.payload["offset"] != expected:
            raise Mismatch(
                f"beat of the instruction at {item.payload['offset']:#x}, expected {expected:#x}, "
                f"cycle {item.cycle}"
            )

    def _read(self, item: StreamItem) -> None:
        place = item.payload["bank"], item.payload["addr"]
        if not self._store_reads:
            raise Unexpected(f"store reads {place} although all its words are read")
        expected = self._store_reads.popleft()
        if place != expected:
            raise Mismatch(f"store reads (bank, entry) {place}, expected {expected}")
        self.stored += 1

    def _act(self, item: StreamItem) -> None:
        seen = item.payload
        self._written(MemoryWrite("act", seen["bank"], seen["addr"], seen["data"]), item.cycle)

    def _memory(self, name: str) -> Callable[[StreamItem], None]:
        def write(item: StreamItem) -> None:
            self._written(
                MemoryWrite(name, 0, item.payload["addr"], item.payload["data"]), item.cycle
            )

        return write

    def _written(self, write: MemoryWrite, cycle: int) -> None:
        if self.options.tamper_write:
            write = self.options.tamper_write(write)
        self.writes.write(write)
        self.loaded += 1
        self.write_cycles.append(cycle)
        self._load_left[0] -= 1
        if not self._load_left[0]:
            self._load_left.popleft()
            self._written_ends += 1

    # ---- Rules of the AXI port -------------------------------------------------------------------

    def _axi(self, channel: str) -> Callable[[StreamItem], None]:
        def observe(item: StreamItem) -> None:
            payload = item.payload
            if self.options.tamper:
                payload = self.options.tamper(channel, payload)
            getattr(self, f"_axi_{channel}")(payload, item.cycle)

        return observe

    def _check_burst(
        self, name: str, payload: Payload, window: tuple[int, int], longest: int
    ) -> list[int]:
        """Check an address channel's item; return the addresses of its beats."""
        p = self.parameters
        address, beats = payload["addr"], payload["len"] + 1
        last = address + beats * p.beat_bytes - 1
        text = f"{name} burst of {beats} beats at {address:#x}"
        if address % p.beat_bytes:
            raise ProtocolError(f"{text}: not aligned")
        if address // 4096 != last // 4096:
            raise ProtocolError(f"{text}: crosses a 4 KB border")
        if payload["burst"] != 1 or 1 << payload["size"] != p.beat_bytes:
            raise ProtocolError(f"{text}: not INCR, or not full width")
        if beats > longest:
            raise ProtocolError(f"{text}: longer than {longest}")
        if not in_window(address, last, window):
            raise ProtocolError(f"{text}: outside the window")
        return list(range(address, last + 1, p.beat_bytes))

    def _axi_ar(self, payload: Payload, cycle: int) -> None:
        load = payload["id"] == LOAD
        due = self._load_beats if load else self._fetch_beats
        # A fetch is asked for, and read, in one piece.
        longest = self.parameters.BURST_LEN if load else len(self._fetch_beats)
        for address in self._check_burst("read", payload, self.window_reads, longest):
            if not due or address != due[0][0]:
                raise Mismatch(
                    f"read of {address:#x} with ID {payload['id']}, cycle {cycle}, expected "
                    f"{hex(due[0][0]) if due else 'none'}"
                )
            due.popleft()
        if not load:
            self._fetch_times.popleft()

    def _axi_r(self, payload: Payload, cycle: int) -> None:
        pass

    def _axi_aw(self, payload: Payload, cycle: int) -> None:
        longest = self.parameters.BURST_LEN
        addresses = self._check_burst("write", payload, self.window_writes, longest)
        for address in addresses:
            if not self._store_beats or address != self._store_beats[0][0]:
                raise Mismatch(f"write burst holds {address:#x}, cycle {cycle}: not the next beat")
            offset = self._store_beats.popleft()[1]
        self._bursts.append(Burst(addresses[0], len(addresses), offset))

    def _axi_w(self, payload: Payload, cycle: int) -> None:
        self.arrived_cycles.append(cycle)
        self._lasts.append(payload["last"])

    def _axi_b(self, payload: Payload, cycle: int) -> None:
        if not self._bursts:
            raise Unexpected(f"write answer without a burst, cycle {cycle}")
        burst = self._bursts.popleft()
        lasts = self._lasts[: burst.beats]
        if len(lasts) != burst.beats or lasts != [0] * (burst.beats - 1) + [1]:
            raise ProtocolError(f"wlast {lasts} in a burst of {burst.beats}, cycle {cycle}")
        del self._lasts[: burst.beats]
        self._store_left[0] -= burst.beats
        if not self._store_left[0]:
            self._store_left.popleft()
            self._answered_ends += 1
        if payload["resp"] and read_int(cocotb.top.write_error_offset_o) != burst.offset:
            raise Mismatch(f"write error of another instruction than {burst.offset:#x}")

    def _status(self, item: StreamItem) -> None:
        """Check the done ports, the fetch's priority, and that halt issues nothing new."""
        now = item.payload
        last, self._last = self._last, now
        self.events["fetch_window"] += now["window"] & 1
        self.events["load_window"] += now["window"] >> 1
        self.events["fetch_response"] += now["response"] & 1
        self.events["load_response"] += now["response"] >> 1
        for name in ("write_window", "write_response"):
            self.events[name] += now[name]
        if now["window"]:
            offsets = read_int(cocotb.top.read_window_offset_o)
            self._check_offset(now["window"] & 1, offsets & 0xFFFFFFFF, self._fetch_beats)
            self._check_offset(now["window"] & 2, offsets >> 32, self._load_beats)
        if now["write_window"]:
            self._check_offset(1, read_int(cocotb.top.write_window_offset_o), self._store_beats)
        if now["load_done"]:
            # The job's last word was written at an edge before.
            if not self._written_ends:
                raise ProtocolError(f"load_done_o too early, cycle {item.cycle}")
            self._written_ends -= 1
            self.loads_done += 1
        if now["store_done"]:
            # The job's last answer was taken at an edge before.
            if not self._answered_ends:
                raise ProtocolError(f"store_done_o too early, cycle {item.cycle}")
            self._answered_ends -= 1
            self.stores_done += 1
        if last is None:
            return
        new_read = now["arvalid"] and not last["arvalid"]
        # A fetch takes two cycles to be checked. The ID means something only while valid is up.
        waited = bool(self._fetch_times) and item.cycle - self._fetch_times[0][1] > 2
        if new_read and read_int(cocotb.top.m_axi_arid) == LOAD and waited:
            raise ProtocolError(f"a load's read was issued before a fetch, cycle {item.cycle}")
        if last["halt"] and (new_read or (now["awvalid"] and not last["awvalid"])):
            raise ProtocolError(f"a burst was issued after halt_i, cycle {item.cycle}")

    @staticmethod
    def _check_offset(error: int, offset: int, due: deque[tuple[int, int]]) -> None:
        """Check which instruction a burst outside its window is said to be for."""
        if error and due and offset != due[0][1]:
            raise Mismatch(f"window error of {offset:#x}, expected {due[0][1]:#x}")

    def check_image(self, partial: bool = False) -> None:
        """Compare DRAM with what the stores should have left, and bytes around it; then forget it.

        Parameters
        ----------
        partial : bool
            Stores may have been cut: their bytes may be as they were, too.

        Raises
        ------
        Mismatch
            A byte differs.
        """
        pristine = Dram(self.dram.seed)
        around = {a + d for a in self.write_image for d in (-64, -1, 1, 64)} | set(self.write_image)
        for address in around - {a for a in around if a < 0}:
            before = self._settled.get(address, pristine.read(address, 1)[0])
            value = self.dram.read(address, 1)[0]
            expected = self.write_image.get(address, before)
            if value != expected and not (partial and value == before):
                raise Mismatch(f"DRAM byte {address:#x}: {value:#x}, expected {expected:#x}")
        self._settled |= {address: self.dram.read(address, 1)[0] for address in self.write_image}
        self.write_image.clear()

    def check_phase(self) -> None:
        """Refuse jobs that did not end, too little moved, and wrong bytes in DRAM."""
        if self.tolerant:
            return
        left = {
            "loads": self._load_left,
            "load beats": self._load_beats,
            "fetch beats": self._fetch_beats,
            "stores": self._store_left,
            "store beats": self._store_beats,
            "write bursts": self._bursts,
        }
        if any(left.values()):
            raise Leftover(", ".join(f"{len(queue)} {name}" for name, queue in left.items()))
        if self.stored < self.options.least:
            raise SawNothing(f"{self.stored} words stored, at least {self.options.least} expected")
        self.check_image()

    # ---- Control ---------------------------------------------------------------------------------

    def set_windows(self, reads: tuple[int, int], writes: tuple[int, int]) -> None:
        """Set both windows, (first, last) byte."""
        dut = cocotb.top
        self.window_reads, self.window_writes = reads, writes
        dut.read_first_i.value, dut.read_last_i.value = reads
        dut.write_first_i.value, dut.write_last_i.value = writes

    async def start(self, cycles: int = 3) -> None:
        """Start the clock and reset everything."""
        dut = cocotb.top
        cocotb.start_soon(Clock(dut.clk_i, 10, unit="ns").start())
        self.set_windows(self.window_reads, self.window_writes)
        await ClockCycles(dut.clk_i, cycles)
        dut.rst_ni.value = 1
        dut.engine_rst_ni.value = 1
        await RisingEdge(dut.clk_i)

    def reseed(self, rng: random.Random, options: DmaOptions) -> None:
        """Start all random choices anew, with other stalls and latencies and another DRAM."""
        for own in self._rngs:
            own.seed(rng.getrandbits(64))
        for agent in (self.load_agent, self.store_agent, self.fetch_agent):
            agent.driver.bus_driver.idle = options.idle
        self.act_agent.sink.stall = self.act.stall = options.stall
        self.options.axi = self.axi.behaviour = options.axi
        self.dram = self.axi.dram = Dram(rng.getrandbits(32))
        self.act.words.clear()
        self._settled.clear()

    async def reset(self) -> None:
        """Reset everything, and forget what it forgets."""
        dut = cocotb.top
        dut.rst_ni.value = dut.engine_rst_ni.value = 0
        await ClockCycles(dut.clk_i, 2)
        self.forget()
        self.axi.record = AxiRecord()
        dut.rst_ni.value = dut.engine_rst_ni.value = 1
        await RisingEdge(dut.clk_i)

    @staticmethod
    async def tick() -> None:
        """Wait for a clock edge."""
        await RisingEdge(cocotb.top.clk_i)

    async def soft_reset(self, patience: int = 2000) -> None:
        """Halt, wait until the bus is idle, reset the engine: what a soft reset does.

        Raises
        ------
        Leftover
            The bus did not become idle within `patience` cycles.
        """
        dut = cocotb.top
        dut.halt_i.value = 1
        for _ in range(patience):
            await RisingEdge(dut.clk_i)
            if read_int(dut.read_idle_o) and read_int(dut.write_idle_o):
                break
        else:
            raise Leftover("the bus did not become idle")
        dut.engine_rst_ni.value = 0
        await ClockCycles(dut.clk_i, 2)
        dut.fetch_valid_i.value = 0  # the fetch unit is reset, too
        self.forget()
        dut.engine_rst_ni.value = 1
        dut.halt_i.value = 0
        await RisingEdge(dut.clk_i)

    async def drain(self, patience: int = 1500) -> None:
        """Wait until all jobs have ended, then 20 cycles.

        Raises
        ------
        Leftover
            Nothing moved for `patience` cycles.
        """
        dut = cocotb.top
        waited, before = 0, None
        while self._open:
            await RisingEdge(dut.clk_i)
            moved = self.loaded, self.stored, self.fetched, len(self.arrived_cycles)
            waited = waited + 1 if moved == before else 0
            before = moved
            if waited > patience:
                raise Leftover(
                    f"nothing moved for {patience} cycles: {len(self._load_left)} loads, "
                    f"{len(self._store_left)} stores, {len(self.fetches.expected)} fetch beats open"
                )
        await ClockCycles(dut.clk_i, 20)
