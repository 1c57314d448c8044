# SPDX-License-Identifier: Apache-2.0
"""Where cgroup v2 is mounted, and how.

Understood: the unified hierarchy (/sys/fs/cgroup), the hybrid one (/sys/fs/cgroup/unified
beside cgroup v1), several mounts, cgroup namespaces. Source: proc(5) on mountinfo,
cgroup-v2.rst "Mounting".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agentcg.errors import CgroupError

MOUNTINFO = Path("/proc/self/mountinfo")
USUAL = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of the cgroup v2 hierarchy."""

    path: Path
    root: str  # what of the hierarchy is mounted: "/", or a part of it (bind mount, container)
    options: frozenset[str]
    v1_controllers: frozenset[str] = frozenset()  # bound to cgroup v1, hence not usable here

    @property
    def read_only(self) -> bool:
        """Nothing can be created or changed through this mount."""
        return "ro" in self.options

    @property
    def nsdelegate(self) -> bool:
        """Cgroup namespaces are delegation boundaries."""
        return "nsdelegate" in self.options

    @property
    def favordynmods(self) -> bool:
        """Moving processes is cheap, forks and exits cost a little more (Linux 6.0)."""
        return "favordynmods" in self.options

    @property
    def memory_recursiveprot(self) -> bool:
        """`memory.low` and `memory.min` of a parent protect its children (Linux 5.7)."""
        return "memory_recursiveprot" in self.options

    @property
    def memory_localevents(self) -> bool:
        """`memory.events` counts the cgroup alone, without its descendants (Linux 5.2)."""
        return "memory_localevents" in self.options


def parse_mountinfo(text: str) -> list[Mount]:
    """The cgroup v2 mounts in `text`, in order. A later mount on the same path hides an
    earlier one, which is left out."""
    found: dict[Path, Mount] = {}
    v1: set[str] = set()
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, source = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(source) < 3:
            raise ValueError(f"{line[:80]!r} is not a mountinfo line")
        path = Path(_unescape(fields[4]))
        found.pop(path, None)
        if source[0] == "cgroup":
            v1.update(source[2].split(","))
        if source[0] == "cgroup2":
            options = frozenset(fields[5].split(",")) | frozenset(source[2].split(","))
            found[path] = Mount(path, _unescape(fields[3]), options - _overridden(options))
    controllers = frozenset(v1 - {"rw", "ro"})
    return [Mount(m.path, m.root, m.options, controllers) for m in found.values()]


def _overridden(options: frozenset[str]) -> frozenset[str]:
    """A mount is read-only if either the mount or its file system is."""
    return frozenset({"rw"}) if "ro" in options else frozenset()


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def find_mount(mountinfo: Path = MOUNTINFO) -> Mount:
    """The cgroup v2 mount to use: a usual place first, then the one mounted first.

    Raises CgroupError where there is none.
    """
    mounts = {mount.path: mount for mount in parse_mountinfo(mountinfo.read_text())}
    for path in USUAL:
        if path in mounts:
            return mounts[path]
    for mount in mounts.values():
        return mount
    raise CgroupError(
        str(USUAL[0]), "", None, None,
        remedy="no cgroup v2 is mounted here: boot with systemd.unified_cgroup_hierarchy=1, "
        "or `mount -t cgroup2 none /sys/fs/cgroup`; in a container run it with a cgroup mount",
    )  # fmt: skip
