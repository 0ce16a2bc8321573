# SPDX-License-Identifier: Apache-2.0
"""Sequences for the PE array: tiles of random weights and operands."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cocotb.triggers import Event, gather
from pyuvm import uvm_sequence

from verif.agents.stream import Payload, StreamSequenceItem
from verif.env.bits import pack
from verif.env.pe_env import PeEnv, PeParameters
from verif.seqs.wgen import OneItem


@dataclass(frozen=True)
class PeTile:
    """A tile: its chunks all visit the same rows.

    Attributes
    ----------
    filters : int
        Live filters, from 0 on.
    chunks : tuple of int
        Steps of each chunk.
    rows : tuple of int
        Accumulator row of each pixel, in order; a row may occur several times.
    extreme : int
        1, -1: every product is the largest, the smallest one there is; 0: random values.
    corners : bool
        All weights and operands are corners of the multipliers: see `corner_values`.
    groups : int
        Groups of PEs, 1 to S.
    """

    filters: int
    chunks: tuple[int, ...]
    rows: tuple[int, ...]
    extreme: int = 0
    corners: bool = False
    groups: int = 1


def corner_tiles(p: PeParameters) -> list[PeTile]:
    """Return the corner cases: forwarding distances, chunk lengths, filter counts."""
    distinct = tuple(range(p.T_R))
    return (
        [
            PeTile(p.T_C, (p.D,), distinct),  # everything full
            PeTile(p.T_C, (1,), (0,)),  # one operand
            PeTile(p.T_C, (1,), (0,) * 7),  # one row back to back
            PeTile(p.T_C, (2, 1, 2), (3, 3, 3)),
            PeTile(p.T_C, (1, 1, 1, 1), (0,)),  # the same row, chunk after chunk
            PeTile(p.T_C, (1, 1, 1, 1), (1, 0)),  # row again after 2 operands
            PeTile(p.T_C, (1, 1, 1, 1), (0, 1, 2)),  # after 3
            PeTile(p.T_C, (1, 1, 1), (0, 1, 2, 3)),  # after 4
            PeTile(p.T_C, (1, 2, 1, 3), (1, 0)),
            PeTile(p.T_C, (1, 1), (0, 1, 0, 0, 1, 1, 0, 2, 1, 0)),
            PeTile(1, (2, p.D), (0, 1)),  # one filter
            PeTile(max(p.T_C - 1, 1), (3,), (p.T_R - 1, 0)),  # a pair half used
            PeTile(p.T_C, (p.D, p.D, 1), distinct[: p.T_R // 2]),
        ]
        + [
            tile
            for groups in range(2, p.S + 1)
            for tile in (
                PeTile(p.pitch(groups), (p.D, 1, 2), distinct, groups=groups),
                PeTile(p.pitch(groups), (1, 1), (0, 0, 1), groups=groups),
                PeTile(1, (2,), (0, 1, 2), groups=groups),
                PeTile(p.T_C, (1,), (1, 0)),
            )
        ]
    )


def random_tile(rng: random.Random, p: PeParameters, operands: int = 150) -> PeTile:
    """Return a random tile of at most so many operands."""
    chunks = tuple(rng.randint(1, p.D) for _ in range(rng.choice([1, 1, 2, 3, 4])))
    most = max(1, operands // sum(chunks))
    pixels = rng.randint(1, min(p.T_R, most))
    kind = rng.random()
    if kind < 0.2:
        rows = (0,) * rng.randint(1, most)
    elif kind < 0.4:
        rows = tuple(rng.randrange(min(3, p.T_R)) for _ in range(pixels))
    else:
        rows = tuple(rng.sample(range(p.T_R), pixels))
    groups = rng.randint(1, p.S)
    most_filters = p.pitch(groups)
    filters = most_filters if rng.random() < 0.5 else rng.randint(1, most_filters)
    return PeTile(filters, chunks, rows, groups=groups)


def corner_values(bits: int, symmetric: bool) -> list[int]:
    """Return the values at which products of numbers of so many bits change their form."""
    limit = 1 << (bits - 1)
    values = [-limit + 1, -limit // 2, -1, 0, 1, 2, limit // 2, limit - 1]
    return values if symmetric else [-limit, *values]


def random_weights(
    rng: random.Random, p: PeParameters, shape: Sequence[int], tile: PeTile
) -> npt.NDArray[np.int64]:
    """Return weights of the symmetric range, the extremes and small values often."""
    limit = (1 << (p.DW - 1)) - 1
    if tile.extreme:
        return np.full(shape, -limit * tile.extreme)
    if tile.corners:
        return _random_choice(rng, shape, corner_values(p.DW, symmetric=True))
    return _random_values(rng, shape, -limit, limit)


def random_operands(
    rng: random.Random, p: PeParameters, shape: Sequence[int], tile: PeTile
) -> npt.NDArray[np.int64]:
    """Return operands of the whole range, the extremes and small values often."""
    limit = 1 << (p.OPERAND_W - 1)
    if tile.extreme:
        return np.full(shape, -limit)
    if tile.corners:
        return _random_choice(rng, shape, corner_values(p.OPERAND_W, symmetric=False))
    return _random_values(rng, shape, -limit, limit - 1)


def _random_choice(
    rng: random.Random, shape: Sequence[int], values: Sequence[int]
) -> npt.NDArray[np.int64]:
    return np.random.default_rng(rng.getrandbits(64)).choice(np.array(values, np.int64), shape)


def _random_values(
    rng: random.Random, shape: Sequence[int], low: int, high: int
) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng(rng.getrandbits(64))
    values = generator.integers(low, high + 1, shape)
    kind = generator.integers(0, 10, shape)
    for k, value in enumerate((low, high, 0, -1, 1)):
        values = np.where(kind == k, value, values)
    return values


class PeSequence(uvm_sequence):
    """Runs tiles; a virtual sequence. Weights, operands and drains go on at the same time.

    Parameters
    ----------
    env : PeEnv
        Environment with the sequencers.
    rng : random.Random
        For the values.
    tiles : sequence of PeTile
        What to run, in order; banks alternate.
    """

    def __init__(self, env: PeEnv, rng: random.Random, tiles: Sequence[PeTile]):
        super().__init__("pe_sequence")
        self.env = env
        self.tiles = tiles
        self.word_rng = random.Random(rng.getrandbits(64))
        self.operand_rng = random.Random(rng.getrandbits(64))
        self.drain_rng = random.Random(rng.getrandbits(64))
        self.drained = 0
        self._drained_event = Event()

    async def body(self) -> None:
        """Run all tiles; ends when the last row was read."""
        self.before = self.env.tiles.done
        await gather(self._weights(), self._operands(), self._drains())

    async def _weights(self) -> None:
        for tile in self.tiles:
            for steps in tile.chunks:
                await self.send_chunk(tile, steps)

    async def send_chunk(self, tile: PeTile, steps: int) -> None:
        """Send the weight words of a chunk, in the generator's order."""
        p, rng = self.env.parameters, self.word_rng
        groups = -(-tile.filters // p.G)
        weights = random_weights(rng, p, (groups, steps, p.G, p.T_P), tile)
        # A group of filters may get its steps in several parts: one for each channel block.
        part = rng.randint(1, steps)
        words = []
        for first in range(0, steps, part):
            for group in range(groups):
                for step in range(first, min(first + part, steps)):
                    last = group == groups - 1 and step == steps - 1
                    words.append(
                        {
                            "data": pack(weights[group, step].reshape(-1), p.DW),
                            "filter": group * p.G,
                            "step": step,
                            "last": int(last),
                            "groups": tile.groups,
                        }
                    )
        await OneItem(StreamSequenceItem("words", words)).start(self.env.word_agent.sequencer)

    async def _operands(self) -> None:
        for number, tile in enumerate(self.tiles):
            while number >= self.drained + 2:
                self._drained_event.clear()
                await self._drained_event.wait()
            for chunk in range(len(tile.chunks)):
                item = StreamSequenceItem("operands", self.operands(number, tile, chunk))
                await OneItem(item).start(self.env.operand_agent.sequencer)

    def operands(self, number: int, tile: PeTile, chunk: int) -> list[Payload]:
        """Return the operands of a chunk."""
        p, rng = self.env.parameters, self.operand_rng
        steps = tile.chunks[chunk]
        values = random_operands(rng, p, (len(tile.rows), steps, p.S * p.T_P), tile)
        seen: set[int] = set()
        operands = []
        for pixel, row in enumerate(tile.rows):
            fresh = chunk == 0 and row not in seen
            seen.add(row)
            for step in range(steps):
                chunk_last = pixel == len(tile.rows) - 1 and step == steps - 1
                operands.append(
                    {
                        "data": pack(values[pixel, step], p.OPERAND_W),
                        "step": step,
                        "row": row,
                        "bank": (self.before + number) % 2,
                        # Counts with the first step only.
                        "fresh": int(fresh) if step == 0 else rng.getrandbits(1),
                        "first": int(step == 0),
                        "last": int(step == steps - 1),
                        "chunk_last": int(chunk_last),
                        "tile_last": int(chunk_last and chunk == len(tile.chunks) - 1),
                    }
                )
        return operands

    async def _drains(self) -> None:
        state = self.env.tiles
        for number, tile in enumerate(self.tiles):
            while state.done <= self.before + number:
                state.done_event.clear()
                await state.done_event.wait()
            rows = sorted(set(tile.rows))
            self.drain_rng.shuffle(rows)
            rows += rows[:1]  # reading changes nothing
            bank = (self.before + number) % 2
            item = StreamSequenceItem("drain", [(bank, row) for row in rows])
            await OneItem(item).start(self.env.drain_agent.sequencer)
            self.drained += 1
            self._drained_event.set()
