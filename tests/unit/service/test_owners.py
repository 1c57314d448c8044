# SPDX-License-Identifier: Apache-2.0
"""What users and tenants hold is counted as it changes, and forgotten with their last session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from agentcg.daemon.engine import Owner
from agentcg.daemon.messages import Grant
from agentcg.daemon.service.enforce.ladder_load import Loads
from agentcg.daemon.service.records import CallRecord, SessionRecord
from agentcg.daemon.service.registry import Registry
from agentcg.daemon.service.state import LiveCall, LiveSession

UIDS, TENANTS = (1, 2), (None, "acme")
GRANT = Grant(
    memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
    source="default", reason="",
)  # fmt: skip


def a_session(number: int, uid: int, tenant: str | None) -> LiveSession:
    record = SessionRecord(
        id="x", name=f"s{number}", uid=uid, priority="low", weight=100, opened_at=0, tenant=tenant
    )
    nothing: Any = None
    return LiveSession(record, nothing, nothing)


def a_call(number: int, session: LiveSession) -> LiveCall:
    leaf: Any = SimpleNamespace(id=number)
    record = CallRecord(id=f"c{number}", tool="x", category="other", begun_at=0, grant=GRANT)
    return LiveCall(record, session, leaf)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "begin", "look", "lease", "runtime", "end", "close"]),
        st.integers(0, 5),
        st.integers(0, 1000),
    ),
    max_size=60,
)


@given(STEPS)
def test_counts_are_what_a_walk_over_all_would_find(steps: list[tuple[str, int, int]]) -> None:
    """After whatever happens; and when everybody is gone nothing is left, not even names."""
    registry = Registry()
    for number, (what, which, size) in enumerate(steps):
        sessions, calls = list(registry.sessions.values()), list(registry.calls.values())
        if what == "open":
            session = a_session(number, UIDS[which % 2], TENANTS[which // 3])
            registry.add_session(session)
        elif what == "begin" and sessions:
            registry.add_call(a_call(number, sessions[which % len(sessions)]))
        elif what == "runtime" and sessions:
            registry.commit_runtime(sessions[which % len(sessions)], size)
        elif what == "close" and sessions:
            _close(registry, sessions[which % len(sessions)])
        elif calls:
            _to_call(registry, calls[which % len(calls)], what, size)
        _check(registry)
    for session in list(registry.sessions.values()):
        _close(registry, session)
    _check(registry)
    assert not registry.held_by
    assert not registry.sessions_by


def _to_call(registry: Registry, call: LiveCall, what: str, size: int) -> None:
    if what == "look":
        call.memory_bytes = size
        registry.count_lease(call)
        registry.commit(call, max(size, 500))
    elif what == "lease":
        call.lease_bytes = call.ceiling_bytes = size
        registry.count_lease(call)
    elif what == "end":
        registry.stop_running(call)
        registry.drop_call(call)


def _close(registry: Registry, session: LiveSession) -> None:
    for call in list(session.calls.values()):
        registry.stop_running(call)
        registry.drop_call(call)
    registry.drop_session(session)


def _check(registry: Registry) -> None:
    of_all = sum(session.runtime_bytes for session in registry.sessions.values())
    of_all += sum(max(c.memory_bytes or 0, c.ceiling_bytes or 0) for c in registry.calls.values())
    assert registry.reach_bytes == of_all
    owners = {owner for session in registry.sessions.values() for owner in session.owners}
    for owner in owners | {Owner("user", 1), Owner("tenant", "acme")}:
        own = [session for session in registry.sessions.values() if owner in session.owners]
        calls = [call for session in own for call in session.calls.values()]
        held = sum(session.runtime_bytes for session in own)
        held += sum(max(call.memory_bytes or 0, call.ceiling_bytes or 0) for call in calls)
        assert registry.held_by[owner] == held
        assert registry.running_by[owner] == len(calls)
        assert registry.committed_by[owner] == sum(session.runtime_bytes for session in own) + sum(
            call.committed_bytes for call in calls
        )


def loads_of(registry: Registry) -> Loads:
    core: Any = SimpleNamespace(registry=registry)
    return Loads(core)


def test_who_has_least_for_its_weight_grows_first() -> None:
    """Between users by what they hold, between a user's own sessions by their weights."""
    registry = Registry()
    sessions = [a_session(1, 1, None), a_session(2, 1, None), a_session(3, 2, None)]
    for session, held in zip(sessions, (100 << 20, 10 << 20, 90 << 20), strict=True):
        registry.add_session(session)
        registry.commit_runtime(session, held)
    loads = loads_of(registry)
    one, same, other = (loads.turn(session) for session in sessions)
    assert one == same < other
    sessions[0].owner_weight = sessions[1].owner_weight = 200
    assert loads.turn(sessions[0]) > other


def test_a_lease_ends_where_the_cap_of_its_user_does() -> None:
    """What is left is what others of the user neither hold nor may grow into; its own lease counts
    as its own; without caps there is no such bound."""
    registry = Registry()
    mine, others = a_session(1, 1, None), a_session(2, 1, None)
    for number, session in enumerate((mine, others)):
        registry.add_session(session)
        call = a_call(number, session)
        registry.add_call(call)
        call.memory_bytes, call.lease_bytes, call.ceiling_bytes = 100, 140, 150
        registry.count_lease(call)
        registry.commit(call, 100)
    loads = loads_of(registry)
    assert loads.own_room(mine) is None
    mine.caps_bytes = ((Owner("user", 1), 400),)
    assert loads.own_room(mine) == 400 - 150 - 100


def test_a_lease_ends_where_its_session_is_slowed() -> None:
    """A call that the kernel slows at its session's `memory.high` would never be seen to ask; at
    a lease that ends there it is, and is moved on if it gets on no more."""
    registry, session = Registry(), a_session(1, 1, None)
    registry.add_session(session)
    registry.commit_runtime(session, 50)
    session.record = structs.replace(session.record, memory_high_bytes=300, memory_max_bytes=400)
    assert loads_of(registry).own_room(session) == 300 - 50
