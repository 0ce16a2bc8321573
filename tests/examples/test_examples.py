# SPDX-License-Identifier: Apache-2.0
"""The examples: agreement with floating point, and every output of the RTL the golden model's."""

import importlib
import json

import numpy as np
import pytest

from tests.fetching import fetched
from tests.refmodel import quantised_runtime
from unzipfpga.data.wheel import FetchError
from unzipfpga.frontend import read_converted
from unzipfpga.frontend.layout import as_stored
from unzipfpga.sim import NetworkRun
from unzipfpga.source_tree import ROOT
from verif.refmodel.model import load


@pytest.fixture(autouse=True)
def search_path(monkeypatch):
    """As when a script is run: its directory is searched first."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


@pytest.fixture
def end_to_end():
    return importlib.import_module("end_to_end")


@pytest.fixture
def report(end_to_end, capsys, tmp_path):
    """Function that runs an example and returns its report: rows by variant."""

    def run(network, *arguments):
        example = importlib.import_module(f"run_{network}").EXAMPLE
        output = ("--output", str(tmp_path), "--json")
        try:
            mismatches = end_to_end.run(example, "", [*map(str, arguments), *output])
        except FetchError as error:
            pytest.skip(str(error))
        found = json.loads(capsys.readouterr().out)
        assert found["network"] == network
        assert mismatches == sum(row["mismatches"] or 0 for row in found["variants"])
        return {row["name"]: row for row in found["variants"]}

    return run


def test_agreement_of_known_outputs(end_to_end):
    wanted = np.array([[3.0, 4], [4, 3], [1, 2]], np.float32)
    same = end_to_end.agreement(wanted * np.float32(0.5), wanted, False)
    assert same.cosine_least == pytest.approx(1) and same.top1 == 1
    assert same.snr_db == pytest.approx(10 * np.log10(4))
    assert end_to_end.agreement(wanted, wanted, True).snr_db == float("inf")
    found = np.array([[4.0, 3], [4, 3], [0, 0]], np.float32)
    other = end_to_end.agreement(found, wanted, False)
    assert other.cosine_least == 0
    assert other.cosine_mean == pytest.approx((24 / 25 + 1) / 3)
    assert other.snr_db == pytest.approx(10 * np.log10(55 / 7))
    assert other.top1 == pytest.approx(1 / 3)
    # As descriptors: the first is nearest to the second's, the last to its own.
    assert end_to_end.agreement(found, wanted, True).top1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(("network", "codes"), [("mnist", 9), ("face", None), ("nsfw", None)])
def test_agrees_with_floating_point(network, codes, report, tmp_path):
    """And every layer agrees with ONNX Runtime's quantised operators, see `tests/refmodel`."""
    given = ["--codes"] if codes is None else ["--codes", codes]
    rows = report(network, "--rtl", 0, "--photographs", 20, *given)
    for row in rows.values():
        assert row["cosine_least"] >= 0.995 and row["top1"] == 1
        assert row["convert_seconds"] < 60 and row["compile_seconds"] < 30
        assert row["mismatches"] is None and row["cycles"] is None
    images = importlib.import_module(f"run_{network}").EXAMPLE.images(2)
    for name in ("dense", *([] if codes is None else [f"ovsf{codes}"])):
        path = tmp_path / f"{name}.onnx"
        converted = read_converted(path)
        stored = as_stored(images, converted.preprocess)
        quantised_runtime.check_layers(load(path), converted, stored)


def test_digits_in_rtl(report):
    rows = report("mnist", "--config", "base", "--photographs", 10, "--rtl", 2, "--codes", 4)
    for row in rows.values():
        assert (row["outputs"], row["mismatches"]) == (20, 0)
        assert abs(row["cycles"] - row["predicted_cycles"]) < 0.01 * row["cycles"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mnist", "face", "nsfw"])
def test_in_rtl(network, report):
    rows = report(network)
    assert len(rows) == 3
    for row in rows.values():
        assert row["outputs"] > 0 and row["mismatches"] == 0
        assert abs(row["cycles"] - row["predicted_cycles"]) < 0.01 * row["cycles"]
    dense = rows["dense int8"]
    assert dense["cosine_least"] >= 0.995
    assert rows["OVSF n=9 of 9"]["snr_db"] >= dense["snr_db"] - 0.5


def test_reference_of_the_thin_resnet_is_in_front_of_its_softmax(tmp_path):
    example = importlib.import_module("run_nsfw").EXAMPLE
    path = fetched(example.write_model, tmp_path / "float.onnx")
    images = example.images(2)
    logits = example.reference(path, images).astype(np.float64)
    wanted = importlib.import_module("end_to_end").float_outputs(path, images)
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(odds, wanted, rtol=1e-4)


def planted(end_to_end, monkeypatch, fault):
    """Let the simulation return the golden model's outputs plus a fault."""

    def simulate(_compiled, images, _what, **_options):
        outputs = golden["outputs"][: len(images)].copy()
        outputs[0, 1] += fault
        return NetworkRun(outputs, [{"CYCLES": 1}] * len(images), [], 1.0)

    golden = {}

    def golden_outputs(path, images):
        golden["outputs"] = original(path, images)
        return golden["outputs"]

    original = end_to_end.golden_outputs
    monkeypatch.setattr(end_to_end, "golden_outputs", golden_outputs)
    monkeypatch.setattr(end_to_end, "simulate", simulate)


@pytest.mark.parametrize("fault", [0, 1])
def test_a_wrong_output_fails(fault, end_to_end, monkeypatch, report):
    """Negative twin: one wrong step of one output of the RTL is counted, and the script fails."""
    planted(end_to_end, monkeypatch, fault)
    rows = report("mnist", "--photographs", 2, "--rtl", 2, "--codes")
    assert rows["dense int8"]["mismatches"] == fault


def test_exit_status(end_to_end, monkeypatch, tmp_path, capsys):
    example = importlib.import_module("run_mnist").EXAMPLE
    base = ["run_mnist.py", "--output", str(tmp_path), "--photographs", "2", "--codes"]
    planted(end_to_end, monkeypatch, 3)
    monkeypatch.setattr("sys.argv", [*base, "--rtl", "1"])
    with pytest.raises(SystemExit) as caught:
        end_to_end.main(example, "")
    assert caught.value.code == 1
    assert "1 outputs differ" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*base, "--rtl", "3"])
    with pytest.raises(SystemExit) as caught:
        end_to_end.main(example, "")
    assert caught.value.code == 2
    assert "error: --photographs 2, --rtl 3" in capsys.readouterr().err
