# SPDX-License-Identifier: Apache-2.0
"""Generate constants and documents from ``regs/isa.yaml`` and ``regs/unzip.rdl``.

``python scripts/generate.py`` writes SystemVerilog packages, C headers, Markdown and HTML tables
and a pyuvm register model to ``build/gen``. The simulation runner and lint call
`generate_packages` for the packages only; FuseSoC calls this file as a generator, with the name
of its own YAML file as the argument.
"""

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# FuseSoC runs this file with its own Python.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

try:
    from unzipfpga.errors import UnzipError
    from unzipfpga.isa import BitField, Isa, load_isa
except ModuleNotFoundError as error:
    sys.exit(
        f"error: Python package '{error.name}' is missing in {sys.executable}: run `make setup` in "
        "the repository and put its .venv/bin first on PATH"
    )

ROOT = Path(__file__).resolve().parents[1]
ISA_FILE = ROOT / "regs" / "isa.yaml"
RDL_FILE = ROOT / "regs" / "unzip.rdl"
PACKAGES = ("unzip_csr_pkg.sv", "unzip_isa_pkg.sv")


class GenerateError(UnzipError):
    """A register map that cannot be read, or a generator that failed."""


@dataclass
class RegisterField:
    """One field of a register; ``reset`` is None where the map gives none."""

    name: str
    lsb: int
    width: int
    reset: int | None
    access: str
    doc: str


@dataclass
class Register:
    """One register, or an array of `count` of them, `stride` bytes apart."""

    name: str
    offset: int
    count: int
    stride: int
    title: str
    doc: str
    fields: list[RegisterField]


def read_registers(path: Path) -> list[Register]:
    """Elaborate a SystemRDL file and list its registers by address.

    Raises
    ------
    GenerateError
        The file is missing or not valid SystemRDL; the compiler has printed where and why.
    """
    from systemrdl import RDLCompileError, RDLCompiler
    from systemrdl.node import AddressableNode, RegNode

    if not path.is_file():
        raise GenerateError(f"{path}: no such file")
    compiler = RDLCompiler()
    try:
        compiler.compile_file(str(path))
        top = compiler.elaborate().top
    except RDLCompileError as error:
        raise GenerateError(f"{path}: not a valid register map, see above") from error

    registers: list[Register] = []

    def walk(node: AddressableNode, prefix: str) -> None:
        for child in node.children(unroll=False):
            if not isinstance(child, AddressableNode):
                continue
            name = prefix + child.inst_name
            if not isinstance(child, RegNode):
                if child.is_array:
                    raise GenerateError(f"{path}: {name}: arrays of register files are not used")
                walk(child, name + "_")
                continue
            fields = []
            for field in child.fields():
                reset = field.get_property("reset")
                access = field.get_property("sw").name
                onwrite = field.get_property("onwrite")
                if onwrite is not None:
                    access += f", {onwrite.name}"
                if field.get_property("singlepulse"):
                    access += ", pulse"
                doc = field.get_property("desc") or ""
                fields.append(
                    RegisterField(field.inst_name, field.lsb, field.width, reset, access, doc)
                )
            registers.append(
                Register(
                    name=name,
                    offset=child.raw_absolute_address,
                    count=child.array_dimensions[0] if child.is_array else 1,
                    stride=child.array_stride if child.is_array else child.size,
                    title=child.get_property("name"),
                    doc=child.get_property("desc") or "",
                    fields=fields,
                )
            )

    walk(top, "")
    return sorted(registers, key=lambda register: register.offset)


# --------------------------------------------------------------------------------------------------
# Constants: one list of (name, value, comment) serves SystemVerilog and C
# --------------------------------------------------------------------------------------------------

Constants = list[tuple[str, int, str]]


def csr_constants(registers: list[Register]) -> Constants:
    """Return offsets, field positions, widths and reset values of the registers."""
    constants: Constants = []
    for register in registers:
        constants.append((f"{register.name}_OFFSET", register.offset, register.title))
        if register.count > 1:
            constants.append((f"{register.name}_COUNT", register.count, "registers in the array"))
            constants.append((f"{register.name}_STRIDE", register.stride, "bytes between them"))
        for field in register.fields:
            stem = f"{register.name}_{field.name}"
            constants.append((f"{stem}_LSB", field.lsb, field.doc))
            constants.append((f"{stem}_W", field.width, ""))
            if field.reset is not None:
                constants.append((f"{stem}_RESET", field.reset, ""))
    return constants


