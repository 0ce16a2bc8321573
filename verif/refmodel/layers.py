# SPDX-License-Identifier: Apache-2.0
"""Layers on integer arrays: exact, one meaning, no tiling.

Activations are integer arrays [N, C, H, W] (or [N, C] for fully connected layers), weights are
integer arrays [C_out, C_in/groups, K_H, K_W] (or [C_out, C_in]). Convolution, fully connected and
sum pooling return *accumulators* (int64, proven to fit the accumulator's width); `post_process`
turns accumulators into the next layer's activations (int32). Padding has the value 0, except in
max pooling, which ignores it. Pads are given in ONNX's order: top, left, bottom, right.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]

M_BITS = 16  # width of the signed multipliers m and m_r
S_MAX = 47  # largest right shift of post-processing
T_MAX = 31  # largest left shift of the residual term


def accumulator_bits(dw: int) -> int:
    """Width of the accumulator in bits: 32 for activations of 8 bits, 48 for 16 bits.

    Raises
    ------
    ValueError
        If `dw` is neither 8 nor 16.
    """
    if dw not in (8, 16):
        raise ValueError(f"activation width {dw} is not supported; 8 or 16 is")
    return 32 if dw == 8 else 48


def check_accumulator(acc: IntArray, acc_bits: int) -> None:
    """Refuse accumulators that do not fit their width.

    Only final sums are looked at: partial sums may wrap in two's complement without any effect on
    a final sum that fits.

    Parameters
    ----------
    acc : int array [N, C, ...]
        Accumulators.
    acc_bits : int
        Width of the accumulator in bits, sign included.

    Raises
    ------
    OverflowError
        If a value is outside -2**(acc_bits-1) .. 2**(acc_bits-1)-1; names value and channel.
    """
    if _signed(acc, acc_bits):
        return
    at = int(acc.argmin() if int(acc.min()) < -(1 << (acc_bits - 1)) else acc.argmax())
    channel = np.unravel_index(at, acc.shape)[1]
    raise OverflowError(
        f"accumulator {int(acc.flat[at])} of channel {channel} does not fit {acc_bits} bits"
    )


def _exact_dtype(rows: IntArray, magnitude: int) -> npt.DTypeLike:
    """Fastest type in which `rows` [..., K] times values up to `magnitude` add up exactly.

    Every partial sum, in any order, is an integer of at most ``magnitude * max(sum|row|)``.
    Float32 holds all integers up to 2**24, float64 up to 2**53.
    """
    largest = _magnitude(rows) * rows.shape[-1]
    if largest < 2**63:  # the row sums do not wrap, so the tighter bound can be computed
        largest = int(np.abs(rows.astype(np.int64)).sum(axis=-1).max(initial=0))
    bound = largest * magnitude
    if bound < 2**24:
        return np.float32
    if bound < 2**53:
        return np.float64
    if bound < 2**63:
        return np.int64
    raise OverflowError(f"sums of products up to {bound} are not proven to fit 64 bits")


def exact_matmul(a: IntArray, b: IntArray) -> npt.NDArray[np.int64]:
    """Matrix product of integers through the fastest arithmetic that is provably exact.

    Parameters
    ----------
    a : int array [M, K]
        Left operand.
    b : int array [..., K, P]
        Right operand.

    Returns
    -------
    int64 array [..., M, P]

    Raises
    ------
    OverflowError
        If the product is not proven to fit 64 bits.
    """
    dtype = _exact_dtype(a, _magnitude(b))
    product: npt.NDArray[np.int64] = (a.astype(dtype) @ b.astype(dtype)).astype(np.int64)
    return product


def conv2d(
    x: IntArray,
    w: IntArray,
    stride: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
    acc_bits: int = 32,
) -> npt.NDArray[np.int64]:
    """Convolution (cross-correlation, as in ONNX), exact.

    ``acc[n][f][y][x] = sum_{c,ky,kx} w[f][c][ky][kx] * x[n][c][S_H*y+ky-top][S_W*x+kx-left]``

    Parameters
    ----------
    x : int array [N, C_in, H, W]
        Activations.
    w : int array [C_out, C_in/groups, K_H, K_W]
        Weights.
    stride : (int, int)
        Vertical and horizontal stride in pixels.
    pads : (int, int, int, int)
        Rows and columns of zeros added at the top, left, bottom and right.
    groups : int
        Filter f sees only the channels of group ``f // (C_out/groups)``.
    acc_bits : int
        Width of the accumulator in bits.

    Returns
    -------
    int64 array [N, C_out, H_out, W_out]
        Accumulators.

    Raises
    ------
    TypeError
        If an operand does not hold integers.
    ValueError
        If shapes, strides, pads or groups do not fit together.
    OverflowError
        If an accumulator does not fit `acc_bits`.
    """
    x = _integers("activations", x, ("N", "C", "H", "W"))
    w = _integers("weights", w, ("C_out", "C_in", "K_H", "K_W"))
    batch, c_in, height, width = x.shape
    c_out, group_in, k_h, k_w = w.shape
    if groups < 1 or c_out % groups or c_in != group_in * groups:
        raise ValueError(
            f"weights {w.shape} in {groups} groups do not fit activations with {c_in} channels"
        )
    out_h, out_w = output_size((height, width), (k_h, k_w), stride, pads)

    group_out = c_out // groups
    rows = w.reshape(groups, group_out, group_in * k_h * k_w)
    dtype = _exact_dtype(rows, _magnitude(x))
    top, left, bottom, right = pads
    padded = np.pad(x.astype(dtype), ((0, 0), (0, 0), (top, bottom), (left, right)))
    # Unfolded with the pixels of all images as columns: one large matrix product for each group.
    columns = np.empty((c_in, k_h, k_w, batch, out_h, out_w), dtype=dtype)
    for ky in range(k_h):
        for kx in range(k_w):
            columns[:, ky, kx] = _taps(padded, ky, kx, stride, (out_h, out_w)).swapaxes(0, 1)
    unfolded = columns.reshape(groups, group_in * k_h * k_w, batch * out_h * out_w)

    acc = np.empty((batch, groups, group_out, out_h * out_w), dtype=np.int64)
    for group in range(groups):
        product = rows[group].astype(dtype) @ unfolded[group]
        acc[:, group] = product.reshape(group_out, batch, out_h * out_w).swapaxes(0, 1)
    acc = acc.reshape(batch, c_out, out_h, out_w)
    check_accumulator(acc, acc_bits)
    return acc


def fully_connected(x: IntArray, w: IntArray, acc_bits: int = 32) -> npt.NDArray[np.int64]:
    """Fully connected layer, exact: ``acc[n][f] = sum_c w[f][c] * x[n][c]``.

    Parameters
    ----------
    x : int array [N, C_in]
        Activations.
    w : int array [C_out, C_in]
        Weights.
    acc_bits : int
        Width of the accumulator in bits.

    Returns
    -------
    int64 array [N, C_out]
        Accumulators.

    Raises
    ------
    TypeError, ValueError, OverflowError
        As `conv2d`.
    """
    x = _integers("activations", x, ("N", "C"))
    w = _integers("weights", w, ("C_out", "C_in"))
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"weights {w.shape} do not fit activations with {x.shape[1]} channels")
    acc = np.ascontiguousarray(exact_matmul(w, x.T).T)
    check_accumulator(acc, acc_bits)
    return acc


def global_average_pool_fully_connected(
    x: IntArray, w: IntArray, acc_bits: int = 32
) -> npt.NDArray[np.int64]:
    """Global average pool fused with the fully connected layer behind it, without rounding.

    ``acc[n][f] = sum_{c,y,x} w[f][c] * x[n][c][y][x]``. The division by H*W is part of the scale,
    that is of m and s in `post_process`.

    Parameters
    ----------
    x : int array [N, C_in, H, W]
        Activations.
    w : int array [C_out, C_in]
        Weights.
    acc_bits : int
        Width of the accumulator in bits.

    Returns
    -------
    int64 array [N, C_out]
        Accumulators.

    Raises
    ------
    TypeError, ValueError, OverflowError
        As `conv2d`.
    """
    x = _integers("activations", x, ("N", "C", "H", "W"))
    if _magnitude(x) * x.shape[2] * x.shape[3] >= 2**63:
        raise OverflowError("the sum over the pixels is not proven to fit 64 bits")
    return fully_connected(x.sum(axis=(2, 3), dtype=np.int64), w, acc_bits)


def max_pool(
    x: IntArray,
    kernel: Pair,
    stride: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    ceil_mode: bool = False,
) -> IntArray:
    """Maximum over windows; padding is ignored.

    Parameters
    ----------
    x : int array [N, C, H, W]
        Activations.
    kernel, stride : (int, int)
        Height and width of the window, and its vertical and horizontal step.
    pads : (int, int, int, int)
        Padding at the top, left, bottom and right.
    ceil_mode : bool
        Whether a last window that hangs over the edge counts (see `output_size`).

    Returns
    -------
    array [N, C, H_out, W_out] of the dtype of `x`

    Raises
    ------
    TypeError
        If `x` does not hold integers.
    ValueError
        If the window does not fit, or one of its positions holds nothing but padding.
    """
    x = _integers("activations", x, ("N", "C", "H", "W"))
    height, width = x.shape[2:]
    if pads[0] >= kernel[0] or pads[2] >= kernel[0] or pads[1] >= kernel[1] or pads[3] >= kernel[1]:
        raise ValueError(f"pads {pads} leave a {kernel} window with nothing but padding")
    out_h, out_w = output_size((height, width), kernel, stride, pads, ceil_mode)
    top, left, _, _ = pads
    # In ceil mode the last window reaches beyond the given padding: extend to what it covers.
    bottom = max(0, (out_h - 1) * stride[0] + kernel[0] - height - top)
    right = max(0, (out_w - 1) * stride[1] + kernel[1] - width - left)
    lowest = np.iinfo(x.dtype).min
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=lowest)
    y = np.full((*x.shape[:2], out_h, out_w), lowest, dtype=x.dtype)
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            np.maximum(y, _taps(padded, ky, kx, stride, (out_h, out_w)), out=y)
    return y


def sum_pool(
    x: IntArray,
    kernel: Pair,
    stride: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    acc_bits: int = 32,
) -> npt.NDArray[np.int64]:
    """Sum over windows, padding counted as 0: the accumulators of an average pool.

    The division by the window's size is part of the scale, that is of m and s in `post_process`.
    Every window has the same divisor in ONNX with ``count_include_pad = 1``; without it, that of
    `window_pixels`.

    Parameters
    ----------
    x : int array [N, C, H, W]
        Activations.
    kernel, stride : (int, int)
        Height and width of the window, and its vertical and horizontal step.
    pads : (int, int, int, int)
        Rows and columns of zeros added at the top, left, bottom and right.
    acc_bits : int
        Width of the accumulator in bits.

    Returns
    -------
    int64 array [N, C, H_out, W_out]

    Raises
    ------
    TypeError, ValueError, OverflowError
        As `conv2d`.
    """
    x = _integers("activations", x, ("N", "C", "H", "W"))
    out_size = output_size((x.shape[2], x.shape[3]), kernel, stride, pads)
    if _magnitude(x) * kernel[0] * kernel[1] >= 2**63:
        raise OverflowError("the sum over a window is not proven to fit 64 bits")
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    acc = np.zeros((*x.shape[:2], *out_size), dtype=np.int64)
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            acc += _taps(padded, ky, kx, stride, out_size)
    check_accumulator(acc, acc_bits)
    return acc


def window_pixels(
    size: Pair, kernel: Pair, stride: Pair = (1, 1), pads: Pads = (0, 0, 0, 0)
) -> npt.NDArray[np.int64]:
    """Pixels of the input in each window, padding left out.

    What an average pool divides by in ONNX with ``count_include_pad = 0``.

    Parameters
    ----------
    size, kernel, stride, pads
        See `output_size`.

    Returns
    -------
    int64 array [H_out, W_out]

    Raises
    ------
    ValueError
        As `output_size`.
    """
    sums = sum_pool(np.ones((1, 1, *size), np.int64), kernel, stride, pads)
    pixels: npt.NDArray[np.int64] = sums[0, 0]
    return pixels


def post_process(
    acc: IntArray,
    bias: IntArray,
    m: IntArray,
    s: int,
    lo: int,
    hi: int,
    residual: IntArray | None = None,
    m_r: int = 0,
    t: int = 0,
) -> npt.NDArray[np.int32]:
    """Bias, residual, scale, rounding and clamp, exact in every bit.

    ``y = clamp(((acc + bias)*m + ((r*m_r) << t) + 2**(s-1)) >> s, lo, hi)`` with an arithmetic
    shift, that is ``floor(v / 2**s + 1/2)`` (round half up); no rounding term when s = 0. The
    residual r is 0 without an operand, and 0 outside it where it is smaller.

    Parameters
    ----------
    acc : int array [N, C, ...]
        Accumulators.
    bias : int array [C]
        Bias of each channel, in the unit of the accumulator.
    m : int array [C] or [C, ...]
        Signed 16-bit multiplier of each channel, or of each position of a channel.
    s : int
        Right shift, 0 .. 47.
    lo, hi : int
        Bounds of the result, at most 32 bits.
    residual : int array [N, C_r, ...], optional
        Residual operand, in no axis larger than `acc`.
    m_r : int
        Signed 16-bit multiplier of the residual.
    t : int
        Left shift of the residual term, 0 .. 31.

    Returns
    -------
    int32 array of the shape of `acc`

    Raises
    ------
    TypeError
        If an operand does not hold integers.
    ValueError
        If a parameter is out of its range or shapes do not fit together.

    Notes
    -----
    Computed in int64 where the operands prove that nothing wraps, else with Python integers.
    """
    acc = _integers("accumulators", acc, None)
    if acc.ndim < 2:
        raise ValueError(f"accumulators have shape {acc.shape}; [N, C, ...] is needed")
    bias = _integers("bias", bias, ("C",))
    m = _integers("m", m, None)
    channels = acc.shape[1]
    if m.ndim > 1 and m.shape != acc.shape[1:]:
        raise ValueError(f"m {m.shape} does not fit accumulators {acc.shape}")
    for name, values in (("bias", bias), ("m", m)):
        if values.shape[:1] != (channels,):
            raise ValueError(f"{name} has {values.size} values for {channels} channels")
    if not (_signed(m, M_BITS) and -(1 << (M_BITS - 1)) <= m_r < 1 << (M_BITS - 1)):
        raise ValueError(f"m or m_r = {m_r} is outside the signed {M_BITS}-bit range")
    if not 0 <= s <= S_MAX:
        raise ValueError(f"s = {s} is outside 0..{S_MAX}")
    if not 0 <= t <= T_MAX:
        raise ValueError(f"t = {t} is outside 0..{T_MAX}")
    if not -(1 << 31) <= lo <= hi < 1 << 31:
        raise ValueError(f"bounds lo = {lo}, hi = {hi} are not an ordered pair of 32-bit integers")

    rounding = 1 << (s - 1) if s > 0 else 0
    bound = (_magnitude(acc) + _magnitude(bias)) * _magnitude(m) + rounding
    if residual is not None:
        residual = _integers("residual", residual, None)
        bound += _magnitude(residual) * abs(m_r) << t
    # No intermediate value exceeds the bound, so below 2**63 int64 arithmetic is exact.
    dtype: npt.DTypeLike = np.int64 if bound < 2**63 else object

    per_channel = (1, channels) + (1,) * (acc.ndim - 2)
    total = acc.astype(dtype)
    total += bias.astype(dtype).reshape(per_channel)
    total *= m.astype(dtype).reshape(per_channel if m.ndim == 1 else m.shape)
    if residual is not None:
        fits = residual.ndim == acc.ndim and residual.shape[0] == acc.shape[0]
        if not fits or any(r > a for r, a in zip(residual.shape, acc.shape, strict=True)):
            raise ValueError(f"residual {residual.shape} does not fit into outputs {acc.shape}")
        inside = tuple(slice(size) for size in residual.shape)
        total[inside] += residual.astype(dtype) * (m_r << t)
    total += rounding
    total >>= s
    y: npt.NDArray[np.int32] = np.clip(total, lo, hi).astype(np.int32)
    return y


def output_size(
    size: Pair, kernel: Pair, stride: Pair, pads: Pads, ceil_mode: bool = False
) -> Pair:
    """Height and width of the output of a convolution or pool.

    Parameters
    ----------
    size, kernel, stride : (int, int)
        Height and width of the input and of the window, and the window's step.
    pads : (int, int, int, int)
        Padding at the top, left, bottom and right.
    ceil_mode : bool
        Count a last window that hangs over the padded edge, unless it starts behind the input
        and its leading padding.

    Raises
    ------
    ValueError
        If a value is out of its range or no window fits.
    """
    if min(kernel) < 1 or min(stride) < 1 or min(pads) < 0:
        raise ValueError(f"kernel {kernel}, stride {stride}, pads {pads}: a value is too small")
    out = []
    for axis in range(2):
        span = size[axis] + pads[axis] + pads[axis + 2] - kernel[axis]
        if span < 0:
            raise ValueError(f"kernel {kernel} is larger than the input {size} with pads {pads}")
        count = (-(-span // stride[axis]) if ceil_mode else span // stride[axis]) + 1
        if ceil_mode and (count - 1) * stride[axis] >= size[axis] + pads[axis]:
            count -= 1
        out.append(count)
    return out[0], out[1]


def _taps(padded: npt.NDArray[Any], ky: int, kx: int, stride: Pair, out_size: Pair) -> Any:
    """View [N, C, H_out, W_out] of what tap (ky, kx) of every window sees."""
    bottom = ky + (out_size[0] - 1) * stride[0] + 1
    right = kx + (out_size[1] - 1) * stride[1] + 1
    return padded[:, :, ky : bottom : stride[0], kx : right : stride[1]]


def _magnitude(values: IntArray) -> int:
    """Largest absolute value, as a Python integer (so that -2**63 is right too)."""
    return max(int(values.max()), -int(values.min())) if values.size else 0


def _signed(values: IntArray, bits: int) -> bool:
    """Whether all values fit a signed number of `bits` bits."""
    limit = 1 << (bits - 1)
    return values.size == 0 or (int(values.min()) >= -limit and int(values.max()) < limit)


def _integers(name: str, values: IntArray, axes: tuple[str, ...] | None) -> IntArray:
    """Check type and rank of an operand; the arithmetic widens it where it has to."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise TypeError(f"{name} are {array.dtype}; integers that fit int64 are needed")
    if axes is not None and array.ndim != len(axes):
        raise ValueError(f"{name} have shape {array.shape}; [{', '.join(axes)}] is needed")
    return array
