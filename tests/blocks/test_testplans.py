# SPDX-License-Identifier: Apache-2.0
"""Test plans name tests that exist and cover every contract; each check has a planted fault."""

import copy

import pytest

from verif.testplan import ROOT, load_plans, problems

SPEC = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
PLANS = load_plans()


def test_plans_are_complete() -> None:
    """Nothing is wrong with the plans."""
    assert PLANS
    assert problems(PLANS, SPEC) == []


def _first_point(plans: dict) -> dict:
    return plans["wgen.yaml"]["testpoints"][0]


def _rename_test(plans: dict, spec: str) -> str:
    _first_point(plans)["tests"] = ["verif.tb.test_wgen.Vanished"]
    return spec


def _rename_function(plans: dict, spec: str) -> str:
    _first_point(plans)["tests"] = ["tests/blocks/test_wgen.py::test_vanished"]
    return spec


def _name_no_file(plans: dict, spec: str) -> str:
    _first_point(plans)["tests"] = ["verif.tb.vanished.Corners"]
    return spec


def _name_a_base_class(plans: dict, spec: str) -> str:
    _first_point(plans)["tests"] = ["verif.tb.test_wgen.WgenTest"]
    return spec


def _name_no_contract(plans: dict, spec: str) -> str:
    _first_point(plans)["spec"] = ["WG-999"]
    return spec


def _leave_out_tests(plans: dict, spec: str) -> str:
    _first_point(plans)["tests"] = []
    return spec


def _bad_stage(plans: dict, spec: str) -> str:
    _first_point(plans)["stage"] = "V9"
    return spec


def _add_contract(plans: dict, spec: str) -> str:
    return spec + "\n| WG-998 | New. |\n"


def _repeat_contract(plans: dict, spec: str) -> str:
    return spec + "\n| WG-001 | Again. |\n"


def _drop_plan_entry(plans: dict, spec: str) -> str:
    points = plans["wgen.yaml"]["testpoints"]
    plans["wgen.yaml"]["testpoints"] = [p for p in points if p["name"] != "throughput"]
    return spec


@pytest.mark.parametrize(
    "plant, message",
    [
        (_rename_test, "test verif.tb.test_wgen.Vanished does not exist"),
        (_rename_function, "test_vanished does not exist"),
        (_name_no_file, "test verif.tb.vanished.Corners does not exist"),
        (_name_a_base_class, "test verif.tb.test_wgen.WgenTest does not exist"),
        (_name_no_contract, "no contract WG-999"),
        (_leave_out_tests, "no tests"),
        (_bad_stage, "stage V9 is none of"),
        (_add_contract, "no plan covers WG-998"),
        (_repeat_contract, "WG-001 stands there twice"),
        (_drop_plan_entry, "verif.tb.test_wgen.Throughput is in no plan"),
    ],
)
def test_planted_faults_are_found(plant, message: str) -> None:
    """Negative twins of the check."""
    plans = copy.deepcopy(PLANS)
    spec = plant(plans, SPEC)
    assert any(message in problem for problem in problems(plans, spec))