def isa_constants(isa: Isa) -> Constants:
    """Return the numbers of the instruction set."""
    constants: Constants = [
        ("ISA_VERSION", isa.version, "version of the instruction set"),
        ("ISA_MAGIC", isa.magic, "first word of a program"),
        ("INSTRUCTION_BYTES", isa.instruction_bytes, "bytes of an instruction and of the header"),
        ("TOKENS", isa.tokens, "dependency token counters"),
    ]
    groups = [("QUEUE", isa.queues), ("STAGE", isa.stages), ("MEMORY", isa.memories)]
    groups += [("BASE", isa.bases), ("OPCODE", isa.opcodes)]
    for prefix, values in groups:
        constants += [(f"{prefix}_{name}", value, "") for name, value in values.items()]
    constants += [(f"ERROR_{name}", error.code, error.doc) for name, error in isa.errors.items()]
    for group, fields in [("HEADER", isa.header), *isa.fields.items()]:
        for field in fields:
            stem = f"{group}_{field.name.upper()}"
            constants.append((f"{stem}_LSB", field.lsb, field.doc))
            constants.append((f"{stem}_W", field.width, ""))
    return constants


def sv_package(name: str, source: str, constants: Constants) -> str:
    """Return a SystemVerilog package that holds only constants, for every reader of it."""
    lines = [
        "// SPDX-License-Identifier: Apache-2.0",
        "//",
        f"// Generated from {source} by scripts/generate.py; do not edit.",
        f"package {name};",
    ]
    for key, value, doc in _unique(constants, name):
        number = str(value) if value < 2**16 else f"32'h{value:08x}"
        lines.append(f"  localparam int {key} = {number};" + (f"  // {doc}" if doc else ""))
    return "\n".join([*lines, "endpackage", ""])


def c_header(guard: str, source: str, constants: Constants) -> str:
    """Return a C header with the same constants, prefixed ``UNZIP_``."""
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        f"/* Generated from {source} by scripts/generate.py; do not edit. */",
        f"#ifndef {guard}",
        f"#define {guard}",
    ]
    for key, value, doc in _unique(constants, guard):
        lines.append(f"#define UNZIP_{key} {value:#x}u" + (f" /* {doc} */" if doc else ""))
    return "\n".join([*lines, f"#endif /* {guard} */", ""])


