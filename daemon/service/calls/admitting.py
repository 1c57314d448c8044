# SPDX-License-Identifier: Apache-2.0
"""Letting a call begin that asks for it: at once, or after waiting for room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from agentcg.daemon.engine import Admit, CallRequest, Decision, Refuse, Wait, grant
from agentcg.daemon.engine.forecast import Forecast
from agentcg.daemon.engine.occupancy import Occupant, area, occupant
from agentcg.daemon.messages import BeginCall
from agentcg.daemon.service import views
from agentcg.daemon.service.calls.forecasts import forecast_of
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import Conflict, LimitExceeded


async def admission(core: Core, session: LiveSession, request: BeginCall) -> tuple[Admit, Forecast]:
    """The engine's word for a call, and what it is expected to take.

    Raises `LimitExceeded` where it is refused, `Conflict` where its session closes meanwhile.
    """
    found = forecast_of(core, session, request)
    expected, parents = occupant(found), views.parents_of(session, request.parent)
    if not core.waiting:  # nobody to stand behind, and mostly there is room
        asked = views.call_request(request, 0.0, expected, parents)
        decision = _decide(core, session, asked)
        if isinstance(decision, Admit):
            return decision, found
    deadline_s = request.deadline_s
    begin_by_s = None if deadline_s is None else deadline_s - found.remaining_s.p50
    return await _waited(core, session, request, expected, begin_by_s), found


async def _waited(
    core: Core,
    session: LiveSession,
    request: BeginCall,
    expected: Occupant,
    begin_by_s: float | None,
) -> Admit:
    """The engine's word in the order of the queue, after waiting long enough if need be."""
    began = time.monotonic()
    held_up: str | None = None
    parents = views.parents_of(session, request.parent)
    with core.waiting.place(
        session.record.priority, views.share_of(core, session), area=area(expected),
        deadline_s=begin_by_s, awaited=bool(parents),
    ) as place, _awaited(core, session, request.parent) as awaits:  # fmt: skip
        while True:
            waited_s = 0.0 if held_up is None else time.monotonic() - began
            asked = views.call_request(request, waited_s, expected, parents)
            decision = _decide(core, session, asked, place.ahead_bytes())
            if isinstance(decision, Admit):
                return replace(decision, held_up=held_up)
            if isinstance(decision, Refuse):
                raise LimitExceeded(decision.reason, remedy=decision.remedy)
            held_up = held_up or decision.reason
            awaits()
            place.needs(decision.holds_bytes)
            await place.wait(min(decision.wait_s, core.waiting.recheck_s()))
            if session.closing:
                raise Conflict(f"session {session.name!r} is being closed")


def _decide(core: Core, session: LiveSession, asked: CallRequest, ahead_bytes: int = 0) -> Decision:
    """The engine's word now, where those before it wait for `ahead_bytes`."""
    policy = core.policy.policy
    host = views.host_view(core, ahead_bytes, session)
    view = views.session_view(session, views.caps_of(core, session))
    decision = grant(policy, host, view, asked, session.intents, core.clock())
    if isinstance(decision, Wait) and decision.of_host:
        host = views.with_ahead(core, host, session)
        decision = grant(policy, host, view, asked, session.intents, core.clock())
    return decision


@contextmanager
def _awaited(core: Core, session: LiveSession, parent: str | None) -> Iterator[Callable[[], None]]:
    """Says, once called, that a running call waits for one that waits for room."""
    call = None if parent is None else session.calls.get(parent)
    said = False

    def say() -> None:
        nonlocal said
        if not said:
            said = True
            core.registry.await_child(call, 1)

    try:
        yield say
    finally:
        if said and call is not None and call.children_waiting > 0:
            core.registry.await_child(call, -1)
