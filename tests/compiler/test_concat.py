# SPDX-License-Identifier: Apache-2.0
"""Lowering of concatenations: layers write parts of a tensor, and read one with gaps in it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.harness import compile_random, interpret, random_images
from tests.compiler.interpreter import eager, lazy
from tests.compiler.networks import Builder, build
from tests.frontend.models import fire_network
from unzipfpga.bench.networks import Coding, convert_network
from unzipfpga.compiler import CompileError
from unzipfpga.compiler.lower import EngineLayer, LoweredNetwork, lower
from unzipfpga.compiler.place import lifetimes_of
from unzipfpga.config import Config
from unzipfpga.errors import RangeError
from unzipfpga.frontend import Network, Options, convert, write_converted
from verif.refmodel import layers as ops
from verif.refmodel import model as refmodel

SAME = (1, 1, 1, 1)


def run_layer(layer: EngineLayer, x: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
    """What a layer makes of stored tensors [C, H, W], from its description alone."""
    assert x.shape == layer.input_map
    if layer.row0:
        sums = ops.conv2d(x[np.newaxis], layer.weights, groups=layer.groups)
        sums = sums.sum(axis=(2, 3), keepdims=True)
    else:
        last = [
            (out - 1) * stride + kernel - pad - size
            for out, stride, kernel, pad, size in zip(
                *(layer.conv_map[1:], layer.stride, layer.kernel, layer.pads, x.shape[1:]),
                strict=True,
            )
        ]
        cut = x[:, : x.shape[1] + min(0, last[0]), : x.shape[2] + min(0, last[1])]
        pads = (*layer.pads, max(0, last[0]), max(0, last[1]))
        sums = ops.conv2d(cut[np.newaxis], layer.weights, layer.stride, pads, layer.groups)
    r = None if residual is None else residual[np.newaxis]
    y = ops.post_process(
        *(sums, layer.bias, layer.m, layer.s, layer.lo, layer.hi, r, layer.m_r, layer.t)
    )
    if layer.pool is not None:
        pool = layer.pool
        ends = [
            max(0, (out - 1) * pool.stride + pool.kernel - pool.pad - size)
            for out, size in zip((pool.height, pool.width), layer.conv_map[1:], strict=True)
        ]
        pads = (pool.pad, pool.pad, *ends)
        y = ops.max_pool(y, (pool.kernel,) * 2, (pool.stride,) * 2, pads)
    return y[0]


def execute(lowered: LoweredNetwork, image: np.ndarray, t_p: int) -> np.ndarray:
    """Run the layers one after the other; what lies between the parts of a tensor is random."""
    rng = np.random.default_rng(0)
    stored: dict[str, np.ndarray] = {lowered.input: image.reshape(lowered.maps[lowered.input])}
    for whole, first in lowered.parts.values():
        assert first % t_p == 0 and whole not in lowered.parts
        stored.setdefault(whole, rng.integers(-127, 128, lowered.maps[whole], np.int32))

    def view(name: str) -> np.ndarray:
        whole, first = lowered.parts.get(name, (name, 0))
        return stored[whole][first : first + lowered.maps[name][0]]

    for layer in lowered.layers:
        residual = None if layer.residual is None else view(layer.residual)
        result = run_layer(layer, view(layer.source), residual)
        assert result.shape == layer.output_map == lowered.maps[layer.target]
        if layer.target in lowered.parts:
            view(layer.target)[:] = result
        else:
            stored[layer.target] = result
    return view(lowered.output)


def check(network: Network, config: Config, folder: Path) -> LoweredNetwork:
    """The lowered network computes the golden model's integers."""
    path = folder / "network.onnx"
    write_converted(network, path)
    golden = refmodel.load(path)
    lowered = lower(network, config)
    images = np.random.default_rng(1).integers(-127, 128, (2, *golden.input_shape))
    wanted = golden.run_int(images)
    assert len(np.unique(wanted)) > 5
    for image, result in zip(images, wanted, strict=True):
        found = execute(lowered, image, config.T_P)
        np.testing.assert_array_equal(found.reshape(result.shape), result)
    return lowered


