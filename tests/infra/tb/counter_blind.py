# SPDX-License-Identifier: Apache-2.0
"""A testbench that runs the counter and never looks at it."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles


@cocotb.test()
async def runs(dut):
    """Toggle the clock."""
    cocotb.start_soon(Clock(dut.clk_i, 10, "ns", impl="gpi").start())
    dut.enable_i.value = 1
    await ClockCycles(dut.clk_i, 20)
