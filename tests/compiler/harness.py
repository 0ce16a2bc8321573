# SPDX-License-Identifier: Apache-2.0
"""Runs compiled networks in the interpreter, and edits programs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.compiler.interpreter import Engine, Pace, eager, lazy, shuffled
from unzipfpga.compiler import Compiled, DomainChoice, compile_model, pack_input, unpack_output
from unzipfpga.config import Config
from unzipfpga.frontend import Network, write_converted
from unzipfpga.frontend.network import limit_of
from unzipfpga.isa import decode, decode_header, encode, encode_header
from unzipfpga.sim import Memory
from verif.refmodel import model as refmodel

Streams = dict[str, list[tuple[str, dict[str, int]]]]


def interpret(compiled: Compiled, images: np.ndarray, pace: Pace = eager) -> np.ndarray:
    """Outputs of integer images, each on an engine whose memories hold other random contents."""
    results = []
    for index, image in enumerate(images):
        engine = Engine(compiled.manifest.parameters, index)
        data = pack_input(compiled.manifest, image[np.newaxis])
        size = compiled.manifest.output.bytes
        scratch = compiled.manifest.scratch_bytes
        output = engine.run(compiled.program, compiled.weights, data, size, pace, scratch)
        results.append(unpack_output(compiled.manifest, output)[0])
    return np.stack(results)


def compile_random(
    network: Network,
    config: Config,
    folder: Path,
    fold: bool = True,
    choice: DomainChoice | None = None,
    memory: Memory | None = None,
) -> tuple[Compiled, refmodel.Model]:
    """Write a network as a file, and read the file with the compiler and with the golden model."""
    path = folder / "network.onnx"
    write_converted(network, path)
    compiled = compile_model(path, "random", config, fold=fold, memory=memory, choice=choice)
    return compiled, refmodel.load(path)


def random_images(compiled: Compiled, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    limit = limit_of(compiled.manifest.parameters["DW"])
    return rng.integers(-limit, limit + 1, (count, *compiled.manifest.input.shape))


def take_apart(program: bytes) -> Streams:
    header = decode_header(program[:64])
    streams: Streams = {}
    for queue in ("load", "compute", "store"):
        start, count = header[f"{queue}_offset"], header[f"{queue}_count"]
        streams[queue] = [decode(program[start + 64 * i :][:64]) for i in range(count)]
    return streams


def put_together(streams: Streams, config: Config) -> bytes:
    body, header = b"", {"build_id": config.build_id()}
    for queue, instructions in streams.items():
        header |= {f"{queue}_offset": 64 + len(body), f"{queue}_count": len(instructions)}
        body += b"".join(encode(name, **fields) for name, fields in instructions)
    return encode_header(**header) + body


def edited(program: bytes, config: Config, edit: Callable[[Streams], object]) -> bytes:
    """The program after `edit` has changed its streams."""
    streams = take_apart(program)
    edit(streams)
    return put_together(streams, config)


def check_images(compiled: Compiled, golden: refmodel.Model, seed: int = 0) -> None:
    """Compare outputs of random images, at several paces of the stages, with the golden model's."""
    images = random_images(compiled, 2, seed)
    wanted = golden.run_int(images)
    assert len(np.unique(wanted)) > 3
    for pace in (eager, lazy, shuffled(seed)):
        np.testing.assert_array_equal(interpret(compiled, images, pace), wanted)


# Where an instruction holds the tokens of its stages: (queue, instruction, field).
WAITS = [("load", "LOAD", "wait"), ("store", "STORE", "wait")]
WAITS += [("compute", "COMPUTE", f"{stage}_wait") for stage in ("wgen", "mac", "post")]
SIGNALS = [(queue, name, field.replace("wait", "signal")) for queue, name, field in WAITS]
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
