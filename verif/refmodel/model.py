# SPDX-License-Identifier: Apache-2.0
"""A whole network in integers, read from the ONNX file that ``unzipfpga convert`` wrote.

The file is a QDQ graph that any ONNX runtime executes in floating point. The integers that the
hardware uses (weights or alphas, bias, and in the metadata of each layer m, s, m_r, t, lo, hi) are
all in it; this module finds them with its own walk over the graph, checks that the graph and the
metadata say the same, and evaluates the layers with `layers`::

    images --quantise--> int activations --layer--> int activations --...--> int logits

A tensor is known by the name of the step that makes it: "input", the name in a layer's
``unzip.layer`` metadata, or the node name of a pool or reshape. Whatever is not understood is
refused with a `ModelError` that names node and operator.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from . import codes as ovsf
from . import layers as ops

IntArray = npt.NDArray[np.integer]
Shape = tuple[int, ...]  # of one sample, without the batch axis

FORMAT = "1"
OPSET = 21
INPUT = "input"

# Attributes that each operator may carry; _attributes() refuses all others.
_ATTRIBUTES = {
    "Add": (),
    "AveragePool": (
        "auto_pad",
        "ceil_mode",
        "count_include_pad",
        "dilations",
        "kernel_shape",
        "pads",
        "strides",
    ),
    "Clip": (),
    "Concat": ("axis",),
    "Constant": ("value",),
    "Conv": ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
    "DequantizeLinear": ("axis", "block_size"),
    "Flatten": ("axis",),
    "Gemm": ("alpha", "beta", "transA", "transB"),
    "GlobalAveragePool": (),
    "MatMul": (),
    "MaxPool": (
        "auto_pad",
        "ceil_mode",
        "dilations",
        "kernel_shape",
        "pads",
        "storage_order",
        "strides",
    ),
    "Pad": ("mode",),
    "QuantizeLinear": ("axis", "block_size", "output_dtype", "saturate"),
    "Relu": (),
    "Reshape": ("allowzero",),
    "Slice": (),
    "Transpose": ("perm",),
}
# Integers of a layer's metadata besides m, with their ranges.
_LAYER_INTS = {
    "s": (0, ops.S_MAX),
    "lo": (-32767, 32767),
    "hi": (-32767, 32767),
    "m_r": (-32768, 32767),
    "t": (0, ops.T_MAX),
    "dw": (8, 16),
    "acc_bits": (32, 48),
    "acc_bound": (0, 2**47 - 1),
}
_LAYER_KEYS = {"name", "axis", "codes", "m", *_LAYER_INTS}

# Slack of checks against float scales, in units of the last place: rounding is half a unit, and
# the scales themselves are float32.
_ROUNDING = 0.51

# Elements of the largest unfolded activation of one batch: bounds memory to a few 100 MB.
_BATCH_ELEMENTS = 1 << 24


class ModelError(ValueError):
    """A model file or an input that the golden model refuses; the message says what and where."""


@dataclass(frozen=True)
class Layer:
    """One convolution, fully connected layer or average pool with its post-processing.

    Attributes
    ----------
    name : str
        Name from the metadata; also the name of the tensor that the layer makes.
    operator : str
        "Conv", "Gemm", "AveragePool" or "GlobalAveragePool".
    source, residual : str, str or None
        Names of the input tensor and of the residual operand.
    axis, codes : str, tuple of int
        "dense", "kernel" or "channel"; the ordered codes, empty for a dense layer.
    alphas : int64 array, or None for a dense layer
        Coefficients of the codes, [C_out, C_in/groups, n], or with channel-axis codes
        [C_out, ceil(C_in/16), K*K, n].
    weights : int64 array [C_out, C_in/groups, K_H, K_W], or [C_out, C_in] for "Gemm"
        Weights, generated from `alphas` unless the layer is dense. Average pools have weights of 1,
        [C, 1, K_H, K_W]: the sum of a window, divided in the post-processing.
    bias : int64 array [C_out]
        Bias of each channel.
    m : int64 array [C_out], or [C_out, H_out, W_out]
        Multiplier of each channel; of each of its pixels, where the windows of an average pool
        hold different numbers of them.
    s, m_r, t, lo, hi : int
        See `layers.post_process`.
    stride, pads, groups
        See `layers.conv2d`; unused by "Gemm" and "GlobalAveragePool".
    pooled : bool
        Whether a global average pool is fused in front ("Gemm" only).
    dw, acc_bits, acc_bound : int
        Width of activations and accumulator in bits; largest abs(acc + bias) that the converter
        has proven.
    scale : float
        Scale of the output tensor.
    shape : tuple of int
        Shape of one output sample.
    """

    name: str
    operator: str
    source: str
    residual: str | None
    axis: str
    codes: tuple[int, ...]
    alphas: npt.NDArray[np.int64] | None
    weights: npt.NDArray[np.int64]
    bias: npt.NDArray[np.int64]
    m: npt.NDArray[np.int64]
    s: int
    m_r: int
    t: int
    lo: int
    hi: int
    stride: ops.Pair
    pads: ops.Pads
    groups: int
    pooled: bool
    dw: int
    acc_bits: int
    acc_bound: int
    scale: float
    shape: Shape

    def accumulate(self, x: IntArray) -> npt.NDArray[np.int64]:
        """Accumulators [N, C_out, ...] of the layer for activations `x` [N, C_in, ...].

        Raises
        ------
        OverflowError
            If an accumulator does not fit, or exceeds the bound that the converter has proven.
        """
        if self.operator == "Conv":
            acc = ops.conv2d(x, self.weights, self.stride, self.pads, self.groups, self.acc_bits)
        elif self.operator in ("AveragePool", "GlobalAveragePool"):
            window = (self.weights.shape[2], self.weights.shape[3])
            acc = ops.sum_pool(x, window, self.stride, self.pads, self.acc_bits)
        elif self.pooled:
            acc = ops.global_average_pool_fully_connected(x, self.weights, self.acc_bits)
        else:
            acc = ops.fully_connected(x, self.weights, self.acc_bits)
        if acc.size:
            axes = (0, *range(2, acc.ndim))
            highest = int((acc.max(axis=axes) + self.bias).max())
            lowest = int((acc.min(axis=axes) + self.bias).min())
            largest = max(highest, -lowest)
            if largest > self.acc_bound:
                raise OverflowError(
                    f"abs(acc + bias) = {largest} exceeds acc_bound {self.acc_bound}"
                )
        return acc

    def evaluate(self, x: IntArray, residual: IntArray | None) -> npt.NDArray[np.int32]:
        """Output activations [N, C_out, ...] for activations `x` and the residual operand."""
        acc = self.accumulate(x)
        return ops.post_process(
            acc, self.bias, self.m, self.s, self.lo, self.hi, residual, self.m_r, self.t
        )


@dataclass(frozen=True)
class MaxPool:
    """A max pool; see `layers.max_pool`. `scale` and `shape` are as in `Layer`."""

    name: str
    source: str
    kernel: ops.Pair
    stride: ops.Pair
    pads: ops.Pads
    ceil_mode: bool
    scale: float
    shape: Shape

    def evaluate(self, x: IntArray) -> IntArray:
        """Pooled activations."""
        return ops.max_pool(x, self.kernel, self.stride, self.pads, self.ceil_mode)


@dataclass(frozen=True)
class Reshape:
    """A flatten or reshape of every sample to `shape`."""

    name: str
    source: str
    scale: float
    shape: Shape

    def evaluate(self, x: IntArray) -> IntArray:
        """The same activations in the new shape."""
        return x.reshape(x.shape[0], *self.shape)


@dataclass(frozen=True)
class Concat:
    """Tensors of one scale, the channels of one behind those of the other."""

    name: str
    sources: tuple[str, ...]
    scale: float
    shape: Shape

    def evaluate(self, *parts: IntArray) -> IntArray:
        """The channels of all parts, in order."""
        return np.concatenate(parts, axis=1)


Step = Layer | MaxPool | Reshape | Concat


def _operands(step: Step) -> tuple[str, ...]:
    """Names of the tensors that a step reads."""
    if isinstance(step, Concat):
        return step.sources
    if isinstance(step, Layer) and step.residual is not None:
        return step.source, step.residual
    return (step.source,)


@dataclass(frozen=True)
class Model:
    """A network of integers; made by `load`.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of one input sample, [C, H, W] or [C].
    input_scale : float32
        Scale of the quantised input.
    dw : int
        Width of the activations in bits.
    steps : tuple of Layer, MaxPool, Reshape and Concat
        In order of execution.
    output : str
        Name of the tensor that `run` returns.
    metadata : dict of str
        Metadata of the ONNX model.
    """

    input_shape: Shape
    input_scale: np.float32
    dw: int
    steps: tuple[Step, ...]
    output: str
    metadata: Mapping[str, str]

    @property
    def layers(self) -> dict[str, Layer]:
        """The convolution and fully connected layers by name, in order of execution."""
        return {step.name: step for step in self.steps if isinstance(step, Layer)}

    @property
    def output_scale(self) -> float:
        """Scale of the logits: float logits are about ``run(...) * output_scale``."""
        return next(step.scale for step in self.steps if step.name == self.output)

    def quantize(self, images: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Quantise images as the converted model's QuantizeLinear does.

        ``clip(round_half_even(x / scale), -(2**(DW-1)-1), 2**(DW-1)-1)``, division in float32.

        Parameters
        ----------
        images : float array [N, *input_shape]
            Images as the float network takes them (after its own preprocessing).

        Returns
        -------
        int32 array [N, *input_shape]

        Raises
        ------
        ModelError
            If the shape is wrong or a value is not finite.
        """
        x = np.asarray(images, dtype=np.float32)
        self._check_shape(x.shape)
        if not np.isfinite(x).all():
            raise ModelError("images hold values that are not finite")
        limit = _limit(self.dw)
        y: npt.NDArray[np.int32] = np.clip(np.rint(x / self.input_scale), -limit, limit).astype(
            np.int32
        )
        return y

    def run(self, images: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Integer logits [N, ...] of float images [N, *input_shape]; see `quantize`."""
        return self.run_int(self.quantize(images))

    def run_int(self, x: IntArray) -> npt.NDArray[np.int32]:
        """Integer logits of integer activations.

        Parameters
        ----------
        x : int array [N, *input_shape]
            Quantised images, within +-(2**(DW-1)-1).

        Returns
        -------
        int32 array [N, ...]
            The model's output.

        Raises
        ------
        ModelError
            If the shape, the type or a value is wrong, or an accumulator overflows; an overflow
            is reported with the layer's name.
        """
        last_use: dict[str, int] = {}
        for index, step in enumerate(self.steps):
            last_use.update(dict.fromkeys(_operands(step), index))
        last_use[self.output] = len(self.steps)
        outputs = []
        for batch in self._batches(x):
            values: dict[str, IntArray] = {INPUT: batch}
            for index, (name, value) in enumerate(self._evaluate(values)):
                values[name] = value
                for dead in [n for n in values if last_use.get(n, 0) <= index]:
                    del values[dead]  # bounds memory on deep networks
            outputs.append(values[self.output])
        return np.concatenate(outputs).astype(np.int32, copy=False)

    def layer_outputs(self, x: IntArray) -> dict[str, npt.NDArray[np.int32]]:
        """Every tensor of the network, by name, for integer activations.

        Parameters
        ----------
        x : int array [N, *input_shape]
            Quantised images.

        Returns
        -------
        dict of str to int32 array [N, ...]
            "input" and the output of every step, in order of execution.

        Raises
        ------
        ModelError
            As `run_int`.
        """
        parts: dict[str, list[IntArray]] = {}
        for batch in self._batches(x):
            values: dict[str, IntArray] = {INPUT: batch}
            for name, value in self._evaluate(values):
                values[name] = value
            for name, value in values.items():
                parts.setdefault(name, []).append(value)
        return {
            name: np.concatenate(part).astype(np.int32, copy=False) for name, part in parts.items()
        }

    def _evaluate(self, values: Mapping[str, IntArray]) -> Iterator[tuple[str, IntArray]]:
        """Run the steps on `values`, to which the caller adds what this yields."""
        for step in self.steps:
            operands = [values[name] for name in _operands(step)]
            if isinstance(step, Layer):
                residual = operands[1] if len(operands) > 1 else None
                try:
                    yield step.name, step.evaluate(operands[0], residual)
                except OverflowError as error:
                    raise ModelError(f"layer {step.name!r}: {error}") from error
            else:
                yield step.name, step.evaluate(*operands)

    def _batches(self, x: IntArray) -> Iterator[IntArray]:
        x = np.asarray(x)
        if x.dtype.kind not in "iu":
            raise ModelError(f"activations are {x.dtype}; integers are needed (see quantize)")
        self._check_shape(x.shape)
        limit = _limit(self.dw)
        if x.size and (int(x.max()) > limit or int(x.min()) < -limit):
            raise ModelError(f"activations are outside -{limit}..{limit}")
        largest = math.prod(self.input_shape)
        for step in self.steps:
            unfold = step.weights[0].size if isinstance(step, Layer) else 1
            largest = max(largest, unfold * math.prod(step.shape[1:]), math.prod(step.shape))
        size = min(256, max(1, _BATCH_ELEMENTS // largest))
        for start in range(0, max(x.shape[0], 1), size):
            yield x[start : start + size].astype(np.int32)

    def _check_shape(self, shape: Shape) -> None:
        if shape[1:] != self.input_shape or len(shape) != len(self.input_shape) + 1:
            wanted = ", ".join(["N", *map(str, self.input_shape)])
            raise ModelError(f"input has shape {list(shape)}; the model takes [{wanted}]")


def load(path: str | Path) -> Model:
    """Read a converted model.

    Parameters
    ----------
    path : str or Path
        ONNX file written by ``unzipfpga convert``.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the file is missing or damaged, is not a converted model, holds anything unknown, or
        its graph and its metadata disagree.
    """
    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path}: is damaged or not an ONNX model: {reason}") from error
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    if metadata.get("unzip.format") != FORMAT:
        raise ModelError(
            f"{path}: unzip.format is {metadata.get('unzip.format')!r}, {FORMAT!r} is supported; "
            "the file must come from `unzipfpga convert`"
        )
    opsets = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    if opsets.get("ai.onnx") != OPSET:
        raise ModelError(f"{path}: opset {opsets.get('ai.onnx')}; opset {OPSET} is supported")
    return _Walk(proto.graph).model(metadata)


# What a tensor of the graph is, found while walking it in topological order.


@dataclass(frozen=True)
class _Constant:
    """An initializer."""

    array: npt.NDArray[Any]


@dataclass(frozen=True)
class _Weights:
    """Dequantised integers: weights, alphas, weights generated from alphas, or a bias."""

    integers: npt.NDArray[np.int64]
    scale: npt.NDArray[np.floating]  # [C_out]
    width: int  # bits of the stored type, 48 for a bias in two parts
    alphas: npt.NDArray[np.int64] | None = None
    code_matrix: npt.NDArray[Any] | None = None  # [n, K*K]


@dataclass(frozen=True)
class _Float:
    """The graph's float input."""

    shape: Shape


@dataclass(frozen=True)
class _Activations:
    """Activations after DequantizeLinear; `step` makes the integers."""

    step: str
    scale: np.float32
    shape: Shape
    pixels: int = 0  # H*W of a global average pool that is still to be fused, 0 without one


@dataclass(frozen=True)
class _Padded:
    """Activations with zeros behind them, which only an Add may use."""

    x: _Activations
    shape: Shape


@dataclass
class _Open:
    """Conv, Gemm or average pool whose QuantizeLinear has not come yet."""

    node: onnx.NodeProto
    metadata: dict[str, Any]
    x: _Activations
    weights: _Weights
    bias: npt.NDArray[np.int64]
    shape: Shape
    stride: ops.Pair = (1, 1)
    pads: ops.Pads = (0, 0, 0, 0)
    groups: int = 1
    classes: npt.NDArray[np.intp] | None = None  # of pixels that have an m of their own, [H, W]
    residual: _Activations | None = None
    bounds: tuple[float, float] | None = None  # of the activation function
    used: bool = False


@dataclass(frozen=True)
class _Quantized:
    """Integers after QuantizeLinear."""

    step: str
    scale: np.float32
    shape: Shape


_Value = _Constant | _Weights | _Float | _Activations | _Padded | _Open | _Quantized


@dataclass
class _Walk:
    """State of one walk over a graph."""

    graph: onnx.GraphProto
    values: dict[str, _Value] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    names: set[str] = field(default_factory=lambda: {INPUT})
    input_scale: np.float32 | None = None
    dw: int = 0

    def model(self, metadata: Mapping[str, str]) -> Model:
        for initializer in self.graph.initializer:
            self.values[initializer.name] = _Constant(numpy_helper.to_array(initializer))
        if self.graph.sparse_initializer:
            raise ModelError("sparse initializers are not supported")
        inputs = [value for value in self.graph.input if value.name not in self.values]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise ModelError(
                f"the graph has {len(inputs)} inputs and {len(self.graph.output)} outputs; "
                "one of each is supported"
            )
        input_shape = _sample_shape(inputs[0])
        self.values[inputs[0].name] = _Float(input_shape)
        handlers: dict[str, Callable[[onnx.NodeProto, dict[str, Any]], _Value]] = {
            "Add": self._add,
            "AveragePool": self._average_pool,
            "Clip": self._clip,
            "Concat": self._concat,
            "Constant": self._constant,
            "Conv": self._conv,
            "DequantizeLinear": self._dequantize,
            "Flatten": self._flatten,
            "Gemm": self._gemm,
            "GlobalAveragePool": self._global_average_pool,
            "MatMul": self._matmul,
            "MaxPool": self._max_pool,
            "Pad": self._pad,
            "QuantizeLinear": self._quantize,
            "Relu": self._relu,
            "Reshape": self._reshape,
            "Slice": self._slice,
            "Transpose": self._transpose,
        }
        for node in self.graph.node:
            if node.op_type not in handlers or node.domain not in ("", "ai.onnx"):
                raise _refuse(
                    node, f"the operator is not supported; supported are {', '.join(handlers)}"
                )
            if len(node.output) != 1:
                raise _refuse(node, f"it has {len(node.output)} outputs; one is supported")
            self.values[node.output[0]] = handlers[node.op_type](node, _attributes(node))
        for value in self.values.values():
            if isinstance(value, _Open) and not value.used:
                raise _refuse(value.node, "no QuantizeLinear follows it")
        output = self.values.get(self.graph.output[0].name)
        if not isinstance(output, _Activations) or output.pixels or not self.steps:
            raise ModelError(
                f"output {self.graph.output[0].name!r} is not the dequantised output of a layer"
            )
        assert self.input_scale is not None
        return Model(
            input_shape, self.input_scale, self.dw, tuple(self.steps), output.step, dict(metadata)
        )

    # Operands ------------------------------------------------------------------------------------

    def _operand(self, node: onnx.NodeProto, index: int) -> _Value | None:
        """Operand `index` of a node, None if it is left out."""
        if index >= len(node.input) or not node.input[index]:
            return None
        return self.values[node.input[index]]  # the checker has proven that it is defined

    def _array(self, node: onnx.NodeProto, index: int) -> npt.NDArray[Any] | None:
        """Constant operand `index` of a node, None if it is left out."""
        value = self._operand(node, index)
        if value is None:
            return None
        if not isinstance(value, _Constant):
            raise _refuse(node, f"input {node.input[index]!r} is not a constant")
        return value.array

    def _activations(self, node: onnx.NodeProto, index: int, pooled: bool = False) -> _Activations:
        value = self._operand(node, index)
        if not isinstance(value, _Activations):
            raise _refuse(
                node, f"input {node.input[index]!r} is not the output of a DequantizeLinear"
            )
        if value.pixels and not pooled:
            raise _refuse(node, "only a Gemm may follow a GlobalAveragePool without metadata")
        return value

    def _take(self, node: onnx.NodeProto, index: int) -> _Open:
        """A layer without QuantizeLinear as operand; it has one consumer only."""
        value = self._operand(node, index)
        if not isinstance(value, _Open):
            raise _refuse(
                node, f"input {node.input[index]!r} comes from no Conv or Gemm or average pool"
            )
        if value.used:
            raise _refuse(
                node, f"input {node.input[index]!r} has another consumer before its QuantizeLinear"
            )
        value.used = True
        return replace(value, used=False)

    def _scale(self, node: onnx.NodeProto) -> npt.NDArray[np.float32]:
        scale = self._array(node, 1)
        if scale is None or scale.dtype != np.float32 or scale.ndim > 1:
            raise _refuse(node, "the scale is not a float32 scalar or vector")
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise _refuse(node, "a scale is not positive and finite")
        return scale

    def _scalar_scale(self, node: onnx.NodeProto) -> np.float32:
        scale = self._scale(node)
        if scale.size != 1:
            raise _refuse(node, f"activations have {scale.size} scales; one is supported")
        return np.float32(scale.reshape(())[()])

    def _zero_point(self, node: onnx.NodeProto) -> np.dtype[Any] | None:
        """Type of the zero point, which must be 0; None if it is left out."""
        zero_point = self._array(node, 2)
        if zero_point is None:
            return None
        if zero_point.any():
            raise _refuse(node, "the zero point is not 0; quantisation is symmetric")
        return zero_point.dtype

    def _append(self, node: onnx.NodeProto, step: Step) -> None:
        if step.name in self.names:
            raise _refuse(node, f"the name {step.name!r} is used twice")
        self.names.add(step.name)
        self.steps.append(step)

    # Quantisation --------------------------------------------------------------------------------

    def _quantize(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, block_size=(0,))
        scale = self._scalar_scale(node)
        dtype = self._zero_point(node)
        if dtype is None:
            code = attributes.get("output_dtype", onnx.TensorProto.UINT8)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(code)
        if dtype not in (np.int8, np.int16):
            raise _refuse(node, f"it quantises to {dtype}; int8 and int16 are supported")
        dw = 8 * dtype.itemsize
        if self.dw not in (0, dw):
            raise _refuse(node, f"it quantises to {dtype}, other nodes to int{self.dw}")
        self.dw = dw
        value = self._operand(node, 0)
        if isinstance(value, _Float):
            if self.input_scale is not None:
                raise _refuse(node, "the graph's input is quantised twice")
            self.input_scale = scale
            return _Quantized(INPUT, scale, value.shape)
        layer = _finish(node, self._take(node, 0), scale, dw)
        self._append(node, layer)
        return _Quantized(layer.name, scale, layer.shape)

    def _dequantize(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, block_size=(0,))
        dtype = self._zero_point(node)
        value = self._operand(node, 0)
        if isinstance(value, _Quantized):
            scale = self._scalar_scale(node)
            if scale != value.scale:
                raise _refuse(node, f"scale {scale} differs from QuantizeLinear's {value.scale}")
            return _Activations(value.step, scale, value.shape)
        array = self._array(node, 0)
        if array is None or array.dtype not in (np.int8, np.int16, np.int32):
            raise _refuse(node, f"{node.input[0]!r} is not an int8, int16 or int32 constant")
        if dtype not in (None, array.dtype):
            raise _refuse(node, f"the zero point is {dtype}, the constant {array.dtype}")
        scales = self._scale(node)
        axis = attributes.get("axis", 1)
        if axis not in (0, -array.ndim) or array.ndim < 1 or scales.shape != (array.shape[0],):
            raise _refuse(
                node, f"scale {scales.shape} of constant {array.shape}: one a filter, on axis 0"
            )
        return _Weights(array.astype(np.int64), scales, 8 * array.dtype.itemsize)

    # Weights -------------------------------------------------------------------------------------

    def _constant(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        if "value" not in attributes:
            raise _refuse(node, "only a tensor value is supported")
        return _Constant(numpy_helper.to_array(attributes["value"]))

    def _matmul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        alphas = self._operand(node, 0)
        matrix = self._array(node, 1)
        if not isinstance(alphas, _Weights) or alphas.integers.ndim not in (3, 4):
            raise _refuse(
                node,
                f"{node.input[0]!r} is not alphas, [C_out, C_in, n] or [C_out, C_in/16, K*K, n]; "
                "see Gemm",
            )
        n = alphas.integers.shape[-1]
        if matrix is None or matrix.ndim != 2 or matrix.shape[0] != n:
            raise _refuse(node, f"{node.input[1]!r} is not a code matrix [{n}, K*K] or [{n}, 16]")
        if not (np.abs(matrix) == 1).all():
            raise _refuse(node, f"code matrix {node.input[1]!r} holds values other than +1 and -1")
        return replace(
            alphas,
            integers=alphas.integers @ matrix.astype(np.int64),
            alphas=alphas.integers,
            code_matrix=matrix,
        )

    def _generated(self, node: onnx.NodeProto) -> _Weights:
        weights = self._operand(node, 0)
        if not isinstance(weights, _Weights) or weights.alphas is None:
            raise _refuse(node, f"{node.input[0]!r} is not a product of alphas and codes")
        return weights

    def _transpose(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        weights = self._generated(node)
        perm = attributes.get("perm", list(range(weights.integers.ndim))[::-1])
        if not perm or perm[0] != 0:
            raise _refuse(node, f"perm {perm} does not keep the filters first")
        return replace(weights, integers=weights.integers.transpose(perm))

    def _slice(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        weights = self._generated(node)
        bounds = [self._array(node, index) for index in (1, 2, 3)]
        if self._array(node, 4) is not None or any(
            bound is None or bound.shape != (1,) for bound in bounds
        ):
            raise _refuse(node, "starts, ends and axes are not one constant each, without steps")
        first, end, axis = (int(bound[0]) for bound in bounds if bound is not None)
        if axis != 1 or first != 0 or not 0 < end <= weights.integers.shape[1]:
            raise _refuse(node, f"channels {first} to {end} of axis {axis}; 0 to C_in of axis 1")
        return replace(weights, integers=weights.integers[:, :end])

    # Layers --------------------------------------------------------------------------------------

    def _conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, auto_pad=(b"NOTSET",), dilations=([1, 1],))
        x = self._activations(node, 0)
        weights, metadata = self._layer_weights(node, rank=4)
        c_out, group_in, k_h, k_w = weights.integers.shape
        groups = attributes.get("group", 1)
        if len(x.shape) != 3 or x.shape[0] != group_in * groups or c_out % groups:
            raise _refuse(
                node,
                f"weights {weights.integers.shape} in {groups} groups do not fit "
                f"an input of shape {x.shape}",
            )
        _expect(node, attributes, kernel_shape=([k_h, k_w],))
        stride, pads = _window(node, attributes)
        try:
            size = ops.output_size((x.shape[1], x.shape[2]), (k_h, k_w), stride, pads)
        except ValueError as error:
            raise _refuse(node, str(error)) from error
        bias = self._bias(node, x, weights)
        return _Open(node, metadata, x, weights, bias, (c_out, *size), stride, pads, groups)

    def _gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, alpha=(1.0,), beta=(1.0,), transA=(0,))
        if attributes.get("transB", 0) != 1:
            raise _refuse(node, "transB = 0; 1 is supported")
        x = self._activations(node, 0, pooled=True)
        weights, metadata = self._layer_weights(node, rank=2)
        c_out, c_in = weights.integers.shape
        if x.shape != (c_in,):
            raise _refuse(
                node,
                f"weights {weights.integers.shape} do not fit an input of shape {x.shape}",
            )
        return _Open(node, metadata, x, weights, self._bias(node, x, weights), (c_out,))

    def _layer_weights(self, node: onnx.NodeProto, rank: int) -> tuple[_Weights, dict[str, Any]]:
        """Weights of a Conv or Gemm, held against the layer's metadata."""
        weights = self._operand(node, 1)
        if not isinstance(weights, _Weights) or weights.integers.ndim != rank:
            raise _refuse(node, f"{node.input[1]!r} is not dequantised weights of rank {rank}")
        if weights.integers.size == 0:
            raise _refuse(node, f"weights of shape {weights.integers.shape} are empty")
        if weights.width != self.dw:
            raise _refuse(node, f"weights are int{weights.width}, activations int{self.dw}")
        metadata = _layer_metadata(node)
        c_out = weights.integers.shape[0]
        if len(metadata["m"]) != c_out:
            raise _refuse(node, f"m has {len(metadata['m'])} values for {c_out} filters")
        if metadata["dw"] != self.dw:
            raise _refuse(node, f"dw is {metadata['dw']}, activations are int{self.dw}")
        if metadata["axis"] == "dense" and weights.alphas is not None:
            raise _refuse(node, "the axis is dense, but the weights are a product with codes")
        if metadata["axis"] == "kernel":
            if weights.alphas is None or weights.code_matrix is None:
                raise _refuse(node, "the axis is kernel, but the weights are no product with codes")
            _check_range(node, "alpha", weights.alphas, self.dw)
            k_h, kernel = weights.integers.shape[2:]
            if k_h != kernel:
                raise _refuse(
                    node, f"kernel-axis codes for a {k_h}x{kernel} kernel; a square one is needed"
                )
            try:
                matrix = ovsf.kernel_codes(kernel, metadata["codes"])
                generated = ovsf.kernel_weights(weights.alphas, metadata["codes"], kernel)
            except ValueError as error:
                raise _refuse(node, str(error)) from error
            if not np.array_equal(matrix, weights.code_matrix):
                raise _refuse(node, f"the code matrix does not hold codes {metadata['codes']}")
            if not np.array_equal(generated, weights.integers):
                raise _refuse(node, "the weights differ from those generated from its alphas")
        if metadata["axis"] == "channel":
            _check_channel_axis(node, weights, metadata["codes"], self.dw)
        _check_range(node, "weight", weights.integers, self.dw)
        return weights, metadata

    def _bias(
        self, node: onnx.NodeProto, x: _Activations, weights: _Weights
    ) -> npt.NDArray[np.int64]:
        bias = self._operand(node, 2)
        filters = weights.integers.shape[0]
        if bias is None:
            return np.zeros(filters, dtype=np.int64)
        wanted = {8: (32, "dequantised int32"), 16: (48, "the sum of two dequantised int32")}
        width, what = wanted[self.dw]
        fits = isinstance(bias, _Weights) and bias.integers.shape == (filters,)
        if not isinstance(bias, _Weights) or not fits or bias.width != width:
            raise _refuse(node, f"bias {node.input[2]!r} is not {what} [{filters}]")
        expected = weights.scale.astype(np.float64) * float(x.scale) / max(x.pixels, 1)
        if not np.allclose(bias.scale, expected, rtol=1e-6, atol=0):
            raise _refuse(node, "the bias scale is not input scale times weight scale")
        return bias.integers

    def _wide_bias(self, node: onnx.NodeProto, high: _Weights, low: _Weights) -> _Weights:
        """A bias of 48 bits: the sum of two int32, the first in units of 2**24."""
        step = 1 << 24
        if (high.width, low.width) != (32, 32) or high.integers.shape != low.integers.shape:
            raise _refuse(node, "the two parts of a bias are not int32 of one shape")
        if not np.array_equal(high.scale, low.scale * np.float32(step)):
            raise _refuse(node, "the scales of the two parts of a bias do not differ by 2**24")
        bias = high.integers * step + low.integers
        if (np.abs(bias) >= 1 << 47).any():
            raise _refuse(node, "the bias does not fit 48 bits")
        return replace(low, integers=bias, width=48)

    def _add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        first, second = self._operand(node, 0), self._operand(node, 1)
        if isinstance(first, _Weights) and isinstance(second, _Weights):
            return self._wide_bias(node, first, second)
        order = (0, 1) if isinstance(self._operand(node, 0), _Open) else (1, 0)
        layer = self._take(node, order[0])
        other = self._operand(node, order[1])
        padded = other if isinstance(other, _Padded) else None
        residual = padded.x if padded else self._activations(node, order[1])
        shape = padded.shape if padded else residual.shape
        if layer.residual is not None or layer.bounds is not None:
            raise _refuse(node, "one Add is supported, directly behind the layer")
        if shape != layer.shape:
            raise _refuse(node, f"shapes {layer.shape} and {shape} differ")
        return replace(layer, residual=residual)

    def _pad(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, mode=(b"constant",))
        x, pads = self._activations(node, 0), self._array(node, 1)
        value, axes = self._array(node, 2), self._array(node, 3)
        rank = len(x.shape) + 1
        if pads is None or pads.shape != (2 * rank,) or axes is not None:
            raise _refuse(node, f"its pads are not those of all {rank} axes")
        if value is not None and value.any():
            raise _refuse(node, "its value is not 0")
        if pads[: rank + 1].any() or pads.min() < 0:
            raise _refuse(node, f"pads {pads.tolist()}: zeros are supported behind the last place")
        ends = (int(end) for end in pads[rank + 1 :])
        return _Padded(x, tuple(size + end for size, end in zip(x.shape, ends, strict=True)))

    def _relu(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        return self._bounded(node, 0.0, math.inf)

    def _clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        bounds = []
        for index, default in ((1, -math.inf), (2, math.inf)):
            array = self._array(node, index)
            bounds.append(default if array is None else float(array.reshape(())[()]))
        return self._bounded(node, *bounds)

    def _bounded(self, node: onnx.NodeProto, low: float, high: float) -> _Open:
        layer = self._take(node, 0)
        if layer.bounds is not None:
            raise _refuse(node, "one Relu or Clip is supported in a layer")
        return replace(layer, bounds=(low, high))

    # Pools and shapes ----------------------------------------------------------------------------

    def _max_pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, auto_pad=(b"NOTSET",), dilations=([1, 1],), storage_order=(0,))
        x = self._activations(node, 0)
        kernel = attributes.get("kernel_shape", [])
        if len(x.shape) != 3 or len(kernel) != 2:
            raise _refuse(node, f"kernel {kernel}, input {x.shape}: two dimensions are supported")
        stride, pads = _window(node, attributes)
        ceil_mode = bool(attributes.get("ceil_mode", 0))
        window = (kernel[0], kernel[1])
        try:
            size = ops.output_size((x.shape[1], x.shape[2]), window, stride, pads, ceil_mode)
            if any(pad >= kernel[axis % 2] for axis, pad in enumerate(pads)):
                raise ValueError(f"pads {pads} reach the kernel size {window}")
        except ValueError as error:
            raise _refuse(node, str(error)) from error
        shape = (x.shape[0], *size)
        name = _name(node)
        self._append(
            node, MaxPool(name, x.step, window, stride, pads, ceil_mode, float(x.scale), shape)
        )
        return _Activations(name, x.scale, shape)

    def _global_average_pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        x = self._activations(node, 0)
        if len(x.shape) != 3:
            raise _refuse(node, f"input {x.shape}: two dimensions are supported")
        if any(entry.key == "unzip.layer" for entry in node.metadata_props):
            return self._mean(node, x, (x.shape[1], x.shape[2]), (1, 1), (0, 0, 0, 0))
        # Without a quantisation of its own it is part of the Gemm behind it.
        return replace(x, shape=(x.shape[0], 1, 1), pixels=x.shape[1] * x.shape[2])

    def _average_pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, auto_pad=(b"NOTSET",), dilations=([1, 1],), ceil_mode=(0,))
        x = self._activations(node, 0)
        kernel = attributes.get("kernel_shape", [])
        if len(x.shape) != 3 or len(kernel) != 2:
            raise _refuse(node, f"kernel {kernel}, input {x.shape}: two dimensions are supported")
        stride, pads = _window(node, attributes)
        counted = bool(attributes.get("count_include_pad", 0))
        return self._mean(node, x, (kernel[0], kernel[1]), stride, pads, counted)

    def _mean(
        self,
        node: onnx.NodeProto,
        x: _Activations,
        window: ops.Pair,
        stride: ops.Pair,
        pads: ops.Pads,
        counted: bool = True,
    ) -> _Open:
        """An average pool as a depthwise layer of weights 1, whose scale holds the division.

        If padding is not counted, windows may divide by different numbers of pixels.
        """
        channels = x.shape[0]
        try:
            pixels = ops.window_pixels((x.shape[1], x.shape[2]), window, stride, pads)
        except ValueError as error:
            raise _refuse(node, str(error)) from error
        size = pixels.shape
        if counted:
            pixels = np.full(size, window[0] * window[1])
        if pixels.min() < 1:
            raise _refuse(node, f"pads {pads} leave a {window} window with nothing but padding")
        distinct, classes = np.unique(pixels, return_inverse=True)
        metadata = _layer_metadata(node, classes=len(distinct))
        if metadata["axis"] != "dense" or metadata["dw"] != self.dw:
            raise _refuse(node, f"axis {metadata['axis']}, dw {metadata['dw']} do not fit a pool")
        for values in metadata["m"] if len(distinct) > 1 else [metadata["m"]]:
            if len(values) != channels:
                raise _refuse(node, f"m has {len(values)} values for {channels} channels")
        ones = np.ones((channels, 1, *window), dtype=np.int64)
        bias = np.zeros(channels, dtype=np.int64)
        shape = (channels, *size)
        if len(distinct) == 1:
            weights = _Weights(ones, np.full(channels, 1 / distinct[0]), self.dw)
            return _Open(node, metadata, x, weights, bias, shape, stride, pads, channels)
        weights = _Weights(ones, np.broadcast_to(1 / pixels, shape), self.dw)
        classes = classes.reshape(size)
        return _Open(node, metadata, x, weights, bias, shape, stride, pads, channels, classes)

    def _concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        parts = [self._activations(node, index) for index in range(len(node.input))]
        first = parts[0]
        rank = len(first.shape) + 1
        if attributes["axis"] not in (1, 1 - rank):
            raise _refuse(node, f"axis {attributes['axis']}; 1, the channels, is supported")
        for part in parts[1:]:
            if len(part.shape) + 1 != rank or part.shape[1:] != first.shape[1:]:
                raise _refuse(node, f"shapes {first.shape} and {part.shape} differ in their maps")
            if part.scale != first.scale:
                raise _refuse(node, f"scales {first.scale} and {part.scale} differ")
        shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
        name = _name(node)
        sources = tuple(part.step for part in parts)
        self._append(node, Concat(name, sources, float(first.scale), shape))
        return _Activations(name, first.scale, shape)

    def _flatten(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, axis=(1,))
        x = self._activations(node, 0, pooled=True)
        return self._reshaped(node, x, (math.prod(x.shape),))

    def _reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Value:
        _expect(node, attributes, allowzero=(0,))
        target = self._array(node, 1)
        value = self._operand(node, 0)
        if target is None or target.ndim != 1:
            raise _refuse(node, "the shape is not a constant vector")
        wanted = [int(size) for size in target]
        try:
            if isinstance(value, _Weights):
                return replace(value, integers=value.integers.reshape(wanted))
            x = self._activations(node, 0, pooled=True)
            if not wanted or wanted[0] not in (0, -1):
                raise ValueError("the first dimension, the batch, is not 0 or -1")
            if wanted[0] == -1 and -1 in wanted[1:]:
                raise ValueError("-1 is given twice")
            sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted[1:])]
            return self._reshaped(node, x, np.empty(x.shape, dtype=np.int8).reshape(sizes).shape)
        except (ValueError, IndexError) as error:
            raise _refuse(node, f"shape {wanted}: {error}") from error

    def _reshaped(self, node: onnx.NodeProto, x: _Activations, shape: Shape) -> _Value:
        if x.pixels:  # no tensor of its own: the Gemm that follows sums the pixels
            return replace(x, shape=shape)
        name = _name(node)
        self._append(node, Reshape(name, x.step, float(x.scale), shape))
        return _Activations(name, x.scale, shape)


