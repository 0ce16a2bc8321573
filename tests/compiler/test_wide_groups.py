# SPDX-License-Identifier: Apache-2.0
"""Post-processing of two or four words at a time (Q > T_P): ends of odd numbers of blocks."""

from pathlib import Path

import numpy as np
import pytest

from tests.compiler.harness import (
    compile_random,
    edited,
    interpret,
    random_images,
    take_apart,
)
from tests.compiler.interpreter import Engine, EngineError, Fields, eager, lazy, shuffled
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import CompileError, compile_network, inspect_program
from unzipfpga.config import Config
from unzipfpga.sim import run_network
from verif import runner
from verif.seqs.engine_networks import SOURCE

SAME = (1, 1, 1, 1)
BUILDS = {
    "two words": build(T_C=16, Q=16, ALPHA_DEPTH=512),
    "two words, several pixels": build(T_C=32, Q=16, S=2, ACT_BANKS=4, ALPHA_DEPTH=512),
    "four words": build(T_C=32, Q=32, ACT_BANKS=8, ALPHA_DEPTH=1024, POOL_W=16),
    "two words of 16 bits": build(T_C=16, Q=16, ACT_BANKS=4, DW=16, OPERAND_W=16, ALPHA_DEPTH=512),
}


def odd_parts(dw: int = 8) -> Builder:
    """Two parts of odd numbers of blocks, the one in front is written last, and a sum of them."""
    net = Builder((12, 7, 6), dw=dw)
    net.conv("stem", 20, (1, 1))
    net.conv("behind", 19, (3, 3), pads=SAME)
    behind = net.last
    net.at("stem.out")
    net.conv("front", 40, (1, 1), like=behind)
    net.concat("whole", net.last, behind)
    net.conv("sum", 59, (1, 1), residual=net.last)
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    net.conv("last", 67, (1, 1))
    return net


@pytest.mark.parametrize("name", BUILDS)
def test_odd_numbers_of_blocks(name: str, tmp_path: Path) -> None:
    config = BUILDS[name]
    compiled, golden = compile_random(odd_parts(config.DW).network(), config, tmp_path)
    images = random_images(compiled, 2)
    wanted = golden.run_int(images)
    assert len(np.unique(wanted)) > 8
    for pace in (eager, lazy, shuffled(1)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), wanted)
    tiles = [f for _, f in take_apart(compiled.program)["compute"] if f.get("reduce_last")]
    for f in tiles:
        assert f["dst_lane"] == 0 and f["dst_groups"] == -(-f["post_filters"] // config.Q)
    assert any(-(-f["post_filters"] // config.T_P) % config.words for f in tiles)


@pytest.mark.parametrize("name", BUILDS)
def test_a_word_past_the_filters_is_caught(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative twin: an engine that writes all words of the last group spoils the next part."""
    config = BUILDS[name]
    compiled, golden = compile_random(odd_parts(config.DW).network(), config, tmp_path)
    images = random_images(compiled, 1)
    write = Engine.write

    def all_words(
        engine: Engine, f: Fields, base: np.ndarray, x: np.ndarray, values: np.ndarray
    ) -> None:
        write(engine, f | {"post_filters": f["dst_groups"] * config.Q}, base, x, values)

    monkeypatch.setattr(Engine, "write", all_words)
    assert not np.array_equal(interpret(compiled, images), golden.run_int(images))


@pytest.mark.parametrize("name", ["two words", "four words"])
def test_on_the_rtl(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, also with the fault: the RTL's next part is right, and spoiled."""
    config = BUILDS[name]
    compiled, golden = compile_random(odd_parts().network(), config, tmp_path)
    compiled = compile_network(odd_parts().network(), "tiny", config, SOURCE)
    images = random_images(compiled, 2)
    wanted = golden.run_int(images)
    np.testing.assert_array_equal(run_network(compiled, images).outputs, wanted)

    files = runner.design_files()
    at = next(i for i, path in enumerate(files) if path.name == "unzip_post.sv")
    text = files[at].read_text(encoding="utf-8")
    assert text.count("last_words_q[number])") == 1
    files[at] = tmp_path / "unzip_post.sv"
    files[at].write_text(text.replace("last_words_q[number])", "last_words_q != '0)"), "utf-8")
    monkeypatch.setattr(runner, "design_files", lambda: files)
    assert (run_network(compiled, images).outputs != wanted).any()


def test_other_numbers_of_groups_are_reported(tmp_path: Path) -> None:
    """A group too few, and one without filters: the check says so, the engine would go wrong."""
    config = BUILDS["two words"]
    compiled, _ = compile_random(odd_parts().network(), config, tmp_path)
    sizes = {
        "WEIGHT": compiled.manifest.weights.bytes,
        "INPUT": compiled.manifest.input.bytes,
        "OUTPUT": compiled.manifest.output.bytes,
        "SCRATCH": compiled.manifest.scratch_bytes,
    }
    assert inspect_program(compiled.program, config, sizes).problems == []
    tiles = take_apart(compiled.program)["compute"]
    at = max(i for i, (_, f) in enumerate(tiles) if f.get("reduce_last"))
    for field, change in [("dst_groups", -1), ("dst_groups", 1), ("dst_lane", 1)]:
        value = tiles[at][1][field] + change
        program = edited(
            compiled.program, config, lambda s, k=field, v=value: s["compute"][at][1].update({k: v})
        )
        assert any(field in p for p in inspect_program(program, config, sizes).problems)
        with pytest.raises((EngineError, ValueError)):
            Engine(config.parameters()).run(
                program, compiled.weights, bytes(1 << 12), 1 << 12, eager
            )


def test_pooled_rows_count_groups(tmp_path: Path) -> None:
    """Three blocks take two groups of the line buffer."""

    def layer(width: int, config: Config) -> None:
        net = Builder((8, 4, width))
        net.conv("conv", 24, (1, 1))
        net.pool("pool", 2, 2, (0, 0, 0, 0))
        compiled, golden = compile_random(net.network(), config, tmp_path)
        images = random_images(compiled, 1)
        np.testing.assert_array_equal(interpret(compiled, images), golden.run_int(images))

    config = build(T_C=32, Q=16, ALPHA_DEPTH=512, POOL_W=8)
    layer(8, config)
    with pytest.raises(CompileError, match=r"need \d+ words of Q = 16 channels.* holds 16 "):
        layer(18, config)
