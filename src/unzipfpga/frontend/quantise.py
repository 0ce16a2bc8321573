# SPDX-License-Identifier: Apache-2.0
"""From a floating-point network and its ranges to the integers of every layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unzipfpga.errors import ModelError, RangeError
from unzipfpga.frontend.graph import FloatGraph, FloatLayer
from unzipfpga.frontend.moments import Moments
from unzipfpga.frontend.network import (
    M_MAX,
    S_MAX,
    T_MAX,
    Axis,
    Layer,
    Network,
    Tensor,
    accumulator_bits,
    bias_type,
    integer_type,
    limit_of,
    map_of,
    prove_accumulator,
    prove_layer,
)
from unzipfpga.ovsf import (
    CHANNEL_LENGTH,
    KERNEL_SIZES,
    IntegerFit,
    channel_codes,
    channel_samples,
    choose_codes,
    fit_channel,
    fit_dense,
    fit_ovsf,
    kernel_codes,
    snr_db,
)
from unzipfpga.ovsf.outputs import damped

# A filter's scale is at least the layer's largest one divided by this: all filters share the shift,
# so a filter with a far smaller scale would be left with a multiplier m of a few bits. m is then at
# least 128 (error below 0.4 %), and the coarser weights cost less than 1/128 of the error that the
# filter with the largest scale has anyway.
SCALE_SPREAD = 128
# Scales are raised until the bias takes at most this share of the accumulator's range.
BIAS_SHARE = 1 / 4


@dataclass(frozen=True)
class LayerFit:
    """How well a layer's integers stand for its weights: for the report.

    Attributes
    ----------
    name : str
    snr_db : float
        Signal-to-noise ratio of the integer weights against the floating-point ones, in dB.
    output_snr_db : float or None
        The same of the layer's sums on the sample images, constant parts left out, everything in
        front of the layer in floating point. None where the inputs' covariance is not known.
    """

    name: str
    snr_db: float
    output_snr_db: float | None = None


@dataclass(frozen=True)
class Codes:
    """How a layer is to be coded.

    Attributes
    ----------
    n : int
        Number of codes.
    axis : {"kernel", "channel"}
    """

    n: int
    axis: Axis = "kernel"


@dataclass(frozen=True)
class Share:
    """The number of codes as a share of the weights.

    Attributes
    ----------
    rho : float
        > 0, at most 1; the nearest n is taken, at least 1.
    axis : {"kernel", "channel"} or None
        None: whatever the conversion's `axis` says.
    """

    rho: float
    axis: Axis | None = None


@dataclass(frozen=True)
class Target:
    """The fewest codes with which a layer's sums reach a signal-to-noise ratio.

    Attributes
    ----------
    snr_db : float
        `LayerFit.output_snr_db`, or that of the weights where the inputs' covariance is not known.
    axis : {"kernel", "channel"}
    """

    snr_db: float
    axis: Axis = "kernel"


AXES = ("kernel", "channel", "auto")


def _coded_axis(layer: FloatLayer, axis: str, any_kernel: bool) -> Axis | None:
    """Return the axis of the codes that a layer gets where it is not named, None for dense."""
    assert layer.weights is not None
    if layer.kind != "conv":
        return None
    depthwise = layer.groups > 1 and layer.weights.shape[1] == 1  # few weights
    wide = layer.groups == 1 and layer.weights.shape[1] >= CHANNEL_LENGTH
    square = _kernel_codes_possible(layer) if any_kernel else layer.kernel == (3, 3)
    if square and axis != "channel":
        return None if depthwise else "kernel"
    return "channel" if wide and axis != "kernel" else None


def plan_codes(
    graph: FloatGraph,
    n: int | None,
    per_layer: Mapping[str, int | Codes | Share],
    dense_first: bool,
    keep_codes: bool = False,
    axis: str = "kernel",
    rho: float | None = None,
    target_snr: float | None = None,
) -> dict[str, Codes | Target]:
    """Return the codes of every layer that gets any; all others are dense.

    Parameters
    ----------
    graph : FloatGraph
    n : int or None
        Kernel axis: for all 3x3 convolutions but depthwise ones. Channel axis: for all convolutions
        of one group and at least 16 channels. None for none of them.
    per_layer : mapping of str to int, Codes or Share
        Layer name to number of codes; overrides `n`, `rho`, `target_snr` and `dense_first`. As many
        as a block has weights (K*K, or 16) means dense.
    dense_first : bool
        Keep the first weighted layer dense.
    keep_codes : bool
        Emit codes at rho = 1 too, as a test point. Dense is smaller or equal and more precise.
    axis : {"kernel", "channel", "auto"}
        "auto" is kernel axis for 3x3 convolutions, and channel axis with the nearest number of
        codes for the same rho for others of at least 16 channels; in `per_layer`, kernel axis
        where it is possible. With `rho` and `target_snr` kernel axis goes for all square
        convolutions 2x2 to 7x7 but depthwise ones.
    rho : float, optional
        In the place of `n`: alphas per weight, > 0 and at most 1; each layer gets the nearest n.
    target_snr : float, optional
        In the place of `n`: each layer gets the fewest codes with which it reaches this
        signal-to-noise ratio in dB, see `Target`.

    Returns
    -------
    dict of str to Codes or Target

    Raises
    ------
    ModelError
        If a layer does not exist or cannot have n codes; names what is valid.
    """
    if axis not in AXES:
        raise ModelError(f"the axis of codes is {', '.join(AXES)}, not '{axis}'")
    if sum(value is not None for value in (n, rho, target_snr)) > 1:
        raise ModelError("n, rho and a target SNR exclude each other: give one of them")
    if rho is not None and not 0 < rho <= 1:
        raise ModelError(f"rho is more than 0 and at most 1, not {rho}")
    if target_snr is not None and not isfinite(target_snr):
        raise ModelError(f"a target SNR is a number of dB, not {target_snr}")
    most = CHANNEL_LENGTH if axis == "channel" else 9
    if n is not None and not 1 <= n <= most:
        kind = "channel-axis codes" if axis == "channel" else "codes for 3x3 convolutions"
        raise ModelError(f"n is 1 to {most} {kind}, not {n}")
    weighted = [layer for layer in graph.layers if layer.multiplies]
    plan: dict[str, Codes | Target] = {}
    # What comes in front with one weight per channel is a constant of the source's, not a layer.
    sums = (one for one in weighted if one.weights is not None and one.weights[0].size > 1)
    first = next(sums, None)
    for layer in weighted:
        own = _coded_axis(layer, axis, any_kernel=n is None)
        if own is None or (dense_first and layer is first):
            continue
        if n is not None:
            auto = own == "channel" and axis == "auto"
            plan[layer.name] = Codes(round(n * CHANNEL_LENGTH / 9) if auto else n, own)
        elif rho is not None:
            plan[layer.name] = _nearest(layer, rho, own)
        elif target_snr is not None:
            plan[layer.name] = Target(target_snr, own)
    by_name = {layer.name: layer for layer in weighted}
    for name, wanted in per_layer.items():
        if name not in by_name:
            raise ModelError(f"there is no layer '{name}'; layers: {', '.join(by_name)}")
        layer = by_name[name]
        kernel = axis == "kernel" or (axis == "auto" and _kernel_codes_possible(layer))
        default: Axis = "kernel" if kernel else "channel"
        if isinstance(wanted, int):
            wanted = Codes(wanted, default)
        if isinstance(wanted, Share):
            if not 0 < wanted.rho <= 1:
                raise ModelError(
                    f"layer '{name}': rho is more than 0 and at most 1, not {wanted.rho}"
                )
            wanted = _nearest(layer, wanted.rho, wanted.axis or default)
        most = _most_codes(layer, wanted.axis)
        if not 1 <= wanted.n <= most:
            raise ModelError(
                f"layer '{name}': n is 1 to {most} {wanted.axis}-axis codes, not {wanted.n}"
            )
        plan[name] = wanted
    if keep_codes:
        return plan
    return {
        name: codes
        for name, codes in plan.items()
        if isinstance(codes, Target) or codes.n < _most_codes(by_name[name], codes.axis)
    }


def _nearest(layer: FloatLayer, rho: float, axis: Axis) -> Codes:
    """Return the number of codes that is nearest to a share of the weights; ties go up."""
    whole = CHANNEL_LENGTH if axis == "channel" else layer.kernel[0] ** 2
    n = max(1, ceil(rho * whole - 0.5 + 1e-9))
    return Codes(min(n, _most_codes(layer, axis)), axis)


def _kernel_codes_possible(layer: FloatLayer) -> bool:
    edge, other = layer.kernel
    return layer.kind == "conv" and edge == other and edge in KERNEL_SIZES


def _most_codes(layer: FloatLayer, axis: Axis) -> int:
    """Return the number of linearly independent codes that a layer has."""
    assert layer.weights is not None
    if axis == "channel":
        if layer.groups > 1:
            raise ModelError(
                f"layer '{layer.name}' ({layer.groups} groups) cannot use channel-axis codes; "
                "supported: layers of one group"
            )
        # Codes cut to fewer than 16 channels have as many independent ones. (Those of a map that
        # was flattened are counted when the layer is fitted.)
        return min(CHANNEL_LENGTH, int(layer.weights.shape[1]))
    if not _kernel_codes_possible(layer):
        edge, other = layer.kernel
        raise ModelError(
            f"layer '{layer.name}' ({layer.kind}, kernel {edge}x{other}) cannot use kernel-axis "
            "codes; supported: square convolutions 2x2 to 7x7, and channel-axis codes"
        )
    return layer.kernel[0] ** 2


def choose_shift(
    layer: str, ratios: NDArray[np.float64], residual_ratio: float | None = None
) -> tuple[NDArray[np.int16], int, int, int]:
    """Choose the multipliers and shifts that stand for real factors.

    s is the largest shift up to 47 at which every m = round(ratio * 2^s) fits 16 bits; with a
    residual, t is the smallest shift at which m_r = round(residual_ratio * 2^(s-t)) fits.

    Parameters
    ----------
    layer : str
        For the message.
    ratios : float64 array [..., C_out]
        s_x * s_w[f] / s_y, positive.
    residual_ratio : float, optional
        s_r / s_y.

    Returns
    -------
    m : int16 array of the shape of `ratios`
    s, m_r, t : int

    Raises
    ------
    RangeError
        If no shift fits; names the layer and the ratio.
    """
    for s in range(S_MAX, -1, -1):
        m = np.rint(ratios * 2.0**s)
        if m.max() > M_MAX:
            continue
        if residual_ratio is None:
            return m.astype(np.int16), s, 0, 0
        for t in range(T_MAX + 1):
            m_r = round(residual_ratio * 2.0 ** (s - t))
            if m_r <= M_MAX:
                return m.astype(np.int16), s, m_r, t
    largest = max(float(ratios.max()), residual_ratio or 0.0)
    raise RangeError(
        f"layer {layer}: input and output scales differ by a factor {largest:.3g}, "
        f"beyond the multiplier's bound {M_MAX}; are the calibration images typical?"
    )


def _metric_root(covariance: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return R such that |w R|^2 is the error of a block's weights w, on average over all blocks.

    Parameters
    ----------
    covariance : float64 array [groups, D, D]
    places : int array [B, P]
        Where a filter's B blocks have their P weights.
    """
    blocks = [damped(own)[np.ix_(block, block)] for own in covariance for block in places]
    mean = np.mean(blocks, axis=0)
    return np.linalg.cholesky(mean * len(mean) / np.trace(mean))


