# SPDX-License-Identifier: Apache-2.0
"""Declarations of what will be needed: kept for a while, answered, used by the next call.

An intent that waits is answered anew whenever room may have come, in order of priority and
arrival, after all calls that wait; one that memory is held for, when that time is over.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

import msgspec
from msgspec.structs import replace

from agentcg.daemon.engine import history, offers
from agentcg.daemon.engine.forecast import Spread
from agentcg.daemon.engine.intents import each_bytes, left, starts_at
from agentcg.daemon.engine.occupancy import Occupant
from agentcg.daemon.engine.queue import RANKS
from agentcg.daemon.messages import (
    Calibration,
    ChangeIntent,
    DeclareIntent,
    Intent,
    IntentList,
    Offer,
)
from agentcg.daemon.service import bounds, views
from agentcg.daemon.service.core import Core, new_id
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.intents.bounds import InLine, check_room, keep_pace
from agentcg.daemon.service.intents.check import check, check_order
from agentcg.daemon.service.intents.due import Due
from agentcg.daemon.service.learning import remember
from agentcg.daemon.service.records import SESSION_MARK, encode
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import InvalidInput, NotFound

HOLDS_S = 300.0
"""How long a declaration without a deadline holds after its stated start."""
DUE_AT_ONCE = 256
"""Intents whose time has come that are looked at in one tick; the rest with the next."""
ANSWERED_AT_ONCE = 32
ANSWERED_SOON = 8
"""Waiting intents that are answered anew with each tick, and whenever a call has ended: the first
ones, since what they wait for counts as taken for those behind them. Some 0.3 ms each."""
SOON_S = 0.05
"""Between two answers because calls have ended."""
EXPECTED_MAX = 16
"""Places of the queue from which on nobody can tell when there will be room."""
_EITHER_OR = (("memory_bytes", "memory_quantiles"), ("duration_s", "duration_quantiles"))


class Intents:
    """What the API can do with intents. They survive the daemon in the session's attribute."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._in_line = InLine()
        self._due = Due()
        self._soon = False
        self._answered_at = 0.0  # by the loop's clock
        self.on_announced: Callable[[LiveSession], None] = lambda _: None
        """Told of a session that says when a call is to come."""
        core.waiting.on_spare = self._room_is_back
        core.future.coming = self._coming

    def adopt(self) -> None:
        """Take up what sessions declared before the daemon started."""
        for session in self._core.registry.sessions.values():
            for intent in session.intents:
                self._follow(session, intent)
            self._count(session)

    # --- What the API asks ---

    def declare(self, peer: Peer, name: str, request: DeclareIntent) -> Intent:
        """Keep a declaration and answer it; beyond the bounds the oldest is dropped, since it is
        only advice. Raises `NotFound`, `Forbidden`, `InvalidInput`, `LimitExceeded`."""
        session = self._core.authorised(peer, name)
        keep_pace(session, self._core.clock())
        check(request)
        self._check_relations(session, request.after or (), request.parent)
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
            intent = replace(intent, offer=self._answer(session, intent))
            check_room(intent, session.uid, self._due, self._in_line)
            kept = [one for one in session.intents if one.expires_at > now]
            self._keep(session, [*kept, intent][-bounds.INTENTS_PER_SESSION_MAX :])
            self._follow(session, intent)
        about = intent.kind if intent.tool is None else f"{intent.kind}: {intent.tool}"
        self._core.publish("intent.declared", about, session, intent=intent.id)
        views.update_phase(self._core, session)
        if intent.start_in_s is not None or intent.kind == "call":
            self.on_announced(session)
        return intent

    def change(self, peer: Peer, name: str, intent_id: str, request: ChangeIntent) -> Intent:
        """Change a declaration: to take less or more, sooner or later. Errors as of `declare`."""
        session = self._core.authorised(peer, name)
        keep_pace(session, self._core.clock())
        intent = self._get(session, intent_id)
        asked = msgspec.structs.asdict(request)
        said = {field: value for field, value in asked.items() if value is not None}
        for one, other in _EITHER_OR:
            if one in said or other in said:
                said = {one: None, other: None, **said}
        changed = replace(intent, **said)
        check(changed)
        self._check_relations(session, changed.after or (), None)
        check_order(changed, session.intents)
        now = self._core.clock()
        held_anew = offers.is_held(intent, now) and starts_at(changed) > starts_at(intent)
        if held_anew and not intent.taken:
            remember(session, history.note_use(session.history, used=False))
        changed = replace(changed, expires_at=intent.declared_at + holds_s(changed))
        self._put(session, replace(changed, offer=self._answer(session, changed)))
        changed = self._get(session, intent_id)
        self._tell(session, changed)
        return changed

    def withdraw(self, peer: Peer, name: str, intent_id: str) -> None:
        """Take a declaration back; what was held for it is free. Raises `NotFound`, `Forbidden`."""
        session = self._core.authorised(peer, name)
        self._get(session, intent_id)
        self._keep(session, [one for one in session.intents if one.id != intent_id])
        self._core.publish("intent.changed", "withdrawn", session, intent=intent_id)
        self._room_is_back()

    def list(self, peer: Peer, name: str) -> IntentList:
        """The declarations that still hold."""
        session = self._core.authorised(peer, name)
        now = self._core.clock()
        return IntentList(intents=[i for i in session.intents if i.expires_at > now])

    def calibration(self, peer: Peer, name: str) -> Calibration:
        """What the session's latest declarations were worth."""
        past = self._core.authorised(peer, name).history
        return Calibration(
            session=name,
            used=sum(past.uses),
            unused=len(past.uses) - sum(past.uses),
            trust=history.trust(past),
            memory_percent=[*past.declared_percent],
            duration_percent=[*past.duration_percent],
            correction=history.correction(past),
        )

    # --- What the service tells ---

    def require(self, session: LiveSession, field: str, intent_id: str) -> None:
        """Raises `InvalidInput` if the session has declared no such intent that still holds."""
        now = self._core.clock()
        if not any(one.id == intent_id and one.expires_at > now for one in session.intents):
            raise InvalidInput(field, intent_id, "an intent of the session that still holds")

    def used(self, session: LiveSession, intent_id: str | None) -> None:
        """A call follows this intent: that much of it has served its purpose."""
        intent = next((one for one in session.intents if one.id == intent_id), None)
        if intent is None:
            return
        if not intent.taken and intent.offer is not None and intent.offer.memory_bytes is not None:
            remember(session, history.note_use(session.history, used=True))
        after = offers.taken(intent)
        if left(after):
            self._put(session, after)
        else:
            self._keep(session, [one for one in session.intents if one.id != intent_id])

    def expire(self, session: LiveSession, now: float) -> None:
        """Drop declarations that hold no longer."""
        if any(intent.expires_at <= now for intent in session.intents):
            self._keep(session, [i for i in session.intents if i.expires_at > now])

    def tick(self) -> None:
        """Begin to hold what is to be held by now, end what was held long enough."""
        now = self._core.clock()
        for session, intent_id in self._due.take(now, DUE_AT_ONCE):
            intent = next((one for one in session.intents if one.id == intent_id), None)
            if intent is not None and not session.closed:
                self._look(session, intent, now)
        self._answer_waiting(ANSWERED_AT_ONCE)

    def _coming(self) -> Iterator[tuple[LiveSession, Occupant]]:
        """What is granted and held only later."""
        now = self._core.clock()
        for session, intent_id in self._due.coming(now):
            intent = next((one for one in session.intents if one.id == intent_id), None)
            held = None if intent is None else intent.offer
            begins_in_s = 0.0 if intent is None else starts_at(intent) - now
            if held is not None and held.memory_bytes is not None and begins_in_s > 0:
                size, for_s = held.memory_bytes, (held.held_until or now) - now - begins_in_s
                walls = Spread(*[max(for_s, 1.0)] * 3)
                yield session, Occupant(Spread(size, size, size), walls, since_s=-begins_in_s)

    # --- How ---

    def _look(self, session: LiveSession, intent: Intent, now: float) -> None:
        over = offers.lapsed(intent, now)
        if over is not None:
            if not intent.taken:
                remember(session, history.note_use(session.history, used=False))
            self._put(session, over)
            self._tell(session, over)
            self._room_is_back()
        elif intent.offer is not None and intent.offer.state == "grant":
            self._reanswer(session, intent, offers.Queue(*self._ahead()))

    def _reanswer(self, session: LiveSession, intent: Intent, queue: offers.Queue) -> Offer:
        answer = self._answer(session, intent, queue)
        if answer == intent.offer:  # its time to be held may have come
            self._follow(session, intent)
            self._count(session)
            return answer
        changed = replace(intent, offer=answer)
        self._put(session, changed)
        if intent.offer is None or answer.state != intent.offer.state:
            self._tell(session, changed)
        return answer

    def _answer(
        self, session: LiveSession, intent: Intent, queue: offers.Queue | None = None
    ) -> Offer:
        core = self._core
        if queue is None:
            before, need = self._ahead()
            queue = offers.Queue(before + len(self._in_line), need)
        running = (call for call in session.calls.values() if call.state == "running")
        busy = {call.record.intent for call in running if call.record.intent is not None}
        others = [one for one in session.intents if one.id != intent.id]
        rule, now = core.policy.policy.admission, core.clock()
        view = views.session_view(session, views.caps_of(core, session))
        host = views.host_view(core, session=session)
        answer = offers.offer(rule, host, view, intent, others, queue, now, busy)
        if answer.position is None or answer.position > EXPECTED_MAX:
            return answer
        ahead, needs = core.future.ahead(session)  # costs more, and is needed only now
        host = replace(host, ahead=ahead, needs_bytes=needs)
        answer = offers.offer(rule, host, view, intent, others, queue, now, busy)
        was = intent.offer
        if was is not None and was.position == answer.position and was.expected_at is not None:
            return replace(answer, expected_at=was.expected_at)  # else it changed with each look
        return answer

    def _ahead(self) -> tuple[int, int]:
        waiting = self._core.waiting
        return len(waiting), waiting.needed_bytes()

    def _room_is_back(self) -> None:
        """Once for a burst of news, and after whoever comes first has been asked."""
        if self._in_line and not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_at(self._answered_at + SOON_S, self._answer_soon)

    def _answer_soon(self) -> None:
        self._soon = False
        self._answered_at = asyncio.get_running_loop().time()
        self._answer_waiting(ANSWERED_SOON)

    def _answer_waiting(self, most: int) -> None:
        """In order; what one waits for counts as taken for those behind it."""
        before, need = self._ahead()
        found = []
        for intent_id, session in self._in_line:
            intent = next((one for one in session.intents if one.id == intent_id), None)
            if intent is None or session.closed:
                self._in_line.drop(intent_id)
                continue
            rank = RANKS[session.record.priority]
            found.append((rank, intent.declared_at, intent_id, session, intent))
        for _, _, _, session, intent in heapq.nsmallest(most, found, key=itemgetter(0, 1, 2)):
            answer = self._reanswer(session, intent, offers.Queue(before, need))
            if answer.position is not None:
                before += 1
                need += (each_bytes(intent) or 0) * left(intent)

    def _follow(self, session: LiveSession, intent: Intent) -> None:
        """Look at it again when its answer may be another one."""
        answer = intent.offer
        self._due.never(intent.id)
        if answer is None or answer.state != "wait":
            self._in_line.drop(intent.id)
        else:
            self._in_line.add(session, intent.id)
        if answer is None or answer.state != "grant" or answer.held_until is None:
            return
        now, begins = self._core.clock(), starts_at(intent) - offers.LEAD_S
        at = begins if begins > now else answer.held_until
        self._due.at(at, session, intent.id)

    def _put(self, session: LiveSession, intent: Intent) -> None:
        self._keep(session, [intent if one.id == intent.id else one for one in session.intents])
        self._follow(session, intent)

    def _keep(self, session: LiveSession, intents: Sequence[Intent]) -> None:
        kept = [*intents]
        record = replace(session.record, intents=kept)
        while len(raw := encode(record)) > bounds.INTENTS_MAX_BYTES and kept:
            del kept[0]
        for gone in {one.id for one in session.intents} - {one.id for one in kept}:
            self._in_line.drop(gone)
            self._due.never(gone)
        session.intents, session.record = kept, record
        session.cgroup.set_attr(SESSION_MARK, raw)
        self._count(session)

    def _count(self, session: LiveSession) -> None:
        held = offers.held_bytes(session.intents, self._core.clock())
        self._core.registry.reserve(session, held)

    def _tell(self, session: LiveSession, intent: Intent) -> None:
        answer = intent.offer
        if answer is not None:
            text = f"{answer.state}: {answer.reason}"
            self._core.publish("intent.changed", text, session, intent=intent.id)

    def _get(self, session: LiveSession, intent_id: str) -> Intent:
        now = self._core.clock()
        for one in session.intents:
            if one.id == intent_id and one.expires_at > now:
                return one
        raise NotFound(
            f"session {session.name!r} has no intent {intent_id!r}",
            remedy="it was used, taken back or is over; `agentcg intent list` shows what holds",
        )

    def _check_relations(
        self, session: LiveSession, after: Sequence[str], parent: str | None
    ) -> None:
        for one in after:
            self.require(session, "after", one)
        call = None if parent is None else session.calls.get(parent)
        if parent is not None and (call is None or call.state != "running"):
            self.require(session, "parent", parent)


def holds_s(request: DeclareIntent | Intent) -> float:
    """How long a declaration holds: until its deadline, else a while after its start."""
    if request.deadline_s is not None:
        return request.deadline_s
    duration_s = request.duration_s or 0.0 if request.kind == "idle" else 0.0
    return (request.start_in_s or 0.0) + (duration_s or HOLDS_S)
