# SPDX-License-Identifier: Apache-2.0
"""What exporters and quantisers make of a network: opsets, layouts, padding, pools, host steps."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.frontend.models import (
    Builder,
    assert_same_function,
    imported,
    outputs_of,
    residual_network,
    run,
)
from unzipfpga.errors import ModelError
from unzipfpga.frontend import Options, convert, read_converted, read_float, write_converted
from unzipfpga.frontend.converted import float_model
from unzipfpga.frontend.host import check_host_steps, run_host
from unzipfpga.frontend.layout import as_stored
from unzipfpga.frontend.prepare import OPSET
from unzipfpga.frontend.reading.builder import GraphBuilder
from verif.refmodel import model as golden

NEWEST = onnx.defs.onnx_opset_version()
IMAGE = ["N", 4, 9, 9]


# --- opsets ---------------------------------------------------------------------------------------


def any_opset(opset):
    """A network of operators whose form has changed between opsets."""
    b = Builder(["N", 3, 12, 12], opset=opset)
    b.conv(8, 3)
    b.batch_norm(8)
    b.node("Clip", b.tensor, b.constant(0.0), b.constant(6.0))
    b.node("Pad", b.tensor, b.constant([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
    b.conv(8, 8)
    b.node("Relu")
    b.node("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0)
    b.node("MaxPool", kernel_shape=[2, 2])
    dropout = [] if opset < 12 else [b.constant(0.5)]
    b.node("Dropout", b.tensor, *dropout)
    if opset < 18:
        b.node("ReduceMean", axes=[2, 3], keepdims=1)
    else:
        b.node("ReduceMean", b.tensor, b.constant([2, 3], np.int64), keepdims=1)
    if opset < 13:
        b.node("Squeeze", axes=[2, 3])
    else:
        b.node("Squeeze", b.tensor, b.constant([2, 3], np.int64))
    b.gemm(10, 8)
    b.node("Softmax", axis=1)
    return b


def test_all_opsets_give_the_same_network(tmp_path):
    graph = assert_same_function(
        any_opset(OPSET), tmp_path, ["conv", "conv", "avgpool", "maxpool", "gemm"]
    )
    for opset in range(11, NEWEST + 1):
        other = imported(any_opset(opset), tmp_path)
        # Constants that operators of other opsets lack shift the numbers of tensors, no value.
        for layer, same in zip(graph.layers, other.layers, strict=True):
            for key in ("name", "kind", "kernel", "stride", "pads", "relu", "clip"):
                assert getattr(layer, key) == getattr(same, key), (opset, layer.name, key)
            for key in ("weights", "bias"):
                assert np.array_equal(getattr(layer, key), getattr(same, key)), (opset, layer.name)
        assert [s["op"] for s in other.host] == ["Softmax"]
        images = np.ones((2, 3, 12, 12), np.float32)
        np.testing.assert_array_equal(outputs_of(other, images), outputs_of(graph, images))


@pytest.mark.parametrize("opset", [3, NEWEST + 1])
def test_opsets_beyond_what_onnx_converts_are_refused(tmp_path, opset):
    model = any_opset(OPSET).model()
    model.opset_import[0].version = opset
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError) as caught:
        read_float(tmp_path / "model.onnx")
    assert str(opset) in str(caught.value) and "\n" not in str(caught.value)


def test_local_functions_are_inlined(tmp_path):
    b = Builder(IMAGE)
    b.conv(4, 4)
    b.node("Rectify", domain="my.functions")
    b.conv(4, 4)
    model = b.model()
    function = helper.make_function(
        "my.functions",
        "Rectify",
        ["a"],
        ["b"],
        [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", OPSET)],
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("my.functions", 1))
    onnx.save(model, tmp_path / "model.onnx")
    graph = read_float(tmp_path / "model.onnx")
    images = np.random.default_rng(0).normal(size=(3, *IMAGE[1:])).astype(np.float32)
    assert [layer.relu for layer in graph.layers] == [True, False]
    np.testing.assert_allclose(outputs_of(graph, images), run(model, images), rtol=1e-4, atol=1e-4)


# --- NHWC -----------------------------------------------------------------------------------------

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


class Nhwc(Builder):
    """Layers as exporters of NHWC networks write them: transposes around each, biases outside."""

    def inside(self, function, *arguments, **attributes):
        self.node("Transpose", perm=TO_NCHW)
        function(*arguments, **attributes)
        return self.node("Transpose", perm=TO_NHWC)

    def layer(self, c_out, c_in, kernel=3, relu=True, **attributes):
        weight = self.normal(c_out, c_in, kernel, kernel, scale=(2.0 / c_in) ** 0.5 / kernel)
        self.node("Transpose", perm=TO_NCHW)
        self.node("Conv", self.tensor, weight, **attributes)
        self.node("Transpose", perm=TO_NHWC)
        self.node("Add", self.tensor, self.normal(c_out, scale=0.2))
        return self.node("Relu") if relu else self.tensor

    def pool(self, operator, **attributes):
        return self.inside(self.node, operator, **attributes)


def nhwc(channels=3, **options):
    return Nhwc(["N", 10, 8, channels], **options)


def nhwc_chain():
    b = nhwc()
    b.layer(6, 3)
    b.node("Pad", b.tensor, b.constant([0, 1, 0, 0, 0, 0, 2, 0], np.int64))
    b.layer(8, 6, strides=[2, 1])
    b.pool("MaxPool", kernel_shape=[2, 2])
    b.node("ReduceMean", b.tensor, b.constant([1, 2], np.int64), keepdims=0)
    b.node("MatMul", b.tensor, b.normal(8, 5))
    b.node("Add", b.tensor, b.normal(5))
    b.node("Softmax")
    return b, ["conv", "conv", "maxpool", "gemm"]


def nhwc_flattened(how):
    b = nhwc()
    b.layer(6, 3)
    b.pool("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    if how == "Flatten":
        b.node("Flatten")
    else:
        b.node("Reshape", b.tensor, b.constant([-1, 4 * 3 * 6], np.int64))
    b.node("Relu")
    b.node("MatMul", b.tensor, b.normal(72, 5))
    b.node("Mul", b.tensor, b.normal(5))
    return b, ["conv", "avgpool", "flatten", "gemm"]


def nhwc_residual():
    b = nhwc()
    first = b.layer(6, 3, pads=[1, 1, 1, 1])
    b.layer(6, 6, pads=[1, 1, 1, 1], relu=False)
    b.node("Add", first, b.tensor)
    joined = b.node("Relu")
    b.node("Concat", joined, b.layer(4, 6, kernel=1), axis=3)
    b.node("ReduceMean", b.tensor, b.constant([2, 1], np.int64), keepdims=1)
    b.node("Squeeze", b.tensor, b.constant([1, 2], np.int64))
    b.node("MatMul", b.tensor, b.normal(10, 5))
    return b, ["conv", "conv", "conv", "concat", "gemm"]


def nhwc_pointwise():
    """A fully connected layer on every pixel; the output keeps its layout."""
    b = nhwc()
    b.layer(6, 3)
    b.node("MatMul", b.tensor, b.normal(6, 5))
    b.node("Add", b.tensor, b.normal(5))
    b.node("Sigmoid")
    return b, ["conv", "conv"]


def nhwc_normalised():
    """The image is normalised per channel in front of the first transpose."""
    b = nhwc()
    b.node("Sub", "x", b.normal(3))
    b.node("Div", b.tensor, b.constant([2.0, 0.5, 4.0]))
    b.layer(6, 3)
    b.layer(6, 6, relu=False)
    b.node("Flatten")
    return b, ["conv", "conv", "flatten"]


def nhwc_one_pixel():
    """Transposes of one pixel, written as reshapes, as tf2onnx does."""
    b = nhwc()
    b.layer(6, 3)
    b.node("Transpose", perm=TO_NCHW)
    b.node("GlobalAveragePool")
    b.node("Reshape", b.tensor, b.constant([-1, 1, 1, 6], np.int64))
    b.node("Reshape", b.tensor, b.constant([-1, 6], np.int64))
    b.node("MatMul", b.tensor, b.normal(6, 5))
    return b, ["conv", "gemm"]


def nhwc_of_products():
    """No transpose at all: fully connected layers on pixels tell what the channels are."""
    b = nhwc()
    b.node("MatMul", "x", b.normal(3, 6))
    b.node("Relu")
    b.node("ReduceMean", b.tensor, b.constant([1, 2], np.int64), keepdims=0)
    b.node("MatMul", b.tensor, b.normal(6, 5))
    return b, ["conv", "gemm"]


NHWC = {
    "products": nhwc_of_products,
    "chain": nhwc_chain,
    "flatten": lambda: nhwc_flattened("Flatten"),
    "reshape": lambda: nhwc_flattened("Reshape"),
    "residual": nhwc_residual,
    "pointwise": nhwc_pointwise,
    "normalised": nhwc_normalised,
    "one pixel": nhwc_one_pixel,
}


@pytest.mark.parametrize("case", NHWC)
def test_networks_in_nhwc(tmp_path, case):
    b, layers = NHWC[case]()
    graph = assert_same_function(b, tmp_path, layers)
    assert graph.preprocess["layout"] == "NHWC"
    assert graph.shapes[graph.input] == (3, 10, 8)


def test_a_wrong_order_of_flattened_pixels_is_caught(tmp_path, monkeypatch):
    """Negative twin: without the order of a flattened map the comparison fails."""
    monkeypatch.setattr(GraphBuilder, "order", lambda self, view: None)
    with pytest.raises(AssertionError):
        assert_same_function(nhwc_flattened("Flatten")[0], tmp_path)


def test_images_in_nhwc_are_calibrated_as_the_user_has_them(tmp_path):
    b, _ = nhwc_chain()
    source = b.save(tmp_path / "source.onnx")
    images = np.random.default_rng(0).normal(size=(40, 10, 8, 3)).astype(np.float32)
    network, _ = convert(source, lambda _graph: images, Options())
    write_converted(network, tmp_path / "converted.onnx")
    model = golden.load(tmp_path / "converted.onnx")
    found = model.run(as_stored(images, network.preprocess)) * model.output_scale
    found = run_host(network.host, found)
    wanted = run(b.model(), images)
    assert np.abs(found - wanted).max() < 0.1 and (found.argmax(1) == wanted.argmax(1)).mean() > 0.9


# --- the host's steps -----------------------------------------------------------------------------


def classes(*nodes):
    b = Builder(IMAGE)
    b.conv(6, 4)
    b.node("GlobalAveragePool")
    b.node("Flatten")
    for operator, attributes in nodes:
        b.node(operator, **attributes)
    return b


HOST = {
    "softmax": (lambda: classes(("Softmax", {"axis": 1})), ["Softmax"]),
    "log": (lambda: classes(("Identity", {}), ("LogSoftmax", {})), ["LogSoftmax"]),
    "two": (lambda: classes(("Sigmoid", {}), ("Softmax", {})), ["Sigmoid", "Softmax"]),
    "old softmax": (lambda: old_softmax(), ["Softmax", "Reshape"]),
    "transpose": (lambda: map_with_transpose([0, 2, 3, 1]), ["Transpose"]),
    "odd transpose": (lambda: map_with_transpose([0, 3, 1, 2]), ["Transpose"]),
}


def old_softmax():
    """Before opset 13 a softmax over axis 1 of a map was one over all that follows."""
    b = Builder(IMAGE, opset=11)
    b.conv(6, 4)
    b.node("Softmax", axis=1)
    return b


def map_with_transpose(perm):
    b = Builder(["N", 4, 9, 8])
    b.conv(6, 4)
    b.node("Transpose", perm=perm)
    return b


@pytest.mark.parametrize("case", HOST)
def test_steps_at_the_end_are_the_hosts(tmp_path, case):
    build, steps = HOST[case]
    b = build()
    graph = assert_same_function(b, tmp_path)
    assert [step["op"] for step in graph.host] == steps
    # The converted file says them, is plain ONNX, and gives them back.
    source = b.save(tmp_path / "source.onnx")
    images = np.random.default_rng(0).normal(size=(20, *b.shape[1:])).astype(np.float32)
    network, _ = convert(source, lambda _graph: images, Options(dw=16))
    write_converted(network, tmp_path / "converted.onnx")
    back = read_converted(tmp_path / "converted.onnx")
    assert back.host == network.host == tuple(graph.host)
    found = run_host(back.host, run(tmp_path / "converted.onnx", images))
    np.testing.assert_allclose(found, run(b.model(), images), atol=2e-3)


def test_flattened_output_in_another_order(tmp_path):
    b = map_with_transpose([0, 2, 3, 1])
    b.node("Relu")
    b.node("Flatten")
    b.node("Relu")
    graph = assert_same_function(b, tmp_path, ["conv", "flatten"])
    assert [step["op"] for step in graph.host] == ["Reshape", "Transpose", "Reshape"]


@pytest.mark.parametrize("steps", [{}, [1], [{"op": "Sin", "name": "a"}], [{"op": "Softmax"}]])
def test_host_steps_that_convert_did_not_write_are_refused(steps):
    with pytest.raises(ModelError, match=r"unzip\.host holds"):
        check_host_steps(steps, "file")


def test_softmax_elsewhere_is_refused(tmp_path):
    b = classes(("Softmax", {"axis": 1}))
    b.gemm(3, 6)
    with pytest.raises(ModelError, match="only at the end"):
        imported(b, tmp_path)


# --- constants per channel ------------------------------------------------------------------------


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_batch_normalisation_in_front_of_a_convolution(tmp_path, pads, groups):
    """It folds into the convolution unless its windows reach over the edge: there it reads 0."""
    b = Builder(IMAGE)
    b.batch_norm(4)
    b.conv(8, 4 // groups, group=groups, pads=pads)
    graph = assert_same_function(b, tmp_path, ["conv"] * (2 if any(pads) else 1))
    assert graph.layers[0].groups == (4 if any(pads) else groups)


def test_a_factor_in_front_of_a_padded_convolution(tmp_path):
    b = Builder(IMAGE)
    b.node("Mul", b.constant(1 / 64), "x")
    b.conv(8, 4, pads=[1, 1, 1, 1])
    images = np.random.default_rng(0).uniform(0, 255, (3, *IMAGE[1:])).astype(np.float32)
    assert_same_function(b, tmp_path, ["conv"], images)


def test_constants_behind_pools_activations_and_shared_results(tmp_path):
    b = Builder(IMAGE)
    b.conv(6, 4)
    shared = b.node("Relu")
    b.node("AveragePool", kernel_shape=[2, 2])
    b.batch_norm(6)
    b.node("Relu")
    b.conv(6, 6, kernel=2)
    pooled = b.node("MaxPool", kernel_shape=[2, 2])
    b.node("Sub", b.constant(np.arange(6).reshape(6, 1, 1)), pooled)
    first = b.conv(5, 6, kernel=3)
    b.node("Div", shared, b.constant([[[[2.0]]]]))
    b.conv(5, 6, kernel=6)
    b.node("Add", b.tensor, first)
    assert_same_function(b, tmp_path)


def test_constants_on_features(tmp_path):
    b = Builder(["N", 7])
    b.node("Mul", "x", b.normal(7))
    b.node("Add", b.tensor, b.normal(7))
    b.gemm(6, 7)
    first = b.node("Relu")
    b.batch_norm(6)
    b.node("Relu")
    second = b.gemm(6, 6)
    b.node("Relu")
    b.node("Add", b.tensor, first)
    b.node("Sub", b.tensor, b.normal(6))
    b.node("Concat", b.tensor, second, axis=1)
    graph = assert_same_function(b, tmp_path)
    assert all(layer.kind in ("gemm", "concat") for layer in graph.layers)
    assert graph.layers[0].inputs == ("x",) and graph.layers[0].weights.shape == (6, 7)


# --- activations and additions that nothing can take ----------------------------------------------


def test_activations_of_their_own(tmp_path):
    """On the input, on a concatenation, on a result that others read too."""
    b = Builder(IMAGE)
    b.node("Relu")
    shared = b.conv(4, 4, pads=[1, 1, 1, 1])
    b.node("Clip", b.tensor, b.constant(0.0), b.constant(1.0))
    joined = b.node("Concat", shared, b.tensor, axis=1)
    b.node("Relu")
    b.node("Relu")
    b.conv(4, 8)
    b.node("Relu")
    b.conv(4, 8, source=joined)
    b.node("Add", b.nodes[-2].output[0], b.tensor)
    graph = assert_same_function(b, tmp_path)
    own = [layer for layer in graph.layers if layer.kind == "conv" and layer.groups > 1]
    assert [(layer.relu, layer.clip) for layer in own] == [(True, None), (True, 1.0), (True, None)]


def test_additions_of_their_own(tmp_path):
    """Of pools, of results with activations, of a tensor to itself, of the input."""
    b = Builder(IMAGE)
    b.conv(4, 4)
    left = b.node("Relu")
    pool = b.node("MaxPool", kernel_shape=[2, 2])
    average = b.node("AveragePool", left, kernel_shape=[2, 2])
    b.node("Relu")
    b.node("Add", pool, b.tensor)
    b.node("Relu")
    b.node("Add", b.tensor, average)
    b.node("Add", b.tensor, b.tensor)
    assert_same_function(b, tmp_path)
    b = Builder(IMAGE)
    pool = b.node("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    b.node("Add", "x", pool)
    graph = assert_same_function(b, tmp_path, ["maxpool", "conv"])
    assert graph.layers[1].groups == 4 and graph.layers[1].residual == pool


def test_sums_are_additions(tmp_path):
    """Of one, two and three tensors, the last of them three times the same."""
    b = Builder(IMAGE)
    first = b.conv(4, 4)
    second = b.conv(4, 4, source="x")
    b.node("Sum", first, second)
    pair = b.node("Relu")
    third = b.conv(4, 4, source="x")
    b.node("Sum", pair, third, second)
    b.node("Sum", b.tensor)
    b.node("Sum", b.tensor, b.tensor, b.tensor)
    assert_same_function(b, tmp_path)


def test_an_addition_of_two_padded_tensors(tmp_path):
    """Neither is a layer's own result: one is padded by a layer, the other is its residual."""
    b = Builder(IMAGE)
    b.conv(4, 4)
    shared = b.node("Pad", b.tensor, b.constant([0, 0, 0, 0, 0, 0, 0, 1], np.int64))
    b.node("Relu")
    b.node("Add", b.tensor, shared)
    assert_same_function(b, tmp_path, ["conv", "conv", "conv", "conv"])


