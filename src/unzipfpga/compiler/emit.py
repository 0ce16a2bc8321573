# SPDX-License-Identifier: Apache-2.0
"""From a plan to the three instruction streams and the weight image.

Order. The load queue loads what the compute queue uses, in the order in which it uses it, ahead of
it. Alpha mem and param mem are rings of regions; a load waits until the last tile that uses the
regions in its place has read them. Which pairs of instructions need a token is known here, so a
token is given only where one is taken: at the end of a program all counters are 0.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.image import PARAM_BYTES, WeightImage, pack_alphas, pack_params
from unzipfpga.compiler.lower import EngineLayer
from unzipfpga.compiler.plan import Plan, Tile, Tiling, View, ceil_div
from unzipfpga.compiler.tokens import COUNT_MAX, Token
from unzipfpga.config import Config
from unzipfpga.isa import IsaError, encode, encode_header, isa


@dataclass
class Instruction:
    """One instruction before it is encoded; `layer` is for messages."""

    name: str
    layer: str
    fields: dict[str, int]


@dataclass
class LayerTraffic:
    """What one layer's loads amount to.

    Attributes
    ----------
    alpha_bytes, param_bytes : int
        Stored in the weight image.
    loaded_bytes : int
        Read from DRAM for alphas and parameters: more than stored if alphas are loaded again.
    """

    alpha_bytes: int = 0
    param_bytes: int = 0
    loaded_bytes: int = 0


@dataclass
class Emitted:
    """The streams, not yet encoded, and the weight image."""

    load: list[Instruction] = field(default_factory=list)
    compute: list[Instruction] = field(default_factory=list)
    store: list[Instruction] = field(default_factory=list)
    weights: WeightImage = field(default_factory=WeightImage)
    traffic: list[LayerTraffic] = field(default_factory=list)


@dataclass
class _Region:
    """A region of a ring: its words, and the instruction that reads it last."""

    number: int
    first: int
    words: int
    last_user: Instruction | None = None


class _Ring:
    """Allocation of a memory's regions one after the other, from the start again at the end."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.head = 0
        self.count = 0
        self.live: deque[_Region] = deque()

    def allocate(self, words: int) -> tuple[_Region, _Region | None]:
        """Return a new region, and the latest of the old ones that must be free before, if any.

        Regions are freed in order, so the latest stands for all before it. No more regions than a
        token counter can count are ever in use.
        """
        # A region that leaves too little behind it for another one goes to the very end, so that
        # two neighbours of at most half the memory never overlap.
        end = self.depth - words
        starts = [end] if self.head + 2 * words > self.depth else []
        starts = [start for start in (*starts, self.head) if self.head <= start <= end] + [0]
        waits = [(self._overlapped(start, words), start) for start in starts]
        wait, first = min(waits, key=lambda one: one[0].number if one[0] else -1)
        region = _Region(self.count, first, words)
        self.head = first + words
        self.count += 1
        while wait is not None and self.live and self.live[0].number <= wait.number:
            self.live.popleft()
        self.live.append(region)
        return region, wait

    def _overlapped(self, first: int, words: int) -> _Region | None:
        """Return the latest region in use that a new one cannot be next to, if any."""
        latest = None
        for old in self.live:
            overlaps = old.first < first + words and first < old.first + old.words
            if overlaps or old.number + COUNT_MAX <= self.count:
                latest = old
        return latest


