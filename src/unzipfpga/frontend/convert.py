# SPDX-License-Identifier: Apache-2.0
"""The whole way from a floating-point ONNX file to a converted one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unzipfpga.data.wheel import sha256_of
from unzipfpga.frontend.calibrate import calibrate
from unzipfpga.frontend.converted import float_model
from unzipfpga.frontend.graph import FloatGraph
from unzipfpga.frontend.importer import read_float
from unzipfpga.frontend.network import Network
from unzipfpga.frontend.quantise import Codes, LayerFit, plan_codes, quantise


@dataclass(frozen=True)
class Options:
    """Choices of a conversion.

    Attributes
    ----------
    n : int or None
        Codes for every layer that gets any, see `plan_codes`; None: all are dense.
    per_layer : mapping of str to int or Codes
        Layer name to number of codes, or number and axis; overrides `n` and `dense_first`.
    dense_first : bool
        Keep the first layer dense. It holds few weights and its errors reach everything behind it.
    code_method : {"greedy", "sequential"}
    keep_codes : bool
        Emit codes where as many alphas as weights are stored, too.
    calibration_method : {"minmax", "percentile", "entropy"}
    dw : int
        Bits of activations and weights: 8 or 16.
    axis : {"kernel", "channel", "auto"}
        Of the codes, where `per_layer` does not say it.
    """

    n: int | None = None
    per_layer: Mapping[str, int | Codes] | None = None
    dense_first: bool = True
    code_method: str = "greedy"
    keep_codes: bool = False
    calibration_method: str = "minmax"
    dw: int = 8
    axis: str = "kernel"


Advance = Callable[[int], None]
Track = Callable[[str, int], AbstractContextManager[Advance]]


@contextmanager
def untracked(_what: str, _total: int) -> Iterator[Advance]:
    """Track nothing."""
    yield lambda _count: None


def convert(
    path: Path,
    images: Callable[[FloatGraph], NDArray[np.float32]],
    options: Options,
    track: Track = untracked,
) -> tuple[Network, list[LayerFit]]:
    """Convert a model; nothing is written.

    Parameters
    ----------
    path : pathlib.Path
        Floating-point ONNX.
    images : callable
        Given the network, returns calibration images, float32 [N, C, H, W], preprocessed. Not
        called where a quantised source states all ranges.
    options : Options
    track : callable
        Given a text and a total, returns a context manager of a function that is called with the
        number of items done since its last call: a progress bar.

    Returns
    -------
    Network
    list of LayerFit
        One for each weighted layer.

    Raises
    ------
    UnzipError
        Whatever is wrong with the model, the images or the options.
    """
    graph = read_float(path)
    plan = plan_codes(
        graph,
        options.n,
        options.per_layer or {},
        options.dense_first,
        options.keep_codes,
        options.axis,
    )
    source = {"file": path.name, "sha256": sha256_of(path)}
    ranges = dict(graph.ranges)
    if graph.unranged:  # a quantised source states the others
        sample = images(graph)
        with track("calibrating", len(sample)) as advance:
            method = options.calibration_method
            ranges = calibrate(graph, float_model(graph), sample, method, advance) | ranges
    with track("fitting layers", sum(layer.weighted for layer in graph.layers)) as advance:
        return quantise(graph, ranges, plan, source, options.code_method, advance, options.dw)
