# SPDX-License-Identifier: Apache-2.0
"""Planning, images, files, commands, and what each refuses."""

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
from tests.compiler.interpreter import eager, lazy
from tests.compiler.networks import Builder, build
from tests.frontend.models import separable_network, squeeze_network
from unzipfpga.cli import main
from unzipfpga.compiler import (
    Compiled,
    CompileError,
    ProgramError,
    compile_model,
    inspect_program,
    load_compiled,
    pack_input,
    unpack_output,
    write_compiled,
)
from unzipfpga.compiler import tiling as tiling_module
from unzipfpga.compiler.disassemble import disassemble, listing
from unzipfpga.compiler.emit import _pooled_rows, _Ring, emit, encode_program
from unzipfpga.compiler.lower import Pool, lower
from unzipfpga.compiler.plan import plan
from unzipfpga.compiler.tiling import choose_chunk, chunk_steps, tile_cycles
from unzipfpga.config import load_config
from unzipfpga.errors import DataError, RangeError
from unzipfpga.frontend import Options, convert, write_converted
from unzipfpga.isa import encode
from verif.refmodel import model as refmodel

BASE = load_config("base")


def small_network() -> Builder:
    net = Builder((3, 8, 8), 1)
    net.conv("conv1", 20, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.pool("pool1", 2, 2, (0, 0, 0, 0))
    net.gemm("fc", 10)
    return net


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_random(small_network().network(), BASE, tmp_path_factory.mktemp("c"))[0]


# Chunks ------------------------------------------------------------------------------------------


def test_chunks_cover_all_steps_within_the_register_file() -> None:
    for blocks, taps, d, pixels in itertools.product((1, 3, 8), (1, 9, 49), (2, 9, 18), (1, 50)):
        config = build(D=d)
        chunk = choose_chunk(blocks, taps, pixels, 8, 0, config)
        steps = chunk_steps(blocks, taps, *chunk)
        assert sum(steps) == blocks * taps
        assert max(steps) <= d
        assert chunk[1] == taps or chunk[0] == 1


def test_no_chunk_is_cheaper_than_the_chosen_one() -> None:
    """Against every chunk there is, with the cost written out as a loop over the chunks."""

    def cost(blocks: int, taps: int, chunk: tuple[int, int], pixels: int, n: int) -> int:
        pieces = []  # (blocks, taps) of each chunk
        if chunk[1] == taps:
            for first in range(0, blocks, chunk[0]):
                pieces.append((min(chunk[0], blocks - first), taps))
        else:
            for _ in range(blocks):
                for first in range(0, taps, chunk[1]):
                    pieces.append((1, min(chunk[1], taps - first)))
        total = 0
        for now, after in zip(pieces, pieces[1:] + pieces[:1], strict=True):
            words = max(n, after[1] * -(-n // 2)) if n else after[1]
            total += max(now[0] * now[1] * pixels, after[0] * 8 * words)
        return total

    config = build(D=18, J=2)
    for blocks, taps, pixels, n in itertools.product((1, 5, 7), (4, 9, 25), (1, 9, 60), (0, 3)):
        best = choose_chunk(blocks, taps, pixels, 8, n, config)
        every = [(b, taps) for b in range(1, blocks + 1) if b * taps <= 18]
        every += [(1, t) for t in range(1, min(taps, 19))]
        costs = [cost(blocks, taps, chunk, pixels, n) for chunk in every]
        assert cost(blocks, taps, best, pixels, n) == min(costs)
        assert tile_cycles(blocks, taps, best, pixels, 8, n, config) == min(costs)


def test_no_tiny_last_chunk() -> None:
    """Four blocks of nine taps, three blocks a chunk: 2 + 2 hides more than 3 + 1."""
    config = build(D=27)
    assert choose_chunk(4, 9, 8, 8, 0, config) == (2, 9)


@pytest.mark.parametrize("sizes", [(60,), (50, 50, 30), (64, 20), (5, 33, 64, 17), (3,)])
def test_a_region_of_a_ring_never_waits_for_its_neighbour(sizes: tuple[int, ...]) -> None:
    """Regions of at most half a ring: a load only waits for the last region but one, or older."""
    ring = _Ring(128)
    places: list[range] = []
    sure_free = -1
    for number, words in enumerate(sizes * 40):
        region, wait = ring.allocate(words)
        place = range(region.first, region.first + words)
        assert place.start >= 0 and place.stop <= 128
        if wait is not None:
            assert sure_free < wait.number <= number - 2  # each region is waited for once
            sure_free = wait.number
        assert number - sure_free <= 15
        for older in range(sure_free + 1, number):
            assert not set(place) & set(places[older])
        places.append(place)


# Act mem -----------------------------------------------------------------------------------------


def test_tensors_in_use_at_the_same_time_do_not_overlap() -> None:
    net = Builder((8, 12, 12), 2)
    for index, filters in enumerate((40, 8, 24, 16, 30)):
        net.conv(f"conv{index}", filters, (3, 3), pads=(1, 1, 1, 1))
    config = build(ACT_DEPTH=2048)
    planned = plan(lower(net.network(), config), config)
    for one, other in itertools.combinations(planned.views, 2):
        a, b = planned.lifetimes[one], planned.lifetimes[other]
        if a[0] <= b[1] and b[0] <= a[1]:
            v, w = planned.views[one], planned.views[other]
            assert v.base + v.entries <= w.base or w.base + w.entries <= v.base
    assert planned.act_entries == max(v.base + v.entries for v in planned.views.values())


def test_a_chain_fits_whenever_its_largest_layer_does() -> None:
    """Sizes at which placing the largest tensor first leaves holes: both ends are used then."""
    net = Builder((80, 6, 6), 2)  # 10, 9, 8 and 8.5 blocks' worth
    for index, filters in enumerate((72, 64, 68)):
        net.conv(f"conv{index}", filters, (1, 1))
    needed = (10 + 9) * 6 * 3
    config = build(ACT_DEPTH=needed, ALPHA_DEPTH=4096)
    assert plan(lower(net.network(), config), config).act_entries == needed
    assert not plan(lower(net.network(), config), config).places.slots
    config = build(ACT_DEPTH=20, ALPHA_DEPTH=4096)
    with pytest.raises(CompileError, match=r"layer conv\d: .* needs \d+ entries .* is 20;"):
        plan(lower(net.network(), config), config)


# What the engine cannot run ----------------------------------------------------------------------


def refuse(net: Builder, text: str, **changes: int) -> None:
    config = build(**changes)
    with pytest.raises((CompileError, RangeError), match=text):
        plan(lower(net.network(), config), config)


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "text"),
    [
        (4, 4, (0, 0, 0, 0), "max pool kernel 4x4; square ones of 2 to 3"),
        (3, 4, (0, 0, 0, 0), "max pool stride 4x4; square ones of 1 to 3"),
    ],
)
def test_a_pool_outside_the_set(
    kernel: int, stride: int, pads: tuple[int, int, int, int], text: str
) -> None:
    net = Builder((3, 12, 12))
    net.conv("conv", 8, (1, 1))
    net.pool("pool", kernel, stride, pads)
    refuse(net, f"layer pool: {text}")


def test_a_pool_by_itself_outside_the_set() -> None:
    net = Builder((3, 12, 12))
    net.pool("pool", 5, 2, (0, 0, 0, 0))
    refuse(net, "layer pool: max pool kernel 5x5; square ones of 2 to 3")


def test_a_pooled_map_that_is_needed_unpooled() -> None:
    net = Builder((3, 6, 6))
    net.conv("conv1", 8, (1, 1))
    before, shape = net.last, net.shape
    net.conv("conv2", 8, (1, 1))
    net.last, net.shape = before, shape
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    layers = lower(net.network(), build()).layers
    assert [layer.kind for layer in layers] == ["conv", "conv", "maxpool"]
    assert layers[0].pool is None and layers[2].pool is not None
    # The output of the network is stored, too.
    net = Builder((3, 6, 6))
    net.conv("conv1", 8, (1, 1))
    output = net.last
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    net.last = output
    assert [layer.kind for layer in lower(net.network(), build()).layers] == ["conv", "maxpool"]


@pytest.mark.parametrize("make", [separable_network, squeeze_network])
@pytest.mark.parametrize("preset", ["small", "select", "wide"])
def test_a_network_of_groups_and_pools_from_onnx(
    make: Callable[[], Any], preset: str, tmp_path: Path
) -> None:
    """From a floating-point file to the golden model's integers, all pools and groups."""
    images = np.random.default_rng(0).normal(size=(20, 3, 12, 12)).astype(np.float32)
    source, path = make().save(tmp_path / "source.onnx"), tmp_path / "converted.onnx"
    options = Options(n=4, dw=load_config(preset).DW)
    network, _ = convert(source, lambda _: images, options)
    write_converted(network, path)
    compiled, golden = compile_model(path, preset), refmodel.load(path)
    integers = golden.quantize(images[:2])
    wanted = golden.run_int(integers)
    assert len(np.unique(wanted)) > 8
    np.testing.assert_array_equal(interpret(compiled, integers), wanted)


def test_large_average_pools() -> None:
    net = Builder((3, 12, 12))
    net.average("pool", (8, 2))
    refuse(net, r"layer pool: kernel \[8, 2\]; 1 to 7 is supported")


def test_fewer_filters_a_tile_of_a_grouped_layer() -> None:
    """Filters that share their blocks: T_P of a depthwise layer; whole groups where they fit."""
    for channels, groups, t_p, t_c, filters in [
        (64, 64, 16, 64, 16),
        (64, 64, 8, 8, 8),
        (64, 2, 16, 64, 32),
        (64, 1, 16, 64, 64),
    ]:
        net = Builder((channels, 14, 14))
        net.conv("conv", channels, (3, 3), pads=(1, 1, 1, 1), groups=groups)
        config = build(T_P=t_p, T_C=t_c, T_R=64, ALPHA_DEPTH=4096, PARAM_DEPTH=64)
        tiling = plan(lower(net.network(), config), config).tilings[0]
        assert tiling.filters == filters
        blocks = {(tile.first_block, tile.blocks) for tile in tiling.tiles}
        assert sum(count for _, count in blocks) == channels // t_p  # each block once
        assert tiling.layer.macs == channels * channels // groups * 9 * 14 * 14


def test_rows_that_are_too_long_to_be_pooled() -> None:
    net = Builder((3, 4, 40))
    net.conv("conv", 8, (1, 1))
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    refuse(net, "layer conv: rows of 40 pixels .*need 40 words .*line buffer holds 38", POOL_W=19)
    config = build(POOL_W=20)
    assert plan(lower(net.network(), config), config).tilings[0].filters == 4


def test_fewer_filters_a_tile_where_rows_are_long() -> None:
    net = Builder((3, 4, 20))
    net.conv("conv", 16, (1, 1))
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    config = build(POOL_W=16, T_C=16, T_P=8)
    tiling = plan(lower(net.network(), config), config).tilings[0]
    assert tiling.filters == 12  # 3 groups of 4 channels of 20 pixels in 64 words


def test_a_large_map_into_a_fully_connected_layer() -> None:
    net = Builder((2, 8, 8))
    net.gemm("fc", 4)
    refuse(net, "layer fc: a fully connected layer on a 8x8 map; at most 7x7")
    net = Builder((2, 200, 200))
    net.gemm("fc", 4, global_pool=True)
    net.layers[0] = replace(net.layers[0], weights=np.full((4, 2), 127, np.int8))
    net.layers[0].bias[:] = 2**30  # type: ignore[index]
    refuse(net, "layer fc: the accumulator of filter 0 can reach")


def test_large_kernels_strides_codes() -> None:
    net = Builder((2, 12, 12))
    net.conv("conv", 4, (8, 3))
    refuse(net, r"layer conv: kernel \[8, 3\]; 1 to 7")
    net = Builder((2, 12, 12))
    net.conv("conv", 4, (3, 3), (1, 8))
    refuse(net, r"layer conv: stride \[1, 8\]; 1 to 7")
    net = Builder((2, 12, 12))
    net.conv("conv", 4, (5, 5), n=17)
    refuse(net, "layer conv: 17 codes; the configuration has N_MAX = 16")


def test_channel_axis_codes_need_their_build() -> None:
    net = Builder((20, 4, 4))
    net.conv("conv", 4, (1, 1), n=3, axis="channel")
    refuse(net, "layer conv: channel-axis codes; .*CHANNEL_AXIS = 0", CHANNEL_AXIS=0)
    alphas = net.layers[0].alphas
    assert alphas is not None
    changed = alphas.copy()
    changed[0, 0, 0, 0] += 1
    net.layers[0] = replace(net.layers[0], alphas=changed)
    refuse(net, "layer conv: its alphas do not generate its weights")
    net.layers[0] = replace(net.layers[0], alphas=alphas[:, :1])
    refuse(net, r"layer conv: alphas \(4, 1, 1, 3\) for 20 channels and 1 taps")


def test_alphas_that_cannot_fit() -> None:
    net = Builder((8, 8, 8))
    net.conv("conv", 8, (7, 7))
    refuse(
        net,
        "layer conv: 4 filters of one channel block need 196 .*ALPHA_DEPTH is 195",
        ALPHA_DEPTH=195,
    )
    config = build(ALPHA_DEPTH=196)
    assert plan(lower(net.network(), config), config).tilings[0].filters == 4


def test_ranges_are_proven_anew() -> None:
    """What the file claims does not count: weights, sums and alphas are looked at again."""

    def changed(**changes: object) -> Builder:
        net = small_network()
        net.layers[0] = replace(net.layers[0], **changes)  # type: ignore[arg-type]
        return net

    layer = small_network().layers[0]
    assert layer.weights is not None and layer.bias is not None
    weights = layer.weights.astype(np.int16)
    weights[3, 1, 0, 0] = -128
    refuse(
        changed(weights=weights, alphas=None, codes=()),
        "layer conv1: weights of filter 3 reach 128",
    )
    other = layer.weights.copy()
    other[0, 0, 0, 0] += 1
    refuse(changed(weights=other), "layer conv1: its alphas do not generate its weights")
    bias = layer.bias.copy()
    bias[5] = 2**31 - 1
    refuse(changed(bias=bias), "layer conv1: the accumulator of filter 5 .* 2147483647")
    refuse(changed(s=48), "layer conv1: s is 48, outside 0..47")
    refuse(changed(hi=128), "layer conv1: hi is 128")


def test_a_value_beyond_its_field_names_layer_and_field() -> None:
    """Nothing is cut off silently: 4,096 columns do not fit 12 bits."""
    net = Builder((1, 1, 4096))
    net.conv("wide", 4, (1, 1))
    config = build(ACT_DEPTH=8192)
    with pytest.raises(CompileError, match=r"layer wide: .*4096 is outside 0 to 4095"):
        encode_program(emit(plan(lower(net.network(), config), config)), config)


def test_another_width() -> None:
    config = load_config("base").model_copy(update={"DW": 16, "PAIR": 0})
    with pytest.raises(CompileError, match="8-bit activations, the configuration DW = 16"):
        lower(small_network().network(), config)


# Images ------------------------------------------------------------------------------------------


def test_images_lie_as_channel_blocks(compiled: Compiled) -> None:
    image = np.arange(3 * 8 * 8).reshape(1, 3, 8, 8) % 255 - 127
    data = np.frombuffer(pack_input(compiled.manifest, image), np.int8)
    assert len(data) == compiled.manifest.input.bytes == 8 * 8 * 16
    words = data.reshape(8, 8, 16)
    np.testing.assert_array_equal(words[:, :, :3].transpose(2, 0, 1), image[0])
    assert not words[:, :, 3:].any()


def test_real_images_are_quantised_like_the_golden_model(tmp_path: Path) -> None:
    compiled, golden = compile_random(small_network().network(), BASE, tmp_path)
    rng = np.random.default_rng(3)
    scale = np.float32(compiled.manifest.input.scale)
    real = rng.uniform(-1.2, 1.2, (4, 3, 8, 8)).astype(np.float32)
    real[0, 0] = (np.arange(64).reshape(8, 8) - 31.5) * scale  # halves round to even
    integers = golden.quantize(real)
    assert abs(integers).max() == 127
    assert pack_input(compiled.manifest, real) == pack_input(compiled.manifest, integers)
    np.testing.assert_array_equal(interpret(compiled, integers), golden.run(real))


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((1, 3, 8, 9)), r"shape \[1, 3, 8, 9\], the network takes \[N, 3, 8, 8\]"),
        (np.zeros((3, 8, 8)), r"shape \[3, 8, 8\], the network takes \[N, 3, 8, 8\]"),
        (np.full((1, 3, 8, 8), 128), "integers outside -127 to 127"),
        (np.full((1, 3, 8, 8), np.nan), "not finite"),
        (np.full((1, 3, 8, 8), "x"), "of type <U1"),
    ],
)
def test_images_that_do_not_fit(image: np.ndarray, text: str, compiled: Compiled) -> None:
    with pytest.raises(DataError, match=text):
        pack_input(compiled.manifest, image)


