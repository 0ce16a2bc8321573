# SPDX-License-Identifier: Apache-2.0
"""From a trained ONNX model to the integers that the engine computes with.

`convert` makes a `Network`, `write_converted` stores it as ONNX, `read_converted` reads it back.
`import_torch` makes ONNX of a PyTorch module; `run_host` computes what follows the engine's output.
`layer_noise` says what each layer costs against floating point.
"""

from unzipfpga.frontend.convert import Options, convert
from unzipfpga.frontend.converted import read_converted, write_converted
from unzipfpga.frontend.host import run_host
from unzipfpga.frontend.images import ImageSet, find_images
from unzipfpga.frontend.importer import import_model, read_float
from unzipfpga.frontend.network import Layer, Network, Tensor
from unzipfpga.frontend.noise import LayerNoise, layer_noise
from unzipfpga.frontend.quantise import Codes, LayerFit, Share
from unzipfpga.frontend.torch_export import import_torch

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
    "import_model",
    "import_torch",
    "layer_noise",
    "read_converted",
    "read_float",
    "run_host",
    "write_converted",
]
