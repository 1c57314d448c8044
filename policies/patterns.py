# SPDX-License-Identifier: Apache-2.0
"""What a `match` is made of: patterns, and conditions on facts."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

GLOB_MAX_CHARS = 256


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern in the shell's words: `*` anything, `?` one character, `[ab]` one of these.

    Matches the whole text, case-sensitively, newlines included. Python's translation uses
    atomic groups, so the time is bounded by pattern length times text length.
    """

    text: str
    regex: re.Pattern[str]

    @classmethod
    def compile(cls, text: str) -> Glob:
        """The pattern `text`; every text is one."""
        return cls(text, re.compile(fnmatch.translate(text)))

    def beginning(self, size: int) -> str | None:
        """The first `size` characters of all that fits; None where they are not the same."""
        literal = re.split(r"[*?\[]", self.text, maxsplit=1)[0]
        return literal[:size] if len(literal) >= size or literal == self.text else None

    def matches(self, value: str) -> bool:
        """Whether `value` as a whole fits."""
        return self.regex.match(value) is not None


class Condition(Protocol):
    """One line of a `match`: a test of one fact."""

    def holds(self, fact: Any) -> bool:
        """Whether `fact` (None: not known) is what the rule asks for."""


@dataclass(frozen=True, slots=True)
class AnyGlob:
    """Holds when one of the patterns fits."""

    globs: tuple[Glob, ...]

    def holds(self, fact: Any) -> bool:
        """Whether one pattern fits `fact`, or one of several names; the unknown fits none."""
        if isinstance(fact, tuple):
            return any(self.holds(name) for name in fact)
        return fact is not None and any(glob.matches(fact) for glob in self.globs)


@dataclass(frozen=True, slots=True)
class OneOf:
    """Holds when the fact is one of the listed values."""

    values: frozenset[Any]

    def holds(self, fact: Any) -> bool:
        """Whether `fact` is listed; an unknown fact is not."""
        return fact in self.values


@dataclass(frozen=True, slots=True)
class LabelGlobs:
    """Holds when every named label is there and fits its pattern."""

    globs: Mapping[str, Glob]

    def holds(self, fact: Any) -> bool:
        """Whether all of the labels fit."""
        return all(key in fact and glob.matches(fact[key]) for key, glob in self.globs.items())
