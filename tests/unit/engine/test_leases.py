# SPDX-License-Identifier: Apache-2.0
"""How far each call may grow: by example, then whatever there is; 1000 MiB for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine.ladder import decide
from agentcg.daemon.engine.ladder_model import RANK, TUNING, CallLoad, Load, SessionLoad, State
from agentcg.daemon.engine.leases import (
    backstop_bytes,
    first_lease,
    is_at_edge,
    known_need_bytes,
    longer_lease,
    share_out,
)
from agentcg.daemon.messages import Grant, Priority

MIB = 1 << 20
BOUND = 1000 * MIB
KEPT = int(TUNING.enter[1] * BOUND)  # left for what agents grow by themselves


def call(name: str, held: int, lease: int, *, met: bool = False, limit: int = 1000) -> CallLoad:
    most = backstop_bytes(lease * MIB, limit * MIB)
    return CallLoad(
        name, 0.0, True, held * MIB, 64 * MIB, limit * MIB, 1, lease * MIB, met, most
    )  # fmt: skip


def host(*sessions: SessionLoad) -> Load:
    held = sum(session.held_bytes for session in sessions)
    promised = sum(call.unused_bytes for session in sessions for call in session.calls)
    return Load(BOUND, held, held, 0.0, 0, sessions, promised)


def shared(load: Load, waiting_s: float = 0.0) -> tuple[dict[str, int], tuple[str, ...]]:
    """New leases in MiB, and who waits."""
    asking = [(s, c) for s in load.sessions for c in s.calls if c.met]
    waiting = {c.id: 0.0 for _, c in asking}
    found = share_out(load, asking, None, waiting, waiting_s, TUNING)
    return {id: size // MIB for id, size in found.leases.items()}, found.starved


def alone(held: int, lease: int) -> Load:
    return host(SessionLoad("s", "low", calls=(call("a", held, lease, met=True),)))


def test_a_first_lease_is_a_share_of_what_is_free() -> None:
    """A twentieth with its slack, for high priority a tenth; a limit of its own is the most."""
    empty = Load(BOUND, 0, 0)
    low, high = (first_lease(empty, priority, None, TUNING) for priority in ("low", "high"))  # type: ignore[arg-type]
    assert backstop_bytes(low, None) == pytest.approx((BOUND - KEPT) // 20, abs=2)
    assert backstop_bytes(high, None) > 2 * (BOUND - KEPT) // 20
    assert first_lease(empty, "low", 32 * MIB, TUNING) == 32 * MIB


def test_a_call_of_high_priority_begins_with_what_it_is_known_to_need() -> None:
    """As far as there is room and no limit of its own; one of another priority asks for it."""
    need = 300 * MIB
    assert first_lease(Load(BOUND, 0, 0), "high", None, TUNING, need) == need
    assert first_lease(Load(BOUND, 0, 0), "high", 100 * MIB, TUNING, need) == 100 * MIB
    short = Load(BOUND, BOUND - 200 * MIB, 0)
    most = first_lease(short, "high", None, TUNING, need)
    last = int(TUNING.enter[3] * BOUND)
    assert backstop_bytes(most, None) == pytest.approx(200 * MIB - last, abs=2)
    asks = first_lease(Load(BOUND, 0, 0), "low", None, TUNING)
    assert first_lease(Load(BOUND, 0, 0), "low", None, TUNING, need) == asks


def known(source: str) -> int:
    grant = Grant(
        memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
        source=source, reason="", memory_need_bytes=MIB,
    )  # type: ignore[arg-type]  # fmt: skip
    return known_need_bytes(grant)


def test_a_default_is_an_assumption_and_no_known_need() -> None:
    """What was declared, announced or seen of earlier calls is known."""
    assert [known(source) for source in ("declared", "intent", "history")] == [MIB] * 3
    assert [known(source) for source in ("policy", "default")] == [0, 0]


def test_many_calls_that_hold_nothing_leave_room_for_one_more() -> None:
    """Thirty sleepers begin one after another, and the next one still begins at once."""
    taken = 0
    for _ in range(30):
        lease = first_lease(Load(BOUND, taken, 0), "normal", None, TUNING)
        assert lease
        taken += backstop_bytes(lease, None)


def test_a_call_may_begin_where_others_can_have_no_more() -> None:
    """Most calls need a few MiB: so much they get out of what is kept for agents, but not out of
    the last of it; then they begin paused."""
    least = backstop_bytes(TUNING.lease_least_bytes, None)
    held = BOUND - KEPT
    assert first_lease(Load(BOUND, held, held), "low", None, TUNING) == TUNING.lease_least_bytes
    last = int(TUNING.enter[3] * BOUND)
    full = Load(BOUND, BOUND - last - least + 1, BOUND)
    assert first_lease(full, "low", None, TUNING) == first_lease(full, "high", None, TUNING) == 0
    assert first_lease(full, "low", 4 * MIB, TUNING) == 4 * MIB
    nearly = Load(BOUND, BOUND - last - 11 * MIB, BOUND)
    assert first_lease(nearly, "low", 4 * MIB, TUNING) == 0, "its slack has no room"


def test_what_a_call_gave_back_it_may_take_again() -> None:
    """Where all together hold less than they did when each was looked at last, calls may have
    shrunk, and their leases let them grow back."""
    assert Load(BOUND, 300 * MIB, 0, promised_bytes=100 * MIB).free_bytes == 600 * MIB
    shrunk = Load(BOUND, 300 * MIB, 0, promised_bytes=100 * MIB, reach_bytes=700 * MIB)
    assert shrunk.free_bytes == 300 * MIB


def test_a_call_is_at_the_edge_before_it_is_at_its_end() -> None:
    """With half of its slack used; with many processes as soon as it is held up, since each of
    them charges on between two sleeps."""
    assert not is_at_edge(call("a", 130, 128))
    assert is_at_edge(call("a", 132, 128))
    assert is_at_edge(replace(call("a", 128, 128), processes=20))


def test_with_plenty_a_lease_grows_by_half_at_once() -> None:
    """Without a look at anybody else, up to the call's own limit."""
    load = alone(100, 100)
    a = load.sessions[0].calls[0]
    assert (longer_lease(load, "low", a, TUNING) or 0) > 150 * MIB
    tight = replace(a, limit_bytes=120 * MIB)
    assert longer_lease(load, "low", tight, TUNING) == 120 * MIB


