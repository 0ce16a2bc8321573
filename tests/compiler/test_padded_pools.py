# SPDX-License-Identifier: Apache-2.0
"""Max pools with padding that the pooling unit lacks: a layer that passes the map on adds it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.harness import (
    check_images,
    compile_random,
    interpret,
    random_images,
    take_apart,
)
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import CompileError
from unzipfpga.compiler import lower as lowering
from unzipfpga.compiler.lower import EngineLayer, lower
from unzipfpga.config import Config, load_config

Pads = tuple[int, int, int, int]
SAME = (1, 1, 1, 1)
# Kernel, stride, padding; what the layer adds: top, left, bottom, right.
WINDOWS: dict[str, tuple[int, int, Pads, Pads]] = {
    "3x3": (3, 1, SAME, (0, 0, 1, 1)),
    "3x3, behind": (3, 1, (0, 0, 2, 2), (0, 0, 2, 2)),
    "3x3, rows alone": (3, 1, (1, 1, 1, 0), (0, 0, 1, 0)),
    "3x3, columns alone": (3, 1, (1, 1, 0, 1), (0, 0, 0, 1)),
    "3x3, in front": (3, 2, (2, 2, 0, 0), (2, 2, 0, 0)),
    "3x3, uneven": (3, 2, (0, 1, 2, 1), (0, 1, 1, 0)),
    "3x3, stride 3": (3, 3, (1, 2, 0, 2), (1, 2, 0, 0)),
    "2x2": (2, 1, SAME, (0, 0, 1, 1)),
    "2x2, behind": (2, 1, (0, 0, 1, 1), (0, 0, 1, 1)),
    "2x2, left": (2, 1, (0, 1, 1, 0), (0, 1, 1, 0)),
}
BUILDS = {
    "small": {},
    "few rows": {"T_R": 5},
    "groups of PEs": {"S": 4, "T_C": 32, "ACT_BANKS": 8},
    "one lane": {"Q": 1, "PARAM_DEPTH": 20},
    "wide": {"DW": 16, "OPERAND_W": 20, "T_P": 16},
}


def pooled(
    window: str, relu: bool, dw: int = 8, size: tuple[int, int] = (9, 11), seed: int = 5
) -> Builder:
    net = Builder((19, *size), seed, dw)
    net.conv("conv", 19, (1, 1), relu=relu)
    net.pool("pool", *WINDOWS[window][:3])
    return net


def pool_layer(net: Builder, config: Config) -> EngineLayer:
    """The layer that has the pool in its drain."""
    (layer,) = (layer for layer in lower(net.network(), config).layers if layer.pool)
    return layer


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("changes", BUILDS.values(), ids=BUILDS)
def test_bit_exact(window: str, relu: bool, changes: dict[str, int], tmp_path: Path) -> None:
    config = build(**changes)
    net = pooled(window, relu, config.DW)
    top, left, bottom, right = WINDOWS[window][3]
    layer = pool_layer(net, config)
    assert layer.kind == "maxpool" and layer.pads == (top, left)
    assert layer.conv_map == (19, top + 9 + bottom, left + 11 + right)
    assert layer.sets == (1 if relu else 2)
    check_images(*compile_random(net.network(), config, tmp_path))


def test_what_the_engine_can_pool_stays_in_the_drain() -> None:
    for pads in [(1, 1, 0, 0), (0, 0, 0, 0), (1, 1, 0, 1)]:
        net = Builder((8, 9, 10))
        net.conv("conv", 8, (1, 1))
        net.pool("pool", 3, 2 if pads[3] else 1, pads)
        (layer,) = lower(net.network(), build()).layers
        assert layer.kind == "conv" and layer.pool is not None and layer.conv_map == (8, 9, 10)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("window", ["3x3", "3x3, behind", "3x3, uneven", "2x2, behind"])
@pytest.mark.parametrize("changes", [{}, {"T_R": 5}, {"S": 2, "T_C": 16, "ACT_BANKS": 4}])
def test_in_stripes(window: str, relu: bool, changes: dict[str, int], tmp_path: Path) -> None:
    net = pooled(window, relu, size=(24, 16))
    net.conv("next", 10, (3, 3), pads=SAME)
    for depth in (960, 480):
        config = build(ACT_DEPTH=depth // changes.get("ACT_BANKS", 2), **changes)
        compiled, golden = compile_random(net.network(), config, tmp_path)
        assert compiled.manifest.layers[1].stripes > 1
        check_images(compiled, golden)


def block(net: Builder, relu: bool) -> None:
    """An Inception block: four ways from one tensor, joined; the pool's, too."""
    start = net.last
    net.conv("one", 12, (1, 1), relu=relu)
    net.at(start)
    net.conv("three.in", 9, (1, 1), relu=relu)
    net.conv("three", 10, (3, 3), pads=SAME, relu=relu, like="one.out")
    net.at(start)
    net.conv("double.in", 7, (1, 1), relu=relu)
    net.conv("double.mid", 9, (3, 3), pads=SAME, relu=relu)
    net.conv("double", 11, (3, 3), pads=SAME, relu=relu, like="one.out")
    net.concat("both", "one.out", "three.out", "double.out")
    joined = net.last
    net.average("mean", (3, 3), (1, 1), SAME, counted=False)
    net.conv("mean.out", 8, (1, 1), relu=relu)
    net.at(joined)
    net.pool("pool", 3, 1, SAME)
    net.conv("pool.out", 6, (1, 1), relu=relu, like="mean.out.out")
    net.concat("all", "mean.out.out", "pool.out.out")
    net.pool("again", 3, 1, SAME)
    net.conv("last", 5, (1, 1), relu=False)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("changes", [{}, {"ACT_DEPTH": 600}, {"S": 4, "T_C": 32, "ACT_BANKS": 8}])
