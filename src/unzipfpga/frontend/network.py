# SPDX-License-Identifier: Apache-2.0
"""The network in integers, exactly as the engine computes it: what `convert` decides.

Every weighted layer computes, per output channel f, with acc the exact sum of x*w:

    y = clamp(((acc + bias[f])*m[f] + ((r*m_r) << t) + (1 << (s-1) if s > 0 else 0)) >> s, lo, hi)

with r the residual operand and an arithmetic shift.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unzipfpga.errors import RangeError
from unzipfpga.frontend.graph import FloatLayer, Kind
from unzipfpga.ovsf import prove_range

Axis = Literal["dense", "kernel", "channel"]

WIDTHS = (8, 16)  # bits of an activation, an alpha and a weight: DW
S_MAX = 47
T_MAX = 31
M_MAX = 2**15 - 1


def limit_of(dw: int) -> int:
    """Return the largest activation, alpha and weight of `dw` bits; the range is symmetric."""
    return (1 << (dw - 1)) - 1


def accumulator_bits(dw: int) -> int:
    """Return the width of the accumulator and of the bias: 32 bits for DW = 8, 48 for DW = 16."""
    return 32 if dw == 8 else 48


def integer_type(dw: int) -> type[np.integer]:
    """Return the type in which activations, alphas and weights are stored."""
    return np.int8 if dw == 8 else np.int16


def bias_type(dw: int) -> type[np.integer]:
    """Return the type in which biases are kept: it holds an accumulator."""
    return np.int32 if dw == 8 else np.int64


@dataclass(frozen=True)
class Tensor:
    """Activations between layers: signed DW-bit integers, real value = integer * scale.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Without the batch: (channels, height, width) or (features,).
    scale : float
        A float32 value, > 0.
    """

    name: str
    shape: tuple[int, ...]
    scale: float


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of the integer network.

    Attributes
    ----------
    name : str
        Unique in the network.
    kind : {"conv", "gemm", "avgpool", "gap", "maxpool", "flatten", "concat"}
        Flattening changes no value and no order: (c, y, x) becomes feature (c*H + y)*W + x.
        Average pools ("gap": a global one) are depthwise layers whose weights are all 1; m and s
        hold the division, too.
    input, output : str
        Names of tensors.
    others : tuple of str
        Of concat: the tensors whose channels follow those of `input`, in order. All of them and the
        output have one scale.
    residual : str or None
        Tensor that is added in post-processing, in no direction larger than the output; 0 outside.
    kernel, stride : (y, x)
        Of conv, avgpool and maxpool; (1, 1) otherwise.
    pads : (top, left, bottom, right)
        Padding is 0 for conv and avgpool; max pooling ignores it, and so does the division of an
        avgpool with `counts`.
    groups : int
        Filter f sees only the channels of group ``f // (C_out/groups)``.
    pooled_pixels : int
        Of gap, and of gemm with a global average pool in front of it: pixels of the input map,
        over all of which the sum goes, without any rounding. 0 for all others.
    axis : {"dense", "kernel", "channel"}
        How the weights are stored: as they are, or as alphas of kernel-axis or channel-axis codes.
    codes : tuple of n ints
        Indices of the codes, in the order of the alphas; empty for a dense layer.
    dw : int
        Bits of activations, alphas and weights: 8 or 16.
    alphas : int8 or int16 array or None
        [C_out, C_in/groups, n]; channel axis [C_out, ceil(C_in/16), Ky*Kx, n].
    weights : int8 or int16 array or None
        [C_out, C_in/groups, Ky, Kx], or [C_out, C_in/groups] (gemm, gap): as multiplied; generated
        from `alphas` if there are any. None: maxpool, flatten, concat.
    bias : int32 (DW = 8) or int64 (DW = 16) array [C_out] or None
    m : int16 array [C_out] or None
        [len(counts), C_out] if there are `counts`.
    s, m_r, t, lo, hi : int
        Post-processing; see the module.
    weight_scale : float32 array [C_out] or None
        Real value of one integer step of a filter's weights; of an average pool 1 / (positions of
        the kernel).
    clip : float or None
        Upper bound of the real result (6.0 for ReLU6) that `hi` stands for.
    acc_bound : int
        Largest |acc + bias| that any input can cause, proven from the weights.
    counts : tuple of int
        Of an avgpool whose windows divide by different numbers of pixels: these numbers, ascending
        (see `unzipfpga.frontend.graph.window_pixels`). Empty for all others.
    """

    name: str
    kind: Kind
    input: str
    output: str
    residual: str | None = None
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    pooled_pixels: int = 0
    axis: Axis = "dense"
    codes: tuple[int, ...] = ()
    dw: int = 8
    alphas: NDArray[np.integer] | None = None
    weights: NDArray[np.integer] | None = None
    bias: NDArray[np.integer] | None = None
    m: NDArray[np.int16] | None = None
    s: int = 0
    m_r: int = 0
    t: int = 0
    lo: int = -127
    hi: int = 127
    weight_scale: NDArray[np.float32] | None = None
    clip: float | None = None
    acc_bound: int = 0
    others: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """All tensors whose values go into the layer, the residual left out."""
        return (self.input, *self.others)

    @property
    def weighted(self) -> bool:
        """Whether the layer sums, with a scale of its own, as against max pooling and reshaping."""
        return self.weights is not None

    @property
    def multiplies(self) -> bool:
        """Whether the layer has weights of the model's (conv, gemm)."""
        return self.kind in ("conv", "gemm")

    @property
    def rho(self) -> float:
        """Stored values per weight: n/(K*K), channel axis n/16 or more, 1 for a dense layer."""
        if self.alphas is None or self.weights is None:
            return 1.0
        return self.alphas.size / self.weights.size

    @property
    def stored_bytes(self) -> int:
        """Bytes of the weights as stored: alphas, or the weights themselves; 0 for pools."""
        if not self.multiplies:
            return 0
        stored = self.alphas if self.alphas is not None else self.weights
        return 0 if stored is None else stored.nbytes


