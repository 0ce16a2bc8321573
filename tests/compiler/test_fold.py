# SPDX-License-Identifier: Apache-2.0
"""Folded first layers: the same integers in fewer steps, and images that are packed for them."""

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compiler.harness import compile_random, interpret, random_images
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import compile_network, pack_input
from unzipfpga.compiler.fold import fold_image, folded
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.manifest import FileInfo, Fold
from unzipfpga.config import load_config

SOURCE = FileInfo(file="none", sha256="0" * 64, bytes=0)


@st.composite
def first_layers(draw: st.DrawFn) -> Builder:
    """A dense layer on a few channels, a second one behind it."""
    net = Builder((draw(st.integers(1, 5)), draw(st.integers(1, 14)), draw(st.integers(1, 14))))
    kernel = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    pads = [draw(st.integers(0, 5)) for _ in range(4)]
    pads[2] = max(pads[2], kernel[0] - net.shape[1] - pads[0])
    pads[3] = max(pads[3], kernel[1] - net.shape[2] - pads[1])
    filters = draw(st.integers(1, 12))
    net.conv("conv1", filters, kernel, stride, (pads[0], pads[1], pads[2], pads[3]), relu=False)
    net.conv("conv2", 5, (1, 1))
    return net


def test_every_folding_is_bit_exact() -> None:
    """Not only the one that the compiler would choose."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=60,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(first_layers(), st.sampled_from([8, 16, 32]), st.integers(0, 100))
    def compare(net: Builder, t_p: int, seed: int) -> None:
        config = build(T_P=t_p, ALPHA_DEPTH=4096)
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            every = folded(lower(net.network(), config), config)
            for variant in every:
                patch.setattr("unzipfpga.compiler.plan.folded", lambda *_, v=variant: [v])
                compiled, golden = compile_random(net.network(), config, Path(folder))
                fold = compiled.manifest.input.fold
                assert fold == variant.fold and fold is not None
                images = random_images(compiled, 2, seed)
                wanted = golden.run_int(images)
                np.testing.assert_array_equal(interpret(compiled, images), wanted)
                seen["compared"] += 1
                seen["padding left to the engine"] += max(compiled.manifest.layers[0].pads) > 0
                seen["one direction"] += 1 in fold.phases
                seen["both directions"] += 1 not in fold.phases
                seen["repeated pixels"] += fold.phases > fold.step
                seen["several blocks"] += compiled.manifest.input.blocks > 1

    compare()
    assert len(seen) == 6 and min(seen.values()) > 10, seen


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad", "stored", "folded_kernel"),
    [
        # 7x7/2 on 3 channels: 12 steps instead of 49 (16 with phases of 2x2 alone).
        ((3, 24, 24), 7, 2, 3, (42, 12, 13), (1, 4)),
        # A digit's 3x3: all taps in one word.
        ((1, 28, 28), 3, 1, 1, (9, 28, 28), (1, 1)),
        ((3, 16, 16), 3, 1, 1, (9, 16, 16), (3, 1)),
        ((3, 15, 15), 3, 2, 0, (27, 7, 7), (1, 1)),
    ],
)
def test_known_layers(
    shape: tuple[int, int, int],
    kernel: int,
    stride: int,
    pad: int,
    stored: tuple[int, int, int],
    folded_kernel: tuple[int, int],
    tmp_path: Path,
) -> None:
    net = Builder(shape)
    net.conv("conv", 64, (kernel, kernel), (stride, stride), (pad,) * 4)
    compiled, golden = compile_random(net.network(), load_config("bench"), tmp_path)
    layer = compiled.manifest.layers[0]
    assert tuple(compiled.manifest.input.stored) == stored == tuple(layer.input_map)
    assert tuple(layer.kernel) == folded_kernel and layer.stride == [1, 1]
    assert layer.folded_from is not None and layer.folded_from.kernel == [kernel, kernel]
    pixels = layer.conv_map[1] * layer.conv_map[2]
    assert layer.macs == 64 * shape[0] * kernel * kernel * pixels
    assert layer.steps == -(-stored[0] // 16) * folded_kernel[0] * folded_kernel[1] * pixels
    images = random_images(compiled, 1)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))


def test_only_faster_foldings_that_fit() -> None:
    def variants(net: Builder, **changes: int) -> int:
        config = build(**changes)
        return len(folded(lower(net.network(), config), config))

    net = Builder((3, 12, 12))
    net.conv("conv", 8, (3, 3))
    assert variants(net)
    net = Builder((3, 12, 12))
    net.conv("coded", 8, (3, 3), n=4)
    assert not variants(net)
    net = Builder((8, 12, 12))  # all lanes are busy already
    net.conv("full", 8, (3, 3), (2, 2))
    assert not variants(net)
    net = Builder((3, 12, 12))  # one step as it is
    net.conv("single", 8, (1, 1), (2, 2))
    assert not variants(net)
    net = Builder((3, 12, 12))
    net.conv("conv1", 8, (3, 3))
    net.last, net.shape = "image", (3, 12, 12)
    net.conv("conv2", 8, (3, 3))
    assert not variants(net)  # the image has two readers

    # A layer that is bound by its drain gains nothing from fewer steps than that takes.
    net = Builder((1, 12, 12))
    net.conv("conv", 8, (1, 3), pads=(0, 1, 0, 1))
    assert variants(net, Q=4) and not variants(net, Q=2)

    # Act mem: the fastest folding that fits.
    net = Builder((3, 40, 40))
    net.conv("conv", 8, (7, 7), (2, 2), (3, 3, 3, 3))
    stored = set()
    for depth in (2048, 1500, 625, 300):
        config = load_config("bench").model_copy(update={"ACT_DEPTH": depth})
        compiled = compile_network(net.network(), "x", config, SOURCE, fold=True)
        stored.add(tuple(compiled.manifest.input.stored))
    assert len(stored) > 1


def test_an_image_is_packed_as_the_manifest_says(tmp_path: Path) -> None:
    """Written out as loops over the formula of the manifest."""
    net = Builder((2, 9, 7))
    net.conv("conv", 8, (5, 5), (2, 2), (2, 1, 1, 2))
    config = load_config("base")
    compiled, _ = compile_random(net.network(), config, tmp_path)
    info = compiled.manifest.input
    fold = info.fold
    assert fold is not None
    image = random_images(compiled, 1)
    channels, height, width = info.stored
    words = np.frombuffer(pack_input(compiled.manifest, image), np.int8)
    plane = height * width * config.T_P
    pitch = -(-plane // 64) * 64
    words = np.stack([words[block * pitch :][:plane] for block in range(info.blocks)])
    words = words.reshape(info.blocks, height, width, config.T_P)
    where = product(range(2), range(fold.phases[0]), range(fold.phases[1]))
    for stored, (c, i, j) in enumerate(where):
        for y, x in product(range(height), range(width)):
            row = fold.step[0] * y + i + fold.offset[0]
            column = fold.step[1] * x + j + fold.offset[1]
            inside = 0 <= row < 9 and 0 <= column < 7
            value = image[0, c, row, column] if inside else 0
            assert words[stored // config.T_P, y, x, stored % config.T_P] == value
    assert stored == channels - 1
    assert not words.transpose(0, 3, 1, 2).reshape(-1, height, width)[channels:].any()


def test_a_wrong_offset_is_seen(tmp_path: Path) -> None:
    """The negative twin: an image that is packed one pixel off gives other results."""
    net = Builder((3, 10, 10))
    net.conv("conv", 8, (3, 3), (2, 2), (1, 1, 1, 1), relu=False)
    compiled, golden = compile_random(net.network(), load_config("base"), tmp_path)
    fold = compiled.manifest.input.fold
    assert fold is not None
    images = random_images(compiled, 1)
    for change in ({"offset": (fold.offset[0], fold.offset[1] - 1)}, {"step": (1, fold.step[1])}):
        wrong = compiled.manifest.input.model_copy(
            update={"fold": Fold(**(fold.model_dump() | change))}
        )
        manifest = compiled.manifest.model_copy(update={"input": wrong})
        result = interpret(replace(compiled, manifest=manifest), images)
        assert not np.array_equal(result, golden.run_int(images))


def test_a_folded_image_is_a_view_of_the_image() -> None:
    image = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    same = fold_image(image, Fold(phases=(1, 1), step=(1, 1), offset=(0, 0)), 3, 4)
    np.testing.assert_array_equal(same, image)
