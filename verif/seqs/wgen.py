# SPDX-License-Identifier: Apache-2.0
"""Sequences for the weights generator.

A *shape* is a job without its place in the alpha memory. The sequences place its alphas, load its
code list if the one that stands there does not do, and offer the job.
"""

import random
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from pyuvm import uvm_sequence, uvm_sequence_item

from verif.agents.stream import StreamSequenceItem
from verif.env.wgen_env import CODE_BITS, PAGE, WgenEnv
from verif.env.wgen_model import WgenJob, WgenParameters, channel_slots, code_limit
from verif.refmodel.codes import CHANNEL_BLOCK, hadamard, kernel_codes

STEPS_MAX = 63  # word_step_o has 6 bits
REGIONS = 3  # of the alpha memory, used in turn: two jobs are in flight while one is placed


def shape(
    filters: int,
    kernel: tuple[int, int],
    codes: int,
    blocks: int = 1,
    *,
    chunk_blocks: int = 1,
    chunk_taps: int = 0,
    channel: bool = False,
) -> WgenJob:
    """Return a job without place; `codes` 0 makes it dense, `chunk_taps` 0 takes all taps."""
    return WgenJob(
        alpha_addr=0,
        filters=filters,
        codes=codes or 1,
        dense=int(codes == 0),
        channel=int(channel),
        alpha_words=0,
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        blocks=blocks,
        chunk_blocks=chunk_blocks,
        chunk_taps=chunk_taps or kernel[0] * kernel[1],
        groups=1,
    )


def fits(job: WgenJob, p: WgenParameters, words: int = 400) -> bool:
    """Say whether a build can run a job, and whether it is small enough for a test."""
    return (
        job.codes <= min(p.N_MAX, code_limit(job))
        and job.channel <= p.CHANNEL_AXIS
        and job.stored_words(p) <= p.ALPHA_DEPTH // REGIONS
        and job.chunk_blocks * job.chunk_taps <= STEPS_MAX
        and job.weight_words(p.G) * job.cycles_per_word(p.J) <= words
    )


