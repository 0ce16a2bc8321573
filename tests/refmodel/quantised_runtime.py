# SPDX-License-Identifier: Apache-2.0
"""Every layer against ONNX Runtime's own quantised operators: QLinearConv and friends.

Each layer of a converted network becomes a model of one quantised operator (two with a residual),
made of the layer's integers and scales, and is fed with the golden model's own input integers. The
runtime multiplies by a float32 scale where the engine multiplies by m and shifts, and rounds
halves to even where the engine rounds them up, so that results may differ by one step.

The runtime has no such operators for 16 bits: those networks are compared in floating point
(`test_model`).
"""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from unzipfpga.frontend import Layer, Network
from verif.refmodel import layers
from verif.refmodel import model as golden

# Integers are stored as uint8 with this zero point. With int8 weights the runtime may add pairs of
# products in 16 bits, which saturate, on x86 processors without VNNI.
ZERO = 128


def stored(integers):
    return (np.asarray(integers, np.int32) + ZERO).astype(np.uint8)


class Quantised:
    """A model of quantised operators on uint8 tensors of one zero point."""

    def __init__(self):
        self.nodes, self.constants = [], []
        self.constant("zero", np.uint8(ZERO))

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def scale(self, name, value):
        return self.constant(name, np.asarray(value, np.float32))

    def node(self, operator, inputs, output, domain="", **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def run(self, feeds, output):
        """Result of the runtime on integers within 8 bits."""
        graph = helper.make_graph(
            self.nodes,
            "layer",
            [
                helper.make_tensor_value_info(name, TensorProto.UINT8, value.shape)
                for name, value in feeds.items()
            ],
            [helper.make_tensor_value_info(output, TensorProto.UINT8, None)],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feeds = {name: stored(value) for name, value in feeds.items()}
        return session.run([output], feeds)[0].astype(np.int32) - ZERO


def quantised_layer(
    layer: Layer, network: Network, x: np.ndarray, residual: np.ndarray | None, largest: float
) -> np.ndarray:
    """One layer in ONNX Runtime; `largest` is the largest real result before the residual.

    The runtime quantises it before it adds the residual, which costs another half step.
    """
    model = Quantised()
    tensors = network.tensors
    s_x, s_y = tensors[layer.input].scale, tensors[layer.output].scale
    s_sum = s_y if residual is None else max(s_y, largest / 127)
    feeds = {"x": x}
    if layer.kind == "gemm":
        # A global average pool in front is a larger window with the same weight for all pixels.
        pixels = max(1, layer.pooled_pixels)
        feeds["x"] = feeds["x"].reshape(len(x), -1)
        weights = np.repeat(layer.weights, pixels, axis=1)
        scale = layer.weight_scale.astype(np.float64) / pixels
    ends = ["x", model.scale("s_x", s_x), "zero"]
    target = [model.scale("s_sum", s_sum), "zero"]
    if layer.kind == "conv":
        zeros = model.constant("zeros", stored(np.zeros(len(layer.weights))))
        w = [
            model.constant("w", stored(layer.weights)),
            model.scale("s_w", layer.weight_scale),
            zeros,
        ]
        bias = model.constant("bias", layer.bias)
        model.node(
            "QLinearConv",
            [*ends, *w, *target, bias],
            "sum",
            kernel_shape=layer.kernel,
            strides=layer.stride,
            pads=layer.pads,
            group=layer.groups,
        )
    elif layer.kind == "gemm" and not layer.bias.any():
        zeros = model.constant("zeros", stored(np.zeros(len(weights))))
        columns = model.constant("w", stored(weights.T))
        w = [columns, model.scale("s_w", scale), zeros]
        model.node("QLinearMatMul", [*ends, *w, *target], "sum")
    elif layer.kind == "gemm":
        zeros = model.constant("zeros", stored(np.zeros(len(weights))))
        w = [model.constant("w", stored(weights)), model.scale("s_w", scale), zeros]
        bias = model.constant("bias", layer.bias)
        model.node("QGemm", [*ends, *w, bias, *target], "sum", "com.microsoft", transB=1)
    elif layer.kind == "gap":
        model.node("QLinearGlobalAveragePool", [*ends, *target], "sum", "com.microsoft")
    else:
        assert layer.kind == "avgpool"
        model.node(
            "QLinearAveragePool",
            [*ends, *target],
            "sum",
            "com.microsoft",
            kernel_shape=layer.kernel,
            strides=layer.stride,
            pads=layer.pads,
            count_include_pad=0 if layer.counts else 1,
        )
    output = "sum"
    if residual is not None:
        shape = tensors[layer.output].shape
        missing = [(0, a - r) for a, r in zip(shape, residual.shape[1:], strict=True)]
        feeds["r"] = np.pad(residual, [(0, 0), *missing])
        s_r = model.scale("s_r", tensors[layer.residual].scale)
        inputs = ["sum", *target, "r", s_r, "zero", model.scale("s_y", s_y), "zero"]
        output = model.node("QLinearAdd", inputs, "y", "com.microsoft")
    return np.clip(model.run(feeds, output), layer.lo, layer.hi)


def quantised_step(layer: Layer, network: Network, parts: list[np.ndarray]) -> np.ndarray:
    """A max pool or concatenation of integers in ONNX Runtime; flattening changes nothing."""
    model = Quantised()
    feeds = {f"x{i}": part for i, part in enumerate(parts)}
    if layer.kind == "flatten":
        return parts[0].reshape(len(parts[0]), -1)
    if layer.kind == "maxpool":
        window = {"kernel_shape": layer.kernel, "strides": layer.stride, "pads": layer.pads}
        model.node("MaxPool", ["x0"], "y", **window)
    else:
        assert layer.kind == "concat"
        scale = model.scale("scale", network.tensors[layer.output].scale)
        inputs = [entry for name in feeds for entry in (name, scale, "zero")]
        model.node("QLinearConcat", [scale, "zero", *inputs], "y", "com.microsoft", axis=1)
    return model.run(feeds, "y")


def largest_sum(step: golden.Layer, x: np.ndarray, layer: Layer, network: Network) -> float:
    """Largest magnitude of a layer's real results without its residual."""
    acc = step.accumulate(x)
    bias, scale = step.bias.reshape(-1, 1, 1), layer.weight_scale.reshape(-1, 1, 1)
    if layer.counts:
        size = (x.shape[2], x.shape[3])
        scale = 1 / layers.window_pixels(size, layer.kernel, layer.stride, layer.pads)
    steps = np.abs(acc + bias) * scale.astype(np.float64)
    return float(steps.max()) * network.tensors[layer.input].scale


def check_layers(model: golden.Model, network: Network, images: np.ndarray) -> float:
    """Check every step alone on images [N, ...]: within one step of ONNX Runtime, and rarely off.

    Two roundings instead of one, as a residual causes, differ in up to half of the results.
    Returns the share of integers that differ.
    """
    integers = model.layer_outputs(model.quantize(images))
    of = {network.input: "input"} | {layer.output: layer.name for layer in network.layers}
    steps = {step.name: step for step in model.steps}
    assert list(steps) == [layer.name for layer in network.layers]
    off = total = 0
    for layer in network.layers:
        parts = [integers[of[name]] for name in layer.inputs]
        actual = integers[layer.name]
        if not layer.weighted:
            expected = quantised_step(layer, network, parts)
            np.testing.assert_array_equal(actual, expected, err_msg=layer.name)
            continue
        residual = integers[of[layer.residual]] if layer.residual else None
        largest = 0.0
        if residual is not None:
            largest = largest_sum(steps[layer.name], parts[0], layer, network)
        expected = quantised_layer(layer, network, parts[0], residual, largest)
        assert expected.shape == actual.reshape(expected.shape).shape
        difference = expected - actual.reshape(expected.shape)
        assert np.abs(difference).max() <= 1, f"{layer.name}: off by {np.abs(difference).max()}"
        share = (difference != 0).mean()
        assert share <= (0.01 if residual is None else 0.5), f"{layer.name}: {share:.1%} differ"
        off, total = off + int((difference != 0).sum()), total + difference.size
    return off / total
