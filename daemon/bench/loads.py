# SPDX-License-Identifier: Apache-2.0
"""Loads for measurements: processes in cgroups of their own, started together."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from agentcg.cgroups import Cgroup, find_mount

# Each load says when it is `ready()`, which returns when it is to go.
_REMOVE_S = 120.0  # a thousand processes die; emulated ones take longer than a few seconds

BUSY = "ready()\nwhile True: pass"
SLEEPER = """
ready()
while True:
    end = time.monotonic() + 0.002
    while time.monotonic() < end: pass
    time.sleep(0.003)
"""
FORKER = """
ready()
while True:
    pid = os.fork()
    if not pid:
        end = time.monotonic() + 0.003
        while time.monotonic() < end: pass
        os._exit(0)
    os.waitpid(pid, 0)
"""
# Wakes every 20 ms, computes for 1 ms. How long it waited for a CPU each time, in microseconds, by
# the kernel's account: what Python takes is not in it.
WAKER = """
ready()
took = []
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    before = waited_us()
    time.sleep(0.02)
    took.append(waited_us() - before)
    compute(0.001)
print(json.dumps(took))
"""
# One child after the other, each in a new cgroup: it wakes, computes for 5 ms, and says how long it
# waited for a CPU meanwhile, in microseconds. Between two of them are 100 ms, as an agent thinks.
STARTER = """
ready()
took = []
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    place = {path!r} + '/' + str(len(took))
    os.mkdir(place)
    said = os.pipe()
    if not os.fork():
        open(place + '/cgroup.procs', 'w').write('0')
        before = waited_us()
        time.sleep(0.01)
        compute(0.005)
        os.write(said[1], str(waited_us() - before).encode())
        os._exit(0)
    took.append(float(os.read(said[0], 99)))
    os.wait()
    os.rmdir(place)
    os.close(said[0]); os.close(said[1])
    time.sleep(0.1)
print(json.dumps(took))
"""
# A byte there and back through two pipes; rounds in a second. The other side ends with this one.
PING_PONG = """
ready()
there, back = os.pipe(), os.pipe()
if not os.fork():
    os.close(there[1]); os.close(back[0])
    while os.read(there[0], 1): os.write(back[1], b'x')
    os._exit(0)
rounds, began = 0, time.monotonic()
while time.monotonic() - began < {seconds}:
    for n in range(100):
        os.write(there[1], b'x'); os.read(back[0], 1)
    rounds += 100
print(rounds / (time.monotonic() - began))
"""
SPAWNER = """
ready()
rounds, began = 0, time.monotonic()
while time.monotonic() - began < {seconds}:
    if not os.fork(): os._exit(0)
    os.wait()
    rounds += 1
print(rounds / (time.monotonic() - began))
"""
# Source files compiled as make does it, a process for each and one more at once than there are
# CPUs; files a second, until the last is done.
COMPILER = """
import glob
files = sorted(glob.glob(os.path.dirname(os.__file__) + '/*.py'))
ready()
left, running, most = {files}, 0, os.cpu_count() + 1
began = time.monotonic()
while left or running:
    while left and running < most:
        if not os.fork():
            code = 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")'
            os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', code, files[left % 40]])
        left -= 1; running += 1
    os.wait()
    running -= 1
print({files} / (time.monotonic() - began))
"""
# Children that compute, each in one of `places`, an expression. They are there before they are
# ready, and a signal lets all begin at once (of those that read a pipe each would wake the next).
CROWD = """
import signal
def prepare():
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    there = os.pipe()
    places = {places}
    for place in places:
        if not os.fork():
            open(place + '/cgroup.procs', 'w').write('0')
            os.write(there[1], b'x')
            signal.sigwait([signal.SIGUSR1])
            while True: pass
    for place in places: os.read(there[0], 1)