def _unique(constants: Constants, where: str) -> Constants:
    names = [name for name, _, _ in constants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GenerateError(f"{where}: names stand for two constants: {', '.join(twice)}")
    return constants


# --------------------------------------------------------------------------------------------------
# Documents
# --------------------------------------------------------------------------------------------------


def isa_markdown(isa: Isa) -> str:
    """Return the instruction set as Markdown tables."""
    lines = ["# Instruction set", "", "Generated from `regs/isa.yaml`.", ""]
    lines += [f"Version {isa.version}; {isa.instruction_bytes} bytes an instruction.", ""]
    for title, fields in [("Program header", isa.header), *isa.fields.items()]:
        opcode = f" (opcode {isa.opcodes[title]})" if title in isa.opcodes else ""
        lines += [f"## {title}{opcode}", "", "| bits | field | meaning |", "|---|---|---|"]
        lines += [f"| {_bits(field)} | `{field.name}` | {_cell(field.doc)} |" for field in fields]
        lines.append("")
    lines += ["## Error codes", "", "| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {e.code} | `{name}` | {_cell(e.doc)} |" for name, e in isa.errors.items()]
    return "\n".join([*lines, ""])


def csr_markdown(registers: list[Register]) -> str:
    """Return the register map as a Markdown table."""
    lines = ["# Register map", "", "Generated from `regs/unzip.rdl`.", ""]
    lines += ["| offset | register | bits | field | access | reset | meaning |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for register in registers:
        name = register.name + (f"[{register.count}]" if register.count > 1 else "")
        for field in register.fields:
            reset = "" if field.reset is None else f"{field.reset:#x}"
            text = field.doc or register.doc or register.title
            bits = f"{field.lsb + field.width - 1}:{field.lsb}"
            lines.append(
                f"| {register.offset:#05x} | `{name}` | {bits} | `{field.name}` | {field.access} "
                f"| {reset} | {_cell(text)} |"
            )
    return "\n".join([*lines, ""])


def _bits(field: BitField) -> str:
    high = field.lsb + field.width - 1
    return f"{high}:{field.lsb}" if high > field.lsb else str(high)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    """Write a file whole or not at all; leave it alone if nothing changed."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False
    ) as temporary:
        temporary.write(text)
    Path(temporary.name).chmod(0o644)
    Path(temporary.name).replace(path)
    return path


def generate_packages(directory: Path) -> list[Path]:
    """Write the SystemVerilog packages, or leave them if their sources did not change.

    Parameters
    ----------
    directory : Path
        Where they go; made if missing.

    Returns
    -------
    list of Path
        The packages, in an order in which they can be compiled.

    Raises
    ------
    UnzipError
        A source is missing or bad.
    """
    paths = [directory / name for name in PACKAGES]
    digest = hashlib.sha256()
    for source in (ISA_FILE, RDL_FILE, Path(__file__), ROOT / "src" / "unzipfpga" / "isa.py"):
        if not source.is_file():
            raise GenerateError(f"{source}: no such file")
        digest.update(source.read_bytes())
    stamp = directory / "packages.sha256"
    fresh = stamp.is_file() and stamp.read_text() == digest.hexdigest()
    if fresh and all(path.is_file() for path in paths):
        return paths
    csr = csr_constants(read_registers(RDL_FILE))
    write(paths[0], sv_package("unzip_csr_pkg", "regs/unzip.rdl", csr))
    isa = isa_constants(load_isa(ISA_FILE))
    write(paths[1], sv_package("unzip_isa_pkg", "regs/isa.yaml", isa))
    write(stamp, digest.hexdigest())
    return paths


def generate_all(directory: Path) -> list[Path]:
    """Write the packages and everything else that comes from the two sources.

    Returns
    -------
    list of Path
        All files and directories written.

    Raises
    ------
    UnzipError
        A source is missing or bad, or a PeakRDL exporter failed.
    """
    isa, registers = load_isa(ISA_FILE), read_registers(RDL_FILE)
    made = generate_packages(directory)
    made += [
        write(
            directory / "unzip_isa.h",
            c_header("UNZIP_ISA_H", "regs/isa.yaml", isa_constants(isa)),
        ),
        write(directory / "isa.md", isa_markdown(isa)),
        write(directory / "registers.md", csr_markdown(registers)),
    ]
    for exporter, name in [
        ("c-header", "unzip_regs.h"),
        ("html", "registers_html"),
        ("pyuvm", "unzip_registers_pyuvm.py"),
    ]:
        made.append(_peakrdl(exporter, directory / name))
    return made


def _peakrdl(exporter: str, output: Path) -> Path:
    command = [str(Path(sys.executable).parent / "peakrdl"), exporter, str(RDL_FILE)]
    done = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True)
    if done.returncode != 0 or not output.exists():
        raise GenerateError(f"peakrdl {exporter} failed: {done.stderr.strip()}")
    return output


def fusesoc_generator(config: Path) -> None:
    """Serve FuseSoC's generator interface: write the packages and a core that lists them.

    Parameters
    ----------
    config : Path
        The YAML file that FuseSoC passes; its ``vlnv`` names the core to write. Output goes to
        the current directory.
    """
    import yaml

    vlnv = yaml.safe_load(config.read_text(encoding="utf-8"))["vlnv"]
    paths = generate_packages(Path.cwd())
    core = {
        "name": vlnv,
        "filesets": {
            "packages": {
                "files": [path.name for path in paths],
                "file_type": "systemVerilogSource",
            }
        },
        "targets": {"default": {"filesets": ["packages"]}},
    }
    name = vlnv.replace(":", "_").strip("_")
    write(Path.cwd() / f"{name}.core", "CAPI=2:\n" + yaml.safe_dump(core, sort_keys=False))


def main() -> int:
    """Run as a FuseSoC generator if there is an argument, else write everything."""
    try:
        if len(sys.argv) > 1:
            fusesoc_generator(Path(sys.argv[1]))
        else:
            for path in generate_all(ROOT / "build" / "gen"):
                print(path.relative_to(ROOT))
    except UnzipError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
