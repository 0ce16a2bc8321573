# SPDX-License-Identifier: Apache-2.0
"""Already quantised ONNX models (QDQ and QLinear form) to floating point.

A tensor of integers becomes the real tensor that it stands for, under the same name; rounding goes,
the range that the file states for it stays. Quantisers drop a ReLU or ReLU6 in front of a tensor
whose integers cannot be negative: there a Clip is written out again, to what they can stand for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unzipfpga.errors import ModelError
from unzipfpga.frontend.files import several

# Quantised operator -> the floating-point one; all take (tensor, scale, zero point) triples.
REAL_OPERATORS = {
    "QLinearConv": "Conv",
    "QLinearMatMul": "MatMul",
    "QLinearAdd": "Add",
    "QLinearMul": "Mul",
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearReduceMean": "ReduceMean",
    "QLinearConcat": "Concat",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
    "QGemm": "Gemm",
}
DOMAINS = ("", "ai.onnx", "com.microsoft")
# Operators that pass integers on without computing with them.
MOVING = frozenset(
    {"Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
# Operators whose results are no larger than what they read: only a ReLU is written out behind them,
# which disappears where there are no negative values.
AVERAGING = frozenset(
    {"AveragePool", "Concat", "GlobalAveragePool", "ReduceMean", "QLinearAveragePool"}
    | {"QLinearConcat", "QLinearGlobalAveragePool", "QLinearReduceMean"}
)
# Operators without negative results.
POSITIVE = frozenset({"Sigmoid", "Softmax", "QLinearSigmoid", "QLinearSoftmax"})
# Attributes of com.microsoft's operators that say nothing once the integers are gone.
QUANTISED_ONLY = ("opset", "channels_last")


@dataclass
class Stated:
    """What a quantised file says beyond its floating-point network.

    Attributes
    ----------
    ranges : dict of str to float
        Tensor -> largest magnitude that its integers stand for.
    weight_scales : dict of str to float64 array
        Constant -> real value of one step of its integers, one or per index of `axes`.
    axes : dict of str to int
        Constant -> axis of its scales.
    """

    ranges: dict[str, float] = field(default_factory=dict)
    weight_scales: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    axes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Steps:
    """Scale and zero point of integers, and the smallest and largest of their type."""

    scale: NDArray[np.float64]
    zero: NDArray[np.int64]
    lowest: int
    highest: int

    @property
    def clamps_at_zero(self) -> bool:
        return bool((self.zero == self.lowest).all())

    @property
    def range(self) -> float:
        low, high = int(self.zero.min()) - self.lowest, self.highest - int(self.zero.min())
        # Two's complement has one negative value more, which symmetric integers do without.
        magnitude = high if low == high + 1 else max(low, high)
        return float(self.scale.max()) * magnitude


class _Dequantiser:
    """State of one pass over a graph's nodes."""

    def __init__(self, model: onnx.ModelProto, where: str) -> None:
        self.model, self.where = model, where
        self.constants = {i.name: i for i in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.constants[node.output[0]] = attribute.t
        self.made_by = {name: node for node in model.graph.node for name in node.output}
        self.steps: dict[str, _Steps] = {}  # tensor of integers -> their meaning
        self.integers: dict[str, NDArray[Any]] = {}  # constants that were quantised in the graph
        self.nodes: list[onnx.NodeProto] = []
        self.added: dict[str, onnx.TensorProto] = {}
        self.stated = Stated()
        self.problems: list[str] = []

    def refuse(self, node: onnx.NodeProto, problem: str, supported: str) -> ModelError:
        return ModelError(f"node '{node.name}' ({node.op_type}): {problem}; supported: {supported}")

    # --- operands -----------------------------------------------------------------------------

    def array(self, name: str) -> NDArray[Any] | None:
        if name in self.integers:
            return self.integers[name]
        constant = self.constants.get(name)
        return None if constant is None else numpy_helper.to_array(constant)

    def read_steps(self, node: onnx.NodeProto, index: int) -> _Steps:
        """Return what scale and zero point at `index` and `index + 1` say."""
        names = [*node.input, "", ""][index : index + 2]
        scale = self.array(names[0])
        if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise self.refuse(
                node,
                f"its scale '{names[0]}' is not a positive, finite constant",
                "constant scales above 0 (static quantisation)",
            )
        zero = self.array(names[1]) if names[1] else np.zeros((), np.uint8)
        if zero is None:
            raise self.refuse(
                node, f"its zero point '{names[1]}' is not a constant", "constant zero points"
            )
        low, high = _bounds(zero.dtype)
        values = np.asarray(zero.astype(np.int64))
        return _Steps(np.asarray(scale, np.float64), values, low, high)

    def constant(
        self, node: onnx.NodeProto, name: str, steps: _Steps, axis: int
    ) -> NDArray[np.float64]:
        """Return the real values of constant integers."""
        integers = self.array(name)
        assert integers is not None
        shape = [1] * integers.ndim
        if steps.scale.size > 1:
            if not integers.ndim or steps.scale.size != integers.shape[axis]:
                raise self.refuse(
                    node,
                    f"{steps.scale.size} scales for constant '{name}' {list(integers.shape)}",
                    "one scale, or one for each index of one axis",
                )
            shape[axis] = steps.scale.size
        zero = steps.zero.reshape(shape) if steps.zero.size > 1 else steps.zero.reshape(-1)[0]
        scale = steps.scale.reshape(shape) if steps.scale.size > 1 else steps.scale.reshape(-1)[0]
        real: NDArray[np.float64] = (integers.astype(np.int64) - zero) * scale
        return real

    def add_constant(self, name: str, value: NDArray[np.float64]) -> str:
        self.added[name] = numpy_helper.from_array(value.astype(np.float32), name)
        return name

    def add_weights(self, node: onnx.NodeProto, name: str, steps: _Steps, axis: int) -> str:
        """Add a constant operand as real values; return its name."""
        real = f"{name}.real"
        self.add_constant(real, self.constant(node, name, steps, axis))
        self.state_weights(real, steps, axis)
        return real

    def state_weights(self, name: str, steps: _Steps, axis: int) -> None:
        self.stated.weight_scales[name] = steps.scale.reshape(-1)
        self.stated.axes[name] = axis

    def emit(
        self,
        node: onnx.NodeProto,
        operator: str,
        inputs: Sequence[str],
        output: str,
        attributes: Sequence[onnx.AttributeProto] = (),
    ) -> None:
        made = helper.make_node(operator, list(inputs), [output], node.name)
        made.attribute.extend(attributes)
        self.nodes.append(made)

    def quantised(self, node: onnx.NodeProto, output: str, steps: _Steps) -> str:
        """Note a tensor of integers; return the name of the real one to make in front of it."""
        self.steps[output] = steps
        self.stated.ranges[output] = steps.range
        operator = node.op_type
        if operator == "QuantizeLinear":
            made_by = self.made_by.get(node.input[0])
            operator = made_by.op_type if made_by else ""
        if not steps.clamps_at_zero or operator in POSITIVE:
            return output
        if operator in MOVING | AVERAGING:
            made = helper.make_node("Relu", [f"{output}.signed"], [output], f"{node.name}.relu")
            self.nodes.append(made)
            return f"{output}.signed"
        bounds = [
            self.add_constant(f"{output}.{what}", np.array(value))
            for what, value in (("min", 0.0), ("max", steps.range))
        ]
        inputs = [f"{output}.signed", *bounds]
        self.nodes.append(helper.make_node("Clip", inputs, [output], f"{node.name}.clip"))
        return inputs[0]

    # --- nodes --------------------------------------------------------------------------------

    def run(self) -> None:
        for node in self.model.graph.node:
            try:
                self.convert(node)
            except ModelError as error:
                self.problems.append(str(error))
        if self.problems:
            raise ModelError(several(self.where, self.problems))
        graph = self.model.graph
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.added.values())
        for output in graph.output:
            output.type.tensor_type.elem_type = TensorProto.FLOAT

    def convert(self, node: onnx.NodeProto) -> None:
        operator = node.op_type if node.domain in DOMAINS else ""
        for attribute in node.attribute:
            if attribute.name == "block_size" and attribute.i:
                raise self.refuse(node, f"block_size = {attribute.i}", "one scale, or per channel")
            if attribute.name == "channels_last" and attribute.i:
                raise self.refuse(node, "channels_last = 1", "channels_last = 0")
        if operator == "QuantizeLinear":
            self.on_quantize(node)
        elif operator == "DequantizeLinear":
            self.on_dequantize(node)
        elif operator in ("QLinearConv", "QLinearMatMul", "QGemm"):
            self.on_product(node)
        elif operator == "QLinearConcat":
            output = self.quantised(node, node.output[0], self.read_steps(node, 0))
            parts = [self.operand(node, index) for index in range(2, len(node.input), 3)]
            self.insert(node, "Concat", parts, output)
        elif operator in ("QLinearAdd", "QLinearMul"):
            output = self.quantised(node, node.output[0], self.read_steps(node, 6))
            self.insert(node, operator[7:], [self.operand(node, 0), self.operand(node, 3)], output)
        elif operator in REAL_OPERATORS:
            output = self.quantised(node, node.output[0], self.read_steps(node, 3))
            self.insert(node, REAL_OPERATORS[operator], [self.operand(node, 0)], output)
        else:
            self.on_other(node)

    def insert(
        self, node: onnx.NodeProto, operator: str, inputs: Sequence[str], output: str
    ) -> None:
        """Emit a node in front of the Clip that `quantised` may have emitted."""
        kept = [a for a in node.attribute if a.name not in QUANTISED_ONLY]
        clip = self.nodes.pop() if output != node.output[0] else None
        self.emit(node, operator, inputs, output, kept)
        if clip is not None:
            self.nodes.append(clip)

    def operand(self, node: onnx.NodeProto, index: int) -> str:
        """Return a (tensor, scale, zero point) operand as a real tensor."""
        name = str(node.input[index])
        if self.array(name) is None:
            return name
        return self.add_weights(node, name, self.read_steps(node, index + 1), 0)

    def on_quantize(self, node: onnx.NodeProto) -> None:
        steps, (source, output) = self.read_steps(node, 1), (node.input[0], node.output[0])
        values = self.array(source)
        if values is not None:
            axis = _attribute(node, "axis", 1)
            shape = [1] * values.ndim
            if steps.scale.size > 1:
                shape[axis] = steps.scale.size
            zero = steps.zero.reshape(shape if steps.zero.size > 1 else [1] * values.ndim)
            scale = steps.scale.reshape(shape if steps.scale.size > 1 else [1] * values.ndim)
            rounded = np.rint(values / scale) + zero
            self.integers[output] = np.clip(rounded, steps.lowest, steps.highest).astype(np.int64)
            return
        if source == self.model.graph.input[0].name:
            # What it clips is outside the stated range: no images are.
            self.steps[output] = steps
            self.stated.ranges |= {source: steps.range, output: steps.range}
            self.emit(node, "Identity", [source], output)
            return
        real = self.quantised(node, output, steps)
        if real == output:
            self.stated.ranges[source] = steps.range
            self.emit(node, "Identity", [source], output)
        else:
            self.nodes[-1].input[0] = source

    def on_dequantize(self, node: onnx.NodeProto) -> None:
        source, output = str(node.input[0]), str(node.output[0])
        if self.array(source) is not None:
            steps = self.read_steps(node, 1)
            axis = _attribute(node, "axis", 1)
            self.add_constant(output, self.constant(node, source, steps, axis))
            self.state_weights(output, steps, axis)
            return
        if source not in self.steps:
            raise self.refuse(
                node,
                f"its input '{source}' is neither a constant nor quantised by this model",
                "a floating-point input",
            )
        if source in self.stated.ranges:
            self.stated.ranges[output] = self.stated.ranges[source]
        self.emit(node, "Identity", [source], output)

    def on_product(self, node: onnx.NodeProto) -> None:
        """Convert Conv, MatMul or Gemm of integers; the bias has the scale of the products."""
        # Gemm has its bias in front of the result's scale, Conv behind it.
        bias_at, result_at = (6, 7) if node.op_type == "QGemm" else (8, 6)
        x, w = self.read_steps(node, 1), self.read_steps(node, 4)
        if self.array(node.input[3]) is None:
            raise self.refuse(
                node, f"its weight '{node.input[3]}' is not a constant", "constant weights"
            )
        columns = node.op_type == "QLinearMatMul" or (
            node.op_type == "QGemm" and not _attribute(node, "transB", 0)
        )
        inputs = [node.input[0], self.add_weights(node, node.input[3], w, 1 if columns else 0)]
        if bias_at < len(node.input) and node.input[bias_at]:
            name = node.input[bias_at]
            if self.array(name) is None:
                raise self.refuse(node, f"its bias '{name}' is not a constant", "a constant bias")
            products = _Steps(
                x.scale.max() * w.scale * _attribute(node, "alpha", 1.0),
                np.zeros(1, np.int64),
                0,
                0,
            )
            # One bias may serve layers of different scales.
            real = f"{name}.{node.output[0]}.real"
            inputs.append(self.add_constant(real, self.constant(node, name, products, 0)))
        output = node.output[0]
        if result_at < len(node.input) and node.input[result_at]:
            output = self.quantised(node, output, self.read_steps(node, result_at))
        self.insert(node, REAL_OPERATORS[node.op_type], inputs, output)

    def on_other(self, node: onnx.NodeProto) -> None:
        steps = [self.steps[name] for name in node.input if name in self.steps]
        if steps and node.op_type not in MOVING:
            raise self.refuse(
                node,
                "it computes with integers",
                f"on integers {', '.join(sorted({*REAL_OPERATORS, *MOVING}))}",
            )
        made = onnx.NodeProto()
        made.CopyFrom(node)
        if steps and node.op_type == "Pad":
            given = self.array(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            value = 0 if given is None else int(given.reshape(-1)[0])
            real = (value - int(steps[0].zero.reshape(-1)[0])) * float(
                steps[0].scale.reshape(-1)[0]
            )
            name = self.add_constant(f"{node.output[0]}.value", np.array(real))
            rest = list(node.input[3:])
            del made.input[2:]
            made.input.extend([name, *rest])
        self.nodes.append(made)
        if steps and node.output:
            self.steps[node.output[0]] = steps[0]
            self.stated.ranges[node.output[0]] = steps[0].range


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    values = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return values[0] if values else default


def _bounds(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the smallest and the largest integer of a type."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    bits = int("".join(c for c in str(dtype) if c.isdigit()) or 8)  # ml_dtypes' int4, uint4, ...
    if str(dtype).startswith("u"):
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def is_quantised(model: onnx.ModelProto) -> bool:
    """Return whether a model holds operators of quantised networks."""
    known = {"QuantizeLinear", "DequantizeLinear", *REAL_OPERATORS}
    return any(node.op_type in known and node.domain in DOMAINS for node in model.graph.node)


def dequantise(model: onnx.ModelProto, where: str) -> Stated:
    """Turn a quantised model into a floating-point one, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        QDQ or QLinear form (com.microsoft's operators included), statically quantised, of any
        integer types; nodes have names.
    where : str
        For messages.

    Returns
    -------
    Stated
        Empty if the model is not quantised.

    Raises
    ------
    ModelError
        Lists every node that cannot be turned, why, and what is supported.
    """
    if not is_quantised(model):
        return Stated()
    dequantiser = _Dequantiser(model, where)
    dequantiser.run()
    return dequantiser.stated
