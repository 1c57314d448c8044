# SPDX-License-Identifier: Apache-2.0
"""What health says of single abilities."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.service.controls import _knob, _reclaim, detection
from agentcg.daemon.service.host import hostview


@pytest.mark.parametrize(
    ("given", "state", "told"),
    [
        ((None, 0, 0, True), "enforced", ""),
        ((None, 0, 0, False), "enforced", "favordynmods"),
        ((None, 3, 0, True), "degraded", "3 sights lost"),
        ((None, 0, 2, True), "enforced", "2 calls went on in the runtime"),
        (("no BTF", 0, 0, False), "absent", "no BTF"),
    ],
)
def test_detection(given: tuple[str | None, int, int, bool], state: str, told: str) -> None:
    """Absent with the reason; degraded once anything was lost; slow moves are told of."""
    reason, lost, unplaced, quick = given
    control = detection(reason, lost, unplaced, quick=quick)
    assert control.state == state
    assert told in control.detail
    assert bool(told) is bool(control.detail)


def test_a_controller_that_is_not_there_is_told() -> None:
    """With the cgroup that does not have it; never silently less than it seems."""
    root = SimpleNamespace(controllers={"memory"}, cgroup=SimpleNamespace(path="/x/sessions"))
    core: Any = SimpleNamespace(root=root)
    assert _knob(core, "memory.high", "memory").state == "enforced"
    absent = _knob(core, "cpu.weight", "cpu")
    assert absent.state == "absent"
    assert "the cpu controller: it is not offered at /x/sessions" in absent.detail


@pytest.mark.parametrize(("swap_kib", "told"), [(0, "this host has no swap"), (1024, "")])
def test_a_host_without_swap_is_told_what_that_means(
    swap_kib: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reclaim is enforced there as well, but paused calls keep their memory."""
    meminfo = tmp_path / "meminfo"
    sizes = {"MemTotal": 1 << 20, "MemAvailable": 1 << 19, "SwapTotal": swap_kib, "SwapFree": 0}
    meminfo.write_text("".join(f"{name}: {kib} kB\n" for name, kib in sizes.items()))
    monkeypatch.setattr(hostview, "PROC_MEMINFO", meminfo)
    (tmp_path / "memory.reclaim").touch()
    core: Any = SimpleNamespace(root=SimpleNamespace(cgroup=SimpleNamespace(path=tmp_path)))
    control = _reclaim(core)
    assert control.state == "enforced"
    assert control.detail.startswith(told)
    assert bool(told) is bool(control.detail)
