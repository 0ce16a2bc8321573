# SPDX-License-Identifier: Apache-2.0
"""OVSF codes, their choice and the integer fit, against brute force and SciPy."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from unzipfpga import ovsf
from unzipfpga.errors import RangeError
from unzipfpga.ovsf import choose
from unzipfpga.ovsf.fit import refine_alphas

SETTINGS = settings(derandomize=True, deadline=None, max_examples=40)


def samples(seed, rows=200, taps=9, kind="normal"):
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, taps)) @ random.normal(size=(taps, taps))
    if kind == "low rank":
        values = random.normal(size=(rows, 2)) @ random.normal(size=(2, taps))
    if kind == "zero":
        values = np.zeros((rows, taps))
    if kind == "one tap":
        values = np.zeros((rows, taps))
        values[:, 4] = random.normal(size=rows)
    return values


def residual(wanted, matrix):
    """Squared error of NumPy's least squares."""
    rows = matrix.astype(np.float64)
    solution = np.linalg.lstsq(rows.T, wanted.T, rcond=None)[0]
    return float(((wanted.T - rows.T @ solution) ** 2).sum())


# --- codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 4, 8, 16, 32, 64])
def test_hadamard_is_scipys(length):
    assert np.array_equal(ovsf.hadamard(length), scipy.linalg.hadamard(length))


@pytest.mark.parametrize("length", [0, 3, 12, -4])
def test_hadamard_refuses_other_lengths(length):
    with pytest.raises(ValueError, match="power of two"):
        ovsf.hadamard(length)


@pytest.mark.parametrize("kernel", ovsf.KERNEL_SIZES)
def test_kernel_codes_follow_the_formula(kernel):
    edge = ovsf.grid_size(kernel)
    codes = ovsf.kernel_codes(kernel)
    assert codes.shape == (edge * edge, kernel * kernel)
    for j in range(edge * edge):
        for ky, kx in itertools.product(range(kernel), repeat=2):
            sign = (-1) ** bin(j & (edge * ky + kx)).count("1")
            assert codes[j, ky * kernel + kx] == sign


@pytest.mark.parametrize("codes", [[0, 0], [16], [-1]])
def test_codes_that_do_not_exist_are_refused(codes):
    with pytest.raises(ValueError, match="distinct indices below 16"):
        ovsf.kernel_codes(3, codes)
    with pytest.raises(ValueError, match="distinct indices below 16"):
        ovsf.channel_codes(codes)


@pytest.mark.parametrize("kernel", [1, 8])
def test_kernel_codes_refuse_other_sizes(kernel):
    with pytest.raises(ValueError, match="2 to 7"):
        ovsf.kernel_codes(kernel)


def test_most_nine_code_sets_of_the_3x3_crop_are_singular():
    """Why codes are not chosen one by one: 7,344 of 11,440 sets do not span the kernel."""
    sets = np.array(list(itertools.combinations(range(16), 9)))
    ranks = np.linalg.matrix_rank(ovsf.kernel_codes(3)[sets].astype(np.float64))
    assert len(sets) == 11440
    assert int((ranks < 9).sum()) == 7344


def test_generation_is_the_double_sum():
    random = np.random.default_rng(3)
    codes = [5, 0, 14, 9]
    alphas = random.integers(-127, 128, (2, 3, 4)).astype(np.int8)
    weights = ovsf.generate_kernel(alphas, codes, 3)
    for f, c, ky, kx in np.ndindex(2, 3, 3, 3):
        signs = [(-1) ** bin(j & (4 * ky + kx)).count("1") for j in codes]
        wanted = sum(int(a) * sign for a, sign in zip(alphas[f, c], signs, strict=True))
        assert weights[f, c, ky, kx] == wanted


