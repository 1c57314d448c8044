# SPDX-License-Identifier: Apache-2.0
"""Leases of running calls: given at the begin, made longer when the kernel says that one is met.

A lease is `memory.high` of the call. A little above it is `memory.max`: what gets that far, past
a `memory.high` that stops all but the very fastest, is killed in its own call by the kernel,
before it can be at the bound over all sessions, where an agent might be killed in its stead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from agentcg.cgroups import Limits
from agentcg.cgroups.knobs import MEMORY_EVENTS, MEMORY_MAX, PIDS_CURRENT
from agentcg.daemon.engine import leases as engine
from agentcg.daemon.messages import Grant
from agentcg.daemon.service import audit, views
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.enforce.ladder_load import Loads, call_load
from agentcg.daemon.service.enforce.release import LADDER_MARK
from agentcg.daemon.service.limits import call_limits
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import AgentcgError, CgroupGone

log = logging.getLogger(__name__)

_AGAIN_S = 0.5  # after page cache met the lease


class Leases:
    """Knows and changes leases. Nothing at all where sessions have no memory controller.

    `on_asked`: a call is held up and there is not plenty, so the ladder decides.
    `on_beyond_grant`: a call was given more than its grant, which is advice, since there is room.
    """

    def __init__(self, core: Core, loads: Loads, *, enabled: bool) -> None:
        self._core = core
        self._loads = loads
        self._enabled = enabled and "memory" in core.root.controllers
        self.on_asked: Callable[[], None] = lambda: None
        self.on_beyond_grant: Callable[[LiveCall, int], None] = lambda _call, _size: None

    @property
    def enabled(self) -> bool:
        """Whether leases are given; the policy may say no."""
        return self._enabled and self._core.policy.policy.ladder.enabled

    def first_limits(self, session: LiveSession, grant: Grant) -> tuple[Limits, int | None]:
        """Limits of a call that begins with `grant`, and its lease. 0: there is no room at all,
        so it is to begin paused; the limits are for when it goes on."""
        limits = call_limits(grant)
        load = self._loads.brief() if self.enabled else None
        if load is None:
            return limits, None
        tuning, most, room = (
            self._core.tuning,
            grant.memory_high_bytes,
            self._loads.own_room(session),
        )
        if room is not None:
            room = max(room, tuning.lease_least_bytes)
            most = room if most is None else min(most, room)
        need = engine.known_need_bytes(grant)
        lease = engine.first_lease(load, session.record.priority, most, tuning, need)
        high = lease or engine.least_lease(most, tuning)
        return limits._replace(
            memory_high=high,
            memory_max=engine.backstop_bytes(high, grant.memory_max_bytes),
        ), lease

    def pause(self, call: LiveCall) -> None:
        """Before its first process is in it: none of them will run."""
        call.cgroup.set_attr(LADDER_MARK, b"frozen")
        call.cgroup.freeze(True)
        call.step, call.still = "frozen", True

    def begun(self, call: LiveCall, lease_bytes: int | None) -> None:
        """Watch a call that is known to the registry by now; for one that is paused, the ladder
        finds room."""
        if lease_bytes is None:
            return
        most = call.record.grant.memory_high_bytes
        call.lease_bytes = lease_bytes or engine.least_lease(most, self._core.tuning)
        call.ceiling_bytes = engine.backstop_bytes(
            call.lease_bytes, call.record.grant.memory_max_bytes
        )
        self._core.registry.count_lease(call)
        self._core.watcher.watch_memory(call.cgroup, call)
        if call.still:
            self.on_asked()

    def adopt(self) -> None:
        """Give a lease to every call that has none: an earlier daemon left it, or the policy did
        not want leases."""
        for call in self._core.registry.calls.values():
            if not self.enabled:
                return
            if call.lease_bytes is not None:
                continue
            try:
                self.look_at(call)
                _, lease = self.first_limits(call.session, call.record.grant)
                held = call.memory_bytes or 0
                if lease is not None:
                    self.begun(call, max(lease, held + held // 8, 1))
                    self.write(call)
            except CgroupGone:
                pass  # the watcher tells
            except AgentcgError as error:
                log.error("a call goes without a lease: %s", error)

    def look_at(self, call: LiveCall) -> None:
        """Read what a call holds, and whether it still is held up."""
        call.memory_bytes = measure.held_now(call.cgroup)
        events = call.cgroup.get(MEMORY_EVENTS)
        call.high_events = None if events is None else events.high
        call.processes = call.cgroup.get(PIDS_CURRENT) or 1
        if call.step == "frozen" and not call.still:
            call.still = call.cgroup.events().frozen is True
        self._core.registry.count_lease(call)
        self._core.registry.commit(call, views.call_view(call).committed_bytes)
        if call.met and not self._is_held_up(call):
            call.met = False
            self._core.watcher.rearm(call)

    @staticmethod
    def _is_held_up(call: LiveCall) -> bool:
        return (call.memory_bytes or 0) >= engine.MET_FROM * (call.lease_bytes or 0)

    def news(self, call: LiveCall) -> None:
        """`memory.events` may have changed: see whether the call is held up, and help."""
        if call.lease_bytes is None or self._core.registry.calls.get(call.id) is not call:
            return
        with suppress(CgroupGone):  # then `cgroup.events` tells
            self._help(call)

    def _help(self, call: LiveCall) -> None:
        before = call.high_events or 0
        self.look_at(call)
        if (call.high_events or 0) == before:
            self._core.watcher.rearm(call)
            return
        if call.step is None and self._extend(call):
            return
        if self._is_held_up(call):
            call.met = True
            self.on_asked()
        else:
            asyncio.get_running_loop().call_later(_AGAIN_S, self._core.watcher.rearm, call)

    def _extend(self, call: LiveCall) -> bool:
        """The plain case: there is plenty."""
        load, priority = self._loads.brief(), call.session.record.priority
        if load is None:
            return False
        lease = engine.longer_lease(load, priority, call_load(call), self._core.tuning)
        room = self._loads.own_room(call.session)
        if lease is not None and room is not None:
            lease = min(lease, (call.memory_bytes or 0) + room)
        if lease is None or lease <= (call.lease_bytes or 0):
            return False
        self.lengthen(call, lease)
        return True

    def lengthen(self, call: LiveCall, lease_bytes: int) -> None:
        """Let a call grow further, now; it costs two short writes."""
        self._put(call, lease_bytes)
        limit = call.record.grant.memory_high_bytes
        if limit is not None and lease_bytes > limit:
            self.on_beyond_grant(call, lease_bytes)

    def _put(self, call: LiveCall, lease_bytes: int) -> None:
        self.set(call, lease_bytes)
        self.write(call)
        call.met = False
        self._core.watcher.rearm(call)

    def ask_again(self, call: LiveCall) -> None:
        """A call that was held up at the last look may be helped by now."""
        if call.met and (call.step is not None or not self._extend(call)):
            self.on_asked()

    def goes_on(self, call: LiveCall) -> None:
        """It is about to be thawed: from now on it can grow."""
        call.still = False
        self._core.registry.count_lease(call)

    def in_force(self, call: LiveCall) -> None:
        """A shorter lease was written by its thread: see what the kernel has."""
        if call.lease_bytes is None or self._core.registry.calls.get(call.id) is not call:
            return
        with suppress(CgroupGone):
            most = call.cgroup.get(MEMORY_MAX)
            call.ceiling_bytes = most if isinstance(most, int) else None
            self.look_at(call)

    def regranted(self, call: LiveCall) -> None:
        """A new grant: the lease follows it, as far as a call that begins would get."""
        if call.lease_bytes is None or not self.enabled:
            return
        _, fresh = self.first_limits(call.session, call.record.grant)
        limit, held = call.record.grant.memory_high_bytes, call.memory_bytes or 0
        lease = max(call.lease_bytes, fresh or 0)
        self._put(call, max(lease if limit is None else min(lease, limit), held))

    def set(self, call: LiveCall, lease_bytes: int) -> None:
        """Note the lease that a call has from now on."""
        audit.leased(self._core, call, lease_bytes)
        call.lease_bytes = lease_bytes
        self._core.registry.count_lease(call)
        self._core.budgets.follow(call)

    def limits(self, call: LiveCall) -> Limits:
        """What the lease comes to."""
        lease = call.lease_bytes
        if lease is None or not self.enabled:
            return Limits()
        return Limits(
            memory_high=lease,
            memory_max=engine.backstop_bytes(
                lease, call.record.grant.memory_max_bytes, call.processes
            ),
        )

    def write(self, call: LiveCall) -> None:
        """Put a longer lease in force: first what kills, then what slows."""
        wanted = self.limits(call)
        call.cgroup.apply(Limits(memory_max=wanted.memory_max))
        most = wanted.memory_max
        call.ceiling_bytes = most if isinstance(most, int) else None
        self._core.registry.count_lease(call)
        call.cgroup.apply(Limits(memory_high=wanted.memory_high))
