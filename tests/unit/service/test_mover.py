# SPDX-License-Identifier: Apache-2.0
"""What is told where the kernel moves a process nowhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.service.host import mover
from agentcg.daemon.service.host.mover import Mover
from agentcg.errors import AgentcgError, CgroupError, CgroupGone, Conflict, InvalidInput


@pytest.mark.parametrize(("kind", "told"), [(CgroupGone, Conflict), (CgroupError, InvalidInput)])
def test_a_leaf_that_went_is_no_mistake_of_the_pid(
    kind: type[CgroupError], told: type[AgentcgError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks may begin again; a process that cannot be moved can never be."""

    def refused(*_: object) -> int:
        raise kind("/c", "cgroup.procs", "7", 22)

    monkeypatch.setattr(mover, "_move", refused)
    session: Any = SimpleNamespace(closing=False)
    cgroup: Any = SimpleNamespace(path=Path("/c"))
    with pytest.raises(told):
        Mover(quick=True).place_now(session, cgroup, 3, 7)
