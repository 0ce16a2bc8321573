# SPDX-License-Identifier: Apache-2.0
"""docs/api.md: its example runs, and every name in it exists."""

import importlib
import re
import shutil

import pytest

from unzipfpga.source_tree import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "examples" / "mnist").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "mnist" / "mnist.onnx", tmp_path / "examples" / "mnist")
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(compile(code, "docs/api.md", "exec"), variables)
    text = capsys.readouterr().out
    assert variables["found"].rtl_mismatches == 0 and "0 outputs of the RTL differ" in text
    assert variables["accuracy"](variables["found"].integers, variables["found"].labels) > 0.95
    assert [fit.name for fit in variables["fits"]] == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    predicted, cycles = variables["predicted"].cycles, int(variables["run"].cycles[0])
    assert predicted == pytest.approx(cycles, rel=0.05)


def test_every_function_of_the_table_is_there_and_documented():
    """Names after the first of a row are of the same module."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and "unzipfpga." in line]
    names = []
    for row in rows:
        module = ""
        for text in re.findall(r"`([^`]+)`", row.split("|")[2]):
            path = text.split("(")[0]
            if "." in path:
                module, _, path = path.rpartition(".")
            names.append((module, path))
    assert len(names) > 20
    for module, name in names:
        function = getattr(importlib.import_module(module), name)
        assert function.__doc__, name
