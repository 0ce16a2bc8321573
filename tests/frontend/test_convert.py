# SPDX-License-Identifier: Apache-2.0
"""Quantisation and the converted file, against exact arithmetic, golden model, ONNX Runtime."""

import dataclasses
import itertools
import json
from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.frontend.models import (
    Builder,
    averaging_network,
    fire_network,
    residual_network,
    run,
    separable_network,
    shortcut_network,
    squeeze_network,
)
from unzipfpga.errors import DataError, ModelError, RangeError
from unzipfpga.frontend import Options, convert, read_converted, read_float, write_converted
from unzipfpga.frontend.calibrate import calibrate, check_images
from unzipfpga.frontend.converted import float_model
from unzipfpga.frontend.network import prove_accumulator
from unzipfpga.frontend.quantise import Codes, choose_shift, plan_codes
from unzipfpga.ovsf import generate_kernel, snr_db
from verif.refmodel import model as golden
from verif.refmodel.codes import channel_weights

SETTINGS = settings(derandomize=True, deadline=None, max_examples=100)


def images(shape, count=64, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def converted(builder, tmp_path, **options):
    """Convert a model and write it; return (source, converted file, network, fits)."""
    source = builder.save(tmp_path / "source.onnx")
    sample = images(builder.shape[1:])
    network, fits = convert(source, lambda _graph: sample, Options(**options))
    path = tmp_path / "converted.onnx"
    write_converted(network, path)
    return source, path, network, fits


def same(first, second):
    """Whether two values are equal: dataclasses field by field, arrays with shape and type."""
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return (
            type(first) is type(second)
            and first.dtype == second.dtype
            and np.array_equal(first, second)
        )
    if dataclasses.is_dataclass(first):
        names = [field.name for field in dataclasses.fields(first)]
        return type(first) is type(second) and all(
            same(getattr(first, name), getattr(second, name)) for name in names
        )
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return first == second


# Of 3 and 8 channels (no whole block), of 1x1 kernel, and behind a flatten.
CHANNEL = {
    "conv_0": Codes(2, "channel"),
    "conv_3": Codes(8, "channel"),
    "conv_8": Codes(5, "channel"),
    "gemm_14": Codes(12, "channel"),
}
OPTIONS = {
    "dense": {},
    "n 4": {"n": 4},
    "n 6 everywhere": {"n": 6, "dense_first": False},
    "sequential": {"n": 5, "code_method": "sequential"},
    "nine kept": {"n": 9, "keep_codes": True},
    "percentile": {"calibration_method": "percentile"},
    "entropy": {"n": 7, "calibration_method": "entropy"},
    "16 bits": {"dw": 16},
    "16 bits, n 4": {"dw": 16, "n": 4, "dense_first": False},
    "channel axis": {"per_layer": CHANNEL | {"conv_9": 6}},
    "channel axis, few codes": {"per_layer": {"conv_9": 2, "gemm_14": 3}, "axis": "channel"},
    "channel axis, 16 bits": {"per_layer": CHANNEL, "dw": 16},
}


# --- the whole conversion -------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_file_gives_the_network_back(tmp_path, options):
    _, path, network, _ = converted(residual_network(), tmp_path, **options)
    back = read_converted(path)
    assert same(network, back)
    for layer in network.layers:
        if layer.axis == "channel":
            size = (3, 3) if layer.kind == "gemm" else layer.kernel
            channels = layer.weights[0].size // (size[0] * size[1])
            assert layer.alphas.shape[1:3] == (-(-channels // 16), size[0] * size[1])
            generated = channel_weights(layer.alphas, layer.codes, channels, size)
            assert np.array_equal(generated.reshape(layer.weights.shape), layer.weights)
        elif layer.codes:
            generated = generate_kernel(layer.alphas, layer.codes, layer.kernel[0])
            assert np.array_equal(generated, layer.weights)
    # Negative twin of `same`: one weight off by one is seen.
    changed = back.layers[0].weights.copy()
    changed[0, 0, 0, 0] -= np.sign(changed[0, 0, 0, 0]) or 1
    layers = (dataclasses.replace(back.layers[0], weights=changed), *back.layers[1:])
    assert not same(network, dataclasses.replace(back, layers=layers))


@pytest.mark.parametrize("make", [separable_network, squeeze_network])
def test_file_gives_pools_and_groups_back(tmp_path, make):
    _, path, network, _ = converted(make(), tmp_path, n=4)
    assert same(network, read_converted(path))
    pools = [layer for layer in network.layers if layer.kind in ("avgpool", "gap")]
    assert pools and all((layer.weights == 1).all() for layer in pools)
    assert not any(layer.bias.any() for layer in pools)
    if make is separable_network:
        # Depthwise layers hold few weights and stay dense; the pool is part of the last layer.
        assert [layer.groups for layer in network.layers] == [1, 8, 2, 12, 1, 1]
        assert [len(layer.codes) for layer in network.layers] == [0, 0, 4, 0, 0, 0]
        last = network.layers[-1]
        assert last.pooled_pixels == 36
        bound = np.abs(last.weights.astype(int)).sum(axis=1) * 127 * 36 + np.abs(last.bias)
        assert last.acc_bound == bound.max()


def test_file_gives_padded_residuals_back(tmp_path):
    _, path, network, _ = converted(shortcut_network(), tmp_path, n=4)
    assert same(network, read_converted(path))
    model = onnx.load(path)
    assert sum(node.op_type == "Pad" for node in model.graph.node) == 2
    # Negative twin: as many zeros, but in front.
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Pad")
    pads = next(initializer for initializer in model.graph.initializer if initializer.name == name)
    front = np.array([0, 8, 0, 0, 0, 0, 0, 0], np.int64)
    pads.CopyFrom(numpy_helper.from_array(front, name))
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"\(Pad\): it has other zeros than those behind"):
        read_converted(path)
    with pytest.raises(golden.ModelError, match="zeros are supported behind the last place"):
        golden.load(path)


@pytest.mark.parametrize("options", [{}, {"n": 4, "axis": "auto"}, {"dw": 16}])
def test_file_gives_concatenations_back(tmp_path, options):
    _, path, network, _ = converted(fire_network(), tmp_path, **options)
    assert same(network, read_converted(path))
    joins = [layer for layer in network.layers if layer.kind == "concat"]
    scales = {name: tensor.scale for name, tensor in network.tensors.items()}
    for join in joins:
        assert {scales[name] for name in (*join.inputs, join.output)} == {scales[join.output]}
    # Through nesting and a part of both, a pool in front, and no further than that.
    assert len({scales[join.output] for join in joins}) == 2
    # Negative twin: a part of another scale.
    model = onnx.load(path)
    name = f"{joins[0].input}.scale"
    scale = next(one for one in model.graph.initializer if one.name == name)
    scale.CopyFrom(numpy_helper.from_array(np.float32(1.0), name))
    onnx.save(model, path)
    with pytest.raises(
        ModelError, match=r"\(Concat\): it does not join channels of tensors of one"
    ):
        read_converted(path)


def test_a_concatenated_image(tmp_path):
    """Its scale is that of what it is joined with, whose range is larger."""
    b = Builder(["N", 3, 12, 12])
    b.conv(8, 3, pads=[1, 1, 1, 1])
    b.node("Concat", "x", b.tensor, axis=1)
    b.conv(8, 11)
    _, path, network, _ = converted(b, tmp_path)
    assert len({network.tensors[name].scale for name in ("x", network.layers[1].output)}) == 1
    assert same(network, read_converted(path))


@pytest.mark.parametrize("dw", [8, 16])
def test_file_gives_average_pools_of_different_windows_back(tmp_path, dw):
    _, path, network, _ = converted(averaging_network(), tmp_path, n=4, dw=dw)
    back = read_converted(path)
    assert same(network, back)
    write_converted(back, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    pools = [layer for layer in network.layers if layer.counts]
    assert [pool.counts for pool in pools] == [
        *((4, 6, 9), (4, 6, 9)),
        *((3, 4, 5, 6, 8, 10), (4, 6, 9)),
    ]
    assert sum(pool.residual is not None for pool in pools) == 1
    for pool in pools:
        assert pool.m.shape == (len(pool.counts), network.tensors[pool.output].shape[0])
        scales = [network.tensors[name].scale for name in (pool.input, pool.output)]
        for m, count in zip(pool.m, pool.counts, strict=True):
            exact = Fraction(scales[0]) / Fraction(scales[1]) / count * 2**pool.s
            assert all(abs(int(value) - exact) <= Fraction(501, 1000) for value in m)
        assert pool.m.max() > 2**14 or pool.residual
        # Negative twin: the numbers of pixels are compared.
        changed = dataclasses.replace(pool, counts=(1, *pool.counts[1:]))
        assert not same(pool, changed)


CONCATENATED = [separable_network, squeeze_network, shortcut_network, fire_network]
CONCATENATED += [averaging_network]


@pytest.mark.parametrize("make", CONCATENATED)
@pytest.mark.parametrize("optimised", [False, True], ids=["plain", "optimised"])
def test_onnx_runtime_agrees_about_pools_and_groups(tmp_path, make, optimised):
    source, path, network, _ = converted(make(), tmp_path)
    options, level = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    sample = images((3, 12, 12), 200, seed=5)
    scale = np.float32(network.tensors[network.output].scale)
    integers = np.rint(session.run(None, {"x": sample})[0] / scale)
    found = golden.load(path).run(sample)
    difference = np.abs(integers - found)
    assert difference.max() <= 3
    assert (difference == 0).mean() > 0.7
    wanted = run(source, sample)
    assert snr_db(wanted, found * scale) > 20
    assert snr_db(wanted, (found + 10) * scale) < 20


def test_the_same_input_gives_the_same_bytes(tmp_path):
    _, path, _, _ = converted(residual_network(), tmp_path, n=4)
    first = path.read_bytes()
    _, path, _, _ = converted(residual_network(), tmp_path, n=4)
    assert path.read_bytes() == first


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("optimised", [False, True], ids=["plain", "optimised"])
def test_onnx_runtime_agrees_with_the_golden_model(tmp_path, options, optimised):
    """Any runtime may execute the file; a rounding may fall the other way, no more.

    Layer by layer on the golden model's own activations a result differs by 1 at most; over the
    whole network such differences add up a little.
    """
    _, path, network, _ = converted(residual_network(), tmp_path, **options)
    session_options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    session_options.graph_optimization_level = (
        level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(str(path), session_options)
    sample = images((3, 12, 12), 200, seed=5)
    real = session.run(None, {"x": sample})[0]
    integers = np.rint(real / np.float32(network.tensors[network.output].scale))
    difference = np.abs(integers - golden.load(path).run(sample))
    # One step in an early layer moves a logit by a step or two; most logits agree exactly. Steps
    # of 16 bits are finer than m is exact.
    assert difference.max() <= (3 if network.dw == 8 else 20)
    assert (difference == 0).mean() > (0.7 if network.dw == 8 else 0.1)


def test_integer_network_is_close_to_the_floating_point_one(tmp_path):
    source, path, network, _ = converted(residual_network(), tmp_path)
    sample = images((3, 12, 12), 300, seed=9)
    wanted = run(source, sample)
    integers = golden.load(path).run(sample)
    assert snr_db(wanted, integers * network.tensors[network.output].scale) > 20
    assert (integers.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.9
    # Negative twin: a bias that is off shows.
    wrong = integers + np.eye(10, dtype=np.int64)[3] * 40
    assert snr_db(wanted, wrong * network.tensors[network.output].scale) < 15


def test_filters_of_very_different_size(tmp_path):
    """Dead, tiny and huge filters, biases that dwarf the weights: provable and still precise."""
    b = Builder(["N", 4, 6, 6])
    weight = b.random.normal(size=(6, 4, 3, 3)).astype(np.float32)
    weight *= np.array([1, 0, 1e-6, 1e-3, 1, 30])[:, None, None, None]
    bias = np.array([0, 1, 5, 50, 0, -3])
    b.node("Conv", "x", b.constant(weight), b.constant(bias), pads=[1, 1, 1, 1])
    b.node("Relu")
    source, path, network, _ = converted(b, tmp_path)
    layer = network.layers[0]
    assert layer.m.min() >= 128
    assert layer.weight_scale.min() > 0
    sample = images((4, 6, 6), 50, seed=3)
    scale = network.tensors[network.output].scale
    model = golden.load(path)
    found = model.layer_outputs(model.quantize(sample))[layer.name] * scale
    wanted = run(source, sample)
    top = 127 * scale
    # Half a step of rounding, plus m's and the weights' own error.
    assert np.abs(found - np.clip(wanted, 0, top)).max() < 2.5 * scale


def test_zero_layer(tmp_path):
    b = Builder(["N", 4, 6, 6])
    b.node("Conv", "x", b.constant(np.zeros((4, 4, 3, 3))))
    b.node("Flatten")
    b.gemm(3, 64)
    _, path, _, _ = converted(b, tmp_path, n=4, dense_first=False)
    assert not read_converted(path).layers[0].weights.any()


def test_relu6_bound(tmp_path):
    _, _, network, _ = converted(residual_network(), tmp_path)
    layer = network.layers[1]
    scale = network.tensors[layer.output].scale
    assert layer.clip == 6.0 and layer.lo == 0
    assert layer.hi == min(127, round(6.0 / scale))


def test_multi_layer_perceptron(tmp_path):
    b = Builder(["N", 20])
    b.gemm(16, 20)
    b.node("Relu")
    b.gemm(4, 16)
    _, path, network, _ = converted(b, tmp_path)
    assert [layer.kind for layer in network.layers] == ["gemm", "gemm"]
    assert golden.load(path).run(images((20,), 3)).shape == (3, 4)


# --- multipliers and shifts -----------------------------------------------------------------------


@SETTINGS
@given(
    ratios=st.lists(st.floats(1e-9, 30000), min_size=1, max_size=5),
    residual=st.none() | st.floats(1e-6, 1000),
)
def test_choose_shift(ratios, residual):
    """s is the largest at which all m fit, and m, m_r are the nearest integers."""
    try:
        m, s, m_r, t = choose_shift("layer", np.array(ratios), residual)
    except RangeError:
        # Only a residual far smaller or larger than the rest has no common shift.
        assert residual is not None
        return
    assert 0 <= s <= 47 and 0 <= t <= 31
    for value, ratio in zip(m, ratios, strict=True):
        assert abs(Fraction(int(value)) - Fraction(ratio) * 2**s) <= Fraction(1, 2)
        assert value <= 32767
    if residual is None:
        assert (m_r, t) == (0, 0)
        assert s == 47 or max(round(ratio * 2.0 ** (s + 1)) for ratio in ratios) > 32767
    else:
        assert abs(Fraction(m_r) - Fraction(residual) * 2**s / 2**t) <= Fraction(1, 2)
        assert m_r <= 32767
        assert t == 0 or round(residual * 2.0 ** (s - t + 1)) > 32767


def test_scales_too_far_apart_are_an_error_that_names_the_layer():
    with pytest.raises(RangeError, match=r"layer conv7: .*factor 4e\+04.*32767"):
        choose_shift("conv7", np.array([4e4]))


def test_accumulator_bound_is_reached_and_overflow_named():
    """The bound is what the worst input really causes; one more is an error with its numbers."""
    weights = np.array([[127, -127, 3], [1, 0, -5]])
    bias = np.array([-7, 4])
    inputs = np.array(list(itertools.product((-127, 0, 127), repeat=3)))
    worst = int(np.abs(inputs @ weights.T + bias).max())
    assert prove_accumulator("fc", weights, bias) == worst == 257 * 127 + 7
    limit = 2**31 - 1
    fits = np.array([limit - 257 * 127, 0])
    assert prove_accumulator("fc", weights, fits) == limit
    with pytest.raises(RangeError, match=r"layer fc: .*filter 0 can reach 2147483648.*2147483647"):
        prove_accumulator("fc", weights, fits + 1)


def test_a_layer_that_cannot_be_proven_is_refused(tmp_path):
    """150,000 full-size weights overflow 32 bits: refused by name, nothing written."""
    b = Builder(["N", 150_000])
    signs = b.random.choice([-1.0, 1.0], size=(1, 150_000))
    b.node("Gemm", "x", b.constant(signs), transB=1, name="wide")
    with pytest.raises(RangeError, match=r"layer wide: .*beyond the 32-bit bound 2147483647"):
        converted(b, tmp_path)
    assert not (tmp_path / "converted.onnx").exists()


# --- options --------------------------------------------------------------------------------------


def test_plan_of_codes(tmp_path):
    graph = read_float(residual_network().save(tmp_path / "m.onnx"))
    names = [layer.name for layer in graph.layers if layer.weighted]
    threes = [x.name for x in graph.layers if x.kind == "conv" and x.kernel == (3, 3)]
    assert plan_codes(graph, None, {}, True) == {}
    assert plan_codes(graph, 4, {}, False) == dict.fromkeys(threes, Codes(4))
    assert plan_codes(graph, 4, {}, True) == dict.fromkeys(threes[1:], Codes(4))
    assert plan_codes(graph, 9, {}, False) == {}
    assert plan_codes(graph, 9, {}, False, keep_codes=True) == dict.fromkeys(threes, Codes(9))
    assert plan_codes(graph, 4, {threes[0]: 2, threes[1]: 9}, True) == {
        threes[0]: Codes(2)
    } | dict.fromkeys(threes[2:], Codes(4))
    with pytest.raises(ModelError, match="no layer 'nothing'; layers: " + names[0]):
        plan_codes(graph, None, {"nothing": 4}, True)
    gemm = names[-1]
    with pytest.raises(ModelError, match=rf"layer '{gemm}' \(gemm.*square convolutions 2x2 to 7x7"):
        plan_codes(graph, None, {gemm: 4}, True)
    with pytest.raises(ModelError, match="n is 1 to 9 kernel-axis codes, not 10"):
        plan_codes(graph, None, {threes[0]: 10}, True)
    with pytest.raises(ModelError, match=r"n is 1 to 9 codes .*not 0"):
        plan_codes(graph, 0, {}, True)
    graph = read_float(separable_network().save(tmp_path / "groups.onnx"))
    grouped = [x.name for x in graph.layers if x.groups > 1 and x.multiplies]
    assert plan_codes(graph, 4, {}, True) == {grouped[1]: Codes(4)}  # not the depthwise one
    with pytest.raises(ModelError, match=rf"'{grouped[1]}' \(2 groups\) cannot use channel-axis"):
        plan_codes(graph, None, {grouped[1]: Codes(2, "channel")}, True)


def wide_network():
    b = Builder(["N", 20, 8, 8])
    b.conv(16, 20, kernel=1)
    b.conv(33, 16, kernel=1)
    b.conv(8, 33, kernel=3)
    b.conv(8, 8, kernel=1)
    return b


def test_plan_of_axes(tmp_path):
    graph = read_float(wide_network().save(tmp_path / "m.onnx"))
    first, second, third, fourth = (layer.name for layer in graph.layers)

    def planned(n, per_layer=None, axis="channel", dense_first=True, keep_codes=False):
        return plan_codes(graph, n, per_layer or {}, dense_first, keep_codes, axis)

    # Convolutions of at least 16 channels, whatever their kernel.
    assert planned(5) == {second: Codes(5, "channel"), third: Codes(5, "channel")}
    assert first in planned(5, dense_first=False)
    assert planned(16) == {}
    assert len(planned(16, keep_codes=True)) == 2
    # Both axes with about the same rho.
    auto = {second: Codes(7, "channel"), third: Codes(4)}
    assert planned(4, axis="auto") == auto
    assert planned(9, axis="auto") == {}
    # What a single layer is given counts; an axis that is not, follows.
    assert planned(None, {fourth: 3, third: 2}) == {
        fourth: Codes(3, "channel"),
        third: Codes(2, "channel"),
    }
    assert planned(None, {third: 2, second: 2}, "auto") == {
        third: Codes(2),
        second: Codes(2, "channel"),
    }
    assert planned(None, {third: Codes(2)}) == {third: Codes(2)}
    for n, per_layer, axis, message in [
        (17, {}, "channel", "n is 1 to 16 channel-axis codes, not 17"),
        (10, {}, "auto", "n is 1 to 9 codes for 3x3"),
        (4, {}, "both", "kernel, channel, auto, not 'both'"),
        (None, {fourth: 9}, "channel", "n is 1 to 8 channel-axis codes, not 9"),
        (None, {second: Codes(1)}, "channel", "cannot use kernel-axis codes"),
    ]:
        with pytest.raises(ModelError, match=message):
            planned(n, per_layer, axis)


def test_more_codes_than_a_flattened_map_has_channels(tmp_path):
    b = Builder(["N", 3, 4, 4])
    b.node("Flatten")
    b.gemm(5, 48)
    with pytest.raises(ModelError, match="n is 1 to 3 channel-axis codes for 3 channels, not 4"):
        converted(b, tmp_path, per_layer={"gemm_1": Codes(4, "channel")})
    converted(b, tmp_path, per_layer={"gemm_1": Codes(2, "channel")})


def test_codes_for_a_5x5_layer(tmp_path):
    b = Builder(["N", 4, 8, 8])
    b.conv(4, 4, kernel=5)
    b.conv(3, 4, kernel=4)
    _, path, _, _ = converted(b, tmp_path, per_layer={"conv_0": 12})
    layer = read_converted(path).layers[0]
    assert (layer.axis, len(layer.codes), layer.rho) == ("kernel", 12, 12 / 25)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_calibration_sees_every_tensor_and_every_image(tmp_path, method):
    graph = read_float(residual_network().save(tmp_path / "m.onnx"))
    sample = images((3, 12, 12), 130)
    sample[-1] *= 3
    done = []
    ranges = calibrate(graph, float_model(graph), sample, method, done.append)
    assert sum(done) == 130
    assert set(ranges) == {"x", *(layer.output for layer in graph.layers)}
    assert all(value > 0 for value in ranges.values())
    largest = float(np.abs(sample).max())
    if method == "minmax":
        assert ranges["x"] == pytest.approx(largest)
    else:
        assert ranges["x"] <= largest * 1.01


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 1, 12, 12)), r"\[4, 1, 12, 12\].*\[N, 3, 12, 12\]"),
        (np.zeros((0, 3, 12, 12)), r"\[0, 3, 12, 12\].*N >= 1"),
        (np.zeros((3, 12, 12)), r"\[3, 12, 12\].*\[N, 3, 12, 12\]"),
        (np.full((2, 3, 12, 12), np.nan), "not finite"),
        (np.zeros((2, 3, 12, 12), dtype="U1"), "not finite numbers"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, bad, message):
    graph = read_float(residual_network().save(tmp_path / "m.onnx"))
    with pytest.raises(DataError, match=message):
        check_images(graph, bad, "calibration")


# --- reading back: what is not as convert writes it -----------------------------------------------


def edit_layer(model, index, **changes):
    nodes = [n for n in model.graph.node if n.metadata_props]
    prop = nodes[index].metadata_props[0]
    data = json.loads(prop.value) | changes
    prop.value = json.dumps({key: value for key, value in data.items() if value is not None})


def edit_constant(model, suffix, change):
    for i in model.graph.initializer:
        if i.name.endswith(suffix):
            i.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(i).copy()), i.name))
            return
    raise AssertionError(f"no initializer {suffix}")


