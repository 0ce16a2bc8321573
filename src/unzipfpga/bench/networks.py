# SPDX-License-Identifier: Apache-2.0
"""Whole networks with random weights, as floating-point ONNX and converted.

The weights are seeded noise of such a size that activations keep theirs. Those of a layer with
codes are sums of n random codes: the network is one that was trained so, not a dense one that
loses most of its weights. Batch normalisations are folded.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import unzipfpga
from unzipfpga.bench.shapes import SQUEEZENET_POOLED, Shape, ShapeError, named_list
from unzipfpga.frontend import Network, Options, convert, write_converted
from unzipfpga.frontend.convert import Track, untracked
from unzipfpga.frontend.quantise import Codes
from unzipfpga.ovsf import CHANNEL_LENGTH, channel_codes, kernel_codes
from unzipfpga.source_tree import import_from_tree

NETWORKS = ("resnet18", "resnet34", "resnet50", "squeezenet1.1")
CLASSES = 1000
CALIBRATION_IMAGES = 4
# A block's last layer is scaled by this before its result is added, as small factors of batch
# normalisations do: sums would otherwise grow by a factor of two in each block.
BRANCH = 0.5


@dataclass(frozen=True)
class Coding:
    """How a network's weights are stored.

    Attributes
    ----------
    kernel : int
        Kernel-axis codes of a 3x3 layer, 9 for dense.
    channel : int
        Channel-axis codes, of 16, of a 1x1 layer with at least 16 channels, 16 for dense.
    """

    kernel: int = 9
    channel: int = CHANNEL_LENGTH

    @property
    def text(self) -> str:
        """As on the command line."""
        return "dense" if self == Coding() else f"{self.kernel},{self.channel}"


def parse_coding(text: str) -> Coding:
    """Read "dense", or "4,8": 4 codes for 3x3 layers, 8 of 16 for 1x1 layers.

    Raises
    ------
    ShapeError
        Says what is expected.
    """
    if text == "dense":
        return Coding()
    try:
        kernel, channel = (int(part) for part in text.split(","))
    except ValueError:
        kernel = channel = 0
    if not (1 <= kernel <= 9 and 1 <= channel <= CHANNEL_LENGTH):
        raise ShapeError(
            f"codes '{text}': expected 'dense', or codes of 3x3 layers (1 to 9), a comma and codes "
            f"of 1x1 layers (1 to {CHANNEL_LENGTH}), such as 4,8"
        )
    return Coding(kernel, channel)


def codes_of(shape: Shape, first: bool, coding: Coding) -> Codes | None:
    """Return the codes of a layer, None for a dense one; the network's first is dense."""
    if first or shape.groups > 1:
        return None
    if shape.kernel == 3 and coding.kernel < 9:
        return Codes(coding.kernel)
    wide = shape.channels >= CHANNEL_LENGTH
    if shape.kernel == 1 and wide and coding.channel < CHANNEL_LENGTH:
        return Codes(coding.channel, "channel")
    return None


