# SPDX-License-Identifier: Apache-2.0
"""Average pools whose windows hold different numbers of pixels: each number has its parameters."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.harness import (
    Streams,
    check_images,
    compile_random,
    edited,
    interpret,
    random_images,
    take_apart,
)
from tests.compiler.interpreter import EngineError
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import Compiled, CompileError, ProgramError, check_program
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.order import Order
from unzipfpga.config import Config, load_config
from verif.refmodel.layers import window_pixels

WINDOWS = {
    "3x3": ((3, 3), (1, 1), (1, 1, 1, 1)),
    "3x3, stride 2": ((3, 3), (2, 2), (1, 1, 1, 1)),
    "3x3, behind": ((3, 3), (2, 2), (0, 0, 2, 2)),
    "2x2, in front": ((2, 2), (1, 1), (1, 0, 0, 1)),
    "5x5": ((5, 5), (1, 1), (2, 2, 2, 2)),
    "5x3, one side": ((5, 3), (1, 2), (0, 2, 3, 0)),
    "7x7": ((7, 7), (2, 1), (3, 3, 3, 3)),
    "rows alone": ((3, 1), (1, 1), (1, 0, 1, 0)),
}
LARGE = (24, 16)  # a map that leaves act mem where that is small
BUILDS = {
    "small": {},
    "few rows": {"T_R": 5, "PARAM_DEPTH": 40},
    "groups of PEs": {"S": 4, "T_C": 32, "ACT_BANKS": 8, "PARAM_DEPTH": 24},
    "one lane": {"Q": 1, "PARAM_DEPTH": 100},
    "wide": {"DW": 16, "OPERAND_W": 20, "T_P": 16, "PARAM_DEPTH": 64},
}


def averaged(window: str, dw: int = 8, size: tuple[int, int] = (9, 11)) -> Builder:
    net = Builder((19, *size), 5, dw)
    net.conv("conv", 19, (1, 1), relu=False)
    net.average("mean", *WINDOWS[window], counted=False)
    assert net.layers[-1].counts
    return net


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("changes", BUILDS.values(), ids=BUILDS)
def test_bit_exact(window: str, changes: dict[str, int], tmp_path: Path) -> None:
    config = build(**({"PARAM_DEPTH": 32} | changes))
    compiled, golden = compile_random(averaged(window, dw=config.DW).network(), config, tmp_path)
    check_images(compiled, golden)


def test_a_tile_has_one_set_of_parameters_and_at_most_t_r_pixels(tmp_path: Path) -> None:
    config = build(PARAM_DEPTH=32)
    kernel, stride, pads = WINDOWS["3x3"]
    compiled, _ = compile_random(averaged("3x3").network(), config, tmp_path)
    pixels = window_pixels((9, 11), kernel, stride, pads).ravel()
    tiles: Counter[int] = Counter()
    addresses: dict[int, set[int]] = {}
    covered = np.zeros(len(pixels), int)
    for name, f in take_apart(compiled.program)["compute"]:
        if name == "COMPUTE" and f["kernel_h"] == 3:
            first = f["out_y"] * f["out_w"] + f["out_x"]
            of_tile = pixels[first : first + f["pixels"]]
            assert len(set(of_tile)) == 1 and f["pixels"] <= config.T_R
            covered[first : first + f["pixels"]] += 1
            tiles[f["pixels"]] += 1
            addresses.setdefault(int(of_tile[0]), set()).add(f["param_addr"])
    filter_tiles = -(-19 // compiled.manifest.layers[1].tile[0])
    assert (covered == filter_tiles).all()
    # Nine in the middle of each row; the last pixel of a row with the first of the next one, except
    # at the corners, whose windows hold fewer.
    assert tiles == {9: 9 * filter_tiles, 2: 6 * filter_tiles, 1: 6 * filter_tiles}
    # Each filter tile has its parameters; those of other numbers of pixels lie elsewhere.
    assert set(addresses) == {4, 6, 9}
    assert not addresses[4] & addresses[6] and not addresses[9] & (addresses[4] | addresses[6])
    assert compiled.manifest.layers[1].tiles == sum(tiles.values())


@pytest.mark.parametrize("window", ["3x3", "3x3, stride 2", "5x5"])
@pytest.mark.parametrize("changes", [{}, {"T_R": 5}, {"S": 2, "T_C": 16, "ACT_BANKS": 4}])
def test_in_stripes(window: str, changes: dict[str, int], tmp_path: Path) -> None:
    net = averaged(window, size=LARGE)
    net.conv("next", 10, (3, 3), pads=(1, 1, 1, 1))
    network = net.network()
    depth = 800 // changes.get("ACT_BANKS", 2)
    config = build(ACT_DEPTH=depth, PARAM_DEPTH=32, **changes)
    compiled, golden = compile_random(network, config, tmp_path)
    assert compiled.manifest.layers[1].stripes > 1
    check_images(compiled, golden)


@pytest.mark.parametrize("counted", [False, True])
def test_many_tiles_of_a_stripe_leave_room_for_tokens(
    counted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each loaded row has a tile that waits for it, in this layer and in the one in front."""
    net = Builder((19, *LARGE), 5)
    net.conv("conv", 19, (1, 1), relu=False)
    net.average("mean", *WINDOWS["3x3"], counted=counted)
    net.conv("next", 10, (3, 3), pads=(1, 1, 1, 1))
    config = build(ACT_DEPTH=400, PARAM_DEPTH=32, S=2, T_C=16, ACT_BANKS=4, T_R=8)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    assert max(layer.stripes for layer in compiled.manifest.layers) > 1
    check_images(compiled, golden)
    # Negative twin: without the limit, the check sees too many tokens.
    monkeypatch.setattr(Order, "limit", lambda *_: None)
    with pytest.raises(ProgramError, match="LOAD_MAC can overflow"):
        compile_random(net.network(), config, tmp_path)


