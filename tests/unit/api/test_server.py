# SPDX-License-Identifier: Apache-2.0
"""The server with routes of the test's own: quotas, timeouts, bugs, peers that go away."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agentcg.daemon.api import bounds, listen
from agentcg.daemon.api.exchange import Exchange, Result, Route
from agentcg.daemon.api.peers import has_left
from agentcg.daemon.api.quota import Quota
from agentcg.daemon.api.server import Server
from agentcg.daemon.messages import EndCall, IntentList

PATIENCE_S = 60.0


class Slow:
    """A handler that takes ten minutes unless it is cancelled, and tells."""

    begun: asyncio.Semaphore
    cancelled: asyncio.Event


async def quick(x: Exchange) -> Result:
    return IntentList(intents=[])


async def slow(x: Exchange) -> Result:
    Slow.begun.release()
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        Slow.cancelled.set()
        raise
    return None


async def buggy(x: Exchange) -> Result:
    raise ValueError("secret detail")


async def whoami(x: Exchange) -> Result:
    assert (x.peer.uid, x.peer.pid) == (os.getuid(), os.getpid())
    return None


async def large(x: Exchange) -> Result:
    Slow.begun.release()
    return web.Response(body=bytes(4 << 20))  # more than the kernel takes before anybody reads


ROUTES = (
    Route("GET", "/large", "large", "", large, None, large=True),
    Route("POST", "/quick", "quick", "", quick, IntentList, body=EndCall),
    Route("GET", "/slow", "slow", "", slow, None, statuses=(204,)),
    Route("GET", "/buggy", "buggy", "", buggy, None),
    Route("GET", "/whoami", "whoami", "", whoami, None, statuses=(204,)),
)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    server = Server(None, ROUTES)  # type: ignore[arg-type] - these routes need no service
    await server.start(listen.bind(tmp_path / "s"))
    Slow.begun, Slow.cancelled = asyncio.Semaphore(0), asyncio.Event()
    yield tmp_path / "s"
    await server.stop()


class Peer:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> Peer:
        return cls(*await asyncio.open_unix_connection(path))

    def send(self, method: str, target: str, body: str = "", headers: str = "") -> None:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    async def answer(self) -> tuple[int, Any]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        length = next(
            (int(h[15:]) for h in head.decode().split("\r\n") if h.startswith("Content-Length:")), 0
        )
        body = await self.reader.readexactly(length)
        return int(head[9:12]), json.loads(body) if body else None


async def ask(path: Path, method: str, target: str, body: str = "") -> tuple[int, Any]:
    peer = await Peer.connect(path)
    peer.send(method, target, body)
    found = await peer.answer()
    peer.writer.close()
    return found


async def test_peer_is_known_by_its_credentials(path: Path) -> None:
    """The handler gets uid and pid as the kernel attests them."""
    assert await ask(path, "GET", "/whoami") == (204, None)


async def test_kept_connection_serves_many_requests(path: Path) -> None:
    """Also several that are sent before the first is answered, in order."""
    peer = await Peer.connect(path)
    for _ in range(3):
        peer.send("POST", "/quick", "{}")
    assert [await peer.answer() for _ in range(3)] == [(200, {"intents": []})] * 3
    peer.writer.close()


async def test_bug_is_a_problem_document_without_its_text(path: Path) -> None:
    """An unexpected exception is a 500 that tells the caller nothing of the inside."""
    status, problem = await ask(path, "GET", "/buggy")
    assert (status, problem["type"]) == (500, "urn:agentcg:internal")
    assert "secret" not in str(problem)
    assert (await ask(path, "POST", "/quick"))[0] == 200


async def test_handler_ends_when_its_peer_goes_away(path: Path) -> None:
    """Nobody waits for room for a caller that is gone."""
    peer = await Peer.connect(path)
    peer.send("GET", "/slow")
    await asyncio.wait_for(Slow.begun.acquire(), PATIENCE_S)
    peer.writer.close()
    await asyncio.wait_for(Slow.cancelled.wait(), PATIENCE_S)


def test_peer_that_only_sends_no_more_has_not_left() -> None:
    """It may still wait for its answer; one that has closed its socket does not."""
    own, other = socket.socketpair()
    with own:
        with other:
            other.shutdown(socket.SHUT_WR)
            assert not has_left(own)
        assert has_left(own)


async def test_requests_of_a_user_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the bound is refused with 429; when one ends there is a place again."""
    monkeypatch.setattr(bounds, "REQUESTS_PER_UID_MAX", 2)
    held = [await Peer.connect(path) for _ in range(2)]
    for peer in held:
        peer.send("GET", "/slow")
        await asyncio.wait_for(Slow.begun.acquire(), PATIENCE_S)
    status, problem = await ask(path, "POST", "/quick")
    assert (status, problem["type"]) == (429, "urn:agentcg:limit-exceeded")
    held.pop().writer.close()
    await asyncio.wait_for(Slow.cancelled.wait(), PATIENCE_S)
    assert (await ask(path, "POST", "/quick"))[0] == 200
    held.pop().writer.close()


