# SPDX-License-Identifier: Apache-2.0
"""Adopt what an earlier daemon left: the tree and its attributes are the whole truth.

Limits stay as they are. Calls that emptied meanwhile are ended. What carries no mark of ours
is not touched; what carries one that cannot be read is not touched either, and said loudly.
One exception: an empty `call-*` inside a session of ours is what a daemon left that died
between making a leaf and marking it, and is removed.
"""

from __future__ import annotations

import logging

from agentcg.cgroups import Cgroup
from agentcg.cgroups.knobs import MEMORY_EVENTS
from agentcg.daemon.service import views
from agentcg.daemon.service.calls.calls import LEAF_PREFIX
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.learning import recall
from agentcg.daemon.service.records import (
    CALL_MARK,
    HAND_MARK,
    RUNTIME,
    SESSION_MARK,
    TALLY,
    CallRecord,
    SessionRecord,
    Unreadable,
    decode,
    decode_tally,
)
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import AgentcgError, CgroupError

log = logging.getLogger(__name__)


class Reconciler:
    """Reads the tree below the root once, at start. `problems`: what was left alone, and why."""

    def __init__(self, core: Core, endings: Endings) -> None:
        self._core = core
        self._endings = endings
        self.problems: list[str] = []

    def run(self) -> None:
        """Adopt all sessions, in the order in which they were opened."""
        root = self._core.root.cgroup
        self._core.registry.calls_closed = decode_tally(root.get_attr(TALLY))
        found = [self._session(name) for name in root.children()]
        sessions = [session for session in found if session is not None]
        for session in sorted(sessions, key=lambda s: s.record.opened_at):
            self._core.registry.add_session(session)
            self._calls(session)
            views.update_phase(self._core, session)
        if sessions:
            calls = len(self._core.registry.calls)
            log.info("adopted %d sessions and %d calls", len(sessions), calls)

    def _session(self, name: str) -> LiveSession | None:
        cgroup = self._core.root.cgroup.child(name)
        try:
            raw = cgroup.get_attr(SESSION_MARK)
            if raw is not None:
                record = decode(raw, SessionRecord, str(cgroup.path))
                return self._adopt_session(cgroup, record)
            if self._is_torn(cgroup):
                cgroup.close()
                self._core.root.cgroup.remove_tree(name)
                return None
        except (Unreadable, CgroupError) as error:
            self._left_alone(error)
        cgroup.close()
        return None

    @staticmethod
    def _is_torn(cgroup: Cgroup) -> bool:
        """Made by a daemon that died before it wrote the record: owned, and nothing in it."""
        return cgroup.owned and not cgroup.events().populated and not cgroup.children()

    def _adopt_session(self, cgroup: Cgroup, record: SessionRecord) -> LiveSession:
        if RUNTIME not in cgroup.children():  # died between the mark and the leaf
            cgroup.enable(self._core.root.controllers)
            cgroup.create(RUNTIME).close()
        now = self._core.clock()
        return LiveSession(
            record,
            cgroup,
            cgroup.child(RUNTIME),
            phase_since=now,
            active_at=record.opened_at,
            calls_total=decode_tally(cgroup.get_attr(TALLY)),
            intents=[intent for intent in record.intents if intent.expires_at > now],
            history=recall(cgroup),
        )

    def _calls(self, session: LiveSession) -> None:
        for name in session.cgroup.children():
            if not name.startswith(LEAF_PREFIX):
                continue
            try:
                self._call(session, name)
            except AgentcgError as error:
                self._left_alone(error)

    def _call(self, session: LiveSession, name: str) -> None:
        leaf = session.cgroup.child(name)
        raw = leaf.get_attr(CALL_MARK)
        if raw is None:
            self._unmarked(session, leaf)
            return
        try:
            record = decode(raw, CallRecord, str(leaf.path))
        except Unreadable:
            leaf.close()
            raise
        call = LiveCall(record, session, leaf)
        call.frozen_by_hand = leaf.get_attr(HAND_MARK) is not None
        events = leaf.get(MEMORY_EVENTS)
        if events is not None and record.told_over_grant:
            call.high_seen = events.high  # only what comes now is news
        self._core.watcher.watch(leaf, call)
        self._core.registry.add_call(call)
        self._core.registry.commit(call, views.call_view(call).committed_bytes)
        if leaf.events().populated:
            call.populated = True
        elif record.state == "lingering" or leaf.usage().cpu_stat.usage_us > 0:
            self._endings.populated_changed(call)

    def _unmarked(self, session: LiveSession, leaf: Cgroup) -> None:
        """A leaf that was made and not yet marked has nothing in it; anything else stays."""
        name, empty = leaf.path.name, not leaf.events().populated and not leaf.children()
        if empty:
            leaf.claim()
        leaf.close()
        if empty:
            session.cgroup.remove(name)
        else:
            log.warning("%s/%s is not ours and is left alone", session.cgroup.path, name)

    def _left_alone(self, error: AgentcgError) -> None:
        self.problems.append(error.message)
        log.error("left alone: %s", error)
