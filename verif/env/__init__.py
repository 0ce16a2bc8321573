# SPDX-License-Identifier: Apache-2.0
"""Environments: expected models, scoreboards and the wiring of agents, one module a block."""
