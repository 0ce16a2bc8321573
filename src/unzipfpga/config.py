# SPDX-License-Identifier: Apache-2.0
"""Build configurations: the RTL parameters of each preset in ``configs.yaml``."""

import difflib
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unzipfpga.errors import UnzipError
from unzipfpga.isa import isa

PowerOfTwo = Literal[1, 2, 4, 8, 16, 32, 64, 128, 256]

# What a program depends on, in the order in which build_id() hashes it.
BUILD_PARAMETERS = (
    *("T_P", "T_C", "T_R", "S", "J", "G", "D", "Q", "DW"),
    *("ACT_DEPTH", "ACT_BANKS", "ALPHA_DEPTH", "PARAM_DEPTH", "POOL_W", "N_MAX"),
    "CHANNEL_AXIS",
    "PROJECTOR",
)


class ConfigError(UnzipError):
    """A configuration file, preset or parameter that cannot be used; the text says what helps."""


class Config(BaseModel):
    """One build of the engine: the RTL parameters under the names that the RTL gives them.

    All are integers; the limits are those of ``rtl/common/unzip_limits.svh``. "Word" is one memory
    word of ``T_P`` values of ``DW`` bits. Adding an RTL parameter means: a field here, a value in
    every preset of ``configs.yaml``, a limit in that header.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    T_P: Literal[8, 16, 32] = Field(description="multiply-accumulate units per PE")
    T_C: Annotated[int, Field(ge=2, le=256, multiple_of=2)] = Field(
        description="processing elements (PEs)"
    )
    T_R: Annotated[int, Field(ge=2, le=2048)] = Field(
        description="accumulator rows (pixels) per tile"
    )
    S: Literal[1, 2, 4] = Field(description="row buses (input-selective ways)")
    J: Annotated[int, Field(ge=1, le=64)] = Field(description="alphas summed per cycle and lane")
    G: Literal[1, 2, 4, 8] = Field(description="weight words generated per cycle")
    D: Annotated[int, Field(ge=2, le=64)] = Field(
        description="weight words in each half of a PE's register file"
    )
    N_MAX: Annotated[int, Field(ge=1, le=64)] = Field(description="longest code list of a layer")
    CHANNEL_AXIS: Literal[0, 1] = Field(description="1: channel-axis codes, too")
    PROJECTOR: Literal[0, 1] = Field(description="1: layers can run in the code domain")
    Q: PowerOfTwo = Field(description="post-processing lanes (channels per cycle)")
    DW: Literal[8, 16] = Field(description="bits of an activation and of an alpha")
    PAIR: Literal[0, 1, 2] = Field(
        description="1: two PEs share each multiplier; 2: one of 25 bits, for operands of 12 bits"
    )
    OPERAND_W: Literal[8, 12, 16, 20] = Field(
        description="bits of a multiplier's operand: DW, or DW + 4 for projections (code domain)"
    )
    ACT_DEPTH: Annotated[int, Field(ge=2, le=65536)] = Field(
        description="activation memory: words per bank"
    )
    ACT_BANKS: Literal[2, 4, 8] = Field(description="activation memory: banks")
    ALPHA_DEPTH: Annotated[int, Field(ge=2, le=65536)] = Field(description="alpha memory: words")
    PARAM_DEPTH: Annotated[int, Field(ge=2, le=4096)] = Field(
        description="post-processing parameter memory: words"
    )
    POOL_W: Annotated[int, Field(ge=2, le=4095)] = Field(
        description="widest row of a pooling line buffer, in pixels"
    )
    AXI_DATA_W: Literal[64, 128, 256, 512] = Field(description="AXI4 data width in bits")
    AXI_ADDR_W: Annotated[int, Field(ge=40, le=64)] = Field(description="AXI4 address bits")
    BURST_LEN: PowerOfTwo = Field(description="longest burst, in beats")
    OUTSTANDING: Literal[2, 4, 8, 16, 32, 64] = Field(description="AXI4 read bursts in flight")
    TRACE_DEPTH: Annotated[int, Field(ge=2, le=65536)] = Field(
        description="entries of the MARK trace buffer"
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Check the rules that involve more than one parameter."""
        if self.PAIR and self.DW != 8:
            raise ValueError(f"PAIR={self.PAIR} needs DW=8, DW is {self.DW}")
        if self.PAIR == 2 and self.OPERAND_W != 12:
            raise ValueError(f"PAIR=2 needs OPERAND_W=12, OPERAND_W is {self.OPERAND_W}")
        if self.CHANNEL_AXIS and self.J not in (1, 2, 4, 8):
            raise ValueError(f"CHANNEL_AXIS=1 needs J of 1, 2, 4 or 8, is {self.J}")
        if self.OPERAND_W not in (self.DW, self.DW + 4):
            raise ValueError(
                f"OPERAND_W must be DW = {self.DW}, or {self.DW + 4} for the code domain, "
                f"is {self.OPERAND_W}"
            )
        if self.PROJECTOR and self.OPERAND_W != self.DW + 4:
            raise ValueError(
                f"PROJECTOR=1 needs OPERAND_W of DW + 4 = {self.DW + 4}, is {self.OPERAND_W}"
            )
        if self.ACT_BANKS < 2 * self.S:
            raise ValueError(f"ACT_BANKS must be at least 2*S = {2 * self.S}, is {self.ACT_BANKS}")
        if self.T_C % self.G:
            raise ValueError(f"T_C must be a multiple of G = {self.G}, is {self.T_C}")
        least = self.S * max(2, self.G)
        if least > self.T_C:
            raise ValueError(f"T_C must be at least S*max(2, G) = {least}, is {self.T_C}")
        if self.T_P % self.Q and self.Q not in (2 * self.T_P, 4 * self.T_P):
            raise ValueError(
                f"Q must be a divisor of T_P = {self.T_P} or 2 or 4 times as much, is {self.Q}"
            )
        if self.T_C % self.Q:
            raise ValueError(f"T_C must be a multiple of Q = {self.Q}, is {self.T_C}")
        if self.words > self.ACT_BANKS:
            raise ValueError(
                f"ACT_BANKS must be at least Q/T_P = {self.words}, is {self.ACT_BANKS}"
            )
        groups = (self.T_C + self.T_P) // self.Q
        if groups > 255:
            raise ValueError(f"Q = {self.Q} is too small: (T_C + T_P)/Q is {groups}, at most 255")
        burst_bytes = self.BURST_LEN * self.AXI_DATA_W // 8
        if burst_bytes > 4096:
            raise ValueError(
                f"BURST_LEN*AXI_DATA_W/8 is {burst_bytes} bytes; AXI4 bursts stay within 4096"
            )
        return self

    @property
    def parts(self) -> int:
        """Groups of Q channels in a word of T_P; 1 if a group is a word or more."""
        return max(1, self.T_P // self.Q)

    @property
    def words(self) -> int:
        """Words of T_P channels in a group of Q; 1 if a group is a word or less."""
        return max(1, self.Q // self.T_P)

    def parameters(self) -> dict[str, int]:
        """Return the RTL parameters as name -> value, in the order of the fields."""
        return dict(self.model_dump())

    def build_id(self) -> int:
        """Return the 32-bit id of the build; a program for another one is refused.

        It hashes, word by word, the version of the instruction set and the parameters that a
        program depends on: ``h = ((h ^ word) * 0x01000193) mod 2**32``, from 0x811c9dc5 on
        (FNV-1a on 32-bit words). The RTL computes the same value for its BUILD_ID register.
        """
        value = 0x811C9DC5
        for word in [isa().version, *(getattr(self, name) for name in BUILD_PARAMETERS)]:
            value = ((value ^ word) * 0x01000193) % 2**32
        return value


def default_path() -> Path:
    """Return the path of the repository's ``configs.yaml``.

    Raises
    ------
    ConfigError
        There is none above this file: the package was installed without the repository.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "configs.yaml").is_file():
            return folder / "configs.yaml"
    raise ConfigError("configs.yaml not found: run from a checkout of the repository")


def load_configs(path: Path | None = None) -> dict[str, Config]:
    """Read and check every preset.

    Parameters
    ----------
    path : Path, optional
        The YAML file; the repository's ``configs.yaml`` if not given.

    Returns
    -------
    dict of str to Config
        Preset name -> its parameters, in the order of the file.

    Raises
    ------
    ConfigError
        The file is missing or is not a YAML map of presets, or a preset has an unknown, a missing
        or a bad parameter. The text names the file, the preset and the parameter.
    """
    path = path or default_path()
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{path}: expected a map of preset names to parameters")
    configs = {}
    for name, values in data.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: preset {name}: expected a map of parameters")
        try:
            configs[str(name)] = Config.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(_describe(problem) for problem in error.errors())
            raise ConfigError(f"{path}: preset {name}: {problems}") from error
    return configs


def load_config(name: str, path: Path | None = None) -> Config:
    """Return one preset; arguments and errors as for `load_configs`.

    Raises
    ------
    ConfigError
        Also when there is no preset of that name; the text lists those there are.
    """
    configs = load_configs(path)
    if name not in configs:
        raise ConfigError(f"unknown CONFIG '{name}'; valid: {', '.join(configs)}")
    return configs[name]


def _describe(problem: object) -> str:
    """Turn one pydantic error into a phrase with the parameter's name and what would help."""
    assert isinstance(problem, dict)
    where = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "missing":
        return f"parameter {where} is missing ({Config.model_fields[where].description})"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, Config.model_fields, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"unknown parameter {where}{hint}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"parameter {where} = {problem['input']!r}: {problem['msg']}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error: plain YAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"repeated key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
