# SPDX-License-Identifier: Apache-2.0
"""Two hooks that tell of the same call, two conversations of the same moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.hooks import Event
from agentcg.daemon.messages import BeginCall
from agentcg.daemon.service.detection.hooks import Hooks, name_of
from agentcg.daemon.service.host.peers import Peer

PEER = Peer(1000, 1, False, lambda: None)
EVENT = Event("begin", "PreToolUse", "c", tool="Bash", command="make", reference="toolu_1")


class Calls:
    """Calls that wait for room until `room` is set."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.asked: list[BeginCall] = []

    async def begin(self, _peer: Peer, _name: str, request: BeginCall) -> None:
        self.asked.append(request)
        await self.room.wait()


def hooks(calls: Calls) -> Hooks:
    home = SimpleNamespace(name="a", record=SimpleNamespace(id="abcd"), calls={})
    core: Any = SimpleNamespace(home=lambda _: home)
    parts: Any = (None, calls, None, None)
    return Hooks(core, parts, None, None, lambda: None)


async def tell(told: Hooks) -> None:
    await told.told(PEER, "claude-code", EVENT, session=None, wait_s=9.0, stay=False)


def test_conversations_that_begin_at_once_have_sessions_of_their_own() -> None:
    """Ids of Codex begin with the time in ms: these two are of the same moment."""
    ids = ("019ac0de-4f10-7a31-9c55-0d1e2f3a4b5c", "019ac0de-4f10-7b02-8e17-5566778899aa")
    assert [name_of("codex", one) for one in ids] == ["codex-0d1e2f3a4b5c", "codex-5566778899aa"]


async def test_call_that_waits_is_begun_once() -> None:
    """Hooks of the user's and of the project's settings run at the same time, and there is no
    room: one call waits, and the other hook goes on."""
    calls = Calls()
    told = hooks(calls)
    first = asyncio.create_task(tell(told))
    await asyncio.sleep(0)
    await asyncio.wait_for(tell(told), 5)
    assert len(calls.asked) == 1
    calls.room.set()
    await first


async def test_wait_that_was_given_up_is_forgotten() -> None:
    """The same call may be told of again."""
    calls = Calls()
    told = hooks(calls)
    first = asyncio.create_task(tell(told))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    calls.room.set()
    await tell(told)
    assert len(calls.asked) == 2
