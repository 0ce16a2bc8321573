# SPDX-License-Identifier: Apache-2.0
"""Shapes of convolution layers, as text and in named lists."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from unzipfpga.errors import UnzipError

SYNTAX = "[name:]CxHxW-F-K[/S][pP][gG][+r], such as conv1:3x224x224-64-7/2p3"


class ShapeError(UnzipError):
    """A shape or a list's name that cannot be understood."""


@dataclass(frozen=True)
class Shape:
    """A convolution layer with a square kernel.

    Attributes
    ----------
    name : str
    channels, height, width : int
        Of the input.
    filters, kernel, stride, pad : int
        `pad` on all four sides.
    groups : int
        Each filter sees ``channels/groups`` channels.
    residual : bool
        A tensor of the output's shape is added.
    """

    name: str
    channels: int
    height: int
    width: int
    filters: int
    kernel: int
    stride: int = 1
    pad: int = 0
    groups: int = 1
    residual: bool = False

    @property
    def output(self) -> tuple[int, int, int]:
        """(filters, height, width) of the output."""
        height, width = (
            (size + 2 * self.pad - self.kernel) // self.stride + 1
            for size in (self.height, self.width)
        )
        return self.filters, height, width

    @property
    def macs(self) -> int:
        """Multiplications, padding included."""
        filters, height, width = self.output
        return filters * height * width * self.channels // self.groups * self.kernel**2

    @property
    def text(self) -> str:
        """The shape as it is written on the command line, without its name."""
        return (
            f"{self.channels}x{self.height}x{self.width}-{self.filters}-{self.kernel}"
            f"/{self.stride}p{self.pad}"
            + (f"g{self.groups}" if self.groups > 1 else "")
            + "+r" * self.residual
        )


def parse_shape(text: str) -> Shape:
    """Read a shape; stride 1, padding (K-1)/2 and one group where they are left out.

    Raises
    ------
    ShapeError
        Says what is wrong and what is expected.
    """
    match = re.fullmatch(
        r"(?:([^:\s]+):)?(\d+)x(\d+)x(\d+)-(\d+)-(\d+)(?:/(\d+))?(?:p(\d+))?(?:g(\d+))?(\+r)?",
        text,
    )
    if not match:
        raise ShapeError(f"shape '{text}': expected {SYNTAX}")
    channels, height, width, filters, kernel = map(int, match.groups()[1:6])
    stride = 1 if match[7] is None else int(match[7])
    pad = (kernel - 1) // 2 if match[8] is None else int(match[8])
    groups, residual = int(match[9] or 1), match[10] is not None
    shape = Shape(
        *(match[1] or text, channels, height, width, filters, kernel, stride, pad),
        groups=groups,
        residual=residual,
    )
    if 0 in (channels, height, width, filters, kernel, stride, groups):
        raise ShapeError(f"shape '{text}': every number but the padding must be at least 1")
    if channels % groups or filters % groups:
        raise ShapeError(
            f"shape '{text}': {channels} channels and {filters} filters must be multiples of the "
            f"{groups} groups"
        )
    if min(height, width) + 2 * pad < kernel:
        raise ShapeError(
            f"shape '{text}': a {kernel}x{kernel} kernel does not fit a {height}x{width} input "
            f"with padding {pad}"
        )
    return shape


def unique(shapes: Sequence[Shape]) -> list[tuple[Shape, int]]:
    """Return each different layer once, under its first name, and how often it is there."""
    names: dict[Shape, str] = {}
    counts: dict[Shape, int] = {}
    for shape in shapes:
        key = replace(shape, name="")
        names.setdefault(key, shape.name)
        counts[key] = counts.get(key, 0) + 1
    return [(replace(key, name=names[key]), count) for key, count in counts.items()]


# Lists: the convolutions of networks, in their order and under torchvision's names ---------------


