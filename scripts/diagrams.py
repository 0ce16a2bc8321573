# SPDX-License-Identifier: Apache-2.0
"""Timing diagrams: what is driven and shown comes from a file, the levels from Icarus Verilog.

`diagrams` reads ``docs/blocks/<module>.yaml``, `draw` simulates a diagram on the RTL and has
WaveDrom draw it.
"""

import itertools
import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import wavedrom
import yaml

from scripts.headers import DocsError, header
from scripts.lint import include_flags
from verif.runner import design_files, sources_of

TIMEOUT = 120  # seconds for one diagram


@dataclass(frozen=True)
class Signal:
    """A line of a diagram.

    Attributes
    ----------
    name : str
        What stands in front of it; a port, if it is driven.
    drive : str
        WaveDrom's wave of an input: ``0 1`` bits, ``=`` the next word of `data`, ``.`` as before,
        ``x`` unknown.
    data : str
        Its words: numbers, or labels of `labels`.
    show : str
        Expression that is shown, if it is not `name`; ``dut`` is the block.
    when : str
        Expression without which there is nothing to be seen.
    radix : str
        ``d`` signed, ``u`` unsigned, ``x`` hexadecimal.
    labels : dict
        Numbers that are shown as words.
    """

    name: str
    drive: str = ""
    data: str = ""
    show: str = ""
    when: str = "1"
    radix: str = "u"
    labels: dict[str, int] = field(default_factory=dict)

    def driven(self) -> list[str]:
        """Return the value of each cycle of `drive`, as literals."""
        words = iter(str(self.data).split())
        values: list[str] = []
        for character in self.drive:
            if character == "." and values:
                values.append(values[-1])
            elif character in "01":
                values.append(character)
            elif character == "x":
                values.append("'x")
            elif character == "=":
                word = next(words, "")
                if word not in self.labels and not re.fullmatch(r"\d+|0x[0-9a-f]+", word):
                    raise DocsError(f"{self.name}: '{word}' is neither a number nor a label")
                values.append(literal(self.labels[word] if word in self.labels else int(word, 0)))
            else:
                raise DocsError(f"{self.name}: '{character}' of its wave is not understood")
        if next(words, None) is not None:
            raise DocsError(f"{self.name}: data has more words than its wave")
        return values

    def drawn(self, values: Sequence[str], valid: Sequence[str]) -> dict[str, object]:
        """Return its lane of WaveJSON from the bits that a simulation printed."""
        wave, data, before = "", [], None
        for value, seen in zip(values, valid, strict=True):
            if seen != "1" or not set(value) <= {"0", "1"}:
                now, word = "x", ""
            elif len(value) == 1 and not self.labels:
                now, word = value, ""
            else:
                now, word = "=", self.word(value)
            wave += "." if (now, word) == before else now
            if now == "=" and (now, word) != before:
                data.append(word)
            before = (now, word)
        return {"name": self.name, "wave": wave, "data": data}

    def word(self, value: str) -> str:
        """Return what stands for a value."""
        number = int(value, 2)
        for label, labelled in self.labels.items():
            if labelled == number:
                return label
        if self.radix == "x":
            return f"{number:x}"
        if self.radix == "d" and value[0] == "1":
            number -= 1 << len(value)
        return str(number)


@dataclass(frozen=True)
class Measure:
    """Cycles from `start` to `end`, or between the cycles in which `every` holds."""

    what: str
    start: str = "0"
    end: str = "0"
    every: str = "0"

    def result(self, start: Sequence[str], end: Sequence[str], every: Sequence[str]) -> str:
        """Return the sentence with its number."""
        if self.every != "0":
            hits = [cycle for cycle, value in enumerate(every) if value == "1"]
            gaps = sorted({b - a for a, b in itertools.pairwise(hits)})
            if not gaps:
                raise DocsError(f"{self.what}: '{self.every}' holds {len(hits)} times")
            said = f"every {gaps[0]} cycles" if gaps[0] > 1 else "every cycle"
            return f"{self.what}: {said if len(gaps) == 1 else f'{gaps[0]} to {gaps[-1]} cycles'}"
        if "1" not in start or "1" not in end[start.index("1") :]:
            raise DocsError(f"{self.what}: '{self.start}' to '{self.end}' does not happen")
        cycles = end[start.index("1") :].index("1")
        return f"{self.what}: {cycles} cycle{'s' if cycles != 1 else ''}"


@dataclass(frozen=True)
class Diagram:
    """What a block is given, and what of it is shown.

    Attributes
    ----------
    name : str
        Of the SVG file.
    caption : str
        What is to be seen.
    signals : list of Signal
        Lines, from the top.
    parameters, inputs : dict
        Parameters, and inputs that stay as they are; other inputs that nothing drives are 0.
    code : str
        SystemVerilog of the block's surroundings: it may drive inputs.
    measures : list of Measure
        What is measured over all cycles.
    first, cycles, run : int
        First cycle that is drawn, number of those drawn, and of those simulated (at least).
    step : int
        Cycles of a column: each shows its first one.
    hscale : int
        Width of a column.
    """

    name: str
    caption: str
    signals: list[Signal]
    parameters: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    code: str = ""
    measures: list[Measure] = field(default_factory=list)
    first: int = 0
    cycles: int = 16
    run: int = 0
    step: int = 1
    hscale: int = 1


def literal(value: int) -> str:
    """Return a number as SystemVerilog has it, whatever its size."""
    return f"{max(value.bit_length(), 1)}'h{value:x}"


def diagrams(path: Path) -> list[Diagram]:
    """Return the diagrams of a file.

    Raises
    ------
    DocsError
        The file is not YAML, or does not hold diagrams.
    """
    try:
        found = []
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            signals = [Signal(**s) for s in entry.pop("signals")]
            measures = [Measure(**m) for m in entry.pop("measures", [])]
            found.append(Diagram(signals=signals, measures=measures, **entry))
        return found
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise DocsError(f"{path.name}: {' '.join(str(error).split())}") from error


