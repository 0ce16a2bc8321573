# SPDX-License-Identifier: Apache-2.0
"""From a trained ONNX model to the integers that the engine computes with.

`convert` makes a `Network`, `write_converted` stores it as ONNX, `read_converted` reads it back.
"""

from unzipfpga.frontend.convert import Options, convert
from unzipfpga.frontend.converted import read_converted, write_converted
from unzipfpga.frontend.importer import read_float
from unzipfpga.frontend.network import Layer, Network, Tensor

__all__ = [
    "Layer",
    "Network",
    "Options",
    "Tensor",
    "convert",
    "read_converted",
    "read_float",
    "write_converted",
]
