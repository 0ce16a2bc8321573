# SPDX-License-Identifier: Apache-2.0
"""A converted network, written here by hand, against loops in pure Python and ONNX Runtime.

`Network` writes the ONNX file and keeps a plain description of every layer, made of the numbers
that it drew. The loops (`slow_outputs`) read that description only, so they share nothing with the
golden model; ONNX Runtime executes the file in floating point.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx.utils
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verif.refmodel import model as refmodel

KERNEL_CODES = [0, 5, 1, 4, 2, 8]


class Network:
    """Writer of a converted model; `layers` is the description that the slow loops read."""

    def __init__(self, shape: tuple[int, ...], dw: int = 8, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.dw = dw
        self.limit = 2 ** (dw - 1) - 1
        self.dtype = np.int8 if dw == 8 else np.int16
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.layers: list[dict[str, Any]] = []
        self.scales: dict[str, np.float32] = {}
        self.output = ""
        self.constants["zero"] = np.array(0, self.dtype)
        self.quantize("image", "input", np.float32(4.0 / self.limit))

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = attributes.pop("name", f"{operator}_{output}")
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name

    def quantize(self, tensor: str, name: str, scale: np.float32) -> None:
        """Append the QuantizeLinear, DequantizeLinear pair that makes tensor `name`."""
        self.scales[name] = scale
        self.constant(f"{name}.scale", np.array(scale, np.float32))
        self.node("QuantizeLinear", [tensor, f"{name}.scale", "zero"], f"{name}.q")
        self.node("DequantizeLinear", [f"{name}.q", f"{name}.scale", "zero"], name)
        self.output = name

    def layer(
        self,
        name: str,
        source: str,
        shape: tuple[int, ...],
        codes: list[int] | None = None,
        residual: str | None = None,
        activation: str | None = None,
        pixels: int = 0,
        lanes: tuple[int, int, int] | None = None,
        like: str | None = None,
        **attributes: Any,
    ) -> None:
        """A Conv (weights of rank 4) or Gemm (rank 2), its scale that of tensor `like`.

        With `codes` it is a kernel-axis layer; with `lanes`, the (C_in, Ky, Kx) of its weights,
        a channel-axis one.
        """
        rng, filters, dw = self.rng, shape[0], self.dw
        s_x = float(self.scales[source])
        s_w = rng.uniform(0.5, 1.0, filters).astype(np.float32) * np.float32(1.0 / self.limit)
        self.constant(f"{name}.w_scale", s_w)
        if codes is None:
            weights = rng.integers(-self.limit, self.limit + 1, shape)
            stored = self.constant(f"{name}.w", weights.astype(self.dtype))
            alphas = None
        else:
            room = self.limit // len(codes)
            size = shape[:2]
            if lanes is not None:
                size = (filters, -(-lanes[0] // 16), lanes[1] * lanes[2])
            alphas = rng.integers(-room, room + 1, (*size, len(codes)))
            stored = self.constant(f"{name}.a", alphas.astype(self.dtype))
            weights = None
        floats = self.node("DequantizeLinear", [stored, f"{name}.w_scale"], f"{name}.f", axis=0)
        if codes is not None and lanes is not None:
            matrix = [[(-1.0) ** bin(j & i).count("1") for i in range(16)] for j in codes]
            self.constant(f"{name}.codes", np.array(matrix, np.float32))
            blocks = np.array((filters, -(-lanes[0] // 16) * 16, *lanes[1:]), np.int64)
            self.constant(f"{name}.shape", blocks)
            for key, value in (("start", 0), ("end", lanes[0]), ("axis", 1)):
                self.constant(f"{name}.{key}", np.array([value], np.int64))
            tensor = self.node("MatMul", [floats, f"{name}.codes"], f"{name}.g")
            tensor = self.node("Transpose", [tensor], f"{name}.t", perm=[0, 1, 3, 2])
            tensor = self.node("Reshape", [tensor, f"{name}.shape"], f"{name}.r")
            bounds = [f"{name}.start", f"{name}.end", f"{name}.axis"]
            floats = self.node("Slice", [tensor, *bounds], f"{name}.s")
            if len(shape) == 2:
                self.constant(f"{name}.flat", np.array(shape, np.int64))
                floats = self.node("Reshape", [floats, f"{name}.flat"], f"{name}.wf")
        elif codes is not None:
            k = shape[2]
            positions = [4 * ky + kx for ky in range(k) for kx in range(k)]
            matrix = [[(-1.0) ** bin(j & i).count("1") for i in positions] for j in codes]
            self.constant(f"{name}.codes", np.array(matrix, np.float32))
            self.constant(f"{name}.shape", np.array(shape, np.int64))
            flat = self.node("MatMul", [floats, f"{name}.codes"], f"{name}.g")
            floats = self.node("Reshape", [flat, f"{name}.shape"], f"{name}.wf")
        taps = int(np.prod(shape[1:]))
        spread = self.limit**2 * (0.33 if codes is None else 0.2) * np.sqrt(taps) * max(pixels, 1)
        largest = int(spread)
        bias = rng.integers(-largest, largest, filters)
        bias_scale = (s_w.astype(np.float64) * s_x / max(pixels, 1)).astype(np.float32)
        bias_name = self.bias(name, bias, bias_scale)

        s_y = np.float32(spread * s_x * float(s_w.max()) * 2.5 / self.limit / max(pixels, 1))
        if activation == "Clip":  # fine enough that the upper bound is met
            s_y = np.float32(s_y / 4)
        s_y = s_y if like is None else self.scales[like]
        ratio = s_w.astype(np.float64) * s_x / max(pixels, 1) / float(s_y)
        s = max(s for s in range(48) if max(round(r * 2**s) for r in ratio) <= 32767)
        m = [round(r * 2**s) for r in ratio]
        m_r = t = 0
        if residual is not None:
            ratio_r = float(self.scales[residual]) / float(s_y)
            t = min(t for t in range(32) if round(ratio_r * 2.0 ** (s - t)) <= 32767)
            m_r = round(ratio_r * 2.0 ** (s - t))
        lo = -self.limit if activation is None else 0
        hi = self.limit
        ceiling = np.float32(round(0.3 * self.limit) * float(s_y))
        if activation == "Clip":
            hi = min(self.limit, round(float(ceiling) / float(s_y)))
        metadata = {
            "name": name,
            "axis": "dense" if codes is None else "kernel" if lanes is None else "channel",
            "m": m,
            "s": s,
            "lo": lo,
            "hi": hi,
            "m_r": m_r,
            "t": t,
            "dw": dw,
            "acc_bits": 32 if dw == 8 else 48,
            "acc_bound": self.limit**2 * taps * max(pixels, 1) + int(np.abs(bias).max()),
        }
        if codes is not None:
            metadata["codes"] = codes

        operator = "Conv" if len(shape) == 4 else "Gemm"
        if operator == "Gemm":
            attributes["transB"] = 1
        tensor = self.node(
            operator, [source, floats, bias_name], f"{name}.acc", name=name, **attributes
        )
        entry = self.nodes[-1].metadata_props.add()
        entry.key, entry.value = "unzip.layer", json.dumps(metadata)
        if residual is not None:
            tensor = self.node("Add", [tensor, residual], f"{name}.sum")
        if activation == "Relu":
            tensor = self.node("Relu", [tensor], f"{name}.act")
        if activation == "Clip":
            self.constant(f"{name}.lo", np.array(0, np.float32))
            self.constant(f"{name}.hi", ceiling)
            tensor = self.node("Clip", [tensor, f"{name}.lo", f"{name}.hi"], f"{name}.act")
        self.layers.append(
            {
                **metadata,
                "operator": operator,
                "source": source,
                "residual": residual,
                "shape": shape,
                "lanes": lanes,
                "weights": None if weights is None else weights.tolist(),
                "alphas": None if alphas is None else alphas.tolist(),
                "bias": bias.tolist(),
                "strides": attributes.get("strides", [1, 1]),
                "pads": attributes.get("pads", [0, 0, 0, 0]),
                "groups": attributes.get("group", 1),
                "pooled": pixels > 0,
            }
        )
        self.quantize(tensor, name, s_y)

    def bias(self, name: str, bias: np.ndarray, scale: np.ndarray) -> str:
        """Dequantised bias; 48 bits are the sum of two int32, the first in units of 2**24."""
        if self.dw == 8:
            return self.dequantised(f"{name}.b", bias, scale)
        low = (bias + 2**23) % 2**24 - 2**23
        high = self.dequantised(f"{name}.bh", (bias - low) // 2**24, scale * np.float32(2**24))
        return self.node("Add", [high, self.dequantised(f"{name}.bl", low, scale)], f"{name}.b.sum")

    def dequantised(self, name: str, integers: np.ndarray, scale: np.ndarray) -> str:
        self.constant(name, integers.astype(np.int32))
        self.constant(f"{name}_scale", scale)
        return self.node("DequantizeLinear", [name, f"{name}_scale"], f"{name}f", axis=0)

    def average_pool(
        self,
        name: str,
        source: str,
        channels: int,
        window: tuple[int, int],
        activation: str | None = None,
        operator: str = "AveragePool",
        **attributes: Any,
    ) -> None:
        """An average pool with a quantisation of its own: a depthwise layer of weights 1."""
        count = window[0] * window[1]
        counts = list(attributes.pop("counts", [count]))
        s_x = float(self.scales[source])
        s_y = np.float32(s_x * 1.7 / np.sqrt(count))
        ratios = [s_x / count / float(s_y) for count in counts]
        s = max(s for s in range(48) if round(max(ratios) * 2**s) <= 32767)
        m = [[round(ratio * 2**s)] * channels for ratio in ratios]
        lo = -self.limit if activation is None else 0
        metadata = {
            "name": name,
            "axis": "dense",
            "m": m if len(m) > 1 else m[0],
            **{"s": s, "lo": lo, "hi": self.limit, "m_r": 0, "t": 0, "dw": self.dw},
            "acc_bits": 32 if self.dw == 8 else 48,
            "acc_bound": self.limit * count,
        }
        given = {} if operator == "GlobalAveragePool" else {"kernel_shape": list(window)}
        tensor = self.node(operator, [source], f"{name}.acc", name=name, **given, **attributes)
        entry = self.nodes[-1].metadata_props.add()
        entry.key, entry.value = "unzip.layer", json.dumps(metadata)
        if activation == "Relu":
            tensor = self.node("Relu", [tensor], f"{name}.act")
        ones = [[[[1] * window[1]] * window[0]]] * channels
        self.layers.append(
            metadata
            | {"operator": "Conv", "source": source, "residual": None, "weights": ones}
            | {"shape": (channels, 1, *window), "bias": [0] * channels, "groups": channels}
            | {"strides": attributes.get("strides", [1, 1]), "pooled": False}
            | {"pads": attributes.get("pads", [0, 0, 0, 0]), "counts": counts}
        )
        self.quantize(tensor, name, s_y)

    def max_pool(self, name: str, source: str, **attributes: Any) -> None:
        self.node("MaxPool", [source], name, name=name, **attributes)
        self.scales[name] = self.scales[source]
        self.layers.append({"operator": "MaxPool", "name": name, "source": source, **attributes})

    def concat(self, name: str, *sources: str) -> None:
        self.node("Concat", list(sources), name, name=name, axis=1)
        self.scales[name] = self.scales[sources[0]]
        self.layers.append({"operator": "Concat", "name": name, "source": sources})

    def reshape(self, name: str, source: str, target: list[int] | None = None) -> None:
        """Flatten, or Reshape to `target`; either way the loops flatten."""
        if target is None:
            self.node("Flatten", [source], name, name=name)
        else:
            self.constant(f"{name}.shape", np.array(target, np.int64))
            self.node("Reshape", [source, f"{name}.shape"], name, name=name)
        self.scales[name] = self.scales[source]
        self.layers.append({"operator": "Flatten", "name": name, "source": source})

    def proto(self) -> onnx.ModelProto:
        rank = len(self.layers[-1]["shape"])
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *self.shape])],
            [helper.make_tensor_value_info(self.output, TensorProto.FLOAT, [None] * rank)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        helper.set_model_props(model, {"unzip.format": "1", "unzip.source": "by hand"})
        return model


def residual_network(dw: int = 8, seed: int = 0) -> Network:
    """Dense and OVSF convolutions, residual, max pool, a rectangular strided layer, flatten, FC."""
    net = Network((3, 9, 8), dw, seed)
    net.layer("conv1", "input", (6, 3, 3, 3), activation="Relu", pads=[1, 1, 1, 1])
    net.max_pool(
        "pool1", "conv1", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 0, 0, 0], ceil_mode=0
    )
    net.layer(
        "conv2",
        "pool1",
        (6, 6, 3, 3),
        codes=KERNEL_CODES,
        residual="pool1",
        activation="Relu",
        pads=[1, 1, 1, 1],
    )
    net.layer(
        "conv3",
        "conv2",
        (4, 3, 1, 3),
        activation="Clip",
        strides=[1, 2],
        pads=[0, 1, 1, 0],
        group=2,
    )
    net.reshape("flat", "conv3")
    net.layer("fc", "flat", (10, 4 * 6 * 2))
    return net


def pooled_network(dw: int = 8, seed: int = 0) -> Network:
    """Global average pool fused with the fully connected layer behind it."""
    net = Network((2, 6, 5), dw, seed)
    net.layer("conv1", "input", (5, 2, 3, 3), activation="Relu")
    net.node("GlobalAveragePool", ["conv1"], "gap")
    net.scales["gap"] = net.scales["conv1"]
    net.node("Flatten", ["gap"], "gap.flat")
    net.scales["gap.flat"] = net.scales["conv1"]
    net.layer("fc", "gap.flat", (7, 5), pixels=12)
    net.layers[-1]["source"] = "conv1"
    return net


def averaged_network(dw: int = 8, seed: int = 0) -> Network:
    """Average pools: one that counts its padding, one with an activation, a global one."""
    net = Network((3, 9, 8), dw, seed)
    net.average_pool(
        *("pool1", "input", 3, (3, 2)),
        strides=[2, 1],
        pads=[1, 0, 0, 1],
        count_include_pad=1,
    )
    net.layer("conv1", "pool1", (6, 1, 3, 3), group=3, pads=[1, 1, 1, 1])
    net.average_pool("pool2", "conv1", 6, (2, 2), activation="Relu")
    net.average_pool("gap", "pool2", 6, (3, 7), operator="GlobalAveragePool")
    net.reshape("flat", "gap")
    net.layer("fc", "flat", (7, 6))
    return net


def windows_network(dw: int = 8, seed: int = 0) -> Network:
    """Average pools that do not count their padding: a factor for each number of pixels."""
    net = Network((3, 9, 8), dw, seed)
    net.average_pool(
        *("pool1", "input", 3, (3, 3)),
        pads=[1, 1, 1, 0],
        count_include_pad=0,
        counts=[4, 6, 9],
    )
    net.average_pool(
        *("pool2", "pool1", 3, (2, 3), "Relu"),
        strides=[2, 1],
        pads=[1, 0, 0, 1],
        counts=[2, 3, 4, 6],
    )
    net.layer("conv1", "pool2", (4, 3, 1, 1))
    net.average_pool("pool3", "conv1", 4, (3, 3), strides=[4, 3], pads=[1, 0, 0, 0], counts=[6])
    net.reshape("flat", "pool3")
    net.layer("fc", "flat", (7, 8))
    return net


def concat_network(dw: int = 8, seed: int = 0) -> Network:
    """Concatenations of maps, one in the other, and of a tensor that is read by itself, too."""
    net = Network((3, 9, 8), dw, seed)
    net.layer("conv1", "input", (6, 3, 3, 3), activation="Relu", pads=[1, 1, 1, 1])
    net.layer("conv2", "conv1", (5, 6, 1, 1), like="conv1")
    net.concat("both", "conv2", "conv1")
    net.layer("conv3", "both", (4, 11, 3, 3), like="conv1", pads=[1, 1, 1, 1])
    net.concat("all", "conv1", "conv3", "both")
    net.max_pool("pool", "all", kernel_shape=[3, 2], strides=[3, 2], pads=[0, 0, 0, 0])
    net.reshape("flat", "pool")
    net.layer("fc", "flat", (10, 21 * 12))
    return net


def channel_network(dw: int = 8, seed: int = 0) -> Network:
    """Channel-axis layers: 1x1 and 1x2 on 19 channels, and behind a flattened map of 5."""
    net = Network((2, 4, 4), dw, seed)
    net.layer("conv1", "input", (19, 2, 3, 3), activation="Relu", pads=[1, 1, 1, 1])
    net.layer("conv2", "conv1", (19, 19, 1, 1), codes=[3, 15, 0, 9, 6], lanes=(19, 1, 1))
    net.layer("conv3", "conv2", (5, 19, 1, 2), codes=[8], lanes=(19, 1, 2), strides=[2, 2])
    net.reshape("flat", "conv3")
    net.layer("fc", "flat", (6, 5 * 2 * 2), codes=[2, 5, 7], lanes=(5, 2, 2))
    return net


# Pure Python -------------------------------------------------------------------------------------


def parity_sign(j: int, i: int) -> int:
    return -1 if bin(j & i).count("1") % 2 else 1


def layer_weights(layer: dict[str, Any]) -> Any:
    if layer["axis"] == "dense":
        return layer["weights"]
    if layer["axis"] == "channel":
        c_in, k_h, k_w = layer["lanes"]
        return [
            [
                [
                    [
                        sum(
                            a * parity_sign(j, c % 16)
                            for a, j in zip(
                                blocks[c // 16][k_w * ky + kx], layer["codes"], strict=True
                            )
                        )
                        for kx in range(k_w)
                    ]
                    for ky in range(k_h)
                ]
                for c in range(c_in)
            ]
            for blocks in layer["alphas"]
        ]
    k = layer["shape"][2]
    return [
        [
            [
                [
                    sum(a * parity_sign(j, 4 * ky + kx) for a, j in zip(row, layer["codes"]))  # noqa: B905
                    for kx in range(k)
                ]
                for ky in range(k)
            ]
            for row in filter_alphas
        ]
        for filter_alphas in layer["alphas"]
    ]


def finish(layer: dict[str, Any], acc: int, f: int, r: int, pixels: int = 0) -> int:
    m = layer["m"]
    if isinstance(m[0], list):
        m = m[layer["counts"].index(pixels)]
    total = (acc + layer["bias"][f]) * m[f] + r * layer["m_r"] * 2 ** layer["t"]
    if layer["s"] > 0:
        total += 2 ** (layer["s"] - 1)
    return min(max(total // 2 ** layer["s"], layer["lo"]), layer["hi"])


def slow_conv(layer: dict[str, Any], x: Any, r: Any) -> Any:
    w = layer_weights(layer)
    top, left, bottom, right = layer["pads"]
    height, width = len(x[0]), len(x[0][0])
    k_h, k_w = layer["shape"][2:]
    out_h = (height + top + bottom - k_h) // layer["strides"][0] + 1
    out_w = (width + left + right - k_w) // layer["strides"][1] + 1
    per_group = layer["shape"][0] // layer["groups"]
    y = [[[0] * out_w for _ in range(out_h)] for _ in range(layer["shape"][0])]
    for f in range(layer["shape"][0]):
        first = f // per_group * layer["shape"][1]
        for oy in range(out_h):
            for ox in range(out_w):
                acc, pixels = 0, 0
                for c in range(layer["shape"][1]):
                    for ky in range(k_h):
                        for kx in range(k_w):
                            iy = oy * layer["strides"][0] + ky - top
                            ix = ox * layer["strides"][1] + kx - left
                            if 0 <= iy < height and 0 <= ix < width:
                                acc += w[f][c][ky][kx] * x[first + c][iy][ix]
                                pixels += c == 0
                y[f][oy][ox] = finish(layer, acc, f, r[f][oy][ox] if r is not None else 0, pixels)
    return y


def slow_gemm(layer: dict[str, Any], x: Any) -> Any:
    if layer["pooled"]:
        x = [sum(sum(row) for row in plane) for plane in x]
    weights = layer_weights(layer)
    if layer["axis"] == "channel":
        weights = [[v for plane in w for row in plane for v in row] for w in weights]
    return [
        finish(layer, sum(w * v for w, v in zip(row, x, strict=True)), f, 0)
        for f, row in enumerate(weights)
    ]


def slow_max_pool(layer: dict[str, Any], x: Any) -> Any:
    (k_h, k_w), (s_h, s_w) = layer["kernel_shape"], layer["strides"]
    top, left, bottom, right = layer["pads"]
    height, width = len(x[0]), len(x[0][0])
    return [
        [
            [
                max(
                    plane[iy][ix]
                    for iy in range(oy * s_h - top, oy * s_h - top + k_h)
                    for ix in range(ox * s_w - left, ox * s_w - left + k_w)
                    if 0 <= iy < height and 0 <= ix < width
                )
                for ox in range((width + left + right - k_w) // s_w + 1)
            ]
            for oy in range((height + top + bottom - k_h) // s_h + 1)
        ]
        for plane in x
    ]


def slow_outputs(net_layers: list[dict[str, Any]], x: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor for integer activations [N, ...], by loops over Python integers."""
    outputs: dict[str, list[Any]] = {"input": x.tolist()}
    for layer in net_layers:
        results = []
        if layer["operator"] == "Concat":
            parts = [outputs[source] for source in layer["source"]]
            outputs[layer["name"]] = [
                [plane for part in parts for plane in part[n]] for n in range(len(parts[0]))
            ]
            continue
        for n, sample in enumerate(outputs[layer["source"]]):
            if layer["operator"] == "Conv":
                r = outputs[layer["residual"]][n] if layer["residual"] else None
                results.append(slow_conv(layer, sample, r))
            elif layer["operator"] == "Gemm":
                results.append(slow_gemm(layer, sample))
            elif layer["operator"] == "MaxPool":
                results.append(slow_max_pool(layer, sample))
            else:
                results.append([v for plane in sample for row in plane for v in row])
        outputs[layer["name"]] = results
    return {name: np.array(values) for name, values in outputs.items()}


