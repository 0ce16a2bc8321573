# SPDX-License-Identifier: Apache-2.0
"""Expected model of the whole engine: what memory holds after a program, and what it moved.

Values come from the golden model's layers; the layout of activations in DRAM is written out here
once more, from its description. Nothing is taken from the compiler but the program itself.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unzipfpga.compiler import Compiled
from unzipfpga.compiler.manifest import Fold
from unzipfpga.config import Config
from unzipfpga.frontend import Network
from unzipfpga.isa import decode, decode_header, isa
from verif.host import MemoryTiming as Timing
from verif.host import Window
from verif.refmodel import codes, layers

Ints = NDArray[np.integer]
FAST = Timing()
Map = tuple[int, int, int]  # channels, rows, columns
PAGE = 4096  # bytes
ALIGNMENT = 64  # bytes; of every address that a program names
MEM_BYTES = 1 << 23  # of the simulated memory; beyond it everything answers DECERR

# Values ------------------------------------------------------------------------------------------


def golden(network: Network, image: Ints) -> NDArray[np.int64]:
    """Return a network's output for integer activations, by the golden model's layers.

    Parameters
    ----------
    network : Network
    image : int array [C, H, W] or [features]

    Returns
    -------
    int64 array of the output's shape
    """
    bits = layers.accumulator_bits(network.dw)
    tensors: dict[str, Ints] = {network.input: np.asarray(image, np.int64)[np.newaxis]}
    for layer in network.layers:
        x = tensors[layer.input]
        if layer.kind == "flatten":
            y: Ints = x.reshape(len(x), -1)
        elif layer.kind == "maxpool":
            y = layers.max_pool(x, layer.kernel, layer.stride, layer.pads)
        elif layer.kind == "concat":
            y = np.concatenate([tensors[name] for name in layer.inputs], axis=1)
        else:
            assert layer.weights is not None and layer.bias is not None and layer.m is not None
            weights: Ints = layer.weights
            if layer.axis == "channel":
                assert layer.alphas is not None
                taps = layer.alphas.shape[2]
                channels = weights[0].size // taps
                generated = codes.channel_weights(layer.alphas, layer.codes, channels, (taps, 1))
                weights = generated.reshape(weights.shape)
            elif layer.alphas is not None:
                weights = codes.kernel_weights(layer.alphas, layer.codes, layer.kernel[0])
            if layer.kind == "conv":
                acc = layers.conv2d(x, weights, layer.stride, layer.pads, layer.groups, bits)
            elif layer.kind == "avgpool":
                acc = layers.sum_pool(x, layer.kernel, layer.stride, layer.pads, bits)
            elif layer.kind == "gap":
                acc = layers.sum_pool(x, x.shape[2:], acc_bits=bits)
            elif x.ndim == 4:
                acc = layers.global_average_pool_fully_connected(x, weights, bits)
            else:
                acc = layers.fully_connected(x, weights, bits)
            residual = None if layer.residual is None else tensors[layer.residual]
            m: Ints = layer.m
            if layer.counts:
                size = (x.shape[2], x.shape[3])
                pixels = layers.window_pixels(size, layer.kernel, layer.stride, layer.pads)
                m = m[np.searchsorted(layer.counts, pixels)].transpose(2, 0, 1)
            y = layers.post_process(
                *(acc, layer.bias, m, layer.s, layer.lo, layer.hi, residual),
                *(layer.m_r, layer.t),
            )
        tensors[layer.output] = y
    result: NDArray[np.int64] = tensors[network.output][0].astype(np.int64)
    return result


def as_map(values: Ints) -> Ints:
    """Return activations as [C, H, W]: features are channels of one pixel."""
    return values if values.ndim == 3 else values.reshape(-1, 1, 1)


def plane_pitch(shape: Map, t_p: int, dw: int) -> int:
    """Return the bytes from a channel block to the next: blocks of several pixels are aligned."""
    size = shape[1] * shape[2] * t_p * dw // 8
    return size if shape[1] * shape[2] == 1 else -(-size // ALIGNMENT) * ALIGNMENT


def _place(shape: Map, at: tuple[int, int, int], t_p: int, dw: int) -> int:
    """Return the byte offset of activation [c, y, x]."""
    c, y, x = at
    word = (y * shape[2] + x) * t_p + c % t_p
    return c // t_p * plane_pitch(shape, t_p, dw) + word * dw // 8


def map_bytes(shape: Map, t_p: int, dw: int) -> int:
    """Return the bytes of a tensor in DRAM, up to its last word."""
    blocks = -(-shape[0] // t_p)
    return (blocks - 1) * plane_pitch(shape, t_p, dw) + shape[1] * shape[2] * t_p * dw // 8


def to_dram(values: Ints, t_p: int, dw: int) -> bytes:
    """Return activations [C, H, W] as they lie in DRAM: blocks of T_P channels, then y, then x.

    Channels past the last one are 0, and so are the bytes between blocks. dw/8 bytes an activation,
    little endian.
    """
    shape = values.shape[0], values.shape[1], values.shape[2]
    size = dw // 8
    data = bytearray(map_bytes(shape, t_p, dw))
    for place in product(*map(range, shape)):
        at = _place(shape, place, t_p, dw)
        data[at : at + size] = int(values[place]).to_bytes(size, "little", signed=True)
    return bytes(data)


def from_dram(data: bytes, shape: Map, t_p: int, dw: int) -> NDArray[np.int64]:
    """Return activations [C, H, W] from DRAM: the inverse of `to_dram`."""
    size = dw // 8
    values = np.zeros(shape, np.int64)
    for place in product(*map(range, shape)):
        at = _place(shape, place, t_p, dw)
        values[place] = int.from_bytes(data[at : at + size], "little", signed=True)
    return values


def folded_pixels(
    fold: Fold | None, image: Map, stored: Map
) -> Iterator[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """Yield (stored place, image place), both [c, y, x], of everything that an input image stores.

    Without a fold they are the same. Places outside the image, which are 0, are left out.
    """
    fold = fold or Fold(phases=(1, 1), step=(1, 1), offset=(0, 0))
    (rows, columns), (step_y, step_x), (offset_y, offset_x) = fold.phases, fold.step, fold.offset
    channels, height, width = image
    for c, i, j in product(range(channels), range(rows), range(columns)):
        for y, x in product(range(stored[1]), range(stored[2])):
            at_y, at_x = step_y * y + i + offset_y, step_x * x + j + offset_x
            if 0 <= at_y < height and 0 <= at_x < width:
                yield ((c * rows + i) * columns + j, y, x), (c, at_y, at_x)


# Programs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ErrorReport:
    """What the error registers must show: code and stage by their names, byte address.

    Without an address, it is that of any LOAD, of an instruction, or of the header.
    """

    code: str
    stage: str
    address: int | None


@dataclass(frozen=True)
class Scratch:
    """Words of the output that are left behind SCRATCH_BASE, too: (from, to), byte offsets."""

    words: tuple[tuple[int, int], ...]
    word_bytes: int


@dataclass(frozen=True, eq=False)
class Job:
    """A program in memory, ready to be run.

    Attributes
    ----------
    name : str
        For messages.
    network : Network
    config : Config
    program : bytes
    bases : dict of str to int
        Base register -> byte address.
    read_window, write_window : (first, last)
        Byte addresses.
    image : bytes
        Contents of the memory from address 0 on; what no one should touch is random.
    timing : Timing
    steps : int
        Steps of the array, as the compiler says.
    stored : (channels, rows, columns)
        The input as it is stored.
    fold : Fold or None
        How it is stored.
    error : ErrorReport or None
        What the run must end with, None for its normal end.
    marks : tuple of (stage, id)
        In the order of their queues; only the order within a stage is certain.
    scratch : Scratch or None
        What the run leaves behind SCRATCH_BASE.
    unknown : (first, end)
        Bytes that the run may leave in any state: the compiler's scratch region.
    guards : (windows, windows)
        Where the memory is read and written at all: its guards.
    watchdog : int
        What the register WATCHDOG is set to.
    bad : (read, write, response)
        Number of the read beat or write burst that the memory answers with an error, from 1 on.
    """

    name: str
    network: Network
    config: Config
    program: bytes
    bases: dict[str, int]
    read_window: tuple[int, int]
    write_window: tuple[int, int]
    image: bytes
    timing: Timing
    steps: int
    stored: Map
    fold: Fold | None = None
    error: ErrorReport | None = None
    marks: tuple[tuple[str, int], ...] = ()
    scratch: Scratch | None = None
    unknown: Window = (0, 0)
    guards: tuple[tuple[Window, ...], tuple[Window, ...]] = ((), ())
    watchdog: int = 0
    bad: tuple[int, int, int] = (0, 0, 0)

    @property
    def input_map(self) -> Map:
        """[C, H, W] of the input, features as channels."""
        return _map_shape(self.network.tensors[self.network.input].shape)

    @property
    def output_map(self) -> Map:
        """[C, H, W] of the output as stored.

        A map that is flattened at the end is stored as the map that it was.
        """
        name = self.network.output
        made_by = {layer.output: layer for layer in self.network.layers}
        while made_by[name].kind == "flatten":
            name = made_by[name].input
        return _map_shape(self.network.tensors[name].shape)

    def instruction(self, queue: str, index: int) -> int:
        """Return the byte address of an instruction."""
        header = decode_header(self.program[:ALIGNMENT])
        return self.bases["PROGRAM"] + header[f"{queue}_offset"] + ALIGNMENT * index


def _map_shape(shape: tuple[int, ...]) -> Map:
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def place(
    name: str,
    network: Network,
    compiled: Compiled,
    config: Config,
    rng: random.Random,
    timing: Timing = FAST,
) -> Job:
    """Place a program, its weights, a random input and the output at random addresses.

    The four pieces come in random order, at any multiple of 64, with random bytes around them.
    The read window holds the first three pieces, as tightly as their order allows; the write window
    holds exactly the output's words.
    """
    limit = (1 << (config.DW - 1)) - 1
    values = np.array([rng.randint(-limit, limit) for _ in range(_size(network))])
    image_map = _map_shape(network.tensors[network.input].shape)
    manifest = compiled.manifest.input
    stored = (manifest.stored[0], manifest.stored[1], manifest.stored[2])
    data_in = np.zeros(stored, np.int64)
    for place_in, pixel in folded_pixels(manifest.fold, image_map, stored):
        data_in[place_in] = values.reshape(image_map)[pixel]
    pieces = {
        "PROGRAM": compiled.program,
        "WEIGHT": compiled.weights,
        "INPUT": to_dram(data_in, config.T_P, config.DW),
        "OUTPUT": b"",
    }
    scratch = compiled.manifest.scratch_bytes
    if scratch:
        pieces["SCRATCH"] = b""
    job = Job(name, network, config, compiled.program, {}, (0, 0), (0, 0), b"", timing, 0, stored)
    out_bytes = map_bytes(job.output_map, config.T_P, config.DW)
    order = list(pieces)
    rng.shuffle(order)
    bases, at = {}, 0
    for piece in order:
        at += ALIGNMENT * rng.choice([0, 1, rng.randint(2, 20), PAGE // ALIGNMENT])
        bases[piece] = at
        at += len(pieces[piece]) or (out_bytes if piece == "OUTPUT" else scratch)
        at = -(-at // ALIGNMENT) * ALIGNMENT
    image = bytearray(rng.randbytes(at + ALIGNMENT * rng.randint(1, 8)))
    for piece, data in pieces.items():
        image[bases[piece] : bases[piece] + len(data)] = data
    beat = config.AXI_DATA_W // 8
    read = [(bases[p], bases[p] + -(-len(d) // beat) * beat) for p, d in pieces.items() if d]
    written = [(bases["OUTPUT"], bases["OUTPUT"] + out_bytes)]
    if scratch:
        written.append((bases["SCRATCH"], bases["SCRATCH"] + scratch))
        read.append(written[1])
    reads = (min(first for first, _ in read), max(end for _, end in read) - 1)
    writes = (min(first for first, _ in written), max(end for _, end in written) - 1)
    return replace(
        job,
        bases=bases,
        read_window=reads,
        write_window=(writes[0], -(-(writes[1] + 1) // beat) * beat - 1),
        guards=guards([reads], [writes]),
        unknown=written[1] if scratch else (0, 0),
        image=bytes(image),
        steps=sum(layer.steps for layer in compiled.manifest.layers),
        fold=manifest.fold,
        marks=program_marks(compiled.program),
    )


def guards(
    reads: Sequence[Window], writes: Sequence[Window]
) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """Return guards that allow a window each, and what lies beyond the memory."""
    beyond = (MEM_BYTES, (1 << 40) - 1)
    return (*reads, beyond), (*writes, beyond)


def _size(network: Network) -> int:
    return int(np.prod(network.tensors[network.input].shape))


def with_program(job: Job, program: bytes, **changes: object) -> Job:
    """Return the job with another program of the same length in its place."""
    assert len(program) == len(job.program)
    image = bytearray(job.image)
    base = job.bases["PROGRAM"]
    image[base : base + len(program)] = program
    return replace(job, program=program, image=bytes(image), **changes)  # type: ignore[arg-type]


def instructions(program: bytes) -> dict[str, list[tuple[str, dict[str, int]]]]:
    """Return the instructions of each queue, decoded."""
    header = decode_header(program[:ALIGNMENT])
    result = {}
    for queue in ("load", "compute", "store"):
        first = header[f"{queue}_offset"] // ALIGNMENT * ALIGNMENT
        result[queue] = [
            decode(program[at : at + ALIGNMENT])
            for at in range(first, first + ALIGNMENT * header[f"{queue}_count"], ALIGNMENT)
        ]
    return result


def program_marks(program: bytes) -> tuple[tuple[str, int], ...]:
    """Return the marks of a program as (stage, id)."""
    stages = {"load": ["LOAD"], "compute": ["WGEN", "MAC", "POST"], "store": ["STORE"]}
    return tuple(
        (stage, fields["id"])
        for queue, items in instructions(program).items()
        for name, fields in items
        if name == "MARK"
        for stage in stages[queue]
        if fields["stages"] >> isa().stages[stage] & 1
    )


@dataclass(frozen=True)
class Traffic:
    """Bytes on the bus, whole beats, and steps of the array, as a program asks for them."""

    read: int
    written: int
    steps: int


def traffic(program: bytes, config: Config) -> Traffic:
    """Return what a program moves, its own instructions included, and the array's steps."""
    beat = config.AXI_DATA_W // 8
    word = config.T_P * config.DW // 8
    sizes = {"ACT": word, "ALPHA": word * config.G, "PARAM": 8 * config.Q}
    memories = {number: name for name, number in isa().memories.items()}
    read, written, steps = ALIGNMENT, 0, 0

    def beats(f: dict[str, int], size: int) -> int:
        """Return the bytes of the beats that hold a LOAD's or STORE's runs."""
        return f["words"] // f["run"] * (-(-f["run"] * size // beat) * beat)

    for items in instructions(program).values():
        for name, f in items:
            read += ALIGNMENT
            if name == "LOAD":
                read += beats(f, sizes[memories[f["memory"]]])
            elif name == "STORE":
                written += beats(f, word)
            elif name == "COMPUTE":
                rows = -(-f["pixels"] // f["groups"])
                if not f["project"]:
                    of_row = f["blocks"] * f["kernel_h"] * f["kernel_w"]
                elif f["channel"]:
                    of_row = -(-f["blocks"] * f["codes"] // 16) * f["kernel_h"] * f["kernel_w"]
                else:
                    of_row = f["blocks"] * f["codes"]
                steps += rows * of_row
    return Traffic(read, written, steps)


# Predictions -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Start:
    """A START as the monitors saw it.

    Attributes
    ----------
    edge : int
        Number of the clock edge at which the register was written.
    registers : dict of str to int
        What software wrote to the registers before.
    image : bytes
        What the memory was loaded with.
    """

    edge: int
    registers: dict[str, int]
    image: bytes

    def register64(self, name: str) -> int:
        """Return a register pair."""
        return self.registers.get(f"{name}_LO", 0) | self.registers.get(f"{name}_HI", 0) << 32

    def base(self, name: str) -> int:
        """Return the address in a base register; its lowest 6 bits do not count (ER-009)."""
        return self.register64(f"{name}_BASE") // ALIGNMENT * ALIGNMENT


@dataclass(frozen=True)
class Mark:
    """One entry of the trace buffer."""

    stage: str
    id: int
    counters: tuple[int, ...]  # cycles first


@dataclass(eq=False)
class Observation:
    """A run as the monitors saw it, from START to the dump of the memory.

    Attributes
    ----------
    start : Start
    interrupts : list of int
        Clock edges at which the interrupt rose.
    soft_reset : int or None
        Clock edge at which a soft reset was written during the run or after its normal end.
    reads : dict of str to int
        The latest value read from each register.
    marks : list of Mark or None
        The trace buffer, if it was read.
    read_bytes, written_bytes : int
        What the memory counted.
    memory : bytes
        The memory's contents from address 0 on.
    """

    start: Start
    interrupts: list[int] = field(default_factory=list)
    soft_reset: int | None = None
    reads: dict[str, int] = field(default_factory=dict)
    marks: list[Mark] | None = None
    read_bytes: int = 0
    written_bytes: int = 0
    memory: bytes = b""

    def read64(self, name: str) -> int:
        """Return a register pair as read."""
        return self.reads[f"{name}_LO"] | self.reads[f"{name}_HI"] << 32


Outcome = Literal["done", "error", "aborted"]


@dataclass(eq=False)
class Prediction:
    """What a run must do.

    Attributes
    ----------
    job : Job
    outcome : {"done", "error", "aborted"}
    before, after : bytes
        The memory before the run and after its normal end.
    traffic : Traffic or None
        Only for the normal end.
    """

    job: Job
    outcome: Outcome
    before: bytes
    after: bytes
    traffic: Traffic | None


def predict(job: Job, start: Start) -> Prediction:
    """Predict a run from what the memory and the registers held at its start."""
    base = start.base("INPUT")
    t_p, dw = job.config.T_P, job.config.DW
    size = map_bytes(job.stored, t_p, dw)
    data = start.image[base : base + size].ljust(size, b"\0")
    stored = from_dram(data, job.stored, t_p, dw)
    image = np.zeros(job.input_map, np.int64)  # pixels that no window reads need not be stored
    for at, pixel in folded_pixels(job.fold, job.input_map, job.stored):
        image[pixel] = stored[at]
    shape = job.network.tensors[job.network.input].shape
    result = golden(job.network, image.reshape(shape)).reshape(job.output_map)
    output = to_dram(result, t_p, dw)
    after = bytearray(start.image)
    first, pitch = start.base("OUTPUT"), plane_pitch(job.output_map, t_p, dw)
    plane = job.output_map[1] * job.output_map[2] * t_p * dw // 8
    for at in range(0, len(output), pitch):  # the bytes between blocks are not written
        if first + at < len(after):
            after[first + at : first + at + plane] = output[at : at + plane]
    for source, target in job.scratch.words if job.scratch else ():
        assert job.scratch is not None
        at = start.base("SCRATCH") + target
        after[at : at + job.scratch.word_bytes] = output[source : source + job.scratch.word_bytes]
    return Prediction(
        job,
        "error" if job.error else "done",
        start.image,
        bytes(after),
        None if job.error else traffic(job.program, job.config),
    )


# From the clock edge at which START is written to that at which the interrupt has risen it takes so
# many cycles more than CYCLES counts (EN-004).
START_TO_INTERRUPT = 4
MAC_CYCLES = ("MAC_ACTIVE", "WAIT_WEIGHTS", "WAIT_LOADS", "WAIT_POST")


def differs(expected: Prediction, seen: Observation) -> str:
    """Say what differs between a prediction and a run; "" if nothing."""
    check = {"done": _done_differs, "error": _error_differs, "aborted": _aborted_differs}
    texts = check[expected.outcome](expected, seen)
    texts += _memory_differs(expected, seen)
    return f"{expected.job.name}: " + "; ".join(texts) if texts else ""


def _compare(texts: list[str], what: str, seen: object, expected: object) -> None:
    if seen != expected:
        texts.append(f"{what} is {seen}, expected {expected}")


def _done_differs(expected: Prediction, seen: Observation) -> list[str]:
    texts: list[str] = []
    _compare(texts, "STATUS", seen.reads["STATUS"], 2 if seen.soft_reset is None else 0)
    _compare(texts, "number of interrupts", len(seen.interrupts), 1)
    _compare(texts, "IRQ_STATE", seen.reads["IRQ_STATE"], 1)
    _compare(texts, "ERROR_CODE", seen.reads["ERROR_CODE"], 0)
    _compare(texts, "ERROR_ADDR", seen.read64("ERROR_ADDR"), 0)
    assert expected.traffic is not None
    _compare(texts, "bytes read from memory", seen.read_bytes, expected.traffic.read)
    _compare(texts, "bytes written to memory", seen.written_bytes, expected.traffic.written)
    _compare(texts, "BYTES_READ", seen.read64("BYTES_READ"), seen.read_bytes)
    _compare(texts, "BYTES_WRITTEN", seen.read64("BYTES_WRITTEN"), seen.written_bytes)
    _compare(texts, "MAC_ACTIVE", seen.read64("MAC_ACTIVE"), expected.traffic.steps)
    _compare(texts, "steps in the manifest", expected.job.steps, expected.traffic.steps)
    cycles = seen.read64("CYCLES")
    if seen.interrupts and seen.start.registers["IRQ_ENABLE"] & 1:
        measured = seen.interrupts[0] - seen.start.edge - START_TO_INTERRUPT
        _compare(texts, "CYCLES", cycles, measured)
    used = {name: seen.read64(name) for name in MAC_CYCLES}
    if sum(used.values()) > cycles:
        texts.append(f"the MAC stage's cycles {used} add up to more than CYCLES, {cycles}")
    if seen.marks is not None:
        texts += _marks_differ(expected, seen.marks, seen)
    return texts


def _marks_differ(expected: Prediction, marks: list[Mark], seen: Observation) -> list[str]:
    texts: list[str] = []
    planned = expected.job.marks
    _compare(texts, "TRACE_COUNT", seen.reads["TRACE_COUNT"], len(planned))
    planned = planned[: expected.job.config.TRACE_DEPTH]
    if len(planned) < len(expected.job.marks):
        return texts  # which ones were dropped depends on the stages' progress
    for stage in isa().stages:
        _compare(
            texts,
            f"marks of {stage}",
            [m.id for m in marks if m.stage == stage],
            [number for name, number in planned if name == stage],
        )
    names = ["CYCLES", *MAC_CYCLES, "BYTES_READ", "BYTES_WRITTEN"]
    last: tuple[int, ...] = (0,) * len(names)
    for mark in [*marks, Mark("end", 0, tuple(seen.read64(n) for n in names))]:
        fell = [n for n, a, b in zip(names, last, mark.counters, strict=True) if b < a]
        if fell:
            texts.append(f"{', '.join(fell)} fell before mark {mark}")
        last = mark.counters
    # A layer's marks: MAC before its first step (2*i), POST behind its last output (2*i + 1).
    at = {(m.stage, m.id): m.counters for m in marks}
    for (stage, number), counters in at.items():
        begin = at.get(("MAC", number - 1)) if stage == "POST" else None
        if begin is not None and counters[0] <= begin[0]:
            texts.append(f"layer {number // 2} ends before it begins")
    return texts


def _error_differs(expected: Prediction, seen: Observation) -> list[str]:
    texts: list[str] = []
    error = expected.job.error
    assert error is not None
    _compare(texts, "STATUS", seen.reads["STATUS"], 4)
    _compare(texts, "number of interrupts", len(seen.interrupts), 1)
    _compare(texts, "IRQ_STATE", seen.reads["IRQ_STATE"], 2)
    codes_by_number = {e.code: name for name, e in isa().errors.items()}
    stages = {number: name for name, number in isa().stages.items()}
    register = seen.reads["ERROR_CODE"]
    report = ErrorReport(
        codes_by_number.get(register & 0xFF, str(register & 0xFF)),
        stages.get(register >> 8, str(register >> 8)),
        seen.read64("ERROR_ADDR"),
    )
    if error.address is None:
        first = expected.job.bases["PROGRAM"]
        if report.address in range(first, first + len(expected.job.program), ALIGNMENT):
            report = replace(report, address=None)
    _compare(texts, "the error", report, error)
    return texts


def _aborted_differs(expected: Prediction, seen: Observation) -> list[str]:
    texts: list[str] = []
    _compare(texts, "STATUS", seen.reads["STATUS"], 0)
    _compare(texts, "ERROR_CODE", seen.reads["ERROR_CODE"], 0)
    _compare(texts, "interrupts", seen.interrupts, [])
    return texts


def _memory_differs(expected: Prediction, seen: Observation) -> list[str]:
    """Compare every byte. A run that did not reach its end has written a part of the output."""
    if len(seen.memory) != len(expected.after):
        return [f"{len(seen.memory)} bytes of memory seen, expected {len(expected.after)}"]
    now = np.frombuffer(seen.memory, np.uint8)
    after = np.frombuffer(expected.after, np.uint8)
    before = np.frombuffer(expected.before, np.uint8)
    wrong = now != after
    unknown = expected.job.unknown
    wrong[slice(*unknown)] = False
    if expected.outcome != "done":
        beat = expected.job.config.AXI_DATA_W // 8
        shape = (-1, beat)
        size = len(now) // beat * beat
        untouched = (now[:size].reshape(shape) == before[:size].reshape(shape)).all(axis=1)
        wrong[:size] &= ~np.repeat(untouched, beat)
        wrong[size:] &= now[size:] != before[size:]
        beats = int((~untouched).sum())
        # Beyond the memory nothing is written; a refused burst is.
        lost = expected.job.error is not None and expected.job.error.code == "WRITE_RESPONSE"
        lost = lost and not expected.job.bad[1]
        if unknown == (0, 0) and beats * beat != (0 if lost else seen.written_bytes):
            return [
                f"{seen.written_bytes} bytes written, but {beats} beats of {beat} bytes changed"
            ]
    places = np.flatnonzero(wrong)
    if not len(places):
        return []
    first = int(places[0])
    base = expected.job.bases["OUTPUT"] // ALIGNMENT * ALIGNMENT
    config = expected.job.config
    size = map_bytes(expected.job.output_map, config.T_P, config.DW)
    where = "outside the output"
    if base <= first < base + size:
        _, _, width = expected.job.output_map
        pitch = plane_pitch(expected.job.output_map, config.T_P, config.DW)
        block, rest = divmod(first - base, pitch)
        pixel, lane = divmod(rest * 8 // config.DW, config.T_P)
        y, x = divmod(pixel, width)
        where = f"channel {block * config.T_P + lane}, y {y}, x {x}"
    return [
        f"{len(places)} bytes of memory are wrong, the first at {first:#x} ({where}): "
        f"{now[first]:#04x}, expected {after[first]:#04x}"
    ]