def _finish(node: onnx.NodeProto, layer: _Open, scale: np.float32, dw: int) -> Layer:
    """Layer from all its nodes; its metadata must agree with scales and activation function."""
    metadata = layer.metadata
    limit = _limit(dw)
    x, weights = layer.x, layer.weights
    s, m_r, t, lo, hi = (metadata[key] for key in ("s", "m_r", "t", "lo", "hi"))
    m = np.array(metadata["m"], dtype=np.int64)
    if layer.classes is not None:
        m = m[layer.classes].transpose(2, 0, 1)

    ratio = weights.scale.astype(np.float64) * float(x.scale) / max(x.pixels, 1) / float(scale)
    error = np.abs(m - ratio * 2.0**s)
    if error.max() > _ROUNDING:
        worst = np.unravel_index(int(error.argmax()), error.shape)
        pixel = f", pixel {worst[1]}, {worst[2]}," if layer.classes is not None else ""
        raise _refuse(
            layer.node,
            f"m = {m[worst]} of filter {worst[0]}{pixel} with s = {s}: the scales say "
            f"{ratio[worst]:.6g}",
        )
    if layer.residual is None and m_r != 0:
        raise _refuse(layer.node, f"m_r = {m_r} without a residual")
    if layer.residual is not None:
        ratio_r = float(layer.residual.scale) / float(scale)
        if abs(m_r - ratio_r * 2.0 ** (s - t)) > _ROUNDING:
            raise _refuse(
                layer.node, f"m_r = {m_r} with s = {s}, t = {t}: the scales say {ratio_r:.6g}"
            )
    low, high = layer.bounds or (-math.inf, math.inf)
    for key, value, bound in (("lo", lo, low), ("hi", hi, high)):
        expected = min(max(bound / float(scale), -limit), limit)
        if abs(value - expected) > _ROUNDING:
            raise _refuse(layer.node, f"{key} = {value}: the graph says {expected:.6g}")
    if lo > hi:
        raise _refuse(layer.node, f"lo = {lo} is larger than hi = {hi}")
    if metadata["acc_bits"] != ops.accumulator_bits(dw):
        raise _refuse(
            layer.node, f"acc_bits = {metadata['acc_bits']}; dw {dw} has {ops.accumulator_bits(dw)}"
        )
    if metadata["acc_bound"] >= 1 << (metadata["acc_bits"] - 1):
        raise _refuse(
            layer.node,
            f"acc_bound {metadata['acc_bound']} does not fit {metadata['acc_bits']} bits",
        )
    return Layer(
        name=metadata["name"],
        operator=layer.node.op_type,
        source=x.step,
        residual=None if layer.residual is None else layer.residual.step,
        axis=metadata["axis"],
        codes=tuple(metadata["codes"]),
        alphas=weights.alphas,
        weights=weights.integers,
        bias=layer.bias,
        m=m,
        s=s,
        m_r=m_r,
        t=t,
        lo=lo,
        hi=hi,
        stride=layer.stride,
        pads=layer.pads,
        groups=layer.groups,
        pooled=x.pixels > 0,
        dw=dw,
        acc_bits=metadata["acc_bits"],
        acc_bound=metadata["acc_bound"],
        scale=float(scale),
        shape=layer.shape,
    )


