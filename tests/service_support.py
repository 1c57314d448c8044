# SPDX-License-Identifier: Apache-2.0
"""The service without a socket, on a clock of the test's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agentcg.daemon.messages import OpenSession
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from cgroup_support import own_cgroup
from support.clock import OwnClock

ROOT = Peer(uid=0, pid=os.getpid(), admin=True, locate=lambda: None)


class Running:
    """A started service with session "a", and a clock that moves when told to."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.clock = OwnClock(service.core.clock())
        service.core.clock = self.clock

    def later(self, seconds: float) -> None:
        """Let time pass, and have the daemon look."""
        self.clock.later(seconds)
        self.service._sampling.tick()


@asynccontextmanager
async def running_service(directory: Path) -> AsyncIterator[Running]:
    """Stopped, and its cgroups removed, at the end."""
    with own_cgroup() as parent:
        root = Root.open(parent.path / "sessions", frozenset())
        service = Service(root, PolicyInForce(directory), pins=None)
        service.start()
        await service.sessions.open(ROOT, OpenSession(name="a"))
        yield Running(service)
        await service.stop()
