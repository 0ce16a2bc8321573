# SPDX-License-Identifier: Apache-2.0
"""OVSF codes are the rows of a Sylvester-Hadamard matrix: H[j][i] = (-1)^popcount(j & i).

Kernel axis: tap (ky, kx) of a K x K kernel is position E*ky + kx of an E x E grid, E the next power
of two >= K, so codes have length E*E and are cropped to K*K taps. Channel axis: blocks of 16 input
channels, codes of length 16, nothing cropped.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHANNEL_LENGTH = 16
KERNEL_SIZES = range(2, 8)


def hadamard(length: int) -> NDArray[np.int8]:
    """Return the Sylvester-Hadamard matrix: int8 [length, length] of +1 and -1.

    Raises
    ------
    ValueError
        If `length` is not a power of two.
    """
    if length < 1 or length & (length - 1):
        raise ValueError(f"the length of a Hadamard matrix is a power of two, not {length}")
    index = np.arange(length)
    both = index[:, np.newaxis] & index
    parity = np.zeros_like(both)
    while both.any():
        parity ^= both & 1
        both >>= 1
    return (1 - 2 * parity).astype(np.int8)


def grid_size(kernel: int) -> int:
    """Return E, the smallest power of two that is at least the kernel size."""
    return 1 << (kernel - 1).bit_length()


def _select(matrix: NDArray[np.int8], codes: Sequence[int] | None) -> NDArray[np.int8]:
    """Return the rows `codes` (all if None), refusing indices that are no code or come twice."""
    if codes is None:
        return matrix
    if len(set(codes)) != len(codes) or not all(0 <= j < len(matrix) for j in codes):
        raise ValueError(f"codes are distinct indices below {len(matrix)}, not {list(codes)}")
    return matrix[list(codes)]


def kernel_codes(kernel: int, codes: Sequence[int] | None = None) -> NDArray[np.int8]:
    """Return kernel-axis codes cropped to the kernel.

    Parameters
    ----------
    kernel : int
        K, 2 to 7.
    codes : sequence of int, optional
        Code indices j, each below E*E; None means all of them in order.

    Returns
    -------
    int8 array [n, K*K]
        Row k holds H[codes[k]][E*ky + kx], taps in the order ky*K + kx.

    Raises
    ------
    ValueError
        If the kernel size is out of range, or a code is out of range or repeated.
    """
    if kernel not in KERNEL_SIZES:
        raise ValueError(f"kernel-axis codes are for kernel sizes 2 to 7, not {kernel}")
    edge = grid_size(kernel)
    grid = hadamard(edge * edge).reshape(-1, edge, edge)
    return _select(grid[:, :kernel, :kernel].reshape(-1, kernel * kernel), codes)


def channel_codes(codes: Sequence[int] | None = None) -> NDArray[np.int8]:
    """Return channel-axis codes: int8 [n, 16]; None means all 16 in order.

    Raises
    ------
    ValueError
        If a code is out of range or repeated.
    """
    return _select(hadamard(CHANNEL_LENGTH), codes)


def generate_kernel(
    alphas: NDArray[np.integer], codes: Sequence[int], kernel: int
) -> NDArray[np.int32]:
    """Generate weights from kernel-axis alphas; exact, nothing rounded or saturated.

    `w[f][c][ky][kx] = sum over k of a[f][c][k] * H[codes[k]][E*ky + kx]`

    Parameters
    ----------
    alphas : integer array [C_out, C_in, n]
    codes : sequence of n ints
    kernel : int
        K, 2 to 7.

    Returns
    -------
    int32 array [C_out, C_in, K, K]
    """
    taps = alphas.astype(np.int32) @ kernel_codes(kernel, codes).astype(np.int32)
    return taps.reshape(*alphas.shape[:2], kernel, kernel)


def generate_channel(
    alphas: NDArray[np.integer], codes: Sequence[int], kernel: tuple[int, int], channels: int
) -> NDArray[np.int32]:
    """Generate weights from channel-axis alphas; exact, nothing rounded or saturated.

    `w[f][c][k] = sum over i of a[f][c // 16][k][i] * H[codes[i]][c % 16]`

    Parameters
    ----------
    alphas : integer array [C_out, ceil(C_in/16), Ky*Kx, n]
    codes : sequence of n ints, each below 16
    kernel : (Ky, Kx)
    channels : int
        C_in; the last block may have fewer than 16.

    Returns
    -------
    int32 array [C_out, C_in, Ky, Kx]
    """
    filters, blocks, _, _ = alphas.shape
    words = alphas.astype(np.int32) @ channel_codes(codes).astype(np.int32)
    lanes = words.transpose(0, 1, 3, 2)  # [C_out, blocks, 16, Ky*Kx]
    return lanes.reshape(filters, blocks * CHANNEL_LENGTH, *kernel)[:, :channels]
