# SPDX-License-Identifier: Apache-2.0
"""``make regress``: which seeds it runs, and what it refuses."""

import pytest

from scripts import regress
from verif.runner import BLOCKS, RunError


@pytest.mark.parametrize("count", [1, 99, 100, 101, 1000])
def test_every_seed_runs_once(count: int) -> None:
    seeds = [first + k for first, number in regress.batches(count) for k in range(number)]
    assert seeds == list(range(1, count + 1))


def test_random_tests_are_those_of_blocks() -> None:
    assert set(regress.RANDOM_TESTS) == set(BLOCKS)


def test_a_failure_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Negative twin: one batch that fails makes the exit status 1, and says how to repeat it."""

    def fails(run: regress.Run) -> None:
        raise RunError(f"{run.block}: 1 of 1 tests failed\nrepeat with: SEED={run.seed}")

    monkeypatch.setattr(regress, "run_random", fails)
    monkeypatch.setattr("sys.argv", ["regress", "--random", "101"])
    assert regress.main() == 1
    out = capsys.readouterr().out
    assert out.count("FAILED") == 2 * len(regress.RANDOM_TESTS) and "SEED=101" in out


@pytest.mark.parametrize("block", regress.RANDOM_TESTS)
def test_sample(block: str) -> None:
    """Three seeds of what ``make regress RANDOM=1000`` runs."""
    assert regress.run_random(regress.Run(block, "verilator", 998, 3)).tests == 1


def test_a_failing_seed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that repeats it runs that seed alone."""

    def fails(*arguments: object, **more: object) -> None:
        raise RunError("running SEED=101\nrunning SEED=102\nMismatch\nrepeat with: SEED=101")

    monkeypatch.setattr(regress, "run_block", fails)
    with pytest.raises(RunError) as caught:
        regress.run_random(regress.Run("engine", "verilator", 101, 100))
    *_, command = str(caught.value).splitlines()
    assert str(caught.value).count("repeat with") == 1
    assert "UNZIP_ITEMS='1' make sim TOPLEVEL=engine" in command and " SEED=102 " in command


@pytest.mark.parametrize(
    "arguments", [["--random", "0"], ["--random", "many"], ["--seeds", ""], ["--jobs", "0"]]
)
def test_bad_arguments(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["regress", *arguments])
    assert regress.main() == 2
    assert capsys.readouterr().err.startswith("error: ")