def _layer_metadata(node: onnx.NodeProto, classes: int = 1) -> dict[str, Any]:
    """``unzip.layer`` of a node, with checked keys, types and ranges; "codes" is always there.

    With several classes of pixels, m is a list of as many lists.
    """
    text = {entry.key: entry.value for entry in node.metadata_props}.get("unzip.layer")
    if text is None:
        raise _refuse(node, "it has no unzip.layer metadata; convert the model first")
    try:
        metadata = json.loads(text)
    except json.JSONDecodeError as error:
        raise _refuse(node, f"unzip.layer is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise _refuse(node, "unzip.layer is not a JSON object")
    if metadata.get("axis") == "dense":
        metadata.setdefault("codes", [])
    missing = sorted(_LAYER_KEYS - metadata.keys())
    unknown = sorted(metadata.keys() - _LAYER_KEYS)
    if missing or unknown:
        raise _refuse(node, f"unzip.layer: missing keys {missing}, unknown keys {unknown}")
    if not isinstance(metadata["name"], str) or not metadata["name"]:
        raise _refuse(node, "unzip.layer: name is not a string")
    if metadata["axis"] not in ("dense", "kernel", "channel"):
        raise _refuse(
            node,
            f"unzip.layer: axis {metadata['axis']!r}; 'dense', 'kernel' and 'channel' are "
            "supported",
        )
    for key, (low, high) in _LAYER_INTS.items():
        _check_integer(node, key, metadata[key], low, high)
    lists = [("m", metadata["m"], -32768, 32767), ("codes", metadata["codes"], 0, 2**31)]
    if classes > 1:
        if not isinstance(metadata["m"], list) or len(metadata["m"]) != classes:
            raise _refuse(
                node,
                f"unzip.layer: m is not {classes} lists: one for each number of pixels in a window",
            )
        lists[:1] = [("m", values, -32768, 32767) for values in metadata["m"]]
    for key, values, low, high in lists:
        if not isinstance(values, list):
            raise _refuse(node, f"unzip.layer: {key} is not a list")
        for value in values:
            _check_integer(node, key, value, low, high)
    if metadata["axis"] == "dense" and metadata["codes"]:
        raise _refuse(node, "unzip.layer: a dense layer has codes")
    return metadata


def _check_channel_axis(node: onnx.NodeProto, weights: _Weights, codes: list[int], dw: int) -> None:
    """Hold the weights of a channel-axis layer against those generated from its alphas."""
    alphas = weights.alphas
    if alphas is None or weights.code_matrix is None or alphas.ndim != 4:
        raise _refuse(node, "the axis is channel, but the weights are no product with codes")
    _check_range(node, "alpha", alphas, dw)
    taps = alphas.shape[2]
    c_in, rest = divmod(weights.integers[0].size, taps)
    try:
        # Which taps make a row of the kernel does not change their order.
        generated = ovsf.channel_weights(alphas, codes, c_in, (taps, 1))
    except ValueError as error:
        raise _refuse(node, str(error)) from error
    matrix = ovsf.hadamard(ovsf.CHANNEL_BLOCK)[codes]
    if not np.array_equal(matrix, weights.code_matrix):
        raise _refuse(node, f"the code matrix does not hold codes {codes}")
    if rest or not np.array_equal(generated.reshape(weights.integers.shape), weights.integers):
        raise _refuse(node, "the weights differ from those generated from its alphas")


def _check_integer(node: onnx.NodeProto, key: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:  # bool is no integer here
        raise _refuse(node, f"unzip.layer: {key} = {value!r} is not an integer in {low}..{high}")


def _check_range(node: onnx.NodeProto, what: str, values: IntArray, dw: int) -> None:
    limit = _limit(dw)
    outside = np.argwhere(np.abs(values) > limit)
    if outside.size:
        at = tuple(outside[0])
        raise _refuse(node, f"{what} {values[at]} of filter {at[0]} is outside -{limit}..{limit}")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    allowed = _ATTRIBUTES[node.op_type]
    for attribute in node.attribute:
        if attribute.name not in allowed:
            raise _refuse(node, f"attribute {attribute.name} is not supported")
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _expect(node: onnx.NodeProto, attributes: dict[str, Any], **supported: tuple[Any, ...]) -> None:
    """Refuse attributes that are there with a value other than the supported ones."""
    for key, values in supported.items():
        if key in attributes and attributes[key] not in values:
            raise _refuse(
                node, f"attribute {key} = {attributes[key]!r}; {values[0]!r} is supported"
            )


def _window(node: onnx.NodeProto, attributes: dict[str, Any]) -> tuple[ops.Pair, ops.Pads]:
    stride = attributes.get("strides", [1, 1])
    pads = attributes.get("pads", [0, 0, 0, 0])
    if len(stride) != 2 or len(pads) != 4:
        raise _refuse(node, f"strides {stride}, pads {pads}: two dimensions are supported")
    return (stride[0], stride[1]), (pads[0], pads[1], pads[2], pads[3])


def _sample_shape(value: onnx.ValueInfoProto) -> Shape:
    """Static shape of the graph's input without its batch axis."""
    tensor = value.type.tensor_type
    sizes = tuple(d.dim_value for d in tensor.shape.dim[1:])
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(sizes) not in (1, 3) or min(sizes) < 1:
        raise ModelError(
            f"input {value.name!r} is not float [N, C, H, W] or [N, C] with known C, H and W"
        )
    return sizes


def _name(node: onnx.NodeProto) -> str:
    return str(node.name or node.output[0])


def _limit(dw: int) -> int:
    """Largest activation, weight or alpha of `dw` bits."""
    return (1 << (dw - 1)) - 1


def _refuse(node: onnx.NodeProto, reason: str) -> ModelError:
    return ModelError(f"node {_name(node)!r} ({node.op_type}): {reason}")
