# SPDX-License-Identifier: Apache-2.0
"""From a converted network to the layers that the engine runs.

A fully connected layer becomes a convolution whose kernel is the whole input map, a max pool
becomes a part of the layer in front of it, and a flatten disappears: it names a stored tensor anew.
So does a concatenation: the layers of its parts write into the whole tensor, each from a whole
channel block on, and what reads the whole has weights of 0 for the channels between.
The array multiplies every filter with whole blocks of channels, so grouped layers, average pools
and max pools that no layer can take become layers whose weights are 0 outside a block diagonal.
Such a layer can also add the padding that the pooling unit cannot: see `_padded`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.manifest import Fold
from unzipfpga.config import Config
from unzipfpga.errors import RangeError
from unzipfpga.frontend.graph import Kind, window_pixels
from unzipfpga.frontend.network import Axis, Layer, Network, limit_of, prove_accumulator
from unzipfpga.ovsf import CHANNEL_LENGTH, generate_channel, generate_kernel, prove_range

KERNEL_MAX = 7
STRIDE_MAX = 7
PAD_MAX = 15

Map = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Pool:
    """Max pooling in the drain of a layer.

    Attributes
    ----------
    kernel, stride, pad : int
        The same in both directions; `pad` above and left. Windows are cut at the map's end.
    height, width : int
        Of the pooled map.
    """

    name: str
    kernel: int
    stride: int
    pad: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class EngineLayer:
    """One layer as the engine runs it: convolution, post-processing and perhaps max pooling.

    Attributes
    ----------
    name, kind : str
        Of the network's layer; `kind` is "conv", "gemm", "avgpool", "gap" or, for a layer that
        passes its input on, "maxpool" (to a max pool in its drain) or "concat" (copied, because
        it is a part of one tensor already).
    source, target : str
        Stored tensors.
    residual : str or None
        Stored tensor that post-processing adds, in no direction larger than `conv_map`; 0 outside.
    input_map, conv_map, output_map : (channels, height, width)
        `conv_map` is the map before pooling, or the one whose pixels are all summed.
    kernel, stride : (y, x)
    pads : (top, left)
    codes : tuple of n ints
        Empty for a dense layer.
    axis : {"dense", "kernel", "channel"}
    alphas : int array or None
        [C_out, C_in/groups, n], channel axis [C_out, ceil(C_in/16), Ky*Kx, n].
    weights : int array [C_out, C_in/groups, Ky, Kx]
    bias, m : int array [C_out], or [sets, C_out]
        Several sets where pixels differ in this parameter.
    s, lo, hi, m_r, t : int
        Post-processing; `m_r` and `t` are the residual's multiplier and left shift.
    pool : Pool or None
    groups : int
        Filter f sees only the channels of group ``f // (C_out/groups)``.
    row0 : bool
        All pixels of `conv_map` are summed: one accumulator and one output pixel.
    folded_from : EngineLayer or None
        The layer as the model has it, if this is a folded one (see `fold`).
    set_of : int array [pixels] or None
        Set of parameters of each pixel of `conv_map`, in raster order; None: there is one for all.
    """

    name: str
    kind: Kind
    source: str
    target: str
    input_map: Map
    conv_map: Map
    output_map: Map
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int]
    codes: tuple[int, ...]
    alphas: NDArray[np.integer] | None
    weights: NDArray[np.integer]
    bias: NDArray[np.integer]
    m: NDArray[np.integer]
    s: int
    lo: int
    hi: int
    residual: str | None = None
    m_r: int = 0
    t: int = 0
    pool: Pool | None = None
    groups: int = 1
    row0: bool = False
    folded_from: "EngineLayer | None" = None
    axis: Axis = "dense"
    set_of: NDArray[np.intp] | None = None

    @property
    def sets(self) -> int:
        """Sets of parameters."""
        return 1 if self.set_of is None else int(self.set_of.max()) + 1

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Longest runs of pixels with the same parameters, in raster order: (first, end)."""
        if self.set_of is None:
            return [(0, self.pixels)]
        cuts = np.flatnonzero(np.diff(self.set_of)) + 1
        return list(pairwise([0, *cuts.tolist(), self.pixels]))

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def pixels(self) -> int:
        """Output pixels before pooling, or pixels that are summed."""
        return self.conv_map[1] * self.conv_map[2]

    @property
    def macs(self) -> int:
        """Multiplications that the layer's definition asks for, padding included; 0 for pools.

        A layer behind a global average pool multiplies averages, whatever the array does.
        """
        if self.kind not in ("conv", "gemm"):
            return 0
        return (self.folded_from or self).weights.size * (1 if self.row0 else self.pixels)

    @property
    def stored(self) -> int:
        """Alphas, or weights of a dense layer, as the model stores them."""
        return self.weights.size if self.alphas is None else self.alphas.size

    @property
    def rho(self) -> float:
        """Stored values per weight."""
        return self.stored / self.weights.size

    def channels_of(self, first_filter: int, filters: int) -> tuple[int, int]:
        """Return the first channel that some filters see, and the one behind the last."""
        of_group = self.conv_map[0] // self.groups
        channels = self.input_map[0] // self.groups
        last_filter = first_filter + filters - 1
        return first_filter // of_group * channels, (last_filter // of_group + 1) * channels


