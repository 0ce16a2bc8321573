# SPDX-License-Identifier: Apache-2.0
"""The cycle model against the RTL: networks and layers on several builds and memories."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unzipfpga.bench.layers import prepare
from unzipfpga.bench.networks import Coding, convert_network, random_images
from unzipfpga.bench.shapes import parse_shape
from unzipfpga.compiler import Compiled, compile_network, manifest_config
from unzipfpga.compiler.manifest import FileInfo
from unzipfpga.config import Config, load_config
from unzipfpga.data import load_mnist, normalise
from unzipfpga.frontend import Options, convert
from unzipfpga.model import predict
from unzipfpga.report import layer_costs
from unzipfpga.sim import Memory, run_network
from unzipfpga.source_tree import ROOT

NETWORK_BOUND = 0.02  # of a run's cycles
LAYER_BOUND = 0.05  # of the cycles of a layer of a run, if it has more than LAYER_CYCLES
LAYER_CYCLES = 20_000

Made = tuple[Compiled, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """A program to compare on.

    Attributes
    ----------
    name : str
    build : str
        Preset and what is changed of it.
    make : callable
        Returns the compiled program and an image.
    """

    name: str
    build: str
    make: Callable[[], Made]


@dataclass(frozen=True)
class Comparison:
    """One program with one memory.

    Attributes
    ----------
    name, build : str
    memory : Memory
    measured, predicted : int
        Cycles of the whole run.
    layers : dict of str to (int, int)
        Measured and predicted cycles of each layer.
    """

    name: str
    build: str
    memory: Memory
    measured: int
    predicted: int
    layers: dict[str, tuple[int, int]]

    @property
    def error(self) -> float:
        """Of the whole run, relative to what was measured."""
        return self.predicted / self.measured - 1

    @property
    def worst_layer(self) -> tuple[str, float]:
        """Name and error of the layer of more than `LAYER_CYCLES` that is most off, if any."""
        errors = {
            name: predicted / measured - 1
            for name, (measured, predicted) in self.layers.items()
            if measured > LAYER_CYCLES
        }
        if not errors:
            return "", 0.0
        return max(errors.items(), key=lambda item: abs(item[1]))

    @property
    def within(self) -> bool:
        """Whether both errors are within their bounds."""
        return abs(self.error) <= NETWORK_BOUND and abs(self.worst_layer[1]) <= LAYER_BOUND

    def report(self) -> dict[str, Any]:
        """Return all numbers as JSON has them."""
        return asdict(self) | {"error": self.error, "within": self.within}


def compare(case: Case, compiled: Compiled, image: NDArray[Any], memory: Memory) -> Comparison:
    """Run one image on the RTL, and ask the model.

    Raises
    ------
    SimulationError
        The simulation could not be built or run, or ended with an error.
    """
    manifest = compiled.manifest
    run = run_network(compiled, image, memory=memory)
    prediction = predict(compiled.program, manifest_config(manifest), memory)
    costs = zip(
        layer_costs(manifest, run.marks), layer_costs(manifest, prediction.marks), strict=True
    )
    return Comparison(
        name=case.name,
        build=case.build,
        memory=memory,
        measured=run.counters[0]["CYCLES"],
        predicted=prediction.cycles,
        layers={one.name: (one.cycles, other.cycles) for one, other in costs},
    )


# What is compared --------------------------------------------------------------------------------


def _mnist(config_name: str, codes: int) -> Made:
    config, data = load_config(config_name), load_mnist()
    options = Options(n=codes or None, dw=config.DW)
    model = ROOT / "examples" / "mnist" / "mnist.onnx"
    network, _ = convert(model, lambda _graph: normalise(data.train_images[:100]), options)
    source = FileInfo(file=model.name, sha256="", bytes=0)
    compiled = compile_network(network, config_name, config, source, fold=True)
    return compiled, normalise(data.test_images[:1])


def _network(name: str, config_name: str, size: int, width: int, **changes: int) -> Made:
    config = Config.model_validate(load_config(config_name).parameters() | changes)
    network = convert_network(name, Coding(4, 8), size, width, dw=config.DW)
    source = FileInfo(file=name, sha256="", bytes=0)
    compiled = compile_network(network, config_name, config, source, fold=True)
    return compiled, random_images(compiled.manifest.input.shape, 1, 1)


def _layer(config_name: str, shape: str, codes: int, axis: str, **changes: int) -> Made:
    config = Config.model_validate(load_config(config_name).parameters() | changes)
    prepared = prepare(parse_shape(shape), 1, codes, config_name, config, seed=1, axis=axis)
    return prepared.compiled, np.asarray(prepared.image)


def _cases() -> list[Case]:
    cases = []
    for name in ("base", "wide"):
        for codes in (0, 6):
            text = f"mnist {f'{codes}/9' if codes else 'dense'}"
            cases.append(Case(text, name, partial(_mnist, name, codes)))
    for name, size, width, changes in (
        ("squeezenet1.1", 64, 64, {}),
        ("resnet50", 64, 16, {}),
        ("resnet18", 96, 16, {"ACT_DEPTH": 512}),  # tensors that leave act mem, in stripes
    ):
        text = f"{name} {size}x{size}" + (f" width {width}" if width < 64 else "")
        build = "base" + "".join(f" {key}={value}" for key, value in changes.items())
        make = partial(_network, name, "base", size, width, **changes)
        cases.append(Case(text, build, make))
    selective = {"S": 4, "ACT_BANKS": 8}
    for name, changes, shape, codes, axis in (
        ("base", {}, "64x28x28-64-3", 4, "kernel"),
        ("base", {}, "64x28x28-64-3/2", 0, "kernel"),
        ("base", {}, "128x14x14-256-1", 4, "channel"),
        ("base", {}, "256x7x7-256-3", 16, "channel"),
        ("base", {}, "64x14x14-64-3g4", 0, "kernel"),
        ("base", {}, "32x28x28-32-1+r", 0, "kernel"),
        ("base", {"ACT_DEPTH": 512}, "64x28x28-64-3", 4, "kernel"),  # loaded and stored in stripes
        ("bench", {}, "64x56x56-64-3", 0, "kernel"),
        ("bench", {}, "64x56x56-256-1+r", 0, "kernel"),
        ("bench", {}, "128x28x28-128-3/2", 9, "kernel"),
        ("bench", {}, "256x28x28-128-1", 4, "channel"),
        ("bench", {}, "512x7x7-512-3", 4, "kernel"),
        ("bench", selective, "128x27x27-48-1", 0, "kernel"),
        ("bench", selective, "16x55x55-64-3", 0, "kernel"),
        ("bench", selective, "96x28x28-96-3+r", 4, "kernel"),
        ("bench", selective, "64x28x28-32-3/2", 0, "kernel"),
    ):
        weights = f"{codes} {axis}" if codes else "dense"
        build = name + "".join(f" {key}={value}" for key, value in changes.items())
        make = partial(_layer, name, shape, codes, axis, **changes)
        cases.append(Case(f"{shape} {weights}", build, make))
    return cases


SUITE = _cases()
MEMORIES = [Memory(0, 32), Memory(8, 200), Memory(4, 32), Memory(2, 200)]
