# SPDX-License-Identifier: Apache-2.0
"""Bytes in DRAM: alphas and parameters, the input image, the output.

Activations lie as channel blocks of T_P, then rows, then columns; a word is the T_P channels of one
pixel, pad channels are 0; a block of several pixels begins at a multiple of 64 bytes. All integers
are little endian.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unzipfpga.compiler.lower import EngineLayer
from unzipfpga.compiler.place import ALIGNMENT, plane_bytes
from unzipfpga.compiler.tiling import Tile, Tiling, ceil_div, channel_word
from unzipfpga.config import Config
from unzipfpga.frontend.network import accumulator_bits
from unzipfpga.ovsf.codes import CHANNEL_LENGTH

PARAM_BYTES = 8  # of one channel


class WeightImage:
    """What the load queue reads besides the image; every piece starts at a multiple of 64."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, piece: bytes) -> int:
        """Append a piece and return its offset."""
        offset = len(self.data)
        self.data += piece + bytes(-len(piece) % ALIGNMENT)
        return offset


def pack_alphas(tiling: Tiling, tile: Tile, config: Config) -> bytes:
    """Return the alphas of a tile, or a dense layer's weights, in the order of alpha mem.

    A word holds T_P channels of G filters, lane g*T_P + l being filter g, channel l. Kernel axis:
    for each block, for each group of G filters: n words. Dense: for each chunk, for each block of
    it, for each group, for each tap of it: one word; channel axis: a set of alphas, see
    `channel_word`; in the code domain a word whose lanes are the n codes of T_P/n blocks of 16
    channels. Missing filters and channels are 0.
    """
    layer = tiling.layer
    if layer.axis == "channel" and tiling.domain == "codes":
        return _pack_projected(tiling, tile, config)
    if layer.axis == "channel":
        return _pack_channel(tiling, tile, config)
    values = layer.weights if layer.alphas is None else layer.alphas
    values = values.reshape(*values.shape[:2], -1)  # [C_out, C_in of a group, taps or n]
    groups = ceil_div(tile.filters, config.G)
    channels = tile.blocks * config.T_P
    padded = np.zeros((groups * config.G, channels, values.shape[2]), values.dtype)
    for index in range(tile.filters):
        number = tile.first_filter + index
        first = layer.channels_of(number, 1)[0] - tile.first_block * config.T_P
        low, high = max(0, first), min(channels, first + values.shape[1])
        if low < high:
            padded[index, low:high] = values[number, low - first : high - first]
    # [block, group, tap or code, filter of the group, channel of the block]
    words = padded.reshape(groups, config.G, tile.blocks, config.T_P, -1).transpose(2, 0, 4, 1, 3)
    dtype = f"<i{config.DW // 8}"
    if layer.alphas is not None:
        return words.astype(dtype).tobytes()
    return b"".join(piece.astype(dtype).tobytes() for piece in _in_order_of_use(words, tiling))


def _in_order_of_use(values: NDArray[np.integer], tiling: Tiling) -> Iterator[NDArray[np.integer]]:
    """Cut values [block, group, tap, ...] into pieces in the order in which they are consumed."""
    for block in values:
        for tap in range(0, block.shape[1], tiling.chunk_taps):
            yield block[:, tap : tap + tiling.chunk_taps]


