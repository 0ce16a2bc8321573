# SPDX-License-Identifier: Apache-2.0
"""Random integer networks for the engine's tests, as the front end would hand them to the compiler.

Weights, alphas, biases and post-processing are drawn directly, extremes included: the engine's
meaning is that of integers, whatever scales they came from.
"""

from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from unzipfpga.compiler import Compiled, CompileError, compile_network, tiling
from unzipfpga.compiler.domain import Choice, DomainChoice, refusal
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.manifest import FileInfo, LayerInfo, Manifest
from unzipfpga.config import Config, load_config
from unzipfpga.frontend import Layer, Network, Tensor
from unzipfpga.frontend.network import (
    accumulator_bits,
    bias_type,
    integer_type,
    limit_of,
    prove_accumulator,
)
from verif.refmodel.codes import CHANNEL_BLOCK, channel_weights, grid_edge, kernel_weights
from verif.refmodel.layers import window_pixels

SHIFTS = (0, 1, 2, 15, 31, 46, 47)  # extremes of s, drawn now and then
MULTIPLIERS = (-32768, -32767, -1, 0, 1, 32767)  # extremes of m and m_r
LIFTS = (0, 1, 30, 31)  # extremes of t
SOURCE = FileInfo(file="random", sha256="0" * 64, bytes=0)


