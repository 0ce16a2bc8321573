# SPDX-License-Identifier: Apache-2.0
"""Counts for a while and compares; can be told to expect the wrong thing, or to die."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge


@cocotb.test()
async def counts(dut):
    """Counter and model agree while the counter is enabled at random."""
    limit = int(os.environ.get("COUNTER_LIMIT", "5"))
    cocotb.start_soon(Clock(dut.clk_i, 10, "ns", impl="gpi").start())
    dut.enable_i.value = 0
    dut.rst_ni.value = 0
    await FallingEdge(dut.clk_i)
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    expected = 0
    for _ in range(50):
        enable = random.randint(0, 1)
        dut.enable_i.value = enable
        await FallingEdge(dut.clk_i)
        expected = (expected + enable) % limit
        assert dut.count_o.value == expected
    dut._log.info(
        "T_P=%d unreset=%s draw=%d",
        int(dut.t_p_o.value),
        dut.unreset_o.value,
        random.getrandbits(32),
    )


@cocotb.test()
async def dies(dut):
    """End the simulator's process from inside when asked to; or never end."""
    if "COUNTER_DIE" in os.environ:
        os._exit(0)
    while "COUNTER_HANG" in os.environ:
        pass
