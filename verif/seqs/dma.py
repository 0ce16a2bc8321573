# SPDX-License-Identifier: Apache-2.0
"""Sequences for the DMAs: loads, stores and instruction fetches at the same time."""

import random
from collections.abc import Sequence
from dataclasses import replace

from cocotb.triggers import gather
from pyuvm import uvm_sequence

from verif.agents.stream import StreamSequenceItem
from verif.env.dma_env import DmaEnv
from verif.env.dma_model import ACT, ALPHA, PARAM, DmaParameters, Transfer, View
from verif.seqs.wgen import OneItem

ALIGNMENT = 64  # of DRAM addresses


def random_view(rng: random.Random, p: DmaParameters, words: int, dense: bool) -> View:
    """Return a view whose words all have different places inside the banks.

    Parameters
    ----------
    dense : bool
        Rows and blocks follow each other without gaps, as the compiler lays tensors out.
    """
    while True:
        width = rng.randint(1, max(1, min(words, 20)))
        rows = rng.randint(1, max(1, min(words // width + 1, 8)))
        shift = rng.randint(0, 2)
        column = p.ACT_BANKS << shift
        row = -(-width // column) << shift
        block = row * rows
        if not dense:
            row += rng.randint(0, 3)
            block = row * rows + rng.randint(0, 5)
        blocks = -(-words // (width * rows))
        spare = p.ACT_DEPTH - blocks * block
        if spare >= 0 and row < 1 << 12:
            base = rng.randint(0, spare)
            return View(base, row, block, shift, rng.randrange(p.ACT_BANKS), width, rows)


def plain_view(base: int) -> View:
    """Return a view of which only the base counts."""
    return View(base, 0, 0, 0, 0, 1, 1)


def random_load(
    rng: random.Random, p: DmaParameters, memory: int, words: int, address: int
) -> Transfer:
    """Return a load with a random destination."""
    if memory == ACT:
        return Transfer(address, words, memory, random_view(rng, p, words, rng.random() < 0.5))
    depth = p.ALPHA_DEPTH if memory == ALPHA else p.PARAM_DEPTH
    words = min(words, depth)
    return Transfer(address, words, memory, plain_view(rng.randint(0, depth - words)))


def in_runs(
    rng: random.Random, p: DmaParameters, transfer: Transfer, apart: int = ALIGNMENT
) -> Transfer:
    """Return the transfer cut into runs of a random length, at least `apart` bytes between them."""
    lengths = [n for n in range(1, transfer.words + 1) if transfer.words % n == 0]
    run = rng.choice(lengths)
    size = -(-run * p.word_bytes(transfer.memory) // ALIGNMENT) * ALIGNMENT
    pitch = size + ALIGNMENT * rng.choice([0, 1, rng.randint(0, 8)])
    return replace(transfer, run=run, pitch=pitch + (apart - ALIGNMENT))


def near_border(rng: random.Random, page: int) -> int:
    """Return an aligned address in a page, close to its end mostly."""
    back = rng.choice([1, 2, 3, 8, 16, 40, 64])
    return page * 4096 + 4096 - back * ALIGNMENT


class DmaSequence(uvm_sequence):
    """Runs loads, stores and fetches next to each other; a virtual sequence.

    Parameters
    ----------
    env : DmaEnv
        Environment with the sequencers.
    rng : random.Random
        For the activation memory's contents.
    loads, stores : sequence of Transfer
        In order.
    fetches : sequence of (int, int)
        Address and beats of instruction fetches.
    """

    def __init__(
        self,
        env: DmaEnv,
        rng: random.Random,
        loads: Sequence[Transfer] = (),
        stores: Sequence[Transfer] = (),
        fetches: Sequence[tuple[int, int]] = (),
    ):
        super().__init__("dma_sequence")
        self.env = env
        self.rng = rng
        self.loads = loads
        self.stores = stores
        self.fetches = fetches

    async def body(self) -> None:
        """Offer all; ends when the last one was taken."""
        await gather(self._load(), self._store(), self._fetch())

    async def _load(self) -> None:
        for load in self.loads:
            await self._send(self.env.load_agent, load, {"memory": load.memory})

    async def _store(self) -> None:
        p = self.env.parameters
        for store in self.stores:
            for k in range(store.words):
                place = store.view.place(k, p.ACT_BANKS)
                self.env.act.words[place] = self.rng.getrandbits(8 * p.word_bytes(ACT))
            await self._send(self.env.store_agent, store, {})
            # The next one's contents must not overwrite words that are still to be read.
            while self.env.stored_left and store is not self.stores[-1]:
                await self.env.tick()

    async def _fetch(self) -> None:
        for address, beats in self.fetches:
            offset = self.rng.getrandbits(32)
            item = StreamSequenceItem("fetch", {"addr": address, "beats": beats, "offset": offset})
            await OneItem(item).start(self.env.fetch_agent.sequencer)

    async def _send(self, agent, transfer: Transfer, more: dict[str, int]) -> None:
        payload = {"addr": transfer.address, "words": transfer.words, "pitch": transfer.pitch}
        payload |= {"run": transfer.run or transfer.words, "offset": self.rng.getrandbits(32)}
        payload |= vars(transfer.view) | more
        await OneItem(StreamSequenceItem("job", payload)).start(agent.sequencer)


class RandomTransfers:
    """Random loads, stores and fetches in a DRAM of some pages, stores apart from the rest.

    Parameters
    ----------
    rng : random.Random
        For everything.
    p : DmaParameters
        Parameters of the build.
    page : int
        First of the pages used.
    """

    READ_PAGES = 8
    WRITE_PAGES = 8

    def __init__(self, rng: random.Random, p: DmaParameters, page: int):
        self.rng = rng
        self.p = p
        self.page = page

    def read_address(self) -> int:
        """Return an address in the pages that are read."""
        page = self.page + self.rng.randrange(self.READ_PAGES)
        if self.rng.random() < 0.5:
            return near_border(self.rng, page)
        return page * 4096 + self.rng.randrange(0, 4096, ALIGNMENT)

    def loads(self, count: int, words: int = 60) -> list[Transfer]:
        """Return random loads; with four or more, each memory is among them."""
        memories = [(ACT, ALPHA, PARAM, ACT)[k % 4] for k in range(count)]
        self.rng.shuffle(memories)
        return [
            self.maybe_in_runs(
                random_load(self.rng, self.p, memory, self.rng.randint(1, words), address)
            )
            for memory, address in ((memory, self.read_address()) for memory in memories)
        ]

    def maybe_in_runs(self, transfer: Transfer) -> Transfer:
        """Return the transfer, in runs every other time if they stay in a few pages."""
        cut = in_runs(self.rng, self.p, transfer)
        return cut if self.rng.random() < 0.5 and self.in_page(cut) else transfer

    def in_page(self, transfer: Transfer) -> bool:
        """Say whether a transfer ends less than a page behind the one that it begins in."""
        return transfer.beats(self.p)[-1] // 4096 - transfer.address // 4096 <= 1

    def stores(self, count: int, words: int = 60) -> list[Transfer]:
        """Return random stores, to addresses apart from each other."""
        page = self.page + self.READ_PAGES + 1
        stores = []
        for _ in range(count):
            n = self.rng.randint(1, words)
            address = near_border(self.rng, page)
            store = Transfer(address, n, ACT, random_view(self.rng, self.p, n, False))
            stores.append(self.maybe_in_runs(store))
            page += 2
        return stores

    def fetches(self, count: int) -> list[tuple[int, int]]:
        """Return random fetches of up to 128 bytes, as instructions are fetched."""
        result = []
        for _ in range(count):
            beats = max(1, ALIGNMENT // self.p.beat_bytes)
            result.append((self.read_address() // ALIGNMENT * ALIGNMENT, beats))
        return result

    def windows(self, stores: Sequence[Transfer]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return windows as tight as the transfers allow."""
        size = 4096 * (self.READ_PAGES + 2)
        first = self.page * 4096
        p = self.p
        writes = [b for s in stores for b in s.beats(p)] or [0]
        return (first, first + size - 1), (min(writes), max(writes) + p.beat_bytes - 1)
