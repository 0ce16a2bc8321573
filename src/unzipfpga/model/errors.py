# SPDX-License-Identifier: Apache-2.0
"""Errors of the cycle model."""

from unzipfpga.errors import UnzipError


class ModelError(UnzipError):
    """A program that cannot end, or a memory that is random."""