def _pack_channel(tiling: Tiling, tile: Tile, config: Config) -> bytes:
    """Return the channel-axis alphas of a tile."""
    layer, g, t_p = tiling.layer, config.G, config.T_P
    assert layer.alphas is not None
    halves = max(1, t_p // CHANNEL_LENGTH)
    lanes = t_p // halves
    n = len(layer.codes)
    size = ceil_div(n, config.J) * config.J
    groups = ceil_div(tile.filters, g)
    # Where the alphas of each block (and half) of T_P lanes stand: blocks of 8 share 16 channels.
    first = (tile.first_block + np.arange(tile.blocks)) * t_p // CHANNEL_LENGTH
    sixteen = first[:, np.newaxis] + np.arange(halves)
    filters = layer.alphas[tile.first_filter : tile.first_filter + tile.filters]
    padded = np.zeros((groups * g, sixteen.max() + 1, layer.taps, size), layer.alphas.dtype)
    kept = filters[:, : padded.shape[1]]
    padded[: kept.shape[0], : kept.shape[1], :, :n] = kept
    # [filter, block, half, tap, alpha] to [block, group, tap, filter of the group, half, alpha]
    blocks = padded[:, sixteen].reshape(groups, g, tile.blocks, halves, layer.taps, size)
    ordered = blocks.transpose(2, 0, 4, 1, 3, 5)
    sets = np.concatenate(
        [piece.reshape(-1, g, halves, size) for piece in _in_order_of_use(ordered, tiling)]
    )
    set_words, word_sets = channel_word(n, config)
    count = ceil_div(len(sets), word_sets)
    filled = np.zeros((count * word_sets, g, halves, size), sets.dtype)
    filled[: len(sets)] = sets
    joined = filled.reshape(count, word_sets, g, halves, size).transpose(0, 2, 3, 1, 4)
    words = np.zeros((count, g, halves, set_words * lanes), sets.dtype)
    words[..., : word_sets * size] = joined.reshape(count, g, halves, -1)
    split = words.reshape(count, g, halves, set_words, lanes).transpose(0, 3, 1, 2, 4)
    return split.astype(f"<i{config.DW // 8}").tobytes()


def _pack_projected(tiling: Tiling, tile: Tile, config: Config) -> bytes:
    """Return the channel-axis alphas of a tile that multiply projections."""
    layer, g, t_p = tiling.layer, config.G, config.T_P
    assert layer.alphas is not None
    n = len(layer.codes)
    steps, groups = ceil_div(tile.blocks, tiling.step_blocks), ceil_div(tile.filters, g)
    first = tile.first_block * t_p // CHANNEL_LENGTH
    most = ceil_div(tile.blocks * t_p, CHANNEL_LENGTH)  # blocks of 16 channels
    found = layer.alphas[tile.first_filter : tile.first_filter + tile.filters, first : first + most]
    padded = np.zeros((groups * g, steps * t_p // n, layer.taps, n), layer.alphas.dtype)
    padded[: found.shape[0], : found.shape[1]] = found
    # [filter, block of 16, tap, code] to [step's blocks, group, tap, filter of the group, lane]
    split = padded.reshape(groups, g, steps, t_p // n, layer.taps, n)
    words = split.transpose(2, 0, 4, 1, 3, 5).reshape(steps, groups, layer.taps, g, t_p)
    dtype = f"<i{config.DW // 8}"
    return b"".join(piece.astype(dtype).tobytes() for piece in _in_order_of_use(words, tiling))


def pack_params(layer: EngineLayer, first: int, filters: int, config: Config) -> bytes:
    """Return the parameters of some filters: 8 bytes each, bias in the low bits, then m.

    The bias has as many bits as an accumulator. Channels are filled up to a multiple of Q with 0.
    Several sets follow each other.
    """
    bits = accumulator_bits(config.DW)
    shape = layer.sets, layer.conv_map[0]
    biases, factors = np.broadcast_to(layer.bias, shape), np.broadcast_to(layer.m, shape)
    words = np.zeros((layer.sets, ceil_div(filters, config.Q) * config.Q), np.uint64)
    for number, index in np.ndindex(layer.sets, filters):
        bias, m = int(biases[number, first + index]), int(factors[number, first + index])
        words[number, index] = (bias & ((1 << bits) - 1)) | (m & 0xFFFF) << bits
    return words.astype("<u8").tobytes()


def pack_map(values: NDArray[np.integer], config: Config) -> bytes:
    """Return activations [C, H, W] as they lie in DRAM, filled up to a multiple of 64 bytes."""
    channels, height, width = values.shape
    blocks = ceil_div(channels, config.T_P)
    padded = np.zeros((blocks * config.T_P, height, width), f"<i{config.DW // 8}")
    padded[:channels] = values
    planes = padded.reshape(blocks, config.T_P, height, width).transpose(0, 2, 3, 1)
    pitch = plane_bytes((channels, height, width), config)
    data = b"".join(plane.tobytes().ljust(pitch, b"\0") for plane in planes)
    return data + bytes(-len(data) % ALIGNMENT)


def unpack_map(data: bytes, shape: tuple[int, int, int], config: Config) -> NDArray[np.int32]:
    """Return activations [C, H, W] from DRAM without pad channels: the inverse of `pack_map`."""
    channels, height, width = shape
    blocks = ceil_div(channels, config.T_P)
    count, pitch = height * width * config.T_P, plane_bytes(shape, config)
    planes = [
        np.frombuffer(data, f"<i{config.DW // 8}", count, block * pitch) for block in range(blocks)
    ]
    blocked = np.stack(planes).reshape(blocks, height, width, config.T_P).transpose(0, 3, 1, 2)
    return blocked.reshape(blocks * config.T_P, height, width)[:channels].astype(np.int32)
