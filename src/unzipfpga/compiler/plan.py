# SPDX-License-Identifier: Apache-2.0
"""Planning: how each layer is cut into tiles and chunks, and where each tensor lies in act mem."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import prod

from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.fold import folded
from unzipfpga.compiler.lower import EngineLayer, LoweredNetwork, Map
from unzipfpga.config import Config
from unzipfpga.ovsf.codes import CHANNEL_LENGTH

STRIDE_SHIFT = {1: 0, 2: 1, 4: 2}
CHUNK_BLOCKS_MAX = 63
PIXELS_MAX = 4095  # of a tile
DRAIN_START = 10  # cycles from the end of a tile's drain to the start of the next one's, at least
ALIGNMENT = 64  # bytes, of every DRAM offset


def ceil_div(a: int, b: int) -> int:
    """Return the smallest integer that is at least a/b."""
    return -(-a // b)


@dataclass(frozen=True)
class View:
    """Where a tensor lies in act mem: word (block, y, x) is in

    bank  = ((x >> shift) + block) mod ACT_BANKS
    entry = base + block*block_pitch + y*row_pitch
          + ((x >> (shift + log2(ACT_BANKS))) << shift) + (x mod 2^shift)

    Attributes
    ----------
    blocks, height, width : int
        Channel blocks of T_P, rows and columns.
    shift : int
        Stride shift of the layer whose windows are read from it.
    row_pitch, block_pitch : int
        Entries.
    base : int
        First entry.
    """

    blocks: int
    height: int
    width: int
    shift: int
    row_pitch: int
    block_pitch: int
    base: int = 0

    @property
    def entries(self) -> int:
        """Entries of each bank that the tensor takes."""
        return self.blocks * self.block_pitch

    @property
    def words(self) -> int:
        """Words of the tensor."""
        return self.blocks * self.height * self.width


@dataclass(frozen=True)
class Tile:
    """One COMPUTE instruction: some filters, pixels and channel blocks of a layer.

    Attributes
    ----------
    first_filter, filters : int
    first_pixel, pixels : int
        In raster order of the map before pooling.
    first_block, blocks : int
        Channel blocks of the input.
    first, last : bool
        Whether the sums start and end with this tile; both unless the blocks are cut into parts.
    pe_groups : int
        Groups of PEs that hold the same filters and take different pixels.
    """

    first_filter: int
    filters: int
    first_pixel: int
    pixels: int
    first_block: int
    blocks: int
    first: bool
    last: bool
    pe_groups: int = 1

    @property
    def rows(self) -> int:
        """Accumulator rows: the cycles of each step."""
        return ceil_div(self.pixels, self.pe_groups)


@dataclass(frozen=True)
class FilterTile:
    """Filters that are computed together, for all pixels of a layer.

    Attributes
    ----------
    first, filters : int
    pe_groups : int
        Groups of PEs that hold them and take different pixels.
    pixels : int
        Of a full tile.
    """

    first: int
    filters: int
    pe_groups: int
    pixels: int


@dataclass(frozen=True)
class Tiling:
    """How a layer is cut.

    Attributes
    ----------
    layer : EngineLayer
    filters, blocks : int
        Most of a tile; `blocks` is less than its filters need if their alphas do not fit alpha mem.
    filter_tiles : tuple of FilterTile
        In order.
    chunk_blocks, chunk_taps : int
        Of a chunk: whole blocks, or some taps of one block.
    filter_group, block_words, channels : int
        Filters generated side by side (G), alpha mem words of one of these groups and one block,
        channels of a block (T_P).
    word_sets : int
        Weight words of a channel-axis layer whose alphas share an alpha mem word; `block_words` are
        counted as if they did not.
    """

    layer: EngineLayer
    filters: int
    blocks: int
    filter_tiles: tuple[FilterTile, ...]
    chunk_blocks: int
    chunk_taps: int
    filter_group: int
    block_words: int
    channels: int
    word_sets: int = 1

    def blocks_of(self, first_filter: int, filters: int) -> tuple[int, int]:
        """Return the first channel block that some filters need, and the one behind the last."""
        first, end = self.layer.channels_of(first_filter, filters)
        return first // self.channels, ceil_div(end, self.channels)

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles in the order in which they run: filters, then pixels, then channel blocks.

        Where all pixels are summed, channel blocks come before pixels: alphas are loaded once.
        """
        return list(self._tiles())

    def _tiles(self) -> Iterator[Tile]:
        for part in self.filter_tiles:
            first_block, end_block = self.blocks_of(part.first, part.filters)
            pixel_parts = range(0, self.layer.pixels, part.pixels)
            block_parts = range(first_block, end_block, self.blocks)
            if self.layer.row0:
                order = [(pixel, block) for block in block_parts for pixel in pixel_parts]
            else:
                order = [(pixel, block) for pixel in pixel_parts for block in block_parts]
            for pixel, block in order:
                pixels = min(part.pixels, self.layer.pixels - pixel)
                blocks = min(self.blocks, end_block - block)
                first, last = block == first_block, block + blocks == end_block
                if self.layer.row0:
                    first = first and pixel == 0
                    last = last and pixel + pixels == self.layer.pixels
                yield Tile(
                    first_filter=part.first,
                    filters=part.filters,
                    first_pixel=pixel,
                    pixels=pixels,
                    first_block=block,
                    blocks=blocks,
                    first=first,
                    last=last,
                    pe_groups=part.pe_groups,
                )

    def alpha_words(self, tile: Tile) -> int:
        """Alpha mem words of a tile."""
        words = tile.blocks * ceil_div(tile.filters, self.filter_group) * self.block_words
        return ceil_div(words, self.word_sets)

    def chunks(self, tile: Tile) -> int:
        """Chunks of a tile."""
        return len(chunk_steps(tile.blocks, self.layer.taps, self.chunk_blocks, self.chunk_taps))