@dataclass(frozen=True, eq=False)
class LoweredNetwork:
    """The engine's layers in order, and the maps of the tensors that they read and write.

    Attributes
    ----------
    layers : tuple of EngineLayer
    maps : dict of str to (channels, height, width)
        Of every stored tensor, the input included; of a concatenated one, as it is stored.
    parts : dict of str to (str, int)
        Part of a concatenated tensor -> the whole tensor, which is no part itself, and the channel
        of it at which the part begins, a multiple of T_P. Layers read and write both. The channels
        between the end of a part and the next multiple of T_P are 0.
    input, output : str
        Stored tensors.
    fold : Fold or None
        How the input is stored, if it is folded.
    """

    layers: tuple[EngineLayer, ...]
    maps: dict[str, Map]
    input: str
    output: str
    fold: Fold | None = None
    parts: dict[str, tuple[str, int]] = field(default_factory=dict)


def lower(network: Network, config: Config) -> LoweredNetwork:
    """Turn a converted network into engine layers and prove their ranges.

    Parameters
    ----------
    network : Network
    config : Config
        The build to compile for.

    Returns
    -------
    LoweredNetwork

    Raises
    ------
    CompileError
        A layer that the engine cannot run; names the layer, what is wrong and what is supported.
    RangeError
        A layer whose integers do not fit; names the layer, the value and the bound.
    """
    if network.dw != config.DW:
        raise CompileError(
            f"the network has {network.dw}-bit activations, the configuration DW = {config.DW}"
        )
    return _Lowering(network, config).run()


