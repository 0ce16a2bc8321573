# SPDX-License-Identifier: Apache-2.0
"""Environment of the whole engine: the host agent, the model's side, the scoreboard.

The tracker follows software through the monitors: which image lies in memory, which registers hold
what, when a program starts and how it ends. At a START it asks the model for a prediction; at the
dump of the memory the run is complete and goes to the scoreboard.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyuvm import uvm_component, uvm_env

from unzipfpga.isa import isa
from verif.agents.stream import Subscriber
from verif.env.engine_agent import Access, Backdoor, HostAgent, Interrupt
from verif.env.engine_model import (
    Job,
    Mark,
    Observation,
    Prediction,
    Start,
    differs,
    predict,
)
from verif.env.errors import Leftover, ProtocolError, Unexpected
from verif.env.scoreboard import Scoreboard
from verif.host import offsets

# A program may end in the cycles that a written soft reset takes to arrive: then it has ended.
RESET_RACE = 4


@dataclass
class EngineOptions:
    """How a test wants its environment.

    Attributes
    ----------
    least : int
        Fewest runs that count as a test.
    tamper : callable, optional
        Negative twins: turns an observed run into the list of those that are reported.
    """

    least: int = 1
    tamper: Callable[[Observation], list[Observation]] | None = None


class RunTracker(uvm_component):
    """Follows the core through what the monitors report.

    Attributes
    ----------
    jobs : deque of Job
        Announced by the sequences, in the order in which they will be started.
    runs : list of (Prediction, Observation)
        Those that are complete.
    """

    options: EngineOptions
    scoreboard: Scoreboard

    def __init__(self, name: str, parent: uvm_component):
        super().__init__(name, parent)
        self.names = {offset: register for register, offset in offsets().items()}
        self.jobs: deque[Job] = deque()
        self.runs: list[tuple[Prediction, Observation]] = []
        self.registers: dict[str, int] = {}
        self.image = b""
        self.moved = (0, 0)
        self.state = "idle"  # idle, run, error: as far as can be told from outside
        self.run: Observation | None = None
        self.prediction: Prediction | None = None
        self.ignored_starts = 0
        self.trace_words: list[int] = []

    def see(self, item: Access | Interrupt | Backdoor) -> None:
        """Take what a monitor reports."""
        if isinstance(item, Interrupt):
            self._interrupt(item)
        elif isinstance(item, Backdoor):
            self._backdoor(item)
        elif item.kind == "read":
            self._read(item)
        elif item.name == "CTRL":
            self._control(item)
        else:
            self.registers[item.name] = item.value
            if item.name == "TRACE_INDEX":
                self.trace_words = []

    def _interrupt(self, item: Interrupt) -> None:
        if not item.level:
            return
        if self.run is None or self.prediction is None:
            raise Unexpected(f"an interrupt without a run, clock edge {item.edge}")
        self.run.interrupts.append(item.edge)
        if self.run.soft_reset is not None and item.edge - self.run.soft_reset <= RESET_RACE:
            self.prediction.outcome = "done"
        self.state = "error" if self.prediction.outcome == "error" else "idle"

    def _backdoor(self, item: Backdoor) -> None:
        if item.kind == "load":
            if self.state == "run":
                raise ProtocolError("the memory is filled during a run")
            self.image = item.data
            self.moved = (item.read, item.written)
            return
        if self.run is None or self.prediction is None:
            raise Unexpected("the memory is dumped without a run before")
        self.run.memory = item.data
        self.run.read_bytes = item.read - self.moved[0]
        self.run.written_bytes = item.written - self.moved[1]
        self.runs.append((self.prediction, self.run))
        for run in self.options.tamper(self.run) if self.options.tamper else [self.run]:
            self.scoreboard.write(run)
        self.run = self.prediction = None

    def _control(self, item: Access) -> None:
        if item.value & 2:
            # An end that was reported stays that run's end.
            if self.run is not None and self.prediction is not None:
                self.run.soft_reset = item.edge
                if self.state == "run":
                    self.prediction.outcome = "aborted"
            self.state = "idle"
        elif item.value & 1 and self.state != "idle":
            self.ignored_starts += 1
        elif item.value & 1:
            self._start(item.edge)

    def _start(self, edge: int) -> None:
        if self.run is not None:
            raise ProtocolError("a program was started before the memory was dumped")
        if not self.jobs:
            raise Unexpected("a program was started that no sequence announced")
        job = self.jobs.popleft()
        start = Start(edge, dict(self.registers), self.image)
        for base, address in job.bases.items():
            if start.register64(f"{base}_BASE") != address:
                raise ProtocolError(f"{base}_BASE is not where job {job.name} was placed")
        program = self.image[start.base("PROGRAM") :][: len(job.program)]
        if program and program != job.program:
            raise ProtocolError(f"job {job.name}'s program is not in memory")
        self.run = Observation(start)
        self.prediction = predict(job, start)
        self.scoreboard.expect(self.prediction)
        self.state = "run"

    def _read(self, item: Access) -> None:
        if self.run is None:
            return
        self.run.reads[item.name] = item.value
        if item.name.startswith("TRACE_DATA"):
            if self.run.marks is None:
                self.run.marks = []
            self.trace_words.append(item.value)
            if len(self.trace_words) == 8:
                stages = {number: name for name, number in isa().stages.items()}
                first, *counters = self.trace_words
                self.run.marks.append(Mark(stages[first >> 29], first & 0xFFFF, tuple(counters)))

    def check_phase(self) -> None:
        """Refuse what was announced or begun and never came to its end."""
        if self.jobs:
            raise Leftover(f"{len(self.jobs)} announced programs were never started")


class EngineEnv(uvm_env):
    """The environment around ``tb_unzip``; `options` are set by the test."""

    options: EngineOptions

    def build_phase(self) -> None:
        """Create agent, tracker and scoreboard."""
        self.agent = HostAgent("agent", self)
        self.scoreboard = Scoreboard("runs", self, differs, self.options.least)
        self.tracker = RunTracker("tracker", self)
        self.tracker.options = self.options
        self.tracker.scoreboard = self.scoreboard
        self.subscriber = Subscriber("on_host", self, self.tracker.see)

    def connect_phase(self) -> None:
        """Connect the monitors to the tracker."""
        self.agent.port.connect(self.subscriber)

    @property
    def runs(self) -> list[tuple[Prediction, Any]]:
        """Complete runs, with their predictions."""
        return self.tracker.runs
