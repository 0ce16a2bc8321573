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
from unzipfpga.frontend.moments import input_moments
from unzipfpga.frontend.network import Network
from unzipfpga.frontend.quantise import Codes, LayerFit, Share, plan_codes, quantise


@dataclass(frozen=True)
class Options:
    """Choices of a conversion.

    Attributes
    ----------
    n : int or None
        Codes for every layer that gets any, see `plan_codes`; None: all are dense.
    rho : float or None
        In the place of `n`: stored values per weight, for every convolution that can have codes.
    target_snr : float or None
        In the place of `n`: signal-to-noise ratio in dB that every layer's sums keep, with the
        fewest codes that do; see `LayerFit.output_snr_db`.
    per_layer : mapping of str to int, Codes or Share
        Layer name to number of codes, or number and axis, or share and axis; overrides all of the
        above and `dense_first`.
    dense_first : bool
        Keep the first layer dense. It holds few weights and its errors reach everything behind it.
    code_method : {"greedy", "energy", "sequential"}
    fit : {"outputs", "weights"}
        What alphas are fitted to: the layer's sums on the sample images, or its weights alone.
    keep_codes : bool
        Emit codes where as many alphas as weights are stored, too.
    calibration_method : {"minmax", "percentile", "entropy"}
    percentile : float
        Of "percentile": share of the values, in per cent, that are not clipped.
    dw : int
        Bits of activations and weights: 8 or 16.
    axis : {"kernel", "channel", "auto"}
        Of the codes, where `per_layer` does not say it.
    """

    n: int | None = None
    rho: float | None = None
    target_snr: float | None = None
    per_layer: Mapping[str, int | Codes | Share] | None = None
    dense_first: bool = True
    code_method: str = "greedy"
    fit: str = "outputs"
    keep_codes: bool = False
    calibration_method: str = "minmax"
    percentile: float = 99.999
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
        Given the network, returns calibration images, float32 [N, C, H, W], preprocessed.
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
        options.rho,
        options.target_snr,
    )
    source = {"file": path.name, "sha256": sha256_of(path)}
    sample = images(graph)
    model = float_model(graph)
    with track("calibrating", len(sample)) as advance:
        ranges = calibrate(
            graph, model, sample, options.calibration_method, advance, options.percentile
        )
    moments = {}
    if options.fit == "outputs":
        with track("inputs of layers with codes", len(sample)) as advance:
            moments = input_moments(graph, model, sample, plan, advance)
    with track("fitting layers", sum(layer.weighted for layer in graph.layers)) as advance:
        return quantise(
            graph,
            ranges,
            plan,
            source,
            options.code_method,
            advance,
            options.dw,
            moments,
            options.keep_codes,
        )