class _Emitter:
    """State of the emission of one program."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.config: Config = plan.config
        self.out = Emitted()
        self.alpha_ring = _Ring(plan.config.ALPHA_DEPTH)
        self.param_ring = _Ring(plan.config.PARAM_DEPTH)
        self.codes: tuple[int, ...] = ()

    def run(self) -> Emitted:
        for index, tiling in enumerate(self.plan.tilings):
            self.layer(index, tiling)
        network = self.plan.network
        # Where the last layer's computing ends; that of the others ends at the next one's mark.
        self.mark(network.layers[-1].name, 2 * len(self.plan.tilings), "MAC")
        view = self.plan.views[network.output]
        self.last_post()["post_signal"] |= Token.OUTPUT_READY.mask
        fields = {"base": isa().bases["OUTPUT"], "wait": Token.OUTPUT_READY.mask}
        fields |= {"words": view.words, "width": view.width, "rows": view.height}
        fields |= {"run": view.words}
        self.out.store.append(
            Instruction("STORE", network.layers[-1].name, fields | _view_fields("src", view))
        )
        return self.out

    def last_post(self) -> dict[str, int]:
        """Fields of the last COMPUTE, which always has a post stage at the end of a layer."""
        computes = [i for i in self.out.compute if i.name == "COMPUTE"]
        return computes[-1].fields

    def load(self, layer: str, **fields: int) -> Instruction:
        fields = {"wait": 0, "signal": 0, "run": fields["words"], **fields}
        instruction = Instruction("LOAD", layer, fields)
        self.out.load.append(instruction)
        return instruction

    def load_input(self) -> None:
        network = self.plan.network
        view = self.plan.views[network.input]
        self.load(
            network.layers[0].name,
            memory=isa().memories["ACT"],
            base=isa().bases["INPUT"],
            signal=Token.INPUT_READY.mask,
            words=view.words,
            width=view.width,
            rows=view.height,
            **_view_fields("dst", view),
        )

    def layer(self, index: int, tiling: Tiling) -> None:
        layer, out = tiling.layer, self.out
        out.traffic.append(LayerTraffic())
        if layer.codes and layer.codes != self.codes:
            self.codes = layer.codes
            for page in range(ceil_div(len(layer.codes), 16)):
                codes = layer.codes[16 * page : 16 * page + 16]
                fields = {"page": page, "list": sum(j << 6 * i for i, j in enumerate(codes))}
                out.compute.append(Instruction("CODES", layer.name, fields))
        if layer.residual is not None:
            fields = self.residual_fields(layer, layer.residual)
            out.compute.append(Instruction("RESIDUAL", layer.name, fields))
        self.mark(layer.name, 2 * index, "MAC")

        alpha_offsets: dict[tuple[int, int], int] = {}  # (filter, block) -> offset in DRAM
        alphas: _Region | None = None
        params: _Region | None = None
        params_first = params_end = 0  # filters whose parameters are loaded
        fresh_alphas = fresh_params = False
        previous: Tile | None = None
        for tile in tiling.tiles:
            # A tile with the filters and blocks of the one before reads the same alphas again.
            same = previous is not None and (previous.first_filter, previous.first_block) == (
                tile.first_filter,
                tile.first_block,
            )
            if not same:
                alphas = self.load_alphas(index, tiling, tile, alpha_offsets)
                fresh_alphas = True
            if index == 0 and previous is None:
                self.load_input()
            if tile.last and tile.first_filter >= params_end:
                params_first = tile.first_filter
                params, params_end = self.load_params(index, tiling, tile)
                fresh_params = True
            previous = tile

            assert alphas is not None
            fields = self.compute_fields(layer, tiling, tile)
            fields |= {"alpha_addr": alphas.first, "wgen_wait": 0, "wgen_signal": 0}
            fields |= {"mac_wait": 0, "mac_signal": 0, "post_wait": 0, "post_signal": 0}
            instruction = Instruction("COMPUTE", layer.name, fields)
            alphas.last_user = instruction
            if fresh_alphas:
                fields["wgen_wait"] = Token.ALPHA_READY.mask
                fresh_alphas = False
            if tile is tiling.tiles[0]:
                fields["mac_wait"] = (Token.LAYER if index else Token.INPUT_READY).mask
            if tile.last:
                assert params is not None
                params.last_user = instruction
                word = (tile.first_filter - params_first) // self.config.Q
                fields["param_addr"] = params.first + word
                if fresh_params:
                    fields["post_wait"] = Token.PARAM_READY.mask
                    fresh_params = False
            out.compute.append(instruction)
        if index + 1 < len(self.plan.tilings):
            self.last_post()["post_signal"] |= Token.LAYER.mask
        self.mark(layer.name, 2 * index + 1, "POST")

    def mark(self, layer: str, number: int, stage: str) -> None:
        fields = {"stages": 1 << isa().stages[stage], "id": number}
        self.out.compute.append(Instruction("MARK", layer, fields))

    def load_alphas(
        self, index: int, tiling: Tiling, tile: Tile, offsets: dict[tuple[int, int], int]
    ) -> _Region:
        words = tiling.alpha_words(tile)
        key = (tile.first_filter, tile.first_block)
        traffic = self.out.traffic[index]
        data_bytes = words * self.config.G * self.config.T_P * self.config.DW // 8
        if key not in offsets:
            offsets[key] = self.out.weights.add(pack_alphas(tiling, tile, self.config))
            traffic.alpha_bytes += data_bytes
        traffic.loaded_bytes += data_bytes
        region, wait = self.alpha_ring.allocate(words)
        instruction = self.load(
            tiling.layer.name,
            memory=isa().memories["ALPHA"],
            base=isa().bases["WEIGHT"],
            signal=Token.ALPHA_READY.mask,
            offset=offsets[key],
            words=words,
            dst_base=region.first,
        )
        _free_before(instruction, wait, Token.ALPHA_FREE, "wgen_signal")
        return region

    def load_params(self, index: int, tiling: Tiling, tile: Tile) -> tuple[_Region, int]:
        """Load the parameters of as many filters as fill half of the memory.

        Returns
        -------
        _Region
        int
            The first filter that is not loaded.
        """
        config, layer = self.config, tiling.layer
        tile_words = ceil_div(tiling.filters, config.Q)
        tiles = max(1, config.PARAM_DEPTH // 2 // tile_words)
        filters = min(tiles * tiling.filters, layer.conv_map[0] - tile.first_filter)
        data = pack_params(layer, tile.first_filter, filters, config)
        traffic = self.out.traffic[index]
        traffic.param_bytes += len(data)
        traffic.loaded_bytes += len(data)
        words = len(data) // (config.Q * PARAM_BYTES)
        region, wait = self.param_ring.allocate(words)
        instruction = self.load(
            layer.name,
            memory=isa().memories["PARAM"],
            base=isa().bases["WEIGHT"],
            signal=Token.PARAM_READY.mask,
            offset=self.out.weights.add(data),
            words=words,
            dst_base=region.first,
        )
        _free_before(instruction, wait, Token.PARAM_FREE, "post_signal")
        return region, tile.first_filter + filters

    def residual_fields(self, layer: EngineLayer, name: str) -> dict[str, int]:
        view = self.plan.views[name]
        return {
            "res_row": view.row_pitch,
            "res_block": view.block_pitch,
            "res_shift": view.shift,
            "res_blocks": view.blocks,
            "res_h": view.height,
            "res_w": view.width,
            "res_scale": layer.m_r,
            "res_lift": layer.t,
        }

    def compute_fields(self, layer: EngineLayer, tiling: Tiling, tile: Tile) -> dict[str, int]:
        """Fields of a tile's COMPUTE except tokens and addresses in alpha mem and param mem."""
        banks = self.config.ACT_BANKS
        source = self.plan.views[layer.source]
        out_y, out_x = divmod(tile.first_pixel, layer.conv_map[2])
        first_row = out_y * layer.stride[0] - layer.pads[0]
        in_h = source.height
        if layer.row0:  # some rows of the map as a map of their own, and one pixel at its start
            in_h, out_y = tile.pixels // layer.conv_map[2], 0
        src_base = (
            source.base + tile.first_block * source.block_pitch + first_row * source.row_pitch
        )
        fields = {
            "filters": tile.filters,
            "codes": len(layer.codes) or 1,
            "dense": int(not layer.codes),
            "channel": int(layer.axis == "channel"),
            "alpha_words": 0 if layer.axis == "kernel" else tiling.alpha_words(tile),
            "kernel_h": layer.kernel[0],
            "kernel_w": layer.kernel[1],
            "blocks": tile.blocks,
            "chunk_blocks": min(tiling.chunk_blocks, tile.blocks),
            "chunk_taps": tiling.chunk_taps,
            "groups": tile.pe_groups,
            "src_base": src_base % 2**16,
            "src_row": source.row_pitch,
            "src_block": source.block_pitch,
            "src_shift": source.shift,
            "src_bank": tile.first_block % banks,
            "in_h": in_h,
            "in_w": source.width,
            "stride_h": layer.stride[0],
            "stride_w": layer.stride[1],
            "pad_top": layer.pads[0],
            "pad_left": layer.pads[1],
            "row0": int(layer.row0),
            "reduce_first": int(tile.first),
            "reduce_last": int(tile.last),
            "out_x": out_x,
            "out_y": out_y,
            "out_w": layer.conv_map[2],
            "pixels": tile.pixels,
        }
        if not tile.last:
            return fields
        t_p, q = self.config.T_P, self.config.Q
        target = self.plan.views[layer.target]
        block = tile.first_filter // t_p
        # The layer's last tile also writes the rest of the last block: zeros.
        end = tile.first_filter + tile.filters
        if end == layer.conv_map[0]:
            end = target.blocks * t_p
        row = 0 if layer.pool else out_y
        dst_base = target.base + block * target.block_pitch + row * target.row_pitch
        fields |= {
            "out_h": layer.conv_map[1],
            "post_filters": tile.filters,
            "post_groups": tile.pe_groups,
            "scale_shift": layer.s,
            "clamp_lo": layer.lo,
            "clamp_hi": layer.hi,
            "dst_base": dst_base % 2**16,
            "dst_row": target.row_pitch,
            "dst_block": target.block_pitch,
            "dst_shift": target.shift,
            "dst_bank": block % banks,
            "dst_lane": tile.first_filter % t_p // q,
            "dst_groups": (end - tile.first_filter) // q,
        }
        if layer.residual is not None:
            view = self.plan.views[layer.residual]
            res_base = view.base + block * view.block_pitch + out_y * view.row_pitch
            fields |= {"residual": 1, "res_base": res_base % 2**16, "res_block_first": block}
        if layer.pool is not None:
            fields |= {
                "pool_kernel": layer.pool.kernel,
                "pool_stride": layer.pool.stride,
                "pool_pad": layer.pool.pad,
                "pool_h": layer.pool.height,
                "pool_w": layer.pool.width,
            }
        return fields


