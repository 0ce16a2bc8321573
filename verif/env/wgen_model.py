# SPDX-License-Identifier: Apache-2.0
"""Expected weight words of a weights generator job, from what stands in the alpha memory.

The values come from the golden model `verif.refmodel.codes`; this module knows only the order of
the words, in the alpha memory and in the stream::

    for each chunk: for each channel block of it: for each group of G filters: for each tap of it

What it does not know: cycles, buffering, the rows and pieces in which the generator works.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verif.refmodel.codes import CHANNEL_BLOCK, channel_weights, grid_edge, kernel_weights


@dataclass(frozen=True)
class WgenParameters:
    """RTL parameters of the generator under test.

    Attributes
    ----------
    T_P, G, J, DW, N_MAX, CHANNEL_AXIS, ALPHA_DEPTH : int
        As in ``rtl/wgen/unzip_wgen.sv``.
    """

    T_P: int
    G: int
    J: int
    DW: int
    N_MAX: int
    CHANNEL_AXIS: int
    ALPHA_DEPTH: int

    @property
    def halves(self) -> int:
        """Parts of a filter's T_P lanes with channel-axis alphas of their own."""
        return max(1, self.T_P // CHANNEL_BLOCK)

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
    filters, codes, dense, channel, alpha_words : int
    kernel_h, kernel_w, blocks, chunk_blocks, chunk_taps, groups : int
        As in ``regs/isa.yaml``, COMPUTE; `alpha_words` of kernel-axis jobs may be anything.
    """

    alpha_addr: int
    filters: int
    codes: int
    dense: int
    channel: int
    alpha_words: int
    kernel_h: int
    kernel_w: int
    blocks: int
    chunk_blocks: int
    chunk_taps: int
    groups: int

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

    def filter_groups(self, g: int) -> int:
        """Groups of `g` filters."""
        return -(-self.filters // g)

    def stored_words(self, p: WgenParameters) -> int:
        """Words that the job takes in the alpha memory."""
        if self.dense:
            return self.weight_words(p.G)
        if self.channel:
            return len(channel_slots(self, p))
        return self.blocks * self.filter_groups(p.G) * self.codes

    def alpha_reads(self, p: WgenParameters) -> int:
        """Reads of the alpha memory: kernel axis, one pass over a block's words per piece."""
        passes = 1 if self.dense or self.channel else len(self.pieces)
        return self.stored_words(p) * passes

    def weight_words(self, g: int) -> int:
        """Weight words that the job makes."""
        return self.blocks * self.filter_groups(g) * self.taps

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
    filter, step, groups, last : int
        Side band of the word.
    job : int
        Number of the job that it belongs to.
    """

    data: int
    mask: int
    filter: int
    step: int
    groups: int
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


def channel_slots(job: WgenJob, p: WgenParameters) -> list[list[tuple[int, int]]]:
    """Return which alphas a channel-axis job's words hold: a list for each of them.

    Its entry l says what lane l of a filter (of a half, with T_P = 32) holds: alpha i of weight
    word k as (k, i), or (-1, -1) for nothing that counts. A set takes ceil(n/J)*J lanes, and a word
    as many whole sets as it has lanes for; a set that is larger begins a word and takes two.
    """
    lanes = p.T_P // p.halves
    size = -(-job.codes // p.J) * p.J
    words: list[list[tuple[int, int]]] = []
    for k in range(job.weight_words(p.G)):
        if not words or len(words[-1]) + size > lanes:
            words.append([])
        for i in range(size):
            if len(words[-1]) == lanes:
                words.append([])
            words[-1].append((k, i) if i < job.codes else (-1, -1))
    return [word + [(-1, -1)] * (lanes - len(word)) for word in words]


def channel_axis_words(
    job: WgenJob, codes: Sequence[int], words: Sequence[int], p: WgenParameters
) -> Iterator[npt.NDArray[np.int64]]:
    """Decode a channel-axis job's alpha words and generate its weight words with the golden model.

    Arguments as for `weights_of_job`.

    Yields
    ------
    int64 array [G, T_P]
        The weight words in the order of the stream.
    """
    total, lanes = job.weight_words(p.G), p.T_P // p.halves
    alphas = np.zeros((total, p.G, p.halves, job.codes), np.int64)
    for word, slots in zip(words, channel_slots(job, p), strict=True):
        stored = p.unpack(word).reshape(p.G, p.halves, lanes)
        for lane, (k, i) in enumerate(slots):
            if k >= 0:
                alphas[k, :, :, i] = stored[:, :, lane]
    flat = channel_weights(alphas.reshape(-1, 1, 1, job.codes), codes, CHANNEL_BLOCK, 1)
    sixteen = flat.reshape(total, p.G, p.halves * CHANNEL_BLOCK)
    for k, (block, _, _) in enumerate(word_order(job, p.G)):
        first = block * p.T_P % CHANNEL_BLOCK
        yield sixteen[k, :, first : first + p.T_P]


def word_order(job: WgenJob, g: int) -> Iterator[tuple[int, int, int]]:
    """Yield (block, filter group, tap) of a job's weight words in the order of the stream."""
    for chunk in chunks(job):
        for block in sorted({b for b, _ in chunk}):
            for group in range(job.filter_groups(g)):
                for tap in [t for b, t in chunk if b == block]:
                    yield block, group, tap


def weights_of_job(
    job: WgenJob, codes: Sequence[int], words: Sequence[int], p: WgenParameters
) -> npt.NDArray[np.int64]:
    """Decode a job's alpha words and generate its weights with the golden model.

    Parameters
    ----------
    job : WgenJob
        A job with kernel-axis codes.
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
    groups = job.filter_groups(p.G)
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
    words = [read(job.alpha_addr + k) for k in range(job.stored_words(p))]
    lane_bits = p.T_P * p.DW
    limit = (1 << (p.DW - 1)) - 1
    order = list(word_order(job, p.G))
    if job.dense:
        data = words
    else:
        if job.channel:
            lanes = list(channel_axis_words(job, codes[: job.codes], words, p))
        else:
            weights = weights_of_job(job, codes[: job.codes], words, p)
            lanes = [
                weights[group * p.G :, block * p.T_P :, ky, kx][: p.G, : p.T_P]
                for block, group, tap in order
                for ky, kx in [divmod(tap, job.kernel_w)]
            ]
        for word, (_, group, _) in zip(lanes, order, strict=True):
            peak = np.abs(word[: job.filters - group * p.G]).max()
            if peak > limit:
                raise ValueError(f"job {number}: weight {peak} is outside +-{limit}")
        data = [p.pack(word.reshape(-1)) for word in lanes]

    steps = {
        pair: (k, k + 1 == len(chunk)) for chunk in chunks(job) for k, pair in enumerate(chunk)
    }
    groups = job.filter_groups(p.G)
    result = []
    for word, (block, group, tap) in zip(data, order, strict=True):
        first = group * p.G
        mask = (1 << (min(p.G, job.filters - first) * lane_bits)) - 1
        step, step_last = steps[block, tap]
        last = step_last and group == groups - 1
        result.append(WeightWord(word & mask, mask, first, step, job.groups, int(last), number))
    return result


def code_limit(job: WgenJob) -> int:
    """Return the number of codes that the job can have: its code indices are below it."""
    if job.channel:
        return CHANNEL_BLOCK
    return grid_edge(max(job.kernel_h, job.kernel_w)) ** 2
