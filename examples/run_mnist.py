#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MNIST digits: the trained network of examples/mnist, dense and with OVSF codes, in RTL.

Example: python examples/run_mnist.py --photographs 200 --rtl 10
"""

import shutil
from pathlib import Path

from end_to_end import Example, main

from unzipfpga.data import load_mnist, normalise

MODEL = Path(__file__).with_name("mnist") / "mnist.onnx"
CALIBRATION_IMAGES = 1000

EXAMPLE = Example(
    "mnist",
    lambda path: Path(shutil.copyfile(MODEL, path)),
    lambda: normalise(load_mnist().train_images[:CALIBRATION_IMAGES]),
    lambda count: normalise(load_mnist().test_images[:count]),
)

if __name__ == "__main__":
    main(EXAMPLE, __doc__)
