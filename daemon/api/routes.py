# SPDX-License-Identifier: Apache-2.0
"""The one table of routes, and their handlers: a line or two each over the service."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from agentcg.daemon import messages as m
from agentcg.daemon.api import metrics, openapi, sse, trace
from agentcg.daemon.api.exchange import Exchange, Result, Route
from agentcg.daemon.service.detection.hooks import event_of

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


class HookQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which session a hook speaks, and how long it has."""

    session: m.Name | None = None  # None: that of its cgroup, else one for the conversation
    wait_s: m.WaitSeconds = 0.0  # for room, before a call
    stay: bool = False  # leave the agent in its cgroup


class CloseQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to close a session."""

    kill: bool = False


async def _get_health(x: Exchange) -> Result:
    return x.service.overview.health()


async def _get_host(x: Exchange) -> Result:
    return x.service.overview.host()


async def _get_policy(x: Exchange) -> Result:
    return x.service.overview.policy(x.peer)


async def _change_host(x: Exchange) -> Result:
    return x.service.overview.change_host(x.peer, x.body)


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


async def _change_intent(x: Exchange) -> Result:
    return x.service.intents.change(x.peer, x.path["session"], x.path["intent"], x.body)


async def _withdraw_intent(x: Exchange) -> Result:
    x.service.intents.withdraw(x.peer, x.path["session"], x.path["intent"])
    return None


async def _get_calibration(x: Exchange) -> Result:
    return x.service.intents.calibration(x.peer, x.path["session"])


async def _begin_call(x: Exchange) -> Result:
    if x.body.pid is None and x.is_abandoned():  # nobody would learn its id and enter it
        raise ConnectionResetError
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
    return await x.service.past.call(x.peer, x.path["call"])


async def _get_curve(x: Exchange) -> Result:
    return await x.service.past.curve(x.peer, x.path["call"])


async def _list_call_actions(x: Exchange) -> Result:
    return await x.service.past.actions(x.peer, x.path["call"])


async def _list_session_actions(x: Exchange) -> Result:
    return x.service.ladder.of_session(x.peer, x.path["session"])


async def _change_call(x: Exchange) -> Result:
    return await x.service.calls.change(x.peer, x.path["call"], x.body)


async def _end_call(x: Exchange) -> Result:
    return x.service.calls.end(x.peer, x.path["call"], x.body)


async def _hook(x: Exchange) -> Result:
    return await x.service.hooks.told(
        x.peer, x.path["client"], event_of(_taken(x)),
        session=x.query.session, wait_s=x.query.wait_s, stay=x.query.stay,
        abandoned=x.is_abandoned(),
    )  # fmt: skip


def _taken(x: Exchange) -> m.HookEvent:
    """The body, which may be large: not kept while the handler waits."""
    given: m.HookEvent = x.body
    x.body = None
    return given


async def _place_shell(x: Exchange) -> Result:
    return await x.service.hooks.place(x.peer, x.body)


async def _list_history(x: Exchange) -> Result:
    return await x.service.past.history(x.peer, x.query)


async def _get_forecast(x: Exchange) -> Result:
    return x.service.forecasts.of(x.peer, x.query)


async def _freeze_call(x: Exchange) -> Result:
    return x.service.calls.view(x.service.by_hand.freeze(x.peer, x.path["call"]))


async def _thaw_call(x: Exchange) -> Result:
    return x.service.calls.view(x.service.by_hand.thaw(x.peer, x.path["call"]))


async def _kill_call(x: Exchange) -> Result:
    return x.service.calls.view(x.service.by_hand.kill(x.peer, x.path["call"]))


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
    Route("GET", "/v1/policy", "getPolicy", "The policy in force, as it was read",
          _get_policy, m.PolicyText, errors=(403,)),
    Route(
        "POST", "/v1/sessions", "openSession", "Open a session, or find the one of this name",
        _open_session, m.Session, body=m.OpenSession, statuses=(201, 200), errors=(403, 409),
    ),
    Route("GET", "/v1/sessions", "listSessions", "Sessions that the peer may see",
          _list_sessions, m.SessionList, large=True),
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
          _list_intents, m.IntentList, errors=(403, 404), large=True),
    Route("PATCH", "/v1/sessions/{session}/intents/{intent}", "changeIntent",
          "Say anew what will be needed: less or more, sooner or later",
          _change_intent, m.Intent, body=m.ChangeIntent, errors=(403, 404)),
    Route("DELETE", "/v1/sessions/{session}/intents/{intent}", "withdrawIntent",
          "Take a declaration back", _withdraw_intent, None, statuses=(204,), errors=(403, 404)),
    Route("GET", "/v1/sessions/{session}/calibration", "getCalibration",
          "What the session's latest declarations were worth",
          _get_calibration, m.Calibration, errors=(403, 404)),
    Route(
        "POST", "/v1/sessions/{session}/calls", "beginCall",
        "Begin a call: its grant and its cgroup; may wait for room",
        _begin_call, m.Call, body=m.BeginCall, statuses=(201,), errors=(403, 404, 409),
    ),
    Route("GET", "/v1/sessions/{session}/calls", "listSessionCalls", "Calls of one session",
          _list_session_calls, m.CallList, query=SessionCallsQuery, errors=(403, 404), large=True),
    Route("GET", "/v1/calls", "listCalls", "The latest calls that the peer may see",
          _list_calls, m.CallList, query=CallsQuery, large=True),
    Route("GET", "/v1/calls/{call}", "getCall", "One call: live, ended, or on disk",
          _get_call, m.Call, errors=(403, 404, 503)),
    Route("GET", "/v1/calls/{call}/curve", "getCallCurve",
          "How memory and CPU of a call went over time; also of calls on disk",
          _get_curve, m.Curve, errors=(403, 404, 503), large=True),
    Route("GET", "/v1/calls/{call}/actions", "listCallActions",
          "What was done to a call under pressure, and why; also of calls on disk",
          _list_call_actions, m.ActionList, errors=(403, 404, 503), large=True),
    Route("GET", "/v1/sessions/{session}/actions", "listSessionActions",
          "What was done in a session under pressure, and why",
          _list_session_actions, m.ActionList, errors=(403, 404), large=True),
    Route("PATCH", "/v1/calls/{call}", "changeCall", "Renegotiate a running call's grant",
          _change_call, m.Call, body=m.ChangeCall, errors=(403, 404, 409)),
    Route(
        "POST", "/v1/calls/{call}/end", "endCall", "End a call: its account and feedback",
        _end_call, m.Call, body=m.EndCall, errors=(403, 404, 409),
    ),
    Route("POST", "/v1/calls/{call}/freeze", "freezeCall", "Stop a call where it is, by hand",
          _freeze_call, m.Call, errors=(403, 404, 409)),
    Route("POST", "/v1/calls/{call}/thaw", "thawCall", "Let a frozen call go on",
          _thaw_call, m.Call, errors=(403, 404, 409)),
    Route("POST", "/v1/calls/{call}/kill", "killCall", "Kill all processes of a call, by hand",
          _kill_call, m.Call, errors=(403, 404, 409)),
    Route(
        "POST", "/v1/hooks/{client}", "tellHook",
        "What a client gives its hook; the answer is what the hook prints, 204: nothing",
        _hook, m.HookAnswer, body=m.HookEvent, query=HookQuery, statuses=(200, 204),
        errors=(403, 404, 409), body_max_bytes=m.HOOK_MAX_BYTES,
    ),
    Route(
        "POST", "/v1/shells", "placeShell",
        "Put the shell that asks into its call, declared or new",
        _place_shell, m.Call, body=m.PlaceShell, errors=(403, 404, 409),
    ),
    Route("GET", "/v1/history", "listHistory",
          "Ended calls that the peer may see, from disk, the latest first",
          _list_history, m.HistoryList, query=m.HistoryQuery, errors=(503,), large=True),
    Route("GET", "/v1/forecast", "getForecast",
          "How long a call will still take and how much it will hold: of one that runs, or of one "
          "of a kind that would begin now",
          _get_forecast, m.Forecast, query=m.ForecastQuery, errors=(403, 404, 409)),
    Route("GET", "/v1/events", "streamEvents", "Events as they happen (server-sent events)",
          sse.stream, m.Event, query=sse.EventsQuery, media="text/event-stream"),
    Route("GET", "/v1/sessions/{session}/trace", "traceSession",
          "Each turn of a session's tasks on a CPU (server-sent events); traced while it is read, "
          "for root and group agentcg",
          trace.stream, m.Turn, errors=(403, 404, 409), media="text/event-stream"),
    Route("GET", "/v1/openapi.json", "getOpenapi", "This document", _get_openapi, None,
          large=True),
    Route("GET", "/metrics", "getMetrics", "Figures for Prometheus", metrics.scrape, None,
          media="text/plain", large=True),
)  # fmt: skip
