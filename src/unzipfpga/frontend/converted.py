# SPDX-License-Identifier: Apache-2.0
"""Writing a network as ONNX, and reading a converted one back; see docs/model-format.md.

The converted model is a QDQ graph that any ONNX runtime executes; the integers that the engine uses
are its initializers and, as JSON, the metadata of its Conv, Gemm and average pool nodes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unzipfpga.errors import ModelError, RangeError
from unzipfpga.frontend.files import check_onnx, infer_shapes, load_onnx, write_atomically
from unzipfpga.frontend.graph import FloatGraph, FloatLayer, window_pixels
from unzipfpga.frontend.host import check_host_steps
from unzipfpga.frontend.network import (
    WIDTHS,
    Axis,
    Layer,
    Network,
    Tensor,
    accumulator_bits,
    bias_type,
    integer_type,
    map_of,
    prove_layer,
)
from unzipfpga.ovsf import (
    CHANNEL_LENGTH,
    channel_codes,
    generate_channel,
    generate_kernel,
    kernel_codes,
)

FORMAT = "1"
OPSET = 21
IR_VERSION = 10
# A bias of 48 bits is stored as two int32 parts: high * 2^BIAS_LOW_BITS + low.
BIAS_LOW_BITS = 24
# Of a layer's metadata, besides `codes`: `name` and `axis` are strings, `m` is a list of integers,
# or of lists of integers.
INTEGERS = ("s", "lo", "hi", "m_r", "t", "dw", "acc_bits", "acc_bound")


class _Writer:
    """Collects the nodes and initializers of a graph; every name it makes up is new."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = set(taken)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def fresh(self, name: str) -> str:
        base, count = name, 1
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        name = self.fresh(name)
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(
        self, operator: str, inputs: list[str], output: str, name: str = "", **attributes: Any
    ) -> onnx.NodeProto:
        node = helper.make_node(operator, inputs, [output], name or f"{output}/{operator}")
        # In the order of their names: the same bytes every time.
        node.attribute.extend(
            helper.make_attribute(key, attributes[key]) for key in sorted(attributes)
        )
        self.nodes.append(node)
        return node

    def model(
        self, source: FloatGraph | Network, shapes: dict[str, tuple[int, ...]]
    ) -> onnx.ModelProto:
        def info(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shapes[name]])

        graph = helper.make_graph(
            self.nodes, "network", [info(source.input)], [info(source.output)], self.initializers
        )
        return helper.make_model(
            graph,
            producer_name="unzipfpga",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )


def _reshaping(writer: _Writer, layer: Layer | FloatLayer, sources: Sequence[str]) -> None:
    """Write a layer without weights."""
    if layer.kind == "maxpool":
        writer.node("MaxPool", [*sources], layer.output, layer.name, **_window(layer))
    elif layer.kind == "concat":
        writer.node("Concat", [*sources], layer.output, layer.name, axis=1)
    else:
        writer.node("Flatten", [*sources], layer.output, layer.name, axis=1)


def _window(layer: Layer | FloatLayer) -> dict[str, Any]:
    return {
        "kernel_shape": list(layer.kernel),
        "strides": list(layer.stride),
        "pads": list(layer.pads),
    }


def _weighted(
    writer: _Writer,
    layer: Layer | FloatLayer,
    relu: bool,
    inputs: list[str],
    residual: str | None,
    output: str,
) -> onnx.NodeProto:
    """Write Conv, Gemm or average pool, residual addition and activation; return the first.

    A global average pool in front of a Gemm comes without a quantisation between the two.
    """
    between = (residual is not None) + relu
    names = [writer.fresh(f"{output}.{i}") for i in range(between)] + [output]
    if layer.kind == "conv":
        groups = {"group": layer.groups} if layer.groups > 1 else {}
        node = writer.node("Conv", inputs, names[0], layer.name, **_window(layer), **groups)
    elif layer.kind == "avgpool":
        window = _window(layer) | {"count_include_pad": 0 if layer.counts else 1}
        node = writer.node("AveragePool", inputs[:1], names[0], layer.name, **window)
    elif layer.kind == "gap":
        node = writer.node("GlobalAveragePool", inputs[:1], names[0], layer.name)
    else:
        if layer.pooled_pixels:
            mean, flat = writer.fresh(f"{layer.name}.mean"), writer.fresh(f"{layer.name}.flat")
            writer.node("GlobalAveragePool", inputs[:1], mean)
            writer.node("Flatten", [mean], flat, axis=1)
            inputs = [flat, *inputs[1:]]
        node = writer.node("Gemm", inputs, names[0], layer.name, transB=1)
    if residual is not None:
        writer.node("Add", [names[0], residual], names[1])
    if relu and layer.clip is None:
        writer.node("Relu", [names[-2]], output)
    elif relu:
        low = writer.constant(f"{layer.name}.min", np.float32(0))
        high = writer.constant(f"{layer.name}.max", np.float32(layer.clip))
        writer.node("Clip", [names[-2], low, high], output)
    return node


