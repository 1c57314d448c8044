# SPDX-License-Identifier: Apache-2.0
"""The terminal: its size, and painting on it.

rich decides about colour: only on a terminal, and not if NO_COLOR is set (no-color.org) or
the terminal is a dumb one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

NO_LIMIT = 1 << 16  # cells: into a pipe or a file nothing is cut
WIDTH_WITHOUT_TERMINAL = 100


def console() -> Console:
    """Standard output as rich sees it, without highlighting or markup of its own."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_live() -> bool:
    """Whether standard output is a terminal on which something can be painted over."""
    return sys.stdout.isatty() and not console().is_dumb_terminal


def list_width() -> int:
    """Cells for a list: the terminal's width; a pipe gets everything."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return NO_LIMIT
    return page_size()[0]


def page_size() -> tuple[int, int]:
    """Columns and lines of the terminal ($COLUMNS and $LINES first)."""
    size = shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 24))
    return max(size.columns, 20), max(size.lines, 4)


def paint(lines: Iterable[Text]) -> None:
    """Print `lines`, one terminal line each."""
    out = console()
    for line in lines:
        out.print(line, no_wrap=True, overflow="ignore", crop=False)


def joined(lines: Iterable[Text]) -> Text:
    """`lines` as one text that rich shows without wrapping."""
    return Text("\n", no_wrap=True, overflow="crop").join(lines)
