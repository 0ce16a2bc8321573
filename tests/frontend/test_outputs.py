# SPDX-License-Identifier: Apache-2.0
"""Alphas fitted to a layer's outputs: against brute force, least squares, and whole networks."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frontend.models import Builder, residual_network, run, shortcut_network
from unzipfpga import ovsf
from unzipfpga.data import load_mnist, normalise
from unzipfpga.evaluate import float_logits
from unzipfpga.frontend import Options, convert, read_float, write_converted
from unzipfpga.frontend.converted import float_model
from unzipfpga.frontend.moments import input_moments
from unzipfpga.frontend.quantise import Codes
from unzipfpga.ovsf.outputs import damped, round_block

MNIST = Path(__file__).resolve().parents[2] / "examples" / "mnist" / "mnist.onnx"
SETTINGS = settings(derandomize=True, deadline=None, max_examples=40)


def random_metric(random, size):
    root = random.normal(size=(size, 2 * size))
    return root @ root.T / size


# --- one block ------------------------------------------------------------------------------------


@SETTINGS
@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), limit=st.sampled_from([6, 20, 127]))
def test_a_rounded_block_is_in_range_and_no_step_helps(seed, n, limit):
    random = np.random.default_rng(seed)
    codes = ovsf.kernel_codes(3)[ovsf.sequential_codes(np.zeros((1, 9)), ovsf.kernel_codes(3), n)]
    codes = codes.astype(float)
    metric = random_metric(random, n)
    wanted = random.normal(scale=limit / 2, size=(6, n))
    result = round_block(wanted, metric, codes, limit)
    assert np.array_equal(result, np.rint(result))

    def inside(alphas):
        return (np.abs(alphas).max(axis=1) <= limit) & (np.abs(alphas @ codes).max(axis=1) <= limit)

    def error(alphas):
        return np.einsum("fn,nm,fm->f", wanted - alphas, metric, wanted - alphas)

    assert inside(result).all()
    unit = np.eye(n)
    steps = [*unit, *(unit[i] + s * unit[j] for i in range(n) for j in range(i) for s in (-1, 1))]
    for step, sign in itertools.product(steps, (-1, 1)):
        moved = result + sign * step
        better = inside(moved) & (error(moved) < error(result) - 1e-6)
        assert not better.any()


@pytest.mark.parametrize("seed", range(4))
def test_a_block_is_near_the_best_integers(seed):
    """Against brute force over all alphas of three codes; mere rounding does worse."""
    random = np.random.default_rng(seed)
    codes = ovsf.kernel_codes(3, [0, 6, 9]).astype(float)
    metric = random_metric(random, 3)
    wanted = random.normal(scale=2, size=(200, 3))
    grid = np.array(list(itertools.product(range(-9, 10), repeat=3)), float)
    grid = grid[np.abs(grid @ codes).max(axis=1) <= 12]

    def error(alphas):
        return np.einsum("...n,nm,...m->...", wanted - alphas, metric, wanted - alphas)

    found = error(round_block(wanted, metric, codes, 12))
    best = np.min([error(point[np.newaxis]) for point in grid], axis=0)
    assert (found >= best - 1e-9).all()
    assert found.sum() <= 1.02 * best.sum()
    assert found.sum() < error(np.rint(wanted)).sum()


# --- one layer ------------------------------------------------------------------------------------


def correlated(random, count, size):
    """Return inputs whose neighbours are alike, as those of images."""
    return random.normal(size=(count, size)) @ np.tril(np.ones((size, size))) / size**0.5


def output_error(weights, fit, inputs):
    errors = weights - fit.weights * fit.scale.reshape(-1, *[1] * (weights.ndim - 1))
    return float(((inputs @ errors.reshape(len(errors), -1).T) ** 2).mean())


@pytest.mark.parametrize("n", [3, 6, 8, 9])
def test_outputs_are_closer_than_with_alphas_fitted_to_weights(n):
    """On inputs that the fit has not seen; about as close as real alphas but for full rank."""
    random = np.random.default_rng(n)
    weights = random.normal(size=(8, 12, 9))
    train, test = correlated(random, 4000, 108), correlated(random, 4000, 108)
    covariance = train.T @ train / len(train)
    codes = ovsf.kernel_codes(3)[
        ovsf.choose_codes("greedy", weights.reshape(-1, 9), ovsf.kernel_codes(3), n)
    ]
    for_weights = output_error(weights, ovsf.fit_ovsf(weights, codes), test)
    fit = ovsf.fit_ovsf(weights, codes, covariance=covariance)
    found = output_error(weights, fit, test)
    assert found < 0.75 * for_weights
    assert np.array_equal(fit.alphas @ codes.astype(int), fit.weights)
    assert np.abs(fit.alphas).max() <= 127 and np.abs(fit.weights).max() <= 127
    # Real alphas: least squares over all blocks together, under the same damped covariance.
    all_codes = np.kron(np.eye(12), codes)
    root = np.linalg.cholesky(damped(covariance))
    solution = np.linalg.lstsq((all_codes @ root).T, (weights.reshape(8, -1) @ root).T, rcond=None)
    real = weights.reshape(8, -1) - solution[0].T @ all_codes
    best = float(((test @ real.T) ** 2).mean())
    if n < 9:
        assert best <= found * 1.02 and found <= best * 1.05
    else:
        assert found < 0.05 * float(((test @ weights.reshape(8, -1).T) ** 2).mean())


@SETTINGS
@given(
    seed=st.integers(0, 10**6),
    channels=st.integers(1, 36),
    kernel=st.sampled_from([(1, 1), (2, 1)]),
    data=st.data(),
)
def test_channel_axis_alphas_are_in_range(seed, channels, kernel, data):
    n = data.draw(st.integers(1, min(16, channels)))
    random = np.random.default_rng(seed)
    weights = random.normal(size=(3, channels, *kernel))
    weights[0] = 0
    size = weights[0].size
    covariance = random_metric(random, size) if seed % 4 else np.zeros((size, size))
    codes = list(range(n))
    fit = ovsf.fit_channel(weights, ovsf.channel_codes(codes), covariance=covariance)
    assert np.abs(fit.alphas).max() <= 127 and np.abs(fit.weights).max() <= 127
    generated = ovsf.generate_channel(fit.alphas, codes, kernel, channels)
    assert np.array_equal(generated, fit.weights)
    assert not fit.weights[0].any() and (fit.scale > 0).all()


@pytest.mark.parametrize("channels", [16, 21, 40])
def test_channel_axis_outputs_are_closer(channels):
    random = np.random.default_rng(channels)
    weights = random.normal(size=(8, channels, 2, 2))
    train, test = (correlated(random, 4000, 4 * channels) for _ in range(2))
    codes = ovsf.channel_codes(range(10))
    covariance = train.T @ train / len(train)
    found = output_error(weights, ovsf.fit_channel(weights, codes, covariance=covariance), test)
    assert found < 0.7 * output_error(weights, ovsf.fit_channel(weights, codes), test)
    # Negative twin: the same covariance with its places mixed up does not help.
    mixed = random.permutation(len(covariance))
    shuffled = covariance[np.ix_(mixed, mixed)]
    worse = ovsf.fit_channel(weights, codes, covariance=shuffled)
    assert output_error(weights, worse, test) > 1.5 * found


# --- statistics of the inputs ---------------------------------------------------------------------


def test_moments_are_those_of_the_inputs(tmp_path):
    """Against windows cut out by hand: strides, padding, groups, and a mean in front of a Gemm."""
    b = Builder(["N", 4, 7, 6])
    b.conv(6, 2, (3, 2), group=2, strides=[2, 1], pads=[1, 0, 2, 1], name="first")
    b.node("Relu")
    b.node("GlobalAveragePool")
    b.node("Flatten")
    b.gemm(3, 6)
    b.nodes[-1].name = "last"
    graph = read_float(b.save(tmp_path / "net.onnx"))
    images = np.random.default_rng(0).normal(size=(120, 4, 7, 6)).astype(np.float32)
    found = input_moments(graph, float_model(graph), images, {"first", "last"})
    padded = np.pad(images, ((0, 0), (0, 0), (1, 2), (0, 1)))
    for group in range(2):
        rows = np.array(
            [
                padded[i, 2 * group : 2 * group + 2, y : y + 3, x : x + 2].ravel()
                for i in range(120)
                for y in range(0, 8, 2)
                for x in range(6)
            ]
        )
        assert np.allclose(found["first"].mean[group], rows.mean(axis=0), atol=1e-5)
        assert np.allclose(found["first"].covariance[group], np.cov(rows.T, bias=True), atol=1e-4)
    relu = next(layer.output for layer in graph.layers if layer.name == "first")
    model = float_model(graph)
    del model.graph.output[:]
    model.graph.output.add(name=relu)
    means = run(model, images).mean(axis=(2, 3))
    assert np.allclose(found["last"].mean[0], means.mean(axis=0), atol=1e-5)
    assert np.allclose(found["last"].covariance[0], np.cov(means.T, bias=True), atol=1e-4)


# --- whole networks -------------------------------------------------------------------------------


def output_snr(source, sample, test, tmp_path, **options):
    network, fits = convert(source, lambda _graph: sample, Options(**options))
    path = tmp_path / "converted.onnx"
    write_converted(network, path)
    return ovsf.snr_db(float_logits(source, test), float_logits(path, test)), fits


def test_nine_of_nine_codes_cost_no_half_decibel_at_the_output_of_mnist(tmp_path):
    """All three convolutions with codes, on test images; fitted to the weights they cost more."""
    data = load_mnist()
    sample, test = normalise(data.train_images[:300]), normalise(data.test_images[:1000])
    full = {"n": 9, "keep_codes": True}
    dense, _ = output_snr(MNIST, sample, test, tmp_path)
    for first in (True, False):
        coded, fits = output_snr(MNIST, sample, test, tmp_path, dense_first=first, **full)
        assert coded > dense - 0.5
        # What is measured on the sample images says so, too.
        assert all(fit.output_snr_db > 38 for fit in fits if fit.output_snr_db is not None)
    # Negative twin: fitted to the weights, 1.3 bits are lost, and it shows.
    worse, fits = output_snr(
        MNIST, sample, test, tmp_path, dense_first=False, fit="weights", **full
    )
    assert worse < dense - 0.8
    assert all(fit.output_snr_db is None for fit in fits)


@pytest.mark.parametrize("make", [residual_network, shortcut_network])
@pytest.mark.parametrize("seed", [1, 2])
def test_nine_of_nine_codes_cost_no_half_decibel_on_random_networks(tmp_path, make, seed):
    source = make(seed).save(tmp_path / "net.onnx")
    random = np.random.default_rng(0)
    sample, test = random.normal(size=(2, 200, 3, 12, 12)).astype(np.float32)
    dense, _ = output_snr(source, sample, test, tmp_path)
    coded, _ = output_snr(source, sample, test, tmp_path, n=9, keep_codes=True)
    assert coded > dense - 0.5


def test_all_lattices_of_nine_codes_are_one():
    """Why the choice of nine codes does not matter on the weights, and what they cost at least.

    Every regular set of nine codes of the 3x3 crop generates the same integer weights: one in 4096
    of all. So a step is 4096^(1/9) = 2.52 times as large as of plain integers: 1.33 bits, 8 dB.
    """
    codes = ovsf.kernel_codes(3).astype(float)
    base = codes[ovsf.sequential_codes(np.zeros((1, 9)), ovsf.kernel_codes(3), 9)]
    sets = np.array(list(itertools.combinations(range(16), 9)))
    determinants = np.rint(np.abs(np.linalg.det(codes[sets])))
    assert set(determinants) == {0.0, 4096.0}
    # Same determinant, and every code is an integer sum of those of the base: the same lattice.
    sums = codes @ np.linalg.inv(base)
    assert np.allclose(sums, np.rint(sums), atol=1e-9)


@pytest.mark.parametrize("axis", ["kernel", "channel"])
def test_target_takes_the_fewest_codes_that_reach_it(tmp_path, axis):
    """Against a conversion with each number of codes; a layer that cannot reach it stays dense."""
    b = Builder(["N", 3, 12, 12])
    b.conv(16, 3, name="first")
    b.node("Relu")
    b.conv(20, 16, name="second")
    b.node("Relu")
    b.node("GlobalAveragePool")
    b.node("Flatten")
    b.gemm(10, 20)
    source = b.save(tmp_path / "net.onnx")
    sample = np.random.default_rng(1).normal(size=(60, 3, 12, 12)).astype(np.float32)

    def second(**options):
        network, fits = convert(source, lambda _graph: sample, Options(axis=axis, **options))
        assert not network.layers[0].codes
        return len(network.layers[1].codes), fits[1].output_snr_db

    most = 9 if axis == "kernel" else 16
    reached = {
        n: second(per_layer={"second": Codes(n, axis)}, keep_codes=True)[1]
        for n in range(1, most + 1)
    }
    for target in (reached[3] - 0.01, reached[5], (reached[6] + reached[7]) / 2):
        n, found = second(target_snr=target)
        assert n == min(n for n, snr in reached.items() if snr >= target - 1e-9)
        assert found == pytest.approx(reached[n])
    assert second(target_snr=90.0)[0] == 0
    assert second(target_snr=90.0, keep_codes=True)[0] == most
