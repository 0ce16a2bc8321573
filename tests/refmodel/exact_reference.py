# SPDX-License-Identifier: Apache-2.0
"""Converted networks as docs/model-format.md says it: loops over Python's exact numbers.

Weights are generated here from alphas and codes; every operation is one on `int` or `Fraction`.
Slow, and meant to be read beside the document.
"""

import itertools
import math
from fractions import Fraction
from typing import Any

from unzipfpga.frontend import Layer, Network


def sign(j: int, i: int) -> int:
    """H[j][i] = (-1)^popcount(j & i)."""
    return -1 if (j & i).bit_count() % 2 else 1


def weights(network: Network, layer: Layer) -> Any:
    """Weights of a layer by [filter][channel][ky][kx]; a fully connected one has a map's taps."""
    assert layer.weights is not None
    channels, k_h, k_w = (layer.weights.shape[1], *layer.kernel)
    if layer.kind == "gemm":
        channels, k_h, k_w = source_map(network, layer)
    if layer.alphas is None:
        flat = layer.weights.tolist()

        def weight(f: int, c: int, ky: int, kx: int) -> int:
            if layer.kind == "gemm":
                return int(flat[f][(c * k_h + ky) * k_w + kx])
            return int(flat[f][c][ky][kx])

    else:
        alphas, codes = layer.alphas.tolist(), layer.codes
        edge = 1
        while edge < k_h:
            edge *= 2

        def weight(f: int, c: int, ky: int, kx: int) -> int:
            if layer.axis == "kernel":
                terms = zip(alphas[f][c], codes, strict=True)
                return sum(a * sign(j, edge * ky + kx) for a, j in terms)
            terms = zip(alphas[f][c // 16][ky * k_w + kx], codes, strict=True)
            return sum(a * sign(j, c % 16) for a, j in terms)

    return [
        [
            [[weight(f, c, ky, kx) for kx in range(k_w)] for ky in range(k_h)]
            for c in range(channels)
        ]
        for f in range(len(layer.weights))
    ]


def source_map(network: Network, layer: Layer) -> tuple[int, int, int]:
    """Channels, height and width that a fully connected layer's features had."""
    if not layer.pooled_pixels:
        for other in network.layers:
            if other.output == layer.input and other.kind == "flatten":
                shape = network.tensors[other.input].shape
                return shape[0], shape[1], shape[2]
    return network.tensors[layer.input].shape[0], 1, 1


def at(plane: Any, y: int, x: int) -> int:
    """A pixel; padding is 0."""
    inside = 0 <= y < len(plane) and 0 <= x < len(plane[0])
    return plane[y][x] if inside else 0


def post(layer: Layer, f: int, acc: int, r: int, pixels: int = 0) -> int:
    """y = clamp(floor(((acc + bias)*m + r*m_r*2^t) / 2^s + 1/2), lo, hi).

    m goes by the pixels that an average pool's window holds, where windows differ in that.
    """
    assert layer.bias is not None and layer.m is not None
    m = layer.m[layer.counts.index(pixels)] if layer.counts else layer.m
    value = Fraction(acc + int(layer.bias[f])) * int(m[f])
    value += Fraction(r) * layer.m_r * 2**layer.t
    half = Fraction(1, 2) if layer.s > 0 else Fraction(0)
    return min(max(math.floor(value / 2**layer.s + half), layer.lo), layer.hi)


def convolve(network: Network, layer: Layer, x: Any, r: Any) -> Any:
    """A convolution or average pool of one image [C][H][W]."""
    c_out, height, width = network.tensors[layer.output].shape
    per_group = c_out // layer.groups
    kernel = weights(network, layer)
    taps = list(itertools.product(range(layer.kernel[0]), range(layer.kernel[1])))
    top, left, _, _ = layer.pads

    def result(f: int, oy: int, ox: int) -> int:
        first = f // per_group * len(kernel[f])
        y, x0 = oy * layer.stride[0] - top, ox * layer.stride[1] - left
        acc = sum(
            kernel[f][c][ky][kx] * at(x[first + c], y + ky, x0 + kx)
            for c in range(len(kernel[f]))
            for ky, kx in taps
        )
        rows, columns = range(len(x[0])), range(len(x[0][0]))
        pixels = sum(y + ky in rows and x0 + kx in columns for ky, kx in taps)
        added = at(r[f], oy, ox) if r is not None and f < len(r) else 0
        return post(layer, f, acc, added, pixels)

    return [[[result(f, y, x) for x in range(width)] for y in range(height)] for f in range(c_out)]


def connect(network: Network, layer: Layer, x: Any) -> Any:
    """A fully connected layer of one image: of features, or of sums over a map's pixels."""
    features = [sum(map(sum, plane)) for plane in x] if layer.pooled_pixels else x
    flat = [
        [w for plane in filter_weights for row in plane for w in row]
        for filter_weights in weights(network, layer)
    ]
    return [
        post(layer, f, sum(w * v for w, v in zip(row, features, strict=True)), 0)
        for f, row in enumerate(flat)
    ]


def max_pool(network: Network, layer: Layer, x: Any) -> Any:
    """Maximum over the pixels of a window that are not padding."""
    _, height, width = network.tensors[layer.output].shape

    def result(plane: Any, oy: int, ox: int) -> int:
        y, x0 = oy * layer.stride[0] - layer.pads[0], ox * layer.stride[1] - layer.pads[1]
        rows = range(max(y, 0), min(y + layer.kernel[0], len(plane)))
        columns = range(max(x0, 0), min(x0 + layer.kernel[1], len(plane[0])))
        return max(plane[row][column] for row in rows for column in columns)

    return [[[result(plane, y, x) for x in range(width)] for y in range(height)] for plane in x]


def evaluate(network: Network, image: Any) -> dict[str, Any]:
    """Every tensor of a network for one image of integers, nested lists [C][H][W], by name."""
    tensors = {network.input: image}
    for layer in network.layers:
        x = tensors[layer.input]
        if layer.kind in ("conv", "avgpool"):
            r = tensors[layer.residual] if layer.residual else None
            y = convolve(network, layer, x, r)
        elif layer.kind == "gap":
            y = [post(layer, c, sum(map(sum, plane)), 0) for c, plane in enumerate(x)]
            y = [[[value]] for value in y] if len(network.tensors[layer.output].shape) == 3 else y
        elif layer.kind == "gemm":
            y = connect(network, layer, x)
        elif layer.kind == "maxpool":
            y = max_pool(network, layer, x)
        elif layer.kind == "flatten":
            y = [value for plane in x for row in plane for value in row]
        else:
            y = [plane for name in layer.inputs for plane in tensors[name]]
        tensors[layer.output] = y
    return tensors
