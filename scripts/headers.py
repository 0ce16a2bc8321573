# SPDX-License-Identifier: Apache-2.0
"""What the headers of the RTL's modules say: comments, parameters with their limits, ports."""

import re
from dataclasses import dataclass
from pathlib import Path

from unzipfpga.errors import UnzipError
from verif.runner import ROOT, core_files

LIMITS = ROOT / "rtl" / "common" / "unzip_limits.svh"


class DocsError(UnzipError):
    """A page, a source or a diagram that cannot be read or does not fit the RTL."""


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


def comment(module: str) -> list[str]:
    """Return the lines of the comment at the top of a module's source."""
    match = re.match(r"// SPDX.*\n((?://.*\n)*)", source(module))
    lines = match[1].splitlines() if match else []
    return [line.removeprefix("//").removeprefix(" ") for line in lines]
