# SPDX-License-Identifier: Apache-2.0
"""The cycle model against the RTL: a sample of what `unzipfpga bench model` compares."""

import json
from dataclasses import replace

import pytest

from unzipfpga.bench.model import LAYER_CYCLES, SUITE, Case, Comparison, compare
from unzipfpga.cli import main
from unzipfpga.sim import Memory

SAMPLE = [case for case in SUITE if case.build == "base"]
MEMORIES = [Memory(0, 32), Memory(3, 100)]


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name.replace("/", "of"))
def test_within_its_bounds(case: Case) -> None:
    """2 % of a run, 5 % of a long layer; bytes and layers are those of the RTL."""
    compiled, image = case.make()
    for memory in MEMORIES:
        result = compare(case, compiled, image, memory)
        assert result.within, result
        assert list(result.layers) == [layer.name for layer in compiled.manifest.layers]


def test_bounds_are_kept() -> None:
    """Negative twin: a run or a layer that is further off is not within."""
    layers = {"short": (100, 200), "long": (LAYER_CYCLES + 1, LAYER_CYCLES + 1)}
    good = Comparison("net", "base", Memory(), 100_000, 101_900, layers)
    assert good.within and good.error == pytest.approx(0.019)
    assert good.worst_layer == ("long", 0.0)
    assert not replace(good, predicted=97_900).within
    slow = layers | {"long": (LAYER_CYCLES + 1, round(LAYER_CYCLES * 1.06))}
    assert not replace(good, layers=slow).within
    assert replace(good, layers={"short": (100, 200)}).worst_layer == ("", 0.0)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["bench", "model", *arguments])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    status, out, err = call("g4", "--bandwidth", "0", "--bandwidth", "3", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert [row["memory"]["bytes_per_cycle"] for row in report] == [0, 3]
    assert all(row["within"] and abs(row["error"]) < 0.02 for row in report)
    status, out, err = call("nothing")
    assert (status, out) == (2, "")
    assert "no program's name holds nothing" in err
