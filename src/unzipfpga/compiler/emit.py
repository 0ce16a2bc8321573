# SPDX-License-Identifier: Apache-2.0
"""From a plan to the three instruction streams and the weight image.

The load queue loads what the compute queue uses, in the order in which it uses it, ahead of it.
Alpha mem and param mem are rings of regions; a load waits until the last tile that uses the regions
in its place has read them. All other waits follow from what the stages touch in act mem and DRAM
(`Order`).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from unzipfpga.compiler.domain import Work, extra_pad
from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.image import PARAM_BYTES, WeightImage, pack_alphas, pack_params
from unzipfpga.compiler.lower import EngineLayer, Pool
from unzipfpga.compiler.order import Area, Instruction, Order
from unzipfpga.compiler.place import Role, View, row_step, word_bytes
from unzipfpga.compiler.plan import Plan
from unzipfpga.compiler.tiling import Tile, Tiling, ceil_div
from unzipfpga.compiler.tokens import COUNT_MAX, Stage
from unzipfpga.config import Config
from unzipfpga.isa import IsaError, encode, encode_header, isa

LOADS = 12  # of a tensor's rows that are there at a time, at most: computing starts with the first
ROW_GROUPS, BLOCK_GROUPS = 5, 4  # of a tensor, that others wait for: no token counter overflows


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
    read_bytes: int = 0  # of activations
    written_bytes: int = 0


@dataclass
class _Region:
    """A region of a ring: its words, what loads it, and the instruction that reads it last."""

    number: int
    first: int
    words: int
    load: Instruction = field(default_factory=lambda: Instruction("LOAD", "", {}))
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
        self.order = Order()
        self.alpha_ring = _Ring(plan.config.ALPHA_DEPTH)
        self.param_ring = _Ring(plan.config.PARAM_DEPTH)
        self.codes: dict[Stage, tuple[int, ...]] = {}  # that a stage has
        # Buffer -> the stripe's first row, the end of the rows, the channel blocks unless all.
        self.loaded: dict[str, tuple[int, int, tuple[int, int] | None]] = {}
        # (filter, block) of alphas that are kept -> region, and words from its start
        self.regions: dict[tuple[int, int], tuple[_Region, int]] = {}
        self.param_offsets: dict[tuple[int, int], int] = {}  # (layer, filter) -> offset in DRAM

    def run(self) -> Emitted:
        network = self.plan.network
        for index, tiling in enumerate(self.plan.tilings):
            self.layer(index, tiling)
        # Where the last layer's computing ends; that of the others ends at the next one's mark.
        self.mark(network.layers[-1].name, 2 * len(self.plan.tilings), "MAC")
        if network.output in self.plan.views:
            view = self.plan.views[network.output]
            self.store(network.layers[-1], network.output, view, 0, view.height)
        return self.out

    # Instructions

    def load(self, layer: str, **fields: int) -> Instruction:
        instruction = Instruction("LOAD", layer, {"run": fields["words"], **fields})
        self.out.load.append(instruction)
        return self.order.enter(instruction, Stage.LOAD)

    def load_rows(
        self,
        layer: EngineLayer,
        tensor: str,
        view: View,
        end: int,
        reader: Stage,
        slots: int = 1,
        blocks: tuple[int, int] | None = None,
    ) -> None:
        """Load rows of a tensor in DRAM, those that are not there yet, up to one at least.

        The stage that reads them waits for the last load, whose token others must leave room for.

        Of some channel blocks of the view, if `blocks` gives the first one and the end.
        """
        first, last_block = blocks or (0, view.blocks)
        part = replace(
            view,
            blocks=last_block - first,
            base=view.base + first * view.block_pitch,
            bank=view.bank + first,
        )
        begin, known = view.first_row, self.loaded.get(view.buffer)
        if known is not None and (known[0], known[2]) == (view.first_row, blocks):
            begin = known[1]
        last = view.first_row + view.height
        while begin < min(end, last):
            step = row_step(self.plan.network.maps[tensor], self.config)
            begin = begin // step * step  # a stripe that began at the same row may have ended here
            rows = ceil_div(ceil_div(view.height * slots, LOADS), step) * step
            rows = min(rows, last - begin)
            instruction = self.load(
                layer.name,
                memory=isa().memories["ACT"],
                **self.dram_fields(tensor, part, begin, rows, first),
                **_view_fields("dst", part, begin, self.config),
            )
            area = self.area(part, (begin, begin + rows), (0, part.blocks))
            self.order.access(Stage.LOAD, instruction, area, True)
            source = self.dram_area(tensor, (begin, begin + rows))
            self.order.access(Stage.LOAD, instruction, source, False)
            if begin + rows >= min(end, last):
                self.order.limit(Stage.LOAD, instruction, reader)
            self.out.read_bytes += part.blocks * rows * view.width * word_bytes(self.config)
            begin += rows
        self.loaded[view.buffer] = view.first_row, begin, blocks

    def store(self, layer: EngineLayer, tensor: str, view: View, begin: int, end: int) -> None:
        """Store rows of a tensor."""
        fields = self.dram_fields(tensor, view, begin, end - begin)
        fields |= _view_fields("src", view, begin, self.config)
        instruction = Instruction("STORE", layer.name, fields)
        self.out.store.append(self.order.enter(instruction, Stage.STORE))
        area = self.area(view, (begin, end), (0, view.blocks))
        self.order.access(Stage.STORE, instruction, area, False)
        low, high = _widen(begin, end, self.plan.network.maps[tensor][1], ROW_GROUPS)
        self.order.access(Stage.STORE, instruction, self.dram_area(tensor, (low, high)), True)
        self.out.written_bytes += view.blocks * (end - begin) * view.width * word_bytes(self.config)

    def dram_fields(
        self, tensor: str, view: View, begin: int, rows: int, block: int = 0
    ) -> dict[str, int]:
        """Fields of a LOAD or STORE of some rows of a view's channel blocks, from `block` on."""
        place = self.plan.places.dram[tensor]
        run = rows * view.width
        fields = {
            "base": isa().bases[place.base],
            "offset": place.offset
            + block * place.pitch
            + begin * view.width * word_bytes(self.config),
            "words": view.blocks * run,
            "width": view.width,
            "rows": rows,
        }
        if run * word_bytes(self.config) == place.pitch or view.blocks == 1:
            return fields | {"run": view.blocks * run}
        return fields | {"run": run, "pitch": place.pitch}

    def mark(self, layer: str, number: int, stage: str) -> None:
        fields = {"stages": 1 << isa().stages[stage], "id": number}
        self.out.compute.append(Instruction("MARK", layer, fields))

    # What is touched

    def area(self, view: View, rows: tuple[int, int], blocks: tuple[int, int]) -> Area:
        """Return the area of some rows of a tensor and channel blocks of a view."""
        whole = self.plan.extents[view.buffer]
        in_slot = rows[0] - view.first_row, rows[1] - view.first_row
        return Area(view.buffer, whole, in_slot, (view.bank + blocks[0], view.bank + blocks[1]))

    def dram_area(self, tensor: str, rows: tuple[int, int]) -> Area:
        """Return the area of some rows of a tensor in DRAM; parts lie in the whole."""
        t_p = self.config.T_P
        whole, first = self.plan.network.parts.get(tensor, (tensor, 0))
        blocks = first // t_p, ceil_div(first + self.plan.network.maps[tensor][0], t_p)
        return Area(f"DRAM {whole}", (0, 0), rows, blocks)

    def in_dram(self, tensor: str) -> bool:
        """Say whether a tensor that is read comes from DRAM."""
        return tensor == self.plan.network.input or tensor not in self.plan.views

    def slots(self, index: int, role: Role) -> int:
        """Return in how many places a layer finds rows of a tensor."""
        slots = self.plan.places.slots.get((index, role))
        return 1 if slots is None else len(slots.views)

    def view(self, index: int, role: Role, tensor: str, tile: Tile) -> View:
        """Return where a layer finds or leaves the rows of a tile."""
        if tensor in self.plan.views:
            return self.plan.views[tensor]
        slots = self.plan.places.slots[index, role].views
        stripe = self.plan.tilings[index].stripes[tile.stripe]
        first, rows = {
            "source": (stripe.source_first, stripe.source_rows),
            "residual": (stripe.first, stripe.rows),
            "target": (stripe.target_first - stripe.lead, stripe.lead + stripe.target_rows),
        }[role]
        rows = max(0, min(rows, self.plan.network.maps[tensor][1] - first))
        return replace(slots[tile.stripe % len(slots)], first_row=first, height=rows)

    # Layers

    def layer(self, index: int, tiling: Tiling) -> None:
        layer, out = tiling.layer, self.out
        out.traffic.append(LayerTraffic())
        stage = Stage.WGEN if tiling.domain == "weights" else Stage.MAC
        if layer.codes and layer.codes != self.codes.get(stage):
            self.codes[stage] = layer.codes
            for page in range(ceil_div(len(layer.codes), 16)):
                codes = layer.codes[16 * page : 16 * page + 16]
                fields = {"page": page, "stages": 1 << isa().stages[stage.name]}
                fields["list"] = sum(j << 6 * i for i, j in enumerate(codes))
                out.compute.append(Instruction("CODES", layer.name, fields))
        if layer.residual is not None:
            view = self.view(index, "residual", layer.residual, tiling.tiles[0])
            height = self.plan.network.maps[layer.residual][1]
            fields = _residual_fields(layer, view, height, self.config)
            residual = Instruction("RESIDUAL", layer.name, fields)
            self.order.enter(residual, Stage.POST)
            del residual.fields["post_wait"], residual.fields["post_signal"]
            out.compute.append(residual)
        self.mark(layer.name, 2 * index, "MAC")

        offsets: dict[tuple[int, int], int] = {}  # (filter, block) of a load's first -> DRAM offset
        self.regions = {}
        params: _Region | None = None
        params_first = params_end = 0  # filters whose parameters are loaded
        previous: Tile | None = None
        for number, tile in enumerate(tiling.tiles):
            alphas, address = self.alphas(index, tiling, number, previous, offsets)
            source = self.view(index, "source", layer.source, tile)
            rows = _source_rows(layer, tile)
            if self.in_dram(layer.source):
                # Where pixels are summed, the filters of a tile take the stripes for themselves.
                needed = None
                if layer.row0 and len(tiling.stripes) > 1:
                    needed = tiling.blocks_of(tile.first_filter, tile.filters)
                slots = self.slots(index, "source")
                self.load_rows(layer, layer.source, source, rows[1], Stage.MAC, slots, needed)
            if tile.last and layer.residual is not None and self.in_dram(layer.residual):
                added = self.view(index, "residual", layer.residual, tile)
                slots, end = self.slots(index, "residual"), _output_rows(layer, tile)[1]
                self.load_rows(layer, layer.residual, added, end, Stage.POST, slots)
            if tile.last and not params_first <= tile.first_filter < params_end:
                params_first = tile.first_filter
                params, params_end = self.load_params(index, tiling, tile)

            instruction = Instruction("COMPUTE", layer.name, {"alpha_addr": address})
            stages = (Stage.WGEN, Stage.MAC, Stage.POST) if tile.last else (Stage.WGEN, Stage.MAC)
            self.order.enter(instruction, *stages)
            instruction.fields |= self.compute_fields(index, tiling, tile)
            alphas.last_user = instruction
            self.order.after(Stage.WGEN, instruction, Stage.LOAD, alphas.load)
            blocks = (tile.first_block, min(source.blocks, tile.first_block + tile.blocks))
            if (layer.row0 or layer.groups > 1) and not self.in_dram(layer.source):
                # Channel blocks come before pixels here: a token for each group of rows of each
                # group of blocks could be more than a counter takes. (Loads have all blocks.)
                rows = source.first_row, source.first_row + source.height
            self.order.access(Stage.MAC, instruction, self.area(source, rows, blocks), False)
            if tile.last:
                assert params is not None
                params.last_user = instruction
                word = (tile.first_filter - params_first) // self.config.Q
                if layer.set_of is not None:  # the sets lie side by side
                    words = params.words // layer.sets
                    word += int(layer.set_of[tile.first_pixel]) * words
                instruction.fields["param_addr"] = params.first + word
                self.order.after(Stage.POST, instruction, Stage.LOAD, params.load)
                self.touch_outputs(index, tiling, tile, instruction)
            out.compute.append(instruction)
            ends = number + 1 == len(tiling.tiles) or tiling.tiles[number + 1].stripe != tile.stripe
            if ends and layer.target not in self.plan.views:
                target = self.view(index, "target", layer.target, tile)
                begin = target.first_row + tiling.stripes[tile.stripe].lead
                end = target.first_row + target.height
                self.store(layer, layer.target, target, begin, end)
            previous = tile
        self.mark(layer.name, 2 * index + 1, "POST")

    def touch_outputs(
        self, index: int, tiling: Tiling, tile: Tile, instruction: Instruction
    ) -> None:
        """Record what the post stage of a tile reads and writes in act mem."""
        layer = tiling.layer
        rows = _output_rows(layer, tile)
        first = tile.first_filter // self.config.T_P
        end = ceil_div(tile.first_filter + tile.filters, self.config.T_P)
        if layer.residual is not None:
            added = self.view(index, "residual", layer.residual, tile)
            kept = (rows[0], min(rows[1], added.first_row + added.height))
            area = self.area(added, kept, (first, min(end, added.blocks)))
            self.order.access(Stage.POST, instruction, area, False, early=True)
        target = self.view(index, "target", layer.target, tile)
        if tile.first_filter + tile.filters == layer.conv_map[0]:
            end = target.blocks
        if layer.row0 or tiling.stripes[0].own_map:
            rows = target.first_row, target.first_row + target.height
        else:
            if layer.pool is not None:
                rows = _pooled_rows(layer.pool, rows, layer.conv_map[1])
            low, high = _widen(*rows, layer.output_map[1], ROW_GROUPS)
            rows = (max(low, target.first_row), min(high, target.first_row + target.height))
            if rows[0] >= rows[1]:  # a pooled map's rows come with the last row of their windows
                return
        first, end = _widen(first, end, target.blocks, BLOCK_GROUPS)
        self.order.access(Stage.POST, instruction, self.area(target, rows, (first, end)), True)

    def alphas(
        self,
        index: int,
        tiling: Tiling,
        number: int,
        previous: Tile | None,
        offsets: dict[tuple[int, int], int],
    ) -> tuple["_Region", int]:
        """Return where a tile's alphas are, after loading them if they are not there.

        Returns
        -------
        _Region
        int
            The first word.
        """
        tile = tiling.tiles[number]
        key = (tile.first_filter, tile.first_block)
        if previous is not None:
            of_filters = previous.first_filter == tile.first_filter
            of_filters = of_filters and previous.stripe == tile.stripe
            # A tile with the filters and blocks of the one before reads the same alphas again.
            same = (previous.first_filter, previous.first_block) == key
            if not (tiling.keep == "layer" or (tiling.keep == "filters" and of_filters) or same):
                keep = tiling.keep == "filters" and previous.stripe == tile.stripe
                old = previous.first_filter
                self.regions = {k: v for k, v in self.regions.items() if keep and k[0] != old}
        if key in self.regions:
            region, first = self.regions[key]
            return region, region.first + first
        together = self.together(tiling, number)
        words = sum(map(tiling.alpha_words, together))
        traffic = self.out.traffic[index]
        data_bytes = words * self.config.G * word_bytes(self.config)
        if key not in offsets:
            data = b"".join(pack_alphas(tiling, one, self.config) for one in together)
            offsets[key] = self.out.weights.add(data)
            traffic.alpha_bytes += data_bytes
        traffic.loaded_bytes += data_bytes
        memory = isa().memories["ALPHA"]
        region = self.load_region(
            tiling.layer, self.alpha_ring, Stage.WGEN, memory, offsets[key], words
        )
        first = 0
        for one in together:
            self.regions[one.first_filter, one.first_block] = region, first
            first += tiling.alpha_words(one)
        return region, region.first

    def together(self, tiling: Tiling, number: int) -> list[Tile]:
        """Return the tile and those behind it whose alphas are loaded with its own.

        Few regions of a ring are in use at a time: small ones would leave most of alpha mem empty.
        """
        found = [tiling.tiles[number]]
        known = {(found[0].first_filter, found[0].first_block), *self.regions}
        room = tiling.joined_words - tiling.alpha_words(found[0])
        for tile in tiling.tiles[number + 1 :]:
            key = tile.first_filter, tile.first_block
            if key in known:
                continue
            room -= tiling.alpha_words(tile)
            if room < 0 or tile.stripe != found[0].stripe:
                break
            known.add(key)
            found.append(tile)
        return found

    def load_region(
        self, layer: EngineLayer, ring: "_Ring", reader: Stage, memory: int, offset: int, words: int
    ) -> "_Region":
        """Load the next region of a ring, behind the last reader of what was in its place."""
        region, wait = ring.allocate(words)
        base = isa().bases["WEIGHT"]
        region.load = self.load(
            layer.name, memory=memory, base=base, offset=offset, words=words, dst_base=region.first
        )
        if wait is not None:
            assert wait.last_user is not None
            self.order.after(Stage.LOAD, region.load, reader, wait.last_user)
        self.order.limit(Stage.LOAD, region.load, reader)
        return region

    def load_params(self, index: int, tiling: Tiling, tile: Tile) -> tuple["_Region", int]:
        """Load all sets of parameters of as many filters as fill half of the memory.

        Returns
        -------
        _Region
        int
            The first filter that is not loaded.
        """
        config, layer = self.config, tiling.layer
        tile_words = ceil_div(tiling.filters, config.Q) * layer.sets
        tiles = max(1, config.PARAM_DEPTH // 2 // tile_words)
        filters = min(tiles * tiling.filters, layer.conv_map[0] - tile.first_filter)
        data = pack_params(layer, tile.first_filter, filters, config)
        traffic = self.out.traffic[index]
        traffic.loaded_bytes += len(data)
        words = len(data) // (config.Q * PARAM_BYTES)
        key = (index, tile.first_filter)
        if key not in self.param_offsets:
            traffic.param_bytes += len(data)
            self.param_offsets[key] = self.out.weights.add(data)
        memory, offset = isa().memories["PARAM"], self.param_offsets[key]
        region = self.load_region(layer, self.param_ring, Stage.POST, memory, offset, words)
        return region, tile.first_filter + filters

    def compute_fields(self, index: int, tiling: Tiling, tile: Tile) -> dict[str, int]:
        """Fields of a tile's COMPUTE except tokens and addresses in alpha mem and param mem."""
        layer, banks = tiling.layer, self.config.ACT_BANKS
        stripe = tiling.stripes[tile.stripe]
        source = self.view(index, "source", layer.source, tile)
        out_y, out_x = divmod(tile.first_pixel, layer.conv_map[2])
        first_row = out_y * layer.stride[0] - layer.pads[0]
        row, in_h, pad_top = out_y, layer.input_map[1], layer.pads[0]
        out_h, pool_h = layer.conv_map[1], layer.output_map[1]
        if stripe.own_map:  # its first row is row 0; the rows above are no part of the map
            out_y, out_h = out_y - stripe.first, stripe.rows
            pool_h = stripe.lead + stripe.target_rows
            above = max(0, stripe.first * layer.stride[0] - layer.pads[0])
            pad_top += above - stripe.first * layer.stride[0]
            in_h -= above
        if layer.row0:  # some rows of the map as a map of their own, and one pixel at its start
            in_h, out_y, row = tile.pixels // layer.conv_map[2], 0, 0
        work = Work(layer, tiling.domain, self.config)
        projected = tiling.domain == "codes"
        generated = layer.axis == "kernel" and not projected
        src_base = source.base + tile.first_block * source.block_pitch
        src_base += (first_row - source.first_row) * source.row_pitch
        fields = {
            "filters": tile.filters,
            "codes": len(layer.codes) or 1,
            "dense": int(not layer.codes),
            "channel": int(layer.axis == "channel"),
            "project": int(projected),
            "alpha_words": 0 if generated else tiling.alpha_words(tile),
            "kernel_h": layer.kernel[0],
            "kernel_w": layer.kernel[1],
            "blocks": tile.blocks,
            "chunk_blocks": min(tiling.chunk_blocks, ceil_div(tile.blocks, tiling.step_blocks)),
            "chunk_taps": tiling.chunk_taps,
            "groups": tile.pe_groups,
            "src_base": src_base % 2**16,
            "src_row": source.row_pitch,
            "src_block": source.block_pitch,
            "src_shift": source.shift,
            "src_bank": (source.bank + tile.first_block) % banks,
            "in_h": in_h,
            "in_w": source.width,
            "stride_h": layer.stride[0],
            "stride_w": layer.stride[1],
            "pad_top": pad_top,
            "pad_left": layer.pads[1],
            "row0": int(layer.row0),
            "reduce_first": int(tile.first),
            "reduce_last": int(tile.last),
            "out_x": out_x,
            "out_y": out_y,
            "out_w": layer.conv_map[2],
            "pixels": tile.pixels,
        }
        if work.windows:
            stride = layer.stride[1]
            fields |= {
                "kernel_w": stride,
                "chunk_taps": max(len(layer.codes), layer.kernel[0] * stride),
                "pad_left": layer.pads[1] + extra_pad(stride, self.config),
                "read_rows": work.read_rows(tile.first_pixel, tile.pixels),
            }
        if not tile.last:
            return fields
        t_p, q = self.config.T_P, self.config.Q
        target = self.view(index, "target", layer.target, tile)
        block = tile.first_filter // t_p
        # The layer's last tile also writes the rest of the last block: zeros.
        end = tile.first_filter + tile.filters
        if end == layer.conv_map[0]:
            end = target.blocks * t_p
        # Of a map that is pooled, the first tile's counts.
        dst_row = 0 if layer.pool else row - target.first_row
        dst_base = target.base + block * target.block_pitch + dst_row * target.row_pitch
        fields |= {
            "out_h": out_h,
            "post_filters": tile.filters,
            "post_groups": tile.pe_groups,
            "scale_shift": layer.s,
            "clamp_lo": layer.lo,
            "clamp_hi": layer.hi,
            "dst_base": dst_base % 2**16,
            "dst_row": target.row_pitch,
            "dst_block": target.block_pitch,
            "dst_shift": target.shift,
            "dst_bank": (target.bank + block) % banks,
            "dst_lane": tile.first_filter % t_p // q,
            "dst_groups": ceil_div(end - tile.first_filter, q),
        }
        if layer.residual is not None:
            view = self.view(index, "residual", layer.residual, tile)
            res_base = view.base + block * view.block_pitch
            res_base += (row - view.first_row) * view.row_pitch
            fields |= {"residual": 1, "res_base": res_base % 2**16}
            fields |= {"res_block_first": view.bank % banks + block}
        if layer.pool is not None:
            fields |= {
                "pool_kernel": layer.pool.kernel,
                "pool_stride": layer.pool.stride,
                "pool_pad": layer.pool.pad,
                "pool_h": pool_h,
                "pool_w": layer.pool.width,
            }
        return fields


def _widen(begin: int, end: int, count: int, groups: int) -> tuple[int, int]:
    """Widen a range to the borders of so many groups."""
    size = ceil_div(count, groups)
    return begin // size * size, min(count, ceil_div(end, size) * size)


def _source_rows(layer: EngineLayer, tile: Tile) -> tuple[int, int]:
    """Return the source's rows that a tile reads, the end excluded."""
    first, end = _output_rows(layer, tile)
    if layer.row0:
        return first, end
    top = first * layer.stride[0] - layer.pads[0]
    bottom = (end - 1) * layer.stride[0] - layer.pads[0] + layer.kernel[0]
    return max(0, top), max(0, min(layer.input_map[1], bottom))


def _output_rows(layer: EngineLayer, tile: Tile) -> tuple[int, int]:
    """Return the rows, before pooling, that a tile's pixels lie in, the end excluded."""
    width = layer.conv_map[2]
    return tile.first_pixel // width, ceil_div(tile.first_pixel + tile.pixels, width)


def _pooled_rows(pool: Pool, rows: tuple[int, int], height: int) -> tuple[int, int]:
    """Return the pooled rows that are written with some rows of a map: those that end in them.

    A window's last row may be cut off by the map's end.
    """
    reach = pool.kernel - 1 - pool.pad

    def ended(count: int) -> int:
        """Pooled rows that so many rows complete."""
        return pool.height if count == height else max(0, (count - 1 - reach) // pool.stride + 1)

    return ended(rows[0]), ended(rows[1])


def _residual_fields(layer: EngineLayer, view: View, height: int, config: Config) -> dict[str, int]:
    # The prefetcher knows a bank by the number of the block: both start later for a tensor's part.
    return {
        "res_row": view.row_pitch,
        "res_block": view.block_pitch,
        "res_shift": view.shift,
        "res_blocks": view.bank % config.ACT_BANKS + view.blocks,
        "res_h": height,
        "res_w": view.width,
        "res_scale": layer.m_r,
        "res_lift": layer.t,
    }


def _view_fields(prefix: str, view: View, row: int, config: Config) -> dict[str, int]:
    return {
        f"{prefix}_base": view.base + (row - view.first_row) * view.row_pitch,
        f"{prefix}_row": view.row_pitch,
        f"{prefix}_block": view.block_pitch,
        f"{prefix}_shift": view.shift,
        f"{prefix}_bank": view.bank % config.ACT_BANKS,
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
