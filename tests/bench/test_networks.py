# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga bench networks`: the networks, and small ones of them on the RTL."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from unzipfpga.bench import measure, named_list, networks, trace
from unzipfpga.bench.networks import NETWORKS, Coding, float_network, parse_coding
from unzipfpga.cli import main
from unzipfpga.compiler import Compiled
from unzipfpga.frontend import read_float
from verif.refmodel import model as golden

SMALL = ["--size", "32", "--width", "8", "--config", "tiny", "--set", "ACT_DEPTH=2048"]
SMALL += ["--set", "POOL_W=32"]
CODED = Coding(4, 8)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "networks", *arguments])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Converted networks of a test are its own."""
    monkeypatch.setattr(networks, "models_folder", lambda: tmp_path)
    yield


# The networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_the_convolutions_are_those_of_the_list(name: str, tmp_path: Path) -> None:
    onnx.save(float_network(name, Coding(), 64, 16), tmp_path / "net.onnx")
    graph = read_float(tmp_path / "net.onnx")
    convs = {layer.name: layer for layer in graph.layers if layer.kind == "conv"}
    shapes = named_list(name, 64, 16)
    assert set(convs) == {shape.name for shape in shapes}
    for shape in shapes:
        layer = convs[shape.name]
        assert layer.weights is not None
        assert layer.weights.shape == (shape.filters, shape.channels) + (shape.kernel,) * 2
        assert graph.shapes[layer.input] == (shape.channels, shape.height, shape.width)
        assert graph.shapes[layer.output] == shape.output
    blocks = {"resnet18": 8, "resnet34": 16, "resnet50": 16, "squeezenet1.1": 0}
    assert sum(layer.residual is not None for layer in graph.layers) == blocks[name]
    assert sum(layer.kind == "concat" for layer in graph.layers) == 8 * ("squeeze" in name)
    assert graph.shapes[graph.output] == (1000,)


@pytest.mark.parametrize(("name", "macs"), [("resnet18", 1814), ("resnet50", 4087)])
def test_the_size_of_the_lists(name: str, macs: int) -> None:
    assert sum(shape.macs for shape in named_list(name)) // 10**6 == macs - 1 + (macs == 4087)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("coding", [Coding(), CODED], ids=["dense", "4,8"])
def test_activations_of_all_sizes(name: str, coding: Coding) -> None:
    """No layer is dead or saturated, so that a wrong integer shows."""
    path = networks.converted_network(name, coding, 64, 16)
    model = golden.load(path)
    images = networks.random_images(model.input_shape, 1, 1)
    for layer, values in model.layer_outputs(model.quantize(images)).items():
        assert len(np.unique(values)) > 20, layer
        assert (np.abs(values) == 127).mean() < 0.03, layer
        assert (values == 0).mean() < 0.8, layer
    axes = [layer.axis for layer in model.layers.values()]
    if coding == Coding():
        assert set(axes) == {"dense"}
    else:
        assert axes[0] == "dense" and axes.count("kernel") > axes.count("dense") - 10
        assert "channel" in axes
        coded = [layer for layer in model.layers.values() if layer.axis != "dense"]
        assert {len(layer.codes) for layer in coded} <= {4, 8}


def test_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = networks.converted_network("squeezenet1.1", Coding(), 32, 8)
    data = path.read_bytes()
    others = [
        networks.converted_network("squeezenet1.1", Coding(), 32, 8, seed=2),
        networks.converted_network("squeezenet1.1", CODED, 32, 8),
    ]
    assert len({path, *others}) == 3
    path.unlink()
    assert networks.converted_network("squeezenet1.1", Coding(), 32, 8) == path
    assert path.read_bytes() == data
    monkeypatch.setattr(networks, "convert_network", None)
    assert networks.converted_network("squeezenet1.1", Coding(), 32, 8) == path


def test_codings() -> None:
    assert parse_coding("dense") == Coding() and parse_coding("4,8") == CODED
    assert CODED.text == "4,8" and Coding(9, 16).text == "dense"


# Traces -------------------------------------------------------------------------------------------


def trace_problems(events: list[dict[str, Any]]) -> Iterator[str]:
    """Say what Chrome's trace event format does not allow, and what viewers would draw wrongly.

    Fields by kind (X span, C counter, M name); times; all processes and threads named, once, and
    threads of no two processes alike; spans of a thread apart, in whole nanoseconds (Perfetto) and
    as the numbers say (speedscope).
    """
    needed = {"X": {"name", "cat", "ts", "dur", "pid", "tid", "args"}, "M": {"name", "pid", "args"}}
    needed["C"] = {"name", "ts", "pid", "args"}
    names: dict[tuple[str, int], str] = {}
    processes: dict[int, int] = {}
    tracks: dict[tuple[Any, ...], int] = {}  # thread or counter -> ns before which nothing comes
    ends: dict[tuple[Any, ...], float] = {}  # the same in microseconds as written
    for number, event in enumerate(events):
        what = f"event {number}"
        missing = needed.get(event.get("ph", ""), {"ph"}) - set(event)
        if missing:
            yield f"{what} lacks {sorted(missing)}"
            continue
        kind, pid, tid = event["ph"], event["pid"], event.get("tid", event["pid"])
        if not (isinstance(event["name"], str) and event["name"]):
            yield f"{what} has no name"
        if not all(type(value) is int and 0 < value < 2**31 for value in (pid, tid)):
            yield f"{what}: process {pid}, thread {tid}"
        if processes.setdefault(tid, pid) != pid:
            yield f"{what}: thread {tid} is in two processes"
        if kind == "M":
            key = event["name"], pid if event["name"] == "process_name" else tid
            if not event["args"].get("name") or key in names:
                yield f"{what}: {key} is named '{event['args']}'"
            names[key] = event["args"].get("name", "")
            continue
        times = [event["ts"], event.get("dur", 0)]
        if not all(type(t) in (int, float) and 0 <= t < 1e12 for t in times):
            yield f"{what}: times {times}"
            continue
        if ("process_name", pid) not in names or (
            kind == "X" and ("thread_name", tid) not in names
        ):
            yield f"{what}: process {pid} or thread {tid} has no name"
        begin, length = (int(t * 1000) for t in times)
        if kind == "C" and not all(math.isfinite(value) for value in event["args"].values()):
            yield f"{what}: counter {event['args']}"
        track = (pid, tid) if kind == "X" else (pid, event["name"])
        if begin < tracks.get(track, 0):
            yield f"{what} begins at {begin} ns, before the end of the one before"
        tracks[track] = begin + length
        if times[0] < ends.get(track, 0.0):
            yield f"{what} begins at {times[0]} us, a fraction before the end of the one before"
        ends[track] = sum(times)


def check_trace_problems(events: list[dict[str, Any]]) -> None:
    """Negative twins: every fault that is planted in a good trace is seen."""
    spans = [i for i, event in enumerate(events) if event["ph"] == "X"]
    counters = [i for i, event in enumerate(events) if event["ph"] == "C"]
    second = next(i for i in spans[1:] if events[i]["tid"] == events[spans[0]]["tid"])
    other = max(event["pid"] for event in events)
    faults: list[tuple[int, dict[str, Any], str]] = [
        (spans[0], {"ph": None}, "lacks ['ph']"),
        (spans[0], {"dur": None}, "lacks ['dur']"),
        (spans[0], {"dur": -1.0}, "times"),
        (spans[0], {"ts": "0"}, "times"),
        (spans[0], {"name": ""}, "has no name"),
        (spans[0], {"tid": 7777}, "thread 7777 has no name"),
        (spans[0], {"pid": other}, "is in two processes"),
        (second, {"ts": events[second]["ts"] - 0.002}, "ns, before the end of the one before"),
        (second, {"ts": events[second]["ts"] - 0.0008}, "a fraction before the end"),
        (counters[-1], {"ts": 0.0}, "before the end of the one before"),
        (counters[0], {"args": {"value": float("nan")}}, "counter"),
        (0, {"args": {}}, "is named"),
    ]
    for number, changes, words in faults:
        event = {k: v for k, v in (events[number] | changes).items() if v is not None}
        found = list(trace_problems([*events[:number], event, *events[number + 1 :]]))
        assert any(words in problem for problem in found), (changes, found)


@pytest.mark.parametrize("mhz", [100.0, 133.3, 150.0, 200.0])
def test_times_of_a_trace_are_whole_nanoseconds(mhz: float) -> None:
    """Spans that follow each other have no nanosecond in common, whatever the clock."""
    rng = np.random.default_rng(1)
    ends = np.cumsum(rng.integers(1, 300_000, 2000))
    layer = SimpleNamespace(name="layer", marks=(0, 1), macs=1, steps=1, tiles=1, chunks=1)
    layer.input_map = layer.output_map = (1, 1, 1)
    layers, costs, marks, before = [], [], [], 0
    for number, end in enumerate(ends.tolist()):
        layers.append(SimpleNamespace(**vars(layer) | {"marks": (2 * number, 2 * number + 1)}))
        cost = SimpleNamespace(cycles=end - before, codes="dense", bytes_read=1, bytes_written=0)
        cost.wait_weights = cost.wait_loads = cost.wait_post = cost.steps = 0
        cost.utilisation = 0.5
        costs.append(SimpleNamespace(cost=cost))
        marks.append({"stage": "MAC", "id": 2 * number, "cycles": before})
        before = end
    marks.append({"stage": "MAC", "id": 2 * len(layers), "cycles": before})
    run = SimpleNamespace(name="net", codes="dense", bandwidth=1.0, layers=costs, marks=marks)
    run.cycles, run.bytes_written = before, 0
    events = trace.trace_events(run, SimpleNamespace(layers=layers), mhz, 1)
    assert not list(trace_problems(events))
    assert sum(event["ph"] == "X" for event in events) == 3 * len(layers)


# On the RTL ---------------------------------------------------------------------------------------


def test_a_network_on_the_rtl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Dense and with codes behind a slow memory: outputs, account of bytes and cycles, trace."""
    file, report_file = tmp_path / "trace.json", tmp_path / "report.json"
    arguments = ["resnet18", *SMALL, "--bandwidth", "2", "--jobs", "2", "--json"]
    status, out, err = run(capsys, *arguments, "--trace", str(file), "-o", str(report_file))
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert json.loads(report_file.read_text()) == report
    assert (report["mhz"], report["dsp"]["blocks"]) == (100, 32 + 12 + 4)
    dense, coded = report["runs"]
    assert [run["codes"] for run in (dense, coded)] == ["dense", "4,8"]
    for one in (dense, coded):
        assert (one["outputs"], one["mismatches"]) == (1000, 0)
        assert one["distinct"] > 50
        layers = one["layers"]
        assert len(layers) == 21
        assert one["macs"] == sum(layer["macs"] for layer in layers)
        assert sum(layer["cycles"] for layer in layers) <= one["cycles"]
        assert sum(layer["steps"] for layer in layers) == one["counters"]["MAC_ACTIVE"]
        assert sum(layer["bytes_read"] for layer in layers) == one["bytes_read"]
        assert one["bytes_read"] > one["weight_bytes"]
        assert one["bytes_written"] == 1000
        assert one["milliseconds"] == pytest.approx(one["cycles"] / 100e3)
        # An idle bus saves up two beats.
        assert all(layer["traffic"] <= layer["cycles"] + 8 for layer in layers)
    assert [layer["codes"] for layer in coded["layers"][:2]] == ["dense", "4/9"]
    assert coded["weight_bytes"] < dense["weight_bytes"]
    (gain,) = report["speed_ups"]
    assert gain["mean"] == gain["networks"]["resnet18"] == dense["cycles"] / coded["cycles"] > 1.2
    # Dense layers of many weights wait for memory, and for nothing else.
    assert dense["waiting"] > 0.5 and sum(layer["bounded"] for layer in dense["layers"]) >= 19

    content = json.loads(file.read_text())
    assert content["displayTimeUnit"] in ("ms", "ns")
    events = content["traceEvents"]
    assert not list(trace_problems(events))
    check_trace_problems(events)
    assert {event["pid"] for event in events} == {1, 2}
    for process, one in enumerate((dense, coded), 1):
        spans = [event for event in events if event["pid"] == process and event["ph"] == "X"]
        for stage in ("MAC", "POST"):
            drawn = [event for event in spans if event["cat"] == stage]
            assert [event["name"] for event in drawn] == [x["name"] for x in one["layers"]]
            ends = [event["ts"] + event["dur"] for event in drawn]
            starts = [event["ts"] for event in drawn]
            assert all(start >= end - 1e-3 for start, end in zip(starts[1:], ends, strict=False))
        ends = [event["ts"] + event["dur"] for event in spans]
        assert max(ends) == pytest.approx(one["cycles"] / 100, abs=1e-3)
        assert min(event["ts"] for event in spans) == 0
        moved = sum(event["args"]["bytes"] for event in spans if event["cat"] == "LOAD")
        assert moved == one["bytes_read"]


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["resnet18", *SMALL, "--gbps", "0.2", "--mhz", "100", "--per-layer"]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    for part in (
        *("networks at 32x32 on tiny", "2 B/cycle = 0.20 GB/s", "layer4.1.conv2", "8/16"),
        *("memory wall", "speed-up over dense", "geometric mean", "2,000 outputs, 0 mismatches"),
        *("48 DSP blocks, the most that make synth allows", "100 MHz assumed"),
    ):
        assert part in out, part
    assert "…" not in out


