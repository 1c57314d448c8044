# SPDX-License-Identifier: Apache-2.0
"""Which session a command belongs to when the caller names none."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from agentcg.daemon.client.client import check_name

SESSION_VARIABLE = "AGENTCG_SESSION"
SESSION_MARK = "user.agentcg.session"  # the attribute that the daemon gives a session's cgroup

_MOUNTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def choose_session(named: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The first of: `named`, $AGENTCG_SESSION, the session around the caller, the user's own.

    Raises `InvalidInput` if the one that was named is no possible name.
    """
    if named is not None:
        return check_name(named, "--session")
    if environ.get(SESSION_VARIABLE):
        return check_name(environ[SESSION_VARIABLE], f"${SESSION_VARIABLE}")
    return session_around() or user_session(os.getuid())


def session_around(
    proc_cgroup: Path = Path("/proc/self/cgroup"), mounts: tuple[Path, ...] = _MOUNTS
) -> str | None:
    """Name of the session whose cgroup this process is in, by the daemon's mark on it.

    Reads the kernel alone, so it works while the daemon is away. None outside of any session
    and where the host's cgroups cannot be seen (in a container with its own cgroup namespace).
    """
    try:
        path = own_cgroup(proc_cgroup.read_text())
    except OSError:
        return None
    if path is None:
        return None
    for mount in mounts:
        inner = mount / path.lstrip("/")
        for directory in (inner, *inner.parents):
            if directory == mount:
                break
            if _is_session(directory):
                return directory.name
    return None


def own_cgroup(proc_cgroup: str) -> str | None:
    """The cgroup v2 path in the text of /proc/PID/cgroup ("0::/user.slice"), or None."""
    for line in proc_cgroup.splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::")
    return None


def user_session(uid: int) -> str:
    """The name of a user's own session: "user-ada"; by number where there is no name."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return "user-" + _NOT_IN_NAMES.sub("-", name)[:58]


def _is_session(directory: Path) -> bool:
    try:
        os.getxattr(directory, SESSION_MARK)
    except OSError:
        return False
    return True
