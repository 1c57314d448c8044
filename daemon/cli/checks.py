# SPDX-License-Identifier: Apache-2.0
"""What this host offers, checked without the daemon. Reads only; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from agentcg.daemon.messages import Control
from agentcg.errors import AgentcgError

_State = Literal["enforced", "degraded", "absent", "off"]

HOLDER = Path("agentcg.slice/agentcg-sessions.service")
NEEDED = {"memory": "limits and protection of memory", "cpu": "weights", "pids": "fork bombs"}
# Each knob in a cgroup that is not the root, and the release that brought it.
KNOBS = {
    "cgroup.kill": "Linux 5.14: killing a call at once",
    "cgroup.freeze": "Linux 5.2: freezing a call",
    "memory.reclaim": "Linux 5.19: reclaim on demand",
    "memory.peak": "Linux 5.19: peak memory of a call",
    "memory.oom.group": "Linux 4.19: a call dies as a whole",
    "cgroup.pressure": "Linux 6.1 with CONFIG_PSI: pressure per cgroup",
}


def host_controls() -> list[Control]:
    """Everything that the daemon would need, each with its state."""
    controls: list[Control] = []
    for check in (_cgroups, _bpf, _scheduler, _memcg):
        controls += _guarded(check)
    return controls


def _guarded(check: Callable[[], Iterator[Control]]) -> list[Control]:
    """The controls that `check` finds up to where the host refuses."""
    found: list[Control] = []
    try:
        found.extend(check())
    except (AgentcgError, OSError) as error:
        name = check.__name__.removeprefix("_")
        found.append(Control(name=name, state="absent", backend="-", detail=str(error)))
    return found


def _control(name: str, there: bool, backend: str, need: str, weaker: _State = "absent") -> Control:
    return Control(
        name=name,
        state="enforced" if there else weaker,
        backend=backend if there else "-",
        detail="" if there else need,
    )


def _cgroups() -> Iterator[Control]:
    from agentcg.cgroups import Cgroup, find_mount

    mount = find_mount()
    how = "read-only: remount it read-write" if mount.read_only else ""
    yield _control("cgroup v2", not mount.read_only, str(mount.path), how)
    with Cgroup.open(mount.path) as root:
        offered = root.controllers()
    for name, purpose in NEEDED.items():
        elsewhere = name in mount.v1_controllers
        need = f"needed for {purpose}: " + (
            "cgroup v1 holds it; boot with systemd.unified_cgroup_hierarchy=1"
            if elsewhere
            else "this kernel does not offer it here (CONFIG_MEMCG, CONFIG_CGROUP_SCHED, "
            "CONFIG_CGROUP_PIDS; or cgroup_disable= on the kernel's command line)"
        )
        yield _control(name, name in offered, "cgroup controller", need)
    yield from _knobs(mount.path)
    yield _delegation(mount.path)
    yield _control(
        "protection",
        mount.memory_recursiveprot,
        "memory_recursiveprot",
        "memory.low of a session does not reach its leaves: remount with memory_recursiveprot",
        "degraded",
    )


def _knobs(mount: Path) -> Iterator[Control]:
    """Kernel features, by the files of the first cgroup there is."""
    example = next((path for path in sorted(mount.iterdir()) if path.is_dir()), None)
    if example is None:
        return
    for knob, release in KNOBS.items():
        yield _control(knob, (example / knob).exists(), "cgroup file", f"since {release}")


def _delegation(mount: Path) -> Control:
    """Whether a delegated cgroup waits for the daemon."""
    holder = mount / HOLDER
    if holder.is_dir():
        may = os.geteuid() != 0 or os.access(holder / "cgroup.subtree_control", os.W_OK)
        return _control("delegation", may, str(holder), f"{holder} is not writable for root")
    return _control(
        "delegation",
        Path("/run/systemd/system").is_dir(),
        "systemd, by agentcg-sessions.service (not started)",
        "no systemd here: give the daemon a delegated cgroup with agentcgd --root PATH",
    )


def _bpf() -> Iterator[Control]:
    from agentcg.bpf import probe

    for feature in probe():
        need = ": ".join(part for part in (feature.detail, feature.remedy) if part)
        yield _control(f"bpf: {feature.name}", feature.available, feature.detail, need, "degraded")


def _scheduler() -> Iterator[Control]:
    from agentcg.bpf import scheduler

    absence = scheduler.absence()
    yield _control("scheduler", not absence, "sched_ext", absence, "off")


def _memcg() -> Iterator[Control]:
    from agentcg.bpf import memcg_ops

    found = memcg_ops.probe()
    absence = found if isinstance(found, str) else ""
    yield _control("memcg struct_ops", not absence, str(found), absence, "off")
