# SPDX-License-Identifier: Apache-2.0
"""The other way of `agentcg bridge`: what ThunderAgent tells of its programs, as intents."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import msgspec
import typer

from agentcg.daemon.client import Client
from agentcg.daemon.messages import DeclareIntent
from agentcg.errors import AgentcgError, NotFound
from agentcg.serving import intent_of

EVERY_S = 1.0
ANSWER_S = 2.0
ANSWER_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class _Said:
    """What was declared for a session."""

    intent: dict[str, Any]
    id: str
    renew_at: float  # half of the time is over for which it holds


class Programs:
    """Programs whose names are those of sessions; what changes with them is declared, and what
    does not is declared again before it is over."""

    def __init__(
        self, url: str, client: Client, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = f"{url}/programs"
        self._client = client
        self._clock = clock
        self._declared: dict[str, _Said] = {}
        self._failed = ""

    def start(self) -> None:
        """Ask again and again, as long as the process lives."""
        threading.Thread(target=self._run, name="programs", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.look()
            time.sleep(EVERY_S)

    def look(self) -> None:
        """Ask once, and declare what is new. What fails is said, once in a row, and tried again."""
        try:
            with urllib.request.urlopen(self._url, timeout=ANSWER_S) as answer:  # noqa: S310
                told = json.loads(answer.read(ANSWER_MAX_BYTES))
            self.note(told)
            self._failed = ""
        except (OSError, HTTPException, ValueError, AgentcgError) as error:
            if str(error) != self._failed:
                typer.echo(f"{self._url}: {error}", err=True)
            self._failed = str(error)

    def note(self, told: Any) -> None:
        """Declare what follows from an answer of `GET /programs`. Raises ValueError where it is
        none, and what the client raises."""
        if not isinstance(told, Mapping):
            raise ValueError("not an object of programs")
        sessions = {session.name for session in self._client.sessions()}
        for gone in self._declared.keys() - sessions:
            del self._declared[gone]
        refused: AgentcgError | None = None
        for name in sorted(sessions):
            try:
                self._note(name, told.get(name))
            except AgentcgError as error:
                refused = error  # the others are served all the same
        if refused is not None:
            raise refused

    def _note(self, session: str, program: Any) -> None:
        intent = intent_of(program) if isinstance(program, Mapping) else None
        said = self._declared.get(session)
        if said is not None and said.intent == intent and self._clock() < said.renew_at:
            return
        if intent is not None:  # before the other is taken back: no moment without
            self._declare(session, intent)
        if said is not None:
            self._withdraw(session, said.id)
        if intent is None:
            self._declared.pop(session, None)

    def _declare(self, session: str, intent: dict[str, Any]) -> None:
        now = self._clock()
        kept = self._client.declare(session, msgspec.convert(intent, DeclareIntent))
        renew_at = now + (kept.expires_at - kept.declared_at) / 2
        self._declared[session] = _Said(intent, kept.id, renew_at)

    def _withdraw(self, session: str, intent_id: str) -> None:
        try:
            self._client.withdraw_intent(session, intent_id)
        except NotFound:
            return  # over, or used by a call
