# SPDX-License-Identifier: Apache-2.0
"""Where tensors lie: in act mem from layer to layer, or in DRAM if they do not fit.

A tensor in DRAM is written and read in stripes of rows, through slots of act mem that exist during
one layer only. Two slots take turns: one is worked on while the other is loaded or stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Literal

from unzipfpga.compiler.domain import DomainChoice, Work
from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.lower import EngineLayer, LoweredNetwork, Map
from unzipfpga.compiler.tiling import Stripe, ceil_div, cut_filters, whole
from unzipfpga.config import Config

STRIDE_SHIFT = {1: 0, 2: 1, 4: 2}
ALIGNMENT = 64  # bytes, of every DRAM offset
SLOTS = 2  # of a tensor in DRAM, in the layer that uses it, if they fit
Role = Literal["source", "residual", "target"]
OVERLAPPED = 4  # stripes of a layer that stores, at least: one is stored while the next computes


@dataclass(frozen=True)
class View:
    """Where a tensor, or some of its rows, lies in act mem: word (block, y, x) is in

    bank  = ((x >> shift) + block + bank) mod ACT_BANKS
    entry = base + block*block_pitch + (y - first_row)*row_pitch
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
    bank : int
        Number of the first block in the tensor that this one is a part of.
    buffer : str
        Name of what takes these entries: a tensor with all that lies in the same place, or a slot.
    first_row : int
        Of the tensor, if only some rows are here.
    """

    blocks: int
    height: int
    width: int
    shift: int
    row_pitch: int
    block_pitch: int
    base: int = 0
    bank: int = 0
    buffer: str = ""
    first_row: int = 0

    @property
    def entries(self) -> int:
        """Entries of each bank that the tensor takes."""
        return self.blocks * self.block_pitch

    @property
    def words(self) -> int:
        """Words of the tensor."""
        return self.blocks * self.height * self.width


@dataclass(frozen=True)
class DramPlace:
    """Where a tensor lies in DRAM.

    Attributes
    ----------
    base : str
        Base register: INPUT, OUTPUT or SCRATCH.
    offset, pitch : int
        Bytes, from the base register to the tensor and from one channel block to the next.
    """

    base: str
    offset: int
    pitch: int


@dataclass(frozen=True)
class Slots:
    """The slots of a tensor in DRAM while a layer uses it, one if all rows fit into it.

    Attributes
    ----------
    tensor : str
    views : tuple of View
    """

    tensor: str
    views: tuple[View, ...]


@dataclass(frozen=True)
class Places:
    """Where everything lies.

    Attributes
    ----------
    views : dict of str to View
        Tensors that stay in act mem.
    dram : dict of str to DramPlace
        Of the image, the result, and the tensors that do not stay in act mem.
    slots : dict of (layer number, role) to Slots
    stripes : tuple of tuple of Stripe
        Of every layer.
    scratch_bytes : int
    """

    views: dict[str, View]
    dram: dict[str, DramPlace]
    slots: dict[tuple[int, Role], Slots]
    stripes: tuple[tuple[Stripe, ...], ...]
    scratch_bytes: int


@dataclass(frozen=True)
class _Item:
    """What needs entries: a name, how many, and in which layers."""

    name: str
    entries: int
    first: int
    last: int
    tensors: tuple[str, ...] = ()


@dataclass
class _Choice:
    """What has been decided so far: tensors in DRAM, rows of a layer's stripes.

    `everything` lets tensors into DRAM that cost more there: pooled ones, of which stripes compute
    some rows twice, those that are summed, and concatenated ones. `slots` is what a tensor in DRAM
    has in a layer: with one, moving and computing take turns.
    """

    dram: set[str] = field(default_factory=set)
    rows: dict[int, int] = field(default_factory=dict)
    everything: bool = False
    slots: int = SLOTS


class _DoesNotFitError(Exception):
    """What must be in act mem together needs more entries than there are."""

    def __init__(self, text: str, entries: int) -> None:
        super().__init__(text)
        self.entries = entries


def make_view(shape: Map, shift: int, config: Config) -> View:
    """Return a tensor's view at entry 0."""
    channels, height, width = shape
    row_pitch = ceil_div(width, config.ACT_BANKS << shift) << shift
    blocks = ceil_div(channels, config.T_P)
    return View(blocks, height, width, shift, row_pitch, height * row_pitch)


