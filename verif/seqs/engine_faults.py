# SPDX-License-Identifier: Apache-2.0
"""Faults for the engine's tests: programs and addresses that end in an error or compute wrongly."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from unzipfpga.compiler import Compiled
from unzipfpga.compiler.tokens import Token
from unzipfpga.config import Config
from unzipfpga.isa import decode_header, encode, encode_header, isa, pack, unpack
from verif.env.engine_model import (
    ALIGNMENT,
    FAST,
    MEM_BYTES,
    ErrorReport,
    Job,
    Scratch,
    Timing,
    guards,
    instructions,
    traffic,
    with_program,
)
from verif.seqs.engine_networks import NetworkBuilder

QUEUES = ("load", "compute", "store")
# Stage that an unknown opcode is reported by: the first that takes instructions from the queue.
FRONT_STAGE = {"load": "LOAD", "compute": "WGEN", "store": "STORE"}
TOKENS_MAX = 15
RESPONSES = {"SLVERR": 2, "DECERR": 3}

# Surgery -----------------------------------------------------------------------------------------


def patch(program: bytes, at: int, data: bytes) -> bytes:
    """Return the program with some bytes replaced."""
    return program[:at] + data + program[at + len(data) :]


def patch_header(program: bytes, **values: int) -> bytes:
    """Return the program with fields of its header replaced."""
    fields = unpack(isa().header, program[:ALIGNMENT]) | values
    return patch(program, 0, pack(isa().header, fields, "header", ALIGNMENT))


def position(program: bytes, queue: str, index: int) -> int:
    """Return the offset of an instruction from the program's begin."""
    return decode_header(program[:ALIGNMENT])[f"{queue}_offset"] + ALIGNMENT * index


def patch_instruction(program: bytes, queue: str, index: int, **values: int) -> bytes:
    """Return the program with fields of an instruction replaced."""
    at = position(program, queue, index)
    word = program[at : at + ALIGNMENT]
    name = {number: n for n, number in isa().opcodes.items()}[word[0]]
    layout = isa().fields[name]
    fields = unpack(layout, word) | values
    return patch(program, at, pack(layout, fields, name, ALIGNMENT))


def patch_opcode(program: bytes, queue: str, index: int, opcode: int) -> bytes:
    """Return the program with an instruction's opcode replaced."""
    return patch(program, position(program, queue, index), bytes([opcode]))


def numbered(program: bytes, queue: str, name: str) -> list[int]:
    """Return the positions of a queue's instructions of one kind."""
    return [i for i, (found, _) in enumerate(instructions(program)[queue]) if found == name]


def computes(program: bytes) -> list[dict[str, int]]:
    """Return the fields of every COMPUTE instruction."""
    return [fields for name, fields in instructions(program)["compute"] if name == "COMPUTE"]


def edit_computes(program: bytes, change: Callable[[dict[str, int]], dict[str, int]]) -> bytes:
    """Return the program with the fields of its COMPUTE instructions replaced that differ."""
    for index in numbered(program, "compute", "COMPUTE"):
        fields = instructions(program)["compute"][index][1]
        program = patch_instruction(program, "compute", index, **change(fields))
    return program


def assemble(config: Config, streams: dict[str, list[tuple[str, dict[str, int]]]]) -> bytes:
    """Return the program of some streams."""
    body, header = b"", {"build_id": config.build_id()}
    for queue in QUEUES:
        items = streams[queue]
        header |= {f"{queue}_offset": ALIGNMENT + len(body), f"{queue}_count": len(items)}
        body += b"".join(encode(name, **fields) for name, fields in items)
    return encode_header(**header) + body


FREE_TOKENS = (10, 11)  # the compiler uses neither