def corner_shapes(p: WgenParameters) -> list[WgenJob]:
    """Return the corner cases that a build can run: kernels, code counts, chunks, tails."""
    g = p.G
    parts = -(-p.T_P // p.halves // p.J)  # of a channel-axis alpha word
    shapes = [
        shape(g, (3, 3), 9),  # all codes
        shape(2 * g + 1, (3, 3), 4, 2, chunk_blocks=2),  # tail of filters, two blocks a chunk
        shape(g + 1, (3, 3), 5, 3, chunk_blocks=2),  # last chunk shorter
        shape(3, (3, 3), 3, 2, chunk_taps=4),  # pieces of 4, 4 and 1 taps
        shape(2 * g, (3, 3), 2, 1, chunk_taps=1),  # one tap a chunk
        shape(1, (3, 3), 1, 1),
        shape(1, (3, 3), p.N_MAX, 1),  # longest list
        shape(5, (3, 3), 6, 1, chunk_taps=8),
        shape(2, (3, 3), 7, 1, chunk_blocks=4),  # chunk larger than the layer
        shape(1, (1, 1), 1, 1),  # a job of one word
        shape(12, (1, 1), 1, 3, chunk_blocks=2),
        shape(3, (2, 2), 4, 2, chunk_blocks=2),
        shape(2, (2, 2), 3, 1, chunk_taps=3),
        shape(1, (5, 5), 8, 1),
        shape(1, (5, 5), 3, 1, chunk_taps=7),
        shape(1, (7, 7), 2, 1),
        shape(1, (7, 7), 3, 1, chunk_taps=20),
        shape(1, (1, 7), 2, 2, chunk_blocks=2),  # kernels that are not square
        shape(2, (3, 5), 4, 1),
        shape(1, (2, 3), 6, 1),
        shape(1, (3, 2), 6, 1),
        shape(1, (5, 2), 2, 1, chunk_taps=3),
        shape(1, (7, 6), 5, 1),
        shape(1, (5, 5), 25, 1),  # longer lists, where the build takes them
        shape(1, (7, 7), 49, 1),
        shape(1, (7, 7), 64, 1, chunk_taps=13),
        shape(1, (1, 1), 0, 1),  # dense
        shape(2 * g + 1, (3, 3), 0, 2, chunk_blocks=2),
        shape(3, (3, 3), 0, 1, chunk_taps=4),
        shape(1, (5, 5), 0, 1, chunk_taps=9),
        shape(2, (1, 1), 0, 5, chunk_blocks=3),
        shape(1, (7, 7), 0, 1),
        shape(1, (1, 1), 1, 1, channel=True),  # one alpha
        shape(2 * g + 1, (1, 1), 16, 5, chunk_blocks=2, channel=True),  # all codes
        shape(g, (1, 1), 9, 3, chunk_blocks=3, channel=True),
        shape(3 * g, (1, 1), 8, 2, channel=True),
        shape(parts * g, (1, 1), p.J, 2, chunk_blocks=2, channel=True),  # words full of sets
        shape(parts * g + 1, (1, 1), min(p.J + 1, 16), 1, channel=True),
        shape(g + 1, (3, 3), 3, 3, chunk_blocks=2, channel=True),
        shape(2, (3, 3), 5, 2, chunk_taps=4, channel=True),  # sets of two chunks in one word
        shape(1, (7, 7), 2, 1, chunk_taps=20, channel=True),
        shape(2, (2, 3), 12, 2, chunk_blocks=2, channel=True),
        shape(1, (5, 5), 16, 1, chunk_taps=9, channel=True),
    ]
    return [job for job in shapes if fits(job, p)]


def random_shape(rng: random.Random, p: WgenParameters) -> WgenJob:
    """Return a random shape that the build can run."""
    kernels = (
        [(k, k) for k in range(1, 8)] + [(3, 3)] * 4 + [(1, 1), (1, 3), (3, 1), (2, 7), (6, 5)]
    )
    while True:
        kind = rng.choices(["kernel", "channel", "dense"], [4, 4 * p.CHANNEL_AXIS, 2])[0]
        kernel = rng.choice(kernels)
        taps = kernel[0] * kernel[1]
        blocks = rng.randint(1, 4)
        split = taps > 1 and rng.random() < 0.4
        most = {"kernel": min(taps, p.N_MAX), "channel": min(16, p.N_MAX), "dense": 1}[kind]
        job = shape(
            rng.randint(1, 12),
            kernel,
            0 if kind == "dense" else rng.randint(1, most),
            blocks,
            chunk_blocks=1 if split else rng.randint(1, blocks + 1),
            chunk_taps=rng.randint(1, taps) if split else 0,
            channel=kind == "channel",
        )
        if fits(job, p, words=250):
            return job


def random_alphas(
    rng: random.Random, job: WgenJob, codes: Sequence[int], p: WgenParameters
) -> list[int]:
    """Return a job's alpha memory words: random alphas whose weights fit DW bits.

    Sums on the way to a weight may well leave the range. Lanes of filters that do not exist and
    lanes that hold no alpha are random, too.
    """
    limit = (1 << (p.DW - 1)) - 1
    random_ints = np.random.default_rng(rng.getrandbits(64)).integers
    shape_ = (job.stored_words(p), p.G, p.T_P)
    words = random_ints(-limit, limit + 1, shape_)
    if job.dense:
        return [p.pack(word.reshape(-1)) for word in words]
    if job.channel:
        sets_shape = (job.weight_words(p.G), job.codes, p.G, p.halves)
    else:
        sets_shape = (len(words) // job.codes, job.codes, p.G, p.T_P)
    sets = random_ints(-limit, limit + 1, sets_shape)
    edge = random_ints(0, 8, sets_shape)
    sets = np.where(edge == 0, limit, np.where(edge == 1, -limit, sets))
    matrix = code_matrix(job, codes)
    while True:
        peak = np.abs(np.einsum("sngc,nt->sgct", sets, matrix)).max(axis=-1)
        over = peak > limit
        if not over.any():
            break
        # Scaling down one alpha of each set that does not fit keeps the others large.
        victim = np.abs(sets).argmax(axis=1)
        index = np.nonzero(over)
        sets[index[0], victim[index], index[1], index[2]] //= 2
    if job.channel:
        stored = words.reshape(-1, p.G, p.halves, p.T_P // p.halves)
        for word, slots in zip(stored, channel_slots(job, p), strict=True):
            for lane, (k, i) in enumerate(slots):
                if k >= 0:
                    word[:, :, lane] = sets[k, i]
    else:
        words = sets.reshape(shape_)
    return [p.pack(word.reshape(-1)) for word in words]


def code_matrix(job: WgenJob, codes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the codes' values at the job's taps, or at 16 channels: int64 array [n, taps]."""
    if job.channel:
        return hadamard(CHANNEL_BLOCK)[list(codes[: job.codes])].astype(np.int64)
    kernel = max(job.kernel_h, job.kernel_w)
    full = kernel_codes(kernel, codes[: job.codes]).reshape(-1, kernel, kernel)
    return full[:, : job.kernel_h, : job.kernel_w].reshape(job.codes, -1).astype(np.int64)


class OneItem(uvm_sequence):
    """Sends one item."""

    def __init__(self, item: uvm_sequence_item):
        super().__init__("one_item")
        self.item = item

    async def body(self) -> None:
        """Send it."""
        await self.start_item(self.item)
        await self.finish_item(self.item)


class WgenSequence(uvm_sequence):
    """Runs jobs of given shapes through the generator; a virtual sequence.

    Parameters
    ----------
    env : WgenEnv
        Environment with the sequencers and the alpha memory.
    rng : random.Random
        For codes, alphas and places.
    shapes : iterable of WgenJob
        What to run, in order.
    reload : float
        Probability of loading a new code list for a job that could use the present one.

    Attributes
    ----------
    reloads : int
        Code lists loaded.
    """

    def __init__(
        self, env: WgenEnv, rng: random.Random, shapes: Iterable[WgenJob], reload: float = 0.3
    ):
        super().__init__("wgen_sequence")
        self.env = env
        self.rng = rng
        self.shapes = shapes
        self.reload = reload
        self.reloads = 0
        self._list: list[int] = []
        self._region = 0

    async def body(self) -> None:
        """Run all jobs; ends when the last one has been taken."""
        for job in self.shapes:
            if not job.dense:
                await self._provide_codes(job)
            await self.offer(job)

    async def offer(self, job: WgenJob) -> None:
        """Place a job's alphas and offer it; its code list stands already."""
        p = self.env.parameters
        size = p.ALPHA_DEPTH // REGIONS
        words = random_alphas(self.rng, job, self._list, p)
        address = self._region * size + self.rng.randint(0, size - len(words))
        self._region = (self._region + 1) % REGIONS
        self.env.memory.write({address + k: word for k, word in enumerate(words)})
        # What the generator must not look at, or only passes on, is random.
        linear = job.dense or job.channel
        payload = dict(vars(job)) | {
            "alpha_addr": address,
            "alpha_words": len(words) if linear else self.rng.getrandbits(17),
            "channel": job.channel if p.CHANNEL_AXIS else self.rng.getrandbits(1),
            "groups": self.rng.getrandbits(3),
        }
        await OneItem(StreamSequenceItem("job", payload)).start(self.env.job_agent.sequencer)

    async def _provide_codes(self, job: WgenJob) -> None:
        usable = len(self._list) >= job.codes and max(self._list) < code_limit(job)
        if usable and self.rng.random() >= self.reload:
            return
        p = self.env.parameters
        # A list longer than the job needs serves later jobs, and shows that only n codes count.
        limit = code_limit(job)
        length = self.rng.randint(job.codes, min(limit, p.N_MAX))
        self._list = self.rng.sample(range(limit), length)
        self.reloads += 1
        for page in range(-(-length // PAGE)):
            codes = self._list[page * PAGE : (page + 1) * PAGE]
            packed = self.rng.getrandbits(PAGE * CODE_BITS)
            for k, code in enumerate(codes):
                packed &= ~(((1 << CODE_BITS) - 1) << (k * CODE_BITS))
                packed |= code << (k * CODE_BITS)
            item = StreamSequenceItem("codes", {"page": page, "list": packed})
            await OneItem(item).start(self.env.code_agent.sequencer)
