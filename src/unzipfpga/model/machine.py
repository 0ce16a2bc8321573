# SPDX-License-Identifier: Apache-2.0
"""The engine as processes: instruction fetch, three queues, five stages, DRAM.

Each process does what its unit does, at the cycles at which it does it, but for the data: what
takes time is a burst, a chunk of weights, a tile's drain. Times that follow from what is known are
computed ahead: so a chunk is one event, not one for each of its words.
"""

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unzipfpga.config import Config
from unzipfpga.isa import isa
from unzipfpga.model.dram import Dram
from unzipfpga.model.errors import ModelError
from unzipfpga.model.events import Process, Signal, Simulator
from unzipfpga.model.tiles import (
    NO_LAG,
    Fields,
    Shares,
    Weights,
    conflicts_of,
    pixel_rows,
    project,
    shares,
    step_reads,
    weights_of,
    window_banks,
)
from unzipfpga.model.timing import Timing

if TYPE_CHECKING:
    from unzipfpga.compiler.check import Streams

LOAD, WGEN, MAC, POST, STORE = range(5)
STAGES = ("LOAD", "WGEN", "MAC", "POST", "STORE")
TOKEN_LIMIT = 15  # a counter has 4 bits

Instruction = tuple[str, Fields]
Interval = tuple[int, int, int]  # first cycle, last cycle, what is counted
Steps = Generator[int | Signal, None, None]


@dataclass
class Mark:
    """A MARK that a stage recorded in a cycle."""

    stage: int
    number: int
    cycle: int


@dataclass(frozen=True)
class IdleReader:
    """A reader of act mem's idle slots, at work.

    Attributes
    ----------
    banks : tuple of int
        Of its first words.
    spacing : int
        Cycles in which a word is used up.
    ahead : int
        Words of its buffer.
    """

    banks: tuple[int, ...]
    spacing: int
    ahead: int


class _Fifo:
    """A queue of instructions; what is pushed is visible from a cycle on."""

    def __init__(self, depth: int, popped: Signal | None = None) -> None:
        self.depth = depth
        self.items: deque[tuple[int, Instruction]] = deque()
        self.pushed = Signal()
        self.popped = popped or Signal()

    @property
    def full(self) -> bool:
        return len(self.items) >= self.depth