def drop_node(model, operator):
    node = next(n for n in model.graph.node if n.op_type == operator)
    for other in model.graph.node:
        for i, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[i] = node.input[0]
    model.graph.node.remove(node)


def flip_first(array):
    array.flat[0] = -array.flat[0]
    return array


TAMPERED = {
    "no format": (lambda m: m.metadata_props.pop(0), "not a converted model"),
    "other format": (lambda m: setattr(m.metadata_props[0], "value", "9"), "format is 9"),
    "no layer metadata": (lambda m: edit_layer(m, 0, s=None), "right keys"),
    "m too short": (lambda m: edit_layer(m, 1, m=[1]), "do not have 8 values"),
    "m too large": (lambda m: edit_layer(m, 1, m=[32768] * 8), "16-bit"),
    "s a string": (lambda m: edit_layer(m, 1, s="3"), "s is not an integer"),
    "s too large": (lambda m: edit_layer(m, 1, s=48), "s is 48, outside 0..47"),
    "t too large": (lambda m: edit_layer(m, 1, t=32), "t is 32, outside 0..31"),
    "acc_bound": (lambda m: edit_layer(m, 1, acc_bound=5), "acc_bound is 5"),
    "hi": (lambda m: edit_layer(m, 1, hi=128), "hi is 128"),
    "lo": (lambda m: edit_layer(m, 1, lo=-127), "its lower bound is not 0"),
    "axis": (lambda m: edit_layer(m, 1, axis="dense"), "do not fit the weights"),
    "dw": (lambda m: edit_layer(m, 1, dw=16), "not 8, 32"),
    "other codes": (lambda m: edit_layer(m, 1, codes=[0, 1, 2, 3]), "does not hold codes"),
    "no such code": (lambda m: edit_layer(m, 1, codes=[0, 1, 2, 16]), "below 16"),
    "code sign": (lambda m: edit_constant(m, ".codes", flip_first), "does not hold codes"),
    "alphas": (lambda m: edit_constant(m, ".alphas.int", lambda a: np.full_like(a, 127)), "127"),
    "weight -128": (
        lambda m: edit_constant(m, ".weights.int", lambda a: np.full_like(a, -128)),
        "128",
    ),
    "bias scale": (lambda m: edit_constant(m, ".bias_scale", lambda a: a * 2), "bias scale"),
    "scale": (lambda m: edit_constant(m, "x.scale", lambda a: -a), "positive"),
    "zero point": (
        lambda m: edit_constant(m, "zero_point", lambda a: a + np.int8(1)),
        "int8 or int16 0",
    ),
    "no ReLU quantisation": (lambda m: drop_node(m, "QuantizeLinear"), "neither"),
}


