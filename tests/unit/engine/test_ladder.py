# SPDX-License-Identifier: Apache-2.0
"""Each rung of the ladder, by example: 1000 MiB for all sessions."""

from __future__ import annotations

from dataclasses import replace

from agentcg.daemon.engine.ladder import decide
from agentcg.daemon.engine.ladder_model import (
    TUNING,
    CallLoad,
    Level,
    Load,
    SessionLoad,
    State,
    Verdict,
)
from agentcg.daemon.engine.ladder_words import killed

MIB = 1 << 20
BOUND = 1000 * MIB


def call(name: str, held: int, *, begun_at: float = 0.0, granted: int = 64) -> CallLoad:
    return CallLoad(name, begun_at, True, held * MIB, granted * MIB, 500 * MIB, 0)


HIGH = SessionLoad("high", "high", calls=(call("h", 200, granted=400),))
LOW = SessionLoad(
    "low", "low",
    calls=(call("a", 150, begun_at=1), call("b", 200, begun_at=2), call("c", 100, begun_at=3)),
)  # fmt: skip
WAITING = SessionLoad(
    "waiting", "normal", "thinking",
    runtime_held_bytes=50 * MIB, runtime_current_bytes=150 * MIB, runtime_low_bytes=80 * MIB,
)  # fmt: skip


def load(room: int, *sessions: SessionLoad, swap: int = 0) -> Load:
    held = BOUND - room * MIB
    return Load(BOUND, held, held, 0.0, swap * MIB, sessions or (HIGH, LOW))


def steps(verdict: Verdict) -> list[tuple[str, str]]:
    return [(a.kind, a.call or a.session) for a in verdict.actions if a.kind != "protect"]


def climb(*rooms: int, start: State | None = None, swap: int = 0) -> list[list[tuple[str, str]]]:
    """What is done at each of these rooms, two seconds apart."""
    state, done = start or State(), []
    for number, room in enumerate(rooms):
        verdict = decide(load(room, swap=swap), state, 2.0 * number)
        state = verdict.state
        done.append(steps(verdict))
    return done


def test_nothing_happens_while_there_is_room() -> None:
    """With plenty free there is no action, nothing to remember, and no clock to look by."""
    verdict = decide(load(600), State(), 1.0)
    assert (verdict.actions, verdict.state, verdict.look_in_s) == ((), State(), None)


def test_watches_more_closely_as_room_shrinks() -> None:
    """The clock runs from twice the room at which the ladder begins."""
    assert decide(load(350), State(), 1.0).look_in_s == TUNING.look_near_s
    assert decide(load(150), State(), 1.0).look_in_s == TUNING.look_s


def test_high_priority_is_protected_by_demand() -> None:
    """What a session of high priority holds is protected while room is short, and not after."""
    short = decide(load(150), State(), 0.0)
    (protect,) = [a for a in short.actions if a.kind == "protect"]
    assert (protect.session, protect.size_bytes) == ("high", 192 * MIB)
    relaxed = decide(load(500), short.state, 1.0)
    assert [(a.kind, a.size_bytes) for a in relaxed.actions] == [("protect", 0)]
    assert relaxed.state == State()


def test_agents_that_wait_are_reclaimed_first() -> None:
    """Before anybody is throttled, a thinking agent gives back what nothing protects."""
    verdict = decide(load(180, HIGH, LOW, WAITING), State(), 0.0)
    (action,) = [a for a in verdict.actions if a.kind == "reclaim"]
    assert (action.session, action.call, action.size_bytes) == ("waiting", None, 64 * MIB)
    assert not [a for a in verdict.actions if a.kind in ("throttle", "freeze", "kill")]
    assert "180M of 1.0G free" in action.reason


