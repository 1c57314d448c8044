# SPDX-License-Identifier: Apache-2.0
"""What a session's calls took is kept on its cgroup, and decides the grants of the next ones."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentcg.daemon.messages import BeginCall, Call, EndCall, OpenSession
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.learning import HISTORY
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from cgroup_support import own_cgroup

ROOT = Peer(uid=0, pid=os.getpid(), admin=True, locate=lambda: None)
MIB = 1 << 20
PYTEST = BeginCall(tool="Bash", command="pytest -q")


@pytest.fixture
async def root(tmp_path: Path) -> AsyncIterator[Path]:
    with own_cgroup() as parent:
        yield parent.path / "sessions"


async def started(root: Path, policies: Path) -> Service:
    """A service that has adopted what is there, with session "a"."""
    service = Service(Root.open(root, frozenset()), PolicyInForce(policies), pins=None)
    service.start()
    await service.sessions.open(ROOT, OpenSession(name="a"))
    return service


async def ran(service: Service, held_mib: int, **how: object) -> Call:
    """A test call that held so much, as a look at it would have seen."""
    call = await service.calls.begin(ROOT, "a", PYTEST)
    live = service.core.registry.calls[call.id]
    live.memory_bytes = held_mib * MIB
    service.core.registry.commit(live, live.memory_bytes)
    return service.calls.end(ROOT, call.id, EndCall(**how))  # type: ignore[arg-type]


async def test_grants_follow_earlier_calls_over_a_restart(root: Path, tmp_path: Path) -> None:
    """The third test call is granted by the first two; so is the fourth, by a new daemon."""
    service = await started(root, tmp_path)
    assert (await ran(service, 400)).grant.source == "default"
    await ran(service, 100)
    third = await ran(service, 90)
    assert third.grant.source == "history"
    assert third.grant.reason.startswith("584M expected: 2 earlier test calls, at most 400M")
    await service.stop()
    again = await started(root, tmp_path)
    fourth = await again.calls.begin(ROOT, "a", PYTEST)
    assert fourth.grant.reason.startswith("584M expected: 3 earlier test calls, at most 400M")
    await again.sessions.open(ROOT, OpenSession(name="b"))
    other = await again.calls.begin(ROOT, "b", PYTEST)
    assert other.grant.source == "default"
    await again.stop()


async def test_calls_cut_short_by_their_caller_teach_nothing(root: Path, tmp_path: Path) -> None:
    """An interrupted call may have needed more than it got to take; so may one that was killed."""
    service = await started(root, tmp_path)
    await ran(service, 5, exit_status=137)
    ended = await ran(service, 5, exit_status=130, cancelled=True)
    assert (ended.feedback[0].code, ended.feedback[0].by) == ("signal", "caller")
    assert (await ran(service, 5)).grant.source == "default"
    await service.stop()


async def test_an_unreadable_history_is_no_history(root: Path, tmp_path: Path) -> None:
    """Advice that cannot be read is done without; nothing else is affected."""
    service = await started(root, tmp_path)
    await ran(service, 400)
    service.core.registry.session("a").cgroup.set_attr(HISTORY, b"[[1,2,")
    await service.stop()
    again = await started(root, tmp_path)
    assert (await ran(again, 400)).grant.source == "default"
    await again.stop()