TAMPERED_16 = {
    "dw": (lambda m: edit_layer(m, 1, dw=8), "dw 8, acc_bits 48 are not 16, 48"),
    "acc_bits": (lambda m: edit_layer(m, 1, acc_bits=32), "acc_bits 32 are not 16, 48"),
    "weights": (
        lambda m: edit_constant(m, ".weights.int", lambda a: (a // 256).astype(np.int8)),
        "no int16 weights",
    ),
    "bias scales": (lambda m: edit_constant(m, ".bias.high_scale", lambda a: a * 2), r"2\^24"),
    "bias part": (lambda m: edit_constant(m, ".bias.low.int", lambda a: a + (1 << 23)), r"2\^24"),
    "bias type": (
        lambda m: edit_constant(m, ".bias.low.int", lambda a: a.astype(np.int16)),
        "int32 parts",
    ),
    "bias": (
        lambda m: edit_constant(m, ".bias.high.int", lambda a: a + (1 << 22)),
        "beyond the 48-bit bound|acc_bound is",
    ),
    "one part": (lambda m: drop_node(m, "Add"), "no bias of 48 bits"),
    "zero point": (
        lambda m: edit_constant(m, "zero_point", lambda a: a.astype(np.int8)),
        "no int8 weights|not 8, 32",
    ),
}


@pytest.mark.parametrize("case", TAMPERED_16)
def test_a_file_of_16_bits_that_convert_did_not_write_is_refused(tmp_path, case):
    """The same for what only DW = 16 has."""
    edit, message = TAMPERED_16[case]
    b = Builder(["N", 3, 6, 6])
    b.conv(4, 3)
    b.node("Flatten")
    b.gemm(5, 64)
    _, path, _, _ = converted(b, tmp_path, dw=16)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    with pytest.raises(ModelError, match=message):
        read_converted(path)


def test_a_bias_beyond_32_bits(tmp_path):
    """With 16 bits a bias may be far larger than any product: its integers, and every runtime."""
    b = Builder(["N", 2, 5, 5])
    bias = np.array([40.0, -300.0, 0.001, 0.0])
    weight = b.random.normal(size=(4, 2, 3, 3)) * np.array([1, 2, 3, 1e-3])[:, None, None, None]
    b.node("Conv", "x", b.constant(weight), b.constant(bias))
    _, path, network, _ = converted(b, tmp_path, dw=16)
    layer = network.layers[0]
    assert np.abs(layer.bias).max() > 2**33
    assert np.array_equal(read_converted(path).layers[0].bias, layer.bias)
    sample = images((2, 5, 5), 20, seed=2)
    wanted = golden.load(path).run(sample)
    model = onnx.load(path)
    scale = network.tensors[network.output].scale
    assert np.abs(np.rint(run(model, sample) / scale) - wanted).max() <= 2
    # Negative twin: a single step of the upper part shows.
    edit_constant(model, ".bias.high.int", lambda a: a + 1)
    assert np.abs(np.rint(run(model, sample) / scale) - wanted).max() > 2


@pytest.mark.parametrize("case", TAMPERED)
def test_a_file_that_convert_did_not_write_is_refused(tmp_path, case):
    """Negative twins of the reader's checks, one planted fault each."""
    edit, message = TAMPERED[case]
    _, path, _, _ = converted(residual_network(), tmp_path, n=4)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    with pytest.raises(ModelError, match=message) as caught:
        read_converted(path)
    assert "convert" in str(caught.value) and "\n" not in str(caught.value)


def edit_node(model, operator, change):
    change(next(n for n in model.graph.node if n.op_type == operator))


TAMPERED_CHANNEL = {
    "axis": (lambda m: edit_layer(m, 0, axis="kernel"), "no kernel-axis alphas"),
    "dense": (lambda m: edit_layer(m, 0, axis="dense"), "do not fit the weights"),
    "other axis": (lambda m: edit_layer(m, 0, axis="filter"), "axis is not valid"),
    "other codes": (lambda m: edit_layer(m, 0, codes=[3, 7]), "does not hold codes"),
    "no such code": (lambda m: edit_layer(m, 0, codes=[0, 16]), "below 16"),
    "code sign": (lambda m: edit_constant(m, ".codes", flip_first), "does not hold codes"),
    "no transpose": (lambda m: drop_node(m, "Transpose"), "do not become weights"),
    "transpose": (
        lambda m: edit_node(m, "Transpose", lambda n: n.attribute[0].ints.reverse()),
        "does not swap the last two axes",
    ),
    "no slice": (lambda m: drop_node(m, "Slice"), "shape|channels"),
    "slice": (lambda m: edit_constant(m, ".starts", lambda s: s + 1), "first channels"),
    "slice end": (lambda m: edit_constant(m, ".ends", lambda s: s + 1), "channels|shape"),
}


@pytest.mark.parametrize("case", TAMPERED_CHANNEL)
def test_a_channel_axis_file_that_convert_did_not_write_is_refused(tmp_path, case):
    edit, message = TAMPERED_CHANNEL[case]
    _, path, _, _ = converted(residual_network(), tmp_path, per_layer=CHANNEL)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    with pytest.raises(ModelError, match=message):
        read_converted(path)


POOLS_TAMPERED = {
    "average without metadata": (
        lambda m: next(n for n in m.graph.node if n.op_type == "AveragePool").metadata_props.pop(),
        "no unzip.layer metadata",
    ),
    "padding not counted": (
        lambda m: next(
            a
            for n in m.graph.node
            for a in n.attribute
            if n.op_type == "AveragePool" and a.name == "count_include_pad"
        ).__setattr__("i", 0),
        "m is not 3 lists, one for each divisor",
    ),
    "m too short": (lambda m: edit_layer(m, 3, m=[1]), "m does not have 12 values"),
    "acc_bound of pool": (lambda m: edit_layer(m, 3, acc_bound=5), "acc_bound is 5"),
    "acc_bound behind pool": (lambda m: edit_layer(m, 5, acc_bound=5), "acc_bound is 5"),
    "no global pool": (lambda m: drop_node(m, "GlobalAveragePool"), "shapes do not fit"),
}


@pytest.mark.parametrize("case", POOLS_TAMPERED)
def test_pools_that_convert_did_not_write_are_refused(tmp_path, case):
    edit, message = POOLS_TAMPERED[case]
    _, path, _, _ = converted(separable_network(), tmp_path, n=4)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    with pytest.raises(ModelError, match=message):
        read_converted(path)


WINDOWS_TAMPERED = {
    "padding counted": (
        lambda m: edit_average(m, count_include_pad=1),
        "m is not a list of 16-bit integers",
    ),
    "count_include_pad": (lambda m: edit_average(m, count_include_pad=2), "is not given"),
    "a list too few": (lambda m: edit_layer(m, 2, m=[[1] * 6] * 2), "m is not 3 lists"),
    "a short list": (lambda m: edit_layer(m, 2, m=[[1] * 6] * 2 + [[1] * 5]), "have 6 values"),
    "no lists": (lambda m: edit_layer(m, 2, m=[1] * 3), "m is not a list of 16-bit"),
    "too large": (lambda m: edit_layer(m, 2, m=[[1] * 6] * 2 + [[32768] * 6]), "16-bit integers"),
    "all windows alike": (
        lambda m: edit_average(m, kernel_shape=[1, 1], pads=[0, 0, 0, 0]),
        r"its windows hold \(1,\) pixels",
    ),
}


def edit_average(model, **values):
    node = next(n for n in model.graph.node if n.op_type == "AveragePool")
    kept = [a for a in node.attribute if a.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in values.items())])


@pytest.mark.parametrize("case", WINDOWS_TAMPERED)
def test_pools_of_different_windows_that_convert_did_not_write_are_refused(tmp_path, case):
    edit, message = WINDOWS_TAMPERED[case]
    _, path, _, _ = converted(averaging_network(), tmp_path)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    with pytest.raises(ModelError, match=message):
        read_converted(path)


def test_a_floating_point_model_is_no_converted_one(tmp_path):
    path = residual_network().save(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="not a converted model; expected the output of `unzipfpg"):
        read_converted(path)


def test_converting_twice_is_refused(tmp_path):
    _, path, _, _ = converted(residual_network(), tmp_path)
    with pytest.raises(ModelError, match="it is a converted model already; expected its source"):
        read_float(path)