def test_reclaim_that_yields_nothing_is_asked_for_less_often() -> None:
    """Once a second, then every two, four ... while the agent gives nothing back."""
    state, asked = State(), []
    for tenth in range(160):
        verdict = decide(load(180, HIGH, WAITING), state, tenth / 10)
        state = verdict.state
        asked += [tenth / 10 for a in verdict.actions if a.kind == "reclaim"]
    assert asked == [0.0, 1.0, 3.0, 7.0, 15.0]


def test_calls_over_their_grant_are_throttled_at_what_they_hold() -> None:
    """The largest overshoot first; who is within the grant is left alone, high always."""
    within = SessionLoad("within", "low", calls=(call("w", 60),))
    verdict = decide(load(35, HIGH, LOW, within), State(), 0.0)
    assert steps(verdict) == [("throttle", "b"), ("throttle", "a"), ("throttle", "c")]
    action = next(a for a in verdict.actions if a.call == "b")
    assert action.size_bytes == 200 * MIB
    assert action.reason == "35M of 1.0G free: held 200M of 64M granted; slowed beyond 200M"
    assert action.rule == "ladder: throttle below 4% of room"
    assert (action.inputs.room_bytes, action.inputs.held_bytes) == (35 * MIB, 200 * MIB)


def test_a_call_at_its_own_limit_counts_as_throttled() -> None:
    """The kernel slows it already: its limit stays, and its time under throttle begins."""
    slowed = replace(LOW, calls=(replace(LOW.calls[1], limit_bytes=96 * MIB),))
    (action,) = [a for a in decide(load(35, HIGH, slowed), State(), 0.0).actions if a.call]
    assert (action.kind, action.size_bytes) == ("throttle", 96 * MIB)


def test_what_throttling_does_not_help_is_frozen_the_oldest_last() -> None:
    """The youngest call is frozen first."""
    throttled, frozen = climb(35, 20)
    assert {kind for kind, _ in throttled} == {"throttle"}
    assert frozen == [("freeze", "c"), ("freeze", "b"), ("freeze", "a")]


def test_one_call_is_killed_at_a_time_the_largest_overshoot_first() -> None:
    """Only after everything gentler, and only one before the next look."""
    assert climb(35, 20, 8, 8)[2:] == [[("kill", "b")], [("kill", "a")]]


def test_nobody_is_killed_while_another_can_still_be_slowed() -> None:
    """A call that was let go a moment ago is not throttled yet; until it can be, a frozen one
    is not killed in its stead."""
    two = replace(LOW, calls=LOW.calls[:2])
    frozen = decide(load(20, HIGH, two), decide(load(35, HIGH, two), State(), 0.0).state, 2.0)
    alone = decide(load(20, two), frozen.state, 4.0)
    assert steps(alone) == [("thaw", "a"), ("unthrottle", "a")]
    again = decide(load(8, HIGH, two), alone.state, 4.1)
    assert steps(again) == []
    assert steps(decide(load(8, HIGH, two), again.state, 5.0)) == [("throttle", "a")]


def test_a_killed_call_is_not_killed_again() -> None:
    """Its processes may take a while to be gone; the next in order is another one."""
    assert climb(35, 20, 8, 8, 8, 8)[3:] == [[("kill", "a")], [("kill", "c")], []]


def test_calls_are_thawed_in_order_and_then_get_their_limits_back() -> None:
    """The oldest first, one at a time while room is still short."""
    done = climb(35, 20, 200, 200, 200, 200)
    assert [[(k, c) for k, c in look if k == "thaw"] for look in done[2:5]] == [
        [("thaw", "a")], [("thaw", "b")], [("thaw", "c")]
    ]  # fmt: skip
    assert [s for look in done[2:] for s in look if s[0] == "unthrottle"] == [
        ("unthrottle", "a"), ("unthrottle", "b"), ("unthrottle", "c")
    ]  # fmt: skip


def test_all_are_thawed_at_once_when_there_is_plenty() -> None:
    """When the call of high priority has ended, nobody waits any longer than needed."""
    done = climb(35, 20, 600, 600)
    assert [c for k, c in done[2] if k == "thaw"] == ["a", "b", "c"]
    assert [c for k, c in done[3] if k == "unthrottle"] == ["a", "b", "c"]


