# SPDX-License-Identifier: Apache-2.0
"""The network in floating point, reduced to the layers that the engine has."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["conv", "gemm", "maxpool", "flatten"]


@dataclass
class FloatLayer:
    """One layer: a convolution or fully connected layer with all that is fused into it, or a pool.

    Attributes
    ----------
    name : str
        Name of the source node, unique in the network.
    kind : {"conv", "gemm", "maxpool", "flatten"}
    input, output : str
        Tensors.
    weights : float64 array [C_out, C_in, Ky, Kx] (conv) or [C_out, C_in] (gemm), else None
    bias : float64 array [C_out] or None
    kernel, stride : (y, x)
    pads : (top, left, bottom, right)
    relu : bool
        Negative results become 0.
    clip : float or None
        Upper bound of the result (6.0 for ReLU6); only together with `relu`.
    residual : str or None
        Tensor of the output's shape that is added before the activation.
    """

    name: str
    kind: Kind
    input: str
    output: str
    weights: NDArray[np.float64] | None = None
    bias: NDArray[np.float64] | None = None
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    relu: bool = False
    clip: float | None = None
    residual: str | None = None

    @property
    def weighted(self) -> bool:
        """Whether the layer multiplies (conv, gemm), as against pooling and reshaping."""
        return self.weights is not None


@dataclass
class FloatGraph:
    """A network: layers in an order in which they can run, and the shape of every tensor.

    Shapes leave out the batch: (channels, height, width) or (features,).
    """

    input: str
    output: str
    shapes: dict[str, tuple[int, ...]]
    layers: list[FloatLayer] = field(default_factory=list)
    preprocess: dict[str, Any] = field(default_factory=dict)
