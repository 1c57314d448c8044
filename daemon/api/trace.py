# SPDX-License-Identifier: Apache-2.0
"""A session's turns as server-sent events, for as long as somebody reads them."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from agentcg.daemon import messages as m
from agentcg.daemon.api import bounds, sse
from agentcg.daemon.api.exchange import Exchange, Result
from agentcg.daemon.service.scheduler.tracing import Trace

LOOK_S = 0.1  # the kernel keeps 3,600 turns for us


async def stream(x: Exchange) -> Result:
    """Send turns until the peer, the session or the scheduler goes."""
    with x.service.scheduling.tracing.of(x.peer, x.path["session"]) as trace:
        response = web.StreamResponse(headers=sse.HEADERS)
        await response.prepare(x.request)
        await _send(response, trace)
    return response


async def _send(response: web.StreamResponse, trace: Trace) -> None:
    await response.write(b": agentcg trace\n\n")  # so that the client knows that it is connected
    silent_s = 0.0
    while (turns := trace.take()) is not None:
        silent_s = 0.0 if turns else silent_s + LOOK_S
        if silent_s >= bounds.KEEPALIVE_S:
            await response.write(b": still here\n\n")
            silent_s = 0.0
        if not await sse.write(response, map(encode, turns)):
            return
        await asyncio.sleep(LOOK_S)


def encode(turn: m.Turn) -> bytes:
    """One turn on the wire."""
    return b"data: %s\n\n" % msgspec.json.encode(turn)
