# SPDX-License-Identifier: Apache-2.0
"""The compiler: a converted network becomes a program, a weight image and a manifest.

`lower` turns the network into the engine's layers, `plan` cuts them into tiles and places the
tensors, `emit` writes instructions and weights, `check` proves that the program is safe to run.
"""

from unzipfpga.compiler.check import Report, check_program, decode_program, inspect_program
from unzipfpga.compiler.compiled import (
    Compiled,
    compile_model,
    compile_network,
    load_compiled,
    manifest_config,
    pack_input,
    quantise_images,
    unpack_output,
    write_compiled,
)
from unzipfpga.compiler.domain import DomainChoice
from unzipfpga.compiler.errors import CompileError, ProgramError
from unzipfpga.compiler.manifest import Manifest

__all__ = [
    "CompileError",
    "Compiled",
    "DomainChoice",
    "Manifest",
    "ProgramError",
    "Report",
    "check_program",
    "compile_model",
    "compile_network",
    "decode_program",
    "inspect_program",
    "load_compiled",
    "manifest_config",
    "pack_input",
    "quantise_images",
    "unpack_output",
    "write_compiled",
]