@dataclass(frozen=True)
class Plan:
    """The plan of a whole network.

    Attributes
    ----------
    network : LoweredNetwork
    config : Config
    tilings : tuple of Tiling
        One for each layer.
    views : dict of str to View
        Stored tensor -> its place.
    lifetimes : dict of str to (first, last)
        Layer numbers between which a tensor is in use; the input's begins at -1.
    """

    network: LoweredNetwork
    config: Config
    tilings: tuple[Tiling, ...]
    views: dict[str, View]
    lifetimes: dict[str, tuple[int, int]]

    @property
    def act_entries(self) -> int:
        """Entries of each act mem bank in use at the fullest moment."""
        return max(view.base + view.entries for view in self.views.values())


def plan(network: LoweredNetwork, config: Config, fold: bool = False) -> Plan:
    """Plan a network.

    Parameters
    ----------
    network : LoweredNetwork
    config : Config
    fold : bool
        Fold the first layer if that makes it faster; the fastest folding that fits act mem.

    Raises
    ------
    CompileError
        A layer that does not fit the configuration; names the layer, what it needs and the bound.
    """
    check_config(config)
    lifetimes = _lifetimes(network)
    for variant in [*(folded(network, config) if fold else []), network]:
        try:
            views = _place(variant, config, lifetimes)
            break
        except CompileError:
            if variant is network:
                raise
    tilings = tuple(tile_layer(layer, config) for layer in variant.layers)
    return Plan(variant, config, tilings, views, lifetimes)


def check_config(config: Config) -> None:
    """Refuse a configuration that the engine's blocks cannot be built with.

    Raises
    ------
    CompileError
        Names the parameters.
    """
    if config.T_P % config.Q or config.T_C % config.Q:
        raise CompileError(
            f"T_P = {config.T_P} and T_C = {config.T_C} must be multiples of Q = {config.Q}"
        )
    if config.ACT_BANKS & (config.ACT_BANKS - 1):
        raise CompileError(f"ACT_BANKS = {config.ACT_BANKS} is not a power of two")
    if config.T_C > config.Q * config.PARAM_DEPTH:
        raise CompileError(
            f"T_C = {config.T_C} filters need {config.T_C // config.Q} words of parameters, "
            f"PARAM_DEPTH is {config.PARAM_DEPTH}"
        )


