# SPDX-License-Identifier: Apache-2.0
"""Which calls wait for room, how long, and what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from agentcg.daemon.engine import (
    Admit,
    CallRequest,
    CallView,
    Decision,
    HostView,
    SessionView,
    Wait,
    committed_bytes,
    grant,
    room_bytes,
)
from agentcg.daemon.messages import Grant
from agentcg.policies import DEFAULT, Policy, load

GIB = 1 << 30
MIB = 1 << 20
LOW = SessionView(name="low", priority="low")
# 1,000M for all sessions, 50M kept free, 750M promised to one running call: 200M of room.
BUSY = HostView(
    memory_total_bytes=8 * GIB,
    memory_max_bytes=1000 * MIB,
    reserve_bytes=50 * MIB,
    committed_bytes=750 * MIB,
    calls_running=1,
)
NEEDY = CallRequest("Bash", memory_bytes=300 * MIB, wait_s=10.0)


def decide(
    request: CallRequest = NEEDY,
    *,
    host: HostView = BUSY,
    session: SessionView = LOW,
    policy: Policy = DEFAULT,
) -> Decision:
    """The decision on `request`."""
    return grant(policy, host, session, request, (), 0.0)


def running(need: int, held: int = 0, state: str = "running") -> CallView:
    """A call with this need that holds so much."""
    its = Grant(
        memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
        source="default", reason="", memory_need_bytes=need,
    )  # fmt: skip
    return CallView("c", "test", state, 0.0, its, held)  # type: ignore[arg-type]


def test_a_call_waits_for_the_room_it_needs() -> None:
    """The answer says what is needed, what is free, and how long it may take."""
    decision = decide()
    assert isinstance(decision, Wait)
    assert (decision.need_bytes, decision.room_bytes) == (300 * MIB, 200 * MIB)
    assert decision.wait_s == 10.0
    assert "needs 300M and 200M are free" in decision.reason


@pytest.mark.parametrize(
    "case",
    [
        {"session": replace(LOW, priority="high")},
        {"host": replace(BUSY, calls_running=0)},
        {"host": replace(BUSY, committed_bytes=650 * MIB)},
        {"request": replace(NEEDY, memory_bytes=200 * MIB)},
        {"request": replace(NEEDY, wait_s=0.0)},
        {"request": replace(NEEDY, waited_s=10.0)},
    ],
    ids=["high priority", "alone", "room", "small need", "no patience", "waited enough"],
)
def test_what_does_not_wait(case: dict[str, object]) -> None:
    """Any one of these is enough for a call to go ahead."""
    assert isinstance(decide(**case), Admit)  # type: ignore[arg-type]


def test_the_policy_says_who_waits_and_how_long(tmp_path: Path) -> None:
    """A priority that is not listed never waits; wait_max caps the caller's patience."""
    (tmp_path / "a.yaml").write_text("version: 1\nadmission: {wait: low, wait_max: 4s}\n")
    policy = load(tmp_path)
    assert isinstance(decide(policy=policy, session=replace(LOW, priority="normal")), Admit)
    decision = decide(policy=policy, request=replace(NEEDY, waited_s=1.0))
    assert isinstance(decision, Wait)
    assert decision.wait_s == 3.0
    assert isinstance(decide(policy=policy, request=replace(NEEDY, waited_s=4.0)), Admit)


def test_a_sessions_own_bound_makes_its_calls_wait_for_each_other() -> None:
    """Room is the smaller of the host's and the session's; alone in it, nothing waits."""
    free = replace(BUSY, committed_bytes=0)
    crowded = SessionView("s", "low", memory_max_bytes=500 * MIB, calls=(running(300 * MIB),))
    decision = decide(host=free, session=crowded)
    assert isinstance(decision, Wait)
    assert decision.room_bytes == room_bytes(free, crowded) == 200 * MIB
    empty = replace(crowded, calls=(), runtime_held_bytes=400 * MIB)
    assert isinstance(decide(host=free, session=empty), Admit)


def test_a_call_that_waited_is_told_what_came_of_it() -> None:
    """`waited` where room came, `no-room` where patience ended; nothing if it did not wait."""
    late = replace(NEEDY, waited_s=10.0)
    codes = []
    for host, request in (
        (replace(BUSY, committed_bytes=0), late),
        (BUSY, late),
        (BUSY, replace(NEEDY, wait_s=0)),
    ):
        decision = decide(request, host=host)
        assert isinstance(decision, Admit)
        assert decision.grant.waited_s == request.waited_s
        codes.append([told.code for told in decision.feedback])
    assert codes == [["waited"], ["no-room"], []]


def test_committed_is_what_is_held_or_promised() -> None:
    """A running call counts with the larger of need and use, a lingering one with its use."""
    sessions = [
        SessionView("a", "high", runtime_held_bytes=200, calls=(running(50, 10), running(50, 80))),
        SessionView("b", "low", runtime_held_bytes=100, calls=(running(50, 7, "lingering"),)),
    ]
    assert committed_bytes(sessions) == 200 + 50 + 80 + 100 + 7


def test_three_agents_under_one_limit() -> None:
    """High and low test calls under 1,100M: the second low call waits instead of an OOM kill."""
    agents = 300 * MIB
    host = HostView(
        8 * GIB, 1100 * MIB, reserve_bytes=55 * MIB, committed_bytes=agents + 321 * MIB + 250 * MIB,
        calls_running=2,
    )  # fmt: skip
    request = CallRequest("Bash", "python -m pytest", wait_s=30)
    assert isinstance(decide(request, host=host), Wait)