def check_outputs(
    model: refmodel.Model, net_layers: list[dict[str, Any]], images: np.ndarray
) -> None:
    """Every integer of every tensor, and the logits of the batch path, against the loops."""
    x = model.quantize(images)
    expected = slow_outputs(net_layers, x)
    actual = model.layer_outputs(x)
    assert list(actual) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, err_msg=name)
    np.testing.assert_array_equal(model.run(images), expected[net_layers[-1]["name"]])


def load(net: Network | onnx.ModelProto, tmp_path: Path) -> refmodel.Model:
    path = tmp_path / "network.onnx"
    proto = net if isinstance(net, onnx.ModelProto) else net.proto()
    path.write_bytes(proto.SerializeToString())
    return refmodel.load(path)


def images_for(net: Network, count: int, seed: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (count, *net.shape)).astype(np.float32)


NETWORKS = [
    pytest.param(residual_network, 8, id="residual-8"),
    pytest.param(residual_network, 16, id="residual-16"),
    pytest.param(pooled_network, 8, id="pooled-8"),
    pytest.param(pooled_network, 16, id="pooled-16"),
    pytest.param(averaged_network, 8, id="averaged-8"),
    pytest.param(averaged_network, 16, id="averaged-16"),
    pytest.param(windows_network, 8, id="windows-8"),
    pytest.param(windows_network, 16, id="windows-16"),
    pytest.param(concat_network, 8, id="concat-8"),
    pytest.param(concat_network, 16, id="concat-16"),
    pytest.param(channel_network, 8, id="channel-8"),
    pytest.param(channel_network, 16, id="channel-16"),
]


