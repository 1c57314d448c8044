# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio: as `agentcg.client.client`, with `async with` and `await`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from agentcg.client import requests
from agentcg.client.answers import Declared, Grant, declared_of, decoded, grant_of
from agentcg.client.calls import CallState
from agentcg.client.client import CONNECT_S, Settings
from agentcg.client.connection import unreachable
from agentcg.client.problems import exception_of
from agentcg.client.wire import NotHttp, Reader, Reply, head_of
from agentcg.errors import AgentcgError, NotFound, Unavailable

_CHUNK_BYTES = 64 << 10
_P = ParamSpec("_P")
_R = TypeVar("_R")
_Outcome = tuple[dict[str, Any], AgentcgError | None]
_Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AsyncCall(CallState):
    """A call of `AsyncClient`; an asynchronous context manager that begins and ends it."""

    def __init__(self, client: AsyncClient, wanted: requests.Wanted, pid: int | None) -> None:
        super().__init__(wanted)
        self._client = client
        self._pid = pid

    async def __aenter__(self) -> AsyncCall:
        return await self.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        stopped = kind is not None and issubclass(kind, asyncio.CancelledError | KeyboardInterrupt)
        self.cancelled = self.cancelled or stopped
        await self.end()

    async def begin(self) -> AsyncCall:
        """Ask for it; as `Call.begin`."""
        answer, self.problem = await self._client._begin(self.wanted, self._pid)
        self._has_begun(answer)
        return self

    async def place(self, pid: int) -> bool:
        """Move a process, with what it will start, into the call; whether that went well."""
        return await self._change(pid=pid)

    async def change(
        self, *, memory_bytes: int | None = None, cpu: requests.Cpu | None = None
    ) -> Grant | None:
        """Ask for more, or offer less; the grant that now holds."""
        await self._change(memory_bytes=memory_bytes, cpu=cpu)
        return self.grant

    async def end(self, exit_status: int | None = None, *, cancelled: bool = False) -> str:
        """End it, once; what the agent should read about it."""
        self.exit_status = self.exit_status if exit_status is None else exit_status
        self.cancelled = self.cancelled or cancelled
        if self.id is not None and not self.ended:
            ask = requests.end(self.id, self.exit_status, cancelled=self.cancelled)
            answer, problem = await self._client._try(ask)
            self.problem = self.problem or problem
            self._has_ended(answer)
        self.ended = True
        return self.told()

    async def _change(
        self, memory_bytes: int | None = None, cpu: requests.Cpu | None = None,
        pid: int | None = None,
    ) -> bool:  # fmt: skip
        if self.id is None:
            return False
        ask = requests.change(self.id, memory_bytes, cpu, pid)
        answer, problem = await self._client._try(ask)
        self.problem = self.problem or problem
        self.grant = grant_of(answer) or self.grant
        return problem is None