@dataclass
class NetworkBuilder:
    """Appends layers of random integers; `shape` is that of the last tensor.

    Attributes
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        [C, H, W] or [features].
    extremes : float
        Chance of a layer with extreme post-processing.
    dw : int
        Bits of activations and weights: the build's DW.
    """

    rng: np.random.Generator
    shape: tuple[int, ...]
    extremes: float = 0.25
    dw: int = 8
    layers: list[Layer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit, self.type = limit_of(self.dw), integer_type(self.dw)
        self.tensors = {"image": Tensor("image", self.shape, 1.0)}
        self.last = "image"

    def at(self, tensor: str) -> None:
        """Go back to a tensor: the next layer reads it."""
        self.last, self.shape = tensor, self.tensors[tensor].shape

    def _add(self, kind: str, shape: tuple[int, ...], **known: Any) -> None:
        name = f"{kind}{len(self.layers)}"
        self.layers.append(
            Layer(name=name, kind=kind, input=self.last, output=f"{name}.out", dw=self.dw, **known)  # type: ignore[arg-type]
        )
        self.last, self.shape = f"{name}.out", shape
        self.tensors[self.last] = Tensor(self.last, shape, 1.0)

    def _size(self, size: int, kernel: int, stride: int, before: int, after: int) -> int:
        return (size + before + after - kernel) // stride + 1

    def conv_shape(
        self,
        filters: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pads: tuple[int, int, int, int],
    ) -> tuple[int, int, int]:
        """Return the shape of a convolution's output."""
        return (
            filters,
            self._size(self.shape[1], kernel[0], stride[0], pads[0], pads[2]),
            self._size(self.shape[2], kernel[1], stride[1], pads[1], pads[3]),
        )

    def fitting(self, out: tuple[int, ...]) -> list[str]:
        """Return the maps that can be added to an output: in no direction larger."""
        return [
            name
            for name, tensor in self.tensors.items()
            if len(tensor.shape) == 3
            and all(r <= o for r, o in zip(tensor.shape, out, strict=True))
        ]

    def conv(
        self,
        filters: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        n: int = 0,
        residual: str | None = None,
        groups: int = 1,
        axis: str = "kernel",
        **post: int,
    ) -> None:
        """A convolution; with n > 0 one of n random codes, on the kernel axis if that is square.

        `residual` is a tensor to add, in no direction larger than the output.
        """
        channels = self.shape[0]
        out = self.conv_shape(filters, kernel, stride, pads)
        known: dict[str, Any] = {"kernel": kernel, "stride": stride, "pads": pads}
        known["groups"] = groups
        channels //= groups
        if n and axis == "channel":
            known |= self._channel_axis(filters, channels, kernel, n)
            weights = known.pop("generated")
        elif n:
            grid = grid_edge(kernel[0]) ** 2
            codes = tuple(int(j) for j in self.rng.permutation(grid)[:n])
            alphas = self._alphas((filters, channels, n))
            weights = kernel_weights(alphas, codes, kernel[0])
            known |= {"axis": "kernel", "codes": codes, "alphas": alphas.astype(self.type)}
        else:
            weights = self._values((filters, channels, *kernel))
        self._weighted("conv", out, weights, known, post, residual)

    def _channel_axis(
        self, filters: int, channels: int, kernel: tuple[int, int], n: int
    ) -> dict[str, Any]:
        """Return a channel-axis layer's codes and alphas, and the weights generated from them."""
        codes = tuple(int(j) for j in self.rng.permutation(CHANNEL_BLOCK)[:n])
        blocks = -(-channels // CHANNEL_BLOCK)
        alphas = self._alphas((filters, blocks, kernel[0] * kernel[1], n))
        generated = channel_weights(alphas, codes, channels, kernel)
        known = {"axis": "channel", "codes": codes, "alphas": alphas.astype(self.type)}
        return known | {"generated": generated}

    def gemm(
        self,
        filters: int,
        residual: str | None = None,
        global_pool: bool = False,
        n: int = 0,
        **post: int,
    ) -> None:
        """A fully connected layer, behind a flatten or a global average pool if given a map.

        With n > 0 it has n channel-axis codes.
        """
        known: dict[str, Any] = {}
        channels, *size = (*self.shape, 1, 1)[:3]
        if global_pool:
            known["pooled_pixels"] = self.shape[1] * self.shape[2]
            size = [1, 1]
        elif len(self.shape) == 3:
            self._add("flatten", (int(np.prod(self.shape)),))
        weights = self._values((filters, self.shape[0]))
        if n:
            known |= self._channel_axis(filters, channels, (size[0], size[1]), n)
            weights = known.pop("generated").reshape(filters, -1)
        self._weighted("gemm", (filters,), weights, known, post, residual)

    def average(
        self,
        kernel: tuple[int, int] | None = None,
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        residual: str | None = None,
        counted: bool = True,
    ) -> None:
        """An average pool, a global one if no kernel is given, with any post-processing.

        If its padding is not `counted`, there is a multiplier for each number of pixels that a
        window holds.
        """
        channels, height, width = self.shape
        known: dict[str, Any] = {"groups": channels}
        if kernel is None:
            known["pooled_pixels"] = height * width
            ones = np.ones((channels, 1), np.int64)
            self._weighted("gap", (channels, 1, 1), ones, known, {}, residual)
            return
        known |= {"kernel": kernel, "stride": stride, "pads": pads}
        ones = np.ones((channels, 1, *kernel), np.int64)
        out = self.conv_shape(channels, kernel, stride, pads)
        if not counted:
            pixels = np.unique(window_pixels((height, width), kernel, stride, pads))
            known["counts"] = tuple(pixels.tolist())
        self._weighted("avgpool", out, ones, known, {}, residual)

    def pool(self, kernel: int, stride: int, pads: tuple[int, int, int, int]) -> None:
        """Max pooling of the layer before."""
        channels, height, width = self.shape
        out = (
            channels,
            self._size(height, kernel, stride, pads[0], pads[2]),
            self._size(width, kernel, stride, pads[1], pads[3]),
        )
        window = {"kernel": (kernel, kernel), "stride": (stride, stride), "pads": pads}
        self._add("maxpool", out, **window)

    def _values(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Weights over the whole range, at times only its ends."""
        if self.rng.random() < 0.15:
            return self.rng.choice(np.array([-self.limit, self.limit]), shape)
        return self.rng.integers(-self.limit, self.limit + 1, shape)

    def _alphas(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Alphas whose magnitudes add up to one weight at most, so that every signed sum fits."""
        spread = np.full(shape[-1], self.rng.choice([0.1, 1.0, 10.0]))
        share = self.rng.dirichlet(spread, shape[:-1])
        magnitude = np.floor(share * self.limit).astype(np.int64)
        alphas: NDArray[np.int64] = magnitude * self.rng.choice(np.array([-1, 1]), shape)
        return alphas

    def _weighted(
        self,
        kind: str,
        out: tuple[int, ...],
        weights: NDArray[np.int64],
        known: dict[str, Any],
        post: dict[str, int],
        residual: str | None,
    ) -> None:
        rng, filters, limit = self.rng, len(weights), self.limit
        pixels = max(1, known.get("pooled_pixels", 0))
        reach = np.abs(weights.reshape(filters, -1)).sum(axis=1) * limit * pixels
        spread = float(
            np.sqrt((weights.astype(float) ** 2).reshape(filters, -1).sum(axis=1) * pixels).mean()
        )
        spread = max(
            1.0, spread * 0.47 * limit
        )  # of the sums, for activations of about half the range
        bias = np.rint(rng.normal(0, spread, filters)).astype(np.int64)
        m = rng.integers(1, 2 ** rng.integers(1, 16), filters)
        m[rng.random(filters) < 0.1] *= -1
        s = int(np.clip(round(np.log2(spread * np.abs(m).mean() / (0.4 * limit))), 0, 47))
        if rng.random() < self.extremes:
            s = int(rng.choice(SHIFTS))
        if rng.random() < self.extremes:
            m = np.where(rng.random(filters) < 0.5, rng.choice(MULTIPLIERS, filters), m)
        if rng.random() < self.extremes:
            largest = 2 ** (accumulator_bits(self.dw) - 1) - 1
            ends = (largest - reach) * rng.choice(np.array([-1, 1]), filters)
            bias = np.where(rng.random(filters) < 0.5, ends, bias)
        lo, hi = sorted(int(v) for v in rng.integers(-limit, limit + 1, 2))
        lo, hi = [(-limit, limit), (0, limit), (0, abs(hi)), (lo, hi)][
            rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])
        ]
        lo, hi, s = post.get("lo", lo), post.get("hi", hi), post.get("s", s)
        m_r = t = 0
        if residual is not None:
            # r*m_r << t is about r*2^s, so that the residual shows in the output.
            t = int(np.clip(s - rng.integers(0, 15), 0, 31))
            m_r = int(np.clip(rng.uniform(-1.5, 1.5) * 2.0 ** (s - t), -32768, 32767))
            if rng.random() < self.extremes:
                m_r, t = int(rng.choice(MULTIPLIERS)), int(rng.choice(LIFTS))
            m_r, t = post.get("m_r", m_r), post.get("t", t)
        if len(known.get("counts", ())) > 1:  # any multipliers, all of them different
            share = np.linspace(0.3, 1.0, len(known["counts"]))[:, np.newaxis]
            m = np.rint(m * share).astype(np.int64)
        name = f"{kind}{len(self.layers)}"
        self._add(
            kind,
            out,
            weights=weights.astype(self.type),
            bias=bias.astype(bias_type(self.dw)),
            m=m.astype(np.int16),
            s=s,
            residual=residual,
            m_r=m_r,
            t=t,
            lo=lo,
            hi=hi,
            weight_scale=np.ones(filters, np.float32),
            acc_bound=prove_accumulator(name, weights, bias, self.dw, pixels),
            **known,
        )

    def network(self) -> Network:
        """Return the network."""
        source = {"file": "random", "sha256": "0" * 64}
        return Network("image", self.last, self.tensors, tuple(self.layers), source, {}, self.dw)


def _steps(compiled: Compiled) -> int:
    return sum(layer.steps for layer in compiled.manifest.layers)


def _draw(rng: np.random.Generator, config: Config, layers: int) -> Network:
    """Draw a network; it may be one that the compiler refuses, or that is too large."""

    def channels(most: int, word: int) -> int:
        # Often right at a border of words or tiles.
        if rng.random() < 0.4:
            return max(1, word * int(rng.integers(1, most + 1)) + int(rng.integers(-1, 2)))
        return int(rng.integers(1, most * word + 1))

    def channel_codes(share: float) -> int:
        if not config.CHANNEL_AXIS or rng.random() >= share:
            return 0
        return int(rng.integers(1, min(CHANNEL_BLOCK, config.N_MAX) + 1))

    if rng.random() < 0.08:
        return _large(rng, config)
    height, width = (int(v) for v in rng.integers(1, 15, 2))
    builder = NetworkBuilder(rng, (channels(2, config.T_P), height, width), dw=config.DW)
    if layers > 1 and rng.random() < 0.3:
        _block(rng, builder, channels(2, config.T_C))
        layers = 1
    elif min(height, width) >= 2 and rng.random() < 0.1:  # of the image: a layer by itself
        builder.pool(2, int(rng.integers(1, 3)), (0, 0, 0, 0))
    for index in range(layers):
        _, height, width = builder.shape
        last = index == layers - 1
        if last and rng.random() < 0.2:
            if rng.random() < 0.4:
                fitting = builder.fitting((builder.shape[0], 1, 1))
                residual = str(rng.choice(fitting)) if fitting and rng.random() < 0.5 else None
                builder.average(residual=residual)
            else:
                builder.gemm(channels(2, config.T_C), global_pool=True, n=channel_codes(0.4))
            break
        if max(height, width) <= 7 and rng.random() < (0.8 if height * width == 1 else 0.3 * last):
            builder.gemm(channels(2, config.T_C), n=channel_codes(0.4))
            if not last and rng.random() < 0.5:
                builder.gemm(channels(2, config.T_C), n=channel_codes(0.4))
            break
        square = rng.random() < 0.8
        k = int(rng.choice([1, 2, 3, 4, 5, 6, 7], p=[0.2, 0.1, 0.4, 0.05, 0.15, 0.05, 0.05]))
        kernel = (k, k) if square else (k, int(rng.integers(1, 8)))
        before = [int(rng.integers(0, size)) if rng.random() < 0.6 else 0 for size in kernel]
        after = [
            int(rng.integers(max(0, size - length - pad), max(size - length - pad, size - 1) + 1))
            if rng.random() < 0.6
            else max(0, size - length - pad)
            for size, length, pad in zip(kernel, (height, width), before, strict=True)
        ]
        stride = [int(rng.choice([1, 2, 3, 4, 5, 7], p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.02]))] * 2
        if rng.random() < 0.2:
            stride[1] = int(rng.integers(1, 5))
        pads = (before[0], before[1], after[0], after[1])
        average = bool(rng.random() < 0.1)
        groups, filters = 1, builder.shape[0] if average else channels(2, config.T_C)
        if rng.random() < 0.25 and not average:
            count = builder.shape[0]
            groups = int(rng.choice([count, *(g for g in (2, 3, 4) if count % g == 0)]))
            filters = groups * max(1, filters // groups)
        n = 0
        if k > 1 and kernel[0] == kernel[1] and rng.random() < 0.6:
            n = int(rng.integers(1, min(k * k, config.N_MAX) + 1))
        if rng.random() < 0.2 and not average:  # an identity block
            groups, filters, stride = 1, builder.shape[0], [1, 1]
            pads = (*((k - 1) // 2 for k in kernel), *(k // 2 for k in kernel))
        out = builder.conv_shape(filters, kernel, (stride[0], stride[1]), pads)
        fitting = builder.fitting(out)
        residual = str(rng.choice(fitting)) if fitting and rng.random() < 0.5 else None
        if average:
            builder.average(kernel, (stride[0], stride[1]), pads, residual)
            continue
        axis, channel_n = "kernel", channel_codes(0.3) if groups == 1 else 0
        if channel_n:
            n, axis = channel_n, "channel"
        builder.conv(filters, kernel, (stride[0], stride[1]), pads, n, residual, groups, axis)
        _, height, width = builder.shape
        if min(height, width) >= 3 and rng.random() < 0.15:
            builder.pool(3, 2, (1, 1, 0, 0))
        elif min(height, width) >= 2 and rng.random() < 0.35:
            size = int(rng.integers(2, 4)) if min(height, width) >= 3 else 2
            pad = int(rng.random() < 0.4)
            end = int(rng.random() < 0.3)
            builder.pool(size, int(rng.integers(1, 4)), (pad, pad, end, end))
            if min(builder.shape[1:]) >= 2 and rng.random() < 0.2:  # of a pool: a layer by itself
                builder.pool(2, 1, (0, 0, 0, 0))
    return builder.network()


def _block(rng: np.random.Generator, builder: NetworkBuilder, filters: int) -> None:
    """Append a residual block: a strided branch, and a convolution of what it reads."""
    entry, n = builder.last, int(rng.integers(0, 4))
    builder.conv(int(rng.integers(1, filters + 1)), (1, 1), (2, 2))
    branch = builder.last
    builder.at(entry)
    kind = rng.integers(3)
    if kind == 0:  # both are strided, and their results are added
        stride, residual = (2, 2), branch
    elif kind == 1:  # what both read is added; it is stored as the strided branch reads it
        stride, residual, filters = (1, 1), entry, builder.shape[0]
    else:  # a residual with fewer rows and columns
        stride, residual = (1, 1), branch
    builder.conv(filters, (3, 3), stride, (1, 1, 1, 1), n, residual)
    if min(builder.shape[1:]) >= 2 and rng.random() < 0.3:
        builder.pool(2, 2, (0, 0, 0, 0))


def shapes(rng: np.random.Generator, config: Config) -> dict[str, Network]:
    """Return one small network of each kind: block-diagonal weights, pixel sums, channel axis.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : Config
        The build: each reads more than one block of channels.
    """

    def start(height: int, width: int) -> NetworkBuilder:
        return NetworkBuilder(rng, (config.T_P + 3, height, width), extremes=0.0, dw=config.DW)

    networks = {name: start(4, 5) for name in ("depthwise", "grouped", "coded", "average")}
    channels = config.T_P + 3
    networks["depthwise"].conv(channels, (3, 3), (1, 1), (1, 1, 0, 1), groups=channels)
    networks["grouped"].conv(4, (1, 1))
    networks["grouped"].conv(6, (2, 2), groups=2)
    networks["coded"].conv(2 * channels, (3, 3), (1, 1), (0, 0, 1, 0), 4, groups=channels)
    networks["average"].average((3, 2), (1, 2), (1, 0, 0, 1))
    networks["global average"] = start(3, 4)
    networks["global average"].average()
    networks["global average, fully connected"] = start(5, 4)
    networks["global average, fully connected"].gemm(config.T_C + 1, global_pool=True)
    networks["max pools"] = start(4, 5)
    networks["max pools"].pool(2, 1, (0, 0, 0, 0))
    networks["max pools"].pool(2, 2, (1, 1, 0, 0))
    networks["max pools, padding behind"] = start(4, 5)
    networks["max pools, padding behind"].pool(3, 1, (1, 1, 1, 1))
    networks["max pools, padding behind"].pool(2, 1, (0, 1, 1, 0))
    for stride in (3, 5):
        networks[f"stride {stride}"] = NetworkBuilder(rng, (3, 8, 9), extremes=0.0, dw=config.DW)
        networks[f"stride {stride}"].conv(5, (5, 5), (stride, stride), (0, 2, 4, 0))
    if config.CHANNEL_AXIS:
        networks["channel axis"] = start(4, 3)
        networks["channel axis"].conv(7, (3, 2), n=9, axis="channel")
        networks["channel axis"].gemm(5, n=3)
    networks["average, padding left out"] = start(5, 6)
    networks["average, padding left out"].average((3, 3), (1, 1), (1, 1, 1, 1), counted=False)
    return {name: builder.network() for name, builder in networks.items()}


def _large(rng: np.random.Generator, config: Config) -> Network:
    """Draw a layer with more pixels than a tile has, or more alphas than half of their memory."""
    if rng.random() < 0.5:
        edge = int(np.sqrt(config.T_R)) + int(rng.integers(1, 3))
        kernel = int(rng.integers(1, 4))
        builder = NetworkBuilder(
            rng, (int(rng.integers(1, 4)), edge + kernel - 1, edge + kernel - 1), dw=config.DW
        )
        builder.conv(int(rng.integers(1, config.T_C + 1)), (kernel, kernel))
    else:
        blocks = config.ALPHA_DEPTH * config.G // (2 * 49 * config.T_C) + 1
        channels = blocks * config.T_P + int(rng.integers(1, config.T_P))
        builder = NetworkBuilder(rng, (channels, 7, int(rng.integers(7, 9))), dw=config.DW)
        builder.conv(config.T_C, (7, 7))
    return builder.network()


@dataclass(frozen=True)
class RandomNetwork:
    """A random network that a build can run.

    Attributes
    ----------
    network : Network
    compiled : Compiled
    """

    network: Network
    compiled: Compiled


def random_network(
    rng: np.random.Generator, config_name: str, config: Config, layers: int, steps: int
) -> RandomNetwork:
    """Draw networks until one compiles and takes no more than so many array steps.

    Parameters
    ----------
    rng : numpy.random.Generator
    config_name : str
    config : Config
        The build.
    layers : int
        Convolutions and fully connected layers, about.
    steps : int
        Most cycles of the array, which are nearly those of the run.

    Raises
    ------
    RuntimeError
        200 draws in a row were refused: the generator and the compiler do not fit together.
    """
    for _ in range(200):
        network = _draw(rng, config, layers)
        work = sum(
            layer.weights.size * int(np.prod(network.tensors[layer.output].shape[1:]))
            for layer in network.layers
            if layer.weights is not None
        )
        if work > 8 * steps * config.T_P * config.T_C:
            continue
        # Few pixels a tile also where all are summed: such maps are small enough to simulate.
        most = int(rng.choice([14, 20, tiling.PIXELS_MAX]))
        try:
            with patch.object(tiling, "PIXELS_MAX", most):
                fold, choice = bool(rng.random() < 0.5), _domains(rng, network, config)
                compiled = compile_network(
                    network, config_name, config, SOURCE, fold=fold, choice=choice
                )
        except CompileError:
            continue
        if _steps(compiled) <= steps:
            return RandomNetwork(network, compiled)
    raise RuntimeError("200 random networks in a row were refused")


def _domains(rng: np.random.Generator, network: Network, config: Config) -> DomainChoice:
    """Draw the domain of each layer that can run in both."""
    drawn: dict[str, Choice] = {}
    for layer in lower(network, config).layers:
        if refusal(layer, config) is None:
            drawn[layer.name] = "codes" if rng.random() < 0.7 else "weights"
    return DomainChoice("auto", drawn)


def _residual_features(layer: Layer, info: LayerInfo, manifest: Manifest) -> dict[str, bool]:
    maps = {placed.tensor: placed for placed in manifest.act_mem}
    there = info.residual is not None
    out = info.output_map if info.row0 else info.conv_map
    shape = maps[info.residual].shape if info.residual is not None else out
    fewer = [r < o for r, o in zip(shape, out, strict=True)]
    return {
        "residual": there,
        "residual is the input": info.residual == manifest.input.name,
        "residual with fewer blocks of channels": -(-shape[0] // manifest.parameters["T_P"])
        < -(-out[0] // manifest.parameters["T_P"]),
        "residual with fewer rows": fewer[1],
        "residual with fewer columns": fewer[2],
        "residual of several tiles": there and info.tiles > 1,
        "residual, then pooling": there and info.pool is not None,
        "residual that a strided layer reads": info.residual is not None
        and maps[info.residual].shift > 0,
        "largest m_r": abs(layer.m_r) >= 32767,
        "t above 29": layer.t > 29,
    }


def _layer_features(layer: Layer, info: LayerInfo, manifest: Manifest) -> dict[str, bool]:
    assert layer.m is not None
    t_p = manifest.parameters["T_P"]
    taps, pool = info.kernel[0] * info.kernel[1], info.pool or {}
    square, edge = info.kernel[0] == info.kernel[1], max(info.kernel)
    projected = info.domain == "codes"
    return {
        **{f"kernel {k}": square and edge == k and info.kind == "conv" for k in (1, 2, 3, 5, 7)},
        "kernel not square": not square,
        **{f"stride {stride}": info.stride == [stride, stride] for stride in (1, 2, 3)},
        "strides differ": info.stride[0] != info.stride[1],
        "padding differs": len(set(layer.pads)) > 2,
        "dense": info.axis == "dense" and edge > 1,
        "codes": info.axis == "kernel",
        "channel axis": info.axis == "channel",
        "channel axis, 1x1": info.axis == "channel" and info.kind == "conv" and edge == 1,
        "channel axis, fully connected": info.axis == "channel" and info.kind == "gemm",
        "projected along the kernel": projected and info.axis == "kernel",
        "projected along the kernel, stride 2": projected
        and info.axis == "kernel"
        and info.stride[1] == 2,
        "projected along the channels": projected and info.axis == "channel",
        "projected for groups of PEs": projected and max(info.pe_groups) > 1,
        "codes on a 2x2 kernel": info.axis == "kernel" and edge == 2,
        "codes on a kernel above 4": info.axis == "kernel" and edge > 4,
        "fully connected": info.kind == "gemm" and edge == 1,
        "fully connected on a map": info.kind == "gemm" and edge > 1,
        "several tiles of filters": info.tile[0] < info.conv_map[0],
        "groups of PEs": max(info.pe_groups) > 1,
        "tiles with different groups of PEs": len(set(info.pe_groups)) > 1,
        "several tiles of pixels": info.tile[1] < info.conv_map[1] * info.conv_map[2],
        "several tiles of channels": info.tile[2] < -(-info.input_map[0] // t_p),
        "chunks of part of the taps": info.chunk[1] < taps,
        "chunks of several blocks": info.chunk[0] > 1,
        "ragged channels": info.input_map[0] % t_p != 0,
        "ragged filters": info.conv_map[0] % t_p != 0,
        "s 0": layer.s == 0,
        "s above 45": layer.s > 45,
        "negative m": bool((layer.m < 0).any()),
        "largest m": int(np.abs(layer.m.astype(int)).max()) >= 32767,
        "largest accumulator": layer.acc_bound == 2 ** (accumulator_bits(layer.dw) - 1) - 1,
        "pooling 2x2": pool.get("kernel") == 2,
        "pooling 3x3, stride 2, padding": (pool.get("kernel"), pool.get("stride")) == (3, 2)
        and pool["pad"] == 1,
        "pooling of several tiles": bool(pool) and info.tiles > 1,
        **_residual_features(layer, info, manifest),
        "depthwise": info.kind == "conv" and 1 < info.groups == info.input_map[0],
        "grouped": info.kind == "conv" and 1 < info.groups < info.input_map[0],
        "groups with codes": info.groups > 1 and info.axis != "dense",
        "average pool": info.kind == "avgpool",
        "global average pool": info.kind == "gap",
        "fully connected behind a global average pool": info.kind == "gemm" and info.row0,
        "one sum over several tiles": info.row0
        and info.tile[1] < info.conv_map[1] * info.conv_map[2],
    }


def features(drawn: RandomNetwork) -> set[str]:
    """Return which of the situations that the tests are for occur in a network."""
    manifest = drawn.compiled.manifest
    layers = {layer.name: layer for layer in drawn.network.layers if layer.m is not None}
    found = {
        name
        for info in manifest.layers
        if info.name in layers
        for name, seen in _layer_features(layers[info.name], info, manifest).items()
        if seen
    }
    if manifest.input.fold:
        found.add("folded input")
    if len(manifest.layers) > len(layers):
        found.add("max pool by itself")
    return found | {f"{min(3, len(layers))} layers"}


def all_features(config_name: str) -> set[str]:
    """Return the names of all situations that can occur on a build."""
    config = load_config(config_name)
    builder = NetworkBuilder(np.random.default_rng(0), (1, 1, 1), dw=config.DW)
    builder.conv(1, (1, 1))
    compiled = compile_network(builder.network(), config_name, config, SOURCE)
    names = _layer_features(builder.layers[0], compiled.manifest.layers[0], compiled.manifest)
    counts = (f"{count} layers" for count in (1, 2, 3))
    every = {*names, *counts, "folded input", "max pool by itself"}
    if config.S == 1:
        every = {name for name in every if "groups of PEs" not in name}
    return every if config.PROJECTOR else {name for name in every if "projected" not in name}