def test_layers_of_one_weight_per_channel_in_integers(tmp_path):
    """Additions and activations of their own lose next to nothing in 8 bits."""
    b = Builder(IMAGE)
    b.conv(6, 4)
    b.node("Relu")
    pool = b.node("MaxPool", kernel_shape=[2, 2])
    first = b.node("AveragePool", b.nodes[-2].output[0], kernel_shape=[2, 2])
    b.node("Relu")
    b.node("Add", pool, first)
    b.batch_norm(6)
    b.node("Relu")
    source = b.save(tmp_path / "source.onnx")
    images = np.random.default_rng(0).normal(size=(40, *IMAGE[1:])).astype(np.float32)
    network, _ = convert(source, lambda _graph: images, Options())
    write_converted(network, tmp_path / "converted.onnx")
    model = golden.load(tmp_path / "converted.onnx")
    found, wanted = model.run(images) * model.output_scale, run(b.model(), images)
    assert 10 * np.log10((wanted**2).sum() / ((found - wanted) ** 2).sum()) > 35
    file = run(tmp_path / "converted.onnx", images)
    assert np.abs(found - file).max() <= 1.01 * model.output_scale


# --- pools and padding ----------------------------------------------------------------------------

POOLS = [
    {"kernel_shape": [3, 3], "pads": [1, 0, 0, 2], "count_include_pad": 1},
    {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "strides": [2, 2], "count_include_pad": 1},
    {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [0, 0, 0, 0], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1},
    {"kernel_shape": [7, 7], "strides": [9, 9]},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "count_include_pad": 1},
    {"kernel_shape": [3, 3], "auto_pad": "VALID", "count_include_pad": 0},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2], "strides": [2, 2], "count_include_pad": 0},
    {"kernel_shape": [5, 3], "pads": [0, 2, 3, 1], "strides": [1, 2]},
    {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0], "strides": [2, 2], "ceil_mode": 1},
]


