# SPDX-License-Identifier: Apache-2.0
"""Carrying out what the engine grants: a running call's new limits, and protection."""

from __future__ import annotations

import logging

import msgspec

from agentcg.cgroups import Limits
from agentcg.daemon.engine import Protection, protect, widen
from agentcg.daemon.engine.feedback import over_grant
from agentcg.daemon.messages import Grant
from agentcg.daemon.service import views
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.limits import call_limits
from agentcg.daemon.service.records import CALL_MARK, encode
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import CgroupError

log = logging.getLogger(__name__)


class Grants:
    """Changes of limits after the begin."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def apply(self, call: LiveCall, grant: Grant) -> None:
        """Put a new grant in force; it survives the daemon from then on."""
        core = self._core
        if grant == call.record.grant:
            return
        call.cgroup.apply(core.enforceable(call_limits(grant)))
        call.record = msgspec.structs.replace(call.record, grant=grant)
        call.cgroup.set_attr(CALL_MARK, encode(call.record))
        core.registry.commit(call, views.call_view(call).committed_bytes)
        call.told_over_grant = False
        core.publish("grant.changed", grant.reason, call.session, call.id)

    def met_limit(self, call: LiveCall) -> None:
        """The kernel slows a call at its `memory.high`: widen it if there is room, else tell."""
        wider = widen(
            views.host_view(self._core),
            views.session_view(call.session),
            views.call_view(call),
        )
        if wider is not None:
            self.apply(call, wider)
        elif not call.told_over_grant:
            call.told_over_grant = True
            told = over_grant(call.memory_bytes, call.record.grant)
            self._core.publish("call.over_grant", told.text, call.session, call.id, told)

    def share_protection(self) -> None:
        """Share `memory.low` out anew: sessions came or went, or the bound has changed."""
        core = self._core
        sessions = core.registry.sessions
        shares = protect(
            (
                Protection(s.name, s.record.priority, s.record.protect_bytes)
                for s in sessions.values()
            ),
            core.memory_bytes(),
        )
        for name, low_bytes in shares.items():
            session = sessions[name]
            if session.protected_bytes == low_bytes:
                continue
            session.protected_bytes = low_bytes
            runtime_bytes = min(session.record.runtime_protect_bytes, low_bytes)
            try:
                session.cgroup.apply(core.enforceable(Limits(memory_low=low_bytes)))
                session.runtime.apply(core.enforceable(Limits(memory_low=runtime_bytes)))
            except CgroupError as error:
                log.error("session %s is not protected: %s", name, error)
