# SPDX-License-Identifier: Apache-2.0
"""Processes on their way into a session: when it is closed, and when who asked leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agentcg.cgroups import Cgroup
from agentcg.daemon.messages import BeginCall, OpenSession
from agentcg.daemon.service import bounds
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import Conflict, InvalidInput
from cgroup_support import process
from service_support import ROOT, Running, running_service
from support.descriptors import open_files


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_service(tmp_path) as it:
        yield it


async def moving(session: LiveSession, *, wanted: bool) -> None:
    """Wait until a process is on its way into `session`, or none is any more."""
    async with asyncio.timeout(30):
        while bool(session.placing) is not wanted:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


async def test_closing_with_kill_takes_what_is_still_on_its_way(running: Running) -> None:
    """A process whose move is queued when the session is closed dies with the session."""
    service = running.service
    session = service.core.registry.session("a")
    gate = threading.Event()
    service._mover.quick = False
    service._mover._thread.submit(gate.wait)  # moves queue behind this
    with process() as child:
        begin = asyncio.create_task(
            service.calls.begin(ROOT, "a", BeginCall(tool="Bash", pid=child.pid))
        )
        await moving(session, wanted=True)
        with pytest.raises(Conflict, match="still has"):
            await service.sessions.close(ROOT, "a", kill=False)
        close = asyncio.create_task(service.sessions.close(ROOT, "a", kill=True))
        await asyncio.sleep(0)
        with pytest.raises(Conflict, match="being closed"):
            await service.sessions.open(ROOT, OpenSession(name="a", pids=[child.pid]))
        gate.set()
        await close
        await asyncio.gather(begin, return_exceptions=True)
        assert child.wait() == -signal.SIGKILL
    assert not (service.core.root.cgroup.path / "a").exists()


async def test_closing_waits_while_killed_processes_get_fewer(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are; only if none of them ends for a while it gives up and says so."""
    monkeypatch.setattr(bounds, "CLOSE_STUCK_S", 0.3)
    service = running.service
    session = service.core.registry.session("a")
    with ExitStack() as stack:
        children = [stack.enter_context(process()) for _ in range(4)]
        for child in children:
            session.runtime.place(child.pid)
        monkeypatch.setattr(Cgroup, "kill", lambda _: None)
        with pytest.raises(Conflict, match="4 processes, no fewer than"):
            await service.sessions.close(ROOT, "a", kill=True)
        assert not session.closing
        due = iter(children)
        begun = time.monotonic()

        def slowly(_: Cgroup) -> None:
            time.sleep(0.1)
            child = next(due, None)
            if child is not None:
                child.kill()
                child.wait()

        monkeypatch.setattr(Cgroup, "kill", slowly)
        await service.sessions.close(ROOT, "a", kill=True)
    assert time.monotonic() - begun > bounds.CLOSE_STUCK_S
    assert "a" not in service.core.registry.sessions


async def test_caller_that_leaves_while_its_process_queues_leaks_nothing(running: Running) -> None:
    """The move is made all the same, and its descriptors are closed."""
    service = running.service
    session = service.core.registry.session("a")
    gate = threading.Event()
    service._mover.quick = False
    service._mover._thread.submit(gate.wait)
    with process() as child:
        begin = asyncio.create_task(
            service.calls.begin(ROOT, "a", BeginCall(tool="Bash", pid=child.pid))
        )
        await moving(session, wanted=True)
        begin.cancel()
        await asyncio.gather(begin, return_exceptions=True)
        before = open_files()
        gate.set()
        await moving(session, wanted=False)
        after = open_files()
        assert len(before - after) >= 2
        assert after - before == set()
        (call,) = session.calls.values()
        assert call.cgroup.procs() == [child.pid]


async def test_where_moving_is_quick_no_thread_does_it(running: Running) -> None:
    """With `favordynmods` a process is in its leaf at once; one that has ended is an error, and a
    session that is being closed takes none."""
    service = running.service
    session = service.core.registry.session("a")
    service._mover.quick = True
    service._mover._thread.shutdown()  # whoever asks it fails
    with process() as child:
        call = await service.calls.begin(ROOT, "a", BeginCall(tool="Bash", pid=child.pid))
        leaf = session.calls[call.id].cgroup
        assert leaf.procs() == [child.pid]
        pidfd = os.pidfd_open(child.pid)
        child.kill()
        child.wait()
        with pytest.raises(InvalidInput, match="can be moved"):
            service._mover.place_now(session, leaf, pidfd, child.pid)
        session.closing = True
        with pytest.raises(Conflict, match="being closed"):
            service._mover.place_now(session, leaf, pidfd, child.pid)
        session.closing = False
        os.close(pidfd)
