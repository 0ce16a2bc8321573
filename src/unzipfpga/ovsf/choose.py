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

Chooser = Callable[[NDArray[np.floating], NDArray[np.int8], int], list[int]]


def _check(candidates: NDArray[np.int8], n: int) -> None:
    if not 1 <= n <= candidates.shape[1]:
        raise ValueError(f"n is 1 to {candidates.shape[1]} codes here, not {n}")


def greedy_codes(samples: NDArray[np.floating], candidates: NDArray[np.int8], n: int) -> list[int]:
    """Choose codes by forward selection; each step takes the one with the least joint error.

    The error of a set with orthonormal basis Q is trace(S) - trace(Q S Q^T), S = samples^T samples,
    so a candidate gains q S q^T, q its normalised part outside the span of the codes chosen so far.

    Parameters
    ----------
    samples : float array [N, P]
        What is to be fitted: P taps (or channels) of N filter and channel pairs.
    candidates : int8 array [L, P]
        All codes, cropped.
    n : int
        How many to choose, 1 to P.

    Returns
    -------
    list of n ints
        In the order of choice; the rows are linearly independent. Ties go to the lowest index.
    """
    _check(candidates, n)
    wanted = samples.astype(np.float64)
    moment = wanted.T @ wanted
    outside = candidates.astype(np.float64)  # each candidate's part outside the chosen span
    chosen: list[int] = []
    for _ in range(n):
        norms = (outside**2).sum(axis=1)
        gains = np.einsum("lp,pq,lq->l", outside, moment, outside) / np.maximum(norms, 1e-9)
        # A +-1 row has norm P; what is left of a dependent one is rounding noise.
        gains[norms < 1e-9 * candidates.shape[1]] = -np.inf
        # Equal gains differ by rounding: take the lowest index among those, on every machine.
        best = int(np.flatnonzero(gains >= gains.max() - 1e-12 * np.trace(moment))[0])
        chosen.append(best)
        direction = outside[best] / np.sqrt(norms[best])
        outside = outside - np.outer(outside @ direction, direction)
    return chosen


def sequential_codes(
    samples: NDArray[np.floating], candidates: NDArray[np.int8], n: int
) -> list[int]:
    """Choose the first n linearly independent codes, whatever the weights: the usual baseline.

    Parameters and result are those of `greedy_codes`; `samples` is not looked at.
    """
    _check(candidates, n)
    chosen: list[int] = []
    for j in range(len(candidates)):
        rows = candidates[[*chosen, j]].astype(np.float64)
        if len(chosen) < n and np.linalg.matrix_rank(rows) == len(rows):
            chosen.append(j)
    return chosen


CHOOSERS: dict[str, Chooser] = {"greedy": greedy_codes, "sequential": sequential_codes}


def choose_codes(
    method: str, samples: NDArray[np.floating], candidates: NDArray[np.int8], n: int
) -> list[int]:
    """Choose n codes by the named method, `greedy` or `sequential`; prove that they have full rank.

    Raises
    ------
    ValueError
        If the method is unknown or n is out of range.
    ArithmeticError
        If the chosen rows are dependent. No input should reach this.
    """
    if method not in CHOOSERS:
        raise ValueError(f"codes are chosen by {' or '.join(CHOOSERS)}, not {method!r}")
    chosen = CHOOSERS[method](samples, candidates, n)
    if len(chosen) != n or np.linalg.matrix_rank(candidates[chosen].astype(np.float64)) != n:
        raise ArithmeticError(f"the chosen codes {chosen} do not have rank {n}")
    return chosen
