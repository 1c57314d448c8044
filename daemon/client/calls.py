# SPDX-License-Identifier: Apache-2.0
"""Execute a command inside a call, and get out of its way.

The rule above all others: agentcg never costs the caller its command, output or exit status.
If the daemon is not there, slow or refuses, the command runs as it would have without agentcg,
and one line on standard error says so (`strict` turns that around).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from agentcg.daemon.client.child import Child
from agentcg.daemon.client.client import Client
from agentcg.daemon.client.signals import CallerSignals, Ended, hold, supervise
from agentcg.daemon.client.text import printable
from agentcg.daemon.messages import BeginCall, Call, ChangeCall, OpenSession
from agentcg.errors import AgentcgError, NotFound

ANSWER_S = 1.0
"""All that beginning a call may cost, besides the wait that the caller asks for; and ending it."""
STRICT_S = 10.0
"""The same for who rather waits for a busy daemon than goes without a call."""

Tell = Callable[[str], None]


def tell_on_stderr(text: str) -> None:
    """One line on standard error; a closed one is no reason to fail."""
    try:
        print(f"agentcg: {printable(text)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def run_in_call(
    client: Client,
    session: str,
    argv: Sequence[str],
    request: BeginCall,
    *,
    strict: bool = False,
    tell: Tell = tell_on_stderr,
) -> int:
    """Execute `argv` in a call of `session` and return its status (128+n for signal n).

    The session is opened if there is none of this name. Root's commands are born in the
    call's cgroup; for everybody else the daemon places the waiting process by its pid. What the
    daemon has to say at the end, if it is not "ok", goes to `tell`. Afterwards the signals of
    this process stay held: it is meant to end with the status.

    Raises `AgentcgError` before anything was executed: if no process could be started, and
    with `strict` also if there is no call to run it in.
    """
    signals = CallerSignals.take()
    start = _start_by_birth if os.geteuid() == 0 else _start_by_pid
    child, call = start(_Beginning(client, session, request, strict, tell), argv, signals)
    hold()
    child.release()
    ended = supervise(child.pid)
    if call is not None:
        _end(client, call.id, ended, tell, STRICT_S if strict else ANSWER_S)
    return ended.status or 0


class _Beginning:
    """The attempt to get a call, within its time and the wait that was asked for."""

    def __init__(
        self, client: Client, session: str, request: BeginCall, strict: bool, tell: Tell
    ) -> None:
        self._client = client
        self._session = session
        self._request = request
        self._strict = strict
        self._tell = tell
        self._until = time.monotonic() + (STRICT_S if strict else ANSWER_S) + request.wait_s

    def begin(self, pid: int | None) -> Call | None:
        """The call; None (and a word to the user) if the command has to do without."""
        request = msgspec.structs.replace(self._request, pid=pid)
        try:
            try:
                return self._client.begin(self._session, request, timeout_s=self._left_s())
            except NotFound:
                opening = OpenSession(name=self._session)
                self._client.open_session(opening, timeout_s=self._left_s())
                return self._client.begin(self._session, request, timeout_s=self._left_s())
        except AgentcgError as error:
            self._do_without(error)
            return None

    def place(self, call: Call, pid: int) -> Call | None:
        """Let the daemon place `pid` into the call; None if the command has to do without."""
        try:
            return self._client.change(call.id, ChangeCall(pid=pid), timeout_s=self._left_s())
        except AgentcgError as error:
            _end(self._client, call.id, Ended(None, False), _silently, ANSWER_S)
            self._do_without(error)
            return None

    def _do_without(self, error: AgentcgError) -> None:
        if self._strict:
            raise error
        self._tell(f"the command runs without a call: {error}")

    def _left_s(self) -> float:
        return max(0.05, self._until - time.monotonic())


def _start_by_pid(
    beginning: _Beginning, argv: Sequence[str], signals: CallerSignals
) -> tuple[Child, Call | None]:
    """One request: begin the call and place the process that waits to become the command."""
    child = Child.held(argv, signals)
    try:
        return child, beginning.begin(child.pid)
    except BaseException:
        child.abandon()
        raise


def _start_by_birth(
    beginning: _Beginning, argv: Sequence[str], signals: CallerSignals
) -> tuple[Child, Call | None]:
    """Begin the call, then fork into it: no migration, and nothing is charged elsewhere."""
    call = beginning.begin(None)
    if call is None:
        return Child.held(argv, signals), None
    hold()
    try:
        return Child.born_in(argv, signals, call.cgroup), call
    except (AgentcgError, OSError):  # not to be seen or entered from here: by pid, then
        child = Child.held(argv, signals)
    try:
        return child, beginning.place(call, child.pid)
    except BaseException:
        child.abandon()
        raise


def _end(client: Client, call_id: str, how: Ended, tell: Tell, within_s: float) -> None:
    """End the call and pass on what the daemon says about it."""
    try:
        ended = client.end(call_id, how.status, cancelled=how.cancelled, timeout_s=within_s)
    except AgentcgError as error:
        tell(f"the command has ended, but its call could not be: {error}")
        return
    for feedback in ended.feedback:
        if feedback.code != "ok":
            tell(feedback.text)


def _silently(_: str) -> None:
    """Say nothing: the reason has been told already."""
