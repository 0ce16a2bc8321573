# SPDX-License-Identifier: Apache-2.0
"""What software does with the core, for cocotb tests of ``tb_unzip``: registers, runs, counters.

The data path stays in HDL: the memory is filled and dumped by its backdoor, and while the engine
works Python only waits for the interrupt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, ReadOnly, RisingEdge, Timer

from scripts.generate import RDL_FILE, read_registers
from unzipfpga.isa import isa

CLOCK_NS = 10
COUNTERS = (
    *("CYCLES", "MAC_ACTIVE", "WAIT_WEIGHTS", "WAIT_LOADS", "WAIT_POST", "WAIT_STORES"),
    *("BANK_CONFLICTS", "BYTES_READ", "BYTES_WRITTEN"),
)
IMAGE_FILE = "memory_image.hex"
DUMP_FILE = "memory_dump.hex"


Window = tuple[int, int]  # first and last byte
# Bits of the memory's error_o.
MEMORY_ERRORS = (
    "a read burst that AXI or this memory does not allow",
    "a write burst that AXI or this memory does not allow",
    "a read address that changed while it waited",
    "a write address that changed while it waited",
    "write data that changed while they waited",
    "wlast at a wrong beat",
    "a read outside the windows",
    "a write outside the windows",
)


@dataclass(frozen=True)
class MemoryTiming:
    """Timing of the memory model, see ``verif/hdl/axi_memory.sv``.

    Attributes
    ----------
    rate : Fraction
        Bytes a cycle that reads and writes share, 0 for no limit.
    latency, spread : int
        Cycles to the first beat, or to a write's answer; at random so many more.
    stall : int
        Chance of a stall on each channel and cycle, in 1/256.
    jitter : bool
        The rate varies from cycle to cycle.
    """

    rate: Fraction = Fraction(0)
    latency: int = 8
    spread: int = 0
    stall: int = 0
    jitter: bool = False


class HostError(AssertionError):
    """The core did not do what software asked of it."""


@cache
def offsets() -> dict[str, int]:
    """Byte offset of every register; those of an array have their index at the end of the name."""
    result = {}
    for register in read_registers(RDL_FILE):
        for index in range(register.count):
            name = register.name + (str(index) if register.count > 1 else "")
            result[name] = register.offset + index * register.stride
    return result


@dataclass(frozen=True)
class Mark:
    """One entry of the trace buffer: a stage's mark and the counters at its time."""

    stage: str
    id: int
    cycles: int
    mac_active: int
    wait_weights: int
    wait_loads: int
    wait_post: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True)
class Run:
    """How a program ended: status, error and counters."""

    done: bool
    error_code: int
    error_stage: int
    error_addr: int
    counters: dict[str, int]


def write_image(path: Path, data: bytes, width_bits: int) -> None:
    """Write memory contents from address 0 on as the memory model's hex file.

    Parameters
    ----------
    path : Path
        File to write.
    data : bytes
        Contents; the last word is filled with zeros.
    width_bits : int
        Bits of a memory word (the AXI data width).
    """
    size = width_bits // 8
    words = np.frombuffer(data + bytes(-len(data) % size), dtype=np.uint8).reshape(-1, size)
    text = np.ascontiguousarray(words[:, ::-1]).tobytes().hex()
    step = 2 * size
    lines = (text[i : i + step] for i in range(0, len(text), step))
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_dump(path: Path) -> bytes:
    """Read the memory model's dump back as bytes; a word with X or Z is an error."""
    out = bytearray()
    for line in path.read_text(encoding="ascii").splitlines():
        word = line.split("//")[0].strip()
        if word and not word.startswith("@"):
            try:
                out += bytes.fromhex(word)[::-1]
            except ValueError as error:
                raise HostError(f"{path}: word '{word}' is not a known value") from error
    return bytes(out)