@pytest.mark.parametrize(("make", "dw"), NETWORKS)
def test_every_layer_equals_the_slow_loops(
    make: Callable[..., Network], dw: int, tmp_path: Path
) -> None:
    net = make(dw)
    images = images_for(net, 2)
    model = load(net, tmp_path)
    check_outputs(model, net.layers, images)
    logits = model.run(images)
    assert len(np.unique(logits)) > 5, "the test network saturates: it would hide errors"


def plant(layers: list[dict[str, Any]], name: str, **changes: Any) -> list[dict[str, Any]]:
    faulty = copy.deepcopy(layers)
    layer = next(entry for entry in faulty if entry["name"] == name)
    for key, change in changes.items():
        layer[key] = change(layer[key])
    return faulty


def first_plus_one(values: list[Any]) -> list[Any]:
    if isinstance(values[0], list):
        return [first_plus_one(values[0]), *values[1:]]
    return [values[0] + 1, *values[1:]]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("conv1", {"weights": first_plus_one}),
        ("conv1", {"bias": lambda b: [v + 64 for v in b]}),
        ("conv1", {"lo": lambda _: -127}),
        ("conv2", {"codes": lambda j: [j[1], j[0], *j[2:]]}),
        ("conv2", {"codes": lambda j: [*j[:-1], 12]}),
        ("conv2", {"alphas": first_plus_one}),
        ("conv2", {"residual": lambda _: None}),
        ("conv2", {"m_r": lambda v: -v}),
        ("conv2", {"t": lambda v: v + 1}),
        ("conv2", {"s": lambda v: v + 1}),
        ("conv3", {"hi": lambda _: 127}),
        ("conv3", {"pads": lambda p: [p[2], p[3], p[0], p[1]]}),
        ("pool1", {"pads": lambda _: [0, 0, 1, 0]}),
        ("fc", {"m": lambda m: [v + 64 for v in m]}),
        ("fc", {"bias": lambda b: b[::-1]}),
    ],
)
def test_comparison_catches(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    net = residual_network()
    faulty = plant(net.layers, name, **changes)
    with pytest.raises(AssertionError):
        check_outputs(load(net, tmp_path), faulty, images_for(net, 2))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("pool1", {"pads": lambda p: [p[2], p[3], p[0], p[1]]}),
        ("pool1", {"weights": first_plus_one}),
        ("pool1", {"s": lambda v: v + 1}),
        ("pool2", {"lo": lambda _: -127}),
        ("gap", {"m": lambda m: [m[0] - 6000, *m[1:]]}),
        ("gap", {"weights": first_plus_one}),
    ],
)
def test_comparison_catches_in_pools(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    net = averaged_network()
    faulty = plant(net.layers, name, **changes)
    with pytest.raises(AssertionError):
        check_outputs(load(net, tmp_path), faulty, images_for(net, 4))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("conv2", {"codes": lambda j: [j[1], j[0], *j[2:]]}),
        ("conv2", {"alphas": lambda a: [[b[1], b[0]] for b in a]}),
        ("conv3", {"alphas": lambda a: [[[t[1], t[0]] for t in b] for b in a]}),
        ("fc", {"codes": lambda j: [*j[:-1], 6]}),
        ("fc", {"alphas": first_plus_one}),
    ],
)
def test_comparison_catches_channel_axis(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    net = channel_network()
    faulty = plant(net.layers, name, **changes)
    with pytest.raises(AssertionError):
        check_outputs(load(net, tmp_path), faulty, images_for(net, 2))


# ONNX Runtime ------------------------------------------------------------------------------------


def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Plain float execution: no fusion of the QDQ pairs into integer kernels."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def check_against_runtime(
    model: refmodel.Model, net: Network, images: np.ndarray, faults: dict[str, int]
) -> None:
    """Each layer alone, fed with the golden model's integers, within one LSB (two for DW = 16).

    A float network rounds another product than the integer one, so a value near a half step may
    fall on the other side: rarely, and by one. DW = 16 adds the rounding of m to 15 bits.
    """
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(net.proto()))
    integers = model.layer_outputs(model.quantize(images))
    for name, step in ((step.name, step) for step in model.steps):
        sources = list(step.sources) if isinstance(step, refmodel.Concat) else [step.source]
        if isinstance(step, refmodel.Layer) and step.residual and step.residual != step.source:
            sources.append(step.residual)
        alone = extractor.extract_model(sources, [name])
        feed = {s: (integers[s] * net.scales[s]).astype(np.float32) for s in sources}
        (floats,) = session(alone).run(None, feed)
        expected = np.clip(np.rint(floats / net.scales[name]), -net.limit, net.limit)
        difference = np.abs(expected - (integers[name] + faults.get(name, 0)))
        assert difference.max() <= (1 if net.dw == 8 else 2), name
        assert (difference > 0).mean() < (0.02 if net.dw == 8 else 0.5), name