def test_channel_generation_is_the_double_sum():
    random = np.random.default_rng(4)
    codes = [1, 15, 6]
    alphas = random.integers(-127, 128, (2, 2, 4, 3)).astype(np.int8)
    weights = ovsf.generate_channel(alphas, codes, (2, 2), alphas.shape[1] * 16)
    assert weights.shape == (2, 32, 2, 2)
    for f, c, ky, kx in np.ndindex(2, 32, 2, 2):
        signs = [(-1) ** bin(j & (c % 16)).count("1") for j in codes]
        own = alphas[f, c // 16, 2 * ky + kx]
        assert weights[f, c, ky, kx] == sum(int(a) * s for a, s in zip(own, signs, strict=True))


# --- choice of codes ------------------------------------------------------------------------------


@SETTINGS
@given(
    seed=st.integers(0, 10**6),
    kernel=st.sampled_from([2, 3, 4, 5]),
    kind=st.sampled_from(["normal", "low rank", "zero", "one tap"]),
    method=st.sampled_from(["greedy", "energy", "sequential"]),
    data=st.data(),
)
def test_chosen_codes_have_full_rank(seed, kernel, kind, method, data):
    taps = kernel * kernel
    n = data.draw(st.integers(1, taps))
    if kind == "one tap" and taps < 5:
        kind = "normal"
    candidates = ovsf.kernel_codes(kernel)
    chosen = ovsf.choose_codes(method, samples(seed, 50, taps, kind), candidates, n)
    assert len(set(chosen)) == n
    assert np.linalg.matrix_rank(candidates[chosen].astype(np.float64)) == n


@pytest.mark.parametrize("seed", range(3))
def test_greedy_takes_the_best_step_each_time(seed):
    """Each code is the one that brute-force least squares over all filters prefers."""
    wanted = samples(seed)
    candidates = ovsf.kernel_codes(3)
    chosen = ovsf.greedy_codes(wanted, candidates, 9)
    for step in range(9):
        errors = {
            j: residual(wanted, candidates[[*chosen[:step], j]])
            for j in range(16)
            if np.linalg.matrix_rank(candidates[[*chosen[:step], j]].astype(float)) == step + 1
        }
        assert errors[chosen[step]] <= min(errors.values()) + 1e-9 * (wanted**2).sum()


@pytest.mark.parametrize("seed", range(3))
def test_greedy_is_near_the_best_of_all_sets(seed):
    """One code is optimal; four are close to the best of all 1,820 sets, not so the first four."""
    wanted = samples(seed)
    candidates = ovsf.kernel_codes(3)
    errors = [residual(wanted, candidates[[j]]) for j in range(16)]
    assert ovsf.greedy_codes(wanted, candidates, 1) == [int(np.argmin(errors))]
    best = min(
        residual(wanted, candidates[list(rows)]) for rows in itertools.combinations(range(16), 4)
    )
    greedy = residual(wanted, candidates[ovsf.greedy_codes(wanted, candidates, 4)])
    sequential = residual(wanted, candidates[ovsf.sequential_codes(wanted, candidates, 4)])
    assert best <= greedy * (1 + 1e-12) <= 1.5 * best
    assert greedy < sequential


def test_sequential_codes_are_the_first_independent_ones():
    candidates = ovsf.kernel_codes(3)
    assert ovsf.sequential_codes(np.zeros((1, 9)), candidates, 9) == [0, 1, 2, 4, 5, 6, 8, 9, 10]


@pytest.mark.parametrize("n", [0, 10, -1])
def test_more_codes_than_taps_are_refused(n):
    with pytest.raises(ValueError, match="1 to 9"):
        ovsf.choose_codes("greedy", samples(0), ovsf.kernel_codes(3), n)
    with pytest.raises(ValueError, match="greedy, energy, sequential"):
        ovsf.choose_codes("loudest", samples(0), ovsf.kernel_codes(3), 4)


def test_a_singular_choice_is_caught(monkeypatch):
    """Negative twin: choosing by each code's own energy, the classic mistake, does not pass."""

    def by_energy(wanted, candidates, n, _ragged):
        energy = ((wanted @ candidates.T.astype(float)) ** 2).sum(axis=0)
        return [int(j) for j in np.argsort(-energy)[:n]]

    monkeypatch.setitem(choose.CHOOSERS, "loudest", by_energy)
    dc = np.ones((10, 9)) + 0.01 * samples(0, 10)
    with pytest.raises(ArithmeticError, match="rank"):
        ovsf.choose_codes("loudest", dc, ovsf.kernel_codes(3), 9)


def test_energy_codes_are_the_loudest_independent_ones():
    """Each code taken has more energy than any later one that was independent at the time."""
    wanted, candidates = samples(3), ovsf.kernel_codes(3)
    chosen = ovsf.energy_codes(wanted, candidates, 9)
    energy = ((wanted @ candidates.T.astype(float)) ** 2).sum(axis=0)
    for step, j in enumerate(chosen):
        for other in set(range(16)) - set(chosen[: step + 1]):
            rows = candidates[[*chosen[:step], other]].astype(float)
            assert energy[other] <= energy[j] or np.linalg.matrix_rank(rows) <= step
    # On orthogonal codes it is the best choice there is; on cropped ones it is not.
    whole = np.random.default_rng(0).normal(size=(200, 16)) * np.linspace(1, 3, 16)
    matrix = ovsf.channel_codes()
    for n in (1, 5, 11):
        assert set(ovsf.energy_codes(whole, matrix, n)) == set(ovsf.greedy_codes(whole, matrix, n))
    errors = {
        choice: residual(wanted, candidates[choice(wanted, candidates, 4)])
        for choice in (ovsf.greedy_codes, ovsf.energy_codes)
    }
    assert errors[ovsf.greedy_codes] < errors[ovsf.energy_codes]


# --- integer fit ----------------------------------------------------------------------------------


def fit(weights, n, bits=8, floor=None):
    candidates = ovsf.kernel_codes(3)
    codes = ovsf.choose_codes("greedy", weights.reshape(-1, 9), candidates, n)
    return ovsf.fit_ovsf(weights, candidates[codes], bits, floor), candidates[codes]


@SETTINGS
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 9),
    bits=st.sampled_from([8, 16]),
    scale=st.sampled_from([1e-6, 1.0, 1e5]),
    outlier=st.booleans(),
)
def test_fit_fits_its_bits(seed, n, bits, scale, outlier):
    """Every alpha and every generated weight is in range, and the weights are the signed sums."""
    weights = samples(seed, 12).reshape(3, 4, 9) * scale
    weights[0] = 0
    if outlier:
        weights[1, 2, 3] *= 1000
    result, matrix = fit(weights, n, bits)
    limit = 2 ** (bits - 1) - 1
    assert np.abs(result.alphas).max() <= limit
    assert np.abs(result.weights).max() <= limit
    assert np.array_equal(result.alphas @ matrix.astype(np.int32), result.weights)
    assert (result.scale > 0).all() and np.isfinite(result.scale).all()
    assert not result.weights[0].any()
    ovsf.prove_range("layer", "weights", result.weights, bits)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_int8_alphas_cost_little_against_real_ones(seed, n):
    weights = samples(seed, 128).reshape(8, 16, 9)
    result, matrix = fit(weights, n)
    exact = weights @ np.linalg.pinv(matrix.astype(float)) @ matrix
    real = ovsf.snr_db(weights, exact)
    integer = ovsf.snr_db(weights, result.weights * result.scale[:, None, None])
    assert real - 0.3 <= integer <= real + 1e-9