def test_with_little_the_whole_is_looked_at() -> None:
    """Below a fifth of the bound nobody is served out of turn."""
    load = alone(850, 850)
    assert longer_lease(load, "low", load.sessions[0].calls[0], TUNING) is None


def test_alone_a_call_of_low_priority_has_the_machine() -> None:
    """All but its slack and what agents may need by themselves, in a few steps."""
    held = 8
    for _ in range(12):
        leases, starved = shared(alone(held, held))
        held = leases.get("a", held)
    assert (held, starved) == (903, ("a",))
    assert BOUND - KEPT - 2 * MIB < backstop_bytes(held * MIB, None) <= BOUND - KEPT


def test_high_priority_is_served_first_and_nearly_to_the_end() -> None:
    """Where there is not enough for two, the low call waits; high takes the reserve, too."""
    load = host(
        SessionLoad("l", "low", calls=(call("a", 400, 400, met=True),)),
        SessionLoad("h", "high", calls=(call("b", 430, 430, met=True),)),
    )
    leases, starved = shared(load)
    assert (leases.keys(), starved) == ({"b"}, ("a",))
    most = [backstop_bytes(held * MIB, None) for held in (400, leases["b"] + 1)]
    assert sum(most) >= BOUND - int(TUNING.enter[3] * BOUND)


def test_the_larger_weight_is_served_first_then_the_older_call() -> None:
    """Among sessions of one priority."""
    sessions = [
        SessionLoad("x", "low", calls=(call("a", 420, 420, met=True),), weight=100),
        SessionLoad("y", "low", calls=(call("b", 420, 420, met=True),), weight=200),
    ]
    leases, starved = shared(host(*sessions))
    assert (leases.keys(), starved) == ({"b"}, ("a",))
    older = replace(sessions[1], weight=100, calls=(replace(sessions[1].calls[0], begun_at=-1.0),))
    assert shared(host(sessions[0], older)) == (leases, starved)


