# SPDX-License-Identifier: Apache-2.0
"""Codes against scipy's Hadamard matrix, generated weights against the formula, tap by tap."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from verif.refmodel import codes

FIXED = settings(derandomize=True, deadline=None, database=None, max_examples=60)


def check_hadamard(hadamard: Callable[[int], np.ndarray]) -> None:
    for exponent in range(9):
        length = 1 << exponent
        np.testing.assert_array_equal(hadamard(length), scipy.linalg.hadamard(length), strict=False)


def test_hadamard_is_scipys() -> None:
    check_hadamard(codes.hadamard)


def test_hadamard_check_catches_a_flipped_sign() -> None:
    def faulty(length: int) -> np.ndarray:
        matrix = codes.hadamard(length)
        matrix[-1, -1] *= -1
        return matrix

    with pytest.raises(AssertionError):
        check_hadamard(faulty)


def test_hadamard_check_catches_another_code_order() -> None:
    # Walsh (sequency) order holds the same rows: only a check of the order tells them apart.
    def walsh(length: int) -> np.ndarray:
        matrix = codes.hadamard(length)
        return matrix[np.argsort((np.diff(matrix, axis=1) != 0).sum(axis=1), kind="stable")]

    with pytest.raises(AssertionError):
        check_hadamard(walsh)


def test_kernel_codes_known_values() -> None:
    # K = 3: rows of the 16-entry codes at positions 0 1 2 / 4 5 6 / 8 9 10.
    rows = codes.kernel_codes(3, [0, 1, 4, 15])
    expected = [
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, -1, 1, 1, -1, 1, 1, -1, 1],
        [1, 1, 1, -1, -1, -1, 1, 1, 1],
        [1, -1, -1, -1, 1, 1, -1, 1, 1],
    ]
    np.testing.assert_array_equal(rows, expected)


@st.composite
def kernel_layers(draw: st.DrawFn) -> tuple[np.ndarray, list[int], int]:
    kernel = draw(st.integers(1, 7))
    length = codes.grid_edge(kernel) ** 2
    indices = draw(
        st.lists(st.integers(0, length - 1), min_size=1, max_size=min(9, length), unique=True)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)), len(indices))
    return rng.integers(-127, 128, shape).astype(np.int8), indices, kernel


@st.composite
def channel_layers(draw: st.DrawFn) -> tuple[np.ndarray, list[int], int, int]:
    kernel = draw(st.sampled_from([1, 1, 3, 5]))
    c_in = draw(st.integers(1, 50))
    indices = draw(st.lists(st.integers(0, 15), min_size=1, max_size=16, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 4)), -(-c_in // 16), kernel * kernel, len(indices))
    return rng.integers(-127, 128, shape).astype(np.int8), indices, c_in, kernel


def check_kernel_weights(generate: Callable[..., np.ndarray], layer: tuple) -> None:
    alphas, indices, kernel = layer
    actual = generate(alphas, indices, kernel)
    edge = 1
    while edge < kernel:
        edge *= 2
    matrix = scipy.linalg.hadamard(edge * edge)
    for f, c, ky, kx in np.ndindex(*alphas.shape[:2], kernel, kernel):
        expected = sum(
            int(a) * int(matrix[j][edge * ky + kx])
            for a, j in zip(alphas[f, c], indices, strict=True)
        )
        assert actual[f, c, ky, kx] == expected
    assert actual.shape == (*alphas.shape[:2], kernel, kernel)


def check_channel_weights(generate: Callable[..., np.ndarray], layer: tuple) -> None:
    alphas, indices, c_in, kernel = layer
    actual = generate(alphas, indices, c_in, kernel)
    matrix = scipy.linalg.hadamard(16)
    for f, c, ky, kx in np.ndindex(alphas.shape[0], c_in, kernel, kernel):
        expected = sum(
            int(a) * int(matrix[j][c % 16])
            for a, j in zip(alphas[f, c // 16, kernel * ky + kx], indices, strict=True)
        )
        assert actual[f, c, ky, kx] == expected
    assert actual.shape == (alphas.shape[0], c_in, kernel, kernel)


@FIXED
@given(kernel_layers())
def test_kernel_weights(layer: tuple) -> None:
    check_kernel_weights(codes.kernel_weights, layer)


@FIXED
@given(channel_layers())
def test_channel_weights(layer: tuple) -> None:
    check_channel_weights(codes.channel_weights, layer)


KERNEL_LAYER = (np.arange(-6, 6, dtype=np.int8).reshape(2, 2, 3), [1, 4, 11], 3)
CHANNEL_LAYER = (np.arange(-9, 9, dtype=np.int8).reshape(1, 2, 1, 9), list(range(9)), 20, 1)


@pytest.mark.parametrize(
    "faulty",
    [
        lambda a, j, k: -codes.kernel_weights(a, j, k),
        lambda a, j, k: codes.kernel_weights(a, sorted(j, reverse=True), k),
        lambda a, j, k: codes.kernel_weights(a, j, k).swapaxes(2, 3),
        lambda a, j, k: codes.kernel_weights(a, j, k).swapaxes(0, 1),
        # The grid packed densely (edge K instead of E).
        lambda a, j, k: (a.astype(int) @ codes.hadamard(16)[j][:, : k * k]).reshape(2, 2, k, k),
        # Generation in the alphas' own 8 bits, which wraps.
        lambda a, j, k: codes.kernel_weights(a * np.int8(21), j, k).astype(np.int8) // 21,
    ],
    ids=["sign", "code-order", "tap-order", "filter-channel", "packed-grid", "wrap"],
)
def test_kernel_check_catches(faulty: Callable[..., np.ndarray]) -> None:
    check_kernel_weights(codes.kernel_weights, KERNEL_LAYER)
    with pytest.raises(AssertionError):
        check_kernel_weights(faulty, KERNEL_LAYER)


@pytest.mark.parametrize(
    "faulty",
    [
        lambda a, j, c, k: np.roll(codes.channel_weights(a, j, c, k), 1, axis=1),
        lambda a, j, c, k: codes.channel_weights(a[:, ::-1], j, c, k),
        lambda a, j, c, k: codes.channel_weights(a, j[::-1], c, k),
    ],
    ids=["channel-shift", "block-order", "code-order"],
)
def test_channel_check_catches(faulty: Callable[..., np.ndarray]) -> None:
    check_channel_weights(codes.channel_weights, CHANNEL_LAYER)
    with pytest.raises(AssertionError):
        check_channel_weights(faulty, CHANNEL_LAYER)


def test_extreme_alphas_do_not_wrap() -> None:
    alphas = np.full((1, 1, 16), -32768, dtype=np.int16)
    weights = codes.kernel_weights(alphas, range(16), 4)
    assert weights[0, 0, 0, 0] == -32768 * 16
    assert not weights.reshape(-1)[1:].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: codes.hadamard(12), "12 is not a power of two"),
        (lambda: codes.hadamard(0), "0 is not a power of two"),
        (lambda: codes.grid_edge(0), "kernel size 0"),
        (lambda: codes.kernel_codes(3, [1, 16]), "code 16 is outside 0..15"),
        (lambda: codes.kernel_codes(3, [-1]), "code -1 is outside"),
        (lambda: codes.kernel_codes(3, [2, 2]), "not distinct"),
        (lambda: codes.kernel_codes(3, []), "empty"),
        (lambda: codes.kernel_weights(np.ones((2, 3), int), [0], 3), "[C_out, C_in, n]"),
        (lambda: codes.kernel_weights(np.ones((2, 3, 2), int), [0], 3), "n = 1"),
        (lambda: codes.channel_weights(np.ones((2, 2, 1, 1), int), [0], 33, 1), "33 input"),
        (lambda: codes.channel_weights(np.ones((2, 2, 9, 1), int), [0], 32, 1), "1x1"),
        (lambda: codes.channel_weights(np.ones((2, 2, 1, 1), int), [16], 32, 1), "code 16"),
        (lambda: codes.kernel_weights(np.full((1, 1, 2), 2**62), [0, 1], 3), "too large"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


def test_float_alphas_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        codes.kernel_weights(np.ones((1, 1, 1)), [0], 3)  # type: ignore[arg-type]
