# SPDX-License-Identifier: Apache-2.0
"""What tests of the scheduler share: its holder, work, a CPU that goes and comes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentcg.bpf.scheduler import SCHED_EXT, loaded
from agentcg.cgroups import Cgroup
from cgroup_support import until
from daemon_support import Api

DROP_IN = Path("/run/systemd/system/agentcgd.service.d/scheduler.conf")
THERE = SCHED_EXT.is_dir()
PATIENCE_S = 300.0  # the guest is emulated; only ever spent by a failure
SECOND_CPU = Path("/sys/devices/system/cpu/cpu1/online")
KEPT = Path("/sys/kernel/debug/sched")
HOG_S = 60.0
HOG = """
import os, time
os.sched_setaffinity(0, {{{cpu}}})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
print("begun", flush=True)
end = time.monotonic() + {seconds}
while time.monotonic() < end: pass
"""
HOLD = "import time; from agentcg.bpf.scheduler import Scheduler; s = Scheduler.open(); "


@contextlib.contextmanager
def busy(cgroup: Cgroup, count: int, work: str = "pass") -> Iterator[None]:
    """So many processes that compute, or do this again and again, in a cgroup."""
    command = [sys.executable, "-I", "-S", "-c", f"import time\nwhile True: {work}"]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            child = stack.enter_context(subprocess.Popen(command))
            stack.callback(child.kill)
            cgroup.place(child.pid)
        yield


def cpu_us(cgroup: Cgroup) -> int:
    return int((cgroup.path / "cpu.stat").read_text().split()[1])


@contextlib.contextmanager
def holder(then: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Another process that loads the scheduler, does `then`, and holds it until it is killed."""
    code = f"{HOLD}{then}time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        try:
            until(lambda: loaded() == "agentcg" or child.poll() is not None, PATIENCE_S)
            yield child
        finally:
            child.kill()


@contextlib.contextmanager
def real_time_hog(cpu: int) -> Iterator[None]:
    """A real-time task that leaves nothing of the CPU to normal tasks, not even what the kernel
    keeps for them. It ends by itself: one of those it leaves nothing may be who is to kill it, or
    who holds what the kernel waits for when a scheduler is taken out."""
    if not KEPT.parent.is_mount():
        subprocess.run(["mount", "-t", "debugfs", "none", KEPT.parent], check=True)
    kept = [KEPT / f"{kind}_server/cpu{cpu}/runtime" for kind in ("fair", "ext")]
    was = {path: path.read_text() for path in kept if path.exists()}
    for path in was:
        path.write_text("0")
    words = [sys.executable, "-I", "-S", "-c", HOG.format(cpu=cpu, seconds=HOG_S)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"begun\n"
            yield
        finally:
            child.kill()
            for path, runtime in was.items():
                path.write_text(runtime)


def replug_a_cpu() -> None:
    for state in "01":
        SECOND_CPU.write_text(state)


def times_loaded() -> int:
    return int((SCHED_EXT / "enable_seq").read_text())


def bpftool(*words: str) -> Any:
    """What it prints as JSON: of programs and maps of whoever loaded them."""
    said = subprocess.run(["bpftool", "-j", *words], check=True, capture_output=True, text=True)
    return json.loads(said.stdout)


def entries_of(name: str) -> list[Any]:
    """Of all maps of that name, whoever loaded them: those of one that died may still be there."""
    found = []
    for one in bpftool("map", "show"):
        if one.get("name") == name:
            with contextlib.suppress(subprocess.CalledProcessError):  # it is gone
                found += bpftool("map", "dump", "id", str(one["id"]))
    return found


@contextlib.contextmanager
def daemon_with(*options: str, unit: str = "") -> Iterator[Api]:
    """The unit's daemon with more options and more lines of its unit, as a drop-in gives them."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    command = f"ExecStart=\nExecStart=agentcgd {' '.join(options)}"
    DROP_IN.write_text(f"[Service]\n{command}\nTimeoutStartSec={PATIENCE_S:.0f}\n{unit}")
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "restart", "agentcgd"], check=True)
        yield Api(Path("/run/agentcg/agentcg.sock"))
    finally:
        DROP_IN.unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "stop", "agentcgd"], check=True)


def control(daemon: Api, name: str = "scheduler") -> dict[str, str]:
    """What doctor shows of it; nothing while the daemon does not answer."""
    try:
        found = daemon.get("/v1/health")["controls"]
    except OSError:
        return {"state": "", "detail": ""}
    return next(one for one in found if one["name"] == name)


def main_pid() -> str:
    words = ["systemctl", "show", "--property=MainPID", "--value", "agentcgd"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
