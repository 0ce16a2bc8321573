# SPDX-License-Identifier: Apache-2.0
"""The two domains that a layer with codes can run in, and which of them it can.

Weight domain: the generator makes weights of alphas, and the PEs multiply activations by them. Code
domain: the MAC stage projects activations on the codes, and the PEs multiply projections by alphas,
which takes n steps where the weight domain takes one for each tap (kernel axis) or 16 (channel
axis). The sums are the same integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.lower import EngineLayer
from unzipfpga.config import Config
from unzipfpga.ovsf.codes import CHANNEL_LENGTH

Domain = Literal["weights", "codes"]
Choice = Literal["auto", "weights", "codes"]
CHOICES: tuple[Choice, ...] = ("auto", "weights", "codes")

KERNEL = 3  # rows and columns of a kernel whose windows are projected
CODES_MAX = 8  # of 9 taps: as many codes are no faster
STRIDE_MAX = 2
GROUPS_MAX = 2  # groups of PEs that the projector makes operands for
PAD_FIELD_MAX = 15
READ_ROWS_MAX = 4095  # for a chunk of a tile


@dataclass(frozen=True)
class DomainChoice:
    """What a user wants.

    Attributes
    ----------
    default : {"auto", "weights", "codes"}
        Of every layer with codes: "auto" takes what is estimated to be faster.
    of : dict of str to {"auto", "weights", "codes"}
        Of single layers.
    """

    default: Choice = "auto"
    of: Mapping[str, Choice] = field(default_factory=dict)

    @classmethod
    def parse(cls, default: str = "auto", of: Sequence[str] = ()) -> "DomainChoice":
        """Read what the command line says: a domain, and LAYER=DOMAIN of single layers.

        Raises
        ------
        CompileError
            An unknown domain.
        """

        def known(text: str, domain: str) -> Choice:
            for choice in CHOICES:
                if choice == domain:
                    return choice
            raise CompileError(f"{text}: unknown domain '{domain}'; valid: {', '.join(CHOICES)}")

        layers: dict[str, Choice] = {}
        for text in of:
            name, equals, domain = text.rpartition("=")
            if not equals or not name:
                raise CompileError(
                    f"--domain-of {text}: expected LAYER=DOMAIN, such as conv2=codes"
                )
            layers[name] = known(f"--domain-of {text}", domain)
        return cls(known(f"--domain {default}", default), layers)

    def check(self, layers: Sequence[EngineLayer], config: Config) -> None:
        """Refuse what cannot be.

        Raises
        ------
        CompileError
            Names every layer that there is not, or that cannot run in the code domain, and why.
        """
        names = [layer.name for layer in layers]
        problems = [
            f"layer {name}: there is no such layer" for name in self.of if name not in names
        ]
        for layer in layers:
            if layer.name in self.of:
                asked = self.of[layer.name] == "codes"
            else:
                asked = self.default == "codes" and bool(layer.codes)
            why = refusal(layer, config) if asked else None
            if why is not None:
                problems.append(f"layer {layer.name}: it cannot run in the code domain: {why}")
        if problems:
            raise CompileError("; ".join(problems))

    def with_weights(self, layers: Sequence[str]) -> "DomainChoice":
        """Return the same with some layers in the weight domain."""
        return DomainChoice(self.default, {**self.of, **dict.fromkeys(layers, "weights")})

    def domains(self, layer: EngineLayer, config: Config) -> tuple[Domain, ...]:
        """Return the domains that a layer may run in, once `check` has passed."""
        choice = self.of.get(layer.name, self.default)
        if not layer.codes or choice == "weights":
            return ("weights",)
        if choice == "codes":
            return ("codes",)
        return ("weights",) if refusal(layer, config) else ("weights", "codes")


def refusal(layer: EngineLayer, config: Config) -> str | None:
    """Return why a layer cannot run in the code domain; None if it can."""
    n = len(layer.codes)
    if not config.PROJECTOR:
        return "the configuration has PROJECTOR = 0"
    if not n:
        return "it has no codes"
    if layer.groups > 1:
        return f"it has {layer.groups} groups"
    if layer.axis == "channel":
        if n not in (1, 2, 4, 8):
            return f"{n} channel-axis codes; 1, 2, 4 or 8 are supported"
        return None
    if layer.kernel != (KERNEL, KERNEL):
        return (
            f"kernel-axis codes of a {layer.kernel[0]}x{layer.kernel[1]} kernel; 3x3 is supported"
        )
    if n > CODES_MAX:
        return f"{n} kernel-axis codes; at most {CODES_MAX} are supported"
    if n > config.D:
        return f"{n} kernel-axis codes; the configuration has D = {config.D}"
    if layer.row0:
        return "kernel-axis codes on pixels that are all summed"
    if layer.stride[1] > STRIDE_MAX:
        return (
            f"kernel-axis codes with a horizontal stride of {layer.stride[1]}; 1 or 2 is supported"
        )
    pad = layer.pads[1] + extra_pad(layer.stride[1], config)
    if pad > PAD_FIELD_MAX:
        most = PAD_FIELD_MAX - extra_pad(layer.stride[1], config)
        return f"kernel-axis codes with {layer.pads[1]} columns of padding; at most {most}"
    return None


def extra_pad(stride: int, config: Config) -> int:
    """Return the columns left of the padding at which the windows of a line begin to be read."""
    return max(2, config.S * stride) - KERNEL + stride


def prologue(stride: int, config: Config) -> int:
    """Return the rows of S pixels that are read before the first windows of a line."""
    return 2 if config.S == 1 and stride == 1 else 1


def group_pitch(groups: int, config: Config) -> int:
    """Return the PEs from one group to the next: whole pairs, whole beats of G weight words."""
    unit = max(2, config.G)
    return config.T_C // groups // unit * unit


@dataclass(frozen=True)
class Work:
    """What a layer asks of the array in a domain.

    Attributes
    ----------
    layer : EngineLayer
    domain : {"weights", "codes"}
    config : Config
    """

    layer: EngineLayer
    domain: Domain
    config: Config

    @property
    def windows(self) -> bool:
        """Whether windows are projected: kernel-axis codes in the code domain."""
        return self.domain == "codes" and self.layer.axis == "kernel"

    @property
    def step_blocks(self) -> int:
        """Channel blocks that make the operand of a step."""
        if self.domain == "codes" and self.layer.axis == "channel":
            return CHANNEL_LENGTH // len(self.layer.codes)
        return 1

    @property
    def step_taps(self) -> int:
        """Steps of a row of pixels and so many blocks."""
        return len(self.layer.codes) if self.windows else self.layer.taps

    @property
    def generated(self) -> int:
        """Codes that the generator sums for a word; 0 if it passes words on."""
        return len(self.layer.codes) if self.domain == "weights" else 0

    @property
    def pixels_max(self) -> int:
        """Pixels of a tile, at most, so that read_rows fits its field."""
        return READ_ROWS_MAX // 3 if self.windows else READ_ROWS_MAX

    def steps(self, blocks: int) -> int:
        """Return the steps of a row of pixels."""
        return ceil(blocks / self.step_blocks) * self.step_taps

    def groups(self, filters: int) -> list[int]:
        """Return how many groups of PEs can hold so many filters, each with a row's pixel."""
        layer, config = self.layer, self.config
        width = layer.conv_map[2]
        most = 1 if layer.row0 else min(config.S, width)
        if self.domain == "codes":
            most = min(most, GROUPS_MAX)
        found = [g for g in range(1, most + 1) if g == 1 or filters <= group_pitch(g, config)]
        if self.windows:  # no row crosses the end of a line
            return [g for g in found if width % g == 0]
        return found if self.domain == "codes" else found[-1:]

    def pace(self, groups: int) -> float:
        """Return the cycles of a step of a row of pixels, in the mean."""
        layer, config = self.layer, self.config
        if self.windows:
            stride, width, n = layer.stride[1], layer.conv_map[2], len(layer.codes)
            rows = ceil(width / config.S) + prologue(stride, config)
            made = width / groups * n
            return max(made, KERNEL * stride * rows) / made
        if self.domain == "codes":
            blocks = self.step_blocks
            alone = groups == 1 and config.T_P >= CHANNEL_LENGTH
            return ceil(blocks / min(config.S, blocks)) if alone else blocks
        return 1

    def read_rows(self, first: int, pixels: int) -> int:
        """Return the rows of S pixels that are read for a chunk of a tile of projected windows."""
        width, rows = self.layer.conv_map[2], 0
        end = first + pixels
        while first < end:
            of_line = min(end - first, width - first % width)
            rows += ceil(of_line / self.config.S) + prologue(self.layer.stride[1], self.config)
            first += of_line
        return rows
