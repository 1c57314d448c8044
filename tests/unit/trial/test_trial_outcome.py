# SPDX-License-Identifier: Apache-2.0
"""A policy is tried on a snapshot: the engine's own decisions, without a daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.trial.outcome import Outcome, outcome
from agentcg.daemon.trial.snapshot import (
    AccountSeen,
    CallSeen,
    HostSeen,
    SessionSeen,
    Snapshot,
)
from agentcg.policies import DEFAULT, Policy, from_texts, load

MIB = 1 << 20
GIB = 1 << 30
DEFAULT_TEXT = next(file.text for file in DEFAULT.ordered)


def policy(text: str) -> Policy:
    """A site's policy `p.yaml` over the built-in default."""
    return from_texts([("p.yaml", f"version: 1\n{text}"), ("default.yaml", DEFAULT_TEXT)], "p")


def call(session: str, held_mib: int, **fields: Any) -> CallSeen:
    """A running call that holds so much."""
    account = AccountSeen(memory_current_bytes=held_mib * MIB)
    return CallSeen(session=session, account=account, **fields)


def snapshot(*calls: CallSeen, total_mib: int = 1024, **sessions: dict[str, Any]) -> Snapshot:
    """A host of which agents may use all, with these sessions and calls."""
    return Snapshot(
        host=HostSeen(memory_total_bytes=total_mib * MIB, memory_max_bytes=total_mib * MIB),
        sessions=[SessionSeen(name=name, **fields) for name, fields in sessions.items()],
        calls=list(calls),
    )


def test_sessions_get_what_rules_give_them() -> None:
    """Priority, limits and tenant of each, with its protection as shared out among all."""
    rules = policy(
        "sessions:\n"
        "  - match: {user: ci}\n"
        "    priority: low\n"
        "    memory_max: 25%\n"
        "    tenant: acme\n"
    )
    found = outcome(rules, snapshot(a={"user": "ci"}, b={"asked_priority": "high"}))
    a, b = found.sessions
    assert (a.priority, a.memory_max_bytes, a.tenant, a.rule) == (
        "low", 256 * MIB, "acme", "p.yaml:5",
    )  # fmt: skip
    assert (b.priority, b.memory_low_bytes) == ("high", int(1024 * MIB * 0.4))


def test_calls_begin_one_after_the_other() -> None:
    """Each sees what those before it hold and need: the third has to wait for room."""
    calls = [
        call("a", 10, id=name, command="pytest", begun_at=at, memory_bytes=400 * MIB)
        for at, name in enumerate(("one", "two", "three"))
    ]
    found = outcome(DEFAULT, snapshot(*reversed(calls), a={}))
    assert [(c.id, c.decision) for c in found.calls] == [
        ("one", "begins"), ("two", "begins"), ("three", "waits"),
    ]  # fmt: skip
    assert found.calls[0].memory_high_bytes == 600 * MIB
    assert found.calls[0].reason.startswith("400M declared")


def test_a_call_too_many_is_refused() -> None:
    """A session's max_calls holds for the calls of a snapshot, too."""
    rules = policy("sessions: [{max_calls: 1}]")
    found = outcome(rules, snapshot(call("a", 1), call("a", 1), a={}))
    assert [c.decision for c in found.calls] == ["begins", "refused"]


def test_caps_of_users_and_tenants_are_summed_up() -> None:
    """All sessions of one user or tenant together, against what they may have."""
    rules = policy("users: [{memory_max: 25%}]\ntenants: [{max_calls: 1}]")
    own = {"user": "ci", "labels": {"tenant": "acme"}}
    found = outcome(rules, snapshot(call("a", 200), call("b", 100), a=own, b=own, c={}))
    assert [(cap.owner, cap.held_bytes, cap.calls, cap.exceeded) for cap in found.caps] == [
        ("user ci", 300 * MIB, 2, True),
        ("user 0", 0, 0, False),
        ("tenant acme", 300 * MIB, 2, True),
    ]


def short_of_memory() -> Snapshot:
    """1 GiB, nearly all of it held by a call of low priority beside one of high."""
    return snapshot(
        call("high", 200, id="tests", begun_at=1),
        call("low", 815, id="build", begun_at=2),
        high={"asked_priority": "high"},
        low={"asked_priority": "low"},
    )


def steps_of(found: Outcome) -> list[tuple[str, str | None]]:
    """Kind and call of each step against calls."""
    return [(step.kind, step.call) for step in found.steps if step.call is not None]