class AsyncClient(Settings):
    """The daemon, for one session, in one event loop after another; as `Client`.

    One connection is kept; calls that begin at once get more, since one may wait for room.
    """

    def __init__(
        self, session: str | None = None, *, socket: str | os.PathLike[str] | None = None,
        raise_refused: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(session, socket=socket, raise_refused=raise_refused)
        self._idle: _Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # of the kept connection

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connection; the client can be used again."""
        if self._idle is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._idle[1].close()
            self._idle = None

    def call(
        self, tool: str, command: str | None = None, *, category: str | None = None,
        reference: str | None = None, memory_bytes: int | None = None,
        cpu: requests.Cpu | None = None, wait_s: float = 0.0, pid: int | None = None,
    ) -> AsyncCall:  # fmt: skip
        """A tool call, to be used with `async with` (or `begin` and `end`); as `Client.call`."""
        wanted = requests.Wanted(tool, command, category, reference, memory_bytes, cpu, wait_s)
        return AsyncCall(self, wanted, pid)

    def tool(
        self, name: str | None = None, *, memory_bytes: int | None = None,
        cpu: requests.Cpu | None = None, wait_s: float = 0.0,
    ) -> Callable[[Callable[_P, Awaitable[_R]]], Callable[_P, Awaitable[_R]]]:  # fmt: skip
        """Decorate an async function: each time it is called, that is a tool call."""

        def decorate(function: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
            title: str = name or getattr(function, "__name__", None) or "tool"

            @functools.wraps(function)
            async def calling(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                async with self.call(title, memory_bytes=memory_bytes, cpu=cpu, wait_s=wait_s):
                    return await function(*args, **kwargs)

            return calling

        return decorate

    async def declare(self, kind: requests.IntentKind, **fields: Any) -> Declared | None:
        """Say what will be needed; the answer, None: it was not heard."""
        ask = requests.declare(self.session, kind, fields)
        answer, problem = await self._in_session(ask)
        return declared_of(answer) if problem is None else None

    async def generating(self, duration_s: float | None = None) -> bool:
        """The model writes: no call for about so long."""
        return await self.declare("generating", duration_s=duration_s) is not None

    async def idle(self) -> bool:
        """Nothing is expected until further notice."""
        return await self.declare("idle") is not None

    async def open(self, **fields: Any) -> bool:
        """Open the session with a priority, labels or pids of its own; whether it is there."""
        _, problem = await self._try(requests.open_session(self.session, fields))
        return problem is None

    async def ask(self, method: str, target: str, body: bytes | None = None) -> dict[str, Any]:
        """Any request of the API; raises the error that it comes to."""
        return await self._send(requests.Ask(method, target, body))

    # --- how ---

    async def _begin(self, wanted: requests.Wanted, pid: int | None) -> _Outcome:
        answer, problem = await self._in_session(requests.begin(self.session, wanted, pid))
        if problem is not None and self.may_raise(problem):
            raise problem
        return answer, problem

    async def _in_session(self, ask: requests.Ask) -> _Outcome:
        answer, problem = await self._try(ask)
        if isinstance(problem, NotFound):
            _, problem = await self._try(requests.open_session(self.session, {}))
            if problem is None:
                answer, problem = await self._try(ask)
        return answer, problem

    async def _try(self, ask: requests.Ask) -> _Outcome:
        try:
            self.check_away()
            return await self._send(ask), None
        except AgentcgError as error:
            self.note(error)
            return {}, error

    async def _send(self, ask: requests.Ask) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ask.within_s):
                reply = await self._exchange(ask)
        except TimeoutError as error:
            limit_s = error.args[0] if error.args else ask.within_s
            raise Unavailable(f"{self.path}: no answer within {limit_s:g} s") from error
        except (OSError, NotHttp) as error:
            raise unreachable(self.path, error) from error
        if reply.status >= 400:
            raise exception_of(reply.status, reply.body)
        return decoded(reply.body)

    async def _exchange(self, ask: requests.Ask) -> Reply:
        kept, self._idle = self._idle, None
        if self._loop is not asyncio.get_running_loop():
            kept = None  # of a loop that has ended, or runs in another thread: not to be touched
        if kept is not None:
            if kept[0].at_eof():  # the daemon was restarted: a new one
                kept[1].close()
            else:
                try:
                    return await self._over(kept, ask)
                except _ClosedWhileIdle:
                    pass
        return await self._over(await self._connect(), ask)

    async def _connect(self) -> _Link:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_unix_connection(self.path)
        except TimeoutError:
            raise Unavailable(f"{self.path}: the daemon is too busy to answer") from None

    async def _over(self, link: _Link, ask: requests.Ask) -> Reply:
        reader = Reader()
        try:
            reply = await self._answer(link, ask, reader)
        except BaseException as error:
            link[1].close()
            if isinstance(error, ConnectionError) and reader.untouched:
                raise _ClosedWhileIdle(*error.args) from error
            raise
        if reply.keep and self._idle is None:
            self._idle, self._loop = link, asyncio.get_running_loop()
        else:
            link[1].close()
        return reply

    @staticmethod
    async def _answer(link: _Link, ask: requests.Ask, reader: Reader) -> Reply:
        receiver, sender = link
        body, alive_s = ask.body or b"", ask.alive_s
        head = head_of(ask.method, ask.target, ask.body, expect=alive_s is not None)
        sender.write(head if alive_s is not None else head + body)
        if alive_s is not None:
            early = await _before_the_body(receiver, reader, alive_s)
            if early is not None:
                return early
            sender.write(body)
        while True:
            reply = reader.feed(await receiver.read(_CHUNK_BYTES))
            if reply is not None:
                return reply


async def _before_the_body(
    receiver: asyncio.StreamReader, reader: Reader, alive_s: float
) -> Reply | None:
    """The answer, where there is one already; None: the daemon is there and wants the body."""
    try:
        async with asyncio.timeout(alive_s):
            while not reader.interim:
                early = reader.feed(await receiver.read(_CHUNK_BYTES))
                if early is not None:
                    return early._replace(keep=False)  # the body was not sent
    except TimeoutError:
        raise TimeoutError(alive_s) from None
    return None


class _ClosedWhileIdle(ConnectionError):
    """The connection ended before anything was answered."""
