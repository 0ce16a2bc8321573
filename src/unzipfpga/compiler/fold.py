# SPDX-License-Identifier: Apache-2.0
"""Folding of a first layer with few channels: kernel positions become channels of the stored image.

A step of the array takes T_P channels of one kernel position, so an image of 1 or 3 channels leaves
most lanes idle. Whoever packs the image can store it so that a word holds several pixels. Each
direction is folded by itself: with stride s, kernel K and padding p, word y holds the pixels

    s*y + i + offset,   0 <= i < phases,

and the layer becomes one of stride 1 with `taps` positions, of which position t of word y + t - pad
stands for k = s*t + i of the kernel: for `offset = s*pad - p` the same products, and so the same
sums. phases = s is the usual space-to-depth, which repeats no pixel; phases = K leaves one tap,
as an im2col does. Positions that no k stands for have the weight 0.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unzipfpga.compiler.lower import EngineLayer, LoweredNetwork
from unzipfpga.compiler.manifest import Fold
from unzipfpga.config import Config

MAX_GROWTH = 1.25  # room for the padding that becomes part of the image, not for an im2col


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class _Axis:
    """One direction of a folded layer; see the module. `step` is 1 where it is not folded."""

    phases: int
    step: int
    offset: int
    taps: int
    stride: int
    pad: int
    size: int  # of the stored image

    def position(self, k: int) -> tuple[int, int]:
        """Return the (tap, phase) that stands for position k of the kernel."""
        tap = min(k // self.step, self.taps - 1)
        return tap, k - self.step * tap


def _axes(size: int, outputs: int, kernel: int, stride: int, pad: int) -> list[_Axis]:
    """Return the ways to store one direction, the image as it is first."""
    ways = [_Axis(1, 1, 0, kernel, stride, pad, size)]
    for taps in range(1, _ceil_div(kernel, stride) + 1):
        phases = max(kernel - stride * (taps - 1), min(stride, kernel))
        # Words of padding are left to the engine if they hold no pixel of the image.
        words = max(0, (pad + stride - phases) // stride)
        offset = stride * words - pad
        rows = min(outputs - 1 + taps - words, _ceil_div(size - offset, stride))
        ways.append(_Axis(phases, stride, offset, taps, 1, words, max(1, rows)))
    return ways


def folded(network: LoweredNetwork, config: Config) -> list[LoweredNetwork]:
    """Return the foldings of a network's first layer that make it faster, the fastest first.

    Only dense layers of one group are folded, and only if nothing else reads the image. The stored
    image has at most `MAX_GROWTH` times the words of the unfolded one.

    Parameters
    ----------
    network : LoweredNetwork
    config : Config

    Returns
    -------
    list of LoweredNetwork
        Without the network itself.
    """
    layer = network.layers[0]
    readers = [
        name
        for one in network.layers
        for name in (one.source, one.residual)
        if name == network.input
    ]
    if layer.source != network.input or len(readers) > 1 or layer.codes or layer.groups > 1:
        return []
    channels, height, width = layer.input_map

    def steps(y: _Axis, x: _Axis) -> int:
        return blocks(y, x) * y.taps * x.taps

    def blocks(y: _Axis, x: _Axis) -> int:
        return _ceil_div(channels * y.phases * x.phases, config.T_P)

    def words(y: _Axis, x: _Axis) -> int:
        return blocks(y, x) * y.size * x.size

    def cycles(y: _Axis, x: _Axis) -> int:
        # The image is loaded before anything can start; a pixel is drained while the next computes.
        filters = layer.conv_map[0]
        drain = _ceil_div(min(filters, config.T_C), config.Q)
        load = words(y, x) * config.T_P * config.DW // config.AXI_DATA_W
        tiles = _ceil_div(filters, config.T_C)
        return tiles * layer.pixels * max(steps(y, x), drain) + load

    _, out_h, out_w = layer.conv_map
    ways_y = _axes(height, out_h, layer.kernel[0], layer.stride[0], layer.pads[0])
    ways_x = _axes(width, out_w, layer.kernel[1], layer.stride[1], layer.pads[1])
    plain = ways_y[0], ways_x[0]
    better = [
        way
        for way in product(ways_y, ways_x)
        if steps(*way) < steps(*plain)
        and cycles(*way) < cycles(*plain)
        and words(*way) <= MAX_GROWTH * words(*plain)
    ]
    better.sort(key=lambda way: (cycles(*way), words(*way), steps(*way)))
    return [_apply(network, layer, *way) for way in better]


def _apply(network: LoweredNetwork, layer: EngineLayer, y: _Axis, x: _Axis) -> LoweredNetwork:
    filters, channels = layer.weights.shape[:2]
    weights = np.zeros((filters, channels, y.phases, x.phases, y.taps, x.taps), layer.weights.dtype)
    for k_y, k_x in product(range(layer.kernel[0]), range(layer.kernel[1])):
        (tap_y, phase_y), (tap_x, phase_x) = y.position(k_y), x.position(k_x)
        weights[:, :, phase_y, phase_x, tap_y, tap_x] = layer.weights[:, :, k_y, k_x]
    stored = (channels * y.phases * x.phases, y.size, x.size)
    first = replace(
        layer,
        input_map=stored,
        kernel=(y.taps, x.taps),
        stride=(y.stride, x.stride),
        pads=(y.pad, x.pad),
        weights=weights.reshape(filters, -1, y.taps, x.taps),
        folded_from=layer,
    )
    fold = Fold(phases=(y.phases, x.phases), step=(y.step, x.step), offset=(y.offset, x.offset))
    return replace(
        network,
        layers=(first, *network.layers[1:]),
        maps=network.maps | {network.input: stored},
        fold=fold,
    )


def fold_image(
    image: NDArray[np.integer], fold: Fold, height: int, width: int
) -> NDArray[np.integer]:
    """Return an image as a folded one is stored.

    Parameters
    ----------
    image : int array [C, H, W]
    fold : Fold
    height, width : int
        Of the stored image.

    Returns
    -------
    int array [C*phases_y*phases_x, height, width]
        Channel ``(c*phases_y + i)*phases_x + j`` at (y, x) is channel c of the image's pixel
        ``(step_y*y + i + offset_y, step_x*x + j + offset_x)``, 0 outside the image.
    """
    channels, rows, columns = image.shape
    stored = np.zeros((channels, *fold.phases, height, width), image.dtype)
    for i, j in product(range(fold.phases[0]), range(fold.phases[1])):
        y = fold.step[0] * np.arange(height) + i + fold.offset[0]
        x = fold.step[1] * np.arange(width) + j + fold.offset[1]
        inside_y, inside_x = (y >= 0) & (y < rows), (x >= 0) & (x < columns)
        part = image[:, y[inside_y]][:, :, x[inside_x]]
        stored[:, i, j][np.ix_(np.arange(channels), inside_y, inside_x)] = part
    return stored.reshape(-1, height, width)
