# SPDX-License-Identifier: Apache-2.0
"""A kill storm: `python -m agentcg.daemon.policybench.storm SOCKET SECONDS`.

A session of low priority whose calls are one process that takes memory as fast as the machine
gives it, without end, and one that forks without end. A call that is killed is begun again at
once. Prints what became of the calls as JSON.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from agentcg.cgroups import Cgroup, fork_into
from agentcg.daemon.client import Client
from agentcg.daemon.messages import BeginCall, OpenSession
from agentcg.daemon.replay.load import die_with_parent
from agentcg.errors import AgentcgError

SESSION = "storm"
KINDS = ("allocator", "fork-bomb")
_BLOCK_BYTES = 64 << 20
_LOOK_S = 0.05
_KILLED = {"oom-call", "killed"}  # told, where it was killed before we came to see it


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the storm."""

    kind: str
    seconds: float
    killed: bool
    peak_bytes: int | None
    told: list[str]  # codes of the feedback


class Storm:
    """Both offenders, again and again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: dict[str, tuple[int, str, Cgroup, float]] = {}
        self.ended: list[Ended] = []

    def rage(self, seconds: float) -> None:
        """Keep both going so long, then end them."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            for kind in KINDS:
                if kind not in self._running:
                    with suppress(AgentcgError):  # not admitted: asked again
                        self._begin(kind)
                else:
                    self._look(kind)
            time.sleep(_LOOK_S)
        for kind in list(self._running):
            self._running[kind][2].kill()
            self._look(kind, block=True, ours=True)

    def _begin(self, kind: str) -> None:
        begun = self._client.begin(SESSION, BeginCall(tool="Bash", command=f"./{kind}"))
        leaf = Cgroup.open(begun.cgroup)
        parent = os.getpid()
        pid = fork_into(leaf.fileno())
        if pid == 0:
            die_with_parent(parent)
            Path("/proc/self/oom_score_adj").write_text("500")
            take_everything() if kind == "allocator" else fork_for_ever()
        self._running[kind] = (pid, begun.id, leaf, time.monotonic())

    def _look(self, kind: str, *, block: bool = False, ours: bool = False) -> None:
        pid, call, leaf, begun_s = self._running[kind]
        found, status = os.waitpid(pid, 0 if block else os.WNOHANG)
        if not found:
            return
        del self._running[kind]
        code = os.waitstatus_to_exitcode(status)
        with suppress(AgentcgError):
            leaf.kill()  # what it forked
        leaf.close()
        told: Any = None
        with suppress(AgentcgError):
            told = self._client.end(call, code if code >= 0 else 128 - code)
        if told is None:
            with suppress(AgentcgError):
                told = self._client.call(call)
        account = None if told is None else told.account
        codes = [] if told is None else [one.code for one in told.feedback]
        self.ended.append(
            Ended(
                kind=kind,
                seconds=time.monotonic() - begun_s,
                killed=(code == -signal.SIGKILL and not ours) or bool(_KILLED & set(codes)),
                peak_bytes=None if account is None else account.memory_peak_bytes,
                told=codes,
            )
        )


def take_everything() -> NoReturn:
    """Touch every page of block after block, and keep all."""
    held: list[mmap.mmap] = []
    while True:
        block = mmap.mmap(-1, _BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(block)), 1, _BLOCK_BYTES)
        held.append(block)


def fork_for_ever() -> NoReturn:
    """A fork bomb; where there are no more processes it tries again."""
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def main() -> int:
    """Rage for the time that is asked for."""
    socket, seconds = Path(sys.argv[1]), float(sys.argv[2])
    with Client(socket) as client:
        client.open_session(OpenSession(name=SESSION, priority="low"))
        storm = Storm(client)
        try:
            storm.rage(seconds)
        finally:
            with suppress(AgentcgError):
                client.close_session(SESSION, kill=True)
        print(msgspec.json.encode(storm.ended).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
