# SPDX-License-Identifier: Apache-2.0
"""Integer alphas that keep a layer's outputs, rather than its weights, close to the float ones.

With inputs of covariance H, the mean squared error of a filter's outputs is e H e^T, e the error of
its weights. Weights are alphas times codes, block by block (w = a K), so integer alphas a cost
(a - r) Q (a - r)^T more than the best real ones r, with Q = K H K^T: a closest-vector problem.

It is solved as by Babai's nearest plane, which GPTQ does with single weights, here with the blocks
of n alphas that share a channel (or 16 channels). Q = G G^T with G upper triangular makes the error
the sum over blocks b of |sum over a <= b of e_a G_ab|^2, so each block is rounded such that it
makes up for the errors of those before it. Inside a block, steps of one or two alphas follow until
none helps.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

Array = NDArray[np.float64]

# Scales tried for each filter, in units of the one at which its largest alpha or weight becomes the
# largest integer. A smaller one clips a few weights and rounds all others more finely. Filters of
# few blocks get more tries, which cost little: some scale suits their few weights by chance.
SMALLEST_SCALE = 0.85
MOST_SCALES, BLOCK_FITS = 32, 64
# Share of the mean variance that is added to every input's: what a few thousand samples say of a
# few thousand inputs is not to be taken literally.
DAMPING = 0.01
# Added to Q's diagonal, as a share of its mean: with a ragged last block, alphas are not unique.
RIDGE = 1e-9
STEPS = 1000  # per block, at most: each one lowers an error or ends the search


def damped(covariance: Array) -> Array:
    """Return a covariance [D, D] with a share of the mean variance added to every variance."""
    variance = float(np.trace(covariance)) / len(covariance)
    # Inputs that never change: any metric is right, so that of the weights.
    return covariance + (DAMPING * variance or 1.0) * np.eye(len(covariance))


def round_block(wanted: Array, metric: Array, codes: Array, limit: int) -> Array:
    """Return integers [F, n] close to `wanted`, all of them and their taps within the limit.

    Parameters
    ----------
    wanted : float64 array [F, n]
    metric : float64 array [n, n]
        The error of a row e is e metric e^T.
    codes : float64 array [n, P]
        +1 and -1.
    limit : int

    Returns
    -------
    float64 array [F, n]
        No step of one alpha, or of two alphas at once by as much, lowers a row's error.
    """
    n = len(codes)
    # Rounding n alphas moves a tap by n/2 at most.
    reach = np.maximum(np.abs(wanted).max(axis=1), np.abs(wanted @ codes).max(axis=1))
    shrink = np.minimum(1.0, (limit - n / 2) / np.maximum(reach, 1e-12))
    result: Array = np.rint(wanted * shrink[:, np.newaxis])
    unit = np.eye(n)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    steps = np.array([*unit, *(unit[i] + s * unit[j] for i, j in pairs for s in (1.0, -1.0))])
    cost = np.einsum("dn,nm,dm->d", steps, metric, steps)
    along = steps @ metric
    step_taps = steps @ codes
    active = np.arange(len(result))
    for _ in range(STEPS):
        now = result[active]
        taps = now @ codes
        slope = (wanted[active] - now) @ along.T
        # Along a step the error is a parabola: so many times it is best done, if there is room.
        times = np.rint(np.abs(slope) / cost)
        most = times.max(axis=1)
        close = np.abs(now).max(axis=1) + most > limit
        close |= np.abs(taps).max(axis=1) + 2 * most > limit
        signs = np.sign(slope[close])[..., np.newaxis]
        for values, change in ((now, steps), (taps, step_taps)):
            moves = signs * change
            room = limit - values[close, np.newaxis] * np.sign(moves)
            room = np.where(moves != 0, room, np.inf) / np.maximum(np.abs(moves), 1)
            times[close] = np.minimum(times[close], np.floor(room.min(axis=2)))
        gain = times * (2 * np.abs(slope) - times * cost)
        best = gain.argmax(axis=1)
        rows = np.arange(len(active))
        better = gain[rows, best] > 1e-9 * cost[best]
        if not better.any():
            break
        rows, best, active = rows[better], best[better], active[better]
        lengths = np.sign(slope[rows, best]) * times[rows, best]
        result[active] += lengths[:, np.newaxis] * steps[best]
    return result


def _round_blocks(real: Array, factor: Array, codes: Array, limit: int) -> Array:
    """Round alphas [F, B, n], block after block; `factor` is G, [B*n, B*n]."""
    filters, blocks, n = real.shape
    result = np.empty_like(real)
    errors = np.zeros((filters, blocks * n))
    for block in range(blocks):
        own = slice(block * n, (block + 1) * n)
        before = slice(0, block * n)
        carried = errors[:, before] @ factor[before, own]
        wanted = real[:, block] + np.linalg.solve(factor[own, own].T, carried.T).T
        metric = factor[own, own] @ factor[own, own].T
        result[:, block] = round_block(wanted, metric, codes, limit)
        errors[:, own] = real[:, block] - result[:, block]
    return result


def fit_alphas(
    weights: Array, codes: Array, covariance: Array, limit: int, floor: Array
) -> tuple[Array, Array]:
    """Fit integer alphas, and a scale per filter, to the outputs of a layer.

    Parameters
    ----------
    weights : float64 array [F, B, P]
        B blocks of P weights.
    codes : float64 array [n, P]
        +1 and -1.
    covariance : float64 array [B*P, B*P]
        Of the inputs, damped; 0 for weights that do not exist.
    limit : int
        Largest magnitude of an alpha and of a generated weight.
    floor : float64 array [F]
        Smallest scale that each filter may have.

    Returns
    -------
    alphas : float64 array [F, B, n]
        Integers.
    scale : float64 array [F]
        > 0.
    """
    filters, blocks, taps = weights.shape
    n = len(codes)
    flat = weights.reshape(filters, -1)
    half = (covariance.reshape(-1, taps) @ codes.T).reshape(blocks * taps, blocks * n)  # H K^T
    metric = (codes @ half.reshape(blocks, taps, -1)).reshape(blocks * n, blocks * n)
    metric = (metric + metric.T) / 2
    metric += (RIDGE * float(np.trace(metric)) / len(metric)) * np.eye(len(metric))
    # The blocks that matter most come first: those behind them make up for their errors.
    weight_of = np.diagonal(metric).reshape(blocks, n).sum(axis=1)
    order = np.argsort(-weight_of, kind="stable")
    places = (order[:, np.newaxis] * n + np.arange(n)).ravel()
    ordered = metric[np.ix_(places, places)]
    factor = np.linalg.cholesky(ordered[::-1, ::-1])[::-1, ::-1]
    # The best real alphas: Q r = K H w.
    wanted = solve_triangular(factor, (half.T @ flat.T)[places])
    real = np.empty((filters, blocks, n))
    real[:, order] = solve_triangular(factor, wanted, trans="T").T.reshape(real.shape)
    largest = np.maximum(
        np.abs(real).max(axis=(1, 2), initial=0), np.abs(real @ codes).max(axis=(1, 2), initial=0)
    )
    best, best_scale = np.zeros_like(real), np.ones(filters)
    best_error = np.full(filters, np.inf)
    tries = min(MOST_SCALES, max(1, BLOCK_FITS // blocks))
    for share in np.linspace(1.0, SMALLEST_SCALE, tries):
        scale = np.maximum(largest / limit * share, floor)
        scale = np.where(scale > 0, scale, 1.0)[:, np.newaxis, np.newaxis]
        alphas = np.empty_like(real)
        alphas[:, order] = _round_blocks((real / scale)[:, order], factor, codes, limit)
        errors = (real - alphas * scale)[:, order].reshape(filters, -1) @ factor
        error = (errors**2).sum(axis=1)
        better = error < best_error
        best[better], best_scale[better] = alphas[better], scale[better, 0, 0]
        best_error[better] = error[better]
    # The least-squares scale of the integers found.
    generated = (best @ codes).reshape(filters, -1)
    weighted = generated @ covariance
    energy = (weighted * generated).sum(axis=1)
    rescaled = (weighted * flat).sum(axis=1) / np.where(energy > 0, energy, 1.0)
    best_scale = np.where((energy > 0) & (rescaled > 0), np.maximum(rescaled, floor), best_scale)
    return best, best_scale
