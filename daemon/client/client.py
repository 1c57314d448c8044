# SPDX-License-Identifier: Apache-2.0
"""The intent API as methods: one per route, typed by `daemon.messages`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET

from agentcg.client import choice
from agentcg.client.connection import Connection
from agentcg.client.problems import exception_of
from agentcg.daemon.messages import (
    Action,
    ActionList,
    BeginCall,
    Calibration,
    Call,
    CallList,
    ChangeCall,
    ChangeHost,
    ChangeIntent,
    Curve,
    DeclareIntent,
    EndCall,
    Forecast,
    ForecastQuery,
    Health,
    HistoryList,
    HistoryQuery,
    Host,
    Intent,
    IntentList,
    OpenSession,
    PolicyText,
    Session,
    SessionList,
)
from agentcg.errors import AgentcgError, InvalidInput
from agentcg.naming import check_id, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentcg.daemon.client.events import EventStream
    from agentcg.daemon.messages import Turn

TIMEOUT_S = 10.0
CALLS_LISTED_MAX = 1024  # more the daemon does not list at once

_Answer = TypeVar("_Answer")


def socket_path() -> Path:
    """Where the daemon listens: $AGENTCG_SOCKET, else /run/agentcg/agentcg.sock."""
    return Path(choice.socket_path())


class Client:
    """A caller of the daemon. Not for use from several threads; a context manager.

    Every method raises `Unavailable` if the daemon does not answer within `timeout_s` and the
    error of `agentcg.errors` that the daemon's problem document names.
    """

    def __init__(self, path: Path | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path or socket_path()
        self._connection = Connection(self.path, timeout_s=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connection; the client can be used again."""
        self._connection.close()

    # --- the host and the daemon ---

    def health(self) -> Health:
        """How the daemon is, and what of it this kernel enforces."""
        return self._ask("GET", "/v1/health", Health)

    def host(self) -> Host:
        """The machine, and what all sessions together may have and use."""
        return self._ask("GET", "/v1/host", Host)

    def set_host_memory_max(self, memory_max_bytes: int | None) -> Host:
        """Bound what all sessions together may use; None takes the bound away."""
        return self._ask("PATCH", "/v1/host", Host, ChangeHost(memory_max_bytes=memory_max_bytes))

    def policy(self) -> PolicyText:
        """The policy in force; raises `Forbidden` for who is no administrator."""
        return self._ask("GET", "/v1/policy", PolicyText)

    # --- sessions ---

    def sessions(self) -> list[Session]:
        """All sessions that this peer may see."""
        return self._ask("GET", "/v1/sessions", SessionList).sessions

    def session(self, name: str) -> Session:
        """One session; raises `NotFound`."""
        return self._ask("GET", f"/v1/sessions/{check_name(name)}", Session)

    def open_session(self, request: OpenSession, *, timeout_s: float | None = None) -> Session:
        """Open a session, or find the one of this name."""
        return self._ask("POST", "/v1/sessions", Session, request, timeout_s)

    def close_session(self, name: str, *, kill: bool = False) -> None:
        """Close a session. Raises `Conflict` while processes live in it, unless `kill`."""
        target = f"/v1/sessions/{check_name(name)}"
        self._exchange("DELETE", _with_query(target, kill="true" if kill else None))

    # --- intents ---

    def declare(self, session: str, request: DeclareIntent) -> Intent:
        """Say what the session will need."""
        return self._ask("POST", f"/v1/sessions/{check_name(session)}/intents", Intent, request)

    def intents(self, session: str) -> list[Intent]:
        """The session's declarations that still hold."""
        target = f"/v1/sessions/{check_name(session)}/intents"
        return self._ask("GET", target, IntentList).intents

    def change_intent(self, session: str, intent_id: str, request: ChangeIntent) -> Intent:
        """Say anew what will be needed; raises `NotFound` where it was used or is over."""
        return self._ask("PATCH", _intent(session, intent_id), Intent, request)

    def withdraw_intent(self, session: str, intent_id: str) -> None:
        """Take a declaration back; raises `NotFound` where it was used or is over."""
        self._exchange("DELETE", _intent(session, intent_id))

    def calibration(self, session: str) -> Calibration:
        """What the session's latest declarations were worth."""
        return self._ask("GET", f"/v1/sessions/{check_name(session)}/calibration", Calibration)

    # --- calls ---

    def calls(
        self, *, session: str | None = None, state: str | None = None, limit: int | None = None
    ) -> list[Call]:
        """The latest calls, in the order in which they began; of one session, in one state."""
        target = _with_query("/v1/calls", session=session, state=state, limit=limit)
        return self._ask("GET", target, CallList).calls

    def call(self, call_id: str) -> Call:
        """One call; raises `NotFound`."""
        return self._ask("GET", f"/v1/calls/{check_id(call_id)}", Call)

    def begin(self, session: str, request: BeginCall, *, timeout_s: float | None = None) -> Call:
        """Begin a call. `timeout_s` bounds the whole wait, `request.wait_s` included."""
        target = f"/v1/sessions/{check_name(session)}/calls"
        return self._ask("POST", target, Call, request, timeout_s)

    def change(self, call_id: str, request: ChangeCall, *, timeout_s: float | None = None) -> Call:
        """Renegotiate a running call's grant, or place one more process into it."""
        return self._ask("PATCH", f"/v1/calls/{check_id(call_id)}", Call, request, timeout_s)

    def end(
        self,
        call_id: str,
        exit_status: int | None = None,
        *,
        cancelled: bool = False,
        timeout_s: float | None = None,
    ) -> Call:
        """End a call, once; the answer has its account and feedback. Raises `Conflict`.

        `cancelled`: the caller itself ended the command (^C, a time-out).
        """
        target = f"/v1/calls/{check_id(call_id)}/end"
        request = EndCall(exit_status=exit_status, cancelled=cancelled or UNSET)
        return self._ask("POST", target, Call, request, timeout_s)

    def by_hand(self, call_id: str, what: Literal["freeze", "thaw", "kill"]) -> Call:
        """Freeze, thaw or kill a call. Raises `NotFound`, `Forbidden`, `Conflict`."""
        return self._ask("POST", f"/v1/calls/{check_id(call_id)}/{what}", Call)

    def curve(self, call_id: str) -> Curve:
        """How memory and CPU of a call went over time; raises `NotFound`."""
        return self._ask("GET", f"/v1/calls/{check_id(call_id)}/curve", Curve)

    def history(self, query: HistoryQuery) -> HistoryList:
        """One page of ended calls from disk, the latest first."""
        return self._ask(
            "GET", _with_query("/v1/history", **msgspec.structs.asdict(query)), HistoryList
        )

    def forecast(self, query: ForecastQuery) -> Forecast:
        """How long a call will still take and how much it will hold; raises `NotFound`."""
        asked = {k: v for k, v in msgspec.structs.asdict(query).items() if v is not None}
        return self._ask("GET", _with_query("/v1/forecast", **asked), Forecast)

    # --- actions ---

    def actions(self, *, call: str | None = None, session: str | None = None) -> list[Action]:
        """What was done to a call, or in a session, under pressure; raises `NotFound`."""
        if call is not None:
            target = f"/v1/calls/{check_id(call)}/actions"
        else:
            target = f"/v1/sessions/{check_name(session or '')}/actions"
        return self._ask("GET", target, ActionList).actions

    # --- events ---

    def events(self, *, session: str | None = None, last_id: int | None = None) -> EventStream:
        """Events as they happen; with `last_id`, first those after it that are still kept."""
        from agentcg.daemon.client.events import EventStream  # noqa: PLC0415 - few need it

        return EventStream(self.path, _with_query("/v1/events", session=session), last_id=last_id)

    def trace(self, session: str) -> Iterator[Turn]:
        """Each turn of the session's tasks on a CPU; it is traced while this is iterated."""
        from agentcg.daemon.client.events import turns  # noqa: PLC0415 - few need it

        return turns(self.path, f"/v1/sessions/{check_name(session)}/trace")

    # --- how ---

    def _ask(
        self,
        method: str,
        target: str,
        answer: type[_Answer],
        request: msgspec.Struct | None = None,
        timeout_s: float | None = None,
    ) -> _Answer:
        body = self._exchange(method, target, request, timeout_s)
        try:
            return msgspec.json.decode(body, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AgentcgError(
                f"{method} {target}: the daemon's answer is not understood: {error}",
                remedy="use the client of the daemon's own version",
            ) from error

    def _exchange(
        self,
        method: str,
        target: str,
        request: msgspec.Struct | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        body = None if request is None else _encoded(request)
        reply = self._connection.request(method, target, body, timeout_s)
        if reply.status >= 400:
            raise exception_of(reply.status, reply.body)
        return reply.body


def _intent(session: str, intent_id: str) -> str:
    return f"/v1/sessions/{check_name(session)}/intents/{check_id(intent_id, 'intent')}"


def _encoded(request: msgspec.Struct) -> bytes:
    try:
        return msgspec.json.encode(request)
    except UnicodeEncodeError as error:
        raise _no_text(error) from None


def _with_query(target: str, **parameters: Any) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        return f"{target}?{urlencode(given)}" if given else target
    except UnicodeEncodeError as error:
        raise _no_text(error) from None


def _no_text(error: UnicodeEncodeError) -> InvalidInput:
    """Python keeps bytes of a command line that are not UTF-8 as lone surrogates."""
    return InvalidInput("request", error.object, "text in UTF-8")