class _Builder:
    """Collects a network's nodes and weights."""

    def __init__(self, name: str, shapes: Sequence[Shape], coding: Coding, seed: int) -> None:
        self.rng = np.random.default_rng([seed, *map(ord, f"{name} {coding.text}")])
        self.shapes = {shape.name: shape for shape in shapes}
        self.first, self.coding = shapes[0], coding
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; its output has its name."""
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[np.floating]) -> str:
        self.initializers.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def weights(self, shape: Shape, gain: float) -> NDArray[np.float64]:
        """Draw weights [C_out, C_in, K, K] that keep the size of activations, times `gain`."""
        filters, channels, kernel = shape.filters, shape.channels, shape.kernel
        codes = codes_of(shape, shape is self.first, self.coding)
        if codes is None:
            drawn = self.rng.normal(size=(filters, channels, kernel, kernel))
        elif codes.axis == "kernel":
            rows = _independent(self.rng, kernel_codes(kernel), codes.n)
            alphas = self.rng.normal(size=(filters, channels, codes.n))
            drawn = (alphas @ rows).reshape(filters, channels, kernel, kernel)
        else:
            rows = _independent(self.rng, channel_codes(), codes.n)
            blocks = -(-channels // CHANNEL_LENGTH)
            alphas = self.rng.normal(size=(filters, blocks, codes.n))
            drawn = (alphas @ rows).reshape(filters, -1, 1, 1)[:, :channels]
        deviation = float(drawn.std())
        # Filters differ, as they do with batch normalisations folded.
        spread = self.rng.uniform(0.7, 1.3, (filters, 1, 1, 1))
        size = np.sqrt(2.0 / (channels * kernel**2))
        result: NDArray[np.float64] = drawn * (gain * size / deviation) * spread
        return result

    def conv(self, name: str, source: str, relu: bool = True, gain: float = 1.0) -> str:
        shape = self.shapes[name]
        weights = self.constant(f"{name}.weight", self.weights(shape, gain))
        bias = self.constant(f"{name}.bias", self.rng.normal(scale=0.1, size=shape.filters))
        stride, pads = [shape.stride] * 2, [shape.pad] * 4
        result = self.node("Conv", name, source, weights, bias, strides=stride, pads=pads)
        return self.node("Relu", f"{name}.relu", result) if relu else result

    def model(self, output: str, channels: int, size: int) -> onnx.ModelProto:
        kind = TensorProto.FLOAT
        image = helper.make_tensor_value_info("image", kind, ["N", channels, size, size])
        result = helper.make_tensor_value_info(output, kind, ["N", CLASSES])
        graph = helper.make_graph(self.nodes, "network", [image], [result], self.initializers)
        opsets = [helper.make_opsetid("", 21)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _independent(rng: np.random.Generator, codes: NDArray[np.int8], n: int) -> NDArray[np.int8]:
    """Return n random rows of a matrix of codes that are linearly independent."""
    chosen: list[int] = []
    for index in rng.permutation(len(codes)):
        rows = codes[[*chosen, int(index)]].astype(np.float64)
        if len(chosen) < n and np.linalg.matrix_rank(rows) == len(rows):
            chosen.append(int(index))
    return codes[chosen]


def _resnet(build: _Builder) -> str:
    tensor = build.conv("conv1", "image")
    tensor = build.node(
        "MaxPool", "maxpool", tensor, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
    )
    blocks: dict[str, list[str]] = {}
    for name in list(build.shapes)[1:]:
        block, _, layer = name.rpartition(".")
        blocks.setdefault(block, []).append(layer)
    for block, layers in blocks.items():
        shortcut = tensor
        *inner, last = [layer for layer in layers if layer != "downsample"]
        for layer in inner:
            tensor = build.conv(f"{block}.{layer}", tensor)
        tensor = build.conv(f"{block}.{last}", tensor, relu=False, gain=BRANCH)
        if "downsample" in layers:
            gain = 1 / np.sqrt(2)  # no ReLU behind it
            shortcut = build.conv(f"{block}.downsample", shortcut, relu=False, gain=gain)
        tensor = build.node("Add", f"{block}.add", tensor, shortcut)
        tensor = build.node("Relu", f"{block}.relu", tensor)
    tensor = build.node("GlobalAveragePool", "avgpool", tensor)
    tensor = build.node("Flatten", "flatten", tensor)
    channels = list(build.shapes.values())[-1].filters
    drawn = build.rng.normal(scale=1 / np.sqrt(channels), size=(CLASSES, channels))
    weights = build.constant("fc.weight", drawn)
    bias = build.constant("fc.bias", build.rng.normal(scale=0.1, size=CLASSES))
    return build.node("Gemm", "fc", tensor, weights, bias, transB=1)


def _squeezenet(build: _Builder) -> str:
    tensor = build.conv("features.0", "image")
    for fire in [name.removesuffix(".squeeze") for name in build.shapes if "squeeze" in name]:
        number = int(fire.removeprefix("features."))
        if number in SQUEEZENET_POOLED:
            pool = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
            tensor = build.node("MaxPool", f"features.{number - 1}", tensor, **pool)
        squeezed = build.conv(f"{fire}.squeeze", tensor)
        parts = [build.conv(f"{fire}.expand{kernel}", squeezed) for kernel in ("1x1", "3x3")]
        tensor = build.node("Concat", fire, *parts, axis=1)
    tensor = build.conv("classifier.1", tensor)
    tensor = build.node("GlobalAveragePool", "classifier.3", tensor)
    return build.node("Flatten", "flatten", tensor)


def _shapes(name: str, size: int, width: int) -> list[Shape]:
    """Return the convolutions of a network, once the request is found to be possible."""
    if name not in NETWORKS:
        raise ShapeError(f"unknown network '{name}'; there are: {', '.join(NETWORKS)}")
    if width < 8 or width % 8 or size < 32:
        raise ShapeError(
            f"a network of width {width} on {size}x{size} pixels: the width must be a multiple of "
            "8, the image at least 32x32"
        )
    return named_list(name, size, width)


def float_network(
    name: str, coding: Coding, size: int = 224, width: int = 64, seed: int = 1
) -> onnx.ModelProto:
    """Return a network with random weights as floating-point ONNX.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    coding : Coding
    size : int
        Height and width of the image in pixels.
    width : int
        Filters of the first layer, 64 in the network itself; all other layers are in proportion.
    seed : int
        Of the weights.

    Raises
    ------
    ShapeError
        An unknown name, or a size or width that it cannot have.
    """
    shapes = _shapes(name, size, width)
    build = _Builder(name, shapes, coding, seed)
    output = _squeezenet(build) if name.startswith("squeezenet") else _resnet(build)
    return build.model(output, shapes[0].channels, size)


def random_images(
    shape: Sequence[int], count: int, seed: int, calibration: bool = False
) -> NDArray[np.float32]:
    """Return images [count, C, H, W] of standard normal pixels; others for calibration."""
    drawn = np.random.default_rng([seed, int(calibration)]).normal(size=(count, *shape))
    return drawn.astype(np.float32)


def convert_network(
    name: str,
    coding: Coding,
    size: int = 224,
    width: int = 64,
    seed: int = 1,
    dw: int = 8,
    track: Track = untracked,
) -> Network:
    """Return a network with random weights in integers; parameters as of `float_network`.

    It is calibrated on `CALIBRATION_IMAGES` random images. `dw` is the width of an activation.
    """
    shapes = _shapes(name, size, width)
    wanted = {shape.name: codes_of(shape, shape is shapes[0], coding) for shape in shapes}
    per_layer = {layer: codes for layer, codes in wanted.items() if codes is not None}
    images = random_images((shapes[0].channels, size, size), CALIBRATION_IMAGES, seed, True)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        onnx.save(float_network(name, coding, size, width, seed), path)
        # Random weights and images: nothing is to be gained from the images' statistics.
        options = Options(per_layer=per_layer, fit="weights", dw=dw)
        return convert(path, lambda _graph: images, options, track)[0]


def models_folder() -> Path:
    """Return where converted networks are kept."""
    folder: Path = import_from_tree("verif.runner").BUILD / "networks"
    return folder


def converted_network(
    name: str,
    coding: Coding,
    size: int = 224,
    width: int = 64,
    seed: int = 1,
    dw: int = 8,
    track: Track = untracked,
) -> Path:
    """Return the path of a converted network in the build directory, made the first time.

    Parameters as of `convert_network`.

    Raises
    ------
    UnzipError
        As `float_network` and `convert`.
    """
    folder = models_folder()
    folder.mkdir(parents=True, exist_ok=True)
    what = {"name": name, "coding": coding.text, "size": size, "width": width}
    what |= {"seed": seed, "dw": dw}
    key = hashlib.sha256(json.dumps(what).encode() + _sources()).hexdigest()[:16]
    path = folder / f"{name}-{coding.text.replace(',', '-')}-{size}-{key}.onnx"
    if not path.exists():
        write_converted(convert_network(name, coding, size, width, seed, dw, track), path)
    return path


def _sources() -> bytes:
    """Return a hash of the sources that decide what a converted network holds."""
    package = Path(unzipfpga.__file__).parent
    files = [Path(__file__), Path(__file__).with_name("shapes.py")]
    files += sorted([*(package / "frontend").glob("*.py"), *(package / "ovsf").glob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).digest()