@pytest.mark.parametrize(("make", "dw"), NETWORKS)
def test_every_layer_is_within_one_step_of_onnx_runtime(
    make: Callable[..., Network], dw: int, tmp_path: Path
) -> None:
    net = make(dw, seed=1)
    images = images_for(net, 20)
    model = load(net, tmp_path)
    check_against_runtime(model, net, images, {})
    for name in ("conv1", "fc"):  # an offset of one everywhere is caught
        with pytest.raises(AssertionError):
            check_against_runtime(model, net, images, {name: 1 if dw == 8 else 3})


MADE = [residual_network, pooled_network, averaged_network, windows_network]
MADE += [channel_network, concat_network]


@pytest.mark.parametrize("make", MADE)
def test_logits_are_near_onnx_runtimes(make: Callable[..., Network], tmp_path: Path) -> None:
    net = make(8, seed=2)
    images = images_for(net, 50)
    model = load(net, tmp_path)
    (floats,) = session(net.proto()).run(None, {"image": images})
    expected = np.clip(np.rint(floats / net.scales[net.output]), -127, 127)
    difference = np.abs(model.run(images) - expected)
    assert difference.max() <= 1
    assert np.isclose(model.output_scale, net.scales[net.output])


# Quantisation of the input, batches, shapes -------------------------------------------------------