def _padded(writer: _Writer, source: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return a tensor with zeros behind it, as large as what it is added to."""
    if shape == wanted:
        return source
    name = writer.fresh(f"{source}.padded")
    ends = [w - s for w, s in zip(wanted, shape, strict=True)]
    pads = writer.constant(f"{name}.pads", np.array([0] * (len(ends) + 2) + ends, np.int64))
    writer.node("Pad", [source, pads], name)
    return name


def float_model(graph: FloatGraph) -> onnx.ModelProto:
    """Return a floating-point network as ONNX, with everything folded and the graph's names."""
    writer = _Writer(set(graph.shapes))
    for layer in graph.layers:
        if layer.weights is None or layer.bias is None:
            _reshaping(writer, layer, layer.inputs)
            continue
        inputs = [layer.input]
        if layer.multiplies:
            inputs.append(
                writer.constant(f"{layer.name}.weights", layer.weights.astype(np.float32))
            )
            inputs.append(writer.constant(f"{layer.name}.bias", layer.bias.astype(np.float32)))
        residual = layer.residual
        if residual is not None:
            shapes = graph.shapes
            residual = _padded(writer, residual, shapes[residual], shapes[layer.output])
        _weighted(writer, layer, layer.relu, inputs, residual, layer.output)
    return writer.model(graph, graph.shapes)


def _metadata(layer: Layer) -> str:
    assert layer.m is not None
    values: dict[str, Any] = {"name": layer.name, "axis": layer.axis}
    if layer.codes:
        values["codes"] = list(layer.codes)
    values["m"] = layer.m.tolist()
    for key in ("s", "lo", "hi", "m_r", "t"):
        values[key] = getattr(layer, key)
    values |= {"dw": layer.dw, "acc_bits": accumulator_bits(layer.dw)}
    values["acc_bound"] = layer.acc_bound
    return json.dumps(values)


def _weights(writer: _Writer, layer: Layer, scale: str, source: tuple[int, int, int]) -> str:
    """Write what makes a layer's real weights; return their name. `source` is the map it reads."""
    name = writer.fresh(f"{layer.name}.weights")
    if layer.alphas is None:
        assert layer.weights is not None
        stored = writer.constant(f"{layer.name}.weights.int", layer.weights)
        writer.node("DequantizeLinear", [stored, scale], name, axis=0)
        return name
    assert layer.weights is not None
    stored = writer.constant(f"{layer.name}.alphas.int", layer.alphas)
    alphas = writer.fresh(f"{layer.name}.alphas")
    if layer.axis == "channel":
        writer.node("DequantizeLinear", [stored, scale], alphas, axis=0)
        _channel_weights(writer, layer, source, alphas, name)
        return name
    matrix = kernel_codes(layer.kernel[0], layer.codes).astype(np.float32)
    codes = writer.constant(f"{layer.name}.codes", matrix)
    shape = writer.constant(f"{layer.name}.shape", np.array(layer.weights.shape, np.int64))
    taps = writer.fresh(f"{layer.name}.taps")
    writer.node("DequantizeLinear", [stored, scale], alphas, axis=0)
    writer.node("MatMul", [alphas, codes], taps)
    writer.node("Reshape", [taps, shape], name)
    return name


def _bias(writer: _Writer, layer: Layer, scale: NDArray[np.float32]) -> str:
    """Write what makes a layer's real bias; return its name.

    48 bits are two dequantised parts that are added: DequantizeLinear takes no wider integers than
    int32, and a float initializer would be quantised to int32 by ONNX Runtime 1.31, and wrap.
    """
    assert layer.bias is not None
    name = writer.fresh(f"{layer.name}.bias")
    if layer.dw == 8:
        parts = {"": (layer.bias, scale)}
    else:
        high = (layer.bias + (1 << (BIAS_LOW_BITS - 1))) >> BIAS_LOW_BITS
        low = layer.bias - (high << BIAS_LOW_BITS)
        parts = {".high": (high, scale * np.float32(1 << BIAS_LOW_BITS)), ".low": (low, scale)}
    outputs = [name] if len(parts) == 1 else [writer.fresh(f"{name}{part}") for part in parts]
    for (part, (integers, steps)), output in zip(parts.items(), outputs, strict=True):
        stored = writer.constant(f"{layer.name}.bias{part}.int", integers.astype(np.int32))
        steps_name = writer.constant(f"{layer.name}.bias{part}_scale", steps)
        writer.node("DequantizeLinear", [stored, steps_name], output, axis=0)
    if len(outputs) > 1:
        writer.node("Add", outputs, name)
    return name


def _channel_weights(
    writer: _Writer, layer: Layer, source: tuple[int, int, int], alphas: str, output: str
) -> None:
    """Write the nodes from dequantised channel-axis alphas to weights."""
    assert layer.alphas is not None and layer.weights is not None
    filters, blocks = layer.alphas.shape[:2]
    channels = source[0]
    kernel = source[1:] if layer.kind == "gemm" else layer.kernel
    lanes = (filters, blocks * CHANNEL_LENGTH, *kernel)
    matrix = channel_codes(layer.codes).astype(np.float32)
    codes = writer.constant(f"{layer.name}.codes", matrix)
    shape = writer.constant(f"{layer.name}.shape", np.array(lanes, np.int64))
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("MatMul", [codes], {}),  # [C_out, blocks, Ky*Kx, 16]
        ("Transpose", [], {"perm": [0, 1, 3, 2]}),
        ("Reshape", [shape], {}),
    ]
    if channels < lanes[1]:
        bounds = {"starts": [0], "ends": [channels], "axes": [1]}
        operands = [
            writer.constant(f"{layer.name}.{key}", np.array(value, np.int64))
            for key, value in bounds.items()
        ]
        steps.append(("Slice", operands, {}))
    if layer.kind == "gemm":
        flat = np.array(layer.weights.shape, np.int64)
        steps.append(("Reshape", [writer.constant(f"{layer.name}.flat", flat)], {}))
    value = alphas
    for index, (operator, operands, attributes) in enumerate(steps):
        last = index + 1 == len(steps)
        target = output if last else writer.fresh(f"{output}.{operator.lower()}")
        writer.node(operator, [value, *operands], target, **attributes)
        value = target


