# SPDX-License-Identifier: Apache-2.0
"""Run a compiled network on the RTL in simulation.

The simulation is built from the RTL of the repository (``verif/runner.py``), so this needs a source
checkout. No Python runs while the engine works.
"""

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unzipfpga.compiler import Compiled, manifest_config, pack_input, unpack_output
from unzipfpga.config import load_config
from unzipfpga.errors import UnzipError
from unzipfpga.source_tree import import_from_tree

PAGE = 4096
DEFAULT_MEMORY_BYTES = 1 << 23
MAX_MEMORY_BYTES = 1 << 30
MAX_DENOMINATOR = 4096  # of the bandwidth
MAX_LATENCY = 30_000  # cycles


class SimulationError(UnzipError):
    """A simulation that cannot be built or run, or that did not end as it should."""


@dataclass(frozen=True)
class Memory:
    """Timing of the simulated DRAM.

    Attributes
    ----------
    bytes_per_cycle : Fraction or float
        Bandwidth that reads and writes share; 0 for no limit.
    latency : int
        Cycles from a read address to its first beat, and from the last beat of a write to its
        answer, at least 2.
    stall : float
        Chance that a channel stalls in a cycle.
    latency_spread : int
        At random so many cycles more.
    jitter : bool
        The bandwidth varies from cycle to cycle; on average it is the same.
    """

    bytes_per_cycle: Fraction | float = 0.0
    latency: int = 32
    stall: float = 0.0
    latency_spread: int = 0
    jitter: bool = False

    @property
    def rate(self) -> Fraction:
        """Bytes a cycle as the simulated memory counts them."""
        return Fraction(self.bytes_per_cycle).limit_denominator(MAX_DENOMINATOR)

    def __post_init__(self) -> None:
        """Refuse what the simulated memory cannot do."""
        if not 2 <= self.latency <= MAX_LATENCY or not 0 <= self.latency_spread <= MAX_LATENCY:
            raise SimulationError(
                f"a latency of {self.latency} to {self.latency + self.latency_spread} cycles; "
                f"allowed: 2 to {MAX_LATENCY}, and as much at random"
            )
        if self.bytes_per_cycle < 0 or self.rate.numerator >= 1 << 24:
            raise SimulationError(f"{float(self.bytes_per_cycle)} bytes a cycle: not a bandwidth")
        if self.bytes_per_cycle and not self.rate:
            raise SimulationError(f"{float(self.bytes_per_cycle)} bytes a cycle: too little")
        if not 0 <= self.stall < 1:
            raise SimulationError(f"a stall chance of {self.stall}: not from 0 to less than 1")


