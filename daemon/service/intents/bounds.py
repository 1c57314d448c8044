# SPDX-License-Identifier: Apache-2.0
"""How many intents may wait or have memory held, and how often a session may declare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agentcg.daemon.messages import Intent
from agentcg.daemon.service import bounds
from agentcg.daemon.service.intents.due import Due
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import LimitExceeded


class InLine:
    """Intents that wait for room, and how many of them are whose."""

    def __init__(self) -> None:
        self._sessions: dict[str, LiveSession] = {}  # by id of an intent
        self._of: Counter[int] = Counter()  # by uid; none without any

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[tuple[str, LiveSession]]:
        """Those that wait now, whoever comes or goes meanwhile."""
        return iter([*self._sessions.items()])

    def of(self, uid: int) -> int:
        """How many wait of sessions of a user."""
        return self._of[uid]

    def add(self, session: LiveSession, intent_id: str) -> None:
        """It waits, if it did not before."""
        if intent_id not in self._sessions:
            self._sessions[intent_id] = session
            self._of[session.uid] += 1

    def drop(self, intent_id: str) -> None:
        """It does not wait any more."""
        session = self._sessions.pop(intent_id, None)
        if session is not None:
            self._of[session.uid] -= 1
            if not self._of[session.uid]:
                del self._of[session.uid]


def check_room(intent: Intent, uid: int, due: Due, in_line: InLine) -> None:
    """Raises `LimitExceeded` if user `uid` has as many intents answered like this one as it may."""
    answer = intent.offer
    if answer is None:
        return
    most = bounds.INTENTS_HELD_PER_UID_MAX
    if answer.held_until is not None and due.of(uid) >= most:
        raise LimitExceeded(
            f"memory is held, or to be held, for {most} intents of uid {uid}",
            remedy="take some back, or declare later",
        )
    most = bounds.INTENTS_WAITING_PER_UID_MAX
    if answer.state == "wait" and in_line.of(uid) >= most:
        raise LimitExceeded(
            f"{most} intents of uid {uid} wait for room",
            remedy="take some back, or wait until they are answered",
        )


def keep_pace(session: LiveSession, now: float) -> None:
    """Count one more declaration of a session: each is written to its cgroup and told. Raises
    `LimitExceeded`."""
    rate = bounds.INTENTS_PER_S
    passed_s = max(now - session.intents_at, 0.0)
    spare = min(session.intents_left + passed_s * rate, bounds.INTENTS_AT_ONCE)
    session.intents_left, session.intents_at = spare, now
    if spare < 1:
        raise LimitExceeded(
            f"session {session.name!r} declares more than {rate:.0f} intents a second",
            remedy="declare what changes, and less often",
        )
    session.intents_left = spare - 1
