# SPDX-License-Identifier: Apache-2.0
"""Plain tables: one line per row, never wrapped, fitted to the width there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from agentcg.daemon.cli.view.fit import pad

GAP = 2


@dataclass(frozen=True)
class Column:
    """A column; those with `flexible` give way when the table is wider than the terminal."""

    title: str
    right: bool = False
    flexible: int = 0  # the least width it may shrink to; 0: it does not


@dataclass(frozen=True)
class Cell:
    """What stands in a field, and how it is painted."""

    text: str
    style: str = ""


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Text]:
    """The lines of a table: titles, then rows, each at most `width` cells."""
    widths = _widths(columns, rows, width)
    titles = [Cell(column.title, "bold") for column in columns]
    return [_line(columns, widths, row, width) for row in (titles, *rows)]


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    widths = [
        max([cell_len(column.title), *(cell_len(row[index].text) for row in rows)])
        for index, column in enumerate(columns)
    ]
    excess = sum(widths) + GAP * (len(columns) - 1) - width
    for index in sorted(range(len(columns)), key=lambda index: -widths[index]):
        least = columns[index].flexible
        if excess > 0 and 0 < least < widths[index]:
            given = min(excess, widths[index] - least)
            widths[index] -= given
            excess -= given
    return widths


def _line(
    columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell], width: int
) -> Text:
    line = Text(no_wrap=True, end="")
    for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
        if index:
            line.append(" " * GAP)
        line.append(pad(cell.text, widths[index], right=column.right), cell.style)
    line.rstrip()
    line.truncate(width)
    return line
