# SPDX-License-Identifier: Apache-2.0
"""The kernel's own interface for memory delay in the daemon: used where the kernel has it."""

from __future__ import annotations

import asyncio
import logging

from agentcg.bpf.memcg_ops import OPS, MemcgOps, probe
from agentcg.cgroups import Cgroup
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
        """Attach to the root of all sessions, if the kernel can, off the loop: types of the whole
        kernel are read, and programs verified."""
        if self.reason:
            return
        root = self._core.root.cgroup.duplicate()  # the thread's: it cannot be stopped
        opening = asyncio.ensure_future(asyncio.to_thread(_open, root))
        try:
            opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_undo)
            raise
        except (BpfError, OSError) as error:
            self.reason = str(error)
            log.warning("memory delay by the kernel's own interface: %s", error)
            return
        if isinstance(opened, str):
            self.reason = opened
            return
        self._ops = opened
        self._core.budgets.start(opened.budgets, self._core.registry.calls.values())
        log.info("the kernel delays charges over budgets (%s)", opened.form)

    def control(self) -> Control:
        """For `agentcg doctor`."""
        return Control(
            name="memcg struct_ops",
            state="enforced" if self.active else "off",
            backend=str(self._ops.form) if self._ops else OPS,
            detail=self.reason,
        )

    def close(self) -> None:
        """Let the kernel decide alone again."""
        if self._ops is not None:
            self._ops.close()
            self._ops = None


def _open(root: Cgroup) -> MemcgOps | str:
    """In a thread. Why there is nothing to be opened, on most kernels."""
    with root:
        form = probe()
        return form if isinstance(form, str) else MemcgOps.open(form, root.fileno())


def _undo(opening: asyncio.Future[MemcgOps | str]) -> None:
    if opening.cancelled() or opening.exception() is not None:
        return
    opened = opening.result()
    if not isinstance(opened, str):
        opened.close()