def through_scratch(job: Job, rng: random.Random) -> Job | None:
    """Return the job with its last STORE taking the way through DRAM: out, in, and out again.

    What comes back goes to another place of act mem. None if there is no space for it, or if the
    program uses the scratch region already.
    """
    if "SCRATCH" in job.bases:
        return None
    streams = instructions(job.program)
    config = job.config
    at = numbered(job.program, "store", "STORE")[-1]
    f = streams["store"][at][1]
    entries = f["words"] // (f["width"] * f["rows"]) * f["src_block"]
    if f["src_base"] >= entries:
        base = f["src_base"] - entries
    elif f["src_base"] + 2 * entries <= config.ACT_DEPTH:
        base = f["src_base"] + entries
    else:
        return None
    size = config.T_P * config.DW // 8
    run = rng.choice([n for n in range(1, f["words"] + 1) if f["words"] % n == 0])
    pitch = ALIGNMENT * (-(-run * size // ALIGNMENT) + rng.randint(0, 3))
    offset = ALIGNMENT * rng.randint(0, 5)
    there, back = (1 << token for token in FREE_TOKENS)
    dram = {"base": isa().bases["SCRATCH"], "offset": offset, "run": run, "pitch": pitch}
    bank = rng.randrange(config.ACT_BANKS)
    keys = ("row", "block", "shift")
    view = {f"dst_{k}": f[f"src_{k}"] for k in keys} | {"dst_base": base, "dst_bank": bank}
    shape = {k: f[k] for k in ("words", "width", "rows")}
    load = {"memory": isa().memories["ACT"], "wait": there, "signal": back} | dram | view | shape
    last = f | {"src_base": base, "src_bank": bank, "wait": back, "signal": 0}
    streams["store"][at : at + 1] = [("STORE", f | dram | {"signal": there}), ("STORE", last)]
    streams["load"].append(("LOAD", load))
    program = assemble(config, streams)
    # The program goes to the end of memory, with the scratch region behind it.
    image = bytearray(job.image)
    image += bytes(-len(image) % ALIGNMENT)
    where = len(image)
    runs = f["words"] // run
    words = tuple(
        (
            f["offset"] + k // f["run"] * f["pitch"] + k % f["run"] * size,
            offset + k // run * pitch + k % run * size,
        )
        for k in range(f["words"])
    )
    scratch = where + len(program)
    region = (scratch + offset, scratch + offset + (runs - 1) * pitch + run * size - 1)
    image += program + rng.randbytes(offset + runs * pitch + ALIGNMENT)
    return replace(
        job,
        program=program,
        image=bytes(image),
        bases=job.bases | {"PROGRAM": where, "SCRATCH": scratch},
        read_window=(0, len(image) - 1),
        write_window=(job.bases["OUTPUT"], len(image) - 1),
        guards=((*job.guards[0][:1], (where, len(image) - 1)), (*job.guards[1][:1], region)),
        scratch=Scratch(words, size),
    )


# Errors ------------------------------------------------------------------------------------------

Planter = Callable[[Job, random.Random], Job]


def _failing(job: Job, code: str, stage: str, address: int, **changes: object) -> Job:
    return replace(job, error=ErrorReport(code, stage, address), **changes)  # type: ignore[arg-type]


def bad_magic(job: Job, rng: random.Random) -> Job:
    """One bit of the magic number is wrong."""
    program = patch_header(job.program, magic=isa().magic ^ 1 << rng.randrange(32))
    return _failing(with_program(job, program), "HEADER", "LOAD", job.bases["PROGRAM"])


def bad_version(job: Job, rng: random.Random) -> Job:
    """Another version of the instruction set."""
    program = patch_header(job.program, version=isa().version ^ 1 << rng.randrange(16))
    return _failing(with_program(job, program), "HEADER", "LOAD", job.bases["PROGRAM"])


def bad_build(job: Job, rng: random.Random) -> Job:
    """One bit of the build id is wrong."""
    program = patch_header(job.program, build_id=job.config.build_id() ^ 1 << rng.randrange(32))
    return _failing(with_program(job, program), "BUILD", "LOAD", job.bases["PROGRAM"])


def bad_opcode(queue: str, foreign: bool) -> Planter:
    """An opcode that no queue knows, or one of another queue."""

    def plant(job: Job, rng: random.Random) -> Job:
        own = {"load": {"LOAD", "MARK"}, "compute": {"COMPUTE", "CODES", "RESIDUAL", "MARK"}}
        own["store"] = {"STORE", "MARK"}
        numbers = isa().opcodes
        if foreign:
            opcodes = [numbers[name] for name in numbers if name not in own[queue]]
        else:
            opcodes = [c for c in range(256) if c not in numbers.values()]
        index = rng.randrange(len(instructions(job.program)[queue]))
        program = patch_opcode(job.program, queue, index, rng.choice(opcodes))
        address = job.instruction(queue, index)
        return _failing(with_program(job, program), "OPCODE", FRONT_STAGE[queue], address)

    return plant


def token_overflow(stage: str) -> Planter:
    """A stage gives a token that nobody takes, 16 times; needs a program with that many jobs."""

    def plant(job: Job, rng: random.Random) -> Job:
        queue = {"LOAD": "load", "STORE": "store"}.get(stage, "compute")
        kind = {"load": "LOAD", "store": "STORE"}.get(queue, "COMPUTE")
        field = {"load": "signal", "store": "signal"}.get(queue, f"{stage.lower()}_signal")
        token = rng.choice(FREE_TOKENS)
        program, decoded = job.program, instructions(job.program)[queue]
        givers = [
            i
            for i in numbered(program, queue, kind)
            if stage != "POST" or decoded[i][1]["reduce_last"]
        ]
        if len(givers) <= TOKENS_MAX:
            raise ValueError(f"{len(givers)} {kind} instructions do not overflow a token")
        for index in givers[: TOKENS_MAX + 1]:
            signal = decoded[index][1][field] | 1 << token
            program = patch_instruction(program, queue, index, **{field: signal})
        address = job.instruction(queue, givers[TOKENS_MAX])
        return _failing(with_program(job, program), "TOKEN", stage, address)

    return plant


def header_outside(job: Job, rng: random.Random) -> Job:
    """The read window begins behind the program's first byte."""
    first = job.bases["PROGRAM"] + rng.choice([1, 8, 63])
    window = (first, job.read_window[1])
    return _failing(job, "READ_WINDOW", "LOAD", job.bases["PROGRAM"], read_window=window)


def program_outside(job: Job, rng: random.Random) -> Job:
    """The read window ends inside the store stream, the last of the three."""
    queue, index = "store", rng.randrange(len(instructions(job.program)["store"]))
    address = job.instruction(queue, index)
    window = (0, address + rng.choice([-1, 0, ALIGNMENT - 2]))
    # Weights and input lie in front of the program, so that nothing else is outside.
    moved = _below(job)
    last = window[1] - job.bases["PROGRAM"] + moved.bases["PROGRAM"]
    address = moved.instruction(queue, index)
    return _failing(moved, "READ_WINDOW", "LOAD", address, read_window=(window[0], last))


def _below(job: Job) -> Job:
    """Return the job with its program at the end of memory, so that a window can end in it."""
    image = bytearray(job.image)
    image += bytes(-len(image) % ALIGNMENT)
    base = len(image)
    return replace(
        job,
        bases=job.bases | {"PROGRAM": base},
        image=bytes(image + job.program + bytes(ALIGNMENT)),
        read_window=(0, base + len(job.program) - 1),
        guards=guards([(0, base + len(job.program) - 1)], job.guards[1][:1]),
    )


def _loads(job: Job, base: str) -> list[tuple[int, int]]:
    """Return (index, offset) of the loads from a base register."""
    number = isa().bases[base]
    return [
        (index, fields["offset"])
        for index, (name, fields) in enumerate(instructions(job.program)["load"])
        if name == "LOAD" and fields["base"] == number
    ]


def load_outside(base: str) -> Planter:
    """One LOAD's offset leads out of the read window, by little, by much, or by wrapping."""

    def plant(job: Job, rng: random.Random) -> Job:
        index, _ = rng.choice(_loads(job, base))
        here = job.bases[base]
        end = -(-(job.read_window[1] + 1) // ALIGNMENT) * ALIGNMENT
        offsets = [
            end - here,
            2**39,
            2**40 - ALIGNMENT,  # the sum wraps to just below the base, but has a 41st bit
            2**40 - here - ALIGNMENT,
        ]
        if job.read_window[0] < here:
            offsets.append(2**40 - here + job.read_window[0])  # wraps into the window
        program = patch_instruction(job.program, "load", index, offset=rng.choice(offsets))
        return _failing(
            with_program(job, program), "READ_WINDOW", "LOAD", job.instruction("load", index)
        )

    return plant


def store_outside(job: Job, rng: random.Random) -> Job:
    """The write window ends too early, begins too late, or is elsewhere."""
    stores = numbered(job.program, "store", "STORE")
    first, last = job.write_window
    windows = [
        ((first, last - 1), stores[-1]),
        ((first + 1, last), stores[0]),
        ((last + 1, last + 2**20), stores[0]),
        ((first, first), stores[0]),
        ((last, first), stores[0]),
    ]
    window, index = rng.choice(windows)
    return _failing(
        job, "WRITE_WINDOW", "STORE", job.instruction("store", index), write_window=window
    )


def store_wraps(job: Job, rng: random.Random) -> Job:
    """The output's address is beyond the address space; what is left of it is inside the window."""
    if job.bases["OUTPUT"] == 0:  # no offset reaches beyond the address space
        return store_outside(job, rng)
    index = numbered(job.program, "store", "STORE")[0]
    offset = 2**40 - ALIGNMENT * rng.randint(1, min(64, job.bases["OUTPUT"] // ALIGNMENT))
    program = patch_instruction(job.program, "store", index, offset=offset)
    address = job.instruction("store", index)
    return _failing(
        with_program(job, program), "WRITE_WINDOW", "STORE", address, write_window=(0, 2**40 - 1)
    )


def read_beyond_memory(base: str) -> Planter:
    """The window is open, but at the address there is no memory: DECERR."""

    def plant(job: Job, rng: random.Random) -> Job:
        window = (0, 2**40 - 1)
        if base == "PROGRAM":
            bases = job.bases | {"PROGRAM": MEM_BYTES + ALIGNMENT * rng.randrange(1 << 20)}
            return _failing(
                job, "READ_RESPONSE", "LOAD", bases["PROGRAM"], bases=bases, read_window=window
            )
        index, _ = rng.choice(_loads(job, base))
        program = patch_instruction(job.program, "load", index, offset=MEM_BYTES)
        return _failing(
            with_program(job, program),
            "READ_RESPONSE",
            "LOAD",
            job.instruction("load", index),
            read_window=window,
        )

    return plant


def stream_beyond_memory(queue: str) -> Planter:
    """A queue's instructions lie where there is no memory: DECERR for the first of them."""

    def plant(job: Job, rng: random.Random) -> Job:
        offset = MEM_BYTES + ALIGNMENT * rng.randrange(1 << 20)
        program = patch_header(job.program, **{f"{queue}_offset": offset})
        return _failing(
            with_program(job, program),
            "READ_RESPONSE",
            "LOAD",
            job.bases["PROGRAM"] + offset,
            read_window=(0, 2**40 - 1),
        )

    return plant


def write_beyond_memory(job: Job, rng: random.Random) -> Job:
    """The window is open, but at the output's address there is no memory: DECERR."""
    index = numbered(job.program, "store", "STORE")[0]
    program = patch_instruction(job.program, "store", index, offset=MEM_BYTES)
    return _failing(
        with_program(job, program),
        "WRITE_RESPONSE",
        "STORE",
        job.instruction("store", index),
        write_window=(job.bases["OUTPUT"], 2**40 - 1),
    )


def bad_read(response: int) -> Planter:
    """Any beat of a program, its instructions included, is answered with an error."""

    def plant(job: Job, rng: random.Random) -> Job:
        beats = traffic(job.program, job.config).read * 8 // job.config.AXI_DATA_W
        bad = (rng.randint(1, beats), 0, response)
        return replace(job, error=ErrorReport("READ_RESPONSE", "LOAD", None), bad=bad)

    return plant


def bad_write(response: int) -> Planter:
    """Any burst of the output is answered with an error; its data are written all the same."""

    def plant(job: Job, rng: random.Random) -> Job:
        stores = numbered(job.program, "store", "STORE")
        beats = traffic(job.program, job.config).written * 8 // job.config.AXI_DATA_W
        bursts = -(-beats // job.config.BURST_LEN)  # at least
        address = job.instruction("store", stores[0]) if len(stores) == 1 else None
        bad = (0, rng.randint(1, bursts), response)
        return replace(job, error=ErrorReport("WRITE_RESPONSE", "STORE", address), bad=bad)

    return plant


def truncated(queue: str) -> Planter:
    """From an instruction on, a stream holds zeros."""

    def plant(job: Job, rng: random.Random) -> Job:
        count = len(instructions(job.program)[queue])
        index = rng.randrange(count)
        zeros = bytes(ALIGNMENT * (count - index))
        program = patch(job.program, position(job.program, queue, index), zeros)
        address = job.instruction(queue, index)
        return _failing(with_program(job, program), "OPCODE", FRONT_STAGE[queue], address)

    return plant


# Fields of tiles that no projector can do.
BEYOND_PROJECTOR: dict[str, dict[str, int]] = {
    "3 codes along the channels": {"channel": 1, "codes": 3},
    "16 codes along the channels": {"channel": 1, "codes": 16},
    "no code along the channels": {"channel": 1, "codes": 0},
    "9 codes along the kernel": {"codes": 9},
    "no code along the kernel": {"codes": 0},
    "a kernel of 5 rows": {"kernel_h": 5},
    "another number of new columns": {"kernel_w": 2},
    "a stride of 3": {"stride_w": 3, "kernel_w": 3},
    "a sum over pixels": {"row0": 1},
    "three groups of PEs": {"groups": 3},
    "four groups of PEs along the channels": {"channel": 1, "groups": 4},
}
PROJECTED = {
    **{"project": 1, "channel": 0, "codes": 4, "kernel_h": 3, "kernel_w": 1, "stride_w": 1},
    **{"row0": 0, "groups": 1},
}


def bad_domain(**changes: int) -> Planter:
    """A tile in the code domain that the build, or any projector, cannot do."""

    def plant(job: Job, rng: random.Random) -> Job:
        index = rng.choice(numbered(job.program, "compute", "COMPUTE"))
        fields = PROJECTED | changes
        program = patch_instruction(job.program, "compute", index, **fields)
        address = job.instruction("compute", index)
        return _failing(with_program(job, program), "DOMAIN", "MAC", address)

    return plant


WATCHDOG = 4000  # cycles; no memory of these tests is silent for as long, but for one


def token_never_comes(stage: str) -> Planter:
    """The last instruction of a stage, or any LOAD, waits for a token that nobody gives."""

    def plant(job: Job, rng: random.Random) -> Job:
        queue = {"LOAD": "load", "STORE": "store"}.get(stage, "compute")
        kind = {"load": "LOAD", "store": "STORE"}.get(queue, "COMPUTE")
        field = "wait" if queue != "compute" else f"{stage.lower()}_wait"
        users = numbered(job.program, queue, kind)
        index = rng.choice(users) if stage == "LOAD" else users[-1]
        wait = instructions(job.program)[queue][index][1][field] | 1 << rng.choice(FREE_TOKENS)
        program = patch_instruction(job.program, queue, index, **{field: wait})
        address = job.instruction(queue, index)
        job = replace(with_program(job, program), watchdog=WATCHDOG)
        return _failing(job, "WATCHDOG", stage, address)

    return plant


def silent_memory(job: Job, rng: random.Random) -> Job:
    """The first beat takes longer than the watchdog allows."""
    job = replace(job, watchdog=WATCHDOG, timing=Timing(latency=3 * WATCHDOG))
    return _failing(job, "WATCHDOG", "LOAD", job.bases["PROGRAM"])


ERRORS: dict[str, Planter] = {
    "bad magic": bad_magic,
    "bad version": bad_version,
    "bad build id": bad_build,
    "header outside": header_outside,
    "program outside": program_outside,
    "weights outside": load_outside("WEIGHT"),
    "input outside": load_outside("INPUT"),
    "output outside": store_outside,
    "output wraps": store_wraps,
    "program beyond memory": read_beyond_memory("PROGRAM"),
    "weights beyond memory": read_beyond_memory("WEIGHT"),
    "input beyond memory": read_beyond_memory("INPUT"),
    "output beyond memory": write_beyond_memory,
}
ERRORS |= {f"unknown opcode, {queue}": bad_opcode(queue, False) for queue in QUEUES}
ERRORS |= {f"foreign opcode, {queue}": bad_opcode(queue, True) for queue in QUEUES}
ERRORS |= {f"{queue} stream beyond memory": stream_beyond_memory(queue) for queue in QUEUES}

ERRORS |= {f"read answered {name}": bad_read(code) for name, code in RESPONSES.items()}
ERRORS |= {f"write answered {name}": bad_write(code) for name, code in RESPONSES.items()}
ERRORS |= {f"truncated {queue} stream": truncated(queue) for queue in QUEUES}
ERRORS |= {f"a token that {s} never gets": token_never_comes(s) for s in isa().stages}
ERRORS["silent memory"] = silent_memory
ERRORS |= {f"code domain, {what}": bad_domain(**f) for what, f in BEYOND_PROJECTOR.items()}

# Tokens ------------------------------------------------------------------------------------------


def _field(stage: str, what: str) -> tuple[str, str]:
    """Return the queue and the field in which a stage's instructions give or take tokens."""
    if stage in ("LOAD", "STORE"):
        return stage.lower(), what
    return "compute", f"{stage.lower()}_{what}"


# Token -> the queue and field of its givers and of its takers: the k-th take is for the k-th give.
TOKEN_FIELDS = {
    token: (_field(token.name.split("_")[0], "signal"), _field(token.name.split("_")[1], "wait"))
    for token in Token
}


def without_wait(program: bytes, token: Token, every: bool = False) -> bytes:
    """Return the program without its last wait for a token, and without the give that it waits for.

    With `every` all waits for it are gone.

    All counters stay balanced: nothing but the order of two instructions is lost.

    Raises
    ------
    ValueError
        The program has no such wait.
    """
    decoded = instructions(program)
    for queue, field in TOKEN_FIELDS[token]:
        users = [i for i, (_, f) in enumerate(decoded[queue]) if f.get(field, 0) & token.mask]
        if not users:
            raise ValueError(f"no instruction of the {queue} queue uses {token.name}")
        for index in users if every else users[-1:]:
            value = decoded[queue][index][1][field] & ~token.mask
            program = patch_instruction(program, queue, index, **{field: value})
    return program


@dataclass(frozen=True)
class Race:
    """A network and a memory for which the order that a token keeps matters.

    Attributes
    ----------
    build : callable
        Appends the layers to a `NetworkBuilder` with the input's shape; gets T_P and T_C.
    shape : callable
        Shape of the input, from T_P.
    timing : Timing
    smaller : callable
        The program is compiled for a build with these parameters, smaller than those there are.
    every : bool
        One wait alone may be hidden behind others: all waits for the token go.
    """

    build: Callable[[NetworkBuilder, int, int], None]
    shape: Callable[[int], tuple[int, int, int]]
    timing: Timing
    smaller: Callable[[Config], dict[str, int]] = lambda config: {}
    every: bool = False


def _one_layer(filters: int, kernel: int) -> Callable[[NetworkBuilder, int, int], None]:
    def build(builder: NetworkBuilder, t_p: int, t_c: int) -> None:
        builder.conv(filters * t_c, (kernel, kernel), lo=-127, hi=127)

    return build


def _two_layers(builder: NetworkBuilder, t_p: int, t_c: int) -> None:
    builder.conv(t_c, (3, 3), pads=(1, 1, 1, 1), lo=-127, hi=127)
    builder.conv(t_c, (1, 1), lo=-127, hi=127)


def _wide_between(builder: NetworkBuilder, t_p: int, t_c: int) -> None:
    builder.conv(4 * t_c, (1, 1), lo=-127, hi=127)
    builder.conv(t_c, (1, 1), lo=-127, hi=127)


def _small_act(config: Config) -> dict[str, int]:
    return {"ACT_DEPTH": 192 * config.T_C // config.T_P // config.ACT_BANKS}


NEAR = Timing(rate=Fraction(1), latency=2)
FAR = Timing(latency=300)
NARROW = Timing(rate=Fraction(1, 4))  # a byte in four cycles
SLOW = Timing(rate=Fraction(1), latency=300)
RACES = {
    # The weights are far away; the generator must not begin with what lay there before.
    Token.LOAD_WGEN: Race(_one_layer(1, 3), lambda t_p: (t_p, 4, 4), FAR),
    # One or three tiles' alphas fill the memory; the fourth must wait for room.
    Token.WGEN_LOAD: Race(
        _one_layer(4, 3), lambda t_p: (t_p, 14, 14), FAST, lambda config: {"ALPHA_DEPTH": 256}
    ),
    # The sums of one pixel are there long before the parameters.
    Token.LOAD_POST: Race(_one_layer(1, 1), lambda t_p: (t_p, 1, 1), NARROW),
    # Two tiles' parameters fill the memory; the third must not come before the first is used up.
    Token.POST_LOAD: Race(
        _one_layer(8, 1),
        lambda t_p: (t_p, 10, 10),
        FAST,
        lambda config: {"PARAM_DEPTH": 2 * config.T_C // config.Q},
    ),
    # A large input behind few weights.
    Token.LOAD_MAC: Race(_one_layer(1, 1), lambda t_p: (t_p, 10, 10), NARROW),
    # A layer of one tile, which is drained while the next layer could begin.
    Token.POST_MAC: Race(_two_layers, lambda t_p: (t_p, 4, 4), FAST),
    Token.POST_STORE: Race(_one_layer(1, 3), lambda t_p: (t_p, 6, 6), FAST),
    # Tensors that do not fit: rows come while those in their place are still read,
    Token.MAC_LOAD: Race(_two_layers, lambda t_p: (t_p, 16, 16), FAST, _small_act, True),
    # are written before those in their place are stored,
    Token.STORE_POST: Race(_one_layer(4, 1), lambda t_p: (t_p, 16, 16), SLOW, _small_act, True),
    # or come back before they have gone.
    Token.STORE_LOAD: Race(_wide_between, lambda t_p: (t_p, 8, 16), NEAR, _small_act, True),
}


# Residuals ---------------------------------------------------------------------------------------


def _adding(program: bytes, **differences: int) -> bytes:
    """Return the program with fields of all RESIDUALs and of all COMPUTEs that add changed."""
    for index, (name, fields) in enumerate(instructions(program)["compute"]):
        if name == "RESIDUAL" or fields.get("residual"):
            known = {k: fields[k] + d for k, d in differences.items() if k in fields}
            program = patch_instruction(program, "compute", index, **known) if known else program
    return program


def late_image(program: bytes) -> bytes:
    """Return the program with the image loaded behind the parameters that post waits for."""
    loads = instructions(program)["load"]
    memories = isa().memories
    image, param = (
        next(i for i, (_, f) in enumerate(loads) if f.get("memory") == memories[name])
        for name in ("ACT", "PARAM")
    )
    if image > param:
        raise ValueError("the image is loaded behind the parameters already")
    at, end = position(program, "load", image), position(program, "load", param + 1)
    moved = program[at + ALIGNMENT : end] + program[at : at + ALIGNMENT]
    return patch(program, at, moved)


def another_row(program: bytes) -> bytes:
    """Return the program with another pitch of the residual's rows; a tile must read two rows."""
    if not any(f["out_x"] + f["pixels"] > f["out_w"] for f in computes(program) if f["residual"]):
        raise ValueError("every tile lies in one row, where the pitch does not count")
    return _adding(program, res_row=1)


# What must show as a mismatch in a program whose residual is the image.
RESIDUAL_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "dropped": lambda program: _adding(program, residual=-1),
    "another block": lambda program: _adding(program, res_block_first=1),
    "another entry": lambda program: _adding(program, res_base=1),
    "another row": another_row,
    "fewer columns": lambda program: _adding(program, res_w=-1),
    "another multiplier": lambda program: _adding(program, res_scale=-9000),
    "another lift": lambda program: _adding(program, res_lift=-1),
    "before it is there": late_image,
}


def busy_store(compiled: Compiled, count: int) -> Compiled:
    """Return a program that first stores its output's words, not written yet, some times more."""
    program = compiled.program
    header = decode_header(program[:ALIGNMENT])
    at, number = header["store_offset"], numbered(program, "store", "STORE")[0]
    early = patch_instruction(program, "store", number, wait=0, signal=0)
    word = early[at + ALIGNMENT * number :][:ALIGNMENT]
    longer = program[:at] + count * word + program[at:]
    longer = patch_header(longer, store_count=header["store_count"] + count)
    return replace(compiled, program=longer)


def with_low_bits(program: bytes, rng: random.Random) -> bytes:
    """Return the program with random lowest 6 bits in all of its byte offsets."""
    for queue, name in (("load", "LOAD"), ("store", "STORE")):
        decoded = instructions(program)[queue]
        for index in numbered(program, queue, name):
            offset = decoded[index][1]["offset"] + rng.randrange(ALIGNMENT)
            program = patch_instruction(program, queue, index, offset=offset)
    header = decode_header(program[:ALIGNMENT])
    offsets = {f"{q}_offset": header[f"{q}_offset"] + rng.randrange(ALIGNMENT) for q in QUEUES}
    return patch_header(program, **offsets)
