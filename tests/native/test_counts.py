# SPDX-License-Identifier: Apache-2.0
"""What the scheduler counts, from the look at a cgroup to the account of its call and session.

The counts are the test's own: this machine's kernel need not have sched_ext.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentcg.daemon.messages import BeginCall, Delayed, EndCall, OpenSession, Scheduled
from agentcg.daemon.service.accounts.counts import together
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from cgroup_support import own_cgroup

ROOT = Peer(uid=0, pid=os.getpid(), admin=True, locate=lambda: None)
HELD = Delayed(count=2, total_us=60, longest_us=40, overshoot_bytes=1 << 20)


def ran(us: int) -> Scheduled:
    return Scheduled(run_us=us, wait_us=2, waits=1, longest_wait_us=2, boosts=1)


class Kernel:
    """What is counted for each cgroup, and how often it was asked."""

    def __init__(self) -> None:
        self.scheduled: dict[int, Scheduled] = {}
        self.asked = 0

    def read(self, cgroup_id: int) -> Scheduled | None:
        self.asked += 1
        return self.scheduled.get(cgroup_id)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with own_cgroup() as parent:
        root = Root.open(parent.path / "sessions", frozenset())
        service = Service(root, PolicyInForce(tmp_path), pins=None)
        service.start()
        await service.sessions.open(ROOT, OpenSession(name="a"))
        yield service
        await service.stop()


async def test_from_the_look_to_the_account(service: Service) -> None:
    """A call has what was seen at the latest look, read once more at its end and kept; its session
    has that and its agent's, in lists and alone; so has the host, also when the session is closed.
    Nothing is read because somebody asks."""
    kernel, core = Kernel(), service.core
    core.counts.scheduled.start(kernel.read)
    core.counts.delayed.start(lambda cgroup_id: HELD if cgroup_id == leaf.id else None)
    call = await service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
    leaf, runtime = core.registry.calls[call.id].cgroup, core.registry.sessions["a"].runtime
    kernel.scheduled = {leaf.id: ran(5), runtime.id: ran(7)}
    assert service.calls.get(ROOT, call.id).account.scheduled is None
    service._sampling.tick()
    asked = kernel.asked
    account = service.calls.get(ROOT, call.id).account
    assert (account.scheduled, account.delayed) == (ran(5), HELD)
    (listed,) = (await service.sessions.list(ROOT)).sessions
    assert (listed.scheduled, listed.delayed) == (together(ran(5), ran(7)), HELD)
    assert kernel.asked == asked
    kernel.scheduled[leaf.id] = ran(9)
    ended = service.calls.end(ROOT, call.id, EndCall(exit_status=0))
    assert (ended.account.scheduled, ended.account.delayed) == (ran(9), HELD)
    assert service.calls.get(ROOT, call.id).account == ended.account
    both = together(ran(9), ran(7))
    alone = service.sessions.get(ROOT, "a").account
    assert alone is not None
    assert (alone.scheduled, alone.delayed) == (both, HELD)
    await service.sessions.close(ROOT, "a", kill=True)
    host = service.overview.host().account
    assert host is not None
    assert (host.scheduled, host.delayed) == (both, HELD)


async def test_a_scheduler_that_was_taken_out(service: Service) -> None:
    """What had been seen until then stays in the account of a call that goes on without it; a call
    that begins afterwards has none."""
    kernel, core = Kernel(), service.core
    core.counts.scheduled.start(kernel.read)
    first = await service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
    kernel.scheduled[core.registry.calls[first.id].cgroup.id] = ran(5)
    service._sampling.tick()
    core.counts.scheduled.stop()
    second = await service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
    service._sampling.tick()
    for call, counted in ((first, ran(5)), (second, None)):
        ended = service.calls.end(ROOT, call.id, EndCall(exit_status=0))
        assert ended.account.scheduled == counted
