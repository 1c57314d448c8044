# SPDX-License-Identifier: Apache-2.0
"""Shares among those of equal priority: by weight between tenants, then users, then sessions.

Without it a user with ten agents would get ten times what a user with one gets. Nobody gets more
than the policy gives a session (its claim); who has more sessions at work than others of the
same weight gets less for each. So with a single user nothing changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agentcg.daemon.engine.model import Owner
from agentcg.daemon.messages import Priority

CPU_WEIGHT_MAX = 10000  # cpu.weight: 1 to 10000, default 100 (cgroup-v2.rst)
DEFAULT_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Contender:
    """A session that may want the CPU. `claim`: `cpu.weight` that the policy gives it; `owners`:
    its user and, before it, its tenant if it has one; `active`: whether a call of it runs."""

    session: str
    priority: Priority
    claim: float
    owners: tuple[Owner, ...]
    active: bool


def cpu_weights(contenders: Iterable[Contender], weights: Mapping[Owner, int]) -> dict[str, int]:
    """`cpu.weight` of each session. `weights`: of users and tenants, where it is not 100.

    Linear in the number of sessions. A weight below 1 cannot be had: 1 it is then.
    """
    by_priority: dict[Priority, list[Contender]] = defaultdict(list)
    for contender in contenders:
        by_priority[contender.priority].append(contender)
    found: dict[str, int] = {}
    for group in by_priority.values():
        factors = _factors(group, 0, weights)
        for one in group:
            weight = round(one.claim * factors[one.session])
            found[one.session] = min(max(weight, 1), CPU_WEIGHT_MAX)
    return found


def _factors(
    group: Iterable[Contender], level: int, weights: Mapping[Owner, int]
) -> dict[str, float]:
    """By what each claim is multiplied, so that what the owners of this level claim together is
    proportional to their weights; the largest factor is 1."""
    members: dict[Owner, list[Contender]] = defaultdict(list)
    found: dict[str, float] = {}
    for one in group:
        if level < len(one.owners):
            members[one.owners[level]].append(one)
        else:
            found[one.session] = 1.0
    inside = {owner: _factors(own, level + 1, weights) for owner, own in members.items()}
    claimed = {
        owner: sum(one.claim * inside[owner][one.session] for one in own if one.active)
        for owner, own in members.items()
    }
    fair = {
        owner: weights.get(owner, DEFAULT_WEIGHT) / claim
        for owner, claim in claimed.items() if claim > 0
    }  # fmt: skip
    most = max(fair.values(), default=1.0)
    for owner, factors in inside.items():
        outer = fair.get(owner, most) / most  # nobody of it is at work: as if it were alone
        found |= {session: factor * outer for session, factor in factors.items()}
    return found


def split(total: int, used: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """A bound for each session such that all bounds together make `total`: what it uses now, and
    of the rest a part by weight. Where more is used than there is, nobody gets less than it uses,
    and nobody more."""
    rest = max(total - sum(used.values()), 0)
    whole = sum(weights.values())
    return {
        name: amount + (int(rest * weights[name] / whole) if whole > 0 else 0)
        for name, amount in used.items()
    }
