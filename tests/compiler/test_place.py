# SPDX-License-Identifier: Apache-2.0
"""Where tensors lie, and how alphas are cut into pieces and kept."""

import pytest

from tests.compiler.networks import Builder, build
from unzipfpga.compiler import CompileError
from unzipfpga.compiler.emit import emit
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.place import map_bytes, plane_bytes, row_step
from unzipfpga.compiler.plan import Plan, plan
from unzipfpga.config import Config

SAME = (1, 1, 1, 1)


def planned(net: Builder, config: Config) -> Plan:
    return plan(lower(net.network(), config), config)


def chain(blocks: int, stride: int = 1) -> Builder:
    """Residual blocks of one shape; the last layer reads with a stride."""
    net = Builder((8, 8, 8))
    net.conv("stem", 8, (3, 3), pads=SAME)
    for index in range(blocks):
        shortcut = net.last
        net.conv(f"a{index}", 8, (3, 3), pads=SAME)
        net.conv(f"b{index}", 8, (3, 3), pads=SAME, residual=shortcut)
    net.conv("last", 8, (1, 1), (stride, stride))
    return net


# In place ----------------------------------------------------------------------------------------


def test_a_chain_of_sums_takes_one_place() -> None:
    views = planned(chain(3), build()).views
    assert {views[name].buffer for name in ("stem.out", "b0.out", "b1.out", "b2.out")} == {
        "stem.out"
    }
    assert len({views[f"a{index}.out"].buffer for index in range(3)}) == 3
    # Image and stem, or stem and a branch: two tensors at a time.
    assert planned(chain(3), build()).act_entries == 2 * 8 * 4


@pytest.mark.parametrize("s", [1, 2])
def test_another_stride_is_another_place_where_several_pixels_are_read(s: int) -> None:
    """The last sum is read with stride 2: its pixels lie in other banks than the others'."""
    views = planned(chain(2, 2), build(S=s, T_C=16, ACT_BANKS=4)).views
    assert (views["b1.out"].buffer == "stem.out") == (s == 1)
    assert (views["b1.out"].shift == 0) == (s == 1)


def not_in_place(net: Builder, old: str, new: str) -> None:
    views = planned(net, build()).views
    a, b = views[old], views[new]
    assert a.buffer == old and b.buffer == new
    assert a.base + a.entries <= b.base or b.base + b.entries <= a.base


def test_no_sum_takes_the_place_of_what_is_still_needed() -> None:
    net = Builder((8, 6, 6))
    net.conv("conv", 8, (1, 1))
    net.conv("branch", 8, (1, 1))
    net.conv("sum", 8, (3, 3), pads=SAME, residual="conv.out")
    net.conv("again", 8, (1, 1), residual="conv.out")
    not_in_place(net, "conv.out", "sum.out")


def test_no_sum_takes_the_place_of_its_own_source() -> None:
    net = Builder((8, 6, 6))
    net.conv("conv", 8, (1, 1))
    net.conv("sum", 8, (3, 3), pads=SAME, residual="conv.out")
    not_in_place(net, "conv.out", "sum.out")


def test_no_sum_takes_the_place_of_a_smaller_tensor_or_of_the_image() -> None:
    net = Builder((8, 6, 6))
    net.conv("small", 8, (2, 2))
    net.at("image")
    net.conv("sum", 8, (3, 3), pads=SAME, residual="small.out")
    not_in_place(net, "small.out", "sum.out")
    net = Builder((8, 6, 6))
    net.conv("conv", 8, (1, 1))
    net.conv("sum", 8, (3, 3), pads=SAME, residual="image")
    not_in_place(net, "image", "sum.out")


def test_no_pooled_sum_is_in_place() -> None:
    net = Builder((8, 6, 6))
    net.conv("conv", 8, (1, 1))
    net.conv("branch", 8, (1, 1))
    net.conv("sum", 8, (3, 3), pads=SAME, residual="conv.out")
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    not_in_place(net, "conv.out", "pool.out")


# DRAM --------------------------------------------------------------------------------------------


