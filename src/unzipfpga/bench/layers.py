# SPDX-License-Identifier: Apache-2.0
"""One layer on random data through the RTL: every output checked, every cycle accounted for.

The time of a layer runs from the cycle in which its first operand could have been read, memory
not limiting, to its last output: from the MAC stage's first mark, less the cycles that it waited
for the image, to the post stage's last mark. It splits into

    ideal      multiplications / (T_P*T_C): the MACs; in the code domain n/9, or n/16, of them
    lanes      operands less ideal: lanes and PEs without a channel or filter, padded kernels
    weights    the MAC stage had no weights
    post       it had no free accumulators
    conflicts  the bank of an operand was taken
    drain      from the last operand to the last output
    fill       the rest: pipelines fill, jobs start

A residual is made from the image by a 1x1 layer in front, whose time does not count. The cycle
model's prediction of the same time stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unzipfpga.bench.shapes import Shape, ShapeError
from unzipfpga.compiler import Compiled, DomainChoice, compile_network, manifest_config
from unzipfpga.compiler.manifest import FileInfo
from unzipfpga.config import Config
from unzipfpga.frontend import Layer, Network, Tensor
from unzipfpga.frontend.network import (
    Axis,
    accumulator_bits,
    bias_type,
    integer_type,
    limit_of,
    prove_accumulator,
)
from unzipfpga.model import predict
from unzipfpga.ovsf import CHANNEL_LENGTH
from unzipfpga.sim import Memory, SimulationError, run_network
from unzipfpga.source_tree import import_from_tree

IMAGE_CHANNELS = 4  # at most: a layer that reads an image, which is dense, and may be folded
LOSSES = ("lanes", "weights", "post", "conflicts", "drain", "fill")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A layer that is ready to run.

    Attributes
    ----------
    shape : Shape
    count : int
        How often the layer is in the list.
    codes : int
        n, 0 for a dense layer.
    axis : {"kernel", "channel"}
        Of the codes.
    compiled : Compiled
    image : int array [1, C, H, W]
    golden : int32 array [1, F, H_out, W_out]
        What the golden model says.
    """

    shape: Shape
    count: int
    codes: int
    axis: Axis
    compiled: Compiled
    image: NDArray[np.integer]
    golden: NDArray[np.int32]


@dataclass(frozen=True)
class LayerResult:
    """What one layer, or all of them, took.

    Attributes
    ----------
    name, shape, codes : str
    domain : str
        "weights" or "codes": what the PEs multiply; "" for several layers.
    count : int
        How often the layer is in the list. All other numbers are those of one such layer.
    macs, cycles : int
    predicted : int
        Cycles by the cycle model.
    utilisation : float
        macs / (cycles*T_P*T_C); above 1 where the code domain takes fewer multiplications.
    ideal, lanes, weights, post, conflicts, drain, fill : float
        Cycles; their sum is `cycles`. See the module.
    outputs, mismatches : int
        Outputs compared, and those that are not the golden model's.
    """

    name: str
    shape: str
    codes: str
    domain: str
    count: int
    macs: int
    cycles: int
    predicted: int
    utilisation: float
    ideal: float
    lanes: float
    weights: float
    post: float
    conflicts: float
    drain: float
    fill: float
    outputs: int
    mismatches: int


