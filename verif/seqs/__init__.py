# SPDX-License-Identifier: Apache-2.0
"""Sequences: what the testbenches ask of a block, corner cases first, then random ones."""
