# SPDX-License-Identifier: Apache-2.0
"""Little ONNX models with seeded random weights, for the front end's tests."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from unzipfpga.frontend import read_float
from unzipfpga.frontend.converted import float_model
from unzipfpga.frontend.host import run_host
from unzipfpga.frontend.layout import as_stored


class Builder:
    """Builds a model node by node; every weight comes from one seeded generator."""

    def __init__(self, shape, seed=1, opset=21):
        self.random = np.random.default_rng(seed)
        self.shape = shape
        self.opset = opset
        self.nodes = []
        self.initializers = []
        self.tensor = "x"

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def normal(self, *shape, scale=1.0):
        return self.constant(self.random.normal(scale=scale, size=shape))

    def node(self, operator, *inputs, output=None, name=None, **attributes):
        """Append a node; its first input is the last tensor unless `inputs` says otherwise."""
        output = output or f"t{len(self.nodes)}"
        inputs = list(inputs) or [self.tensor]
        name = f"{operator.lower()}_{len(self.nodes)}" if name is None else name
        self.nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))
        self.tensor = output
        return output

    def conv(self, c_out, c_in, kernel=3, source=None, **attributes):
        """Append a convolution that keeps the size of activations about the same."""
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        scale = (2.0 / (c_in * kernel[0] * kernel[1])) ** 0.5
        weight, bias = self.normal(c_out, c_in, *kernel, scale=scale), self.normal(c_out, scale=0.2)
        return self.node("Conv", source or self.tensor, weight, bias, **attributes)

    def gemm(self, c_out, c_in):
        weight = self.normal(c_out, c_in, scale=(2.0 / c_in) ** 0.5)
        bias = self.normal(c_out, scale=0.2)
        return self.node("Gemm", self.tensor, weight, bias, transB=1)

    def batch_norm(self, channels):
        positive = self.constant(self.random.uniform(0.5, 2.0, channels))
        parts = [self.normal(channels) for _ in range(3)]
        variance = self.constant(self.random.uniform(0.5, 2.0, channels))
        return self.node(
            "BatchNormalization", self.tensor, positive, parts[0], parts[1], variance, epsilon=1e-3
        )

    def model(self):
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(self.tensor, TensorProto.FLOAT, None)],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def save(self, path: Path):
        onnx.save(self.model(), path)
        return path


def run(model, images, optimised=True):
    """Return the single output of a model (proto, bytes or path) in ONNX Runtime."""
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def imported(builder, tmp_path):
    return read_float(builder.save(tmp_path / "model.onnx"))


def outputs_of(graph, images):
    """What a graph computes of images as its source takes them, the host's steps included."""
    return run_host(graph.host, run(float_model(graph), as_stored(images, graph.preprocess)))


def assert_same_function(builder, tmp_path, layers=None, images=None):
    """The imported graph has these layers and computes what ONNX Runtime makes of the source."""
    graph = imported(builder, tmp_path)
    assert layers is None or [layer.kind for layer in graph.layers] == layers
    if images is None:
        fixed = isinstance(builder.shape[0], int)
        shape = builder.shape if fixed else [5, *builder.shape[1:]]
        images = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 2
    # As written: ONNX Runtime 1.31 optimises zeros in front of a max pool away, wrongly.
    wanted, found = run(builder.model(), images, optimised=False), outputs_of(graph, images)
    assert wanted.shape == found.shape
    assert wanted.std() > 0.01  # a dead network would hide any mistake
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    return graph


def separable_network(seed=1):
    """Depthwise and grouped layers, average pools, and a global one before the classes."""
    b = Builder(["N", 3, 12, 12], seed)
    b.conv(8, 3, pads=[1, 1, 1, 1], strides=[2, 2])
    b.batch_norm(8)
    b.node("Relu")
    b.conv(8, 1, group=8, pads=[1, 1, 1, 1])
    b.node("Relu")
    b.conv(12, 4, group=2, pads=[1, 1, 1, 1])
    b.node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    b.node("Relu")
    b.conv(16, 12, kernel=1)
    b.node("Relu")
    b.node("GlobalAveragePool")
    b.node("Flatten")
    b.gemm(10, 16)
    return b


