# SPDX-License-Identifier: Apache-2.0
"""Text to YAML nodes, with positions, and safe against hostile files.

Only YAML's syntax is used: mappings, lists and scalars. Aliases (which can make a small
file enormous), tags and several documents in a file are refused, and size and depth are
bounded before a tree is built.
"""

from __future__ import annotations

from typing import Protocol

import yaml

from agentcg.policies.language import FILE_MAX_BYTES
from agentcg.policies.mistakes import Mistakes

DEPTH_MAX = 8  # the language itself needs 5
# libyaml where PyYAML has it: 20 times faster, same nodes and positions.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Mark(Protocol):
    """A place in the text, from 0; libyaml and PyYAML each have their own class for it."""

    line: int
    column: int


class _Refused(Exception):
    def __init__(self, mark: _Mark | None, rule: str) -> None:
        super().__init__(rule)
        self.mark = mark
        self.rule = rule


def decode(data: bytes, mistakes: Mistakes) -> str | None:
    """UTF-8 text of `data`, at most `FILE_MAX_BYTES`; None after noting a mistake."""
    if len(data) > FILE_MAX_BYTES:
        size = f"a policy file has at most {FILE_MAX_BYTES // 1024} KiB"
        mistakes.add((0, 0), "", None, size)
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        mistakes.add((line, column), "", None, f"byte 0x{data[error.start]:02x} is not UTF-8")
        return None


def read(text: str, mistakes: Mistakes) -> yaml.Node | None:
    """The one document of `text`; None where it is empty or after noting a mistake."""
    try:
        _check_events(text)
        return yaml.compose(text, Loader=_Loader)
    except _Refused as error:
        mistakes.add(position(error.mark), "", None, error.rule)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        mistakes.add(position(mark), "", None, _explain(text, mark, error.problem))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        at = (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        mistakes.add(at, "", None, f"character #x{_ordinal(error.character):04x} is not allowed")
    return None


def position(mark: _Mark | None) -> tuple[int, int]:
    """Line and column from 1; (0, 0) for no position."""
    return (0, 0) if mark is None else (mark.line + 1, mark.column + 1)


def _check_events(text: str) -> None:
    """Refuse what the language has no use for, in one linear pass with no tree."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(event.start_mark, "aliases (*name) are not allowed; write it out")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused(event.start_mark, "only one document in a file; use two files")
        if isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                raise _Refused(event.start_mark, "anchors (&name) are not allowed; write it out")
            if getattr(event, "tag", None) is not None:
                raise _Refused(event.start_mark, "tags (!name) are not allowed")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise _Refused(event.start_mark, f"nested more than {DEPTH_MAX} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _explain(text: str, mark: _Mark | None, problem: str | None) -> str:
    """The parser's complaint, or a better one where the cause is a tab."""
    lines = text.splitlines()
    if mark is not None and mark.line < len(lines):
        line = lines[mark.line]
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return "a tab cannot indent YAML; use spaces"
    return f"not YAML: {problem or 'cannot be read'}"


def _ordinal(character: object) -> int:
    return ord(character[0]) if isinstance(character, str) and character else int(str(character))