def divisors(size, kernel_shape, pads=(0, 0, 0, 0), strides=(1, 1), **attributes):
    """How many pixels each window of an average pool divides by, counted one by one."""
    counted, up = attributes.get("count_include_pad", 0), attributes.get("ceil_mode", 0)
    axes = []
    for axis in (0, 1):
        span = size + pads[axis] + pads[axis + 2] - kernel_shape[axis]
        windows = (-(-span // strides[axis]) if up else span // strides[axis]) + 1
        first = -pads[axis] if counted else 0
        last = size + pads[axis + 2] if counted else size
        starts = [w * strides[axis] - pads[axis] for w in range(windows)]
        starts = [start for start in starts if start < size]
        inside = [range(max(s, first), min(s + kernel_shape[axis], last)) for s in starts]
        axes.append([len(r) for r in inside])
    return sorted({y * x for y in axes[0] for x in axes[1]})


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_pools_are_exact(tmp_path, operator, size):
    """Against ONNX Runtime; windows may average different numbers of pixels."""
    several = 0
    for pool in POOLS:
        attributes = dict(pool)
        if operator == "MaxPool":
            attributes.pop("count_include_pad", None)
        b = Builder(["N", 3, size + 2, size + 2])
        b.conv(3, 3)
        b.node(operator, **attributes)
        graph = assert_same_function(b, tmp_path)
        if operator == "AveragePool" and "auto_pad" not in pool:
            counts = divisors(size, **pool)
            assert graph.layers[-1].counts == (tuple(counts) if len(counts) > 1 else ())
            several += len(counts) > 1
    assert operator == "MaxPool" or several == {7: 6, 8: 5, 9: 5}[size], several


@pytest.mark.parametrize("opset", [11, 18, 19, 21, 22])
def test_average_pools_that_count_padding_and_hang_over(tmp_path, opset):
    """What ceil_mode adds does not count, where padding does: a layer of its own pads."""
    b = Builder(["N", 3, 9, 9], opset=opset)
    b.node("Relu")
    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [3, 3]}
    b.node("AveragePool", **window, ceil_mode=1, count_include_pad=1)
    graph = imported(b, tmp_path)
    assert [layer.kind for layer in graph.layers] == ["conv", "conv", "avgpool"]
    assert graph.layers[2].counts == (4, 6, 9)
    images = np.random.default_rng(0).normal(size=(2, 3, 9, 9)).astype(np.float32)
    found = run(float_model(graph), images)
    padded = np.maximum(np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))), 0)
    assert found.shape[2:] == (4, 4)
    for y, x in np.ndindex(found.shape[2:]):
        mean = padded[:, :, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3].mean(axis=(2, 3))
        np.testing.assert_allclose(found[:, :, y, x], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [7, 10, 11, 18, 19, 22])
