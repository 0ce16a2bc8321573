# SPDX-License-Identifier: Apache-2.0
"""Read a floating-point ONNX model into a `FloatGraph`.

Batch normalisation, constant additions, activations and residual additions are folded into the
convolution or fully connected layer before them; Identity and Dropout disappear. Whatever cannot
be expressed that way is an error that names the node, its operator and attribute, and what is
supported.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from unzipfpga.errors import ModelError
from unzipfpga.frontend.files import check_onnx, first_line, infer_shapes, load_onnx
from unzipfpga.frontend.graph import FloatGraph, FloatLayer, Kind

# Attributes that are read, per operator. One outside this table is refused, not ignored.
ATTRIBUTES: dict[str, frozenset[str]] = {
    "Add": frozenset(),
    "AveragePool": frozenset(
        {
            *("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape"),
            *("pads", "strides"),
        }
    ),
    "BatchNormalization": frozenset({"epsilon", "momentum", "spatial", "training_mode"}),
    "Clip": frozenset({"min", "max"}),
    "Concat": frozenset({"axis"}),
    "Conv": frozenset({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}),
    "Dropout": frozenset({"ratio", "seed"}),
    "Flatten": frozenset({"axis"}),
    "Gemm": frozenset({"alpha", "beta", "transA", "transB"}),
    "GlobalAveragePool": frozenset(),
    "Identity": frozenset(),
    "MatMul": frozenset(),
    "MaxPool": frozenset(
        {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"}
    ),
    "ReduceMean": frozenset({"axes", "keepdims", "noop_with_empty_axes"}),
    "Pad": frozenset({"mode", "pads", "value"}),
    "Relu": frozenset(),
    "Reshape": frozenset({"allowzero"}),
}
# Operators that do nothing at inference.
PASSING = ("Identity", "Dropout")
HINTS = {
    "Softmax": " (cut it off: the largest logit stays the largest)",
    "LogSoftmax": " (cut it off: the largest logit stays the largest)",
}


class _Importer:
    """State of one import: the graph built so far, and what is known of the source's tensors."""

    def __init__(self, model: onnx.ModelProto, where: str) -> None:
        self.where = where
        self.model = model
        for index, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"
        self.constants: dict[str, NDArray[Any]] = {}
        self.alias: dict[str, str] = {}
        self.uses: Counter[str] = Counter()
        self.producer: dict[str, FloatLayer] = {}
        self.padded: dict[str, str] = {}  # an operand of Add, zeros behind it -> without them

    # --- errors -------------------------------------------------------------------------------

    def refuse(self, node: onnx.NodeProto, problem: str, supported: str) -> NoReturn:
        raise ModelError(
            f"{self.where}: node '{node.name}' ({node.op_type}): {problem}; supported: {supported}"
        )

    # --- looking things up --------------------------------------------------------------------

    def resolve(self, name: str) -> str:
        while name in self.alias:
            name = self.alias[name]
        return name

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        allowed = ATTRIBUTES[node.op_type]
        for attribute in node.attribute:
            if attribute.name not in allowed:
                self.refuse(
                    node,
                    f"attribute {attribute.name} is not known",
                    "the attributes " + (", ".join(sorted(allowed)) or "(none)"),
                )
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if min(values.get("pads", [0])) < 0:
            self.refuse(node, f"pads = {_list(values['pads'])}", "pads >= 0")
        return values

    def constant(self, node: onnx.NodeProto, index: int, what: str) -> NDArray[Any] | None:
        """Return a constant input, None if it is left out; refuse one that is computed."""
        if index >= len(node.input) or not node.input[index]:
            return None
        name = self.resolve(node.input[index])
        if name not in self.constants:
            self.refuse(
                node, f"its {what} '{name}' is not a constant", f"a constant {what} (initializer)"
            )
        return self.constants[name]

    def required(self, node: onnx.NodeProto, index: int, what: str) -> NDArray[np.float64]:
        value = self.constant(node, index, what)
        if value is None:
            self.refuse(node, f"it has no {what}", f"a constant {what}")
        if not np.isfinite(value).all():
            self.refuse(node, f"its {what} holds values that are not finite", "finite numbers")
        return value.astype(np.float64)

    def tensor(self, node: onnx.NodeProto, index: int = 0) -> str:
        name = self.resolve(node.input[index])
        if name in self.constants:
            self.refuse(node, f"its input '{name}' is a constant", "a computed tensor there")
        if name in self.padded:
            self.refuse(node, f"its input '{name}' is padded", "Pad only in front of an Add")
        return name

    def shape(self, node: onnx.NodeProto, name: str) -> tuple[int, ...]:
        shape = self.graph.shapes.get(name)
        if shape is None:
            self.refuse(node, f"the shape of tensor '{name}' is unknown", "fixed shapes but batch")
        return shape

    def image(self, node: onnx.NodeProto, name: str) -> tuple[int, ...]:
        shape = self.shape(node, name)
        if len(shape) != 3:
            self.refuse(
                node, f"its input has shape [N, {_list(shape)}]", "images [N, C, H, W] (2-D layers)"
            )
        return shape

    def open_layer(self, name: str) -> FloatLayer | None:
        """Return the layer that makes a tensor, if it sums and something can be fused into it."""
        layer = self.producer.get(name)
        if layer is None or not layer.weighted or self.uses[name] != 1 or layer.relu:
            return None
        return layer

    def open_weights(self, name: str) -> FloatLayer | None:
        """Return the conv or gemm that makes a tensor, if a factor and a bias fold into it."""
        layer = self.open_layer(name)
        return layer if layer is not None and layer.multiplies else None

    def rename(self, layer: FloatLayer, name: str) -> None:
        """Let a layer make another tensor: what was between the two is fused into the layer."""
        self.producer.pop(layer.output, None)
        layer.output = name
        self.producer[name] = layer

    def add_layer(self, node: onnx.NodeProto, layer: FloatLayer) -> None:
        names = {other.name for other in self.graph.layers}
        base, count = layer.name, 1
        while layer.name in names:
            count += 1
            layer.name = f"{base}_{count}"
        if min(self.shape(node, layer.output)) < 1:
            self.refuse(node, f"its output shape is {self.shape(node, layer.output)}", "sizes >= 1")
        self.graph.layers.append(layer)
        self.producer[layer.output] = layer

    # --- preparation --------------------------------------------------------------------------

    def reachable(self) -> list[onnx.NodeProto]:
        """Return the nodes that compute the output, in order; shape arithmetic is not data."""
        graph = self.model.graph
        wanted = {output.name for output in graph.output}
        nodes = []
        for node in reversed(graph.node):
            if wanted.isdisjoint(node.output):
                continue
            nodes.append(node)
            inputs = node.input[:1] if node.op_type == "Reshape" else node.input
            wanted.update(name for name in inputs if name)
        return nodes[::-1]

    def fold_constants(self, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Evaluate nodes whose inputs are all constant; return the others."""
        for initializer in self.model.graph.initializer:
            try:
                self.constants[initializer.name] = numpy_helper.to_array(initializer)
            except (ValueError, TypeError) as error:
                raise ModelError(
                    f"{self.where}: initializer '{initializer.name}' is damaged or truncated: "
                    f"{first_line(error)}"
                ) from error
        left = []
        for node in nodes:
            foldable = node.op_type == "Constant" or (
                node.input and all(not n or n in self.constants for n in node.input)
            )
            if not foldable or node.domain not in ("", "ai.onnx"):
                left.append(node)
                continue
            feeds = {name: self.constants[name] for name in node.input if name}
            try:
                values: Any = ReferenceEvaluator(node).run(None, feeds)
            except Exception as error:  # the evaluator raises whatever NumPy raises
                self.refuse(node, f"cannot be evaluated: {first_line(error)}", "valid constants")
            self.constants.update(zip(node.output, values, strict=False))
        return left

    def check_operators(self, nodes: list[onnx.NodeProto]) -> None:
        for node in nodes:
            if node.domain not in ("", "ai.onnx") or node.op_type not in ATTRIBUTES:
                domain = f" of domain {node.domain}" if node.domain else ""
                self.refuse(
                    node,
                    f"this operator{domain} is not supported{HINTS.get(node.op_type, '')}",
                    ", ".join(sorted(ATTRIBUTES)),
                )
            self.attributes(node)

    def infer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every tensor's shape without the batch, from ONNX's inference at batch 1."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        constants = {initializer.name for initializer in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in constants]
        if len(inputs) != 1 or len(model.graph.output) != 1:
            raise ModelError(
                f"{self.where}: it has {len(inputs)} inputs and {len(model.graph.output)} outputs; "
                "supported: one input, one output"
            )
        value = inputs[0]
        tensor_type = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor_type.shape.dim]
        if tensor_type.elem_type != TensorProto.FLOAT:
            name = TensorProto.DataType.Name(tensor_type.elem_type)
            raise ModelError(f"{self.where}: input '{value.name}' is {name}; supported: FLOAT")
        if len(dims) not in (2, 4) or min(dims[1:]) < 1:
            shown = [d.dim_value or d.dim_param or "?" for d in tensor_type.shape.dim]
            raise ModelError(
                f"{self.where}: input '{value.name}' has shape [{_list(shown)}]; supported: "
                "[N, C, H, W] or [N, features], all but N fixed"
            )
        tensor_type.shape.dim[0].dim_value = 1
        # Shapes written into the file may name its batch: infer them anew.
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        model = infer_shapes(model, self.where)
        shapes = {}
        for info in (value, *model.graph.value_info, *model.graph.output):
            dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
            if len(dims) > 1 and min(dims) > 0 and dims[0] == 1:
                shapes[info.name] = tuple(dims[1:])
        self.input = value.name
        return shapes

    # --- the walk -----------------------------------------------------------------------------

    def run(self) -> FloatGraph:
        nodes = self.fold_constants(self.reachable())
        self.check_operators(nodes)
        check_onnx(self.model, self.where)
        shapes = self.infer_shapes()
        output = self.model.graph.output[0].name
        self.graph = FloatGraph(self.input, output, shapes, preprocess=_preprocess(self.model))
        for node in nodes:
            if node.op_type in PASSING:
                self.pass_through(node)
        nodes = [node for node in nodes if node.op_type not in PASSING]
        for node in nodes:
            data = node.input[:1] if node.op_type == "Reshape" else node.input
            self.uses.update(self.resolve(name) for name in data if name)
        self.uses[self.resolve(output)] += 1
        for node in nodes:
            getattr(self, "on_" + node.op_type.lower())(node)
        self.finish(output)
        return self.graph

    def finish(self, output: str) -> None:
        graph = self.graph
        last = self.resolve(output)
        if last not in self.producer:
            raise ModelError(f"{self.where}: output '{output}' is not computed by any layer")
        if last != output:
            graph.shapes[output] = graph.shapes[last]
            for layer in graph.layers:
                layer.input = output if layer.input == last else layer.input
                layer.others = tuple(output if o == last else o for o in layer.others)
                layer.output = output if layer.output == last else layer.output
                layer.residual = output if layer.residual == last else layer.residual
        used = {graph.input, *(layer.output for layer in graph.layers)}
        graph.shapes = {name: shape for name, shape in graph.shapes.items() if name in used}
        if not any(layer.weighted for layer in graph.layers):
            raise ModelError(f"{self.where}: it has no Conv, Gemm, MatMul or average pool layer")

    def pass_through(self, node: onnx.NodeProto) -> None:
        self.attributes(node)
        if node.op_type == "Dropout":
            training = self.constant(node, 2, "training_mode")
            if training is not None and bool(training):
                self.refuse(node, "training_mode is true", "inference (training_mode false)")
        self.alias[node.output[0]] = node.input[0]

    # --- layers -------------------------------------------------------------------------------

    def window(
        self,
        node: onnx.NodeProto,
        attributes: dict[str, Any],
        kernel: tuple[int, ...],
        image: tuple[int, ...],
    ) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Return (stride, pads) of a Conv or pool with automatic padding worked out."""
        stride = tuple(attributes.get("strides", (1, 1)))
        pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
        if any(d != 1 for d in attributes.get("dilations", (1, 1))):
            self.refuse(node, f"dilations = {_list(attributes['dilations'])}", "dilations = 1, 1")
        auto = attributes.get("auto_pad", b"NOTSET").decode()
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = [
                max((math.ceil(size / step) - 1) * step + k - size, 0)
                for size, step, k in zip(image[1:], stride, kernel, strict=True)
            ]
            less = [t // 2 for t in total]
            more = [t - b for t, b in zip(total, less, strict=True)]
            pads = (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
        elif auto not in ("NOTSET", "VALID"):
            self.refuse(node, f"auto_pad = {auto}", "NOTSET, VALID, SAME_UPPER, SAME_LOWER")
        return (stride[0], stride[1]), (pads[0], pads[1], pads[2], pads[3])

    def on_conv(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes(node)
        name = self.tensor(node)
        image = self.image(node, name)
        weights = self.required(node, 1, "weight")
        groups = attributes.get("group", 1)
        if groups < 1 or weights.shape[1] * groups != image[0] or len(weights) % groups:
            shown = f"weight [{_list(weights.shape)}] on input [N, {_list(image)}]"
            shown += f" with group = {groups}" if groups != 1 else ""
            self.refuse(node, shown, f"a weight for {image[0]} channels")
        kernel = weights.shape[2:]
        if tuple(attributes.get("kernel_shape", kernel)) != kernel:
            shown = f"kernel_shape = {_list(attributes['kernel_shape'])}"
            self.refuse(node, shown, f"its weight's {_list(kernel)}")
        stride, pads = self.window(node, attributes, kernel, image)
        bias = np.zeros(len(weights))
        if self.constant(node, 2, "bias") is not None:
            bias = self.required(node, 2, "bias")
            if bias.shape != weights.shape[:1]:
                shown = f"bias [{_list(bias.shape)}] for {len(weights)} filters"
                self.refuse(node, shown, f"a bias [{len(weights)}]")
        layer = FloatLayer(node.name, "conv", name, node.output[0], weights, bias)
        layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads
        layer.groups = groups
        self.add_layer(node, layer)

    def fully_connected(
        self, node: onnx.NodeProto, weights: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> None:
        name = self.tensor(node)
        if self.shape(node, name) != weights.shape[1:]:
            shown = _list(self.shape(node, name))
            self.refuse(
                node,
                f"its input has shape [N, {shown}]",
                f"[N, {weights.shape[1]}] (flatten first)",
            )
        layer = FloatLayer(node.name, "gemm", name, node.output[0], weights, bias)
        pool = self.take_global_pool(name)
        if pool is not None:
            layer.input, layer.pooled_pixels = pool.input, pool.pooled_pixels
        self.add_layer(node, layer)

    def take_global_pool(self, name: str) -> FloatLayer | None:
        """Take away the global average pool and the flatten that make a tensor, if they do.

        The fully connected layer behind them sums all pixels itself, without a rounding between.
        """
        flatten = self.producer.get(name)
        if flatten is None or flatten.kind != "flatten" or self.uses[name] != 1:
            return None
        pool = self.open_layer(flatten.input)
        if pool is None or pool.kind != "gap" or pool.residual is not None:
            return None
        for layer in (pool, flatten):
            self.graph.layers.remove(layer)
            del self.producer[layer.output]
        return pool

    def on_gemm(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes(node)
        if attributes.get("transA", 0):
            self.refuse(node, "transA = 1", "transA = 0")
        weights = self.required(node, 1, "weight") * attributes.get("alpha", 1.0)
        weights = weights if attributes.get("transB", 0) else weights.T
        bias = np.zeros(len(weights))
        if self.constant(node, 2, "bias") is not None:
            bias = self.per_channel(node, self.required(node, 2, "bias"))
        self.fully_connected(node, weights, bias * attributes.get("beta", 1.0))

    def on_matmul(self, node: onnx.NodeProto) -> None:
        self.attributes(node)
        weights = self.required(node, 1, "second operand")
        if weights.ndim != 2:
            self.refuse(node, f"its second operand has {weights.ndim} dimensions", "2 dimensions")
        self.fully_connected(node, weights.T, np.zeros(weights.shape[1]))

    def on_maxpool(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes(node)
        name = self.tensor(node)
        image = self.image(node, name)
        if attributes.get("storage_order", 0) != 0:
            self.refuse(node, "storage_order = 1", "storage_order = 0")
        if len([output for output in node.output if output]) > 1:
            self.refuse(node, "its second output (Indices) is used", "one output")
        kernel = tuple(attributes["kernel_shape"])
        stride, pads = self.window(node, attributes, kernel, image)
        if attributes.get("ceil_mode", 0):
            # The same windows, written as padding at the end, which a maximum ignores.
            out = self.shape(node, node.output[0])
            end = [
                max((out[1 + i] - 1) * stride[i] + kernel[i] - image[1 + i] - pads[i], 0)
                for i in (0, 1)
            ]
            pads = (pads[0], pads[1], end[0], end[1])
        for i in (0, 1):
            if max(pads[i], pads[i + 2]) >= kernel[i]:
                self.refuse(node, f"pads = {_list(pads)}", f"pads below the kernel {_list(kernel)}")
        layer = FloatLayer(node.name, "maxpool", name, node.output[0])
        layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads
        self.add_layer(node, layer)

    def on_averagepool(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes(node)
        name = self.tensor(node)
        image = self.image(node, name)
        kernel = tuple(attributes["kernel_shape"])
        stride, pads = self.window(node, attributes, kernel, image)
        if any(pads) and not attributes.get("count_include_pad", 0):
            self.refuse(
                node,
                f"pads = {_list(pads)} with count_include_pad = 0: windows of different size",
                "no padding, or count_include_pad = 1",
            )
        out = self.shape(node, node.output[0])
        whole = [(image[1 + i] + pads[i] + pads[i + 2] - kernel[i]) // stride[i] for i in (0, 1)]
        if out[1:] != tuple(count + 1 for count in whole):
            self.refuse(node, "ceil_mode = 1 with a last window that is cut", "whole windows")
        if kernel == image[1:] and not any(pads):
            self.average(node, "gap", name, image, node.output[0])
            return
        layer = self.average(node, "avgpool", name, (image[0], *kernel), node.output[0])
        layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads

    def on_globalaveragepool(self, node: onnx.NodeProto) -> None:
        self.attributes(node)
        name = self.tensor(node)
        self.average(node, "gap", name, self.image(node, name), node.output[0])

    def on_reducemean(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes(node)
        name = self.tensor(node)
        image = self.image(node, name)
        given = self.constant(node, 1, "axes")
        axes = attributes.get("axes", []) if given is None else given.tolist()
        if sorted(axis % 4 for axis in axes) != [2, 3]:
            self.refuse(node, f"axes = {_list(axes) or '(none)'}", "axes = 2, 3: over all pixels")
        if attributes.get("keepdims", 1):
            self.average(node, "gap", name, image, node.output[0])
            return
        mean = f"{node.output[0]}/map"
        self.graph.shapes[mean], self.uses[mean] = (image[0], 1, 1), 1
        self.average(node, "gap", name, image, mean)
        self.flatten(node, mean, self.graph.shapes[mean])

    def average(
        self, node: onnx.NodeProto, kind: Kind, name: str, window: tuple[int, ...], output: str
    ) -> FloatLayer:
        """Add an average pool over windows of (channels, height, width)."""
        channels, height, width = window
        size = (channels, 1) if kind == "gap" else (channels, 1, height, width)
        weights = np.full(size, 1 / (height * width))
        layer = FloatLayer(node.name, kind, name, output, weights, np.zeros(channels))
        layer.groups = channels
        layer.pooled_pixels = height * width if kind == "gap" else 0
        self.add_layer(node, layer)
        return layer

    def on_flatten(self, node: onnx.NodeProto) -> None:
        axis = self.attributes(node).get("axis", 1)
        name = self.tensor(node)
        shape = self.shape(node, name)
        if axis % (len(shape) + 1) != 1:
            self.refuse(node, f"axis = {axis}", "axis = 1")
        self.flatten(node, name, shape)

    def on_reshape(self, node: onnx.NodeProto) -> None:
        self.attributes(node)
        name = self.tensor(node)
        shape = self.shape(node, name)
        result = self.graph.shapes.get(node.output[0])
        if result == shape:
            self.alias[node.output[0]] = name
            self.uses[name] += self.uses[node.output[0]] - 1
            return
        if result != (math.prod(shape),):
            shown = f"[N, {_list(result)}]" if result else "a shape that mixes images or is unknown"
            self.refuse(
                node,
                f"it turns [N, {_list(shape)}] into {shown}",
                f"flattening to [N, {math.prod(shape)}]",
            )
        self.flatten(node, name, shape)

    def flatten(self, node: onnx.NodeProto, name: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 1:
            self.alias[node.output[0]] = name
            self.uses[name] += self.uses[node.output[0]] - 1
            return
        layer = FloatLayer(node.name, "flatten", name, node.output[0])
        self.add_layer(node, layer)

    def on_concat(self, node: onnx.NodeProto) -> None:
        axis = self.attributes(node)["axis"]
        names = [self.tensor(node, index) for index in range(len(node.input))]
        shapes = [self.shape(node, name) for name in names]
        if axis % (len(shapes[0]) + 1) != 1:
            self.refuse(node, f"axis = {axis}", "axis = 1: over channels")
        if len(names) == 1:
            self.alias[node.output[0]] = names[0]
            self.uses[names[0]] += self.uses[node.output[0]] - 1
            return
        layer = FloatLayer(node.name, "concat", names[0], node.output[0])
        layer.others = tuple(names[1:])
        self.add_layer(node, layer)

    # --- what is fused into the layer before --------------------------------------------------

    def per_channel(self, node: onnx.NodeProto, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a constant addend as one value per output channel."""
        shape = self.shape(node, node.output[0])
        try:
            full = np.broadcast_to(value, (1, *shape))
        except ValueError:
            full = np.broadcast_to(np.nan, (1, *shape))
        channels: NDArray[np.float64] = full[0].reshape(shape[0], -1)
        if not (channels == channels[:, :1]).all():
            self.refuse(
                node,
                f"a constant of shape [{_list(value.shape)}] is added to [N, {_list(shape)}]",
                "one constant per channel",
            )
        return np.array(channels[:, 0])

    def on_batchnormalization(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes(node)
        if attributes.get("training_mode", 0) or not attributes.get("spatial", 1):
            self.refuse(node, "training_mode = 1 or spatial = 0", "training_mode = 0, spatial = 1")
        layer = self.open_weights(self.tensor(node))
        if layer is None or layer.residual is not None:
            self.refuse(
                node,
                "it does not directly follow a layer that it can be folded into",
                "BatchNormalization right behind Conv or Gemm, whose result nothing else uses",
            )
        names = ("scale", "bias", "mean", "variance")
        gamma, beta, mean, variance = (self.required(node, i + 1, n) for i, n in enumerate(names))
        channels = self.shape(node, node.output[0])[:1]
        if not gamma.shape == beta.shape == mean.shape == variance.shape == channels:
            self.refuse(node, "its parameters differ in length", f"{channels[0]} values each")
        factor = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        if not np.isfinite(factor).all():
            self.refuse(node, "variance + epsilon is not positive", "positive variances")
        assert layer.weights is not None and layer.bias is not None
        layer.weights = layer.weights * factor.reshape(-1, *[1] * (layer.weights.ndim - 1))
        layer.bias = (layer.bias - mean) * factor + beta
        self.rename(layer, node.output[0])

    def on_add(self, node: onnx.NodeProto) -> None:
        self.attributes(node)
        names = [self.resolve(name) for name in node.input]
        constants = [name for name in names if name in self.constants]
        if constants:
            self.add_constant(node, names, constants[0])
            return
        shapes = [self.shape(node, name) for name in names]
        if shapes[0] != shapes[1]:
            shown = " and ".join(f"[N, {_list(shape)}]" for shape in shapes)
            self.refuse(node, f"its operands have shapes {shown}", "operands of equal shape")
        candidates = [layer for name in names if (layer := self.open_layer(name)) is not None]
        candidates = [layer for layer in candidates if layer.residual is None]
        candidates = candidates or self.widened(names)
        if not candidates:
            self.refuse(
                node,
                "neither operand is the result of a layer that the addition can be fused into",
                "Add right behind a Conv or Gemm (no activation between, no other user)",
            )
        # The layer that comes last: then its residual operand exists when it runs.
        layer = max(candidates, key=self.graph.layers.index)
        residual = names[1] if names[0] == layer.output else names[0]
        layer.residual = self.padded.get(residual, residual)
        self.graph.layers.remove(layer)
        self.graph.layers.append(layer)
        self.rename(layer, node.output[0])

    def widened(self, names: list[str]) -> list[FloatLayer]:
        """Let a layer make the zero channels behind it, where both operands of an Add are padded.

        Returns the layer, its result then one of `names`, or nothing if there is none.
        """
        for name in names:
            bare = self.padded.get(name)
            layer = None if bare is None else self.open_layer(bare)
            if bare is None or layer is None or layer.residual is not None or layer.kind == "gap":
                continue
            assert layer.weights is not None and layer.bias is not None
            channels, full = self.graph.shapes[bare], self.graph.shapes[name]
            if channels[1:] != full[1:] or (layer.kind == "conv" and layer.groups > 1):
                continue
            if layer.kind == "avgpool":  # a convolution: its filters may be more than its channels
                weights = np.zeros((layer.groups, layer.groups, *layer.kernel))
                weights[np.arange(layer.groups), np.arange(layer.groups)] = layer.weights[:, 0]
                layer.kind, layer.weights, layer.groups = "conv", weights, 1
            missing = full[0] - channels[0]
            layer.weights = np.concatenate(
                [layer.weights, np.zeros_like(layer.weights[:1]).repeat(missing, 0)]
            )
            layer.bias = np.concatenate([layer.bias, np.zeros(missing)])
            self.rename(layer, name)
            return [layer]
        return []

    def on_pad(self, node: onnx.NodeProto) -> None:
        """Take zeros behind the last channel, row or column of what an Add adds."""
        attributes = self.attributes(node)
        name = self.tensor(node)
        mode = attributes.get("mode", b"constant").decode()
        if mode != "constant":
            self.refuse(node, f"mode = {mode}", "mode = constant")
        value = self.constant(node, 2, "value")
        if np.any(attributes.get("value", 0.0) if value is None else value):
            self.refuse(node, "its value is not 0", "zeros")
        if self.constant(node, 3, "axes") is not None:
            self.refuse(node, "it has axes", "pads of all axes")
        pads = self.constant(node, 1, "pads")
        sizes = list(attributes.get("pads", ()) if pads is None else pads.ravel().tolist())
        rank = len(self.shape(node, name)) + 1
        if len(sizes) != 2 * rank or any(sizes[: rank + 1]) or min(sizes) < 0:
            self.refuse(
                node,
                f"pads = {_list(sizes)}",
                "zeros behind the last channel, row or column of an Add's operand",
            )
        self.padded[node.output[0]] = name

    def add_constant(self, node: onnx.NodeProto, names: list[str], constant: str) -> None:
        layer = self.open_weights(names[1] if names[0] == constant else names[0])
        if layer is None:
            self.refuse(
                node,
                f"constant '{constant}' is added to something else than a layer's result",
                "a constant added right behind Conv, Gemm or MatMul",
            )
        assert layer.bias is not None
        value = self.required(node, names.index(constant), "constant")
        layer.bias = layer.bias + self.per_channel(node, value)
        self.rename(layer, node.output[0])

    def activate(self, node: onnx.NodeProto, clip: float | None) -> None:
        name = self.tensor(node)
        layer = self.producer.get(name)
        done = layer is not None and layer.relu and layer.clip is None
        if done and clip is None:
            # A second ReLU changes nothing.
            self.alias[node.output[0]] = name
            self.uses[name] += self.uses[node.output[0]] - 1
            return
        # A maximum commutes with a monotonic activation: move it before the pools.
        target, passed = layer, name
        while (
            target is not None and target.kind in ("maxpool", "flatten") and self.uses[passed] == 1
        ):
            passed = target.input
            target = self.producer.get(passed)
        if layer is None or target is None or self.open_layer(passed) is not target:
            self.refuse(
                node,
                "it does not directly follow a layer that it can be fused into",
                f"{node.op_type} behind Conv, Gemm, Add or a pool, the only user of their result",
            )
        target.relu, target.clip = True, clip
        self.rename(layer, node.output[0])

    def on_relu(self, node: onnx.NodeProto) -> None:
        self.attributes(node)
        self.activate(node, None)

    def on_clip(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes(node)
        low, high = self.constant(node, 1, "min"), self.constant(node, 2, "max")
        least = float(low) if low is not None else attributes.get("min", -math.inf)
        most = float(high) if high is not None else attributes.get("max", math.inf)
        # Exporters write "no bound" as the largest float.
        most = math.inf if most >= float(np.finfo(np.float32).max) else most
        if least != 0 or not most > 0:
            self.refuse(node, f"min = {least}, max = {most}", "min = 0 and max > 0 (ReLU, ReLU6)")
        self.activate(node, None if math.isinf(most) else most)


def _list(values: Any) -> str:
    return ", ".join(str(value) for value in values)


def _preprocess(model: onnx.ModelProto) -> dict[str, Any]:
    """Return what the source says of its input: its `unzip.preprocess` metadata, if any."""
    for prop in model.metadata_props:
        if prop.key == "unzip.preprocess":
            try:
                value = json.loads(prop.value)
            except json.JSONDecodeError:
                break
            if isinstance(value, dict):
                return value
    return {"layout": "NCHW"}


def read_float(path: Path) -> FloatGraph:
    """Read a floating-point ONNX model.

    Parameters
    ----------
    path : pathlib.Path
        One input [N, C, H, W] or [N, features] (float32), one output, N free or fixed.

    Returns
    -------
    FloatGraph

    Raises
    ------
    ModelError
        If the file is missing or truncated, or holds an operator, attribute or shape outside the
        supported set; the text names the node, its operator and attribute, and what is supported.
    """
    return _Importer(load_onnx(path), str(path)).run()
