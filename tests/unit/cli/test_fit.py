# SPDX-License-Identifier: Apache-2.0
"""Text and tables fit the width, whatever they are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agentcg.daemon.cli.view.fit import fit, fold, pad, shorten_command
from agentcg.daemon.cli.view.table import Cell, Column, table

WIDTHS = st.integers(0, 100)
WIDE_TEXT = st.text(st.characters() | st.sampled_from("全角\x1b\n\u200d🎉…"))


@pytest.mark.parametrize(
    ("command", "width", "shown"),
    [
        ("pytest -x", 20, "pytest -x"),
        ("/usr/bin/python3 -m http.server", 24, "python3 -m http.server"),
        ("/usr/bin/python3 -m pytest -x tests/unit", 24, "python3 -m pytest -x te…"),
        ("/opt/tool/", 6, "/opt/…"),
        ("make 全角文字", 9, "make 全…"),
        ("echo '\x1b[2J'", 40, r"echo '\x1b[2J'"),
    ],
)
def test_commands_keep_what_tells_them_apart(command: str, width: int, shown: str) -> None:
    """Directories of the program go first, then the end."""
    assert shorten_command(command, width) == shown


@given(WIDE_TEXT, WIDTHS)
def test_fit_fits(text: str, width: int) -> None:
    """Never wider than asked, never a character that a terminal obeys."""
    for shown in (fit(text, width), shorten_command(text, width)):
        assert cell_len(shown) <= width
        assert shown.isprintable()


@given(WIDE_TEXT, st.integers(1, 40), st.booleans())
def test_pad_fills(text: str, width: int, right: bool) -> None:
    """Exactly the width, so that columns stand below each other."""
    assert cell_len(pad(text, width, right=right)) == width


@given(WIDE_TEXT, st.integers(1, 60), st.integers(1, 4))
def test_fold_is_bounded(text: str, width: int, lines_max: int) -> None:
    """At most so many lines, none wider than asked."""
    lines = fold(text, width, lines_max)
    assert len(lines) <= lines_max
    assert all(cell_len(line) <= width for line in lines)


def test_fold_breaks_between_words() -> None:
    """Words stay whole; what is left over ends in an ellipsis."""
    assert fold("one two three four five", 9, 2) == ["one two", "three fo…"]


COLUMNS = [Column("NAME", flexible=4), Column("SIZE", right=True), Column("TEXT", flexible=6)]


def test_table_lines_up() -> None:
    """Columns are as wide as their content; figures stand to the right."""
    rows = [[Cell("a"), Cell("96M"), Cell("x y")], [Cell("longer"), Cell("1.5G"), Cell("")]]
    assert [line.plain for line in table(COLUMNS, rows, 80)] == [
        "NAME    SIZE  TEXT",
        "a        96M  x y",
        "longer  1.5G",
    ]


def test_widest_column_gives_way() -> None:
    """A long command is cut before a short name."""
    rows = [[Cell("name"), Cell("1M"), Cell("c" * 50)]]
    assert table(COLUMNS, rows, 30)[1].plain == "name    1M  " + "c" * 17 + "…"


@given(st.lists(st.tuples(WIDE_TEXT, WIDE_TEXT, WIDE_TEXT), max_size=4), st.integers(1, 120))
def test_no_line_is_too_wide(rows: list[tuple[str, ...]], width: int) -> None:
    """Not even on a terminal too narrow for the columns that do not give way."""
    lines = table(COLUMNS, [[Cell(text) for text in row] for row in rows], width)
    assert all(line.cell_len <= width for line in lines)
    assert all(line.plain.isprintable() for line in lines)
