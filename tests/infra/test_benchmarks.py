# SPDX-License-Identifier: Apache-2.0
"""``make benchmarks``: the commands of the documentation, and failures that count."""

from pathlib import Path

import pytest

from scripts import benchmarks
from unzipfpga.bench.networks import NETWORKS
from unzipfpga.source_tree import ROOT


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    return benchmarks.main()


def page(folder: Path, text: str) -> Path:
    (folder / "page.md").write_text(text, encoding="utf-8")
    return folder


def test_everything_is_measured() -> None:
    """All networks, presets and bandwidths; layers, the cycle model, the memory."""
    found = benchmarks.commands()
    assert len(found) == len(set(found))
    networks = [command for command in found if " networks" in command]
    words = " ".join(networks)
    assert all(f"--config {preset} " in words for preset in ("zc706", "zcu104"))
    whole = [c for c in networks if not any(name in c for name in NETWORKS) and "--gbps" in c]
    assert len(whole) >= 2
    assert any("--config" not in command for command in networks)  # preset bench
    for kind in ("layers", "model", "memory"):
        assert any(command.startswith(f"unzipfpga bench {kind}") for command in found), kind
    assert not any("\\" in command or "..." in command or "NAME" in command for command in found)


def test_nightly_runs_them() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    nightly = makefile.partition("\nnightly:")[2].partition("\n\n")[0]
    assert "\t$(PYTHON) -m scripts.benchmarks\n" in nightly
    workflow = (ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    assert "run: make nightly\n" in workflow


def test_blocks(tmp_path: Path) -> None:
    text = "    unzipfpga bench a\n\n<!-- nightly -->\n\n    unzipfpga bench b \\\n        --c 1\n"
    text += "    unzipfpga bench d\n\n    unzipfpga bench e\n"
    assert benchmarks.commands(page(tmp_path, text)) == [
        "unzipfpga bench b --c 1",
        "unzipfpga bench d",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing\n", "no commands"),
        ("<!-- nightly -->\ntext\n", "page.md: no commands behind"),
        ("<!-- nightly -->\n\n    rm -rf build\n", "'rm -rf build' is no benchmark"),
    ],
)
def test_bad_pages(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        benchmarks.commands(page(tmp_path, text))


def test_a_failure_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Negative twin: a bound that is missed, an unknown command; the others still run."""
    text = "<!-- nightly -->\n\n    unzipfpga bench memory --axi 64 --least 2\n"
    text += "    unzipfpga bench nothing\n    unzipfpga bench layers --help\n"
    found = benchmarks.commands(page(tmp_path, text))
    monkeypatch.setattr(benchmarks, "commands", lambda: found)
    monkeypatch.setattr(benchmarks, "BUILD", tmp_path)
    assert main(monkeypatch) == 1
    out = capsys.readouterr().out
    assert "[1/3] unzipfpga bench memory --axi 64 --least 2: FAILED with 1" in out
    assert "Throughput of LOAD and STORE" in out
    assert "[2/3] unzipfpga bench nothing: FAILED with 2" in out
    assert "[3/3] unzipfpga bench layers --help: passed" in out
    assert "benchmarks: 3 commands, 2 failed" in out
    assert main(monkeypatch, "--filter", "help") == 0


def test_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(monkeypatch, "--list") == 0
    assert capsys.readouterr().out.splitlines() == benchmarks.commands()
    assert main(monkeypatch, "--filter", "nothing like this") == 2
    assert "FILTER 'nothing like this': no command" in capsys.readouterr().err
