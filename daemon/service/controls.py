# SPDX-License-Identifier: Apache-2.0
"""What of agentcg is in force on this host: never silently less than it seems."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from agentcg.cgroups.knobs import IO_WEIGHT
from agentcg.daemon.messages import Control
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.hostview import Memory

_KNOBS = (
    ("memory.high", "memory"),
    ("memory.max", "memory"),
    ("memory.low", "memory"),
    ("cpu.weight", "cpu"),
    ("pids.max", "pids"),
)


def controls(
    core: Core,
    *,
    pressure_missing: str | None,
    watch_missing: str | None,
    left_alone: list[str],
) -> list[Control]:
    """Each control and whether this kernel enforces it for sessions. `left_alone`: cgroups that
    carry our mark and could not be adopted, and why."""
    return [
        *(_knob(core, knob, controller) for knob, controller in _KNOBS),
        *_asked_for(core),
        _leases(core),
        _reclaim(core),
        _kill(core),
        _accounting(core),
        _curves(core),
        _pressure(pressure_missing),
        _adoption(left_alone),
        _policy_watch(watch_missing),
    ]


def _knob(core: Core, knob: str, controller: str) -> Control:
    if controller in core.root.controllers:
        return Control(name=knob, state="enforced", backend="cgroup file", detail="")
    return Control(
        name=knob,
        state="absent",
        backend="cgroup file",
        detail=f"sessions do not have the {controller} controller: it is not offered at "
        f"{core.root.cgroup.path} (cgroup v1 holds it, or a parent does not pass it on)",
    )


def _asked_for(core: Core) -> Iterator[Control]:
    """Controls that only matter where a site's policy makes use of them."""
    if core.policy.policy.asks_for("sessions", "cpu_max"):
        yield _knob(core, "cpu.max", "cpu")
    if core.policy.policy.asks_for("sessions", "io_weight"):
        found = _knob(core, "io.weight", "io")
        if found.state == "enforced" and core.root.cgroup.get(IO_WEIGHT) is None:
            needed = "this kernel has no io.weight (CONFIG_BLK_CGROUP_IOCOST)"
            found = msgspec.structs.replace(found, state="absent", detail=needed)
        yield found


def _leases(core: Core) -> Control:
    backend = "memory.high, memory.events"
    if not core.policy.policy.ladder.enabled:
        detail = "switched off by the policy (ladder: enabled)"
        return Control(name="leases", state="absent", backend=backend, detail=detail)
    there = "memory" in core.root.controllers
    return Control(
        name="leases",
        state="enforced" if there else "absent",
        backend=backend,
        detail="" if there else "without the memory controller calls grow unasked",
    )


def _reclaim(core: Core) -> Control:
    if not (core.root.cgroup.path / "memory.reclaim").exists():
        detail = "Linux 5.19 brought memory.reclaim; agents that wait give nothing back"
        return Control(name="reclaim", state="absent", backend="memory.reclaim", detail=detail)
    swap = Memory.read().swap_total > 0
    return Control(
        name="reclaim",
        state="enforced",
        backend="memory.reclaim",
        detail=""
        if swap
        else "this host has no swap: only page cache comes back, and a paused "
        "call keeps its memory; zram gives room",
    )


def _kill(core: Core) -> Control:
    there = (core.root.cgroup.path / "cgroup.kill").exists()
    return Control(
        name="kill",
        state="enforced" if there else "degraded",
        backend="cgroup.kill" if there else "signals",
        detail="" if there else "Linux 5.14 brought cgroup.kill; processes are killed one by one",
    )


def _accounting(core: Core) -> Control:
    tracking = core.tracking
    return Control(
        name="accounting",
        state="enforced" if tracking.state == "bpf" else "degraded",
        backend="bcc raw tracepoints" if tracking.state == "bpf" else "cgroup files",
        detail="" if tracking.state == "bpf" else tracking.reason,
    )


def _curves(core: Core) -> Control:
    missing = core.tracking.curves_missing
    return Control(
        name="curves",
        state="absent" if missing else "enforced",
        backend="bcc raw tracepoint",
        detail=missing or "",
    )


def detection(reason: str | None, lost: int, unplaced: int, *, quick: bool) -> Control:
    """Whether calls are found that nobody declares. `reason`: why not; `lost`: sights that found
    the ring full; `unplaced`: calls that could have no leaf; `quick`: moves cost no time."""
    told = [
        f"{lost} sights lost: the ring was full" if lost else "",
        f"{unplaced} calls went on in the runtime: the session had as many as it may have"
        if unplaced
        else "",
        "" if quick else "each is moved 5-15 ms late: cgroup v2 is mounted without favordynmods",
    ]
    return Control(
        name="detection",
        state="absent" if reason else "degraded" if lost else "enforced",
        backend="bcc raw tracepoints",
        detail=reason or "; ".join(filter(None, told)),
    )


def _pressure(missing: str | None) -> Control:
    return Control(
        name="pressure",
        state="absent" if missing else "enforced",
        backend="psi trigger",
        detail=missing or "",
    )


def _adoption(left_alone: list[str]) -> Control:
    return Control(
        name="adoption",
        state="degraded" if left_alone else "enforced",
        backend="extended attributes",
        detail="; ".join(left_alone),
    )


def _policy_watch(missing: str | None) -> Control:
    return Control(
        name="policy watch",
        state="degraded" if missing else "enforced",
        backend="SIGHUP only" if missing else "directory notification",
        detail=missing or "",
    )
