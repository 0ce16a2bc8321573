# SPDX-License-Identifier: Apache-2.0
"""Agents: drivers and monitors of one interface each, as cocotb-bus classes and pyuvm agents."""
