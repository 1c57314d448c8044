# SPDX-License-Identifier: Apache-2.0
"""All sessions and calls: found by name and id, and what they come to together.

Sums are kept and not counted anew: they are asked for with each call that begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from agentcg.daemon.engine import Owner
from agentcg.daemon.service.accounts.counts import NOTHING
from agentcg.daemon.service.kept import Kept
from agentcg.daemon.service.state import EndedCall, LiveCall, LiveSession
from agentcg.errors import NotFound

ENDED_KEPT = 250
"""Records of ended calls that are kept of one session; the oldest are dropped first."""
ENDED_KEPT_IN_ALL = 1000
"""Some 5 KiB each; the history has them all on disk."""


class Registry:
    """All sessions by name, all calls by id, and the latest ended calls."""

    def __init__(
        self, *, ended_kept: int = ENDED_KEPT, ended_kept_in_all: int = ENDED_KEPT_IN_ALL
    ) -> None:
        self.sessions: dict[str, LiveSession] = {}
        self.on_first: Callable[[], None] = lambda: None
        """Told when there comes a session where there was none."""
        self.calls: dict[str, LiveCall] = {}
        self.by_cgroup: dict[int, LiveCall] = {}
        self.ended: Kept[str, EndedCall] = Kept(each=ended_kept, total=ended_kept_in_all)
        self.sessions_by_uid: Counter[int] = Counter()
        self.calls_by_uid: Counter[int] = Counter()
        """Calls with a leaf, by the owner of their session."""
        self.calls_closed = 0
        """Calls begun in sessions that are closed by now."""
        self.ends: Counter[str] = Counter()
        """Calls ended since the daemon started, by reason."""
        self.sums: Counter[str] = Counter()
        """Of all ended calls (totals.py)."""
        self.counted = NOTHING
        """Of them, and of agents of closed sessions."""
        self.calls_running = 0
        self.parents_waiting = 0
        """Running calls that cannot end before one that waits for room has begun."""
        self.changes = 0
        """How often a call has begun or ended."""
        self.committed_bytes = 0
        """What all sessions hold or are promised, kept as a sum so that reading it is free."""
        self.promised_bytes = 0
        """What leases let calls grow by, likewise."""
        self.reserved_bytes = 0
        """What is held for intents, likewise."""
        self.reserved_by: Counter[Owner] = Counter()
        self.reach_bytes = 0
        """What calls hold and leases let them grow by, and what agents hold, likewise."""
        self.committed_by: Counter[Owner] = Counter()
        """The same of the sessions of each user and tenant."""
        self.running_by: Counter[Owner] = Counter()
        self.sessions_by: Counter[Owner] = Counter()
        self.held_by: Counter[Owner] = Counter()
        """What they hold, leases that let calls of theirs grow included."""

    def add_session(self, session: LiveSession) -> None:
        """Make a session known."""
        if not self.sessions:
            self.on_first()
        self.sessions[session.name] = session
        self.sessions_by_uid[session.uid] += 1
        self.sessions_by.update(session.owners)

    def is_open(self, session: LiveSession) -> bool:
        """Whether `session` is known, and is not about to be closed. Its name may be another's."""
        return self.sessions.get(session.name) is session and not session.closing

    def drop_session(self, session: LiveSession) -> None:
        """Forget a session; its calls must have been dropped before."""
        del self.sessions[session.name]
        self.sessions_by_uid[session.uid] -= 1
        self.commit_runtime(session, 0)
        self.reserve(session, 0)
        self.calls_closed += session.calls_total
        self.sessions_by.subtract(session.owners)
        for owner in session.owners:
            if not self.sessions_by[owner]:  # names of tenants come from outside
                for counts in (
                    self.sessions_by, self.committed_by, self.running_by, self.held_by,
                    self.reserved_by,
                ):  # fmt: skip
                    del counts[owner]

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
        self._promise(call, 0, 0)

    def await_child(self, parent: LiveCall | None, step: int) -> None:
        """A child of `parent` begins (1) or ends (-1) to wait for room."""
        if parent is None:
            return
        before = parent.children_waiting > 0
        parent.children_waiting += step
        if parent.state == "running":
            self.parents_waiting += (parent.children_waiting > 0) - before

    def stop_running(self, call: LiveCall) -> None:
        """A running call has ended, or its begin is undone."""
        if call.children_waiting > 0:
            self.parents_waiting -= 1
            call.children_waiting = 0
        self._count_running(call, -1)

    def _count_running(self, call: LiveCall, step: int) -> None:
        call.session.calls_running += step
        self.calls_running += step
        self.changes += 1
        for owner in call.session.owners:
            self.running_by[owner] += step

    def commit(self, call: LiveCall, size_bytes: int) -> None:
        """Count `size_bytes` as held by or promised to `call`."""
        self._add(call.session, size_bytes - call.committed_bytes)
        call.committed_bytes = size_bytes
        held = call.memory_bytes or 0 if call.id in self.calls else 0
        self._hold(call.session, held - call.counted_bytes)
        call.counted_bytes = held
        if call.memory_bytes is not None:
            call.held_peak_bytes = max(call.held_peak_bytes or 0, call.memory_bytes)

    def count_lease(self, call: LiveCall) -> None:
        """Count what the lease of `call` lets it grow by, after either has changed."""
        most, held = call.ceiling_bytes, call.memory_bytes or 0
        bounded = call.lease_bytes is not None and most is not None and not call.still
        growth = max((most or 0) - held, 0) if bounded else 0
        self._promise(call, growth, held + growth)

    def _promise(self, call: LiveCall, size_bytes: int, reach_bytes: int) -> None:
        self.reach_bytes += reach_bytes - call.reach_bytes
        call.reach_bytes = reach_bytes
        self.promised_bytes += size_bytes - call.promised_bytes
        self._hold(call.session, size_bytes - call.promised_bytes)
        call.promised_bytes = size_bytes

    def reserve(self, session: LiveSession, size_bytes: int) -> None:
        """Count `size_bytes` as held for the intents of `session`."""
        step, session.reserved_bytes = size_bytes - session.reserved_bytes, size_bytes
        self.reserved_bytes += step
        for owner in session.owners:
            self.reserved_by[owner] += step

    def commit_runtime(self, session: LiveSession, size_bytes: int) -> None:
        """Count `size_bytes` as held by the agent itself."""
        self._add(session, size_bytes - session.runtime_bytes)
        self._hold(session, size_bytes - session.runtime_bytes)
        self.reach_bytes += size_bytes - session.runtime_bytes
        session.runtime_bytes = size_bytes

    def _add(self, session: LiveSession, size_bytes: int) -> None:
        self.committed_bytes += size_bytes
        for owner in session.owners:
            self.committed_by[owner] += size_bytes

    def _hold(self, session: LiveSession, size_bytes: int) -> None:
        for owner in session.owners:
            self.held_by[owner] += size_bytes

    def keep_ended(self, ended: EndedCall) -> None:
        """Keep the record of an ended call; old ones go where there are too many."""
        self.ended.add((ended.owner, ended.call.session), ended.call.id, ended)

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
                remedy=f"it is unknown, or older than the last {self.ended.each} of its session",
            )
        return found

    def running(self) -> Iterator[LiveCall]:
        """Calls that have not ended."""
        return (call for call in self.calls.values() if call.state == "running")

    @property
    def calls_total(self) -> int:
        """Calls begun on this root, over restarts of the daemon."""
        return self.calls_closed + sum(s.calls_total for s in self.sessions.values())
