# SPDX-License-Identifier: Apache-2.0
"""Accounts of sessions and of all of them together.

What files of a cgroup count is exact, and has the agent's own processes in it. What BPF counts is
the sum over calls, since the daemon started; the agent's own processes are not in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from agentcg.cgroups import Cgroup
from agentcg.daemon.messages import Account
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.accounts.counts import Counted, Counts
from agentcg.daemon.service.accounts.tracking import Tracking
from agentcg.daemon.service.registry import Registry
from agentcg.daemon.service.state import LiveCall, LiveSession

SUMMED = {
    "processes": "processes", "execs": "execs", "run_queue_us": "run_delay_us",
    "network_sent_bytes": "sent_bytes", "network_received_bytes": "received_bytes",
    "connections": "connections",
}  # fmt: skip
"""Fields of an account that are added up, and what BPF's counters call them."""


def remember(sums: Counter[str], used: Account) -> None:
    """Add what an ended call used."""
    for name in SUMMED:
        sums[name] += getattr(used, name) or 0


def of_session(session: LiveSession, tracking: Tracking, counts: Counts, now: float) -> Account:
    """What a session has used so far."""
    lived_s = now - session.record.opened_at
    used = _account(session.cgroup, session.sums, session.calls.values(), tracking, lived_s)
    return _with_counts(used, counted(session, counts))


def of_host(
    root: Cgroup, registry: Registry, tracking: Tracking, counts: Counts, lived_s: float
) -> Account:
    """What all sessions have used so far; `lived_s`: since the daemon started."""
    used = _account(root, registry.sums, registry.calls.values(), tracking, lived_s)
    agents = counts.of_all((s.runtime.id for s in registry.sessions.values()), registry.counted)
    return _with_counts(used, counts.of_all(registry.by_cgroup, agents))


def counted(session: LiveSession, counts: Counts) -> Counted:
    """What was counted of a session until the latest look: of its calls, and of the agent."""
    live = (call.cgroup.id for call in session.calls.values())
    return counts.of_all((session.runtime.id, *live), session.counted)


def _with_counts(used: Account, counted: Counted) -> Account:
    return msgspec.structs.replace(used, scheduled=counted.scheduled, delayed=counted.delayed)


def _account(
    cgroup: Cgroup, sums: Counter[str], live: Iterable[LiveCall], tracking: Tracking, lived_s: float
) -> Account:
    used = measure.of_files(cgroup.usage(), max(0.0, lived_s))
    if tracking.state != "bpf":
        return used
    counted: dict[str, int | None] = {name: sums[name] for name in SUMMED}
    for call in live:
        counters = tracking.counters(call.cgroup.id)
        for name, source in SUMMED.items():
            so_far, more = counted[name], getattr(counters, source, 0)
            # What this kernel does not count for one it counts for none.
            counted[name] = None if so_far is None or more is None else so_far + more
    return msgspec.structs.replace(used, **counted)