def _free_before(load: Instruction, wait: _Region | None, token: Token, signal: str) -> None:
    """Order a load behind the last instruction that reads the region in its place."""
    if wait is None:
        return
    assert wait.last_user is not None
    load.fields["wait"] |= token.mask
    wait.last_user.fields[signal] |= token.mask


def _view_fields(prefix: str, view: View) -> dict[str, int]:
    return {
        f"{prefix}_base": view.base,
        f"{prefix}_row": view.row_pitch,
        f"{prefix}_block": view.block_pitch,
        f"{prefix}_shift": view.shift,
        f"{prefix}_bank": 0,
    }


def emit(plan: Plan) -> Emitted:
    """Emit the instruction streams and the weight image of a plan."""
    return _Emitter(plan).run()


def encode_program(emitted: Emitted, config: Config) -> bytes:
    """Encode a program: the header, then the load, compute and store streams.

    Raises
    ------
    CompileError
        A value that does not fit its field; names the layer, the field and the bound.
    """

    def stream(instructions: Sequence[Instruction]) -> bytes:
        parts = []
        for instruction in instructions:
            try:
                parts.append(encode(instruction.name, **instruction.fields))
            except IsaError as error:
                raise CompileError(f"layer {instruction.layer}: {error}") from error
        return b"".join(parts)

    size = isa().instruction_bytes
    counts = [len(emitted.load), len(emitted.compute), len(emitted.store)]
    header = encode_header(
        build_id=config.build_id(),
        load_offset=size,
        load_count=counts[0],
        compute_offset=size * (1 + counts[0]),
        compute_count=counts[1],
        store_offset=size * (1 + counts[0] + counts[1]),
        store_count=counts[2],
    )
    return header + stream(emitted.load) + stream(emitted.compute) + stream(emitted.store)
