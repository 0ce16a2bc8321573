# SPDX-License-Identifier: Apache-2.0
"""Integer weights and alphas with one scale per filter, and the proof that they fit their bits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unzipfpga.errors import RangeError
from unzipfpga.ovsf.codes import CHANNEL_LENGTH
from unzipfpga.ovsf.outputs import damped, fit_alphas

COLUMNS = 4096  # that are refined together: what they need stays in the processor's cache


@dataclass(frozen=True)
class IntegerFit:
    """The fit of one layer: float weight ~ scale[f] * weights.

    Attributes
    ----------
    scale : float64 array [C_out]
        Real value of one integer step of a filter's weights.
    weights : int32 array [C_out, ...]
        The weights that the engine multiplies with, in the shape of the float ones.
    alphas : int32 array [C_out, ..., n] or None
        Coefficients whose signed sums are `weights`; None for dense layers.
    """

    scale: NDArray[np.float64]
    weights: NDArray[np.int32]
    alphas: NDArray[np.int32] | None = None


def snr_db(reference: NDArray[np.floating], approximation: NDArray[np.floating]) -> float:
    """Return 10*log10(sum(reference^2) / sum((reference - approximation)^2)) in dB."""
    signal = float((reference.astype(np.float64) ** 2).sum())
    noise = float(((reference.astype(np.float64) - approximation) ** 2).sum())
    if noise == 0.0:
        return float("inf")
    return 10.0 * float(np.log10(signal / noise)) if signal else float("-inf")


def prove_range(layer: str, what: str, values: NDArray[np.integer], bits: int) -> None:
    """Check that every value is a symmetric `bits`-bit integer, filter by filter.

    Parameters
    ----------
    layer, what : str
        For the message.
    values : integer array [C_out, ...]
    bits : int
        DW; the range is +-(2^(bits-1) - 1).

    Raises
    ------
    RangeError
        Names the layer, the first filter that does not fit, its largest value, and the bound.
    """
    bound = 2 ** (bits - 1) - 1
    largest = np.abs(values.reshape(len(values), -1).astype(np.int64)).max(axis=1, initial=0)
    if largest.max(initial=0) > bound:
        worst = int(np.argmax(largest > bound))
        raise RangeError(
            f"layer {layer}: {what} of filter {worst} reach {largest[worst]}, "
            f"beyond the {bits}-bit bound {bound}"
        )


def _positive(scale: NDArray[np.float64], floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise scales to their floor; a filter of zeros without a floor gets scale 1."""
    raised = np.maximum(scale, floor)
    return np.where(raised > 0, raised, 1.0)


def fit_dense(
    weights: NDArray[np.floating], bits: int = 8, floor: NDArray[np.float64] | None = None
) -> IntegerFit:
    """Round weights to symmetric integers; a filter's largest weight becomes the largest integer.

    Parameters
    ----------
    weights : float array [C_out, ...]
    bits : int
        DW.
    floor : float64 array [C_out], optional
        Smallest scale that each filter may have.

    Returns
    -------
    IntegerFit
    """
    limit = 2 ** (bits - 1) - 1
    wanted = weights.reshape(len(weights), -1).astype(np.float64)
    least = np.zeros(len(weights)) if floor is None else floor
    scale = _positive(np.abs(wanted).max(axis=1, initial=0) / limit, least)
    integers = np.rint(wanted / scale[:, np.newaxis])
    return IntegerFit(scale, integers.reshape(weights.shape).astype(np.int32))


def refine_alphas(
    targets: NDArray[np.float64],
    alphas: NDArray[np.float64],
    matrix: NDArray[np.int8],
    limit: int,
    sweeps: int = 50,
) -> NDArray[np.float64]:
    """Improve integer alphas by coordinate descent until no change of a single one helps.

    Along one alpha the squared error is a parabola, so its best integer value in the interval that
    keeps the alpha and all taps within the limit is known in closed form. A row that starts inside
    the limits stays inside.

    Parameters
    ----------
    targets : float64 array [..., P]
        Weights in units of the filter's scale.
    alphas : float64 array [..., n]
        Integer start values, each within the limit.
    matrix : int8 array [n, P]
        The codes, +1 and -1.
    limit : int
        Largest magnitude of an alpha and of a generated weight.
    sweeps : int
        Upper bound on the number of passes; each pass lowers the error or ends the search.

    Returns
    -------
    float64 array [..., n]
        Integers.
    """
    codes = matrix.astype(np.float64)
    # One column per (filter, channel): NumPy reduces over a short first axis much faster.
    result = alphas.reshape(-1, len(codes)).T.copy()
    wanted = targets.reshape(-1, codes.shape[1]).T
    for first in range(0, result.shape[1], COLUMNS):
        part = slice(first, first + COLUMNS)
        _refine(wanted[:, part], result[:, part], codes, limit, sweeps)
    return result.T.reshape(alphas.shape)


