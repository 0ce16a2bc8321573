# SPDX-License-Identifier: Apache-2.0
"""Tokens from what stages touch: as few as the order needs, each where it is needed."""

import numpy as np

from unzipfpga.compiler.order import SIGNALS, WAITS, Area, Instruction, Order
from unzipfpga.compiler.tokens import COUNT_MAX, Stage, Token

COMPUTE = (Stage.WGEN, Stage.MAC, Stage.POST)


def area(buffer: str, rows: tuple[int, int], base: int = 0, blocks: int = 1) -> Area:
    return Area(buffer, (base, base + 100), rows, (0, blocks))


def one(order: Order, name: str, *stages: Stage) -> Instruction:
    return order.enter(Instruction(name, "layer", {}), *stages)


def tokens(instruction: Instruction) -> set[str]:
    """The tokens that an instruction takes and gives, as "-NAME" and "+NAME"."""
    found = set()
    for stage in instruction.numbers:
        for sign, fields in (("-", WAITS), ("+", SIGNALS)):
            mask = instruction.fields[fields[stage]]
            found |= {sign + token.name for token in Token if mask & token.mask}
    return found


def test_who_reads_waits_for_who_wrote() -> None:
    order = Order()
    load = one(order, "LOAD", Stage.LOAD)
    order.access(Stage.LOAD, load, area("a", (0, 4)), True)
    compute = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.MAC, compute, area("a", (3, 6)), False)
    assert tokens(load) == {"+LOAD_MAC"} and tokens(compute) == {"-LOAD_MAC"}


def test_other_rows_blocks_and_buffers_are_no_reason_to_wait() -> None:
    order = Order()
    load = one(order, "LOAD", Stage.LOAD)
    order.access(Stage.LOAD, load, area("a", (0, 4)), True)
    compute = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.MAC, compute, area("a", (4, 6)), False)
    order.access(Stage.MAC, compute, Area("a", (0, 100), (0, 4), (1, 2)), False)
    order.access(Stage.MAC, compute, area("b", (0, 4), 100), False)
    assert not tokens(load) | tokens(compute)


def test_buffers_that_overlap_are_one_place() -> None:
    order = Order()
    compute = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.MAC, compute, area("old", (0, 4)), False)
    load = one(order, "LOAD", Stage.LOAD)
    order.access(Stage.LOAD, load, area("new", (50, 54), 99), True)
    assert tokens(compute) == {"+MAC_LOAD"} and tokens(load) == {"-MAC_LOAD"}


def test_two_that_read_do_not_wait() -> None:
    order = Order()
    compute = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.MAC, compute, area("a", (0, 4)), False)
    store = one(order, "STORE", Stage.STORE)
    order.access(Stage.STORE, store, area("a", (0, 4)), False)
    assert not tokens(compute) | tokens(store)


def test_one_wait_for_the_latest_stands_for_all_before() -> None:
    order = Order()
    loads = [one(order, "LOAD", Stage.LOAD) for _ in range(3)]
    for row, load in enumerate(loads):
        order.access(Stage.LOAD, load, area("a", (row, row + 1)), True)
    tiles = []
    for _ in range(2):
        tiles.append(one(order, "COMPUTE", *COMPUTE))
        order.access(Stage.MAC, tiles[-1], area("a", (0, 2)), False)
    assert [tokens(load) for load in loads] == [set(), {"+LOAD_MAC"}, set()]
    assert [tokens(tile) for tile in tiles] == [{"-LOAD_MAC"}, set()]


def test_a_later_reason_to_wait_replaces_an_earlier_one_of_the_same_instruction() -> None:
    order = Order()
    loads = [one(order, "LOAD", Stage.LOAD) for _ in range(2)]
    order.access(Stage.LOAD, loads[1], area("a", (0, 1)), True)
    tile = one(order, "COMPUTE", *COMPUTE)
    order.after(Stage.POST, tile, Stage.LOAD, loads[0])
    order.access(Stage.POST, tile, area("a", (0, 1)), False, early=True)
    assert [tokens(load) for load in loads] == [set(), {"+LOAD_POST"}]
    assert tokens(tile) == {"-LOAD_POST"}


def test_what_another_wait_includes_needs_no_token() -> None:
    """STORE has waited for POST, so a LOAD that waits for the STORE need not wait for POST."""
    order = Order()
    tile = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.POST, tile, area("a", (0, 4)), True)
    store = one(order, "STORE", Stage.STORE)
    order.access(Stage.STORE, store, area("a", (0, 4)), False)
    load = one(order, "LOAD", Stage.LOAD)
    order.access(Stage.LOAD, load, area("b", (0, 4), 50), True)
    assert tokens(load) == {"-STORE_LOAD"} and tokens(tile) == {"+POST_STORE"}
    # And MAC need not wait for POST when it waits for the LOAD.
    reader = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.MAC, reader, area("b", (0, 4), 50), False)
    assert tokens(reader) == {"-LOAD_MAC"}