prepare()
ready()
os.killpg(0, signal.SIGUSR1)
os.wait()
"""
# Touches fresh pages of its own one by one, at most `keep_mib` of them kept; the rate in MB/s.
WRITER = """
ready()
page, done, kept = b'x' * (256 << 10), 0, []
began = time.monotonic()
while time.monotonic() - began < {seconds}:
    if not kept or at == len(kept[-1]):
        kept, at = kept[-{keep_mib} // 4:], 0
        kept.append(mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        kept[-1].madvise(mmap.MADV_NOHUGEPAGE)
    kept[-1][at:at + len(page)] = page
    at += len(page); done += len(page)
print(done / 1e6 / (time.monotonic() - began))
"""
# Writes 256 KiB at a time to a new file in memory: each write charges and uncharges more than once;
# the rate in MB/s.
CHARGER = """
ready()
fd, data, done = os.memfd_create('charges'), b'x' * (256 << 10), 0
began = time.monotonic()
while time.monotonic() - began < {seconds}:
    for n in range(16): os.pwrite(fd, data, n * len(data))
    os.ftruncate(fd, 0)
    done += 16 * len(data)
print(done / 1e6 / (time.monotonic() - began))
"""
# Writes 4 KiB at the start of a file every 2 ms; each write's microseconds, and how many of them it
# waited for a CPU.
FILE_WRITER = """
ready()
fd, took = os.open({path!r}, os.O_RDWR | os.O_CREAT), []
account = os.open('/proc/self/schedstat', os.O_RDONLY)
def waited_ns(): return int(os.pread(account, 99, 0).split()[1])
for n in range({count}):
    waited, began = waited_ns(), time.monotonic_ns()
    os.pwrite(fd, b'y' * 4096, 0)
    ended = time.monotonic_ns()
    took.append(((ended - began) / 1000, (waited_ns() - waited) / 1000))
    time.sleep(0.002)
print(json.dumps(took))
"""
# Writes `chunk` bytes at a time, and so holds the file's lock no longer than the other writer.
FILE_GROWER = """
ready()
fd = os.open({path!r}, os.O_RDWR | os.O_CREAT)
data = b'x' * {chunk}
while True:
    for n in range((1 << 30) // {chunk}): os.pwrite(fd, data, n * {chunk})
    os.ftruncate(fd, 0)
"""
# Closing a packet socket waits for a grace period of RCU on any number of CPUs (membarrier(2) does
# not on one). Importing takes long under emulation, and is not to be what others wait for.
GRACE = """
import socket
ready()
took = []
for n in range({count}):
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    began = time.monotonic_ns()
    one.close()
    took.append((time.monotonic_ns() - began) // 1000)
    time.sleep(0.01)
print(json.dumps(took))
"""
_START = """
import json, mmap, os, sys, time
def waited_us(): return int(open('/proc/self/schedstat').read().split()[1]) / 1000
def compute(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
def ready():
    os.write(1, b'\\n'); sys.stdin.readline()
"""


class Load:
    """A process that is ready and waits for `go`."""

    def __init__(self, code: str, cgroup: Cgroup) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START + code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        cgroup.place(self._child.pid)
        assert self._child.stdout is not None  # noqa: S101 - both are pipes
        self._child.stdout.readline()

    def go(self) -> None:
        """Begin."""
        assert self._child.stdin is not None  # noqa: S101
        self._child.stdin.write(b"\n")
        self._child.stdin.flush()

    def result(self) -> Any:
        """Wait for its end; what it printed, as JSON."""
        assert self._child.stdout is not None  # noqa: S101
        with self._child:
            return json.loads(self._child.stdout.read())

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    def stop(self) -> None:
        """Kill it, if it is there."""
        self._child.kill()
        self._child.wait()


class Bench:
    """A cgroup for one measurement; all that is in it ends with the block."""

    def __init__(self, cgroup: Cgroup, stack: ExitStack) -> None:
        self.cgroup = cgroup
        self._stack = stack

    def below(self, parent: Cgroup, name: str, weight: int = 100) -> Cgroup:
        """A new cgroup in `parent`."""
        if (parent.path / "cgroup.subtree_control").read_text().split() == []:
            parent.enable(["cpu", "memory"])
        made = self._stack.enter_context(parent.create(name))
        (made.path / "cpu.weight").write_text(str(weight))
        return made

    def load(self, code: str, cgroup: Cgroup, count: int = 1) -> list[Load]:
        """So many processes of this code, ready."""
        loads = [Load(code, cgroup) for _ in range(count)]
        for load in loads:
            self._stack.callback(load.stop)
        return loads


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """A place for one measurement directly below the mount of cgroup v2."""
    name = f"agentcg-bench-{secrets.token_hex(4)}"
    with Cgroup.open(find_mount().path) as root:
        root.enable(["cpu", "memory"])
        try:
            with ExitStack() as stack:
                yield Bench(stack.enter_context(root.create(name)), stack)
        finally:
            root.remove_tree(name, timeout_s=_REMOVE_S)


def shares(cgroups: Sequence[Cgroup], seconds: float) -> list[float]:
    """The parts of the CPU time of all that each used meanwhile, in percent."""

    def used() -> list[int]:
        return [int((one.path / "cpu.stat").read_text().split()[1]) for one in cgroups]

    before = used()
    time.sleep(seconds)
    took = [after - b for after, b in zip(used(), before, strict=True)]
    return [100 * one / (sum(took) or 1) for one in took]


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of `values` are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
