# SPDX-License-Identifier: Apache-2.0
"""How the operators of an ONNX model become layers of a `FloatGraph`."""