def _refine(
    wanted: NDArray[np.float64],
    result: NDArray[np.float64],
    codes: NDArray[np.float64],
    limit: int,
    sweeps: int,
) -> None:
    """Improve the columns of `result` [n, N] in place; `wanted` is [P, N]."""
    active = np.arange(result.shape[1])  # the columns that the last pass changed
    for _ in range(sweeps):
        now = result[:, active]
        taps = codes.T @ now
        error = wanted[:, active] - taps
        moved = np.zeros(len(active), bool)
        for j, code in enumerate(codes):
            step = np.rint(code @ error / code.size)
            # taps + step*code must stay within +-limit everywhere, and so must the alpha.
            signed = taps * code[:, np.newaxis]
            low = np.maximum(-limit - signed.min(axis=0), -limit - now[j])
            high = np.minimum(limit - signed.max(axis=0), limit - now[j])
            step = np.where(low <= high, np.clip(step, low, high), 0.0)
            change = np.outer(code, step)
            now[j] += step
            taps += change
            error -= change
            moved |= step != 0
        result[:, active] = now
        active = active[moved]
        if not len(active):
            break


def fit_ovsf(
    weights: NDArray[np.floating],
    matrix: NDArray[np.int8],
    bits: int = 8,
    floor: NDArray[np.float64] | None = None,
    covariance: NDArray[np.float64] | None = None,
) -> IntegerFit:
    """Fit integer alphas to weights: least squares, a scale per filter, rounding refined.

    With the covariance of the layer's inputs the error of its outputs is made small
    (`unzipfpga.ovsf.outputs`), without it that of the weights.

    For the weights, three scales per filter are tried, from one that makes the largest fitted value
    the largest integer up to one at which rounding each of n alphas by a half cannot leave the
    range; that last one always fits. Of those whose alphas and generated weights all fit, the best
    is kept, and its scale is then the least-squares one for the integers found.

    Parameters
    ----------
    weights : float array [C_out, ..., P]
        P taps (kernel axis) or 16 channels (channel axis) last.
    matrix : int8 array [n, P]
        The layer's codes, of rank n.
    bits : int
        DW, of alphas and of generated weights alike.
    floor : float64 array [C_out], optional
        Smallest scale that each filter may have.
    covariance : float64 array [D, D], optional
        Of the inputs that a filter's D weights are multiplied with, in the same order.

    Returns
    -------
    IntegerFit
        `weights` in the shape given, `alphas` [C_out, ..., n].
    """
    if covariance is not None:
        return _fit_outputs(weights, matrix, bits, floor, damped(covariance))
    limit = 2 ** (bits - 1) - 1
    n, taps = matrix.shape
    filters = len(weights)
    wanted = weights.reshape(filters, -1, taps).astype(np.float64)
    least = np.zeros(filters) if floor is None else floor
    exact = wanted @ np.linalg.pinv(matrix.astype(np.float64))
    rows = matrix.astype(np.float64)
    largest = np.maximum(
        np.abs(exact).max(axis=(1, 2), initial=0),
        np.abs(exact @ rows).max(axis=(1, 2), initial=0),
    )
    best = np.zeros_like(exact)
    best_scale = np.ones(filters)
    best_error = np.full(filters, np.inf)
    for factor in np.linspace(1.0, limit / (limit - n / 2), 3):
        scale = _positive(largest / limit * factor, least)
        targets = wanted / scale[:, np.newaxis, np.newaxis]
        start = np.rint(exact / scale[:, np.newaxis, np.newaxis])
        alphas = refine_alphas(targets, np.clip(start, -limit, limit), matrix, limit)
        generated = alphas @ rows
        error = ((targets - generated) ** 2).sum(axis=(1, 2)) * scale**2
        better = (np.abs(generated).max(axis=(1, 2), initial=0) <= limit) & (error < best_error)
        best[better], best_scale[better] = alphas[better], scale[better]
        best_error[better] = error[better]
    generated = best @ rows
    energy = (generated**2).sum(axis=(1, 2))
    rescaled = (generated * wanted).sum(axis=(1, 2)) / np.where(energy > 0, energy, 1.0)
    best_scale = np.where((energy > 0) & (rescaled > 0), np.maximum(rescaled, least), best_scale)
    return IntegerFit(
        best_scale,
        generated.reshape(weights.shape).astype(np.int32),
        best.reshape(*weights.shape[:-1], n).astype(np.int32),
    )


