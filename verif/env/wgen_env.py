# SPDX-License-Identifier: Apache-2.0
"""Environment of the weights generator: agents, alpha memory, expected model, scoreboard.

Monitors feed the model: a job's expected words are computed when the job is taken, from the job's
fields on the port, the code list seen on its write port and the contents of the alpha memory.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb_bus.drivers import BusDriver
from cocotb_bus.monitors import BusMonitor
from pyuvm import uvm_agent, uvm_analysis_port, uvm_env, uvm_sequencer

from verif.agents.edges import read_int, start_clock
from verif.agents.memory import ReadMemory
from verif.agents.stream import (
    PayloadDriver,
    StreamAgent,
    StreamConfig,
    StreamItem,
    StreamMonitor,
    Subscriber,
    drive_garbage,
)
from verif.env.errors import Leftover, ProtocolError, Unexpected
from verif.env.scoreboard import Scoreboard
from verif.env.wgen_model import WeightWord, WgenJob, WgenParameters, expected_words

JOB_FIELDS = (
    "alpha_addr",
    "filters",
    "codes",
    "dense",
    "channel",
    "alpha_words",
    "kernel_h",
    "kernel_w",
    "blocks",
    "chunk_blocks",
    "chunk_taps",
    "groups",
)
JOB_SIGNALS = {"valid": "job_valid_i", "ready": "job_ready_o"} | {
    name: f"job_{name}_i" for name in JOB_FIELDS
}
WORD_SIGNALS = {"valid": "word_valid_o", "ready": "word_ready_i"} | {
    name: f"word_{name}_o" for name in ("data", "filter", "step", "groups", "last")
}
CODE_SIGNALS = {"write": "code_we_i", "page": "code_page_i", "list": "code_list_i"}
PAGE = 16  # codes of a page of the code list
CODE_BITS = 6


class CodeListDriver(BusDriver):
    """Writes a page of the code list, once the generator is not busy."""

    def __init__(self, entity: Any, clock: Any, rng: random.Random):
        self._signals = CODE_SIGNALS | {"busy": "busy_o"}
        super().__init__(entity, None, clock)
        self._rng = rng
        self._clear()

    def _clear(self) -> None:
        self.bus.write.value = 0
        drive_garbage(self.bus.page, self._rng)
        drive_garbage(self.bus.list, self._rng)

    async def _driver_send(self, transaction: dict[str, int], sync: bool = True) -> None:
        await RisingEdge(self.clock)
        while read_int(self.bus.busy):
            await RisingEdge(self.clock)
        self.bus.write.value = 1
        self.bus.page.value = transaction["page"]
        self.bus.list.value = transaction["list"]
        await RisingEdge(self.clock)
        self._clear()


class CodeListMonitor(BusMonitor):
    """Reports the pages written to the code list, as (page, list of 16 codes)."""

    def __init__(self, entity: Any, clock: Any, callback: Any):
        self._signals = CODE_SIGNALS
        super().__init__(entity, None, clock, callback=callback)

    async def _monitor_recv(self) -> None:
        while True:
            await RisingEdge(self.clock)
            if read_int(self.bus.write):
                packed = read_int(self.bus.list)
                codes = [(packed >> (CODE_BITS * k)) % (1 << CODE_BITS) for k in range(PAGE)]
                self._recv((read_int(self.bus.page), codes))


class CodeListAgent(uvm_agent):
    """Driver, sequencer and monitor of the code list's write port; `rng` is set by its parent."""

    rng: random.Random

    def build_phase(self) -> None:
        """Create the parts."""
        dut = cocotb.top
        self.port = uvm_analysis_port("port", self)
        self.monitor = CodeListMonitor(dut, dut.clk_i, callback=self.port.write)
        self.sequencer = uvm_sequencer("sequencer", self)
        self.driver = PayloadDriver("driver", self)
        self.driver.bus_driver = CodeListDriver(dut, dut.clk_i, self.rng)

    def connect_phase(self) -> None:
        """Connect driver and sequencer."""
        self.driver.seq_item_port.connect(self.sequencer.seq_item_export)


