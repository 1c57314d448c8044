# SPDX-License-Identifier: Apache-2.0
"""The synchronous client."""

from __future__ import annotations

import functools
import os
import time

from agentcg.client import requests
from agentcg.client.answers import Declared, declared_of, decoded
from agentcg.client.calls import Call
from agentcg.client.choice import choose_session, socket_path
from agentcg.client.connection import Connection
from agentcg.client.problems import exception_of
from agentcg.errors import AgentcgError, LimitExceeded, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _R = TypeVar("_R")
    _Outcome = tuple[dict[str, Any], AgentcgError | None]

CONNECT_S = 0.04
"""Fail open: a daemon whose socket takes longer than this is away."""
AWAY_S = 5.0
"""After a daemon did not answer in time, nobody waits for it again so soon."""


class Settings:
    """What both clients know; who they are for, and whether the daemon was there."""

    def __init__(
        self, session: str | None = None, *, socket: str | os.PathLike[str] | None = None,
        raise_refused: bool = False,
    ) -> None:  # fmt: skip
        self.path = socket_path() if socket is None else os.fspath(socket)
        self.session = choose_session(session)
        self.raise_refused = raise_refused
        self._away_until = 0.0

    def check_away(self) -> None:
        """Raises `Unavailable` while the daemon is taken to be away."""
        if time.monotonic() < self._away_until:
            raise Unavailable(f"{self.path}: the daemon did not answer a moment ago")

    def note(self, error: AgentcgError) -> None:
        """Remember a daemon that let us wait."""
        if isinstance(error, Unavailable) and "no answer" in error.message:
            self._away_until = time.monotonic() + AWAY_S

    def may_raise(self, error: AgentcgError) -> bool:
        """Whether the caller wants to hear of it by an exception."""
        return self.raise_refused and isinstance(error, LimitExceeded)


class Client(Settings):
    """The daemon, for one session; may be used from several threads, and is a context manager.

    `session`: else $AGENTCG_SESSION, the session that the process is in, the user's own; it is
    opened where there is none. `socket`: else $AGENTCG_SOCKET. With `raise_refused` a call that
    the daemon refuses raises `LimitExceeded`, whose remedy says what would fit; otherwise it
    runs without agentcg, as in all other cases. Raises `InvalidInput` for a bad name.
    """

    def __init__(
        self, session: str | None = None, *, socket: str | os.PathLike[str] | None = None,
        raise_refused: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(session, socket=socket, raise_refused=raise_refused)
        self._connection = Connection(self.path, timeout_s=requests.ANSWER_S, connect_s=CONNECT_S)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connection; the client can be used again."""
        self._connection.close()

    def call(
        self, tool: str, command: str | None = None, *, category: str | None = None,
        reference: str | None = None, memory_bytes: int | None = None,
        cpu: requests.Cpu | None = None, wait_s: float = 0.0, pid: int | None = None,
    ) -> Call:  # fmt: skip
        """A tool call, to be used with `with` (or `begin` and `end`).

        `wait_s`: wait for room at most so long, then go ahead; `pid`: a process to place.
        """
        wanted = requests.Wanted(tool, command, category, reference, memory_bytes, cpu, wait_s)
        return Call(self, wanted, pid)

    def tool(
        self, name: str | None = None, *, memory_bytes: int | None = None,
        cpu: requests.Cpu | None = None, wait_s: float = 0.0,
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:  # fmt: skip
        """Decorate a function: each time it is called, that is a tool call."""

        def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
            title: str = name or getattr(function, "__name__", None) or "tool"

            @functools.wraps(function)
            def calling(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                with self.call(title, memory_bytes=memory_bytes, cpu=cpu, wait_s=wait_s):
                    return function(*args, **kwargs)

            return calling

        return decorate

    def declare(self, kind: requests.IntentKind, **fields: Any) -> Declared | None:
        """Say what will be needed (fields of the API's intents); the answer, None: not heard."""
        ask = requests.declare(self.session, kind, fields)
        answer, problem = self._in_session(ask)
        return declared_of(answer) if problem is None else None

    def generating(self, duration_s: float | None = None) -> bool:
        """The model writes: no call for about so long."""
        return self.declare("generating", duration_s=duration_s) is not None

    def idle(self) -> bool:
        """Nothing is expected until further notice."""
        return self.declare("idle") is not None

    def open(self, **fields: Any) -> bool:
        """Open the session with a priority, labels or pids of its own; whether it is there."""
        _, problem = self._try(requests.open_session(self.session, fields))
        return problem is None

    def ask(self, method: str, target: str, body: bytes | None = None) -> dict[str, Any]:
        """Any request of the API; raises the error that it comes to."""
        return self._send(requests.Ask(method, target, body))

    # --- how ---

    def _begin(self, wanted: requests.Wanted, pid: int | None) -> _Outcome:
        answer, problem = self._in_session(requests.begin(self.session, wanted, pid))
        if problem is not None and self.may_raise(problem):
            raise problem
        return answer, problem

    def _in_session(self, ask: requests.Ask) -> _Outcome:
        """Ask; where there is no session of this name, open it and ask again."""
        answer, problem = self._try(ask)
        if isinstance(problem, NotFound):
            _, problem = self._try(requests.open_session(self.session, {}))
            if problem is None:
                answer, problem = self._try(ask)
        return answer, problem

    def _try(self, ask: requests.Ask) -> _Outcome:
        """The answer, or ({}, what went wrong)."""
        try:
            self.check_away()
            return self._send(ask), None
        except AgentcgError as error:
            self.note(error)
            return {}, error

    def _send(self, ask: requests.Ask) -> dict[str, Any]:
        reply = self._connection.request(
            ask.method, ask.target, ask.body, ask.within_s, alive_s=ask.alive_s
        )
        if reply.status >= 400:
            raise exception_of(reply.status, reply.body)
        return decoded(reply.body)
