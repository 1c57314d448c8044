# SPDX-License-Identifier: Apache-2.0
"""The one table of routes, and their handlers: a line or two each over the service."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from agentcg.daemon import messages as m
from agentcg.daemon.api import metrics, openapi, sse
from agentcg.daemon.api.exchange import Exchange, Result, Route

CALLS_LISTED_MAX = 1024


class CallsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls to list."""

    session: m.Name | None = None
    state: m.CallState | None = None
    limit: Annotated[int, Meta(ge=1, le=CALLS_LISTED_MAX)] = 256


class SessionCallsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls of a session to list."""

    state: m.CallState | None = None
    limit: Annotated[int, Meta(ge=1, le=CALLS_LISTED_MAX)] = 256


class CloseQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to close a session."""

    kill: bool = False


async def _get_health(x: Exchange) -> Result:
    return x.service.health()


async def _get_host(x: Exchange) -> Result:
    return x.service.host()


async def _change_host(x: Exchange) -> Result:
    return x.service.change_host(x.peer, x.body)


async def _open_session(x: Exchange) -> Result:
    session, new = await x.service.sessions.open(x.peer, x.body)
    return (201 if new else 200), session


async def _list_sessions(x: Exchange) -> Result:
    return await x.service.sessions.list(x.peer)


async def _get_session(x: Exchange) -> Result:
    return x.service.sessions.get(x.peer, x.path["session"])


async def _close_session(x: Exchange) -> Result:
    await x.service.sessions.close(x.peer, x.path["session"], kill=x.query.kill)
    return None


async def _declare_intent(x: Exchange) -> Result:
    return 201, x.service.intents.declare(x.peer, x.path["session"], x.body)


async def _list_intents(x: Exchange) -> Result:
    return x.service.intents.list(x.peer, x.path["session"])


async def _begin_call(x: Exchange) -> Result:
    return 201, await x.service.calls.begin(x.peer, x.path["session"], x.body)


async def _list_session_calls(x: Exchange) -> Result:
    x.service.core.authorised(x.peer, x.path["session"])
    return await x.service.calls.list(
        x.peer, session=x.path["session"], state=x.query.state, limit=x.query.limit
    )


async def _list_calls(x: Exchange) -> Result:
    return await x.service.calls.list(
        x.peer, session=x.query.session, state=x.query.state, limit=x.query.limit
    )


async def _get_call(x: Exchange) -> Result:
    return x.service.calls.get(x.peer, x.path["call"])


async def _list_call_actions(x: Exchange) -> Result:
    return x.service.ladder.of_call(x.peer, x.path["call"])


async def _list_session_actions(x: Exchange) -> Result:
    return x.service.ladder.of_session(x.peer, x.path["session"])


async def _change_call(x: Exchange) -> Result:
    return await x.service.calls.change(x.peer, x.path["call"], x.body)


async def _end_call(x: Exchange) -> Result:
    return x.service.calls.end(x.peer, x.path["call"], x.body)


async def _get_openapi(x: Exchange) -> Result:
    return openapi.response(ROUTES)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/health", "getHealth", "How the daemon itself is", _get_health, m.Health),
    Route("GET", "/v1/host", "getHost", "The machine, and what agents have of it",
          _get_host, m.Host),
    Route(
        "PATCH", "/v1/host", "changeHost", "Bound what all sessions together may use",
        _change_host, m.Host, body=m.ChangeHost, errors=(403,),
    ),
    Route(
        "POST", "/v1/sessions", "openSession", "Open a session, or find the one of this name",
        _open_session, m.Session, body=m.OpenSession, statuses=(201, 200), errors=(403, 409),
    ),
    Route("GET", "/v1/sessions", "listSessions", "Sessions that the peer may see",
          _list_sessions, m.SessionList),
    Route("GET", "/v1/sessions/{session}", "getSession", "One session",
          _get_session, m.Session, errors=(403, 404)),
    Route(
        "DELETE", "/v1/sessions/{session}", "closeSession",
        "Close a session; refused while processes live in it, unless kill=true",
        _close_session, None, query=CloseQuery, statuses=(204,), errors=(403, 404, 409),
    ),
    Route(
        "POST", "/v1/sessions/{session}/intents", "declareIntent", "Say what will be needed",
        _declare_intent, m.Intent, body=m.DeclareIntent, statuses=(201,), errors=(403, 404),
    ),
    Route("GET", "/v1/sessions/{session}/intents", "listIntents", "Declarations that still hold",
          _list_intents, m.IntentList, errors=(403, 404)),
    Route(
        "POST", "/v1/sessions/{session}/calls", "beginCall",
        "Begin a call: its grant and its cgroup; may wait for room",
        _begin_call, m.Call, body=m.BeginCall, statuses=(201,), errors=(403, 404, 409),
    ),
    Route("GET", "/v1/sessions/{session}/calls", "listSessionCalls", "Calls of one session",
          _list_session_calls, m.CallList, query=SessionCallsQuery, errors=(403, 404)),
    Route("GET", "/v1/calls", "listCalls", "The latest calls that the peer may see",
          _list_calls, m.CallList, query=CallsQuery),
    Route("GET", "/v1/calls/{call}", "getCall", "One call, live or ended",
          _get_call, m.Call, errors=(403, 404)),
    Route("GET", "/v1/calls/{call}/actions", "listCallActions",
          "What was done to a call under pressure, and why",
          _list_call_actions, m.ActionList, errors=(403, 404)),
    Route("GET", "/v1/sessions/{session}/actions", "listSessionActions",
          "What was done in a session under pressure, and why",
          _list_session_actions, m.ActionList, errors=(403, 404)),
    Route("PATCH", "/v1/calls/{call}", "changeCall", "Renegotiate a running call's grant",
          _change_call, m.Call, body=m.ChangeCall, errors=(403, 404, 409)),
    Route(
        "POST", "/v1/calls/{call}/end", "endCall", "End a call: its account and feedback",
        _end_call, m.Call, body=m.EndCall, errors=(403, 404, 409),
    ),
    Route("GET", "/v1/events", "streamEvents", "Events as they happen (server-sent events)",
          sse.stream, m.Event, query=sse.EventsQuery, media="text/event-stream"),
    Route("GET", "/v1/openapi.json", "getOpenapi", "This document", _get_openapi, None),
    Route("GET", "/metrics", "getMetrics", "Figures for Prometheus", metrics.scrape, None,
          media="text/plain"),
)  # fmt: skip