@dataclass(frozen=True, eq=False)
class Network:
    """A converted network.

    Attributes
    ----------
    input, output : str
        Names of tensors.
    tensors : dict of str to Tensor
        All tensors, the input included.
    layers : tuple of Layer
        In an order in which they can run.
    source : dict
        `file` (name) and `sha256` of the floating-point model.
    preprocess : dict
        What is known of how an image becomes the input: `layout`, and `divide_by`, `mean`, `std`.
    dw : int
        Bits of an activation and of a weight.
    host : tuple of dict
        Steps behind the output that the host does; see `unzipfpga.frontend.host`.
    """

    input: str
    output: str
    tensors: dict[str, Tensor]
    layers: tuple[Layer, ...]
    source: dict[str, str]
    preprocess: dict[str, Any]
    dw: int = 8
    host: tuple[dict[str, Any], ...] = ()

    def quantise_input(self, images: NDArray[np.floating]) -> NDArray[np.integer]:
        """Turn preprocessed images into integers: clip(round_half_even(x/scale)), in float32.

        Parameters
        ----------
        images : float array [N, C, H, W] or [N, features]

        Returns
        -------
        int8 or int16 array of the same shape
        """
        limit = limit_of(self.dw)
        scaled = images.astype(np.float32) / np.float32(self.tensors[self.input].scale)
        clipped = np.clip(np.rint(scaled), -limit, limit)
        integers: NDArray[np.integer] = clipped.astype(integer_type(self.dw))
        return integers


def map_of(
    name: str,
    shapes: Mapping[str, tuple[int, ...]],
    layers: Iterable[Layer | FloatLayer],
    pooled_pixels: int = 0,
) -> tuple[int, int, int]:
    """Return (channels, height, width) of a tensor: of features, of the map that was flattened.

    Parameters
    ----------
    name : str
        A tensor.
    shapes : mapping of str to tuple of int
        Of all tensors so far.
    layers : iterable of Layer or FloatLayer
        At least those in front of the tensor.
    pooled_pixels : int
        Not 0: the layer that reads it has a global average pool in front, which leaves one pixel.
    """
    if pooled_pixels:
        return shapes[name][0], 1, 1
    for layer in layers:
        if layer.output == name and layer.kind == "flatten":
            return map_of(layer.input, shapes, layers)
    channels, height, width = (*shapes[name], 1, 1)[:3]
    return channels, height, width


def prove_accumulator(
    layer: str,
    weights: NDArray[np.integer],
    bias: NDArray[np.integer],
    dw: int = 8,
    pixels: int = 1,
) -> int:
    """Prove that no input can overflow the accumulator, in whatever order the sum is taken.

    Parameters
    ----------
    layer : str
        For the message.
    weights : integer array [C_out, ...]
    bias : integer array [C_out]
    dw : int
        Bits of an activation; they give the width of the accumulator, and of acc + bias.
    pixels : int
        Pixels that the sum takes each weight for.

    Returns
    -------
    int
        max over filters of sum(|w|)*(2^(DW-1)-1)*pixels + |bias|.

    Raises
    ------
    RangeError
        Names the layer, the filter, what it can reach, and the bound.
    """
    magnitudes = np.abs(weights.reshape(len(weights), -1).astype(np.int64)).sum(axis=1)
    reach = magnitudes * limit_of(dw) * pixels + np.abs(bias.astype(np.int64))
    worst = int(reach.argmax())
    acc_bits = accumulator_bits(dw)
    bound = 2 ** (acc_bits - 1) - 1
    if reach[worst] > bound:
        raise RangeError(
            f"layer {layer}: the accumulator of filter {worst} can reach {reach[worst]}, beyond "
            f"the {acc_bits}-bit bound {bound}"
        )
    return int(reach[worst])


def prove_layer(layer: Layer) -> None:
    """Check every range that a layer relies on.

    Raises
    ------
    RangeError
        Names the layer, the value and the bound.
    """
    if layer.weights is None or layer.bias is None or layer.m is None:
        return
    prove_range(layer.name, "weights", layer.weights, layer.dw)
    if layer.alphas is not None:
        prove_range(layer.name, "alphas", layer.alphas, layer.dw)
    bound = prove_accumulator(
        layer.name, layer.weights, layer.bias, layer.dw, max(1, layer.pooled_pixels)
    )
    limit = limit_of(layer.dw)
    checks = {
        "acc_bound": (layer.acc_bound, bound, bound),
        "s": (layer.s, 0, S_MAX),
        "t": (layer.t, 0, T_MAX),
        "m_r": (layer.m_r, -M_MAX - 1, M_MAX),
        "lo": (layer.lo, -limit, layer.hi),
        "hi": (layer.hi, layer.lo, limit),
    }
    for what, (value, low, high) in checks.items():
        if not low <= value <= high:
            raise RangeError(f"layer {layer.name}: {what} is {value}, outside {low}..{high}")
