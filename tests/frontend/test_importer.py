# SPDX-License-Identifier: Apache-2.0
"""Reading floating-point ONNX: what is folded computes the same, what is not supported is named."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.frontend.models import (
    Builder,
    assert_same_function,
    both_padded_network,
    fire_network,
    imported,
    outputs_of,
    residual_network,
    run,
    shortcut_network,
)
from unzipfpga.errors import ModelError
from unzipfpga.frontend import read_float
from unzipfpga.frontend.converted import float_model

# --- supported ------------------------------------------------------------------------------------


def test_batch_normalisation_folds(tmp_path):
    b = Builder(["N", 3, 9, 9])
    b.conv(6, 3, kernel=(3, 2), strides=[2, 1], pads=[1, 0, 0, 1])
    b.batch_norm(6)
    b.node("Relu")
    graph = assert_same_function(b, tmp_path, ["conv"])
    assert graph.layers[0].relu and graph.layers[0].pads == (1, 0, 0, 1)


def test_a_wrong_fold_is_caught(tmp_path):
    """Negative twin of the comparison: a slightly wrong bias does not pass it."""
    b = Builder(["N", 3, 9, 9])
    b.conv(6, 3)
    b.batch_norm(6)
    graph = imported(b, tmp_path)
    images = np.random.default_rng(0).normal(size=(5, 3, 9, 9)).astype(np.float32)
    wanted = run(b.model(), images)
    graph.layers[0].bias = graph.layers[0].bias + 1e-2
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(run(float_model(graph), images), wanted, rtol=1e-4, atol=1e-4)


def test_batch_normalisation_without_bias_and_behind_gemm(tmp_path):
    b = Builder(["N", 7])
    b.node("MatMul", "x", b.normal(7, 5))
    b.node("Add", b.normal(5), b.tensor)
    b.batch_norm(5)
    b.node("Relu")
    b.node("Gemm", b.tensor, b.normal(5, 4), b.normal(1, 4), alpha=0.5, beta=2.0)
    assert_same_function(b, tmp_path, ["gemm", "gemm"])


def test_residual_network(tmp_path):
    graph = assert_same_function(
        residual_network(),
        tmp_path,
        ["conv", "conv", "conv", "conv", "conv", "maxpool", "flatten", "gemm"],
    )
    assert [layer.residual is not None for layer in graph.layers[:5]] == [False] * 2 + [True] + [
        False,
        True,
    ]
    assert graph.layers[1].clip == 6.0
    order = [graph.input] + [layer.output for layer in graph.layers]
    for layer in graph.layers:
        for name in (layer.input, layer.residual):
            assert name is None or order.index(name) < order.index(layer.output)


def test_residuals_that_are_padded(tmp_path):
    kinds = ["conv"] * 2 + ["avgpool"] + ["conv"] * 3 + ["gemm"]
    graph = assert_same_function(shortcut_network(), tmp_path, kinds)
    added = [layer for layer in graph.layers if layer.residual is not None]
    shapes = [(graph.shapes[x.residual], graph.shapes[x.output]) for x in added]
    assert shapes == [((8, 6, 6), (16, 6, 6)), ((16, 5, 5), (16, 6, 6))]


def test_shortcut_wider_than_its_body_is_large(tmp_path):
    """Both operands of the addition are padded: the pool makes the channels that it lacks."""
    kinds = ["conv"] * 5 + ["flatten", "gemm"]
    graph = assert_same_function(both_padded_network(), tmp_path, kinds)
    (layer,) = (layer for layer in graph.layers if layer.residual is not None)
    assert layer.kernel == layer.stride == (2, 2)
    assert graph.shapes[layer.output] == (9, 5, 5) and graph.shapes[layer.residual] == (9, 4, 4)
    assert layer.weights.shape == (9, 6, 2, 2) and not layer.weights[6:].any()


def test_concatenations(tmp_path):
    fire = ["conv"] * 3 + ["concat"]
    kinds = ["conv", *fire, "maxpool", *fire, "conv", "conv", "concat", "conv", "concat", "conv"]
    graph = assert_same_function(fire_network(), tmp_path, [*kinds, "gemm"])
    joins = [layer for layer in graph.layers if layer.kind == "concat"]
    assert [graph.shapes[layer.output] for layer in joins] == [
        *((28, 10, 10), (28, 5, 5), (24, 3, 3), (68, 5, 5))
    ]
    assert joins[3].inputs == (joins[1].output, graph.layers[5].output, joins[1].input)


def test_concatenation_as_the_output(tmp_path):
    b = Builder(["N", 4])
    first = b.gemm(3, 4)
    b.node("Concat", first, axis=1)  # of one tensor: nothing
    b.node("Concat", "x", b.tensor, axis=1)
    b.node("Identity")
    graph = assert_same_function(b, tmp_path, ["gemm", "concat"])
    assert graph.layers[1].inputs == ("x", graph.layers[0].output)


def test_residual_whose_other_operand_comes_later(tmp_path):
    """The layer that takes the residual moves behind whatever makes the other operand."""
    b = Builder(["N", 4, 8, 8])
    body = b.conv(4, 4, pads=[1, 1, 1, 1])
    other = b.node("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    b.node("Add", other, body)
    assert_same_function(b, tmp_path, ["maxpool", "conv"])


def test_activation_behind_a_pool_moves_before_it(tmp_path):
    b = Builder(["N", 2, 8, 8])
    b.conv(4, 2)
    b.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    b.node("Relu")
    b.node("Flatten")
    b.gemm(3, 36)
    graph = assert_same_function(b, tmp_path, ["conv", "maxpool", "flatten", "gemm"])
    assert graph.layers[0].relu


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [7, 8])
def test_automatic_padding(tmp_path, auto_pad, size):
    b = Builder(["N", 2, size, size])
    b.conv(4, 2, kernel=(3, 4), strides=[2, 1], auto_pad=auto_pad)
    b.node("MaxPool", kernel_shape=[2, 3], strides=[1, 2], auto_pad=auto_pad)
    assert_same_function(b, tmp_path, ["conv", "maxpool"])


@pytest.mark.parametrize("size", [7, 8, 9, 10])
def test_pool_rounded_up(tmp_path, size):
    b = Builder(["N", 2, size, size])
    b.conv(4, 2, pads=[1, 1, 1, 1])
    b.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    assert_same_function(b, tmp_path, ["conv", "maxpool"])


def test_grouped_and_depthwise_layers(tmp_path):
    b = Builder(["N", 4, 9, 9])
    b.conv(6, 2, group=2)
    b.batch_norm(6)
    b.node("Relu")
    b.conv(12, 1, group=6, strides=[2, 2])
    graph = assert_same_function(b, tmp_path, ["conv", "conv"])
    assert [layer.groups for layer in graph.layers] == [2, 6]


def test_average_pools(tmp_path):
    b = Builder(["N", 4, 9, 8])
    pads = {"pads": [1, 0, 0, 1], "count_include_pad": 1}
    b.node("AveragePool", kernel_shape=[3, 2], strides=[2, 1], **pads)
    b.conv(6, 4)
    b.node("AveragePool", kernel_shape=[2, 2], ceil_mode=1)  # every window is whole
    b.node("Relu")
    b.node("GlobalAveragePool")
    graph = assert_same_function(b, tmp_path, ["avgpool", "conv", "avgpool", "gap"])
    assert graph.layers[2].relu and graph.layers[3].pooled_pixels == 5


def test_inception_v2_whose_average_pools_leave_padding_out():
    """Of the onnx package, without its trained weights."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    graph = read_float(light / "light_inception_v2.onnx")
    pools = [layer for layer in graph.layers if layer.kind == "avgpool"]
    assert len(pools) == 7 and all(pool.counts == (4, 6, 9) for pool in pools)
    images = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    assert outputs_of(graph, images).shape == (1, 1000)


