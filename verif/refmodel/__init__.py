# SPDX-License-Identifier: Apache-2.0
"""Golden model: the integer meaning of a network in plain NumPy.

It shares no code with the converter, the compiler or any testbench, so that it is a second opinion
on them. It knows no tiles, no chunks and no cycles: weight domain and code domain, and every
hardware configuration, have this one reference.

- `codes`: OVSF codes and the weights generated from alphas
- `layers`: convolution, fully connected, pooling and post-processing on integer arrays
- `model`: a whole network, read from the ONNX file that ``unzipfpga convert`` wrote
"""