def test_what_others_do_not_use_is_taken_back() -> None:
    """They keep a little to grow by; a call of lower priority next to nothing. It is given when
    the kernel has the shorter lease, and until then nobody counts as waiting."""
    asking, idle = call("a", 400, 400, met=True), call("i", 100, 510)
    load = host(SessionLoad("x", "low", calls=(asking, idle)))
    assert shared(load) == ({"i": 112}, ())
    after = host(SessionLoad("x", "low", calls=(asking, call("i", 100, 112))))
    assert shared(after) == ({"a": 600}, ())
    asking = SessionLoad("h", "high", calls=(asking,))
    assert shared(host(asking, SessionLoad("x", "low", calls=(idle,))))[0]["i"] == 101


def test_room_is_kept_for_what_higher_priority_held_before() -> None:
    """A high session that held 300M of late and holds 100M gets its 200M back at once; so a low
    call waits, though not for ever."""
    high = SessionLoad("h", "high", "thinking", runtime_held_bytes=100 * MIB, peak_bytes=300 * MIB)
    load = host(high, SessionLoad("l", "low", calls=(call("a", 680, 680, met=True),)))
    assert shared(load) == ({}, ("a",))
    assert shared(load, waiting_s=TUNING.lend_s)[0]["a"] > 800


def test_a_call_of_high_priority_can_begin_whatever_was_lent() -> None:
    """On a small host lending ends where there is room for two more calls of high priority."""
    high = SessionLoad("h", "high", "thinking", runtime_held_bytes=100 * MIB, peak_bytes=300 * MIB)
    low = SessionLoad("l", "low", calls=(call("a", 220, 220, met=True),))
    small = replace(host(high, low), bound_bytes=400 * MIB)
    held = backstop_bytes(shared(small, waiting_s=TUNING.lend_s)[0]["a"] * MIB, None)
    for _ in range(2):
        full = Load(400 * MIB, 100 * MIB + held, 0)
        assert first_lease(full, "high", None, TUNING) == TUNING.lease_least_bytes
        held += backstop_bytes(TUNING.lease_least_bytes, None)


def test_who_waits_longer_is_not_given_less() -> None:
    """High priority goes on to the last part of the room."""
    low = SessionLoad("l", "low", calls=(call("a", 400, 400),))
    load = host(low, SessionLoad("h", "high", calls=(call("b", 480, 480, met=True),)))
    assert shared(load, waiting_s=TUNING.lend_s) == shared(load)
    assert shared(load)[0]["b"] > 480


def test_bounds_of_the_session_hold() -> None:
    """No lease lets a session beyond what is left to it; that is no want of room."""
    capped = SessionLoad("s", "low", calls=(call("a", 100, 100, met=True),), room_bytes=20 * MIB)
    assert shared(host(capped)) == ({"a": 120}, ())
    assert shared(host(replace(capped, room_bytes=0))) == ({}, ())


def test_the_ladder_says_who_waits_and_lets_go_who_gets_more() -> None:
    """A call that can have no more is throttled, and no longer so once there is room."""
    first = SessionLoad("f", "low", calls=(replace(call("f", 382, 382), begun_at=-1.0),))
    short = host(first, SessionLoad("l", "low", calls=(call("a", 522, 522, met=True),)))
    verdict = decide(short, State(), 0.0)
    assert [(a.kind, a.call, a.size_bytes) for a in verdict.actions] == [
        ("throttle", "a", 522 * MIB)
    ]  # fmt: skip
    roomy = host(first, SessionLoad("l", "low", calls=(call("a", 400, 522),)))
    after = decide(roomy, verdict.state, 2.0)
    assert [(a.kind, a.call) for a in after.actions] == [("unthrottle", "a")]