def averaging_network(seed=1):
    """Average pools whose windows hold different numbers of pixels, one of them added to."""
    b = Builder(["N", 3, 12, 12], seed)
    start = b.conv(6, 3, pads=[1, 1, 1, 1])
    other = b.conv(10, 6, source=start, pads=[1, 1, 1, 1], strides=[2, 2])
    b.node("AveragePool", start, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    mean = b.node("Relu")
    b.node("Concat", mean, b.conv(4, 6, 1), axis=1)
    b.node("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 0, 0], strides=[2, 2], ceil_mode=1)
    b.node("Add", other, b.tensor)
    b.node("AveragePool", kernel_shape=[5, 2], pads=[2, 0, 1, 1])
    b.node("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1])
    b.node("Flatten")
    b.gemm(10, 200)
    return b


def squeeze_network(seed=1):
    """A global average pool as the last layer, behind a max pool of a max pool."""
    b = Builder(["N", 3, 12, 12], seed)
    b.conv(8, 3)
    b.node("Relu")
    b.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    b.node("MaxPool", kernel_shape=[2, 2])
    b.conv(10, 8, kernel=1)
    b.node("GlobalAveragePool")
    b.node("Flatten")
    return b


def fire_network(seed=1, expand=12):
    """Concatenations: pooled; nested, of a part that is read by itself, too; one part in two."""
    b = Builder(["N", 3, 12, 12], seed)

    def fire(c_in, source=None):
        b.conv(8, c_in, kernel=1, source=source)
        squeezed = b.node("Relu")
        b.conv(expand, 8, kernel=1)
        left = b.node("Relu")
        b.conv(expand + 4, 8, source=squeezed, pads=[1, 1, 1, 1])
        right = b.node("Relu")
        return left, right, b.node("Concat", left, right, axis=1)

    b.conv(16, 3)
    b.node("Relu")
    fire(16)
    pooled = b.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    left, _, joined = fire(2 * expand + 4)
    b.conv(16, 2 * expand + 4, source=joined)
    inner = b.node("Relu")
    b.conv(8, expand, source=left)
    b.node("Concat", inner, b.tensor, axis=-3)
    b.conv(20, 24, kernel=1)
    top = b.node("Relu")
    b.node("Concat", joined, pooled, left, axis=1)
    b.conv(20, 5 * expand + 8)
    b.node("Add", b.tensor, top)
    b.node("Relu")
    b.node("GlobalAveragePool")
    b.node("Flatten")
    b.gemm(10, 20)
    return b


def residual_network(seed=1):
    """Two residual blocks, one with a strided projection, batch norm, ReLU6, pool, 10 classes."""
    b = Builder(["N", 3, 12, 12], seed)
    b.conv(8, 3, pads=[1, 1, 1, 1])
    b.batch_norm(8)
    stem = b.node("Relu")
    b.conv(8, 8, pads=[1, 1, 1, 1])
    b.node("Clip", b.tensor, b.constant(0.0), b.constant(6.0))
    body = b.conv(8, 8, pads=[1, 1, 1, 1])
    b.node("Add", body, stem)
    block = b.node("Relu")
    projected = b.conv(16, 8, kernel=1, strides=[2, 2])
    body = b.conv(16, 8, source=block, strides=[2, 2], pads=[1, 1, 1, 1])
    b.node("Add", body, projected)
    b.node("Relu")
    b.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    b.node("Flatten")
    b.gemm(10, 16 * 9)
    return b


def shortcut_network(seed=1):
    """Blocks whose shortcuts are pooled and padded with zeros: channels; rows and columns."""
    b = Builder(["N", 3, 12, 12], seed)
    b.conv(8, 3, pads=[1, 1, 1, 1])
    block = b.node("Relu")
    b.conv(16, 8, strides=[2, 2], pads=[1, 1, 1, 1])
    b.node("Relu")
    body = b.conv(16, 16, pads=[1, 1, 1, 1])
    b.node("AveragePool", block, kernel_shape=[2, 2], strides=[2, 2])
    shortcut = b.node("Pad", b.tensor, b.constant([0, 0, 0, 0, 0, 8, 0, 0], np.int64))
    b.node("Add", body, shortcut)
    block = b.node("Relu")
    body = b.conv(16, 16, pads=[1, 1, 1, 1])
    cropped = b.conv(16, 16, kernel=2, source=block)
    pads = b.constant([0, 0, 0, 0, 0, 0, 1, 1], np.int64)
    b.node("Pad", cropped, pads, b.constant(0.0), mode="constant")
    b.node("Add", b.tensor, body)
    b.node("Relu")
    b.node("GlobalAveragePool")
    b.node("Flatten")
    b.gemm(10, 16)
    return b


def both_padded_network(seed=1):
    """An addition both of whose operands are padded, one in channels, one in pixels; no bias."""
    b = Builder(["N", 3, 10, 10], seed)
    b.conv(6, 3, pads=[1, 1, 1, 1])
    block = b.node("Relu")
    b.conv(9, 6, source=block, strides=[2, 2])
    b.node("Relu")
    body = b.conv(9, 9, pads=[1, 1, 1, 1])
    body = b.node("Pad", body, b.constant([0, 0, 0, 0, 0, 0, 1, 1], np.int64))
    pooled = b.node("AveragePool", block, kernel_shape=[2, 2], strides=[2, 2])
    pooled = b.node("Pad", pooled, b.constant([0, 0, 0, 0, 0, 3, 0, 0], np.int64))
    b.node("Add", body, pooled)
    b.node("Relu")
    b.conv(19, 9)
    b.node("Relu")
    b.node("Flatten")
    b.node("MatMul", b.tensor, b.normal(19 * 9, 10, scale=0.1))
    return b
