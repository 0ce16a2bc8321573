# SPDX-License-Identifier: Apache-2.0
"""The instruction set, read from its one source, ``regs/isa.yaml``."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from unzipfpga.errors import UnzipError

Constant = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
Natural = Annotated[int, Field(ge=0)]


class IsaError(UnzipError):
    """A bad instruction set file, or a value that does not fit its field."""


class BitField(BaseModel):
    """One field of an instruction or of the program header.

    ``lsb`` is the number of its lowest bit, counted from bit 0 of byte 0 (little endian), and
    ``width`` its number of bits. A ``signed`` field holds two's complement.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    lsb: Natural
    width: Annotated[int, Field(ge=1)]
    signed: bool = False
    doc: str

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest value that the field holds."""
        if self.signed:
            return -(1 << (self.width - 1)), (1 << (self.width - 1)) - 1
        return 0, (1 << self.width) - 1


class ErrorCode(BaseModel):
    """One value of the error code register."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: Annotated[int, Field(ge=0, le=255)]
    doc: str


class Isa(BaseModel):
    """The contents of ``regs/isa.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    version: Annotated[int, Field(ge=1)]
    magic: Annotated[int, Field(ge=0, lt=2**32)]
    instruction_bytes: Annotated[int, Field(ge=1)]
    tokens: Annotated[int, Field(ge=1)]
    header: list[BitField]
    queues: dict[Constant, Natural]
    stages: dict[Constant, Natural]
    memories: dict[Constant, Natural]
    bases: dict[Constant, Natural]
    opcodes: dict[Constant, Natural]
    fields: dict[Constant, list[BitField]]
    errors: dict[Constant, ErrorCode]

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Check that fields fit, do not overlap, and that numbers are not used twice."""
        if set(self.fields) != set(self.opcodes):
            names = ", ".join(sorted(set(self.fields) ^ set(self.opcodes)))
            raise ValueError(f"opcodes and fields do not name the same instructions: {names}")
        for group, fields in [("header", self.header), *self.fields.items()]:
            self._check_fields(group, fields)
        codes = {name: error.code for name, error in self.errors.items()}
        groups = [("queues", self.queues), ("stages", self.stages), ("bases", self.bases)]
        groups += [("memories", self.memories), ("opcodes", self.opcodes), ("errors", codes)]
        for group, values in groups:
            if len(set(values.values())) != len(values):
                raise ValueError(f"{group}: a number is used twice: {values}")
        for name, fields in self.fields.items():
            first = fields[0]
            if (first.name, first.lsb, first.width) != ("opcode", 0, 8):
                raise ValueError(f"{name}: the first field must be opcode, lsb 0, width 8")
        return self

    def _check_fields(self, group: str, fields: list[BitField]) -> None:
        taken: dict[int, str] = {}
        names: set[str] = set()
        for field in fields:
            if field.name in names:
                raise ValueError(f"{group}: field {field.name} stands there twice")
            names.add(field.name)
            for bit in range(field.lsb, field.lsb + field.width):
                if bit >= 8 * self.instruction_bytes:
                    raise ValueError(
                        f"{group}.{field.name}: bit {bit} is outside the "
                        f"{self.instruction_bytes} bytes of an instruction"
                    )
                if bit in taken:
                    raise ValueError(
                        f"{group}: fields {taken[bit]} and {field.name} overlap in bit {bit}"
                    )
                taken[bit] = field.name


def default_path() -> Path:
    """Return the path of the repository's ``regs/isa.yaml``.

    Raises
    ------
    IsaError
        There is none above this file: the package was installed without the repository.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "regs" / "isa.yaml").is_file():
            return folder / "regs" / "isa.yaml"
    raise IsaError("regs/isa.yaml not found: run from a checkout of the repository")


def load_isa(path: Path | None = None) -> Isa:
    """Read and check an instruction set file.

    Parameters
    ----------
    path : Path, optional
        The YAML file; the repository's ``regs/isa.yaml`` if not given.

    Raises
    ------
    IsaError
        It is missing, not valid YAML, or breaks a rule: an unknown or missing key, fields that
        overlap or lie outside the instruction, a number used twice.
    """
    path = path or default_path()
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IsaError(f"{path}: cannot read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise IsaError(f"{path}: not valid YAML: {error}") from error
    try:
        return Isa.model_validate(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, p['loc']))}: {p['msg']}".removeprefix(": ") for p in error.errors()
        ]
        raise IsaError(f"{path}: {'; '.join(problems)}") from error


@cache
def isa() -> Isa:
    """Return the repository's instruction set, read once."""
    return load_isa()