# --- channel axis ---------------------------------------------------------------------------------


def fit_channel(weights, n, bits=8, method="greedy"):
    full, ragged = ovsf.channel_samples(weights)
    cut = ovsf.channel_codes()[:, : full.shape[1]]
    codes = ovsf.choose_codes(method, full, cut, n, ragged)
    return ovsf.fit_channel(weights, ovsf.channel_codes(codes), bits), codes


@SETTINGS
@given(
    seed=st.integers(0, 10**6),
    channels=st.integers(1, 40),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 1)]),
    bits=st.sampled_from([8, 16]),
    data=st.data(),
)
def test_channel_fit_fits_its_bits(seed, channels, kernel, bits, data):
    n = data.draw(st.integers(1, min(16, channels)))
    weights = np.random.default_rng(seed).normal(size=(3, channels, *kernel))
    weights[0] = 0
    result, codes = fit_channel(weights, n, bits)
    limit = 2 ** (bits - 1) - 1
    assert len(set(codes)) == n
    cut = ovsf.channel_codes(codes)[:, :channels].astype(float)
    assert np.linalg.matrix_rank(cut) == n
    assert result.alphas.shape == (3, -(-channels // 16), kernel[0] * kernel[1], n)
    assert np.abs(result.alphas).max() <= limit and np.abs(result.weights).max() <= limit
    generated = ovsf.generate_channel(result.alphas, codes, kernel, channels)
    assert np.array_equal(generated, result.weights)
    assert not result.weights[0].any()


def channel_errors(weights, codes):
    """Squared error of the real least-squares fit, block by block."""
    matrix = ovsf.channel_codes(codes).astype(float)
    rows = weights.reshape(*weights.shape[:2], -1).transpose(0, 2, 1)
    blocks = [rows[..., c : c + 16] for c in range(0, rows.shape[-1], 16)]
    return sum(residual(b.reshape(-1, b.shape[-1]), matrix[:, : b.shape[-1]]) for b in blocks)


@pytest.mark.parametrize("channels", [5, 16, 21, 48])
def test_channel_choice_takes_the_best_step_each_time(channels):
    """Joint least squares over full and ragged blocks, each step by brute force."""
    weights = np.random.default_rng(channels).normal(size=(6, channels, 2, 2))
    weights[:, :3] += 2 * np.random.default_rng(1).normal(size=(6, 1, 2, 2))
    n = min(channels, 7)
    chosen = fit_channel(weights, n)[1]
    for step in range(n):
        errors = {}
        for j in set(range(16)) - set(chosen[:step]):
            cut = ovsf.channel_codes([*chosen[:step], j])[:, : min(channels, 16)]
            if np.linalg.matrix_rank(cut.astype(float)) == step + 1:
                errors[j] = channel_errors(weights, [*chosen[:step], j])
        assert errors[chosen[step]] <= min(errors.values()) + 1e-9 * (weights**2).sum()


@pytest.mark.parametrize("channels", [5, 16, 21, 40])
@pytest.mark.parametrize("n", [2, 5])
def test_channel_alphas_cost_little_against_real_ones(channels, n):
    weights = np.random.default_rng(n).normal(size=(8, channels, 3, 3))
    result, codes = fit_channel(weights, n)
    noise = ((weights - result.weights * result.scale[:, None, None, None]) ** 2).sum()
    real = channel_errors(weights, codes)
    assert real * (1 - 1e-9) <= noise <= real * 10**0.03 + 1e-3 * (weights**2).sum()
    # Negative twin: to want 0 of the channels that a ragged block lacks costs far more.
    if channels == 5:
        padded = np.zeros((8, 16, 3, 3))
        padded[:, :5] = weights
        fit = ovsf.fit_channel(padded, ovsf.channel_codes(codes))
        worse = weights - fit.weights[:, :5] * fit.scale[:, None, None, None]
        assert (worse**2).sum() > 1.25 * noise


def test_fit_at_full_rank_is_precise():
    """n = 9 on 3x3 codes, a test point: about 1.3 bits (8 dB) worse than plain int8."""
    weights = samples(5, 512).reshape(8, 64, 9)
    plain = ovsf.fit_dense(weights)
    coded, _ = fit(weights, 9)
    plain_db = ovsf.snr_db(weights, plain.weights * plain.scale[:, None, None])
    coded_db = ovsf.snr_db(weights, coded.weights * coded.scale[:, None, None])
    assert plain_db > 35
    assert plain_db - 12 < coded_db < plain_db


@SETTINGS
@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), limit=st.sampled_from([3, 20, 127]))
def test_refinement_never_hurts_and_ends_at_a_local_optimum(seed, n, limit):
    random = np.random.default_rng(seed)
    matrix = ovsf.kernel_codes(3)[ovsf.sequential_codes(np.zeros((1, 9)), ovsf.kernel_codes(3), n)]
    targets = random.normal(scale=limit / 2, size=(5, 9))
    start = np.zeros((5, n))
    result = refine_alphas(targets, start, matrix, limit)

    def error(alphas):
        return ((targets - alphas @ matrix) ** 2).sum(axis=1)

    assert (error(result) <= error(start) + 1e-9).all()
    assert (np.abs(result) <= limit).all() and (np.abs(result @ matrix) <= limit).all()
    for j, step in itertools.product(range(n), (-2, -1, 1, 2)):
        moved = result.copy()
        moved[:, j] += step
        inside = (np.abs(moved) <= limit).all(axis=1) & (np.abs(moved @ matrix) <= limit).all(
            axis=1
        )
        assert (error(moved)[inside] >= error(result)[inside] - 1e-9).all()