def test_outputs_of_a_wrong_length(compiled: Compiled) -> None:
    with pytest.raises(DataError, match="the output has 65 bytes; one result has 64"):
        unpack_output(compiled.manifest, bytes(65))
    with pytest.raises(DataError, match="has 0 bytes"):
        unpack_output(compiled.manifest, b"")


# Files -------------------------------------------------------------------------------------------


def test_files_come_back(compiled: Compiled, tmp_path: Path) -> None:
    write_compiled(compiled, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert load_compiled(tmp_path / "out", BASE) == compiled
    write_compiled(compiled, tmp_path / "out")  # replaces a compiled network
    assert load_compiled(tmp_path / "out") == compiled


def test_the_same_model_gives_the_same_files(tmp_path: Path) -> None:
    first, _ = compile_random(small_network().network(), BASE, tmp_path)
    second, _ = compile_random(small_network().network(), BASE, tmp_path)
    assert first == second


def test_another_build_is_refused_with_both_named(compiled: Compiled, tmp_path: Path) -> None:
    write_compiled(compiled, tmp_path / "out")
    small = load_config("small")
    with pytest.raises(ProgramError) as error:
        load_compiled(tmp_path / "out", small)
    for part in (f"{BASE.build_id():#010x}", f"{small.build_id():#010x}", "T_C 16 / 8"):
        assert part in str(error.value)


def test_what_a_program_does_not_depend_on_is_no_other_build(
    compiled: Compiled, tmp_path: Path
) -> None:
    write_compiled(compiled, tmp_path / "out")
    wider = BASE.model_copy(update={"AXI_DATA_W": 128, "TRACE_DEPTH": 64})
    assert load_compiled(tmp_path / "out", wider) == compiled


def test_damaged_directories(compiled: Compiled, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(ProgramError, match="No such file or directory; expected a directory"):
        load_compiled(folder)
    for name in ("program.bin", "weights.bin"):
        write_compiled(compiled, folder)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1])
        with pytest.raises(ProgramError, match=rf"{name}: its {len(data) - 1} bytes are not those"):
            load_compiled(folder)
        (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ProgramError, match=f"{name}: .*compile the model again"):
            load_compiled(folder)
    write_compiled(compiled, folder)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"format": "1"', '"format": "2"'))
    with pytest.raises(ProgramError, match=r"manifest\.json: format: "):
        load_compiled(folder)
    (folder / "manifest.json").write_text(text[:100])
    with pytest.raises(ProgramError, match=r"manifest\.json: "):
        load_compiled(folder)