@dataclass(frozen=True)
class NetworkRun:
    """What a run gave.

    Attributes
    ----------
    outputs : int32 array [N, *output shape]
    counters : list of dict
        The engine's performance counters, one dictionary an image.
    marks : list of dict
        The trace buffer after the first image.
    starved : int
        Cycles of all images in which a beat waited for the memory's bandwidth alone.
    seconds : float
        Wall-clock time of the simulation, the build left out.
    waves : pathlib.Path or None
        The FST file, if one was asked for.
    """

    outputs: NDArray[np.int32]
    counters: list[dict[str, int]]
    marks: list[dict[str, Any]]
    seconds: float
    starved: int = 0
    waves: Path | None = None

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Cycles of each image, from start to the end of its last write."""
        return np.array([c["CYCLES"] for c in self.counters], np.int64)


def _align(value: int) -> int:
    return -(-value // PAGE) * PAGE


def simulated_bytes(compiled: Compiled, images: int) -> int:
    """Return the bytes of simulated memory that a run needs: a power of two."""
    manifest = compiled.manifest
    each = manifest.input.bytes + manifest.output.bytes
    needed = len(compiled.program) + len(compiled.weights) + images * each
    needed += manifest.scratch_bytes + 5 * PAGE
    return max(DEFAULT_MEMORY_BYTES, 1 << (needed - 1).bit_length())


def run_network(
    compiled: Compiled,
    images: ArrayLike,
    *,
    sim: str = "verilator",
    memory: Memory = Memory(),
    seed: int = 1,
    waves: bool = False,
    max_cycles: int = 50_000_000,
    progress: Callable[[int], None] | None = None,
    least_memory: int = DEFAULT_MEMORY_BYTES,
) -> NetworkRun:
    """Run images through the RTL of the build that a network was compiled for.

    Parameters
    ----------
    compiled : Compiled
    images : array [N, *input shape]
        Real, or integers; see `unzipfpga.compiler.pack_input`.
    sim : {"verilator", "icarus"}
    memory : Memory
    seed : int
        Of the initial state of registers and memories, and of the memory's stalls.
    waves : bool
        Write an FST file.
    max_cycles : int
        Limit for one image.
    progress : callable, optional
        Called with the number of finished images as it changes.
    least_memory : int
        Bytes of the simulated memory, a power of two, unless the run needs more: runs that name the
        same share a build.

    Raises
    ------
    SimulationError
        The simulation could not be built or run, or an image ended with an error.
    DataError
        Images of the wrong shape or range.
    """
    runner = import_from_tree("verif.runner")
    host = import_from_tree("verif.host")
    manifest = compiled.manifest
    config = manifest_config(manifest)
    data = pack_input(manifest, images)
    count = len(data) // manifest.input.bytes
    bases = {"PROGRAM": 0, "WEIGHT": _align(len(compiled.program))}
    bases["INPUT"] = _align(bases["WEIGHT"] + len(compiled.weights))
    bases["OUTPUT"] = _align(bases["INPUT"] + len(data))
    bases["SCRATCH"] = _align(bases["OUTPUT"] + count * manifest.output.bytes)
    needed = bases["SCRATCH"] + manifest.scratch_bytes
    memory_bytes = max(least_memory, simulated_bytes(compiled, count))
    if memory_bytes > MAX_MEMORY_BYTES:
        raise SimulationError(
            f"{count} images need {needed} bytes of simulated memory, of which there are at most "
            f"{MAX_MEMORY_BYTES}; run fewer images at a time"
        )
    image = bytearray(bases["OUTPUT"])
    for base, part in (
        ("PROGRAM", compiled.program),
        ("WEIGHT", compiled.weights),
        ("INPUT", data),
    ):
        image[bases[base] : bases[base] + len(part)] = part

    # Kept if the run fails, so that the command in the error can repeat it.
    (runner.BUILD / "network").mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=runner.BUILD / "network"))
    job = {
        "image_file": str(directory / "image.hex"),
        "output_file": str(directory / "output.bin"),
        "result_file": str(directory / "result.json"),
        "progress_file": str(directory / "progress"),
        "bases": bases,
        # What is stored in the scratch region is loaded again; without one, outputs are not read.
        "read_last": (needed if manifest.scratch_bytes else bases["OUTPUT"]) - 1,
        "write_last": needed - 1,
        "images": count,
        "input_bytes": manifest.input.bytes,
        "output_bytes": manifest.output.bytes,
        "word_bytes": config.AXI_DATA_W // 8,
        "memory_bytes": memory_bytes,
        "memory": {
            "rate": str(memory.rate),
            "latency": memory.latency,
            "spread": memory.latency_spread,
            "stall": min(round(memory.stall * 256), 255),
            "jitter": memory.jitter,
        },
        "seed": seed,
        "max_cycles": max_cycles,
    }
    # The build that the program was compiled for, where it is not the preset's.
    preset = load_config(manifest.config).parameters()
    changed = {k: v for k, v in manifest.parameters.items() if preset.get(k) != v}
    host.write_image(directory / "image.hex", bytes(image), config.AXI_DATA_W)
    (directory / "job.json").write_text(json.dumps(job), encoding="utf-8")
    preset_name = manifest.config
    # A large array runs long: there the compiler's time is regained.
    optimise = "-O3" if manifest.parameters["T_P"] * manifest.parameters["T_C"] > 128 else "-O1"
    blocks = {
        "network": runner.Block("tb_unzip", "verif.tb.run_network", preset_name, optimise=optimise)
    }
    ended = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(directory / "progress", ended, progress), daemon=True
    )
    if progress is not None:
        watcher.start()
    try:
        result = runner.run_block(
            "network",
            sim,
            manifest.config,
            seed,
            waves,
            extra_env={"UNZIP_RUN": str(directory / "job.json")},
            parameters=changed | {"MEM_BYTES": memory_bytes},
            blocks=blocks,
            timeout_seconds=24 * 3600,
        )
    except runner.RunError as error:
        raise SimulationError(str(error)) from error
    finally:
        ended.set()
        if progress is not None:
            watcher.join()
    results = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    outputs = unpack_output(manifest, (directory / "output.bin").read_bytes())
    shutil.rmtree(directory)
    return NetworkRun(
        outputs=outputs,
        counters=results["counters"],
        marks=results["marks"],
        seconds=result.seconds,
        starved=results["starved"],
        waves=result.waves,
    )


def _watch(path: Path, ended: threading.Event, progress: Callable[[int], None] | None) -> None:
    """Report the number of lines in the progress file until the run has ended."""
    assert progress is not None
    last = -1
    while True:
        over = ended.wait(0.2)
        lines = path.read_text(encoding="utf-8").count("\n") if path.exists() else 0
        if lines != last:
            progress(lines)
            last = lines
        if over:
            return
        time.sleep(0.1)
