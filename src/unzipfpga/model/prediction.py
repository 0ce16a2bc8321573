# SPDX-License-Identifier: Apache-2.0
"""What the cycle model says of a program."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unzipfpga.config import Config
from unzipfpga.model.dram import Dram
from unzipfpga.model.errors import ModelError
from unzipfpga.model.machine import STAGES, Interval, Machine
from unzipfpga.model.timing import Timing

if TYPE_CHECKING:  # the compiler may use the model: no import of it when this module is loaded
    from unzipfpga.compiler.check import Streams
    from unzipfpga.sim import Memory

# Performance counters that a mark records, under the names that the trace buffer gives them.
_TRACED = {
    "mac_active": "MAC_ACTIVE",
    "wait_weights": "WAIT_WEIGHTS",
    "wait_loads": "WAIT_LOADS",
    "wait_post": "WAIT_POST",
    "wait_stores": "WAIT_STORES",
    "bytes_read": "BYTES_READ",
    "bytes_written": "BYTES_WRITTEN",
}


@dataclass(frozen=True)
class LayerPrediction:
    """One layer, from the end of the layer before to its own last output.

    Attributes
    ----------
    number : int
        Of the layer: its marks are 2*number and 2*number + 1.
    cycles : int
    wait_weights, wait_loads, wait_post, wait_stores : int
        Cycles in which the MAC stage had no weights, no activations or no free accumulators, and
        in which the post stage waited for parameters or for memory that is being stored.
    bytes_read, bytes_written : int
        What crossed the bus meanwhile.
    """

    number: int
    cycles: int
    wait_weights: int
    wait_loads: int
    wait_post: int
    wait_stores: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True)
class Prediction:
    """A run of a program.

    Attributes
    ----------
    cycles : int
        From start to the end of the last write: the counter CYCLES.
    counters : dict of str to int
        The performance counters at the end.
    marks : list of dict
        As the trace buffer has them (`stage`, `id`, `cycles`, ...), with `wait_stores` besides:
        `unzipfpga.report.layer_costs` takes them.
    layers : list of LayerPrediction
        Of each layer whose end is marked, in their order in time.
    """

    cycles: int
    counters: dict[str, int]
    marks: list[dict[str, Any]]
    layers: list[LayerPrediction]


def predict(
    program: "bytes | Streams", config: Config, memory: "Memory", timing: Timing | None = None
) -> Prediction:
    """Predict how long a program takes.

    Parameters
    ----------
    program : bytes or Streams
        A compiled program, or what `unzipfpga.compiler.decode_program` makes of one.
    config : Config
        The build that it runs on.
    memory : Memory
        Bandwidth and latency of DRAM; nothing of it may be random.
    timing : Timing, optional
        Other constants than the RTL's.

    Raises
    ------
    ModelError
        If the program cannot end, or the memory is random.
    ProgramError
        If the program is damaged, or for another build.
    """
    from unzipfpga.compiler.check import decode_program
    from unzipfpga.compiler.errors import ProgramError

    if memory.stall or memory.jitter or memory.latency_spread:
        raise ModelError("the model knows no memory whose stalls, bandwidth or latency are random")
    streams = decode_program(program) if isinstance(program, bytes) else program
    if streams.header["build_id"] != config.build_id():
        raise ProgramError(
            f"program: build id {streams.header['build_id']:#010x}, this build has "
            f"{config.build_id():#010x}"
        )
    timing = timing or Timing()
    dram = Dram(config.AXI_DATA_W // 8, float(memory.rate), memory.latency)
    machine = Machine(streams, config, dram, timing)
    machine.run()
    cycles = np.array([mark.cycle for mark in machine.marks], np.int64)
    traced = {key: _counted(machine.intervals[counter], cycles) for key, counter in _TRACED.items()}
    marks: list[dict[str, Any]] = [
        {"stage": STAGES[mark.stage], "id": mark.number, "cycles": mark.cycle - timing.counter_lag}
        | {key: int(values[i]) for key, values in traced.items()}
        for i, mark in enumerate(machine.marks)
    ]
    counters = {"CYCLES": machine.end} | {
        counter: sum(amount for _, _, amount in intervals)
        for counter, intervals in machine.intervals.items()
    }
    return Prediction(machine.end, counters, marks, _layers(marks))


def _counted(intervals: list[Interval], cycles: ArrayLike) -> NDArray[np.int64]:
    """Return what a counter has counted before each of some cycles."""
    first, last, amount = (np.array(intervals, np.int64).reshape(-1, 3).T[i] for i in range(3))
    length = last - first + 1
    counted = [
        (np.clip(cycle - first, 0, length) * amount // np.maximum(length, 1)).sum()
        for cycle in np.asarray(cycles)
    ]
    return np.array(counted, np.int64)


def _layers(marks: list[dict[str, Any]]) -> list[LayerPrediction]:
    """Return the layers between the post stage's marks."""
    keys = ("cycles", *(key for key in _TRACED if key != "mac_active"))
    before = dict.fromkeys(keys, 0)
    layers = []
    for mark in marks:
        if mark["stage"] == "POST" and mark["id"] % 2:
            spent = {key: mark[key] - before[key] for key in keys}
            layers.append(LayerPrediction(number=mark["id"] // 2, **spent))
            before = {key: mark[key] for key in keys}
    return layers