def test_average_pools_of_all_opsets(tmp_path, opset):
    b = Builder(["N", 3, 9, 8], opset=opset)
    b.conv(4, 3)
    b.node("AveragePool", kernel_shape=[3, 2], pads=[1, 1, 1, 0], strides=[2, 1])
    b.node("Relu")
    graph = assert_same_function(b, tmp_path, ["conv", "avgpool"])
    assert graph.layers[1].counts == (2, 3, 4, 6) and graph.layers[1].relu


def test_average_pool_of_a_network_in_nhwc(tmp_path):
    b = Builder(["N", 8, 9, 3])
    b.node("Transpose", perm=[0, 3, 1, 2])
    b.conv(4, 3)
    b.node("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1], strides=[2, 2])
    b.node("Transpose", perm=[0, 2, 3, 1])
    graph = assert_same_function(b, tmp_path, ["conv", "avgpool"])
    assert graph.layers[1].counts == (2, 4)


def test_average_pool_of_a_padded_map(tmp_path):
    """Zeros of a Pad count, those of the pool do not."""
    b = Builder(["N", 3, 8, 8])
    b.node("Relu")
    b.node("Pad", b.tensor, b.constant([0, 0, 1, 0, 0, 0, 0, 2], np.int64))
    b.node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph = assert_same_function(b, tmp_path, ["conv", "conv", "avgpool"])
    assert graph.layers[2].counts == (4, 6, 9)


@pytest.mark.parametrize("what", ["affine", "add", "relu6"])
def test_what_follows_an_average_pool_of_different_numbers(tmp_path, what):
    b = Builder(["N", 3, 8, 8])
    other = b.conv(4, 3, pads=[1, 1, 1, 1])
    b.node("AveragePool", "x" if what == "affine" else other, **POOLS[9])
    kinds = ["conv", "avgpool"]
    if what == "affine":
        b.batch_norm(3)
        kinds = ["avgpool", "conv"]
    elif what == "relu6":
        b.node("Clip", b.tensor, b.constant(0.0), b.constant(6.0))
    else:
        b.node("Add", b.tensor, other)
    graph = assert_same_function(b, tmp_path, kinds)
    assert [layer.counts for layer in graph.layers if layer.counts] == [(4, 6, 9)]


def test_zero_channels_behind_an_average_pool_of_different_numbers_are_refused(tmp_path):
    """It is no convolution that could have filters of zeros."""
    b = Builder(["N", 3, 8, 8])
    four = b.constant([0, 0, 0, 0, 0, 1, 0, 0], np.int64)
    other = b.node("Pad", b.conv(4, 3, pads=[1, 1, 1, 1]), four)
    b.node("Pad", b.node("AveragePool", "t0", **POOLS[9]), four)
    b.node("Add", b.tensor, other, name="bad")
    with pytest.raises(ModelError, match=r"'bad' \(Add\): its input is padded .* 0 \+ 1 channels"):
        imported(b, tmp_path)


def test_a_wrong_divisor_is_caught(tmp_path):
    """Negative twin: the comparison sees a pool that counts its padding."""
    b = Builder(["N", 3, 8, 8])
    b.node("AveragePool", **POOLS[9])
    graph = imported(b, tmp_path)
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    wanted = run(b.model(), images)
    np.testing.assert_allclose(run(float_model(graph), images), wanted, rtol=1e-4, atol=1e-5)
    graph.layers[0].counts = ()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(run(float_model(graph), images), wanted, rtol=1e-4, atol=1e-5)


def test_average_pool_whose_windows_all_lose_the_same(tmp_path):
    """One window of 2x2 pixels and padding around them: all divide by 4."""
    b = Builder(["N", 4, 4, 4])
    b.conv(4, 4)
    b.node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 0], strides=[3, 3])
    graph = assert_same_function(b, tmp_path, ["conv", "conv"])
    assert np.allclose(graph.layers[1].weights, 1 / 4) and graph.layers[1].groups == 4


