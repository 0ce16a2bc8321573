# SPDX-License-Identifier: Apache-2.0
"""Keep the blocks' pages true to the RTL (``make docs``).

A page, ``docs/blocks/<module>.md``, is written by hand but for what stands between
``<!-- generated: SECTION -->`` and ``<!-- end -->``:

- ``about``: the comment at the top of the module's source;
- ``timing``: diagrams and latencies. ``docs/blocks/<module>.yaml`` says what is driven and what is
  shown; Icarus Verilog says what happens, and WaveDrom draws it into an SVG file beside the page;
- ``interface``: parameters with their limits, and ports, from the source;
- ``area``: the module's rows of ``docs/area.md``;
- ``index``: all modules, in ``docs/blocks/README.md``.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import wavedrom
import yaml

from scripts import synth
from scripts.lint import include_flags
from unzipfpga.errors import UnzipError
from verif.runner import ROOT, core_files, design_files, sources_of

FOLDER = ROOT / "docs" / "blocks"
INDEX = FOLDER / "README.md"
LIMITS = ROOT / "rtl" / "common" / "unzip_limits.svh"
AREA = ROOT / "docs" / "area.md"
GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
AREAS: dict[str, str] = getattr(synth, "AREAS", {})  # modules' names in the area page
KINDS = ["LUTs", "registers", "carry", "LUT RAMs", "block RAMs", "UltraRAMs", "DSP blocks"]
TIMEOUT = 120  # seconds for one diagram
CORE = "unzip"  # the toplevel
PORTS = {  # that need no comment in the source
    "clk_i": "clock",
    "rst_ni": "synchronous reset, active low",
    "s_axil_": "AXI4-Lite",
    "m_axi_": "AXI4",
}


class DocsError(UnzipError):
    """A page, a source or a diagram that cannot be read or does not fit the RTL."""


# --------------------------------------------------------------------------------------------------
# Sources
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """A parameter of a module; `local` ones follow from the others."""

    name: str
    default: str
    local: bool
    text: str


@dataclass(frozen=True)
class Port:
    """A port of a module: direction, width as it is written, and what comments say.

    `group` is the comment line above, which counts up to the next empty line.
    """

    name: str
    direction: str
    width: str
    group: str
    text: str


def modules() -> dict[str, Path]:
    """Return the RTL's modules and their files."""
    found = {}
    for path in core_files("rtl"):
        for name in re.findall(r"^module (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = path
    return found


def source(module: str) -> str:
    """Return a module's source.

    Raises
    ------
    DocsError
        The RTL has no such module.
    """
    path = modules().get(module)
    if path is None:
        raise DocsError(f"the RTL has no module {module}")
    return path.read_text(encoding="utf-8")


def header(module: str) -> tuple[list[Parameter], list[Port]]:
    """Return a module's parameters and ports.

    Raises
    ------
    DocsError
        A line of the header is not understood.
    """
    match = re.search(rf"^module {module}\b(.*?)^\);", source(module), re.DOTALL | re.MULTILINE)
    if match is None:
        raise DocsError(f"{module}: no header found")
    parameters, ports = [], []
    group = ""
    for line in match[1].splitlines():
        code, _, comment = (part.strip() for part in line.partition("//"))
        code = code.rstrip(",")
        if not code:
            group = comment
            continue
        parameter = re.fullmatch(r"(parameter|localparam) int (\w+) += (.+)", code)
        port = re.fullmatch(r"(input|output) +logic *(?:\[ *(.+?) *: *0 *\])? *(\w+)", code)
        if parameter:
            kind, name, default = parameter.groups()
            parameters.append(Parameter(name, default, kind == "localparam", comment))
        elif port:
            direction, width, name = port.groups()
            ports.append(Port(name, direction, bits(width), group, comment))
        elif code not in ("#(", ") (", "("):
            raise DocsError(f"{module}: header line not understood: {line.strip()}")
    return parameters, ports


def bits(highest: str | None) -> str:
    """Return a port's width from the number of its highest bit."""
    if highest is None:
        return "1"
    if highest.isdigit():
        return str(int(highest) + 1)
    return highest.removesuffix("-1") if highest.endswith("-1") else f"{highest} + 1"


def limits(module: str) -> list[tuple[str, str]]:
    """Return a module's checks: the parameter of each, and what it says, with n for values."""
    macros: dict[str, list[tuple[str, str]]] = {}
    for line in LIMITS.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        macro = re.match(r"`define UNZIP_LIMIT_(\w+) ", line)
        if macro:
            macros[macro[1]] = re.findall(r'`UNZIP_REQUIRE\((\w+),.*?\(\s*"([^"]+)"', line)
    found = []
    for name, rest in re.findall(r"^  `UNZIP_LIMIT_(\w+)(.*)$", source(module), re.MULTILINE):
        values = re.match(r'\((\w+), "\w+"(?:, (\d+))?(?:, (\d+))?\)', rest)
        if name == "LOWEST" and values:
            found.append((values[1], f"{values[1]} (n) is not at least {values[2]}."))
        elif name == "RANGE" and values:
            found.append((values[1], f"{values[1]} (n) is outside {values[2]} to {values[3]}."))
        elif name == "POWER" and values:
            found.append((values[1], f"{values[1]} (n) is not a power of two of at least 2."))
        elif name in macros:
            found += macros[name]
        else:
            raise DocsError(f"{module}: check {name} is not in {LIMITS.name}")
    own = r'^  `UNZIP_REQUIRE\((\w+),.*?\(\s*"([^"]+)"'
    found += re.findall(own, source(module), re.MULTILINE | re.DOTALL)
    return [(key, said.replace("%0d", "n")) for key, said in found]


def allowed(said: str) -> str:
    """Return the values that are good, where what is said of a bad value has a simple form."""
    for pattern, result in (
        (r"\w+ \(n\) is outside (\d+) to (\d+)\.", r"\1 to \2"),
        (r"\w+ \(n\) is neither (\w+) nor (\w+)\.", r"\1 or \2"),
        (r"\w+ \(n\) is not (at least \d+)\.", r"\1"),
        (r"\w+ \(n\) is not (?:an? )((?:even|power).+)\.", r"\1"),
        (r"\w+ \(n\) is not ([0-9, or]+)\.", r"\1"),
    ):
        match = re.fullmatch(pattern, said)
        if match:
            return match.expand(result)
    return ""


# --------------------------------------------------------------------------------------------------
# Diagrams
# --------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------
# Pages
# --------------------------------------------------------------------------------------------------


def comment(module: str) -> list[str]:
    """Return the lines of the comment at the top of a module's source."""
    match = re.match(r"// SPDX.*\n((?://.*\n)*)", source(module))
    lines = match[1].splitlines() if match else []
    return [line.removeprefix("//").removeprefix(" ") for line in lines]


def about(module: str) -> str:
    """Return the comment at the top of a module's source, with a link to it."""
    path = modules()[module].relative_to(ROOT)
    lines = ["```text", *comment(module), "```"]
    return f"Source: [`{path}`](../../{path})\n\n" + "\n".join(lines) + "\n"


def interface(module: str) -> str:
    """Return the tables of a module's parameters and ports."""
    parameters, ports = header(module)
    core = {p.name: p.text for p in header(CORE)[0]}  # a build's parameters are explained there
    checks = limits(module)
    simple = {key: allowed(said) for key, said in checks if allowed(said)}
    others = [said for _, said in checks if not allowed(said)]
    lines = []
    if parameters:
        lines += ["| parameter | default | values | meaning |", "|---|---|---|---|"]
        for p in parameters:
            named = any(re.search(rf"\b{p.name}\b", said) for said in others)
            values = "follows" if p.local else simple.get(p.name, "see below" if named else "")
            text = p.text or core.get(p.name, "")
            lines.append(f"| `{p.name}` | `{p.default}` | {values} | {text} |")
        lines.append("")
        if others:
            lines += ["Elaboration also stops with these messages, values for n:", ""]
            lines += [f"- {said}" for said in others]
            lines.append("")
    lines += ["| port | | bits | meaning |", "|---|---|---|---|"]
    group = ""
    for port in ports:
        if port.group not in ("", group):
            lines.append(f"| *{port.group}* | | | |")
        group = port.group
        way = {"input": "in", "output": "out"}[port.direction]
        text = port.text or next((said for part, said in PORTS.items() if part in port.name), "")
        lines.append(f"| `{port.name}` | {way} | `{port.width}` | {text} |")
    return "\n".join(lines) + "\n"


def area(module: str) -> str:
    """Return a module's rows of the area page, one for each preset and family."""
    title = AREAS.get(module)
    rows: list[list[str]] = []
    build = ""
    columns: list[str] = []
    for line in AREA.read_text(encoding="utf-8").splitlines() if AREA.is_file() else []:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            build = line[3:]
        elif cells[0] == "block":
            columns = cells[1:]
        elif cells[0] == title:
            counts = dict(zip(columns, cells[1:], strict=True))
            rows.append([build, *(counts.get(kind, "0") for kind in KINDS)])
    if not rows:
        return "Counted with the blocks that hold it: `make synth`.\n"
    lines = [["preset, family", *KINDS], ["---", *["---:"] * len(KINDS)], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\nHow they are counted: [area.md](../area.md).\n"


def index() -> str:
    """Return the tables of all modules, by folder."""
    lines: list[str] = []
    folder = ""
    for module, path in sorted(modules().items(), key=lambda item: (str(item[1].parent), item[0])):
        if path.parent.name != folder:
            folder = path.parent.name
            lines += ["", f"`{path.parent.relative_to(ROOT)}`", "", "| block | |", "|---|---|"]
        said = " ".join(comment(module)).split(". ")[0].rstrip(".")
        said = said.split(":  ")[0].partition(" Interface:")[0]
        lines.append(f"| [`{module}`]({module}.md) | {said} |")
    return "\n".join(lines[1:]) + "\n"


def rendered(page: Path) -> dict[Path, str]:
    """Return what a page and the SVG files that belong to it should hold.

    Raises
    ------
    DocsError
        The page, or a diagram, cannot be made.
    """
    files = {}

    def timing(module: str) -> str:
        lines = []
        for diagram in diagrams(FOLDER / f"{module}.yaml"):
            svg = FOLDER / f"{diagram.name}.svg"
            files[svg], measured = draw(module, diagram)
            build = ", ".join(f"{k} = {v}" for k, v in diagram.parameters.items())
            lines += [" ".join(diagram.caption.split()) + (f" ({build})" if build else ""), ""]
            lines += [f"![Timing of {module}]({svg.name})", ""]
            lines += [f"- {said}" for said in measured]
            lines += [""] * bool(measured)
        return "\n".join(lines)

    sections = {"about": about, "timing": timing, "interface": interface, "area": area}

    def section(match: re.Match[str]) -> str:
        if page == INDEX and match[2] == "index":
            return f"{match[1]}{index()}{match[3]}"
        if match[2] not in sections:
            raise DocsError(f"{page.name}: unknown section '{match[2]}'; {', '.join(sections)}")
        return f"{match[1]}{sections[match[2]](page.stem)}{match[3]}"

    files[page] = GENERATED.sub(section, page.read_text(encoding="utf-8"))
    return files


def pages() -> list[Path]:
    """Return the pages: one for each module, and the index.

    Raises
    ------
    DocsError
        A page is missing, or there is one that no module has.
    """
    wanted = [FOLDER / f"{module}.md" for module in modules()] + [INDEX]
    for path in wanted:
        if not path.is_file():
            raise DocsError(f"docs/blocks/{path.name} is missing")
    for path in FOLDER.iterdir():
        if FOLDER / f"{path.stem}.md" not in wanted and path.suffix != ".svg":
            raise DocsError(f"docs/blocks/{path.name} belongs to no module")
    return wanted


def stale(page: Path) -> list[str]:
    """Return which of a page's files do not hold what the RTL says."""
    return [
        f"docs/blocks/{path.name} is not up to date; `make docs` writes it"
        for path, text in rendered(page).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated parts, or check them; 0: done or up to date, 1: not, 2: an error."""
    parser = argparse.ArgumentParser(prog="docs", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, say what is old")
    parser.add_argument("modules", nargs="*", help="only the pages of these modules")
    options = parser.parse_args(arguments)
    problems = []
    try:
        chosen = [FOLDER / f"{name}.md" for name in options.modules] or pages()
        for page in chosen:
            if page != INDEX:
                source(page.stem)
            if options.check:
                problems += stale(page)
                continue
            for path, text in rendered(page).items():
                path.write_text(text, encoding="utf-8")
    except (UnzipError, OSError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
