# SPDX-License-Identifier: Apache-2.0
"""Where the demonstration runs: on this host if it can, else in the guest, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("memory", "cpu", "pids")
UNIT_FOLDERS = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")


class NotHere(Exception):
    """The host was asked for and cannot be taken."""


@dataclass(frozen=True)
class Machine:
    """What matters about a host, as found."""

    root: bool
    systemd: bool  # runs as PID 1
    controllers: frozenset[str] | None  # of cgroup v2 at /sys/fs/cgroup; None: it is not v2
    installed: bool  # units of agentcg that are not ours to replace

    @classmethod
    def look(cls, tree: Path = Path("/")) -> Machine:
        """Look at the machine whose file system is `tree`."""
        controllers = tree / "sys/fs/cgroup/cgroup.controllers"
        return cls(
            root=os.geteuid() == 0,
            systemd=(tree / "run/systemd/system").is_dir(),
            controllers=frozenset(controllers.read_text(encoding="ascii").split())
            if controllers.is_file()
            else None,
            installed=any((tree / one / "agentcgd.service").exists() for one in UNIT_FOLDERS),
        )

    def obstacle(self) -> str | None:
        """Why the demonstration cannot take this host; None if it can."""
        if not self.root:
            return "this needs root"
        if self.controllers is None:
            return "this host has no cgroup v2 at /sys/fs/cgroup"
        if missing := [one for one in NEEDED if one not in self.controllers]:
            return f"cgroup v2 has no {' and '.join(missing)} controller on this host"
        if not self.systemd:
            return "systemd does not run this host"
        if self.installed:
            return "agentcg is installed on this host, and its daemon is left alone"
        return None


def choose(machine: Machine, wanted: str | None) -> tuple[str, str]:
    """("host" or "guest", the reason in words) for what was asked for ("host", "guest" or None).

    Raises NotHere if the host is asked for and something is in the way.
    """
    obstacle = machine.obstacle()
    if wanted == "host" and obstacle:
        raise NotHere(obstacle)
    if wanted:
        return wanted, "as asked"
    if obstacle:
        return "guest", obstacle
    return "host", "root, cgroup v2 with memory and cpu, systemd: nothing is left behind"
