# SPDX-License-Identifier: Apache-2.0
"""What each layer of a converted model costs: signal-to-noise ratios against floating point."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from unzipfpga.errors import ModelError
from unzipfpga.frontend.converted import converted_model, float_model
from unzipfpga.frontend.graph import FloatGraph
from unzipfpga.frontend.network import Network
from unzipfpga.frontend.runtime import batch_size, run_tensors

FLOAT = "float/"  # prefix of the floating-point network's names, where both are in one model


@dataclass(frozen=True)
class LayerNoise:
    """Signal-to-noise ratios of one layer's result, in dB; infinite where nothing differs.

    The signal is the floating-point network's tensor, its mean included.

    Attributes
    ----------
    name : str
        Of the layer; for the network's input that of the tensor.
    tensor : str
        What is compared: the layer's result, after activation.
    codes : str
        "4/9" for 4 codes of 9 taps, "8/16" for channel-axis ones, "dense", or "" without weights.
    weights_db : float
        Floating-point inputs, integer weights (or alphas) and bias, result not quantised: what the
        weights alone cost.
    own_db : float
        The same, result quantised: what the layer costs.
    total_db : float
        In the converted network: what this layer and all in front of it cost.
    """

    name: str
    tensor: str
    codes: str
    weights_db: float
    own_db: float
    total_db: float


def _codes(network: Network) -> dict[str, str]:
    shown = {}
    for layer in network.layers:
        taps = 16 if layer.axis == "channel" else layer.kernel[0] * layer.kernel[1]
        kind = f"{len(layer.codes)}/{taps}" if layer.codes else "dense"
        shown[layer.name] = kind if layer.multiplies else ""
    return shown


def _single_layers(network: Network, graph: FloatGraph) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a model in which each integer layer reads the floating-point network's tensors.

    Returns
    -------
    onnx.ModelProto
        The floating-point network, names under `FLOAT`, and every layer of the integer one.
    dict of str to str
        Tensor -> name of its value before it is quantised.
    """
    model = onnx.compose.add_prefix(float_model(graph), FLOAT)
    integers = converted_model(network)
    quantised = {
        node.output[0]: node.input[0]
        for node in integers.graph.node
        if node.op_type == "QuantizeLinear"
    }
    reads = {name: FLOAT + name for name in network.tensors}
    before = {}
    for node in integers.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantised:
            source = quantised[node.input[0]]
            if source == network.input:
                reads[node.output[0]] = FLOAT + network.input
                node.output[0] = network.input  # its quantised value takes the free name
                reads.pop(network.input)
            else:
                before[node.output[0]] = source
    for node in integers.graph.node:
        first = node.op_type == "QuantizeLinear" and node.input[0] == network.input
        names = [FLOAT + network.input if first and n == network.input else n for n in node.input]
        del node.input[:]
        node.input.extend(reads.get(name, name) for name in names)
    model.graph.node.extend(integers.graph.node)
    model.graph.initializer.extend(integers.graph.initializer)
    return model, before


class _Ratio:
    """Sums up signal and noise over batches."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, exact: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        self.signal += float(np.square(exact, dtype=np.float64).sum())
        self.noise += float(np.square(exact - found, dtype=np.float64).sum())

    @property
    def db(self) -> float:
        if self.noise == 0.0:
            return float("inf")
        return 10.0 * float(np.log10(self.signal / self.noise)) if self.signal else float("-inf")


def layer_noise(
    network: Network,
    graph: FloatGraph,
    images: NDArray[np.float32],
    advance: Callable[[int], None] = lambda _count: None,
) -> list[LayerNoise]:
    """Compare every layer of a converted network with the floating-point one, in ONNX Runtime.

    Parameters
    ----------
    network : Network
    graph : FloatGraph
        What the network was converted from (`read_float`).
    images : float32 array [N, C, H, W]
        Preprocessed.
    advance : callable
        Called with the number of images of each batch that is done.

    Returns
    -------
    list of LayerNoise
        The input, then every layer that sums, in order. Pools and concatenations cost nothing of
        their own: they pass integers on.

    Raises
    ------
    ModelError
        If the two networks are not of the same layers.
    """
    rows = [(network.input, network.input)]
    rows += [(layer.name, layer.output) for layer in network.layers if layer.weighted]
    strange = [tensor for _, tensor in rows if tensor not in graph.shapes]
    if strange:
        raise ModelError(
            f"the floating-point model has no tensor '{strange[0]}': it is not what the network "
            "was converted from"
        )
    single, before = _single_layers(network, graph)
    tensors = [tensor for _, tensor in rows]
    integers = converted_model(network)
    read_as = dict(zip(tensors, tensors, strict=True))
    for node in integers.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == network.input:
            following = [n for n in integers.graph.node if node.output[0] in n.input]
            read_as[network.input] = following[0].output[0]
    weights, own, total = ({tensor: _Ratio() for tensor in tensors} for _ in range(3))
    names = [FLOAT + t for t in tensors] + tensors + list(before.values())
    size = max(1, batch_size(graph.shapes) // 3)
    for alone, whole in zip(
        run_tensors(single, names, images, size),
        run_tensors(integers, list(read_as.values()), images, size, advance),
        strict=True,
    ):
        for tensor in tensors:
            exact = alone[FLOAT + tensor]
            own[tensor].add(exact, alone[tensor])
            total[tensor].add(exact, whole[read_as[tensor]])
            weights[tensor].add(exact, alone[before[tensor]] if tensor in before else exact)
    codes = _codes(network)
    return [
        LayerNoise(
            name,
            tensor,
            codes.get(name, ""),
            weights[tensor].db,
            own[tensor].db,
            total[tensor].db,
        )
        for name, tensor in rows
    ]