def test_other_things_are_not_overwritten(compiled: Compiled, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CompileError, match=r"holds other things: notes.txt"):
        write_compiled(compiled, tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CompileError, match="a file"):
        write_compiled(compiled, tmp_path / "file")
    with pytest.raises(CompileError, match="cannot be written: No such file"):
        write_compiled(compiled, tmp_path / "none" / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "notes.txt"]


# Commands ----------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


def test_compile_and_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = tmp_path / "net.onnx", tmp_path / "out"
    write_converted(small_network().network(), model)
    assert run("compile", str(model), "-o", str(out), "--config", "base") == 0
    text = capsys.readouterr().out
    assert "conv1" in text and "wrote" in text
    assert run("compile", str(model), "-o", str(out), "--json") == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest == json.loads((out / "manifest.json").read_text())
    assert manifest["layers"][0]["macs"] == 20 * 3 * 9 * 64
    assert manifest["layers"][0]["marks"] == [0, 1]
    assert manifest["source"]["file"] == "net.onnx"
    assert manifest["program"]["bytes"] == (out / "program.bin").stat().st_size

    assert run("inspect", str(out)) == 0
    text = capsys.readouterr().out
    for part in ("load:", "compute:", "store:", "begin of conv1", "end of fc", "CODES", "max pool"):
        assert part in text
    assert run("inspect", str(out), "--json") == 0
    program = json.loads(capsys.readouterr().out)
    assert program["problems"] == [] and program["store"][0]["instruction"] == "STORE"


