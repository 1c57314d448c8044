# SPDX-License-Identifier: Apache-2.0
"""The scheduler favours the sessions of high priority."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agentcg.daemon.service.scheduler.favours import Favours
from agentcg.errors import BpfError


class Kernel:
    """A backend that remembers what it was told."""

    def __init__(self) -> None:
        self.favoured: set[int] = set()
        self.writes = 0
        self.full = False

    def favour(self, cgroup_id: int, on: bool) -> None:
        if self.full:
            raise BpfError("no room")
        self.writes += 1
        (self.favoured.add if on else self.favoured.remove)(cgroup_id)


def a_session(number: int, priority: str) -> Any:
    return SimpleNamespace(
        cgroup=SimpleNamespace(id=number), record=SimpleNamespace(priority=priority)
    )


def test_sessions_of_high_priority_are_favoured_while_they_are_there() -> None:
    """Those and no others; the kernel is told of changes alone."""
    kernel = Kernel()
    favours = Favours(kernel)
    favours.follow([a_session(1, "high"), a_session(2, "normal"), a_session(3, "low")])
    favours.follow([a_session(1, "high"), a_session(2, "high")])
    favours.follow([a_session(1, "high"), a_session(2, "high")])
    assert kernel.favoured == {1, 2}
    favours.follow([a_session(1, "low")])
    assert kernel.favoured == set()
    assert kernel.writes == 4


def test_a_refusal_is_tried_again() -> None:
    """A full map costs a session nothing else, and ends by itself."""
    kernel = Kernel()
    favours = Favours(kernel)
    kernel.full = True
    favours.follow([a_session(1, "high")])
    kernel.full = False
    favours.follow([a_session(1, "high")])
    assert kernel.favoured == {1}
