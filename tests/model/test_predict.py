# SPDX-License-Identifier: Apache-2.0
"""What must hold of every prediction, whatever the RTL takes; and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.harness import Streams, compile_random, edited
from tests.compiler.networks import Builder, build
from unzipfpga.cli import main
from unzipfpga.compiler import Compiled, ProgramError, manifest_config, write_compiled
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


def test_tensors_that_leave_act_mem(tmp_path: Path) -> None:
    """Rows are stored and loaded again among the layers: stages wait for each other all ways."""
    net = Builder((8, 32, 32))
    for name in ("a", "b", "c"):
        net.conv(name, 16, (3, 3), pads=(1, 1, 1, 1))
    network, memory = net.network(), Memory(2, 50)
    programs = [
        (compile_random(network, config, tmp_path)[0], config)
        for config in (build(ACT_DEPTH=3000), build(ACT_DEPTH=640))
    ]
    assert [one.manifest.scratch_bytes > 0 for one, _ in programs] == [False, True]
    whole, tight = (predict(one.program, config, memory) for one, config in programs)
    for prediction, (one, _) in zip((whole, tight), programs, strict=True):
        read = one.manifest.read_bytes + len(one.program)
        assert prediction.counters["BYTES_READ"] == read
        assert prediction.counters["BYTES_WRITTEN"] == one.manifest.written_bytes
        assert [layer.number for layer in prediction.layers] == [0, 1, 2]
    assert tight.counters["BYTES_WRITTEN"] > 2 * whole.counters["BYTES_WRITTEN"]
    assert tight.cycles > whole.cycles
    assert tight.counters["MAC_ACTIVE"] == whole.counters["MAC_ACTIVE"]


def test_loads_and_stores_of_runs(small: Compiled) -> None:
    """Words that are apart take a burst each: an address in two cycles, not a word in each."""
    config = manifest_config(small.manifest)

    def apart(streams: Streams) -> None:
        for name, fields in streams["load"]:
            if name == "LOAD" and fields["memory"] == 0:
                fields.update(run=1, pitch=64)
        for name, fields in streams["store"]:
            if name == "STORE":
                fields.update(run=1, pitch=64)

    other = predict(program(small, apart), config, Memory(0, 50))
    plain = predict(small.program, config, Memory(0, 50))
    for counter in ("BYTES_READ", "BYTES_WRITTEN"):  # a word is a beat
        assert other.counters[counter] == plain.counters[counter]
    assert other.cycles > plain.cycles
    assert other.counters["WAIT_LOADS"] > plain.counters["WAIT_LOADS"]


def test_what_is_refused(small: Compiled) -> None:
    config = BUILDS["tiny"]
    with pytest.raises(ProgramError, match="this build has"):
        predict(small.program, build(T_R=17), Memory())
    with pytest.raises(ProgramError, match="the header has"):
        predict(b"", config, Memory())
    for memory in (Memory(stall=0.1), Memory(latency_spread=5), Memory(4, jitter=True)):
        with pytest.raises(ModelError, match="are random"):
            predict(small.program, config, memory)


# The memory --------------------------------------------------------------------------------------


def test_reads_share_the_bus_in_order() -> None:
    dram = Dram(8, 2, 10)  # a beat in four cycles, two saved up
    assert dram.read(5, 1) == (15, 15)
    assert dram.read(6, 4) == (16, 27)
    assert dram.read(7, 2) == (31, 35)
    # After a pause two beats go at once.
    assert dram.read(100, 4) == (110, 118)


def test_reads_and_writes_take_turns() -> None:
    dram = Dram(8, 2, 10)  # a beat in four cycles
    assert dram.write(100, 4) == (100, 108)  # two saved up
    assert dram.write(105, 2) == (109, 116)
    assert dram.read(90, 1) == (120, 120)
    dram = Dram(8, 2, 10)
    assert dram.read(0, 20) == (10, 82)
    end = dram.write(42, 4)[1]  # while ten reads are left: a write in eight cycles
    assert 70 <= end <= 76
    # What comes later is later by the writes' share.
    assert dram.read(60, 4) == (102, 114)
    # A burst that outlasts the reads has the bus to itself then.
    dram = Dram(8, 2, 10)
    dram.read(0, 20)
    assert dram.write(66, 10)[1] == pytest.approx(66 + 5 * 8 + 5 * 4, abs=4)


def test_a_full_bus_moves_what_it_can() -> None:
    """Whatever reads and writes come together: no bandwidth comes from nowhere, none is lost."""
    rng = np.random.default_rng(1)
    for rate in (1, 2, 3, 5):
        dram = Dram(8, rate, 40)
        last = time = 0
        for _ in range(300):  # always more than the bus can do
            last = max(last, dram.read(time, int(rng.integers(1, 17)))[1])
            if rng.random() < 0.5:
                last = max(last, dram.write(time + 2, int(rng.integers(1, 17)))[1])
            time += int(rng.integers(1, 16))
        moved = sum(size for _, _, size in [*dram.reads, *dram.writes])
        assert last == pytest.approx(moved / rate, rel=0.02)


def test_channels_are_apart_where_the_bus_limits() -> None:
    dram = Dram(8, 0, 10)
    assert dram.read(0, 20) == (10, 29)
    assert dram.write(12, 16) == (12, 27)
    assert dram.write(12, 4) == (28, 31)
    assert dram.read(1, 2) == (30, 31)
    dram = Dram(8, 8, 10)  # but at the bus' own bandwidth they share it
    assert dram.read(0, 20) == (10, 29)
    assert dram.write(12, 6)[1] == 23
    assert dram.read(1, 2)[0] == 35


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