def test_the_disassembly_holds_every_bit(compiled: Compiled) -> None:
    content = disassemble(compiled.program)
    header = content["header"]
    body = b""
    for queue in ("load", "compute", "store"):
        assert header[f"{queue}_offset"] == 64 + len(body)
        for line in content[queue]:
            assert line.pop("position") == 64 + len(body)
            body += encode(line.pop("instruction"), **line)
    assert compiled.program[64:] == body
    lines = list(listing(compiled.program, compiled.manifest))
    coded = sum(bool(layer.codes) for layer in compiled.manifest.layers)
    assert len(lines) == 7 + coded + sum(compiled.manifest.instructions.values())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.onnx"], "missing.onnx: no such file"),
        (["net.onnx", "--config", "huge"], "unknown CONFIG 'huge'; valid: tiny, select"),
        (["float.onnx"], "not a converted model"),
        (["cut.onnx"], "cut.onnx: "),
        (["large.onnx", "--config", "tiny"], "layer conv: .*ACT_DEPTH is 512"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_converted(small_network().network(), Path("net.onnx"))
    Path("cut.onnx").write_bytes(Path("net.onnx").read_bytes()[:500])
    mnist = Path(__file__).parents[2] / "examples" / "mnist" / "mnist.onnx"
    Path("float.onnx").write_bytes(mnist.read_bytes())
    net = Builder((8, 4, 1100))
    net.conv("conv", 8, (1, 1))  # not even a row fits act mem
    write_converted(net.network(), Path("large.onnx"))
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run("compile", *arguments, "-o", "out") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert re.search(text, captured.err)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_inspect_reports_an_unsafe_program(
    compiled: Compiled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program whose manifest is right but which is not safe: exit status 2."""

    def edit(streams: Streams) -> None:
        streams["store"][0][1]["wait"] = 0

    write_compiled(compiled, tmp_path / "out")
    program = edited(compiled.program, BASE, edit)
    (tmp_path / "out" / "program.bin").write_bytes(program)
    path = tmp_path / "out" / "manifest.json"
    digest = hashlib.sha256(program).hexdigest()
    path.write_text(path.read_text().replace(compiled.manifest.program.sha256, digest))
    assert run("inspect", str(tmp_path / "out")) == 2
    assert "POST_STORE: 1 given and never taken" in capsys.readouterr().err


def test_images_of_several_runs_are_unpacked_together(compiled: Compiled) -> None:
    images = random_images(compiled, 2)
    assert len(pack_input(compiled.manifest, images)) == 2 * compiled.manifest.input.bytes
    data = bytes(range(10)) + bytes(54) + bytes(range(10, 20)) + bytes(54)
    assert unpack_output(compiled.manifest, data).tolist() == [
        list(range(10)),
        list(range(10, 20)),
    ]


# Tiles of pixels ---------------------------------------------------------------------------------


def pixel_tiles(net: Builder, **changes: int) -> list[int]:
    """Return the pixels of the last layer's tiles, those of its first filters and blocks."""
    config = build(**changes)
    tiling = plan(lower(net.network(), config), config).tilings[-1]
    first = tiling.tiles[0]
    key = first.first_filter, first.first_block
    return [tile.pixels for tile in tiling.tiles if (tile.first_filter, tile.first_block) == key]


def test_a_short_layer_is_cut_in_three() -> None:
    """The next layer begins with what the first tile gives; many tiles do not become more."""
    net = Builder((16, 6, 6))
    net.conv("conv", 8, (3, 3), pads=(1, 1, 1, 1))
    assert pixel_tiles(net, T_R=256, ALPHA_DEPTH=2048) == [12] * 3
    assert pixel_tiles(net, T_R=9, ALPHA_DEPTH=2048) == [9] * 4


def test_weights_that_take_longer_than_few_pixels_are_not_generated_again() -> None:
    """Two filters a cycle: a step takes 4 cycles, of 2 pixels 2."""
    net = Builder((16, 2, 3))
    net.conv("conv", 8, (3, 3), pads=(1, 1, 1, 1))
    assert pixel_tiles(net, T_R=256, G=2, ALPHA_DEPTH=2048) == [6]


@pytest.mark.parametrize(("alpha_depth", "tiles"), [(8192, 3), (400, 1)])
def test_alphas_are_not_loaded_more_often_for_shorter_tiles(alpha_depth: int, tiles: int) -> None:
    """288 words of alphas: with two pieces more they fit alpha mem, or not."""
    net = Builder((64, 6, 6))
    net.conv("conv", 4, (3, 3), pads=(1, 1, 1, 1))
    assert len(pixel_tiles(net, T_R=256, ALPHA_DEPTH=alpha_depth)) == tiles


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_pooled_rows_are_written_with_the_last_row_of_their_windows(
    kernel: int, stride: int, pad: int
) -> None:
    for height, cut in itertools.product(range(4, 12), range(1, 12)):
        pooled = -(-(height + pad - kernel) // stride) + 1  # the last one may be cut off
        if (pooled - 1) * stride - pad >= height or cut >= height:
            continue
        pool = Pool("pool", kernel, stride, pad, pooled, pooled)
        last = [min(height, row * stride - pad + kernel) for row in range(pooled)]
        for begin, end in ((0, cut), (cut, height)):
            rows = _pooled_rows(pool, (begin, end), height)
            assert list(range(*rows)) == [p for p in range(pooled) if begin < last[p] <= end]


def test_a_layer_begins_before_all_of_a_pool_is_written(tmp_path: Path) -> None:
    net = Builder((8, 20, 20))
    net.conv("conv1", 8, (1, 1))
    net.pool("pool1", 2, 2, (0, 0, 0, 0))
    net.conv("conv2", 8, (1, 1))
    compiled, golden = compile_random(net.network(), build(T_R=40), tmp_path)
    computes = [f for name, f in take_apart(compiled.program)["compute"] if name == "COMPUTE"]
    signals = [f["post_signal"] for f in computes if f["pool_kernel"]]
    waits = [f["mac_wait"] for f in computes if not f["pool_kernel"]]
    # Its tiles end in rows 3, 6 and 9 of 10, which are written two by two, with 4 rows of the map.
    assert [i for i, signal in enumerate(signals) if signal] == [3, 7, 9]
    assert all(waits) and len(waits) == 3
    images = random_images(compiled, 2)
    for pace in (eager, lazy):
        np.testing.assert_array_equal(interpret(compiled, images, pace), golden.run_int(images))


# Tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "alpha_depth"), [("sums over pixels", 16), ("depthwise", 64)])
def test_layers_that_read_blocks_before_pixels_overflow_no_counter(
    kind: str, alpha_depth: int
) -> None:
    """Five groups of rows of each of four channel blocks are written in tiles of their own; the
    next layer reads each as soon as it can."""
    net = Builder((8, 10, 4))
    net.conv("wide", 32, (1, 1))
    if kind == "depthwise":
        net.conv("depthwise", 32, (3, 3), pads=(1, 1, 1, 1), groups=32)
    else:
        net.gemm("fc", 8, global_pool=True)
    config = build(T_C=8, T_R=4, ALPHA_DEPTH=alpha_depth, PARAM_DEPTH=16)
    with patch.object(tiling_module, "PIXELS_MAX", 8):
        planned = plan(lower(net.network(), config), config)
        program = encode_program(emit(planned), config)
    wide, reader = planned.tilings
    assert len(wide.filter_tiles) == 4 and len(wide.tiles) == 40
    assert len({(tile.first_block, tile.first_pixel) for tile in reader.tiles}) >= 20
    report = inspect_program(program, config)
    assert not report.problems
    assert 0 < report.most_tokens["POST_MAC"] <= 15


@pytest.mark.parametrize(
    ("depth", "channels", "tiles", "keep", "loads"),
    [
        (4096, 8, 24, "layer", 4),  # 7 tiles of 72 words: 512 words, an eighth of alpha mem
        (16384, 32, 8, "layer", 3),  # 3 of 288: a sixteenth
        (16384, 64, 14, "layer", 5),  # 3 of 576: an eighth; a sixteenth would be 14 loads
        (1300, 8, 24, "filters", 12),  # 2 of 72: an eighth
    ],
)
def test_alphas_of_several_tiles_are_loaded_together(
    depth: int, channels: int, tiles: int, keep: str, loads: int, tmp_path: Path
) -> None:
    """Once, in few loads, as long as they are needed: for the layer, or for their filters."""
    net = Builder((channels, 6, 6))
    net.conv("conv", 8 * tiles, (3, 3), pads=(1, 1, 1, 1))
    config = build(ALPHA_DEPTH=depth, PARAM_DEPTH=64)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    layer = compiled.manifest.layers[0]
    assert (layer.keep, layer.tiles) == (keep, tiles * 3)
    assert layer.loaded_bytes == layer.alpha_bytes + layer.param_bytes
    found = [f for _, f in take_apart(compiled.program)["load"] if f["memory"] == 1]
    assert sum(f["words"] for f in found) == tiles * channels * 9
    assert len(found) == loads
    images = random_images(compiled, 1)
    for pace in (eager, lazy):
        np.testing.assert_array_equal(interpret(compiled, images, pace), golden.run_int(images))