def test_the_last_to_run_is_not_frozen() -> None:
    """Among calls of one priority the oldest goes on, so that one ends and makes room."""
    same = replace(LOW, calls=tuple(replace(c, granted_bytes=128 * MIB) for c in LOW.calls))
    state, done = State(), []
    for number, room in enumerate((35, 20, 20)):
        verdict = decide(load(room, same), state, 2.0 * number)
        state = verdict.state
        done += steps(verdict)
    assert {c for k, c in done if k == "freeze"} == {"b", "c"}
    assert not {c for _, c in done} & {"a"}


def test_a_runaway_does_not_come_first() -> None:
    """Though it is the oldest: it holds more than twice its grant, and others do not."""
    runaway = replace(LOW, calls=(call("a", 300), call("b", 120, begun_at=1)))
    assert steps(decide(load(35, runaway), State(), 0.0)) == [("throttle", "a")]


def test_a_call_alone_is_only_killed_at_the_very_end() -> None:
    """Nobody else could run meanwhile, so slowing it would help nobody."""
    alone = SessionLoad("low", "low", calls=(call("a", 900),))
    assert decide(load(20, alone), State(), 0.0).actions == ()
    assert steps(decide(load(8, alone), State(), 1.0)) == [("kill", "a")]


def test_high_priority_is_acted_on_only_where_there_is_nobody_else() -> None:
    """Two calls of high priority alone: then the younger is throttled and frozen."""
    both = SessionLoad("high", "high", calls=(call("h", 300), call("i", 300, begun_at=1)))
    first = decide(load(20, both), State(), 0.0)
    second = decide(load(20, both), first.state, 2.0)
    assert steps(first) == [("throttle", "i")]
    assert steps(second) == [("freeze", "i")]
    third = decide(load(20, both, LOW), second.state, 2.5)
    assert [s for s in steps(third) if s[1] == "i"] == [("thaw", "i"), ("unthrottle", "i")]


def test_a_call_without_progress_under_throttle_moves_on() -> None:
    """It meets its limit again and again and neither grows nor shrinks: it is frozen."""
    state, done = State(), []
    for second in range(8):
        stuck = replace(LOW, calls=(replace(LOW.calls[1], high_events=1000 * second),))
        verdict = decide(load(35, HIGH, stuck), state, float(second))
        state = verdict.state
        done += [(second, kind) for kind, _ in steps(verdict)]
    assert done == [(0, "throttle"), (5, "freeze")]