def lifetimes_of(network: LoweredNetwork) -> dict[str, tuple[int, int]]:
    """Return the layers between which each tensor is in use; the input's begin at -1."""
    first = {network.input: -1}
    last = {network.input: -1, network.output: len(network.layers)}
    for index, layer in enumerate(network.layers):
        first[layer.target] = index
        for name in (layer.source, layer.residual):
            if name is not None:
                last[name] = max(index, last.get(name, index))
        last.setdefault(layer.target, index)
    found = {}
    for name, (channels, _, _) in network.maps.items():
        # No layer makes a concatenated tensor, which may be a part itself: it is there as soon and
        # as long as one of the parts that lie in its channels.
        whole_, begin = network.parts.get(name, (name, 0))
        inside = [
            part
            for part, (of, at) in network.parts.items()
            if of == whole_ and begin <= at < begin + channels
        ]
        names = {name, *inside}
        found[name] = (
            min(first[one] for one in names if one in first),
            max(last[one] for one in names if one in last),
        )
    return found


# DRAM --------------------------------------------------------------------------------------------


def word_bytes(config: Config) -> int:
    """Return the bytes of one pixel of a channel block."""
    return config.T_P * config.DW // 8


def plane_bytes(shape: Map, config: Config) -> int:
    """Return the bytes of a channel block in DRAM: it begins at a multiple of `ALIGNMENT`.

    Blocks of a single pixel follow each other without a gap.
    """
    size = shape[1] * shape[2] * word_bytes(config)
    return size if shape[1] * shape[2] == 1 else ceil_div(size, ALIGNMENT) * ALIGNMENT


def map_bytes(shape: Map, config: Config) -> int:
    """Return the bytes of a tensor in DRAM, a multiple of `ALIGNMENT`."""
    size = ceil_div(shape[0], config.T_P) * plane_bytes(shape, config)
    return ceil_div(size, ALIGNMENT) * ALIGNMENT


def row_step(shape: Map, config: Config) -> int:
    """Return the rows of a tensor after which a row begins at a multiple of `ALIGNMENT` in DRAM."""
    return ALIGNMENT // gcd(ALIGNMENT, shape[2] * word_bytes(config))


# Act mem -----------------------------------------------------------------------------------------


