# SPDX-License-Identifier: Apache-2.0
"""The policy language as data: every section, key, kind of value and meaning.

The reader checks files against these tables and `policies/schema.json` is generated from
them; a key is added here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from agentcg.policies.categories import CATEGORIES
from agentcg.policies.facts import Priority
from agentcg.policies.rules import NO_STEP, STEPS
from agentcg.policies.values import (
    CpusKind,
    DurationKind,
    FactorKind,
    GlobKind,
    IntegerKind,
    Kind,
    MemoryKind,
    NameKind,
    ShareKind,
    SwitchKind,
    WordKind,
)

VERSION = 1
FILE_MAX_BYTES = 256 * 1024
RULES_MAX = 500  # in one section of one file
LIST_MAX = 32  # values of one match key
LABELS_MAX = 16
EXTENDS_MAX = 8  # named by one file
EXTENDS_DEPTH_MAX = 8
FILE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.yaml$"
DEFAULT_NAME = "default"
SHIPPED = ("multi-tenant", "single-developer")
"""Policies that a file can extend by name; the built-in default is underneath all of them."""
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
_CALLS = IntegerKind(1, 1024, unlimited=True)
_SHARE = ShareKind()

ADMISSION_BY = ("future", "peaks")

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
        Key(
            "by",
            WordKind(ADMISSION_BY),
            "whether running calls count with what they will hold",
        ),
        Key("risk", _SHARE, "with `by: future`, that calls hold more than there is; at most 50%"),
        Key("overtake_max", DurationKind(600), "how long smaller calls may go first"),
        Key("reserve_max", DurationKind(300), "how long memory is held for an announced call"),
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
        Key("cpu_max", CpusKind(0.01, 4096), "CPUs that it may use at once (cpu.max)"),
        Key("io_weight", _WEIGHT, "io.weight of the session (100 = one share)"),
        Key("pids_max", _PIDS, "processes and threads at once"),
        Key("max_calls", _CALLS, "calls that may run at once"),
        Key("steps", WordKind((*STEPS, NO_STEP)), "what the ladder may do to its calls", many=True),
        Key("tenant", NameKind(), "tenant that it counts for, whatever its label says"),
        Key("adopt", SwitchKind(), "whether an agent of a known client gets a session by itself"),
    ),
    match=(
        Key("name", GlobKind(), "name of the session", many=True),
        Key("user", GlobKind(), "login name of who opened it", many=True),
        Key("uid", IntegerKind(0, UID_MAX), "user id of who opened it", many=True),
        Key("container", GlobKind(), "name or id of the container it came from", many=True),
        Key("image", GlobKind(), "image of that container", many=True),
        Key("cgroup", GlobKind(), "cgroup that it came from, as in /proc/PID/cgroup", many=True),
        Key("unit", GlobKind(), "systemd unit that it came from", many=True),
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
        Key(
            "linger_max",
            DurationKind(7 * 86400),
            "how long what a call leaves running may go on; then it is killed",
        ),
    ),
    match=(
        Key("tool", GlobKind(), "name of the agent's tool", many=True),
        Key("command", GlobKind(), "the whole command", many=True),
        Key("category", WordKind(CATEGORIES), "what the call is for", many=True),
        Key("priority", _PRIORITY, "priority of its session", many=True),
    ),
    rules=True,
)

_CAPS = (
    Key("weight", _WEIGHT, "share among those of its kind (100 = one share)"),
    Key("memory_max", _LIMIT, "memory that its sessions together may use"),
    Key("pids_max", _PIDS, "processes and threads at once"),
    Key("max_calls", _CALLS, "calls that may run at once"),
)

USERS = Section(
    "users",
    "What all sessions of one user may have together; percentages are of host.memory_max.",
    _CAPS,
    match=(
        Key("user", GlobKind(), "login name", many=True),
        Key("uid", IntegerKind(0, UID_MAX), "user id", many=True),
    ),
    rules=True,
)

TENANTS = Section(
    "tenants",
    "What all sessions of one tenant may have together; percentages are of host.memory_max.",
    _CAPS,
    match=(Key("name", GlobKind(), "name of the tenant", many=True),),
    rules=True,
)

_STEP_MAX = DurationKind(3600)

LADDER = Section(
    "ladder",
    "What is done as memory runs out; percentages are of what all sessions may use.",
    (
        Key("enabled", SwitchKind(), "whether anything is done beyond grants and limits"),
        Key("reclaim_below", _SHARE, "room below which agents that wait are reclaimed from"),
        Key("reclaim_until", _SHARE, "room from which on they are left alone"),
        Key("throttle_below", _SHARE, "room below which calls over their grant are slowed"),
        Key("throttle_until", _SHARE, "room from which on they are let go"),
        Key("freeze_below", _SHARE, "room below which slowed calls are paused"),
        Key("freeze_until", _SHARE, "room from which on they are let go"),
        Key("kill_below", _SHARE, "room below which, last, one call is killed"),
        Key("kill_until", _SHARE, "room from which on none is"),
        Key("stall_above", _SHARE, "stall (memory PSI) above which calls are slowed all the same"),
        Key("stall_until", _SHARE, "stall down to which they are"),
        Key("throttle_stuck", _STEP_MAX, "a slowed call without progress moves on after it"),
        Key("throttle_max", _STEP_MAX, "a slowed call moves on after it in any case"),
        Key("freeze_max", _STEP_MAX, "a paused call makes way for the others after it"),
        Key("hold", _STEP_MAX, "shortest time between two steps for one call"),
        Key("settle", _STEP_MAX, "time that any step has before a call is killed"),
    ),
)

IDLE = Section(
    "idle",
    "From whom memory is asked back while it waits for its model or does nothing.",
    (
        Key(
            "reclaim",
            WordKind((*PRIORITIES, NO_STEP)),
            "priorities from whose agents memory is asked back",
            many=True,
        ),
        Key("after", _STEP_MAX, "without a call for so long, if it does not say that it waits"),
        Key("ahead", DurationKind(60), "so long before an announced call it has its memory back"),
    ),
)

SECTIONS = (HOST, ADMISSION, IDLE, LADDER, USERS, TENANTS, SESSIONS, CALLS)
