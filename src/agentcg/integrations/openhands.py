# SPDX-License-Identifier: Apache-2.0
"""A callback for conversations of the OpenHands SDK (1.x).

    conversation = Conversation(agent=agent, workspace=".", callbacks=[Listener()])

An action with a command begins a call, its observation (or error) ends it. A callback cannot add to
an observation: feedback goes to `told`, a function that may send it as a message
(`conversation.send_message`), or to the model by `agentcg install-hooks openhands`.
The SDK itself is not imported: events are known by what they have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentcg.client import Call, Client
from agentcg.integrations.words import command_in, words

OPEN_MAX = 256
"""Actions without an observation that are remembered; the oldest is ended then."""


class Listener:
    """Told of every event of one conversation."""

    def __init__(
        self, session: str | None = None, *, wait_s: float = 0.0,
        told: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.client = Client(session)
        self.wait_s = wait_s
        self._told = told
        self._open: dict[str, Call] = {}

    def __call__(self, event: Any) -> None:
        """One event; nothing of it is changed, and nothing is raised for it."""
        reference = getattr(event, "tool_call_id", None)
        if not isinstance(reference, str):
            return
        action = getattr(event, "action", None)
        if action is not None and getattr(event, "observation", None) is None:
            self._begin(event, action, reference)
        elif reference in self._open:
            self._end(self._open.pop(reference), event)

    def _begin(self, event: Any, action: Any, reference: str) -> None:
        dump = getattr(action, "model_dump", None)
        command = command_in(dump() if callable(dump) else vars(action))
        if command is None or reference in self._open:
            return
        tool = str(getattr(event, "tool_name", "") or "tool")
        call = self.client.call(tool, command, reference=reference, wait_s=self.wait_s)
        self._open[reference] = call.begin()
        if len(self._open) > OPEN_MAX:
            self._open.pop(next(iter(self._open))).end()

    def _end(self, call: Call, event: Any) -> None:
        status = getattr(getattr(event, "observation", None), "exit_code", None)
        call.end(status if isinstance(status, int) and status >= 0 else None)
        text = words(call)
        if text and self._told is not None:
            self._told(text)
