# SPDX-License-Identifier: Apache-2.0
"""Generated constants: complete, equal to their sources, and readable by every tool."""

import re
import subprocess

import pytest

from scripts import generate, lint
from unzipfpga.isa import load_isa


def constants(path):
    """Return name -> value of a generated package or header, parsed by other means."""
    pattern = r"(?:localparam int|#define UNZIP_) ?(\w+) (?:= )?(?:32'h)?(0x)?([0-9a-f]+)"
    values = {}
    for line in path.read_text().splitlines():
        match = re.match(r"\s*" + pattern, line)
        if match:
            hexadecimal = match[2] or "32'h" in line
            values[match[1]] = int(match[3], 16 if hexadecimal else 10)
    return values


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gen")
    generate.generate_all(folder)
    return folder


def test_isa_package_holds_the_instruction_set(made):
    values = constants(made / "unzip_isa_pkg.sv")
    isa = load_isa()
    assert values["ISA_MAGIC"] == isa.magic
    for name, code in isa.opcodes.items():
        assert values[f"OPCODE_{name}"] == code
        for field in isa.fields[name]:
            assert values[f"{name}_{field.name.upper()}_LSB"] == field.lsb
            assert values[f"{name}_{field.name.upper()}_W"] == field.width
    assert {n for n in values if n.startswith("ERROR_")} == {f"ERROR_{n}" for n in isa.errors}


def test_csr_package_holds_the_register_map(made):
    values = constants(made / "unzip_csr_pkg.sv")
    assert values["ID_OFFSET"] == 0
    assert values["ID_VALUE_RESET"] == 0x505A4E55
    assert values["PROGRAM_BASE_HI_OFFSET"] == values["PROGRAM_BASE_LO_OFFSET"] + 4
    # The register file is repeated: each instance has its own address.
    assert values["OUTPUT_BASE_LO_OFFSET"] != values["INPUT_BASE_LO_OFFSET"]


def test_c_headers_agree_and_compile(made):
    assert constants(made / "unzip_isa.h") == constants(made / "unzip_isa_pkg.sv")
    source = made / "use.c"
    source.write_text(
        '#include "unzip_isa.h"\n#include "unzip_regs.h"\n'
        "unsigned magic(void) { return UNZIP_ISA_MAGIC; }\n"
    )
    subprocess.run(
        ["g++", "-x", "c", "-std=c11", "-Wall", "-Werror", "-I", made, "-c", source, "-o",
         made / "use.o"], check=True,
    )  # fmt: skip


def test_packages_are_read_by_every_tool(made):
    user = made / "user.sv"
    user.write_text(
        "module user (\n    output logic [31:0] magic_o,\n    output logic [7:0] load_o\n);\n"
        "  assign magic_o = 32'(unzip_isa_pkg::ISA_MAGIC);\n"
        "  assign load_o  = 8'(unzip_isa_pkg::OPCODE_LOAD + unzip_csr_pkg::ID_OFFSET);\n"
        "endmodule\n"
    )
    files = [*(made / name for name in generate.PACKAGES), user]
    for check in (lint.verilator_lint, lint.icarus_lint, lint.yosys_lint):
        assert check("user", files, {}) == ""


def test_documents_and_models_exist(made):
    assert "| 39:32 |" not in (made / "isa.md").read_text()
    assert "`post_signal`" in (made / "isa.md").read_text()
    assert "`IRQ_STATE`" in (made / "registers.md").read_text()
    assert (made / "registers_html" / "index.html").is_file()
    compile((made / "unzip_registers_pyuvm.py").read_text(), "model", "exec")


def test_nothing_is_rewritten_without_need(made):
    paths = generate.generate_packages(made)
    before = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in generate.generate_packages(made)] == before
    paths[0].unlink()
    assert generate.generate_packages(made)[0].is_file()


def test_a_bad_register_map_is_an_error(tmp_path):
    path = tmp_path / "bad.rdl"
    path.write_text("addrmap x { reg { field {} A[1:0]; field {} B[1:1]; } R @ 0; };")
    with pytest.raises(generate.GenerateError, match="not a valid register map"):
        generate.read_registers(path)
    with pytest.raises(generate.GenerateError, match="no such file"):
        generate.read_registers(tmp_path / "none.rdl")


def test_two_constants_of_one_name_are_an_error():
    with pytest.raises(generate.GenerateError, match="names stand for two constants: A_LSB"):
        generate.sv_package("p", "s", [("A_LSB", 1, ""), ("A_LSB", 2, "")])
