# SPDX-License-Identifier: Apache-2.0
"""The tokens that the compiler orders the three queues with.

The engine knows token numbers only; these are the compiler's names for them. Each has one stage
that gives it and one that takes it, and both work through their instructions in order: so the k-th
take waits for the k-th give, and a program's order can be proven (see `check_program`).
"""

from enum import IntEnum


class Token(IntEnum):
    """Token numbers; the comment says which stage gives one to which."""

    ALPHA_READY = 0  # load -> wgen: a region of alpha mem is loaded
    ALPHA_FREE = 1  # wgen -> load: a region of alpha mem may be loaded again
    PARAM_READY = 2  # load -> post: a region of param mem is loaded
    PARAM_FREE = 3  # post -> load: a region of param mem may be loaded again
    INPUT_READY = 4  # load -> mac: the image is loaded
    LAYER = 5  # post -> mac: the layer before is written
    OUTPUT_READY = 6  # post -> store: the last layer is written

    @property
    def mask(self) -> int:
        """The token's bit in a wait or signal field."""
        return 1 << self.value


COUNT_MAX = 15  # a token counter has 4 bits


def names(mask: int) -> list[str]:
    """Return the names of the tokens in a wait or signal field; unnamed ones as numbers."""
    known = {token.value: token.name for token in Token}
    return [known.get(bit, str(bit)) for bit in range(mask.bit_length()) if mask >> bit & 1]
