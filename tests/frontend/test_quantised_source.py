# SPDX-License-Identifier: Apache-2.0
"""Models that ONNX Runtime's quantiser made: what is real in them comes back, exactly."""

import contextlib
import io
import logging

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from tests.frontend.models import (
    Builder,
    averaging_network,
    fire_network,
    outputs_of,
    residual_network,
    run,
    separable_network,
)
from unzipfpga.errors import ModelError
from unzipfpga.frontend import Options, convert, read_float, write_converted
from unzipfpga.frontend.dequantise import dequantise
from verif.refmodel import model as golden

FORMATS = {"QDQ": QuantFormat.QDQ, "QLinear": QuantFormat.QOperator}
# Activations, weights, one scale per filter, symmetric activations.
TYPES = {
    "uint8, int8 per filter": (QuantType.QUInt8, QuantType.QInt8, True, False),
    "int8, int8": (QuantType.QInt8, QuantType.QInt8, False, True),
    "int8 shifted, int8": (QuantType.QInt8, QuantType.QInt8, False, False),
    "uint8, uint8": (QuantType.QUInt8, QuantType.QUInt8, False, False),
}


def plain_network(seed=1):
    """Layers, a pool in front of a flatten, an average in front of the classes."""
    b = Builder(["N", 3, 12, 12], seed)
    b.conv(8, 3, pads=[1, 1, 1, 1])
    b.node("Relu")
    b.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    b.conv(6, 8)
    b.node("Relu")
    b.node("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    b.node("Flatten")
    b.node("MatMul", b.tensor, b.normal(24, 10))
    return b


NETWORKS = {
    "residual": residual_network,
    "separable": separable_network,
    "fire": fire_network,
    "plain": plain_network,
    "averaging": averaging_network,
}


class Samples(CalibrationDataReader):
    def __init__(self, images):
        self.batches = iter([{"x": batch[np.newaxis]} for batch in images])

    def get_next(self):
        return next(self.batches, None)


def sample(count=16, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, 12, 12)).astype(np.float32)


def quantised(builder, tmp_path, form, types, **options):
    """Quantise a network with ONNX Runtime; return the file."""
    activation, weight, per_channel, symmetric = types
    source, path = builder.save(tmp_path / "float.onnx"), tmp_path / "quantised.onnx"
    logging.disable(logging.WARNING)  # it advises a step of its own that is not needed here
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                source,
                path,
                Samples(sample()),
                quant_format=FORMATS[form],
                activation_type=activation,
                weight_type=weight,
                per_channel=per_channel,
                extra_options={"ActivationSymmetric": symmetric} | options,
            )
    finally:
        logging.disable(logging.NOTSET)
    return path


