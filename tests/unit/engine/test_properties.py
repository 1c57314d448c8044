# SPDX-License-Identifier: Apache-2.0
"""What holds for every host, session, call and policy that the types allow."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentcg.daemon.engine import (
    Admit,
    CallRequest,
    CallView,
    Ending,
    HostView,
    IntentView,
    Leaving,
    Protection,
    Refuse,
    SessionView,
    Wait,
    grant,
    of_call,
    phase,
    protect,
    renegotiate,
    widen,
)
from agentcg.daemon.engine.history import EMPTY, History, Outcome, learn
from agentcg.daemon.messages import Account, Grant
from agentcg.policies import CATEGORIES, DEFAULT, Policy, load

MIB = 1 << 20
SIZES = st.integers(MIB, 1 << 50)
HELD = st.integers(0, 1 << 50)
PRIORITIES = st.sampled_from(["high", "normal", "low"])
CPU = st.sampled_from([None, "low", "normal", "high"])
TIMES = st.floats(0, 2e9)
TEXTS = st.sampled_from([None, "pytest", "make", "ls", ""])
TOOLS = st.sampled_from(["Bash", "Read", "x"])


def _site(text: str) -> Policy:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "site.yaml").write_text(f"version: 1\n{text}\n")
        return load(Path(directory))


POLICIES = st.sampled_from(
    [
        DEFAULT,
        _site("calls: [{memory_max: 1G, memory_high: 90%}]\nadmission: {wait: [low]}"),
        _site("calls: [{memory: max, memory_high: max, memory_margin: 16}]"),
        _site("calls: [{memory: 1M, memory_high: 1M, memory_max: 1M, memory_margin: 1}]"),
        _site("calls: [{match: {category: test}, memory: 100%, cpu_weight: 10000}]"),
    ]
)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    """Any grant that could have been given: high at most max."""
    maximum = draw(st.none() | SIZES)
    high = draw(st.none() | SIZES)
    if high is not None and maximum is not None:
        high = min(high, maximum)
    return Grant(
        memory_high_bytes=high,
        memory_max_bytes=maximum,
        cpu_weight=draw(st.integers(1, 10000)),
        pids_max=draw(st.none() | st.integers(1, 1 << 22)),
        source="policy",
        reason="earlier",
        memory_need_bytes=draw(st.none() | SIZES),
    )


CALLS = st.builds(
    CallView,
    id=st.just("c"),
    category=st.sampled_from(CATEGORIES),
    state=st.sampled_from(["running", "lingering"]),
    begun_at=TIMES,
    grant=grants(),
    held_bytes=st.none() | HELD,
)
OUTCOMES = st.builds(
    Outcome,
    tool=TOOLS,
    category=st.sampled_from(["test", "build", "other"]),
    peak_bytes=HELD,
    failed=st.booleans(),
    declared_bytes=st.none() | SIZES,
)


def remembered(outcomes: list[Outcome]) -> History:
    """A history of these calls, the oldest first."""
    kept = EMPTY
    for outcome in outcomes:
        kept = learn(kept, outcome, 0.0)
    return kept


HISTORIES = st.lists(OUTCOMES, max_size=6).map(remembered)
SESSIONS = st.builds(
    SessionView,
    name=st.just("s"),
    priority=PRIORITIES,
    memory_max_bytes=st.none() | SIZES,
    max_calls=st.none() | st.integers(1, 3),
    runtime_held_bytes=HELD,
    calls=st.lists(CALLS, max_size=3).map(tuple),
    history=HISTORIES,
)
HOSTS = st.builds(
    HostView,
    memory_total_bytes=SIZES,
    memory_max_bytes=st.none() | SIZES,
    reserve_bytes=HELD,
    committed_bytes=HELD,
    calls_running=st.integers(0, 10_000),
)
REQUESTS = st.builds(
    CallRequest,
    tool=TOOLS,
    command=TEXTS,
    category=st.none() | st.sampled_from(CATEGORIES),
    memory_bytes=st.none() | SIZES,
    cpu=CPU,
    wait_s=st.floats(0, 600),
    waited_s=st.floats(0, 600),
)
INTENTS = st.lists(
    st.builds(
        IntentView,
        id=st.sampled_from(["a", "b", "c"]),
        session=st.just("s"),
        kind=st.sampled_from(["call", "generating", "idle", "release"]),
        declared_at=TIMES,
        expires_at=TIMES,
        tool=st.none() | TOOLS,
        command=TEXTS,
        memory_bytes=st.none() | SIZES,
        cpu=CPU,
        confidence=st.none() | st.floats(0, 1),
    ),
    max_size=4,
)


@given(POLICIES, HOSTS, SESSIONS, REQUESTS, INTENTS, TIMES)
def test_every_begin_has_an_answer_within_bounds(
    policy: Policy,
    host: HostView,
    session: SessionView,
    request: CallRequest,
    intents: list[IntentView],
    now: float,
) -> None:
    """Grants stay within rule, session and host; waits are finite; the same twice."""
    decision = grant(policy, host, session, request, intents, now)
    assert decision == grant(policy, host, session, request, intents, now)
    if isinstance(decision, Refuse):
        assert session.running >= (session.max_calls or 0)
    elif isinstance(decision, Wait):
        assert session.priority in policy.admission.wait
        assert session.running or host.calls_running
        assert 0 < decision.wait_s <= min(request.wait_s, policy.admission.wait_max_s)
        if not session.history.kinds:
            assert decision.need_bytes > decision.room_bytes
    else:
        assert isinstance(decision, Admit)
        _check(decision.grant, host, session)


def _check(given_grant: Grant, host: HostView, session: SessionView) -> None:
    most = min(host.bound_bytes, session.memory_max_bytes or host.bound_bytes)
    high, maximum = given_grant.memory_high_bytes, given_grant.memory_max_bytes
    assert high is None or 0 < high <= most
    assert maximum is None or 0 < maximum <= most
    assert high is None or maximum is None or high <= maximum
    assert given_grant.memory_need_bytes is None or given_grant.memory_need_bytes <= most
    assert 1 <= given_grant.cpu_weight <= 10000
    assert given_grant.reason.isprintable()
    assert len(given_grant.reason) < 400


@given(POLICIES, HOSTS, SESSIONS, REQUESTS)
def test_high_priority_never_waits(
    policy: Policy, host: HostView, session: SessionView, request: CallRequest
) -> None:
    """However full the host and whatever the policy."""
    high = replace(session, priority="high")
    assert not isinstance(grant(policy, host, high, request, (), 0.0), Wait)


@given(POLICIES, HOSTS, SESSIONS, REQUESTS)
def test_nothing_waits_that_is_alone(
    policy: Policy, host: HostView, session: SessionView, request: CallRequest
) -> None:
    """With no running call there is nobody whose end could make room."""
    alone = replace(host, calls_running=0)
    empty = replace(session, calls=())
    assert not isinstance(grant(policy, alone, empty, request, (), 0.0), Wait)


@given(POLICIES, HOSTS, SESSIONS, REQUESTS, SIZES, SIZES)
def test_grants_grow_with_the_declared_need(
    policy: Policy, host: HostView, session: SessionView, request: CallRequest, a: int, b: int
) -> None:
    """Who declares more gets no less memory, and never waits less."""
    one, other = (
        grant(policy, host, session, replace(request, memory_bytes=size), (), 0.0)
        for size in sorted((a, b))
    )
    if isinstance(one, Wait):
        assert isinstance(other, Wait)
    if isinstance(one, Admit) and isinstance(other, Admit):
        assert (one.grant.memory_need_bytes or 0) <= (other.grant.memory_need_bytes or 0)
        assert (one.grant.memory_high_bytes or 0) <= (other.grant.memory_high_bytes or 0)


@given(POLICIES, HOSTS, SESSIONS, CALLS, REQUESTS)
def test_renegotiating_never_stalls_what_is_held(
    policy: Policy, host: HostView, session: SessionView, call: CallView, request: CallRequest
) -> None:
    """A new limit is above what the call holds, or as high as the call may ever have."""
    changed = renegotiate(policy, host, session, call, request)
    if request.memory_bytes is None:
        assert changed.memory_high_bytes == call.grant.memory_high_bytes
        return
    _check(changed, host, session)
    most = min(host.bound_bytes, session.memory_max_bytes or host.bound_bytes)
    most = min(most, changed.memory_max_bytes or most)
    if changed.memory_high_bytes is not None:
        assert changed.memory_high_bytes >= min(call.held_bytes or 0, most)


@given(HOSTS, SESSIONS, CALLS)
def test_widening_only_ever_widens(host: HostView, session: SessionView, call: CallView) -> None:
    """By at most half, within the room and the limits; else it leaves the grant alone."""
    wider = widen(host, session, call)
    if wider is not None:
        before = call.grant.memory_high_bytes or 0
        after = wider.memory_high_bytes or 0
        assert before < after <= before * 1.5 + MIB
        assert after <= min(host.bound_bytes, session.memory_max_bytes or host.bound_bytes)
        assert wider.memory_max_bytes is None or after <= wider.memory_max_bytes


@given(st.lists(st.tuples(PRIORITIES, HELD), max_size=20), HELD)
def test_protection_never_promises_more_than_there_is(
    wishes: list[tuple[str, int]], bound: int
) -> None:
    """The sum is within the bound, nobody gets more than it wants, high is never last."""
    sessions = [Protection(str(number), *wish) for number, wish in enumerate(wishes)]  # type: ignore[arg-type]
    shares = protect(sessions, bound)
    assert sum(shares.values()) <= bound
    assert all(0 <= shares[one.session] <= one.wanted_bytes for one in sessions)
    if any(shares[one.session] < one.wanted_bytes for one in sessions if one.priority == "high"):
        assert not any(shares[one.session] for one in sessions if one.priority != "high")


@given(st.integers(0, 5), st.booleans(), TIMES, INTENTS, TIMES)
def test_every_session_has_a_phase(
    running: int, paused: bool, last: float, intents: list[IntentView], now: float
) -> None:
    """The phase is one of four, and a change that is announced lies ahead."""
    seen = phase(running=running, paused=paused, last_active_at=last, intents=intents, now=now)
    assert seen.phase in ("thinking", "calling", "idle", "paused")
    assert seen.until is None or seen.until > now


NUMBERS = st.none() | HELD


@given(
    st.builds(
        Account,
        wall_s=st.floats(0, 1e9),
        memory_current_bytes=NUMBERS,
        memory_peak_bytes=NUMBERS,
        memory_high_events=NUMBERS,
        throttled_us=NUMBERS,
        oom_kills=NUMBERS,
        oom_victim=st.text(),
    ),
    grants(),
    st.builds(
        Ending,
        reason=st.sampled_from(
            ["declared", "emptied", "expired", "oom", "killed", "session-closed"]
        ),
        exit_status=st.none() | st.integers(0, 255),
        cancelled=st.booleans(),
        slowed_s=st.floats(0, 1e6),
        frozen_s=st.floats(0, 1e6),
        category=st.sampled_from(CATEGORIES),
        failed=st.lists(HELD, max_size=9).map(tuple),
        leaving=st.builds(Leaving, calls=st.integers(0, 999), held_bytes=HELD),
        lingering_processes=st.integers(0, 1 << 22),
        room_bytes=st.none() | st.integers(-(1 << 50), 1 << 50),
        limit_bytes=st.none() | SIZES,
    ),
)
def test_feedback_is_short_and_printable(account: Account, its: Grant, ending: Ending) -> None:
    """Whatever the numbers, there is something to say, in bounded and harmless text."""
    lines = of_call(account, its, ending)
    assert lines
    for line in lines:
        assert line.text.isprintable()
        assert len(line.text) <= 500
