# SPDX-License-Identifier: Apache-2.0
"""The memory model of the whole engine: timing, and a planted fault for each check."""

import pytest

from verif.runner import Block, run_block

BLOCKS = {"memory": Block("axi_memory", "verif.tb.test_memory")}


@pytest.mark.parametrize("sim", ["verilator", "icarus"])
def test_memory_model(sim: str) -> None:
    """All of its tests on both simulators."""
    assert run_block("memory", sim, "tiny", 1, blocks=BLOCKS).tests == 74