def fire(net: Builder, name: str, parts: tuple[int, int], n: int = 0, axis: str = "kernel") -> None:
    """A fire module: squeeze, two expands, and their concatenation."""
    net.conv(f"{name}.squeeze", 8, (1, 1))
    squeezed = net.last
    net.conv(f"{name}.left", parts[0], (1, 1))
    left = net.last
    net.at(squeezed)
    net.conv(f"{name}.right", parts[1], (3, 3), pads=SAME, n=n, axis=axis, like=left)
    net.concat(name, left, net.last)


@pytest.mark.parametrize("t_p", [8, 16, 32])
@pytest.mark.parametrize("parts", [(32, 32), (12, 20), (16, 3)])
def test_parts_begin_at_whole_blocks(parts: tuple[int, int], t_p: int, tmp_path: Path) -> None:
    net = Builder((16, 6, 6))
    fire(net, "fire1", parts)
    net.conv("dense", 9, (3, 3))
    net.at("fire1.out")
    net.conv("kernel", 9, (3, 3), n=4, like="dense.out")
    net.concat("both", "dense.out", "kernel.out")
    net.gemm("fc", 10)
    lowered = check(net.network(), build(T_P=t_p), tmp_path)
    begin = -(-parts[0] // t_p) * t_p
    assert lowered.parts["fire1.left.out"] == ("fire1.out", 0)
    assert lowered.parts["fire1.right.out"] == ("fire1.out", begin)
    assert lowered.maps["fire1.out"] == (begin + parts[1], 6, 6)
    assert [lowered.maps[f"fire1.{side}.out"][0] for side in ("left", "right")] == [*parts]


def test_a_gap_that_is_read_is_caught(tmp_path: Path) -> None:
    """Negative twin: what is in the gaps reaches the result if a weight there is not 0."""
    net = Builder((16, 6, 6))
    fire(net, "fire1", (12, 20))
    net.conv("conv", 9, (3, 3))
    network = net.network()
    lowered = lower(network, build())
    image = np.random.default_rng(1).integers(-127, 128, (16, 6, 6))
    right = execute(lowered, image, 8)
    lowered.layers[-1].weights[:, 12] = 50
    assert not np.array_equal(execute(lowered, image, 8), right)


def test_channel_axis_codes_follow_the_stored_blocks(tmp_path: Path) -> None:
    """48 channels are 3 blocks of 16; with T_P = 32 the next part begins at the fifth."""
    net = Builder((16, 6, 6))
    fire(net, "fire1", (48, 40))
    net.conv("conv", 9, (3, 3), n=5, axis="channel")
    net.gemm("fc", 10, n=7)
    lowered = check(net.network(), build(T_P=32), tmp_path)
    assert lowered.layers[-2].alphas is not None
    assert lowered.layers[-2].alphas.shape == (9, 7, 9, 5)
    assert not lowered.layers[-2].alphas[:, 3].any()
    assert lowered.layers[-2].input_map == (104, 6, 6)


@pytest.mark.parametrize(("parts", "t_p"), [((24, 16), 8), ((24, 24), 8), ((16, 40), 16)])
def test_channel_axis_codes_without_gaps(parts: tuple[int, int], t_p: int, tmp_path: Path) -> None:
    net = Builder((16, 6, 6))
    fire(net, "fire1", parts)
    net.conv("conv", 9, (3, 3), n=5, axis="channel")
    check(net.network(), build(T_P=t_p), tmp_path)


@pytest.mark.parametrize("t_p", [8, 16])
def test_depthwise_layers_pass_gaps_on(t_p: int, tmp_path: Path) -> None:
    """A depthwise layer, an average pool and a global one read a tensor with gaps."""
    net = Builder((16, 7, 7))
    fire(net, "fire1", (12, 20))
    net.conv("depthwise", 32, (3, 3), groups=32)
    net.average("mean", (2, 2))
    net.conv("last", 9, (3, 3))
    lowered = check(net.network(), build(T_P=t_p), tmp_path)
    begin = -(-12 // t_p) * t_p
    stored = [layer.output_map[0] for layer in lowered.layers[-3:]]
    assert stored == [begin + 20, begin + 20, 9]
    gap = lowered.layers[-2].weights[12:begin]
    assert gap.size and not gap.any()


@pytest.mark.parametrize(("parts", "t_p"), [((20, 16), 8), ((24, 24), 16), ((40, 16), 32)])
def test_channel_axis_codes_that_are_torn(parts: tuple[int, int], t_p: int) -> None:
    net = Builder((16, 6, 6))
    fire(net, "fire1", parts)
    net.conv("conv", 9, (3, 3), n=5, axis="channel")
    with pytest.raises(CompileError, match=f"layer conv: .*T_P = {t_p} .*channel-axis codes can"):
        lower(net.network(), build(T_P=t_p))


def test_nested_parts_that_are_read_and_added(tmp_path: Path) -> None:
    net = Builder((16, 6, 6))
    fire(net, "inner", (12, 16))
    net.conv("more", 12, (3, 3), pads=SAME, residual="inner.left.out", like="inner.left.out")
    net.concat("outer", "more.out", "inner.out")
    net.conv("last", 20, (1, 1))
    lowered = check(net.network(), build(), tmp_path)
    assert lowered.parts == {
        "inner.left.out": ("outer.out", 16),
        "inner.right.out": ("outer.out", 32),
        "more.out": ("outer.out", 0),
        "inner.out": ("outer.out", 16),
    }
    more = lowered.layers[3]
    assert (more.source, more.residual) == ("inner.out", "inner.left.out")
    assert lowered.maps["inner.out"] == (32, 6, 6)


def test_what_lies_somewhere_else_is_copied(tmp_path: Path) -> None:
    """The image, and a part of another tensor; the copy passes the gaps on."""
    net = Builder((5, 6, 6))
    net.conv("conv", 12, (3, 3), pads=SAME, like="image")
    net.concat("first", "image", "conv.out")
    net.conv("reads", 12, (1, 1), like="image")
    net.concat("second", "conv.out", "first.out", "reads.out")
    net.concat("third", "first.out", "second.out")
    net.conv("last", 20, (3, 3))
    lowered = check(net.network(), build(), tmp_path)
    assert [layer.name for layer in lowered.layers] == [
        *("conv", "first.0", "reads", "second.0", "third.0", "last")
    ]
    assert {layer.kind for layer in lowered.layers} == {"conv", "concat"}
    assert lowered.layers[4].input_map == (20, 6, 6)


def test_pools_move_in_front_of_a_concatenation(tmp_path: Path) -> None:
    net = Builder((16, 7, 7))
    fire(net, "fire1", (12, 20))
    net.pool("pool", 3, 2, (0, 0, 0, 0))
    net.conv("conv", 9, (3, 3))
    lowered = check(net.network(), build(), tmp_path)
    assert [layer.pool is not None for layer in lowered.layers] == [False, True, True, False]
    assert set(lowered.maps) >= {"pool.out", *lowered.parts}
    assert {whole for whole, _ in lowered.parts.values()} == {"pool.out"}
    # Not if the whole tensor, or a part of it, is needed as it is.
    for tensor in ("fire1.out", "fire1.left.out"):
        net = Builder((16, 7, 7))
        fire(net, "fire1", (12, 20))
        net.pool("pool", 3, 2, (0, 0, 0, 0))
        net.conv("conv", 12, (1, 1))
        net.at(tensor)
        net.conv("other", 12, (3, 3), stride=(2, 2), pads=(0, 0, 0, 0), like="conv.out")
        net.concat("both", "conv.out", "other.out")
        net.conv("last", 12, (1, 1))
        lowered = check(net.network(), build(), tmp_path)
        kinds = [layer.kind for layer in lowered.layers]
        assert kinds == ["conv"] * 3 + ["maxpool"] + ["conv"] * 3


def test_a_global_average_pool_behind_a_concatenation(tmp_path: Path) -> None:
    net = Builder((16, 6, 6))
    fire(net, "fire1", (16, 24))
    net.average("gap")
    assert check(net.network(), build(), tmp_path).output == "gap.out"
    net = Builder((16, 6, 6))
    fire(net, "fire1", (12, 24))
    net.gemm("fc", 10, global_pool=True)
    check(net.network(), build(), tmp_path)


def grouped(net: Builder) -> None:
    net.conv("bad", 8, (3, 3), groups=2)


def averaged(net: Builder) -> None:
    net.average("bad", (2, 2))


def added(net: Builder) -> None:
    net.conv("bad", 32, (3, 3), pads=SAME, residual="fire1.out")


def is_output(net: Builder) -> None:
    pass


def flattened(net: Builder) -> None:
    net.gemm("fc", 10)
    net.concat("bad", "fc.flat.out", "fc.flat.out")


@pytest.mark.parametrize(
    ("add", "text"),
    [
        (grouped, "layer bad: it reads 'fire1.out', .*T_P = 8 channels; layers of 2 groups"),
        (averaged, "the network's output 'bad.out' is concatenated from parts"),
        (added, "layer bad: it adds 'fire1.out', concatenated from parts"),
        (is_output, "the network's output 'fire1.out' is concatenated from parts"),
        (flattened, r"layer bad: it joins 'fc.flat.out', a flattened \[36, 6, 6\] map"),
    ],
)
def test_what_gaps_do_not_allow(add: Callable[[Builder], None], text: str) -> None:
    net = Builder((16, 6, 6))
    fire(net, "fire1", (12, 20))
    add(net)
    with pytest.raises((CompileError, RangeError), match=text):
        lower(net.network(), build())


@pytest.mark.parametrize("expand", [12, 16])
def test_a_converted_network(expand: int, tmp_path: Path) -> None:
    source = fire_network(expand=expand).save(tmp_path / "source.onnx")
    sample = np.random.default_rng(0).normal(size=(20, 3, 12, 12)).astype(np.float32)
    network, _ = convert(source, lambda _: sample, Options(n=4))
    check(network, build(T_P=16), tmp_path)


@pytest.mark.parametrize(
    ("expand", "changes"), [(12, {}), (16, {}), (12, {"T_P": 16}), (16, {"ACT_DEPTH": 200})]
)
def test_a_concatenation_in_another_one(
    expand: int, changes: dict[str, int], tmp_path: Path
) -> None:
    """No layer makes it, and it is a part: in act mem, and in DRAM where that is small."""
    source = fire_network(expand=expand).save(tmp_path / "source.onnx")
    sample = np.random.default_rng(0).normal(size=(20, 3, 12, 12)).astype(np.float32)
    network, _ = convert(source, lambda _: sample, Options(n=4))
    config = build(**changes)
    lowered = lower(network, config)
    made = {layer.target for layer in lowered.layers}
    nested = set(lowered.parts) - made
    assert nested
    lifetimes = lifetimes_of(lowered)
    for name in nested:
        whole, begin = lowered.parts[name]
        first, last = lifetimes[name]
        inside = [
            lifetimes[part]
            for part in made & set(lowered.parts)
            if lowered.parts[part][0] == whole
            and begin <= lowered.parts[part][1] < begin + lowered.maps[name][0]
        ]
        assert len(inside) == 2 and first == min(inside)[0] and last >= max(b for _, b in inside)
        assert lifetimes[whole][0] <= first and last <= lifetimes[whole][1]
    compiled, golden = compile_random(network, config, tmp_path)
    assert bool(compiled.manifest.scratch_bytes) == ("ACT_DEPTH" in changes)
    images = random_images(compiled, 2)
    for pace in (eager, lazy):
        np.testing.assert_array_equal(interpret(compiled, images, pace), golden.run_int(images))


@pytest.mark.parametrize("t_p", [8, 16])
def test_squeezenet(t_p: int, tmp_path: Path) -> None:
    """All its max pools go into the drains of the expands."""
    network = convert_network("squeezenet1.1", Coding(4, 8), 64, 16)
    lowered = check(network, build(T_P=t_p), tmp_path)
    assert "maxpool" not in {layer.kind for layer in lowered.layers}
    assert sum(layer.pool is not None for layer in lowered.layers) == 5
    assert len(lowered.parts) == 16


@pytest.mark.parametrize("parts", [(32, 32), (12, 20), (24, 8)])
@pytest.mark.parametrize("t_p", [8, 16, 32])
def test_it_is_bit_exact(parts: tuple[int, int], t_p: int, tmp_path: Path) -> None:
    """Parts of whole and of broken blocks, read together and by themselves."""
    net = Builder((16, 6, 6), t_p)
    fire(net, "fire1", parts)
    fire(net, "fire2", parts)
    net.conv("dense", 9, (3, 3))
    config = build(T_P=t_p, T_C=16, ACT_BANKS=4)
    compiled, golden = compile_random(net.network(), config, tmp_path)
    images = random_images(compiled, 2)
    for pace in (eager, lazy):
        np.testing.assert_array_equal(interpret(compiled, images, pace), golden.run_int(images))