@pytest.mark.parametrize("how", ["GlobalAveragePool", "AveragePool", "mean", "mean as attributes"])
@pytest.mark.parametrize("between", [(), ("Dropout",), ("Identity", "Dropout")])
def test_a_global_average_pool_is_part_of_the_layer_behind_it(tmp_path, how, between):
    b = Builder(["N", 4, 9, 8], opset=13 if "attributes" in how else 21)
    b.conv(6, 4)
    b.node("Relu")
    if how == "AveragePool":
        b.node("AveragePool", kernel_shape=[7, 6], strides=[3, 3])
    elif how == "mean":
        b.node("ReduceMean", b.tensor, b.constant([-1, 2], np.int64), keepdims=0)
    elif how == "mean as attributes":
        b.node("ReduceMean", axes=[2, 3], keepdims=1)
    else:
        b.node("GlobalAveragePool")
    if how != "mean":
        b.node("Flatten")
    for operator in between:
        b.node(operator)
    b.gemm(10, 6)
    graph = assert_same_function(b, tmp_path, ["conv", "gemm"])
    assert graph.layers[1].pooled_pixels == 42


def test_a_global_average_pool_that_stays(tmp_path):
    """With an activation of its own, with another user, or as the output."""
    b = Builder(["N", 4, 5, 5])
    b.conv(6, 4)
    b.node("GlobalAveragePool")
    b.node("Relu")
    b.node("Flatten")
    b.gemm(10, 6)
    assert_same_function(b, tmp_path, ["conv", "gap", "flatten", "gemm"])
    b = Builder(["N", 4, 5, 5])
    b.conv(6, 4)
    b.node("GlobalAveragePool")
    flat = b.node("Flatten")
    b.gemm(6, 6)
    b.node("Add", b.tensor, flat)
    assert_same_function(b, tmp_path, ["conv", "gap", "flatten", "gemm"])
    b = Builder(["N", 4, 5, 5])
    b.conv(6, 4)
    b.node("ReduceMean", b.tensor, b.constant([2, 3], np.int64), keepdims=0)
    assert_same_function(b, tmp_path, ["conv", "gap", "flatten"])


