# SPDX-License-Identifier: Apache-2.0
"""Whole networks through the RTL: all outputs checked, and what each layer took.

A layer counts from the last output of the one before to its own, so that the layers' cycles add
up; what is moved meanwhile includes prefetches for later layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unzipfpga.bench.model import LAYER_BOUND, LAYER_CYCLES, NETWORK_BOUND
from unzipfpga.bench.networks import Coding, converted_network, random_images
from unzipfpga.compiler import Compiled, DomainChoice, Manifest, compile_model, manifest_config
from unzipfpga.compiler.manifest import LayerInfo
from unzipfpga.config import Config
from unzipfpga.frontend.convert import Track, untracked
from unzipfpga.model import predict
from unzipfpga.report import LayerCost, layer_costs
from unzipfpga.sim import Memory, NetworkRun, run_network
from unzipfpga.source_tree import import_from_tree

# Clocks at which cycles are given as times, and families whose DSP blocks are counted: assumptions.
CLOCKS_MHZ = {"bench": 200.0, "zc706": 150.0, "zcu104": 200.0}
OTHER_CLOCK_MHZ = 100.0
FAMILIES = {"zc706": "xc7", "small": "ecp5"}
OTHER_FAMILY = "xcup"
# A dense layer that takes longer than what bounds it, divided by this, waits for something else.
BOUND_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """A network that is ready to run.

    Attributes
    ----------
    name : str
    coding : Coding
    model : pathlib.Path
        Converted.
    compiled : Compiled
    images : int32 array [N, C, H, W]
    golden : int32 array [N, classes]
        What the golden model says.
    domain : {"auto", "weights", "codes"}
        Asked for.
    """

    name: str
    coding: Coding
    model: Path
    compiled: Compiled
    images: NDArray[np.int32]
    golden: NDArray[np.int32]
    domain: str = "auto"


@dataclass(frozen=True)
class LayerMeasure:
    """One layer of one run, first image.

    Attributes
    ----------
    cost : LayerCost
    compute : int
        Cycles of the array, or of post-processing where that takes longer, if they never waited.
    traffic : float
        Cycles that moving the bytes takes which were read or written meanwhile.
    predicted : int
        Cycles that the cycle model expects.
    """

    cost: LayerCost
    compute: int
    traffic: float
    predicted: int

    @property
    def bound(self) -> float:
        """Cycles that the layer takes at least: the larger of compute and traffic."""
        return max(self.compute, self.traffic)

    @property
    def bounded(self) -> bool:
        """Whether nothing but computing or memory holds the layer up."""
        return self.cost.cycles <= self.bound / BOUND_SHARE

    @property
    def model_holds(self) -> bool:
        """Whether the cycle model is within its bound, which short layers have none of."""
        off = abs(self.predicted / self.cost.cycles - 1)
        return self.cost.cycles <= LAYER_CYCLES or off <= LAYER_BOUND


@dataclass(frozen=True, eq=False)
class NetworkMeasure:
    """One network on one build behind one memory.

    Attributes
    ----------
    name, codes : str
    bandwidth : float
        Bytes a cycle as asked for, 0 for one bus word.
    cycles, predicted : int
        Of the first image, from the start to the end of its last write; and by the cycle model.
    macs : int
        Of an image, by the layers' definitions.
    utilisation : float
        macs / (cycles * T_P * T_C).
    waiting : float
        Share of the cycles in which the MAC stage had no weights or no activations.
    bytes_read, bytes_written : int
        Of the first image, as the engine counts them: the memory's own counts are the same.
    weight_bytes : int
        Alphas, weights and parameters as stored.
    outputs, mismatches, distinct : int
        Integers compared, those that are not the golden model's, and different values among them.
    simulated_per_second : float
        Cycles, building the simulation left out.
    layers : tuple of LayerMeasure
    counters : dict of str to int
        Of the first image.
    marks : tuple of dict
        The trace buffer after the first image.
    """

    name: str
    codes: str
    bandwidth: float
    cycles: int
    predicted: int
    macs: int
    utilisation: float
    waiting: float
    bytes_read: int
    bytes_written: int
    weight_bytes: int
    outputs: int
    mismatches: int
    distinct: int
    simulated_per_second: float
    layers: tuple[LayerMeasure, ...]
    counters: dict[str, int]
    marks: tuple[dict[str, int | str], ...]

    @property
    def model_error(self) -> float:
        """How far off the cycle model is, relative to what was measured."""
        return self.predicted / self.cycles - 1

    @property
    def model_holds(self) -> bool:
        """Whether the cycle model is within its bounds, in all and for every layer."""
        layers = all(layer.model_holds for layer in self.layers)
        return abs(self.model_error) <= NETWORK_BOUND and layers


def dsp_blocks(config_name: str, config: Config) -> tuple[int, bool]:
    """Return the DSP blocks of a build, and whether they were counted by `make synth`.

    If not, they are the most that its check allows.
    """
    synth = import_from_tree("scripts.synth")
    family = FAMILIES.get(config_name, OTHER_FAMILY)
    counted = synth.counted_dsp(config, family)
    return (synth.dsp_limit(config, family), False) if counted is None else (counted, True)


def prepare_network(
    name: str,
    coding: Coding,
    config_name: str,
    config: Config,
    *,
    size: int = 224,
    width: int = 64,
    images: int = 1,
    seed: int = 1,
    domain: str = "auto",
    track: Track = untracked,
) -> PreparedNetwork:
    """Convert a network (or find it converted), compile it, and ask the golden model.

    Parameters
    ----------
    name, coding, size, width
        As of `unzipfpga.bench.networks.float_network`.
    config_name, config
        Preset, and the build: it may differ from the preset.
    images : int
        Random images to run.
    seed : int
        Of weights and images.
    domain : {"auto", "weights", "codes"}
        Of layers with codes.

    Raises
    ------
    UnzipError
        A network that the engine cannot run; names the layer.
    """
    path = converted_network(name, coding, size, width, seed, config.DW, track)
    compiled = compile_model(path, config_name, config, choice=DomainChoice.parse(domain))
    golden = import_from_tree("verif.refmodel.model").load(path)
    integers = golden.quantize(random_images(golden.input_shape, images, seed))
    return PreparedNetwork(name, coding, path, compiled, integers, golden.run_int(integers), domain)


def run_prepared(
    prepared: PreparedNetwork,
    memory: Memory,
    sim: str = "verilator",
    seed: int = 1,
    least_memory: int = 0,
    progress: Callable[[int], None] | None = None,
) -> NetworkMeasure:
    """Run a network on the RTL and compare every output.

    It is compiled anew: of its plans, the cycle model chooses the fastest for this memory.

    Raises
    ------
    SimulationError
        The simulation could not be built or run, ended with an error, or moved other numbers of
        bytes than the engine counts.
    """
    manifest = prepared.compiled.manifest
    config = manifest_config(manifest)
    choice = DomainChoice.parse(prepared.domain)
    compiled = compile_model(prepared.model, manifest.config, config, memory=memory, choice=choice)
    prepared = replace(prepared, compiled=compiled)
    run = run_network(
        compiled,
        prepared.images,
        sim=sim,
        memory=memory,
        seed=seed,
        least_memory=least_memory,
        progress=progress,
    )
    return measure(prepared, memory, run)


def measure(prepared: PreparedNetwork, memory: Memory, run: NetworkRun) -> NetworkMeasure:
    """Return what a run says about a network."""
    bandwidth = float(memory.bytes_per_cycle)
    manifest, counters = prepared.compiled.manifest, run.counters[0]
    parameters = manifest.parameters
    bus = parameters["AXI_DATA_W"] / 8
    rate = min(bandwidth, bus) if bandwidth else bus
    costs = layer_costs(manifest, run.marks)
    predicted = predict(prepared.compiled.program, manifest_config(manifest), memory)
    layers = tuple(
        LayerMeasure(
            cost,
            _compute(layer, manifest),
            (cost.bytes_read + cost.bytes_written) / rate,
            expected.cycles,
        )
        for layer, cost, expected in zip(
            manifest.layers, costs, layer_costs(manifest, predicted.marks), strict=True
        )
    )
    cycles, macs = counters["CYCLES"], sum(layer.macs for layer in manifest.layers)
    return NetworkMeasure(
        name=prepared.name,
        codes=prepared.coding.text,
        bandwidth=bandwidth,
        cycles=cycles,
        predicted=predicted.cycles,
        macs=macs,
        utilisation=macs / (cycles * parameters["T_P"] * parameters["T_C"]),
        waiting=(counters["WAIT_WEIGHTS"] + counters["WAIT_LOADS"]) / cycles,
        bytes_read=counters["BYTES_READ"],
        bytes_written=counters["BYTES_WRITTEN"],
        weight_bytes=sum(layer.alpha_bytes + layer.param_bytes for layer in manifest.layers),
        outputs=prepared.golden.size,
        mismatches=int(np.count_nonzero(run.outputs != prepared.golden)),
        distinct=len(np.unique(run.outputs)),
        simulated_per_second=float(run.cycles.sum()) / run.seconds,
        layers=layers,
        counters=counters,
        marks=tuple(run.marks),
    )


def _compute(layer: LayerInfo, manifest: Manifest) -> int:
    filters, height, width = layer.conv_map
    pixels = 1 if layer.row0 else height * width
    return max(layer.steps, pixels * -(-filters // manifest.parameters["Q"]))


@dataclass(frozen=True)
class SpeedUp:
    """How much faster networks are with codes than dense, behind the same memory.

    Attributes
    ----------
    codes : str
    bandwidth : float
    networks : dict of str to float
        Cycles of the dense network / cycles with codes.
    mean : float
        Geometric.
    """

    codes: str
    bandwidth: float
    networks: dict[str, float]
    mean: float


def speed_ups(results: Sequence[NetworkMeasure]) -> list[SpeedUp]:
    """Return the speed-ups over dense for all codes and bandwidths of which there are both."""
    cycles = {(one.name, one.codes, one.bandwidth): one.cycles for one in results}
    found = []
    for codes, bandwidth in dict.fromkeys((one.codes, one.bandwidth) for one in results):
        gains = {
            name: cycles[name, "dense", bandwidth] / count
            for (name, of, behind), count in cycles.items()
            if codes == of != "dense"
            and behind == bandwidth
            and (name, "dense", bandwidth) in cycles
        }
        if gains:
            mean = exp(sum(map(log, gains.values())) / len(gains))
            found.append(SpeedUp(codes, bandwidth, gains, mean))
    return found
