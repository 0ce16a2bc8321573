# SPDX-License-Identifier: Apache-2.0
"""What one COMPUTE instruction asks of each stage, in cycles and words."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unzipfpga.config import Config
from unzipfpga.model.timing import Timing

Fields = dict[str, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Weights that fill one half of the register files.

    Attributes
    ----------
    steps : int
        Steps of each accumulator row.
    emit : int
        Cycles that the generator takes for the words.
    sets : int
        Sets of alphas, each of them read and released together.
    """

    steps: int
    emit: int
    sets: int


@dataclass(frozen=True, slots=True)
class Weights:
    """A tile as the weights generator sees it.

    Attributes
    ----------
    chunks : tuple of Chunk
    rows : int
        Cycles of a weight word: J codes each.
    read : int
        Alpha mem words of a set.
    emit : int
        Cycles that a set is in use.
    hold : int
        Sets that the hold buffer has room for.
    """

    chunks: tuple[Chunk, ...]
    rows: int
    read: int
    emit: int
    hold: int

    @property
    def sets(self) -> int:
        """Sets of the tile."""
        return sum(chunk.sets for chunk in self.chunks)


def weights_of(f: Fields, config: Config) -> Weights:
    """Return a COMPUTE's work for the weights generator; in the code domain it passes words on."""
    taps, chunk_taps = f["kernel_h"] * f["kernel_w"], f["chunk_taps"]
    if f["project"] and not f["channel"]:
        taps = chunk_taps = f["codes"]
    return _weights(
        -(-f["blocks"] // step_blocks(f)),
        taps,
        f["chunk_blocks"],
        chunk_taps,
        -(-f["filters"] // config.G),
        f["codes"],
        f["alpha_words"] if f["channel"] and not f["project"] else 0,
        bool(f["dense"] or f["project"]),
        config.J,
        -(-config.N_MAX // config.J),
    )


@lru_cache(maxsize=4096)
def _weights(
    blocks: int,
    taps: int,
    chunk_blocks: int,
    chunk_taps: int,
    words: int,
    codes: int,
    shared_words: int,
    dense: bool,
    per_cycle: int,
    most_rows: int,
) -> Weights:
    """Return the chunks of a tile; `words` are generated for each block and tap of it."""
    if chunk_taps < taps:
        parts = [(1, min(chunk_taps, taps - t)) for t in range(0, taps, chunk_taps)] * blocks
    else:
        parts = [
            (min(chunk_blocks, blocks - b), taps) for b in range(0, blocks, max(1, chunk_blocks))
        ]
    ring = 8 if most_rows <= 4 else 1 << (2 * most_rows - 1).bit_length()
    rows = 1 if dense else -(-codes // per_cycle)
    chunks = []
    if dense or shared_words:  # a set is one alpha mem word
        total = blocks * taps * words * rows
        sets = total // rows if dense else shared_words
        done = cycles = 0
        for block_count, tap_count in parts:
            emit = block_count * tap_count * words * rows
            cycles += emit
            upto = -(-cycles * sets // total)
            chunks.append(Chunk(block_count * tap_count, emit, upto - done))
            done = upto
        return Weights(tuple(chunks), rows, 1, max(1, total // sets), ring)
    for block_count, tap_count in parts:
        sets = block_count * words
        chunks.append(Chunk(block_count * tap_count, sets * tap_count * rows, sets))
    return Weights(tuple(chunks), rows, codes, min(taps, chunk_taps) * rows, ring // rows)


def step_blocks(f: Fields) -> int:
    """Return the channel blocks that make the operand of a step."""
    return 16 // f["codes"] if f["project"] and f["channel"] else 1


def step_ports(f: Fields, config: Config) -> int:
    """Return how many channel blocks of a step's operand are read in a cycle."""
    alone = f["groups"] == 1 and config.T_P >= 16
    return min(config.S, step_blocks(f)) if alone else 1


def step_reads(f: Fields, config: Config) -> int:
    """Return the cycles of a step's reads, but for those along the kernel in the code domain."""
    return step_blocks(f) // step_ports(f, config)


def pixel_rows(f: Fields) -> int:
    """Return the accumulator rows of a tile: the cycles of each step."""
    return -(-f["pixels"] // f["groups"])


_WINDOW = (
    *("kernel_h", "kernel_w", "in_h", "in_w", "stride_h", "stride_w", "pad_top", "pad_left"),
    *("out_x", "out_y", "out_w", "pixels", "groups", "src_shift"),
)


def conflicts_of(f: Fields, config: Config) -> float:
    """Return the cycles that pixels of one step lose to each other's banks, for each step.

    The mean over a tile's taps and pixels; channel blocks move all pixels to other banks alike.
    """
    if f["groups"] == 1:
        return 0.0
    return _conflicts(tuple(f[key] for key in _WINDOW), config.ACT_BANKS)


@lru_cache(maxsize=4096)
def _conflicts(key: tuple[int, ...], banks: int) -> float:
    f = dict(zip(_WINDOW, key, strict=True))
    groups, rows = f["groups"], pixel_rows(f)
    pixel = np.arange(rows * groups)
    place = f["out_x"] + pixel
    y0 = (f["out_y"] + place // f["out_w"]) * f["stride_h"] - f["pad_top"]
    x0 = place % f["out_w"] * f["stride_w"] - f["pad_left"]
    y = y0[:, None, None] + np.arange(f["kernel_h"])[:, None]
    x = x0[:, None, None] + np.arange(f["kernel_w"])
    live = (pixel < f["pixels"])[:, None, None] & (y >= 0) & (y < f["in_h"])
    live = live & (x >= 0) & (x < f["in_w"])
    bank = np.broadcast_to((x >> f["src_shift"]) % banks, live.shape)
    hits = np.stack([(live & (bank == b)).reshape(rows, groups, -1).sum(1) for b in range(banks)])
    lost: NDArray[np.int64] = np.maximum(hits.max(0) - 1, 0)
    return float(lost.mean())


# Projected windows ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the projector is behind the window reader; cycles count from the next read on.

    Attributes
    ----------
    places : tuple of int
        When each of the last reads was taken from the buffer.
    before : int
        From when on reads of columns left of a line can be taken.
    fill : int
        From when on those of the next S pixels can.
    window : int
        When the window's last code is projected.
    """

    places: tuple[int, ...]
    before: int
    fill: int
    window: int

    def later(self, cycles: int) -> "Lag":
        """Return the same some cycles later."""

        def clip(cycle: int) -> int:
            return max(cycle - cycles, _LONG_AGO)

        places = tuple(map(clip, self.places))
        return Lag(places, clip(self.before), clip(self.fill), clip(self.window))


_LONG_AGO = -16
NO_LAG = Lag((_LONG_AGO,) * 8, _LONG_AGO, _LONG_AGO, _LONG_AGO)


@dataclass(frozen=True, slots=True)
class Projected:
    """A chunk of projected windows; cycles count from the first one in which it could be read.

    Attributes
    ----------
    read : int
        The last read.
    operands : int
        Operands that the PEs get.
    lost : int
        Cycles that reads lost to each other's banks.
    lag : Lag
        Its `window` is when the last code is projected.
    """

    read: int
    operands: int
    lost: int
    lag: Lag


_READS = (
    *("in_h", "in_w", "stride_h", "stride_w", "pad_top", "pad_left", "out_x", "out_y", "out_w"),
    *("pixels", "groups", "codes", "src_shift"),
)


def project(f: Fields, config: Config, lag: Lag, timing: Timing) -> Projected:
    """Return when the windows of one channel block are read and projected.

    A read goes to a buffer, from there to the columns left of a line or to the next S pixels, and
    these go to the window when its last code is projected.
    """
    reads = _reads(tuple(f[key] for key in _READS), config.ACT_BANKS, config.S)
    return _project(reads, lag, timing)


@lru_cache(maxsize=4096)
def _reads(
    key: tuple[int, ...], banks: int, ways: int
) -> tuple[tuple[int, bool, tuple[int, ...]], ...]:
    """Return the rows of S pixels that are read for a chunk.

    Each is (operands, whether it is a line's first one, cycles that each read takes); rows left of
    a line have no operands.
    """
    f = dict(zip(_READS, key, strict=True))
    stride, at, y, left = f["stride_w"], f["out_x"], f["out_y"], f["pixels"]
    before = 2 if ways == 1 and stride == 1 else 1
    rows = []
    while left > 0:
        pixels = min(left, f["out_w"] - at)
        x = at * stride - f["pad_left"]
        for number in range(-before, -(-pixels // ways)):
            reads = []
            for row in range(3):
                inside = 0 <= y * f["stride_h"] - f["pad_top"] + row < f["in_h"]
                for phase in range(stride):
                    places = [x + phase + stride * k for k in range(ways)]
                    used = [p >> f["src_shift"] for p in places if 0 <= p < f["in_w"]]
                    hits = [sum(p % banks == b for p in used) for b in range(banks)]
                    reads.append(max(1, *hits) if inside else 1)
            live = min(ways, pixels - number * ways) if number >= 0 else 0
            rows.append((-(-live // f["groups"]) * f["codes"], number == 0, tuple(reads)))
            x += ways * stride
        at, y, left = 0, y + 1, left - pixels
    return tuple(rows)


@lru_cache(maxsize=65536)
def _project(rows: tuple[tuple[int, bool, tuple[int, ...]], ...], lag: Lag, t: Timing) -> Projected:
    places = list(lag.places)
    before, fill, window = lag.before, lag.fill, lag.window
    read = issued = -1
    taken = places[-1]
    operands = lost = 0
    for made, line_first, reads in rows:
        free = fill if made else before
        for cycles in reads:
            issued = read = max(issued + 1, places[-t.projector_places] + 1) + cycles - 1
            lost += cycles - 1
            taken = max(read + t.projector_word, taken + 1, free)
            places.append(taken)
        if not made:
            continue
        moved = max(taken + t.projector_row, window)
        fill, window = moved, moved + made
        operands += made
        if line_first:
            before = moved + t.projector_before
    return Projected(read, operands, lost, Lag(tuple(places[-8:]), before, fill, window))


# Readers of idle slots --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shares:
    """What a window and another reader leave each other of act mem's cycles.

    Attributes
    ----------
    reader : float
        Words that the other reader gets a cycle, at most its own rate.
    window : float
        Steps that the window reader makes a cycle.
    """

    reader: float
    window: float


def window_banks(f: Fields, config: Config, places: int) -> tuple[tuple[int, ...], ...]:
    """Return the banks that each of a tile's first steps reads, for `shares`.

    `places` are those of the projector's buffer.
    """
    key = tuple(f[key] for key in _STEPPING)
    return _window_banks(key, config.ACT_BANKS, config.S, step_ports(f, config), places)


_STEPPING = (
    *("kernel_h", "kernel_w", "in_w", "stride_w", "pad_left", "out_x", "out_w", "pixels"),
    *("groups", "src_shift", "src_bank", "blocks", "chunk_blocks", "chunk_taps"),
    *("project", "channel", "codes"),
)
_STEPS = 1024  # of a window that are looked at


@lru_cache(maxsize=1024)
def _window_banks(
    key: tuple[int, ...], banks: int, ways: int, ports: int, places: int
) -> tuple[tuple[int, ...], ...]:
    """Return the banks of a tile's first steps, rows above and below the map left out."""
    f = dict(zip(_STEPPING, key, strict=True))
    steps: list[tuple[int, ...]] = []
    taps = f["kernel_h"] * f["kernel_w"]
    if f["project"] and not f["channel"]:
        # The reads of S pixels, and the cycles in which the window waits for their codes. A read
        # is asked for when one leaves the full buffer, so many reads before it.
        stride = f["stride_w"]
        reads, made = 3 * stride, -(-ways // f["groups"]) * f["codes"]
        idle = [()] * max(0, made - reads)
        for row in range(min(_STEPS // max(reads, made), -(-f["out_w"] // ways))):
            of_row: list[tuple[int, ...]] = []
            for number in range(reads):
                first = row * ways * stride - f["pad_left"] + number % stride
                columns = [first + k * stride for k in range(ways)]
                there = [x >> f["src_shift"] for x in columns if 0 <= x < f["in_w"]]
                of_row.append(tuple((f["src_bank"] + x) % banks for x in there))
            steps += [*of_row[: places % reads], *idle, *of_row[places % reads :]]
        return tuple(steps)
    together = 16 // f["codes"] if f["project"] else 1  # along the channels
    for row in range(pixel_rows(f)):
        pixels = range(row * f["groups"], min(f["pixels"], (row + 1) * f["groups"]))
        for first, tap in product(
            range(0, min(f["blocks"], f["chunk_blocks"] * together), together),
            range(min(f["chunk_taps"], taps)),
        ):
            for block in range(first, first + together, ports):
                used = []
                for pixel, port in product(pixels, range(ports)):
                    across = (f["out_x"] + pixel) % f["out_w"]
                    x = across * f["stride_w"] - f["pad_left"] + tap % f["kernel_w"]
                    if 0 <= x < f["in_w"] and block + port < f["blocks"]:
                        used.append((f["src_bank"] + block + port + (x >> f["src_shift"])) % banks)
                steps.append(tuple(used))
                if len(steps) == _STEPS:
                    return tuple(steps)
    return tuple(steps)


@lru_cache(maxsize=4096)
def shares(
    window: tuple[tuple[int, ...], ...],
    reader: tuple[int, ...],
    starved: int,
    spacing: int,
    ahead: int,
) -> Shares:
    """Return what a window and a reader of idle slots get, their banks given.

    Parameters
    ----------
    window : tuple of tuple of int
        Banks of each step, over and over again; a step with two reads of one bank takes two cycles.
    reader : tuple of int
        Banks of the reader's words, over and over again.
    starved : int
        Cycles without a read after which the window stands for one.
    spacing : int
        Cycles in which a word is used up.
    ahead : int
        Words that the reader's buffer holds.
    """
    cycles = steps = words = waited = 0
    length = len(window)
    while words < 512 and cycles < 4096:
        used = window[steps % length]
        for turn in range(max(1, len(used) - len(set(used)) + 1)):
            cycles += 1
            if words * spacing >= cycles + ahead * spacing:
                continue
            bank = reader[words % len(reader)]
            if turn == 0 and bank in used:
                waited += 1
                if waited < starved:
                    continue
                cycles += 1  # the window stands for this cycle
            words += 1
            waited = 0
        steps += 1
    return Shares(min(1 / spacing, words / cycles), steps / cycles)