async def test_connections_of_a_user_are_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than the bound is closed with 429, the others are served."""
    monkeypatch.setattr(bounds, "CONNECTIONS_PER_UID_MAX", 2)
    held = [await Peer.connect(path) for _ in range(2)]
    for peer in held:
        peer.send("POST", "/quick")
        assert (await peer.answer())[0] == 200
    third = await Peer.connect(path)
    assert (await third.answer())[0] == 429
    assert await third.reader.read() == b""
    for peer in held:
        peer.writer.close()


async def test_body_that_does_not_arrive_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that announces a body and stops sending gets 408."""
    monkeypatch.setattr(bounds, "BODY_S", 0.05)
    peer = await Peer.connect(path)
    peer.writer.write(b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{")
    assert (await peer.answer())[0] == 408


async def test_expect_continue_is_answered(path: Path) -> None:
    """curl asks before it sends a larger body."""
    peer = await Peer.connect(path)
    peer.writer.write(
        b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    assert b"100 Continue" in await asyncio.wait_for(peer.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    peer.writer.write(b"{}")
    assert (await peer.answer())[0] == 200


async def test_expect_continue_is_a_sign_of_life(path: Path) -> None:
    """Who has sent the body with the head is told, too, before an answer that may take long."""
    peer = await Peer.connect(path)
    peer.writer.write(
        b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}"
    )
    assert b"100 Continue" in await asyncio.wait_for(peer.reader.readuntil(b"\r\n\r\n"), 10)
    assert (await peer.answer())[0] == 200


async def test_idle_connection_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a header does not hold a connection for ever; a request being answered does."""
    monkeypatch.setattr(bounds, "IDLE_S", 0.5)
    Slow.begun, Slow.cancelled = asyncio.Semaphore(0), asyncio.Event()
    server = Server(None, ROUTES)  # type: ignore[arg-type]
    await server.start(listen.bind(tmp_path / "s"))
    busy = await Peer.connect(tmp_path / "s")
    busy.send("GET", "/slow")
    await asyncio.wait_for(Slow.begun.acquire(), PATIENCE_S)
    half = await Peer.connect(tmp_path / "s")
    half.writer.write(b"GET /slow HTTP/1.1\r\nHo")
    assert await asyncio.wait_for(half.reader.read(), PATIENCE_S) == b""
    await asyncio.sleep(2 * bounds.IDLE_S)
    assert not busy.reader.at_eof()
    busy.writer.close()
    await server.stop()


async def test_a_peer_that_takes_no_answers_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks again and again and reads nothing does not keep a connection for ever."""
    monkeypatch.setattr(bounds, "IDLE_S", 0.2)
    server = Server(None, ROUTES)  # type: ignore[arg-type]
    await server.start(listen.bind(tmp_path / "s"))
    await asyncio.to_thread(ask_without_reading, tmp_path / "s")
    assert not server.quotas
    await server.stop()


def ask_without_reading(path: Path) -> None:
    """Until the other end is closed."""
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.settimeout(PATIENCE_S)
        deaf.connect(str(path))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            deaf.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000)


async def test_large_answers_of_a_user_are_made_as_they_are_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many are in memory at once; who takes nothing is dropped, and the next one has it."""
    monkeypatch.setattr(bounds, "LARGE_ANSWERS_PER_UID", 1)
    monkeypatch.setattr(bounds, "WRITE_S", 0.5)
    deaf, next_one = await Peer.connect(path), await Peer.connect(path)
    for peer in (deaf, next_one):
        peer.writer.transport.pause_reading()
    deaf.send("GET", "/large")
    await asyncio.wait_for(Slow.begun.acquire(), PATIENCE_S)
    next_one.send("GET", "/large")
    assert await ask(path, "POST", "/quick") == (200, {"intents": []})
    next_one.writer.transport.resume_reading()
    head = await asyncio.wait_for(next_one.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    assert head.startswith(b"HTTP/1.1 200")
    assert len(await asyncio.wait_for(next_one.reader.readexactly(4 << 20), PATIENCE_S)) == 4 << 20
    deaf.writer.transport.resume_reading()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await asyncio.wait_for(deaf.reader.readexactly(4 << 20), PATIENCE_S)


async def test_thousands_of_requests_leave_others_their_turn() -> None:
    """A user's requests are begun in order, and only some in each turn of the loop."""
    begun: list[str] = []

    async def ask_as(quota: Quota, name: str) -> None:
        await quota.turn()
        begun.append(name)

    storm, other = Quota(connections=1000), Quota(connections=1)
    await asyncio.gather(
        *(ask_as(storm, str(number)) for number in range(1000)), ask_as(other, "other")
    )
    assert begun.index("other") == bounds.REQUESTS_PER_TURN
    begun.remove("other")
    assert begun == [str(number) for number in range(1000)]


async def test_every_request_takes_its_turn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are one of many on a kept connection."""
    turns: list[Quota] = []

    async def turn(quota: Quota) -> None:
        turns.append(quota)

    monkeypatch.setattr(Quota, "turn", turn)
    peer = await Peer.connect(path)
    for _ in range(3):
        peer.send("POST", "/quick")
        assert (await peer.answer())[0] == 200
    assert len(turns) == 3
    peer.writer.close()


async def test_requests_that_are_sent_ahead_are_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends on and on without waiting for an answer is dropped."""
    monkeypatch.setattr(bounds, "REQUESTS_AHEAD_MAX", 2)
    peer = await Peer.connect(path)
    for _ in range(5):
        peer.send("GET", "/slow")
    assert await asyncio.wait_for(peer.reader.read(), PATIENCE_S) == b""
    peer.writer.close()
