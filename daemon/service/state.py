# SPDX-License-Identifier: Apache-2.0
"""Sessions and calls in memory, and the registry that finds them."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from agentcg.cgroups import Cgroup
from agentcg.daemon.messages import (
    Action,
    Call,
    CallState,
    Executed,
    Feedback,
    Intent,
    Phase,
)
from agentcg.daemon.service.records import CallRecord, SessionRecord
from agentcg.errors import NotFound

ACTIONS_KEPT = 64
"""Actions that are kept of one call or session; the oldest are dropped first."""
ENDED_KEPT = 1000
"""Records of ended calls that are kept; the oldest are dropped first."""


def _actions() -> deque[Action]:
    return deque(maxlen=ACTIONS_KEPT)


@dataclass(slots=True, eq=False)
class LiveSession:
    """A session: its record (as on disk), its cgroups, and what it does."""

    record: SessionRecord
    cgroup: Cgroup
    runtime: Cgroup
    phase: Phase = "thinking"
    phase_since: float = 0.0
    phase_until: float | None = None  # when it changes by itself
    active_at: float = 0.0  # when its last call ended, or it was opened
    calls_running: int = 0
    calls_total: int = 0
    placing: int = 0  # processes on their way into it
    closing: bool = False
    closed: bool = False  # its cgroups are removed
    protected_bytes: int | None = None  # memory.low as shared out last
    demand_bytes: int = 0  # protected by the ladder beyond its share
    runtime_current_bytes: int = 0  # page cache included, at the last look while room was short
    runtime_bytes: int = 0  # held by the runtime leaf at the last look, without page cache
    intents: list[Intent] = field(default_factory=list)
    calls: dict[str, LiveCall] = field(default_factory=dict)
    actions: deque[Action] = field(default_factory=_actions)

    @property
    def paused(self) -> bool:
        """Whether calls run and all of them are frozen."""
        running = [call for call in self.calls.values() if call.state == "running"]
        return bool(running) and all(call.step == "frozen" for call in running)

    @property
    def name(self) -> str:
        """Name of the session, and of its directory."""
        return self.record.name

    @property
    def uid(self) -> int:
        """The user who opened it."""
        return self.record.uid


@dataclass(slots=True, eq=False)
class LiveCall:
    """A call that has a leaf: running, or lingering after its end."""

    record: CallRecord
    session: LiveSession
    cgroup: Cgroup
    populated: bool = False  # a process was seen in it
    emptied_at: float | None = None  # populated, then empty since
    memory_bytes: int | None = None  # held at the last look, page cache left out
    committed_bytes: int = 0  # its part of the registry's sum
    kills: int = 0  # processes that the OOM killer took here, as reported by BPF
    victim: str | None = None
    high_seen: int = 0  # memory.events high, at the last look
    high_events: int | None = None  # the same, as the ladder saw it
    step: Literal["throttled", "frozen"] | None = None  # of the ladder
    slowed_at_bytes: int | None = None  # memory.high while throttled
    killed: Feedback | None = None  # what to tell of a kill by the ladder
    actions: deque[Action] = field(default_factory=_actions)
    told_over_grant: bool = False
    told_oom: bool = False
    commands: list[Executed] = field(default_factory=list)
    execs: int = 0
    feedback: list[Feedback] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Id of the call; its leaf is `call-<id>`."""
        return self.record.id

    @property
    def state(self) -> CallState:
        """`running` or `lingering`."""
        return self.record.state


@dataclass(slots=True)
class EndedCall:
    """A call without a leaf. `settled`: its end was declared, so it cannot be ended again."""

    call: Call
    owner: int
    session_cgroup: str
    settled: bool
    actions: tuple[Action, ...] = ()


class Registry:
    """All sessions by name, all calls by id, and the latest ended calls."""

    def __init__(self, *, ended_kept: int = ENDED_KEPT) -> None:
        self.sessions: dict[str, LiveSession] = {}
        self.calls: dict[str, LiveCall] = {}
        self.by_cgroup: dict[int, LiveCall] = {}
        self.ended: OrderedDict[str, EndedCall] = OrderedDict()
        self.sessions_by_uid: Counter[int] = Counter()
        self.calls_by_uid: Counter[int] = Counter()
        """Calls with a leaf, by the owner of their session."""
        self.calls_closed = 0
        """Calls begun in sessions that are closed by now."""
        self.ends: Counter[str] = Counter()
        """Calls ended since the daemon started, by reason."""
        self.calls_running = 0
        self.committed_bytes = 0
        """What all sessions hold or are promised, kept as a sum so that reading it is free."""
        self._ended_kept = ended_kept

    def add_session(self, session: LiveSession) -> None:
        """Make a session known."""
        self.sessions[session.name] = session
        self.sessions_by_uid[session.uid] += 1

    def drop_session(self, session: LiveSession) -> None:
        """Forget a session; its calls must have been dropped before."""
        del self.sessions[session.name]
        self.sessions_by_uid[session.uid] -= 1
        self.commit_runtime(session, 0)
        self.calls_closed += session.calls_total

    def add_call(self, call: LiveCall) -> None:
        """Make a call known."""
        call.session.calls[call.id] = call
        self.calls[call.id] = call
        self.calls_by_uid[call.session.uid] += 1
        self.by_cgroup[call.cgroup.id] = call
        if call.state == "running":
            self._count_running(call, 1)

    def drop_call(self, call: LiveCall) -> None:
        """Forget a call that loses its leaf."""
        call.session.calls.pop(call.id, None)
        if self.calls.pop(call.id, None) is not None:
            self.calls_by_uid[call.session.uid] -= 1
        self.by_cgroup.pop(call.cgroup.id, None)
        self.commit(call, 0)

    def stop_running(self, call: LiveCall) -> None:
        """A running call has ended, or its begin is undone."""
        self._count_running(call, -1)

    def _count_running(self, call: LiveCall, step: int) -> None:
        call.session.calls_running += step
        self.calls_running += step

    def commit(self, call: LiveCall, size_bytes: int) -> None:
        """Count `size_bytes` as held by or promised to `call`."""
        self.committed_bytes += size_bytes - call.committed_bytes
        call.committed_bytes = size_bytes

    def commit_runtime(self, session: LiveSession, size_bytes: int) -> None:
        """Count `size_bytes` as held by the agent itself."""
        self.committed_bytes += size_bytes - session.runtime_bytes
        session.runtime_bytes = size_bytes

    def keep_ended(self, ended: EndedCall) -> None:
        """Keep the record of an ended call, and drop the oldest beyond the bound."""
        self.ended[ended.call.id] = ended
        while len(self.ended) > self._ended_kept:
            self.ended.popitem(last=False)

    def session(self, name: str) -> LiveSession:
        """The session `name`; raises `NotFound`."""
        found = self.sessions.get(name)
        if found is None:
            raise NotFound(f"there is no session {name!r}", remedy="see `agentcg sessions`")
        return found

    def call(self, call_id: str) -> LiveCall | EndedCall:
        """The call `call_id`, live or ended; raises `NotFound`."""
        found = self.calls.get(call_id) or self.ended.get(call_id)
        if found is None:
            raise NotFound(
                f"there is no call {call_id!r}",
                remedy=f"it is unknown, or older than the last {self._ended_kept} ended calls",
            )
        return found

    def running(self) -> Iterator[LiveCall]:
        """Calls that have not ended."""
        return (call for call in self.calls.values() if call.state == "running")

    @property
    def calls_total(self) -> int:
        """Calls begun on this root, over restarts of the daemon."""
        return self.calls_closed + sum(s.calls_total for s in self.sessions.values())
