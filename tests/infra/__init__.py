# SPDX-License-Identifier: Apache-2.0
"""Tests of the project's own tools: set-up, runner, lint, generators, FuseSoC."""