def constants_of(path):
    return {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


def with_constants_of(builder, path):
    """The floating-point model with the constants that a quantised file has."""
    found, model = constants_of(path), builder.model()
    replaced = 0
    products = {}  # biases of integer layers -> input scale times weight scale
    for node in onnx.load(path).graph.node:
        index = {"QLinearConv": 8, "QGemm": 6}.get(node.op_type, 99)
        if len(node.input) > index:
            scales = [found[node.input[i]].astype(np.float64) for i in (1, 4)]
            products[node.input[index].removesuffix("_quantized")] = scales[0] * scales[1]
    for initializer in model.graph.initializer:
        name = initializer.name
        if f"{name}_quantized" not in found:
            continue
        integers = found[f"{name}_quantized"]
        prefix = name if f"{name}_scale" in found else f"{name}_quantized"
        if name in products:
            scale, zero = products[name], np.zeros(1, np.int64)
        else:
            scale = found[f"{prefix}_scale"].astype(np.float64)
            zero = found[f"{prefix}_zero_point"].astype(np.int64)
        if scale.size > 1:
            columns = len(integers) != scale.size  # of a MatMul
            scale = scale.reshape([1, -1] if columns else [-1, *[1] * (integers.ndim - 1)])
            zero = zero.reshape(scale.shape) if zero.size > 1 else zero
        real = (integers.astype(np.int64) - zero) * scale
        initializer.CopyFrom(numpy_helper.from_array(real.astype(np.float32), name))
        replaced += 1
    assert replaced >= 5
    return model


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_real_network_comes_back(tmp_path, name, types, form):
    """Equal, to the last places of float32, to the source with the file's rounded constants."""
    b = NETWORKS[name]()
    path = quantised(b, tmp_path, form, TYPES[types])
    graph = read_float(path)
    images = sample(20, seed=5) / 2  # so that no range is left
    wanted = run(with_constants_of(b, path), images)
    found = outputs_of(graph, images)
    assert wanted.std() > 0.01
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    # The rounded constants are seen: the source itself differs by much more.
    assert np.abs(run(b.model(), images) - wanted).max() > 1e-3
    # And what the quantised file computes is near.
    quantised_output = run(path, images)
    noise = ((quantised_output - found) ** 2).sum() / (quantised_output**2).sum()
    assert 10 * np.log10(noise) < -22
    assert not graph.unranged


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("types", ["uint8, int8 per filter", "int8, int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_integers_and_ranges_come_back(tmp_path, name, types, form):
    """Weights of int8 are the same integers; activations of int8 have the same scales."""
    b = NETWORKS[name]()
    path = quantised(b, tmp_path, form, TYPES[types])

    def images(_graph):
        raise AssertionError("all ranges are stated: nothing is to be calibrated")

    network, _ = convert(path, images, Options())
    found = constants_of(path)
    stored = [a for key, a in found.items() if key.endswith("_quantized") and a.dtype == np.int8]
    layers = [layer for layer in network.layers if layer.multiplies]
    same = [
        any(np.array_equal(w, s) or np.array_equal(w, s.T) for s in stored)
        for w in (layer.weights for layer in layers)
    ]
    # A batch normalisation in between changes a filter's scale, or its sign, not its integers.
    assert all(same[1:]) and len(layers) >= 3
    if types == "int8, int8":
        scales = {float(a) for key, a in found.items() if key.endswith("_scale") and not a.shape}
        exact = [tensor.scale in scales for tensor in network.tensors.values()]
        near = [min(abs(t.scale / s - 1) for s in scales) < 1e-6 for t in network.tensors.values()]
        assert np.mean(near) > 0.8 and any(exact)
    write_converted(network, tmp_path / "converted.onnx")
    model = golden.load(tmp_path / "converted.onnx")
    x = sample(20, seed=5)
    result, wanted = model.run(x) * model.output_scale, run(path, x)
    assert 10 * np.log10((wanted**2).sum() / ((result - wanted) ** 2).sum()) > 20


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("operator", ["Softmax", "Sigmoid"])
def test_a_quantised_step_of_the_host(tmp_path, operator, form):
    b = plain_network()
    b.node(operator)
    path = quantised(b, tmp_path, form, TYPES["uint8, int8 per filter"])
    graph = read_float(path)
    assert [step["op"] for step in graph.host] == [operator] and not graph.unranged
    images = sample(20, seed=5)
    assert np.abs(outputs_of(graph, images) - run(path, images)).max() < 0.1


def test_16_bit_activations_keep_their_scales(tmp_path):
    b = plain_network()
    path = quantised(b, tmp_path, "QDQ", (QuantType.QInt16, QuantType.QInt8, True, True))
    network, _ = convert(path, lambda _graph: sample(), Options(dw=16))
    scale = constants_of(path)["x_scale"]
    assert network.tensors["x"].scale == pytest.approx(float(scale), rel=1e-6)
    write_converted(network, tmp_path / "converted.onnx")
    model = golden.load(tmp_path / "converted.onnx")
    found, wanted = model.run(sample()) * model.output_scale, run(path, sample())
    assert 10 * np.log10((wanted**2).sum() / ((found - wanted) ** 2).sum()) > 60


def test_a_wrong_scale_is_caught(tmp_path):
    """Negative twin: one scale off by a percent is seen by the comparison."""
    b = plain_network()
    path = quantised(b, tmp_path, "QDQ", TYPES["int8, int8"])
    wanted = run(with_constants_of(b, path), sample())
    model = onnx.load(path)
    for initializer in model.graph.initializer:
        if initializer.name == "c0_scale":
            value = numpy_helper.to_array(initializer) * np.float32(1.01)
            initializer.CopyFrom(numpy_helper.from_array(value, "c0_scale"))
    onnx.save(model, path)
    with pytest.raises(AssertionError):
        found = outputs_of(read_float(path), sample())
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_layers_left_in_floating_point_are_calibrated(tmp_path):
    b = plain_network()
    path = quantised(b, tmp_path, "QDQ", TYPES["int8, int8"])
    model = onnx.load(path)
    # The last layer's result loses its range.
    made_by = {node.output[0]: node for node in model.graph.node}
    last = made_by[made_by[model.graph.output[0].name].input[0]]
    assert last.op_type == "QuantizeLinear"
    real = helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, None)
    model.graph.node.remove(made_by[model.graph.output[0].name])
    model.graph.node.remove(last)
    model.graph.output[0].CopyFrom(real)
    onnx.save(model, path)
    graph = read_float(path)
    assert graph.unranged == [graph.output]
    network, _ = convert(path, lambda _graph: sample(), Options())
    limit = np.abs(outputs_of(graph, sample())).max()
    assert network.tensors[graph.output].scale == pytest.approx(limit / 127, rel=1e-5)


def test_weights_that_are_quantised_in_the_graph(tmp_path):
    """QuantizeLinear of constants, and a DequantizeLinear of each of its readers."""
    b = Builder(["N", 3, 6, 6])
    weight = b.normal(4, 3, 3, 3, scale=0.3)
    scale, zero = b.constant([0.01, 0.02, 0.03, 0.015]), b.constant([0, 0, 0, 0], np.int8)
    integers = b.node("QuantizeLinear", weight, scale, zero, axis=0)
    real = b.node("DequantizeLinear", integers, scale, zero, axis=0)
    b.node("Conv", "x", real)
    b.node("Relu")
    images = np.random.default_rng(0).normal(size=(5, 3, 6, 6)).astype(np.float32)
    graph = read_float(b.save(tmp_path / "model.onnx"))
    np.testing.assert_allclose(outputs_of(graph, images), run(b.model(), images), atol=1e-4)
    steps = graph.layers[0].weights / np.array([0.01, 0.02, 0.03, 0.015]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


# --- refused --------------------------------------------------------------------------------------


def edited(tmp_path, change, form="QDQ"):
    path = quantised(plain_network(), tmp_path, form, TYPES["uint8, int8 per filter"])
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    with pytest.raises(ModelError) as caught:
        read_float(path)
    return str(caught.value)


def set_constant(graph, name, value):
    for initializer in graph.initializer:
        if initializer.name == name:
            initializer.CopyFrom(numpy_helper.from_array(value, name))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_scales_that_are_none_are_all_named(tmp_path, value):
    def change(graph):
        set_constant(graph, "x_scale", np.float32(value))
        set_constant(graph, "t0_scale", np.float32(value))
        set_constant(graph, "t1_scale", np.float32(value))

    message = edited(tmp_path, change)
    assert "'x_QuantizeLinear' (QuantizeLinear): its scale 'x_scale' is not a positive" in message
    assert "'t1_" in message and "problems:" in message


def test_dynamic_quantisation_is_refused(tmp_path):
    b = Builder(["N", 8])
    b.node("DynamicQuantizeLinear", output="q")
    b.nodes[-1].output.extend(["scale", "zero"])
    weight, zero = b.constant(np.ones((8, 4)), np.int8), b.constant(0, np.int8)
    b.node("MatMulInteger", "q", weight, "zero", zero)
    b.node("Cast", to=1)
    b.gemm(3, 4)
    with pytest.raises(ModelError) as caught:
        read_float(b.save(tmp_path / "model.onnx"))
    assert "(DynamicQuantizeLinear)" in str(caught.value)
    assert "(MatMulInteger)" in str(caught.value)


def test_blocks_of_scales_are_refused(tmp_path):
    def change(graph):
        for node in graph.node:
            if node.name == "c0_DequantizeLinear":
                node.attribute.append(helper.make_attribute("block_size", 3))

    assert "block_size = 3; supported: one scale" in edited(tmp_path, change)


def test_an_integer_input_is_refused(tmp_path):
    def change(graph):
        first = next(node for node in graph.node if list(node.input[:1]) == ["x"])
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
        graph.input[0].name = first.output[0]
        graph.node.remove(first)

    message = edited(tmp_path, change)
    assert "is neither a constant nor quantised by this model" in message


def test_a_floating_point_model_states_nothing():
    model = residual_network().model()
    before = model.SerializeToString()
    stated = dequantise(model, "model")
    assert not stated.ranges and not stated.weight_scales
    assert model.SerializeToString() == before
