# SPDX-License-Identifier: Apache-2.0
"""A guard for a daemon that no service manager looks after.

What is frozen or slowed goes on when the daemon ends, however it ends: a small process waits
for the daemon's end of a pipe to close and then runs `agentcgd --release`. Under systemd the
unit does that (`ExecStopPost=`), and the guard is left out. It is of no use if whoever kills the
daemon kills its whole cgroup.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_DISMISSED = b"."
_WAIT = """\
import os, sys
if not os.read(0, 1):
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Guard:
    """Watches this process until it is dismissed."""

    def __init__(self, root: Path) -> None:
        """Start it: a bare interpreter (9 MiB) that sleeps."""
        release = ("-m", "agentcg.daemon.main", "--release", "--root", str(root))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WAIT, *release],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the daemon
        )

    def dismiss(self) -> None:
        """The daemon has let everybody go by itself."""
        try:
            self._process.communicate(_DISMISSED)
        except BrokenPipeError:
            self._process.wait()  # somebody ended it
