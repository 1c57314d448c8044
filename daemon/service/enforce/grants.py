# SPDX-License-Identifier: Apache-2.0
"""Carrying out what the engine grants: a running call's new limits, and protection."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from agentcg.cgroups import Limits
from agentcg.daemon.engine import Protection, protect, widen
from agentcg.daemon.engine.feedback import over_grant
from agentcg.daemon.messages import Feedback, Grant
from agentcg.daemon.service import audit, views
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.enforce.leases import Leases
from agentcg.daemon.service.limits import call_limits
from agentcg.daemon.service.records import CALL_MARK, encode
from agentcg.daemon.service.rounds import Rounds
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import CgroupError
from agentcg.units import format_size

log = logging.getLogger(__name__)

_PAUSE_S = 0.05


class Grants:
    """Changes of limits after the begin."""

    def __init__(self, core: Core, leases: Leases) -> None:
        self._core = core
        self.leases = leases
        leases.on_beyond_grant = self.widened
        self._rounds = Rounds(self._share_out, "protect", _PAUSE_S)

    def apply(self, call: LiveCall, grant: Grant) -> None:
        """Put a new grant in force; it survives the daemon from then on."""
        core = self._core
        if grant == call.record.grant:
            return
        call.cgroup.apply(core.enforceable(self._limits(call, grant)))
        _note(call, grant)
        core.registry.commit(call, views.call_view(call).committed_bytes)
        self.leases.regranted(call)
        audit.granted(core, call, grant, core.clock())
        core.publish("grant.changed", grant.reason, call.session, call.id)

    @staticmethod
    def _limits(call: LiveCall, grant: Grant) -> Limits:
        """What `grant` comes to; a lease within it stays, and the CPU of a throttled call."""
        limits = call_limits(grant)
        if call.lease_bytes is not None:
            limits = limits._replace(memory_high=None, memory_max=None)
        return limits if call.step is None else limits._replace(cpu_weight=None)

    def widened(self, call: LiveCall, size_bytes: int) -> None:
        """Note that a call may have so much, more than it was granted."""
        held = "" if call.memory_bytes is None else f"held {format_size(call.memory_bytes)} of "
        was = call.record.grant.memory_high_bytes or 0
        grant = msgspec.structs.replace(
            call.record.grant, memory_high_bytes=size_bytes,
            reason=f"{held}{format_size(was)} with room to spare: widened",
        )  # fmt: skip
        _note(call, grant)
        self._core.publish("grant.changed", grant.reason, call.session, call.id)

    def met_limit(self, call: LiveCall) -> None:
        """A call without a lease meets its grant's `memory.high`: widen it if there is room, else
        tell."""
        wider = widen(
            views.host_view(self._core, session=call.session),
            views.session_view(call.session, views.caps_of(self._core, call.session)),
            views.call_view(call),
        )
        if wider is not None:
            self.apply(call, wider)
        else:
            self.tell_slowed(call, over_grant(call.memory_bytes, call.record.grant))

    def tell_slowed(self, call: LiveCall, told: Feedback) -> None:
        """Say that a call can have no more; once, until its grant changes."""
        if not call.record.told_over_grant:
            self._core.note(call, told_oom=call.record.told_oom, told_over_grant=True)
            self._core.publish("call.over_grant", told.text, call.session, call.id, told)

    def share_protection(self) -> None:
        """Share `memory.low` out anew, soon: sessions came or went, or the bound has changed.

        Not at once, since it can concern all sessions: a burst of opens is shared out once, and
        in steps between which requests are answered.
        """
        self._rounds.ask()

    def _share_out(self) -> Iterator[None]:
        for name, low_bytes in self._shares().items():
            self._protect(name, low_bytes)
            yield

    def _shares(self) -> dict[str, int]:
        wanted = (
            Protection(s.name, s.record.priority, max(s.record.protect_bytes, s.demand_bytes))
            for s in self._core.registry.sessions.values()
        )
        return protect(wanted, self._core.memory_bytes())

    def _protect(self, name: str, low_bytes: int) -> None:
        session = self._core.registry.sessions.get(name)
        if session is None or session.protected_bytes == low_bytes:
            return
        runtime_bytes = min(session.record.runtime_protect_bytes, low_bytes)
        enforceable = self._core.enforceable
        try:
            session.cgroup.apply(enforceable(Limits(memory_low=low_bytes)))
            session.runtime.apply(enforceable(Limits(memory_low=runtime_bytes)))
        except CgroupError as error:
            log.error("session %s is not protected: %s", name, error)
            return
        session.protected_bytes = low_bytes

    def close(self) -> None:
        """Stop sharing out."""
        self._rounds.close()


def _note(call: LiveCall, grant: Grant) -> None:
    """What was granted survives the daemon."""
    call.record = msgspec.structs.replace(call.record, grant=grant, told_over_grant=False)
    call.cgroup.set_attr(CALL_MARK, encode(call.record))