def test_the_one_that_is_to_get_on_does() -> None:
    """Two calls of one priority that take all they can get: when the older one is stuck, and
    nobody gets on who would make room, the other is slowed, paused and, last, killed for it."""
    state, done = State(), []
    held = {"a": 480 * MIB, "b": 470 * MIB}
    for tenth in range(200):
        now = tenth / 10
        calls = tuple(
            CallLoad(id, float(id == "b"), True, size, 64 * MIB, None, 1, size, True)
            for id, size in held.items()
        )
        verdict = decide(host(SessionLoad("l", "low", calls=calls)), state, now)
        state = verdict.state
        held |= verdict.leases
        done += [(a.kind, a.call) for a in verdict.actions]
        if ("kill", "b") in done:
            break
    assert done == [("throttle", "b"), ("freeze", "b"), ("kill", "b")]
    assert TUNING.throttle_stuck_s <= now <= 2 * TUNING.throttle_stuck_s


@st.composite
def hosts(draw: st.DrawFn) -> Load:
    """Sessions with calls of any size and lease, who may all together have too much."""
    sessions = []
    for number in range(draw(st.integers(0, 5))):
        priority: Priority = draw(st.sampled_from(["high", "normal", "low"]))
        calls = tuple(
            replace(
                call(f"{number}-{index}", draw(st.integers(0, 400)), draw(st.integers(0, 400)),
                     met=draw(st.booleans()), limit=draw(st.integers(1, 900))),
                begun_at=draw(st.floats(0, 9)),
            )
            for index in range(draw(st.integers(0, 4)))
        )  # fmt: skip
        sessions.append(
            SessionLoad(
                str(number), priority, calls=calls, runtime_held_bytes=draw(st.integers(0, BOUND)),
                peak_bytes=draw(st.integers(0, BOUND)), weight=draw(st.floats(1, 1000)),
                room_bytes=draw(st.none() | st.integers(-MIB, BOUND)),
            )
        )  # fmt: skip
    return host(*sessions)


def growth(load: Load, leases: dict[str, int]) -> int:
    """By how much more calls can take than before, with longer leases in force."""
    found = 0
    for call in (call for session in load.sessions for call in session.calls):
        most = call.ceiling_bytes or 0
        longer = backstop_bytes(leases.get(call.id, 0), call.limit_bytes)
        found += max(longer - max(most, call.held_bytes or 0), 0)
    return found


def asking(load: Load) -> list[tuple[SessionLoad, CallLoad]]:
    return [(s, c) for s in load.sessions for c in s.calls if c.met]


@given(hosts())
def test_leases_never_promise_more_than_there_is(load: Load) -> None:
    """What is given comes out of what is free, and the last part of that is kept."""
    found = share_out(load, asking(load), None, {}, 0.0, TUNING)
    kept = int(TUNING.enter[3] * BOUND)
    assert growth(load, found.leases) <= max(load.free_bytes - kept, 0)


@given(hosts())
def test_no_lease_is_shorter_than_what_is_held(load: Load) -> None:
    """Taking back costs nobody anything that is in use; limits of its own hold for every call."""
    found = share_out(load, asking(load), None, {}, 0.0, TUNING)
    for session in load.sessions:
        for each in session.calls:
            lease = found.leases.get(each.id)
            if lease is None:
                continue
            assert lease >= (each.held_bytes or 0)
            if each.met:
                assert lease <= max(each.limit_bytes or 0, each.held_bytes or 0)
                assert session.room_bytes is None or (
                    lease <= (each.held_bytes or 0) + max(session.room_bytes, 0)
                )


@given(hosts())
def test_nobody_waits_behind_a_lower_priority(load: Load) -> None:
    """A call gets a step only if no call of higher priority that asks is left with nothing."""
    found = share_out(load, asking(load), None, {}, 0.0, TUNING)
    ranks = {c.id: RANK[s.priority] for s, c in asking(load)}
    served = [ranks[id] for id in found.leases if id in ranks]
    for id in found.starved:
        assert all(rank >= ranks[id] for rank in served)


@given(hosts())
def test_everybody_who_asks_is_answered(load: Load) -> None:
    """With more, at once or later, with having to wait, or with a limit of its own."""
    found = share_out(load, asking(load), None, {}, 0.0, TUNING)
    answered = [*found.leases, *found.starved, *found.capped, *found.later]
    assert {c.id for _, c in asking(load)} <= set(answered)
    assert not set(found.starved) & set(found.leases)