def test_planes_begin_at_multiples_of_64_unless_of_one_pixel() -> None:
    eight, wide = build(), build(T_P=16, DW=16, OPERAND_W=20)
    assert plane_bytes((20, 3, 3), eight) == 128 and map_bytes((20, 3, 3), eight) == 3 * 128
    assert plane_bytes((20, 1, 1), eight) == 8 and map_bytes((20, 1, 1), eight) == 64
    assert plane_bytes((20, 3, 3), wide) == 320 and plane_bytes((20, 1, 1), wide) == 32
    for width, step in [(8, 1), (4, 2), (6, 4), (7, 8), (16, 1)]:
        assert row_step((8, 9, width), eight) == step


def test_nothing_goes_to_dram_that_fits() -> None:
    net = chain(2)
    needed = planned(net, build()).act_entries
    fits, short = planned(net, build(ACT_DEPTH=needed)), planned(net, build(ACT_DEPTH=needed - 1))
    assert not fits.places.slots and fits.places.scratch_bytes == 0
    assert all(len(tiling.stripes) == 1 for tiling in fits.tilings)
    assert short.places.slots and any(len(tiling.stripes) > 1 for tiling in short.tilings)


def test_what_cannot_be_planned_names_the_layer_and_its_needs() -> None:
    """Pooled rows begin aligned in DRAM: four of them. First two slots are tried, then one."""
    net = Builder((8, 20, 20))
    net.conv("first", 8, (1, 1))
    net.conv("pooled", 32, (1, 1))
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    text = (
        r"layer pooled: what must be in act mem together needs 160 entries a bank \(rows of "
        r"'first.out' 80, rows of 'pool.out' 80\), ACT_DEPTH is 159; choose a configuration with a "
        "larger act mem"
    )
    with pytest.raises(CompileError, match=text):
        planned(net, build(ACT_DEPTH=159))
    assert planned(net, build(ACT_DEPTH=160)).act_entries == 160
    assert "pool.out" in planned(net, build(ACT_DEPTH=240)).views
    assert "pool.out" not in planned(net, build(ACT_DEPTH=239)).views


# Alphas ------------------------------------------------------------------------------------------


def alpha_net() -> Builder:
    """24 filters of 4 blocks: 9 dense words of 8 filters and a block each."""
    net = Builder((32, 12, 8))
    net.conv("conv", 24, (3, 3), pads=SAME)
    return net


@pytest.mark.parametrize(
    ("depth", "keep"), [(1200, "layer"), (1008, "layer"), (1007, "filters"), (200, "none")]
)
def test_alphas_are_kept_where_they_and_two_more_pieces_fit(depth: int, keep: str) -> None:
    """864 words of 3 filter tiles in 4 pieces of 72, or 2 of 144."""
    config = build(ALPHA_DEPTH=depth, T_R=24, PARAM_DEPTH=16)
    result = planned(alpha_net(), config)
    (tiling,) = result.tilings
    assert tiling.keep == keep
    for part in tiling.filter_tiles:
        pieces = tiling.pieces(part)
        assert sum(pieces) == 4 * 8 * 9 and max(pieces) <= max(72, depth // 8)
        tiles = [t for t in tiling.tiles if t.first_filter == part.first and t.first_pixel == 0]
        assert [tiling.alpha_words(tile) for tile in tiles] == pieces  # a COMPUTE each
        assert [tile.first for tile in tiles] == [True] + [False] * (len(pieces) - 1)
        assert [tile.last for tile in tiles] == [False] * (len(pieces) - 1) + [True]
    traffic = emit(result).traffic[0]
    assert traffic.alpha_bytes == 864 * 8
    # 4 tiles of pixels: loaded for each, or once.
    assert traffic.loaded_bytes - traffic.param_bytes == 864 * 8 * (4 if keep == "none" else 1)


@pytest.mark.parametrize("depth", [1200, 900, 200])
def test_alphas_are_loaded_again_for_a_stripe_unless_they_are_kept_for_the_layer(
    depth: int,
) -> None:
    result = planned(alpha_net(), build(ALPHA_DEPTH=depth, T_R=96, PARAM_DEPTH=16, ACT_DEPTH=200))
    (tiling,) = result.tilings
    stripes = len(tiling.stripes)
    assert stripes > 1 and "conv.out" not in result.views
    traffic = emit(result).traffic[0]
    assert tiling.keep == {1200: "layer", 900: "filters", 200: "none"}[depth]
    times = 1 if tiling.keep == "layer" else stripes
    assert traffic.loaded_bytes - traffic.param_bytes == 864 * 8 * times
