# SPDX-License-Identifier: Apache-2.0
"""From a pidfd to the number that cgroup files take, and back to certainty."""

from __future__ import annotations

import signal
from pathlib import Path

from agentcg.errors import InvalidInput


def pid_of(pidfd: int) -> int | None:
    """The process id behind `pidfd` in this pid namespace; `None` once it is reaped."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "Pid":
            pid = int(value)
            return pid if pid > 0 else None  # -1: reaped; 0: not in this namespace
    raise InvalidInput("pidfd", pidfd, "a descriptor from pidfd_open")


def still_runs(pidfd: int) -> bool:
    """Whether the process keeps its number: it runs, or is a zombie not yet reaped."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
