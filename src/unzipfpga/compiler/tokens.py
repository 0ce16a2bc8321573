# SPDX-License-Identifier: Apache-2.0
"""The tokens that the compiler orders the three queues with.

The engine knows token numbers only; these are the compiler's names for them. Each has one stage
that gives it and one that takes it, and both work through their instructions in order: so the k-th
take waits for the k-th give, and a program's order can be proven (see `check_program`).
"""

from enum import IntEnum


class Stage(IntEnum):
    """The engine's stages, numbered as in the instruction set."""

    LOAD = 0
    WGEN = 1
    MAC = 2
    POST = 3
    STORE = 4


class Token(IntEnum):
    """Token numbers, named GIVER_TAKER; the comment says what for."""

    LOAD_WGEN = 0  # alphas are loaded
    WGEN_LOAD = 1  # alphas are read: others may take their place
    LOAD_POST = 2  # parameters, or rows of a residual, are loaded
    POST_LOAD = 3  # they are read, or outputs are written: others may take their place
    LOAD_MAC = 4  # rows of the source are loaded
    POST_MAC = 5  # rows of the source are written
    POST_STORE = 6  # outputs are written
    MAC_LOAD = 7  # rows of the source are read: others may take their place
    STORE_POST = 8  # outputs are stored: others may take their place
    STORE_LOAD = 9  # rows are in DRAM: they may be loaded

    @property
    def mask(self) -> int:
        """The token's bit in a wait or signal field."""
        return 1 << self.value

    @classmethod
    def known(cls, giver: Stage, taker: Stage) -> bool:
        """Say whether there is a token from one stage to another."""
        return f"{giver.name}_{taker.name}" in cls.__members__

    @classmethod
    def between(cls, giver: Stage, taker: Stage) -> "Token":
        """Return the token from one stage to another."""
        return cls[f"{giver.name}_{taker.name}"]


COUNT_MAX = 15  # a token counter has 4 bits


def names(mask: int) -> list[str]:
    """Return the names of the tokens in a wait or signal field; unnamed ones as numbers."""
    known = {token.value: token.name for token in Token}
    return [known.get(bit, str(bit)) for bit in range(mask.bit_length()) if mask >> bit & 1]
