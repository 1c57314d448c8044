# SPDX-License-Identifier: Apache-2.0
"""Middleware for LangChain and LangGraph agents (langchain 1.x, `create_agent`).

    agent = create_agent(model, tools, middleware=[AgentcgMiddleware(wait_s=10)])

Each tool call is one of agentcg's; while the model writes, the session is `generating`. What the
daemon says of a call that did not go well is added to its result, where the model reads it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain.agents.middleware import AgentMiddleware

from agentcg.client import AsyncClient, Client
from agentcg.client.calls import CallState
from agentcg.integrations.words import added, command_in, words


class AgentcgMiddleware(AgentMiddleware[Any, Any, Any]):  # type: ignore[misc]
    """`session`: as of `agentcg.client.Client`. `memory_bytes`: needs, by the names of tools."""

    def __init__(
        self, session: str | None = None, *, wait_s: float = 0.0,
        memory_bytes: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.client = Client(session)
        self.asynchronous = AsyncClient(self.client.session)
        self.wait_s = wait_s
        self.memory_bytes = dict(memory_bytes or {})

    def before_model(self, state: Any, runtime: Any) -> None:
        """The model is about to write."""
        self.client.generating()

    async def abefore_model(self, state: Any, runtime: Any) -> None:
        """The same for asyncio."""
        await self.asynchronous.generating()

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Run the tool in a call."""
        call = self.client.call(**self._wanted(request))
        with call:
            result = handler(request)
            call.exit_status = _status(result)
        return _told(result, call)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same for asyncio."""
        call = self.asynchronous.call(**self._wanted(request))
        async with call:
            result = await handler(request)
            call.exit_status = _status(result)
        return _told(result, call)

    def _wanted(self, request: Any) -> dict[str, Any]:
        tool_call = request.tool_call
        name = str(tool_call.get("name") or "tool")
        return {
            "tool": name,
            "command": command_in(tool_call.get("args")),
            "reference": tool_call.get("id"),
            "memory_bytes": self.memory_bytes.get(name),
            "wait_s": self.wait_s,
        }


def _status(result: Any) -> int | None:
    return 1 if getattr(result, "status", None) == "error" else None


def _told(result: Any, call: CallState) -> Any:
    """The result (a ToolMessage; a Command is left alone) with what the daemon says."""
    text, content = words(call), getattr(result, "content", None)
    if not text or not hasattr(result, "model_copy"):
        return result
    if isinstance(content, str):
        return result.model_copy(update={"content": added(content, text)})
    if isinstance(content, list):
        return result.model_copy(update={"content": [*content, {"type": "text", "text": text}]})
    return result
