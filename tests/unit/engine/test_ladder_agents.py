# SPDX-License-Identifier: Apache-2.0
"""How far agents may grow by themselves while room is short; 1000 MiB for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine.ladder_agents import AgentLeases, is_due, lend
from agentcg.daemon.engine.ladder_model import TUNING, Load, SessionLoad
from agentcg.daemon.messages import Priority

MIB = 1 << 20
BOUND = 1000 * MIB
KEPT = 20  # MiB, where high priority held no more before than now


def agent(
    name: str, held: int, lease: int | None = None, *, met: bool = False,
    priority: Priority = "low", peak: int = 0, weight: float = 100, steps: str = "throttle",
) -> SessionLoad:  # fmt: skip
    return SessionLoad(
        name, priority, runtime_held_bytes=held * MIB, runtime_current_bytes=held * MIB,
        peak_bytes=peak * MIB, weight=weight, steps=frozenset({steps}),
        runtime_lease_bytes=None if lease is None else lease * MIB, runtime_met=met,
    )  # fmt: skip


def lent(
    *sessions: SessionLoad, due: bool = True, waited_s: float | None = None, swap_free: int = 0
) -> AgentLeases:
    held = sum(session.held_bytes for session in sessions)
    load = Load(BOUND, held, held, 0.0, swap_free, sessions)
    waiting = {} if waited_s is None else {session.name: 100.0 for session in sessions}
    return lend(load, due, waiting, 100.0 + (waited_s or 0.0), TUNING)


def mib(found: AgentLeases) -> dict[str, int | None]:
    return {name: size and size // MIB for name, size in found.leases.items()}


def test_with_room_nobody_has_a_lease() -> None:
    """Those who had one lose it."""
    found = lent(agent("a", 300, 400), agent("b", 300), due=False)
    assert mib(found) == {"a": None}


def test_leases_begin_at_twice_the_room_of_reclaim() -> None:
    """Below 40% of room, and end at half of the bound."""
    loads = [Load(BOUND, held * MIB, held * MIB) for held in (400, 550, 650)]
    assert [is_due(load, False, TUNING) for load in loads] == [False, False, True]
    assert [is_due(load, True, TUNING) for load in loads] == [False, True, True]


def test_an_agent_may_take_half_of_what_is_left_to_it() -> None:
    """850 MiB are held and 20 kept, so 130 are left; high priority is not bounded."""
    found = lent(agent("a", 400), agent("b", 350), agent("h", 100, priority="high"))
    assert mib(found) == {"a": 465, "b": 415}
    assert not found.waiting


def test_a_lease_that_will_do_is_left_alone() -> None:
    """Neither more than the room nor less than a quarter of it is left by it."""
    assert mib(lent(agent("a", 850, 930))) == {}
    assert mib(lent(agent("a", 850, 870))) == {"a": 915}
    assert mib(lent(agent("a", 850, 990))) == {"a": 915}


def test_who_meets_its_lease_is_given_half_of_the_rest() -> None:
    """First the larger weight, the next one half of what that leaves."""
    found = lent(agent("a", 400, 400, met=True), agent("b", 450, 450, met=True, weight=200))
    assert mib(found) == {"b": 515, "a": 432}


def test_what_high_priority_held_of_late_is_kept_for_it() -> None:
    """Half of it: the agent of low priority waits although 70 MiB are free."""
    high = agent("h", 350, priority="high", peak=480)
    found = lent(high, agent("a", 580, 580, met=True))
    assert mib(found) == {}
    assert found.waiting == {"a": 100.0}


def test_who_creeps_on_while_it_waits_is_slowed_as_much_as_the_kernel_can() -> None:
    """9 MiB of the 20 kept are left. With swap it goes on by what the kernel takes of it."""
    creeps, high = agent("a", 691, 680, met=True), agent("h", 300, priority="high")
    assert mib(lent(creeps, high)) == {"a": 575}
    slowed = lent(agent("a", 692, 575), high, waited_s=1)
    assert mib(slowed) == {}
    assert slowed.waiting == {"a": 100.0}  # and has not to begin anew
    assert mib(lent(agent("a", 689, 680, met=True), high)) == {}
    assert mib(lent(creeps, high, swap_free=BOUND)) == {}


def test_waiting_is_bounded() -> None:
    """Half a minute for others' headroom; two minutes where nobody is left who could end: then the
    kernel decides."""
    high, low = agent("h", 350, priority="high", peak=480), agent("a", 580, 580, met=True)
    assert mib(lent(high, low, waited_s=29)) == {}
    assert mib(lent(high, low, waited_s=30)) == {"a": 602}
    assert mib(lent(high, low, waited_s=119)) == {"a": 602}
    assert lent(low, agent("b", 420, 420, met=True), waited_s=120).leases["a"] is None
    both = (low, agent("b", 420, 420, met=True), agent("empty", 0))
    load, since = Load(BOUND, BOUND, BOUND, 0.0, 0, both), {"a": 100.0, "b": 100.0}
    assert lend(load, True, since, 220.0, TUNING).leases["a"] is None
    first = {"a": 100.0}
    load = Load(BOUND, 1000 * MIB, 0, 0.0, 0, (low, agent("b", 420)))
    assert lend(load, True, first, 220.0, TUNING).leases.get("a") is not None


def test_only_the_first_in_line_is_let_go() -> None:
    """The second one waits until it is first."""
    first, second = agent("a", 500, 500, met=True), agent("b", 485, 485, met=True)
    found = lent(first, second, waited_s=200)
    assert mib(found) == {"a": None}
    assert set(found.waiting) == {"a", "b"}


def test_who_may_not_be_throttled_has_no_lease() -> None:
    """A policy that forbids to throttle calls means the agent, too."""
    assert mib(lent(agent("a", 900, steps="kill"))) == {}


@given(st.lists(st.integers(1, 450), min_size=1, max_size=2))
def test_two_agents_that_use_up_their_leases_do_not_reach_the_bound(held: list[int]) -> None:
    """What is kept is left, whatever both take before the next look."""
    agents = [agent(str(number), size) for number, size in enumerate(held)]
    leases = lent(*agents).leases
    most = sum(leases.get(a.name) or 0 for a in agents)
    assert most <= BOUND - KEPT * MIB + 2 * TUNING.lease_step_bytes
