# SPDX-License-Identifier: Apache-2.0
"""Data sets, fetched from package registries and cached; none is part of the repository."""

from unzipfpga.data.mnist import Mnist, load_mnist, normalise

__all__ = ["Mnist", "load_mnist", "normalise"]