def test_stalls_alone_throttle_and_do_no_more() -> None:
    """Where all of the bound is charged and tasks wait for memory, calls over their grant are
    slowed though there is page cache to take."""
    full = replace(load(300), current_bytes=BOUND, stall_percent=40.0)
    first = decide(full, State(), 0.0)
    assert {kind for kind, _ in steps(first)} == {"throttle"}
    assert steps(decide(full, first.state, 2.0)) == []
    charged_less = replace(full, current_bytes=BOUND // 2)
    assert decide(charged_less, State(), 0.0).state.level == Level.RELAXED


def test_swap_gives_reclaim_time_before_a_kill() -> None:
    """With swap a frozen call is reclaimed from, and killed later than without."""
    first = decide(load(35, swap=900), State(), 0.0)
    frozen = decide(load(20, swap=900), first.state, 2.0)
    assert "can go to swap" in frozen.actions[-1].reason
    later = decide(load(8, swap=900), frozen.state, 2.1)
    assert {kind for kind, _ in steps(later)} == {"reclaim"}
    assert steps(decide(load(8, swap=900), later.state, 2.7)) == []
    without = decide(load(8), decide(load(20), first.state, 2.0).state, 2.7)
    assert steps(without) == [("kill", "b")]


def test_frozen_for_ever_is_not_an_answer() -> None:
    """After two minutes without room one frozen call makes way for the others."""
    first = decide(load(35), State(), 0.0)
    frozen = decide(load(20), first.state, 2.0)
    assert steps(decide(load(35), frozen.state, 121.0)) == []
    assert steps(decide(load(35), frozen.state, 122.0)) == [("kill", "b")]


def test_who_is_gone_is_forgotten() -> None:
    """The state holds nothing of calls that have ended."""
    first = decide(load(35), State(), 0.0)
    assert set(first.state.marks) == {"a", "b", "c"}
    assert not decide(load(35, HIGH), first.state, 1.0).state.marks


def test_the_agent_of_a_killed_call_is_told_why() -> None:
    """Whose deed it was, in numbers, and a way on."""
    state = decide(load(20), decide(load(35), State(), 0.0).state, 2.0).state
    (action,) = [a for a in decide(load(8), state, 4.0).actions if a.kind == "kill"]
    told = killed(action, 2.0, 43.0)
    assert told.code == "killed"
    assert told.text.startswith("agentcg killed the call at 200M of a 64M grant after 41s")
    assert "8.0M of 1.0G were left" in told.text


def paused(name: str, held: int = 0) -> CallLoad:
    return replace(
        call(name, held), lease_bytes=8 * MIB, ceiling_bytes=16 * MIB, still=True, limit_bytes=None
    )


def test_a_call_that_began_paused_goes_on_as_soon_as_there_is_room() -> None:
    """It is told; nobody who holds nothing is killed to make room."""
    waiting = SessionLoad("s", "low", calls=(paused("p"), paused("q")))
    full = load(10, waiting)
    state, done = State(), []
    for second in range(20):
        verdict = decide(full, state, float(second))
        state = verdict.state
        done += steps(verdict)
    assert done == [("freeze", "p"), ("freeze", "q")]
    assert [s for s in steps(decide(load(300, waiting), state, 20.0)) if s[0] == "thaw"] == [
        ("thaw", "p"), ("thaw", "q")
    ]  # fmt: skip


def test_nobody_waits_for_ever_for_room_that_nobody_can_make() -> None:
    """Agents themselves have all of it: in the end the one to get on is told that it is killed."""
    full = load(10, SessionLoad("s", "low", calls=(paused("p"),)))
    state, done = State(), []
    for second in range(40):
        verdict = decide(full, state, float(second))
        state = verdict.state
        done += [(second, *step) for step in steps(verdict)]
    assert done == [(0, "freeze", "p"), (30, "kill", "p")]


def test_who_creeps_to_the_end_of_its_lease_is_paused() -> None:
    """Before the kernel would kill it, whoever it is; and goes on when it fits with its slack."""
    crept = replace(
        call("a", 204), lease_bytes=192 * MIB, ceiling_bytes=204 * MIB, met=True, limit_bytes=None
    )  # fmt: skip
    halfway = replace(crept, held_bytes=199 * MIB)
    one, other = (SessionLoad("s", "low", calls=calls) for calls in ((halfway,), (call("b", 9),)))
    assert steps(decide(load(20, one), State(), 0.0)) == [], "it is the next"
    older = replace(other, calls=(replace(other.calls[0], begun_at=-1.0),))
    assert ("freeze", "a") in steps(decide(load(20, one, older), State(), 0.0))
    alone = SessionLoad("s", "low", calls=(replace(crept, held_bytes=203 * MIB),))
    first = decide(load(20, alone), State(), 0.0)
    assert steps(first) == [("freeze", "a")]
    assert "at the end of its lease" in first.actions[-1].reason
    still = SessionLoad("s", "low", calls=(replace(crept, still=True),))
    assert steps(decide(load(20, still), first.state, 2.0)) == []
    later = decide(load(60, still), first.state, 2.0)
    assert steps(later)[0] == ("thaw", "a")
    assert later.leases == {"a": 205 * MIB}
