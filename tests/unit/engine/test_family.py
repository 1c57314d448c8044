# SPDX-License-Identifier: Apache-2.0
"""A parent that waits for its children never stands in their way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentcg.daemon.engine import (
    Admit,
    CallRequest,
    CallView,
    Cap,
    HostView,
    Owner,
    SessionView,
    Wait,
    grant,
)
from agentcg.daemon.messages import Grant
from agentcg.policies import DEFAULT

MIB = 1 << 20


def running(ident: str, need: int, held: int = 0) -> CallView:
    """A running call with this need that holds so much, in MiB."""
    its = Grant(
        memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
        source="default", reason="", memory_need_bytes=need * MIB,
    )  # fmt: skip
    return CallView(ident, "test", "running", 0.0, its, held * MIB)


PARENT = running("parent", 800, 100)
SESSION = SessionView(name="s", priority="low", calls=(PARENT,))
# The parent's 800M and 100M of others, of 1,000M.
HOST = HostView(memory_total_bytes=1000 * MIB, committed_bytes=900 * MIB, calls_running=3)
CHILD = CallRequest("Bash", memory_bytes=500 * MIB, wait_s=10.0, parents=("parent",))


def test_a_child_may_use_what_its_parent_was_promised() -> None:
    """500M beside a parent that holds 100M of 800M: the child begins, another call waits."""
    assert isinstance(grant(DEFAULT, HOST, SESSION, CHILD, (), 0.0), Admit)
    other = replace(CHILD, parents=())
    assert isinstance(grant(DEFAULT, HOST, SESSION, other, (), 0.0), Wait)


def test_a_child_waits_for_others_but_not_for_its_parent() -> None:
    """Where only its parent runs there is nothing to wait for, however large it is."""
    large = replace(CHILD, memory_bytes=5000 * MIB)
    assert isinstance(grant(DEFAULT, HOST, SESSION, large, (), 0.0), Wait)
    alone = replace(HOST, calls_running=1)
    assert isinstance(grant(DEFAULT, alone, SESSION, large, (), 0.0), Admit)


def test_a_parent_is_not_in_the_way_of_a_limit_of_calls() -> None:
    """With one call allowed at once, in the session or of the user, the child begins."""
    cap = Cap(Owner("user", 1), "user a", max_calls=1, calls_running=1)
    session = replace(SESSION, max_calls=1, caps=(cap,))
    assert isinstance(grant(DEFAULT, HOST, session, CHILD, (), 0.0), Admit)


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 2000)), min_size=1, max_size=5),
    st.integers(1, 5000),
    st.integers(1, 4000),
)
def test_parents_alone_never_hold_up_a_child(
    chain: list[tuple[int, int]], need: int, whole: int
) -> None:
    """Whatever a chain of parents was promised and holds: if nothing else runs, a child begins."""
    calls = tuple(running(str(at), need_, held) for at, (need_, held) in enumerate(chain))
    session = SessionView(name="s", priority="low", calls=calls, max_calls=len(calls))
    host = HostView(
        memory_total_bytes=whole * MIB, committed_bytes=session.committed_bytes,
        calls_running=len(calls),
    )  # fmt: skip
    child = CallRequest(
        "Bash", memory_bytes=need * MIB, wait_s=30.0, parents=tuple(call.id for call in calls)
    )
    assert isinstance(grant(DEFAULT, host, session, child, (), 0.0), Admit)
