# SPDX-License-Identifier: Apache-2.0
"""Expected operands of the projector, from the words and tiles that it was given.

The codes come from the golden model `verif.refmodel.codes`. Along the kernel the words of a line
are put side by side as columns, as they stand in the image, and every pixel's window is cut out of
them. Along the channels the words of a step are put one behind the other.

What it does not know: windows that slide, buffers, transforms, cycles (except where a contract
names them).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from verif.refmodel.codes import CHANNEL_BLOCK, hadamard

PASS, KERNEL, CHANNELS = 0, 1, 2  # values of word_domain_i
KERNEL_EDGE = 3  # the one kernel along which there are projections
GRID_EDGE = 4

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ProjectorParameters:
    """RTL parameters of the projector under test; see ``rtl/engine/unzip_projector.sv``."""

    T_P: int
    T_R: int
    S: int
    D: int
    DW: int
    OPERAND_W: int

    @property
    def ports(self) -> int:
        """Most words of one pixel that come together along the channels."""
        return 1 if self.T_P < CHANNEL_BLOCK else self.S


@dataclass(frozen=True)
class KernelTile:
    """A tile along the kernel: the fields of a job, as on the port."""

    pixels: int
    out_x: int
    out_w: int
    stride_two: int
    groups: int
    codes: int
    blocks: int
    reduce_first: int
    reduce_last: int
    bank: int

    @property
    def stride(self) -> int:
        """Columns from one pixel to the next."""
        return 1 + self.stride_two

    def lines(self) -> list[int]:
        """Return the tile's pixels of each line."""
        lines, left, here = [], self.pixels, self.out_w - self.out_x
        while left:
            lines.append(min(left, here))
            left -= lines[-1]
            here = self.out_w
        return lines

    def rows_before(self, ways: int) -> int:
        """Rows of S pixels that are read before a line's first one, for the columns to its left."""
        return 2 if ways * self.stride == 1 else 1

    def line_rows(self, pixels: int, ways: int) -> int:
        """Rows of S pixels that are read for so many pixels of a line."""
        return self.rows_before(ways) + -(-pixels // ways)

    def words(self, ways: int) -> int:
        """Words of the whole tile."""
        rows = sum(self.line_rows(pixels, ways) for pixels in self.lines())
        return self.blocks * rows * KERNEL_EDGE * self.stride


GROUPS_MAX = 2  # groups of PEs, and so pixels, with projections


@dataclass(frozen=True)
class Flags:
    """What goes with an operand to the PE array."""

    step: int
    row: int
    bank: int
    fresh: int
    first: int
    last: int
    chunk_last: int
    tile_last: int


@dataclass(frozen=True)
class ExpectedOperand:
    """An operand as the model has it.

    Attributes
    ----------
    buses : int64 array [live buses, T_P]
        Values of the buses that count, from bus 0 on.
    flags : Flags
        `fresh` counts with the first step of a row only.
    domain : int
        PASS, KERNEL or CHANNELS.
    earliest, latest : int
        Clock edges between which it must be seen; latest -1: any time.
    """

    buses: IntArray
    flags: Flags
    domain: int
    earliest: int
    latest: int = -1


@dataclass
class _Line:
    """Words of one line of one block, as they come.

    Attributes
    ----------
    columns : int64 array [3, columns, T_P]
        What was read, in the order of the image.
    words : int
        How many words have come.
    """

    columns: IntArray
    words: int = 0


@dataclass
class ProjectorModel:
    """Turns a list, tiles and words into expected operands, in order.

    Attributes
    ----------
    parameters : ProjectorParameters
        Of the build.
    codes : list of int
        The code list.
    tiles : list of KernelTile
        Tiles along the kernel whose words have not all come.
    """

    parameters: ProjectorParameters
    codes: list[int] = field(default_factory=list)
    tiles: list[KernelTile] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop what a reset drops: all but the list."""
        self.tiles.clear()
        self._block = self._line_number = self._row = 0
        self._line: _Line | None = None
        self._step: list[IntArray] = []

    @property
    def unfinished(self) -> bool:
        """Whether words of a tile or a step are still to come."""
        return bool(self.tiles or self._step)

    def signs(self, codes: Sequence[int]) -> IntArray:
        """Return rows of the Hadamard matrix, [codes, 16]."""
        return hadamard(CHANNEL_BLOCK)[list(codes)].astype(np.int64)

    # ---- Along the kernel ------------------------------------------------------------------------

    def kernel_word(self, cycle: int, buses: IntArray) -> list[ExpectedOperand]:
        """Take the S words of a read; return the operands that they complete."""
        ways, tile = self.parameters.S, self.tiles[0]
        lines = tile.lines()
        pixels = lines[self._line_number]
        rows = tile.line_rows(pixels, ways)
        if self._line is None:
            columns = np.zeros((KERNEL_EDGE, rows * ways * tile.stride, self.parameters.T_P))
            self._line = _Line(columns.astype(np.int64))
        line = self._line
        row, rest = divmod(line.words, KERNEL_EDGE * tile.stride)
        ky, phase = divmod(rest, tile.stride)
        for bus in range(ways):
            line.columns[ky, (row * ways + bus) * tile.stride + phase] = buses[bus]
        line.words += 1
        operands: list[ExpectedOperand] = []
        before = tile.rows_before(ways)
        if rest == KERNEL_EDGE * tile.stride - 1 and row >= before:
            first = (row - before) * ways
            operands = self._kernel_rows(cycle, tile, first, min(ways, pixels - first))
        if line.words == rows * KERNEL_EDGE * tile.stride:
            self._line = None
            self._line_number += 1
            if self._line_number == len(lines):
                self._line_number = self._row = 0
                self._block += 1
            if self._block == tile.blocks:
                self._block = 0
                self.tiles.pop(0)
        return operands

    def _kernel_rows(
        self, cycle: int, tile: KernelTile, first: int, pixels: int
    ) -> list[ExpectedOperand]:
        """Return the operands of some pixels of the line, from number `first` on."""
        assert self._line is not None
        signs = self.signs(self.codes[: tile.codes]).reshape(-1, GRID_EDGE, GRID_EDGE)
        signs = signs[:, :KERNEL_EDGE, :KERNEL_EDGE]
        lines = tile.lines()
        last_line = self._line_number == len(lines) - 1
        offset = tile.rows_before(self.parameters.S) * self.parameters.S
        operands = []
        for start in range(first, first + pixels, tile.groups):
            live = min(tile.groups, first + pixels - start)
            ends = [(offset + start + k + 1) * tile.stride for k in range(live)]
            windows = np.stack([self._line.columns[:, end - KERNEL_EDGE : end] for end in ends])
            # [pixel, ky, kx, lane] with [code, ky, kx]
            sums = np.einsum("jyx,pyxl->jpl", signs, windows)
            chunk_ends = last_line and start + live == lines[-1]
            for code in range(tile.codes):
                last = code == tile.codes - 1
                flags = Flags(
                    step=code,
                    row=self._row,
                    bank=tile.bank,
                    fresh=int(tile.reduce_first and self._block == 0),
                    first=int(code == 0),
                    last=int(last),
                    chunk_last=int(last and chunk_ends),
                    tile_last=int(
                        last and chunk_ends and self._block == tile.blocks - 1 and tile.reduce_last
                    ),
                )
                # PJ-007
                operands.append(ExpectedOperand(sums[code], flags, KERNEL, cycle + 5 + code))
            self._row += 1
        return operands

    # ---- Along the channels ----------------------------------------------------------------------

    def channel_word(
        self, cycle: int, buses: IntArray, log2_codes: int, single: int, last: int, flags: Flags
    ) -> list[ExpectedOperand]:
        """Take a part of a step; return the operand that it completes."""
        p = self.parameters
        codes = 1 << log2_codes
        together = min(p.ports, CHANNEL_BLOCK // codes) if single else 1
        # One stream of channels for each pixel.
        pixels = buses[: min(p.S, GROUPS_MAX)]
        self._step.append(
            buses[:together].reshape(1, -1) if single else pixels.reshape(len(pixels), -1)
        )
        if not last:
            return []
        channels = np.concatenate(self._step, axis=1)
        self._step = []
        blocks = channels.reshape(len(channels), -1, CHANNEL_BLOCK)
        signs = self.signs(self.codes[:codes])
        values = np.einsum("jc,pqc->pqj", signs, blocks).reshape(len(channels), -1)
        return [ExpectedOperand(values, flags, CHANNELS, cycle + 4, cycle + 4)]

    # ---- Words that pass -------------------------------------------------------------------------

    def passed(self, cycle: int, buses: IntArray, flags: Flags) -> list[ExpectedOperand]:
        """Take a word of the weight domain."""
        return [ExpectedOperand(buses, flags, PASS, cycle, cycle)]
