# SPDX-License-Identifier: Apache-2.0
"""Bytes a cycle that LOADs and STOREs move on the RTL, against the set bandwidth.

Each case is a program of equal jobs. It runs with two numbers of them; the difference leaves out
what the first bytes wait for.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from unzipfpga.config import Config, load_config
from unzipfpga.isa import encode, encode_header, isa
from unzipfpga.sim import SimulationError
from unzipfpga.source_tree import import_from_tree

BUSES = (64, 128, 256, 512)
# Words of 64 bytes in every memory, so that no bus is faster than they are; a small array.
PRESET = "tiny"
CHANGES = {
    **{"T_P": 32, "Q": 8, "DW": 16, "PAIR": 0, "OPERAND_W": 16, "PROJECTOR": 0},
    "ACT_DEPTH": 2048,
}
WORD = 64  # bytes
OUTSTANDING = 32  # bursts of 16 beats: enough for 512 cycles of latency
MEMORY_BYTES = 1 << 23
BASES = {"PROGRAM": 0, "WEIGHT": 1 << 20, "INPUT": 1 << 20, "OUTPUT": 1 << 22, "SCRATCH": 1 << 22}


@dataclass(frozen=True)
class Case:
    """A kind of transfer.

    Attributes
    ----------
    name : str
    load, store : bool
        LOADs, STOREs, or both side by side.
    words, run : int
        Words of a job and of a run.
    memory : str
        Destination of the LOADs.
    jobs : int
        Fewer of the two numbers of jobs.
    """

    name: str
    load: bool
    store: bool
    words: int
    run: int
    memory: str = "ACT"
    jobs: int = 2


CASES = (
    Case("load, 64 KB", True, False, 1024, 1024),
    Case("load, runs of 192 bytes", True, False, 1023, 3),
    Case("load, jobs of 512 bytes", True, False, 8, 8, "PARAM", 128),
    Case("store, 64 KB", False, True, 1024, 1024),
    Case("store, runs of 192 bytes", False, True, 1023, 3),
    Case("load and store", True, True, 1024, 1024),
)


@dataclass(frozen=True)
class Throughput:
    """What a case gave.

    Attributes
    ----------
    bus : int
        Bits of the AXI data bus.
    case : str
    cycles, bytes_read, bytes_written : int
        Of the jobs that the longer program has more.
    limit : float
        Bytes a cycle that the memory and the bus can move.
    """

    bus: int
    case: str
    cycles: int
    bytes_read: int
    bytes_written: int
    limit: float

    @property
    def rate(self) -> float:
        """Bytes a cycle."""
        return (self.bytes_read + self.bytes_written) / self.cycles

    @property
    def share(self) -> float:
        """Part of the bandwidth that was used."""
        return self.rate / self.limit


def bench_build(bus: int) -> Config:
    """Return the build that a bus is measured on."""
    changes = CHANGES | {"AXI_DATA_W": bus, "OUTSTANDING": OUTSTANDING}
    return Config.model_validate(load_config(PRESET).parameters() | changes)


def program_of(case: Case, jobs: int, config: Config) -> bytes:
    """Return a program with a number of a case's jobs."""
    pitch = -(-case.run * WORD // 256) * 256
    dram = {"words": case.words, "run": case.run, "pitch": pitch, "width": case.words, "rows": 1}
    row = -(-case.words // config.ACT_BANKS)
    loads, stores = [], []
    for _ in range(jobs):
        memory, base = isa().memories[case.memory], isa().bases["INPUT"]
        loads.append(encode("LOAD", memory=memory, base=base, dst_row=row, dst_block=row, **dram))
        base = isa().bases["OUTPUT"]
        stores.append(encode("STORE", base=base, src_row=row, src_block=row, **dram))
    streams = {"load": loads if case.load else [], "store": stores if case.store else []}
    offset, header = isa().instruction_bytes, {"build_id": config.build_id()}
    for queue, items in streams.items():
        header |= {f"{queue}_offset": offset, f"{queue}_count": len(items)}
        offset += isa().instruction_bytes * len(items)
    return encode_header(**header) + b"".join(streams["load"] + streams["store"])


def measure(
    bus: int,
    bandwidth: Fraction = Fraction(0),
    latency: int = 200,
    cases: Sequence[Case] = CASES,
    sim: str = "verilator",
) -> list[Throughput]:
    """Run cases on a bus; a bandwidth of 0 is a beat a cycle for reads, and one for writes.

    Raises
    ------
    SimulationError
        The simulation could not be built or run.
    """
    runner = import_from_tree("verif.runner")
    config = bench_build(bus)
    programs = [program_of(case, n * case.jobs, config) for case in cases for n in (1, 3)]
    (runner.BUILD / "memory").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runner.BUILD / "memory") as name:
        directory = Path(name)
        job = {
            "programs": [program.hex() for program in programs],
            "rate": str(bandwidth),
            "latency": latency,
            "bus_bits": bus,
            "memory_bytes": MEMORY_BYTES,
            "bases": BASES,
            "max_cycles": 5_000_000,
            "result_file": str(directory / "result.json"),
        }
        (directory / "job.json").write_text(json.dumps(job), encoding="utf-8")
        preset = load_config(PRESET).parameters()
        changed = {k: v for k, v in config.parameters().items() if preset[k] != v}
        try:
            runner.run_block(
                "memory",
                sim,
                PRESET,
                1,
                extra_env={"UNZIP_RUN": str(directory / "job.json")},
                parameters=changed | {"MEM_BYTES": MEMORY_BYTES},
                blocks={"memory": runner.Block("tb_unzip", "verif.tb.run_memory")},
            )
        except runner.RunError as error:
            raise SimulationError(str(error)) from error
        results = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    found = []
    for index, case in enumerate(cases):
        cycles, read, written = (
            b - a for a, b in zip(results[2 * index], results[2 * index + 1], strict=True)
        )
        ports = bus / 8 * (2 if case.load and case.store else 1)
        limit = min(float(bandwidth), ports) if bandwidth else ports
        found.append(Throughput(bus, case.name, cycles, read, written, limit))
    return found
