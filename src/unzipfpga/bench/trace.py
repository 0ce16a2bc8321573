# SPDX-License-Identifier: Apache-2.0
"""Runs as a trace for ui.perfetto.dev: JSON in Chrome's trace event format.

A run is a process, a queue or stage of the engine a thread. What is drawn is what marks in the
trace buffer say; times are cycles at an assumed clock, in microseconds.

Perfetto cuts them to whole nanoseconds, names threads by their number alone, whatever the process,
and draws spans of a thread that share a nanosecond one below the other; speedscope compares the
numbers as they are. So all threads have numbers of their own, and a span ends up to a nanosecond
before the next begins.
"""

from typing import Any

from unzipfpga.bench.measure import NetworkMeasure
from unzipfpga.compiler import Manifest
from unzipfpga.isa import isa

THREADS = 10  # numbers of a process: more than there are stages
QUEUES = {"LOAD": "load", "WGEN": "compute", "MAC": "compute", "POST": "compute", "STORE": "store"}


def trace_events(
    result: NetworkMeasure, manifest: Manifest, mhz: float, process: int
) -> list[dict[str, Any]]:
    """Return the events of one run.

    - MAC: each layer from its first tile to the first of the next; POST: from the end of the
      layer before, or its own first tile if that is later, to its last output.
    - LOAD, STORE: what was read and written meanwhile; counters: bytes a cycle, share of the
      cycles in which the array computed.

    Parameters
    ----------
    result : NetworkMeasure
    manifest : Manifest
        Of the program that ran.
    mhz : float
        Assumed clock.
    process : int
        Number of the run in the trace.
    """
    threads = {stage: THREADS * process + number for stage, number in isa().stages.items()}
    first = THREADS * process
    title = f"{result.name} {result.codes}"
    title += f", {result.bandwidth:g} bytes a cycle" if result.bandwidth else ""
    events: list[dict[str, Any]] = [_named("process_name", process, first, title)]
    for stage, thread in threads.items():
        name = f"{stage} ({QUEUES[stage]} queue)"
        events.append(_named("thread_name", process, thread, name))

    def nanoseconds(cycles: int) -> int:
        return round(cycles * 1000 / mhz)

    def span(stage: str, name: str, begin: int, end: int, **args: Any) -> None:
        at = nanoseconds(begin)
        events.append(
            {"name": name, "cat": stage, "ph": "X", "pid": process, "tid": threads[stage]}
            | {"ts": _microseconds(at), "dur": _microseconds(max(nanoseconds(end) - at - 1, 0))}
            | {"args": {"cycles": end - begin, **args}}
        )

    def counter(name: str, at: int, value: float) -> None:
        events.append(
            {"name": name, "ph": "C", "pid": process, "tid": first}
            | {"ts": _microseconds(nanoseconds(at)), "args": {"value": value}}
        )

    marks = {(mark["stage"], mark["id"]): mark for mark in result.marks}
    before = 0  # end of the layer before
    starts = [int(marks["MAC", layer.marks[0]]["cycles"]) for layer in manifest.layers]
    # The last mark is where the last layer's computing ends.
    starts.append(max(int(m["cycles"]) for (stage, _), m in marks.items() if stage == "MAC"))
    for index, (layer, measured) in enumerate(zip(manifest.layers, result.layers, strict=True)):
        cost = measured.cost
        end = before + cost.cycles
        about = {
            "codes": cost.codes,
            "MACs": layer.macs,
            "steps": layer.steps,
            "tiles": layer.tiles,
            "chunks": layer.chunks,
            "input": "x".join(map(str, layer.input_map)),
            "output": "x".join(map(str, layer.output_map)),
        }
        span("MAC", layer.name, starts[index], starts[index + 1], **about)
        waits = {key: getattr(cost, key) for key in ("wait_weights", "wait_loads", "wait_post")}
        begin = min(max(before, starts[index]), end)
        span("POST", layer.name, begin, end, utilisation=cost.utilisation, **waits)
        for stage, what, count in [
            ("LOAD", "read", cost.bytes_read),
            ("STORE", "written", cost.bytes_written),
        ]:
            if count:
                name = f"{count:,} bytes {what}"
                span(stage, name, before, end, layer=layer.name, bytes=count)
            counter(f"bytes {what} a cycle", before, count / cost.cycles)
        counter("array computes, %", before, 100 * cost.steps / cost.cycles)
        before = end
    if result.cycles > before:
        count = result.bytes_written - sum(one.cost.bytes_written for one in result.layers)
        span("STORE", "output", before, result.cycles, bytes=count)
    for name in ("bytes read a cycle", "bytes written a cycle", "array computes, %"):
        counter(name, before, 0)
    return events


def _microseconds(nanoseconds: int) -> float:
    """Return a time that is just so many nanoseconds when it is cut to them."""
    return (nanoseconds + 0.25) / 1000 if nanoseconds else 0.0


def _named(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}
