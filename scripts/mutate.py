# SPDX-License-Identifier: Apache-2.0
"""Plant single faults in a block's RTL that its testbench must catch (``make mutants``).

Each mutant changes one operator, constant, condition or assignment in a copy of the file. Those
that do not compile, and those that Verilator translates to the very same C++, are replaced by the
next. A mutant that survives is a hole in the tests, unless ``lint/mutant_waivers.yaml`` says why
it cannot matter.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from unzipfpga.config import load_config
from unzipfpga.errors import UnzipError
from verif.runner import (
    BLOCKS,
    BUILD,
    ROOT,
    Block,
    RunError,
    build_block,
    check_arguments,
    design_files,
    module_parameters,
    run_block,
    sources_of,
    tool_environment,
    verilator_root,
)

WAIVERS = ROOT / "lint" / "mutant_waivers.yaml"
# Negative twins expect a fault of their own; a mutant must be caught by the real tests.
NO_TWINS = r"^(?!.*Twin)"
TIMEOUT_SECONDS = 120.0
# What tests/blocks runs a block with beside the preset: parts of the RTL show only there.
BUILDS: dict[str, list[dict[str, int]]] = {
    "wgen": [
        {"J": 1, "G": 2},
        {"J": 4, "N_MAX": 64, "DW": 16, "ALPHA_DEPTH": 512},
        {"J": 8, "G": 4, "T_P": 32, "ALPHA_DEPTH": 512},
    ],
    "projector": [{"S": 4, "T_P": 16}],
}

# (pattern, replacements); the pattern's group 1 is what is replaced.
RULES: list[tuple[str, Sequence[str]]] = [
    (r"(&&)", ["||"]),
    (r"(\|\|)", ["&&"]),
    (r"(==)(?!=)", ["!="]),
    (r"(!=)(?!=)", ["=="]),
    (r"(?<![<=>])(>=)", [">", "<"]),
    (r"(?<![<>])(<)(?![<=])", [">="]),
    (r"(?<![<>])(>)(?![>=])", [">=", "<="]),
    (r"(?<![<>])(<<)(?![<=])", [">>"]),
    (r"(>>)(?![>=])", ["<<"]),
    (r"(?<=[\w)\]] )(\+)(?= )", ["-"]),
    (r"(?<=[\w)\]] )(-)(?= )", ["+"]),
    (r"(?<=[\w)\]] )(&)(?= )", ["|"]),
    (r"(?<=[\w)\]] )(\|)(?= )", ["&"]),
    (r"(?<=[\s(&|=?:])(!)(?=[\w(])", [""]),
    (r"(?<=[\s(&|=?:])(~)(?=[\w(])", [""]),
    (r"(?<=[\s(&|=?:])(\^)(?=[\w(])", ["|"]),
    (r"(?<=\bif )(\()", ["(!"]),
    (r"(\? )", ["? !"]),
    (r"\b(1'b0)\b", ["1'b1"]),
    (r"\b(1'b1)\b", ["1'b0"]),
    (r"('0)\b", ["'1"]),
    (r"(?<![\w'.])(\d+)(?![\w'.])", ["+1", "-1"]),
    (r"\b\d+'d(\d+)\b", ["+1", "-1"]),
    (r"(?m)^\s*(?:end else )?(?:if \([^;]*?\) )?([\w\[\]:+*' -]+? <= [^;]+;)", [";"]),
]


@dataclass(frozen=True)
class Mutant:
    """One planted fault: at `offset` of the file, `before` becomes `after`."""

    offset: int
    line: int
    before: str
    after: str
    source: str  # the line that is changed, stripped


def mutable_spans(text: str) -> str:
    """Return the text with everything that is not mutated blanked, offsets unchanged.

    Left alone are comments, strings, compiler directives, the module's header (its widths are the
    testbench's contract), widths of declarations, and ``initial`` blocks (checks of parameters).
    """

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    text = re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\n])*\"", blank, text, flags=re.DOTALL)
    # A macro call ends where its parenthesis closes.
    text = re.sub(r"`\w+\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", blank, text)
    text = re.sub(
        r"(?m)^\s*`ifdef __ICARUS__.*?`endif|^\s*`[^\n]*",
        blank,
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    text = re.sub(r"\bmodule\b.*?\n\);", blank, text, flags=re.DOTALL)
    # A wider register changes nothing: widths in declarations say little about the tests.
    text = re.sub(r"\blogic\s*(?:\[[^\]]*\]\s*)+", blank, text)
    return re.sub(
        r"(?m)^  initial begin.*?^  end$|^  initial [^;]*;",
        blank,
        text,
        flags=re.DOTALL | re.MULTILINE,
    )


def enumerate_mutants(text: str) -> list[Mutant]:
    """Return every mutant that the rules make of a file, in the order of the text."""
    visible = mutable_spans(text)
    mutants = set()
    for pattern, replacements in RULES:
        for match in re.finditer(pattern, visible):
            before = match[1]
            for replacement in replacements:
                after = replacement
                if before.isdecimal():
                    if int(before) + int(replacement) < 0:
                        continue
                    after = str(int(before) + int(replacement))
                start, end = match.span(1)
                line = text.count("\n", 0, start) + 1
                source = text.splitlines()[line - 1].strip()
                mutants.add(Mutant(start, line, text[start:end], after, source))
    return sorted(mutants, key=lambda mutant: (mutant.offset, mutant.after))


def apply(text: str, mutant: Mutant) -> str:
    """Return the file's text with one mutant in it."""
    end = mutant.offset + len(mutant.before)
    if mutant.after == "(!":
        close = _closing(text, mutant.offset)
        return f"{text[: mutant.offset]}(!({text[end:close]})){text[close + 1 :]}"
    return text[: mutant.offset] + mutant.after + text[end:]


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError("unbalanced parenthesis")


