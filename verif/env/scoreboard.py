# SPDX-License-Identifier: Apache-2.0
"""In-order scoreboard that cannot pass without having seen anything."""

from collections import deque
from collections.abc import Callable
from typing import Any

from pyuvm import uvm_component

from verif.env.errors import Leftover, Mismatch, SawNothing, Unexpected


class Scoreboard(uvm_component):
    """Compares observed items with expected ones, in order.

    Parameters
    ----------
    name : str
        Also stands in the messages.
    parent : uvm_component
    differs : callable
        ``differs(expected, observed)`` returns a text that says what differs, "" if nothing.
    least : int
        Fewest items that count as a test.

    Raises
    ------
    Mismatch, Unexpected
        At once.
    Leftover, SawNothing
        In the check phase.
    """

    def __init__(
        self,
        name: str,
        parent: uvm_component,
        differs: Callable[[Any, Any], str],
        least: int = 1,
    ):
        super().__init__(name, parent)
        self.differs = differs
        self.least = least
        self.expected: deque[Any] = deque()
        self.compared = 0

    def expect(self, item: Any) -> None:
        """Append an expected item."""
        self.expected.append(item)

    def write(self, item: Any) -> None:
        """Compare an observed item with the next expected one."""
        if not self.expected:
            raise Unexpected(f"{self.get_name()}: item {self.compared} came unexpected: {item}")
        expected = self.expected.popleft()
        text = self.differs(expected, item)
        if text:
            raise Mismatch(f"{self.get_name()}: item {self.compared}: {text}")
        self.compared += 1

    def check_phase(self) -> None:
        """Refuse an empty test and items that never came."""
        if self.compared < self.least:
            raise SawNothing(
                f"{self.get_name()}: only {self.compared} of at least {self.least} items came"
            )
        if self.expected:
            raise Leftover(
                f"{self.get_name()}: {len(self.expected)} expected items never came, "
                f"first: {self.expected[0]}"
            )