def padded_by(pads, then, relu=True, value=0.0):
    b = Builder(IMAGE)
    b.conv(4, 4)
    if relu:
        b.node("Relu")
    top, left, bottom, right = pads
    sizes = b.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    b.node("Pad", b.tensor, sizes, b.constant(value))
    then(b)
    return b


PADDED = {
    "conv": (lambda b: b.conv(4, 4, pads=[0, 1, 0, 0]), True, 0.0, ["conv", "conv"]),
    "average": (
        lambda b: b.node("AveragePool", kernel_shape=[3, 3], strides=[2, 2]),
        *(False, 0.0, ["conv", "avgpool"]),
    ),
    "max of a ReLU": (
        lambda b: b.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2]),
        *(True, 0.0, ["conv", "maxpool"]),
    ),
    "max of signed values": (
        lambda b: b.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2]),
        *(False, 0.0, ["conv", "conv", "maxpool"]),
    ),
    "max with -inf": (
        lambda b: b.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2]),
        *(False, -np.inf, ["conv", "maxpool"]),
    ),
    "global": (lambda b: b.node("GlobalAveragePool"), False, 0.0, ["conv", "conv", "gap"]),
    "relu, conv": (
        lambda b: (b.node("Relu"), b.conv(4, 4)),
        *(False, 0.0, ["conv", "conv"]),
    ),
    "pad, conv": (
        lambda b: (
            b.node("Pad", b.tensor, b.constant([1, 0], np.int64), "", b.constant([2], np.int64)),
            b.conv(4, 4),
        ),
        *(True, 0.0, ["conv", "conv"]),
    ),
    "norm": (lambda b: b.batch_norm(4), False, 0.0, ["conv", "conv"]),
    "output": (lambda b: b.node("Identity"), False, 0.0, ["conv", "conv"]),
}


