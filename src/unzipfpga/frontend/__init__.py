# SPDX-License-Identifier: Apache-2.0
"""From a trained ONNX model to the integers that the engine computes with.

`convert` makes a `Network`, `write_converted` stores it as ONNX, `read_converted` reads it back.
`layer_noise` says what each layer costs against floating point.
"""

from unzipfpga.frontend.convert import Options, convert
from unzipfpga.frontend.converted import read_converted, write_converted
from unzipfpga.frontend.images import ImageSet, find_images
from unzipfpga.frontend.importer import read_float
from unzipfpga.frontend.network import Layer, Network, Tensor
from unzipfpga.frontend.noise import LayerNoise, layer_noise
from unzipfpga.frontend.quantise import Codes, LayerFit, Share

__all__ = [
    "Codes",
    "ImageSet",
    "Layer",
    "LayerFit",
    "LayerNoise",
    "Network",
    "Options",
    "Share",
    "Tensor",
    "convert",
    "find_images",
    "layer_noise",
    "read_converted",
    "read_float",
    "write_converted",
]
