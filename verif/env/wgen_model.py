# SPDX-License-Identifier: Apache-2.0
"""Expected weight words of a weights generator job, from what stands in the alpha memory.

The values come from the golden model `verif.refmodel.codes`; this module knows only the order of
the words, in the alpha memory and in the stream::

    for each chunk: for each channel block of it: for each group of G filters: for each tap of it

What it does not know: cycles, buffering, the rows and pieces in which the generator works.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verif.refmodel.codes import grid_edge, kernel_weights


@dataclass(frozen=True)
class WgenParameters:
    """RTL parameters of the generator under test.

    Attributes
    ----------
    T_P, G, J, DW, N_MAX, ALPHA_DEPTH : int
        As in ``rtl/wgen/unzip_wgen.sv``.
    """

    T_P: int
    G: int
    J: int
    DW: int
    N_MAX: int
    ALPHA_DEPTH: int

    def pack(self, values: Sequence[int] | npt.NDArray[np.integer]) -> int:
        """Pack signed DW-bit values into one word, the first one lowest."""
        word = 0
        for position, value in enumerate(values):
            word |= (int(value) & ((1 << self.DW) - 1)) << (position * self.DW)
        return word

    def unpack(self, word: int) -> npt.NDArray[np.int64]:
        """Split a word into its G*T_P signed values.

        Returns
        -------
        int64 array [G, T_P]
        """
        fields = [(word >> (k * self.DW)) & ((1 << self.DW) - 1) for k in range(self.G * self.T_P)]
        sign = 1 << (self.DW - 1)
        return np.array([(v ^ sign) - sign for v in fields]).reshape(self.G, self.T_P)


@dataclass(frozen=True)
class WgenJob:
    """Fields of a job, as on the generator's job port.

    Attributes
    ----------
    alpha_addr : int
        First word in the alpha memory.
    filters, codes, dense, kernel_h, kernel_w, blocks, chunk_blocks, chunk_taps : int
        As in ``regs/isa.yaml``, COMPUTE.
    """

    alpha_addr: int
    filters: int
    codes: int
    dense: int
    kernel_h: int
    kernel_w: int
    blocks: int
    chunk_blocks: int
    chunk_taps: int

    @property
    def taps(self) -> int:
        """Taps of the kernel."""
        return self.kernel_h * self.kernel_w

    @property
    def pieces(self) -> list[range]:
        """Taps of a block, cut into the pieces that fall into different chunks."""
        return [
            range(first, min(first + self.chunk_taps, self.taps))
            for first in range(0, self.taps, self.chunk_taps)
        ]

    def groups(self, g: int) -> int:
        """Groups of `g` filters."""
        return -(-self.filters // g)

    def alpha_words(self, g: int) -> int:
        """Words that the job takes in the alpha memory."""
        return self.blocks * self.groups(g) * (self.taps if self.dense else self.codes)

    def alpha_reads(self, g: int) -> int:
        """Reads of the alpha memory: with codes, one pass over a block's words per piece."""
        return self.alpha_words(g) * (1 if self.dense else len(self.pieces))

    def weight_words(self, g: int) -> int:
        """Weight words that the job makes."""
        return self.blocks * self.groups(g) * self.taps

    def cycles_per_word(self, j: int) -> int:
        """Cycles that a weight word takes: ceil(n/J)."""
        return -(-self.codes // j)


@dataclass(frozen=True)
class WeightWord:
    """An expected weight word.

    Attributes
    ----------
    data, mask : int
        Value, and the bits of it that count: lanes of filters past the live ones do not.
    filter, step, last : int
        Side band of the word.
    job : int
        Number of the job that it belongs to.
    """

    data: int
    mask: int
    filter: int
    step: int
    last: int
    job: int


def chunks(job: WgenJob) -> list[list[tuple[int, int]]]:
    """Return the (block, tap) pairs of every chunk, in the order of their steps."""
    if len(job.pieces) > 1:
        return [[(b, t) for t in piece] for b in range(job.blocks) for piece in job.pieces]
    return [
        [(b, t) for b in range(first, min(first + job.chunk_blocks, job.blocks))
         for t in range(job.taps)]
        for first in range(0, job.blocks, job.chunk_blocks)
    ]  # fmt: skip


def weights_of_job(
    job: WgenJob, codes: Sequence[int], words: Sequence[int], p: WgenParameters
) -> npt.NDArray[np.int64]:
    """Decode a job's alpha words and generate its weights with the golden model.

    Parameters
    ----------
    job : WgenJob
        A job with codes (not dense).
    codes : sequence of int
        The n codes.
    words : sequence of int
        Its words in the alpha memory.
    p : WgenParameters
        Parameters of the build.

    Returns
    -------
    int64 array [groups*G, blocks*T_P, kernel_h, kernel_w]
        With values for the lanes of filters that do not exist, too.
    """
    groups = job.groups(p.G)
    alphas = np.array([p.unpack(word) for word in words])
    alphas = alphas.reshape(job.blocks, groups, job.codes, p.G, p.T_P)
    alphas = alphas.transpose(1, 3, 0, 4, 2).reshape(groups * p.G, job.blocks * p.T_P, job.codes)
    kernel = max(job.kernel_h, job.kernel_w)
    return kernel_weights(alphas, codes, kernel)[:, :, : job.kernel_h, : job.kernel_w]


def expected_words(
    job: WgenJob,
    number: int,
    codes: Sequence[int],
    read: Callable[[int], int],
    p: WgenParameters,
) -> list[WeightWord]:
    """Return the weight words of a job in the order of the stream.

    Parameters
    ----------
    job : WgenJob
        The job.
    number : int
        Its number, kept in the words.
    codes : sequence of int
        Code list as it stands in the generator, at least n entries; not used if dense.
    read : callable
        Returns the word at an address of the alpha memory.
    p : WgenParameters
        Parameters of the build.
    """
    words = [read(job.alpha_addr + k) for k in range(job.alpha_words(p.G))]
    groups = job.groups(p.G)
    lane_bits = p.T_P * p.DW
    if job.dense:
        stored = iter(words)
    else:
        weights = weights_of_job(job, codes[: job.codes], words, p)
        limit = (1 << (p.DW - 1)) - 1
        live = weights[: job.filters]
        if np.abs(live).max() > limit:
            raise ValueError(f"job {number}: weight {np.abs(live).max()} is outside +-{limit}")

    result = []
    for chunk in chunks(job):
        step = {pair: k for k, pair in enumerate(chunk)}
        for block in sorted({b for b, _ in chunk}):
            taps = [t for b, t in chunk if b == block]
            for group in range(groups):
                first = group * p.G
                live_lanes = min(p.G, job.filters - first)
                for tap in taps:
                    if job.dense:
                        data = next(stored)
                    else:
                        ky, kx = divmod(tap, job.kernel_w)
                        lanes = weights[first : first + p.G, block * p.T_P :][:, : p.T_P, ky, kx]
                        data = p.pack(lanes.reshape(-1))
                    mask = (1 << (live_lanes * lane_bits)) - 1
                    last = (block, tap) == chunk[-1] and group == groups - 1
                    result.append(
                        WeightWord(data & mask, mask, first, step[block, tap], int(last), number)
                    )
    return result


def code_limit(job: WgenJob) -> int:
    """Return the number of codes of the job's grid: its code indices are below it."""
    return grid_edge(max(job.kernel_h, job.kernel_w)) ** 2