def converted_model(network: Network) -> onnx.ModelProto:
    """Return a network as a converted model.

    Parameters
    ----------
    network : Network

    Returns
    -------
    onnx.ModelProto
        Passes ONNX's checker; `read_converted` gives the same network back.
    """
    writer = _Writer(set(network.tensors))
    zero = writer.constant("zero_point", integer_type(network.dw)(0))
    shapes = {name: tensor.shape for name, tensor in network.tensors.items()}
    real: dict[str, str] = {}  # tensor -> the name under which layers read it

    def quantised(tensor: Tensor, source: str, output: str) -> None:
        scale = writer.constant(f"{tensor.name}.scale", np.float32(tensor.scale))
        integers = writer.fresh(f"{tensor.name}.int")
        writer.node("QuantizeLinear", [source, scale, zero], integers)
        # Without a zero point (0 is its default): given one, ONNX Runtime 1.31 moves the pair past
        # a max pool, turns the signed integers into unsigned ones, and stops at its own mistake.
        writer.node("DequantizeLinear", [integers, scale], output)
        real[tensor.name] = output

    first = network.tensors[network.input]
    quantised(first, first.name, writer.fresh(f"{first.name}.dequantised"))
    for layer in network.layers:
        if layer.weight_scale is None or layer.bias is None:
            _reshaping(writer, layer, [real[name] for name in layer.inputs])
            real[layer.output] = layer.output
            continue
        operands = [real[layer.input]]
        if layer.multiplies:
            scale = writer.constant(f"{layer.name}.weight_scale", layer.weight_scale)
            x_scale = network.tensors[layer.input].scale
            bias_scale = _bias_scale(x_scale, layer.weight_scale, layer.pooled_pixels)
            source_map = map_of(layer.input, shapes, network.layers, layer.pooled_pixels)
            weights = _weights(writer, layer, scale, source_map)
            operands += [weights, _bias(writer, layer, bias_scale)]
        residual = None
        if layer.residual is not None:
            sizes = shapes[layer.residual], shapes[layer.output]
            residual = _padded(writer, real[layer.residual], *sizes)
        last = writer.fresh(f"{layer.output}.float")
        node = _weighted(writer, layer, layer.lo == 0, operands, residual, last)
        node.metadata_props.add(key="unzip.layer", value=_metadata(layer))
        quantised(network.tensors[layer.output], last, layer.output)
    model = writer.model(network, shapes)
    helper.set_model_props(
        model,
        {
            "unzip.format": FORMAT,
            "unzip.source": json.dumps(network.source),
            "unzip.preprocess": json.dumps(network.preprocess),
            # Left out where there is nothing to do.
            **({"unzip.host": json.dumps(network.host)} if network.host else {}),
        },
    )
    check_onnx(model, "converted model")
    return model


