# SPDX-License-Identifier: Apache-2.0
"""Proof that a program is safe to run: it cannot deadlock, race, or leave anything behind.

The engine's five stages (load, weights generator, MAC, post, store) work through their instructions
in order and wait for each other by counting tokens. The result of a run must not depend on how fast
each of them is, so the check asks what the tokens and the data path guarantee, not what is likely:

- Deadlock: the stages are simulated with the least room that the hardware could have: one
  instruction waiting in front of each stage, a generator that cannot finish a tile before the MAC
  stage has begun it, code lists that wait until all that was generated is used. No stage is
  hindered by another one's being early, so if this run ends, every run ends.
- Order: the stages are simulated again with nothing but the guaranteed order, and each event gets a
  vector clock: how many instructions each stage is sure to have begun and ended before. A counter
  overflows if a token is given while more than 15 of those before it are not sure to be taken. Two
  accesses to a word of alpha, param or act mem (groups of Q lanes count as words there), of which
  one is a write, are a hazard if neither is sure to come first. A read needs a write before it.
- DRAM behind SCRATCH is a memory like these: a STORE's words are there when its instruction has
  ended, and a LOAD reads only words that were stored before it begins.
- Residuals: the post stage may read a tile's residual as soon as it takes the tile, before the MAC
  stage has begun it. Every word must be part of a tensor of just the described shape and mapping,
  written before the RESIDUAL instruction, so that no tile overwrites what a later one adds.
- At the end every counter is 0, so that the next run starts as this one did.

This module knows the instruction set and the memories' mapping. It takes nothing from the planner.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unzipfpga.compiler.errors import ProgramError
from unzipfpga.compiler.tokens import COUNT_MAX, names
from unzipfpga.config import Config
from unzipfpga.isa import IsaError, decode, decode_header, isa

LOAD, WGEN, MAC, POST, STORE = range(5)
STAGES = ("load", "wgen", "mac", "post", "store")
Fields = dict[str, int]
Words = NDArray[np.int64]
Clock = NDArray[np.int64]  # instructions begun by each of the five stages, then ended


@dataclass(frozen=True)
class Streams:
    """A decoded program: for each queue its instructions, as (name, fields)."""

    header: Fields
    load: list[tuple[str, Fields]]
    compute: list[tuple[str, Fields]]
    store: list[tuple[str, Fields]]


def decode_program(program: bytes) -> Streams:
    """Decode a program's header and its three streams.

    Raises
    ------
    ProgramError
        A damaged program: says which stream and instruction.
    """
    size = isa().instruction_bytes
    try:
        header = decode_header(program[:size])
    except IsaError as error:
        raise ProgramError(f"program: {error}") from error
    streams = []
    for queue in ("load", "compute", "store"):
        offset, count = header[f"{queue}_offset"], header[f"{queue}_count"]
        if offset % size or offset + count * size > len(program):
            raise ProgramError(
                f"program: the {queue} stream, {count} instructions at {offset:#x}, does not lie "
                f"in its {len(program)} bytes"
            )
        instructions = []
        for index in range(count):
            start = offset + index * size
            try:
                instructions.append(decode(program[start : start + size]))
            except IsaError as error:
                raise ProgramError(f"program: {queue} instruction {index}: {error}") from error
        streams.append(instructions)
    return Streams(header, *streams)


@dataclass
class Item:
    """An instruction as one stage sees it.

    Attributes
    ----------
    position : int
        In its queue.
    name : str
    fields : dict of str to int
    wait, signal : int
        The stage's own tokens.
    tile : int
        Of a COMPUTE: its number, which the three stages share; -1 for others.
    residual : (index, fields) or None
        Of a COMPUTE that adds a residual, at the post stage: the RESIDUAL instruction.
    """

    position: int
    name: str
    fields: Fields
    wait: int = 0
    signal: int = 0
    tile: int = -1
    residual: tuple[int, Fields] | None = None


@dataclass
class Report:
    """What `check_program` found out.

    Attributes
    ----------
    problems : list of str
        Empty for a program that is safe to run.
    instructions : dict of str to int
        Of each queue.
    accesses : int
        Word accesses that were ordered.
    most_tokens : dict of str to int
        Token -> most that can be given and not taken at once.
    """

    problems: list[str] = field(default_factory=list)
    instructions: dict[str, int] = field(default_factory=dict)
    accesses: int = 0
    most_tokens: dict[str, int] = field(default_factory=dict)


def inspect_program(
    program: bytes, config: Config, sizes: dict[str, int] | None = None, limit: int = 20
) -> Report:
    """Check a program and report everything that is wrong with it.

    Parameters
    ----------
    program : bytes
        Header and streams.
    config : Config
        The build that it shall run on.
    sizes : dict of str to int, optional
        Bytes behind the base registers, all but PROGRAM: no access may leave those given.
    limit : int
        Problems to stop at.

    Returns
    -------
    Report

    Raises
    ------
    ProgramError
        A program that cannot be decoded.
    """
    streams = decode_program(program)
    checker = _Checker(streams, config, sizes or {}, limit)
    with suppress(_EnoughError):
        checker.run()
    return checker.report


def check_program(program: bytes, config: Config, sizes: dict[str, int] | None = None) -> Report:
    """Check a program as `inspect_program` does.

    Raises
    ------
    ProgramError
        The first problems found.
    """
    report = inspect_program(program, config, sizes)
    if report.problems:
        more = len(report.problems) - 1
        text = report.problems[0] + (f" (and {more} more)" if more else "")
        raise ProgramError(f"program: {text}")
    return report


class _EnoughError(Exception):
    """So many problems that looking for more helps no one."""


class _Checker:
    def __init__(self, streams: Streams, config: Config, sizes: dict[str, int], limit: int) -> None:
        self.streams = streams
        self.config = config
        self.sizes = sizes
        self.limit = limit
        self.report = Report()
        self.items: list[list[Item]] = [[], [], [], [], []]
        self.places: dict[tuple[int, ...], int] = {}  # shapes and mappings of what was written

    def problem(self, text: str) -> None:
        self.report.problems.append(text)
        if len(self.report.problems) >= self.limit:
            raise _EnoughError

    def bound(self, where: str, what: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            self.problem(f"{where}: {what} is {value}, outside {low} to {high}")

    def run(self) -> None:
        streams = self.streams
        self.report.instructions = {
            "load": len(streams.load),
            "compute": len(streams.compute),
            "store": len(streams.store),
        }
        if streams.header["build_id"] != self.config.build_id():
            self.problem(
                f"build id {streams.header['build_id']:#010x}, this build has "
                f"{self.config.build_id():#010x}"
            )
        self.split()
        self.check_fields()
        self.check_token_stages()
        if self.report.problems:  # the rest would only follow from these
            return
        self.check_deadlock()
        if not self.report.problems:
            self.check_order()

    # Instructions --------------------------------------------------------------------------------

    def split(self) -> None:
        """Give every stage its instructions."""
        allowed = {
            "load": {"LOAD", "MARK"},
            "compute": {"COMPUTE", "CODES", "RESIDUAL", "MARK"},
            "store": {"STORE", "MARK"},
        }
        for queue, stage in [("load", LOAD), ("store", STORE)]:
            for position, (name, fields) in enumerate(getattr(self.streams, queue)):
                if name not in allowed[queue]:
                    self.problem(f"{queue} {position}: {name} is not for this queue")
                elif name != "MARK":
                    item = Item(position, name, fields, fields["wait"], fields["signal"])
                    self.items[stage].append(item)
                elif fields["stages"] >> stage & 1:
                    self.items[stage].append(Item(position, name, fields))
        tile = 0
        residual: tuple[int, Fields] | None = None
        for position, (name, fields) in enumerate(self.streams.compute):
            if name not in allowed["compute"]:
                self.problem(f"compute {position}: {name} is not for this queue")
            elif name == "CODES":
                for stage in (WGEN, MAC):
                    if fields["stages"] >> stage & 1:
                        self.items[stage].append(Item(position, name, fields))
            elif name == "RESIDUAL":
                residual = len(self.items[POST]), fields
                self.items[POST].append(Item(position, name, fields))
            elif name == "MARK":
                for stage in (WGEN, MAC, POST):
                    if fields["stages"] >> stage & 1:
                        self.items[stage].append(Item(position, name, fields))
            elif name == "COMPUTE":
                for stage, prefix in [(WGEN, "wgen"), (MAC, "mac"), (POST, "post")]:
                    wait, signal = fields[f"{prefix}_wait"], fields[f"{prefix}_signal"]
                    if stage == POST and not fields["reduce_last"]:
                        if wait or signal:
                            self.problem(f"compute {position}: post tokens without reduce_last")
                        continue
                    item = Item(position, name, fields, wait, signal, tile)
                    if stage == POST and fields["residual"]:
                        item.residual = residual
                        if residual is None:
                            self.problem(f"compute {position}: no RESIDUAL describes its residual")
                    self.items[stage].append(item)
                tile += 1

    def check_fields(self) -> None:
        config = self.config
        memories = {number: name for name, number in isa().memories.items()}
        bases = {number: name for name, number in isa().bases.items()}
        word_bytes = config.T_P * config.DW // 8
        for stage, allowed in [
            (LOAD, ("WEIGHT", "INPUT", "SCRATCH")),
            (STORE, ("OUTPUT", "SCRATCH")),
        ]:
            for item in self.items[stage]:
                where, f = f"{STAGES[stage]} {item.position}", item.fields
                if item.name == "MARK":
                    continue
                if stage == LOAD and f["memory"] not in memories:
                    self.problem(f"{where}: there is no memory {f['memory']}")
                    continue
                memory = memories[f["memory"]] if stage == LOAD else "ACT"
                size = {"ACT": word_bytes, "ALPHA": word_bytes * config.G, "PARAM": 8 * config.Q}
                if f["words"] == 0 or f["offset"] % 64:
                    self.problem(f"{where}: {f['words']} words at offset {f['offset']}")
                if f["run"] == 0 or f["words"] % f["run"] or f["pitch"] % 64:
                    self.problem(
                        f"{where}: {f['words']} words in runs of {f['run']}, "
                        f"{f['pitch']} bytes apart"
                    )
                if f["base"] not in bases:
                    self.problem(f"{where}: there is no base register {f['base']}")
                    continue
                base = bases[f["base"]]
                run_bytes = f["run"] * size[memory]
                if stage == STORE and f["run"] < f["words"] and f["pitch"] < run_bytes:
                    self.problem(f"{where}: runs of {run_bytes} bytes, {f['pitch']} bytes apart")
                if base not in allowed:
                    self.problem(f"{where}: base register {base}; allowed: {', '.join(allowed)}")
                elif base in self.sizes:
                    apart = (f["words"] - 1) // max(f["run"], 1) * f["pitch"]
                    end = f["offset"] + apart + run_bytes
                    self.bound(where, f"end in {base}", end, 0, self.sizes[base])
                if memory == "ACT" and (
                    f["width"] * f["rows"] == 0 or f["words"] % (f["width"] * f["rows"])
                ):
                    self.problem(
                        f"{where}: {f['words']} words are no {f['rows']}x{f['width']} maps"
                    )
        codes = {WGEN: 0, MAC: 0}  # entries of each list that are known
        open_chain: Fields | None = None  # the COMPUTE whose sums go on
        for position, (name, f) in enumerate(self.streams.compute):
            where = f"compute {position}"
            if name == "RESIDUAL":
                for key in ("res_blocks", "res_h", "res_w"):
                    self.bound(where, key, f[key], 1, 4095)
            if name == "CODES":
                self.check_list(where, f, codes)
            if name != "COMPUTE":
                continue
            self.bound(where, "project", f["project"], 0, int(config.PROJECTOR and not f["dense"]))
            windows = bool(f["project"]) and not f["channel"]
            taps = f["kernel_h"] * f["kernel_w"]
            groups = f["groups"]
            most = 1 if f["row0"] else min(config.S, f["out_w"])
            self.bound(where, "groups", groups, 1, min(most, 2) if f["project"] else most)
            self.bound(where, "filters", f["filters"], 1, _pitch(max(groups, 1), config))
            self.bound(where, "kernel_h", f["kernel_h"], 1, 7)
            self.bound(where, "kernel_w", f["kernel_w"], 1, 7)
            self.bound(where, "blocks", f["blocks"], 1, 4095)
            steps = f["chunk_blocks"] * f["chunk_taps"]
            if windows:
                self.check_windows(where, f)
                steps = f["codes"]
            else:
                most = _step_blocks(f)
                self.bound(where, "chunk_taps", f["chunk_taps"], 1, taps)
                self.bound(where, "chunk_blocks", f["chunk_blocks"], 1, most)
            if f["chunk_taps"] < taps:
                self.bound(where, "chunk_blocks with part of the taps", f["chunk_blocks"], 1, 1)
            self.bound(where, "steps of a chunk", steps, 1, config.D)
            self.bound(where, "stride_h", f["stride_h"], 1, 7)
            self.bound(where, "stride_w", f["stride_w"], 1, 7)
            self.bound(where, "pixels", f["pixels"], 1, 4095 if f["row0"] else config.T_R * groups)
            self.bound(where, "out_x", f["out_x"], 0, f["out_w"] - 1)
            if f["dense"]:
                self.bound(where, "codes of a dense tile", f["codes"], 1, 1)
            else:
                known = codes[MAC if f["project"] else WGEN]
                most = min(config.N_MAX, known, 16 if f["channel"] else config.N_MAX)
                self.bound(where, "codes", f["codes"], 1, 8 if f["project"] and most > 8 else most)
                if f["project"] and f["channel"] and 16 % f["codes"]:
                    self.problem(f"{where}: {f['codes']} projections of 16 channels")
            self.bound(
                where, "channel", f["channel"], 0, int(config.CHANNEL_AXIS and not f["dense"])
            )
            if f["dense"] or f["channel"] or f["project"]:
                words = _alpha_words(f, config)
                self.bound(where, "alpha_words", f["alpha_words"], words, words)
            if bool(f["reduce_first"]) == (open_chain is not None):
                self.problem(f"{where}: reduce_first is {f['reduce_first']} at a wrong place")
            shared = ["row0", "filters", "groups"]
            if not f["row0"]:
                shared += ["pixels", "out_x", "out_y", "out_w"]
            if open_chain is not None and any(open_chain[k] != f[k] for k in shared):
                self.problem(f"{where}: it continues sums of other pixels or filters")
            open_chain = None if f["reduce_last"] else f
            if f["reduce_last"]:
                self.check_post_fields(where, f)
        if open_chain is not None:
            self.problem("compute: the last sums are never complete")

    def check_list(self, where: str, f: Fields, codes: dict[int, int]) -> None:
        """Check a code list; `codes` gets the entries that are known then."""
        if not f["stages"] or f["stages"] & ~(1 << WGEN | 1 << MAC):
            self.problem(f"{where}: a code list of the stages {f['stages']:#x}")
        if f["stages"] >> MAC & 1:
            self.bound(where, "page of the MAC stage's codes", f["page"], 0, 0)
        for stage in codes:
            if f["stages"] >> stage & 1:
                codes[stage] = max(codes[stage], 16 * f["page"] + 16)

    def check_windows(self, where: str, f: Fields) -> None:
        """Check a tile whose windows are projected on kernel-axis codes."""
        config, stride = self.config, f["stride_w"]
        self.bound(where, "kernel_h of projected windows", f["kernel_h"], 3, 3)
        self.bound(where, "stride_w of projected windows", stride, 1, 2)
        self.bound(where, "kernel_w of projected windows", f["kernel_w"], stride, stride)
        self.bound(where, "row0 of projected windows", f["row0"], 0, 0)
        self.bound(where, "chunk_blocks of projected windows", f["chunk_blocks"], 1, 1)
        taps = max(f["codes"], 3 * stride)
        self.bound(where, "chunk_taps of projected windows", f["chunk_taps"], taps, taps)
        least = max(2, config.S * stride) - 3 + stride
        self.bound(where, "pad_left of projected windows", f["pad_left"], least, 15)
        rows = sum(rows for _, _, rows in _segments(f, config))
        self.bound(where, "read_rows", f["read_rows"], rows, rows)
        groups = f["groups"]
        if f["out_w"] % groups or f["out_x"] % groups:
            self.problem(f"{where}: rows of {groups} pixels cross the ends of lines")

    def check_post_fields(self, where: str, f: Fields) -> None:
        config = self.config
        limit = 2 ** (config.DW - 1) - 1
        self.bound(where, "post_filters", f["post_filters"], f["filters"], f["filters"])
        self.bound(where, "post_groups", f["post_groups"], f["groups"], f["groups"])
        self.bound(where, "scale_shift", f["scale_shift"], 0, 47)
        self.bound(where, "clamp_lo", f["clamp_lo"], -limit, f["clamp_hi"])
        self.bound(where, "clamp_hi", f["clamp_hi"], f["clamp_lo"], limit)
        self.bound(where, "dst_lane", f["dst_lane"], 0, config.parts - 1)
        groups = -(-f["post_filters"] // config.Q)
        # Words past the filters are not written if a group has several: none of those is all zeros.
        most = config.T_C // config.Q + config.parts - 1 if config.words == 1 else groups
        self.bound(where, "dst_groups", f["dst_groups"], groups, most)
        last = f["out_y"] * f["out_w"] + f["out_x"] + f["pixels"]
        self.bound(where, "end of the tile", last, 1, f["out_h"] * f["out_w"])
        if f["row0"]:
            for what in ("out_x", "out_y", "pool_kernel"):
                self.bound(where, f"{what} of a sum over pixels", f[what], 0, 0)
        if f["pool_kernel"] == 0:
            return
        kernel, stride, pad = f["pool_kernel"], f["pool_stride"], f["pool_pad"]
        self.bound(where, "pool_kernel", kernel, 2, 3)
        self.bound(where, "pool_stride", stride, 1, 3)
        self.bound(where, "pool_pad", pad, 0, 1)
        line = config.POOL_W * (config.T_C // config.Q)
        self.bound(where, "words of a pooled row", f["out_w"] * f["dst_groups"], 1, line)
        for what, size, count in [("h", f["out_h"], f["pool_h"]), ("w", f["out_w"], f["pool_w"])]:
            self.bound(where, f"pool_{what}", count, 1, 4095)
            self.bound(
                where, f"start of window {count - 1}", (count - 1) * stride - pad, -1, size - 1
            )
            if count > 1 and (count - 2) * stride - pad + kernel - 1 >= size - 1:
                self.problem(f"{where}: pool_{what}: two windows end at the map's end")

    def check_token_stages(self) -> None:
        """Each token is given by one stage and taken by one other."""
        givers: dict[int, set[int]] = {}
        takers: dict[int, set[int]] = {}
        for stage, items in enumerate(self.items):
            for item in items:
                for token in _bits(item.signal):
                    givers.setdefault(token, set()).add(stage)
                for token in _bits(item.wait):
                    takers.setdefault(token, set()).add(stage)
        for what, stages in [("given", givers), ("taken", takers)]:
            for token, found in stages.items():
                if len(found) > 1:
                    text = " and ".join(STAGES[s] for s in sorted(found))
                    self.problem(f"token {_token(token)} is {what} by two stages: {text}")

    # Deadlock ------------------------------------------------------------------------------------

    def check_deadlock(self) -> None:
        machine = _Machine(self.items, tight=True)
        machine.run()
        waiting = [
            f"{STAGES[stage]} {items[machine.begun[stage]].position}"
            + (
                f" for {', '.join(names(items[machine.begun[stage]].wait))}"
                if items[machine.begun[stage]].wait
                else ""
            )
            for stage, items in enumerate(self.items)
            if machine.begun[stage] < len(items)
        ]
        if waiting or any(machine.begun[s] != machine.ended[s] for s in range(5)):
            self.problem(f"deadlock: what cannot begin: {'; '.join(waiting)}")
            return
        for token, count in sorted(machine.tokens.items()):
            if count:
                self.problem(f"token {_token(token)}: {count} given and never taken")

    # Order ---------------------------------------------------------------------------------------

    def check_order(self) -> None:
        """Simulate with vector clocks; check token counters and memory accesses on the way."""
        machine = _Machine(self.items, tight=False)
        config = self.config
        memories = {
            "ACT": _Memory(config.ACT_BANKS * config.ACT_DEPTH * config.parts),
            "ALPHA": _Memory(config.ALPHA_DEPTH),
            "PARAM": _Memory(config.PARAM_DEPTH),
            "SCRATCH": _Memory(self.scratch_words()),
        }
        waits: dict[int, tuple[int, NDArray[np.int64]]] = {}  # token -> taker, takes before item i
        for stage, items in enumerate(self.items):
            for token in _bits(_all_waits(items)):
                takes = np.cumsum([0, *(item.wait >> token & 1 for item in items)])
                waits[token] = (stage, takes)
        given: dict[int, int] = {}

        def on_begin(stage: int, index: int, clock: NDArray[np.int64]) -> None:
            item = self.items[stage][index]
            where = f"{_queue(stage)} {item.position} ({STAGES[stage]})"
            if stage == POST and item.residual is not None:
                self.check_residual(index, item, where, memories["ACT"], machine.taken_clock)
            for name, write, words in self.accesses(stage, item, where):
                memory = memories[name]
                self.access(memory, name, stage, index, write, words, clock)
                if name == "ACT" and write:
                    place = _written_place(item)
                    memory.place[words] = self.places.setdefault(place, len(self.places))

        def on_end(stage: int, index: int, clock: NDArray[np.int64]) -> None:
            item = self.items[stage][index]
            for token in _bits(item.signal):
                given[token] = given.get(token, 0) + 1
                taker, takes = waits[token]
                open_ = given[token] - int(takes[clock[taker]])
                most = self.report.most_tokens
                most[_token(token)] = max(most.get(_token(token), 0), open_)
                if open_ == COUNT_MAX + 1:
                    self.problem(
                        f"{_queue(stage)} {item.position} ({STAGES[stage]}): token {_token(token)} "
                        f"can overflow: {open_} given and not taken, at most {COUNT_MAX}"
                    )

        machine.run(on_begin, on_end)

    def access(
        self,
        memory: "_Memory",
        name: str,
        stage: int,
        index: int,
        write: bool,
        words: Words,
        clock: Clock,
    ) -> None:
        """Record an access and report what it is not ordered with."""
        self.report.accesses += words.size
        bad = memory.access(stage, index, write, words, clock)
        if not bad:
            return
        where = f"{_queue(stage)} {self.items[stage][index].position} ({STAGES[stage]})"
        kind, other, number = bad
        if other < 0:
            self.problem(f"{where}: {_of_memory(name)} is read before it is written")
            return
        there = self.items[other][number]
        self.problem(
            f"{where}: its {'write' if write else 'read'} of {_of_memory(name)} is not ordered "
            f"with the {kind} of {_queue(other)} {there.position} ({STAGES[other]})"
        )

    def check_residual(
        self, index: int, item: Item, where: str, act: "_Memory", clock: Clock
    ) -> None:
        """Check the reads of a tile's residual; `clock` is what is sure when the tile is taken."""
        assert item.residual is not None
        first, residual = item.residual
        f = item.fields
        key = (*(f[k] for k in _ADDING_FIELDS), *(residual[k] for k in _RESIDUAL_FIELDS))
        words = self.inside(where, _residual_words(key, self.config), "ACT")
        self.access(act, "ACT", POST, index, False, words, clock)
        pitches = tuple(residual[k] for k in _PITCH_FIELDS)
        places = [
            self.places.get((*pitches, height), -2) for height in (residual["res_h"], SOME_ROWS)
        ]
        if not bool(np.isin(act.place[words], places).all()):
            self.problem(
                f"{where}: its residual is not read from a tensor of "
                f"{residual['res_h']}x{residual['res_w']} pixels with these pitches and this shift"
            )
        late = (act.writer[words] == POST) & (act.write_index[words] > first)
        if bool(late.any()):
            there = self.items[POST][int(act.write_index[words][late].max())]
            self.problem(
                f"{where}: its residual was overwritten by compute {there.position}, behind the "
                f"RESIDUAL at {self.items[POST][first].position}"
            )
        outputs = _output_words(tuple(f[k] for k in _OUTPUT_FIELDS), self.config)
        # A sum may take the place of what is added: each word is read before its own is written.
        banks = self.config.ACT_BANKS
        same = all(f[k] == value for k, value in zip(_OUT_PITCH_FIELDS, pitches[:3], strict=True))
        same = same and f["dst_base"] == f["res_base"] and not f["pool_kernel"]
        same = same and f["dst_bank"] == f["res_block_first"] % banks
        if not same and np.intersect1d(words, outputs, assume_unique=True).size:
            self.problem(f"{where}: it overwrites its own residual")

    def accesses(self, stage: int, item: Item, where: str) -> Iterable[tuple[str, bool, Words]]:
        """Yield (memory, whether it is written, words) of an item's accesses."""
        f, config = item.fields, self.config
        if item.name in ("MARK", "CODES", "RESIDUAL"):
            return
        if item.name == "LOAD":
            memory = {number: name for name, number in isa().memories.items()}[f["memory"]]
            if f["base"] == isa().bases["SCRATCH"]:
                yield "SCRATCH", False, self.dram_words(item)
            if memory == "ACT":
                yield "ACT", True, self.inside(where, _view_words(_key(f, "dst"), config), "ACT")
            else:
                words = np.arange(f["dst_base"], f["dst_base"] + f["words"])
                yield memory, True, self.inside(where, words, memory)
        elif item.name == "STORE":
            yield "ACT", False, self.inside(where, _view_words(_key(f, "src"), config), "ACT")
            if f["base"] == isa().bases["SCRATCH"]:
                yield "SCRATCH", True, self.dram_words(item)
        elif stage == WGEN:
            words = np.arange(f["alpha_addr"], f["alpha_addr"] + _alpha_words(f, config))
            yield "ALPHA", False, self.inside(where, words, "ALPHA")
        elif stage == MAC:
            key = tuple(f[k] for k in _WINDOW_FIELDS)
            yield "ACT", False, self.inside(where, _window_words(key, config), "ACT")
        elif stage == POST:
            groups = -(-f["post_filters"] // config.Q)
            words = np.arange(f["param_addr"], f["param_addr"] + groups)
            yield "PARAM", False, self.inside(where, words, "PARAM")
            key = tuple(f[k] for k in _OUTPUT_FIELDS)
            yield "ACT", True, self.inside(where, _output_words(key, config), "ACT")

    def dram_words(self, item: Item) -> Words:
        """Return the DRAM words, of the size of act mem's, that a LOAD or STORE moves."""
        f, config = item.fields, self.config
        unit = config.T_P * config.DW // 8
        memory = isa().memories
        sizes = {memory["ALPHA"]: unit * config.G, memory["PARAM"]: 8 * config.Q}
        size = sizes.get(f.get("memory", memory["ACT"]), unit)
        start = f["offset"] + np.arange(f["words"] // f["run"]) * f["pitch"]
        words = start[:, None] // unit + np.arange(-(-f["run"] * size // unit))
        return np.unique(words.ravel())

    def scratch_words(self) -> int:
        """Return how many words behind SCRATCH the program uses."""
        scratch = isa().bases["SCRATCH"]
        last = -1
        for item in (*self.items[LOAD], *self.items[STORE]):
            if item.name != "MARK" and item.fields["base"] == scratch:
                last = max(last, int(self.dram_words(item)[-1]))
        return last + 1

    def inside(self, where: str, words: Words, memory: str) -> Words:
        depth = {
            "ACT": self.config.ACT_DEPTH,
            "ALPHA": self.config.ALPHA_DEPTH,
            "PARAM": self.config.PARAM_DEPTH,
        }[memory]
        # Of act mem: (entry * banks + bank) * parts + part.
        of_entry = self.config.ACT_BANKS * self.config.parts if memory == "ACT" else 1
        entries = words // of_entry
        if entries.size and int(entries.max()) >= depth:
            self.problem(f"{where}: {memory.lower()} mem has {depth} words, not {entries.max()}")
            return words[entries < depth]
        return words


def _alpha_words(f: Fields, config: Config) -> int:
    """Return the alpha mem words that a COMPUTE reads."""
    if f["project"] and f["channel"]:
        taps, groups = f["kernel_h"] * f["kernel_w"], -(-f["filters"] // config.G)
        return _step_blocks(f) * taps * groups
    pairs = f["blocks"] * -(-f["filters"] // config.G)  # of a channel block and a group of filters
    if not f["dense"] and not f["channel"]:
        return pairs * f["codes"]
    weight_words = pairs * f["kernel_h"] * f["kernel_w"]
    if f["dense"]:
        return weight_words
    # ceil(n/J)*J alphas for each weight word and 16 channels, as many whole sets as fit a word.
    lanes, alphas = min(config.T_P, 16), -(-f["codes"] // config.J) * config.J
    return -(-weight_words // (lanes // alphas)) if alphas <= lanes else 2 * weight_words


def _step_blocks(f: Fields) -> int:
    """Return the (groups of) channel blocks that make the operands of a tile's steps."""
    if f["project"] and f["channel"]:
        return -(-f["blocks"] * f["codes"] // 16)
    return f["blocks"]


def _pitch(groups: int, config: Config) -> int:
    """Return how many filters a group of PEs can hold: whole pairs, whole beats of G words."""
    unit = config.G if config.G > 1 else 2
    return config.T_C // (groups * unit) * unit


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _all_waits(items: list[Item]) -> int:
    mask = 0
    for item in items:
        mask |= item.wait
    return mask


def _token(token: int) -> str:
    return names(1 << token)[0]


def _of_memory(name: str) -> str:
    return "DRAM scratch" if name == "SCRATCH" else f"{name.lower()} mem"


def _queue(stage: int) -> str:
    return "compute" if stage in (WGEN, MAC, POST) else STAGES[stage]


# The stages --------------------------------------------------------------------------------------


def _nothing(_stage: int, _index: int, _clock: Clock) -> None:
    pass


class _Machine:
    """The five stages and the tokens, without data.

    With `tight` a stage may have one instruction waiting in front of it, the compute queue hands
    out its instructions in order, and the generator ends a tile only after MAC has begun it.
    Without, a stage begins as soon as its tokens are there, and order is only what is guaranteed.
    """

    def __init__(self, items: list[list[Item]], tight: bool) -> None:
        self.items = items
        self.tight = tight
        self.begun = [0] * 5
        self.ended = [0] * 5
        self.tokens: dict[int, int] = {}
        self.given: dict[int, list[Clock]] = {}
        self.taken: dict[int, int] = {}
        self.begin_clock = [np.zeros(10, np.int64) for _ in range(5)]
        self.end_clock = [np.zeros(10, np.int64) for _ in range(5)]
        # Of the instruction that begins: what is sure before its tile comes from the stage before.
        self.taken_clock = np.zeros(10, np.int64)
        # The tile that each stage has begun and ended last, and the clocks of these.
        self.tile_begun = [-1] * 5
        self.tile_ended = [-1] * 5
        self.mac_end: dict[int, Clock] = {}
        self.wgen_begin: dict[int, Clock] = {}
        self.wgen_end: dict[int, Clock] = {}
        positions = {item.position for stage in (WGEN, MAC, POST) for item in items[stage]}
        self.order = sorted(positions)
        self.users: dict[int, list[int]] = {p: [] for p in self.order}
        for stage in (WGEN, MAC, POST):
            for item in items[stage]:
                self.users[item.position].append(stage)
        self.dispatched = 0
        self.slots = [0] * 5  # instructions handed out and not begun

    def run(
        self,
        on_begin: Callable[[int, int, Clock], None] = _nothing,
        on_end: Callable[[int, int, Clock], None] = _nothing,
    ) -> None:
        """Run until nothing can go on."""
        moved = True
        while moved:
            moved = self.dispatch()
            for stage in range(5):
                while self.can_begin(stage) or self.can_end(stage):
                    moved = True
                    if self.can_end(stage):
                        self.end(stage, on_end)
                    else:
                        self.begin(stage, on_begin)
                    self.dispatch()

    def dispatch(self) -> bool:
        moved = False
        while self.tight and self.dispatched < len(self.order):
            users = self.users[self.order[self.dispatched]]
            if any(self.slots[stage] for stage in users):
                break
            for stage in users:
                self.slots[stage] += 1
            self.dispatched += 1
            moved = True
        return moved

    def can_begin(self, stage: int) -> bool:
        index = self.begun[stage]
        if index == len(self.items[stage]) or self.ended[stage] < index:
            return False
        item = self.items[stage][index]
        if any(self.tokens.get(token, 0) == 0 for token in _bits(item.wait)):
            return False
        if self.tight and stage in (WGEN, MAC, POST) and not self.slots[stage]:
            return False
        if item.tile < 0:  # a code list waits until all that was generated is in the array
            return not self.tight or item.name != "CODES" or self.begun[MAC] == self.ended[MAC]
        if stage == MAC:
            return self.tile_begun[WGEN] >= item.tile
        return stage != POST or self.tile_ended[MAC] >= item.tile

    def can_end(self, stage: int) -> bool:
        index = self.ended[stage]
        if index == self.begun[stage]:
            return False
        tile = self.items[stage][index].tile
        if stage == MAC:  # -1 of a mark is never waited for
            return self.tile_ended[WGEN] >= tile
        if stage == WGEN and self.tight and tile >= 0:
            return self.tile_begun[MAC] >= tile
        return True

    def begin(self, stage: int, on_begin: Callable[[int, int, Clock], None]) -> None:
        index = self.begun[stage]
        item = self.items[stage][index]
        clock = self.begin_clock[stage].copy()
        if stage in (WGEN, POST):  # these finish one job before the next
            np.maximum(clock, self.end_clock[stage], out=clock)
        if stage == MAC and item.tile >= 0:
            np.maximum(clock, self.wgen_begin[item.tile], out=clock)
        for token in _bits(item.wait):
            self.tokens[token] -= 1
            number = self.taken.get(token, 0)
            np.maximum(clock, self.given[token][number], out=clock)
            self.taken[token] = number + 1
        self.taken_clock = clock.copy()
        if stage == POST and item.tile >= 0:
            np.maximum(clock, self.mac_end[item.tile], out=clock)
        on_begin(stage, index, clock)
        clock[stage] = index + 1
        self.begin_clock[stage] = clock
        if stage == WGEN and item.tile >= 0:
            self.wgen_begin[item.tile] = clock
        self.begun[stage] += 1
        self.slots[stage] = 0
        if item.tile >= 0:
            self.tile_begun[stage] = item.tile

    def end(self, stage: int, on_end: Callable[[int, int, Clock], None]) -> None:
        index = self.ended[stage]
        item = self.items[stage][index]
        clock = np.maximum(self.begin_clock[stage], self.end_clock[stage])
        if stage == MAC and item.tile >= 0:
            np.maximum(clock, self.wgen_end[item.tile], out=clock)
        clock[5 + stage] = index + 1
        self.end_clock[stage] = clock
        on_end(stage, index, clock)
        for token in _bits(item.signal):
            self.tokens[token] = self.tokens.get(token, 0) + 1
            self.given.setdefault(token, []).append(clock)
        if stage == MAC and item.tile >= 0:
            self.mac_end[item.tile] = clock
        if stage == WGEN and item.tile >= 0:
            self.wgen_end[item.tile] = clock
        self.ended[stage] += 1
        if item.tile >= 0:
            self.tile_ended[stage] = item.tile


class _Memory:
    """The last write and the last reads of every word of a memory."""

    def __init__(self, words: int) -> None:
        self.writer = np.full(words, -1, np.int8)  # stage
        self.write_index = np.full(words, -1, np.int32)
        self.read_index = np.full((5, words), -1, np.int32)  # of each stage
        self.place = np.full(words, -1, np.int32)  # how the last write was mapped

    def access(
        self, stage: int, index: int, write: bool, words: Words, clock: Clock
    ) -> tuple[str, int, int] | None:
        """Record an access; return (kind, stage, index) of one that it is not ordered with, if any.

        A read of a word that no one has written returns stage -1.
        """
        writer = self.writer[words]
        bad: tuple[str, int, int] | None = None
        if not write and bool((writer < 0).any()):
            bad = ("write", -1, -1)
        for other in range(5):
            if other == stage:
                continue
            written = self.write_index[words][writer == other]
            if written.size and int(written.max()) >= clock[5 + other]:
                bad = ("write", other, int(written.max()))
            if write:
                read = int(self.read_index[other][words].max(initial=-1))
                if read >= clock[5 + other]:
                    bad = ("read", other, read)
        if write:
            self.writer[words] = stage
            self.write_index[words] = index
            self.read_index[:, words] = -1
        else:
            self.read_index[stage][words] = index
        return bad


# Words of act mem --------------------------------------------------------------------------------
# A word's number is (entry*ACT_BANKS + bank)*parts + part, part being a group of Q lanes, the whole
# word if Q is not less than T_P.


def _numbers(
    base: Words,
    bank: Words,
    x: Words,
    shift: int,
    parts: Words,
    config: Config,
) -> Words:
    """Word numbers; the arrays broadcast. `base` is the entry of column 0, `bank` its bank."""
    banks, of_word = config.ACT_BANKS, config.parts
    low = (1 << shift) - 1
    entry = (base + (((x >> shift) // banks) << shift) + (x & low)) % 2**16
    number = (entry * banks + (bank + (x >> shift)) % banks) * of_word + parts
    return np.unique(np.asarray(number, np.int64).ravel())


def _key(f: Fields, prefix: str) -> tuple[int, ...]:
    view = [f[f"{prefix}_{k}"] for k in ("base", "row", "block", "shift", "bank")]
    return (*view, f["width"], f["rows"], f["words"])


@lru_cache(maxsize=64)
def _view_words(key: tuple[int, ...], config: Config) -> Words:
    base, row, block, shift, bank, width, rows, words = key
    b = np.arange(words // (width * rows))[:, None, None, None]
    y = np.arange(rows)[:, None, None]
    x = np.arange(width)[:, None]
    parts = np.arange(config.parts)
    return _numbers(base + b * block + y * row, bank + b, x, shift, parts, config)


_WINDOW_FIELDS = (
    *("src_base", "src_row", "src_block", "src_shift", "src_bank", "in_h", "in_w"),
    *("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left"),
    *("blocks", "out_x", "out_y", "out_w", "pixels", "project", "channel"),
)


def _segments(f: Fields, config: Config) -> list[tuple[int, int, int]]:
    """Return the parts of lines of a tile of projected windows.

    Each is (output row, first output column, rows of S pixels that are read), those before the
    first windows counted.
    """
    before = 2 if config.S == 1 and f["stride_w"] == 1 else 1
    y, x, left = f["out_y"], f["out_x"], f["pixels"]
    found = []
    while left > 0 and f["out_w"]:
        pixels = min(left, f["out_w"] - x)
        found.append((y, x, -(-pixels // config.S) + before))
        y, x, left = y + 1, 0, left - pixels
    return found


@lru_cache(maxsize=64)
def _window_words(key: tuple[int, ...], config: Config) -> Words:
    """Words that the window reader reads for one tile."""
    f = dict(zip(_WINDOW_FIELDS, key, strict=True))
    pixel = f["out_x"] + np.arange(f["pixels"])
    out_y, out_x = f["out_y"] + pixel // f["out_w"], pixel % f["out_w"]
    read = np.zeros((f["in_h"], f["in_w"]), bool)
    windows = bool(f["project"]) and not f["channel"]
    for line, first, rows in _segments(f, config) if windows else ():
        begin = first * f["stride_w"] - f["pad_left"]
        end = begin + rows * config.S * f["stride_w"]
        top = line * f["stride_h"] - f["pad_top"]
        read[max(0, top) : max(0, top + 3), max(0, begin) : max(0, end)] = True
    for ky in range(0 if windows else f["kernel_h"]):
        for kx in range(f["kernel_w"]):
            y = out_y * f["stride_h"] - f["pad_top"] + ky
            x = out_x * f["stride_w"] - f["pad_left"] + kx
            inside = (y >= 0) & (y < f["in_h"]) & (x >= 0) & (x < f["in_w"])
            read[y[inside], x[inside]] = True
    y, x = (a[:, None, None] for a in np.nonzero(read))
    # src_base is the entry of the tile's first input row, which may lie in the padding.
    first_row = f["out_y"] * f["stride_h"] - f["pad_top"]
    block = np.arange(f["blocks"])[:, None]
    base = f["src_base"] + (y - first_row) * f["src_row"] + block * f["src_block"]
    parts = np.arange(config.parts)
    return _numbers(base, f["src_bank"] + block, x, f["src_shift"], parts, config)


SOME_ROWS = -1  # what is loaded can be a part of a tensor


def _written_place(item: Item) -> tuple[int, ...]:
    """Return (row pitch, block pitch, shift, columns, rows) of the tensor that is written."""
    f = item.fields
    pitches = tuple(f[k] for k in _OUT_PITCH_FIELDS)
    if item.name == "LOAD":
        return (*pitches, f["width"], SOME_ROWS)
    if f["row0"]:
        return (*pitches, 1, 1)
    if f["pool_kernel"]:
        return (*pitches, f["pool_w"], f["pool_h"])
    return (*pitches, f["out_w"], f["out_h"])


_OUT_PITCH_FIELDS = ("dst_row", "dst_block", "dst_shift")
_PITCH_FIELDS = ("res_row", "res_block", "res_shift", "res_w")
_RESIDUAL_FIELDS = (*_PITCH_FIELDS, "res_h", "res_blocks")
_ADDING_FIELDS = (
    *("res_base", "res_block_first", "dst_lane", "dst_groups"),
    *("out_x", "out_y", "out_w", "pixels", "row0"),
)


@lru_cache(maxsize=64)
def _residual_words(key: tuple[int, ...], config: Config) -> Words:
    """Words that the post stage adds for one tile."""
    f = dict(zip((*_ADDING_FIELDS, *_RESIDUAL_FIELDS), key, strict=True))
    pixel = f["out_x"] + np.arange(1 if f["row0"] else f["pixels"])
    y, x = f["out_y"] + pixel // f["out_w"], pixel % f["out_w"]
    inside = (y < f["res_h"]) & (x < f["res_w"])
    y, x = y[inside][:, None], x[inside][:, None]
    of_word = config.parts
    live = max(0, f["res_blocks"] - f["res_block_first"])
    # Of the words that are read, the groups of Q lanes that the tile adds.
    slot = f["dst_lane"] + np.arange(f["dst_groups"] * config.words)
    slot = slot[slot < live * of_word]
    block = slot // of_word
    base = f["res_base"] + (y - f["out_y"]) * f["res_row"] + block * f["res_block"]
    bank = f["res_block_first"] + block
    return _numbers(base, bank, x, f["res_shift"], slot % of_word, config)


_OUTPUT_FIELDS = (
    *("dst_base", "dst_row", "dst_block", "dst_shift", "dst_bank", "dst_lane", "dst_groups"),
    *("out_x", "out_y", "out_h", "out_w", "pixels", "row0", "post_filters"),
    *("pool_kernel", "pool_stride", "pool_pad", "pool_h", "pool_w"),
)


@lru_cache(maxsize=64)
def _output_words(key: tuple[int, ...], config: Config) -> Words:
    """Words that the post stage writes for one tile."""
    f = dict(zip(_OUTPUT_FIELDS, key, strict=True))
    first = f["out_y"] * f["out_w"] + f["out_x"]
    if f["pool_kernel"]:

        def ends(count: int, size: int) -> Words:
            reach = np.arange(count) * f["pool_stride"] - f["pool_pad"] + f["pool_kernel"] - 1
            return np.minimum(reach, size - 1)

        end = ends(f["pool_h"], f["out_h"])[:, None] * f["out_w"] + ends(f["pool_w"], f["out_w"])
        y, x = np.nonzero((end >= first) & (end < first + f["pixels"]))
        row = y
    else:
        pixel = first + np.arange(1 if f["row0"] else f["pixels"])
        y, x = pixel // f["out_w"], pixel % f["out_w"]
        row = y - f["out_y"]
    of_word = config.parts
    count = f["dst_groups"] if config.words == 1 else -(-f["post_filters"] // config.T_P)
    slot = f["dst_lane"] + np.arange(count)
    base = f["dst_base"] + row[:, None] * f["dst_row"] + slot // of_word * f["dst_block"]
    bank = f["dst_bank"] + slot // of_word
    return _numbers(base, bank, x[:, None], f["dst_shift"], slot % of_word, config)