@pytest.mark.parametrize("case", PADDED)
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 2, 1, 0)])
def test_padding_in_front(tmp_path, case, pads):
    then, relu, value, layers = PADDED[case]
    assert_same_function(padded_by(pads, then, relu, value), tmp_path, layers)


def test_zeros_of_channels_on_both_sides(tmp_path):
    b = Builder(IMAGE)
    narrow = b.conv(3, 4)
    zeros = b.constant([0, 0, 0, 0, 0, 3, 0, 0], np.int64)
    first = b.node("Pad", narrow, zeros)
    b.conv(3, 4, source="x")
    b.node("Pad", b.tensor, zeros)
    b.node("Add", first, b.tensor)
    assert_same_function(b, tmp_path, ["conv", "conv"])


# --- what is refused ------------------------------------------------------------------------------


def test_all_problems_are_listed_at_once_and_nothing_that_follows_from_them(tmp_path):
    b = Builder(["N", 4, 20, 20])
    b.node("Conv", "x", b.normal(4, 4, 3, 3), name="dilated", dilations=[2, 2])
    b.node("Relu")
    b.node("Sigmoid", name="sigmoid")
    b.node("MaxPool", kernel_shape=[2, 2])
    b.conv(4, 4)
    b.node("AveragePool", kernel_shape=[3, 3], dilations=[2, 2], name="average")
    b.node("Relu")
    b.node("Clip", b.tensor, b.constant(-1.0), b.constant(1.0), name="clip")
    b.node("Flatten")
    b.node("Gemm", b.tensor, b.constant(np.full((4 * 9 * 9, 3), np.nan)), name="nan")
    with pytest.raises(ModelError) as caught:
        imported(b, tmp_path)
    head, *lines = str(caught.value).splitlines()
    assert head.endswith("model.onnx: 5 problems:")
    names = ["dilated", "sigmoid", "average", "clip", "nan"]
    assert [line.split("'")[1] for line in lines] == names
    assert all("; supported: " in line for line in lines)


