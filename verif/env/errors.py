# SPDX-License-Identifier: Apache-2.0
"""What a checker can find. Negative twins name the one that their planted fault must raise."""


class CheckError(Exception):
    """A checker found something wrong."""


class Mismatch(CheckError):
    """An observed item differs from the expected one."""


class Unexpected(CheckError):
    """An item was observed where none was expected."""


class Leftover(CheckError):
    """Expected items were never observed."""


class SawNothing(CheckError):
    """A scoreboard observed nothing: it proves nothing."""


class ProtocolError(CheckError):
    """An interface broke its rules."""


class UnknownValue(CheckError):
    """A value that is read holds X or Z."""


class TimingError(CheckError):
    """The right items, at the wrong time."""


class NotCovered(CheckError):
    """A situation that the test exists for did not occur."""
