# SPDX-License-Identifier: Apache-2.0
"""Forecasts of the running service, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agentcg.daemon.engine.forecast import Sample
from agentcg.daemon.messages import BeginCall, EndCall, ForecastQuery, OpenSession
from agentcg.daemon.service.accounts.history import History
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from agentcg.daemon.service.state import EndedCall
from agentcg.errors import Conflict, Forbidden, InvalidInput, NotFound
from cgroup_support import own_cgroup

MIB = 1 << 20
ROOT = Peer(uid=0, pid=os.getpid(), admin=True, locate=lambda: None)
MALLORY = Peer(uid=4999, pid=os.getpid(), admin=False, locate=lambda: None)
PYTEST = BeginCall(tool="Bash", command="pytest")
SLOW = Sample(100.0, 400 * MIB)


async def started(parent: Path, directory: Path) -> Service:
    root = Root.open(parent / "sessions", frozenset())
    history = History(directory / "state")
    service = Service(root, PolicyInForce(directory), pins=None, history=history)
    service.start()
    await service.sessions.open(ROOT, OpenSession(name="a"))
    return service


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with own_cgroup() as parent:
        found = await started(parent.path, tmp_path)
        yield found
        await found.stop()


async def test_a_running_call_is_foreseen_from_how_long_it_has_run(service: Service) -> None:
    """Of 100 tests of a second and 28 of 100 s: a second at the begin; after 10 s, 90."""
    for number in range(128):
        service.core.future.learn(None, "test", SLOW if number < 28 else Sample(1.0, MIB))
    reader = service.core.bus.reader(lambda _: True)
    call = await service.calls.begin(ROOT, "a", PYTEST)
    assert call.foreseen is not None
    assert call.foreseen.duration_s.p50 == 1.0
    (event,) = [one for one in reader.take() if one.kind == "call.begun"]
    assert event.foreseen == call.foreseen
    service.core.clock = lambda: call.begun_at + 10
    found = service.forecasts.of(ROOT, ForecastQuery(call=call.id))
    assert found.remaining_s.p50 == pytest.approx(90.0)
    assert found.peak_bytes.p50 == 400 * MIB
    asked = ForecastQuery(session="a", tool="Bash", command="pytest")
    assert service.forecasts.of(ROOT, asked).remaining_s.p50 == 1.0
    assert service.core.registry.calls[call.id].record.foreseen == call.foreseen


async def test_calls_teach_how_long_the_next_one_takes(service: Service) -> None:
    """Also where nobody counts what they hold."""
    for _ in range(3):
        call = await service.calls.begin(ROOT, "a", PYTEST)
        service.core.clock = lambda begun_at=call.begun_at: begun_at + 9
        service.calls.end(ROOT, call.id, EndCall(exit_status=0))
    asked = ForecastQuery(session="a", tool="Bash", command="pytest")
    assert service.forecasts.of(ROOT, asked).remaining_s.p50 == pytest.approx(9.0)


async def test_what_cannot_be_foreseen_is_said(service: Service) -> None:
    """An ended or unknown call, a kind without its session or tool, another user's session."""
    call = await service.calls.begin(ROOT, "a", PYTEST)
    with pytest.raises(Forbidden):
        service.forecasts.of(MALLORY, ForecastQuery(call=call.id))
    with pytest.raises(Forbidden):
        service.forecasts.of(MALLORY, ForecastQuery(session="a", tool="Bash"))
    service.calls.end(ROOT, call.id, EndCall(exit_status=0))
    with pytest.raises(Conflict):
        service.forecasts.of(ROOT, ForecastQuery(call=call.id))
    with pytest.raises(NotFound):
        service.forecasts.of(ROOT, ForecastQuery(call="abcdefgh"))
    for query, field in (
        (ForecastQuery(session="a"), "tool"),
        (ForecastQuery(tool="Bash"), "session"),
        (ForecastQuery(call=call.id, tool="Bash"), "tool"),
    ):
        with pytest.raises(InvalidInput) as caught:
            service.forecasts.of(ROOT, query)
        assert caught.value.field == field


async def test_a_new_daemon_knows_what_calls_took_before(tmp_path: Path) -> None:
    """From the history on disk; calls that were cut short say nothing."""
    with own_cgroup() as parent:
        before = await started(parent.path, tmp_path)
        call = await before.calls.begin(ROOT, "a", PYTEST)
        ended = before.calls.end(ROOT, call.id, EndCall(exit_status=0))
        whole = replace(ended, held_peak_bytes=300 * MIB)
        for number, one in enumerate((whole, replace(whole, end_reason="session-closed"))):
            one = replace(one, id=f"call{number}")  # noqa: PLW2901
            before.core.history.keep(EndedCall(one, 0, "", settled=True))
        await before.stop()
        after = await started(parent.path, tmp_path)
        await asyncio.gather(*(one for one in after._tasks if one.get_name() == "recall"))
        taken = after.core.future.pools[None, "test"]
        await after.stop()
        assert len(taken) == 2  # the call itself, and as it would be with more memory
        assert [one.peak_bytes for one in taken].count(300 * MIB) == 1
