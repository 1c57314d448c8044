# SPDX-License-Identifier: Apache-2.0
"""Declarations of what will be needed: kept for a while, used by the next call."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agentcg.daemon.messages import DeclareIntent, Intent, IntentList
from agentcg.daemon.service import bounds, views
from agentcg.daemon.service.core import Core, new_id
from agentcg.daemon.service.peers import Peer
from agentcg.daemon.service.records import SESSION_MARK, encode
from agentcg.daemon.service.state import LiveSession

HOLDS_S = 300.0
"""How long a declaration without a deadline holds after its stated start."""


class Intents:
    """What the API can do with intents. They survive the daemon in the session's attribute."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def declare(self, peer: Peer, name: str, request: DeclareIntent) -> Intent:
        """Keep a declaration; beyond the bound the oldest is dropped, since it is only advice."""
        session = self._core.authorised(peer, name)
        now = self._core.clock()
        intent = Intent(
            id=new_id(),
            session=name,
            declared_at=now,
            expires_at=now + holds_s(request),
            **msgspec.structs.asdict(request),
        )
        if request.kind == "release":
            self._keep(session, [])
        else:
            kept = [i for i in session.intents if i.expires_at > now]
            self._keep(session, [*kept, intent][-bounds.INTENTS_PER_SESSION_MAX :])
        about = intent.kind if intent.tool is None else f"{intent.kind}: {intent.tool}"
        self._core.publish("intent.declared", about, session)
        views.update_phase(self._core, session)
        return intent

    def list(self, peer: Peer, name: str) -> IntentList:
        """The declarations that still hold."""
        session = self._core.authorised(peer, name)
        now = self._core.clock()
        return IntentList(intents=[i for i in session.intents if i.expires_at > now])

    def used(self, session: LiveSession, intent_id: str | None) -> None:
        """A call follows this intent: it has served its purpose."""
        if intent_id is not None:
            self._keep(session, [i for i in session.intents if i.id != intent_id])

    def expire(self, session: LiveSession, now: float) -> None:
        """Drop declarations that hold no longer."""
        if any(intent.expires_at <= now for intent in session.intents):
            self._keep(session, [i for i in session.intents if i.expires_at > now])

    @staticmethod
    def _keep(session: LiveSession, intents: Sequence[Intent]) -> None:
        session.intents = [*intents]
        session.record = msgspec.structs.replace(session.record, intents=session.intents)
        session.cgroup.set_attr(SESSION_MARK, encode(session.record))


def holds_s(request: DeclareIntent) -> float:
    """How long a declaration holds: until its deadline, else a while after its start."""
    if request.deadline_s is not None:
        return request.deadline_s
    duration_s = request.duration_s or 0.0 if request.kind == "idle" else 0.0
    return (request.start_in_s or 0.0) + (duration_s or HOLDS_S)
