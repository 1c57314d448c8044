# SPDX-License-Identifier: Apache-2.0
"""The host and the daemon as a whole: how they are, and the bound over all sessions."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

import msgspec

import agentcg
from agentcg.daemon.messages import ChangeHost, Control, Health, Host, PolicyFile, PolicyText
from agentcg.daemon.service.accounts import totals
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.hostview import host_view
from agentcg.daemon.service.host.peers import Peer, require_admin
from agentcg.errors import AgentcgError

WARNINGS_MAX = 20  # of a policy, told in health; `agentcg policy check` has all of them


class Overview:
    """Answers what is asked of no session in particular.

    `controls`: what is in force now, of all parts. `bound_changed`: told when the bound over all
    sessions is another one.
    """

    def __init__(
        self,
        core: Core,
        controls: Callable[[], list[Control]],
        bound_changed: Callable[[], None],
    ) -> None:
        self._core = core
        self._controls = controls
        self._bound_changed = bound_changed
        self._started_at = core.clock()

    # --- The host ---

    def host(self) -> Host:
        """The machine, and what agents have of it."""
        core, root = self._core, self._core.root.cgroup
        lived_s = core.clock() - self._started_at
        return msgspec.structs.replace(
            host_view(root, core.registry, core.memory_max_bytes(), len(core.waiting)),
            account=totals.of_host(root, core.registry, core.tracking, core.counts, lived_s),
        )

    def change_host(self, peer: Peer, request: ChangeHost) -> Host:
        """Bound what all sessions together may use; it survives the daemon. Raises `Forbidden`,
        and `CgroupError` where the kernel refuses: then the bound is what it was."""
        require_admin(peer, "change the bounds of this host")
        root = self._core.root
        before = root.record
        root.save(msgspec.structs.replace(before, memory_max_bytes=request.memory_max_bytes))
        try:
            self._core.apply_host_bound()
        except AgentcgError:
            root.save(before)
            raise
        self._bound_changed()
        return self.host()

    # --- The daemon ---

    def policy(self, peer: Peer) -> PolicyText:
        """The policy in force. Raises `Forbidden`: its files need not be for everybody."""
        require_admin(peer, "read the policy in force")
        policy = self._core.policy.policy
        return PolicyText(
            source=policy.source,
            error=self._core.policy.error,
            warnings=[str(warning) for warning in policy.warnings],
            files=[PolicyFile(name=file.name, text=file.text) for file in policy.ordered],
        )

    def health(self) -> Health:
        """How the daemon is, and what of it is in force."""
        core, policy = self._core, self._core.policy.policy
        found = self._controls()
        return Health(
            state=self._state(found),
            version=agentcg.__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            uptime_s=max(0.0, core.clock() - self._started_at),
            policy=policy.source,
            policy_error=core.policy.error,
            policy_warnings=[str(warning) for warning in policy.warnings[:WARNINGS_MAX]],
            accounting=core.tracking.state,
            events_lost=core.tracking.events_lost,
            controls=found,
            history=core.history.health(),
        )

    def _state(self, found: list[Control]) -> Literal["ok", "degraded", "starting"]:
        if self._core.tracking.state == "starting":
            return "starting"
        enforced = all(control.state in ("enforced", "off") for control in found)
        return "ok" if enforced and self._core.policy.error is None else "degraded"