@pytest.mark.parametrize("depth", [4096, 600])
def test_a_residual_is_added(depth: int, tmp_path: Path) -> None:
    net = averaged("3x3", size=LARGE)
    net.at("conv.out")
    net.average("sum", *WINDOWS["3x3"], counted=False, residual="mean.out")
    compiled, golden = compile_random(
        net.network(), build(ACT_DEPTH=depth, PARAM_DEPTH=32), tmp_path
    )
    assert compiled.manifest.layers[2].residual and bool(compiled.manifest.scratch_bytes) == (
        depth < 4096
    )
    check_images(compiled, golden)


@pytest.mark.parametrize("depth", [4096, 400])
@pytest.mark.parametrize("pool", [(2, 2, (0, 0, 0, 0)), (3, 2, (1, 1, 0, 0))])
def test_a_max_pool_behind_it(
    depth: int, pool: tuple[int, int, tuple[int, int, int, int]], tmp_path: Path
) -> None:
    """In its drain: pixels come in raster order, whatever their parameters."""
    net = averaged("3x3", size=LARGE)
    net.pool("pool", *pool)
    compiled, golden = compile_random(
        net.network(), build(ACT_DEPTH=depth, PARAM_DEPTH=32), tmp_path
    )
    layer = compiled.manifest.layers[1]
    assert layer.pool and layer.kind == "avgpool" and (layer.stripes > 1) == (depth < 4096)
    check_images(compiled, golden)


def test_of_a_concatenation_with_gaps(tmp_path: Path) -> None:
    net = Builder((6, 8, 7), 2)
    net.conv("left", 5, (1, 1), relu=False)
    net.at("image")
    net.conv("right", 11, (1, 1), relu=False, like="left.out")
    net.concat("both", "left.out", "right.out")
    net.average("mean", *WINDOWS["3x3"], counted=False)
    net.conv("last", 6, (1, 1), relu=False)
    compiled, golden = compile_random(net.network(), build(PARAM_DEPTH=32), tmp_path)
    check_images(compiled, golden)


@pytest.mark.parametrize("fold", [False, True])
def test_of_an_image_of_one_channel(fold: bool, tmp_path: Path) -> None:
    net = Builder((1, 13, 12), 3)
    net.average("mean", *WINDOWS["3x3"], counted=False)
    compiled, golden = compile_random(net.network(), build(PARAM_DEPTH=32), tmp_path, fold)
    assert (compiled.manifest.input.fold is not None) == fold
    check_images(compiled, golden)


