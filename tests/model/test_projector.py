# SPDX-License-Identifier: Apache-2.0
"""Projected windows: the model's recurrence against the projector, simulated cycle by cycle."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.harness import compile_random, take_apart
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import Compiled, DomainChoice
from unzipfpga.compiler.domain import Choice
from unzipfpga.config import Config
from unzipfpga.model import Timing, predict
from unzipfpga.model.tiles import NO_LAG, Fields, project, step_reads, window_banks
from unzipfpga.sim import Memory

TIMING = Timing()
# A read: the cycle from which on, operands of its row, whether that is a line's first one, whether
# it is the row's last read, the chunk.
Read = tuple[int, int, bool, bool, int]


def tile(rng: np.random.Generator, ways: int) -> Fields:
    """A tile of projected windows, its rows all inside the map."""
    width, stride = int(rng.integers(1, 20)), int(rng.integers(1, 3))
    groups = int(rng.choice([g for g in (1, 2) if ways % g == 0 and width % g == 0]))
    first = int(rng.integers(0, width)) // groups * groups
    pixels = int(rng.integers(1, 60)) // groups * groups + groups
    return {
        **{"in_h": 4095, "in_w": 4095, "stride_h": 1, "stride_w": stride, "pad_top": 0},
        **{"pad_left": 0, "out_x": first, "out_y": 0, "out_w": width, "pixels": pixels},
        **{"groups": groups, "codes": int(rng.integers(1, 9)), "src_shift": stride - 1},
    }


def events(f: Fields, ways: int) -> list[tuple[int, bool]]:
    """Rows of S pixels: operands of each (0 before a line), whether it is a line's first one."""
    found, at, left = [], f["out_x"], f["pixels"]
    while left:
        pixels = min(left, f["out_w"] - at)
        found += [(0, False)] * (2 if ways == 1 and f["stride_w"] == 1 else 1)
        for row in range(0, pixels, ways):
            live = min(ways, pixels - row)
            found.append((-(-live // f["groups"]) * f["codes"], row == 0))
        at, left = 0, left - pixels
    return found


def simulate(
    chunks: list[tuple[Fields, int]], ways: int, reads: list[int] | None = None
) -> list[tuple[int, int]]:
    """Return the cycles of each chunk's last read and last operand.

    The registers of the projector, one cycle after the other. Reads take a cycle each; their cycles
    are appended to `reads`.
    """
    rows: deque[Read] = deque()
    for number, (f, there) in enumerate(chunks):
        for made, first in events(f, ways):
            for read in range(3 * f["stride_w"]):
                rows.append((there, made, first, read == 3 * f["stride_w"] - 1, number))
    flying: deque[tuple[int, Read]] = deque()
    last_read, last_operand = {}, {}
    places = 0
    # Events of the projector's registers at the end of the last cycle.
    before_full = next_full = False
    waiting = window = (0, False, 0)  # operands left, line's first, chunk
    cycle = 0
    while rows or flying or next_full or window[0]:
        room = places < 8
        done = window[0] == 1
        move = next_full and window[0] <= 1
        head = flying[0][1] if flying and flying[0][0] <= cycle else None
        take = head is not None and (not before_full if not head[1] else not next_full or move)
        issue = bool(rows) and rows[0][0] <= cycle and room
        if issue:
            flying.append((cycle + TIMING.projector_word, rows[0]))
            last_read[rows[0][4]] = cycle
            rows.popleft()
            if reads is not None:
                reads.append(cycle)
        if window[0]:
            last_operand[window[2]] = cycle + TIMING.projector_operand
        if take:
            flying.popleft()
        places += issue - take
        # Registers.
        if move:
            if waiting[1]:
                before_full = False
            window = waiting
            next_full = False
        elif window[0]:
            window = (window[0] - 1, *window[1:])
        if take and head is not None and head[3]:
            if head[1]:
                next_full, waiting = True, (head[1], head[2], head[4])
            elif not (ways == 1 and chunks[head[4]][0]["stride_w"] == 1) or _second(rows, flying):
                before_full = True
        assert not (done and move and window[0] == 0)
        cycle += 1
    return [(last_read[k], last_operand[k]) for k in range(len(chunks))]


def _second(rows: deque[Read], flying: deque[tuple[int, Read]]) -> bool:
    """Whether this was the second row before a line: the next read is of one with operands."""
    following = flying[0][1] if flying else rows[0]
    return bool(following[1])


@pytest.mark.parametrize("ways", [1, 2, 4])
def test_recurrence(ways: int) -> None:
    """Chunks of one tile, whose weights are there at once or some time later."""
    config = build(T_C=16, S=ways, ACT_BANKS=8)
    rng = np.random.default_rng(ways)
    late = 0
    for _ in range(150):
        f = tile(rng, ways)
        chunks = [(f, 0)]
        for _ in range(int(rng.integers(0, 4))):
            chunks.append((f, chunks[-1][1] + int(rng.choice([0, 0, 40, 300]))))
        wanted = simulate(chunks, ways)
        lag, since, step = NO_LAG, 0, 0
        for (_, there), (read, operand) in zip(chunks, wanted, strict=True):
            late += step < there
            step = max(step, there)
            done = project(f, config, lag.later(step - since), TIMING)
            lag, since = done.lag, step
            assert (step + done.read, step + lag.window + TIMING.projector_operand) == (
                read,
                operand,
            )
            step += done.read + 1
            assert done.lost == 0
            assert done.operands == sum(made for made, _ in events(f, ways))
    assert late > 20


@pytest.mark.parametrize("ways", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_larger_of_codes_and_reads(ways: int, stride: int) -> None:
    """In the long run a row of pixels takes n cycles, or those of its reads."""
    config = build(T_C=16, S=ways, ACT_BANKS=8)
    f = tile(np.random.default_rng(0), ways)
    width = 200
    f |= {"stride_w": stride, "out_w": width, "out_x": 0, "pixels": 4 * width, "groups": 1}
    f["src_shift"] = stride - 1
    for n in range(1, 9):
        done = project(f | {"codes": n}, config, NO_LAG, TIMING)
        reads = 3 * stride * width // ways
        most = 4 * max(n * width, reads)
        assert most <= done.lag.window <= most + 4 * 6 * stride + 20


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_where_the_window_does_not_read(groups: int, stride: int) -> None:
    """In the long run, the same reads lie before and behind the cycles in which it waits."""
    ways, width, idle = 4, 400, 0
    config = build(T_C=16, S=ways, ACT_BANKS=8)
    f = tile(np.random.default_rng(0), ways)
    f |= {"stride_w": stride, "out_w": width, "out_x": 0, "pixels": width, "groups": groups}
    f |= {"in_w": 4095, "src_bank": 0, "project": 1, "channel": 0, "src_shift": 0}
    f |= {"kernel_h": 3, "kernel_w": stride, "blocks": 1, "chunk_blocks": 1, "chunk_taps": 9}
    for n in range(1, 9):
        f["codes"] = n
        cycles: list[int] = []
        simulate([(f, 0)], ways, cycles)
        of_row = 3 * stride
        settled = cycles[of_row * 20 : of_row * 60]  # from a row's first read on
        gaps = np.diff(settled).reshape(-1)[: of_row * 39].reshape(39, of_row) - 1
        pattern = window_banks(f, config, TIMING.projector_places)
        period = max(of_row, ways // groups * n)
        row = pattern[20 * period : 21 * period]
        banks = [index for index, used in enumerate(row) if used]
        behind = np.diff([*banks, period + banks[0]]) - 1
        np.testing.assert_array_equal(gaps, np.broadcast_to(behind, gaps.shape))
        idle += period - of_row
    assert idle > 0


def compiled(config: Config, folder: Path, choice: DomainChoice) -> Compiled:
    net = Builder((64, 12, 12), 1)
    net.conv("a", 16, (3, 3), pads=(1, 1, 1, 1), n=4)
    net.conv("b", 16, (1, 1), n=8, axis="channel")
    net.conv("c", 16, (3, 3), (2, 2), (1, 1, 1, 1), n=2)
    return compile_random(net.network(), config, folder, choice=choice)[0]


CONFIG = build(T_P=16, T_C=16, S=2, ACT_BANKS=4, T_R=144, ALPHA_DEPTH=2048, D=18, AXI_DATA_W=512)


def test_steps_and_cycles_of_a_program(tmp_path: Path) -> None:
    """The array's operands are the steps that the compiler counts, in both domains."""
    found = {}
    domains: tuple[Choice, ...] = ("weights", "codes")
    for domain in domains:
        one = compiled(CONFIG, tmp_path, DomainChoice(domain))
        prediction = predict(one.program, CONFIG, Memory(0, 2))
        steps = sum(layer.steps for layer in one.manifest.layers)
        assert prediction.counters["MAC_ACTIVE"] == steps
        assert prediction.counters["BYTES_READ"] == one.manifest.read_bytes + len(one.program)
        found[domain] = prediction, steps
    assert found["codes"][1] < found["weights"][1] / 2
    assert found["codes"][0].cycles < found["weights"][0].cycles


@pytest.mark.parametrize("name", ["projector_word", "projector_operand", "projector_channel"])
def test_constants_count(name: str, tmp_path: Path) -> None:
    one = compiled(CONFIG, tmp_path, DomainChoice("codes"))
    slower = replace(TIMING, **{name: getattr(TIMING, name) + 40})
    plain = predict(one.program, CONFIG, Memory(0, 2)).cycles
    assert predict(one.program, CONFIG, Memory(0, 2), slower).cycles > plain


def test_reads_of_a_step(tmp_path: Path) -> None:
    """16/n blocks, as many of them a cycle as there are ports for a pixel."""
    one = compiled(CONFIG, tmp_path, DomainChoice("codes"))
    computes = [f for name, f in take_apart(one.program)["compute"] if name == "COMPUTE"]
    along = next(f for f in computes if f["channel"])
    assert step_reads(along | {"groups": 1, "codes": 8}, CONFIG) == 1
    assert step_reads(along | {"groups": 1, "codes": 4}, CONFIG) == 2
    assert step_reads(along | {"groups": 2, "codes": 4}, CONFIG) == 4
    narrow = CONFIG.model_copy(update={"T_P": 8})
    assert step_reads(along | {"groups": 1, "codes": 8}, narrow) == 2
    assert step_reads(along | {"project": 0}, CONFIG) == 1
