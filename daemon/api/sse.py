# SPDX-License-Identifier: Apache-2.0
"""Events as server-sent events (the HTML standard's event stream)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice

import msgspec
from aiohttp import web

from agentcg.daemon import messages as m
from agentcg.daemon.api import bounds
from agentcg.daemon.api.exchange import Exchange, Result
from agentcg.daemon.service.bus import Bus, Reader, Sees
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.service import Service
from agentcg.errors import InvalidInput

_WRITTEN_AT_ONCE = 64  # some 16 KiB: what a reader that takes nothing may leave in our memory
_COLLECT_S = 0.01  # events come in bursts: one write for all of a burst
_COLLECT_PER_READER_S = 0.00025  # with many readers, so that all together wake 4,000 times a second
_COLLECT_MAX_S = 0.5
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events."""

    session: m.Name | None = None


async def stream(x: Exchange) -> Result:
    """Send events from after Last-Event-ID, else from now on, until the peer goes."""
    position = _last_id(x.request.headers.get("Last-Event-ID"))
    reader = x.service.core.bus.reader(_filter(x.service, x.peer, x.query.session), position)
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(x.request)
    with reader:
        await _send(response, reader, x.service.core.bus)
    if x.request.transport is not None:
        x.request.transport.abort()  # what is in its buffer would never be taken
    return response


async def _send(response: web.StreamResponse, reader: Reader, bus: Bus) -> None:
    """Until the peer goes, which cancels this, or takes nothing for too long, which ends it."""
    await response.write(b": agentcg events\n\n")  # so that the client knows that it is connected
    while True:
        if not await write(response, map(encode, reader.take())):
            return
        if await reader.wait(bounds.KEEPALIVE_S):
            await asyncio.sleep(collect_s(bus.readers))
        else:
            await response.write(b": still here\n\n")


async def write(response: web.StreamResponse, events: Iterator[bytes]) -> bool:
    """Write `events`, some at once; False: the peer takes nothing for too long."""
    try:
        while some := [*islice(events, _WRITTEN_AT_ONCE)]:
            async with asyncio.timeout(bounds.WRITE_S):
                await response.write(b"".join(some))
    except TimeoutError:
        return False
    return True


def collect_s(readers: int) -> float:
    """How long to collect events before they are written, with so many readers in all."""
    return min(max(_COLLECT_S, readers * _COLLECT_PER_READER_S), _COLLECT_MAX_S)


def encode(event: m.Event) -> bytes:
    """One event on the wire."""
    data = msgspec.json.encode(event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.kind.encode(), data)


def _last_id(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInput("Last-Event-ID", text, "the id of an event of this daemon")
    return int(text)


def _filter(service: Service, peer: Peer, session: str | None) -> Sees:
    """What the peer may see: its own sessions, the one that it lives in, and the host."""
    if session is not None:
        service.core.authorised(peer, session)
        return lambda source: source[1] == session
    if peer.admin:
        return lambda _: True
    home = service.core.home(peer)
    name = None if home is None else home.name
    return lambda source: source[0] in (None, peer.uid) or source[1] == name
