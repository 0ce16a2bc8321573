# SPDX-License-Identifier: Apache-2.0
"""Tiles and chunks: how a layer is cut so that it fits the array and alpha mem."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import lcm
from typing import Literal

from unzipfpga.compiler.domain import Domain, Work
from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.lower import EngineLayer
from unzipfpga.config import Config
from unzipfpga.model.timing import Timing
from unzipfpga.ovsf.codes import CHANNEL_LENGTH

CHUNK_BLOCKS_MAX = 63
PIXELS_MAX = 4095  # of a tile
DRAIN_START = Timing.post_done + Timing.post_again  # from a drain's last word to the next's first
# From a drain's last word to that of the tile after next, which takes the bank, and its own drain.
BANK_TURN = (
    Timing.post_release
    + Timing.bank_free
    + Timing.reader_start
    + Timing.operand
    + Timing.tile_done
    + Timing.post_start
)
PIXEL_TILES = 3  # of a layer at least: the next one can begin before the last one is written
PIECES = 8  # of alpha mem: most of a load, so that the first weights come soon
PIECES_ONCE = 32  # the same of a layer that needs each but once: the last ones come soon, too
JOINED = 16  # of alpha mem: most of what several tiles' alphas are loaded together for ...
JOINED_WORDS = 512  # ... or so many: few loads are ahead at a time, small ones leave it empty
KEPT_MAX = 12  # pieces that are kept; the token counters take 15 regions


def ceil_div(a: int, b: int) -> int:
    """Return the smallest integer that is at least a/b."""
    return -(-a // b)


@dataclass(frozen=True)
class Stripe:
    """Some rows of a layer's map before pooling, with what they are made of and what they give.

    Attributes
    ----------
    first, rows : int
    source_first, source_rows : int
        Loaded, if the source lies in DRAM.
    target_first, target_rows : int
        Stored, if the target does; of a pooled layer the pooled rows.
    lead : int
        Pooled rows in front of those that lack rows of their windows.
    own_map : bool
        The rows are pooled as a map of their own: pooled rows of several stripes have some rows in
        common, which each of them computes.
    """

    first: int
    rows: int
    source_first: int
    source_rows: int
    target_first: int
    target_rows: int
    lead: int = 0
    own_map: bool = False


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
    stripe : int
        Number of the stripe that holds the pixels.
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
    stripe: int = 0

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
        Most of a tile. Its alphas are loaded together: `blocks` is less than the filters need if
        they would take more than a part of alpha mem.
    filter_tiles : tuple of FilterTile
        In order.
    stripes : tuple of Stripe
        In order; one, unless a tensor of the layer lies in DRAM.
    chunk_blocks, chunk_taps : int
        Of a chunk: whole blocks, or some taps of one block.
    filter_group, block_words, channels : int
        Filters generated side by side (G), alpha mem words of one of these groups and one block,
        channels of a block (T_P).
    word_sets : int
        Weight words of a channel-axis layer whose alphas share an alpha mem word; `block_words` are
        counted as if they did not.
    keep : {"layer", "filters", "none"}
        Alphas are loaded once for the layer, once for each run of tiles of the same filters, or
        again for each tile.
    joined_words : int
        Most alpha mem words of neighbouring tiles that are loaded together; 0: none are.
    domain : {"weights", "codes"}
        What the PEs multiply: activations by weights, or projections by alphas.
    step_blocks, step_taps : int
        Channel blocks that make a step's operand, which `chunk_blocks` and `block_words` count as
        one; and steps of a row of pixels and these blocks: taps, or codes.
    """

    layer: EngineLayer
    filters: int
    blocks: int
    filter_tiles: tuple[FilterTile, ...]
    stripes: tuple[Stripe, ...]
    chunk_blocks: int
    chunk_taps: int
    filter_group: int
    block_words: int
    channels: int
    word_sets: int = 1
    keep: Literal["layer", "filters", "none"] = "none"
    joined_words: int = 0
    domain: Domain = "weights"
    step_blocks: int = 1
    step_taps: int = 1

    def blocks_of(self, first_filter: int, filters: int) -> tuple[int, int]:
        """Return the first channel block that some filters need, and the one behind the last."""
        first, end = self.layer.channels_of(first_filter, filters)
        return first // self.channels, ceil_div(end, self.channels)

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles in the order in which they run.

        Stripes, filters, pixels, channel blocks; filters come before stripes in a layer that pools
        one map, whose line buffer holds rows of the same filters, and where all pixels are summed.
        There, channel blocks come before a stripe's pixels: alphas are loaded once for them.
        """
        return list(self._tiles())

    def _tiles(self) -> Iterator[Tile]:
        stripes = range(len(self.stripes))
        if not self.layer.row0 and (self.layer.pool is None or self.stripes[0].own_map):
            order = [(part, number) for number in stripes for part in self.filter_tiles]
        else:
            order = [(part, number) for part in self.filter_tiles for number in stripes]
        for part, number in order:
            yield from self._tiles_of(part, number)

    def _tiles_of(self, part: FilterTile, number: int) -> Iterator[Tile]:
        """Tiles of some filters in a stripe."""
        first_block, end_block = self.blocks_of(part.first, part.filters)
        pixel_parts = self._pixel_parts(part, self.stripes[number])
        block_parts = range(first_block, end_block, self.blocks)
        if self.layer.row0:
            order = [(*pixel, block) for block in block_parts for pixel in pixel_parts]
        else:
            order = [(*pixel, block) for pixel in pixel_parts for block in block_parts]
        for pixel, pixels, block in order:
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
                stripe=number,
            )

    def _pixel_parts(self, part: FilterTile, stripe: Stripe) -> list[tuple[int, int]]:
        """Pixels of the tiles of a stripe: (first, count). A tile has one set of parameters."""
        width = self.layer.conv_map[2]
        begin, end = stripe.first * width, (stripe.first + stripe.rows) * width
        found = []
        for first, last in self.layer.runs:
            first, last = max(first, begin), min(last, end)
            if first >= last:
                continue
            size = part.pixels
            if not self.layer.row0:
                rows = ceil_div(last - first, part.pe_groups)
                size = ceil_div(rows, ceil_div(last - first, part.pixels)) * part.pe_groups
            found += [(pixel, min(size, last - pixel)) for pixel in range(first, last, size)]
        return found

    def alpha_words(self, tile: Tile) -> int:
        """Alpha mem words of a tile."""
        return self._words(tile.blocks, tile.filters)

    def _words(self, blocks: int, filters: int) -> int:
        groups = ceil_div(filters, self.filter_group)
        words = ceil_div(blocks, self.step_blocks) * groups * self.block_words
        return ceil_div(words, self.word_sets)

    def pieces(self, part: FilterTile) -> list[int]:
        """Alpha mem words of each of the loads for some filters."""
        first, end = self.blocks_of(part.first, part.filters)
        return [
            self._words(min(self.blocks, end - block), part.filters)
            for block in range(first, end, self.blocks)
        ]

    def chunks(self, tile: Tile) -> int:
        """Chunks of a tile."""
        blocks = ceil_div(tile.blocks, self.step_blocks)
        return len(chunk_steps(blocks, self.step_taps, self.chunk_blocks, self.chunk_taps))

    def steps(self, tile: Tile) -> int:
        """Steps of a tile for each row of pixels."""
        return ceil_div(tile.blocks, self.step_blocks) * self.step_taps


# Cutting -----------------------------------------------------------------------------------------


def chunk_steps(blocks: int, taps: int, chunk_blocks: int, chunk_taps: int) -> list[int]:
    """Return the steps of every chunk of a tile, in order."""
    if chunk_taps < taps:
        return [min(chunk_taps, taps - t) for t in range(0, taps, chunk_taps)] * blocks
    return [taps * min(chunk_blocks, blocks - b) for b in range(0, blocks, chunk_blocks)]


def cut_filters(
    work: Work, limit: int, blocks: int, shorter: bool = False
) -> tuple[FilterTile, ...]:
    """Cut a layer's filters into tiles of at most `limit`, each from a multiple of Q on.

    Full tiles first; what is left, less than `limit`, in the pieces that take the fewest cycles:
    few filters leave PEs for several pixels, and two pieces may take less than one (with S = 4,
    48 filters on 64 PEs take a pass, 32 and 16 take 1/2 + 1/4).

    Parameters
    ----------
    work : Work
    limit : int
    blocks : int
        Channel blocks of a pixel.
    shorter : bool
        Whether tiles may have fewer pixels than they could, so that array and post stage wait
        less for each other at a layer's beginning and end.
    """
    layer, config = work.layer, work.config
    total, steps = layer.conv_map[0], work.steps(blocks)
    runs = [end - first for first, end in layer.runs]
    word_cycles = ceil_div(work.generated or 1, config.J)

    def cut_pixels(filters: int, groups: int) -> list[FilterTile]:
        if layer.row0:  # whole rows
            _, height, width = layer.conv_map
            parts = ceil_div(height, max(1, PIXELS_MAX // width))
            return [FilterTile(0, filters, groups, ceil_div(height, parts) * width)]
        rows = ceil_div(max(runs), groups)
        most = min(PIXELS_MAX, work.pixels_max)
        tiles = ceil_div(rows, min(config.T_R, most // groups))
        several = max(tiles, min(rows, PIXEL_TILES)) if shorter and len(runs) == 1 else tiles
        return [
            FilterTile(0, filters, groups, ceil_div(rows, count) * groups)
            for count in range(tiles, several + 1)
        ]

    def piece_cycles(part: FilterTile) -> float:
        tiles = sum(ceil_div(run, part.pixels) for run in runs)
        rows = sum(ceil_div(run, part.pe_groups) for run in runs) / tiles
        drain = (1 if layer.row0 else layer.pixels / tiles) * ceil_div(part.filters, config.Q)
        # The weights of few rows can take longer than their products.
        words = steps * ceil_div(part.filters, config.G) * word_cycles
        compute = max(rows * steps * work.pace(part.pe_groups), words)
        tile = max(compute, drain + DRAIN_START, (compute + drain + BANK_TURN) / 2)
        return tiles * tile + min(compute, drain)

    @cache
    def piece_of(filters: int) -> FilterTile:
        parts = [part for groups in work.groups(filters) for part in cut_pixels(filters, groups)]
        return min(parts, key=lambda part: (piece_cycles(part), -part.pe_groups))

    def piece(first: int, filters: int) -> FilterTile:
        return replace(piece_of(filters), first=first)

    def cycles(filters: int) -> float:
        return piece_cycles(piece_of(filters))

    @cache
    def best(filters: int) -> tuple[float, tuple[int, ...]]:
        """Fewest cycles for so many filters, and the pieces."""
        ways: list[tuple[float, tuple[int, ...]]] = [(cycles(filters), (filters,))]
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
    rows: float,
    filters: int,
    codes: int,
    config: Config,
    channel: bool = False,
) -> float:
    """Estimate the cycles of a tile: a chunk computes while the next one's weights are generated.

    A chunk takes the array ``steps*rows`` cycles. The generator needs for it, a block and group
    of G filters, the larger of n (alphas read) and ``taps*ceil(n/J)`` (weight words made); with
    channel-axis codes ceil(n/J) cycles a word, dense ones (`codes` = 0) one. After the last chunk
    comes the next tile's first, taken to be equal to this tile's.

    Parameters
    ----------
    chunk : (blocks, taps)
    rows : float
        Cycles of a step.
    codes : int
        n, 0 for a dense layer, and in the code domain.
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
    rows: float,
    filters: int,
    codes: int,
    config: Config,
    channel: bool = False,
) -> tuple[int, int]:
    """Choose (blocks, taps) of a chunk: the fewest cycles, then the fewest chunks."""
    whole = range(1, min(blocks, config.D // taps, CHUNK_BLOCKS_MAX) + 1)
    cut = range(1, min(taps - 1, config.D) + 1)
    candidates = [(b, taps) for b in whole] + [(1, t) for t in cut]

    def cost(chunk: tuple[int, int]) -> tuple[float, int]:
        cycles = tile_cycles(blocks, taps, chunk, rows, filters, codes, config, channel)
        return cycles, len(chunk_steps(blocks, taps, *chunk))

    return min(candidates, key=cost)


def whole(layer: EngineLayer) -> Stripe:
    """Return all rows of a layer as one stripe."""
    return Stripe(0, layer.conv_map[1], 0, layer.input_map[1], 0, layer.output_map[1])


def tile_layer(
    layer: EngineLayer,
    config: Config,
    stripes: tuple[Stripe, ...] | None = None,
    domain: Domain = "weights",
) -> Tiling:
    """Cut a layer into tiles.

    Parameters
    ----------
    layer : EngineLayer
    config : Config
    stripes : tuple of Stripe, optional
        All rows together if not given.
    domain : {"weights", "codes"}
        One that the layer can run in; see `unzipfpga.compiler.domain.refusal`.

    Raises
    ------
    CompileError
        If not even Q filters and one channel block fit; names the layer and the bound.
    """
    work = Work(layer, domain, config)
    # Blocks that stay in one tile: those of a step; or the generator takes a tile's first channel
    # for number 0 of 16.
    block_words, word_sets, unit = work.step_taps, 1, work.step_blocks
    if domain == "weights":
        block_words = len(layer.codes) or layer.taps
        if layer.axis == "channel":
            set_words, word_sets = channel_word(len(layer.codes), config)
            block_words = layer.taps * set_words
            blocks = ceil_div(layer.input_map[0], config.T_P)
            unit = min(ceil_div(CHANNEL_LENGTH, config.T_P), blocks)
    unit_words = unit // work.step_blocks * block_words
    sizes = _tile_filters(layer, unit_words, word_sets, config)
    stripes = stripes or (whole(layer),)

    def cut(filters: int) -> Tiling:
        few = _tiling(work, filters, stripes, block_words, word_sets, unit, False)
        if len(few.tiles) >= PIXEL_TILES:
            return few
        more = _tiling(work, filters, stripes, block_words, word_sets, unit, True)
        return more if more.keep == few.keep != "none" else few  # alphas are loaded as often

    if layer.groups == 1:
        return cut(sizes[0])
    # A tile reads all blocks that one of its filters needs: fewer filters can be faster, and need
    # fewer weights, most of which are 0.
    return min(map(cut, sizes), key=lambda tiling: tiling_cost(tiling, config))


def _tiling(
    work: Work,
    filters: int,
    stripes: tuple[Stripe, ...],
    block_words: int,
    word_sets: int,
    unit: int,
    shorter: bool,
) -> Tiling:
    """Cut a layer into tiles of so many filters."""
    layer, config, together = work.layer, work.config, work.step_blocks
    starts = range(0, layer.conv_map[0], filters)
    most = min(filters, layer.conv_map[0])
    needed = [layer.channels_of(start, min(most, layer.conv_map[0] - start)) for start in starts]
    total_blocks = max(ceil_div(end, config.T_P) - first // config.T_P for first, end in needed)
    unit_words = ceil_div(filters, config.G) * block_words * (unit // together)

    def room(words: int) -> int:
        """Return the blocks whose alphas fit so many words, a unit at least."""
        return max(1, words * word_sets // unit_words) * unit

    # Half of alpha mem, so that the next tile's alphas load meanwhile, unless one unit needs more.
    longest = min(total_blocks, room(config.ALPHA_DEPTH // 2))
    parts = cut_filters(work, filters, total_blocks, shorter and not work.windows)
    if work.windows:
        chunk_blocks, chunk_taps = 1, work.step_taps
    else:
        chunk_blocks, chunk_taps = choose_chunk(
            ceil_div(longest, together),
            work.step_taps,
            parts[0].pixels // parts[0].pe_groups * work.pace(parts[0].pe_groups),
            parts[0].filters,
            work.generated,
            config,
            layer.axis == "channel" and work.domain == "weights",
        )
    chunk = chunk_blocks * together
    grain = lcm(chunk, unit) if lcm(chunk, unit) <= longest else unit
    blocks = max(grain, room(_piece_words(layer, config)) // grain * grain)
    even = ceil_div(total_blocks, ceil_div(total_blocks, blocks))
    blocks = min(ceil_div(even, grain) * grain, unit * ceil_div(longest, unit))
    tiling = Tiling(
        layer,
        filters,
        blocks,
        parts,
        stripes,
        min(chunk_blocks, ceil_div(blocks, together)),
        chunk_taps,
        config.G,
        block_words,
        config.T_P,
        word_sets,
        domain=work.domain,
        step_blocks=together,
        step_taps=work.step_taps,
    )
    return _kept(tiling, config)


def _piece_words(layer: EngineLayer, config: Config) -> int:
    """Return the most alpha mem words that are loaded together, unless one unit needs more."""
    once = layer.row0 or layer.pixels == 1
    return config.ALPHA_DEPTH // (PIECES_ONCE if once else PIECES)


def _kept(tiling: Tiling, config: Config) -> Tiling:
    """Return the tiling with how long alphas stay in alpha mem: they and two more pieces must fit.

    Tiles whose alphas are needed equally long are loaded together, up to a sixteenth of alpha mem
    or 512 words, or as much as a piece where only that makes few enough pieces to keep them all.
    """
    pieces = [tiling.pieces(part) for part in tiling.filter_tiles]

    def fits(words: list[int]) -> bool:
        return len(words) <= KEPT_MAX and sum(words) + 2 * max(words) <= config.ALPHA_DEPTH

    piece = _piece_words(tiling.layer, config)
    most = min(piece, max(JOINED_WORDS, config.ALPHA_DEPTH // JOINED))
    for words in (most, piece):
        if fits(_joined([word for part in pieces for word in part], words)):
            return replace(tiling, keep="layer", joined_words=words)
    if not all(map(fits, pieces)):
        return tiling
    return replace(tiling, keep="filters", joined_words=most if max(map(len, pieces)) == 1 else 0)


def _joined(pieces: list[int], most: int) -> list[int]:
    """Return the words of what is loaded together: neighbours, as long as they are few words."""
    found: list[int] = []
    for words in pieces:
        if found and found[-1] + words <= most:
            found[-1] += words
        else:
            found.append(words)
    return found


def channel_word(codes: int, config: Config) -> tuple[int, int]:
    """Return how a weight word's n channel-axis alphas lie in alpha mem: (words, sets in a word).

    A set is ceil(n/J)*J alphas. The lanes of a filter, or of 16 channels if they are more, hold as
    many whole sets as fit; a set that does not fit (T_P = 8, n > 8) takes two words.
    """
    lanes = min(config.T_P, CHANNEL_LENGTH)
    alphas = ceil_div(codes, config.J) * config.J
    return ceil_div(alphas, lanes), max(1, lanes // alphas)


def tiling_cost(tiling: Tiling, config: Config) -> tuple[float, int]:
    """Return a layer's cycles, about, and the alpha mem words of all its filters."""
    layer = tiling.layer
    work = Work(layer, tiling.domain, config)
    cycles = 0.0
    known: dict[tuple[int, int, int], float] = {}
    for tile in tiling.tiles:
        key = tile.blocks, tile.pixels, tile.filters
        if key not in known:
            blocks = ceil_div(tile.blocks, work.step_blocks)
            compute = tile_cycles(
                blocks,
                work.step_taps,
                (min(tiling.chunk_blocks, blocks), tiling.chunk_taps),
                tile.rows * work.pace(tile.pe_groups),
                tile.filters,
                work.generated,
                config,
                layer.axis == "channel" and work.domain == "weights",
            )
            rows = 1 if layer.row0 else tile.pixels
            known[key] = max(compute, rows * ceil_div(tile.filters, config.Q) + DRAIN_START)
        cycles += known[key]
    alphas = {(t.first_filter, t.first_block): tiling.alpha_words(t) for t in tiling.tiles}
    return cycles, sum(alphas.values())


def _tile_filters(
    layer: EngineLayer, least_words: int, word_sets: int, config: Config
) -> list[int]:
    """Return how many filters a tile can have, the most first.

    Limits are the line buffer of a pool, param mem, which must hold all sets of the filters'
    parameters, and alpha mem: `least_words` words of G filters must fit it, `word_sets` of them
    counting as one.
    """
    outputs = layer.conv_map[0]
    padded = ceil_div(outputs, config.T_P) * config.T_P

    def line_words(filters: int) -> int:
        # A layer's last tile also writes the rest of the last block of T_P channels.
        last = (outputs - 1) // filters * filters
        channels = max(padded - last, filters if last else 0)
        return layer.conv_map[2] * ceil_div(channels, config.Q)

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
    known = [n for n in short if ceil_div(n, config.Q) * layer.sets <= config.PARAM_DEPTH]
    if not known:
        raise CompileError(
            f"layer {layer.name}: its windows hold {layer.sets} different numbers of pixels, which "
            f"takes as many words of parameters, PARAM_DEPTH is {config.PARAM_DEPTH}"
        )
    fitting = [
        filters
        for filters in known
        if ceil_div(filters, config.G) * least_words <= config.ALPHA_DEPTH * word_sets
    ]
    if fitting:
        return fitting
    words = ceil_div(ceil_div(config.Q, config.G) * least_words, word_sets)
    raise CompileError(
        f"layer {layer.name}: {config.Q} filters of one channel block need "
        f"{words} words of alphas, ALPHA_DEPTH is {config.ALPHA_DEPTH}"
    )


def layer_steps(tiling: Tiling) -> int:
    """Return the steps of a layer: the cycles that the array computes, if it never waits."""
    return sum(tile.rows * tiling.steps(tile) for tile in tiling.tiles)
