# SPDX-License-Identifier: Apache-2.0
"""OVSF codes: the matrices, the choice of codes for a layer, and the fit of integer alphas."""

from unzipfpga.ovsf.choose import choose_codes, energy_codes, greedy_codes, sequential_codes
from unzipfpga.ovsf.codes import (
    CHANNEL_LENGTH,
    KERNEL_SIZES,
    channel_codes,
    generate_channel,
    generate_kernel,
    grid_size,
    hadamard,
    kernel_codes,
)
from unzipfpga.ovsf.fit import (
    IntegerFit,
    channel_samples,
    fit_channel,
    fit_dense,
    fit_ovsf,
    prove_range,
    snr_db,
)

__all__ = [
    "CHANNEL_LENGTH",
    "KERNEL_SIZES",
    "IntegerFit",
    "channel_codes",
    "channel_samples",
    "choose_codes",
    "energy_codes",
    "fit_channel",
    "fit_dense",
    "fit_ovsf",
    "generate_channel",
    "generate_kernel",
    "greedy_codes",
    "grid_size",
    "hadamard",
    "kernel_codes",
    "prove_range",
    "sequential_codes",
    "snr_db",
]
