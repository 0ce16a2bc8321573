# SPDX-License-Identifier: Apache-2.0
"""Packing of signed fields into a word, the first field lowest."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def pack(values: Iterable[int], width: int) -> int:
    """Pack signed or unsigned values into fields of `width` bits."""
    word = 0
    for position, value in enumerate(values):
        word |= (int(value) & ((1 << width) - 1)) << (position * width)
    return word


def unpack(word: int, width: int, count: int) -> npt.NDArray[np.int64]:
    """Split a word into `count` signed fields of `width` bits.

    Returns
    -------
    int64 array [count]
    """
    sign = 1 << (width - 1)
    fields = ((word >> (k * width)) & ((1 << width) - 1) for k in range(count))
    return np.array([(field ^ sign) - sign for field in fields], dtype=np.int64)