def pack(fields: list[BitField], values: Mapping[str, int], where: str, size: int) -> bytes:
    """Pack values into their bit fields.

    Parameters
    ----------
    fields : list of BitField
        The layout.
    values : mapping of str to int
        Field name -> value; fields not named are 0.
    where : str
        What is packed, for the error text.
    size : int
        Bytes of the result.

    Returns
    -------
    bytes
        `size` bytes, bit 0 of byte 0 first.

    Raises
    ------
    IsaError
        An unknown field, or a value outside its field.
    """
    known = {field.name: field for field in fields}
    word = 0
    for name, value in values.items():
        if name not in known:
            raise IsaError(f"{where}: no field {name}; there are: {', '.join(known)}")
        low, high = known[name].limits
        if not low <= value <= high:
            raise IsaError(f"{where}.{name}: {value} is outside {low} to {high}")
        word |= (value & ((1 << known[name].width) - 1)) << known[name].lsb
    return word.to_bytes(size, "little")


def unpack(fields: list[BitField], data: bytes) -> dict[str, int]:
    """Unpack bytes into field name -> value; the inverse of `pack`."""
    word = int.from_bytes(data, "little")
    values = {}
    for field in fields:
        value = (word >> field.lsb) & ((1 << field.width) - 1)
        if field.signed and value >> (field.width - 1):
            value -= 1 << field.width
        values[field.name] = value
    return values


def encode(instruction: str, **values: int) -> bytes:
    """Encode one instruction; the opcode is filled in.

    Raises
    ------
    IsaError
        An unknown instruction or field, or a value that does not fit.
    """
    table = isa()
    if instruction not in table.opcodes:
        raise IsaError(f"no instruction {instruction}; there are: {', '.join(table.opcodes)}")
    values = {"opcode": table.opcodes[instruction], **values}
    return pack(table.fields[instruction], values, instruction, table.instruction_bytes)


def decode(data: bytes) -> tuple[str, dict[str, int]]:
    """Decode one instruction into its name and its fields, the opcode left out.

    Raises
    ------
    IsaError
        A wrong number of bytes, an unknown opcode, or a bit set outside the fields.
    """
    table = isa()
    if len(data) != table.instruction_bytes:
        raise IsaError(f"an instruction has {table.instruction_bytes} bytes, not {len(data)}")
    names = {code: name for name, code in table.opcodes.items()}
    if data[0] not in names:
        raise IsaError(f"unknown opcode {data[0]}; there are: {names}")
    name = names[data[0]]
    values = unpack(table.fields[name], data)
    if pack(table.fields[name], values, name, len(data)) != data:
        raise IsaError(f"{name}: bits outside the fields are set")
    del values["opcode"]
    return name, values


def encode_header(**values: int) -> bytes:
    """Encode the program header; magic and version are filled in.

    Raises
    ------
    IsaError
        An unknown field, or a value that does not fit.
    """
    table = isa()
    values = {"magic": table.magic, "version": table.version, **values}
    return pack(table.header, values, "header", table.instruction_bytes)


def decode_header(data: bytes) -> dict[str, int]:
    """Decode the program header into field name -> value.

    Raises
    ------
    IsaError
        A wrong number of bytes, a wrong magic number or version.
    """
    table = isa()
    if len(data) != table.instruction_bytes:
        raise IsaError(f"the header has {table.instruction_bytes} bytes, not {len(data)}")
    values = unpack(table.header, data)
    if values["magic"] != table.magic:
        raise IsaError(f"header: magic is {values['magic']:#x}, not {table.magic:#x}")
    if values["version"] != table.version:
        raise IsaError(f"header: version is {values['version']}, this tool has {table.version}")
    return values
