# SPDX-License-Identifier: Apache-2.0
"""Agents for storms: each begins a call, pauses it, lets it go on and ends it, again and again."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cgroup_support import until
from daemon_support import PATIENCE_S, Api, fresh

MIB = 1 << 20
ASKED = 16 * MIB
TOOL = "import sys\nsys.stdin.readline()\nwhile True: x = bytearray(b'x' * (24 << 20))"
"""It computes, and wants more memory than was asked for."""
AWAY = (OSError, http.client.HTTPException)
AWAY_S = 0.1


class Agent(threading.Thread):
    """One with a session of its own, until `stop`; for a daemon that is not there it waits.

    A refusal, or a call that is not paused when it should be, is raised by `stop`.
    """

    def __init__(self, api: Api, priority: str) -> None:
        super().__init__(daemon=True)
        self.rounds, self.away = 0, 0
        self._api, self._name, self._priority = api, fresh(), priority
        self._over = threading.Event()
        self._failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._api.open(self._name, priority=self._priority)
                self._call()
                self.rounds += 1
            except AWAY:
                self.away += 1
                time.sleep(AWAY_S)
            except BaseException as error:
                self._failed = error
                return

    def stop(self) -> None:
        """It is not at work any more."""
        self._over.set()
        self.join(PATIENCE_S)
        if self._failed is not None:
            raise self._failed

    def _call(self) -> None:
        words = [sys.executable, "-I", "-S", "-c", TOOL]
        with subprocess.Popen(words, stdin=subprocess.PIPE) as tool:
            try:
                call = self._api.begin(self._name, pid=tool.pid, memory_bytes=ASKED)
                assert tool.stdin is not None
                tool.stdin.write(b"\n")
                tool.stdin.flush()
                time.sleep(0.1)
                pause_and_resume(self._api, call)
                self._api.end(call["id"])
            finally:
                tool.kill()


def pause_and_resume(api: Api, call: Any) -> None:
    """By hand, as people do."""
    api.good("POST", f"/v1/calls/{call['id']}/freeze")
    until(lambda: is_frozen(call), PATIENCE_S)
    api.good("POST", f"/v1/calls/{call['id']}/thaw")


def is_frozen(call: Any) -> bool:
    """Whether all its processes stand still."""
    return "frozen 1" in (Path(call["cgroup"]) / "cgroup.events").read_text()