def test_in_an_inception_block(relu: bool, changes: dict[str, int], tmp_path: Path) -> None:
    """Concatenations with gaps between their parts, one of which only the pool reads."""
    net = Builder((13, 10, 9), 3)
    block(net, relu)
    config = build(PARAM_DEPTH=32, **changes)
    lowered = lower(net.network(), config)
    assert [layer.sets for layer in lowered.layers if layer.pool] == [1 if relu else 2] * 2
    compiled, golden = compile_random(net.network(), config, tmp_path)
    assert bool(compiled.manifest.scratch_bytes) == ("ACT_DEPTH" in changes)
    check_images(compiled, golden)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("depth", [4096, 600])
def test_residuals_before_and_behind(relu: bool, depth: int, tmp_path: Path) -> None:
    net = Builder((19, 24, 16), 5)
    net.conv("start", 19, (1, 1), relu=relu)
    net.conv("sum", 19, (3, 3), pads=SAME, residual="start.out", relu=relu)
    net.pool("pool", 3, 1, SAME)
    net.conv("behind", 19, (3, 3), pads=SAME, residual="sum.out", relu=relu)
    net.conv("last", 19, (1, 1), residual="pool.out", relu=False)
    assert pool_layer(net, build()).sets == (1 if relu else 2)
    compiled, golden = compile_random(net.network(), build(ACT_DEPTH=depth), tmp_path)
    assert bool(compiled.manifest.scratch_bytes) == (depth < 4096)
    check_images(compiled, golden)


@pytest.mark.parametrize("window", ["3x3", "3x3, in front"])
@pytest.mark.parametrize("fold", [False, True])
def test_of_an_image_of_one_channel(window: str, fold: bool, tmp_path: Path) -> None:
    net = Builder((1, 13, 12), 3)
    net.pool("pool", *WINDOWS[window][:3])
    check_images(*compile_random(net.network(), build(), tmp_path, fold))


@pytest.mark.parametrize("name", ["tiny", "select", "small", "wide", "bench", "zcu104"])
@pytest.mark.parametrize("relu", [True, False])
def test_on_presets(name: str, relu: bool, tmp_path: Path) -> None:
    config = load_config(name)
    check_images(*compile_random(pooled("3x3", relu, config.DW).network(), config, tmp_path))


# What is known of the values ----------------------------------------------------------------------


def clamped(net: Builder) -> None:
    net.conv("conv", 8, (1, 1), clip=True)


