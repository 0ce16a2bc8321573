# SPDX-License-Identifier: Apache-2.0
"""What must hold of every prediction, whatever the RTL takes; and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compiler.harness import Streams, compile_random, edited
from tests.compiler.networks import Builder, build
from unzipfpga.cli import main
from unzipfpga.compiler import Compiled, ProgramError, manifest_config, write_compiled
from unzipfpga.compiler.tokens import Token
from unzipfpga.config import Config
from unzipfpga.model import ModelError, Timing, predict
from unzipfpga.model.dram import Dram
from unzipfpga.report import layer_costs
from unzipfpga.sim import Memory

BANDWIDTHS = [0.5, 1, 2, 3, 4, 5.5, 8, 0]  # bytes a cycle, the slowest first


def network(seed: int = 0) -> Builder:
    """Dense, kernel-axis and channel-axis layers, a stride, a residual, groups, pools."""
    net = Builder((24, 14, 14), seed)
    net.conv("dense", 16, (3, 3), pads=(1, 1, 1, 1))
    before = net.last
    net.conv("kernel", 16, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.conv("channel", 16, (1, 1), n=5, axis="channel", residual=before)
    net.conv("strided", 32, (3, 3), (2, 2), (1, 1, 1, 1), n=9)
    net.conv("grouped", 32, (3, 3), pads=(1, 1, 1, 1), groups=4)
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    net.gemm("fc", 10)
    return net


BUILDS = {
    "tiny": build(),
    "select": build(T_C=16, S=4, ACT_BANKS=8, J=4),
    "wide bus": build(T_P=16, G=2, AXI_DATA_W=256, OUTSTANDING=2, D=18),
}


@pytest.fixture(scope="module", params=BUILDS)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The network, compiled for one of the builds."""
    return made(BUILDS[request.param], tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return made(BUILDS["tiny"], tmp_path_factory.mktemp("model"))


def made(config: Config, folder: Path) -> Compiled:
    return compile_random(network().network(), config, folder)[0]


def cycles(compiled: Compiled, memory: Memory, **timing: int) -> int:
    config = manifest_config(compiled.manifest)
    return predict(compiled.program, config, memory, Timing(**timing)).cycles


def test_more_bandwidth_is_never_slower(compiled: Compiled) -> None:
    taken = [cycles(compiled, Memory(bandwidth, 60)) for bandwidth in BANDWIDTHS]
    assert taken == sorted(taken, reverse=True)
    assert taken[0] > 2 * taken[-1]


def test_more_latency_is_never_faster(compiled: Compiled) -> None:
    for bandwidth in (0, 2):
        taken = [cycles(compiled, Memory(bandwidth, latency)) for latency in (2, 30, 100, 500)]
        assert taken == sorted(taken)
        assert taken[0] < taken[-1]


def test_an_unlimited_memory_leaves_the_computing(tmp_path: Path) -> None:
    """A layer that the array limits takes its steps, and little besides."""
    net = Builder((64, 16, 16))
    net.conv("a", 32, (3, 3), pads=(1, 1, 1, 1))
    compiled, _ = compile_random(net.network(), build(T_R=256, AXI_DATA_W=512, D=18), tmp_path)
    prediction = predict(compiled.program, manifest_config(compiled.manifest), Memory(0, 2))
    steps = compiled.manifest.layers[0].steps
    assert prediction.counters["MAC_ACTIVE"] == steps == 8 * 9 * 4 * 256
    marks = {(mark["stage"], mark["id"]): mark for mark in prediction.marks}
    computing = (
        marks["MAC", 2]["cycles"] - marks["MAC", 0]["cycles"] - marks["MAC", 2]["wait_loads"]
    )
    assert steps <= computing <= 1.01 * steps


def test_bytes_are_those_of_the_program(compiled: Compiled) -> None:
    manifest = compiled.manifest
    for memory in (Memory(), Memory(3, 100)):
        counters = predict(compiled.program, manifest_config(manifest), memory).counters
        assert counters["BYTES_READ"] == manifest.read_bytes + len(compiled.program)
        assert counters["BYTES_WRITTEN"] == -(-manifest.written_bytes // 8) * 8 or (
            manifest.parameters["AXI_DATA_W"] > 64
        )


def test_layers_add_up(compiled: Compiled) -> None:
    """Layers have names through the report; their sums are those at the last mark."""
    manifest = compiled.manifest
    prediction = predict(compiled.program, manifest_config(manifest), Memory(2, 50))
    costs = layer_costs(manifest, prediction.marks)
    assert [cost.name for cost in costs] == [layer.name for layer in manifest.layers]
    assert [layer.number for layer in prediction.layers] == list(range(len(costs)))
    for cost, layer in zip(costs, prediction.layers, strict=True):
        assert (cost.cycles, cost.bytes_read) == (layer.cycles, layer.bytes_read)
        assert cost.wait_weights == layer.wait_weights
        assert 0 <= layer.wait_weights + layer.wait_loads + layer.wait_post <= layer.cycles
    end = prediction.marks[-1]["cycles"]
    assert sum(layer.cycles for layer in prediction.layers) == end < prediction.cycles
    for counter in ("WAIT_WEIGHTS", "WAIT_LOADS", "WAIT_POST", "WAIT_STORES"):
        total = sum(getattr(layer, counter.lower()) for layer in prediction.layers)
        assert total == prediction.counters[counter]


def test_constants_count(small: Compiled) -> None:
    """A slower hand-over costs time: each of the constants that a run passes through."""
    plain = cycles(small, Memory(4, 50))
    for name in ("token", "post_done", "operand", "load_done", "write_done", "header_read"):
        assert cycles(small, Memory(4, 50), **{name: getattr(Timing(), name) + 40}) > plain, name


# Other programs than today's compiler makes ------------------------------------------------------


def program(compiled: Compiled, edit) -> bytes:  # type: ignore[no-untyped-def]
    return edited(compiled.program, manifest_config(compiled.manifest), edit)


def test_a_token_that_never_comes(small: Compiled) -> None:
    def lose(streams: Streams) -> None:
        for _, fields in streams["load"]:
            if fields.get("memory") == 0:
                fields["signal"] = 0

    with pytest.raises(ModelError, match=r"deadlock: .*mac: instruction 1 waits for token 4"):
        predict(program(small, lose), BUILDS["tiny"], Memory())


def test_a_token_too_many(small: Compiled) -> None:
    def repeat(streams: Streams) -> None:
        _, fields = streams["load"][0]
        fields["signal"] |= 1 << 11
        streams["load"][:0] = [("LOAD", dict(fields, wait=0, signal=1 << 11))] * 16

    with pytest.raises(ModelError, match="token 11 overflows"):
        predict(program(small, repeat), BUILDS["tiny"], Memory())


def test_stores_and_loads_among_the_layers(small: Compiled) -> None:
    """A tensor leaves act mem behind the first layer and comes back, a row of words at a time.

    Any stage may wait for any other: the next layer begins when it is back.
    """
    runs = 14

    def spill(streams: Streams) -> None:
        posts = [f for name, f in streams["compute"] if name == "COMPUTE"]
        last = next(i for i, f in enumerate(posts) if f["post_signal"] >> Token.LAYER & 1)
        posts[last]["post_signal"] ^= Token.LAYER.mask | 1 << 9
        view = {"width": 14, "rows": 14, "words": 2 * 14 * 14, "run": 2 * 14, "pitch": 256}
        store = {f"src_{k}": posts[last][f"dst_{k}"] for k in ("row", "block", "shift")}
        stream = {"wait": 1 << 9, "signal": 1 << 10, "base": 4} | view
        streams["store"].insert(0, ("STORE", store | stream))
        load = {f"dst_{k}": v for k, v in zip(("row", "block"), (14, 200), strict=True)}
        stream = {"wait": 1 << 10, "signal": Token.LAYER.mask, "base": 4} | view
        # Behind what the first layer loads: its alphas, its parameters, the image.
        waits = sum((f["wgen_wait"] != 0) + (f["post_wait"] != 0) for f in posts[: last + 1])
        streams["load"].insert(waits + 1, ("LOAD", load | stream))

    plain = predict(small.program, BUILDS["tiny"], Memory(4, 50))
    spilled = predict(program(small, spill), BUILDS["tiny"], Memory(4, 50))
    data = runs * 2 * 14 * 8  # one word is one beat
    assert spilled.counters["BYTES_WRITTEN"] - plain.counters["BYTES_WRITTEN"] == data
    assert spilled.counters["BYTES_READ"] - plain.counters["BYTES_READ"] == data + 2 * 64
    # Both wait for the memory: 4 bytes a cycle.
    assert spilled.cycles - plain.cycles > 2 * data / 4
    assert spilled.counters["WAIT_LOADS"] > plain.counters["WAIT_LOADS"]
    assert [layer.number for layer in spilled.layers] == [layer.number for layer in plain.layers]


def test_what_is_refused(small: Compiled) -> None:
    config = BUILDS["tiny"]
    with pytest.raises(ProgramError, match="this build has"):
        predict(small.program, build(T_R=17), Memory())
    with pytest.raises(ProgramError, match="the header has"):
        predict(b"", config, Memory())
    with pytest.raises(ModelError, match="no random stalls"):
        predict(small.program, config, Memory(stall=0.1))
    for memory in (Memory(latency=1), Memory(-1)):
        with pytest.raises(ModelError, match="cannot be"):
            predict(small.program, config, memory)


# The memory --------------------------------------------------------------------------------------


def test_reads_share_the_bus_in_order() -> None:
    dram = Dram(8, 2, 10)  # a beat in four cycles, two saved up
    assert dram.read(5, 1) == (15, 15)
    assert dram.read(6, 4) == (16, 27)
    assert dram.read(7, 2) == (31, 35)
    # After a pause two beats go at once.
    assert dram.read(100, 4) == (110, 118)


def test_writes_take_what_reads_leave() -> None:
    dram = Dram(8, 0, 10)
    assert dram.read(0, 20) == (10, 29)
    assert dram.write(4, 6) == 9
    assert dram.write(28, 4) == 33
    dram = Dram(8, 4, 10)
    dram.read(0, 20)
    end = dram.write(12, 4)
    assert end >= 20 * 2 + 4 * 2
    assert dram.read(60, 1)[0] >= end


# The command -------------------------------------------------------------------------------------


def test_command(small: Compiled, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["predict", *arguments])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    folder = tmp_path / "net"
    write_compiled(small, folder)
    status, out, err = call(str(folder), "--bandwidth", "4", "--latency", "100", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    expected = predict(small.program, BUILDS["tiny"], Memory(4, 100))
    assert report["cycles"] == expected.cycles
    assert [layer["name"] for layer in report["layers"]] == [
        layer.name for layer in small.manifest.layers
    ]
    assert report["layers"][1]["cycles"] == expected.layers[1].cycles
    status, out, err = call(str(folder))
    assert (status, err) == (0, "")
    assert (
        "strided" in out and f"{predict(small.program, BUILDS['tiny'], Memory()).cycles:,}" in out
    )
    status, out, err = call(str(tmp_path))
    assert (status, out) == (2, "")
    assert "expected a directory that `unzipfpga compile` wrote" in err
    damaged = replace(small, program=small.program[:-64])
    (folder / "program.bin").write_bytes(damaged.program)
    assert call(str(folder))[0] == 2