class _Lowering:
    """State of the walk over a network's layers."""

    def __init__(self, network: Network, config: Config) -> None:
        self.network, self.config = network, config
        self.shapes = {name: as_map(tensor.shape) for name, tensor in network.tensors.items()}
        # A tensor's name -> the stored tensor that holds it.
        self.stored = {network.input: network.input}
        self.maps = {network.input: self.shapes[network.input]}
        # Concatenated tensor -> where each of its channels is stored, if not in their order.
        self.places: dict[str, NDArray[np.int64]] = {}
        self.parts: dict[str, tuple[str, int]] = {}
        self.layers: list[EngineLayer] = []
        self.made_by: dict[str, int] = {}  # stored tensor -> index of its layer
        self.negative = {network.input: True}  # tensor -> whether it can hold values below 0

    def run(self) -> LoweredNetwork:
        layers = _pool_parts(self.network, self.shapes)
        self.readers = _readers(layers)
        for layer in layers:
            if layer.kind == "flatten":
                self.stored[layer.output] = self.stored[layer.input]
            elif layer.kind == "concat":
                self.concat(layer)
            elif layer.kind == "maxpool":
                self.max_pool(layer)
            else:
                self.weighted(layer)
            self.negative[layer.output] = self.makes_negative(layer)
        if not self.layers:
            raise CompileError("the network has no layer that computes anything")
        output = self.stored[self.network.output]
        if output in self.places:
            raise CompileError(
                f"the network's output '{self.network.output}' is concatenated from parts that are "
                f"no multiples of T_P = {self.config.T_P} channels, which is not supported"
            )
        input_ = self.network.input
        parts = {name: self.whole(name) for name in self.parts}
        return LoweredNetwork(tuple(self.layers), self.maps, input_, output, parts=parts)

    def add(self, layer: EngineLayer, name: str) -> None:
        """Append the layer that makes a tensor."""
        self.layers.append(layer)
        self.stored[name] = layer.target
        self.maps[layer.target] = layer.output_map
        self.made_by[layer.target] = len(self.layers) - 1

    def whole(self, name: str) -> tuple[str, int]:
        """Return the tensor that holds a stored one and is no part, and its first channel there."""
        first = 0
        while name in self.parts:
            name, start = self.parts[name]
            first += start
        return name, first

    def makes_negative(self, layer: Layer) -> bool:
        """Say whether a layer's result can be below 0."""
        inputs = any(self.negative[name] for name in layer.inputs)
        if not layer.weighted:
            return inputs
        assert layer.weights is not None and layer.bias is not None and layer.m is not None
        # A sum of what is not negative, as an average is, is not negative.
        factors = (layer.weights, layer.bias, layer.m)
        sums = layer.residual is None and all((values >= 0).all() for values in factors)
        return layer.lo < 0 and (inputs or not sums)

    def max_pool(self, layer: Layer) -> None:
        source = self.stored[layer.input]
        index = self.made_by.get(source, -1)
        pads = _pads_needed(layer, self.maps[source], self.shapes[layer.output])
        # What is pooled in the drain of its layer is not stored unpooled.
        needed = len(self.readers[layer.input]) > 1 or layer.input == self.network.output
        if index < 0 or self.layers[index].pool or self.layers[index].row0 or needed or any(pads):
            passed = _identity(layer, source, self.maps[source], self.config)
            self.add(_padded(passed, pads, self.negative[layer.input]), layer.output)
            index = len(self.layers) - 1
            if source in self.places:
                self.places[layer.output] = self.places[source]
        else:
            del self.made_by[source], self.maps[source]
        channels = self.layers[index].conv_map[0]
        out = (channels, *self.shapes[layer.output][1:])
        pooled = _fuse(self.layers[index], layer, layer.pads[0] - pads[0], out)
        self.layers[index] = replace(pooled, target=layer.output)
        self.stored[layer.output] = layer.output
        self.maps[layer.output] = pooled.output_map
        self.made_by[layer.output] = index

    def weighted(self, layer: Layer) -> None:
        source = self.stored[layer.input]
        map_ = self.maps[source]
        places = self.places.get(source)
        # As the model has it, and proven so; then with the channels as they are stored.
        channels = map_[0] if places is None else len(places)
        given = (channels, *map_[1:])
        made = _weighted(self.network, layer, source, given, self.shapes[layer.output])
        if layer.residual is not None:
            made = replace(made, residual=self.residual(layer), m_r=layer.m_r, t=layer.t)
        _prove(made, self.config)
        if places is not None and made.groups == len(places) == len(made.weights):
            # A channel stays where it is: the result is stored as what it reads.
            made = _spread_depthwise(made, places, map_[0])
            self.places[layer.output] = places
        elif places is not None:
            made = _spread(made, places, map_[0], self.config)
        self.add(made, layer.output)

    def residual(self, layer: Layer) -> str:
        """Return the stored tensor that a layer adds."""
        assert layer.residual is not None
        name = self.stored[layer.residual]
        shape, out = self.shapes[layer.residual], self.shapes[layer.output]
        if any(r > o for r, o in zip(shape, out, strict=True)):
            raise CompileError(
                f"layer {layer.name}: it adds '{layer.residual}' {list(shape)}, which is larger "
                f"than its output {list(out)}"
            )
        if name in self.places:
            raise CompileError(
                f"layer {layer.name}: it adds '{layer.residual}', concatenated from parts that are "
                f"no multiples of T_P = {self.config.T_P} channels, which is not supported"
            )
        if self.maps[name] != shape:
            raise CompileError(
                f"layer {layer.name}: it adds '{layer.residual}', a flattened "
                f"{list(self.maps[name])} map; only tensors that are stored as they are added are "
                "supported"
            )
        return name

    def concat(self, layer: Layer) -> None:
        """Give each part its channels of the whole tensor; nothing is computed."""
        places: list[NDArray[np.int64]] = []
        first = 0
        _, height, width = self.shapes[layer.output]
        for index, tensor in enumerate(layer.inputs):
            name = self.stored[tensor]
            if self.maps[name][1:] != self.shapes[tensor][1:]:
                raise CompileError(
                    f"layer {layer.name}: it joins '{tensor}', a flattened "
                    f"{list(self.maps[name])} map, which is not supported"
                )
            if name in self.parts or name == self.network.input:
                # It lies somewhere else: copied.
                copy = replace(
                    _identity(layer, name, self.maps[name], self.config),
                    name=f"{layer.name}.{index}",
                    target=f"{layer.output}.{index}",
                )
                if name in self.places:
                    self.places[copy.target] = self.places[name]
                self.add(copy, copy.target)
                name = copy.target
            channels = self.maps[name][0]
            self.parts[name] = layer.output, first
            places.append(first + self.places.get(name, np.arange(channels)))
            end = first + channels
            first = -(-end // self.config.T_P) * self.config.T_P
        joined = np.concatenate(places)
        self.stored[layer.output] = layer.output
        self.maps[layer.output] = (end, height, width)
        if len(joined) != end:
            self.places[layer.output] = joined


def _readers(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Return the layers that read each tensor, by name."""
    readers: dict[str, list[str]] = {}
    for layer in layers:
        for name in (*layer.inputs, *([layer.residual] if layer.residual else [])):
            readers.setdefault(name, []).append(layer.name)
    return readers


def _pool_parts(network: Network, shapes: dict[str, Map]) -> list[Layer]:
    """Return the layers with max pools of concatenated tensors in front of the concatenation.

    There, they fit the drain of the layers that make the parts. `shapes` gets those of the pooled
    parts. Only where nothing else reads the whole or the parts, so that nothing is pooled twice.
    """
    readers = _readers(network.layers)
    made_by = {layer.output: layer for layer in network.layers}

    def joins(pool: Layer) -> Layer | None:
        join = made_by.get(pool.input)
        if pool.kind != "maxpool" or join is None or join.kind != "concat":
            return None
        only = all(len(readers[name]) == 1 for name in (pool.input, *join.inputs))
        made = all(name in made_by and made_by[name].weighted for name in join.inputs)
        fits = not any(_pads_needed(pool, shapes[pool.input], shapes[pool.output]))
        return join if only and made and fits and pool.input != network.output else None

    moved = {join.name for layer in network.layers if (join := joins(layer)) is not None}
    result: list[Layer] = []
    for layer in network.layers:
        join = joins(layer)
        if layer.name in moved:
            continue
        if join is None:
            result.append(layer)
            continue
        names = []
        for index, part in enumerate(join.inputs):
            name = f"{layer.output}.{index}"
            shapes[name] = (shapes[part][0], *shapes[layer.output][1:])
            names.append(name)
            result.append(replace(layer, name=f"{layer.name}.{index}", input=part, output=name))
        result.append(replace(join, input=names[0], others=tuple(names[1:]), output=layer.output))
    return result


def _spread(
    layer: EngineLayer, places: NDArray[np.int64], channels: int, config: Config
) -> EngineLayer:
    """Return a layer with its weights where the channels of its source are stored, 0 elsewhere.

    Parameters
    ----------
    layer : EngineLayer
    places : int array [C_in]
        Stored channel of each channel.
    channels : int
        Stored channels.
    config : Config

    Raises
    ------
    CompileError
        A grouped layer, or channel-axis codes whose blocks are not stored as blocks; names the
        layer.
    """
    why = (
        f"layer {layer.name}: it reads '{layer.source}', concatenated from parts that are no "
        f"multiples of T_P = {config.T_P} channels"
    )
    if layer.groups > 1:
        raise CompileError(f"{why}; layers of {layer.groups} groups cannot read it")

    def spread(
        values: NDArray[np.integer], at: NDArray[np.int64], size: int
    ) -> NDArray[np.integer]:
        result = np.zeros((len(values), size, *values.shape[2:]), values.dtype)
        result[:, at] = values
        return result

    alphas = layer.alphas
    if alphas is not None and layer.axis == "channel":
        firsts = places[::CHANNEL_LENGTH]
        within = np.arange(len(places)) % CHANNEL_LENGTH
        whole = places == np.repeat(firsts, CHANNEL_LENGTH)[: len(places)] + within
        if not whole.all() or (firsts % CHANNEL_LENGTH).any():
            raise CompileError(
                f"{why} and of {CHANNEL_LENGTH}, so that blocks of {CHANNEL_LENGTH} channels are "
                "not stored as such: channel-axis codes cannot be used; use dense weights or "
                "kernel-axis codes"
            )
        blocks = -(-channels // CHANNEL_LENGTH)
        alphas = spread(alphas, firsts // CHANNEL_LENGTH, blocks)
    elif alphas is not None:
        alphas = spread(alphas, places, channels)
    return replace(
        layer,
        input_map=(channels, *layer.input_map[1:]),
        weights=spread(layer.weights, places, channels),
        alphas=alphas,
    )


def _spread_depthwise(layer: EngineLayer, places: NDArray[np.int64], channels: int) -> EngineLayer:
    """Return a depthwise layer with its channels where those of its source are stored, 0 elsewhere.

    `places` and `channels` are as in `_spread`.
    """

    def spread(values: NDArray[np.integer], fill: int = 0) -> NDArray[np.integer]:
        result = np.full((channels, *values.shape[1:]), fill, values.dtype)
        result[places] = values
        return result

    return replace(
        layer,
        input_map=(channels, *layer.input_map[1:]),
        conv_map=(channels, *layer.conv_map[1:]),
        output_map=(channels, *layer.output_map[1:]),
        weights=spread(layer.weights),
        alphas=None if layer.alphas is None else spread(layer.alphas),
        bias=spread(layer.bias),
        m=spread(layer.m.T, 1).T,
        groups=channels,
    )


def as_map(shape: tuple[int, ...]) -> Map:
    """Return (channels, height, width) of a tensor; features are channels of one pixel."""
    channels, height, width = (*shape, 1, 1) if len(shape) == 1 else shape
    return channels, height, width


def _weighted(network: Network, layer: Layer, source: str, input_map: Map, out: Map) -> EngineLayer:
    assert layer.weights is not None and layer.bias is not None and layer.m is not None
    channels, height, width = input_map
    kernel, stride, pads, walked = (1, 1), (1, 1), (0, 0), out
    if layer.pooled_pixels:
        walked = (out[0], height, width)
    elif layer.kind == "gemm":
        kernel = (height, width)
        if max(kernel) > KERNEL_MAX:
            raise CompileError(
                f"layer {layer.name}: a fully connected layer on a {height}x{width} map; "
                f"at most {KERNEL_MAX}x{KERNEL_MAX} is supported"
            )
    else:
        kernel, stride, pads = layer.kernel, layer.stride, layer.pads[:2]
    weights = layer.weights.reshape(out[0], channels // layer.groups, *kernel)
    for what, values, low, high in [
        ("kernel", kernel, 1, KERNEL_MAX),
        ("stride", stride, 1, STRIDE_MAX),
        ("padding", layer.pads, 0, PAD_MAX),
    ]:
        if not all(low <= value <= high for value in values):
            raise CompileError(
                f"layer {layer.name}: {what} {list(values)}; {low} to {high} is supported"
            )
    set_of = None
    if layer.counts:
        pixels = window_pixels(input_map, out, layer.kernel, layer.stride, layer.pads)
        set_of = np.searchsorted(layer.counts, pixels.ravel())
    return EngineLayer(
        name=layer.name,
        kind=layer.kind,
        source=source,
        target=layer.output,
        input_map=input_map,
        conv_map=walked,
        output_map=out,
        kernel=kernel,
        stride=stride,
        pads=pads,
        codes=layer.codes,
        axis=layer.axis,
        alphas=layer.alphas,
        weights=weights,
        bias=layer.bias,
        m=layer.m,
        s=layer.s,
        lo=layer.lo,
        hi=layer.hi,
        groups=layer.groups,
        row0=layer.pooled_pixels > 1,
        set_of=set_of,
    )


def _identity(pool: Layer, source: str, input_map: Map, config: Config) -> EngineLayer:
    """Return a layer that passes a tensor on as it is, for a max pool in its drain."""
    channels = input_map[0]
    limit = 2 ** (config.DW - 1) - 1
    return EngineLayer(
        name=pool.name,
        kind=pool.kind,
        source=source,
        target=pool.output,
        input_map=input_map,
        conv_map=input_map,
        output_map=input_map,
        kernel=(1, 1),
        stride=(1, 1),
        pads=(0, 0),
        codes=(),
        alphas=None,
        weights=np.ones((channels, 1, 1, 1), np.int8),
        bias=np.zeros(channels, np.int32),
        m=np.ones(channels, np.int16),
        s=0,
        lo=-limit,
        hi=limit,
        groups=channels,
    )


def _pads_needed(pool: Layer, map_: Map, out: Map) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) that a map lacks for the engine to pool it.

    The pooling unit pads above and left alike, by 0 or 1. It cuts windows at the map's end and puts
    out one window a pixel at most: no two may end there.
    """
    top, left = pool.pads[:2]
    front = (0, 0) if top == left <= 1 else (top, left)
    behind = [0, 0]
    for axis, (size, count) in enumerate(zip(map_[1:], out[1:], strict=True)):
        if count > 1:
            last_but_one = (count - 2) * pool.stride[axis] - pool.pads[axis]
            behind[axis] = max(0, last_but_one + pool.kernel[axis] + 1 - size)
    return *front, behind[0], behind[1]


def _padded(layer: EngineLayer, pads: tuple[int, int, int, int], negative: bool) -> EngineLayer:
    """Let a layer that passes a map on add padding that no maximum comes from.

    Outside of its input a layer reads 0, which is no more than any value unless those can be
    `negative`. Then the pixels there have a bias of their own: the lowest value.

    Parameters
    ----------
    layer : EngineLayer
        See `_identity`.
    pads : (top, left, bottom, right)
    negative : bool
    """
    top, left, bottom, right = pads
    channels, height, width = layer.conv_map
    map_ = (channels, top + height + bottom, left + width + right)
    layer = replace(layer, conv_map=map_, output_map=map_, pads=(top, left))
    if not negative or not any(pads):
        return layer
    set_of = np.ones(map_[1:], np.intp)
    set_of[top : top + height, left : left + width] = 0
    return replace(
        layer,
        bias=np.stack([layer.bias, np.full_like(layer.bias, layer.lo)]),
        set_of=set_of.ravel(),
    )


def _fuse(layer: EngineLayer, pool: Layer, pad: int, out: Map) -> EngineLayer:
    """Put a max pool into the drain of a layer; `pad` of its padding is left above and left."""
    for what, (y, x), low, high in [("kernel", pool.kernel, 2, 3), ("stride", pool.stride, 1, 3)]:
        if y != x or not low <= y <= high:
            raise CompileError(
                f"layer {pool.name}: max pool {what} {y}x{x}; "
                f"square ones of {low} to {high} are supported"
            )
    return replace(
        layer,
        output_map=out,
        pool=Pool(pool.name, pool.kernel[0], pool.stride[0], pad, out[1], out[2]),
    )


def _prove(layer: EngineLayer, config: Config) -> None:
    """Prove from the actual weights what the engine relies on: nothing that it sums can wrap."""
    bits, limit = config.DW, limit_of(config.DW)
    if layer.alphas is not None:
        if len(layer.codes) > config.N_MAX:
            raise CompileError(
                f"layer {layer.name}: {len(layer.codes)} codes; "
                f"the configuration has N_MAX = {config.N_MAX}"
            )
        prove_range(layer.name, "alphas", layer.alphas, bits)
        if layer.axis == "channel":
            if not config.CHANNEL_AXIS:
                raise CompileError(
                    f"layer {layer.name}: channel-axis codes; "
                    "the configuration has CHANNEL_AXIS = 0"
                )
            if layer.groups > 1:
                raise CompileError(
                    f"layer {layer.name}: channel-axis codes on {layer.groups} groups; they are "
                    "supported on layers of one group"
                )
            channels = layer.weights.shape[1]
            wanted = (-(-channels // CHANNEL_LENGTH), layer.taps, len(layer.codes))
            if layer.alphas.shape[1:] != wanted:
                raise CompileError(
                    f"layer {layer.name}: alphas {layer.alphas.shape} for {channels} channels and "
                    f"{layer.taps} taps"
                )
            generated = generate_channel(layer.alphas, layer.codes, layer.kernel, channels)
        else:
            generated = generate_kernel(layer.alphas, layer.codes, layer.kernel[0])
        if not np.array_equal(generated, layer.weights):
            raise CompileError(f"layer {layer.name}: its alphas do not generate its weights")
    prove_range(layer.name, "weights", layer.weights, bits)
    pixels = layer.pixels if layer.row0 else 1
    prove_accumulator(layer.name, layer.weights, layer.bias, bits, pixels)
    for what, value, low, high in [
        ("m", int(layer.m.min()), -(2**15), 2**15 - 1),
        ("m", int(layer.m.max()), -(2**15), 2**15 - 1),
        ("s", layer.s, 0, 47),
        ("m_r", layer.m_r, -(2**15), 2**15 - 1),
        ("t", layer.t, 0, 31),
        ("lo", layer.lo, -limit, layer.hi),
        ("hi", layer.hi, layer.lo, limit),
    ]:
        if not low <= value <= high:
            raise RangeError(f"layer {layer.name}: {what} is {value}, outside {low}..{high}")
