# SPDX-License-Identifier: Apache-2.0
"""Memory budgets of calls, where the kernel can answer them with delays; else nothing happens.

The soft budget is where `memory.high` is: the lease, or without one the grant. The hard budget is
where the kernel would kill. Between them whoever allocates is held up, more and more, for long
enough that the daemon can make the lease longer, or say why not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from agentcg.bpf.budgets import Delays
from agentcg.daemon.engine.leases import backstop_bytes
from agentcg.daemon.messages import Delayed
from agentcg.daemon.service.accounts.counts import Tally, delayed_of
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import AgentcgError

log = logging.getLogger(__name__)


class Backend(Protocol):
    """What delays: `agentcg.bpf.MemoryDelay`."""

    def set(self, cgroup_id: int, soft_bytes: int, hard_bytes: int, priority: str) -> None:
        """Delay charges over `soft_bytes`, at `hard_bytes` the longest."""

    def clear(self, cgroup_id: int) -> Delays | None:
        """Drop a budget; what it led to."""

    def delays(self, cgroup_id: int) -> Delays | None:
        """What a budget has led to so far."""

    def heartbeat(self) -> None:
        """Budgets hold for a while from now on."""


def budget_of(call: LiveCall) -> tuple[int, int] | None:
    """Soft and hard budget of a call in bytes; None: it has no bound."""
    grant = call.record.grant
    soft = grant.memory_high_bytes if call.lease_bytes is None else call.lease_bytes
    if not soft:
        return None
    return soft, backstop_bytes(soft, grant.memory_max_bytes)


class Budgets:
    """Keeps the backend's budgets as the calls' leases are, from `start` to `stop`; meanwhile
    `delayed` can ask what they led to."""

    def __init__(self, delayed: Tally[Delayed]) -> None:
        self._backend: Backend | None = None
        self._delayed = delayed
        self._set: dict[int, tuple[int, int]] = {}

    def start(self, backend: Backend, calls: Iterable[LiveCall]) -> None:
        """Delay from now on, those that run already, too."""
        self._backend = backend
        self._delayed.start(lambda cgroup_id: delayed_of(backend.delays(cgroup_id)))
        for call in calls:
            self.follow(call)

    def stop(self) -> None:
        """The backend is gone, and its budgets with it."""
        self._backend = None
        self._delayed.stop()
        self._set.clear()

    def follow(self, call: LiveCall) -> None:
        """The call is new, or its lease changed. A backend that refuses costs the call nothing:
        `memory.high` holds all the same."""
        budget = budget_of(call)
        if self._backend is None or self._set.get(call.cgroup.id) == budget:
            return
        if budget is None:
            self._delayed.restart(call.cgroup.id)
            self.forget(call)
            return
        try:
            self._backend.set(call.cgroup.id, *budget, call.session.record.priority)
            self._set[call.cgroup.id] = budget
        except AgentcgError as error:
            log.warning("call %s is bounded by memory.high alone: %s", call.id, error)

    def forget(self, call: LiveCall) -> None:
        """The call is over."""
        if self._backend is not None and self._set.pop(call.cgroup.id, None) is not None:
            self._backend.clear(call.cgroup.id)

    def heartbeat(self) -> None:
        """Somebody is there."""
        if self._backend is not None:
            self._backend.heartbeat()