def test_input_quantisation(tmp_path: Path) -> None:
    net = Network((1, 1, 6))
    net.scales["input"] = np.float32(0.5)
    net.constants["input.scale"] = np.array(0.5, np.float32)
    net.layer("conv", "input", (1, 1, 1, 1))
    model = load(net, tmp_path)
    images = np.array([0.25, 0.75, -0.25, -0.75, 1e9, -1e9], np.float32).reshape(1, 1, 1, 6)
    # Half-way values go to the even neighbour; -128 does not exist.
    assert model.quantize(images).reshape(-1).tolist() == [0, 2, 0, -2, 127, -127]


def test_input_quantisation_divides_in_float32(tmp_path: Path) -> None:
    net = residual_network()
    model = load(net, tmp_path)
    images = images_for(net, 200)
    proto = net.proto()
    proto.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("input.q", TensorProto.INT8, ["N", *net.shape])
    )
    (expected,) = session(proto).run(None, {"image": images})
    np.testing.assert_array_equal(model.quantize(images), np.maximum(expected, -127))


def test_batches_do_not_change_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = residual_network()
    model = load(net, tmp_path)
    images = images_for(net, 23)
    together = model.run(images)
    monkeypatch.setattr(refmodel, "_BATCH_ELEMENTS", 4 * 27 * 72)
    assert [len(b) for b in model._batches(model.quantize(images))] == [4, 4, 4, 4, 4, 3]
    np.testing.assert_array_equal(model.run(images), together)
    tensors = model.layer_outputs(model.quantize(images))
    np.testing.assert_array_equal(tensors["fc"], together)
    assert model.run(images[:0]).shape == (0, 10)


def test_reshape_forms(tmp_path: Path) -> None:
    reference = None
    for target in (None, [0, -1], [-1, 24], [0, 24]):
        net = Network((2, 4, 3))
        net.layer("conv", "input", (2, 2, 1, 1))
        net.reshape("flat", "conv", target)
        net.layer("fc", "flat", (3, 24))
        model = load(net, tmp_path)
        images = images_for(net, 3)
        check_outputs(model, net.layers, images)
        reference = model.run(images) if reference is None else reference
        np.testing.assert_array_equal(model.run(images), reference)


def test_description(tmp_path: Path) -> None:
    model = load(residual_network(), tmp_path)
    assert list(model.layers) == ["conv1", "conv2", "conv3", "fc"]
    conv2 = model.layers["conv2"]
    assert (conv2.axis, conv2.codes, conv2.residual) == ("kernel", tuple(KERNEL_CODES), "pool1")
    assert conv2.alphas is not None and conv2.alphas.shape == (6, 6, 6)
    assert conv2.weights.shape == (6, 6, 3, 3) and conv2.shape == (6, 5, 4)
    assert model.metadata["unzip.source"] == "by hand"