class Machine:
    """One run of a program.

    Parameters
    ----------
    streams : Streams
    config : Config
    dram : Dram
    timing : Timing

    Attributes
    ----------
    marks : list of Mark
        In the order of their cycles.
    intervals : dict of str to list of Interval
        For each performance counter when it counted: the first and the last cycle, and how much
        in all of them.
    end : int
        CYCLES of the run.
    """

    def __init__(self, streams: "Streams", config: Config, dram: Dram, timing: Timing) -> None:
        self.streams, self.config, self.dram, self.t = streams, config, dram, timing
        self.sim = Simulator()
        self.marks: list[Mark] = []
        names = (
            *("MAC_ACTIVE", "WAIT_WEIGHTS", "WAIT_LOADS", "WAIT_POST", "WAIT_STORES"),
            "BANK_CONFLICTS",
        )
        self.intervals: dict[str, list[Interval]] = {name: [] for name in names}
        self.intervals["BYTES_READ"] = dram.reads
        self.intervals["BYTES_WRITTEN"] = dram.writes
        self.ready = 0  # the last cycle in which a unit had something to do

        t = timing
        streams_of = (streams.load, streams.compute, streams.store)
        self.sources = [list(stream) for stream in streams_of]
        popped = Signal()  # fetch waits for any of its queues
        self.queues = [_Fifo(t.queue_depth, popped) for _ in range(3)]
        self.inputs = [  # of the stages
            self.queues[0],
            _Fifo(t.dispatch_depth),
            _Fifo(t.dispatch_depth),
            _Fifo(2 * t.dispatch_depth),
            self.queues[2],
        ]
        self.fetched = [0, 0, 0]
        self.taken = [0] * 5  # instructions that a stage has taken
        self.tokens = [0] * isa().tokens
        self.since = [0] * isa().tokens  # when a token came that was not there
        self.given = Signal()
        self.doing = ["it has not started"] * 5  # for the report of a deadlock
        self.last_request = -t.request_spacing
        # When the requests before are taken: so many places there are.
        self.requests = [deque([-1] * t.request_places) for _ in range(2)]

        # Weights generator.
        self.jobs: deque[tuple[int, Weights, Fields]] = deque()
        self.job_there, self.job_gone, self.read_out = Signal(), Signal(), Signal()
        self.alphas_read: int | None = 0  # when the reader has done with its job, if that is known
        self.word_idle = 0  # nothing in front of the output register
        # Halves of the register files.
        self.filled: deque[int] = deque()
        self.freed: deque[int] = deque([-1, -1])
        self.chunk_filled, self.half_freed = Signal(), Signal()
        # MAC stage.
        self.next_tile: tuple[int, Fields] | None = None
        self.tile_there, self.tile_begun = Signal(), Signal()
        self.reader_free = 0
        self.mac_idle: int | None = 0  # if that is known
        self.mac_busy_until = 0
        self.window: Fields | None = None
        self.released: deque[int] = deque([-1, -1])
        self.bank_released = Signal()
        self.computed: deque[int] = deque()
        self.tile_computed = Signal()
        self.tree = (config.T_P.bit_length()) // 2  # stages of the adder tree
        self.drain: tuple[int, int, Fields] = (-1, -1, {})  # first and last cycle, tile
        # Store.
        self.unsent: deque[tuple[int, int, int | None]] = deque()  # in the buffer, beats, tokens
        self.sent = deque([(-1, -1)] * timing.write_buffer)  # first and last beats
        self.burst_there, self.burst_sent = Signal(), Signal()
        self.stored = 0  # instructions
        self.store_idle = 0
        self.reads_beside: dict[str, IdleReader] = {}  # act mem's other readers

    # ---- Run ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run to the end.

        Raises
        ------
        ModelError
            If the program cannot end, or a token counter overflows.
        """
        processes = [self.fetch(), self.dispatch(), self.load(), self.generate(), self.emit()]
        processes += [self.take_tiles(), self.compute(), self.post(), self.store(), self.write()]
        for process in processes:
            self.sim.at(0, process)
        self.sim.run()
        wanted = [len(self.of_stage(stage)) for stage in range(5)]
        if self.taken != wanted:
            what = "; ".join(
                f"{STAGES[s].lower()}: {self.doing[s]}"
                for s in range(5)
                if self.taken[s] != wanted[s]
            )
            raise ModelError(f"program: deadlock: {what}")
        self.marks.sort(key=lambda mark: mark.cycle)
        self.end = self.ready + self.t.finish

    def of_stage(self, stage: int) -> list[Instruction]:
        """Return the instructions that a stage takes."""
        if stage in (LOAD, STORE):
            return self.sources[0 if stage == LOAD else 2]
        return [i for i in self.sources[1] if self.wanted(i) >> stage & 1]

    @staticmethod
    def wanted(instruction: Instruction) -> int:
        """Return the stages of the compute queue that take an instruction, one bit each."""
        name, f = instruction
        if name == "COMPUTE":
            return 1 << WGEN | 1 << MAC | f["reduce_last"] << POST
        if name == "MARK":
            return f["stages"] & (1 << WGEN | 1 << MAC | 1 << POST)
        return f["stages"] & (1 << WGEN | 1 << MAC) if name == "CODES" else 1 << POST

    def busy_until(self, cycle: int) -> None:
        """Say that something is not idle before a cycle."""
        self.ready = max(self.ready, cycle)

    # ---- Tokens, marks --------------------------------------------------------------------------

    def give(self, cycle: int, mask: int) -> None:
        """Give tokens in a cycle: they are there in the next one."""
        if mask:
            self.sim.at(cycle + self.t.token, lambda: self._give(mask))

    def _give(self, mask: int) -> None:
        for token in range(len(self.tokens)):
            if mask >> token & 1:
                if not self.tokens[token]:
                    self.since[token] = self.sim.now
                self.tokens[token] += 1
                if self.tokens[token] > TOKEN_LIMIT:
                    raise ModelError(f"program: token {token} overflows in cycle {self.sim.now}")
        self.sim.notify(self.given)

    def missing(self, mask: int) -> list[int]:
        return [t for t in range(len(self.tokens)) if mask >> t & 1 and not self.tokens[t]]

    def came(self, mask: int) -> int:
        """Return since when tokens that are there have been there."""
        return max((t for b, t in enumerate(self.since) if mask >> b & 1), default=0)

    def wait_tokens(self, stage: int, mask: int) -> Steps:
        """Wait for tokens; say what for."""
        while missing := self.missing(mask):
            text = ", ".join(map(str, missing))
            self.doing[stage] = f"instruction {self.taken[stage]} waits for token {text}"
            yield self.given
        self.doing[stage] = f"instruction {self.taken[stage]} cannot start"

    def take_tokens(self, mask: int) -> None:
        for token in range(len(self.tokens)):
            self.tokens[token] -= mask >> token & 1

    def count(self, counter: str, first: int, end: int) -> None:
        """Count the cycles from one on to before another."""
        if end > first:
            self.intervals[counter].append((first, end - 1, end - first))

    # ---- Instructions ---------------------------------------------------------------------------

    def request(self, channel: int, beats: int) -> tuple[int, int, int]:
        """Ask for a burst now, for fetch (0) or load (1).

        Returns
        -------
        int
            When the request is handed over: the requester can go on.
        int, int
            The cycles of the first and the last beat.
        """
        t, waiting = self.t, self.requests[channel]
        entered = max(self.sim.now, waiting.popleft())
        taken = max(entered + t.request_check, self.last_request + t.request_spacing)
        self.last_request = taken
        waiting.append(taken + t.request_again)
        return entered, *self.dram.read(taken + t.request_accept, beats)

    def fetch(self) -> Process:
        sim, t = self.sim, self.t
        beats = max(1, isa().instruction_bytes // self.dram.beat_bytes)
        yield t.header_request
        _, _, last = self.request(0, beats)
        yield last + t.header_read
        turn = 0
        left = [len(source) for source in self.sources]
        while any(left):
            for q in (turn, (turn + 1) % 3, (turn + 2) % 3):
                if left[q] and not self.queues[q].full:
                    break
            else:
                yield self.queues[0].popped
                yield sim.now + 1
                continue
            yield sim.now + t.fetch_request
            entered, _, last = self.request(0, beats)
            index = len(self.sources[q]) - left[q]
            queue = self.queues[q]
            queue.items.append((last + t.fetched, self.sources[q][index]))
            sim.notify(queue.pushed)
            left[q] -= 1
            turn = (q + 1) % 3
            yield entered + t.fetch_again
        self.busy_until(sim.now)

    def head(self, fifo: _Fifo) -> Steps:
        """Wait until a queue's first instruction is visible."""
        while not fifo.items:
            yield fifo.pushed
        if fifo.items[0][0] > self.sim.now:
            yield fifo.items[0][0]

    def pop(self, fifo: _Fifo) -> None:
        fifo.items.popleft()
        self.sim.notify(fifo.popped)

    def take(self, stage: int) -> Steps:
        """Take the stage's instruction now; goes on when the next one can be looked at."""
        self.taken[stage] += 1
        fifo = self.inputs[stage]
        now = self.sim.now
        self.busy_until(now + self.t.stage_next)
        self.sim.at(now + self.t.stage_next - 1, lambda: self.pop(fifo))
        yield now + self.t.stage_next

    def mark(self, stage: int, f: Fields, idle: int) -> Steps:
        """Record a MARK once the stage is idle."""
        yield max(self.sim.now, idle) + self.t.stage_take
        if f["stages"] >> stage & 1:
            self.marks.append(Mark(stage, f["id"], self.sim.now))
        yield from self.take(stage)

    def dispatch(self) -> Process:
        sim, t = self.sim, self.t
        source = self.queues[1]
        for _ in range(len(self.sources[1])):
            yield from self.head(source)
            _, instruction = source.items[0]
            yield sim.now + t.dispatch_decode
            wanted = self.wanted(instruction)
            for stage in (WGEN, MAC, POST):
                if wanted >> stage & 1:
                    while self.inputs[stage].full:
                        yield self.inputs[stage].popped
                        yield sim.now + 1
            for stage in (WGEN, MAC, POST):
                if wanted >> stage & 1:
                    fifo = self.inputs[stage]
                    fifo.items.append((sim.now + t.dispatch_visible, instruction))
                    sim.notify(fifo.pushed)
            self.pop(source)
            yield sim.now + t.dispatch_visible

    # ---- Load -----------------------------------------------------------------------------------

    def load(self) -> Process:
        sim, t, config = self.sim, self.t, self.config
        fifo = self.inputs[LOAD]
        memories = {number: name for name, number in isa().memories.items()}
        word_bytes = {"ACT": config.T_P * config.DW // 8, "PARAM": 8 * config.Q}
        word_bytes["ALPHA"] = word_bytes["ACT"] * config.G
        beat_bytes = self.dram.beat_bytes
        depth = config.BURST_LEN * config.OUTSTANDING  # beats of the buffer
        asked = 0  # beats in all
        pops: deque[tuple[int, int, int, int]] = deque()  # beats before, beats, first and last pop
        popped_at = -1  # the last beat's
        idle = 0
        following = 0  # the next burst can be asked for
        ended: deque[int] = deque([-1] * t.load_jobs)  # when the jobs before are done
        for _ in range(len(self.sources[0])):
            yield from self.head(fifo)
            visible, (name, f) = fifo.items[0]
            if name == "MARK":
                yield from self.mark(LOAD, f, idle)
                continue
            if self.missing(f["wait"]):
                yield from self.wait_tokens(LOAD, f["wait"])
                visible = sim.now
            job = max(visible + t.stage_take, ended.popleft())
            if job > sim.now:
                yield job
            self.take_tokens(f["wait"])
            self.taken[LOAD] += 1
            sim.at(max(sim.now, job + t.stage_next - 1), lambda: self.pop(fifo))
            memory = memories[f["memory"]]
            size = word_bytes[memory]
            spacing = max(1, beat_bytes // size)  # cycles in which a beat's words are written
            start = job + t.load_start
            # Words that come as fast as act mem takes them wait for the post stage's.
            banks = _view_banks(f, "dst", config) if memory == "ACT" and size <= beat_bytes else ()
            request = max(job + t.load_request, following)
            for beats in self.bursts(f, size):
                room = asked + beats - depth
                if room > 0:
                    while pops[0][0] + pops[0][1] < room:
                        pops.popleft()
                    before, count, first, last = pops[0]
                    passed = first + (last - first) * (room - before - 1) // max(1, count - 1)
                    request = max(request, passed + t.load_space)
                if request > sim.now:
                    yield request
                entered, first, last = self.request(1, beats)
                following = max(sim.now + t.load_next, entered + t.load_again)
                request = following
                first = max(first + t.load_beat, start, popped_at + spacing)
                pace = spacing / self.load_share(banks, first, beats) if banks else spacing
                popped_at = max(last + t.load_beat, first + round((beats - 1) * max(1.0, pace)))
                pops.append((asked, beats, first, popped_at))
                asked += beats
            word = popped_at + t.load_word + (spacing - 1)  # the job's last word
            done = word + t.load_done + (t.load_act if memory == "ACT" else 0)
            self.give(done + t.stage_done, f["signal"])
            idle = done + t.stage_done + t.stage_idle
            ended.append(idle)
            self.busy_until(idle)
            yield max(sim.now, job + t.stage_next)

    # ---- Weights generator ----------------------------------------------------------------------

    def generate(self) -> Process:
        """The stage and the reader: takes jobs."""
        sim, t = self.sim, self.t
        fifo = self.inputs[WGEN]
        for _ in self.of_stage(WGEN):
            yield from self.head(fifo)
            name, f = fifo.items[0][1]
            if name != "COMPUTE":
                self.doing[WGEN] = f"instruction {self.taken[WGEN]} waits for idle"
                while self.alphas_read is None or self.jobs:
                    yield self.job_gone
                if name == "MARK":
                    yield from self.mark(WGEN, f, self.word_idle)
                else:
                    yield max(sim.now, self.word_idle) + t.stage_take
                    yield from self.take(WGEN)
                continue
            yield from self.wait_tokens(WGEN, f["wgen_wait"])
            yield sim.now + t.stage_take
            while self.alphas_read is None:
                yield self.read_out
            yield max(sim.now, self.alphas_read)
            while len(self.jobs) >= t.wgen_jobs + 1:  # one more is being emitted
                yield self.job_gone
            self.take_tokens(f["wgen_wait"])
            self.alphas_read = None
            self.jobs.append((sim.now, weights_of(f, self.config), f))
            sim.notify(self.job_there)
            yield from self.take(WGEN)

    def emit(self) -> Process:
        """The emitter: words of each chunk, as halves of the register files become free."""
        sim, t = self.sim, self.t
        free = 0  # the next step can leave u_steps
        while True:
            while not self.jobs:
                yield self.job_there
            job, weights, f = self.jobs[0]
            lead = max(t.wgen_least, weights.read + t.wgen_read)
            read = job  # the sets up to here are read
            step = max(free, job + lead)
            # The set whose release makes room for the last one, negative if of the job before.
            last_room = weights.sets - 1 - weights.hold
            all_read = job + weights.sets * weights.read
            sets = 0
            if last_room < 0:
                room = free + (last_room + 1) * weights.emit
                self.read_done(max(all_read, room + t.wgen_release + weights.read), f)
            for chunk in weights.chunks:
                while not self.freed:
                    yield self.half_freed
                word = step + weights.rows - 1 + t.wgen_word
                wait = max(0, self.freed.popleft() + t.half_free - word)
                end = max(
                    step + chunk.emit,
                    read + chunk.sets * weights.read + t.wgen_read + weights.emit,
                )
                if sets <= last_room < sets + chunk.sets:
                    room = step + wait + (last_room + 1 - sets) * weights.emit - 1
                    self.read_done(max(all_read, room + t.wgen_release + weights.read), f)
                read = max(read + chunk.sets * weights.read, end - weights.hold * weights.emit)
                sets += chunk.sets
                step = end + wait
                self.word_idle = end - 1 + t.wgen_word
                self.filled.append(step - 1 + t.wgen_word)
                sim.notify(self.chunk_filled)
            free = step
            self.jobs.popleft()
            sim.notify(self.job_gone)

    def read_done(self, cycle: int, f: Fields) -> None:
        """Say when the reader has read a job's last alpha."""
        t = self.t
        cycle = max(cycle, self.sim.now)
        self.alphas_read = cycle
        self.give(cycle + t.stage_done, f["wgen_signal"])
        self.busy_until(cycle + t.stage_done + t.stage_idle)
        self.sim.notify(self.read_out)

    # ---- MAC stage ------------------------------------------------------------------------------

    def take_tiles(self) -> Process:
        """The stage: takes the next tile while the present one runs."""
        sim, t = self.sim, self.t
        fifo = self.inputs[MAC]
        for _ in self.of_stage(MAC):
            yield from self.head(fifo)
            name, f = fifo.items[0][1]
            if name != "COMPUTE":
                while self.next_tile is not None or self.mac_idle is None:
                    yield self.tile_begun
                if name == "MARK":
                    yield from self.mark(MAC, f, self.mac_idle)
                else:
                    yield max(sim.now, self.mac_idle) + t.stage_take
                    yield from self.take(MAC)
                continue
            seen = sim.now
            yield from self.wait_tokens(MAC, f["mac_wait"])
            if self.mac_idle is not None:
                idle = self.mac_idle - t.stage_done - t.stage_idle
                self.count("WAIT_LOADS", max(seen, idle), self.came(f["mac_wait"]))
            yield sim.now + t.stage_take
            while self.next_tile is not None:
                yield self.tile_begun
            yield max(sim.now, self.reader_free)
            self.take_tokens(f["mac_wait"])
            self.next_tile = sim.now, f
            sim.notify(self.tile_there)
            yield from self.take(MAC)

    def compute(self) -> Process:
        """The window reader: steps of each chunk, as their weights are there."""
        sim, t, config = self.sim, self.t, self.config
        last = operand = -1  # step, and operand, of the tile before
        domain = 0  # of the tile before
        lag, lag_since = NO_LAG, 0
        while True:
            while self.next_tile is None:
                yield self.tile_there
            taken, f = self.next_tile
            start = max(taken + t.reader_start, last + t.reader_idle)
            # Weights, along the kernel, along the channels: one after the other.
            before, domain = domain, f["project"] << f["channel"]
            if domain != before:
                start = max(start, operand + 1)
            if f["reduce_first"]:
                while not self.released:
                    yield self.bank_released
                released = self.released.popleft() + t.bank_free
                self.count("WAIT_POST", start, released)
                start = max(start, released)
            yield start
            self.window = f
            self.mac_idle = None
            self.reader_free = start + t.reader_again
            self.next_tile = None
            sim.notify(self.tile_begun)
            rows = pixel_rows(f)
            windows = domain == 1
            lost = 0.0 if windows else conflicts_of(f, config)
            reads = step_reads(f, config)
            latency = t.projector_channel if domain == 2 else t.operand
            if windows:
                taken = lag.places[-1] + t.projector_tile - 1
                lag = replace(lag, places=(*lag.places[:-1], taken))
            step = start + t.reader_start
            for chunk in weights_of(f, config).chunks:
                self.doing[MAC] = f"instruction {self.taken[MAC] - 1} waits for weights"
                while not self.filled:
                    yield self.chunk_filled
                there = self.filled.popleft() + t.chunk_there
                self.count("WAIT_WEIGHTS", max(step, operand + 1) if domain else step, there)
                step = max(step, there)
                steps = rows * chunk.steps
                if windows:
                    lag, lag_since = lag.later(step - lag_since), step
                    done = project(f, config, lag, t)
                    lag, last = done.lag, step + done.read
                    operand = step + lag.window + t.projector_operand
                    first, conflicts, steps = operand - done.operands + 1, done.lost, done.operands
                else:
                    cycles = round(steps * reads * (1 + lost))
                    if self.reads_beside:
                        yield max(step, sim.now)
                        cycles = round(cycles / self.window_share(f))
                    last = step + cycles - 1
                    operand = last + latency
                    first, conflicts = step + latency, cycles - steps * reads
                if conflicts > 0:
                    self.intervals["BANK_CONFLICTS"].append((step, last, conflicts))
                self.mac_busy_until = last
                self.intervals["MAC_ACTIVE"].append((first, operand, steps))
                self.freed.append(operand)
                sim.notify(self.half_freed)
                step = last + 1
            yield last
            self.mac_idle = max(last + t.operand + t.stage_done + t.stage_idle, operand + 1)
            self.give(last + t.operand + t.stage_done, f["mac_signal"])
            self.busy_until(self.mac_idle)
            if f["reduce_last"]:
                self.computed.append(operand + t.tile_done + self.tree)
                sim.notify(self.tile_computed)
            sim.notify(self.tile_begun)

    # ---- Act mem's idle slots -------------------------------------------------------------------

    def shares_with(self, f: Fields, reader: IdleReader) -> Shares:
        window = window_banks(f, self.config, self.t.projector_places)
        return shares(window, reader.banks, self.t.starved, reader.spacing, reader.ahead)

    def window_share(self, f: Fields) -> float:
        """Return the share of cycles in which readers of idle slots let the window go on."""
        share = 1.0
        for reader in self.reads_beside.values():
            share *= self.shares_with(f, reader).window
        return share

    def load_share(self, banks: tuple[int, ...], first: int, beats: int) -> float:
        """Return the words a cycle that the load DMA can write while it takes some beats."""
        begin, end, f = self.drain
        beside = min(first + beats, end) - max(first, begin)
        if beside <= 0 or f["pool_kernel"]:
            return 1.0
        never = 1 << 30  # the post stage waits for no one
        found = shares(_written_banks(f, self.config), banks, never, 1, 1).reader
        if not found:  # every group is as many words as there are banks
            return beats / (beats + end - max(first, begin))
        return 1 / (1 + (1 / found - 1) * beside / beats)

    def reader_share(self, name: str) -> float:
        """Return the words a cycle that a reader of idle slots gets now."""
        reader = self.reads_beside[name]
        if self.window is None or self.mac_busy_until < self.sim.now:
            return 1 / reader.spacing
        return self.shares_with(self.window, reader).reader

    # ---- Post stage -----------------------------------------------------------------------------

    def post(self) -> Process:
        sim, t, config = self.sim, self.t, self.config
        fifo = self.inputs[POST]
        free = idle = looked = 0
        residual: Fields = {}
        for _ in self.of_stage(POST):
            yield from self.head(fifo)
            name, f = fifo.items[0][1]
            if name == "MARK":
                yield from self.mark(POST, f, idle)
                looked = sim.now
                continue
            if name == "RESIDUAL":
                residual = f
                yield max(sim.now, idle) + t.stage_take
                yield from self.take(POST)
                looked = sim.now
                continue
            seen = max(fifo.items[0][0], looked)
            yield from self.wait_tokens(POST, f["post_wait"])
            self.count("WAIT_STORES", seen, self.came(f["post_wait"]))
            yield max(sim.now + t.stage_take, free)
            job = sim.now
            self.take_tokens(f["post_wait"])
            yield from self.take(POST)
            looked = sim.now
            self.doing[POST] = f"instruction {self.taken[POST] - 1} waits for its sums"
            while not self.computed:
                yield self.tile_computed
            first = max(job, self.computed.popleft()) + t.post_start
            pixels = 1 if f["row0"] else f["pixels"]
            last = first + pixels * f["dst_groups"] - 1
            self.drain = first, last, f
            if f["residual"]:
                words = -(-(f["dst_lane"] + f["dst_groups"]) // config.parts)  # of each port
                spacing = max(1, f["dst_groups"] // words)
                ports = [f"residual {port}" for port in range(config.words)]
                for port, name in enumerate(ports):
                    banks = _residual_banks(f, residual, words, port, config)
                    self.reads_beside[name] = IdleReader(banks, spacing, t.residual_depth)
                # Words that stand in the buffer when the drain begins.
                begin = job + t.residual_first
                ahead = (first - begin) * min(map(self.reader_share, ports)) + 1
                left = pixels * words - min(max(1.0, ahead), t.residual_depth)
                yield max(first, begin)
                while left > 0:
                    share = min(map(self.reader_share, ports))
                    cycles = min(64, max(1, round(left / share)))
                    yield sim.now + cycles
                    left -= cycles * share
                for name in ports:
                    del self.reads_beside[name]
                last = max(last, sim.now)
            self.released.append(last + t.post_release)
            sim.notify(self.bank_released)
            done = last + t.post_done
            self.give(done + t.stage_done, f["post_signal"])
            free = done + t.post_again
            idle = done + t.stage_done + t.stage_idle
            self.busy_until(idle)

    # ---- Store ----------------------------------------------------------------------------------

    def store(self) -> Process:
        """The stage, and the reads of act mem: fills the write channel's buffer."""
        sim, t, config = self.sim, self.t, self.config
        fifo = self.inputs[STORE]
        free = 0
        size, beat_bytes = config.T_P * config.DW // 8, self.dram.beat_bytes
        spacing = max(1, size // beat_bytes)  # cycles of a word: the gearbox puts its beats out
        for number, _ in enumerate(self.sources[2]):
            yield from self.head(fifo)
            name, f = fifo.items[0][1]
            if name == "MARK":
                while self.stored < number:
                    yield self.burst_sent
                yield from self.mark(STORE, f, self.store_idle)
                self.stored += 1
                continue
            yield from self.wait_tokens(STORE, f["wait"])
            while number - self.stored >= t.store_jobs:
                yield self.burst_sent
            yield max(sim.now + t.stage_take, free)
            job = sim.now
            self.take_tokens(f["wait"])
            yield from self.take(STORE)
            reader = IdleReader(_view_banks(f, "src", config), spacing, t.store_depth)
            self.reads_beside["store"] = reader
            word = float(job + t.store_read)  # when the next word is read
            for burst in self.bursts(f, size):
                # The buffer holds so many bursts: a beat takes the place of one that has gone.
                while not self.sent:
                    yield self.burst_sent
                first, last = self.sent.popleft()
                word = max(word, first + 1 - t.store_beat)
                if word > sim.now:
                    yield int(word)
                word += burst * max(1.0, beat_bytes / size / self.reader_share("store"))
                word = max(word, last + 2 - t.store_beat)
                self.unsent.append((int(word) - 1 + t.store_beat, burst, None))
                sim.notify(self.burst_there)
            there, burst, _ = self.unsent.pop()
            self.unsent.append((there, burst, f["signal"]))
            yield max(int(word), sim.now)
            free = sim.now
            del self.reads_beside["store"]

    def write(self) -> Process:
        """The write channel: bursts whose beats are in the buffer."""
        sim, t = self.sim, self.t
        ask = 0  # when DRAM takes the address
        while True:
            while not self.unsent:
                yield self.burst_there
            ask = max(ask + t.write_spacing, self.unsent[0][0] + t.write_ask)
            yield max(ask, sim.now)
            _, beats, signal = self.unsent.popleft()
            first, last = self.dram.write(ask + t.write_first, beats)
            self.sent.append((first, last))
            if signal is not None:
                done = last + self.dram.latency + t.write_done
                self.give(done + t.stage_done, signal)
                self.stored += 1
                self.store_idle = done + t.stage_done + t.stage_idle
                self.busy_until(self.store_idle)
            sim.notify(self.burst_sent)

    def bursts(self, f: Fields, size: int) -> Iterator[int]:
        """Return the beats of a transfer's bursts, which are aligned and end with their run."""
        beat_bytes, most = self.dram.beat_bytes, self.config.BURST_LEN
        run = -(-f["run"] * size // beat_bytes)
        for number in range(f["words"] // f["run"]):
            place = (f["offset"] + number * f["pitch"]) // beat_bytes
            left = run
            while left:
                beats = min(left, most - place % most)
                yield beats
                left -= beats
                place += beats


def _residual_banks(
    f: Fields, residual: Fields, words: int, port: int, config: Config
) -> tuple[int, ...]:
    """Return the banks of a tile's first residual words that one port of the prefetcher reads."""
    banks = []
    for pixel in range(min(f["pixels"], 64)):
        x = (f["out_x"] + pixel) % f["out_w"]
        for word in range(words):
            first = f["res_block_first"] + word * config.words + (x >> residual["res_shift"])
            bank = first + (port - first) % config.words
            banks.append(bank % config.ACT_BANKS)
    return tuple(banks)


_WORDS = 512  # of a transfer or an output whose banks are looked at


def _view_banks(f: Fields, prefix: str, config: Config) -> tuple[int, ...]:
    """Return the banks of a LOAD's or STORE's first words."""
    words = np.arange(min(_WORDS, f["words"]))
    blocks, x = words // (f["width"] * f["rows"]), words % f["width"]
    banks = f[f"{prefix}_bank"] + blocks + (x >> f[f"{prefix}_shift"])
    return tuple((banks % config.ACT_BANKS).tolist())


def _written_banks(f: Fields, config: Config) -> tuple[tuple[int, ...], ...]:
    """Return the banks that a tile's first outputs go to, a group of channels in each cycle."""
    pixels = np.arange(min(f["pixels"], _WORDS))[:, None]
    x = (f["out_x"] + pixels) % f["out_w"] >> f["dst_shift"]
    blocks = (f["dst_lane"] + np.arange(f["dst_groups"])) // config.parts * config.words
    ends = np.minimum(blocks + config.words, max(1, -(-f["post_filters"] // config.T_P)))
    counts = ends - blocks if config.words > 1 else np.ones_like(blocks)
    first = f["dst_bank"] + blocks + x
    written = zip(first.ravel().tolist(), np.broadcast_to(counts, first.shape).flat, strict=True)
    return tuple(tuple((bank + k) % config.ACT_BANKS for k in range(n)) for bank, n in written)
