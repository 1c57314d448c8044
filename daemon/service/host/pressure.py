# SPDX-License-Identifier: Apache-2.0
"""Pressure events: the kernel tells when agents wait for memory, nobody polls.

Triggers (psi.rst) sit on the root of all sessions; an event says how bad it is, and at most
one a few seconds is published.
"""

from __future__ import annotations

import logging
from typing import Final

from agentcg.cgroups import Resource
from agentcg.daemon.service.core import Core
from agentcg.errors import CgroupError

log = logging.getLogger(__name__)

STALL_US: Final = 150_000
WINDOW_US: Final = 2_000_000
"""Also allowed without CAP_SYS_RESOURCE; so an event says: over 7.5% of two seconds lost."""
QUIET_S: Final = 5.0
RESOURCES: Final[tuple[Resource, ...]] = ("memory", "io")


class PressureWatch:
    """Registers the triggers and publishes. `missing`: why there are none, if so."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._told_at: dict[str, float] = {}
        self.missing: str | None = None

    def start(self) -> None:
        """Register; a kernel without PSI (psi=1) is no reason not to run."""
        core = self._core
        for resource in RESOURCES:
            try:
                core.watcher.trigger(
                    core.root.cgroup, resource, "some", STALL_US, WINDOW_US, resource
                )
            except CgroupError as error:
                self.missing = str(error)
                log.warning("no pressure events: %s", error)

    def fired(self, resource: str) -> None:
        """The kernel says that sessions waited for `resource`."""
        core, now = self._core, self._core.clock()
        if now - self._told_at.get(resource, 0.0) < QUIET_S:
            return
        self._told_at[resource] = now
        psi = core.root.cgroup.pressure("memory" if resource == "memory" else "io")
        share = "" if psi is None else f": {psi.some.avg10:.1f}% of the last 10 s"
        core.bus.publish("pressure", f"Sessions wait for {resource}{share}.")
