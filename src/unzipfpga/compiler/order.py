# SPDX-License-Identifier: Apache-2.0
"""Which instruction waits for which: tokens from what each stage reads and writes.

Each stage works through its instructions in order, so an instruction that must come after another
stage's waits for the latest such one only, and only if none before it has waited for that one or a
later one. There is one token for each pair of stages, and each given one is taken: the k-th take
waits for the k-th give.
"""

from dataclasses import dataclass, field

from unzipfpga.compiler.tokens import COUNT_MAX, Stage, Token

# The fields of an instruction that hold a stage's tokens.
WAITS = {
    **{Stage.LOAD: "wait", Stage.STORE: "wait"},
    **{Stage.WGEN: "wgen_wait", Stage.MAC: "mac_wait", Stage.POST: "post_wait"},
}
SIGNALS = {stage: name.replace("wait", "signal") for stage, name in WAITS.items()}


@dataclass
class Instruction:
    """One instruction before it is encoded; `layer` is for messages.

    Attributes
    ----------
    numbers : dict of Stage to int
        Its number among a stage's instructions.
    """

    name: str
    layer: str
    fields: dict[str, int]
    numbers: dict[Stage, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Area:
    """What an access touches: rows and channel blocks of a buffer, both without the end.

    Attributes
    ----------
    buffer : str
    entries : (int, int)
        Of act mem, of the whole buffer; (0, 0) for a buffer in DRAM, which overlaps no other.
    """

    buffer: str
    entries: tuple[int, int]
    rows: tuple[int, int]
    blocks: tuple[int, int]

    def overlaps(self, other: "Area") -> bool:
        """Say whether two areas have a word in common, or might."""
        if self.buffer == other.buffer:
            return _overlap(self.rows, other.rows) and _overlap(self.blocks, other.blocks)
        return _overlap(self.entries, other.entries)


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


@dataclass(frozen=True)
class _Access:
    instruction: Instruction
    number: int
    area: Area
    write: bool


Clock = dict[Stage, int]  # the latest instruction of each stage that is sure to have ended


class Order:
    """The tokens of a program, as its instructions come.

    What an instruction waits for includes what was waited for on the way there, so that no token
    repeats what others guarantee.
    """

    def __init__(self) -> None:
        self.count = dict.fromkeys(Stage, 0)
        self.accesses: dict[Stage, list[_Access]] = {stage: [] for stage in Stage}
        # Of every instruction of a stage: what has ended when it is taken, and when it begins. The
        # post stage takes a tile, and may read its residual, before MAC has computed it.
        self.taken: dict[Stage, list[Clock]] = {stage: [] for stage in Stage}
        self.begun: dict[Stage, list[Clock]] = {stage: [] for stage in Stage}
        # Of each pair of stages: the last instruction that was waited for, and who waited.
        self.waits: dict[Token, tuple[Instruction, Instruction]] = {}
        self.takers: dict[Token, list[Instruction]] = {token: [] for token in Token}

    def enter(self, instruction: Instruction, *stages: Stage) -> Instruction:
        """Take an instruction as the next one of some stages, in the order of `Stage`."""
        for stage in stages:
            number = instruction.numbers[stage] = self.count[stage]
            self.count[stage] += 1
            instruction.fields.setdefault(WAITS[stage], 0)
            instruction.fields.setdefault(SIGNALS[stage], 0)
            clock = dict(self.begun[stage][-1]) if number else dict.fromkeys(Stage, -1)
            self.taken[stage].append(clock)
            self.begun[stage].append(dict(clock))
        self._pass_on(instruction)
        return instruction

    def ended(self, stage: Stage, instruction: Instruction) -> Clock:
        """Return what has ended when an instruction of a stage has."""
        number = instruction.numbers[stage]
        ended = self.begun[stage][number] | {stage: number}
        if stage == Stage.MAC:  # it takes what the generator makes
            ended[Stage.WGEN] = max(ended[Stage.WGEN], instruction.numbers[Stage.WGEN])
        return ended

    def after(
        self,
        stage: Stage,
        instruction: Instruction,
        of: Stage,
        other: Instruction,
        early: bool = False,
    ) -> None:
        """Let a stage's latest instruction wait for another stage's; `early`: see `access`."""
        number = instruction.numbers[stage]
        known = (self.taken if early else self.begun)[stage][number]
        if known[of] >= other.numbers[of]:
            return
        token = Token.between(of, stage)
        if token in self.waits and self.waits[token][1] is instruction:  # for an earlier one
            self.waits[token][0].fields[SIGNALS[of]] &= ~token.mask
        else:
            self.takers[token].append(instruction)
        other.fields[SIGNALS[of]] |= token.mask
        instruction.fields[WAITS[stage]] |= token.mask
        self.waits[token] = other, instruction
        for clock in (self.taken[stage][number], self.begun[stage][number]):
            _join(clock, self.ended(of, other))
        self._pass_on(instruction)

    def limit(self, stage: Stage, instruction: Instruction, reader: Stage) -> None:
        """Let an instruction wait, if the token that it will give another stage could be too many.

        All that wait for earlier ones of its stage must have come.
        """
        takers = self.takers[Token.between(stage, reader)]
        if len(takers) >= COUNT_MAX:
            self.after(stage, instruction, reader, takers[-COUNT_MAX])

    def _pass_on(self, instruction: Instruction) -> None:
        """Let a tile's MAC stage know what its generator does, and its post stage what MAC does.

        MAC begins behind the generator, the post stage when MAC has ended.
        """
        numbers = instruction.numbers
        if Stage.WGEN in numbers and Stage.MAC in numbers:
            begun = self.begun[Stage.MAC][numbers[Stage.MAC]]
            _join(begun, self.begun[Stage.WGEN][numbers[Stage.WGEN]])
            if Stage.POST in numbers:
                begun = self.begun[Stage.POST][numbers[Stage.POST]]
                _join(begun, self.ended(Stage.MAC, instruction))

    def access(
        self, stage: Stage, instruction: Instruction, area: Area, write: bool, early: bool = False
    ) -> None:
        """Record what a stage's latest instruction reads or writes, and let it wait for others.

        Parameters
        ----------
        early : bool
            It does so as soon as the stage takes it.
        """
        number = instruction.numbers[stage]
        known = (self.taken if early else self.begun)[stage][number]
        found: dict[Stage, Instruction] = {}
        for of in Stage:
            for access in reversed(self.accesses[of] if of != stage else []):
                if access.number <= known[of]:
                    break
                if (write or access.write) and access.area.overlaps(area):
                    found[of] = access.instruction
                    break
        for of, other in found.items():
            # One of the others may have waited for this one.
            others = [self.ended(s, one) for s, one in found.items() if s != of]
            if all(ended[of] < other.numbers[of] for ended in others):
                self.after(stage, instruction, of, other, early)
        self.accesses[stage].append(_Access(instruction, number, area, write))


def _join(clock: Clock, other: Clock) -> None:
    for stage, number in other.items():
        clock[stage] = max(clock[stage], number)
