# SPDX-License-Identifier: Apache-2.0
"""Ranges of all tensors on sample images, from ONNX Runtime's own calibrators."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    create_calibrator,
)

from unzipfpga.errors import DataError
from unzipfpga.frontend.files import first_line
from unzipfpga.frontend.graph import FloatGraph
from unzipfpga.frontend.images import arrays_to_input
from unzipfpga.frontend.runtime import batch_size

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
# ONNX Runtime's fourth, "distribution", is for float8 alone: it gives no range of integers.


class _Batch(CalibrationDataReader):  # type: ignore[misc]
    """One batch of images, in the form that the calibrators ask for."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{name: images}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def check_images(graph: FloatGraph, images: NDArray[Any], what: str) -> NDArray[np.float32]:
    """Return preprocessed images as float32 [N, C, H, W], refusing another shape, none, or NaN.

    Raises
    ------
    DataError
        Names both shapes.
    """
    return arrays_to_input(
        images if images.dtype != np.uint8 else images.astype(np.float32),
        {},
        graph.shapes[graph.input],
        what,
    )


def calibrate(
    graph: FloatGraph,
    model: onnx.ModelProto,
    images: NDArray[np.float32],
    method: str = "minmax",
    advance: Callable[[int], None] = lambda _count: None,
    percentile: float = 99.999,
) -> dict[str, float]:
    """Return the largest magnitude of every tensor.

    Parameters
    ----------
    graph : FloatGraph
    model : onnx.ModelProto
        The same network as ONNX, tensors under the graph's names.
    images : float32 array [N, ...]
        Sample inputs, preprocessed, in the order of axes that the source model takes.
    method : {"minmax", "percentile", "entropy"}
        ONNX Runtime's calibration method; all symmetric.
    advance : callable
        Called with the number of images of each batch that is done.
    percentile : float
        Of method "percentile": share of the values, in per cent, that the range holds.

    Returns
    -------
    dict of str to float
        >= 0.

    Raises
    ------
    DataError
        If the method is unknown, the images do not fit, or the calibrator fails.
    """
    if method not in METHODS:
        raise DataError(f"calibration method '{method}' is unknown; valid: {', '.join(METHODS)}")
    if not 0 < percentile <= 100:
        raise DataError(f"a percentile is more than 0 and at most 100, not {percentile}")
    images = check_images(graph, images, "calibration")
    extra: dict[str, Any] = {"symmetric": True}
    if method == "percentile":
        extra["percentile"] = percentile
    size = batch_size(graph.shapes)  # the histogram methods keep every tensor of a batch
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "float.onnx"
        path.write_bytes(model.SerializeToString())
        # The calibrators print progress on standard output, where --json writes.
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                calibrator = create_calibrator(
                    path,
                    augmented_model_path=str(Path(directory) / "augmented.onnx"),
                    calibrate_method=METHODS[method],
                    extra_options=extra,
                )
                for first in range(0, len(images), size):
                    batch = images[first : first + size]
                    calibrator.collect_data(_Batch(graph.input, batch))
                    advance(len(batch))
                ranges = calibrator.compute_data()
            except ValueError as error:
                raise DataError(f"calibration failed: {first_line(error)}") from error
    names = [graph.input, *(layer.output for layer in graph.layers)]
    return {name: float(np.abs(ranges[name].range_value).max()) for name in names}
