# SPDX-License-Identifier: Apache-2.0
"""What of agentcg is in force on this host: never silently less than it seems."""

from __future__ import annotations

from agentcg.daemon.messages import Control
from agentcg.daemon.service.core import Core

_KNOBS = (
    ("memory.high", "memory"),
    ("memory.max", "memory"),
    ("memory.low", "memory"),
    ("cpu.weight", "cpu"),
    ("pids.max", "pids"),
)


def controls(core: Core, pressure_missing: str | None, left_alone: list[str]) -> list[Control]:
    """Each control and whether this kernel enforces it for sessions. `left_alone`: cgroups that
    carry our mark and could not be adopted, and why."""
    return [
        *(_knob(core, knob, controller) for knob, controller in _KNOBS),
        _kill(core),
        _accounting(core),
        _pressure(pressure_missing),
        _adoption(left_alone),
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