def test_a_mismatch_is_caught(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flipped bit in some of the last layer's weights."""
    compile_model = measure.compile_model

    def faulty(*arguments: Any, **options: Any) -> Compiled:
        compiled = compile_model(*arguments, **options)
        weights = bytearray(compiled.weights)
        for index in range(64):
            weights[-20000 + index] ^= 0x40
        return replace(compiled, weights=bytes(weights))

    monkeypatch.setattr(measure, "compile_model", faulty)
    status, out, _ = run(capsys, "resnet18", *SMALL, "--codes", "dense", "--json")
    assert status == 1
    assert 0 < json.loads(out)["runs"][0]["mismatches"] < 1000


def test_speed_ups() -> None:
    def one(name: str, codes: str, bandwidth: float, cycles: int) -> Any:
        fields = dict.fromkeys(measure.NetworkMeasure.__dataclass_fields__)
        fields |= {"name": name, "codes": codes, "bandwidth": bandwidth, "cycles": cycles}
        return measure.NetworkMeasure(**fields)  # type: ignore[arg-type]

    found = measure.speed_ups(
        [
            *(one("a", "dense", 1.0, 800), one("a", "4,8", 1.0, 200), one("b", "4,8", 1.0, 100)),
            *(one("b", "dense", 1.0, 900), one("a", "4,8", 2.0, 100), one("a", "6,8", 1.0, 400)),
        ]
    )
    assert [(gain.codes, gain.bandwidth) for gain in found] == [("4,8", 1.0), ("6,8", 1.0)]
    assert found[0].networks == {"a": 4.0, "b": 9.0}
    assert found[0].mean == pytest.approx(6.0)
    assert found[1].mean == 2.0


def test_every_stage_has_a_queue() -> None:
    assert set(trace.QUEUES) == set(trace.isa().stages)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vgg"], "unknown network 'vgg'; there are: resnet18, resnet34"),
        (["resnet18", "--codes", "4"], "codes '4': expected 'dense', or"),
        (["resnet18", "--codes", "10,8"], "codes '10,8': expected 'dense', or"),
        (["resnet18", "--width", "12"], "width 12 on 224x224 pixels: the width must be"),
        (["resnet18", "--size", "16"], "the image at least 32x32"),
        (["resnet18", "--config", "huge"], "unknown CONFIG 'huge'"),
        (["resnet18", "--set", "Z=4"], "'Z=4': expected NAME=VALUE"),
        (["resnet18", "--bandwidth", "1", "--gbps", "1"], "give --bandwidth or --gbps, not both"),
        (["resnet18", "-o", "none/there.json"], "there is no directory none"),
        (["resnet18", "--trace", "."], "it is a directory"),
        (["resnet18", *SMALL, "--sim", "vcs"], "unknown SIM 'vcs'"),
    ],
)
def test_bad_input(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert words in err
