# SPDX-License-Identifier: Apache-2.0
"""cgroup v2: typed handles, knobs, events and placement.

    root = Cgroup.open(find_mount().path / "demo")
    leaf = root.create("call-1")
    leaf.apply(Limits(memory_high=256 << 20, pids_max=100))
    pid = spawn_into(leaf.fileno(), ["make"], os.environ)
    ...
    print(leaf.usage().memory_peak)
    root.remove("call-1")

Every failure is a CgroupError (or its CgroupGone, ControllerMissing) that says path, knob,
value, the kernel's reason and what to do.
"""

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
