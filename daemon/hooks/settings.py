# SPDX-License-Identifier: Apache-2.0
"""Our hooks in a client's settings: put in and taken out, without harm to what is there. Pure.

    {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", ...}]}]}}

Claude Code, Codex and OpenHands have the same layout in different files.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from agentcg.errors import InvalidInput

OURS = re.compile(r"(?:^|[\s/'\"])agentcg(?:-hook|['\"]? hook)\b")
"""Commands that are ours, wherever agentcg was installed when they were put there."""

_BESIDE = frozenset({"PostToolBatch"})
"""Nothing is answered, so that the client need not wait (`async`)."""
QUICK_S = 5  # a hook that does not wait ends in a fraction of that


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a client has its hooks, below its configuration directory, and which it offers.

    `events`: their matchers; None: the event has none.
    """

    variable: str  # names the directory
    directory: str  # else this one, below the user's home
    file: str
    events: Mapping[str, str | None]
    note: str = ""
    alone: bool = False  # whether other keys beside "hooks" would be passed over
    starts: bool = False  # whether it starts a program with `args` itself, without a shell


_TURNS: Mapping[str, str | None] = {
    "SessionStart": None, "UserPromptSubmit": None, "Stop": None, "SessionEnd": None,
}  # fmt: skip
LAYOUTS: Mapping[str, Layout] = {
    "claude-code": Layout(
        "CLAUDE_CONFIG_DIR", ".claude", "settings.json",
        {**_TURNS, "PreToolUse": "Bash", "PostToolUse": "Bash", "PostToolUseFailure": "Bash",
         "PostToolBatch": None},
        starts=True,
    ),
    "codex": Layout(
        "CODEX_HOME", ".codex", "hooks.json",
        {**_TURNS, "PreToolUse": "Bash", "PostToolUse": "Bash"},
        note="Codex skips hooks that nobody has trusted, without a word: trust them with /hooks in "
        "Codex, or set them in /etc/codex/requirements.toml.",
    ),
    "openhands": Layout(
        "OH_PERSISTENCE_DIR", ".openhands", "hooks.json",
        {**_TURNS, "PreToolUse": "*", "PostToolUse": "*"},
        note="OpenHands passes what hooks say on to the model at the start of a session and with a "
        "prompt only; `agentcg mcp` lets the model read its feedback.",
        alone=True,
    ),
}  # fmt: skip


def parse(text: str, where: str) -> dict[str, Any]:
    """The settings in `text`; raises `InvalidInput` where writing them anew would lose something:
    comments, a key that is there twice, a number that we would round, or no JSON object at all."""
    try:
        loads = json.JSONDecoder(
            object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_exact
        )
        found = loads.decode(text) if text.strip() else {}
    except ValueError as error:
        remedy = "edit it by hand, or name another file with --file"
        raise InvalidInput(where, _line(text, error), f"plain JSON ({error})", remedy=remedy) from (
            error
        )
    except RecursionError as error:
        raise InvalidInput(where, "deeply nested", "plain JSON") from error
    settings: dict[str, Any] = _typed(found, dict, where)
    return settings


def put_in(
    settings: dict[str, Any], client: str, command: Sequence[str], wait_s: int
) -> dict[str, Any]:
    """`settings` with our hooks, in place of older ones of ours: the words of `command`, of which
    the first is a program. Raises `InvalidInput`."""
    changed = take_out(settings)
    hooks = changed.setdefault("hooks", {})
    if LAYOUTS[client].alone:
        _check_alone(changed)
    for event, matcher in LAYOUTS[client].events.items():
        waits = event == "PreToolUse" and wait_s > 0
        words = [*command, "--wait", str(wait_s)] if waits else command
        entry: dict[str, Any] = {
            "type": "command",
            **_started(words, LAYOUTS[client]),
            "timeout": wait_s + QUICK_S if waits else QUICK_S,
        }
        if event in _BESIDE:
            entry["async"] = True
        group: dict[str, Any] = {} if matcher is None else {"matcher": matcher}
        hooks.setdefault(event, []).append({**group, "hooks": [entry]})
    return changed


def _started(words: Sequence[str], layout: Layout) -> dict[str, Any]:
    """How the client is to start the hook. A version that does not know `args` starts the program
    without: agentcg-hook takes that well, `agentcg` would not, and nor does who wants to stay."""
    program, *given = words
    if layout.starts and program.endswith("/agentcg-hook") and "--stay" not in given:
        return {"command": program, "args": given}
    return {"command": shlex.join(words)}


def take_out(settings: dict[str, Any]) -> dict[str, Any]:
    """`settings` without our hooks, and without what was left empty by that."""
    changed = copy.deepcopy(settings)
    hooks = _typed(changed.get("hooks", {}), dict, "hooks")
    for event, groups in list(hooks.items()):
        where = f"hooks.{event}"
        kept = []
        for number, group in enumerate(_typed(groups, list, where)):
            at = f"{where}[{number}]"
            entries = _typed(_typed(group, dict, at).get("hooks", []), list, f"{at}.hooks")
            others = [entry for entry in entries if not _is_ours(entry)]
            if len(others) == len(entries):
                kept.append(group)
            elif others:
                kept.append({**group, "hooks": others})
        if kept or not groups:
            hooks[event] = kept
        else:
            del hooks[event]
    if not hooks and settings.get("hooks"):
        del changed["hooks"]
    return changed


def written(settings: dict[str, Any], like: str) -> str:
    """`settings` as text, indented as `like` is."""
    indent: str | int = 2
    found = re.search(r'\n([ \t]+)"', like)
    if found is not None:
        indent = found[1]
    text = json.dumps(settings, indent=indent, ensure_ascii=False)
    if not text.isascii() and text.encode("utf-8", "ignore").decode() != text:
        text = json.dumps(settings, indent=indent)  # half a character, which only JSON can write
    return text if like and not like.endswith("\n") else text + "\n"


def _check_alone(settings: Mapping[str, Any]) -> None:
    """OpenHands takes events at the top, too, and by names such as pre_tool_use: beside "hooks" it
    would pass over the former, and refuse an event under both names."""
    odd = [name for name in settings if name != "hooks"]
    odd += [name for name in settings["hooks"] if not name[:1].isupper()]
    if odd:
        raise InvalidInput(
            "settings", odd[0], 'all events below "hooks", with names such as PreToolUse',
            remedy="nothing was changed; move yours there by hand",
        )  # fmt: skip


def _is_ours(entry: Any) -> bool:
    command = entry.get("command") if isinstance(entry, dict) else None
    return isinstance(command, str) and OURS.search(command) is not None


def _typed(value: Any, kind: Callable[..., Any], where: str) -> Any:
    if type(value) is not kind:
        rule = "a JSON object" if kind is dict else "a list"
        raise InvalidInput(where, value, rule, remedy="nothing was changed; correct it by hand")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _exact(number: str) -> float:
    """1e999 would become Infinity, which no client can read."""
    found = float(number)
    try:
        kept = Decimal(repr(found)) == Decimal(number)
    except InvalidOperation:  # an exponent beyond even that
        kept = False
    if not kept:
        raise ValueError(f"{number[:40]} is no number that can be kept")
    return found


def _line(text: str, error: ValueError) -> str:
    number = getattr(error, "lineno", 0)
    lines = text.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else text[:40]
