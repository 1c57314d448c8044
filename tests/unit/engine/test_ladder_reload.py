# SPDX-License-Identifier: Apache-2.0
"""A policy that changes while the ladder is under way: nothing is left half done."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine.ladder import decide
from agentcg.daemon.engine.ladder_model import TUNING, CallLoad, Load, SessionLoad, State, Tuning
from agentcg.daemon.engine.tuning import tuning_of
from agentcg.policies import DEFAULT

MIB = 1 << 20
BOUND = 1000 * MIB
CALLS = tuple(
    CallLoad(name, begun_at, True, 300 * MIB, 64 * MIB, 500 * MIB, 0)
    for begun_at, name in enumerate("abc")
)


def load(room: int, calls: tuple[CallLoad, ...] = CALLS) -> Load:
    """Calls of low priority beside one of high, with so many MiB of room."""
    high = SessionLoad("high", "high", calls=(CallLoad("h", 0, True, 50 * MIB, 64 * MIB),))
    held = BOUND - room * MIB
    return Load(BOUND, held, held, 0.0, sessions=(high, SessionLoad("low", "low", calls=calls)))


@st.composite
def tunings(draw: st.DrawFn) -> Tuning:
    """Any figures that a policy may have."""
    ends = sorted((draw(st.floats(0, 1)) for _ in range(4)), reverse=True)
    enter = tuple(end * draw(st.floats(0, 1)) for end in ends)
    return replace(
        TUNING,
        enter=tuple(sorted(enter, reverse=True)),
        leave=tuple(ends),
        throttle_stuck_s=draw(st.floats(0, 60)),
        throttle_max_s=draw(st.floats(0, 60)),
        freeze_max_s=draw(st.floats(0, 300)),
        hold_s=draw(st.floats(0, 5)),
        settle_s=draw(st.floats(0, 5)),
    )


def test_the_default_policy_has_the_ladders_own_numbers() -> None:
    """What stands in default.yaml is what the engine was built and measured with."""
    assert tuning_of(DEFAULT.ladder) == TUNING


def test_figures_of_a_policy_become_the_ladders() -> None:
    """Every number of the language has its place in the engine."""
    rule = replace(
        DEFAULT.ladder, enter=(0.4, 0.3, 0.2, 0.1), leave=(0.5, 0.4, 0.3, 0.2),
        stall_enter_percent=1.0, stall_leave_percent=2.0, throttle_stuck_s=3.0,
        throttle_max_s=4.0, freeze_max_s=5.0, hold_s=6.0, settle_s=7.0,
    )  # fmt: skip
    assert tuning_of(rule) == replace(
        TUNING, enter=(0.4, 0.3, 0.2, 0.1), leave=(0.5, 0.4, 0.3, 0.2),
        stall_enter_percent=1.0, stall_leave_percent=2.0, throttle_stuck_s=3.0,
        throttle_max_s=4.0, freeze_max_s=5.0, hold_s=6.0, settle_s=7.0,
    )  # fmt: skip


@given(st.lists(st.tuples(tunings(), st.sampled_from([2, 30, 80, 200, 700])), max_size=12))
def test_a_kill_is_neither_repeated_nor_taken_back(changes: list[tuple[Tuning, int]]) -> None:
    """While a killed call is on its way out, no policy does anything more to it."""
    state, now, killed = State(), 0.0, set[str | None]()
    for tuning, room in [(TUNING, 2)] * 8 + changes:
        now += 2.0
        verdict = decide(load(room), state, now, tuning)
        state = verdict.state
        assert not killed & {action.call for action in verdict.actions}
        killed |= {action.call for action in verdict.actions if action.kind == "kill"}
    assert killed


def test_steps_without_a_pause_between_them_are_carried_out() -> None:
    """With `hold: 0` a call may be frozen, thawed and let go for good by decisions in a row."""
    eager = replace(TUNING, hold_s=0.0, throttle_stuck_s=0.0)
    state, kinds = State(), set[str]()
    for now, room in enumerate([2, 2, 2, 990, 990, 2, 2, 990]):
        verdict = decide(load(room), state, float(now), eager)
        state = verdict.state
        kinds |= {action.kind for action in verdict.actions}
    assert {"throttle", "freeze", "thaw", "unthrottle"} <= kinds


@given(st.lists(st.tuples(tunings(), st.sampled_from([2, 30, 80, 200])), max_size=8), tunings())
def test_everybody_is_let_go_whatever_came_between(
    changes: list[tuple[Tuning, int]], last: Tuning
) -> None:
    """Held back under one policy, a call is let go under another, once there is all the room."""
    state, now = State(), 0.0
    for tuning, room in changes:
        now += 2.0
        state = decide(load(room), state, now, tuning).state
    empty = replace(load(1000), held_bytes=0, current_bytes=0)
    for _ in range(20):
        now += 10.0
        state = decide(empty, state, now, last).state
    assert {mark.step for mark in state.marks.values()} <= {"killed"}