def _fit(
    layer: FloatLayer,
    wanted: Codes | None,
    code_method: str,
    floor: NDArray[np.float64],
    dw: int,
    source: tuple[int, int, int] | None,
    moments: Moments | None,
) -> tuple[IntegerFit, tuple[int, ...]]:
    """Fit one layer, dense or with codes; return the codes too.

    `source` is the map that the layer reads, None if it is that of the weights.
    """
    assert layer.weights is not None
    if not layer.multiplies:
        scale = layer.weights.reshape(len(layer.weights), -1)[:, 0]
        return IntegerFit(scale, np.ones(layer.weights.shape, np.int32)), ()
    if wanted is None:
        stated = _stated_fit(layer, floor, dw)
        return stated or fit_dense(layer.weights, dw, floor), ()
    covariance = None if moments is None else moments.estimate()
    if wanted.axis == "channel":
        if layer.groups > 1:
            raise ModelError(
                f"layer '{layer.name}' has {layer.groups} groups; channel-axis codes are supported "
                "on layers of one group"
            )
        weights = layer.weights
        if layer.kind == "gemm":
            weights = weights.reshape(len(weights), *(source or (weights.shape[1], 1, 1)))
        candidates = channel_codes()
        full, ragged = channel_samples(weights)
        if full.shape[1] < wanted.n:
            raise ModelError(
                f"layer '{layer.name}': n is 1 to {full.shape[1]} channel-axis codes for "
                f"{full.shape[1]} channels, not {wanted.n}"
            )
        chosen: NDArray[Any] = candidates[:, : full.shape[1]]
        if covariance is not None:
            # What a ragged block holds is left to the fit: its metric is another one.
            order = np.arange(weights[0].size).reshape(weights.shape[1], -1)
            places, ragged = channel_samples(order[np.newaxis])[0].astype(np.int64), None
            root = _metric_root(covariance, places)
            full, chosen = full @ root, chosen @ root
        codes = choose_codes(code_method, full, chosen, wanted.n, ragged)
        only = None if covariance is None else covariance[0]
        return fit_channel(weights, candidates[codes], dw, floor, only), tuple(codes)
    taps = layer.kernel[0] ** 2
    blocks = layer.weights.reshape(*layer.weights.shape[:2], taps)
    samples, candidates = blocks.reshape(-1, taps), kernel_codes(layer.kernel[0])
    if covariance is None:
        codes = choose_codes(code_method, samples, candidates, wanted.n)
        return fit_ovsf(blocks, candidates[codes], dw, floor), tuple(codes)
    root = _metric_root(covariance, np.arange(covariance.shape[1]).reshape(-1, taps))
    codes = choose_codes(code_method, samples @ root, candidates @ root, wanted.n)
    parts = [
        fit_ovsf(own, candidates[codes], dw, low, metric)
        for own, low, metric in zip(
            np.split(blocks, layer.groups), np.split(floor, layer.groups), covariance, strict=True
        )
    ]
    alphas = [part.alphas for part in parts if part.alphas is not None]
    fit = IntegerFit(
        np.concatenate([part.scale for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate(alphas),
    )
    return fit, tuple(codes)


def _output_snr(layer: FloatLayer, fit: IntegerFit, moments: Moments | None) -> float | None:
    """Return the signal-to-noise ratio of a layer's sums, constant parts left out, in dB."""
    assert layer.weights is not None
    if moments is None or not layer.multiplies:
        return None
    exact = layer.weights.reshape(layer.groups, -1, moments.mean.shape[1])
    real = fit.weights.reshape(len(fit.scale), -1) * fit.scale[:, np.newaxis]
    errors = exact - real.reshape(exact.shape)
    signal, noise = (
        float(((values @ moments.covariance) * values).sum()) for values in (exact, errors)
    )
    if noise <= 0.0:
        return float("inf")
    return 10.0 * float(np.log10(signal / noise)) if signal > 0.0 else float("-inf")


def _fewest_codes(
    layer: FloatLayer,
    target: Target,
    code_method: str,
    dw: int,
    source: tuple[int, int, int] | None,
    moments: Moments | None,
    keep_codes: bool,
) -> Codes | None:
    """Return the fewest codes that reach a target, by bisection; None if only dense does."""
    assert layer.weights is not None
    most = _most_codes(layer, target.axis)
    if target.axis == "channel" and layer.kind == "gemm":
        most = min(most, (source or layer.weights.shape[1:])[0])
    low, high = 0, most  # too few, and enough or all
    zeros = np.zeros(len(layer.weights))
    while high - low > 1:
        n = (low + high) // 2
        codes = Codes(n, target.axis)
        fit, _ = _fit(layer, codes, code_method, zeros, dw, source, moments)
        found = _output_snr(layer, fit, moments)
        if found is None:
            steps = fit.scale.reshape(-1, *[1] * (layer.weights.ndim - 1))
            found = snr_db(layer.weights, fit.weights.reshape(layer.weights.shape) * steps)
        if found >= target.snr_db:
            high = n
        else:
            low = n
    return Codes(high, target.axis) if high < most or keep_codes else None


def _stated_fit(layer: FloatLayer, floor: NDArray[np.float64], dw: int) -> IntegerFit | None:
    """Return the integers that a quantised source has, unless they or their scales do not fit."""
    if layer.weights is None or layer.weight_scale is None or (layer.weight_scale < floor).any():
        return None
    steps = layer.weight_scale.reshape(-1, *[1] * (layer.weights.ndim - 1))
    integers = np.rint(layer.weights / steps)
    if np.abs(integers).max(initial=0) > limit_of(dw):
        return None
    return IntegerFit(layer.weight_scale, integers.astype(np.int32))


def quantise_layer(
    layer: FloatLayer,
    tensors: Mapping[str, Tensor],
    wanted: Codes | Target | None = None,
    code_method: str = "greedy",
    dw: int = 8,
    source: tuple[int, int, int] | None = None,
    moments: Moments | None = None,
    keep_codes: bool = False,
) -> tuple[Layer, LayerFit]:
    """Turn one weighted layer into integers and prove its ranges.

    Parameters
    ----------
    layer : FloatLayer
    tensors : mapping of str to Tensor
        At least the layer's input, output and residual.
    wanted : Codes or Target, optional
        None for dense.
    code_method : {"greedy", "energy", "sequential"}
    dw : int
        Bits of activations and weights.
    source : (channels, height, width), optional
        Map that a fully connected layer reads, if it was flattened.
    moments : Moments, optional
        Of the layer's inputs: codes are chosen and alphas fitted for the outputs' sake, and the
        bias makes up for the constant part of what is left. None: for the weights' sake.
    keep_codes : bool
        Where only dense weights reach a target, take as many codes as there are.

    Returns
    -------
    Layer, LayerFit

    Raises
    ------
    RangeError
        If a range cannot be proven; names the layer and the bound.
    """
    assert layer.weights is not None and layer.bias is not None
    x, y = tensors[layer.input], tensors[layer.output]
    limit, pixels = limit_of(dw), max(1, layer.pooled_pixels)
    if isinstance(wanted, Target):
        wanted = _fewest_codes(layer, wanted, code_method, dw, source, moments, keep_codes)
    # First without a floor, to learn how far the filters' scales spread.
    zeros = np.zeros(len(layer.weights))
    fit, codes = _fit(layer, wanted, code_method, zeros, dw, source, moments)
    used = layer.weights.reshape(len(layer.weights), -1).any(axis=1)
    largest = fit.scale[used].max() if used.any() else 1.0 / limit
    bias_limit = BIAS_SHARE * 2.0 ** (accumulator_bits(dw) - 1)
    floor = np.maximum(largest / SCALE_SPREAD, np.abs(layer.bias) * pixels / (x.scale * bias_limit))
    if not used.all() or (fit.scale < floor).any():
        fit, codes = _fit(layer, wanted, code_method, floor, dw, source, moments)

    weight_scale = fit.scale.astype(np.float32)
    exact_scale = weight_scale.astype(np.float64)
    ratios = x.scale * exact_scale / y.scale
    if layer.kind == "gemm":  # with a global average pool in front of it
        ratios = ratios / pixels
    if layer.counts:  # each number of pixels has a factor of its own
        shares = 1 / np.array(layer.counts)[:, np.newaxis]
        ratios = np.broadcast_to(x.scale * shares / y.scale, (len(shares), len(ratios)))
    real_weights = fit.weights.reshape(len(exact_scale), -1) * exact_scale[:, np.newaxis]
    real_bias = layer.bias
    if moments is not None and wanted is not None:
        errors = layer.weights.reshape(real_weights.shape) - real_weights
        means = np.repeat(moments.mean, len(errors) // layer.groups, axis=0)
        real_bias = layer.bias + (errors * means).sum(axis=1)
    bias = np.rint(real_bias * pixels / (x.scale * exact_scale)).astype(np.int64)
    residual_ratio = tensors[layer.residual].scale / y.scale if layer.residual else None
    m, s, m_r, t = choose_shift(layer.name, ratios, residual_ratio)
    hi = limit if layer.clip is None else min(limit, round(layer.clip / y.scale))
    bound = prove_accumulator(layer.name, fit.weights, bias, dw, pixels)
    weights = fit.weights.reshape(layer.weights.shape)
    result = Layer(
        name=layer.name,
        kind=layer.kind,
        input=layer.input,
        output=layer.output,
        residual=layer.residual,
        kernel=layer.kernel,
        stride=layer.stride,
        pads=layer.pads,
        groups=layer.groups,
        pooled_pixels=layer.pooled_pixels,
        axis="dense" if wanted is None else wanted.axis,
        codes=codes,
        dw=dw,
        alphas=None if fit.alphas is None else fit.alphas.astype(integer_type(dw)),
        weights=weights.astype(integer_type(dw)),
        bias=bias.astype(bias_type(dw)),
        m=m,
        s=s,
        m_r=m_r,
        t=t,
        lo=0 if layer.relu else -limit,
        hi=hi,
        weight_scale=weight_scale,
        clip=layer.clip,
        acc_bound=bound,
        counts=layer.counts,
    )
    prove_layer(result)
    weight_snr = snr_db(layer.weights, real_weights.reshape(layer.weights.shape))
    return result, LayerFit(layer.name, weight_snr, _output_snr(layer, fit, moments))


def _scales(graph: FloatGraph, ranges: Mapping[str, float], dw: int) -> dict[str, float]:
    """Return the scale of every tensor, in the order in which they are made.

    Max pooling, flattening and concatenation pass integers on, so all tensors that they connect
    have one scale: that of the largest range among those that are computed.
    """
    group = {graph.input: graph.input}  # tensor -> the first one of the same scale
    largest = {graph.input: ranges[graph.input]}
    for layer in graph.layers:
        if layer.weighted:
            group[layer.output] = layer.output
            largest[layer.output] = ranges[layer.output]
            continue
        first = group[layer.input]
        for other in {group[name] for name in layer.others} - {first}:
            largest[first] = max(largest[first], largest[other])
            group = {name: first if of == other else of for name, of in group.items()}
        group[layer.output] = first
    # A tensor that is always 0 has no range: any scale is right.
    return {
        name: float(np.float32((largest[of] or 1.0) / limit_of(dw))) for name, of in group.items()
    }


def quantise(
    graph: FloatGraph,
    ranges: Mapping[str, float],
    plan: Mapping[str, Codes | Target],
    source: dict[str, str],
    code_method: str = "greedy",
    advance: Callable[[int], None] = lambda _count: None,
    dw: int = 8,
    moments: Mapping[str, Moments] | None = None,
    keep_codes: bool = False,
) -> tuple[Network, list[LayerFit]]:
    """Turn a network into integers.

    Parameters
    ----------
    graph : FloatGraph
    ranges : mapping of str to float
        Largest magnitude of every tensor.
    plan : mapping of str to Codes or Target
        Layers not in it are dense.
    source : dict
        `file` and `sha256` of the model.
    code_method : {"greedy", "energy", "sequential"}
    advance : callable
        Called with 1 for each weighted layer that is done.
    dw : int
        Bits of activations and weights.
    moments : mapping of str to Moments, optional
        Of the inputs of layers with codes; those that it lacks are fitted to their weights.
    keep_codes : bool
        As of `quantise_layer`.

    Returns
    -------
    Network
    list of LayerFit
        One for each weighted layer.

    Raises
    ------
    RangeError
        If a layer's ranges cannot be proven.
    """

    scales = _scales(graph, ranges, dw)
    tensors = {name: Tensor(name, graph.shapes[name], scale) for name, scale in scales.items()}
    layers, fits = [], []
    for layer in graph.layers:
        if layer.weighted:
            source_map = map_of(layer.input, graph.shapes, graph.layers, layer.pooled_pixels)
            integers, fit = quantise_layer(
                layer,
                tensors,
                plan.get(layer.name),
                code_method,
                dw,
                source_map,
                (moments or {}).get(layer.name),
                keep_codes,
            )
            layers.append(integers)
            fits.append(fit)
            advance(1)
        else:
            layers.append(
                Layer(
                    name=layer.name,
                    kind=layer.kind,
                    input=layer.input,
                    output=layer.output,
                    others=layer.others,
                    kernel=layer.kernel,
                    stride=layer.stride,
                    pads=layer.pads,
                )
            )
    network = Network(
        graph.input,
        graph.output,
        tensors,
        tuple(layers),
        source,
        dict(graph.preprocess),
        dw,
        tuple(graph.host),
    )
    return network, fits
