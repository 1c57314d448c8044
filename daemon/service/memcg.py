# SPDX-License-Identifier: Apache-2.0
"""The kernel's own interface for memory delay in the daemon: used where the kernel has it."""

from __future__ import annotations

import asyncio
import logging

from agentcg.bpf.memcg_ops import MemcgOps, probe
from agentcg.daemon.messages import Control
from agentcg.daemon.service.core import Core
from agentcg.errors import BpfError

log = logging.getLogger(__name__)


class KernelDelay:
    """Has the kernel ask a program of ours how long each charge of a session has to wait."""

    def __init__(self, core: Core, *, wanted: bool) -> None:
        self.reason = "" if wanted else "switched off (--memory-delay off)"
        self._core = core
        self._ops: MemcgOps | None = None

    @property
    def active(self) -> bool:
        """Whether budgets are answered."""
        return self._ops is not None

    async def start(self) -> None:
        """Attach to the root of all sessions, if the kernel can; that is looked up off the loop."""
        if self.reason:
            return
        found = await asyncio.to_thread(probe)
        if isinstance(found, str):
            self.reason = found
            return
        try:
            self._ops = MemcgOps.open(self._core.root.cgroup.fileno())
        except (BpfError, OSError) as error:
            self.reason = str(error)
            log.warning("memory delay by the kernel's own interface: %s", error)
            return
        self._core.budgets.start(self._ops.budgets, self._core.registry.calls.values())
        log.info("the kernel delays charges over budgets (memcg_bpf_ops, %s)", found.name)

    def control(self) -> Control:
        """For `agentcg doctor`."""
        return Control(
            name="memcg struct_ops",
            state="enforced" if self.active else "off",
            backend="memcg_bpf_ops",
            detail=self.reason,
        )

    def close(self) -> None:
        """Let the kernel decide alone again."""
        if self._ops is not None:
            self._ops.close()
            self._ops = None
