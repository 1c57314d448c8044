# SPDX-License-Identifier: Apache-2.0
"""One tool call, as its caller holds it."""

from __future__ import annotations

import os
import sys

from agentcg.client import requests
from agentcg.client.answers import Feedback, Grant, feedback_of, grant_of
from agentcg.errors import AgentcgError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from agentcg.client.client import Client


def _helper() -> str | None:
    beside = os.path.join(os.path.dirname(sys.executable), "agentcg-shell")
    folders = os.environ.get("PATH", "").split(os.pathsep)
    found = (os.path.join(folder, "agentcg-shell") for folder in folders)
    for path in (os.environ.get("AGENTCG_SHELL", ""), beside, *found):
        if path and os.access(path, os.X_OK):
            return path
    return None


class CallState:
    """What is known of a call.

    `id` is None where it runs without agentcg; `problem` then says why. `grant` is there once it
    has begun, `feedback` and `account` once it has ended. Set `exit_status` before the end (as
    `subprocess` has it: negative for a signal), and `cancelled` if you ended it yourself.
    """

    def __init__(self, wanted: requests.Wanted) -> None:
        self.wanted = wanted
        self.id: str | None = None
        self.cgroup: str | None = None
        self.grant: Grant | None = None
        self.problem: AgentcgError | None = None
        self.feedback: tuple[Feedback, ...] = ()
        self.account: Mapping[str, Any] = {}
        self.exit_status: int | None = None
        self.cancelled = False
        self.ended = False

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """`argv` so that it is in the call from its first instruction, by `agentcg-shell`.

        As it is where there is no call, or no agentcg-shell ($AGENTCG_SHELL, beside this Python, in
        PATH): then `place` its process.
        """
        helper = None if self.id is None else _helper()
        return [*argv] if helper is None else [helper, "--into", str(self.id), *argv]

    def told(self) -> str:
        """What the agent should read: all feedback but "ok", one line each; else ""."""
        return "\n".join(one.text for one in self.feedback if one.code != "ok")

    def _has_begun(self, answer: Mapping[str, Any]) -> None:
        given = answer.get("id")
        self.id = given if isinstance(given, str) else None
        self.cgroup = answer.get("cgroup")
        self.grant = grant_of(answer)

    def _has_ended(self, answer: Mapping[str, Any]) -> None:
        self.feedback = feedback_of(answer)
        self.account = answer.get("account") or {}


class Call(CallState):
    """A call of `Client`; a context manager that begins and ends it."""

    def __init__(self, client: Client, wanted: requests.Wanted, pid: int | None) -> None:
        super().__init__(wanted)
        self._client = client
        self._pid = pid

    def __enter__(self) -> Call:
        return self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.cancelled = self.cancelled or kind is KeyboardInterrupt
        self.end()

    def begin(self) -> Call:
        """Ask for it. Raises `LimitExceeded` only if the client was made with `raise_refused`."""
        answer, self.problem = self._client._begin(self.wanted, self._pid)
        self._has_begun(answer)
        return self

    def place(self, pid: int) -> bool:
        """Move a process, with what it will start, into the call; whether that went well."""
        return self._change(pid=pid)

    def change(
        self, *, memory_bytes: int | None = None, cpu: requests.Cpu | None = None
    ) -> Grant | None:
        """Ask for more, or offer less; the grant that now holds."""
        self._change(memory_bytes=memory_bytes, cpu=cpu)
        return self.grant

    def end(self, exit_status: int | None = None, *, cancelled: bool = False) -> str:
        """End it, once; what the agent should read about it."""
        self.exit_status = self.exit_status if exit_status is None else exit_status
        self.cancelled = self.cancelled or cancelled
        if self.id is not None and not self.ended:
            ask = requests.end(self.id, self.exit_status, cancelled=self.cancelled)
            answer, problem = self._client._try(ask)
            self.problem = self.problem or problem
            self._has_ended(answer)
        self.ended = True
        return self.told()

    def _change(
        self, memory_bytes: int | None = None, cpu: requests.Cpu | None = None,
        pid: int | None = None,
    ) -> bool:  # fmt: skip
        if self.id is None:
            return False
        answer, problem = self._client._try(requests.change(self.id, memory_bytes, cpu, pid))
        self.problem = self.problem or problem
        self.grant = grant_of(answer) or self.grant
        return problem is None
