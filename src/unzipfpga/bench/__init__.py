# SPDX-License-Identifier: Apache-2.0
"""Single layers on the RTL: how long they take, and what their time goes to."""

from unzipfpga.bench.layers import LayerResult, prepare, run_layer, total
from unzipfpga.bench.shapes import LISTS, Shape, ShapeError, named_list, parse_shape, unique

__all__ = [
    "LISTS",
    "LayerResult",
    "Shape",
    "ShapeError",
    "named_list",
    "parse_shape",
    "prepare",
    "run_layer",
    "total",
    "unique",
]
