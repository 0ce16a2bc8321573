# SPDX-License-Identifier: Apache-2.0
"""Sequences for the projector: tiles along the kernel, steps along the channels, passing words."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyuvm import uvm_sequence

from verif.agents.stream import Payload, StreamSequenceItem
from verif.env.bits import pack
from verif.env.projector_env import CODE_BITS, FLAGS, LIST_CODES, ReaderRun
from verif.env.projector_model import (
    CHANNEL_BLOCK,
    CHANNELS,
    KERNEL,
    PASS,
    IntArray,
    KernelTile,
    ProjectorParameters,
)
from verif.seqs.wgen import OneItem

CHANNEL_CODES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Steps:
    """Operands along the channels, or words that pass.

    Attributes
    ----------
    codes : int
        Codes n, 1, 2, 4 or 8; 0: words that pass.
    count : int
        How many operands.
    single : int
        1: one group of PEs.
    """

    codes: int
    count: int
    single: int = 0


Piece = KernelTile | Steps


@dataclass(frozen=True)
class Layer:
    """Pieces with one list of codes.

    Attributes
    ----------
    codes : tuple of int
        The list, from its first entry on.
    pieces : tuple of KernelTile or Steps
        In order.
    extreme : int
        1 or -1: the values that make the largest sums of the first code; 0: random ones.
    """

    codes: tuple[int, ...]
    pieces: tuple[Piece, ...]
    extreme: int = 0


def random_values(rng: random.Random, bits: int, shape: Sequence[int], extreme: int) -> IntArray:
    """Return activations of the symmetric range, the extremes and small values often."""
    limit = (1 << (bits - 1)) - 1
    generator = np.random.default_rng(rng.getrandbits(64))
    if extreme:
        return np.full(shape, extreme * limit)
    values = generator.integers(-limit, limit + 1, shape)
    kind = generator.integers(0, 10, shape)
    for k, value in enumerate((-limit, limit, 0, -1, 1)):
        values = np.where(kind == k, value, values)
    return values


def kernel_words(
    rng: random.Random, p: ProjectorParameters, tile: KernelTile, extreme: int
) -> list[Payload]:
    """Return random words of a tile along the kernel: the model finds out what they mean."""
    values = random_values(rng, p.DW, (tile.words(p.S), p.S * p.T_P), extreme)
    return [{"domain": KERNEL, "data": pack(word, p.DW)} for word in values]


def step_words(
    rng: random.Random, p: ProjectorParameters, steps: Steps, extreme: int
) -> list[Payload]:
    """Return the words of steps along the channels, or words that pass."""
    words: list[Payload] = []
    for _ in range(steps.count):
        flags = {name: rng.getrandbits(1) for name in FLAGS}
        flags |= {"step": rng.randrange(p.D), "row": rng.randrange(p.T_R)}
        parts = 1
        if steps.codes:
            blocks = CHANNEL_BLOCK // steps.codes
            parts = blocks // (min(p.ports, blocks) if steps.single else 1)
        values = random_values(rng, p.DW, (parts, p.S * p.T_P), extreme)
        if rng.random() < 0.3:  # blocks that there are not
            values[rng.randrange(parts) :] = 0
        for part in range(parts):
            word = {"data": pack(values[part], p.DW), "domain": PASS}
            last = part == parts - 1
            if steps.codes:
                word |= {
                    "domain": CHANNELS,
                    "log2_codes": steps.codes.bit_length() - 1,
                    "part": part,
                    "part_last": int(last),
                    "single": steps.single,
                }
            words.append(word | (flags if last else {}))
    return words


def corner_layers(p: ProjectorParameters) -> list[Layer]:
    """Return the corner cases: every n, stride, number of groups, single pixels, short lines."""
    most = min(8, p.D)
    groups = [g for g in (1, 2) if p.S % g == 0]
    # With the code of all ones first, and with the one of most signs.
    codes = ((0, 15, 5, 10, 3, 12, 6, 9), (15, 1, 2, 4, 8, 7, 11, 13), (0,) * 8)
    layers = []
    for stride_two in (0, 1):
        for g in groups:
            for n in (1, most):
                tiles = (
                    kernel_tile(p, g, 0, g, stride_two, n, g),  # one row
                    kernel_tile(p, 2 * g, g, 2 * g, stride_two, n, g),  # ends of two lines
                    kernel_tile(p, p.T_R * g, 0, 3 * p.S, stride_two, n, g, blocks=2),
                    kernel_tile(p, 5 * g, 0, g, stride_two, n, g, blocks=3, last=0),
                    kernel_tile(p, g, 0, 2048, stride_two, n, g, first=0),
                )
                layers.append(Layer(codes[len(layers) % 2], tiles))
        layers.append(Layer(codes[2], (kernel_tile(p, p.S, 0, p.S, stride_two, 1, 1),), 1))
        layers.append(Layer(codes[2], (kernel_tile(p, p.S, 0, p.S, stride_two, 1, 1),), -1))
    for n in CHANNEL_CODES:
        steps = tuple(Steps(n, 3, single) for single in (0, 1))
        layers.append(Layer(codes[n % 2], steps))
        layers.append(Layer(codes[2], steps, 1))
        layers.append(Layer(codes[2], steps, -1))
    layers.append(Layer(codes[0], (Steps(0, 5),)))
    return layers


def kernel_tile(
    p: ProjectorParameters,
    pixels: int,
    out_x: int,
    out_w: int,
    stride_two: int,
    codes: int,
    groups: int,
    blocks: int = 1,
    first: int = 1,
    last: int = 1,
) -> KernelTile:
    """Return a tile of at most as many pixels as there are rows for."""
    pixels = min(pixels, p.T_R * groups)
    return KernelTile(
        pixels, out_x, out_w, stride_two, groups, codes, blocks, first, last, out_x % 2
    )


def random_tile(rng: random.Random, p: ProjectorParameters, words: int = 400) -> KernelTile:
    """Return a random tile along the kernel of about so many words at most."""
    groups = rng.choice([g for g in (1, 2) if p.S % g == 0])
    stride_two = rng.getrandbits(1)
    pixels = groups * rng.randint(1, p.T_R)
    if rng.random() < 0.2:
        pixels = groups * p.T_R
    out_w = groups * rng.choice([1, 2, 3, rng.randint(1, 40), rng.randint(1, 1023)])
    out_x = groups * rng.randrange(out_w // groups)
    if out_x + pixels <= out_w:  # the last row of a tile inside a line may have fewer pixels
        pixels -= rng.choice([0, rng.randrange(groups)])
    tile = KernelTile(
        pixels,
        out_x,
        out_w,
        stride_two,
        groups,
        rng.randint(1, min(8, p.D)),
        rng.choice([1, 1, 2, 3]),
        rng.getrandbits(1),
        rng.getrandbits(1),
        rng.getrandbits(1),
    )
    return tile if tile.words(p.S) <= words else random_tile(rng, p, words)


def random_layer(rng: random.Random, p: ProjectorParameters) -> Layer:
    """Return random pieces, of one or several domains, with a random list."""
    codes = rng.choice(
        [
            tuple(rng.randrange(16) for _ in range(LIST_CODES)),
            tuple(rng.sample(range(16), 16)),
        ]
    )
    pieces: list[Piece] = []
    one = rng.random() < 0.7
    kind = rng.randrange(5)
    for _ in range(rng.randint(1, 4)):
        if not one:
            kind = rng.randrange(5)
        if kind < 2:
            pieces.append(random_tile(rng, p))
        elif kind < 4:
            n = rng.choice(CHANNEL_CODES)
            pieces.append(Steps(n, rng.randint(1, 8), rng.getrandbits(1)))
        else:
            pieces.append(Steps(0, rng.randint(1, 8)))
    return Layer(codes, tuple(pieces))


def operands_of(layer: Layer) -> int:
    """Return how many operands a layer makes."""
    total = 0
    for piece in layer.pieces:
        if isinstance(piece, Steps):
            total += piece.count
        else:
            rows = sum(-(-pixels // piece.groups) for pixels in piece.lines())
            total += rows * piece.codes * piece.blocks
    return total


class ProjectorSequence(uvm_sequence):
    """Runs layers one after the other.

    Parameters
    ----------
    env : ProjectorEnv
        Environment with the sequencer.
    rng : random.Random
        For the values.
    layers : sequence of Layer
        What to run.
    """

    def __init__(self, env, rng: random.Random, layers: Sequence[Layer]):
        super().__init__("projector_sequence")
        self.env = env
        self.layers = layers
        self.rng = random.Random(rng.getrandbits(64))

    def runs(self, layer: Layer) -> list[ReaderRun]:
        """Return what the driver does for a layer."""
        p, rng = self.env.parameters, self.rng
        codes = [*layer.codes] + [rng.randrange(16) for _ in range(LIST_CODES - len(layer.codes))]
        # The two highest bits of an entry are not used.
        packed = pack((code + 16 * rng.randrange(4) for code in codes), CODE_BITS)
        runs = [ReaderRun(PASS, code_list=packed)]
        for piece in layer.pieces:
            if isinstance(piece, KernelTile):
                words = kernel_words(rng, p, piece, layer.extreme)
                runs.append(ReaderRun(KERNEL, words, tile=piece))
            else:
                domain = CHANNELS if piece.codes else PASS
                runs.append(ReaderRun(domain, step_words(rng, p, piece, layer.extreme)))
        return runs

    async def body(self) -> None:
        """Run all layers; ends when the last word is on its way."""
        for layer in self.layers:
            for run in self.runs(layer):
                item = StreamSequenceItem("reader", run)
                await OneItem(item).start(self.env.agent.sequencer)