def testbench(module: str, diagram: Diagram) -> str:
    """Return a testbench that prints, for each cycle, the values of all expressions in bits.

    Raises
    ------
    DocsError
        The diagram does not fit the module.
    """
    parameters, ports = header(module)
    inputs = {port.name for port in ports if port.direction == "input"} - {"clk_i", "rst_ni"}
    driven = {signal.name: signal.driven() for signal in diagram.signals if signal.drive}
    for name in [*driven, *diagram.inputs]:
        if name not in inputs:
            raise DocsError(f"{module} has no input {name}")
    for name in diagram.parameters:
        if name not in {p.name for p in parameters if not p.local}:
            raise DocsError(f"{module} has no parameter {name}")
    lines = ["`timescale 1ns/1ps", "module diagram;"]
    for p in parameters:
        lines.append(f"  localparam int {p.name} = {diagram.parameters.get(p.name, p.default)};")
    for port in ports:
        value = f" = {literal(diagram.inputs.get(port.name, 0))}" if port.name in inputs else ""
        lines.append(f"  logic [({port.width})-1:0] {port.name}{value};")
    overrides = ", ".join(f".{p.name}({p.name})" for p in parameters if not p.local)
    overrides = f"#({overrides}) " if overrides else ""
    connections = ", ".join(f".{port.name}({port.name})" for port in ports)
    lines += [f"  {module} {overrides}dut ({connections});"]
    lines += ["  int cycle = -1;", diagram.code, "  initial begin", "    clk_i = 0;"]
    # Inputs change right after an edge; what is printed is what stands just before the next one.
    if "rst_ni" in {port.name for port in ports}:
        lines += ["    rst_ni = 0;", "    #5 clk_i = 1; #5 clk_i = 0;" * 3, "    rst_ni = 1;"]
    lines.append("    #5 clk_i = 1;")
    for cycle in range(max(diagram.run, diagram.first + diagram.cycles)):
        lines.append(f"    #1 cycle = {cycle};")
        for name, values in driven.items():
            if cycle < len(values):
                lines.append(f"    {name} = {values[cycle]};")
        lines.append("    #4 clk_i = 0; #4;")
        lines += [f'    $write("%b ", {text});' for text in expressions(diagram)]
        lines.append('    $write("\\n"); #1 clk_i = 1;')
    return "\n".join([*lines, "    $finish;", "  end", "endmodule", ""])


def expressions(diagram: Diagram) -> list[str]:
    """Return what a testbench prints in each cycle."""
    found = []
    for signal in diagram.signals:
        found += [signal.show or signal.name, f"({signal.when}) === 1'b1"]
    for measure in diagram.measures:
        found += [f"({e}) === 1'b1" for e in (measure.start, measure.end, measure.every)]
    return found


def simulate(module: str, diagram: Diagram) -> list[list[str]]:
    """Run a diagram on Icarus Verilog.

    Returns
    -------
    list of list of str
        For each of the testbench's expressions, its value in each cycle.

    Raises
    ------
    DocsError
        The simulation does not build, fails, or prints something else.
    """
    files = sources_of(module, design_files())
    with tempfile.TemporaryDirectory() as folder:
        bench = Path(folder) / "diagram.sv"
        bench.write_text(testbench(module, diagram), encoding="utf-8")
        sources = [str(path) for path in [*files, bench] if path.suffix != ".svh"]
        binary = str(Path(folder) / "diagram.vvp")
        build = ["iverilog", "-g2012", "-s", "diagram", "-o", binary, *include_flags(files)]
        for command in ([*build, *sources], ["vvp", "-n", binary]):
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT,
                cwd=folder,
            )
            if done.returncode != 0:
                raise DocsError(f"{diagram.name}: {command[0]}: {done.stdout[-2000:]}")
    rows = [line.split() for line in done.stdout.splitlines()]
    count = len(expressions(diagram))
    if not rows or any(len(row) != count or not set("".join(row)) <= set("01xz") for row in rows):
        raise DocsError(f"{diagram.name}: the simulation says: {done.stdout[-2000:]}")
    return [list(column) for column in zip(*rows, strict=True)]


def draw(module: str, diagram: Diagram) -> tuple[str, list[str]]:
    """Return a diagram as SVG, and what was measured."""
    columns = iter(simulate(module, diagram))
    part = slice(diagram.first, diagram.first + diagram.cycles, diagram.step)
    clock = {"name": "clk_i", "wave": "p" + "." * (diagram.cycles - 1)}
    signals: list[dict[str, object]] = [clock] if diagram.step == 1 else []
    for signal in diagram.signals:
        values, valid = next(columns), next(columns)
        signals.append(signal.drawn(values[part], valid[part]))
    measured = [m.result(next(columns), next(columns), next(columns)) for m in diagram.measures]
    waves = {"signal": signals, "config": {"hscale": diagram.hscale}}
    if diagram.step == 1:
        waves["head"] = {"tick": diagram.first}
    return slim(str(wavedrom.render(json.dumps(waves)).tostring())) + "\n", measured


def slim(svg: str) -> str:
    """Return an SVG without the shapes that it does not use, on white, as dark pages need it."""
    used = set(re.findall(r'href="#([\w-]+)"', svg))

    def shape(match: re.Match[str]) -> str:
        return match[0] if match[1] in used else ""

    svg = re.sub(r'<g id="([\w-]+)">(?:<(?:path|rect)[^>]*/>)*</g>', shape, svg)
    return svg.replace("</defs>", '</defs><rect fill="white" height="100%" width="100%" />', 1)