@pytest.mark.parametrize("name", ["tiny", "select", "bench", "zcu104"])
def test_on_presets(name: str, tmp_path: Path) -> None:
    compiled, golden = compile_random(averaged("5x5").network(), load_config(name), tmp_path)
    check_images(compiled, golden)


# What is refused, and planted faults --------------------------------------------------------------


def test_more_sets_than_param_mem_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"mean: .* 6 different .* PARAM_DEPTH is 5"):
        compile_random(averaged("5x5").network(), build(PARAM_DEPTH=5), tmp_path)
    compiled, golden = compile_random(averaged("5x5").network(), build(PARAM_DEPTH=6), tmp_path)
    assert compiled.manifest.layers[1].tile[0] == 4
    check_images(compiled, golden)


def fields_of_mean(streams: Streams) -> list[dict[str, int]]:
    return [f for name, f in streams["compute"] if name == "COMPUTE" and f["kernel_h"] == 3]


def changed(compiled: Compiled, config: Config, fault: Callable[[Streams], object]) -> Compiled:
    return replace(compiled, program=edited(compiled.program, config, fault))


def other_set(streams: Streams) -> None:
    tiles = fields_of_mean(streams)
    tiles[1]["param_addr"] = tiles[0]["param_addr"]


def moved_border(streams: Streams) -> None:
    """A tile that leaves its last pixel to the next one, which has other parameters."""
    first, following = fields_of_mean(streams)[1:3]
    first["pixels"] -= 1
    following["pixels"] += 1
    following["out_x"] -= 1


def sets_reversed(streams: Streams) -> None:
    """The parameters of most pixels for those of fewest, and the other way around."""
    tiles = fields_of_mean(streams)
    addresses = sorted({f["param_addr"] for f in tiles})
    for f in tiles:
        f["param_addr"] = addresses[-1 - addresses.index(f["param_addr"])]


@pytest.mark.parametrize("fault", [other_set, moved_border, sets_reversed])
def test_planted_faults_are_seen(fault: object, tmp_path: Path) -> None:
    config = build(PARAM_DEPTH=32)
    compiled, golden = compile_random(averaged("3x3").network(), config, tmp_path)
    images = random_images(compiled, 1)
    faulty = changed(compiled, config, fault)
    try:
        same = np.array_equal(interpret(faulty, images), golden.run_int(images))
    except EngineError:
        same = False
    assert not same


def test_a_set_that_was_not_loaded_is_seen_by_the_check(tmp_path: Path) -> None:
    """Parameters behind the region that the layer loaded."""
    config = build(PARAM_DEPTH=32)
    compiled, _ = compile_random(averaged("3x3").network(), config, tmp_path)
    check_program(compiled.program, config)

    def behind(streams: Streams) -> None:
        fields_of_mean(streams)[-1]["param_addr"] = 31

    with pytest.raises(ProgramError, match="param mem is read before it is written"):
        check_program(changed(compiled, config, behind).program, config)


def test_a_load_that_does_not_wait_for_the_last_set_is_seen_by_the_check(tmp_path: Path) -> None:
    """Parameters of the next filters may not take the place of those in use."""
    config = build(PARAM_DEPTH=6)
    compiled, _ = compile_random(averaged("5x5").network(), config, tmp_path)

    def no_token(streams: Streams) -> None:
        for name, f in (*streams["load"], *streams["compute"]):
            for key in ("wait", "post_signal"):
                if name != "MARK" and key in f:
                    f[key] &= ~(1 << 3)  # POST_LOAD

    with pytest.raises(ProgramError):
        check_program(changed(compiled, config, no_token).program, config)


def test_equal_windows_compile_as_they_do_when_padding_counts() -> None:
    net = Builder((19, 9, 11), 5)
    net.average("mean", (3, 3), (2, 2), counted=False)
    lowered = lower(net.network(), build())
    assert lowered.layers[0].set_of is None and lowered.layers[0].sets == 1
    with_sets = replace(lowered.layers[0], set_of=np.zeros(20, int), m=lowered.layers[0].m[None])
    assert with_sets.runs == lowered.layers[0].runs == [(0, 20)]