def translation(toplevel: str, files: Sequence[Path], parameters: dict[str, int]) -> str | None:
    """Return the C++ that Verilator makes of a module, without assertions; None if it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        sources = [str(path) for path in files if path.suffix != ".svh"]
        includes = sorted({f"-I{path.parent}" for path in files if path.suffix == ".svh"})
        flags = [f"-G{name}={value}" for name, value in parameters.items()]
        done = subprocess.run(
            [
                *[str(verilator_root() / "bin" / "verilator"), "-cc", "-Wall", "--no-assert"],
                *["--Mdir", folder, "--prefix", "V", "--top-module", toplevel, "-O3"],
                *["--timescale", "1ns/1ps"],
                *[*flags, *includes, str(ROOT / "lint" / "verilator.vlt"), *sources],
            ],
            env=tool_environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            return None
        made = sorted(Path(folder).glob("*.cpp")) + sorted(Path(folder).glob("*.h"))
        return "\n".join(path.read_text() for path in made)


def load_waivers(path: Path = WAIVERS) -> list[dict[str, str]]:
    """Read the list of mutants that are accepted, each with its reason.

    Raises
    ------
    RunError
        The file is malformed, or an entry lacks a key.
    """
    if not path.is_file():
        return []
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    keys = {"file", "source", "before", "after", "reason"}
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != keys or not entry["reason"].strip():
            raise RunError(f"{path}: each entry needs {', '.join(sorted(keys))}: {entry}")
    return list(entries)


def waiver(mutant: Mutant, file: str, waivers: Sequence[dict[str, str]]) -> str | None:
    """Return the reason why a mutant is accepted, or None."""
    for entry in waivers:
        found = (entry["file"], entry["source"], entry["before"], entry["after"])
        if found == (file, mutant.source, mutant.before, mutant.after):
            return entry["reason"]
    return None


def try_mutant(
    block: str,
    config: str,
    sim: str,
    files: Sequence[Path],
    builds: Sequence[dict[str, int]],
    scratch: Path,
    blocks: Mapping[str, Block],
) -> str:
    """Build and run one mutant with each set of parameters until it is caught.

    Returns
    -------
    str
        ``refused`` by the first build, ``killed``, or ``survived``.
    """
    for parameters in builds:
        shutil.rmtree(scratch, ignore_errors=True)
        arguments = {"blocks": blocks, "files": files, "build_root": scratch}
        try:
            build_block(block, sim, config, parameters=parameters, **arguments)
        except RunError:
            if parameters == builds[0]:
                return "refused"
            continue  # says nothing about the tests
        try:
            run_block(
                block, sim, config, parameters=parameters, test_filter=NO_TWINS,
                timeout_seconds=TIMEOUT_SECONDS, **arguments,
            )  # fmt: skip
        except RunError:
            return "killed"
    return "survived"


def main() -> int:
    """Run the mutants and print the table; 0: all killed or waived, 1: not, 2: bad argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("block")
    parser.add_argument("--mutants", default="20", help="number of mutants")
    parser.add_argument("--seed", default="1", help="which ones are drawn")
    parser.add_argument("--config", default="")
    parser.add_argument("--sim", default="verilator")
    parser.add_argument("--file", type=Path, help="RTL file; default: the block's toplevel")
    options = parser.parse_args()
    block = options.block
    try:
        for name in ("mutants", "seed"):
            if not getattr(options, name).isdecimal() or int(getattr(options, name)) < 1:
                raise RunError(f"{name.upper()} '{getattr(options, name)}': expected a number >= 1")
        config = options.config or (BLOCKS[block].config if block in BLOCKS else "tiny")
        check_arguments(block, options.sim, config, int(options.seed))
        files = design_files()
        toplevel = BLOCKS[block].toplevel
        chosen = sources_of(toplevel, files)
        file = (options.file or _file_of(toplevel, chosen)).resolve()
        if file not in chosen:
            raise RunError(f"{file} is no part of block {block}")
        waivers = load_waivers()
    except (RunError, UnzipError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Work on a copy of one's own: the sources may be edited while the mutants run, and another
    # process may run mutants too.
    (BUILD / "mutants").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{block}-", dir=BUILD / "mutants"))
    (folder / "rtl").mkdir()
    copies = [Path(shutil.copy(path, folder / "rtl")) for path in chosen]
    copy = folder / "rtl" / file.name
    builds = [dict[str, int](), *BUILDS.get(block, [])]
    try:
        # A testbench that fails on the real RTL would "kill" everything.
        for parameters in builds:
            run_block(
                block, options.sim, config, test_filter=NO_TWINS, parameters=parameters,
                files=copies, build_root=folder / "unchanged",
            )  # fmt: skip
    except RunError as error:
        print(f"error: the unchanged RTL must pass first: {error}", file=sys.stderr)
        return 1
    rows = run_mutants(
        block, config, options.sim, copy, copies, int(options.mutants), int(options.seed),
        builds, waivers, folder / "mutant", name=str(file.relative_to(ROOT)),
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    return summary(block, rows, int(options.mutants), file)


def _file_of(toplevel: str, files: Sequence[Path]) -> Path:
    return next(path for path in files if re.search(rf"\bmodule\s+{toplevel}\b", path.read_text()))


def run_mutants(
    block: str,
    config: str,
    sim: str,
    file: Path,
    files: Sequence[Path],
    number: int,
    seed: int,
    builds: Sequence[dict[str, int]],
    waivers: Sequence[dict[str, str]],
    scratch: Path,
    *,
    name: str,
    blocks: Mapping[str, Block] = BLOCKS,
) -> list[dict[str, object]]:
    """Draw mutants by a seed until `number` of them were run; print a line for each.

    Parameters
    ----------
    block, config, sim : str
        Testbench, preset and simulator.
    file, files : Path, list of Path
        The file that is changed (in place, and restored), and all that the block needs.
    number, seed : int
        How many mutants, and which.
    builds : list of dict
        Parameters of each build that may catch a mutant, {} for the preset's; the first decides
        whether a mutant can be built.
    waivers : list of dict
        From `load_waivers`.
    scratch : Path
        Build directory, deleted for each mutant.
    name : str
        The file's name in waivers.
    blocks : mapping of str to Block
        Table of blocks.

    Returns
    -------
    list of dict
        The mutants drawn, the replaced ones too, with ``verdict`` and ``reason``.
    """
    text = file.read_text(encoding="utf-8")
    candidates = enumerate_mutants(text)
    random.Random(seed).shuffle(candidates)
    toplevel = blocks[block].toplevel
    accepted = module_parameters(toplevel, files)
    preset = {k: v for k, v in load_config(config).parameters().items() if k in accepted}

    def translations() -> Iterator[str | None]:
        return (translation(toplevel, files, preset | parameters) for parameters in builds)

    originals = list(translations())
    rows: list[dict[str, object]] = []
    tried = 0
    for mutant in candidates:
        if tried == number:
            break
        started = time.monotonic()
        reason = ""
        file.write_text(apply(text, mutant), encoding="utf-8")
        made = translations()
        first = next(made)
        if first is None:
            verdict = "refused"
        elif first == originals[0] and list(made) == originals[1:]:
            verdict = "identical"
        else:
            verdict = try_mutant(block, config, sim, files, builds, scratch, blocks)
        if verdict == "survived":
            reason = waiver(mutant, name, waivers) or ""
            verdict = "waived" if reason else verdict
        if verdict in ("killed", "survived", "waived"):
            tried += 1
        rows.append(asdict(mutant) | {"verdict": verdict, "reason": reason})
        print(
            f"{tried:>3} {verdict:<9} {file.name}:{mutant.line:<4} "
            f"{mutant.before[:30]!r} -> {mutant.after!r}  in: {mutant.source[:70]}  "
            f"({time.monotonic() - started:.0f} s)",
            flush=True,
        )
    file.write_text(text, encoding="utf-8")
    return rows


def summary(block: str, rows: Sequence[dict[str, object]], number: int, file: Path) -> int:
    """Print the totals and write them as JSON; 0 if enough ran and none survived unexplained."""
    counts = {
        verdict: sum(row["verdict"] == verdict for row in rows)
        for verdict in ("killed", "survived", "waived", "refused", "identical")
    }
    ran = counts["killed"] + counts["survived"] + counts["waived"]
    output = BUILD / "mutants" / f"{block}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"counts": counts, "mutants": rows}, indent=1) + "\n")
    print(
        f"{file.name}: {ran} mutants: {counts['killed']} killed, {counts['waived']} waived, "
        f"{counts['survived']} survived; replaced: {counts['refused']} refused by the build, "
        f"{counts['identical']} without effect"
    )
    print(f"report: {output}")
    if ran < number:
        print(f"error: only {ran} of {number} mutants could be made", file=sys.stderr)
        return 1
    return 1 if counts["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
