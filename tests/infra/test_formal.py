# SPDX-License-Identifier: Apache-2.0
"""Proofs on the RTL hold, and a planted fault breaks them; the graph of gates."""

from itertools import product
from pathlib import Path

import pytest

from scripts import formal
from verif.runner import RunError, design_files

QUICK = [wanted for wanted in formal.PROOFS if wanted.quick]
OTHERS = [wanted for wanted in formal.PROOFS if not wanted.quick]
KERNEL_SUMS, KERNEL_PRODUCTS = QUICK
# (proof, file, right, planted fault)
FAULTS = [
    (
        KERNEL_PRODUCTS,
        "unzip_projector.sv",
        "{b ^ {OPERAND_W{minus}}, minus}",
        "{b ^ {OPERAND_W{minus}}, 1'b0}",
    ),
    (KERNEL_SUMS, "unzip_wgen.sv", "^(code & e1_position)", "^(code & (e1_position >> 1))"),
    (
        KERNEL_PRODUCTS,
        "unzip_projector.sv",
        "signs_q[2]), x2, signs_q[3]",
        "signs_q[2]), x2, signs_q[2]",
    ),
    (KERNEL_PRODUCTS, "unzip_wgen.sv", "^(code & e1_position)", "^(code & (e1_position >> 1))"),
]


def name_of(value: object) -> str:
    """Return a proof's name as a test id."""
    return value.name if isinstance(value, formal.Proof) else ""


@pytest.mark.parametrize("wanted", QUICK, ids=name_of)
def test_quick_proofs_hold(wanted: formal.Proof, tmp_path: Path) -> None:
    """The small ones."""
    assert formal.prove(wanted, tmp_path, seconds=600)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", OTHERS, ids=name_of)
def test_proofs_hold(wanted: formal.Proof, tmp_path: Path) -> None:
    """All others of ``make formal``."""
    assert formal.prove(wanted, tmp_path, seconds=3600)


@pytest.mark.parametrize("wanted, file, right, wrong", FAULTS, ids=name_of)
def test_a_planted_fault_breaks_a_proof(
    wanted: formal.Proof, file: str, right: str, wrong: str, tmp_path: Path
) -> None:
    """The same proof on RTL with a fault."""
    files = design_files()
    number = next(i for i, path in enumerate(files) if path.name == file)
    text = files[number].read_text(encoding="utf-8")
    assert text.count(right) == 1
    files[number] = tmp_path / file
    files[number].write_text(text.replace(right, wrong), encoding="utf-8")
    assert not formal.prove(wanted, tmp_path / "proof", files, seconds=600)


def test_a_proof_that_ends_too_early_fails(tmp_path: Path) -> None:
    """Before all weights and projections have come nothing holds."""
    early = formal.Proof("early", KERNEL_PRODUCTS.parameters, 15)
    assert not formal.prove(early, tmp_path)


def test_nothing_is_left_but_what_is_free(tmp_path: Path) -> None:
    """The result depends on alphas, activations and codes, not on the registers' first contents."""
    wanted = KERNEL_PRODUCTS
    formal.prove(wanted, tmp_path)
    module = formal.read_module(tmp_path / "gates.json")
    graph, ok = formal.unrolled(module, wanted.cycles)
    variables, gates = graph.cone(ok)
    assert len(variables) == 2 * 1 + 9 * 1 + 2 * 4
    assert len(gates) > 100


# --------------------------------------------------------------------------------------------------
# The graph
# --------------------------------------------------------------------------------------------------

TRUTH = {
    "$_AND_": lambda a, b, s: a & b,
    "$_NAND_": lambda a, b, s: 1 - (a & b),
    "$_OR_": lambda a, b, s: a | b,
    "$_NOR_": lambda a, b, s: 1 - (a | b),
    "$_XOR_": lambda a, b, s: a ^ b,
    "$_XNOR_": lambda a, b, s: 1 - (a ^ b),
    "$_ANDNOT_": lambda a, b, s: a & (1 - b),
    "$_ORNOT_": lambda a, b, s: a | (1 - b),
    "$_MUX_": lambda a, b, s: b if s else a,
    "$_NOT_": lambda a, b, s: 1 - a,
    "$_BUF_": lambda a, b, s: a,
}


@pytest.mark.parametrize("kind", TRUTH)
def test_every_gate_is_what_it_says(kind: str) -> None:
    """With constants, and with variables that are held equal to them."""
    for a, b, s in product((0, 1), repeat=3):
        graph = formal.Graph()
        assert graph.gate(kind, {"A": a, "B": b, "S": s}) == TRUTH[kind](a, b, s)
    graph = formal.Graph()
    pins = {name: graph.variable() for name in "ABS"}
    out = graph.gate(kind, pins)
    for values in product((0, 1), repeat=3):
        right = TRUTH[kind](*values)
        here = 1
        for pin, value in zip(pins.values(), values, strict=True):
            here = graph.both(here, pin ^ 1 ^ value)
        # Here, the output is right: never both here and wrong.
        assert graph.always(graph.both(here, out ^ right) ^ 1)


def test_trying_finds_the_one_choice_that_is_wrong() -> None:
    """More variables than go into one number; the very last choice counts."""
    graph = formal.Graph()
    everything = 1
    for _ in range(18):
        everything = graph.both(everything, graph.variable())
    assert not graph.always(everything ^ 1)
    with pytest.raises(RunError, match="18 variables are too many"):
        graph.always(everything, most=17)


def test_unknown_gates_are_refused() -> None:
    """A gate that the script does not know is an error."""
    with pytest.raises(RunError, match=r"gate \$_TBUF_ is not known"):
        formal.Graph().gate("$_TBUF_", {"A": 0})