def test_what_exporters_write_around_layers(tmp_path):
    """Identity, Dropout, Constant nodes, transposed weights, x.view(x.size(0), -1), second ReLU."""
    b = Builder(["N", 2, 6, 6])
    weight = b.node("Identity", b.normal(4, 2, 3, 3))
    b.node("Conv", "x", weight, pads=[1, 1, 1, 1])
    b.node("Identity")
    b.node("Add", b.tensor, b.normal(4, 1, 1))
    b.node("Relu")
    b.node("Relu")
    images = b.node("Dropout")
    b.node("Shape", images)
    b.node("Gather", b.tensor, b.constant(0, np.int64), axis=0)
    batch = b.node("Unsqueeze", b.tensor, b.constant([0], np.int64))
    rest = b.node("Constant", "", value_ints=[-1])
    b.nodes[-1].ClearField("input")
    shape = b.node("Concat", batch, rest, axis=0)
    flat = b.node("Reshape", images, shape)
    weight = b.node("Transpose", b.normal(3, 144), perm=[1, 0])
    b.node("MatMul", flat, weight)
    b.node("Identity")
    graph = assert_same_function(b, tmp_path, ["conv", "flatten", "gemm"])
    assert graph.output == b.tensor


@pytest.mark.parametrize("shape", [[-1, 72], [0, -1], [1, 72]])
def test_reshape_that_flattens(tmp_path, shape):
    b = Builder([1 if shape[0] == 1 else "N", 2, 8, 8])
    b.conv(2, 2)
    b.node("Reshape", b.tensor, b.constant(shape, np.int64))
    b.gemm(3, 72)
    assert_same_function(b, tmp_path, ["conv", "flatten", "gemm"])


