# SPDX-License-Identifier: Apache-2.0
"""What the API tells of sessions and calls, as what rules of a policy ask for."""

from __future__ import annotations

from agentcg.daemon.messages import Call, Host, Session
from agentcg.daemon.trial.snapshot import SessionSeen
from agentcg.policies import CallFacts, Policy, SessionFacts, categorise


def memory_of_all(host: Host, policy: Policy) -> int:
    """What all sessions together may use: set at run time, else by `policy`; never more than
    the machine has."""
    bound = host.memory_max_bytes
    if bound is None:
        bound = policy.host(host.memory_total_bytes).memory_max
    total = host.memory_total_bytes
    return total if bound is None else min(bound, total)


def of_session(session: Session | SessionSeen, user: str | None, memory_bytes: int) -> SessionFacts:
    """A session as it was when it was opened."""
    return SessionFacts(
        name=session.name,
        uid=session.uid,
        user=user,
        memory_bytes=memory_bytes,
        labels=session.labels,
        asked_priority=session.asked_priority,
        asked_weight=session.asked_weight,
        container=() if session.container is None else (session.container,),
        image=session.image,
        cgroup=session.from_cgroup,
        unit=session.from_unit,
    )


def of_call(policy: Policy, session: SessionFacts, call: Call) -> CallFacts:
    """A call in a session to which `policy` gives its settings."""
    return made_up_call(policy, session, call.tool, call.command, call.category)


def made_up_call(
    policy: Policy, session: SessionFacts, tool: str, command: str | None, category: str | None
) -> CallFacts:
    """A call that need not exist; without a category it is worked out."""
    rule = policy.session(session)
    bounds = (session.memory_bytes, rule.memory_max)
    return CallFacts(
        tool=tool,
        command=command,
        category=category or categorise(tool, command),
        priority=rule.priority,
        memory_bytes=min(bound for bound in bounds if bound is not None),
    )
