# SPDX-License-Identifier: Apache-2.0
"""Tensors that do not fit act mem: random networks in stripes, against the golden model."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, count, islice, pairwise

import numpy as np
import pytest

from tests.compiler.harness import (
    SIGNALS,
    WAITS,
    clear,
    interpret,
    masks,
    put_together,
    random_images,
    take_apart,
)
from tests.compiler.interpreter import eager, lazy, shuffled
from tests.compiler.networks import Builder, build
from unzipfpga.compiler import Compiled, CompileError, compile_network, inspect_program
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.manifest import FileInfo
from unzipfpga.compiler.place import map_bytes, roles
from unzipfpga.compiler.plan import Plan, plan
from unzipfpga.compiler.tokens import Token
from unzipfpga.config import Config
from unzipfpga.frontend import Network
from verif.env.engine_model import golden

SOURCE = FileInfo(file="random.onnx", sha256="0" * 64, bytes=0)
CASES = 60


@dataclass
class Case:
    """A network and a build whose act mem does not hold its tensors."""

    network: Network
    config: Config
    plan: Plan
    compiled: Compiled


def random_build(rng: np.random.Generator) -> Config:
    """A build with little alpha mem and param mem."""
    s, t_p = int(rng.choice([1, 2, 4])), int(rng.choice([8, 16, 32]))
    q, dw = int(rng.choice([q for q in (2, 4, 8) if t_p % q == 0])), int(rng.choice([8, 8, 16]))
    t_c, g = int(rng.choice([8, 16, 24])), int(rng.choice([1, 2]))
    return build(
        **{"T_P": t_p, "T_C": t_c, "Q": q, "S": s, "G": g, "T_R": int(rng.integers(3, 30))},
        **{"ACT_BANKS": int(rng.choice([b for b in (2, 4, 8) if b >= 2 * s])), "DW": dw},
        **{"D": int(rng.integers(4, 20)), "OPERAND_W": dw + 4, "ACT_DEPTH": 65536, "POOL_W": 128},
        **{"ALPHA_DEPTH": 49 * -(-q // g) * int(rng.choice([1, 2, 4, 16]))},
        **{"PARAM_DEPTH": int(rng.choice([1, 2, 4])) * max(2, t_c // q)},
    )


def random_stripes(rng: np.random.Generator, dw: int) -> Builder:
    """Convolutions one after the other, residual blocks, pools, concatenations; odd widths."""
    shape = (int(rng.integers(1, 30)), int(rng.integers(8, 24)), int(rng.integers(3, 20)))
    net = Builder(shape, int(rng.integers(2**31)), dw)

    def conv(name: str, filters: int, kernel: int, stride: int = 1, **known: object) -> None:
        kernel = min(kernel, net.shape[2])
        pad = (kernel - 1) // 2
        pads = (pad, pad, kernel // 2, kernel // 2)
        n = int(rng.choice([0, 0, min(4, kernel * kernel)])) if kernel > 1 else 0
        net.conv(name, filters, (kernel, kernel), (stride, stride), pads, n=n, **known)  # type: ignore[arg-type]

    def pool(name: str) -> None:
        """One of the pools whose last two windows do not both end at the map's end."""
        ways = []
        for window, stride, pad in [(2, 2, 0), *[(3, 2, 1)] * 3, (3, 2, 0), (3, 1, 1), (3, 3, 0)]:
            after = [
                (size - 1 - (window - 1 - pad)) // stride * stride + window - 1 - pad
                for size in net.shape[1:]
            ]
            ends = [size - 1 - last for size, last in zip(net.shape[1:], after, strict=True)]
            if max(ends) == 0 or stride > 1:
                ways.append((window, stride, (pad, pad, 0, 0)))
        net.pool(name, *ways[int(rng.integers(len(ways)))])

    for index in range(int(rng.integers(1, 4))):
        filters = int(rng.choice([net.shape[0], *rng.integers(1, 40, 2)]))
        kernel = int(rng.choice([1, 2, 3, 3, 5, 7]))
        kind = int(rng.choice([0, 1, 2, 2, 3, 4, 5, 6, 6]))
        if kind == 0 or min(net.shape[1:]) < 4:
            conv(f"conv{index}", filters, kernel)
        elif kind == 1:
            conv(f"conv{index}", filters, kernel, int(rng.integers(2, 4)))
        elif kind == 2:
            conv(f"conv{index}", filters, kernel)
            pool(f"pool{index}")
        elif kind in (5, 6):  # two layers side by side, and a pool of both
            source = net.last
            conv(f"left{index}", filters, kernel)
            net.at(source)
            conv(f"right{index}", int(rng.integers(1, 40)), 1, like=f"left{index}.out")
            if net.shape[1:] == net.tensors[f"left{index}.out"].shape[1:]:
                net.concat(f"both{index}", f"left{index}.out", f"right{index}.out")
                if kind == 6 and min(net.shape[1:]) >= 4:
                    pool(f"pool{index}")
                conv(f"joined{index}", filters, 3)
        else:  # a block; the shortcut may be smaller than what it is added to
            shortcut = net.last
            if kind == 3 and rng.integers(2):
                conv(f"short{index}", int(rng.integers(1, filters + 1)), 1, int(rng.integers(1, 3)))
                shortcut = net.last
                net.at(net.layers[-1].input)
            conv(f"a{index}", filters, kernel)
            filters = max(filters, net.tensors[shortcut].shape[0])
            if rng.integers(2):  # a sum of just the shape
                filters = net.tensors[shortcut].shape[0]
            relu = bool(rng.integers(2))
            conv(f"b{index}", filters, 3, residual=shortcut, relu=relu)
    ending = int(rng.integers(5))
    if ending in (0, 2):
        net.gemm("fc", int(rng.integers(1, 20)), global_pool=True)
    elif ending == 3:
        net.average("gap")
    elif ending == 1 and max(net.shape[1:]) <= 7:
        net.gemm("fc", int(rng.integers(1, 20)))
    return net


