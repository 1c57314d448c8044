# SPDX-License-Identifier: Apache-2.0
"""An environment for mini-swe-agent (2.x): the local one, each command in a call of its own.

    environment:
      environment_class: agentcg.integrations.minisweagent.AgentcgEnvironment
      wait_s: 10

Where `agentcg-shell` is installed, the command is in its call from its first instruction.
"""

from __future__ import annotations

import shlex
from typing import Any

from minisweagent.environments.local import LocalEnvironment, LocalEnvironmentConfig
from minisweagent.exceptions import Submitted

from agentcg.client import Client
from agentcg.integrations.words import added, words


class AgentcgEnvironmentConfig(LocalEnvironmentConfig):  # type: ignore[misc]
    """`session`: else that of the environment; `wait_s`: for room."""

    session: str | None = None
    wait_s: float = 0.0


class AgentcgEnvironment(LocalEnvironment):  # type: ignore[misc]
    """Executes on this machine, and tells the model what became of a command."""

    def __init__(self, *, config_class: type = AgentcgEnvironmentConfig, **kwargs: Any) -> None:
        super().__init__(config_class=config_class, **kwargs)
        self._client = Client(self.config.session)

    def execute(
        self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None
    ) -> dict[str, Any]:
        """As the local environment does, in a call."""
        command = str(action.get("command", ""))
        call = self._client.call("bash", command, wait_s=self.config.wait_s)
        with call:
            shell = ["/bin/sh", "-c", command]
            wrapped = call.wrap(shell)
            line = command if wrapped == shell else f"exec {shlex.join(wrapped)}"
            try:
                output: dict[str, Any] = super().execute(
                    {**action, "command": line}, cwd, timeout=timeout
                )
            except Submitted:
                call.exit_status = 0
                raise
            if output["returncode"] == -1 and output["exception_info"]:
                call.cancelled = "TimeoutExpired" in str(output.get("extra"))
                output["exception_info"] = output["exception_info"].replace(line, command)
            else:
                call.exit_status = output["returncode"]
        output["output"] = added(output["output"], words(call))
        return output
