# SPDX-License-Identifier: Apache-2.0
"""Testbenches: the cocotb tests of each block, run through `verif.runner`."""
