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
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.diagrams import diagrams, draw
from scripts.headers import DocsError, allowed, comment, header, limits, modules, source
from scripts.synth import AREAS, CLASSES
from scripts.synth import DOCUMENT as AREA
from unzipfpga.errors import UnzipError
from verif.runner import ROOT

FOLDER = ROOT / "docs" / "blocks"
INDEX = FOLDER / "README.md"
GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
CORE = "unzip"  # the toplevel
PORTS = {  # that need no comment in the source
    "clk_i": "clock",
    "rst_ni": "synchronous reset, active low",
    "s_axil_": "AXI4-Lite",
    "m_axi_": "AXI4",
}


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
            rows.append([build, *(counts.get(kind, "0") for kind in CLASSES)])
    if title is None:
        return "Counted with the blocks that hold it: `make synth`.\n"
    if not rows:
        return "`make synth` counts it.\n"
    lines = [["preset, family", *CLASSES], ["---", *["---:"] * len(CLASSES)], *rows]
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
