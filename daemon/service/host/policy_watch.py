# SPDX-License-Identifier: Apache-2.0
"""Tells when files of the policy directory change, so that nobody has to say so.

The kernel's directory notification (fcntl(2), F_NOTIFY: create, delete, rename, change of
content or mode) raises SIGIO. It is in Python's own library, unlike inotify; that it watches
whole directories and one process at a time is just what is needed here.

Limits: a file that is a link elsewhere is not seen to change (SIGHUP reads it), nor is a
directory on another host's disk (NFS).
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

QUIET_S = 0.2
"""An editor or a package manager writes several times: wait until it is done ..."""
LONGEST_S = 2.0
"""... but never longer than this."""

_ENTRIES = fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME
_FILES = _ENTRIES | fcntl.DN_MODIFY | fcntl.DN_ATTRIB

log = logging.getLogger(__name__)


class PolicyWatch:
    """Calls `changed` on the running loop after something happened in `directory`.

    The directory may come, go and come again. `missing`: why nothing is watched, if so.
    """

    def __init__(self, directory: Path, changed: Callable[[], None]) -> None:
        self._directory = directory
        self._changed = changed
        self._watched: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._first_at: float | None = None
        self.missing: str | None = None

    def start(self) -> None:
        """Begin to watch; call once, on the loop of the main thread."""
        self._loop = asyncio.get_running_loop()
        try:
            self._loop.add_signal_handler(signal.SIGIO, self._told)
            self._arm()
        except (OSError, RuntimeError, ValueError) as error:
            self.missing = f"{self._directory} cannot be watched: {error}"
            log.warning("%s; SIGHUP reads policies", self.missing)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        # The handler stays: without one, a signal that is still on its way ends the process.
        self._disarm()

    def _arm(self) -> None:
        """Watch the directory, if it is there, and what it is in: that tells if it comes."""
        self._disarm()
        above = next(path for path in self._directory.absolute().parents if path.is_dir())
        for path, what in ((self._directory, _FILES), (above, _ENTRIES)):
            if path.is_dir():
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._watched.append(descriptor)
                fcntl.fcntl(descriptor, fcntl.F_NOTIFY, what | fcntl.DN_MULTISHOT)

    def _disarm(self) -> None:
        """Closing a descriptor ends its notifications."""
        while self._watched:
            os.close(self._watched.pop())

    def _told(self) -> None:
        now = self._loop.time()
        self._first_at = self._first_at or now
        if self._timer is not None:
            self._timer.cancel()
        wait_s = min(QUIET_S, max(0.0, self._first_at + LONGEST_S - now))
        self._timer = self._loop.call_later(wait_s, self._settled)

    def _settled(self) -> None:
        self._timer = self._first_at = None
        try:
            self._arm()
        except OSError as error:  # it went between two steps; what it is in tells of the next
            log.warning("%s: %s", self._directory, error)
        self._changed()
