# SPDX-License-Identifier: Apache-2.0
"""OVSF codes, and the weights that they generate from alphas.

An orthogonal variable spreading factor (OVSF) code is a row of the Sylvester-Hadamard matrix::

    H[j][i] = (-1) ** popcount(j & i)          0 <= j, i < L, L a power of two

Kernel axis: tap (ky, kx) of a K x K kernel is position ``E*ky + kx`` of an E x E grid, E the next
power of two >= K, so L = E*E, and the K x K corner of the grid is kept. For K = 3, E = 4::

    0  1  2  .        H[j] has 16 entries; the nine whose
    4  5  6  .        positions are shown are the cropped
    8  9 10  .        code of 9 entries, in this order
    .  .  .  .

Channel axis: blocks of L = 16 input channels; channel c is position ``c % 16`` of block
``c // 16``.

Generation neither rounds nor saturates.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]

CHANNEL_BLOCK = 16  # input channels that share one channel-axis alpha


def hadamard(length: int) -> npt.NDArray[np.int8]:
    """Sylvester-Hadamard matrix, ``H[j][i] = (-1) ** popcount(j & i)``.

    Parameters
    ----------
    length : int
        Number L of codes, and of entries of a code; a power of two.

    Returns
    -------
    int8 array [L, L]
        Entries +1 and -1; row j is code j.

    Raises
    ------
    ValueError
        If `length` is not a power of two.
    """
    if length < 1 or length & (length - 1):
        raise ValueError(f"code length {length} is not a power of two")
    index = np.arange(length)
    ones = np.bitwise_count(index[:, None] & index[None, :])
    return np.where(ones % 2, -1, 1).astype(np.int8)


def grid_edge(kernel: int) -> int:
    """Edge E of the code grid of a K x K kernel: the next power of two >= K.

    Parameters
    ----------
    kernel : int
        Kernel size K, at least 1.

    Raises
    ------
    ValueError
        If `kernel` is smaller than 1.
    """
    if kernel < 1:
        raise ValueError(f"kernel size {kernel} is smaller than 1")
    return 1 << (kernel - 1).bit_length()


def kernel_codes(kernel: int, codes: Sequence[int]) -> npt.NDArray[np.int8]:
    """Kernel-axis codes, cropped to K x K.

    Parameters
    ----------
    kernel : int
        Kernel size K.
    codes : sequence of int
        Ordered list of n distinct code indices, each in 0 .. E*E-1.

    Returns
    -------
    int8 array [n, K*K]
        ``H[j][E*ky + kx]`` for every j of `codes` (rows) and every tap ``K*ky + kx`` (columns).

    Raises
    ------
    ValueError
        If a code index repeats or is outside its range.
    """
    edge = grid_edge(kernel)
    _check_codes(codes, edge * edge)
    tap = np.arange(kernel)
    position = (edge * tap[:, None] + tap[None, :]).reshape(-1)
    return hadamard(edge * edge)[np.asarray(codes, dtype=np.intp)][:, position]


def kernel_weights(alphas: IntArray, codes: Sequence[int], kernel: int) -> npt.NDArray[np.int64]:
    """Weights of a kernel-axis layer.

    ``w[f][c][ky][kx] = sum_j a[f][c][j] * H[codes[j]][E*ky + kx]``.

    Parameters
    ----------
    alphas : int array [C_out, C_in, n]
        Coefficients of the codes.
    codes : sequence of int
        The n code indices, in the order of the last axis of `alphas`.
    kernel : int
        Kernel size K.

    Returns
    -------
    int64 array [C_out, C_in, K, K]

    Raises
    ------
    TypeError
        If `alphas` does not hold integers.
    ValueError
        If the shape of `alphas` does not match `codes`, or a code index is invalid.
    """
    a = _check_alphas(alphas, ("C_out", "C_in", "n"), codes)
    c_out, c_in, _ = a.shape
    weights = a @ kernel_codes(kernel, codes).astype(np.int64)
    return weights.reshape(c_out, c_in, kernel, kernel)


def channel_weights(
    alphas: IntArray, codes: Sequence[int], c_in: int, kernel: int | tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Weights of a channel-axis layer.

    ``w[f][c][k] = sum_j a[f][c//16][k][j] * H[codes[j]][c % 16]`` with tap ``k = Kx*ky + kx``.

    Parameters
    ----------
    alphas : int array [C_out, ceil(C_in/16), K*K, n]
        Coefficients of the codes.
    codes : sequence of int
        The n code indices, each in 0 .. 15, in the order of the last axis of `alphas`.
    c_in : int
        Number of input channels; the last block may be partly filled.
    kernel : int or (int, int)
        Kernel size K, or rows and columns.

    Returns
    -------
    int64 array [C_out, C_in, Ky, Kx]

    Raises
    ------
    TypeError
        If `alphas` does not hold integers.
    ValueError
        If the shape of `alphas` does not match the other arguments, or a code index is invalid.
    """
    a = _check_alphas(alphas, ("C_out", "blocks", "K*K", "n"), codes)
    _check_codes(codes, CHANNEL_BLOCK)
    c_out, blocks, taps, _ = a.shape
    k_h, k_w = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    if c_in < 1 or blocks != -(-c_in // CHANNEL_BLOCK) or taps != k_h * k_w:
        raise ValueError(
            f"alphas {a.shape} do not fit {c_in} input channels and a {k_h}x{k_w} kernel: "
            f"[C_out, {-(-c_in // CHANNEL_BLOCK)}, {k_h * k_w}, {len(codes)}] is needed"
        )
    selected = hadamard(CHANNEL_BLOCK)[np.asarray(codes, dtype=np.intp)].astype(np.int64)
    words = a @ selected  # [C_out, blocks, K*K, 16]
    weights = words.transpose(0, 1, 3, 2).reshape(c_out, blocks * CHANNEL_BLOCK, k_h, k_w)
    return weights[:, :c_in]


def _check_codes(codes: Sequence[int], length: int) -> None:
    if len(codes) == 0:
        raise ValueError("the list of codes is empty")
    if len(set(codes)) != len(codes):
        raise ValueError(f"codes {list(codes)} are not distinct")
    for j in codes:
        if not 0 <= j < length:
            raise ValueError(f"code {j} is outside 0..{length - 1}")


def _check_alphas(
    alphas: IntArray, axes: tuple[str, ...], codes: Sequence[int]
) -> npt.NDArray[np.int64]:
    a = np.asarray(alphas)
    if a.dtype.kind not in "iu" or not np.can_cast(a.dtype, np.int64):
        raise TypeError(f"alphas are {a.dtype}; signed integers of at most 64 bits are needed")
    if a.ndim != len(axes) or a.shape[-1] != len(codes):
        raise ValueError(
            f"alphas have shape {a.shape}; [{', '.join(axes)}] with n = {len(codes)} is needed"
        )
    # The sum of n alphas must not wrap in int64: far beyond any DW, so a plain refusal is enough.
    if a.size and max(int(a.max()), -int(a.min())) * len(codes) >= 2**63:
        raise ValueError("alphas are too large for exact generation in 64 bits")
    return a.astype(np.int64)