class Host:
    """Software's view of ``tb_unzip``.

    Every input of the testbench is driven from here; `reset` must come first.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.isa = isa()
        self._clock: Clock | None = None

    async def reset(
        self, timing: MemoryTiming = MemoryTiming(), seed: int = 1, cycles: int = 4
    ) -> None:
        """Start the clock if it stands, set the memory's timing, and reset the core.

        Parameters
        ----------
        timing : MemoryTiming
        seed : int
            Seed of the stalls.
        cycles : int
            Length of the reset.
        """
        dut = self.dut
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            getattr(dut, f"s_axil_{name}").value = 0
        for name in ("awaddr", "wdata", "wstrb", "araddr"):
            getattr(dut, f"s_axil_{name}").value = 0
        self.set_timing(timing)
        self.set_bad()
        dut.memory_guard_i.value = 0
        dut.memory_guard_first_i.value = 0
        dut.memory_guard_last_i.value = 0
        dut.memory_seed_i.value = seed & 0xFFFFFFFF
        dut.memory_load_i.value = 0
        dut.memory_dump_i.value = 0
        dut.memory_dump_first_i.value = 0
        dut.memory_dump_last_i.value = 0
        dut.rst_ni.value = 0
        if self._clock is None:
            self._clock = Clock(dut.clk_i, CLOCK_NS, unit="ns", impl="gpi")
            self._clock.start()
        await self.wait(cycles)
        dut.rst_ni.value = 1
        await self.wait(2)

    def set_timing(self, timing: MemoryTiming) -> None:
        """Set the memory's timing; it counts from the next clock edge on."""
        dut = self.dut
        dut.memory_rate_num_i.value = timing.rate.numerator
        dut.memory_rate_den_i.value = timing.rate.denominator
        dut.memory_jitter_i.value = int(timing.jitter)
        dut.memory_latency_i.value = timing.latency
        dut.memory_latency_spread_i.value = timing.spread
        dut.memory_stall_i.value = timing.stall

    def set_bad(self, read: int = 0, write: int = 0, response: int = 2) -> None:
        """Let a read beat or a write burst, counted from 1, be answered with an error; 0: none."""
        self.dut.memory_bad_read_i.value = read
        self.dut.memory_bad_write_i.value = write
        self.dut.memory_bad_response_i.value = response

    def set_guards(self, reads: Sequence[Window], writes: Sequence[Window]) -> None:
        """Let reads and writes outside of at most two windows each be an error of the memory."""
        width = len(self.dut.memory_guard_first_i) // 4
        closed = (1, 0)
        windows = [*reads, *[closed] * (2 - len(reads)), *writes, *[closed] * (2 - len(writes))]
        self.dut.memory_guard_first_i.value = sum(
            first << width * k for k, (first, _) in enumerate(windows)
        )
        self.dut.memory_guard_last_i.value = sum(
            last << width * k for k, (_, last) in enumerate(windows)
        )
        self.dut.memory_guard_i.value = 1

    def check_memory(self) -> None:
        """Refuse a run in which the memory saw a broken rule or an access to a guarded place.

        Raises
        ------
        HostError
            Names them.
        """
        errors = int(self.dut.memory_error_o.value)
        if errors:
            found = [text for bit, text in enumerate(MEMORY_ERRORS) if errors >> bit & 1]
            raise HostError(f"on the memory's port: {', '.join(found)}")

    async def wait(self, cycles: int) -> None:
        """Wait some clock cycles; returns at a falling edge, where inputs may change."""
        for _ in range(cycles):
            await FallingEdge(self.dut.clk_i)

    async def load_memory(self) -> None:
        """Fill the memory from the image file in the working directory."""
        self.dut.memory_load_i.value = 1
        await self.wait(2)
        self.dut.memory_load_i.value = 0

    async def dump_memory(self, first: int, size: int, word_bytes: int) -> bytes:
        """Return `size` bytes of memory from byte address `first` on."""
        begin, end = first // word_bytes, (first + size - 1) // word_bytes
        self.dut.memory_dump_first_i.value = begin
        self.dut.memory_dump_last_i.value = end
        self.dut.memory_dump_i.value = 1
        await self.wait(2)
        self.dut.memory_dump_i.value = 0
        data = read_dump(Path(DUMP_FILE))
        skip = first - begin * word_bytes
        return data[skip : skip + size]

    # ---- Registers ------------------------------------------------------------------------------

    async def write(self, name: str, value: int) -> None:
        """Write a register by its name in the map."""
        dut = self.dut
        dut.s_axil_awaddr.value = offsets()[name]
        dut.s_axil_wdata.value = value & 0xFFFFFFFF
        dut.s_axil_wstrb.value = 0xF
        dut.s_axil_awvalid.value = 1
        dut.s_axil_wvalid.value = 1
        dut.s_axil_bready.value = 1
        waiting = {"aw", "w"}
        for _ in range(100):
            await ReadOnly()
            taken = {c for c in waiting if getattr(dut, f"s_axil_{c}ready").value == 1}
            answered = dut.s_axil_bvalid.value == 1
            response = dut.s_axil_bresp.value
            await FallingEdge(dut.clk_i)
            for channel in taken:
                getattr(dut, f"s_axil_{channel}valid").value = 0
            waiting -= taken
            if answered:
                dut.s_axil_bready.value = 0
                if response != 0:
                    raise HostError(f"write to {name}: response {response}")
                return
        raise HostError(f"write to {name}: no answer in 100 cycles")

    async def read(self, name: str) -> int:
        """Read a register by its name in the map."""
        dut = self.dut
        dut.s_axil_araddr.value = offsets()[name]
        dut.s_axil_arvalid.value = 1
        dut.s_axil_rready.value = 1
        asked = False
        for _ in range(100):
            await ReadOnly()
            taken = not asked and dut.s_axil_arready.value == 1
            if dut.s_axil_rvalid.value == 1:
                value, response = int(dut.s_axil_rdata.value), dut.s_axil_rresp.value
                await FallingEdge(dut.clk_i)
                dut.s_axil_rready.value = 0
                if response != 0:
                    raise HostError(f"read of {name}: response {response}")
                return value
            await FallingEdge(dut.clk_i)
            if taken:
                dut.s_axil_arvalid.value = 0
                asked = True
        raise HostError(f"read of {name}: no answer in 100 cycles")

    async def write64(self, name: str, value: int) -> None:
        """Write a register pair ``name_LO``, ``name_HI``."""
        await self.write(f"{name}_LO", value)
        await self.write(f"{name}_HI", value >> 32)

    async def read64(self, name: str) -> int:
        """Read a register pair ``name_LO``, ``name_HI``."""
        low = await self.read(f"{name}_LO")
        return low | (await self.read(f"{name}_HI")) << 32

    # ---- Programs -------------------------------------------------------------------------------

    async def set_addresses(
        self,
        bases: dict[str, int],
        read_window: tuple[int, int],
        write_window: tuple[int, int],
    ) -> None:
        """Set base registers by their names in the instruction set, and the windows."""
        for base, address in bases.items():
            await self.write64(f"{base}_BASE", address)
        for name, (first, last) in (("READ", read_window), ("WRITE", write_window)):
            await self.write64(f"{name}_WINDOW_FIRST", first)
            await self.write64(f"{name}_WINDOW_LAST", last)
        await self.write("IRQ_ENABLE", 3)

    async def run(self, max_cycles: int = 50_000_000) -> Run:
        """Start the program, wait for the interrupt, and return how it ended."""
        await self.write("CTRL", 1)
        if self.dut.irq_o.value != 1:
            event = RisingEdge(self.dut.irq_o)
            first = await First(event, Timer(max_cycles * CLOCK_NS, unit="ns"))
            if first is not event:
                status = await self.read("STATUS")
                cycles = await self.read64("CYCLES")
                raise HostError(f"no interrupt in {max_cycles} cycles: {status=:#x}, {cycles=}")
        await FallingEdge(self.dut.clk_i)
        status = await self.read("STATUS")
        await self.write("IRQ_STATE", 3)
        error = await self.read("ERROR_CODE")
        return Run(
            done=status == 2,
            error_code=error & 0xFF,
            error_stage=error >> 8 & 7,
            error_addr=await self.read64("ERROR_ADDR"),
            counters={name: await self.read64(name) for name in COUNTERS},
        )

    async def soft_reset(self) -> None:
        """Reset the engine and wait until it is idle again."""
        await self.write("CTRL", 2)
        for _ in range(1000):
            if await self.read("STATUS") == 0:
                return
        raise HostError("the soft reset does not end")

    async def marks(self) -> list[Mark]:
        """Return the trace buffer."""
        names = {number: name for name, number in self.isa.stages.items()}
        result = []
        for index in range(await self.read("TRACE_COUNT")):
            await self.write("TRACE_INDEX", index)
            words = [await self.read(f"TRACE_DATA{i}") for i in range(8)]
            result.append(Mark(names[words[0] >> 29], words[0] & 0xFFFF, *words[1:]))
        return result