@dataclass
class Status:
    """What the generator's status pins and read enable showed at one clock edge."""

    done: int
    busy: int
    read: int


class StatusMonitor(BusMonitor):
    """Reports done_o, busy_o and alpha_re_o at every clock edge outside reset."""

    def __init__(self, entity: Any, clock: Any, reset_n: Any, callback: Any):
        self._signals = {"done": "done_o", "busy": "busy_o", "read": "alpha_re_o"}
        super().__init__(entity, None, clock, reset_n=reset_n, callback=callback)

    async def _monitor_recv(self) -> None:
        while True:
            await RisingEdge(self.clock)
            if read_int(self._reset_n):
                self._recv(
                    Status(
                        read_int(self.bus.done), read_int(self.bus.busy), read_int(self.bus.read)
                    )
                )


@dataclass
class WgenOptions:
    """How a test wants its environment.

    Attributes
    ----------
    idle, stall : float
        Probability of idle cycles before jobs, of stall cycles on the weight words.
    word_monitor : type
        Monitor of the weight words.
    tamper : callable, optional
        Negative twins: turns an observed weight word into the list of those that are reported.
    tamper_status : callable, optional
        Negative twins: changes an observed `Status`.
    least : int
        Fewest weight words that count as a test.
    """

    idle: float = 0.0
    stall: float = 0.0
    word_monitor: type[StreamMonitor] = StreamMonitor
    tamper: Callable[[StreamItem], list[StreamItem]] | None = None
    tamper_status: Callable[[Status], Status] | None = None
    least: int = 1


def word_differs(expected: WeightWord, observed: StreamItem) -> str:
    """Say what differs between an expected and an observed weight word; "" if nothing."""
    seen = observed.payload
    texts = [
        f"{name} {seen[name]}, expected {getattr(expected, name)}"
        for name in ("filter", "step", "groups", "last")
        if seen[name] != getattr(expected, name)
    ]
    if seen["data"] & expected.mask != expected.data:
        texts.append(f"data {seen['data'] & expected.mask:#x}, expected {expected.data:#x}")
    if not texts:
        return ""
    where = f"job {expected.job}, filter {expected.filter}, step {expected.step}"
    return f"{where}: " + "; ".join(texts) + f" (cycle {observed.cycle})"