@pytest.mark.parametrize("seed", range(5))
def test_refinement_is_near_the_best_integers_of_two_codes(seed):
    """Against brute force over all pairs of alphas; coordinate descent promises no more than near.

    Mere rounding does worse, or there would be nothing to refine.
    """
    random = np.random.default_rng(seed)
    matrix = ovsf.kernel_codes(3, [0, 6])
    targets = random.normal(scale=4, size=(400, 9))
    rounded = np.clip(np.rint(targets @ np.linalg.pinv(matrix.astype(float))), -12, 12)
    grid = np.array(list(itertools.product(range(-12, 13), repeat=2)))
    grid = grid[(np.abs(grid @ matrix) <= 12).all(axis=1)]

    def error(alphas):
        return ((targets - alphas @ matrix) ** 2).sum(axis=-1)

    result = error(refine_alphas(targets, rounded, matrix, 12))
    best = ((targets[:, None] - grid @ matrix) ** 2).sum(axis=2).min(axis=1)
    assert (result >= best - 1e-9).all()
    assert result.sum() <= 1.01 * best.sum()
    assert np.isclose(result, best).mean() > 0.9
    assert result.sum() < error(rounded).sum()


def test_scale_floor_holds():
    weights = samples(9, 12).reshape(3, 4, 9)
    weights[1] *= 1e-4
    floor = np.full(3, 0.01)
    for result in (ovsf.fit_dense(weights, 8, floor), fit(weights, 4, floor=floor)[0]):
        assert (result.scale >= floor).all()


def test_dense_fit_uses_the_whole_range():
    weights = samples(2, 12).reshape(3, 4, 9)
    result = ovsf.fit_dense(weights)
    assert (np.abs(result.weights).max(axis=(1, 2)) == 127).all()
    error = np.abs(weights - result.weights * result.scale[:, None, None])
    assert (error <= result.scale[:, None, None] / 2 * (1 + 1e-12)).all()


def test_prove_range_names_layer_filter_and_bound():
    """Negative twin: one weight beyond the range, -128 included, is caught."""
    good = np.full((3, 4), -127)
    ovsf.prove_range("conv1", "weights", good, 8)
    for value in (128, -128):
        bad = good.copy()
        bad[2, 1] = value
        with pytest.raises(RangeError, match=r"layer conv1: weights of filter 2 reach 128.*127"):
            ovsf.prove_range("conv1", "weights", bad, 8)
