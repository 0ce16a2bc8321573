# SPDX-License-Identifier: Apache-2.0
"""Residual additions: compiled programs against the golden model, and what the check refuses."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.harness import Streams, compile_random, edited, interpret, random_images
from tests.compiler.interpreter import EngineError, eager, lazy, shuffled
from tests.compiler.networks import Builder, build
from tests.frontend.models import residual_network, shortcut_network
from unzipfpga.compiler import (
    Compiled,
    CompileError,
    compile_model,
    compile_network,
    inspect_program,
)
from unzipfpga.compiler.disassemble import listing
from unzipfpga.compiler.lower import lower
from unzipfpga.config import load_configs
from unzipfpga.frontend import Options, convert, write_converted
from verif.env.engine_model import golden
from verif.refmodel import model as refmodel
from verif.seqs.engine_networks import SOURCE, NetworkBuilder, random_network

PRESETS = load_configs()
CONFIG = PRESETS["tiny"]
SAME = (1, 1, 1, 1)
TWO_WORDS = build(T_C=16, ACT_DEPTH=512)  # of a pixel in a tile
BUILDS = {
    **{name: config for name, config in PRESETS.items() if name != "tiny"},
    "four banks": build(ACT_BANKS=4, G=2),
    "eight banks": build(T_C=12, Q=2, T_R=7, ACT_BANKS=8),
    "one lane": build(T_P=16, T_C=8, Q=1, T_R=5),
    "two words": build(T_C=16, Q=16, ACT_BANKS=4, ALPHA_DEPTH=512),
    "four words": build(T_C=32, Q=32, ACT_BANKS=4, S=2, T_R=7, ALPHA_DEPTH=1024),
}


def blocks(dw: int = 8) -> Builder:
    """Blocks of ResNets, a pool behind an addition, and fully connected layers that add."""
    net = Builder((10, 9, 8), dw=dw)
    net.conv("stem", 20, (3, 3), pads=SAME, n=4)
    net.conv("a1", 20, (3, 3), pads=SAME)
    net.conv("a2", 20, (3, 3), pads=SAME, residual="stem.out")
    net.conv("projected", 12, (1, 1), (2, 2))
    net.at("a2.out")
    net.conv("b1", 12, (3, 3), (2, 2), SAME)
    net.conv("b2", 12, (3, 3), pads=SAME, residual="projected.out")
    net.conv("c1", 12, (1, 1), residual="b2.out", relu=False)
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    net.gemm("fc1", 14)
    net.gemm("fc2", 14, residual="fc1.out")
    return net


@pytest.mark.parametrize("name", BUILDS)
def test_residual_blocks_are_bit_exact(name: str, tmp_path: Path) -> None:
    compiled, model = compile_random(blocks(BUILDS[name].DW).network(), BUILDS[name], tmp_path)
    images = random_images(compiled, 2)
    wanted = model.run_int(images)
    assert len(np.unique(wanted)) > 8
    for pace in (eager, lazy, shuffled(1)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), wanted)
    added = {info.name: info.residual for info in compiled.manifest.layers if info.residual}
    assert added == {"a2": "stem.out", "b2": "projected.out", "c1": "b2.out", "fc2": "fc1.out"}
    lines = [line for line in listing(compiled.program, compiled.manifest) if "RESIDUAL" in line]
    assert len(lines) == 4 and "times" in lines[0]


@pytest.mark.parametrize(
    "name", ["tiny", "wide", "eight banks", "one lane", "two words", "four words"]
)
def test_random_networks(name: str) -> None:
    """Residuals with fewer channels, rows or columns, of the image, of branches, before pools."""
    config = (BUILDS | {"tiny": CONFIG})[name]
    rng = np.random.default_rng(7)
    smaller = compared = 0
    for seed in range(40):
        drawn = random_network(rng, name, config, 3, 4000)
        infos = drawn.compiled.manifest.layers
        if not any(info.residual for info in infos):
            continue
        maps = {placed.tensor: placed.shape for placed in drawn.compiled.manifest.act_mem}
        smaller += any(maps[i.residual] != i.conv_map for i in infos if i.residual)
        images = random_images(drawn.compiled, 1, seed)
        result = interpret(drawn.compiled, images, shuffled(seed))[0]
        np.testing.assert_array_equal(result, golden(drawn.network, images[0]))
        compared += 1
    assert compared >= 10 and smaller >= 3


@pytest.mark.parametrize("name", ["tiny", "base", "wide", "one lane"])
def test_a_converted_model(name: str, tmp_path: Path) -> None:
    """From ONNX: a block with a projection, Add and ReLU6, converted with both multipliers."""
    source = residual_network().save(tmp_path / "net.onnx")
    images = np.random.default_rng(4).normal(0, 1, (8, 3, 12, 12)).astype(np.float32)
    config = (BUILDS | {"tiny": CONFIG})[name]
    network, _ = convert(source, lambda _: images, Options(n=4, dw=config.DW))
    added = [layer for layer in network.layers if layer.residual is not None]
    assert len(added) == 2
    for layer in added:
        assert layer.m is not None
        # Neither multiplier is left with a few bits only because they share the shift.
        assert max(layer.m) >= 2**14 or layer.s == 47
        assert layer.m_r >= 2**14 or layer.t == 0
        ratio = network.tensors[layer.residual].scale / network.tensors[layer.output].scale
        assert layer.m_r * 2.0 ** (layer.t - layer.s) == pytest.approx(ratio, rel=2**-14)
    path = tmp_path / "converted.onnx"
    write_converted(network, path)
    if name == "tiny":
        config = config.model_copy(update={"ACT_DEPTH": 2048})
    compiled = compile_model(path, name, config)
    model = refmodel.load(path)
    integers = model.quantize(images[:2])
    wanted = model.run_int(integers)
    assert len(np.unique(wanted)) > 8
    np.testing.assert_array_equal(interpret(compiled, integers, shuffled(3)), wanted)


@pytest.mark.parametrize("name", ["base", "one lane"])
def test_a_converted_model_with_padded_shortcuts(name: str, tmp_path: Path) -> None:
    source = shortcut_network().save(tmp_path / "net.onnx")
    images = np.random.default_rng(4).normal(0, 1, (8, 3, 12, 12)).astype(np.float32)
    network, _ = convert(source, lambda _: images, Options(n=4))
    path = tmp_path / "converted.onnx"
    write_converted(network, path)
    compiled = compile_model(path, name, BUILDS[name])
    model = refmodel.load(path)
    integers = model.quantize(images[:2])
    np.testing.assert_array_equal(interpret(compiled, integers), model.run_int(integers))


def test_a_padded_shortcut() -> None:
    """The residual has fewer channels and pixels than the output; the rest of it counts as 0."""
    net = NetworkBuilder(np.random.default_rng(3), (9, 7, 6), extremes=0)
    net.conv(9, (3, 3), pads=SAME, lo=-127, hi=127)
    net.conv(5, (2, 2), (2, 2), lo=-127, hi=127)
    shortcut = net.last
    net.at("conv0.out")
    net.conv(20, (3, 3), (1, 1), SAME, 0, shortcut, lo=-127, hi=127)
    compiled = compile_network(net.network(), "tiny", CONFIG, SOURCE)
    images = random_images(compiled, 2)
    plain = replace(net.layers[-1], residual=None, m_r=0, t=0)
    without = replace(net.network(), layers=(*net.layers[:-1], plain))
    for image, result in zip(images, interpret(compiled, images), strict=True):
        np.testing.assert_array_equal(result, golden(net.network(), image))
        differ = result != golden(without, image)
        assert differ[:5, :3, :3].mean() > 0.3
        assert not differ[5:].any() and not differ[:, 3:].any() and not differ[:, :, 3:].any()


def test_a_residual_is_stored_as_its_window_reader_takes_it() -> None:
    net = Builder((8, 8, 8), 0)
    net.conv("conv", 8, (1, 1))
    net.conv("strided", 8, (1, 1), (2, 2))
    net.at("conv.out")
    net.conv("same", 8, (3, 3), pads=SAME, residual="conv.out")
    compiled = compile_network(net.network(), "tiny", CONFIG, SOURCE)
    views = {placed.tensor: placed for placed in compiled.manifest.act_mem}
    assert views["conv.out"].shift == 1 and views["conv.out"].last_layer == 2
    images = random_images(compiled, 1)
    np.testing.assert_array_equal(interpret(compiled, images)[0], golden(net.network(), images[0]))


@pytest.mark.parametrize("residual", ["image", None])
def test_an_image_that_is_added_is_not_folded(residual: str | None) -> None:
    net = Builder((1, 8, 8), 0)
    net.conv("conv", 8, (3, 3), pads=SAME, residual=residual)
    compiled = compile_network(net.network(), "tiny", CONFIG, SOURCE, fold=True)
    assert (compiled.manifest.input.fold is None) == (residual is not None)


def refuse(net: Builder, text: str) -> None:
    with pytest.raises(CompileError, match=text):
        lower(net.network(), CONFIG)


def test_residuals_that_are_refused() -> None:
    net = Builder((8, 6, 6), 0)
    net.conv("conv", 8, (3, 3))
    net.conv("larger", 8, (1, 1), residual="image")
    refuse(
        net, r"layer larger: it adds 'image' \[8, 6, 6\], which is larger than its output \[8, 4"
    )

    net = Builder((8, 2, 2), 0)
    net.gemm("fc", 32)
    net.gemm("flat", 32, residual="fc.flat.out")
    refuse(net, r"layer flat: it adds 'fc.flat.out', a flattened \[8, 2, 2\] map")


def test_what_is_pooled_and_added(tmp_path: Path) -> None:
    """A tensor that is added is stored, so its pool is a layer; and a pooled sum is added."""
    net = Builder((8, 6, 6), 0)
    net.conv("conv", 12, (3, 3), pads=SAME)
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    net.at("conv.out")
    net.conv("strided", 12, (2, 2), (2, 2), residual="pool.out")
    net.conv("same", 12, (1, 1), residual="strided.out")
    net.at("conv.out")
    net.conv("adds", 12, (3, 3), pads=SAME, residual="conv.out")
    net.gemm("fc", 7, global_pool=True)
    net.gemm("fc2", 7, residual="fc.out")
    compiled, model = compile_random(net.network(), CONFIG, tmp_path)
    images = random_images(compiled, 2)
    np.testing.assert_array_equal(interpret(compiled, images), model.run_int(images))


# Negative twins ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Compiled, np.ndarray, np.ndarray]:
    """The program of one block that adds the image, two images and their results."""
    folder = tmp_path_factory.mktemp("residual")
    net = Builder((20, 6, 5), 2)
    net.conv("conv1", 20, (3, 3), pads=SAME, residual="image")
    net.conv("conv2", 20, (3, 3), pads=SAME)
    net.conv("conv3", 20, (3, 3), pads=SAME, residual="conv1.out")
    result, model = compile_random(net.network(), TWO_WORDS, folder)
    images = random_images(result, 2)
    return result, images, model.run_int(images)


def change(field: str, difference: int, only: int | None = None) -> Callable[[Streams], object]:
    """Change a field of every instruction that has it and adds, or of one of them."""

    def edit(streams: Streams) -> None:
        found = [
            f
            for name, f in streams["compute"]
            if name == "RESIDUAL" or (name == "COMPUTE" and f["residual"])
        ]
        found = [f for f in found if field in f]
        for f in found if only is None else [found[only]]:
            f[field] += difference

    return edit


def late_image(streams: Streams) -> None:
    """The image is loaded behind the parameters that the post stage waits for."""
    load = streams["load"]
    image = next(i for i, (_, f) in enumerate(load) if f["memory"] == 0)
    param = next(i for i, (_, f) in enumerate(load) if f["memory"] == 2)
    assert image < param
    load.insert(image, load.pop(param))


def no_description(streams: Streams) -> None:
    streams["compute"][:] = [one for one in streams["compute"] if one[0] != "RESIDUAL"]


def in_place(streams: Streams) -> None:
    """The last layer writes its outputs over what it adds, a row lower."""
    last = [f for name, f in streams["compute"] if name == "COMPUTE" and f["residual"]]
    for f in last[len(last) // 2 :]:
        f["dst_base"] = f["res_base"] + f["dst_row"]


def over_the_next(streams: Streams) -> None:
    """The last layer's first tile writes over what its second tile adds."""
    tiles = [f for name, f in streams["compute"] if name == "COMPUTE" and f["residual"]]
    first, second = tiles[len(tiles) // 2 :][:2]
    first["dst_base"] = second["res_base"]


FAULTS = {  # what the interpreter sees
    "dropped": change("residual", -1),
    "another block": change("res_block_first", 1),
    "another entry": change("res_base", 1, 0),
    "row pitch": change("res_row", 1),
    "block pitch": change("res_block", 1),
    "shift": change("res_shift", 1),
    "fewer blocks": change("res_blocks", -1),
    "fewer rows": change("res_h", -1),
    "fewer columns": change("res_w", -1),
    "multiplier": change("res_scale", -9000),
    "lift": change("res_lift", -1),
    "written in place": over_the_next,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(
    fault: str, compiled: tuple[Compiled, np.ndarray, np.ndarray]
) -> None:
    good, images, wanted = compiled
    np.testing.assert_array_equal(interpret(good, images), wanted)
    broken = replace(good, program=edited(good.program, TWO_WORDS, FAULTS[fault]))
    with suppress(EngineError):
        assert not np.array_equal(interpret(broken, images), wanted)


UNSAFE = {  # what the check reports
    "another entry": (change("res_base", 1, 0), "residual is not read from a tensor of 6x5"),
    "another bank": (change("res_block_first", 1), "residual is not read|before it is written"),
    "row pitch": (change("res_row", 1), "residual is not read|before it is written"),
    "block pitch": (change("res_block", 1), "residual is not read|before it is written"),
    "shift": (change("res_shift", 1), "residual is not read from a tensor of 6x5"),
    "rows": (change("res_h", 1), "residual is not read from a tensor of 7x5"),
    "blocks": (change("res_blocks", -3), "res_blocks is 0, outside 1 to 4095"),
    "outside": (change("res_base", 60_000, 0), "act mem has 512 words"),
    "no description": (no_description, "no RESIDUAL describes its residual"),
    "image too late": (late_image, r"its read of act mem is not ordered with the write of load"),
    "in place": (in_place, "it overwrites its own residual"),
    "over the next": (
        over_the_next,
        r"its residual was overwritten by compute \d+, behind the RES",
    ),
}


@pytest.mark.parametrize("fault", UNSAFE)
def test_an_unsafe_residual_is_reported(
    fault: str, compiled: tuple[Compiled, np.ndarray, np.ndarray]
) -> None:
    good = compiled[0]
    edit, text = UNSAFE[fault]
    assert inspect_program(good.program, TWO_WORDS).problems == []
    problems = inspect_program(edited(good.program, TWO_WORDS, edit), TWO_WORDS).problems
    assert any(re.search(text, problem) for problem in problems), problems