class _Planner:
    def __init__(self, network: LoweredNetwork, config: Config, choice: DomainChoice) -> None:
        self.network = network
        self.config = config
        self.choice = choice
        self.lifetimes = lifetimes_of(network)
        self.shifts = self._shifts()
        self.selective = self._selective()

    def _shifts(self) -> dict[str, int]:
        """Stride shift of each tensor: that of the first layer whose windows are read from it."""
        shifts: dict[str, int] = {}
        wholes = {part: name for part, (name, _) in self.network.parts.items()}
        for layer in self.network.layers:
            source = wholes.get(layer.source, layer.source)
            shifts.setdefault(source, STRIDE_SHIFT.get(layer.stride[1], 0))
        return shifts

    def _selective(self) -> set[str]:
        """Tensors of which a layer reads several pixels at once: there the shift matters."""
        found = set()
        for layer in self.network.layers:
            blocks = ceil_div(layer.input_map[0], self.config.T_P)
            works = [
                Work(layer, domain, self.config)
                for domain in self.choice.domains(layer, self.config)
            ]
            parts = [part for work in works for part in cut_filters(work, self.config.T_C, blocks)]
            windows = self.config.S > 1 and any(work.windows for work in works)
            if windows or any(part.pe_groups > 1 for part in parts):
                found.add(layer.source)
        return found

    def shift(self, tensor: str) -> int:
        return self.shifts.get(self.network.parts.get(tensor, (tensor, 0))[0], 0)

    def run(self) -> Places:
        """Place everything, in DRAM what does not fit.

        Raises
        ------
        CompileError
            Names the layer whose need is the smallest of those that are too much.
        """
        failed = []
        for everything, slots in [(False, SLOTS), (True, SLOTS), (True, 1)]:
            choice = _Choice(everything=everything, slots=slots)
            try:
                while (bases := self.fit(choice)) is None:
                    choice.dram |= self.family(self.next_for_dram(choice))
            except _DoesNotFitError as error:
                failed.append(error)
                continue
            for index in range(len(self.network.layers)):
                bases = self.grow(index, choice, bases)
            return self.places(choice, bases)
        raise CompileError(str(min(failed, key=lambda error: error.entries)))

    # What needs entries

    def buffers(self, choice: _Choice) -> dict[str, str]:
        """Return for each tensor in act mem the tensor that its place is named after.

        A sum takes the place of its residual, if nothing needs that one any more: each word is
        read before it is written over.
        """
        network = self.network
        names = {
            name: name for name in network.maps if name not in choice.dram | set(network.parts)
        }
        for part, (name, _) in network.parts.items():
            if name not in choice.dram:
                names[part] = name
        for index, layer in enumerate(network.layers):
            old, new = layer.residual, layer.target
            if old is None or not {old, new} <= set(names) or {old, new} & set(network.parts):
                continue
            if any(old == name for name, _ in network.parts.values()):
                continue
            if any(new == name for name, _ in network.parts.values()):
                continue
            alone = self.lifetimes[old][1] == index and old not in (layer.source, network.input)
            same = network.maps[old] == network.maps[new] and layer.pool is None
            first = names[old]
            if same and self.shift(first) != self.shift(new):
                same = not {first, new} & self.selective
            if alone and same:
                names[new] = first
        return names

    def items(self, choice: _Choice) -> list[_Item]:
        network, config = self.network, self.config
        groups: dict[str, list[str]] = {}
        for name, buffer in self.buffers(choice).items():
            groups.setdefault(buffer, []).append(name)
        result = []
        for buffer, names in groups.items():
            lives = [self.lifetimes[name] for name in names]
            view = make_view(network.maps[buffer], self.shift(buffer), config)
            first, last = min(a for a, _ in lives), max(b for _, b in lives)
            result.append(_Item(buffer, view.entries, first, last, tuple(names)))
        for index, layer in enumerate(network.layers):
            for role, name in roles(layer):
                if name in choice.dram:
                    view, count = self.slots(role, name, self.stripes(index, choice), choice)
                    for number in range(count):
                        item = f"{layer.name} {role} {number}"
                        result.append(_Item(item, view.entries, index, index, (name,)))
        return result

    # Stripes

    def stripes(self, index: int, choice: _Choice) -> tuple[Stripe, ...]:
        """Cut a layer whose tensors lie in DRAM into rows, as few as it can be unless chosen."""
        layer = self.network.layers[index]
        if not any(name in choice.dram for _, name in roles(layer)):
            return (whole(layer),)
        if index in choice.rows:
            return self.cut(layer, choice, choice.rows[index])
        # Two slots of a few rows can take more than all rows in one.
        ways = (self.least_rows(layer, choice), self.height(layer, choice))
        cuts = [self.cut(layer, choice, rows) for rows in ways]

        def entries(stripes: tuple[Stripe, ...]) -> int:
            used = [(role, name) for role, name in roles(layer) if name in choice.dram]
            slots = [self.slots(role, name, stripes, choice) for role, name in used]
            return sum(view.entries * count for view, count in slots)

        return min(cuts, key=entries)

    def own_maps(self, layer: EngineLayer, choice: _Choice) -> bool:
        """Whether a layer pools each stripe as a map of its own: the pooled map lies in DRAM."""
        return layer.pool is not None and layer.target in choice.dram

    def height(self, layer: EngineLayer, choice: _Choice) -> int:
        """Rows that a layer is cut in: pooled ones if it pools stripes, else those before."""
        return layer.output_map[1] if self.own_maps(layer, choice) else layer.conv_map[1]

    def cut(self, layer: EngineLayer, choice: _Choice, rows: int) -> tuple[Stripe, ...]:
        """Cut a layer into stripes of so many rows."""
        height = self.height(layer, choice)
        step = row_step(layer.input_map, self.config) if layer.source in choice.dram else 1
        result = []
        for target in range(0, height, rows):
            target_rows = min(rows, height - target)
            first, count, lead = target, target_rows, 0
            if self.own_maps(layer, choice):
                assert layer.pool is not None
                # A map's first window begins in the padding: with one, a window more in front.
                lead = int(target > 0 and layer.pool.pad > 0)
                first = (target - lead) * layer.pool.stride
                reach = (target + target_rows - 1) * layer.pool.stride - layer.pool.pad
                count = min(layer.conv_map[1], reach + layer.pool.kernel) - first
            top = first * layer.stride[0] - layer.pads[0]
            low = min(max(0, top), layer.input_map[1] - 1) // step * step
            end = min(layer.input_map[1], top + (count - 1) * layer.stride[0] + layer.kernel[0])
            stripe = Stripe(first, count, low, max(1, end - low), target, target_rows, lead)
            result.append(replace(stripe, own_map=self.own_maps(layer, choice)))
        return tuple(result)

    def least_rows(self, layer: EngineLayer, choice: _Choice) -> int:
        """Rows of a stripe, at least: those of its tensors in DRAM begin at aligned addresses."""
        least = 1
        for role, name in roles(layer):
            if name in choice.dram and role != "source":
                least = max(least, row_step(self.network.maps[name], self.config))
        return min(least, self.height(layer, choice))

    def slots(
        self, role: Role, name: str, stripes: tuple[Stripe, ...], choice: _Choice
    ) -> tuple[View, int]:
        """Return the view of a slot, and how many there are."""
        channels, height, width = self.network.maps[name]
        needed = {
            "source": [stripe.source_rows for stripe in stripes],
            "residual": [stripe.rows for stripe in stripes],
            "target": [stripe.lead + stripe.target_rows for stripe in stripes],
        }
        rows = min(height, max(needed[role]))
        view = make_view((channels, rows, width), self.shift(name), self.config)
        return view, 1 if rows == height else choice.slots

    def grow(self, index: int, choice: _Choice, bases: dict[str, int]) -> dict[str, int]:
        """Give a layer's stripes as many rows as fit."""
        layer = self.network.layers[index]
        if not any(name in choice.dram for _, name in roles(layer)):
            return bases
        least = self.least_rows(layer, choice)
        low, high = 1, ceil_div(self.height(layer, choice), least)
        if layer.target in choice.dram or layer.residual in choice.dram:
            high = ceil_div(high, OVERLAPPED)
        while low < high:
            middle = (low + high + 1) // 2
            rows = choice.rows | {index: middle * least}
            wider = replace(choice, rows=rows)
            found = self.fit(wider)
            if found is None:
                high = middle - 1
            else:
                low, bases = middle, found
                choice.rows[index] = middle * least
        return bases

    # Fitting

    def fit(self, choice: _Choice) -> dict[str, int] | None:
        """Return the first entry of every item, or None."""
        items = self.items(choice)
        by_size = sorted(items, key=lambda i: (-i.entries, i.first, i.last, i.name))
        in_order = sorted(items, key=lambda i: (i.first, i.last, i.name))
        for ordered, both_ends in [(by_size, False), (in_order, True)]:
            bases = _fit(ordered, both_ends, self.config.ACT_DEPTH)
            if len(bases) == len(items):
                return bases
        return None

    def next_for_dram(self, choice: _Choice) -> str:
        """Choose the tensor that goes to DRAM next.

        Raises
        ------
        _DoesNotFitError
            There is none; names the layer and the entries that it needs.
        """
        items = self.items(choice)
        layers = range(len(self.network.layers))

        def needs(index: int) -> int:
            return sum(item.entries for item in items if item.first <= index <= item.last)

        # What does not fit in sum first; then, what does not in pieces.
        for index in sorted(layers, key=needs, reverse=True):
            alive = [item for item in items if item.first <= index <= item.last]
            excess = needs(index) - self.config.ACT_DEPTH
            found = [
                (self.traffic(name), item.entries < excess, abs(item.entries - excess), name)
                for item in alive
                for name in item.tensors
                if name not in choice.dram and self.may_leave(name, choice)
            ]
            if found:
                return min(found)[3]
            if excess > 0:
                raise self.does_not_fit(index, alive)
        worst = max(layers, key=needs)
        raise self.does_not_fit(worst, [i for i in items if i.first <= worst <= i.last])

    def family(self, name: str) -> set[str]:
        """Return a tensor, with the whole and the parts that it lies in one place with."""
        whole_ = self.network.parts.get(name, (name, 0))[0]
        return {whole_} | {part for part, (of, _) in self.network.parts.items() if of == whole_}

    def traffic(self, name: str) -> int:
        """How often a tensor in DRAM is moved."""
        network = self.network
        moves = sum(name in (layer.source, layer.residual) for layer in network.layers)
        return moves + (name not in (network.input, network.output))

    def may_leave(self, name: str, choice: _Choice) -> bool:
        """Whether a tensor can lie in DRAM, with all that lies in one place with it."""
        family = self.family(name)
        if len(family) > 1 and not choice.everything:
            return False
        return all(self.may_leave_alone(one, family, choice) for one in family)

    def may_leave_alone(self, name: str, family: set[str], choice: _Choice) -> bool:
        network = self.network
        if len(family) > 1 and (network.input == name or network.output in network.parts):
            return False
        for layer in network.layers:
            pools = name == layer.target and layer.pool is not None
            if (pools or (name == layer.source and layer.row0)) and not choice.everything:
                return False
            if pools and layer.residual is not None:  # what is added begins at rows of its own
                return False
            if name == layer.target and layer.row0:
                return False
            if network.output in family and name in (layer.source, layer.residual):
                return False
        return True

    def does_not_fit(self, index: int, alive: Iterable[_Item]) -> _DoesNotFitError:
        """Explain which layer's tensors do not fit act mem together."""
        layer = self.network.layers[index]
        alive = list(alive)
        total = sum(item.entries for item in alive)
        parts = ", ".join(
            f"'{item.name}' {list(self.network.maps.get(item.name, ()))} {item.entries}"
            if item.name in self.network.maps
            else f"rows of '{item.tensors[0]}' {item.entries}"
            for item in alive
        )
        return _DoesNotFitError(
            f"layer {layer.name}: what must be in act mem together needs {total} entries a bank "
            f"({parts}), ACT_DEPTH is {self.config.ACT_DEPTH}; choose a configuration with a "
            "larger act mem",
            total,
        )

    # Result

    def places(self, choice: _Choice, bases: Mapping[str, int]) -> Places:
        network, config = self.network, self.config
        views = {}
        for name, buffer in self.buffers(choice).items():
            view = make_view(network.maps[buffer], self.shift(buffer), config)
            view = replace(view, base=bases[buffer], buffer=buffer)
            if name in network.parts:
                block = network.parts[name][1] // config.T_P
                view = replace(
                    view,
                    blocks=ceil_div(network.maps[name][0], config.T_P),
                    base=view.base + block * view.block_pitch,
                    bank=block,
                )
            views[name] = view
        slots = {}
        for index, layer in enumerate(network.layers):
            for role, name in roles(layer):
                if name not in choice.dram:
                    continue
                view, count = self.slots(role, name, self.stripes(index, choice), choice)
                items = [f"{layer.name} {role} {number}" for number in range(count)]
                slots[index, role] = Slots(
                    name, tuple(replace(view, base=bases[item], buffer=item) for item in items)
                )
        stripes = tuple(self.stripes(index, choice) for index in range(len(network.layers)))
        dram, scratch = {}, 0
        for name, base in ((network.input, "INPUT"), (network.output, "OUTPUT")):
            dram[name] = DramPlace(base, 0, plane_bytes(network.maps[name], config))
        alone = choice.dram - set(dram) - set(network.parts)
        for name in sorted(alone, key=lambda n: self.lifetimes[n]):
            shape = network.maps[name]
            dram[name] = DramPlace("SCRATCH", scratch, plane_bytes(shape, config))
            scratch += map_bytes(shape, config)
        for name in choice.dram & set(network.parts):
            whole_, first = network.parts[name]
            place = dram[whole_]
            offset = place.offset + first // config.T_P * place.pitch
            dram[name] = replace(place, offset=offset)
        return Places(views, dram, slots, stripes, scratch)


