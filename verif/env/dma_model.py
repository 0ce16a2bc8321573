# SPDX-License-Identifier: Apache-2.0
"""Expected behaviour of the load and store DMAs, word by word from closed formulas.

What it does not know: cycles, bursts, buffers, the order in which different memories' parts move.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

ACT, ALPHA, PARAM = 0, 1, 2
ACT_NAME, ALPHA_NAME, PARAM_NAME = "act", "alpha", "param"
MEMORY_NAMES = (ACT_NAME, ALPHA_NAME, PARAM_NAME)


@dataclass(frozen=True)
class DmaParameters:
    """RTL parameters of the build under test; see ``verif/hdl/tb_dma.sv``."""

    T_P: int
    G: int
    Q: int
    DW: int
    ACT_BANKS: int
    ACT_DEPTH: int
    ALPHA_DEPTH: int
    PARAM_DEPTH: int
    AXI_DATA_W: int
    AXI_ADDR_W: int
    BURST_LEN: int
    OUTSTANDING: int
    PARAM_W: int

    def word_bytes(self, memory: int) -> int:
        """Bytes that a word of a memory takes in DRAM."""
        act = self.T_P * self.DW // 8
        return (act, self.G * act, 8 * self.Q)[memory]

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat."""
        return self.AXI_DATA_W // 8


@dataclass(frozen=True)
class View:
    """Where the words of a tensor lie in the activation memory.

    Attributes
    ----------
    base, row, block, shift, bank : int
        As in ``regs/isa.yaml``: first entry, entries of a bank per row and per channel block,
        stride shift, number of the first block modulo the banks.
    width, rows : int
        Words per row, rows per block.
    """

    base: int
    row: int
    block: int
    shift: int
    bank: int
    width: int
    rows: int

    def place(self, index: int, banks: int) -> tuple[int, int]:
        """Return (bank, entry) of word `index`; words go block by block, row by row."""
        x = index % self.width
        y = index // self.width % self.rows
        block = index // (self.width * self.rows)
        column = x >> self.shift
        bank = (column + block + self.bank) % banks
        entry = (column // banks << self.shift) + x % (1 << self.shift)
        return bank, self.base + block * self.block + y * self.row + entry


@dataclass(frozen=True)
class Transfer:
    """A LOAD or STORE.

    Attributes
    ----------
    address : int
        First byte in DRAM.
    words : int
        Words of the memory.
    memory : int
        `ACT`, `ALPHA` or `PARAM`; a store is always `ACT`.
    view : View
        Destination or source; of `ALPHA` and `PARAM` only the base counts.
    run : int
        Words that follow each other in DRAM; 0 for all of them.
    pitch : int
        DRAM bytes from the start of a run to that of the next one.
    """

    address: int
    words: int
    memory: int
    view: View
    run: int = 0
    pitch: int = 0

    def word_address(self, index: int, p: DmaParameters) -> int:
        """DRAM address of word `index`."""
        number, word = divmod(index, self.run or self.words)
        return self.address + number * self.pitch + word * p.word_bytes(self.memory)

    def beats(self, p: DmaParameters) -> list[int]:
        """Addresses of the beats that hold the words, in their order."""
        run = self.run or self.words
        starts = [self.address + k * self.pitch for k in range(self.words // run)]
        size = run * p.word_bytes(self.memory)
        return [b for start in starts for b in range(start, start + size, p.beat_bytes)]


@dataclass(frozen=True)
class MemoryWrite:
    """A word written by the load DMA.

    Attributes
    ----------
    memory : str
        "act", "alpha" or "param".
    bank, entry : int
        Place; the bank is 0 but for "act".
    data : int
        The word.
    """

    memory: str
    bank: int
    entry: int
    data: int


def expected_writes(
    load: Transfer, read: Callable[[int, int], bytes], p: DmaParameters
) -> Iterator[MemoryWrite]:
    """Yield the words that a load writes, in order.

    Parameters
    ----------
    load : Transfer
        The load.
    read : callable
        Returns bytes of DRAM, given address and length.
    p : DmaParameters
        Parameters of the build.
    """
    size = p.word_bytes(load.memory)
    for k in range(load.words):
        word = read(load.word_address(k, p), size)
        if load.memory == ACT:
            bank, entry = load.view.place(k, p.ACT_BANKS)
            value = int.from_bytes(word, "little")
        else:
            bank, entry = 0, load.view.base + k
            value = int.from_bytes(word, "little")
            if load.memory == PARAM:
                channels = [value >> (64 * c) & ((1 << p.PARAM_W) - 1) for c in range(p.Q)]
                value = sum(channel << (c * p.PARAM_W) for c, channel in enumerate(channels))
        yield MemoryWrite(MEMORY_NAMES[load.memory], bank, entry, value)


def in_window(first: int, last: int, window: tuple[int, int]) -> bool:
    """Say whether the bytes `first` to `last` all lie in a window (first, last)."""
    return window[0] <= first and last <= window[1]