def test_a_tile_waits_in_its_first_stage_for_all() -> None:
    """What the generator has waited for is there for MAC, and for what the post stage writes."""
    order = Order()
    load = one(order, "LOAD", Stage.LOAD)
    order.access(Stage.LOAD, load, area("a", (0, 4)), True)
    alphas = one(order, "LOAD", Stage.LOAD)
    tile = one(order, "COMPUTE", *COMPUTE)
    order.after(Stage.WGEN, tile, Stage.LOAD, alphas)
    order.access(Stage.MAC, tile, area("a", (0, 4)), False)
    order.after(Stage.POST, tile, Stage.LOAD, load)
    order.access(Stage.POST, tile, area("a", (0, 4)), True)
    assert tokens(tile) == {"-LOAD_WGEN"} and not tokens(load)


def test_a_residual_is_read_before_mac() -> None:
    """The post stage reads it as soon as it takes the tile: what MAC waits for does not count."""
    order = Order()
    load = one(order, "LOAD", Stage.LOAD)
    order.access(Stage.LOAD, load, area("a", (0, 4)), True)
    tile = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.MAC, tile, area("a", (0, 4)), False)
    order.access(Stage.POST, tile, area("a", (0, 4)), False, early=True)
    assert tokens(tile) == {"-LOAD_MAC", "-LOAD_POST"}
    following = one(order, "COMPUTE", *COMPUTE)
    order.access(Stage.POST, following, area("a", (0, 4)), False, early=True)
    assert not tokens(following)


def test_all_conflicts_are_in_order_and_all_tokens_are_taken() -> None:
    """Random accesses: tokens replayed as counters order each two of which one writes."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        order = Order()
        program: list[Instruction] = []
        accesses: list[tuple[Stage, Instruction, Area, bool]] = []
        for _ in range(40):
            # Between any two stages that have a token: what is loaded is never stored.
            kind = int(rng.integers(3))
            first = int(rng.integers(6))
            rows = (first, first + int(rng.integers(1, 3)))
            if kind == 0:
                instruction = one(order, "LOAD", Stage.LOAD)
                uses = [(Stage.LOAD, area("a", rows), True)]
            elif kind == 1:
                instruction = one(order, "COMPUTE", *COMPUTE)
                target = area("a", rows) if rng.integers(2) else area("b", rows, 200)
                uses = [(Stage.MAC, area("a", (0, 1)), False), (Stage.POST, target, True)]
            else:
                instruction = one(order, "STORE", Stage.STORE)
                uses = [(Stage.STORE, area("b", rows, 200), False)]
            program.append(instruction)
            for stage, touched, write in uses:
                order.access(stage, instruction, touched, write)
                accesses.append((stage, instruction, touched, write))
        begins = _clocks(program)
        for at, (stage, instruction, touched, write) in enumerate(accesses):
            for of, other, before, written in accesses[:at]:
                if of != stage and (write or written) and touched.overlaps(before):
                    known = begins[stage, instruction.numbers[stage]]
                    assert known[of] >= other.numbers[of]


def _clocks(program: list[Instruction]) -> dict[tuple[Stage, int], dict[Stage, int]]:
    """What has ended as each instruction of a stage begins: the k-th take is of the k-th give."""
    begun: dict[tuple[Stage, int], dict[Stage, int]] = {}
    given: dict[Token, list[dict[Stage, int]]] = {token: [] for token in Token}
    taken = dict.fromkeys(Token, 0)
    last = {stage: dict.fromkeys(Stage, -1) for stage in Stage}
    for instruction in program:
        before: dict[Stage, int] = dict.fromkeys(Stage, -1)
        for stage in sorted(instruction.numbers):
            clock = {s: max(n, before[s]) for s, n in last[stage].items()}
            for token in Token:
                if instruction.fields[WAITS[stage]] & token.mask:
                    give = given[token][taken[token]]
                    clock = {s: max(n, give[s]) for s, n in clock.items()}
                    taken[token] += 1
            begun[stage, instruction.numbers[stage]] = last[stage] = clock
            # MAC begins behind the generator, the post stage when MAC and the generator have ended.
            before = dict(clock)
            if stage == Stage.MAC:
                before |= {s: instruction.numbers[s] for s in (Stage.WGEN, Stage.MAC)}
            ended = {**clock, stage: instruction.numbers[stage]}
            if stage == Stage.MAC:
                ended[Stage.WGEN] = instruction.numbers[Stage.WGEN]
            for token in Token:
                if instruction.fields[SIGNALS[stage]] & token.mask:
                    given[token].append(ended)
    assert all(len(given[token]) == taken[token] for token in Token)
    return begun


def test_names_say_giver_and_taker() -> None:
    for token in Token:
        giver, taker = (Stage[name] for name in token.name.split("_"))
        assert Token.between(giver, taker) is token and Token.known(giver, taker)
    assert COUNT_MAX == 15 and not Token.known(Stage.LOAD, Stage.STORE)
