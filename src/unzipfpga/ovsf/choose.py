# SPDX-License-Identifier: Apache-2.0
"""Which n codes a layer uses.

Cropped codes are linearly dependent (of the 16 codes of the 4x4 grid, most sets of nine are
singular on the 3x3 crop), so a code's own energy says little about what it adds to others. Greedy
forward selection therefore minimises, at each step, the error of the joint least-squares fit over
all filters.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating]
Candidates = NDArray[np.int8] | NDArray[np.floating]
Chooser = Callable[[Samples, Candidates, int, Samples | None], list[int]]


def _check(candidates: Candidates, n: int) -> None:
    if not 1 <= n <= candidates.shape[1]:
        raise ValueError(f"n is 1 to {candidates.shape[1]} codes here, not {n}")


def greedy_codes(
    samples: Samples, candidates: Candidates, n: int, ragged: Samples | None = None
) -> list[int]:
    """Choose codes by forward selection; each step takes the one with the least joint error.

    The error of a set with orthonormal basis Q is trace(S) - trace(Q S Q^T), S = samples^T samples,
    so a candidate gains q S q^T, q its normalised part outside the span of the codes chosen so far.

    Parameters
    ----------
    samples : float array [N, P]
        What is to be fitted: P taps (or channels) of N filter and channel pairs.
    candidates : int8 or float array [L, P]
        All codes, cropped. Samples and codes may both be given in another metric: times the same
        regular [P, P] matrix.
    n : int
        How many to choose, 1 to P.
    ragged : float array [M, R], optional
        More samples, of which only the first R < P positions count: a last channel block.

    Returns
    -------
    list of n ints
        In the order of choice; the rows are linearly independent. Ties go to the lowest index.
    """
    _check(candidates, n)
    moments, outsides = [], []  # of full and ragged samples; candidates outside the chosen span
    for part in [samples] if ragged is None else [samples, ragged]:
        wanted = part.astype(np.float64)
        moments.append(wanted.T @ wanted)
        outsides.append(candidates[:, : part.shape[1]].astype(np.float64))
    energy = sum(float(np.trace(moment)) for moment in moments)
    chosen: list[int] = []
    for _ in range(n):
        total = np.zeros(len(candidates))
        for index, (moment, outside) in enumerate(zip(moments, outsides, strict=True)):
            norms = (outside**2).sum(axis=1)
            gains = np.einsum("lp,pq,lq->l", outside, moment, outside) / np.maximum(norms, 1e-9)
            # A +-1 row has norm P (in another metric about P); what is left of a dependent one is
            # rounding noise. Cut to the ragged positions, it may well be dependent: then it gains
            # nothing there.
            gains[norms < 1e-9 * outside.shape[1]] = 0.0 if index else -np.inf
            total += gains
        # Equal gains differ by rounding: take the lowest index among those, on every machine.
        best = int(np.flatnonzero(total >= total.max() - 1e-12 * energy)[0])
        chosen.append(best)
        for index, outside in enumerate(outsides):
            norm = float((outside[best] ** 2).sum())
            if norm >= 1e-9 * outside.shape[1]:
                direction = outside[best] / np.sqrt(norm)
                outsides[index] = outside - np.outer(outside @ direction, direction)
    return chosen


def sequential_codes(
    samples: Samples, candidates: Candidates, n: int, ragged: Samples | None = None
) -> list[int]:
    """Choose the first n linearly independent codes, whatever the weights: the usual baseline.

    Parameters and result are those of `greedy_codes`; the samples are not looked at.
    """
    _check(candidates, n)
    chosen: list[int] = []
    for j in range(len(candidates)):
        rows = candidates[[*chosen, j]].astype(np.float64)
        if len(chosen) < n and np.linalg.matrix_rank(rows) == len(rows):
            chosen.append(j)
    return chosen


def energy_codes(
    samples: Samples, candidates: Candidates, n: int, ragged: Samples | None = None
) -> list[int]:
    """Choose the n codes whose own coefficients hold the most energy, skipping dependent ones.

    That is the right choice for orthogonal codes. Cropped codes overlap, so two that say nearly the
    same are both taken: the result is worse than that of `greedy_codes`, and a comparison only.

    Parameters and result are those of `greedy_codes`.
    """
    _check(candidates, n)
    energy = np.zeros(len(candidates))
    for part in [samples] if ragged is None else [samples, ragged]:
        energy += ((part @ candidates[:, : part.shape[1]].T.astype(np.float64)) ** 2).sum(axis=0)
    # Equal energies differ by rounding; lowest index first.
    order = np.lexsort((np.arange(len(energy)), -np.round(energy / (energy.max() or 1.0), 12)))
    chosen: list[int] = []
    for j in order:
        rows = candidates[[*chosen, int(j)]].astype(np.float64)
        if len(chosen) < n and np.linalg.matrix_rank(rows) == len(rows):
            chosen.append(int(j))
    return chosen


CHOOSERS: dict[str, Chooser] = {
    "greedy": greedy_codes,
    "energy": energy_codes,
    "sequential": sequential_codes,
}


def choose_codes(
    method: str,
    samples: Samples,
    candidates: Candidates,
    n: int,
    ragged: Samples | None = None,
) -> list[int]:
    """Choose n codes by the method named in `CHOOSERS`; prove that they have full rank.

    Raises
    ------
    ValueError
        If the method is unknown or n is out of range.
    ArithmeticError
        If the chosen rows are dependent. No input should reach this.
    """
    if method not in CHOOSERS:
        raise ValueError(f"codes are chosen by {', '.join(CHOOSERS)}, not {method!r}")
    chosen = CHOOSERS[method](samples, candidates, n, ragged)
    if len(chosen) != n or np.linalg.matrix_rank(candidates[chosen].astype(np.float64)) != n:
        raise ArithmeticError(f"the chosen codes {chosen} do not have rank {n}")
    return chosen
