# SPDX-License-Identifier: Apache-2.0
"""Sessions of high priority wake up sooner, where the scheduler is there to favour them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from agentcg.daemon.service.state import LiveSession
from agentcg.errors import BpfError

log = logging.getLogger(__name__)


class Backend(Protocol):
    """What favours: `agentcg.bpf.Scheduler`."""

    def favour(self, cgroup_id: int, on: bool) -> None:
        """Let its tasks run as soon as they wake, within a budget, or not any more."""


class Favours:
    """Keeps the backend's favours as the sessions' priorities are."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._favoured: set[int] = set()

    def follow(self, sessions: Iterable[LiveSession]) -> None:
        """These are the sessions now. One that the backend refuses is asked for again next time;
        it loses nothing else."""
        wanted = {one.cgroup.id for one in sessions if one.record.priority == "high"}
        for cgroup_id in self._favoured ^ wanted:
            try:
                self._backend.favour(cgroup_id, cgroup_id in wanted)
            except BpfError as error:
                log.debug("%s", error)
                continue
            self._favoured ^= {cgroup_id}