# Bad files and bad input -------------------------------------------------------------------------


def find(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if node.name == name)


def set_metadata(proto: onnx.ModelProto, node: str, /, **changes: Any) -> None:
    entry = find(proto, node).metadata_props[0]
    metadata = {**json.loads(entry.value), **changes}
    entry.value = json.dumps({k: v for k, v in metadata.items() if v is not ...})


def get_metadata(proto: onnx.ModelProto, name: str) -> dict[str, Any]:
    return dict(json.loads(find(proto, name).metadata_props[0].value))


def set_constant(
    proto: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    for initializer in proto.graph.initializer:
        if initializer.name == name:
            array = numpy_helper.to_array(initializer).copy()
            initializer.CopyFrom(numpy_helper.from_array(np.asarray(change(array)), name))
            return
    raise KeyError(name)


def set_first(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.reshape(-1)[0] = value
        return array

    return change


def set_attribute(proto: onnx.ModelProto, name: str, **attributes: Any) -> None:
    node = find(proto, name)
    kept = [a for a in node.attribute if a.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())


def rename_operator(proto: onnx.ModelProto, name: str, operator: str) -> None:
    find(proto, name).op_type = operator


def second_consumer(proto: onnx.ModelProto) -> None:
    node = find(proto, "QuantizeLinear_conv1.q")
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    twin.name, twin.input[0], twin.output[0] = "twin", "conv1.acc", "twin.q"
    at = list(proto.graph.node).index(node)
    proto.graph.node.insert(at, twin)


def scaled(array: np.ndarray) -> np.ndarray:
    return array * np.float32(1.01)


REFUSED: list[tuple[str, Callable[[onnx.ModelProto], object], str]] = [
    ("operator", lambda p: rename_operator(p, "Relu_conv1.act", "Sigmoid"), "(Sigmoid): the op"),
    ("format", lambda p: helper.set_model_props(p, {"unzip.format": "2"}), "unzip.format is '2'"),
    ("no format", lambda p: helper.set_model_props(p, {"a": "b"}), "unzipfpga convert"),
    ("opset", lambda p: setattr(p.opset_import[0], "version", 20), "opset 20; opset 21"),
    ("dilations", lambda p: set_attribute(p, "conv1", dilations=[1, 2]), "'conv1' (Conv): attr"),
    ("auto_pad", lambda p: set_attribute(p, "conv1", auto_pad="SAME_UPPER"), "auto_pad = b'SAME"),
    ("transB", lambda p: set_attribute(p, "fc", transB=0), "'fc' (Gemm): transB = 0"),
    ("alpha", lambda p: set_attribute(p, "fc", alpha=2.0), "alpha = 2.0; 1.0 is supported"),
    ("kernel_shape", lambda p: set_attribute(p, "conv1", kernel_shape=[3, 2]), "kernel_shape"),
    ("group", lambda p: set_attribute(p, "conv3", group=1), "in 1 groups do not fit"),
    ("group 3", lambda p: set_attribute(p, "conv3", group=3), "in 3 groups do not fit"),
    ("storage_order", lambda p: set_attribute(p, "pool1", storage_order=1), "storage_order"),
    ("pool pads", lambda p: set_attribute(p, "pool1", pads=[2, 0, 0, 0]), "pads (2, 0, 0, 0)"),
    ("axis of flatten", lambda p: set_attribute(p, "flat", axis=2), "'flat' (Flatten): attribute"),
    ("no metadata", lambda p: find(p, "conv1").metadata_props.pop(), "no unzip.layer metadata"),
    (
        "not JSON",
        lambda p: setattr(find(p, "conv1").metadata_props[0], "value", "{"),
        "unzip.layer is not JSON",
    ),
    ("missing key", lambda p: set_metadata(p, "conv1", s=...), "missing keys ['s']"),
    ("unknown key", lambda p: set_metadata(p, "conv1", zero=0), "unknown keys ['zero']"),
    ("axis", lambda p: set_metadata(p, "conv1", axis="filter", codes=[0]), "axis 'filter'"),
    ("other axis", lambda p: set_metadata(p, "conv1", axis="channel", codes=[0]), "no product"),
    ("no codes", lambda p: set_metadata(p, "conv2", codes=...), "missing keys ['codes']"),
    ("dense with codes", lambda p: set_metadata(p, "conv1", codes=[1]), "dense layer has codes"),
    ("wrong axis", lambda p: set_metadata(p, "conv2", axis="dense", codes=[]), "axis is dense"),
    ("no alphas", lambda p: set_metadata(p, "conv1", axis="kernel", codes=[1]), "no product"),
    ("s", lambda p: set_metadata(p, "conv1", s=48), "s = 48 is not an integer in 0..47"),
    ("s float", lambda p: set_metadata(p, "conv1", s=1.0), "s = 1.0 is not an integer"),
    ("t", lambda p: set_metadata(p, "conv2", t=32), "t = 32 is not an integer in 0..31"),
    ("m range", lambda p: set_metadata(p, "conv1", m=[32768] * 6), "m = 32768 is not"),
    ("m count", lambda p: set_metadata(p, "conv1", m=[1] * 5), "5 values for 6 filters"),
    (
        "m value",
        lambda p: set_metadata(p, "conv1", m=[v + 1 for v in get_metadata(p, "conv1")["m"]]),
        "the scales say",
    ),
    ("m_r", lambda p: set_metadata(p, "conv2", m_r=get_metadata(p, "conv2")["m_r"] + 1), "m_r ="),
    ("m_r alone", lambda p: set_metadata(p, "conv1", m_r=1), "m_r = 1 without a residual"),
    ("lo", lambda p: set_metadata(p, "conv1", lo=-127), "lo = -127: the graph says 0"),
    ("hi", lambda p: set_metadata(p, "conv3", hi=39), "hi = 39: the graph says 38"),
    ("lo of fc", lambda p: set_metadata(p, "fc", lo=-128), "lo = -128: the graph says -127"),
    ("acc_bits", lambda p: set_metadata(p, "conv1", acc_bits=40), "acc_bits = 40; dw 8 has 32"),
    ("acc_bound", lambda p: set_metadata(p, "conv1", acc_bound=2**31), "does not fit 32 bits"),
    ("dw", lambda p: set_metadata(p, "conv1", dw=16), "dw is 16, activations are int8"),
    ("name twice", lambda p: set_metadata(p, "fc", name="conv1"), "'conv1' is used twice"),
    ("name input", lambda p: set_metadata(p, "fc", name="input"), "'input' is used twice"),
    ("weight range", lambda p: set_constant(p, "conv1.w", set_first(-128)), "weight -128 of fil"),
    ("alpha range", lambda p: set_constant(p, "conv2.a", set_first(-128)), "alpha -128 of filter"),
    (
        "generated range",
        lambda p: set_constant(p, "conv2.a", lambda a: np.full_like(a, 22)),
        "weight 132 of filter 0",
    ),
    ("code sign", lambda p: set_constant(p, "conv2.codes", lambda c: -c), "code matrix does not"),
    ("code value", lambda p: set_constant(p, "conv2.codes", set_first(0)), "other than +1 and -1"),
    ("code list", lambda p: set_metadata(p, "conv2", codes=[0, 5, 1, 4, 2, 9]), "code matrix does"),
    ("code index", lambda p: set_metadata(p, "conv2", codes=[0, 5, 1, 4, 2, 16]), "outside 0..15"),
    (
        "weight order",
        lambda p: set_constant(p, "conv2.shape", lambda s: s[[0, 2, 3, 1]]),
        "3x6 kernel; a square one is needed",
    ),
    ("zero point", lambda p: set_constant(p, "zero", lambda z: z + np.int8(1)), "zero point"),
    ("unsigned", lambda p: set_constant(p, "zero", lambda z: z.astype(np.uint8)), "uint8; int8"),
    ("dq scale", lambda p: find(p, "DequantizeLinear_conv1").input.__setitem__(1, "fc.scale"), "s"),
    ("y scale", lambda p: set_constant(p, "conv1.scale", scaled), "'conv1' (Conv): m = "),
    ("w scale", lambda p: set_constant(p, "conv1.w_scale", scaled), "bias scale is not"),
    ("b scale", lambda p: set_constant(p, "conv1.b_scale", scaled), "bias scale is not"),
    ("negative scale", lambda p: set_constant(p, "fc.w_scale", lambda s: -s), "not positive"),
    ("w scale axis", lambda p: set_attribute(p, "DequantizeLinear_conv1.f", axis=1), "on axis 0"),
    ("one w scale", lambda p: set_constant(p, "fc.w_scale", lambda s: s[0]), "one a filter"),
    ("second consumer", second_consumer, "another consumer"),
    ("fc shape", lambda p: set_constant(p, "fc.w", lambda w: w[:, :-1]), "'fc' (Gemm): weights"),
    ("input rank", lambda p: p.graph.input[0].type.tensor_type.shape.dim.pop(), "[N, C, H, W]"),
    (
        "input size",
        lambda p: setattr(p.graph.input[0].type.tensor_type.shape.dim[2], "dim_param", "H"),
        "known C, H and W",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_file_is_refused(
    change: Callable[[onnx.ModelProto], object], message: str, tmp_path: Path
) -> None:
    proto = residual_network().proto()
    load(proto, tmp_path)
    change(proto)
    with pytest.raises(refmodel.ModelError) as error:
        load(proto, tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


WIDE_REFUSED: list[Any] = [
    ("scales", lambda p: set_constant(p, "conv1.bh_scale", scaled), "do not differ by 2**24"),
    ("both scales", lambda p: scale_both(p, "conv1"), "bias scale is not"),
    ("type", lambda p: set_constant(p, "conv1.bl", lambda b: b.astype(np.int16)), "not int32"),
    ("range", lambda p: set_constant(p, "conv1.bh", set_first(2**23)), "does not fit 48 bits"),
    (
        "one part",
        lambda p: find(p, "conv1").input.__setitem__(2, "conv1.blf"),
        "not the sum of two dequantised int32 [6]",
    ),
    ("acc_bits", lambda p: set_metadata(p, "conv1", acc_bits=32), "acc_bits = 32; dw 16 has 48"),
    ("dw", lambda p: set_metadata(p, "conv1", dw=8), "dw is 8, activations are int16"),
]


def scale_both(proto: onnx.ModelProto, name: str) -> None:
    set_constant(proto, f"{name}.bh_scale", scaled)
    set_constant(proto, f"{name}.bl_scale", scaled)


@pytest.mark.parametrize(
    ("change", "message"), [r[1:] for r in WIDE_REFUSED], ids=[r[0] for r in WIDE_REFUSED]
)
def test_file_of_16_bits_is_refused(
    change: Callable[[onnx.ModelProto], object], message: str, tmp_path: Path
) -> None:
    proto = residual_network(16).proto()
    load(proto, tmp_path)
    change(proto)
    with pytest.raises(refmodel.ModelError) as error:
        load(proto, tmp_path)
    assert message in str(error.value)


REFUSED_CHANNEL: list[tuple[str, Callable[[onnx.ModelProto], object], str]] = [
    ("axis", lambda p: set_metadata(p, "conv2", axis="kernel"), "outside 0..0"),
    ("code list", lambda p: set_metadata(p, "conv2", codes=[3, 15, 0, 9, 7]), "code matrix does"),
    ("code index", lambda p: set_metadata(p, "conv3", codes=[16]), "outside 0..15"),
    ("code sign", lambda p: set_constant(p, "conv3.codes", lambda c: -c), "code matrix does not"),
    ("alpha range", lambda p: set_constant(p, "conv3.a", set_first(-128)), "alpha -128 of filter"),
    ("range", lambda p: set_constant(p, "conv2.a", lambda a: np.full_like(a, 26)), "weight 130"),
    ("perm", lambda p: set_attribute(p, "Transpose_conv2.t", perm=[1, 0, 3, 2]), "filters first"),
    ("no perm", lambda p: set_attribute(p, "Transpose_conv3.t", perm=[0, 1, 2, 3]), "differ from"),
    ("start", lambda p: set_constant(p, "conv2.start", lambda s: s + 1), "channels 1 to 19"),
    ("axis of slice", lambda p: set_constant(p, "conv2.axis", lambda s: s - 1), "of axis 0"),
    ("end", lambda p: set_constant(p, "conv2.end", lambda s: s + 1), "do not fit"),
]


@pytest.mark.parametrize(
    ("change", "message"), [r[1:] for r in REFUSED_CHANNEL], ids=[r[0] for r in REFUSED_CHANNEL]
)
def test_channel_axis_file_is_refused(
    change: Callable[[onnx.ModelProto], object], message: str, tmp_path: Path
) -> None:
    proto = channel_network().proto()
    load(proto, tmp_path)
    change(proto)
    with pytest.raises(refmodel.ModelError, match=message):
        load(proto, tmp_path)


def test_missing_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    with pytest.raises(refmodel.ModelError, match=r"network\.onnx: cannot be read: No such file"):
        refmodel.load(path)
    data = residual_network().proto().SerializeToString()
    for content in (data[: len(data) // 2], b"not a model", b""):
        path.write_bytes(content)
        with pytest.raises(refmodel.ModelError, match=r"network\.onnx: is damaged or not an ONNX"):
            refmodel.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: net.node("Concat", ["conv1", "flat"], "bad", axis=1), "differ in their maps"),
        (lambda net: net.node("Concat", ["pool", "conv1"], "bad", axis=1), "differ in their maps"),
        (
            lambda net: net.node("Concat", ["conv1", "input"], "bad", axis=1),
            "scales .* and .* differ",
        ),
        (lambda net: net.node("Concat", ["conv1", "conv3"], "bad", axis=2), "axis 2; 1, the"),
        (lambda net: net.node("Concat", ["conv1", "image"], "bad", axis=1), "'image' is not the"),
    ],
)
def test_concatenations_are_refused(
    change: Callable[[Network], object], message: str, tmp_path: Path
) -> None:
    net = concat_network()
    change(net)
    with pytest.raises(refmodel.ModelError, match=rf"\(Concat\): .*{message}"):
        load(net, tmp_path)


def test_comparison_catches_swapped_parts(tmp_path: Path) -> None:
    net = concat_network()
    faulty = copy.deepcopy(net.layers)
    both = next(layer for layer in faulty if layer["name"] == "both")
    both["source"] = both["source"][::-1]
    with pytest.raises(AssertionError):
        check_outputs(load(net, tmp_path), faulty, images_for(net, 2))


def test_operators_behind_the_last_layer_are_refused(tmp_path: Path) -> None:
    net = residual_network()
    net.output = net.node("Relu", ["fc"], "late")
    with pytest.raises(refmodel.ModelError, match=r"'Relu_late' \(Relu\): .* Conv or Gemm"):
        load(net, tmp_path)


def test_pool_after_a_global_average_pool_is_refused(tmp_path: Path) -> None:
    net = pooled_network()
    net.nodes.insert(
        [n.op_type for n in net.nodes].index("Flatten"),
        helper.make_node("MaxPool", ["gap"], ["bad"], name="bad", kernel_shape=[1, 1]),
    )
    with pytest.raises(refmodel.ModelError, match=r"'bad' \(MaxPool\): only a Gemm"):
        load(net, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: set_attribute(p, "pool1", count_include_pad=0),
            "m is not 4 lists: one for each number of pixels in a window",
        ),
        (lambda p: set_attribute(p, "pool1", ceil_mode=1), "ceil_mode = 1; 0 is supported"),
        (lambda p: set_attribute(p, "pool2", kernel_shape=[2, 3]), "'pool2' (AveragePool): m = "),
        (lambda p: set_attribute(p, "pool2", kernel_shape=[9, 9]), "is larger than the input"),
        (lambda p: set_metadata(p, "pool2", m=[1] * 5), "m has 5 values for 6 channels"),
        (lambda p: set_metadata(p, "pool2", dw=16), "axis dense, dw 16 do not fit a pool"),
        (lambda p: set_metadata(p, "gap", s=get_metadata(p, "gap")["s"] - 1), "the scales say"),
        (lambda p: set_metadata(p, "gap", lo=0), "lo = 0: the graph says -127"),
        (lambda p: find(p, "pool2").metadata_props.pop(), "no unzip.layer metadata"),
    ],
)
def test_average_pools_are_refused(
    change: Callable[[onnx.ModelProto], object], message: str, tmp_path: Path
) -> None:
    proto = averaged_network().proto()
    load(proto, tmp_path)
    change(proto)
    with pytest.raises(refmodel.ModelError) as error:
        load(proto, tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: set_attribute(p, "pool1", count_include_pad=1),
            "is not an integer",
        ),
        (lambda p: set_attribute(p, "pool1", pads=[3, 1, 1, 0]), "with nothing but padding"),
        (
            lambda p: set_metadata(p, "pool1", m=get_metadata(p, "pool1")["m"][:2]),
            "m is not 3 lists",
        ),
        (
            lambda p: set_metadata(p, "pool1", m=[[1] * 3, [1] * 3, [1] * 2]),
            "m has 2 values for 3 channels",
        ),
        (lambda p: set_metadata(p, "pool1", m=[1] * 3), "m is not a list"),
        (lambda p: set_metadata(p, "pool1", m=[[1] * 3, [1] * 3, [1.5] * 3]), "not an integer"),
        (
            lambda p: set_metadata(p, "pool1", m=get_metadata(p, "pool1")["m"][::-1]),
            r"of filter 0, pixel \d, \d, with s = ",
        ),
    ],
)
def test_average_pools_of_different_windows_are_refused(
    change: Callable[[onnx.ModelProto], object], message: str, tmp_path: Path
) -> None:
    proto = windows_network().proto()
    load(proto, tmp_path)
    change(proto)
    with pytest.raises(refmodel.ModelError, match=message):
        load(proto, tmp_path)


