# SPDX-License-Identifier: Apache-2.0
"""docs/model.md holds the constants that the model has."""

import inspect
import re
from dataclasses import fields

from unzipfpga.model import timing
from unzipfpga.source_tree import ROOT


def constants() -> list[str]:
    """Return the table's rows: the modules that a comment above constants names, and these."""
    rows: list[tuple[str, list[str]]] = []
    for line in inspect.getsource(timing.Timing).splitlines():
        if match := re.match(r"    # (unzip_\w+(?:, unzip_\w+)*)", line):
            rows.append((match[1], []))
        elif match := re.match(r"    (\w+): int = (\d+)  # \w", line):
            rows[-1][1].append(f"{match[1]} {match[2]}")
    return [
        f"| {', '.join(f'`{m}`' for m in names.split(', '))} | {', '.join(found)} |"
        for names, found in rows
    ]


def test_every_constant_says_where_it_comes_from() -> None:
    found = [part for row in constants() for part in row.split("|")[2].strip().split(", ")]
    assert [part.split()[0] for part in found] == [field.name for field in fields(timing.Timing)]


def test_the_table_is_that_of_the_source() -> None:
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    table = page.partition("| from | constants |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == constants()
