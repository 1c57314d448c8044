# SPDX-License-Identifier: Apache-2.0
"""What comes along with an agent that is brought into a session of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.cgroups import find_mount
from agentcg.daemon.messages import OpenSession
from agentcg.daemon.service.detection import adopting as module
from agentcg.daemon.service.detection.adopting import Adopting
from agentcg.daemon.service.host.peers import Peer

AGENT, SHELL, CALL, OTHER, CONTAINED, GONE = range(100, 106)
MOUNT = str(find_mount().path)
ROOT = f"{MOUNT}/root"
PLACES = {
    SHELL: f"{MOUNT}/user.slice/session-1.scope",
    CALL: f"{ROOT}/build/call-abcd",
    OTHER: f"{ROOT}/other/runtime",
    CONTAINED: f"{MOUNT}/user.slice/libpod-{'a' * 64}.scope/container",
}


async def test_what_lives_in_a_domain_of_its_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of another session that the agent began, and its containers, keep their limits."""
    moved: list[int] = []
    session: Any = SimpleNamespace(name="agent", runtime=SimpleNamespace(procs=lambda: [AGENT]))

    async def open_session(_: Peer, request: OpenSession) -> None:
        moved.extend(request.pids)

    children = [SHELL, CALL, OTHER, CONTAINED, GONE]
    monkeypatch.setattr(
        module.procfs, "descendants", lambda _: [one for one in children if one not in moved]
    )
    monkeypatch.setattr(module, "cgroup_of", lambda pid, _: PLACES.get(pid))
    core: Any = SimpleNamespace(
        registry=SimpleNamespace(session=lambda _: session),
        root=SimpleNamespace(cgroup=SimpleNamespace(path=Path(ROOT))),
    )
    sessions: Any = SimpleNamespace(open=open_session)
    peer, signatures = Peer(1000, AGENT, False, lambda: None), SimpleNamespace()
    request = OpenSession(name="agent", pids=[AGENT])
    await Adopting(core, sessions, signatures).take(peer, request, AGENT, closes=False)  # type: ignore[arg-type]
    assert moved == [AGENT, SHELL]


class Tree:
    """Sessions, by whether something lives in them, and those that were closed."""

    def __init__(self) -> None:
        self.now, self.closed = 0.0, list[str]()
        self.sessions: dict[str, Any] = {}
        core: Any = SimpleNamespace(
            registry=SimpleNamespace(sessions=self.sessions), clock=lambda: self.now
        )
        self.adopting = Adopting(core, self, SimpleNamespace())  # type: ignore[arg-type]

    async def close(self, _: Peer, name: str, *, kill: bool) -> None:
        assert not kill
        self.closed.append(name)
        del self.sessions[name]

    def add(self, name: str, *, populated: bool = False, calls: int = 0, **record: bool) -> None:
        events = SimpleNamespace(populated=populated)
        self.sessions[name] = SimpleNamespace(
            name=name, placing=0, closing=False, active_at=0.0, phase_since=0.0,
            calls_running=calls, cgroup=SimpleNamespace(events=lambda: events),
            record=SimpleNamespace(**{"adopted": False, "distant": False, **record}),
        )  # fmt: skip


async def test_sessions_of_agents_that_are_gone_are_closed() -> None:
    """With the last process where there was one; after a day of silence where the agent lived
    elsewhere and ended without a word. Others stay."""
    tree = Tree()
    tree.add("adopted", adopted=True)
    tree.add("alive", adopted=True, populated=True)
    tree.add("silent", distant=True)
    tree.add("heard", distant=True)
    tree.add("busy", distant=True, calls=1)
    tree.add("by-hand")
    await tree.adopting.tick()
    assert tree.closed == ["adopted"]
    tree.sessions["heard"].phase_since = tree.now = 86_401.0
    await tree.adopting.tick()
    assert tree.closed == ["adopted", "silent"]