def test_images_are_refused(tmp_path: Path) -> None:
    net = residual_network()
    model = load(net, tmp_path)
    images = images_for(net, 2)
    with pytest.raises(refmodel.ModelError, match=r"shape \[2, 3, 9, 7\]; .* \[N, 3, 9, 8\]"):
        model.run(images[..., :-1])
    with pytest.raises(refmodel.ModelError, match="not finite"):
        model.run(np.where(images > 1, np.nan, images))
    x = model.quantize(images)
    with pytest.raises(refmodel.ModelError, match="float32; integers"):
        model.run_int(x.astype(np.float32))  # type: ignore[arg-type]
    x[0, 0, 0, 0] = -128
    with pytest.raises(refmodel.ModelError, match=r"outside -127\.\.127"):
        model.run_int(x)


def test_accumulator_beyond_the_proven_bound_is_refused(tmp_path: Path) -> None:
    net = residual_network()
    images = images_for(net, 4)
    bounds = {}
    model = load(net, tmp_path)
    tensors = model.layer_outputs(model.quantize(images))
    for name, layer in model.layers.items():
        bias = layer.bias.reshape((-1,) + (1,) * (len(layer.shape) - 1))
        bounds[name] = int(np.abs(layer.accumulate(tensors[layer.source]) + bias).max())
    for name, bound in bounds.items():
        proto = net.proto()
        set_metadata(proto, name, acc_bound=bound)
        load(proto, tmp_path).run(images)
        set_metadata(proto, name, acc_bound=bound - 1)
        with pytest.raises(refmodel.ModelError, match=rf"layer '{name}': .* exceeds acc_bound"):
            load(proto, tmp_path).run(images)