def test_problems_behind_an_unknown_operator_are_found(tmp_path):
    b = Builder(IMAGE)
    b.node("Mystery", domain="my.domain", name="mystery")
    b.node("Conv", b.tensor, b.normal(4, 4, 3, 3), name="follows")
    b.node("Relu")
    b.node("Tan", name="tan")
    b.node("Sqrt", "x", name="root")
    b.node("Add", b.tensor, b.nodes[-2].output[0])
    model = b.model()
    model.opset_import.append(helper.make_opsetid("my.domain", 1))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError) as caught:
        read_float(tmp_path / "model.onnx")
    lines = str(caught.value).splitlines()[1:]
    assert [line.split("'")[1] for line in lines] == ["mystery", "tan", "root"]
    assert "of domain my.domain" in lines[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weight", "bias"])
def test_values_that_are_not_finite_are_named(tmp_path, value, where):
    b = Builder(IMAGE)
    b.conv(4, 4)
    weight, bias = np.ones((4, 4, 3, 3)), np.ones(4)
    (weight if where == "weight" else bias).flat[2] = value
    b.node("Conv", b.tensor, b.constant(weight), b.constant(bias), name="bad")
    with pytest.raises(ModelError) as caught:
        imported(b, tmp_path)
    name = b.nodes[-1].input[1 if where == "weight" else 2]
    size = 144 if where == "weight" else 4
    assert (
        f"node 'bad' (Conv): its {where} holds values that are not finite: 1 of {size} in"
        in str(caught.value)
    )
    assert f"'{name}'" in str(caught.value)


def test_several_wrong_shapes_are_all_named(tmp_path):
    b = Builder(IMAGE)
    b.node("Conv", "x", b.normal(4, 5, 3, 3), name="first")
    left = b.tensor
    b.node("Conv", "x", b.normal(4, 6, 3, 3), name="second")
    b.node("Add", left, b.tensor)
    with pytest.raises(ModelError) as caught:
        imported(b, tmp_path)
    assert "'first'" in str(caught.value) and "'second'" in str(caught.value)


def test_every_pair_of_constructs(tmp_path):
    """Two of these behind each other, in any order, always compute the same as the source."""
    parts = {
        "pad": lambda b: b.node("Pad", b.tensor, b.constant([0, 0, 1, 0, 0, 0, 0, 1], np.int64)),
        "norm": lambda b: b.batch_norm(4),
        "relu": lambda b: b.node("Relu"),
        "self": lambda b: b.node("Add", b.tensor, b.tensor),
        "conv": lambda b: b.conv(4, 4, kernel=2),
        "max": lambda b: b.node("MaxPool", kernel_shape=[2, 2]),
        "mean": lambda b: b.node("AveragePool", kernel_shape=[2, 2]),
        "turn": lambda b: b.node("Transpose", perm=[0, 1, 3, 2]),
    }
    for first, second in itertools.product(parts.values(), repeat=2):
        b = Builder(["N", 4, 7, 6])
        b.conv(4, 4, kernel=2)
        first(b)
        second(b)
        b.node("Relu")
        try:
            assert_same_function(b, tmp_path)
        except ModelError as error:
            assert "is transposed" in str(error)


def test_a_residual_network_still_has_the_names_of_its_source(tmp_path):
    graph = imported(residual_network(), tmp_path)
    names = {node.name for node in residual_network().nodes}
    assert {layer.name for layer in graph.layers} <= names
    assert onnx.checker.check_model(float_model(graph)) is None
