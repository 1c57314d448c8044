# SPDX-License-Identifier: Apache-2.0
"""The machine's memory, as the kernel says it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from agentcg.daemon.service.host import hostview
from agentcg.daemon.service.host.hostview import Memory

MEMINFO = """\
MemTotal:       32765156 kB
MemFree:          212345 kB
MemAvailable:   24000000 kB
SwapCached:           12 kB
SwapTotal:       2097148 kB
SwapFree:        1048576 kB
HugePages_Total:       0
"""


def test_memory_is_read_from_meminfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In bytes; of a line whose name begins or ends alike nothing is taken."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(hostview, "PROC_MEMINFO", tmp_path / "meminfo")
    assert Memory.read() == Memory(32765156 << 10, 24000000 << 10, 2097148 << 10, 1 << 30)


def test_this_machine_has_what_others_find() -> None:
    """The sizes that do not change from one moment to the next."""
    found = Memory.read()
    assert found.total == psutil.virtual_memory().total
    assert found.swap_total == psutil.swap_memory().total
    assert 0 < found.available <= found.total
