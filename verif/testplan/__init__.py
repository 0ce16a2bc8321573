# SPDX-License-Identifier: Apache-2.0
"""Test plans: what each block must show, and the tests that show it; checked by `problems`."""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("V1", "V2", "V3")


def spec_ids(text: str) -> list[str]:
    """Return the ids of the contracts in the text of ``docs/spec.md``, in order."""
    return re.findall(r"^\| ([A-Z]+-\d{3}) \|", text, re.MULTILINE)


def load_plans(directory: Path = ROOT / "verif" / "testplan") -> dict[str, Any]:
    """Return every plan of a directory, by file name."""
    return {
        path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.yaml"))
    }


def functions_of(path: Path, classes: bool) -> set[str]:
    """Return the names of a Python file's test classes (cocotb) or test functions (pytest).

    A cocotb test is a class or function decorated with ``test`` of pyuvm or cocotb.
    """
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not classes and node.name.startswith("test_"):
            names.add(node.name)
        if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef) and classes:
            decorators = [ast.unparse(d).split("(")[0] for d in node.decorator_list]
            if {"pyuvm.test", "cocotb.test"} & set(decorators):
                names.add(node.name)
    return names


def test_exists(name: str, root: Path = ROOT) -> bool:
    """Say whether a test named in a plan exists: ``module.Class`` or ``file::function``."""
    if "::" in name:
        file, function = name.split("::")
        path = root / file
        return path.is_file() and function in functions_of(path, classes=False)
    module, _, test = name.rpartition(".")
    path = root / (module.replace(".", "/") + ".py")
    return path.is_file() and test in functions_of(path, classes=True)


def problems(
    plans: Mapping[str, Any], spec: str, benches: Sequence[Path] | None = None, root: Path = ROOT
) -> list[str]:
    """Return what is wrong with the plans, one line each; an empty list if nothing.

    Parameters
    ----------
    plans : mapping of str to plan
        As `load_plans` returns them.
    spec : str
        Text of ``docs/spec.md``.
    benches : sequence of Path, optional
        Files whose cocotb tests must all be in a plan (negative twins, named ``Twin...``, need
        not); those of ``verif/tb`` if not given.
    root : Path
        Directory that test names are relative to.
    """
    found = []
    ids = spec_ids(spec)
    found += [f"spec: {name} stands there twice" for name in {i for i in ids if ids.count(i) > 1}]
    covered: set[str] = set()
    named: set[str] = set()
    for file, plan in plans.items():
        for point in plan["testpoints"]:
            where = f"{file}: {point.get('name')}"
            for key in ("name", "behaviour", "stage", "spec", "tests"):
                if not point.get(key):
                    found.append(f"{where}: no {key}")
            if point.get("stage") not in STAGES:
                found.append(f"{where}: stage {point.get('stage')} is none of {', '.join(STAGES)}")
            covered |= set(point.get("spec") or [])
            named |= set(point.get("tests") or [])
            found += [f"{where}: no contract {i}" for i in point.get("spec") or [] if i not in ids]
            for test in point.get("tests") or []:
                if not test_exists(test, root):
                    found.append(f"{where}: test {test} does not exist")
    found += [f"spec: no plan covers {i}" for i in ids if i not in covered]
    for path in sorted((root / "verif" / "tb").glob("test_*.py")) if benches is None else benches:
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        for test in sorted(functions_of(path, classes=True)):
            if not test.startswith("Twin") and f"{module}.{test}" not in named:
                found.append(f"{module}.{test} is in no plan")
    return found
