# SPDX-License-Identifier: Apache-2.0
"""The program check: every planted fault is reported, and sound programs pass."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compiler.harness import (
    Streams,
    compile_random,
    edited,
    interpret,
    put_together,
    random_images,
    take_apart,
)
from tests.compiler.interpreter import Engine, shuffled
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import (
    Compiled,
    DomainChoice,
    ProgramError,
    check_program,
    inspect_program,
    pack_input,
    unpack_output,
)
from unzipfpga.compiler.tokens import Token
from unzipfpga.config import Config

CONFIG = build(ALPHA_DEPTH=160, PARAM_DEPTH=8)
STRIPED = build(ALPHA_DEPTH=100, PARAM_DEPTH=4, ACT_DEPTH=130, T_R=64)
# MAC waits for the post stage where a tensor stays in act mem, which none of the striped does.
STRIPED_TOKENS = set(Token) - {Token.POST_MAC}
RESIDENT_TOKENS = set(Token) - {Token.MAC_LOAD, Token.STORE_POST, Token.STORE_LOAD}
WAITS = [("load", "LOAD", "wait"), ("store", "STORE", "wait")]
WAITS += [("compute", "COMPUTE", f"{stage}_wait") for stage in ("wgen", "mac", "post")]
SIGNALS = [(queue, name, field.replace("wait", "signal")) for queue, name, field in WAITS]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A program with rings that are used several times over, all of whose tensors fit act mem."""
    net = Builder((10, 9, 8), 0)
    net.conv("conv1", 40, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.pool("pool1", 2, 2, (0, 0, 0, 0))
    net.conv("conv2", 40, (3, 3), (2, 2), (1, 1, 1, 1))
    net.conv("conv3", 20, (2, 2), n=3)
    net.gemm("fc", 10)
    folder, choice = tmp_path_factory.mktemp("check"), DomainChoice("weights")
    return compile_random(net.network(), CONFIG, folder, choice=choice)[0]


@pytest.fixture(scope="module")
def striped(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A program that takes every token: its tensors go through act mem in stripes."""
    net = Builder((8, 16, 8), 0)
    net.conv("conv1", 12, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.conv("conv2", 12, (3, 3), pads=(1, 1, 1, 1))
    net.conv("conv3", 12, (3, 3), pads=(1, 1, 1, 1), residual="conv1.out")
    return compile_random(net.network(), STRIPED, tmp_path_factory.mktemp("striped"))[0]


def sizes(compiled: Compiled) -> dict[str, int]:
    manifest = compiled.manifest
    return {
        "WEIGHT": manifest.weights.bytes,
        "INPUT": manifest.input.bytes,
        "OUTPUT": manifest.output.bytes,
        "SCRATCH": manifest.scratch_bytes,
    }


Place = tuple[str, int, str]  # queue, instruction, field


def masks(streams: Streams, fields: list[tuple[str, str, str]], token: int) -> list[Place]:
    """Where a token's bit is set, in order."""
    return [
        (queue, at, field)
        for queue, name, field in fields
        for at, (kind, values) in enumerate(streams[queue])
        if kind == name and values[field] >> token & 1
    ]


def clear(streams: Streams, place: Place, token: int) -> None:
    queue, at, field = place
    streams[queue][at][1][field] &= ~(1 << token)


def problems(
    compiled: Compiled, program: bytes, config: Config = CONFIG, scratch: int = 0
) -> list[str]:
    known = sizes(compiled)
    known["SCRATCH"] += scratch
    return inspect_program(program, config, known).problems


def test_a_sound_program_passes(compiled: Compiled) -> None:
    report = check_program(compiled.program, CONFIG, sizes(compiled))
    assert report.problems == []
    assert report.accesses > 10_000
    assert report.instructions == compiled.manifest.instructions


def test_a_sound_program_in_stripes_passes(striped: Compiled) -> None:
    report = check_program(striped.program, STRIPED, sizes(striped))
    assert report.problems == []
    assert set(report.most_tokens) == {token.name for token in STRIPED_TOKENS}
    assert report.instructions == striped.manifest.instructions


def waits(compiled: Compiled) -> list[tuple[int, int]]:
    """(token, number) of waits: about ten of each token."""
    streams = take_apart(compiled.program)
    counts = [len(masks(streams, WAITS, t)) for t in range(12)]
    return [(t, k) for t in range(12) for k in range(0, counts[t], max(1, counts[t] // 10))]


@pytest.fixture(params=["compiled", "striped"])
def waiting(request: pytest.FixtureRequest) -> tuple[Compiled, Config]:
    config = CONFIG if request.param == "compiled" else STRIPED
    return request.getfixturevalue(request.param), config


def test_every_dropped_wait_is_reported(waiting: tuple[Compiled, Config]) -> None:
    """A wait alone: its token is left over. With its signal: two accesses are in no order."""
    compiled, config = waiting
    every = waits(compiled)
    assert len(every) > 40
    taken = {token for token, _ in every}
    assert taken == RESIDENT_TOKENS if config is CONFIG else taken == STRIPED_TOKENS
    for token, number in every:
        streams = take_apart(compiled.program)
        wait = masks(streams, WAITS, token)[number]
        clear(streams, wait, token)
        found = problems(compiled, put_together(streams, config), config)
        assert any("given and never taken" in p and Token(token).name in p for p in found)

        signal = masks(streams, SIGNALS, token)[number]
        clear(streams, signal, token)
        found = problems(compiled, put_together(streams, config), config)
        hazards = ("is not ordered with", "is read before it is written", "can overflow")
        assert any(any(h in p for h in hazards) for p in found), (Token(token).name, number)


def test_every_dropped_signal_is_reported(waiting: tuple[Compiled, Config]) -> None:
    compiled, config = waiting
    for token, number in waits(compiled):
        streams = take_apart(compiled.program)
        clear(streams, masks(streams, SIGNALS, token)[number], token)
        found = problems(compiled, put_together(streams, config), config)
        assert found and "deadlock" in found[0], (Token(token).name, number)


def test_a_wait_for_what_comes_later_is_a_deadlock(compiled: Compiled) -> None:
    """The input's load waits for the generator, which cannot go on before MAC has the input."""

    def edit(streams: Streams) -> None:
        image = next(f for _, f in streams["load"] if f["memory"] == 0)
        computes = [f for name, f in streams["compute"] if name == "COMPUTE"]
        image["wait"] |= 1 << 10
        computes[2]["wgen_signal"] |= 1 << 10

    found = problems(compiled, edited(compiled.program, CONFIG, edit))
    assert "deadlock" in found[0] and "load 1 for 10" in found[0]


def test_a_counter_that_can_overflow_is_reported(tmp_path: Path) -> None:
    """Sixteen tiles may give a token before a load takes the first one: 15 are counted."""
    net = Builder((8, 2, 2), 0)
    net.conv("conv", 8 * 16, (1, 1))
    config = build(ALPHA_DEPTH=512, PARAM_DEPTH=64)
    compiled, _ = compile_random(net.network(), config, tmp_path)

    def tokens(count: int) -> Callable[[Streams], None]:
        def edit(streams: Streams) -> None:
            computes = [f for name, f in streams["compute"] if name == "COMPUTE"]
            load = streams["load"][-1]
            for fields in computes[:count]:
                fields["mac_signal"] |= 1 << 10
                streams["load"].append((load[0], {**load[1], "wait": 1 << 10, "signal": 0}))

        return edit

    assert problems_of(edited(compiled.program, config, tokens(16)), config, "can overflow")
    assert not problems_of(edited(compiled.program, config, tokens(15)), config, "can overflow")


def problems_of(program: bytes, config: Config, text: str) -> list[str]:
    return [p for p in inspect_program(program, config).problems if text in p]


def compute(number: int, **changes: int) -> Callable[[Streams], None]:
    """Change fields of the n-th COMPUTE."""

    def edit(streams: Streams) -> None:
        computes = [fields for name, fields in streams["compute"] if name == "COMPUTE"]
        assert computes[number] | changes != computes[number]
        computes[number].update(changes)

    return edit


def tile(number: int, **changes: int) -> Callable[[Streams], None]:
    """Change fields of all COMPUTEs of the n-th tile."""

    def edit(streams: Streams) -> None:
        computes = [fields for name, fields in streams["compute"] if name == "COMPUTE"]
        ends = [at + 1 for at, fields in enumerate(computes) if fields["reduce_last"]]
        parts = computes[[0, *ends][number] : ends[number]]
        assert len(parts) > 1 and all(part | changes != part for part in parts[-1:])
        for part in parts:
            part.update(changes)

    return edit


def load(memory: int, /, **changes: int) -> Callable[[Streams], None]:
    """Change fields of the first LOAD of a memory."""

    def edit(streams: Streams) -> None:
        fields = next(fields for _, fields in streams["load"] if fields["memory"] == memory)
        assert fields | changes != fields
        fields.update(changes)

    return edit


def store(**changes: int) -> Callable[[Streams], None]:
    return lambda streams: streams["store"][0][1].update(changes)


def drop_load(memory: int) -> Callable[[Streams], None]:
    """Drop the first LOAD of a memory and give its tokens from the load before or after."""

    def edit(streams: Streams) -> None:
        at = next(i for i, (_, f) in enumerate(streams["load"]) if f["memory"] == memory)
        signal = streams["load"][at][1]["signal"]
        del streams["load"][at]
        streams["load"][0][1]["signal"] |= signal

    return edit


def move_to_load_queue(streams: Streams) -> None:
    streams["load"].append(streams["compute"].pop())
    streams["load"].append(next(i for i in streams["compute"] if i[0] == "CODES"))


def take_twice(streams: Streams) -> None:
    """Let MAC take a token that the post stage takes, too."""
    computes = [fields for name, fields in streams["compute"] if name == "COMPUTE"]
    computes[0]["mac_wait"] |= Token.LOAD_POST.mask


def no_codes(streams: Streams) -> None:
    streams["compute"] = [i for i in streams["compute"] if i[0] != "CODES"]


FAULTS: dict[str, tuple[Callable[[Streams], None], str]] = {
    "alphas of another place": (compute(0, alpha_addr=150), "alpha mem"),
    "more codes": (compute(0, codes=16), "alpha mem"),
    "codes without a list": (no_codes, "codes is 4, outside 1 to 0"),
    "codes beyond N_MAX": (compute(0, codes=40), "codes is 40, outside 1 to 16"),
    "channel axis": (compute(0, channel=1), "alpha_words is 0, outside"),
    "alpha words": (compute(-1, alpha_words=7), "alpha_words is 7, outside"),
    "dense on the channel axis": (compute(-1, channel=1), "channel is 1, outside 0 to 0"),
    "too many filters": (tile(0, filters=9, post_filters=9), "filters is 9, outside 1 to 8"),
    "no filters": (tile(0, filters=0, post_filters=0), "filters is 0"),
    "post filters differ": (tile(0, post_filters=7), "post_filters is 7"),
    "kernel too large": (compute(0, kernel_h=8), "kernel_h is 8"),
    "chunk too long": (compute(0, chunk_blocks=2), "steps of a chunk is 18, outside 1 to 9"),
    "chunk of no taps": (compute(0, chunk_taps=0), "chunk_taps is 0"),
    "too many pixels": (tile(0, pixels=17), "pixels is 17, outside 1 to 16"),
    "map end": (tile(0, out_y=9), "end of the tile"),
    "out_x": (tile(0, out_x=8), "out_x is 8"),
    "other source": (compute(0, src_base=3000), "read before it is written"),
    "source outside": (compute(0, src_base=5000), "act mem has 4096 words"),
    "one more block": (compute(0, blocks=3), "mem"),
    "one more row": (tile(0, in_h=10, pixels=16, out_y=1, pad_top=0), "mem"),
    "other target": (tile(0, dst_base=0, dst_block=0), "is not ordered with the"),
    "lane": (tile(0, dst_lane=2), "dst_lane is 2, outside 0 to 1"),
    "groups": (tile(0, dst_groups=1), "dst_groups is 1, outside 2"),
    "shift": (tile(0, scale_shift=48), "scale_shift is 48, outside 0 to 47"),
    "clamp": (tile(0, clamp_hi=200), "clamp_hi is 200"),
    "params": (tile(0, param_addr=6), "param mem is read before it is written"),
    "params outside": (tile(0, param_addr=90), "param mem has 8 words"),
    "pool kernel": (tile(0, pool_kernel=1), "pool_kernel is 1, outside 2 to 3"),
    "pool stride": (tile(0, pool_stride=0), "pool_stride is 0"),
    "two windows at the end": (tile(0, pool_kernel=3, pool_h=5), "two windows end"),
    "window in the padding": (tile(0, pool_h=7), "start of window"),
    "sums go on from nothing": (compute(0, reduce_first=0), "reduce_first is 0 at a wrong place"),
    "post tokens": (tile(0, reduce_last=0), "post tokens without reduce_last"),
    "image not loaded": (drop_load(0), "read before it is written"),
    "alphas not loaded": (drop_load(1), "read before it is written"),
    "params not loaded": (drop_load(2), "read before it is written"),
    "fewer alphas": (load(1, words=3, run=3), "read before it is written"),
    "part of a run": (load(1, words=3), "3 words in runs of 32"),
    "no run": (load(1, run=0), "words in runs of 0"),
    "pitch": (load(1, pitch=8), "8 bytes apart"),
    "base register": (load(1, base=7), "there is no base register 7"),
    "alphas outside": (load(1, dst_base=159), "alpha mem has 160 words"),
    "beyond the weights": (load(1, offset=2**30), "end in WEIGHT"),
    "offset": (load(1, offset=8), "offset 8"),
    "no words": (load(1, words=0), "0 words"),
    "memory": (load(1, memory=3), "there is no memory 3"),
    "load from the output": (load(1, base=3), "base register OUTPUT"),
    "image in pieces": (load(0, words=71, run=71), "71 words are no 1x8 maps"),
    "image at another place": (load(0, dst_base=1), "mem"),
    "store to the input": (store(base=2), "base register INPUT"),
    "store of another place": (store(src_base=4000), "read before it is written"),
    "store of too much": (store(words=40, run=40), "end in OUTPUT"),
    "queue": (move_to_load_queue, "COMPUTE is not for this queue|CODES is not for this queue"),
    "two takers": (take_twice, "LOAD_POST is taken by two stages: mac and post"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(fault: str, compiled: Compiled) -> None:
    edit, text = FAULTS[fault]
    program = edited(compiled.program, CONFIG, edit)
    found = problems(compiled, program)
    assert any(t in problem for problem in found for t in text.split("|")), found
    with pytest.raises(ProgramError, match="program: "):
        check_program(program, CONFIG, sizes(compiled))


OUT, BACK = 1 << 10, 1 << 11


def through_scratch(streams: Streams) -> tuple[dict[str, int], ...]:
    """Let the output go to DRAM, word by word, and back; return STORE, LOAD, STORE."""
    out = streams["store"][-1][1]
    dram = {"base": 4, "offset": 128, "run": 1, "pitch": 128}
    first = {**out, **dram, "signal": OUT}
    keys = ("row", "block", "shift", "bank")
    view = {f"dst_{k}": out[f"src_{k}"] for k in keys} | {"dst_base": 3000}
    shape = {k: out[k] for k in ("words", "width", "rows")}
    load = {"memory": 0, "wait": OUT, "signal": BACK, **view, **shape, **dram}
    last = {**out, "src_base": 3000, "wait": BACK, "signal": 0}
    at = streams["store"].index(("STORE", out))
    streams["store"][at : at + 1] = [("STORE", first), ("STORE", last)]
    streams["load"].append(("LOAD", load))
    return first, load, last


def test_what_was_stored_may_be_loaded(compiled: Compiled) -> None:
    program = edited(compiled.program, CONFIG, through_scratch)
    assert not problems(compiled, program, scratch=1024)
    image = random_images(compiled, 1)
    data = pack_input(compiled.manifest, image)
    for seed in range(4):
        engine = Engine(CONFIG.parameters(), seed)
        size = compiled.manifest.output.bytes
        output = engine.run(program, compiled.weights, data, size, shuffled(seed), 4096)
        result = unpack_output(compiled.manifest, output)
        assert (result == interpret(compiled, image)).all()


SCRATCH_FAULTS: dict[str, tuple[int, dict[str, int], str]] = {  # of STORE, LOAD, STORE
    "no order": (1, {"wait": 0, "signal": BACK}, "never taken"),
    "another place": (1, {"offset": 64}, "DRAM scratch is read before it is written"),
    "longer runs": (1, {"run": 2, "pitch": 64}, "DRAM scratch is read before it is written"),
    "beyond the region": (0, {"pitch": 1 << 12}, "end in SCRATCH"),
    "runs in each other": (0, {"pitch": 0}, "bytes, 0 bytes apart"),
}


@pytest.mark.parametrize("fault", SCRATCH_FAULTS)
def test_a_fault_in_what_is_loaded_again_is_reported(fault: str, compiled: Compiled) -> None:
    number, changes, text = SCRATCH_FAULTS[fault]

    def edit(streams: Streams) -> None:
        through_scratch(streams)[number].update(changes)

    program = edited(compiled.program, CONFIG, edit)
    found = inspect_program(program, CONFIG, sizes(compiled) | {"SCRATCH": 1024}).problems
    assert any(text in problem for problem in found), found


def test_scratch_that_is_loaded_without_order_is_reported(compiled: Compiled) -> None:
    """Neither a LOAD that comes at any time, nor a STORE over what may still be read, is sound."""

    def unordered(streams: Streams) -> None:
        first, load, _ = through_scratch(streams)
        first["signal"] = load["wait"] = 0

    def overwritten(streams: Streams) -> None:
        first, load, last = through_scratch(streams)
        load["signal"] = last["wait"] = 0
        streams["store"].append(("STORE", {**first, "wait": 0, "signal": 0}))

    for edit, text in [
        (unordered, "not ordered|before it is written"),
        (overwritten, "not ordered"),
    ]:
        found = problems(compiled, edited(compiled.program, CONFIG, edit), scratch=1024)
        assert any(t in p and "scratch" in p for p in found for t in text.split("|")), found


SUM_FAULTS: dict[str, tuple[Callable[[Streams], None], str]] = {
    "starts elsewhere": (compute(-1, out_x=1), "out_x of a sum over pixels is 1"),
    "pooled": (compute(-1, pool_kernel=2), "pool_kernel of a sum over pixels is 2"),
    "one part only": (compute(-1, row0=0), "it continues sums of other pixels or filters"),
    "too many pixels": (compute(-2, row0=0), "pixels is 2450, outside 1 to 16"),
    "another place": (compute(-1, src_base=7000), "act mem"),
}


@pytest.mark.parametrize("fault", SUM_FAULTS)
def test_a_fault_in_a_sum_over_pixels_is_reported(fault: str, tmp_path: Path) -> None:
    """Two COMPUTEs, one sum."""
    net = Builder((3, 70, 70), 0)
    net.conv("conv", 3, (1, 1))
    net.gemm("fc", 4, global_pool=True)
    config = build(ACT_DEPTH=8192)
    compiled, _ = compile_random(net.network(), config, tmp_path)
    assert not inspect_program(compiled.program, config).problems
    edit, text = SUM_FAULTS[fault]
    found = inspect_program(edited(compiled.program, config, edit), config).problems
    assert any(text in problem for problem in found), found


def test_another_build_is_reported(compiled: Compiled) -> None:
    other = build(ALPHA_DEPTH=160, PARAM_DEPTH=8, T_R=17)
    found = inspect_program(compiled.program, other).problems
    assert f"{CONFIG.build_id():#010x}" in found[0] and f"{other.build_id():#010x}" in found[0]


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda p: p[:40], "the header has 64 bytes, not 40"),
        (lambda p: b"\0" + p[1:], "magic is"),
        (lambda p: p[:-64], "does not lie in its"),
        (lambda p: p[:64] + b"\x77" + p[65:], "load instruction 0: unknown opcode 119"),
        (lambda p: p[:127] + b"\x80" + p[128:], "bits outside the fields are set"),
    ],
)
def test_a_damaged_program_is_refused(
    damage: Callable[[bytes], bytes], text: str, compiled: Compiled
) -> None:
    with pytest.raises(ProgramError, match=text):
        check_program(damage(compiled.program), CONFIG)