def roles(layer: EngineLayer) -> list[tuple[Role, str]]:
    """Return (role, tensor) of each tensor of a layer."""
    found: list[tuple[Role, str]] = [("source", layer.source), ("target", layer.target)]
    return found if layer.residual is None else [*found, ("residual", layer.residual)]


def place(network: LoweredNetwork, config: Config, choice: DomainChoice | None = None) -> Places:
    """Give every tensor a place; tensors in use at the same time do not overlap.

    Parameters
    ----------
    network : LoweredNetwork
    config : Config
    choice : DomainChoice, optional
        Domains that the layers may run in.

    Raises
    ------
    CompileError
        A layer whose tensors do not fit even in stripes; names it, what it needs and the bound.
    """
    return _Planner(network, config, choice or DomainChoice()).run()


def _fit(items: list[_Item], both_ends: bool, depth: int) -> dict[str, int]:
    """Place items one after the other, each in the first gap; stop at one that does not fit.

    With `both_ends` every second one takes the last gap instead, at its end: for a chain of
    layers this fits whenever each layer's input and output fit together.
    """
    placed: list[tuple[_Item, int]] = []
    for count, item in enumerate(items):
        taken = sorted(
            (base, base + other.entries)
            for other, base in placed
            if other.first <= item.last and item.first <= other.last
        )
        gaps, start = [], 0
        for low, high in [*taken, (depth, depth)]:
            if low - start >= item.entries:
                gaps.append((start, low))
            start = max(start, high)
        if not gaps:
            break
        at_end = both_ends and count % 2
        placed.append((item, gaps[-1][1] - item.entries if at_end else gaps[0][0]))
    return {item.name: base for item, base in placed}