class WgenEnv(uvm_env):
    """Agents around ``unzip_wgen``. `options` and `rng` are set by the test.

    Attributes
    ----------
    jobs : list of (WgenJob, int)
        Jobs taken so far, with the clock edge of each.
    matched : list of (WeightWord, StreamItem)
        Words compared so far.
    """

    options: WgenOptions
    rng: random.Random

    def build_phase(self) -> None:
        """Create agents, memory and scoreboard, and hold the reset pin low."""
        dut = cocotb.top
        self.parameters = WgenParameters(
            **{name: int(getattr(dut, name).value) for name in WgenParameters.__annotations__}
        )
        dut.rst_ni.value = 0
        self.jobs: list[tuple[WgenJob, int]] = []
        self.matched: list[tuple[WeightWord, StreamItem]] = []
        self.code_list: list[int | None] = [None] * 4 * PAGE
        self._rngs: list[random.Random] = []
        self._open_jobs: deque[WgenJob] = deque()
        self._reads = 0
        self.done_count = 0
        self.busy = 0

        self.memory = ReadMemory(
            dut,
            dut.clk_i,
            dut.rst_ni,
            {"read": "alpha_re_o", "address": "alpha_addr_o", "data": "alpha_data_i"},
            self._rng(),
        )
        self.job_agent = StreamAgent("job_agent", self)
        self.job_agent.config = StreamConfig("source", JOB_SIGNALS, self._rng(), self.options.idle)
        self.word_agent = StreamAgent("word_agent", self)
        self.word_agent.config = StreamConfig(
            "sink", WORD_SIGNALS, self._rng(), self.options.stall, self.options.word_monitor
        )
        self.code_agent = CodeListAgent("code_agent", self)
        self.code_agent.rng = self._rng()
        StatusMonitor(dut, dut.clk_i, dut.rst_ni, callback=self._status)
        self.scoreboard = Scoreboard("weight_words", self, word_differs, self.options.least)
        self.subscribers = [
            Subscriber("on_job", self, self._job),
            Subscriber("on_word", self, self._word),
            Subscriber("on_codes", self, self._codes),
        ]

    def _rng(self) -> random.Random:
        self._rngs.append(random.Random(self.rng.getrandbits(64)))
        return self._rngs[-1]

    def reseed(self, rng: random.Random, idle: float, stall: float) -> None:
        """Start all drivers' random choices anew, with other probabilities of pauses."""
        for own in self._rngs:
            own.seed(rng.getrandbits(64))
        self.job_agent.driver.bus_driver.idle = idle
        self.word_agent.sink.stall = stall

    def connect_phase(self) -> None:
        """Connect the monitors to the model and the scoreboard."""
        on_job, on_word, on_codes = self.subscribers
        self.job_agent.port.connect(on_job)
        self.word_agent.port.connect(on_word)
        self.code_agent.port.connect(on_codes)

    def _codes(self, item: tuple[int, list[int]]) -> None:
        page, codes = item
        if self.busy:
            raise ProtocolError("code list written while the generator is busy")
        self.code_list[page * PAGE : (page + 1) * PAGE] = codes

    def _job(self, item: StreamItem) -> None:
        job = WgenJob(**item.payload)
        if not self.parameters.CHANNEL_AXIS:
            job = replace(job, channel=0)
        number = len(self.jobs)
        self.jobs.append((job, item.cycle))
        self._open_jobs.append(job)
        codes = [] if job.dense else [c for c in self.code_list[: job.codes] if c is not None]
        words = self.memory.words
        for word in expected_words(job, number, codes, words.__getitem__, self.parameters):
            self.scoreboard.expect(word)

    def _word(self, item: StreamItem) -> None:
        for seen in self.options.tamper(item) if self.options.tamper else [item]:
            expected = self.scoreboard.expected[0] if self.scoreboard.expected else None
            self.scoreboard.write(seen)
            self.matched.append((expected, seen))

    def _status(self, status: Status) -> None:
        """Check done_o: at the last alpha read of a job, exactly then, once per job."""
        if self.options.tamper_status:
            status = self.options.tamper_status(status)
        self.busy = status.busy
        self._reads += status.read
        if not status.done:
            return
        if not self._open_jobs:
            raise Unexpected("done_o without an open job")
        job = self._open_jobs.popleft()
        self.done_count += 1
        needed = job.alpha_reads(self.parameters)
        if self._reads != needed:
            raise ProtocolError(f"done_o after {self._reads} alpha reads, expected {needed}: {job}")
        self._reads = 0
        # The space is free: whoever reads it from now on fails.
        end = job.alpha_addr + job.stored_words(self.parameters)
        self.memory.release(range(job.alpha_addr, end))

    def forget(self) -> None:
        """Drop everything that a reset drops."""
        self.scoreboard.expected.clear()
        self._open_jobs.clear()
        self._reads = 0

    def check_phase(self) -> None:
        """Refuse jobs whose done_o never came."""
        if self._open_jobs:
            raise Leftover(f"{len(self._open_jobs)} jobs without done_o")

    async def start(self, cycles: int = 3) -> None:
        """Start the clock and reset the generator."""
        await start_clock(cocotb.top, cycles)

    async def drain(self, patience: int = 500) -> None:
        """Wait until nothing more is expected and the generator is not busy, then 20 cycles.

        Raises
        ------
        Leftover
            No word came for `patience` cycles.
        """
        dut = cocotb.top
        waited, compared = 0, self.scoreboard.compared
        while self.scoreboard.expected or read_int(dut.busy_o):
            await RisingEdge(dut.clk_i)
            waited = waited + 1 if compared == self.scoreboard.compared else 0
            compared = self.scoreboard.compared
            if waited > patience:
                raise Leftover(
                    f"{len(self.scoreboard.expected)} weight words missing, none came for "
                    f"{patience} cycles, busy_o {dut.busy_o.value}"
                )
        await ClockCycles(dut.clk_i, 20)