def test_the_ladder_begins_gently_and_ends_with_the_offender() -> None:
    """At once the gentlest step; if memory stays as it is, every other one in turn, against the
    call of low priority alone."""
    found = outcome(DEFAULT, short_of_memory())
    assert ("kill", "build") not in steps_of(found)
    found = outcome(DEFAULT, short_of_memory(), ahead_s=200.0)
    kinds = [kind for kind, call_id in steps_of(found) if call_id == "build"]
    assert kinds.index("freeze") < kinds.index("kill")
    assert all(call_id == "build" for kind, call_id in steps_of(found))
    assert all(step.rule and step.reason for step in found.steps)
    times = [step.after_s for step in found.steps]
    assert times == sorted(times)


def test_the_ladder_of_the_policy_is_the_one_that_is_tried() -> None:
    """Switched off nothing is done; with other figures it begins elsewhere."""
    off = policy("ladder: {enabled: false}")
    assert outcome(off, short_of_memory(), ahead_s=200.0).steps == ()
    roomy = snapshot(call("a", 400, id="x"), a={"asked_priority": "low"})
    assert outcome(DEFAULT, roomy).steps == ()
    early = policy(
        "ladder: {reclaim_below: 90%, reclaim_until: 95%, throttle_below: 80%, "
        "throttle_until: 90%, freeze_below: 1%, freeze_until: 2%, kill_below: 0.5%, "
        "kill_until: 1%}"
    )
    two = snapshot(
        call("a", 400, id="x", begun_at=2), call("b", 10, id="y", begun_at=1),
        a={"asked_priority": "low"}, b={"asked_priority": "high"},
    )  # fmt: skip
    assert ("throttle", "x") in steps_of(outcome(early, two))


def _with(session: SessionSeen, priority: Any, held: int | None) -> SessionSeen:
    return SessionSeen(name=session.name, asked_priority=priority, memory_current_bytes=held)


def test_calls_are_spared_what_their_session_may_not_meet() -> None:
    """A session whose calls may only be slowed sees none of them paused or killed."""
    rules = policy("sessions: [{steps: throttle}]")
    found = outcome(rules, short_of_memory(), ahead_s=200.0)
    assert {kind for kind, _ in steps_of(found)} <= {"throttle", "unthrottle"}


_NAMES = ["a", "b", "c"]
_SNAPSHOTS = st.builds(
    Snapshot,
    host=st.builds(
        HostSeen,
        memory_total_bytes=st.integers(MIB, 4 * GIB),
        memory_max_bytes=st.one_of(st.none(), st.integers(0, 4 * GIB)),
        swap_free_bytes=st.sampled_from([0, GIB]),
    ),
    sessions=st.just([SessionSeen(name=name) for name in _NAMES]).flatmap(
        lambda sessions: st.tuples(
            *(
                st.builds(
                    _with,
                    st.just(session),
                    st.sampled_from(["high", "normal", "low", None]),
                    st.one_of(st.none(), st.integers(0, 2 * GIB)),
                )
                for session in sessions
            )
        ).map(list)
    ),
    calls=st.lists(
        st.builds(
            CallSeen,
            session=st.sampled_from(_NAMES),
            command=st.sampled_from(["pytest", "make", "ls", None]),
            state=st.sampled_from(["running", "lingering", "ended"]),
            begun_at=st.floats(0, 100),
            memory_bytes=st.one_of(st.none(), st.integers(MIB, 4 * GIB)),
            account=st.builds(AccountSeen, memory_current_bytes=st.integers(0, 2 * GIB)),
        ),
        max_size=6,
    ),
)


@given(_SNAPSHOTS)
def test_every_snapshot_has_an_outcome(taken: Snapshot) -> None:
    """Whatever a host is like, sums hold: protection within the bound, every call told of once."""
    found = outcome(DEFAULT, taken, ahead_s=5.0)
    assert sum(s.memory_low_bytes for s in found.sessions) <= found.bound_bytes
    assert len(found.calls) == sum(call.state != "ended" for call in taken.calls)
    assert found.bound_bytes <= taken.host.memory_total_bytes


@pytest.mark.parametrize("name", ["multi-tenant.yaml", "single-developer.yaml"])
def test_policies_that_ship_can_be_tried(name: str) -> None:
    """They do something sensible on a host that is short of memory: no agent is touched."""
    import agentcg.policies  # noqa: PLC0415

    shipped = load(Path(agentcg.policies.__file__).parent / name)
    found = outcome(shipped, short_of_memory(), ahead_s=60.0)
    assert found.steps
    assert all(s.call is not None or s.kind in ("protect", "reclaim") for s in found.steps)
    assert replace(found, steps=()) == replace(outcome(shipped, short_of_memory()), steps=())
