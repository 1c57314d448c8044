# SPDX-License-Identifier: Apache-2.0
"""cgroup v2: typed handles, knobs, events and placement.

    with Cgroup.open(find_mount().path / "mine") as top, top.create("call-1") as leaf:
        leaf.apply(Limits(memory_high=256 << 20, pids_max=100))
        pid = spawn_into(leaf.fileno(), ["make"], os.environ)
        os.waitpid(pid, 0)
        print(leaf.usage().memory_peak)
        top.remove("call-1")

Every failure is a CgroupError (or its CgroupGone, ControllerMissing) that says path, knob,
value, the kernel's reason and what to do.

Names are loaded when they are first used: `agentcg run` needs `fork_into` alone, in front of
every single call, and must not wait for the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentcg.cgroups.cgroup import MARK, Cgroup, Resource, require_controllers
    from agentcg.cgroups.clone import fork_into
    from agentcg.cgroups.knobs import LIMIT_KNOBS, Knob
    from agentcg.cgroups.mount import Mount, find_mount
    from agentcg.cgroups.peak import Peak
    from agentcg.cgroups.spawn import spawn_into
    from agentcg.cgroups.values import (
        MAX,
        CgroupEvents,
        CpuMax,
        CpuStat,
        IoMax,
        IoStat,
        IoWeight,
        Limit,
        Limits,
        Max,
        MemoryEvents,
        MemoryStat,
        Psi,
        PsiLine,
        Usage,
    )
    from agentcg.cgroups.watch import Watcher

__all__ = [
    "LIMIT_KNOBS", "MARK", "MAX",
    "Cgroup", "CgroupEvents", "CpuMax", "CpuStat", "IoMax", "IoStat", "IoWeight", "Knob",
    "Limit", "Limits", "Max", "MemoryEvents", "MemoryStat", "Mount", "Peak", "Psi", "PsiLine",
    "Resource", "Usage", "Watcher",
    "find_mount", "fork_into", "require_controllers", "spawn_into",
]  # fmt: skip

_ELSEWHERE = {
    "MARK": "cgroup", "Cgroup": "cgroup", "Resource": "cgroup", "require_controllers": "cgroup",
    "fork_into": "clone",
    "LIMIT_KNOBS": "knobs", "Knob": "knobs",
    "Mount": "mount", "find_mount": "mount",
    "Peak": "peak",
    "spawn_into": "spawn",
    "Watcher": "watch",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_ELSEWHERE.get(name, 'values')}")
    value: object = getattr(module, name)
    globals()[name] = value
    return value
