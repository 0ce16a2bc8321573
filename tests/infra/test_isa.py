# SPDX-License-Identifier: Apache-2.0
"""The instruction set: its file is checked, and encoding and decoding are inverse."""

import random

import pytest
import yaml

from unzipfpga import isa
from unzipfpga.isa import IsaError, load_isa


@pytest.fixture
def table():
    return yaml.safe_load(isa.default_path().read_text())


def load(tmp_path, table):
    path = tmp_path / "isa.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False))
    return load_isa(path)


def field(table, instruction, name):
    return next(f for f in table["fields"][instruction] if f["name"] == name)


def test_random_instructions_come_back():
    generator = random.Random(1)
    for name, fields in isa.isa().fields.items():
        for _ in range(50):
            values = {f.name: generator.randint(*f.limits) for f in fields[1:]}
            data = isa.encode(name, **values)
            assert len(data) == isa.isa().instruction_bytes
            assert isa.decode(data) == (name, values)


def test_every_bit_is_where_the_file_says():
    for name, fields in isa.isa().fields.items():
        for f in fields[1:]:
            high = f.limits[1]
            word = int.from_bytes(isa.encode(name, **{f.name: high}), "little")
            assert word == (high << f.lsb) | isa.isa().opcodes[name]


def test_header_comes_back():
    data = isa.encode_header(build_id=0xDEADBEEF, load_count=3)
    assert data[:4] == b"UNZP"
    values = isa.decode_header(data)
    assert (values["build_id"], values["load_count"]) == (0xDEADBEEF, 3)


def test_signed_fields(tmp_path, table):
    field(table, "COMPUTE", "clamp_lo")["signed"] = True
    fields = load(tmp_path, table).fields["COMPUTE"]
    data = isa.pack(fields, {"clamp_lo": -128}, "COMPUTE", 64)
    assert isa.unpack(fields, data)["clamp_lo"] == -128


@pytest.mark.parametrize(
    ("instruction", "values", "message"),
    [
        ("JUMP", {}, "no instruction JUMP; there are: LOAD, COMPUTE"),
        ("LOAD", {"speed": 1}, "LOAD: no field speed; there are: opcode"),
        ("LOAD", {"words": 1 << 24}, r"LOAD\.words: 16777216 is outside 0 to 16777215"),
        ("LOAD", {"words": -1}, "is outside 0 to"),
    ],
)
def test_bad_values_are_refused(instruction, values, message):
    with pytest.raises(IsaError, match=message):
        isa.encode(instruction, **values)


def test_bad_bytes_are_refused():
    with pytest.raises(IsaError, match="unknown opcode 99"):
        isa.decode(bytes([99] + [0] * 63))
    with pytest.raises(IsaError, match="64 bytes, not 63"):
        isa.decode(bytes(63))
    with pytest.raises(IsaError, match="bits outside the fields are set"):
        isa.decode(isa.encode("MARK")[:-1] + b"\x80")
    with pytest.raises(IsaError, match="magic is 0x0"):
        isa.decode_header(bytes(64))
    with pytest.raises(IsaError, match="version is 9"):
        isa.decode_header(isa.encode_header(version=9))


def test_overlapping_fields_are_refused(tmp_path, table):
    field(table, "LOAD", "base")["lsb"] -= 1
    with pytest.raises(IsaError, match="LOAD: fields memory and base overlap in bit 33"):
        load(tmp_path, table)


def test_field_outside_the_instruction_is_refused(tmp_path, table):
    field(table, "STORE", "rows")["lsb"] = 505
    with pytest.raises(IsaError, match=r"STORE\.rows: bit 512 is outside the 64 bytes"):
        load(tmp_path, table)


def test_numbers_used_twice_are_refused(tmp_path, table):
    table["opcodes"]["MARK"] = table["opcodes"]["LOAD"]
    with pytest.raises(IsaError, match="opcodes: a number is used twice"):
        load(tmp_path, table)


def test_unknown_and_missing_keys_are_named(tmp_path, table):
    field(table, "LOAD", "base")["widht"] = 3
    with pytest.raises(IsaError, match=r"fields\.LOAD\.\d+\.widht"):
        load(tmp_path, table)
    del field(table, "LOAD", "base")["widht"]
    del table["errors"]
    with pytest.raises(IsaError, match="errors: Field required"):
        load(tmp_path, table)


def test_missing_file(tmp_path):
    with pytest.raises(IsaError, match="cannot read"):
        load_isa(tmp_path / "isa.yaml")
