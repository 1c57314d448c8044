# SPDX-License-Identifier: Apache-2.0
"""A runtime for SWE-ReX (1.x) around another one: what it runs is a call each.

    deployment = LocalDeployment()
    await deployment.start()
    runtime = AgentcgRuntime(deployment.runtime)

The shell of a SWE-ReX session stays between commands; its jobs are found by the kernel's events and
put in the call that was declared here. Sessions should have the label `client: swe-rex`.
"""

from __future__ import annotations

from typing import Any

from swerex.runtime.abstract import AbstractRuntime, BashAction

from agentcg.client import AsyncClient
from agentcg.integrations.words import added, words


class AgentcgRuntime(AbstractRuntime):  # type: ignore[misc]
    """`inner` does the work. Feedback is added to the output that the agent reads."""

    def __init__(
        self, inner: AbstractRuntime, session: str | None = None, *, wait_s: float = 0.0
    ) -> None:
        self.inner = inner
        self.logger = inner.logger
        self.client = AsyncClient(session)
        self.wait_s = wait_s

    async def run_in_session(self, action: Any) -> Any:
        """A command in a session's shell; what only talks to a running program is no call."""
        if not isinstance(action, BashAction) or action.is_interactive_command:
            return await self.inner.run_in_session(action)
        async with self.client.call("bash", action.command, wait_s=self.wait_s) as call:
            seen = await self.inner.run_in_session(action)
            call.exit_status = seen.exit_code
        return seen.model_copy(update={"output": added(seen.output, words(call))})

    async def execute(self, command: Any) -> Any:
        """A command of its own."""
        text = command.command
        line = text if isinstance(text, str) else " ".join(text)
        async with self.client.call("execute", line, wait_s=self.wait_s) as call:
            wanted = text if isinstance(text, str) else call.wrap(text)
            done = await self.inner.execute(command.model_copy(update={"command": wanted}))
            call.exit_status = done.exit_code
        return done.model_copy(update={"stderr": added(done.stderr, words(call))})

    async def is_alive(self, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - theirs
        """As of the inner one."""
        return await self.inner.is_alive(timeout=timeout)

    async def create_session(self, request: Any) -> Any:
        """As of the inner one."""
        return await self.inner.create_session(request)

    async def close_session(self, request: Any) -> Any:
        """As of the inner one."""
        return await self.inner.close_session(request)

    async def read_file(self, request: Any) -> Any:
        """As of the inner one."""
        return await self.inner.read_file(request)

    async def write_file(self, request: Any) -> Any:
        """As of the inner one."""
        return await self.inner.write_file(request)

    async def upload(self, request: Any) -> Any:
        """As of the inner one."""
        return await self.inner.upload(request)

    async def close(self) -> Any:
        """Close both."""
        self.client.close()
        return await self.inner.close()
