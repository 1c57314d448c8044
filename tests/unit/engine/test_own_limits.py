# SPDX-License-Identifier: Apache-2.0
"""A call that could have no more on an empty host either: its session, user or tenant may not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agentcg.daemon.engine.ladder import decide
from agentcg.daemon.engine.ladder_model import TUNING, Action, CallLoad, Load, SessionLoad, State
from agentcg.daemon.engine.ladder_words import killed
from agentcg.daemon.engine.leases import backstop_bytes
from agentcg.daemon.messages import Priority

MIB = 1 << 20
BOUND = 1000 * MIB


def call(name: str, held: int, lease: int) -> CallLoad:
    most = backstop_bytes(lease * MIB, None)
    return CallLoad(
        name, 1.0, True, held * MIB, 64 * MIB, None, 0, lease * MIB, ceiling_bytes=most
    )  # fmt: skip


OTHER = SessionLoad("other", "low", calls=(replace(call("o", 50, 100), begun_at=0.0),))
KIN = call("kin", 50, 100)


def follow(
    seconds: float, sessions: Callable[[CallLoad, float], tuple[SessionLoad, ...]]
) -> list[tuple[float, Action]]:
    """What is done about `stuck`, which meets its limit a thousand times at each look, and when."""
    state, done, events = State(), list[tuple[float, Action]](), 0
    for tenth in range(int(seconds * 10)):
        now = tenth / 10
        frozen = "stuck" in state.marks and state.marks["stuck"].step == "frozen"
        events += 0 if frozen else 1000
        stuck = replace(call("stuck", 100, 100), met=not frozen, still=frozen, high_events=events)
        load = Load(BOUND, 250 * MIB, 250 * MIB, 0.0, 0, sessions(stuck, now))
        verdict = decide(load, state, now)
        state = verdict.state
        done += [(now, action) for action in verdict.actions if action.call == "stuck"]
        if done and done[-1][1].kind == "kill":
            break
    return done


def kinds(done: list[tuple[float, Action]]) -> list[str]:
    return [action.kind for _, action in done if action.kind != "throttle"]


@pytest.mark.parametrize("priority", ["high", "low"])
@pytest.mark.parametrize("others", [(), (OTHER,)])
def test_who_does_not_get_on_is_tried_twice_more_and_killed(
    others: tuple[SessionLoad, ...], priority: Priority
) -> None:
    """However much room the host has, whoever it is and whoever else runs: the kernel would hold
    it up for ever. Its agent is told that it was no want of room."""
    done = follow(60, lambda stuck, _: (
        SessionLoad("s", priority, calls=(stuck,), room_bytes=0), *others
    ))  # fmt: skip
    assert kinds(done) == ["freeze", "thaw"] * 2 + ["freeze", "kill"]
    at_s, kill = done[-1]
    assert at_s < 4 * TUNING.throttle_stuck_s
    assert "a limit of its own" in kill.rule
    assert "it met a limit of its session, user or tenant" in killed(kill, 0.0, at_s).text


@pytest.mark.parametrize("kin_of", ["session", "tenant"])
def test_it_is_not_killed_while_its_kin_get_on_and_goes_on_when_they_have_ended(
    kin_of: str,
) -> None:
    """Their end makes room for it: calls of its session, or of others with a limit to share."""

    def beside_kin(stuck: CallLoad, now: float) -> tuple[SessionLoad, ...]:
        if now >= 40:
            free = replace(stuck, met=False)
            return (SessionLoad("s", "low", calls=(free,), room_bytes=50 * MIB),)
        if kin_of == "session":
            return (SessionLoad("s", "low", calls=(KIN, stuck), room_bytes=0),)
        other = SessionLoad("t", "low", calls=(KIN,), room_bytes=0)
        return SessionLoad("s", "low", calls=(stuck,), room_bytes=0), other

    done = follow(60, beside_kin)
    assert kinds(done) == ["freeze", "thaw"] * 3 + ["unthrottle"]
    assert done[-2][0] == pytest.approx(40)


def test_it_waits_no_longer_than_any_paused_call() -> None:
    """Kin that run on and on do not keep it for ever."""
    done = follow(
        200, lambda stuck, _: (SessionLoad("s", "low", calls=(KIN, stuck), room_bytes=0),)
    )
    assert kinds(done)[-1] == "kill"
    assert done[-1][0] - done[-2][0] == pytest.approx(TUNING.freeze_max_s)


def test_a_policy_can_forbid_it() -> None:
    """Then it stays paused until it may have more."""
    done = follow(60, lambda stuck, _: (
        SessionLoad("s", "low", calls=(stuck,), room_bytes=0,
                    steps=frozenset({"throttle", "freeze"})),
    ))  # fmt: skip
    assert kinds(done) == ["freeze", "thaw"] * 2 + ["freeze"]
