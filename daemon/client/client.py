# SPDX-License-Identifier: Apache-2.0
"""The intent API as methods: one per route, typed by `daemon.messages`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import msgspec

from agentcg.daemon.client.connection import Connection
from agentcg.daemon.client.problems import exception_of
from agentcg.daemon.messages import (
    ID_PATTERN,
    NAME_PATTERN,
    Action,
    ActionList,
    BeginCall,
    Call,
    CallList,
    ChangeCall,
    ChangeHost,
    DeclareIntent,
    EndCall,
    Health,
    Host,
    Intent,
    IntentList,
    OpenSession,
    Session,
    SessionList,
)
from agentcg.errors import AgentcgError, InvalidInput

if TYPE_CHECKING:
    from agentcg.daemon.client.events import EventStream

DEFAULT_SOCKET = Path("/run/agentcg/agentcg.sock")
SOCKET_VARIABLE = "AGENTCG_SOCKET"
TIMEOUT_S = 10.0
CALLS_LISTED_MAX = 1024  # more the daemon does not list at once

_NAME = re.compile(NAME_PATTERN.removeprefix("^").removesuffix("$"))
_ID = re.compile(ID_PATTERN.removeprefix("^").removesuffix("$"))
_Answer = TypeVar("_Answer")


def socket_path() -> Path:
    """Where the daemon listens: $AGENTCG_SOCKET, else /run/agentcg/agentcg.sock."""
    return Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)


def check_name(name: str, field: str = "session") -> str:
    """`name` if it can be a session's; raises `InvalidInput`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(field, name, "1 to 63 letters, digits, _ and -, a letter or digit first")
    return name


def check_id(text: str, field: str = "call") -> str:
    """`text` if it can be the id of a call; raises `InvalidInput`."""
    if _ID.fullmatch(text) is None:
        raise InvalidInput(field, text, "4 to 32 lower-case letters and digits")
    return text


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
        self, call_id: str, exit_status: int | None = None, *, timeout_s: float | None = None
    ) -> Call:
        """End a call, once; the answer has its account and feedback. Raises `Conflict`."""
        target = f"/v1/calls/{check_id(call_id)}/end"
        return self._ask("POST", target, Call, EndCall(exit_status=exit_status), timeout_s)

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
        body = None if request is None else msgspec.json.encode(request)
        reply = self._connection.request(method, target, body, timeout_s)
        if reply.status >= 400:
            raise exception_of(reply.status, reply.body)
        return reply.body


def _with_query(target: str, **parameters: Any) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{target}?{urlencode(given)}" if given else target
