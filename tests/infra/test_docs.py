# SPDX-License-Identifier: Apache-2.0
"""The blocks' pages hold what the RTL says and does, and the check finds what they do not."""

import re
import shutil

import pytest
import yaml

from scripts import diagrams, docs, headers

MODULES = sorted(headers.modules())
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Copy the pages, and let the script work on the copies."""
    copy = tmp_path / "blocks"
    shutil.copytree(docs.FOLDER, copy)
    monkeypatch.setattr(docs, "FOLDER", copy)
    monkeypatch.setattr(docs, "INDEX", copy / "README.md")
    return copy


# --------------------------------------------------------------------------------------------------
# The pages as they are
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_a_page_and_its_diagrams_are_as_the_rtl_is(module):
    page = docs.FOLDER / f"{module}.md"
    text = page.read_text(encoding="utf-8")
    for section in ("about", "timing", "interface", "area"):
        assert text.count(f"<!-- generated: {section} -->") == 1
    assert diagrams.diagrams(page.with_suffix(".yaml"))
    assert docs.stale(page) == []


def test_every_module_has_a_page_and_every_file_belongs_to_one():
    assert {page.stem for page in docs.pages()} == {*MODULES, "README"}
    drawn = {d.name for m in MODULES for d in diagrams.diagrams(docs.FOLDER / f"{m}.yaml")}
    assert drawn == {path.stem for path in docs.FOLDER.glob("*.svg")}
    assert docs.stale(docs.INDEX) == []


def test_links_lead_to_files():
    for page in docs.pages():
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_parameters_ports_and_limits_are_read_from_the_source():
    parameters, ports = headers.header("unzip_fifo")
    assert [(p.name, p.default, p.local) for p in parameters] == [
        ("WIDTH", "8", False),
        ("DEPTH", "4", False),
    ]
    assert [(p.name, p.direction, p.width) for p in ports][2:5] == [
        ("in_valid_i", "input", "1"),
        ("in_ready_o", "output", "1"),
        ("in_data_i", "input", "WIDTH"),
    ]
    assert ports[-1].width == "$clog2(DEPTH) + 1"
    table = docs.interface("unzip_pe_array")
    assert "| `T_C` | `8` | even number from 2 to 256 |" in table
    assert "- OPERAND_W (n) is neither DW (n) nor DW + 4." in table


# --------------------------------------------------------------------------------------------------
# What is found
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "good", "bad", "said"),
    [
        (
            "unzip_fifo",
            "in_ready_o = !count_q[AddrW]",
            "in_ready_o = count_q < (AddrW + 1)'(DEPTH - 1)",
            "unzip_fifo.svg is not up to date",
        ),
        ("unzip_ram", " && wmask_i[p]) mem", ") mem", "unzip_ram.svg is not up to date"),
        ("unzip_tokens", "count_q != '0", "count_q > 4'd1", "unzip_tokens.svg is not up to date"),
        ("unzip_wgen", "^(code & e1_position)", "^code", "does not happen"),
        (
            "unzip_max_pool",
            "maxima3(s0_rows_q, data_q,",
            "maxima3(2'd0, data_q,",
            "does not happen",
        ),
    ],
)
def test_a_level_that_the_rtl_does_not_have_is_found(
    tmp_path, monkeypatch, folder, capsys, module, good, bad, said
):
    source = headers.modules()[module]
    text = source.read_text(encoding="utf-8")
    assert text.count(good) == 1
    planted = tmp_path / source.name
    planted.write_text(text.replace(good, bad), encoding="utf-8")
    files = [planted if path == source else path for path in diagrams.design_files()]
    monkeypatch.setattr(diagrams, "design_files", lambda: files)
    assert docs.main(["--check", module]) in (1, 2)
    assert said in capsys.readouterr().err


def test_old_tables_drawings_and_latencies_are_found_and_written(folder, capsys):
    page, svg = folder / "unzip_fifo.md", folder / "unzip_fifo.svg"
    good = page.read_text(encoding="utf-8"), svg.read_text(encoding="utf-8")
    for old, new in (
        ("| `DEPTH` | `4` |", "| `DEPTH` | `8` |"),
        ("Latency of a word: 1 cycle", "Latency of a word: 2 cycles"),
        ("Throughput: one word", "Throughput: two words"),
    ):
        assert old in good[0]
        page.write_text(good[0].replace(old, new), encoding="utf-8")
        assert docs.main(["--check", "unzip_fifo"]) == 1
        assert "docs/blocks/unzip_fifo.md is not up to date" in capsys.readouterr().err
    svg.unlink()
    assert docs.main(["--check", "unzip_fifo"]) == 1
    assert "docs/blocks/unzip_fifo.svg is not up to date" in capsys.readouterr().err
    assert docs.main(["unzip_fifo"]) == 0
    assert (page.read_text(encoding="utf-8"), svg.read_text(encoding="utf-8")) == good


def test_area_rows_come_from_the_area_page(tmp_path, monkeypatch):
    page = tmp_path / "area.md"
    page.write_text(
        "# Area\n\n## base, xcup\n\n| block | LUTs | DSP blocks |\n|---|---:|---:|\n"
        "| whole core | 9,999 | 99 |\n| weights generator | 1,234 | 0 |\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(docs, "AREA", page)
    assert "| base, xcup | 0 | 0 | 0 | 0 | 0 | 1,234 | 0 |\n" in docs.area("unzip_wgen")
    assert docs.area("unzip_post") == "`make synth` counts it.\n"
    assert "blocks that hold it" in docs.area("unzip_fifo")


def fifo(**changes: object) -> list[dict[str, object]]:
    """Return the description of a small diagram with something else in it."""
    good = {
        "name": "unzip_fifo",
        "caption": "A word.",
        "cycles": 4,
        "signals": [{"name": "in_valid_i", "drive": "010"}, {"name": "count_o"}],
    }
    return [good | changes]


def signal(**keys: object) -> dict[str, object]:
    """Return the change of a diagram to a single signal."""
    return {"signals": [keys]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (signal(name="in_valid", drive="01"), "unzip_fifo has no input in_valid"),
        (signal(name="count_o", drive="01"), "unzip_fifo has no input count_o"),
        (signal(name="in_valid_i", drive="0?"), "in_valid_i: '?' of its wave is not understood"),
        (signal(name="in_data_i", drive="x=", data="q"), "'q' is neither a number nor a label"),
        (signal(name="in_data_i", drive="x=", data="1 2"), "more words than its wave"),
        (signal(name="in_valid_i", wave="01"), "unexpected keyword argument 'wave'"),
        (signal(name="nothing"), "iverilog: "),
        ({"parameters": {"WORDS": 4}}, "unzip_fifo has no parameter WORDS"),
        ({"parameters": {"DEPTH": 3}}, "DEPTH"),
        ({"measures": [{"what": "w", "start": "in_valid_i", "end": "count_o == 9"}]}, "happen"),
        ({"measures": [{"what": "w", "every": "in_valid_i"}]}, "holds 1 times"),
        ({"code": "initial $fatal;"}, "vvp: "),
        ({"code": 'initial $display("hello");'}, "the simulation says: hello"),
    ],
)
def test_a_diagram_that_does_not_fit_is_an_error(folder, capsys, changes, said):
    (folder / "unzip_fifo.yaml").write_text(yaml.safe_dump(fifo(**changes)), encoding="utf-8")
    before = (folder / "unzip_fifo.md").read_text(encoding="utf-8")
    assert docs.main(["unzip_fifo"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert (folder / "unzip_fifo.md").read_text(encoding="utf-8") == before


def test_pages_that_are_missing_or_too_many_are_errors(folder, capsys):
    (folder / "unzip_gone.md").write_text("# gone\n", encoding="utf-8")
    assert docs.main(["--check"]) == 2
    assert "docs/blocks/unzip_gone.md belongs to no module" in capsys.readouterr().err
    (folder / "unzip_gone.md").unlink()
    (folder / "unzip_fifo.md").unlink()
    assert docs.main([]) == 2
    assert "docs/blocks/unzip_fifo.md is missing" in capsys.readouterr().err
    assert docs.main(["unzip_gone"]) == 2
    assert capsys.readouterr().err == "error: the RTL has no module unzip_gone\n"


def test_an_unknown_section_is_an_error(folder, capsys):
    page = folder / "unzip_fifo.md"
    page.write_text("<!-- generated: speed -->\n<!-- end -->\n", encoding="utf-8")
    assert docs.main(["unzip_fifo"]) == 2
    assert "unknown section 'speed'" in capsys.readouterr().err


def test_a_header_line_that_is_not_understood_is_an_error(tmp_path, monkeypatch):
    source = tmp_path / "odd.sv"
    source.write_text("module odd (\n    inout wire pad_io\n);\nendmodule\n", encoding="utf-8")
    monkeypatch.setattr(headers, "modules", lambda: {"odd": source})
    with pytest.raises(
        headers.DocsError, match="odd: header line not understood: inout wire pad_io"
    ):
        headers.header("odd")