def _resnet(blocks: Sequence[int], bottleneck: bool, size: int, width: int) -> list[Shape]:
    """ResNet (He et al. 2016, table 1).

    Bottlenecks have their stride in the 3x3 layer, as torchvision's (and all that is called v1.5).
    """
    layers = [Shape("conv1", 3, size, size, width, 7, 2, 3)]
    channels, size = width, (layers[0].output[1] - 1) // 2 + 1  # after the max pool
    for stage, count in enumerate(blocks):
        inner = width << stage
        out = inner * 4 if bottleneck else inner
        for block in range(count):
            stride = 2 if stage and not block else 1
            name = f"layer{stage + 1}.{block}"
            small = (size - 1) // stride + 1
            if bottleneck:
                layers += [
                    Shape(f"{name}.conv1", channels, size, size, inner, 1),
                    Shape(f"{name}.conv2", inner, size, size, inner, 3, stride, 1),
                    Shape(f"{name}.conv3", inner, small, small, out, 1),
                ]
            else:
                layers += [
                    Shape(f"{name}.conv1", channels, size, size, inner, 3, stride, 1),
                    Shape(f"{name}.conv2", inner, small, small, inner, 3, 1, 1),
                ]
            if stride == 2 or channels != out:
                layers.append(Shape(f"{name}.downsample", channels, size, size, out, 1, stride))
            channels, size = out, small
    return layers


def _squeezenet(size: int, width: int) -> list[Shape]:
    """SqueezeNet 1.1 (github.com/forresti/SqueezeNet; torchvision's squeezenet1_1)."""
    layers = [Shape("features.0", 3, size, size, width, 3, 2)]
    channels, size = layers[0].output[:2]
    # Number, and sixteenths of the width of squeeze and of each of the two expands.
    for number, squeeze, expand in SQUEEZENET_FIRES:
        if number in SQUEEZENET_POOLED:
            size = -(-(size - 3) // 2) + 1
        inner, outer = squeeze * width // 16, expand * width // 16
        name = f"features.{number}"
        layers += [
            Shape(f"{name}.squeeze", channels, size, size, inner, 1),
            Shape(f"{name}.expand1x1", inner, size, size, outer, 1),
            Shape(f"{name}.expand3x3", inner, size, size, outer, 3, 1, 1),
        ]
        channels = 2 * outer
    return [*layers, Shape("classifier.1", channels, size, size, 1000, 1)]


SQUEEZENET_FIRES = (
    *((3, 4, 16), (4, 4, 16), (6, 8, 32), (7, 8, 32)),
    *((9, 12, 48), (10, 12, 48), (11, 16, 64), (12, 16, 64)),
)
SQUEEZENET_POOLED = (3, 6, 9)  # fire modules behind a max pool


def _mnist() -> list[Shape]:
    """The network of examples/mnist; its fully connected layers as kernels of the map's size."""
    return [
        Shape("conv1", 1, 28, 28, 32, 3, 1, 1),
        Shape("conv2", 32, 14, 14, 64, 3, 1, 1),
        Shape("conv3", 64, 7, 7, 128, 3, 1, 1),
        Shape("fc1", 128, 3, 3, 256, 3),
        Shape("fc2", 256, 1, 1, 10, 1),
    ]


LISTS: dict[str, Callable[[int, int], list[Shape]]] = {
    "resnet18": lambda size, width: _resnet((2, 2, 2, 2), False, size, width),
    "resnet34": lambda size, width: _resnet((3, 4, 6, 3), False, size, width),
    "resnet50": lambda size, width: _resnet((3, 4, 6, 3), True, size, width),
    "squeezenet1.1": _squeezenet,
    "mnist": lambda _size, _width: _mnist(),
}


def named_list(name: str, size: int = 224, width: int = 64) -> list[Shape]:
    """Return the layers of a network.

    Parameters
    ----------
    name : str
    size : int
        Height and width of the image in pixels; mnist has its own.
    width : int
        Filters of the first layer; all other layers are in proportion.

    Raises
    ------
    ShapeError
        An unknown name; says which there are.
    """
    if name not in LISTS:
        raise ShapeError(f"unknown list '{name}'; there are: {', '.join(LISTS)}")
    return LISTS[name](size, width)
