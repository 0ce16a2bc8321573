# SPDX-License-Identifier: Apache-2.0
"""Tests of the memory model, ``axi_memory``: its timing, and that every check of it can fail."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from verif.agents.edges import read_int
from verif.host import IMAGE_FILE, MEMORY_ERRORS

TIMEOUT = {"timeout_time": 2, "timeout_unit": "ms"}
BEATS = 8  # of the bursts here
SIZE = 3  # log2 of the bytes of a beat
AR_RULE, AW_RULE, AR_STABLE, AW_STABLE, W_STABLE, W_LAST, READ_GUARD, WRITE_GUARD = range(8)


class Port:
    """A master that can do wrong; inputs change at falling edges."""

    def __init__(self, dut: Any):
        self.dut = dut

    async def start(self, **settings: int) -> None:
        """Reset the memory with these settings; those not named are 0, the latency 2."""
        dut = self.dut
        inputs = {"rate_den": 1, "latency": 2, "seed": 7, "rready": 1, "bready": 1} | settings
        for handle in dut:
            if handle._name.endswith("_i") and handle._name not in ("clk_i", "rst_ni"):
                handle.value = inputs.get(handle._name[:-2], 0)
        dut.rst_ni.value = 0
        cocotb.start_soon(Clock(dut.clk_i, 10, unit="ns").start())
        await self.wait(3)
        dut.rst_ni.value = 1
        await self.wait(1)

    async def wait(self, cycles: int) -> None:
        """Wait for falling edges."""
        for _ in range(cycles):
            await FallingEdge(self.dut.clk_i)

    async def address(self, channel: str, **fields: int) -> None:
        """Give an address: of a legal burst of 8 beats at 0, but for what is said."""
        values = {"addr": 0, "len": BEATS - 1, "size": SIZE, "burst": 1, "id": 0} | fields
        for name, value in values.items():
            getattr(self.dut, f"{channel}{name}_i").value = value
        await self.handshake(channel)

    async def handshake(self, channel: str) -> None:
        """Hold valid until ready."""
        valid = getattr(self.dut, f"{channel}valid_i")
        valid.value = 1
        while True:
            await ReadOnly()
            taken = read_int(getattr(self.dut, f"{channel}ready_o"))
            await FallingEdge(self.dut.clk_i)
            if taken:
                break
        valid.value = 0

    async def write(self, beats: int = BEATS, last: int | None = None, strobes: int = 255) -> None:
        """Write the data of a burst; `last` is the beat that has wlast."""
        for k in range(beats):
            self.dut.wdata_i.value = 0x1111 * (k + 1)
            self.dut.wstrb_i.value = strobes
            self.dut.wlast_i.value = int(k == (beats - 1 if last is None else last))
            await self.handshake("w")

    def errors(self) -> set[int]:
        """Return the bits of error_o that are set."""
        return {k for k in range(len(MEMORY_ERRORS)) if read_int(self.dut.error_o) >> k & 1}


def image(dut: Any) -> None:
    """Write a memory image of a few words that hold their number."""
    Path(IMAGE_FILE).write_text("\n".join(f"{k:016x}" for k in range(1024)), encoding="ascii")
    dut.load_i.value = 1


Fault = Callable[[Port], Awaitable[None]]


async def unstable(port: Port, channel: str, field: str, value: int) -> None:
    """Change a field of a channel, or take its valid away, while it waits for a stalled memory."""
    dut = port.dut
    dut.stall_i.value = 255
    for name in ("size", "burst"):
        if channel != "w":
            getattr(dut, f"{channel}{name}_i").value = {"size": SIZE, "burst": 1}[name]
    await port.wait(1)
    valid = getattr(dut, f"{channel}valid_i")
    for _ in range(50):  # the memory is ready in one of 256 cycles
        valid.value = 1
        await port.wait(3)
        getattr(dut, f"{channel}{field}_i").value = value
        await port.wait(1)
        if port.errors():
            return


async def wrong_last(port: Port) -> None:
    """Put wlast on a beat too early."""
    await port.address("aw")
    await port.write(last=3)


async def read_outside(port: Port, **fields: int) -> None:
    """Read a burst that ends one beat behind the window."""
    port.dut.guard_i.value = 1
    port.dut.guard_last_i.value = BEATS * 8 - 2
    await port.address("ar")


async def write_outside(port: Port) -> None:
    """Write one byte that no window holds."""
    width = len(port.dut.guard_first_i) // 4
    port.dut.guard_i.value = 1
    # Windows 2 and 3: bytes 0 to 61, and none.
    port.dut.guard_last_i.value = 61 << 2 * width
    port.dut.guard_first_i.value = 1 << 3 * width
    await port.address("aw")
    await port.write(7, last=99)
    await port.write(1, strobes=0x3F)
    await port.wait(2)
    assert not port.errors(), "bytes inside are allowed"
    await port.address("aw")
    await port.write(7, last=99)
    await port.write(1, strobes=0x40)


FAULTS: dict[str, tuple[int, Fault]] = {
    "4 KB border": (AR_RULE, lambda p: p.address("ar", addr=4096 - 8)),
    "read of another size": (AR_RULE, lambda p: p.address("ar", size=SIZE - 1)),
    "fixed burst": (AR_RULE, lambda p: p.address("ar", burst=0)),
    "unaligned read": (AR_RULE, lambda p: p.address("ar", addr=4)),
    "write over a border": (AW_RULE, lambda p: p.address("aw", addr=8192 - 56)),
    "wrapping write": (AW_RULE, lambda p: p.address("aw", burst=2)),
    "unaligned write": (AW_RULE, lambda p: p.address("aw", addr=9)),
    "write of another size": (AW_RULE, lambda p: p.address("aw", size=SIZE + 1)),
    "read address changes": (AR_STABLE, lambda p: unstable(p, "ar", "addr", 64)),
    "read address goes": (AR_STABLE, lambda p: unstable(p, "ar", "valid", 0)),
    "write address changes": (AW_STABLE, lambda p: unstable(p, "aw", "len", 3)),
    "write address goes": (AW_STABLE, lambda p: unstable(p, "aw", "valid", 0)),
    "data change": (W_STABLE, lambda p: unstable(p, "w", "data", 3)),
    "strobes change": (W_STABLE, lambda p: unstable(p, "w", "strb", 3)),
    "data go": (W_STABLE, lambda p: unstable(p, "w", "valid", 0)),
    "wlast": (W_LAST, wrong_last),
    "read outside": (READ_GUARD, read_outside),
    "write outside": (WRITE_GUARD, write_outside),
}


@cocotb.test(**TIMEOUT)
@cocotb.parametrize(fault=list(FAULTS))
async def a_fault_shows(dut: Any, fault: str) -> None:
    """Each broken rule sets its own bit, and no other."""
    port = Port(dut)
    await port.start()
    bit, action = FAULTS[fault]
    assert not port.errors()
    await action(port)
    await port.wait(2)
    allowed = {bit, W_LAST} if bit == WRITE_GUARD else {bit}
    assert bit in port.errors() and port.errors() <= allowed, port.errors()


async def stream(port: Port, cycles: int, reads: bool, writes: bool) -> tuple[int, int]:
    """Keep reads and writes waiting for some cycles; return the bytes that each moved."""
    dut = port.dut
    for channel in ("ar", "aw"):
        for name, value in {"addr": 0, "len": BEATS - 1, "size": SIZE, "burst": 1}.items():
            getattr(dut, f"{channel}{name}_i").value = value
    dut.arvalid_i.value, dut.awvalid_i.value, dut.wvalid_i.value = (
        int(reads),
        int(writes),
        int(writes),
    )
    await port.wait(300)
    counts = [dut.bytes_read_o, dut.bytes_written_o]
    before = [read_int(count) for count in counts]
    await port.wait(cycles)
    now = [read_int(count) for count in counts]
    return now[0] - before[0], now[1] - before[1]


@cocotb.test(**TIMEOUT)
@cocotb.parametrize(
    num=[22, 1, 16, 31], jitter=[0, 1], kind=["reads", "writes", "both"], latency=[2, 200]
)
async def bandwidth_is_exact(dut: Any, num: int, jitter: int, kind: str, latency: int) -> None:
    """A third of `num` bytes a cycle are moved, by reads and writes together, half each."""
    port = Port(dut)
    await port.start(rate_num=num, rate_den=3, jitter=jitter, latency=latency)
    cycles = 3000
    moved = await stream(port, cycles, kind != "writes", kind != "reads")
    most = 8 if kind != "both" else 16
    expected = min(num / 3, most) * cycles
    # Chance: the sum of as many fair coins as there are cycles, five times its deviation.
    margin = 5 * cycles**0.5 * num / 3 if jitter else 2 * 8
    if num / 3 >= most:
        margin = 2 * 8
    assert abs(sum(moved) - expected) <= margin, (moved, expected)
    if kind == "both" and num / 3 < most:
        assert abs(moved[0] - moved[1]) <= 2 * 8 * 2, f"not shared fairly: {moved}"


@cocotb.test(**TIMEOUT)
@cocotb.parametrize(latency=[2, 3, 57], spread=[0, 40])
async def latency_is_kept(dut: Any, latency: int, spread: int) -> None:
    """Reads answer, and writes are answered, after the latency, or at most the spread later."""
    port = Port(dut)
    await port.start(latency=latency, latency_spread=spread)
    seen: dict[str, set[int]] = {"r": set(), "b": set()}
    for _ in range(40):
        for channel in ("r", "b"):
            if channel == "r":
                await port.address("ar")
            else:
                await port.address("aw")
                await port.write()
            cycles = 1
            while not read_int(getattr(dut, f"{channel}valid_o")):
                await port.wait(1)
                cycles += 1
            seen[channel].add(cycles)
            await port.wait(BEATS + 2)
    for channel, found in seen.items():
        assert min(found) >= latency and max(found) <= latency + spread, (channel, found)
        assert spread == 0 or len(found) > 5, f"{channel}: always {found}"


@cocotb.test(**TIMEOUT)
@cocotb.parametrize(response=[2, 3])
async def chosen_answers_are_errors(dut: Any, response: int) -> None:
    """The beat and the burst that were named are answered with an error, no other."""
    port = Port(dut)
    await port.start(bad_read=11, bad_write=2, bad_response=response)
    image(dut)
    await port.wait(2)
    answers: dict[str, list[int]] = {"r": [], "b": []}
    data = []

    async def watch() -> None:
        while True:
            await FallingEdge(dut.clk_i)
            for channel in ("r", "b"):
                if read_int(getattr(dut, f"{channel}valid_o")):
                    answers[channel].append(read_int(getattr(dut, f"{channel}resp_o")))
                    if channel == "r":
                        data.append(read_int(dut.rdata_o))

    cocotb.start_soon(watch())
    for k in range(2):
        await port.address("ar", addr=64 * k)
    for _ in range(3):
        await port.address("aw", addr=1024)
        await port.write()
    await port.wait(20)
    assert answers["r"] == [0] * 10 + [response] + [0] * 5
    assert answers["b"] == [0, response, 0]
    assert data == list(range(16))
    assert not port.errors()
