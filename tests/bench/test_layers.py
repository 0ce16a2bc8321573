# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga bench layers` on the RTL at its smallest size: results, account, faults, bad input."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unzipfpga.bench import layers as bench_layers
from unzipfpga.bench import parse_shape, prepare
from unzipfpga.bench.layers import LOSSES
from unzipfpga.cli import main
from unzipfpga.compiler import Compiled
from unzipfpga.config import load_config

TINY = ["--config", "tiny"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "layers", *arguments])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_layers_on_the_rtl(capsys: pytest.CaptureFixture[str]) -> None:
    """A folded image, codes, equal layers, a stride, a ragged block; every cycle has its place."""
    shapes = ["image:3x12x12-8-3", "a:16x8x8-12-3", "b:16x8x8-12-3p1", "c:10x7x9-16-1/2"]
    status, out, err = run(capsys, *shapes, "--codes", "4", *TINY, "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    rows = report["layers"]
    assert [row["name"] for row in rows] == ["image", "a", "c"]
    assert [row["codes"] for row in rows] == ["dense", "4/9", "dense"]
    assert [row["count"] for row in rows] == [1, 2, 1]
    assert [row["outputs"] for row in rows] == [8 * 144, 12 * 64, 16 * 4 * 5]
    macs = [8 * 144 * 27, 12 * 64 * 144, 16 * 20 * 10]
    assert [row["macs"] for row in rows] == macs
    assert report["parameters"]["AXI_DATA_W"] == 512
    for row in [*rows, report["total"]]:
        assert row["mismatches"] == 0
        parts = [row[key] for key in ("ideal", *LOSSES)]
        assert sum(parts) == pytest.approx(row["cycles"])
        assert min(parts) >= 0
        assert row["utilisation"] == pytest.approx(row["macs"] / 64 / row["cycles"])
    # The middle one runs in the code domain: 4 multiplications take the place of 9.
    assert [row["domain"] for row in rows] == ["weights", "codes", "weights"]
    assert [row["ideal"] for row in rows] == pytest.approx(
        [macs[0] / 64, macs[1] / 64 * 4 / 9, macs[2] / 64]
    )
    # Steps of the array, counted by hand: 12 filters are 8 + 4, 10 channels 8 + 2.
    steps = [6 * 144, 2 * 8 * 64, 2 * 2 * 20]  # the image: 6 taps of 2 pixels of 3 channels
    assert [row["ideal"] + row["lanes"] for row in rows] == pytest.approx(steps)
    assert report["total"]["macs"] == macs[0] + 2 * macs[1] + macs[2]
    assert report["total"]["cycles"] == sum(row["count"] * row["cycles"] for row in rows)


def test_a_layer_that_adds(capsys: pytest.CaptureFixture[str]) -> None:
    """The residual changes the outputs; read from idle slots, it costs no time."""
    shapes = ["16x8x8-12-3", "16x8x8-12-3+r", "8x9x9-8-3/2+r", "3x6x6-8-3+r"]
    status, out, _ = run(capsys, *shapes, *TINY, "--json")
    assert status == 0
    plain, adds, strided, image = json.loads(out)["layers"]
    assert adds["shape"] == "16x8x8-12-3/1p1+r"
    for row in (plain, adds, strided, image):
        assert row["mismatches"] == 0 and row["fill"] >= 0
    assert adds["macs"] == plain["macs"]
    assert adds["cycles"] <= 1.01 * plain["cycles"]
    config = load_config("tiny")
    ready = [prepare(parse_shape(text), 1, 0, "tiny", config, 1) for text in shapes[:2]]
    assert (ready[0].golden != ready[1].golden).mean() > 0.9


@pytest.mark.slow
def test_a_build_of_16_bits(capsys: pytest.CaptureFixture[str]) -> None:
    """The same on wide integers: as many steps, twice the bytes."""
    layer = ["a:20x8x8-12-3p1+r", "--codes", "4", *TINY, "--json"]
    wide = ["--set", "DW=16", "--set", "PAIR=0", "--set", "OPERAND_W=16"]
    reports = []
    for arguments in (layer, [*layer, *wide]):
        status, out, err = run(capsys, *arguments)
        assert (status, err) == (0, "")
        reports.append(json.loads(out))
    assert [report["parameters"]["DW"] for report in reports] == [8, 16]
    for key in ("ideal", "lanes", "mismatches", "outputs", "codes"):
        first, second = (report["layers"][0][key] for report in reports)
        assert first == second, key
    assert reports[1]["layers"][0]["mismatches"] == 0


def test_groups_on_the_rtl(capsys: pytest.CaptureFixture[str]) -> None:
    """Depthwise, dense and with codes, and grouped: the array reads each block once."""
    shapes = ["dw:16x8x8-16-3g16", "two:16x6x6-16-1g2"]
    for codes in ("0", "4"):
        status, out, _ = run(capsys, *shapes, "--codes", codes, *TINY, "--json")
        rows = json.loads(out)["layers"]
        assert status == 0 and [row["mismatches"] for row in rows] == [0, 0]
        assert [row["codes"] for row in rows] == ["4/9" if codes == "4" else "dense", "dense"]
        assert [row["macs"] for row in rows] == [16 * 64 * 9, 16 * 36 * 8]
        assert [row["ideal"] + row["lanes"] for row in rows] == [2 * 64 * 9, 2 * 36]


def test_a_slow_memory_shows_as_waiting_for_weights(capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for bandwidth in ("0", "1"):
        arguments = ("fc:64x1x1-64-1", *TINY, "--bandwidth", bandwidth, "--json")
        status, out, _ = run(capsys, *arguments)
        assert status == 0
        rows += json.loads(out)["layers"]
    assert rows[0]["ideal"] == rows[1]["ideal"] and rows[0]["lanes"] == rows[1]["lanes"]
    # All but the first tile's eighth of 4,096 weights comes at a byte a cycle meanwhile.
    assert rows[1]["weights"] > 3000 > 5 * rows[0]["weights"]


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "features.12.expand1x1:16x8x8-12-3", *TINY)
    assert status == 0
    for part in (
        "features.12.expand1x1",
        "use",
        *LOSSES,
        "0 mismatches",
        "bus of 512 bits, not the preset's 64",
    ):
        assert part in out
    assert "…" not in out


def test_a_mismatch_is_caught(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One flipped bit in a weight."""
    compile_network = bench_layers.compile_network

    def faulty(*arguments: Any, **options: Any) -> Compiled:
        compiled = compile_network(*arguments, **options)
        weights = bytearray(compiled.weights)
        weights[3] ^= 0x40
        return replace(compiled, weights=bytes(weights))

    monkeypatch.setattr(bench_layers, "compile_network", faulty)
    status, out, _ = run(capsys, "16x8x8-12-3", *TINY, "--json")
    report = json.loads(out)
    assert status == 1
    assert report["total"]["mismatches"] == report["layers"][0]["mismatches"] > 0


@pytest.mark.parametrize(("codes", "axis"), [(0, "kernel"), (4, "kernel"), (4, "channel")])
def test_the_data_says_something(codes: int, axis: str) -> None:
    """Outputs of all sizes, few at a bound; other seeds, other data."""
    config = load_config("tiny")
    for text in ("16x8x8-12-3", "16x8x8-12-1", "3x9x9-8-5"):
        shape = parse_shape(text)
        ready = prepare(shape, 1, codes, "tiny", config, 1, axis)
        assert len(np.unique(ready.golden)) > 60
        assert (abs(ready.golden) == 127).mean() < 0.1
        again = prepare(shape, 1, codes, "tiny", config, 1, axis)
        assert again.compiled == ready.compiled and np.array_equal(again.image, ready.image)
        other = prepare(shape, 1, codes, "tiny", config, 2, axis)
        assert other.compiled.weights != ready.compiled.weights


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no layers: give shapes, [name:]CxHxW-F-K[/S][pP][gG][+r]"),
        (["64x56-64-3"], "shape '64x56-64-3': expected"),
        (["--list", "vgg"], "unknown list 'vgg'; there are: resnet18"),
        (["8x8x8-8-3", "--config", "huge"], "unknown CONFIG 'huge'"),
        (
            ["8x8x8-8-3", "--set", "S=4", *TINY],
            "AXI_DATA_W = 512, S = 4: Value error, ACT_BANKS must",
        ),
        (["8x8x8-8-3", "--set", "Z=4", *TINY], "'Z=4': expected NAME=VALUE"),
        (["8x8x8-8-3", "--fewer-filters", "8", *TINY], "--fewer-filters 8: every layer"),
        (["8x8x8-8-3", "--axi", "96", *TINY], "preset tiny with AXI_DATA_W = 96"),
        (
            ["8x8x8-8-1", "--codes", "4", *TINY],
            "none of the layers can have 4 codes on --axis kernel",
        ),
        (["8x8x8-8-1", "--codes", "4", "--axis", "z", *TINY], "--axis z: unknown; valid: kernel,"),
        (["big:64x56x56-64-3", *TINY], "layer big: what must be in act mem together needs"),
        (["8x8x8-8-3p0+r", *TINY], "its residual would be 8x8, its output is 6x6"),
        (["8x16x16-8-9", *TINY], "kernel [9, 9]; 1 to 7 is supported"),
        (["8x8x8-8-5", "--codes", "17", *TINY], "17 codes; the configuration has N_MAX = 16"),
        (["8x8x8-8-3", "--sim", "vcs", *TINY], "unknown SIM 'vcs'"),
        (["8x8x8-8-3", "--codes", "-1", *TINY], "--codes"),
    ],
)
def test_bad_input(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert words in err


def test_a_second_build(capsys: pytest.CaptureFixture[str]) -> None:
    """Layers of few filters gain from row buses; the others are left out."""
    builds = ["--config", "select", "--against", "S=1", "--fewer-filters", "9", "--json"]
    status, out, _ = run(capsys, "few:32x8x8-4-1", "most:8x8x8-16-3", *builds)
    report = json.loads(out)
    other = report["against"]
    assert status == 0
    assert [row["name"] for row in report["layers"]] == ["few"]
    assert (report["parameters"]["S"], other["parameters"]["S"]) == (4, 1)
    # Four channel blocks of 64 pixels, one or four of them a step.
    steps = [part["layers"][0]["ideal"] + part["layers"][0]["lanes"] for part in (report, other)]
    assert steps == [64, 256]
    assert report["total"]["mismatches"] == other["total"]["mismatches"] == 0
    cycles = [part["total"]["cycles"] for part in (report, other)]
    assert other["gain"] == cycles[1] / cycles[0] > 1.2