def _bias_scale(
    x_scale: float, weight_scale: NDArray[np.float32], pooled_pixels: int
) -> NDArray[np.float32]:
    """Return the real value of one integer step of each filter's sums."""
    scale = np.float64(x_scale) * weight_scale / max(1, pooled_pixels)
    return scale.astype(np.float32)


def write_converted(network: Network, path: Path) -> None:
    """Write a converted model, whole or not at all; the same network gives the same bytes.

    Raises
    ------
    ModelError
        If the file cannot be written.
    """
    write_atomically(path, converted_model(network).SerializeToString(deterministic=True))


@dataclass
class _Weights:
    """Dequantised constants: integers, their scales, and the alphas that they come from.

    `nodes` are those between channel-axis alphas and the weights so far; `lanes` is the shape
    that the first Reshape gives, `channels` how many of them a Slice keeps.
    """

    integers: NDArray[Any]
    scale: NDArray[np.float32]
    alphas: NDArray[np.integer] | None = None
    matrix: NDArray[np.float32] | None = None
    nodes: tuple[str, ...] = ()
    lanes: tuple[int, ...] = ()
    channels: int = 0


class _Reader:
    """One walk over a converted model's nodes; refuses whatever `convert` never writes."""

    def __init__(self, model: onnx.ModelProto, where: str) -> None:
        self.where = where
        self.graph = infer_shapes(model, where).graph
        self.constants = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        self.weights: dict[str, _Weights] = {}
        self.quantised: dict[str, tuple[str, float]] = {}  # integers -> (real source, scale)
        self.padded: dict[str, str] = {}  # an operand of Add, zeros behind it -> without them
        self.read_as: dict[str, str] = {}  # name under which layers read a tensor -> its name
        self.means: dict[str, str] = {}  # global average that is not quantised -> tensor
        self.pending: dict[str, Layer] = {}  # real output, not yet quantised -> its layer
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.dw = 0  # as the input's zero point says
        values = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self.shapes = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)[1:]
            for value in values
        }

    def refuse(self, node: onnx.NodeProto, problem: str) -> ModelError:
        return ModelError(
            f"{self.where}: node '{node.name}' ({node.op_type}): {problem}; this is not a file as "
            "`unzipfpga convert` writes it: convert the model again"
        )

    def constant(self, node: onnx.NodeProto, index: int) -> NDArray[Any]:
        if index >= len(node.input) or node.input[index] not in self.constants:
            raise self.refuse(node, f"input {index} is not an initializer")
        return self.constants[node.input[index]]

    def activation(self, node: onnx.NodeProto, index: int = 0) -> str:
        if index >= len(node.input) or node.input[index] not in self.read_as:
            raise self.refuse(node, f"input {index} is not a dequantised tensor")
        return self.read_as[node.input[index]]

    def take_pending(self, node: onnx.NodeProto) -> Layer:
        layer = self.pending.pop(node.input[0], None)
        if layer is None:
            raise self.refuse(node, "it does not follow a Conv, Gemm or average pool")
        return layer

    def add_tensor(self, node: onnx.NodeProto, name: str, read_as: str, scale: float) -> None:
        shape = self.shapes.get(name, ())
        if not shape or min(shape) < 1:
            raise self.refuse(node, f"the shape of tensor '{name}' is not fixed")
        self.tensors[name] = Tensor(name, shape, scale)
        self.read_as[read_as] = name

    def run(self, properties: dict[str, str]) -> Network:
        handlers = {
            "Add": self.on_add,
            "AveragePool": self.on_average,
            "Clip": self.on_clip,
            "Concat": self.on_concat,
            "Conv": self.on_weighted,
            "DequantizeLinear": self.on_dequantize,
            "Flatten": self.on_flatten,
            "Gemm": self.on_weighted,
            "GlobalAveragePool": self.on_average,
            "MatMul": self.on_matmul,
            "MaxPool": self.on_reshaping,
            "Pad": self.on_pad,
            "QuantizeLinear": self.on_quantize,
            "Relu": self.on_relu,
            "Reshape": self.on_reshape,
            "Slice": self.on_slice,
            "Transpose": self.on_transpose,
        }
        for node in self.graph.node:
            if node.op_type not in handlers or node.domain or len(node.output) != 1:
                raise self.refuse(node, "a converted model has no such node")
            handlers[node.op_type](node)
        output = self.read_as.get(self.graph.output[0].name)
        names = {layer.name for layer in self.layers}
        if output is None or self.pending or self.means or len(names) < len(self.layers):
            raise ModelError(f"{self.where}: its layers are not complete; convert the model again")
        return Network(
            self.graph.input[0].name,
            output,
            self.tensors,
            tuple(self.layers),
            json.loads(properties.get("unzip.source", "{}")),
            json.loads(properties.get("unzip.preprocess", "{}")),
            self.dw,
            tuple(check_host_steps(json.loads(properties.get("unzip.host", "[]")), self.where)),
        )

    def on_quantize(self, node: onnx.NodeProto) -> None:
        scale, zero = self.constant(node, 1), self.constant(node, 2)
        if scale.shape or scale.dtype != np.float32 or not scale > 0:
            raise self.refuse(node, "the scale is not one positive float32")
        widths = {np.dtype(integer_type(dw)): dw for dw in WIDTHS}
        self.dw = self.dw or widths.get(zero.dtype, 0)
        if not self.dw or zero.dtype != integer_type(self.dw) or zero.any():
            raise self.refuse(node, "the zero point is not an int8 or int16 0, the same everywhere")
        self.quantised[node.output[0]] = (node.input[0], float(scale))

    def on_dequantize(self, node: onnx.NodeProto) -> None:
        if node.input[0] in self.constants:
            integers, scale = self.constant(node, 0), self.constant(node, 1)
            if scale.shape != integers.shape[:1] or not (scale > 0).all():
                raise self.refuse(node, "there is not one positive scale per filter")
            self.weights[node.output[0]] = _Weights(integers, scale)
            return
        if node.input[0] not in self.quantised:
            raise self.refuse(node, "its input is neither an initializer nor quantised")
        source, tensor_scale = self.quantised[node.input[0]]
        if len(node.input) != 2 or self.constant(node, 1) != tensor_scale:
            raise self.refuse(node, "it does not invert its QuantizeLinear")
        if source == self.graph.input[0].name:
            self.add_tensor(node, source, node.output[0], tensor_scale)
            return
        layer = self.pending.pop(source, None)
        if layer is None:
            raise self.refuse(node, "it does not follow a layer")
        layer = replace(layer, output=node.output[0])
        try:
            prove_layer(layer)
        except RangeError as error:
            raise self.refuse(node, str(error)) from error
        assert layer.weights is not None
        # Generated weights are wider until they are proven to fit.
        self.layers.append(replace(layer, weights=layer.weights.astype(integer_type(self.dw))))
        self.add_tensor(node, layer.output, layer.output, tensor_scale)

    def on_matmul(self, node: onnx.NodeProto) -> None:
        alphas = self.weights.get(node.input[0])
        matrix = self.constant(node, 1)
        if alphas is None or alphas.integers.ndim not in (3, 4):
            raise self.refuse(
                node,
                "its first operand is not dequantised alphas [C_out, C_in, n] or "
                "[C_out, C_in/16, K*K, n]",
            )
        if matrix.ndim != 2 or len(matrix) != alphas.integers.shape[-1]:
            raise self.refuse(node, "its second operand is not a code matrix [n, K*K] or [n, 16]")
        self.weights[node.output[0]] = replace(
            alphas, alphas=alphas.integers, matrix=matrix, nodes=("MatMul",)
        )

    def generated(self, node: onnx.NodeProto) -> _Weights:
        weights = self.weights.get(node.input[0])
        if weights is None or weights.alphas is None:
            raise self.refuse(node, "its input is not generated weights")
        return replace(weights, nodes=(*weights.nodes, node.op_type))

    def on_transpose(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if list(attributes.get("perm", [])) != [0, 1, 3, 2]:
            raise self.refuse(node, "it does not swap the last two axes of generated weights")
        self.weights[node.output[0]] = self.generated(node)

    def on_reshape(self, node: onnx.NodeProto) -> None:
        weights = self.generated(node)
        shape = tuple(int(size) for size in self.constant(node, 1))
        self.weights[node.output[0]] = replace(weights, lanes=weights.lanes or shape)

    def on_slice(self, node: onnx.NodeProto) -> None:
        weights = self.generated(node)
        starts, ends, axes = (self.constant(node, index).tolist() for index in (1, 2, 3))
        if len(node.input) != 4 or (starts, axes) != ([0], [1]) or len(ends) != 1:
            raise self.refuse(node, "it does not keep the first channels of generated weights")
        self.weights[node.output[0]] = replace(weights, channels=int(ends[0]))

    def channel_weights(
        self,
        node: onnx.NodeProto,
        weights: _Weights,
        codes: tuple[int, ...],
        source: tuple[int, int, int],
    ) -> NDArray[np.integer]:
        """Generate a channel-axis layer's weights; everything about their shape must agree."""
        assert weights.alphas is not None and weights.matrix is not None
        channels, *size = source
        if weights.alphas.ndim != 4:
            raise self.refuse(node, "channel-axis alphas are [C_out, C_in/16, K*K, n]")
        filters, blocks, taps, _ = weights.alphas.shape
        kernel = (weights.lanes[2], weights.lanes[3]) if len(weights.lanes) == 4 else (0, 0)
        ragged = channels % CHANNEL_LENGTH != 0
        nodes = ["MatMul", "Transpose", "Reshape", *["Slice"] * ragged]
        if node.op_type == "Gemm":
            nodes.append("Reshape")
        if (
            weights.lanes != (filters, blocks * CHANNEL_LENGTH, *kernel)
            or taps != kernel[0] * kernel[1]
            or blocks != -(-channels // CHANNEL_LENGTH)
            or (ragged and weights.channels != channels)
            or list(weights.nodes) != nodes
            or (node.op_type == "Gemm" and list(kernel) != size)
        ):
            raise self.refuse(
                node, f"alphas {weights.alphas.shape} do not become weights for {channels} channels"
            )
        try:
            generated = generate_channel(weights.alphas, codes, kernel, channels)
            matrix = channel_codes(codes)
        except ValueError as error:
            raise self.refuse(node, str(error)) from error
        if not np.array_equal(weights.matrix, matrix):
            raise self.refuse(node, f"its code matrix does not hold codes {list(codes)}")
        return generated.reshape(filters, -1) if node.op_type == "Gemm" else generated

    def on_weighted(self, node: onnx.NodeProto) -> None:
        data = self.metadata(node)
        pooled_pixels = 0
        if node.op_type == "Gemm" and node.input[0] in self.means:
            source = self.means.pop(node.input[0])
            pooled_pixels = prod(self.tensors[source].shape[1:])
        else:
            source = self.activation(node)
        weights, bias = (self.weights.get(name) for name in node.input[1:3])
        if weights is None or weights.integers.dtype != integer_type(self.dw):
            raise self.refuse(node, f"it has no int{self.dw} weights or alphas")
        if bias is None or bias.integers.dtype != bias_type(self.dw):
            raise self.refuse(node, f"it has no bias of {accumulator_bits(self.dw)} bits")
        bias_scale = _bias_scale(self.tensors[source].scale, weights.scale, pooled_pixels)
        if not np.array_equal(bias.scale, bias_scale):
            raise self.refuse(node, "the bias scale is not input scale times weight scale")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        kernel = tuple(attributes.get("kernel_shape", (1, 1)))
        codes, integers = tuple(data.get("codes", ())), weights.integers
        coded = data["axis"] != "dense"
        if coded != (weights.alphas is not None) or bool(codes) != coded:
            raise self.refuse(node, f"axis {data['axis']} and codes {codes} do not fit the weights")
        if data["axis"] == "channel":
            shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
            source_map = map_of(source, shapes, self.layers, pooled_pixels)
            integers = self.channel_weights(node, weights, codes, source_map)
        elif weights.alphas is not None and weights.matrix is not None:
            if weights.alphas.ndim != 3 or weights.nodes != ("MatMul", "Reshape"):
                raise self.refuse(node, "its weights are no kernel-axis alphas times codes")
            try:
                matrix = kernel_codes(kernel[0], codes)
            except ValueError as error:
                raise self.refuse(node, str(error)) from error
            if not np.array_equal(weights.matrix, matrix):
                raise self.refuse(node, f"its code matrix does not hold codes {list(codes)}")
            integers = generate_kernel(weights.alphas, codes, kernel[0])
        if len(data["m"]) != len(integers) or bias.integers.shape != (len(integers),):
            raise self.refuse(node, f"m or bias do not have {len(integers)} values")
        self.pending[node.output[0]] = Layer(
            name=data["name"],
            kind="conv" if node.op_type == "Conv" else "gemm",
            input=source,
            output="",
            kernel=kernel,
            stride=tuple(attributes.get("strides", (1, 1))),
            pads=tuple(attributes.get("pads", (0, 0, 0, 0))),
            groups=attributes.get("group", 1),
            pooled_pixels=pooled_pixels,
            axis=data["axis"],
            codes=codes,
            dw=self.dw,
            alphas=weights.alphas,
            weights=integers,
            bias=bias.integers,
            weight_scale=weights.scale,
            **_numbers(data),
        )

    def on_average(self, node: onnx.NodeProto) -> None:
        source = self.activation(node)
        shape = self.tensors[source].shape
        if not any(p.key == "unzip.layer" for p in node.metadata_props):
            if node.op_type != "GlobalAveragePool":
                raise self.refuse(node, "it has no unzip.layer metadata")
            self.means[node.output[0]] = source
            return
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        kernel = tuple(attributes.get("kernel_shape", shape[1:]))
        known: dict[str, Any] = {"kind": "gap", "pooled_pixels": prod(kernel)}
        size: tuple[int, ...] = (shape[0], 1)
        counts: tuple[int, ...] = ()
        if node.op_type == "AveragePool":
            if attributes.get("count_include_pad") not in (0, 1) or attributes.get("ceil_mode", 0):
                raise self.refuse(node, "count_include_pad is not given, or ceil_mode is 1")
            known = {
                "kind": "avgpool",
                "kernel": kernel,
                "stride": tuple(attributes.get("strides", (1, 1))),
                "pads": tuple(attributes.get("pads", (0, 0, 0, 0))),
            }
            size = (*size, *kernel)
            if not attributes["count_include_pad"]:
                out = self.shapes[node.output[0]]
                window = (known["kernel"], known["stride"], known["pads"])
                counts = tuple(np.unique(window_pixels(shape, out, *window)).tolist())
                if len(counts) < 2 or counts[0] < 1:
                    raise self.refuse(node, f"its windows hold {counts} pixels")
        data = self.metadata(node, len(counts))
        lengths = {len(values) for values in (data["m"] if counts else [data["m"]])}
        if data["axis"] != "dense" or "codes" in data or lengths != {shape[0]}:
            raise self.refuse(node, f"its axis is not dense, or m does not have {shape[0]} values")
        self.pending[node.output[0]] = Layer(
            name=data["name"],
            input=source,
            output="",
            groups=shape[0],
            dw=self.dw,
            weights=np.ones(size, integer_type(self.dw)),
            bias=np.zeros(shape[0], bias_type(self.dw)),
            weight_scale=np.full(shape[0], np.float32(1 / prod(kernel))),
            counts=counts,
            **known,
            **_numbers(data),
        )

    def metadata(self, node: onnx.NodeProto, rows: int = 0) -> dict[str, Any]:
        """Return a layer's metadata with every value of the right type.

        m is a list of integers, or of so many such lists if `rows` is not 0.
        """
        text = {p.key: p.value for p in node.metadata_props}.get("unzip.layer", "")
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise self.refuse(node, "it has no unzip.layer metadata") from error

        def integer(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool)

        wanted = {"name", "axis", "m", *INTEGERS}
        if not isinstance(data, dict) or not wanted <= set(data) <= wanted | {"codes"}:
            raise self.refuse(node, "its unzip.layer metadata does not have the right keys")
        for key in INTEGERS:
            if not integer(data[key]):
                raise self.refuse(node, f"unzip.layer: {key} is not an integer")
        lists = [("m", data["m"]), ("codes", data.get("codes", []))]
        if rows:
            if not isinstance(data["m"], list) or len(data["m"]) != rows:
                raise self.refuse(node, f"unzip.layer: m is not {rows} lists, one for each divisor")
            lists[:1] = [("m", values) for values in data["m"]]
        for key, values in lists:
            if not isinstance(values, list) or not all(
                integer(v) and -(2**15) <= v < 2**15 for v in values
            ):
                raise self.refuse(node, f"unzip.layer: {key} is not a list of 16-bit integers")
        if not isinstance(data["name"], str) or data["axis"] not in get_args(Axis):
            raise self.refuse(node, "unzip.layer: name or axis is not valid")
        widths = (self.dw, accumulator_bits(self.dw))
        if (data["dw"], data["acc_bits"]) != widths:
            raise self.refuse(
                node,
                f"dw {data['dw']}, acc_bits {data['acc_bits']} are not {widths[0]}, {widths[1]}",
            )
        return data

    def on_add(self, node: onnx.NodeProto) -> None:
        if node.input[0] in self.weights:
            self.weights[node.output[0]] = self.wide_bias(node)
            return
        layer = self.take_pending(node)
        if layer.residual is not None:
            raise self.refuse(node, "the layer has a residual already")
        if node.input[1] in self.padded:
            residual = self.padded[node.input[1]]
        else:
            residual = self.activation(node, 1)
        if self.shapes.get(node.input[0]) != self.shapes.get(node.input[1]):
            raise self.refuse(node, "its operands have different shapes")
        self.pending[node.output[0]] = replace(layer, residual=residual)

    def on_pad(self, node: onnx.NodeProto) -> None:
        source = self.activation(node)
        pads = self.constant(node, 1)
        rank = len(self.tensors[source].shape) + 1
        if len(node.input) != 2 or node.attribute or pads.shape != (2 * rank,):
            raise self.refuse(node, "it has more than the pads of all axes")
        if pads[: rank + 1].any() or (pads < 0).any():
            raise self.refuse(node, "it has other zeros than those behind the last place")
        self.padded[node.output[0]] = source

    def wide_bias(self, node: onnx.NodeProto) -> _Weights:
        """Return a bias of 48 bits from its two parts."""
        high, low = (self.weights.get(name) for name in node.input)
        if high is None or low is None or high.integers.shape != low.integers.shape:
            raise self.refuse(node, "it does not add the two parts of a bias")
        half = 1 << (BIAS_LOW_BITS - 1)
        if (
            {high.integers.dtype, low.integers.dtype} != {np.dtype(np.int32)}
            or not np.array_equal(high.scale, low.scale * np.float32(2 * half))
            or not ((-half <= low.integers) & (low.integers < half)).all()
        ):
            raise self.refuse(
                node, f"it does not add int32 parts of a bias, the first times 2^{BIAS_LOW_BITS}"
            )
        integers = (high.integers.astype(np.int64) << BIAS_LOW_BITS) + low.integers
        return _Weights(integers, low.scale)

    def on_relu(self, node: onnx.NodeProto) -> None:
        layer = self.take_pending(node)
        if layer.lo != 0:
            raise self.refuse(node, f"lo is {layer.lo}, not 0")
        self.pending[node.output[0]] = layer

    def on_clip(self, node: onnx.NodeProto) -> None:
        layer = self.take_pending(node)
        if layer.lo != 0 or self.constant(node, 1) != 0:
            raise self.refuse(node, "its lower bound is not 0")
        self.pending[node.output[0]] = replace(layer, clip=float(self.constant(node, 2)))

    def on_flatten(self, node: onnx.NodeProto) -> None:
        if node.input[0] in self.means:
            self.means[node.output[0]] = self.means.pop(node.input[0])
            return
        self.on_reshaping(node)

    def on_reshaping(self, node: onnx.NodeProto) -> None:
        source = self.activation(node)
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        layer = Layer(
            name=node.name,
            kind="maxpool" if node.op_type == "MaxPool" else "flatten",
            input=source,
            output=node.output[0],
            kernel=tuple(attributes.get("kernel_shape", (1, 1))),
            stride=tuple(attributes.get("strides", (1, 1))),
            pads=tuple(attributes.get("pads", (0, 0, 0, 0))),
        )
        self.layers.append(layer)
        self.add_tensor(node, layer.output, layer.output, self.tensors[source].scale)

    def on_concat(self, node: onnx.NodeProto) -> None:
        names = [self.activation(node, index) for index in range(len(node.input))]
        scales = {self.tensors[name].scale for name in names}
        axis = [helper.get_attribute_value(a) for a in node.attribute]
        if len(names) < 2 or len(scales) > 1 or axis != [1]:
            raise self.refuse(node, "it does not join channels of tensors of one scale")
        layer = Layer(
            name=node.name,
            kind="concat",
            input=names[0],
            output=node.output[0],
            others=tuple(names[1:]),
        )
        self.layers.append(layer)
        self.add_tensor(node, layer.output, layer.output, scales.pop())


def _numbers(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a layer that its metadata alone holds."""
    keys = ("s", "m_r", "t", "lo", "hi", "acc_bound")
    return {"m": np.array(data["m"], np.int16)} | {key: data[key] for key in keys}


def read_converted(path: Path) -> Network:
    """Read a model that `unzipfpga convert` wrote.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    Network
        Weights are generated from their alphas; all ranges are proven anew.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not a converted model, or not as `convert` writes it.
    """
    model = load_onnx(path)
    properties = {p.key: p.value for p in model.metadata_props}
    if properties.get("unzip.format") != FORMAT:
        found = properties.get("unzip.format")
        problem = "it is not a converted model" if found is None else f"its format is {found}"
        raise ModelError(
            f"{path}: {problem}; expected the output of `unzipfpga convert`, format {FORMAT}"
        )
    check_onnx(model, str(path))
    return _Reader(model, str(path)).run(properties)
