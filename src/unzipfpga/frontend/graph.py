# SPDX-License-Identifier: Apache-2.0
"""The network in floating point, reduced to the layers that the engine has."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["conv", "gemm", "avgpool", "gap", "maxpool", "flatten", "concat"]


@dataclass
class FloatLayer:
    """One layer with all that is fused into it, or a max pool, a flatten or a concatenation.

    An average pool is a depthwise layer of equal weights, with a scale of its own for its result.

    Attributes
    ----------
    name : str
        Name of the source node, unique in the network.
    kind : {"conv", "gemm", "avgpool", "gap", "maxpool", "flatten", "concat"}
        "gap" is a global average pool.
    input, output : str
        Tensors.
    others : tuple of str
        Of concat: the tensors whose channels follow those of `input`, in order.
    weights : float64 array [C_out, C_in/groups, Ky, Kx] or [C_out, C_in/groups] (gemm, gap) or None
        None for maxpool, flatten and concat; 1 / (positions of the kernel) for average pools.
    bias : float64 array [C_out] or None
    groups : int
        Filter f sees only the channels of group ``f // (C_out/groups)``.
    pooled_pixels : int
        Of gap, and of gemm with a global average pool in front of it: pixels of the input map,
        over all of which the sum goes. 0 for all others.
    kernel, stride : (y, x)
    pads : (top, left, bottom, right)
    relu : bool
        Negative results become 0.
    clip : float or None
        Upper bound of the result (6.0 for ReLU6); only together with `relu`.
    residual : str or None
        Tensor of the output's shape that is added before the activation.
    weight_scale : float64 array [C_out] or None
        Real value of one integer step of each filter's weights, where the source states it.
    counts : tuple of int
        Of an avgpool whose padding does not count, so that its windows divide by different numbers
        of pixels: these numbers, ascending (see `window_pixels`). Empty for all others.
    """

    name: str
    kind: Kind
    input: str
    output: str
    weights: NDArray[np.float64] | None = None
    bias: NDArray[np.float64] | None = None
    groups: int = 1
    pooled_pixels: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    relu: bool = False
    clip: float | None = None
    residual: str | None = None
    others: tuple[str, ...] = ()
    weight_scale: NDArray[np.float64] | None = None
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
        """Whether the layer has weights of the model's (conv, gemm): factors fold into them."""
        return self.kind in ("conv", "gemm")


@dataclass
class FloatGraph:
    """A network: layers in an order in which they can run, and the shape of every tensor.

    Shapes leave out the batch: (channels, height, width) or (features,).

    Attributes
    ----------
    preprocess : dict
        `layout` of the images that the source takes, "NCHW" or "NHWC", and what else it says.
    ranges : dict of str to float
        Largest magnitude of tensors, where the source states it (quantised models do).
    host : list of dict
        Steps behind the output that the host does; see `unzipfpga.frontend.host`.
    """

    input: str
    output: str
    shapes: dict[str, tuple[int, ...]]
    layers: list[FloatLayer] = field(default_factory=list)
    preprocess: dict[str, Any] = field(default_factory=dict)
    ranges: dict[str, float] = field(default_factory=dict)
    host: list[dict[str, Any]] = field(default_factory=list)

    @property
    def unranged(self) -> list[str]:
        """Tensors with a scale of their own whose range the source does not state."""
        names = [self.input, *(layer.output for layer in self.layers if layer.weighted)]
        return [name for name in names if name not in self.ranges]


def window_pixels(
    size: tuple[int, ...],
    out: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> NDArray[np.int64]:
    """Return how many pixels of a map each window holds, padding left out.

    Parameters
    ----------
    size, out : (channels, height, width)
        Of the map, and of the windows.
    kernel, stride : (y, x)
    pads : (top, left, bottom, right)

    Returns
    -------
    int64 array [H_out, W_out]
    """
    axes = []
    for axis in (0, 1):
        starts = np.arange(out[1 + axis]) * stride[axis] - pads[axis]
        ends = np.minimum(starts + kernel[axis], size[1 + axis])
        axes.append(ends - np.maximum(starts, 0))
    pixels: NDArray[np.int64] = np.multiply.outer(*axes)
    return pixels
