# SPDX-License-Identifier: Apache-2.0
"""Where the daemon listens, and which session a caller belongs to when it names none."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence

from agentcg.naming import SESSION_MARK, check_name, user_session

SESSION_VARIABLE = "AGENTCG_SESSION"
SOCKET_VARIABLE = "AGENTCG_SOCKET"
DEFAULT_SOCKET = "/run/agentcg/agentcg.sock"

_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


def socket_path() -> str:
    """Where the daemon listens: $AGENTCG_SOCKET, else /run/agentcg/agentcg.sock."""
    return os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET


def choose_session(named: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The first of: `named`, $AGENTCG_SESSION, the session around the caller, the user's own.

    Raises `InvalidInput` if the one that was named is no possible name.
    """
    if named is not None:
        return check_name(named, "--session")
    if environ.get(SESSION_VARIABLE):
        return check_name(environ[SESSION_VARIABLE], f"${SESSION_VARIABLE}")
    return session_around() or own_session(os.getuid())


def session_around(
    proc_cgroup: str | os.PathLike[str] = "/proc/self/cgroup",
    mounts: Sequence[str | os.PathLike[str]] = _MOUNTS,
) -> str | None:
    """Name of the session whose cgroup this process is in, by the daemon's mark on it.

    Reads the kernel alone, so it works while the daemon is away. None outside of any session
    and where the host's cgroups cannot be seen (in a container with its own cgroup namespace).
    """
    try:
        with open(proc_cgroup, encoding="utf-8", errors="surrogateescape") as file:
            path = own_cgroup(file.read())
    except OSError:
        return None
    if path is None:
        return None
    for mount in mounts:
        inner = path.strip("/")
        while inner:
            if _is_session(f"{os.fspath(mount)}/{inner}"):
                return inner.rpartition("/")[2]
            inner = inner.rpartition("/")[0]
    return None


def own_cgroup(proc_cgroup: str) -> str | None:
    """The cgroup v2 path in the text of /proc/PID/cgroup ("0::/user.slice"), or None."""
    for line in proc_cgroup.splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::")
    return None


def own_session(uid: int) -> str:
    """The name of a user's own session."""
    try:
        return user_session(uid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return user_session(uid, None)


def _is_session(directory: str) -> bool:
    try:
        os.getxattr(directory, SESSION_MARK)
    except OSError:
        return False
    return True
