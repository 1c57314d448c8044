# SPDX-License-Identifier: Apache-2.0
"""Calls whose process says what it knows of its own use, to hold against their accounts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon_support import Api, fresh

# Tells how far it is on a line of its own, and goes on when told to.
HEAD = """
import json, os, resource, sys, time
def used(which, of=resource.RUSAGE_SELF): return getattr(resource.getrusage(of), which)
def cpu(of=resource.RUSAGE_SELF): return used("ru_utime", of) + used("ru_stime", of)
def ran_and_waited_us():
    # Of this thread, on a CPU and ready for one; whole, as in the account.
    return [int(word) // 1000 for word in open("/proc/thread-self/schedstat").read().split()[:2]]
def clock_us(): return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
def tell(**what): print(json.dumps(what), flush=True); sys.stdin.readline()
tell()
"""


class Tool:
    """A call whose process says what it knows of itself."""

    def __init__(self, api: Api, process: subprocess.Popen[str], call: Any) -> None:
        self.api, self.process, self.call = api, process, call

    def says(self) -> Any:
        """Let it go on, to the next thing that it tells."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def account(self) -> Any:
        return self.api.get(f"/v1/calls/{self.call['id']}")["account"]


@contextmanager
def tool(api: Api, code: str, name: str = "Bash", **session: object) -> Iterator[Tool]:
    """A call that runs `code` after HEAD, in a session of its own."""
    opened = fresh()
    api.open(opened, **session)
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HEAD + code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()  # it is there: what it took to start is not the call's
        yield Tool(api, process, api.begin(opened, tool=name, pid=process.pid))
        process.kill()


def accounts(daemon: Api) -> bool:
    """Whether BPF accounts."""
    try:
        return bool(daemon.get("/v1/health")["accounting"] == "bpf")
    except OSError:
        return False


def host_counter(name: str) -> int:
    """A counter of /proc/vmstat."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.split()[0] == name)
