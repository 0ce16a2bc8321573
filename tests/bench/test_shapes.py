# SPDX-License-Identifier: Apache-2.0
"""Shapes as text, and the lists of layers against what is published about the networks."""

import re
from pathlib import Path

import onnx
import pytest

from unzipfpga.bench import LISTS, Shape, ShapeError, named_list, parse_shape, unique


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("conv1:3x224x224-64-7/2p3", Shape("conv1", 3, 224, 224, 64, 7, 2, 3)),
        ("64x56x55-64-3", Shape("64x56x55-64-3", 64, 56, 55, 64, 3, 1, 1)),
        ("8x4x4-8-3p0", Shape("8x4x4-8-3p0", 8, 4, 4, 8, 3, 1, 0)),
        ("a:8x4x4-8-1/2", Shape("a", 8, 4, 4, 8, 1, 2, 0)),
        ("a:8x4x4-8-3+r", Shape("a", 8, 4, 4, 8, 3, 1, 1, 1, True)),
        ("dw:8x4x4-16-3g8", Shape("dw", 8, 4, 4, 16, 3, 1, 1, 8)),
        ("g:8x4x4-16-3/2p0g2+r", Shape("g", 8, 4, 4, 16, 3, 2, 0, 2, True)),
    ],
)
def test_shapes(text: str, shape: Shape) -> None:
    assert parse_shape(text) == shape
    assert parse_shape(f"again:{shape.text}") == Shape("again", *list(vars(shape).values())[1:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("64x56-64-3", r"shape '64x56-64-3': expected \[name:\]CxHxW-F-K"),
        ("64x56x56-64", "expected"),
        ("64x56x56-64-3/2/2", "expected"),
        (":64x56x56-64-3", "expected"),
        ("", "shape '': expected"),
        ("0x4x4-8-3", "must be at least 1"),
        ("8x4x4-8-3/0", "must be at least 1"),
        ("8x4x4-8-3g0", "must be at least 1"),
        ("8x4x4-9-3g4", "8 channels and 9 filters must be multiples of the 4 groups"),
        ("9x4x4-8-3g4", "9 channels and 8 filters must be multiples of the 4 groups"),
        ("8x4x2-8-5p0", "a 5x5 kernel does not fit a 4x2 input with padding 0"),
    ],
)
def test_bad_shapes(text: str, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        parse_shape(text)


def test_unknown_list() -> None:
    with pytest.raises(ShapeError, match=re.escape("unknown list 'vgg'; there are: resnet18, ")):
        named_list("vgg")


def test_outputs_and_macs_by_hand() -> None:
    shape = parse_shape("3x224x224-64-7/2p3")
    assert shape.output == (64, 112, 112)
    assert shape.macs == 118_013_952
    assert parse_shape("64x8x8-32-3g4").macs == 32 * 8 * 8 * 16 * 9


@pytest.mark.parametrize(
    ("name", "layers", "macs", "weights"),
    [
        # Weights without biases and batch normalisation; MACs as torchvision's models have them.
        ("resnet18", 20, 1_813_561_344, 11_689_512 - 9_600 - 513_000),
        ("resnet34", 36, 3_663_249_408, 21_797_672 - 17_024 - 513_000),
        ("resnet50", 53, 4_087_136_256, 25_557_032 - 53_120 - 2_049_000),
        ("squeezenet1.1", 26, 349_151_936, 1_235_496 - 3_944),
        # 28^2*32*9 + 14^2*64*32*9 + 7^2*128*64*9 + 1152*256 + 256*10
        ("mnist", 5, 7_748_608, 389_920),
    ],
)
def test_lists(name: str, layers: int, macs: int, weights: int) -> None:
    shapes = named_list(name)
    assert len(shapes) == layers
    assert len({shape.name for shape in shapes}) == layers
    assert sum(shape.macs for shape in shapes) == macs
    assert sum(s.filters * s.channels * s.kernel**2 for s in shapes) == weights
    assert sum(count * shape.macs for shape, count in unique(shapes)) == macs
    assert len(unique(shapes)) < layers or name == "mnist"


def test_the_mnist_list_is_that_of_the_example() -> None:
    path = Path(__file__).parents[2] / "examples" / "mnist" / "mnist.onnx"
    found = [list(t.dims) for t in onnx.load(path).graph.initializer if len(t.dims) > 1]
    ours = [[s.filters, s.channels, s.kernel, s.kernel] for s in named_list("mnist")]
    flat = [[f, c * k * k] for f, c, k, _ in ours[3:]]
    assert sorted(found) == sorted(ours[:3] + flat)


def test_every_list_is_tested() -> None:
    assert set(LISTS) == {"resnet18", "resnet34", "resnet50", "squeezenet1.1", "mnist"}


def test_equal_layers_are_counted_under_their_first_name() -> None:
    shapes = [parse_shape(t) for t in ("a:8x4x4-8-3", "b:8x4x4-8-1", "c:8x4x4-8-3p1")]
    found = [(shape.name, count) for shape, count in unique(shapes)]
    assert found == [("a", 2), ("b", 1)]
