# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga bench networks`: the networks, and small ones of them on the RTL."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
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
        assert one["milliseconds"] == one["cycles"] / 100e3
        # An idle bus saves up two beats.
        assert all(layer["traffic"] <= layer["cycles"] + 8 for layer in layers)
    assert [layer["codes"] for layer in coded["layers"][:2]] == ["dense", "4/9"]
    assert coded["weight_bytes"] < dense["weight_bytes"]
    (gain,) = report["speed_ups"]
    assert gain["mean"] == gain["networks"]["resnet18"] == dense["cycles"] / coded["cycles"] > 1.2
    # Dense layers of many weights wait for memory, and for nothing else.
    assert dense["waiting"] > 0.5 and sum(layer["bounded"] for layer in dense["layers"]) >= 19

    events = json.loads(file.read_text())["traceEvents"]
    assert {event["pid"] for event in events} == {1, 2}
    for process, one in enumerate((dense, coded), 1):
        spans = [event for event in events if event["pid"] == process and event["ph"] == "X"]
        for stage in ("MAC", "POST"):
            drawn = [event for event in spans if event["cat"] == stage]
            assert [event["name"] for event in drawn] == [x["name"] for x in one["layers"]]
            ends = [event["ts"] + event["dur"] for event in drawn]
            starts = [event["ts"] for event in drawn]
            assert all(start >= end - 1e-6 for start, end in zip(starts[1:], ends, strict=False))
        ends = [event["ts"] + event["dur"] for event in spans]
        assert max(ends) == pytest.approx(one["cycles"] / 100)
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
