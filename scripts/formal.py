# SPDX-License-Identifier: Apache-2.0
"""Prove on the RTL that both domains give the same integers (``make formal``).

``verif/formal/formal_domains.sv`` feeds one filter's alphas to the weights generator and one
pixel's activations to the projector. Yosys makes gates of it. They are copied for as many cycles as
the two blocks need, from any contents of the registers on; constants are folded on the way, so that
nothing is left of the control. Two kinds of statements are then shown:

- sums: all weights and projections are what defines them, for all alphas and activations of 8 bits
  and all lists; by Yosys's SAT solver, after ABC has merged what is equal inside.
- products: activations times weights and alphas times projections have the same sum, for all alphas
  and activations of few bits and all lists; by evaluating the gates for all of them, as products
  are too hard for a SAT solver.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.synth import reading, run_yosys
from unzipfpga.errors import UnzipError
from verif.runner import BUILD, ROOT, RunError, design_files, sources_of

TOP = "formal_domains"
HARNESS = ROOT / "verif" / "formal" / f"{TOP}.sv"
GATES = (
    "proc",
    "flatten",
    "opt -full",
    "memory",
    "opt -full",
    "techmap",
    "opt -full",
    "simplemap",
    "dfflegalize -cell $_DFF_P_ x",
    "opt_clean -purge",
)


@dataclass(frozen=True)
class Proof:
    """A statement of the harness: its parameters, and how many cycles it takes.

    Attributes
    ----------
    name : str
        What is printed.
    parameters : dict of str to int
        Of the harness.
    cycles : int
        Cycle in which all weights and projections have come.
    lists : tuple of tuple of int
        Lists of codes to be tried one by one; none: all lists at once.
    quick : bool
        Part of ``make test``.
    """

    name: str
    parameters: dict[str, int]
    cycles: int
    lists: tuple[tuple[int, ...], ...] = ()
    quick: bool = False


def proof(
    channel: int, codes: int, bits: int, products: int, lists: int = 0, quick: bool = False
) -> Proof:
    """Return a proof with a name that says what it is about; `lists`: how many lists it tries."""
    axis = "channels" if channel else "kernel"
    what = "products" if products else "sums"
    parameters = {"CHANNEL": channel, "N": codes, "BITS": bits, "PRODUCTS": products}
    name = f"{axis}, n = {codes}: {what} of {bits} bits"
    tried = tuple(tuple((k + 5 * place) % 16 for place in range(codes)) for k in range(lists))
    return Proof(name + (f", {lists} lists" if lists else ""), parameters, CYCLES, tried, quick)


CYCLES = 34  # until all weights and projections have come
PROOFS = [
    proof(0, 1, 8, 0),
    proof(0, 2, 7, 0, quick=True),  # two alphas of 7 bits make a weight of 8
    proof(1, 2, 7, 0, lists=16),  # each code first and second
    proof(0, 2, 1, 1, quick=True),
    proof(0, 1, 2, 1),
    proof(0, 2, 2, 1, lists=16),
    proof(1, 2, 1, 1, lists=16),
]


# --------------------------------------------------------------------------------------------------
# Gates, unrolled
# --------------------------------------------------------------------------------------------------


@dataclass
class Graph:
    """AND gates and inverters. A literal is twice its node's number, plus 1 if it is inverted.

    Node 0 is false; constants and equal gates are folded.

    Attributes
    ----------
    inputs : list of int
        Literals of the free variables.
    gates : dict of (int, int) to int
        Literal of each AND of two literals.
    """

    inputs: list[int] = field(default_factory=list)
    gates: dict[tuple[int, int], int] = field(default_factory=dict)
    nodes: int = 1

    def variable(self) -> int:
        """Return a new free variable."""
        self.inputs.append(2 * self.nodes)
        self.nodes += 1
        return self.inputs[-1]

    def both(self, a: int, b: int) -> int:
        """Return a AND b."""
        a, b = min(a, b), max(a, b)
        if a == 0 or a == b ^ 1:
            return 0
        if a == 1 or a == b:
            return b
        if (a, b) not in self.gates:
            self.gates[a, b] = 2 * self.nodes
            self.nodes += 1
        return self.gates[a, b]

    def either(self, a: int, b: int) -> int:
        """Return a OR b."""
        return self.both(a ^ 1, b ^ 1) ^ 1

    def choose(self, select: int, one: int, zero: int) -> int:
        """Return `one` if `select`, else `zero`."""
        if one == zero:
            return one
        return self.either(self.both(select, one), self.both(select ^ 1, zero))

    def gate(self, kind: str, pins: Mapping[str, int]) -> int:
        """Return the output of one of Yosys's gates."""
        a, b = pins["A"], pins.get("B", 0)
        inverted = kind in ("$_NOT_", "$_NAND_", "$_NOR_", "$_XNOR_")
        if kind in ("$_NOT_", "$_BUF_"):
            out = a
        elif kind in ("$_AND_", "$_NAND_"):
            out = self.both(a, b)
        elif kind in ("$_OR_", "$_NOR_"):
            out = self.either(a, b)
        elif kind in ("$_XOR_", "$_XNOR_"):
            out = self.choose(a, b ^ 1, b)
        elif kind == "$_ANDNOT_":
            out = self.both(a, b ^ 1)
        elif kind == "$_ORNOT_":
            out = self.either(a, b ^ 1)
        elif kind == "$_MUX_":
            out = self.choose(pins["S"], b, a)
        else:
            raise RunError(f"gate {kind} is not known")
        return out ^ inverted

    def cone(self, output: int) -> tuple[list[int], list[tuple[int, int, int]]]:
        """Return the free variables and the gates that a literal depends on, inputs first.

        Returns
        -------
        list of int
            Literals of the variables.
        list of (int, int, int)
            Literal of each gate, and of its two inputs.
        """
        pins = {literal: gate for gate, literal in self.gates.items()}
        seen, waiting = set(), [output & ~1]
        while waiting:
            literal = waiting.pop()
            if literal not in seen:
                seen.add(literal)
                waiting += [pin & ~1 for pin in pins.get(literal, ())]
        gates = [(literal, *pins[literal]) for literal in sorted(seen) if literal in pins]
        return [literal for literal in self.inputs if literal in seen], gates

    def always(self, output: int, most: int = 32) -> bool:
        """Return whether a literal is 1 for all values of its variables, by trying them.

        Raises
        ------
        RunError
            There are more than `most` variables.
        """
        variables, gates = self.cone(output)
        if len(variables) > most:
            raise RunError(f"{len(variables)} variables are too many to try")
        # Bit k of a number belongs to the k-th choice of the first variables.
        inner = variables[:15]
        ones = (1 << (1 << len(inner))) - 1
        value = {0: 0}
        for k, literal in enumerate(inner):
            half = 1 << k
            period = ((1 << half) - 1) << half
            value[literal] = period * (ones // ((1 << (2 * half)) - 1))
        for choice in range(1 << len(variables[15:])):
            for k, literal in enumerate(variables[15:]):
                value[literal] = ones if choice >> k & 1 else 0
            for literal, a, b in gates:
                left = value[a] if not a & 1 else value[a ^ 1] ^ ones
                value[literal] = left & (value[b] if not b & 1 else value[b ^ 1] ^ ones)
            if value[output & ~1] != (0 if output & 1 else ones):
                return False
        return True

    def aiger(self, output: int) -> str:
        """Return the graph with one output, in ASCII AIGER."""
        variables, gates = self.cone(output)
        number = {0: 0}
        for k, literal in enumerate([*variables, *(gate[0] for gate in gates)], start=1):
            number[literal] = 2 * k

        def text(literal: int) -> int:
            return number[literal & ~1] | literal & 1

        lines = [f"aag {len(number) - 1} {len(variables)} 0 1 {len(gates)}"]
        lines += [str(text(literal)) for literal in variables]
        lines += [str(text(output))]
        lines += [" ".join(str(text(literal)) for literal in gate) for gate in gates]
        names = [f"i{k} i{k}" for k in range(len(variables))]
        return "\n".join([*lines, *names, "o0 ok"]) + "\n"


def ordered_gates(cells: Iterable[Mapping[str, Any]], known: set[Any]) -> list[Any]:
    """Return gates such that each comes after those that drive its inputs."""
    driver = {cell["connections"]["Y"][0]: cell for cell in cells}
    done, order = set(known), []
    for start in driver:
        stack = [start]
        while stack:
            bit = stack[-1]
            if bit in done:
                stack.pop()
                continue
            pins = driver[bit]["connections"]
            waits = [pins[pin][0] for pin in pins if pin != "Y" and pins[pin][0] not in done]
            if waits:
                if len(stack) > len(driver):
                    raise RunError("a loop of gates")
                if any(bit not in driver for bit in waits):
                    raise RunError(f"net {waits} has no driver")
                stack += waits
            else:
                order.append(driver[bit])
                done.add(bit)
                stack.pop()
    return order


def read_module(netlist: Path) -> dict[str, Any]:
    """Return the harness from a netlist that Yosys wrote."""
    module: dict[str, Any] = json.loads(netlist.read_text(encoding="utf-8"))["modules"][TOP]
    return module


def unrolled(
    module: Mapping[str, Any], cycles: int, codes: Sequence[int] = ()
) -> tuple[Graph, int]:
    """Copy a module's gates for some cycles; return the graph and `ok_o` in the last of them.

    Registers hold anything in the first cycle, but for `cycle_q`, which is 0; inputs are free in
    every cycle, but for the list, if there is one.
    """
    graph = Graph()
    cells = module["cells"].values()
    flops = [cell["connections"] for cell in cells if cell["type"] == "$_DFF_P_"]
    gates = [cell for cell in cells if cell["type"] not in ("$_DFF_P_", "$scopeinfo")]
    constants: dict[Any, int] = {"0": 0, "1": 1, "x": 0, "z": 0}
    free = [
        bit
        for port in module["ports"].values()
        if port["direction"] == "input"
        for bit in port["bits"]
    ]
    packed = sum(code << (4 * k) for k, code in enumerate(codes))
    fixed = {
        bit: packed >> k & 1 for k, bit in enumerate(module["ports"]["codes_i"]["bits"]) if codes
    }
    states = [flop["Q"][0] for flop in flops]
    order = ordered_gates(gates, {*constants, *free, *states})
    counter = set(module["netnames"]["cycle_q"]["bits"])
    state = {bit: 0 if bit in counter else graph.variable() for bit in states}
    for _ in range(cycles + 1):
        values = constants | state | {bit: graph.variable() for bit in free} | fixed
        for cell in order:
            pins = {pin: values[bits[0]] for pin, bits in cell["connections"].items() if pin != "Y"}
            values[cell["connections"]["Y"][0]] = graph.gate(cell["type"], pins)
        state = {flop["Q"][0]: values[flop["D"][0]] for flop in flops}
    return graph, values[module["ports"]["ok_o"]["bits"][0]]


# --------------------------------------------------------------------------------------------------
# Proofs
# --------------------------------------------------------------------------------------------------


def prove(
    wanted: Proof, folder: Path, files: Sequence[Path] | None = None, seconds: int = 3600
) -> bool:
    """Run a proof.

    Parameters
    ----------
    wanted : Proof
        What is to be shown.
    folder : Path
        For what comes in between.
    files : sequence of Path, optional
        HDL files; the project's own if not given.
    seconds : int
        Limit of the solver.

    Returns
    -------
    bool
        Whether it holds.

    Raises
    ------
    RunError
        Yosys refused the design, or the solver did not come to an end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = sources_of(TOP, [*(design_files() if files is None else files), HARNESS])
    values = " ".join(f"-chparam {name} {value}" for name, value in wanted.parameters.items())
    netlist = folder / "gates.json"
    elaborate = f"hierarchy -check -top {TOP} {values}"
    # Bits of undefined value are such that nothing may depend on them: any variable does.
    run_yosys(
        [reading(chosen), elaborate, *GATES, f"rename -top {TOP}", f"write_json {netlist}"],
        folder / "gates.log",
    )
    module = read_module(netlist)
    if not wanted.lists:
        return shown(wanted, *unrolled(module, wanted.cycles), folder, seconds)
    return all(
        shown(wanted, *unrolled(module, wanted.cycles, codes), folder, seconds)
        for codes in wanted.lists
    )


def shown(wanted: Proof, graph: Graph, ok: int, folder: Path, seconds: int) -> bool:
    """Return whether a literal is always 1; arguments as for `prove`."""
    if ok <= 1:
        return ok == 1
    if wanted.parameters["PRODUCTS"]:
        return graph.always(ok)
    problem = folder / "problem.aag"
    problem.write_text(graph.aiger(ok))
    log = folder / "proof.log"
    run_yosys(
        [
            f"read_aiger -module_name problem {problem}",
            "opt_clean",
            "abc -g AND,XOR,MUX",
            "opt_clean",
            f"sat -prove ok 1 -timeout {seconds} problem",
        ],
        log,
    )
    said = log.read_text()
    if "SUCCESS!" in said:
        return True
    if "model found: FAIL!" in said:
        return False
    raise RunError(f"{wanted.name}: the solver came to no end\nlog: {log}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proofs; 0: all hold, 1: not, 2: an error."""
    parser = argparse.ArgumentParser(prog="formal", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=3600, help="limit of the solver, each proof")
    options = parser.parse_args(arguments)
    wrong = 0
    try:
        for number, wanted in enumerate(PROOFS):
            start = time.monotonic()
            holds = prove(wanted, BUILD / "formal" / str(number), seconds=options.seconds)
            wrong += not holds
            said = "proved" if holds else "WRONG"
            print(f"{wanted.name:<40} {said}  {time.monotonic() - start:.0f} s", flush=True)
    except (UnzipError, RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