def draw(seed: int) -> Case | None:
    """A network and a build with less act mem than its tensors need; None if there is none."""
    rng = np.random.default_rng(seed)
    config = random_build(rng)
    network = random_stripes(rng, config.DW).network()
    lowered = lower(network, config)
    needed = plan(lowered, config).act_entries
    least = None
    for share in rng.uniform(0.1, 0.4) * 1.3 ** np.arange(8):
        depth = max(2, int(needed * share))
        try:
            plan(lowered, config.model_copy(update={"ACT_DEPTH": depth}))
        except CompileError:
            continue
        least = depth
        break
    if least is None:
        return None
    # As little as can be is one slot each; with more there are two.
    depth = int(least * rng.choice([1, 1, 1.5, 2, 2.5]))
    config = config.model_copy(update={"ACT_DEPTH": depth})
    planned = plan(lowered, config)
    if not planned.places.slots:
        return None
    return Case(network, config, planned, compile_network(network, "random", config, SOURCE))


@pytest.fixture(scope="module")
def cases() -> list[tuple[int, Case]]:
    """The first `CASES` seeds that give a case, with their cases."""
    drawn = ((seed, draw(seed)) for seed in count())
    found = ((seed, case) for seed, case in drawn if case is not None)
    return list(islice(found, CASES))