# Tiles and chunks --------------------------------------------------------------------------------


def chunk_steps(blocks: int, taps: int, chunk_blocks: int, chunk_taps: int) -> list[int]:
    """Return the steps of every chunk of a tile, in order."""
    if chunk_taps < taps:
        return [min(chunk_taps, taps - t) for t in range(0, taps, chunk_taps)] * blocks
    return [taps * min(chunk_blocks, blocks - b) for b in range(0, blocks, chunk_blocks)]


def group_pitch(groups: int, config: Config) -> int:
    """Return the PEs from one group to the next: whole pairs, whole beats of G weight words."""
    unit = max(2, config.G)
    return config.T_C // groups // unit * unit


def pe_groups(filters: int, layer: EngineLayer, config: Config) -> int:
    """Return how many groups of PEs can hold so many filters; a row of pixels lies in one line."""
    most = 1 if layer.row0 else min(config.S, layer.conv_map[2])
    return max(g for g in range(1, most + 1) if g == 1 or filters <= group_pitch(g, config))


def cut_filters(
    layer: EngineLayer, limit: int, steps: int, config: Config
) -> tuple[FilterTile, ...]:
    """Cut a layer's filters into tiles of at most `limit`.

    Full tiles first; what is left, less than `limit`, in the pieces that take the fewest cycles:
    few filters leave PEs for several pixels, and two pieces may take less than one (with S = 4,
    48 filters on 64 PEs take a pass, 32 and 16 take 1/2 + 1/4).

    Parameters
    ----------
    steps : int
        Of a pixel.
    """
    total = layer.conv_map[0]

    def piece(first: int, filters: int) -> FilterTile:
        groups = pe_groups(filters, layer, config)
        if layer.row0:  # whole rows
            _, height, width = layer.conv_map
            parts = ceil_div(height, max(1, PIXELS_MAX // width))
            pixels = ceil_div(height, parts) * width
        else:
            rows = ceil_div(layer.pixels, groups)
            tiles = ceil_div(rows, min(config.T_R, PIXELS_MAX // groups))
            pixels = ceil_div(rows, tiles) * groups
        return FilterTile(first, filters, groups, pixels)

    def cycles(filters: int) -> int:
        part = piece(0, filters)
        rows = ceil_div(layer.pixels, part.pe_groups)
        drain = (1 if layer.row0 else layer.pixels) * ceil_div(filters, config.Q)
        return max(rows * steps, drain) + DRAIN_START * ceil_div(layer.pixels, part.pixels)

    @cache
    def best(filters: int) -> tuple[int, tuple[int, ...]]:
        """Fewest cycles for so many filters, and the pieces."""
        ways: list[tuple[int, tuple[int, ...]]] = [(cycles(filters), (filters,))]
        if layer.groups == 1:  # other pieces of a grouped layer need other channels
            for size in range((filters - 1) // config.Q * config.Q, 0, -config.Q):
                rest_cycles, rest = best(filters - size)
                ways.append((cycles(size) + rest_cycles, (size, *rest)))
        return min(ways, key=lambda way: way[0])

    sizes = [limit] * (total // limit)
    if total % limit:
        sizes += best(total % limit)[1]
    firsts = [sum(sizes[:index]) for index in range(len(sizes))]
    return tuple(piece(first, size) for first, size in zip(firsts, sizes, strict=True))


def tile_cycles(
    blocks: int,
    taps: int,
    chunk: tuple[int, int],
    rows: int,
    filters: int,
    codes: int,
    config: Config,
    channel: bool = False,
) -> int:
    """Estimate the cycles of a tile: a chunk computes while the next one's weights are generated.

    A chunk takes the array ``steps*rows`` cycles. The generator needs for it, a block and group
    of G filters, the larger of n (alphas read) and ``taps*ceil(n/J)`` (weight words made); with
    channel-axis codes ceil(n/J) cycles a word, dense ones (`codes` = 0) one. After the last chunk
    comes the next tile's first, taken to be equal to this tile's.

    Parameters
    ----------
    chunk : (blocks, taps)
    codes : int
        n, 0 for a dense layer.
    channel : bool
        Whether they are channel-axis codes.
    """
    steps = chunk_steps(blocks, taps, *chunk)
    groups = ceil_div(filters, config.G)

    def load(count: int) -> int:
        if codes == 0 or channel:
            return groups * count * ceil_div(codes or 1, config.J)
        whole, rest = divmod(count, chunk[1])
        pieces = [chunk[1]] * whole + ([rest] if rest else [])
        return sum(groups * max(codes, piece * ceil_div(codes, config.J)) for piece in pieces)

    following = [*steps[1:], steps[0]]
    return sum(max(now * rows, load(next_)) for now, next_ in zip(steps, following, strict=True))


def choose_chunk(
    blocks: int,
    taps: int,
    rows: int,
    filters: int,
    codes: int,
    config: Config,
    channel: bool = False,
) -> tuple[int, int]:
    """Choose (blocks, taps) of a chunk: the fewest cycles, then the fewest chunks."""
    whole = range(1, min(blocks, config.D // taps, CHUNK_BLOCKS_MAX) + 1)
    cut = range(1, min(taps - 1, config.D) + 1)
    candidates = [(b, taps) for b in whole] + [(1, t) for t in cut]

    def cost(chunk: tuple[int, int]) -> tuple[int, int]:
        cycles = tile_cycles(blocks, taps, chunk, rows, filters, codes, config, channel)
        return cycles, len(chunk_steps(blocks, taps, *chunk))

    return min(candidates, key=cost)


def tile_layer(layer: EngineLayer, config: Config) -> Tiling:
    """Cut a layer into tiles.

    Raises
    ------
    CompileError
        If not even Q filters and one channel block fit; names the layer and the bound.
    """
    block_words, word_sets, unit = len(layer.codes) or layer.taps, 1, 1
    if layer.axis == "channel":
        set_words, word_sets = channel_word(len(layer.codes), config)
        block_words = layer.taps * set_words
        # Blocks that stay in one tile: the generator takes its first channel for number 0 of 16.
        unit = min(ceil_div(CHANNEL_LENGTH, config.T_P), ceil_div(layer.input_map[0], config.T_P))
    sizes = _tile_filters(layer, unit * block_words, word_sets, config)
    if layer.groups == 1:
        return _tiling(layer, sizes[0], block_words, word_sets, unit, config)
    # A tile reads all blocks that one of its filters needs: fewer filters can be faster, and need
    # fewer weights, most of which are 0.
    tilings = [_tiling(layer, filters, block_words, word_sets, unit, config) for filters in sizes]
    return min(tilings, key=lambda tiling: _cost(tiling, config))


def _tiling(
    layer: EngineLayer, filters: int, block_words: int, word_sets: int, unit: int, config: Config
) -> Tiling:
    """Cut a layer into tiles of so many filters."""
    starts = range(0, layer.conv_map[0], filters)
    most = min(filters, layer.conv_map[0])
    needed = [layer.channels_of(start, min(most, layer.conv_map[0] - start)) for start in starts]
    total_blocks = max(ceil_div(end, config.T_P) - first // config.T_P for first, end in needed)
    unit_words = ceil_div(filters, config.G) * block_words * unit
    # Half of alpha mem, so that the next tile's alphas load meanwhile, unless one unit needs more.
    room = config.ALPHA_DEPTH // 2 * word_sets // unit_words or 1
    units = ceil_div(total_blocks, unit)
    blocks = unit * ceil_div(units, ceil_div(units, room))
    parts = cut_filters(layer, filters, total_blocks * layer.taps, config)
    chunk_blocks, chunk_taps = choose_chunk(
        min(blocks, total_blocks),
        layer.taps,
        parts[0].pixels // parts[0].pe_groups,
        parts[0].filters,
        len(layer.codes),
        config,
        layer.axis == "channel",
    )
    return Tiling(
        layer,
        filters,
        blocks,
        parts,
        chunk_blocks,
        chunk_taps,
        config.G,
        block_words,
        config.T_P,
        word_sets,
    )


def channel_word(codes: int, config: Config) -> tuple[int, int]:
    """Return how a weight word's n channel-axis alphas lie in alpha mem: (words, sets in a word).

    A set is ceil(n/J)*J alphas. The lanes of a filter, or of 16 channels if they are more, hold as
    many whole sets as fit; a set that does not fit (T_P = 8, n > 8) takes two words.
    """
    lanes = min(config.T_P, CHANNEL_LENGTH)
    alphas = ceil_div(codes, config.J) * config.J
    return ceil_div(alphas, lanes), max(1, lanes // alphas)


def _cost(tiling: Tiling, config: Config) -> tuple[int, int]:
    """Return a layer's cycles, about, and the alpha mem words of its tiles."""
    layer = tiling.layer
    cycles = words = 0
    known: dict[tuple[int, int, int], int] = {}
    for tile in tiling.tiles:
        key = tile.blocks, tile.pixels, tile.filters
        if key not in known:
            chunk = min(tiling.chunk_blocks, tile.blocks), tiling.chunk_taps
            compute = tile_cycles(
                tile.blocks, layer.taps, chunk, tile.rows, tile.filters, len(layer.codes), config
            )
            rows = 1 if layer.row0 else tile.pixels
            known[key] = max(compute, rows * ceil_div(tile.filters, config.Q) + DRAIN_START)
        cycles += known[key]
        words += tiling.alpha_words(tile)
    return cycles, words


def _tile_filters(
    layer: EngineLayer, least_words: int, word_sets: int, config: Config
) -> list[int]:
    """Return how many filters a tile can have, the most first.

    Limits are the line buffer of a pool and alpha mem: `least_words` words of G filters must fit
    it, `word_sets` of them counting as one.
    """
    outputs = layer.conv_map[0]
    padded = ceil_div(outputs, config.T_P) * config.T_P

    def line_words(filters: int) -> int:
        # A layer's last tile also writes the rest of the last block of T_P channels.
        last = (outputs - 1) // filters * filters
        channels = max(padded - last, filters if last else 0)
        return layer.conv_map[2] * (channels // config.Q)

    line = config.POOL_W * config.T_C // config.Q
    sizes = range(config.T_C, 0, -config.Q)
    short = [n for n in sizes if layer.pool is None or line_words(n) <= line]
    if not short:
        words = min(map(line_words, sizes))
        raise CompileError(
            f"layer {layer.name}: rows of {layer.conv_map[2]} pixels are too long to be pooled: "
            f"they need {words} words of Q = {config.Q} channels, the line buffer holds {line} "
            f"(POOL_W = {config.POOL_W})"
        )
    fitting = [
        filters
        for filters in short
        if ceil_div(filters, config.G) * least_words <= config.ALPHA_DEPTH * word_sets
    ]
    if fitting:
        return fitting
    words = ceil_div(ceil_div(config.Q, config.G) * least_words, word_sets)
    raise CompileError(
        f"layer {layer.name}: {config.Q} filters of one channel block need "
        f"{words} words of alphas, ALPHA_DEPTH is {config.ALPHA_DEPTH}"
    )


# Act mem -----------------------------------------------------------------------------------------


def make_view(shape: Map, shift: int, config: Config) -> View:
    """Return a tensor's view at entry 0."""
    channels, height, width = shape
    row_pitch = ceil_div(width, config.ACT_BANKS << shift) << shift
    blocks = ceil_div(channels, config.T_P)
    return View(blocks, height, width, shift, row_pitch, height * row_pitch)


def _lifetimes(network: LoweredNetwork) -> dict[str, tuple[int, int]]:
    first = {network.input: -1}
    last = {network.input: -1, network.output: len(network.layers)}
    for index, layer in enumerate(network.layers):
        first[layer.target] = index
        for name in (layer.source, layer.residual):
            if name is not None:
                last[name] = max(index, last.get(name, index))
        last.setdefault(layer.target, index)
    return {name: (first[name], last[name]) for name in network.maps}


def _place(
    network: LoweredNetwork, config: Config, lifetimes: dict[str, tuple[int, int]]
) -> dict[str, View]:
    """Give every tensor its entries; tensors in use at the same time do not overlap."""
    shifts: dict[str, int] = {}
    for layer in network.layers:
        shifts.setdefault(layer.source, STRIDE_SHIFT.get(layer.stride[1], 0))
    sized = {
        name: make_view(shape, shifts.get(name, 0), config) for name, shape in network.maps.items()
    }
    by_size = sorted(sized, key=lambda n: (-sized[n].entries, lifetimes[n], n))
    in_order = sorted(sized, key=lambda n: (lifetimes[n], n))
    for names, both_ends in [(by_size, False), (in_order, True)]:
        bases = _fit(names, both_ends, sized, lifetimes, config.ACT_DEPTH)
        if len(bases) == len(sized):
            return {name: replace(sized[name], base=bases[name]) for name in sized}
    failed = next(name for name in names if name not in bases)
    raise _does_not_fit(network, config, sized, lifetimes, failed)


def _fit(
    names: list[str],
    both_ends: bool,
    sized: dict[str, View],
    lifetimes: dict[str, tuple[int, int]],
    depth: int,
) -> dict[str, int]:
    """Place tensors one after the other, each in the first gap; stop at one that does not fit.

    With `both_ends` every second tensor takes the last gap instead, at its end: for a chain of
    layers this fits whenever each layer's input and output fit together.
    """
    bases: dict[str, int] = {}
    for count, name in enumerate(names):
        size = sized[name].entries
        taken = sorted(
            (base, base + sized[other].entries)
            for other, base in bases.items()
            if lifetimes[other][0] <= lifetimes[name][1]
            and lifetimes[name][0] <= lifetimes[other][1]
        )
        gaps, start = [], 0
        for low, high in [*taken, (depth, depth)]:
            if low - start >= size:
                gaps.append((start, low))
            start = max(start, high)
        if not gaps:
            break
        bases[name] = gaps[-1][1] - size if both_ends and count % 2 else gaps[0][0]
    return bases


def _does_not_fit(
    network: LoweredNetwork,
    config: Config,
    sized: dict[str, View],
    lifetimes: dict[str, tuple[int, int]],
    name: str,
) -> CompileError:
    """Explain which layer's tensors do not fit act mem together."""

    def alive(index: int) -> list[str]:
        return [n for n, (first, last) in lifetimes.items() if first <= index <= last]

    def needs(index: int) -> int:
        return sum(sized[n].entries for n in alive(index))

    worst = max(range(len(network.layers)), key=needs)
    if needs(worst) <= config.ACT_DEPTH:  # enough in sum, but in pieces
        worst = max(0, lifetimes[name][0])
    parts = ", ".join(f"'{n}' {list(network.maps[n])} {sized[n].entries}" for n in alive(worst))
    return CompileError(
        f"layer {network.layers[worst].name}: the tensors in use need {needs(worst)} act mem "
        f"entries a bank ({parts}), ACT_DEPTH is {config.ACT_DEPTH}; choose a configuration with a "
        "larger act mem"
    )


def layer_steps(tiling: Tiling) -> int:
    """Return the steps of a layer: the cycles that the array computes, if it never waits."""
    return sum(tile.rows * tile.blocks * tiling.layer.taps for tile in tiling.tiles)


def map_bytes(shape: Map, config: Config) -> int:
    """Return the bytes of a tensor in DRAM, a multiple of `ALIGNMENT`."""
    words = ceil_div(shape[0], config.T_P) * prod(shape[1:])
    return ceil_div(words * config.T_P * config.DW // 8, ALIGNMENT) * ALIGNMENT
