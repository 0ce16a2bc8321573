# SPDX-License-Identifier: Apache-2.0
"""Control and status registers: the testbench on both simulators, and on another build."""

import pytest

from verif.runner import run_block

SEEDS = {"UNZIP_SEEDS": "5"}  # of the random test
NOT_TWINS = r"test_csr\.(?!Twin)"


@pytest.mark.parametrize("sim, seed", [("verilator", 1), ("icarus", 2)])
def test_preset_tiny(sim: str, seed: int) -> None:
    """All tests, negative twins included."""
    assert run_block("csr", sim, "tiny", seed, extra_env=SEEDS).tests == 19


def test_other_preset() -> None:
    """Wider addresses, other capabilities."""
    result = run_block(
        "csr", "verilator", "zcu104", 3, False, NOT_TWINS, SEEDS, parameters={"AXI_ADDR_W": 48}
    )
    assert result.tests == 6