def test_clip_as_attributes_and_without_upper_bound(tmp_path):
    b = Builder(["N", 2, 6, 6], opset=9)
    b.conv(4, 2)
    b.node("Clip", min=0.0, max=0.75)
    b.conv(4, 4)
    b.node("Clip", min=0.0)
    graph = assert_same_function(b, tmp_path, ["conv", "conv"])
    assert [layer.clip for layer in graph.layers] == [0.75, None]


def test_duplicate_node_names_become_unique(tmp_path):
    b = Builder(["N", 2, 6, 6])
    b.conv(4, 2)
    b.conv(4, 4)
    b.nodes[0].name = b.nodes[1].name = "conv"
    assert [layer.name for layer in imported(b, tmp_path).layers] == ["conv", "conv_2"]


# --- refused --------------------------------------------------------------------------------------


def refusal(tmp_path, b):
    with pytest.raises(ModelError) as caught:
        imported(b, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "model.onnx") in message
    return message


def conv_with(**attributes):
    def build():
        b = Builder(["N", 4, 9, 9])
        group = attributes.get("group", 1)
        b.node("Conv", "x", b.normal(4, 4 // group, 3, 3), name="bad", **attributes)
        return b

    return build


def in_front_of_conv(operator, **attributes):
    def build():
        b = after_conv(operator, **attributes)()
        b.conv(4, 4)
        return b

    return build


def after_conv(operator, *constants, shape=("N", 4, 9, 9), dtype=np.float32, **attributes):
    def build():
        b = Builder(list(shape))
        b.conv(4, 4)
        inputs = [b.constant(c, dtype) for c in constants]
        b.node(operator, b.tensor, *inputs, name="bad", **attributes)
        return b

    return build


def wrong_groups():
    b = Builder(["N", 4, 9, 9])
    b.node("Conv", "x", b.normal(6, 2, 3, 3), group=3, name="bad")
    return b


def concat_of_columns():
    b = Builder(["N", 4, 9, 9])
    first = b.conv(4, 4)
    b.node("Concat", first, b.conv(4, 4, source="x"), axis=3, name="bad")
    return b


def add_of_other_shapes():
    b = Builder(["N", 4, 9, 9])
    small = b.conv(4, 4, kernel=9)
    large = b.conv(4, 4, source="x")
    b.node("Add", large, small, name="bad")
    return b


def computed_weight():
    b = Builder(["N", 4, 9, 9])
    kernel = b.conv(4, 4, kernel=7)
    b.node("Conv", "x", kernel, name="bad")
    return b


def not_finite():
    b = Builder(["N", 4, 9, 9])
    b.node("Conv", "x", b.constant(np.full((4, 4, 3, 3), np.nan)), name="bad")
    return b


def volume():
    b = Builder(["N", 4, 9, 9, 9])
    b.node("Conv", "x", b.normal(4, 4, 3, 3, 3), name="bad")
    return b


def line():
    b = Builder(["N", 4, 9])
    b.node("Conv", "x", b.normal(4, 4, 3), name="bad")
    return b


def unflattened():
    b = Builder(["N", 4, 1, 9])
    b.conv(4, 4, kernel=1)
    b.node("MatMul", b.tensor, b.normal(9, 4), name="bad")
    return b


def training_dropout():
    b = Builder(["N", 4, 9, 9])
    b.conv(4, 4)
    b.node("Dropout", b.tensor, b.constant(0.5), b.constant(True, bool), name="bad")
    return b


def reshape_that_mixes_images():
    b = Builder(["N", 4, 9, 9])
    b.conv(4, 4)
    b.node("Reshape", b.tensor, b.constant([-1, 98], np.int64), name="bad")
    return b


def own_domain():
    b = Builder(["N", 4, 9, 9])
    b.conv(4, 4)
    b.node("Relu", name="bad", domain="my.domain")
    return b


def padded(pads, *inputs, **attributes):
    """A Pad in front of an Add; `inputs` come behind the pads."""

    def make():
        b = Builder(["N", 4, 9, 9])
        first = b.conv(4, 4, pads=[1, 1, 1, 1])
        b.conv(4, 4)
        constants = [b.constant(value, type(value[0])) if value else "" for value in inputs]
        sizes = b.constant(pads, np.int64)
        other = b.node("Pad", b.tensor, sizes, *constants, name="bad", **attributes)
        b.node("Add", first, other)
        return b

    return make


# Each: the model, its operator, what the message says is wrong, and what it says is supported.
REFUSED = {
    "operator": (in_front_of_conv("Sigmoid"), "Sigmoid", "only at the end", "Add, AveragePool"),
    "softmax": (in_front_of_conv("Softmax"), "Softmax", "only at the end", "at the end LogSoftmax"),
    "leaky": (in_front_of_conv("LeakyRelu"), "LeakyRelu", "train with Relu", "Conv"),
    "domain": (own_domain, "Relu", "my.domain", "Conv"),
    "group": (wrong_groups, "Conv", "with group = 3", "a weight for 4 channels"),
    "average of padding": (
        after_conv("AveragePool", kernel_shape=[3, 3], pads=[3, 0, 0, 0]),
        "AveragePool",
        "pads = 3, 0, 0, 0, ceil_mode = 0: a window of nothing but padding",
        "windows that all reach the map",
    ),
    "average ceil_mode": (
        after_conv(
            "AveragePool",
            shape=("N", 4, 10, 10),
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[3, 3],
            ceil_mode=1,
        ),
        "AveragePool",
        "ceil_mode = 1: a window of nothing but padding",
        "windows that all reach the map",
    ),
    "mean axes": (
        after_conv("ReduceMean", [1, 2], dtype=np.int64),
        "ReduceMean",
        "axes = 1, 2",
        "axes = 2, 3",
    ),
    "concat of rows": (
        after_conv("Concat", np.zeros((1, 4, 7, 7)), axis=2),
        *("Concat", "input 'c2' is a constant", "a computed tensor"),
    ),
    "concat of columns": (concat_of_columns, "Concat", "axis = 3", "axis = 1"),
    "cut": (padded([0, 0, -1, 0, 0, 0, 3, 2]), "Pad", "pads = 0, 0, -1, 0, 0, 0, 3, 2", ">= 0"),
    "pad mode": (padded([0] * 6 + [2, 2], mode="edge"), "Pad", "mode = edge", "constant"),
    "pad value": (padded([0] * 6 + [2, 2], [1.0]), "Pad", "its value is 1.0", "zeros"),
    "dilations": (conv_with(dilations=[1, 2]), "Conv", "dilations = 1, 2", "1, 1"),
    "auto_pad": (conv_with(auto_pad="SOME"), "Conv", "auto_pad = SOME", "SAME_UPPER"),
    "attribute": (conv_with(wide=1), "Conv", "attribute wide", "kernel_shape"),
    "line": (line, "", "[N, 4, 9]", "[N, C, H, W]"),
    "volume": (volume, "", "[N, 4, 9, 9, 9]", "[N, C, H, W]"),
    "computed weight": (computed_weight, "Conv", "not a constant", "initializer"),
    "not finite": (not_finite, "Conv", "weight holds values that are not finite", "finite"),
    "unflattened": (unflattened, "MatMul", "[N, 4, 1, 9]", "flatten first"),
    "clip": (after_conv("Clip", -1.0, 1.0), "Clip", "min = -1.0, max = 1.0", "min = 0"),
    "pool indices": (
        after_conv("MaxPool", kernel_shape=[2, 2], storage_order=1),
        "MaxPool",
        "storage_order = 1",
        "storage_order = 0",
    ),
    "pool dilations": (
        after_conv("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]),
        "MaxPool",
        "dilations = 2, 2",
        "dilations = 1, 1",
    ),
    "flatten": (after_conv("Flatten", axis=2), "Flatten", "mixes images", "flattening"),
    "reshape": (reshape_that_mixes_images, "Reshape", "[N, 4, 7, 7]", "flattening to [N, 196]"),
    "add shapes": (add_of_other_shapes, "Add", "[N, 4, 7, 7] and [N, 4, 1, 1]", "equal shape"),
    "add map": (
        after_conv("Add", np.arange(49.0).reshape(7, 7)),
        "Add",
        "[7, 7] meets [N, 4, 7, 7]",
        "one constant per channel",
    ),
    "dropout": (training_dropout, "Dropout", "training_mode is true", "inference"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_node_operator_and_what_is_supported(tmp_path, case):
    build, operator, problem, supported = REFUSED[case]
    message = refusal(tmp_path, build())
    if operator:
        assert f"node 'bad' ({operator}): " in message
    head, tail = message.split("supported: ", 1)
    assert problem in head
    assert supported in tail


def test_a_node_without_name_is_named_by_its_place(tmp_path):
    b = in_front_of_conv("Sigmoid")()
    b.nodes[1].name = ""
    assert "node 'Sigmoid_1' (Sigmoid)" in refusal(tmp_path, b)


def test_open_size_is_refused(tmp_path):
    b = Builder(["N", 4, "height", 9])
    b.conv(4, 4)
    assert "[N, 4, height, 9]; supported: [N, C, H, W]" in refusal(tmp_path, b)


def test_integer_input_is_refused(tmp_path):
    path = Builder(["N", 4]).save(tmp_path / "model.onnx")
    b = Builder(["N", 4])
    b.gemm(3, 4)
    model = b.model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, path)
    with pytest.raises(ModelError):
        read_float(path)


def test_two_outputs_are_refused(tmp_path):
    b = Builder(["N", 4])
    first = b.gemm(3, 4)
    b.gemm(3, 3)
    model = b.model()
    model.graph.output.append(helper.make_tensor_value_info(first, TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "model.onnx")
    text = r"1 inputs and 2 outputs \(x, t1, t0\); supported: one input"
    with pytest.raises(ModelError, match=text):
        read_float(tmp_path / "model.onnx")


def wrong_channels():
    b = Builder(["N", 4, 9, 9])
    b.node("Conv", "x", b.normal(4, 5, 3, 3), name="bad")
    return b


def wrong_features():
    b = Builder(["N", 4])
    b.node("Gemm", "x", b.normal(5, 3), name="bad")
    return b


def wrong_bias():
    b = Builder(["N", 4, 9, 9])
    b.node("Conv", "x", b.normal(4, 4, 3, 3), b.normal(3), name="bad")
    return b


def wrong_norm():
    b = Builder(["N", 4, 9, 9])
    b.conv(4, 4)
    b.batch_norm(3)
    b.nodes[-1].name = "bad"
    return b


def negative_pads():
    return conv_with(pads=[-1, 0, 0, 0])()


@pytest.mark.parametrize(
    "build", [wrong_channels, wrong_features, wrong_bias, wrong_norm, negative_pads]
)
def test_sizes_that_do_not_fit_are_refused_by_name(tmp_path, build):
    b = build()
    message = refusal(tmp_path, b)
    assert "bad" in message and b.nodes[-1].op_type in message


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match=r"model\.onnx: no such file"):
        read_float(path)
    with pytest.raises(ModelError, match="not a file"):
        read_float(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="no graph"):
        read_float(path)
    path.write_bytes(b"This is text, not a model." * 10)
    with pytest.raises(ModelError, match="not an ONNX file, or a truncated one"):
        read_float(path)


def test_every_truncation_is_one_clear_error(tmp_path):
    data = residual_network().model().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(0, len(data) - 1, 97):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError) as caught:
            read_float(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_damaged_bytes_are_one_clear_error_or_a_model(tmp_path):
    """Single bytes of names, types and weights are changed: nothing but a ModelError comes."""
    data = residual_network().model().SerializeToString()
    path = tmp_path / "model.onnx"
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(len(data), size=3):
            damaged[place] = random.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            read_float(path)
        except ModelError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 10


def test_missing_external_weights(tmp_path):
    path = tmp_path / "model.onnx"
    model = residual_network().model()
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert read_float(path).layers
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        read_float(path)
