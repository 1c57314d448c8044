# SPDX-License-Identifier: Apache-2.0
"""The policy language as data: every section, key, kind of value and meaning.

The reader checks files against these tables and `policies/schema.json` is generated from
them; a key is added here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from agentcg.policies.categories import CATEGORIES
from agentcg.policies.rules import Priority
from agentcg.policies.values import (
    DurationKind,
    FactorKind,
    GlobKind,
    IntegerKind,
    Kind,
    MemoryKind,
    WordKind,
)

VERSION = 1
FILE_MAX_BYTES = 256 * 1024
RULES_MAX = 500  # in one section of one file
LIST_MAX = 32  # values of one match key
LABELS_MAX = 16
UID_MAX = (1 << 32) - 2

PRIORITIES: tuple[str, ...] = get_args(Priority)


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its kind of value and what it means. `many`: one value or a list of them."""

    name: str
    kind: Kind
    doc: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A block of settings; with `rules` a list of them, each with its `match`."""

    name: str
    doc: str
    settings: tuple[Key, ...]
    match: tuple[Key, ...] = ()
    labels: bool = False  # whether `match` may have a `labels` mapping
    rules: bool = False


_PRIORITY = WordKind(PRIORITIES)
_LIMIT = MemoryKind()
_PROTECTION = MemoryKind(zero=True, unlimited=False)
_WEIGHT = IntegerKind(1, 10000)
_PIDS = IntegerKind(1, 4194304, unlimited=True)

HOST = Section(
    "host",
    "Bounds over all sessions together; memory_max may be a share of the machine's memory.",
    (
        Key("memory_max", _LIMIT, "memory that all sessions together may use"),
        Key(
            "memory_reserve",
            _PROTECTION,
            "room that no call is let into; a share is one of memory_max",
        ),
    ),
)

ADMISSION = Section(
    "admission",
    "Which calls may be made to wait for room.",
    (
        Key("wait", _PRIORITY, "priorities whose calls may wait; never high", many=True),
        Key("wait_max", DurationKind(600), "longest wait, whatever the caller allows"),
    ),
)

SESSIONS = Section(
    "sessions",
    "Priority and budget of sessions; percentages are of host.memory_max.",
    (
        Key("priority", _PRIORITY, "priority it gets, whatever it asks for"),
        Key("weight", _WEIGHT, "share among sessions of its priority (100 = one share)"),
        Key("memory_max", _LIMIT, "hard limit: the kernel kills inside the session beyond it"),
        Key("memory_high", _LIMIT, "throttle limit: slowed and reclaimed beyond it"),
        Key("memory_low", _PROTECTION, "protection: not reclaimed below it while others can be"),
        Key("runtime_memory_low", _PROTECTION, "protection of the agent's own processes"),
        Key("cpu_weight", _WEIGHT, "cpu.weight of the session (100 = one share)"),
        Key("pids_max", _PIDS, "processes and threads at once"),
        Key("max_calls", IntegerKind(1, 1024, unlimited=True), "calls that may run at once"),
    ),
    match=(
        Key("name", GlobKind(), "name of the session", many=True),
        Key("user", GlobKind(), "login name of who opened it", many=True),
        Key("uid", IntegerKind(0, UID_MAX), "user id of who opened it", many=True),
        Key("asked_priority", _PRIORITY, "priority it asked for", many=True),
        Key("priority", _PRIORITY, "priority it has", many=True),
    ),
    labels=True,
    rules=True,
)

CALLS = Section(
    "calls",
    "What tool calls get; percentages are of the session's memory_max or of host.memory_max.",
    (
        Key("memory", _LIMIT, "need assumed of a call that declares none"),
        Key("memory_margin", FactorKind(1, 16), "memory_high as a multiple of a declared need"),
        Key("memory_high", _LIMIT, "throttle limit of a call that declares no need"),
        Key("memory_max", _LIMIT, "hard limit of any call, declared or not"),
        Key("cpu_weight", _WEIGHT, "cpu.weight among the calls of the session"),
        Key("pids_max", _PIDS, "processes and threads at once"),
    ),
    match=(
        Key("tool", GlobKind(), "name of the agent's tool", many=True),
        Key("command", GlobKind(), "the whole command", many=True),
        Key("category", WordKind(CATEGORIES), "what the call is for", many=True),
        Key("priority", _PRIORITY, "priority of its session", many=True),
    ),
    rules=True,
)

SECTIONS = (HOST, ADMISSION, SESSIONS, CALLS)
