# SPDX-License-Identifier: Apache-2.0
"""Tracing of a session: who may, one at a time, and until when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.bpf.turns import Turn
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.scheduler.tracing import Tracing
from agentcg.errors import Conflict, Forbidden

ROOT, ALICE = (Peer(uid, 1, uid == 0, lambda: None) for uid in (0, 1000))
CALL = 7


def turn(cgroup_id: int) -> Turn:
    return Turn(cgroup_id, 12, "cc", 1, 10**9, 4_000, 9_000, 0, boosted=True)


class Scheduler:
    """What it has traced so far, and which cgroup it traces now."""

    def __init__(self) -> None:
        self.turns = self
        self.traced: int | None = None
        self.found: list[Turn] = []
        self.lost = 5

    def trace(self, cgroup_id: int | None) -> None:
        self.traced = cgroup_id

    def read(self) -> list[Turn]:
        return self.found

    def stats(self) -> Any:
        return SimpleNamespace(events_lost=self.lost)


def tracing(scheduler: Any = None) -> tuple[Tracing, Any]:
    """Of sessions that all are the same one."""
    call = SimpleNamespace(id="k3f9", cgroup=SimpleNamespace(id=CALL))
    session = SimpleNamespace(
        name="reviewer", cgroup=SimpleNamespace(id=3), closed=False, calls={"k3f9": call}
    )
    core: Any = SimpleNamespace(authorised=lambda *_: session)
    made = Tracing(core)
    if scheduler is not None:
        made.start(scheduler)
    return made, session


def test_turns_are_told_with_their_call_and_what_was_lost() -> None:
    """Of the session's own tasks there is no call; what was lost before is no news."""
    scheduler = Scheduler()
    made, _ = tracing(scheduler)
    with made.of(ROOT, "reviewer") as trace:
        assert scheduler.traced == 3
        scheduler.found, scheduler.lost = [turn(CALL), turn(4)], 7
        told = trace.take()
        assert told is not None
        assert [(one.call, one.lost) for one in told] == [("k3f9", 2), (None, 0)]
        assert (told[0].waited_us, told[0].ran_us, told[0].delayed_us) == (4, 9, 0)
    assert scheduler.traced is None


def test_what_is_lost_waits_for_a_turn_to_be_told_with() -> None:
    """A look that finds the loss and no turn does not swallow it."""
    scheduler = Scheduler()
    made, _ = tracing(scheduler)
    with made.of(ROOT, "reviewer") as trace:
        scheduler.lost = 8
        assert trace.take() == []
        scheduler.found = [turn(CALL)]
        told = trace.take()
        assert told is not None
        assert [one.lost for one in told] == [3]


def test_it_is_for_operators_and_one_at_a_time() -> None:
    """A session's own user may not; while one is traced another is refused, afterwards not."""
    made, _ = tracing(Scheduler())
    with pytest.raises(Forbidden, match="uid 1000 may not trace"), made.of(ALICE, "reviewer"):
        pass
    for _ in range(2):
        with (
            made.of(ROOT, "reviewer"),
            pytest.raises(Conflict, match="'reviewer' is traced already"),
            made.of(ROOT, "reviewer"),
        ):
            pass


def test_it_ends_with_the_scheduler_and_with_the_session() -> None:
    """And without a scheduler it does not begin; one that is gone is not spoken to."""
    scheduler = Scheduler()
    made, session = tracing(scheduler)
    with made.of(ROOT, "reviewer") as trace:
        assert trace.take() == []
        session.closed = True
        assert trace.take() is None
    session.closed = False
    with made.of(ROOT, "reviewer") as trace:
        made.stop()
        assert trace.take() is None
    assert scheduler.traced == 3
    with pytest.raises(Conflict, match="not in charge"), made.of(ROOT, "reviewer"):
        pass
