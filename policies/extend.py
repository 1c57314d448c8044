# SPDX-License-Identifier: Apache-2.0
"""Files that extend others, put into the one order in which their rules are asked.

A file's own rules come first, then those of what it extends, in the order in which it names
them; so a site's file states what differs from the policy that it extends. A file is asked
once: one that another extends is asked there and not at its own place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agentcg.policies.language import EXTENDS_DEPTH_MAX
from agentcg.policies.mistakes import Mistake
from agentcg.policies.rules import Extends, File

Find = Callable[[Extends], File | None]
"""The file that an `extends` names; None where there is none."""


def in_order(files: Iterable[File], find: Find) -> tuple[list[File], list[Mistake]]:
    """All of `files` and what they extend, in order, and what is wrong with how they extend."""
    given = list(files)
    targets = [find(named) for file in given for named in file.extends]
    extended = {target.key for target in targets if target is not None}
    # A cycle has no file that nobody extends: what is left over starts there.
    roots = sorted(given, key=lambda file: file.key in extended)
    walk = _Walk(find)
    for file in roots:
        if file.key not in walk.asked:
            walk.ask(file, ())
    return walk.order, sorted(walk.mistakes)


class _Walk:
    """One walk along `extends`, depth first."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self.order: list[File] = []
        self.asked: set[str] = set()
        self.mistakes: list[Mistake] = []

    def ask(self, file: File, above: tuple[File, ...]) -> None:
        self.asked.add(file.key)
        self.order.append(file)
        line = (*above, file)
        for named in file.extends:
            target = self._find(named)
            if target is None:
                self._wrong(file, named, "there is no such file beside this one")
            elif any(target.key == each.key for each in line):
                names = [each.name for each in line]
                circle = " extends ".join([*names[names.index(target.name) :], target.name])
                self._wrong(file, named, f"goes round in a circle: {circle}")
            elif len(line) >= EXTENDS_DEPTH_MAX:
                self._wrong(file, named, f"at most {EXTENDS_DEPTH_MAX} files extend each other")
            elif target.key not in self.asked:
                self.ask(target, line)

    def _wrong(self, file: File, named: Extends, rule: str) -> None:
        self.mistakes.append(Mistake(file.name, *named.at, "extends", f"'{named.name}'", rule))