def free(net: Builder) -> None:
    net.conv("conv", 8, (1, 1), relu=False)


def pooled_before(net: Builder) -> None:
    net.conv("conv", 8, (1, 1))
    net.pool("first", 2, 2, (0, 0, 0, 0))


def averaged(net: Builder) -> None:
    clamped(net)
    net.average("mean", (2, 2))


def added_to(net: Builder) -> None:
    """A sum of an average and of values below 0."""
    free(net)
    net.conv("other", 8, (1, 1))
    net.average("mean", (1, 1), residual="conv.out")


def half_clamped(net: Builder) -> None:
    start = net.last
    clamped(net)
    net.at(start)
    net.conv("free", 8, (1, 1), relu=False, like="conv.out")
    net.concat("both", "conv.out", "free.out")


def both_clamped(net: Builder) -> None:
    start = net.last
    clamped(net)
    net.at(start)
    net.conv("other", 8, (1, 1), like="conv.out")
    net.concat("both", "conv.out", "other.out")


def image(net: Builder) -> None:
    pass


CLAMPED = [clamped, pooled_before, averaged, both_clamped]


@pytest.mark.parametrize("make", [*CLAMPED, free, half_clamped, added_to, image])
def test_only_values_below_0_need_other_parameters(
    make: Callable[[Builder], None], tmp_path: Path
) -> None:
    net = Builder((8, 9, 9), 4)
    make(net)
    net.pool("pool", 3, 1, SAME)
    layer = lower(net.network(), build()).layers[-1]
    assert layer.pool is not None and layer.sets == (1 if make in CLAMPED else 2)
    check_images(*compile_random(net.network(), build(), tmp_path))


def test_an_average_that_is_negated_can_be_below_0() -> None:
    net = Builder((8, 9, 9), 4)
    averaged(net)
    (clamp, mean), factors = net.layers, np.ones(8, np.int16)
    for m, sets in [(factors, 1), (-factors, 2)]:
        net.layers = [clamp, replace(mean, m=m)]
        net.at("mean.out")
        net.pool("pool", 3, 1, SAME)
        assert pool_layer(net, build()).sets == sets


def test_zeros_around_values_below_0_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative twin: padding of 0 wins where all values of a window are below it."""
    monkeypatch.setattr(lowering._Lowering, "makes_negative", lambda *_: False)
    compiled, golden = compile_random(pooled("3x3", False).network(), build(), tmp_path)
    images = random_images(compiled, 1)
    assert (interpret(compiled, images) != golden.run_int(images)).mean() > 0.01


def test_padding_has_tiles_of_its_own_only_where_values_can_be_below_0(tmp_path: Path) -> None:
    tiles = {}
    for relu in (True, False):
        compiled, _ = compile_random(pooled("3x3", relu).network(), build(), tmp_path)
        fields = [f for name, f in take_apart(compiled.program)["compute"] if name == "COMPUTE"]
        pools = [f for f in fields if f["pool_kernel"]]
        assert {(f["in_h"], f["in_w"], f["out_h"], f["out_w"]) for f in pools} == {(9, 11, 10, 12)}
        tiles[relu] = len(pools)
    # 120 pixels of at most 16; a row's 11, and the one behind, of 9 rows, the last with 12 more.
    filter_tiles = -(-19 // 8)
    assert tiles == {True: 8 * filter_tiles, False: 18 * filter_tiles}


# What does not fit --------------------------------------------------------------------------------


def test_the_padded_row_must_fit_the_line_buffer(tmp_path: Path) -> None:
    """32 words, two for the channels of a pixel: a row of 16 pixels has one too many."""
    config = build(POOL_W=16)
    net = pooled("3x3", True, size=(5, 15))
    check_images(*compile_random(net.network(), config, tmp_path))
    net = pooled("3x3", True, size=(5, 16))
    with pytest.raises(CompileError, match="layer pool: rows of 17 pixels are too long"):
        compile_random(net.network(), config, tmp_path)
    net = pooled("3x3, rows alone", True, size=(5, 16))
    check_images(*compile_random(net.network(), config, tmp_path))