def _fit_outputs(
    weights: NDArray[np.floating],
    matrix: NDArray[np.int8],
    bits: int,
    floor: NDArray[np.float64] | None,
    covariance: NDArray[np.float64],
) -> IntegerFit:
    """Fit weights [C_out, ..., P] under a damped covariance of all weights of a filter."""
    n, taps = matrix.shape
    blocks = weights.reshape(len(weights), -1, taps).astype(np.float64)
    rows = matrix.astype(np.float64)
    least = np.zeros(len(weights)) if floor is None else floor
    alphas, scale = fit_alphas(blocks, rows, covariance, 2 ** (bits - 1) - 1, least)
    return IntegerFit(
        scale,
        (alphas @ rows).reshape(weights.shape).astype(np.int32),
        alphas.reshape(*weights.shape[:-1], n).astype(np.int32),
    )


def channel_samples(
    weights: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the 16-channel blocks of weights, and what the last block holds if it is ragged.

    Parameters
    ----------
    weights : float array [C_out, C_in, Ky, Kx]

    Returns
    -------
    float64 array [N, 16]
        The full blocks of every filter and tap; of fewer than 16 channels, [N, C_in].
    float64 array [M, C_in mod 16] or None
    """
    filters, channels = weights.shape[:2]
    # [filter, tap, channel]
    last = weights.reshape(filters, channels, -1).transpose(0, 2, 1).astype(np.float64)
    whole = channels // CHANNEL_LENGTH * CHANNEL_LENGTH
    if not whole:
        return last.reshape(-1, channels), None
    full = last[..., :whole].reshape(-1, CHANNEL_LENGTH)
    rest = last[..., whole:]
    return full, rest.reshape(-1, channels - whole) if channels > whole else None


def fit_channel(
    weights: NDArray[np.floating],
    matrix: NDArray[np.int8],
    bits: int = 8,
    floor: NDArray[np.float64] | None = None,
    covariance: NDArray[np.float64] | None = None,
) -> IntegerFit:
    """Fit integer channel-axis alphas to weights, as `fit_ovsf` does.

    The channels that a ragged last block lacks are free: each is wanted to be what the
    least-squares fit of the others makes it.

    Parameters
    ----------
    weights : float array [C_out, C_in, Ky, Kx]
    matrix : int8 array [n, 16]
        The layer's codes.
    bits, floor, covariance
        As for `fit_ovsf`.

    Returns
    -------
    IntegerFit
        `weights` in the shape given, `alphas` [C_out, ceil(C_in/16), Ky*Kx, n].
    """
    filters, channels = weights.shape[:2]
    blocks = -(-channels // CHANNEL_LENGTH)
    padded = np.zeros((filters, blocks * CHANNEL_LENGTH, *weights.shape[2:]))
    padded[:, :channels] = weights
    wanted = padded.reshape(filters, blocks, CHANNEL_LENGTH, -1).transpose(0, 1, 3, 2).copy()
    rest = channels % CHANNEL_LENGTH
    if rest and covariance is None:
        codes = matrix.astype(np.float64)
        last = wanted[:, -1]
        last[..., rest:] = last[..., :rest] @ np.linalg.pinv(codes[:, :rest]) @ codes[:, rest:]
    if covariance is None:
        fit = fit_ovsf(wanted, matrix, bits, floor)
    else:
        # From the order channel, tap to the order block, tap, lane; lanes without a channel are 0.
        pixels = wanted.shape[2]
        channel, tap = np.divmod(np.arange(channels * pixels), pixels)
        place = (channel // CHANNEL_LENGTH * pixels + tap) * CHANNEL_LENGTH
        place += channel % CHANNEL_LENGTH
        placed = np.zeros((wanted[0].size, wanted[0].size))
        placed[np.ix_(place, place)] = damped(covariance)
        fit = _fit_outputs(wanted, matrix, bits, floor, placed)
    lanes = fit.weights.transpose(0, 1, 3, 2).reshape(padded.shape)
    return IntegerFit(fit.scale, lanes[:, :channels].copy(), fit.alphas)