def situations(case: Case) -> Iterator[str]:
    """What comes up in a case."""
    config, slots = case.config, case.plan.places.slots
    yield f"S {config.S}"
    yield f"T_P {config.T_P}"
    yield f"DW {config.DW}"
    for index, tiling in enumerate(case.plan.tilings):
        layer, view = tiling.layer, case.plan.views.get(tiling.layer.target)
        if layer.residual is not None and view is not None and view.buffer != layer.target:
            yield "in place"
        names = [role for role, _ in roles(layer) if (index, role) in slots]
        if not names:
            continue
        for role in names:
            yield f"{role} in DRAM"
            width = case.plan.network.maps[slots[index, role].tensor][2]
            if width * config.T_P * config.DW // 8 % 64:
                yield "rows that are not aligned"
        if len(tiling.stripes) > 1 and any(len(slots[index, r].views) == 1 for r in names):
            yield "one slot"
        if any(len(slots[index, role].views) > 1 for role in names):
            yield "two slots"
        if len(names) == 3:
            yield "all three in DRAM"
        if "residual" in names and case.plan.network.maps[layer.residual or ""] != layer.conv_map:
            yield "smaller residual in DRAM"
        parts = case.plan.network.parts
        for role, name in roles(layer):
            if role in names and name in parts:
                yield f"part: {role} in DRAM"
                yield "pooled parts in DRAM" if layer.pool is not None else "parts in DRAM"
            if role in names and name in {whole for whole, _ in parts.values()}:
                yield f"whole: {role} in DRAM"
        if layer.row0:
            yield "sums over pixels in DRAM"
            yield "blocks of a stripe" if layer.groups > 1 else "all blocks of a stripe"
        if layer.pool is not None:
            yield "pooled"
        if layer.pool is not None and "target" in names and len(tiling.stripes) > 1:
            yield f"pooled stripes {layer.pool.kernel}/{layer.pool.stride}p{layer.pool.pad}"
        if layer.stride != (1, 1):
            yield "strided"
        if len(tiling.filter_tiles) > 1:
            yield "several tiles of filters"
        if any(part.pe_groups > 1 for part in tiling.filter_tiles):
            yield "groups of PEs"
        if max(layer.kernel) in (5, 7):
            yield f"kernel {max(layer.kernel)}"
        if len(tiling.stripes) > 1:
            yield "several stripes"
            yield f"alphas kept: {tiling.keep}"


EXPECTED = {
    *("S 1", "S 2", "S 4", "T_P 8", "T_P 16", "T_P 32", "DW 8", "DW 16", "in place"),
    *("source in DRAM", "residual in DRAM", "target in DRAM", "all three in DRAM"),
    *("smaller residual in DRAM", "rows that are not aligned", "pooled", "strided"),
    *("several tiles of filters", "groups of PEs", "kernel 5", "kernel 7", "several stripes"),
    *("alphas kept: layer", "alphas kept: filters", "alphas kept: none"),
    *("part: target in DRAM", "parts in DRAM", "pooled parts in DRAM", "whole: source in DRAM"),
    *("pooled stripes 2/2p0", "pooled stripes 3/2p1", "pooled stripes 3/2p0"),
    *("sums over pixels in DRAM", "one slot", "two slots"),
    *("blocks of a stripe", "all blocks of a stripe"),
}
RARE = {"pooled stripes 3/1p1", "pooled stripes 3/3p0"}


def test_all_that_can_go_wrong_comes_up(cases: list[tuple[int, Case]]) -> None:
    seen = Counter(name for _, case in cases for name in situations(case))
    assert set(seen) - RARE == EXPECTED, dict(seen)
    assert min(seen[name] for name in EXPECTED) >= 2, dict(seen)


def test_random_networks_in_stripes_are_bit_exact(cases: list[tuple[int, Case]]) -> None:
    for seed, case in cases:
        images = random_images(case.compiled, 1, seed)
        wanted = golden(case.network, images[0])
        for pace in ((eager, lazy)[seed % 2], shuffled(seed)):
            result = interpret(case.compiled, images, pace)[0]
            np.testing.assert_array_equal(result, wanted, f"seed {seed}")


def test_what_is_alive_does_not_overlap(cases: list[tuple[int, Case]]) -> None:
    for seed, case in cases:
        places, lifetimes = case.plan.places, case.plan.lifetimes
        live = [(view, *lifetimes[name]) for name, view in places.views.items()]
        for (index, _), slots in places.slots.items():
            live += [(view, index, index) for view in slots.views]
        for (v, *a), (w, *b) in combinations(live, 2):
            if v.buffer != w.buffer and a[0] <= b[1] and b[0] <= a[1]:
                assert v.base + v.entries <= w.base or w.base + w.entries <= v.base, seed
        assert max(view.base + view.entries for view, *_ in live) <= case.config.ACT_DEPTH


