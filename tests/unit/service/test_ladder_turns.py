# SPDX-License-Identifier: Apache-2.0
"""When the ladder looks, beside all else that the daemon does."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from agentcg.daemon.service.enforce.ladder import Ladder

ENOUGH = 1000


class Pressing:
    """There is news at each look, so that the next one is asked for before it is over."""

    def __init__(self) -> None:
        self.looks = 0
        self.second = asyncio.Event()
        self.ladder: Any = None

    def root(self) -> None:
        self.looks += 1
        if self.looks < ENOUGH:
            self.ladder.wake()
        if self.looks == 2:
            self.second.set()


async def test_looks_without_end_leave_room_for_requests() -> None:
    """Between two of them everybody else has a turn."""
    loads = Pressing()
    policy = SimpleNamespace(policy=SimpleNamespace(ladder=SimpleNamespace(enabled=True)))
    core: Any = SimpleNamespace(policy=policy, enforceable=lambda limits: limits)
    grants: Any = SimpleNamespace(leases=SimpleNamespace())
    ladder = loads.ladder = Ladder(core, grants, loads)  # type: ignore[arg-type]
    running = asyncio.create_task(ladder.run())
    ladder.wake()
    await loads.second.wait()
    assert loads.looks < ENOUGH
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
