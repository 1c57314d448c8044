# SPDX-License-Identifier: Apache-2.0
"""Caps of users and tenants over all their sessions, at the begin of a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentcg.daemon.engine import (
    Admit,
    CallRequest,
    Cap,
    Decision,
    HostView,
    Owner,
    Refuse,
    SessionView,
    Wait,
    grant,
)
from agentcg.policies import DEFAULT

GIB = 1 << 30
MIB = 1 << 20
HOST = HostView(memory_total_bytes=64 * GIB)
ALICE = Owner("user", 1000)
# 2G for all of Alice's sessions, of which two running calls have 1.5G.
CAP = Cap(
    ALICE, "user alice", memory_max_bytes=2 * GIB, max_calls=8, committed_bytes=1536 * MIB,
    calls_running=2, rule="site.yaml:4",
)  # fmt: skip


def decide(request: CallRequest, *caps: Cap, priority: str = "normal") -> Decision:
    """The decision on a call of a session under these caps, on an empty host."""
    session = SessionView("s", priority, caps=caps)  # type: ignore[arg-type]
    return grant(DEFAULT, HOST, session, request, (), 0.0)


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    """The numbers, the rule, and three ways on; the host has plenty."""
    decision = decide(CallRequest("Bash", memory_bytes=GIB), CAP)
    assert isinstance(decision, Refuse)
    assert decision.reason == (
        "the call needs 1.0G, and of the 2.0G that all sessions of user alice may use 512M are free"
    )
    assert decision.remedy == (
        "a declared need of at most 512M fits now; or end one of its 2 calls, or let this one "
        "wait (wait_s) (site.yaml:4)"
    )
    assert decision.rule == "site.yaml:4"
    assert isinstance(decide(CallRequest("Bash", memory_bytes=512 * MIB), CAP), Admit)


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_first_it_waits_for_its_users_own_calls(priority: str) -> None:
    """Whatever its priority, as long as its caller lets it; then it is refused after all."""
    patient = CallRequest("Bash", memory_bytes=GIB, wait_s=5.0)
    decision = decide(patient, CAP, priority=priority)
    assert isinstance(decision, Wait)
    assert (decision.wait_s, decision.room_bytes) == (5.0, 512 * MIB)
    late = replace(patient, waited_s=5.0)
    assert isinstance(decide(late, CAP, priority=priority), Refuse)


def test_the_number_of_calls_is_capped_too() -> None:
    """Over all sessions, whatever each of them may run."""
    decision = decide(CallRequest("Bash", "ls"), replace(CAP, calls_running=8))
    assert isinstance(decision, Refuse)
    assert decision.reason.startswith("user alice has 8 calls running in all its sessions")


def test_nothing_running_holds_up_nobody() -> None:
    """Agents that hold nearly all of a cap still run their calls, one at a time."""
    full = replace(CAP, committed_bytes=2 * GIB, calls_running=0)
    decision = decide(CallRequest("Bash", memory_bytes=4 * GIB), full)
    assert isinstance(decision, Admit)
    assert decision.grant.memory_need_bytes == decision.grant.memory_high_bytes == 2 * GIB


def test_the_tighter_of_user_and_tenant_decides() -> None:
    """Both must have room."""
    tenant = replace(CAP, owner=Owner("tenant", "acme"), name="tenant acme", committed_bytes=0)
    small = CallRequest("Bash", memory_bytes=GIB)
    decision = decide(small, tenant, CAP)
    assert isinstance(decision, Refuse)
    assert "user alice" in decision.reason
    assert isinstance(decide(small, tenant), Admit)


SIZES = st.integers(MIB, 1 << 40)
CAPS = st.builds(
    Cap,
    owner=st.just(ALICE),
    name=st.just("user alice"),
    memory_max_bytes=st.none() | SIZES,
    max_calls=st.none() | st.integers(1, 9),
    committed_bytes=st.integers(0, 1 << 41),
    calls_running=st.integers(0, 9),
)


@given(st.lists(CAPS, max_size=2), st.none() | SIZES, st.floats(0, 60), st.floats(0, 60))
def test_a_cap_is_kept_by_every_admission(
    caps: list[Cap], need: int | None, wait_s: float, waited_s: float
) -> None:
    """What is let in beside other calls fits; waits end; a refusal says what to do."""
    request = CallRequest("Bash", memory_bytes=need, wait_s=wait_s, waited_s=waited_s)
    decision = decide(request, *caps)
    if isinstance(decision, Admit):
        for cap in caps:
            assert cap.max_calls is None or cap.calls_running < cap.max_calls
            if cap.memory_max_bytes is not None:
                assert (decision.grant.memory_high_bytes or 0) <= cap.memory_max_bytes
            if cap.room_bytes is not None and cap.calls_running:
                assert (decision.grant.memory_need_bytes or 0) <= cap.room_bytes
    elif isinstance(decision, Wait):
        assert 0 < decision.wait_s <= wait_s
    else:
        assert decision.remedy
        assert decision.remedy.isprintable()