def prepare(
    shape: Shape,
    count: int,
    codes: int,
    config_name: str,
    config: Config,
    seed: int,
    axis: str = "kernel",
    domain: str = "auto",
) -> Prepared:
    """Draw a layer's data, compile it, and ask the golden model for its outputs.

    Parameters
    ----------
    shape : Shape
    count : int
        How often the layer is in the list.
    codes : int
        n of the codes. Dense are layers that read an image, those that cannot have n codes on the
        axis (kernel: K*K >= n taps, K > 1; channel: n <= 16, one group), and all if it is 0.
    config_name, config
        Preset, and the build: it may differ from the preset.
    seed : int
    axis : {"kernel", "channel", "auto"}
        "auto": channel for 1x1 layers, kernel for others.
    domain : {"auto", "weights", "codes"}
        Of a layer with codes.

    Raises
    ------
    UnzipError
        A layer that the engine cannot run or that does not fit; names it.
    """
    rng = np.random.default_rng([seed, *map(ord, shape.text)])
    limit, integer = limit_of(config.DW), integer_type(config.DW)
    kernel, filters = shape.kernel, shape.filters
    channels = shape.channels // shape.groups  # that a filter sees
    image_layer = shape.channels <= IMAGE_CHANNELS
    on_axis: Axis = "channel" if axis == "channel" or (axis, kernel) == ("auto", 1) else "kernel"
    most = CHANNEL_LENGTH if on_axis == "channel" else kernel * kernel if kernel > 1 else 0
    if codes > most or image_layer or (on_axis == "channel" and shape.groups > 1):
        codes = 0
    known: dict[str, Any] = {}
    if codes and on_axis == "channel":
        chosen = tuple(int(j) for j in rng.permutation(CHANNEL_LENGTH)[:codes])
        room = limit // codes
        blocks = -(-channels // CHANNEL_LENGTH)
        alphas = rng.integers(-room, room + 1, (filters, blocks, kernel**2, codes)).astype(integer)
        generate = import_from_tree("verif.refmodel.codes").channel_weights
        weights = generate(alphas, chosen, channels, kernel).astype(integer)
        known = {"axis": "channel", "codes": chosen, "alphas": alphas}
    elif codes:
        edge = 1 << (kernel - 1).bit_length()
        chosen = tuple(int(j) for j in rng.permutation(edge * edge)[:codes])
        room = limit // codes
        alphas = rng.integers(-room, room + 1, (filters, channels, codes)).astype(integer)
        generate = import_from_tree("verif.refmodel.codes").kernel_weights
        weights = generate(alphas, chosen, kernel).astype(integer)
        known = {"axis": "kernel", "codes": chosen, "alphas": alphas}
    else:
        weights = rng.integers(-limit, limit + 1, (filters, channels, kernel, kernel))
        weights = weights.astype(integer)
    # Outputs of all sizes, few of them at a bound: their standard deviation is a third of it.
    spread = limit / np.sqrt(3) * np.sqrt(float((weights[0].astype(np.int64) ** 2).sum()) + 1)
    bias = rng.integers(-int(spread), int(spread) + 1, filters).astype(bias_type(config.DW))
    m = rng.integers(2**14, 2**15, filters).astype(np.int16)
    s = int(np.clip(round(np.log2(spread * 24576 / (limit / 3))), 0, 47))
    layer = Layer(
        name=shape.name,
        kind="conv",
        input="image",
        output="result",
        kernel=(kernel, kernel),
        stride=(shape.stride, shape.stride),
        pads=(shape.pad,) * 4,
        groups=shape.groups,
        weights=weights,
        bias=bias,
        m=m,
        s=s,
        lo=-limit,
        hi=limit,
        dw=config.DW,
        acc_bound=prove_accumulator(shape.name, weights, bias, config.DW),
        **known,
    )
    size = (shape.channels, shape.height, shape.width)
    image: NDArray[np.integer] = rng.integers(-limit, limit + 1, (1, *size)).astype(integer)
    tensors = {"image": Tensor("image", size, 1.0), "result": Tensor("result", shape.output, 1.0)}
    made: tuple[Layer, ...] = ()
    residual = None
    if shape.residual:
        first = _residual_layer(shape, rng, config.DW)
        residual, height, width = _evaluate(first, image), *shape.output[1:]
        if residual.shape[2] > height or residual.shape[3] > width:
            raise ShapeError(
                f"shape '{shape.text}': its residual would be {residual.shape[2]}x"
                f"{residual.shape[3]}, its output is {height}x{width}: give it more padding"
            )
        tensors["residual"] = Tensor("residual", residual.shape[1:], 1.0)
        # About as large as the sums.
        t = max(0, s - 14)
        layer = replace(layer, residual="residual", m_r=1 << (s - t), t=t)
        made = (first,)
    network = Network("image", "result", tensors, (*made, layer), {}, {}, config.DW)
    source = FileInfo(file=shape.text, sha256="", bytes=0)
    choice = DomainChoice.parse(domain)
    compiled = compile_network(
        network, config_name, config, source, fold=image_layer, choice=choice
    )
    golden = _evaluate(layer, image, residual)
    return Prepared(shape, count, codes, on_axis, compiled, image, golden)


def _residual_layer(shape: Shape, rng: np.random.Generator, dw: int) -> Layer:
    """Return a layer that makes a residual: each filter passes one channel on, scaled."""
    filters, channels = shape.filters, shape.channels
    weights = np.zeros((filters, channels, 1, 1), integer_type(dw))
    weights[np.arange(filters), rng.integers(0, channels, filters), 0, 0] = 1
    bias, limit = np.zeros(filters, bias_type(dw)), limit_of(dw)
    return Layer(
        name=f"{shape.name} residual",
        kind="conv",
        input="image",
        output="residual",
        stride=(shape.stride, shape.stride),
        weights=weights,
        bias=bias,
        m=rng.integers(2**12, 2**13, filters).astype(np.int16),
        s=14,
        lo=-limit,
        hi=limit,
        dw=dw,
        acc_bound=prove_accumulator(shape.name, weights, bias, dw),
    )


def _evaluate(
    layer: Layer, image: NDArray[np.integer], residual: NDArray[np.integer] | None = None
) -> NDArray[np.int32]:
    """Return what the golden model says of a layer."""
    layers = import_from_tree("verif.refmodel.layers")
    width = accumulator_bits(layer.dw)
    sums = layers.conv2d(image, layer.weights, layer.stride, layer.pads, layer.groups, width)
    outputs: NDArray[np.int32] = layers.post_process(
        *(sums, layer.bias, layer.m, layer.s, layer.lo, layer.hi, residual, layer.m_r, layer.t)
    )
    return outputs


def run_layer(
    prepared: Prepared, memory: Memory, sim: str, seed: int, least_memory: int = 0
) -> LayerResult:
    """Run a layer on the RTL and compare every output.

    Parameters
    ----------
    least_memory : int
        Bytes of the simulated memory, unless the layer needs more.

    Raises
    ------
    SimulationError
        The simulation could not be built or run, or ended with an error.
    """
    run = run_network(
        prepared.compiled,
        prepared.image,
        sim=sim,
        memory=memory,
        seed=seed,
        least_memory=least_memory,
    )
    shape, parameters = prepared.shape, prepared.compiled.manifest.parameters
    begin, computed, end = _marks(prepared, run.marks)
    prediction = predict(
        prepared.compiled.program, manifest_config(prepared.compiled.manifest), memory
    )

    def spent(key: str, last: dict[str, Any]) -> int:
        return int(last[key] - begin[key])

    all_codes = CHANNEL_LENGTH if prepared.axis == "channel" else shape.kernel**2
    cycles = _cycles(begin, end)
    modelled = _marks(prepared, prediction.marks)
    dense = shape.macs / (parameters["T_P"] * parameters["T_C"])
    domain = prepared.compiled.manifest.layers[-1].domain
    ideal = dense * prepared.codes / all_codes if domain == "codes" else dense
    parts = {
        "ideal": ideal,
        "lanes": spent("mac_active", end) - ideal,
        "weights": float(spent("wait_weights", end)),
        "post": float(spent("wait_post", end)),
        "conflicts": float(run.counters[0]["BANK_CONFLICTS"]),
        "drain": float(end["cycles"] - computed["cycles"]),
    }
    return LayerResult(
        name=shape.name,
        shape=shape.text,
        codes=f"{prepared.codes}/{all_codes}" if prepared.codes else "dense",
        domain=domain,
        count=prepared.count,
        macs=shape.macs,
        cycles=cycles,
        predicted=_cycles(modelled[0], modelled[2]),
        utilisation=dense / cycles,
        fill=cycles - sum(parts.values()),
        outputs=prepared.golden.size,
        mismatches=int(np.count_nonzero(run.outputs != prepared.golden)),
        **parts,
    )


def _marks(prepared: Prepared, marks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the marks at the layer's start, behind its last operand, and at its last output."""
    first = 2 * (len(prepared.compiled.manifest.layers) - 1)
    found = {(mark["stage"], mark["id"]): mark for mark in marks}
    try:
        return [found[key] for key in (("MAC", first), ("MAC", first + 2), ("POST", first + 1))]
    except KeyError as error:
        raise SimulationError(f"layer {prepared.shape.name}: mark {error} is missing") from error


def _cycles(begin: dict[str, Any], end: dict[str, Any]) -> int:
    """Return the layer's cycles: what it waited for its image does not count."""
    return int(end["cycles"] - begin["cycles"] - (end["wait_loads"] - begin["wait_loads"]))


def total(results: Sequence[LayerResult]) -> LayerResult:
    """Return the sum over all layers, each as often as it is there."""

    def add(key: str) -> Any:
        return sum(result.count * getattr(result, key) for result in results)

    def add_weighted(key: str) -> float:
        return sum(float(r.count * r.cycles * getattr(r, key)) for r in results)

    cycles = add("cycles")
    return LayerResult(
        name="all",
        shape="",
        codes="",
        domain="",
        count=sum(result.count for result in results),
        macs=add("macs"),
        cycles=cycles,
        predicted=add("predicted"),
        utilisation=add_weighted("utilisation") / cycles,
        ideal=add("ideal"),
        outputs=sum(result.outputs for result in results),
        mismatches=sum(result.mismatches for result in results),
        **{key: add(key) for key in LOSSES},
    )