def test_what_is_in_dram_does_not_overlap(cases: list[tuple[int, Case]]) -> None:
    used = 0
    for _, case in cases:
        places = case.plan.places
        spans = sorted(
            (place.offset, place.offset + map_bytes(case.plan.network.maps[name], case.config))
            for name, place in places.dram.items()
            if place.base == "SCRATCH" and name not in case.plan.network.parts
        )
        assert all(start % 64 == 0 for start, _ in spans)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        assert max((end for _, end in spans), default=0) == places.scratch_bytes
        used += bool(spans)
    assert used > 5


def test_stripes_cover_all_rows(cases: list[tuple[int, Case]]) -> None:
    for _, case in cases:
        for tiling in case.plan.tilings:
            layer, stripes = tiling.layer, tiling.stripes
            rows = [row for s in stripes for row in range(s.first, s.first + s.rows)]
            if stripes[0].own_map:
                assert layer.pool is not None
                stored = [
                    row
                    for s in stripes
                    for row in range(s.target_first, s.target_first + s.target_rows)
                ]
                assert stored == list(range(layer.output_map[1]))
                twice = max(0, layer.pool.kernel - layer.pool.stride) + layer.pool.stride
                assert len(rows) <= layer.conv_map[1] + twice * (len(stripes) - 1)
            else:
                assert rows == list(range(layer.conv_map[1]))
            for stripe in stripes:
                needed = {
                    y * layer.stride[0] - layer.pads[0] + ky
                    for y in range(stripe.first, stripe.first + stripe.rows)
                    for ky in range(layer.kernel[0])
                } & set(range(layer.input_map[1]))
                first, end = stripe.source_first, stripe.source_first + stripe.source_rows
                assert needed <= set(range(first, end)) <= set(range(layer.input_map[1]))


def test_a_dropped_wait_is_reported(cases: list[tuple[int, Case]]) -> None:
    """Two waits of every second program: its token is left over; without signal, order is missing.

    A few waits are more than the order needs: those for rows or tensors that share a place only
    in part are for the whole.
    """
    missing: Counter[bool] = Counter()
    for seed, case in cases[::2]:
        rng = np.random.default_rng(seed)
        streams = take_apart(case.compiled.program)
        counts = {token: len(masks(streams, WAITS, token)) for token in Token}
        every = [(token, number) for token in Token for number in range(counts[token])]
        for at in rng.choice(len(every), 2):
            token, number = every[at]
            streams = take_apart(case.compiled.program)
            signal = masks(streams, SIGNALS, token)[number]
            clear(streams, masks(streams, WAITS, token)[number], token)
            program = put_together(streams, case.config)
            text = f"{token.name}: 1 given and never taken"
            assert any(text in p for p in inspect_program(program, case.config).problems), seed
            clear(streams, signal, token)
            program = put_together(streams, case.config)
            missing[bool(inspect_program(program, case.config).problems)] += 1
    assert missing[False] < 0.1 * missing[True], missing


def test_rows_of_another_stripe_are_seen(cases: list[tuple[int, Case]]) -> None:
    """The negative twin: LOADs that take their rows from elsewhere give other results."""
    seen = tried = 0
    for seed, case in cases[:12]:
        streams = take_apart(case.compiled.program)
        loads = [f for _, f in streams["load"] if f["memory"] == 0 and f["offset"] >= 64]
        if not loads:
            continue
        for fields in loads:
            fields["offset"] -= 64
        images = random_images(case.compiled, 1, seed)
        expected = golden(case.network, images[0])
        if len(np.unique(expected)) < 3:  # outputs at their limits hide what went in
            continue
        broken = replace(case.compiled, program=put_together(streams, case.config))
        tried += 1
        seen += not np.array_equal(interpret(broken, images)[0], expected)
    assert tried > 5 and seen > 0.8 * tried, (seen, tried)
