# SPDX-License-Identifier: Apache-2.0
"""Weight domain and code domain: the same integers in either, or a clear refusal."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from tests.compiler.harness import (
    Streams,
    compile_random,
    edited,
    interpret,
    random_images,
    take_apart,
)
from tests.compiler.interpreter import EngineError, eager, lazy, shuffled
from tests.compiler.networks import Builder, build
from unzipfpga.cli import main
from unzipfpga.compiler import Compiled, CompileError, DomainChoice, inspect_program
from unzipfpga.compiler.domain import CHOICES, Choice, Domain, Work
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.plan import plan
from unzipfpga.compiler.tiling import Tile, tile_layer, tiling_cost
from unzipfpga.config import Config, load_config
from unzipfpga.frontend import write_converted
from unzipfpga.model import predict
from unzipfpga.sim import Memory

CODES, WEIGHTS = DomainChoice("codes"), DomainChoice("weights")
DOMAINS: tuple[Domain, ...] = ("weights", "codes")
SIZES = [{"T_P": 8, "S": 1}, {"T_P": 8, "S": 4}, {"T_P": 16, "S": 2}, {"T_P": 16, "S": 4}]
SIZES += [{"T_P": 32, "S": 1}, {"T_P": 32, "S": 4}]


def sized(**changes: int) -> Config:
    """A build with room for what these tests need."""
    s = changes.get("S", 1)
    return build(
        **{"T_C": 16, "G": 2, "ALPHA_DEPTH": 512, "ACT_BANKS": max(2, 2 * s), "PARAM_DEPTH": 16}
        | changes
    )


def domains(compiled: Compiled) -> list[str]:
    return [layer.domain for layer in compiled.manifest.layers]


# The same integers -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("n", range(1, 9))
def test_every_code_count_along_the_kernel(n: int, size: dict[str, int], tmp_path: Path) -> None:
    """Odd and even widths, strides, few filters (groups of PEs) and many, ragged blocks."""
    net = Builder((5 + 7 * n, 7, 9), n)
    net.conv("same", 12, (3, 3), pads=(1, 1, 1, 1), n=n)
    net.conv("half", 4, (3, 3), (2, 2), (1, 1, 1, 1), n=n, relu=False)
    net.conv("wide", 20, (3, 3), (3, 1), (2, 2, 1, 2), n=n)
    net.conv("across", 7, (3, 3), (1, 2), (1, 0, 1, 1), n=n, relu=False)
    compiled, golden = compile_random(net.network(), sized(**size), tmp_path, choice=CODES)
    assert domains(compiled) == ["codes"] * 4
    images = random_images(compiled, 1, n)
    wanted = golden.run_int(images)
    assert len(np.unique(wanted)) > 8
    for pace in (eager, lazy, shuffled(n)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_every_code_count_along_the_channels(n: int, size: dict[str, int], tmp_path: Path) -> None:
    """Ragged groups of blocks, any kernel and stride, sums over pixels, fully connected layers."""
    net = Builder((41 + 5 * n, 5, 6), n)
    net.conv("one", 17, (1, 1), n=n, axis="channel")
    net.conv("few", 6, (1, 1), (2, 1), n=n, axis="channel", relu=False)
    net.conv("wide", 70, (3, 2), (1, 2), (1, 1, 1, 0), n=n, axis="channel")
    if n % 4:
        net.gemm("flat", 40, n=n)
        net.gemm("fc", 9, n=n)
    else:
        net.gemm("fc", 9, global_pool=True, n=n)
    compiled, golden = compile_random(net.network(), sized(**size), tmp_path, choice=CODES)
    assert set(domains(compiled)) == {"codes"}
    assert any(layer.row0 for layer in compiled.manifest.layers) == (n % 4 == 0)
    images = random_images(compiled, 1, n)
    wanted = golden.run_int(images)
    for pace in (eager, lazy, shuffled(n)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), wanted)


def random_network(rng: np.random.Generator, dw: int) -> Builder:
    """Layers of every kind, with codes that can run in either domain and others."""
    net = Builder(
        (int(rng.integers(1, 50)), *map(int, rng.integers(3, 12, 2))), int(rng.integers(2**31)), dw
    )
    for index in range(int(rng.integers(2, 5))):
        filters = int(rng.choice([4, 8, 16, 30, int(rng.integers(1, 40))]))
        stride = int(rng.choice([1, 1, 2])), int(rng.choice([1, 1, 2, 3]))
        kind = int(rng.integers(0, 5))
        before = net.last
        same = filters == net.shape[0] and stride == (1, 1)
        if kind < 2 and min(net.shape[1:]) >= 2:
            known = {"residual": before} if same else {}
            n = int(rng.integers(1, 9))
            net.conv(f"kernel{index}", filters, (3, 3), stride, (1, 1, 1, 1), n=n, **known)
        elif kind < 4:
            side = int(rng.choice([1, 1, 2]))
            pads = (0, 0, side - 1, side - 1)
            n = int(rng.choice([1, 2, 4, 8, 8, 4, 5]))
            net.conv(f"channel{index}", filters, (side, side), stride, pads, n=n, axis="channel")
        else:
            net.conv(f"dense{index}", filters, (1, 1))
        if min(net.shape[1:]) >= 2 and rng.integers(0, 4) == 0:
            net.pool(f"pool{index}", 2, 2, (0, 0, 0, 0))
    if rng.integers(0, 2):
        net.gemm("fc", int(rng.integers(1, 20)), global_pool=True, n=int(rng.choice([0, 2, 8])))
    return net


def random_build(rng: np.random.Generator) -> Config:
    t_p, s = int(rng.choice([8, 16, 16, 32])), int(rng.choice([1, 2, 4]))
    q = int(rng.choice([q for q in (2, 4, 8, 16, 32) if q <= 2 * t_p]))
    banks = int(rng.choice([b for b in (2, 4, 8) if b >= 2 * s and b * t_p >= q]))
    t_c = int(rng.choice([c for c in (8, 16, 32, 64) if c % q == 0 and c >= 2 * s]))
    dw = int(rng.choice([8, 8, 16]))
    return build(
        **{
            "T_P": t_p,
            "T_C": t_c,
            "S": s,
            "Q": q,
            "ACT_BANKS": banks,
            "T_R": int(rng.integers(4, 60)),
        },
        **{
            "G": int(rng.choice([g for g in (1, 2, 4) if t_c % g == 0 and g * s <= t_c])),
            "J": int(rng.choice([1, 2, 4, 8])),
        },
        **{"D": int(rng.integers(8, 20)), "DW": dw, "OPERAND_W": dw + 4, "POOL_W": 64},
        **{"ALPHA_DEPTH": int(rng.choice([200, 500])), "PARAM_DEPTH": 2 * t_c // q + 2},
        **{"ACT_DEPTH": int(rng.choice([400, 4096]))},
    )


def test_random_networks_in_mixed_domains() -> None:
    """Each layer in a domain by chance: bit-exact, whatever the pace."""
    seen: Counter[str] = Counter()
    for seed in range(120):
        rng = np.random.default_rng(seed)
        config = random_build(rng)
        net = random_network(rng, config.DW).network()
        try:
            lowered = lower(net, config)
            able = [
                layer for layer in lowered.layers if len(DomainChoice().domains(layer, config)) > 1
            ]
            ways: tuple[Choice, ...] = ("weights", "codes", "codes", "auto")
            choice = DomainChoice(
                "auto", {layer.name: ways[rng.integers(len(ways))] for layer in able}
            )
            with TemporaryDirectory() as folder:
                compiled, golden = compile_random(net, config, Path(folder), choice=choice)
        except CompileError as error:
            assert any(bound in str(error) for bound in ("ALPHA_DEPTH", "ACT_DEPTH", "POOL_W"))
            seen["not for its build"] += 1
            continue
        images = random_images(compiled, 1, seed)
        result = interpret(compiled, images, shuffled(seed))
        np.testing.assert_array_equal(result, golden.run_int(images), err_msg=str(seed))
        seen["compared"] += 1
        layers = compiled.manifest.layers
        for layer in layers:
            if layer.domain == "codes":
                blocks = -(-layer.input_map[0] // config.T_P)
                seen[f"{layer.axis} axis"] += 1
                seen["groups of PEs"] += max(layer.pe_groups) > 1
                seen["parts of the channels"] += layer.tile[2] < blocks
                seen["pooled"] += layer.pool is not None
                seen["residual"] += layer.residual is not None
                seen["all pixels summed"] += layer.row0
                seen["several pixel tiles"] += layer.tile[1] < layer.conv_map[1] * layer.conv_map[2]
                seen["16 bits"] += config.DW == 16
        seen["mixed"] += len({layer.domain for layer in layers if layer.codes}) > 1
    refused = seen.pop("not for its build", 0)
    assert seen.pop("compared") > 3 * refused
    assert len(seen) == 10 and min(seen.values()) >= 3, str(dict(seen))


@pytest.mark.parametrize("s", [1, 2, 4])
def test_stripes(s: int, tmp_path: Path) -> None:
    """Tensors go through slots of act mem: windows begin in the rows of a stripe."""
    net = Builder((8, 33, 30), s)
    net.conv("a", 16, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.conv("b", 16, (1, 1), n=4, axis="channel", residual="a.out")
    net.conv("c", 16, (3, 3), (1, 2), (1, 1, 1, 1), n=3)
    banks = 2 * s
    config = sized(S=s, ACT_DEPTH=2560 // banks, ACT_BANKS=banks, T_R=40)
    compiled, golden = compile_random(net.network(), config, tmp_path, choice=CODES)
    assert domains(compiled) == ["codes"] * 3
    assert sum(layer.stripes > 1 for layer in compiled.manifest.layers) >= 2
    images = random_images(compiled, 2)
    for pace in (eager, lazy, shuffled(s)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), golden.run_int(images))


def test_concatenated_sources(tmp_path: Path) -> None:
    """Channels between the parts have alphas of 0, or whole blocks follow the parts."""
    for t_p, size in ((8, 24), (16, 32)):
        net = Builder((6, 7, 6), t_p)
        net.conv("left", size, (1, 1))
        net.at("image")
        net.conv("right", 21, (1, 1), like="left.out")
        net.concat("both", "left.out", "right.out")
        net.conv("kernel", 10, (3, 3), pads=(1, 1, 1, 1), n=4)
        if t_p == 16:
            net.at("both.out")
            net.conv("channel", 10, (1, 1), n=4, axis="channel")
        compiled, golden = compile_random(
            net.network(), sized(T_P=t_p, S=2), tmp_path, choice=CODES
        )
        images = random_images(compiled, 2)
        np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))


# Alphas in their words ---------------------------------------------------------------------------


@pytest.mark.parametrize("t_p", [8, 16, 32])
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_alphas_in_words(n: int, t_p: int, tmp_path: Path) -> None:
    """As docs/program-format.md says, in loops: for chunk, blocks, group, tap; lanes are codes."""
    channels, filters, taps, g = 16 * 5 + 3, 7, 3, 2
    net = Builder((channels, 3, 4), n)
    net.conv("conv", filters, (1, taps), pads=(0, 1, 0, 1), n=n, axis="channel")
    config = sized(T_P=t_p, G=g, ALPHA_DEPTH=4096)
    compiled, _ = compile_random(net.network(), config, tmp_path, choice=CODES)
    alphas = net.layers[0].alphas
    assert alphas is not None
    tiles = [f for name, f in take_apart(compiled.program)["compute"] if name == "COMPUTE"]
    computes = [f for f in tiles if f["out_x"] == f["out_y"] == 0]  # others use the same alphas
    loads = [f for _, f in take_apart(compiled.program)["load"] if f["memory"] == 1]
    offsets = dict.fromkeys(f["offset"] for f in loads)
    first = 0  # block of 16 channels that a tile begins with
    for tile, offset in zip(computes, offsets, strict=True):
        together = 16 // n
        steps = -(-tile["blocks"] // together)
        words = []
        for chunk in range(0, steps, tile["chunk_blocks"]):
            for block in range(chunk, min(steps, chunk + tile["chunk_blocks"])):
                for group in range(-(-filters // g)):
                    for tap in range(taps):
                        for f in range(group * g, group * g + g):
                            for lane in range(t_p):
                                q, i = first + block * (t_p // n) + lane // n, lane % n
                                there = f < filters and q < alphas.shape[1]
                                words.append(int(alphas[f, q, tap, i]) if there else 0)
        if tile["chunk_taps"] == taps:
            assert tile["alpha_words"] * g * t_p == len(words)
            found = np.frombuffer(compiled.weights, np.int8, len(words), offset)
            np.testing.assert_array_equal(found, words)
        first += tile["blocks"] * t_p // 16
    assert len(computes) == len(offsets) and compiled.manifest.layers[0].alpha_bytes < 2 * len(
        words
    ) * len(computes)


def test_alphas_along_the_kernel_lie_alike(tmp_path: Path) -> None:
    """The weights image of kernel-axis codes is the same in both domains."""
    net = Builder((20, 6, 6))
    net.conv("conv", 12, (3, 3), pads=(1, 1, 1, 1), n=4)
    images = [
        compile_random(net.network(), sized(ALPHA_DEPTH=4096), tmp_path, choice=choice)[0]
        for choice in (CODES, WEIGHTS)
    ]
    assert domains(images[0]) != domains(images[1])
    assert images[0].weights == images[1].weights


# Code lists --------------------------------------------------------------------------------------


def test_lists_go_to_the_stage_that_needs_them(tmp_path: Path) -> None:
    """Anew for another list or stage, not for the same list in the same stage."""
    net = Builder((16, 6, 6))
    net.conv("a", 16, (3, 3), pads=(1, 1, 1, 1), n=4)
    for name in "bcd":
        net.conv(name, 16, (3, 3), pads=(1, 1, 1, 1), n=4)
        same = ("codes", "alphas", "weights", "bias", "acc_bound")
        known = {key: getattr(net.layers[0], key) for key in same}
        net.layers[-1] = replace(net.layers[-1], **known)
    choice = DomainChoice("auto", {"a": "codes", "b": "weights", "c": "codes", "d": "weights"})
    compiled, golden = compile_random(net.network(), sized(), tmp_path, choice=choice)
    lists = [f["stages"] for name, f in take_apart(compiled.program)["compute"] if name == "CODES"]
    assert lists == [1 << 2, 1 << 1]
    images = random_images(compiled, 2)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))
    assert domains(compiled) == ["codes", "weights", "codes", "weights"]


def coded(tmp_path: Path, **changes: int) -> tuple[Compiled, np.ndarray, np.ndarray, Config]:
    net = Builder((24, 7, 8), 3)
    net.conv("kernel", 16, (3, 3), pads=(1, 1, 1, 1), n=4, relu=False)
    net.conv("channel", 12, (1, 1), n=4, axis="channel", relu=False)
    config = sized(**{"S": 2, **changes})
    compiled, golden = compile_random(net.network(), config, tmp_path, choice=CODES)
    images = random_images(compiled, 2)
    return compiled, images, golden.run_int(images), config


def compute(number: int, **changes: int) -> Callable[[Streams], None]:
    def edit(streams: Streams) -> None:
        computes = [fields for name, fields in streams["compute"] if name == "COMPUTE"]
        assert computes[number] | changes != computes[number]
        computes[number].update(changes)

    return edit


def lists(**changes: int) -> Callable[[Streams], None]:
    def edit(streams: Streams) -> None:
        for name, fields in streams["compute"]:
            if name == "CODES":
                fields.update(changes)

    return edit


def no_lists(streams: Streams) -> None:
    streams["compute"] = [one for one in streams["compute"] if one[0] != "CODES"]


FAULTS = {
    "no list": (no_lists, "codes is 4, outside 1 to 0"),
    "list of the generator": (lists(stages=2), "codes is 4, outside 1 to 0"),
    "list of no stage": (lists(stages=0), "a code list of the stages 0x0"),
    "list of the post stage": (lists(stages=1 << 3), "a code list of the stages 0x8"),
    "second page": (lists(page=1), "page of the MAC stage's codes is 1"),
    "rows": (compute(0, read_rows=3), "read_rows is 3, outside"),
    "kernel": (compute(0, kernel_h=2), "kernel_h of projected windows is 2"),
    "columns": (compute(0, kernel_w=3), "kernel_w of projected windows is 3"),
    "blocks of a chunk": (compute(0, chunk_blocks=2), "chunk_blocks of projected windows is 2"),
    "taps of a chunk": (compute(0, chunk_taps=3), "chunk_taps of projected windows is 3"),
    "nine codes": (compute(0, codes=9), "codes is 9, outside 1 to 8"),
    "alpha words along the kernel": (compute(0, alpha_words=1), "alpha_words is 1, outside"),
    "alpha words along the channels": (compute(-1, alpha_words=1), "alpha_words is 1, outside"),
    "three codes": (compute(-1, codes=3), "3 projections of 16 channels"),
    "groups of a chunk": (compute(-1, chunk_blocks=9), "chunk_blocks is 9, outside"),
    "dense": (compute(0, dense=1), "project is 1, outside 0 to 0"),
    "sum": (compute(0, row0=1), "row0 of projected windows is 1"),
    "stride": (compute(0, stride_w=4), "stride_w of projected windows is 4"),
    "groups of PEs along the kernel": (compute(0, groups=4), "groups is 4, outside 1 to 2"),
    "groups of PEs along the channels": (compute(-1, groups=3), "groups is 3, outside 1 to 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(fault: str, tmp_path: Path) -> None:
    compiled, _, _, config = coded(tmp_path, S=4 if "groups of PEs" in fault else 2)
    edit, text = FAULTS[fault]
    found = inspect_program(edited(compiled.program, config, edit), config).problems
    assert any(text in problem for problem in found), found


@pytest.mark.parametrize("fault", ["no list", "rows", "padding", "signs", "domain", "source"])
def test_a_planted_fault_is_seen(fault: str, tmp_path: Path) -> None:
    """Negative twins of the comparisons: each changes a result, or stops the interpreter."""
    compiled, images, wanted, config = coded(tmp_path)
    np.testing.assert_array_equal(interpret(compiled, images), wanted)
    edit = {
        "no list": no_lists,
        "rows": compute(0, read_rows=3),
        "padding": compute(0, pad_left=0),
        "signs": lists(list=5 | 3 << 6 | 9 << 12 | 12 << 18),
        "domain": compute(-1, project=0),
        "source": compute(-1, src_bank=3),
    }[fault]
    broken = replace(compiled, program=edited(compiled.program, config, edit))
    try:
        result = interpret(broken, images)
    except EngineError:
        return
    assert not np.array_equal(result, wanted)


def test_a_build_without_projector_stops(tmp_path: Path) -> None:
    compiled, images, _, config = coded(tmp_path)
    parameters = config.parameters() | {"PROJECTOR": 0}
    other = replace(
        compiled, manifest=compiled.manifest.model_copy(update={"parameters": parameters})
    )
    with pytest.raises(EngineError, match="BUILD"):
        interpret(other, images)


# The choice --------------------------------------------------------------------------------------


def refusals() -> Builder:
    net = Builder((16, 12, 12))
    net.conv("fine", 16, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.conv("large", 16, (5, 5), pads=(2, 2, 2, 2), n=4)
    net.conv("square", 16, (4, 4), pads=(2, 2, 1, 1), n=4)
    net.conv("full", 16, (3, 3), pads=(1, 1, 1, 1), n=9)
    net.conv("five", 16, (1, 1), n=5, axis="channel")
    net.conv("sixteen", 16, (1, 1), n=16, axis="channel")
    net.conv("strided", 16, (3, 3), (1, 3), (1, 1, 1, 1), n=4)
    net.conv("grouped", 16, (3, 3), pads=(1, 1, 1, 1), n=4, groups=4)
    net.conv("padded", 16, (3, 3), (1, 2), (1, 13, 1, 1), n=4)
    net.conv("long", 16, (3, 3), pads=(1, 1, 1, 1), n=8)
    net.conv("dense", 16, (1, 1))
    return net


REASONS = {
    "large": "kernel-axis codes of a 5x5 kernel; 3x3 is supported",
    "square": "kernel-axis codes of a 4x4 kernel; 3x3 is supported",
    "full": "9 kernel-axis codes; at most 8 are supported",
    "five": "5 channel-axis codes; 1, 2, 4 or 8 are supported",
    "sixteen": "16 channel-axis codes; 1, 2, 4 or 8 are supported",
    "strided": "kernel-axis codes with a horizontal stride of 3; 1 or 2 is supported",
    "grouped": "it has 4 groups",
    "padded": "kernel-axis codes with 13 columns of padding; at most 12",
    "long": "8 kernel-axis codes; the configuration has D = 7",
}


def test_what_cannot_be_forced(tmp_path: Path) -> None:
    """All layers that cannot, each with its reason, at once; dense ones do not count."""
    config = sized(S=2, D=7, ALPHA_DEPTH=2048)
    net = refusals().network()
    with pytest.raises(CompileError) as error:
        compile_random(net, config, tmp_path, choice=CODES)
    text = str(error.value)
    assert text.count("it cannot run in the code domain") == len(REASONS)
    for name, reason in REASONS.items():
        assert f"layer {name}: it cannot run in the code domain: {reason}" in text
    # Asked for by name, a dense layer counts; so does one that there is not.
    with pytest.raises(CompileError) as error:
        choice = DomainChoice("auto", {"dense": "codes", "fine": "codes", "none": "weights"})
        compile_random(net, config, tmp_path, choice=choice)
    assert "layer dense: it cannot run in the code domain: it has no codes" in str(error.value)
    assert "layer none: there is no such layer" in str(error.value)
    assert "layer fine" not in str(error.value)
    with pytest.raises(CompileError, match="the configuration has PROJECTOR = 0"):
        compile_random(net, sized(PROJECTOR=0, D=18, ALPHA_DEPTH=2048), tmp_path, choice=CODES)
    # What cannot stays in the weight domain by itself.
    compiled, golden = compile_random(net, config, tmp_path)
    assert all(
        layer.domain == "weights" for layer in compiled.manifest.layers if layer.name != "fine"
    )
    images = random_images(compiled, 1)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))


def test_the_domain_that_is_chosen_is_the_faster_one() -> None:
    """Of the estimate: few steps do not help where reads or the drain take longer."""
    config = load_config("bench")
    chosen = {}
    for shape, kernel, n, axis in [
        ((64, 56, 56), 3, 4, "kernel"),
        ((64, 14, 14), 3, 8, "kernel"),
        ((256, 14, 14), 1, 8, "channel"),
        ((64, 14, 14), 1, 8, "channel"),
        ((64, 7, 7), 1, 1, "channel"),
    ]:
        net = Builder(shape)
        net.conv("conv", 64, (kernel, kernel), pads=(kernel // 2,) * 4, n=n, axis=axis)
        lowered = lower(net.network(), config)
        tilings = [tile_layer(lowered.layers[0], config, domain=domain) for domain in DOMAINS]
        steps = [sum(map(tiling.steps, tiling.tiles)) for tiling in tilings]
        assert steps[1] < steps[0]
        costs = [tiling_cost(tiling, config) for tiling in tilings]
        chosen[shape, n] = plan(lowered, config).tilings[0].domain
        assert chosen[shape, n] == DOMAINS[costs.index(min(costs))]
    assert set(chosen.values()) == set(DOMAINS)


def test_the_cycle_model_has_the_last_word(tmp_path: Path) -> None:
    """With a memory given, no plan of one domain alone is faster than the one that is taken."""
    config = sized(S=2, T_P=16, D=18)
    net = Builder((48, 10, 10), 1)
    net.conv("a", 48, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.conv("b", 48, (1, 1), n=8, axis="channel")
    net.conv("c", 16, (1, 1), n=1, axis="channel")
    net.gemm("fc", 10, n=8, global_pool=True)
    for memory in (Memory(0, 32), Memory(2, 50)):
        cycles = {}
        for choice in CHOICES:
            compiled, _ = compile_random(
                net.network(),
                config,
                tmp_path,
                choice=DomainChoice(choice),
                memory=memory,
            )
            cycles[choice] = predict(compiled.program, config, memory).cycles
        assert cycles["auto"] <= min(cycles["weights"], cycles["codes"])
        assert cycles["auto"] < cycles["weights"]


def test_rows_of_pixels_stay_in_a_line() -> None:
    """Groups of PEs of projected windows divide S and the line; every row of pixels lies in it."""
    for width, s in [(12, 4), (10, 4), (9, 4), (7, 2), (8, 2)]:
        config = sized(S=s, T_C=32)
        net = Builder((16, 9, width))
        net.conv("conv", 6, (3, 3), pads=(1, 1, 1, 1), n=2)
        layer = lower(net.network(), config).layers[0]
        allowed = Work(layer, "codes", config).groups(6)
        assert allowed == [g for g in (1, 2) if s % g == 0 and width % g == 0]
        tiling = tile_layer(layer, config, domain="codes")
        for tile in tiling.tiles:
            assert tile.pe_groups in allowed
            rows = range(tile.first_pixel, tile.first_pixel + tile.pixels, tile.pe_groups)
            assert all(row % width + tile.pe_groups <= width for row in rows)
        assert all(isinstance(tile, Tile) for tile in tiling.tiles)
        for one, other in pairwise(tiling.tiles):
            assert other.first_pixel in (0, one.first_pixel, one.first_pixel + one.pixels)


# Commands ----------------------------------------------------------------------------------------


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    net = Builder((8, 8, 8))
    net.conv("first", 8, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.conv("second", 8, (3, 3), (1, 3), (1, 1, 1, 1), n=4)
    net.conv("third", 8, (1, 1), n=8, axis="channel")
    model, output = tmp_path / "net.onnx", tmp_path / "out"
    write_converted(net.network(), model)
    arguments = ("compile", str(model), "-o", str(output), "--config", "tiny")

    status, out, err = call(*arguments, "--domain", "codes")
    assert (status, out) == (2, "") and not output.exists()
    assert err.count("\n") == 1 and "layer second: it cannot run in the code domain" in err
    for wrong, text in [
        (("--domain", "both"), "--domain both: unknown domain 'both'; valid: auto, weights, codes"),
        (("--domain-of", "first"), "--domain-of first: expected LAYER=DOMAIN"),
        (("--domain-of", "first=x"), "unknown domain 'x'"),
        (("--domain-of", "fourth=codes"), "layer fourth: there is no such layer"),
    ]:
        status, out, err = call(*arguments, *wrong)
        assert (status, out) == (2, "") and text in err

    chosen = ("--domain-of", "first=codes", "--domain-of", "third=codes")
    status, out, err = call(*arguments, *chosen, "--json")
    assert (status, err) == (0, "")
    layers = json.loads(out)["layers"]
    assert [layer["domain"] for layer in layers] == ["codes", "weights", "codes"]
    status, out, _ = call("inspect", str(output))
    assert status == 0
    assert "first (conv): 4 of 9 kernel-axis codes, projections times alphas" in out
    assert "second (conv): 4 of 9 kernel-axis codes, activations times weights" in out
    assert "third (conv): 8 of 16 channel-axis codes, projections times alphas" in out
    assert "CODES   0.. of mac:" in out and "CODES   0.. of wgen:" in out
    assert "4 kernel-axis projections of" in out
    status, out, _ = call("predict", str(output), "--json")
    report = json.loads(out)
    assert [layer["domain"] for layer in report["layers"]] == ["codes", "weights", "codes"]
    # A converted model is compiled first; a compiled one has its domains.
    status, out, _ = call("predict", str(model), "--config", "tiny", *chosen, "--json")
    assert status == 0 and json.loads(out)["layers"] == report["layers"]
    status, out, err = call("predict", str(output), "--domain", "codes")
    assert (status, out) == (2, "") and "go with a converted model" in err.replace("\n", " ")
