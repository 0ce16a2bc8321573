# SPDX-License-Identifier: Apache-2.0
"""Errors of the compiler."""

from unzipfpga.errors import UnzipError


class CompileError(UnzipError):
    """A network that cannot be compiled for a configuration; names the layer and the bound."""


class ProgramError(UnzipError):
    """A program that is damaged, unsafe to run, or compiled for another build."""
