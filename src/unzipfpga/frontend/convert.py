# SPDX-License-Identifier: Apache-2.0
"""The whole way from a floating-point ONNX file to a converted one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unzipfpga.data.wheel import sha256_of
from unzipfpga.errors import DataError, ModelError
from unzipfpga.frontend.calibrate import calibrate
from unzipfpga.frontend.converted import converted_model, float_model, read_converted
from unzipfpga.frontend.files import load_onnx, metadata_of
from unzipfpga.frontend.graph import FloatGraph
from unzipfpga.frontend.images import Preprocess, arrays_to_input, find_images
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
    preprocess : mapping or None
        How images become the input, as of `unzipfpga.frontend.images.Preprocess`; completes and
        overrides what the model says, and is stored in the result.
    calibration_images : int
        How many images to calibrate with, at most, where they are given by name.
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
    preprocess: Mapping[str, Any] | None = None
    calibration_images: int = 1000


FITS = ("outputs", "weights")

Advance = Callable[[int], None]
Track = Callable[[str, int], AbstractContextManager[Advance]]


@contextmanager
def untracked(_what: str, _total: int) -> Iterator[Advance]:
    """Track nothing."""
    yield lambda _count: None


Images = Callable[[FloatGraph], NDArray[np.float32]] | NDArray[Any] | str | Path


def is_converted(path: Path) -> bool:
    """Return whether a file is a converted model already.

    Raises
    ------
    ModelError
        If it is no ONNX file.
    """
    return "unzip.format" in metadata_of(load_onnx(path))


def reread(path: Path) -> Network:
    """Read a converted model that is to be written again, as the same bytes.

    Raises
    ------
    ModelError
        If it is damaged, or another version of `convert` wrote it otherwise.
    """
    network = read_converted(path)
    if converted_model(network).SerializeToString(deterministic=True) != path.read_bytes():
        raise ModelError(
            f"{path}: a converted model, but not as this version writes it; convert its source "
            f"again ({network.source.get('file')})"
        )
    return network


def convert(
    path: Path,
    images: Images | None = None,
    options: Options = Options(),
    track: Track = untracked,
) -> tuple[Network, list[LayerFit]]:
    """Convert a model; nothing is written.

    Parameters
    ----------
    path : pathlib.Path
        Floating-point ONNX; or a converted model, which is given back unchanged.
    images : callable, array, str or pathlib.Path, optional
        Calibration images: a folder, a file or "mnist" (`unzipfpga.frontend.images.find_images`);
        an array, or a function that returns one, given the network (`arrays_to_input`). None for a
        converted model, and for a quantised one that states all ranges.
    options : Options
    track : callable
        Given a text and a total, returns a context manager of a function that is called with the
        number of items done since its last call: a progress bar.

    Returns
    -------
    Network
    list of LayerFit
        One for each weighted layer; none for a converted model.

    Raises
    ------
    UnzipError
        Whatever is wrong with the model, the images or the options.
    """
    if is_converted(path):
        if images is not None or options != Options():
            raise ModelError(
                f"{path}: it is converted already, and its integers stay as they are: leave out "
                "calibration images and all options, or convert its source"
            )
        return reread(path), []
    if options.fit not in FITS:
        raise ModelError(f"alphas are fitted to {' or '.join(FITS)}, not '{options.fit}'")
    graph = read_float(path)
    if graph.unranged and images is None:
        raise DataError(
            f"{path}: it does not state the range of {', '.join(graph.unranged[:3])}: sample "
            "images to calibrate with are missing (--calibrate)"
        )
    _complete_preprocess(graph, options.preprocess or {})
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
    ranges, moments, model = dict(graph.ranges), {}, float_model(graph)
    sample = None
    if images is not None and (graph.unranged or (options.fit == "outputs" and plan)):
        sample = _sample(graph, images, options, track)
    if graph.unranged and sample is not None:  # a quantised source states the other ranges
        with track("calibrating", len(sample)) as advance:
            method = options.calibration_method
            found = calibrate(graph, model, sample, method, advance, options.percentile)
            ranges = found | ranges
    if options.fit == "outputs" and sample is not None:
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


def _complete_preprocess(graph: FloatGraph, given: Mapping[str, Any]) -> None:
    """Add what the user says of preprocessing to what the model says; check it."""
    layout = graph.preprocess.get("layout", "NCHW")
    if given.get("layout", layout) != layout:
        raise DataError(
            f"preprocessing: layout is {given['layout']}, the model's input is {layout}: leave it "
            "out (arrays have the model's layout, image files have none)"
        )
    graph.preprocess = {**graph.preprocess, **given}
    rule = Preprocess.parse(graph.preprocess)
    shape = graph.shapes[graph.input]
    if len(shape) == 3:
        rule.check_channels(shape[0])


def _sample(
    graph: FloatGraph, images: Images, options: Options, track: Track
) -> NDArray[np.float32]:
    """Return calibration images, preprocessed."""
    shape = graph.shapes[graph.input]
    if callable(images):
        images = images(graph)
    if not isinstance(images, str | Path):
        return arrays_to_input(np.asarray(images), graph.preprocess, shape, "calibration")
    found = find_images(
        images, graph.preprocess, shape, part="train", limit=options.calibration_images
    )
    graph.preprocess = dict(found.preprocess or graph.preprocess)
    with track("reading images", found.count) as advance:
        return found.all(advance)
