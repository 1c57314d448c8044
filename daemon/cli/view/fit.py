# SPDX-License-Identifier: Apache-2.0
"""Text fitted to a width in terminal cells (a CJK letter takes two)."""

from __future__ import annotations

from rich.cells import cell_len, chop_cells

from agentcg.daemon.client.text import printable

ELLIPSIS = "…"


def fit(text: str, width: int) -> str:
    """`text` on one line in at most `width` cells; what does not fit ends in an ellipsis."""
    line = printable(text)
    if width <= 0:
        return ""
    if cell_len(line) <= width:
        return line
    kept = chop_cells(line, width - 1)[0] if width > 1 else ""
    return kept + ELLIPSIS


def shorten_command(command: str, width: int) -> str:
    """`command` in at most `width` cells, with what tells one from another kept.

    Directories before the program's name go first ("/usr/bin/python3 x" -> "python3 x");
    then the end is cut.
    """
    line = printable(command)
    if cell_len(line) > width:
        program, space, rest = line.partition(" ")
        name = program.rpartition("/")[2]
        line = f"{name or program}{space}{rest}"
    return fit(line, width)


def fold(text: str, width: int, lines_max: int) -> list[str]:
    """`text` on at most `lines_max` lines of `width` cells, broken between words."""
    lines = [""]
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if cell_len(longer) <= width or not lines[-1] or len(lines) == lines_max:
            lines[-1] = longer
        else:
            lines.append(word)
    return [fit(line, width) for line in lines]


def pad(text: str, width: int, *, right: bool = False) -> str:
    """`text` fitted and filled up to exactly `width` cells."""
    fitted = fit(text, width)
    gap = " " * (width - cell_len(fitted))
    return gap + fitted if right else fitted + gap
