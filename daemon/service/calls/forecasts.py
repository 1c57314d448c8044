# SPDX-License-Identifier: Apache-2.0
"""Forecasts for whoever asks, and what they rest on at the daemon's start."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from agentcg.daemon.engine.forecast import Forecast as Found
from agentcg.daemon.engine.forecast import Sample
from agentcg.daemon.history import Wanted
from agentcg.daemon.messages import BeginCall, Call, Category, EndReason, Forecast, ForecastQuery
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.future import quantiles
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.state import EndedCall, LiveSession
from agentcg.errors import AgentcgError, CgroupGone, Conflict, InvalidInput
from agentcg.policies import CallFacts, categorise

log = logging.getLogger(__name__)

PAGES = 8
"""Pages of the history that are read at the start: 2,048 calls."""
_WHOLE: tuple[EndReason, ...] = ("declared", "exited", "emptied")


def forecast_of(
    core: Core,
    session: LiveSession,
    request: BeginCall,
    *,
    client: str | None = None,
    elapsed_s: float = 0.0,
    held_bytes: int = 0,
) -> Found:
    """What a call will take that is about to begin, or has run for `elapsed_s`."""
    category = request.category or categorise(request.tool, request.command)
    whole = session.record.memory_max_bytes or core.memory_bytes()
    priority = session.record.priority
    facts = CallFacts(request.tool, request.command, category, priority, whole)
    return core.future.forecast(
        session, request.tool, category, core.policy.policy.call(facts).memory,
        client=client, elapsed_s=elapsed_s, held_bytes=held_bytes,
    )  # fmt: skip


class _Of(NamedTuple):
    session: str
    call: str | None
    tool: str
    category: Category


def _view(of: _Of, elapsed_s: float, held_bytes: int | None, found: Found) -> Forecast:
    return Forecast(
        session=of.session,
        call=of.call,
        tool=of.tool,
        category=of.category,
        elapsed_s=elapsed_s,
        held_bytes=held_bytes,
        remaining_s=quantiles(found.remaining_s),
        peak_bytes=quantiles(found.peak_bytes),
        own_calls=found.own,
        other_calls=found.pooled,
    )


def _told(call: Call) -> tuple[str | None, Category, Sample] | None:
    """What an ended call says about others: its client, its category, and what it took."""
    if call.end_reason not in _WHOLE or call.shared:
        return None
    return call.client, call.category, Sample(call.account.wall_s, call.held_peak_bytes)


class Forecasts:
    """What the API can do with forecasts."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def of(self, peer: Peer, asked: ForecastQuery) -> Forecast:
        """Of a running call, as long as it has run and as much as it has held; else of one of the
        kind that would begin now. Raises `NotFound`, `Forbidden`, `Conflict`, `InvalidInput`."""
        if asked.call is not None:
            return self._of_call(peer, asked, asked.call)
        if asked.session is None or asked.tool is None:
            missing = "session" if asked.session is None else "tool"
            raise InvalidInput(missing, None, "session and tool, or call")
        session = self._core.authorised(peer, asked.session)
        request = BeginCall(tool=asked.tool, command=asked.command, category=asked.category)
        found = forecast_of(self._core, session, request)
        category = asked.category or categorise(asked.tool, asked.command)
        return _view(_Of(session.name, None, asked.tool, category), 0.0, None, found)

    def _of_call(self, peer: Peer, asked: ForecastQuery, call_id: str) -> Forecast:
        for field in ("session", "tool", "command", "category"):
            if getattr(asked, field) is not None:
                raise InvalidInput(field, getattr(asked, field), "not beside call")
        call = self._core.authorised_call(peer, call_id)
        if isinstance(call, EndedCall) or call.state != "running":
            raise Conflict(f"call {call_id!r} has ended", remedy="ask for its kind (session, tool)")
        record = call.record
        try:
            held = measure.held_now(call.cgroup)
        except CgroupGone:
            held = None
        most = max(held or 0, call.held_peak_bytes or 0)
        elapsed_s = max(self._core.clock() - record.begun_at, 0.0)
        request = BeginCall(tool=record.tool, command=record.command, category=record.category)
        found = forecast_of(
            self._core, call.session, request, client=record.client, elapsed_s=elapsed_s,
            held_bytes=most,
        )  # fmt: skip
        of = _Of(call.session.name, call.id, record.tool, record.category)
        return _view(of, elapsed_s, None if held is None else most, found)

    async def recall(self) -> None:
        """Take up what calls took before the daemon started, from its history."""
        # Of each call only what it says: thousands of records would cost memory for good.
        found: list[tuple[str | None, Category, Sample]] = []
        before: int | None = None
        try:
            for _ in range(PAGES):
                page = await self._core.history.calls(os.getuid(), Wanted(before=before))
                found += [told for call in page.calls if (told := _told(call)) is not None]
                before = page.next_before
                if before is None:
                    break
        except AgentcgError as error:
            log.info("forecasts rest on no earlier calls: %s", error)
        for told in reversed(found):
            self._core.future.learn(*told)
