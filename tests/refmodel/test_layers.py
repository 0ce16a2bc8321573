# SPDX-License-Identifier: Apache-2.0
"""Layers against ONNX Runtime and `fractions`; every comparison also has to catch planted faults.

ONNX Runtime convolves small integers in float32: every partial sum is an integer below 2**24, so
its result is exact and the comparison is for equality.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from verif.refmodel import layers

FIXED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.filter_too_much],
)


def run_onnx(operator: str, inputs: list[np.ndarray], **attributes: Any) -> np.ndarray:
    """Result of one operator on float32 copies of integer arrays."""
    names = [f"i{k}" for k in range(len(inputs))]
    node = helper.make_node(operator, names, ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape)
            for n, a in zip(names, inputs, strict=True)
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {n: a.astype(np.float32) for n, a in zip(names, inputs, strict=True)}
    return session.run(None, feed)[0]


# Convolution -------------------------------------------------------------------------------------


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    size = (draw(st.integers(1, 10)), draw(st.integers(1, 10)))
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    assume(all(size[a] + pads[a] + pads[a + 2] >= kernel[a] for a in range(2)))
    group_in, group_out = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = draw(st.integers(1, 3))
    return {
        "x": rng.integers(-127, 128, (batch, groups * group_in, *size)).astype(np.int8),
        "w": rng.integers(-127, 128, (groups * group_out, group_in, *kernel)).astype(np.int8),
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "pads": pads,
        "groups": groups,
    }


def check_conv(conv: Callable[..., np.ndarray], case: dict[str, Any]) -> None:
    actual = conv(**case)
    expected = run_onnx(
        "Conv",
        [case["x"], case["w"]],
        strides=case["stride"],
        pads=case["pads"],
        group=case["groups"],
    )
    assert actual.dtype == np.int64
    np.testing.assert_array_equal(actual, expected)


@FIXED
@given(convolutions())
def test_conv2d(case: dict[str, Any]) -> None:
    check_conv(layers.conv2d, case)


def conv_case() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "x": rng.integers(-127, 128, (2, 4, 7, 8)).astype(np.int8),
        "w": rng.integers(-127, 128, (6, 2, 3, 2)).astype(np.int8),
        "stride": (2, 1),
        "pads": (1, 0, 2, 1),
        "groups": 2,
    }


def padded_with(value: int) -> Callable[..., np.ndarray]:
    def conv(x: np.ndarray, pads: layers.Pads, **rest: Any) -> np.ndarray:
        top, left, bottom, right = pads
        wide = ((0, 0), (0, 0), (top, bottom), (left, right))
        return layers.conv2d(np.pad(x, wide, constant_values=value), **rest)

    return conv


def off_by_one(**case: Any) -> np.ndarray:
    acc = layers.conv2d(**case)
    acc[-1, -1, -1, -1] += 1
    return acc


def test_conv_check_passes_the_unplanted_case() -> None:
    check_conv(layers.conv2d, conv_case())
    check_conv(padded_with(0), conv_case())


@pytest.mark.parametrize(
    "faulty",
    [
        off_by_one,
        padded_with(1),
        lambda w, **rest: layers.conv2d(w=w[:, :, ::-1, ::-1], **rest),
        lambda stride, **rest: layers.conv2d(stride=stride[::-1], **rest),
        lambda pads, **rest: layers.conv2d(pads=(pads[2], pads[1], pads[0], pads[3]), **rest),
        lambda x, **rest: layers.conv2d(x=x[:, [0, 2, 1, 3]], **rest),
        lambda x, **rest: layers.conv2d(x=np.maximum(x, -126), **rest),
    ],
    ids=["off-by-one", "pad-value", "flipped-kernel", "stride", "pads", "groups", "saturation"],
)
def test_conv_check_catches(faulty: Callable[..., np.ndarray]) -> None:
    case = conv_case()
    case["x"][0, 0, 0, 0] = -127
    with pytest.raises(AssertionError):
        check_conv(faulty, case)


@st.composite
def wide_products(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Operands around the borders of exact float32, float64 and int64 arithmetic."""
    rows, inner, columns = (draw(st.integers(1, 6)) for _ in range(3))
    left, right = draw(st.sampled_from([(7, 7), (12, 11), (15, 15), (26, 25), (27, 27), (30, 30)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    a = rng.integers(-(2**left), 2**left + 1, (rows, inner))
    b = rng.integers(-(2**right), 2**right + 1, (inner, columns))
    if draw(st.booleans()):  # all at the extremes, so that the bound is met
        a, b = np.sign(a) * 2**left, np.sign(b) * 2**right
        a[0, 0] -= 1
        b[0, 0] -= 1
    return a, b


@FIXED
@given(wide_products())
def test_exact_matmul(operands: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = operands
    expected = a.astype(object) @ b.astype(object)
    np.testing.assert_array_equal(layers.exact_matmul(a, b).astype(object), expected)


@pytest.mark.parametrize(
    ("last", "dtype"),
    [
        (2**24 - 3, np.float32),
        (2**24 - 2, np.float64),
        (2**53 - 3, np.float64),
        (2**53 - 2, np.int64),
        (2**61 - 3, np.int64),
    ],
)
def test_exact_matmul_picks_a_type_that_holds_the_bound(last: int, dtype: type) -> None:
    a, b = np.array([[1, 1, last]]), np.ones((3, 1), dtype=np.int64)
    assert layers._exact_dtype(a, 1) is dtype
    assert int(layers.exact_matmul(a, b)[0, 0]) == last + 2
    # Negative twin: the next smaller float type would have lost the odd sum.
    smaller = {np.float64: np.float32, np.int64: np.float64}.get(dtype)
    if smaller is not None:
        odd = a + np.array([[0, 0, 1 - last % 2]])
        assert int((odd.astype(smaller) @ b.astype(smaller))[0, 0]) != int(odd.sum())


def test_exact_matmul_refuses_what_64_bits_may_not_hold() -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        layers.exact_matmul(np.array([[2**62, 2**62]]), np.array([[1], [1]]))
    with pytest.raises(OverflowError, match="64 bits"):
        layers.exact_matmul(np.array([[-(2**63)]]), np.array([[1]]))


def test_conv2d_16_bit_extremes() -> None:
    x = np.full((1, 64, 3, 3), 32767, dtype=np.int16)
    w = np.full((1, 64, 3, 3), -32767, dtype=np.int16)
    acc = layers.conv2d(x, w, acc_bits=48)
    assert acc.tolist() == [[[[-(32767**2) * 576]]]]
    with pytest.raises(OverflowError, match=r"channel 0 does not fit 32 bits"):
        layers.conv2d(x, w, acc_bits=32)


def test_accumulator_borders() -> None:
    for value in (2**31 - 1, -(2**31)):
        layers.check_accumulator(np.array([[0, value]]), 32)
        with pytest.raises(OverflowError, match=r"channel 1 does not fit 32 bits"):
            layers.check_accumulator(np.array([[0, value + np.sign(value)]]), 32)
    assert (layers.accumulator_bits(8), layers.accumulator_bits(16)) == (32, 48)


@FIXED
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_fully_connected(batch: int, c_in: int, c_out: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-127, 128, (batch, c_in)).astype(np.int8)
    w = rng.integers(-127, 128, (c_out, c_in)).astype(np.int8)
    expected = run_onnx("Gemm", [x, w], transB=1)
    np.testing.assert_array_equal(layers.fully_connected(x, w), expected)
    with pytest.raises(AssertionError):
        faulty = w.copy()
        faulty[-1, -1] ^= 1
        x[-1, -1] |= 1  # so that the planted weight counts
        np.testing.assert_array_equal(
            layers.fully_connected(x, faulty), run_onnx("Gemm", [x, w], transB=1)
        )


@FIXED
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_global_average_pool_fully_connected(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-127, 128, (2, 5, height, width)).astype(np.int8)
    w = rng.integers(-127, 128, (3, 5)).astype(np.int8)
    actual = layers.global_average_pool_fully_connected(x, w)
    mean = run_onnx("GlobalAveragePool", [x]).reshape(2, 5)
    expected = np.rint(run_onnx("Gemm", [mean * (height * width), w], transB=1))
    np.testing.assert_array_equal(actual, expected)


def test_global_average_pool_is_not_rounded_before_the_layer() -> None:
    x = np.array([1, 0, 0, 0], dtype=np.int8).reshape(1, 1, 2, 2)
    assert layers.global_average_pool_fully_connected(x, np.array([[7]])).tolist() == [[7]]


# Pools -------------------------------------------------------------------------------------------


@st.composite
def pools(draw: st.DrawFn) -> dict[str, Any]:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    size = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    pads = tuple(draw(st.integers(0, kernel[a % 2] - 1)) for a in range(4))
    assume(all(size[a] + pads[a] + pads[a + 2] >= kernel[a] for a in range(2)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = draw(st.sampled_from([-127, 0]))
    high = draw(st.sampled_from([127, 0])) if low else 127
    return {
        "x": rng.integers(low, high + 1, (2, 3, *size)).astype(np.int8),
        "kernel": kernel,
        "stride": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        "pads": pads,
    }


def check_max_pool(pool: Callable[..., np.ndarray], case: dict[str, Any], ceil: bool) -> None:
    actual = pool(**case, ceil_mode=ceil)
    expected = run_onnx(
        "MaxPool",
        [case["x"]],
        kernel_shape=case["kernel"],
        strides=case["stride"],
        pads=case["pads"],
        ceil_mode=int(ceil),
    )
    assert actual.dtype == case["x"].dtype
    np.testing.assert_array_equal(actual, expected)


@FIXED
@given(pools(), st.booleans())
def test_max_pool(case: dict[str, Any], ceil: bool) -> None:
    check_max_pool(layers.max_pool, case, ceil)


def pool_case() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    x = rng.integers(-127, -1, (1, 2, 7, 7)).astype(np.int8)
    return {"x": x, "kernel": (3, 3), "stride": (2, 2), "pads": (1, 1, 0, 0)}


def zero_padded_max_pool(x: np.ndarray, pads: layers.Pads, **rest: Any) -> np.ndarray:
    top, left, bottom, right = pads
    return layers.max_pool(np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))), **rest)


def test_max_pool_check_catches() -> None:
    case = pool_case()
    check_max_pool(layers.max_pool, case, ceil=True)
    for faulty in (
        zero_padded_max_pool,
        lambda ceil_mode, **rest: layers.max_pool(**rest, ceil_mode=not ceil_mode),
        lambda **rest: layers.max_pool(**rest) + np.int8(1),
        lambda stride, **rest: layers.max_pool(**rest, stride=(1, 1)),
    ):
        with pytest.raises(AssertionError):
            check_max_pool(faulty, case, ceil=True)


def check_sum_pool(pool: Callable[..., np.ndarray], case: dict[str, Any]) -> None:
    mean = run_onnx(
        "AveragePool",
        [case["x"]],
        kernel_shape=case["kernel"],
        strides=case["stride"],
        pads=case["pads"],
        count_include_pad=1,
    )
    expected = np.rint(mean.astype(np.float64) * math.prod(case["kernel"]))
    np.testing.assert_array_equal(pool(**case), expected)


@FIXED
@given(pools())
def test_sum_pool(case: dict[str, Any]) -> None:
    check_sum_pool(layers.sum_pool, case)


def test_sum_pool_check_catches() -> None:
    case = pool_case()
    check_sum_pool(layers.sum_pool, case)
    for faulty in (
        lambda **rest: layers.sum_pool(**rest) + 1,
        lambda x, **rest: layers.sum_pool(x=np.maximum(x, -126), **rest) - 1,
        lambda pads, **rest: layers.sum_pool(pads=(pads[2], pads[3], *pads[:2]), **rest),
    ):
        with pytest.raises(AssertionError):
            check_sum_pool(faulty, case)


def test_average_pool_is_sum_pool_and_post_process() -> None:
    # 3x3 windows, 1/9 as m / 2**s: the rounded mean, half up.
    x = np.random.default_rng(3).integers(-127, 128, (2, 4, 9, 9)).astype(np.int8)
    sums = layers.sum_pool(x, (3, 3), (3, 3))
    scale = np.full(4, round(2**17 / 9))
    y = layers.post_process(sums, np.zeros(4, int), scale, 17, -127, 127)
    mean = x.reshape(2, 4, 3, 3, 3, 3).astype(np.int64).sum(axis=(3, 5))
    expected = [math.floor(Fraction(int(v), 9) + Fraction(1, 2)) for v in mean.reshape(-1)]
    np.testing.assert_array_equal(y.reshape(-1), expected)


def check_divisors(window_pixels: Callable[..., np.ndarray], case: dict[str, Any]) -> None:
    """The mean times what it divides by is the sum, in ONNX Runtime."""
    size = (case["x"].shape[2], case["x"].shape[3])
    window = {key: case[key] for key in ("kernel", "stride", "pads")}
    mean = run_onnx(
        "AveragePool",
        [case["x"][:1, :1]],
        kernel_shape=case["kernel"],
        strides=case["stride"],
        pads=case["pads"],
        count_include_pad=0,
    )
    sums = layers.sum_pool(case["x"][:1, :1], **window)
    expected = np.rint(mean.astype(np.float64) * window_pixels(size, **window))
    np.testing.assert_array_equal(sums, expected)


@FIXED
@given(pools())
def test_window_pixels(case: dict[str, Any]) -> None:
    check_divisors(layers.window_pixels, case)


def test_window_pixels_check_catches() -> None:
    case = pool_case()
    check_divisors(layers.window_pixels, case)

    def padding_counts(size: Any, kernel: layers.Pair, *rest: Any, **more: Any) -> np.ndarray:
        return np.full((1,), kernel[0] * kernel[1])

    with pytest.raises(AssertionError):
        check_divisors(padding_counts, case)


def test_average_pool_with_a_multiplier_for_each_pixel() -> None:
    """3x3 windows, padding left out of the mean: 1/count as m / 2**s, rounded half up."""
    x = np.random.default_rng(4).integers(-127, 128, (2, 3, 6, 5)).astype(np.int8)
    window: dict[str, Any] = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    pixels = layers.window_pixels((6, 5), **window)
    assert pixels[0].tolist() == [4, 6, 6, 6, 4] and pixels[1].tolist() == [6, 9, 9, 9, 6]
    m = np.broadcast_to(np.rint(2**16 / pixels).astype(int), (3, 6, 5))
    y = layers.post_process(layers.sum_pool(x, **window), np.zeros(3, int), m, 16, -127, 127)
    for (n, c, oy, ox), found in np.ndenumerate(y):
        part = x[n, c, max(0, oy - 1) : oy + 2, max(0, ox - 1) : ox + 2].astype(int)
        mean = int(part.sum()) * Fraction(round(2**16 / part.size), 2**16)
        assert abs(mean - Fraction(int(part.sum()), part.size)) < Fraction(1, 50)
        assert found == math.floor(mean + Fraction(1, 2))
    with pytest.raises(ValueError, match="does not fit accumulators"):
        layers.post_process(np.zeros((1, 3, 5, 6), int), np.zeros(3, int), m, 16, -127, 127)


# Post-processing ---------------------------------------------------------------------------------


@st.composite
def post_cases(draw: st.DrawFn) -> dict[str, Any]:
    """Operands over the whole range of DW = 8 and DW = 16, biased towards borders and halves."""
    dw = draw(st.sampled_from([8, 16]))
    acc_bits = layers.accumulator_bits(dw)

    def signed(bits: int, count: int) -> np.ndarray:
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        value = st.one_of(
            st.integers(low, high), st.sampled_from([low, low + 1, -1, 0, 1, high - 1, high])
        )
        return np.array(draw(st.lists(value, min_size=count, max_size=count)), dtype=np.int64)

    limit = (1 << (dw - 1)) - 1
    lo = draw(st.sampled_from([-limit, 0]))
    hi = draw(st.sampled_from([limit, limit, 6, 0]))
    case: dict[str, Any] = {
        "acc": signed(acc_bits, 12).reshape(2, 3, 1, 2),
        "bias": signed(acc_bits, 3),
        "m": signed(16, 3),
        "s": draw(st.one_of(st.integers(0, 47), st.sampled_from([0, 1, 46, 47]))),
        "lo": lo,
        "hi": hi,
    }
    if draw(st.booleans()):
        case["residual"] = np.clip(signed(dw, 12).reshape(2, 3, 1, 2), -limit, limit)
        case["residual"] = case["residual"][
            :, : draw(st.integers(1, 3)), :, : draw(st.integers(1, 2))
        ]
        case["m_r"] = int(signed(16, 1)[0])
        case["t"] = draw(st.one_of(st.integers(0, 31), st.sampled_from([0, 31])))
    if draw(st.booleans()):  # bring the sum near a half step inside the range of the result
        s = case["s"]
        for n, c, y, x in np.ndindex(2, 3, 1, 2):
            m = int(case["m"][c]) or 1
            r = residual_at(case, n, c, y, x)
            target = draw(st.integers(-limit, limit)) * 2**s + 2**s // 2 - r
            acc = target // m - int(case["bias"][c])
            case["acc"][n, c, y, x] = min(
                max(acc, -(1 << (acc_bits - 1))), (1 << (acc_bits - 1)) - 1
            )
    return case


def residual_at(case: dict[str, Any], n: int, c: int, y: int, x: int) -> int:
    """Residual term (r*m_r) << t, 0 outside the operand."""
    r = case.get("residual")
    if r is None or c >= r.shape[1] or y >= r.shape[2] or x >= r.shape[3]:
        return 0
    return int(r[n, c, y, x]) * case["m_r"] * 2 ** case["t"]


def check_post(post: Callable[..., np.ndarray], case: dict[str, Any]) -> None:
    actual = post(**case)
    half = Fraction(1, 2) if case["s"] > 0 else Fraction(0)
    for n, c, y, x in np.ndindex(*case["acc"].shape):
        total = (int(case["acc"][n, c, y, x]) + int(case["bias"][c])) * int(case["m"][c])
        total += residual_at(case, n, c, y, x)
        rounded = math.floor(Fraction(total, 2 ** case["s"]) + half)
        assert int(actual[n, c, y, x]) == min(max(rounded, case["lo"]), case["hi"])
    assert actual.shape == case["acc"].shape


@settings(FIXED, max_examples=400)
@given(post_cases())
def test_post_process(case: dict[str, Any]) -> None:
    check_post(layers.post_process, case)


def half_way_case() -> dict[str, Any]:
    """DW = 8 with residual and bias: half steps, saturation, a quarter step, just below a half."""
    sums = np.array([-320, -192, -64, 64, 192, 320, -25600, 25600, -288, 63])
    return {
        "acc": sums.reshape(1, 1, 2, 5) - 10 - 6 * 8,
        "bias": np.array([10]),
        "m": np.array([1]),
        "s": 7,
        "lo": -127,
        "hi": 127,
        "residual": np.full((1, 1, 2, 5), 3),
        "m_r": 2,
        "t": 3,
    }


def wide_case() -> dict[str, Any]:
    """DW = 16 at its extremes: the sum needs more than 64 bits."""
    return {
        "acc": np.full((1, 2, 1, 2), 2**47 - 1),
        "bias": np.array([2**47 - 1, -(2**47)]),
        "m": np.array([-32768, 32767]),
        "s": 47,
        "lo": -32767,
        "hi": 32767,
        "residual": np.array([32767, -32767]).reshape(1, 2, 1, 1),
        "m_r": -32768,
        "t": 31,
    }


def half_up(total: int, s: int) -> int:
    return (total + ((1 << s) >> 1)) >> s


def planted(
    acc: np.ndarray,
    bias: np.ndarray,
    m: np.ndarray,
    s: int,
    lo: int,
    hi: int,
    residual: np.ndarray,
    m_r: int,
    t: int,
    *,
    divide: Callable[[int, int], int] = half_up,
    bits: int = 100,
) -> np.ndarray:
    """Post-processing written out in Python integers, with places to plant faults.

    `divide` rounds, `bits` is the width at which the sum wraps.
    """
    y = np.empty(acc.shape, dtype=np.int64)
    for index in np.ndindex(*acc.shape):
        inside = all(i < size for i, size in zip(index, residual.shape, strict=True))
        r = int(residual[index]) if inside else 0
        total = (int(acc[index]) + int(bias[index[1]])) * int(m[index[1]]) + ((r * m_r) << t)
        total = (total + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
        y[index] = min(max(divide(total, s), lo), hi)
    return y


def test_planted_post_process_is_right_without_a_fault() -> None:
    for case in (half_way_case(), wide_case()):
        check_post(layers.post_process, case)
        check_post(planted, case)


@pytest.mark.parametrize(
    "divide",
    [
        lambda v, s: round(Fraction(v, 1 << s)),
        lambda v, s: int(Fraction(v + ((1 << s) >> 1), 1 << s)),
        lambda v, s: int(math.copysign(half_up(abs(v), s), v)),
        lambda v, s: v >> s,
        lambda v, s: half_up(v, s + 1) * 2,
    ],
    ids=["half-even", "truncating-shift", "half-away", "no-rounding", "wrong-shift"],
)
def test_post_check_catches_rounding(divide: Callable[[int, int], int]) -> None:
    with pytest.raises(AssertionError):
        check_post(lambda **case: planted(**case, divide=divide), half_way_case())


def test_post_check_catches_a_lost_bit() -> None:
    case = wide_case()
    case["s"] = 44  # so that the top bits of the sum reach the result
    check_post(layers.post_process, case)
    with pytest.raises(AssertionError):
        check_post(lambda **rest: planted(**rest, bits=62), case)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("t", 2),
        ("m_r", -2),
        ("s", 6),
        ("bias", np.array([11])),
        ("m", np.array([2])),
        ("hi", 126),
        ("lo", 0),
        ("residual", np.zeros((1, 1, 2, 5), int)),
        ("residual", np.full((1, 1, 1, 5), 3)),
    ],
)
def test_post_check_catches_an_ignored_operand(key: str, value: Any) -> None:
    case = half_way_case()
    with pytest.raises(AssertionError):
        check_post(lambda **rest: layers.post_process(**{**rest, key: value}), case)


def test_rounding_known_values() -> None:
    # v / 4 for v = -6 .. 6, half up.
    v = np.arange(-6, 7).reshape(1, 1, -1)
    y = layers.post_process(v, np.array([0]), np.array([1]), 2, -127, 127)
    assert y.reshape(-1).tolist() == [-1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    y = layers.post_process(v, np.array([0]), np.array([1]), 0, -5, 5)
    assert y.reshape(-1).tolist() == [-5, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 5]


def test_int64_and_python_integers_agree_at_the_border() -> None:
    # The largest sum that int64 holds, and one beyond it, both with a visible lowest bit.
    for acc in (2**47 - 1, -(2**47)):
        for bias in (2**47 - 1, 2**47 - 2, -(2**47)):
            case = {
                "acc": np.array([[acc]]),
                "bias": np.array([bias]),
                "m": np.array([32767]),
                "s": 47,
                "lo": -(2**31),
                "hi": 2**31 - 1,
            }
            total = (acc + bias) * 32767
            expected = math.floor(Fraction(total, 2**47) + Fraction(1, 2))
            assert layers.post_process(**case).tolist() == [[expected]]


def test_fully_connected_output_and_empty_batch() -> None:
    y = layers.post_process(np.array([[5, -5]]), np.array([1, 1]), np.array([2, 2]), 1, -127, 127)
    assert y.dtype == np.int32
    assert y.tolist() == [[6, -4]]
    empty = layers.conv2d(np.zeros((0, 1, 4, 4), np.int8), np.ones((2, 1, 3, 3), np.int8))
    assert empty.shape == (0, 2, 2, 2)


# Bad input ---------------------------------------------------------------------------------------

X = np.zeros((1, 2, 4, 4), np.int8)
W = np.zeros((3, 2, 3, 3), np.int8)
POST: dict[str, Any] = {
    "acc": np.zeros((1, 2, 3, 3), int),
    "bias": np.zeros(2, int),
    "m": np.ones(2, int),
    "s": 1,
    "lo": -127,
    "hi": 127,
}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.accumulator_bits(12), "12 is not supported; 8 or 16"),
        (lambda: layers.conv2d(X[0], W), "[N, C, H, W]"),
        (lambda: layers.conv2d(X, W[0]), "[C_out, C_in, K_H, K_W]"),
        (lambda: layers.conv2d(X[:, :1], W), "do not fit activations with 1 channels"),
        (lambda: layers.conv2d(X, W, groups=2), "2 groups"),
        (lambda: layers.conv2d(X, W, groups=0), "0 groups"),
        (lambda: layers.conv2d(X, W, stride=(0, 1)), "stride (0, 1)"),
        (lambda: layers.conv2d(X, W, pads=(0, -1, 0, 0)), "pads (0, -1, 0, 0)"),
        (lambda: layers.conv2d(X[:, :, :2], W), "larger than the input (2, 4)"),
        (lambda: layers.fully_connected(X[:, :, 0, 0], W[:, :1, 0, 0]), "2 channels"),
        (lambda: layers.max_pool(X, (2, 2), pads=(2, 0, 0, 0)), "nothing but padding"),
        (lambda: layers.max_pool(X, (2, 2), pads=(0, 0, 0, 2)), "nothing but padding"),
        (lambda: layers.max_pool(X, (5, 1)), "larger than the input"),
        (lambda: layers.sum_pool(X, (5, 1)), "larger than the input"),
        (lambda: layers.post_process(**{**POST, "acc": np.zeros(2, int)}), "[N, C, ...]"),
        (lambda: layers.post_process(**{**POST, "bias": np.zeros(3, int)}), "3 values for 2"),
        (lambda: layers.post_process(**{**POST, "m": np.ones(1, int)}), "1 values for 2"),
        (lambda: layers.post_process(**{**POST, "m": np.full(2, 32768)}), "16-bit"),
        (lambda: layers.post_process(**{**POST, "m": np.full(2, -32769)}), "16-bit"),
        (lambda: layers.post_process(**POST, m_r=32768), "m_r = 32768"),
        (lambda: layers.post_process(**{**POST, "s": 48}), "s = 48 is outside 0..47"),
        (lambda: layers.post_process(**{**POST, "s": -1}), "s = -1"),
        (lambda: layers.post_process(**POST, t=32), "t = 32 is outside 0..31"),
        (lambda: layers.post_process(**{**POST, "lo": 1, "hi": 0}), "lo = 1, hi = 0"),
        (lambda: layers.post_process(**POST, residual=np.zeros((1, 3, 3, 3), int)), "not fit"),
        (lambda: layers.post_process(**POST, residual=np.zeros((2, 2, 3, 3), int)), "not fit"),
        (lambda: layers.post_process(**POST, residual=np.zeros((1, 2), int)), "not fit"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.conv2d(X.astype(float), W), "activations are float64"),
        (lambda: layers.conv2d(X, W.astype(bool)), "weights are bool"),
        (lambda: layers.sum_pool(X.astype(np.uint64), (2, 2)), "activations are uint64"),
        (lambda: layers.post_process(**{**POST, "bias": np.zeros(2)}), "bias are float64"),
    ],
)
def test_other_types_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as error:
        call()
    assert message in str(error.value)
