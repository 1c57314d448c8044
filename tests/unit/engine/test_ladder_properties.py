# SPDX-License-Identifier: Apache-2.0
"""What holds for the ladder whatever sessions do: random hosts, followed over random times."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agentcg.daemon.engine.ladder import decide
from agentcg.daemon.engine.ladder_model import (
    RANK,
    TUNING,
    Action,
    CallLoad,
    Level,
    Load,
    SessionLoad,
    State,
    Verdict,
)
from agentcg.daemon.engine.ladder_survey import survey
from agentcg.daemon.engine.ladder_words import OWN_LIMIT
from agentcg.daemon.engine.leases import MET_FROM, backstop_bytes, is_at_edge

MIB = 1 << 20
SIZES = st.integers(0, 400).map(lambda mib: mib * MIB)
MAYBE = st.none() | SIZES
NAMES = "abcdefgh"
SHARES = st.sampled_from([0.5, 0.82, 0.87, 0.95, 0.965, 0.98, 0.99, 1.0])
"""Of the bound, held: at each level of the ladder, and where it is left."""


@st.composite
def calls(draw: st.DrawFn, name: str) -> CallLoad:
    """One of any size; with a lease, as where the ladder is on, or without."""
    held, limit, lease = draw(MAYBE), draw(MAYBE), draw(MAYBE)
    if lease is not None:
        lease += (held or 0) + MIB
        limit = draw(st.none() | st.just(2 * lease))
    return CallLoad(
        name, draw(st.floats(0, 5)), draw(st.booleans()), held, draw(MAYBE), limit,
        draw(st.none() | st.integers(0, 9)), lease, draw(st.booleans()),
        still=draw(st.integers(0, 9)) == 0, processes=draw(st.integers(1, 40)),
    )  # fmt: skip


@st.composite
def sessions(draw: st.DrawFn) -> tuple[SessionLoad, ...]:
    """Up to five sessions with up to four calls each; names stay over time, so do grants."""
    found = []
    for number in range(draw(st.integers(0, 5))):
        own = tuple(
            draw(calls(f"{NAMES[number]}{index}")) for index in range(draw(st.integers(0, 4)))
        )
        found.append(
            SessionLoad(
                NAMES[number],
                ("high", "normal", "low")[number % 3],
                draw(st.sampled_from(["thinking", "calling", "idle", "paused"])),
                draw(SIZES), draw(SIZES), draw(SIZES), own,
                runtime_lease_bytes=draw(MAYBE), runtime_met=draw(st.booleans()),
                room_bytes=draw(st.none() | st.none() | SIZES),
            )
        )  # fmt: skip
    return tuple(found)


@st.composite
def loads(draw: st.DrawFn) -> Load:
    bound = draw(st.sampled_from([600 * MIB, 4096 * MIB, 1, 0]))
    held = int(bound * draw(SHARES | st.floats(0, 1.2)))
    stall = draw(st.none() | st.floats(0, 100))
    return Load(bound, held, bound, stall, draw(st.sampled_from([0, 1 << 30])), draw(sessions()))


@dataclass(frozen=True)
class Look:
    """One decision, what it was made of, and what was frozen or throttled before it."""

    now: float
    load: Load
    before: State
    verdict: Verdict

    def call(self, call_id: str) -> tuple[SessionLoad, CallLoad]:
        return next((s, c) for s in self.load.sessions for c in s.calls if c.id == call_id)

    def is_no_step(self, action: Action) -> bool:
        """Whether it only says that a call was paused as it began, or protects."""
        paused = action.kind == "freeze" and self.call(action.call or "")[1].still
        return action.kind == "protect" or (paused and action.call not in self.before.marks)


@st.composite
def timelines(draw: st.DrawFn) -> list[tuple[float, Load]]:
    """One host over time: room comes and goes, and now and then everything else changes."""
    load, found = draw(loads()), []
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.integers(0, 5)) == 0:
            load = draw(loads())
        held = int(load.bound_bytes * draw(SHARES))
        step_s, times = draw(st.sampled_from([0.1, 0.6, 3.0])), draw(st.integers(1, 4))
        found += [(step_s, replace(load, held_bytes=held))] * times
    return found


TIMELINE = timelines()


def follow(timeline: list[tuple[float, Load]], after: Look | None = None) -> Iterator[Look]:
    """Look after look, each at what became of the calls by the ones before."""
    state, now = (State(), 100.0) if after is None else (after.verdict.state, after.now)
    leases: dict[str, int] = {}
    seen: set[str] = set()
    for step_s, drawn in timeline:
        now += step_s
        load = carried_out(drawn, state, leases, seen)
        verdict = decide(load, state, now)
        yield Look(now, load, state, verdict)
        state = verdict.state
        leases |= verdict.leases
        seen |= {call.id for session in load.sessions for call in session.calls}


def carried_out(
    load: Load, state: State, leases: Mapping[str, int], seen: Collection[str] = ()
) -> Load:
    """`load` with the leases that were given, and paused who was paused; of calls not seen before,
    those that were drawn so have begun paused."""

    def call_now(call: CallLoad) -> CallLoad:
        lease = leases.get(call.id, call.lease_bytes)
        met = call.met and lease is not None and (call.held_bytes or 0) >= MET_FROM * lease
        ceiling = None if lease is None else backstop_bytes(lease, None, call.processes)
        call = replace(call, lease_bytes=lease, met=met, ceiling_bytes=ceiling)
        if (mark := state.marks.get(call.id)) is not None:
            return replace(call, still=mark.step == "frozen")
        return replace(call, still=call.still and call.id not in seen)

    sessions = tuple(
        replace(session, calls=tuple(map(call_now, session.calls))) for session in load.sessions
    )
    promised = sum(call.unused_bytes for session in sessions for call in session.calls)
    return replace(load, sessions=sessions, promised_bytes=promised)


def stepped(state: State, call_id: str) -> str | None:
    mark = state.marks.get(call_id)
    return None if mark is None else mark.step


@given(TIMELINE)
def test_an_agent_never_gets_less_than_it_has(timeline: list[tuple[float, Load]]) -> None:
    """Its lease is above what it holds with page cache, unless it waits and creeps on without swap;
    high priority has none, nor has anybody where there is room."""
    for look in follow(timeline):
        found = {session.name: session for session in look.load.sessions}
        for name, lease in look.verdict.agent_leases.items():
            assert found[name].priority != "high" or lease is None
            waits = name in look.verdict.state.agents_waiting and not look.load.swap_free_bytes
            assert waits or lease is None or lease > found[name].runtime_current_bytes
        if look.before.agents_leased and not look.verdict.state.agents_leased:
            leased = {n for n, s in found.items() if s.runtime_lease_bytes is not None}
            assert leased == look.verdict.agent_leases.keys()


@given(TIMELINE)
def test_a_runtime_is_only_protected_and_reclaimed(timeline: list[tuple[float, Load]]) -> None:
    """Throttle, freeze and kill always name a call; what else an agent meets is its lease."""
    for look in follow(timeline):
        for action in look.verdict.actions:
            assert action.call is not None or action.kind in ("protect", "reclaim")


@given(TIMELINE)
def test_nobody_is_killed_while_a_gentler_step_is_left(timeline: list[tuple[float, Load]]) -> None:
    """Nothing else is done in that decision, and whoever could still be throttled or frozen is:
    all that may be acted on are frozen, except the call that is kept running."""
    for look in follow(timeline):
        kinds = [action.kind for action in look.verdict.actions if not look.is_no_step(action)]
        if "kill" not in kinds:
            continue
        (kill,) = [action for action in look.verdict.actions if action.kind == "kill"]
        assert not set(kinds) & {"throttle", "freeze", "reclaim"}
        assert kill.call is not None
        if kill.rule == OWN_LIMIT:
            assert look.before.marks[kill.call].rounds > 2
            continue
        if look.verdict.state.level < Level.KILL:
            mark = look.before.marks[kill.call]
            long = look.now - mark.since >= TUNING.freeze_max_s
            assert mark.step == "frozen"
            assert long or mark.rounds > 2 or look.before.waiting
            continue
        victim = look.call(kill.call)[0]
        others = [
            call.id
            for session in look.load.sessions
            if (session.priority == "high") == (victim.priority == "high")
            for call in session.calls
            if (call.held_bytes or 0) >= TUNING.throttle_least_bytes
            and stepped(look.before, call.id) not in ("frozen", "killed")
        ]
        assert len(others) <= 1  # the call that is kept running, or else the victim itself


@given(TIMELINE)
def test_at_most_one_is_killed_and_the_last_step_had_its_time(
    timeline: list[tuple[float, Load]],
) -> None:
    """Between a kill and the step before it there is time for that step to help."""
    for look in follow(timeline):
        kills = [action for action in look.verdict.actions if action.kind == "kill"]
        assert len(kills) <= 1
        if kills:
            assert look.now - look.before.acted_at >= TUNING.settle_s


@given(TIMELINE)
def test_lowest_priority_and_largest_overshoot_is_killed_first(
    timeline: list[tuple[float, Load]],
) -> None:
    """Of the frozen calls whose end makes room none of lower priority, and none of the same that
    exceeds its grant by more, outlives the one that is killed; but for the one that is to get on,
    and those frozen too long: it is theirs."""
    for look in follow(timeline):
        if look.verdict.state.level < Level.KILL:
            continue
        spared = survey(look.load, look.before.marks, TUNING).last_to_run
        for action in look.verdict.actions:
            if action.kind != "kill" or stepped(look.before, action.call or "") != "frozen":
                continue
            session, call = look.call(action.call or "")
            for other_id, mark in look.verdict.state.marks.items():
                other_session, other = look.call(other_id)
                worth = (other.held_bytes or 0) >= TUNING.throttle_least_bytes
                if mark.step == "frozen" and worth and other is not spared:
                    assert (RANK[session.priority], -call.overshoot_bytes) <= (
                        RANK[other_session.priority], -other.overshoot_bytes
                    )  # fmt: skip


@given(TIMELINE)
def test_high_priority_is_spared_while_there_are_others(timeline: list[tuple[float, Load]]) -> None:
    """Calls of high priority are held back only where there are no others, or at a limit of their
    own; paused also where the kernel would kill them else, at the end of a lease."""
    for look in follow(timeline):
        ordinary = any(s.calls and s.priority != "high" for s in look.load.sessions)
        for action in look.verdict.actions:
            own_limit = action.rule == OWN_LIMIT
            if ordinary and not own_limit and action.kind in ("throttle", "freeze", "kill"):
                session, call = look.call(action.call or "")
                at_end = action.kind == "freeze" and (call.still or is_at_edge(call))
                assert session.priority != "high" or at_end


@given(TIMELINE)
def test_somebody_always_runs(timeline: list[tuple[float, Load]]) -> None:
    """However little room there is, one call is neither throttled nor frozen; but for one that
    waits for room at the end of its lease, where the kernel would kill it, or was held up at a
    limit of its own."""
    own_limit: set[str | None] = set()
    for look in follow(timeline):
        own_limit |= {action.call for action in look.verdict.actions if action.rule == OWN_LIMIT}
        ids = {call.id for session in look.load.sessions for call in session.calls}
        held = {id for id, mark in look.verdict.state.marks.items() if mark.step != "free"}
        killed = [m for m in look.verdict.state.marks.values() if m.step == "killed"]
        assert not ids or ids - held or killed or look.verdict.state.waiting or own_limit & ids


@given(TIMELINE)
def test_protection_never_exceeds_what_there_is(timeline: list[tuple[float, Load]]) -> None:
    """The sum of all protection by demand is at most the bound."""
    for look in follow(timeline):
        assert sum(look.verdict.state.protected.values()) <= look.load.bound_bytes


@given(TIMELINE)
def test_nothing_flaps(timeline: list[tuple[float, Load]]) -> None:
    """A call that was let go is not throttled or frozen again before a second has passed; paused
    where more is promised than there is, or it is at the end of its lease."""
    let_go: dict[str, float] = {}
    for look in follow(timeline):
        for action in look.verdict.actions:
            call_id = action.call or ""
            at_once = "is promised" in action.reason or "its lease" in action.reason
            if action.kind == "unthrottle":
                let_go[call_id] = look.now
            elif action.kind in ("throttle", "freeze") and call_id in let_go and not at_once:
                present = call_id in look.before.marks
                assert not present or look.now - let_go[call_id] >= TUNING.hold_s - 1e-9


@given(TIMELINE, st.integers(0, 23))
@settings(max_examples=100)
def test_everything_is_taken_back_when_room_returns(
    timeline: list[tuple[float, Load]], cut: int
) -> None:
    """Whatever was done: with room, for their sessions too, all calls run with their own limits
    within seconds."""
    *_, last = [None, *follow(timeline[: cut + 1])]
    if last is None:
        return
    free = tuple(replace(session, room_bytes=None) for session in last.load.sessions)
    roomy = replace(
        last.load,
        bound_bytes=1 << 40,
        held_bytes=0,
        current_bytes=0,
        stall_percent=0,
        sessions=free,
    )
    *_, last = follow([(0.1, roomy)] * 40, last)
    state = last.verdict.state
    assert not {id for id, mark in state.marks.items() if mark.step != "killed"}
    assert not state.protected


@given(loads(), st.sampled_from([0.965, 0.98]))
@settings(max_examples=50)
def test_time_under_throttle_is_bounded(load: Load, share: float) -> None:
    """However long the shortage lasts, nobody is throttled for more than the bound of time."""
    load = replace(load, held_bytes=int(load.bound_bytes * share))
    since = dict[str, float]()
    for look in follow([(1.0, load)] * 75):
        marks = look.verdict.state.marks
        throttled = {id for id, mark in marks.items() if mark.step == "throttled"}
        since = {id: since.get(id, look.now) for id in throttled}
        assert all(look.now - start <= TUNING.throttle_max_s + 1 for start in since.values())


@given(loads(), st.floats(0, 1e9))
def test_same_input_same_answer(load: Load, now: float) -> None:
    """A decision depends on nothing but what it is given, and answers everything."""
    assert decide(load, State(), now) == decide(load, State(), now)
