# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a policy, and where.

A check does not stop at the first mistake: an author wants them all, in the order of the
file, each with a position that an editor can jump to.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from agentcg.errors import PolicyError, clip

MISTAKES_MAX = 50  # a file in the wrong language would otherwise give thousands


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong, or (`warning`) hardly meant.

    `line` and `column` count from 1; 0 means the whole file.
    """

    file: str
    line: int
    column: int
    field: str  # "sessions[2].memory_max"; "" for the file as a whole
    value: str  # as written, shortened; "" where there is none
    rule: str  # what would be right
    warning: bool = False  # allowed, but hardly meant

    @property
    def where(self) -> str:
        """Position as `file:line:column`, or the file alone."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        subject = f"{self.field}: " if self.field else ""
        if self.warning:
            value = f"{self.value}: " if self.value else ""
            return f"{self.where}: warning: {subject}{value}{self.rule}"
        value = f"{self.value} is not valid: " if self.value else ""
        return f"{self.where}: {subject}{value}{self.rule}"


class Mistakes:
    """Collects the mistakes of one file; past `MISTAKES_MAX` it only counts."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Mistake] = []
        self.left_out = 0

    def add(self, at: tuple[int, int], field: str, value: str | None, rule: str) -> None:
        """Note that `field` at `at` (line, column; from 1) breaks `rule`."""
        if self.full:
            self.left_out += 1
            return
        shown = "" if value is None else clip(value, 60)
        self.found.append(Mistake(self.file, *at, field, shown, rule))

    @property
    def full(self) -> bool:
        """Whether further mistakes are only counted, so that no hint needs working out."""
        return len(self.found) >= MISTAKES_MAX

    def all(self) -> list[Mistake]:
        """Everything found, in file order, with a last line for what was left out."""
        found = sorted(self.found)
        if self.left_out:
            found.append(Mistake(self.file, 0, 0, "", "", f"and {self.left_out} more mistakes"))
        return found


def suggestion(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" where one of `known` is close to `word`, else ""."""
    close = difflib.get_close_matches(word[:64], list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def refuse(mistakes: Iterable[Mistake]) -> None:
    """Raise one `PolicyError` that lists `mistakes`; do nothing where there are none but
    warnings."""
    lines = [str(mistake) for mistake in mistakes if not mistake.warning]
    if lines:
        raise PolicyError("\n".join(lines), remedy="the policy was not taken; nothing changed")
