# SPDX-License-Identifier: Apache-2.0
"""Waits, faults and tasks in an account, against what the process reads of itself, or has made.

The daemon is the test's own, without agentcg's scheduler: under it nothing counts in cpu.stat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cgroup_support import until
from daemon_support import Daemon, own_daemon
from usage_support import tool

MIB = 1 << 20
POLICY = """
version: 1
sessions:
  - {match: {labels: {kind: quota}}, cpu_max: 0.25}
calls:
  - {match: {tool: Small}, memory_max: 24M}
"""
TASKS = """
import threading
gate, opens = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        os.close(opens)
        os.read(gate, 1)
        os._exit(0)
over = threading.Event()
for _ in range(3): threading.Thread(target=over.wait).start()
tell()
os.close(opens)
for _ in range(4): os.wait()
over.set()
tell()
"""
PAGES = 2048
MAJOR = f"""
import mmap
path = "/var/tmp/agentcg-waits"
with open(path, "w+b") as file:
    file.write(os.urandom({PAGES} * 4096))
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    memory = mmap.mmap(file.fileno(), {PAGES} * 4096, prot=mmap.PROT_READ)
memory.madvise(mmap.MADV_RANDOM)
tell()
before = used("ru_majflt")
for page in range({PAGES}): memory[page * 4096]
os.unlink(path)
tell(faults=used("ru_majflt") - before)
"""
READS, WRITES = 600, 300
DIRECT = f"""
import mmap
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
path = "/var/tmp/agentcg-waits"
file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
os.unlink(path)
for _ in range(4): os.write(file, mmap.mmap(-1, 1 << 20))
os.fsync(file)
block = mmap.mmap(-1, 4096)
tell()
began_us, before = clock_us(), ran_and_waited_us()
for n in range({READS}): os.preadv(file, [block], n * 4096)
for n in range({WRITES}): os.pwrite(file, block, n * 4096)
on_cpu_us = sum(ran_and_waited_us()) - sum(before)
tell(blocked_us=clock_us() - began_us - on_cpu_us)
"""
QUOTA = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
began_us, before, burnt_s = clock_us(), ran_and_waited_us()[0], cpu()
while cpu() - burnt_s < 0.5: pass
ran_us = ran_and_waited_us()[0] - before
tell(off_cpu_us=clock_us() - began_us - ran_us)
"""
CACHE = """
path = "/var/tmp/agentcg-waits"
with open(path, "w+b") as file:
    os.unlink(path)
    for _ in range(48): file.write(bytes(1 << 20))
    os.fsync(file.fileno())
    began_us = clock_us()
    for _ in range(2):
        file.seek(0)
        while file.read(1 << 20): pass
    tell(took_us=clock_us() - began_us)
"""
HELD = """
memory = bytearray(64 << 20)
for offset in range(0, len(memory), 4096): memory[offset] = 1
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
tell(bytes=int(lines["RssAnon"].split()[0]) * 1024)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    options = ("--require", "none", "--bpf", "off", "--scheduler", "off")
    with own_daemon(*options) as running:
        (running.policies / "50-waits.yaml").write_text(POLICY)
        until(lambda: [f["name"] for f in running.get("/v1/policy")["files"]])
        yield running


def test_tasks_at_once(daemon: Daemon) -> None:
    """Five processes and three threads that are there at once are the peak, also when they are
    gone."""
    with tool(daemon, TASKS) as running:
        running.says()
        assert running.account()["processes_peak"] == 8
        running.says()
        assert running.account()["processes_peak"] == 8


def test_major_faults_against_getrusage(daemon: Daemon) -> None:
    """Each page of a file that is read from the disk is one, and no minor one."""
    with tool(daemon, MAJOR) as running:
        running.says()
        before = running.account()
        said = running.says()["faults"]
        after = running.account()
    # The kernel brings memory.stat up to date when enough has changed: 128 events for each CPU.
    late = 128 * (os.cpu_count() or 1)
    assert said >= PAGES
    assert _more(before, after, "page_faults_major") == pytest.approx(said, abs=late)
    assert _more(before, after, "page_faults_minor") < PAGES / 2


def test_io_that_the_process_has_counted(daemon: Daemon) -> None:
    """Direct reads and writes: as many operations and bytes as the process has made, and a wait
    as long as it was neither on a CPU nor ready for one."""
    with tool(daemon, DIRECT) as running:
        running.says()
        before = running.account()
        blocked_us = running.says()["blocked_us"]
        after = running.account()
    assert READS <= _more(before, after, "io_read_operations") <= READS * 1.05 + 20
    assert READS * 4096 <= _more(before, after, "io_read_bytes") <= READS * 4096 + MIB
    assert WRITES <= _more(before, after, "io_write_operations") <= WRITES * 1.05 + 20
    assert WRITES * 4096 <= _more(before, after, "io_write_bytes") <= WRITES * 4096 + MIB
    for field in ("io_some_us", "io_full_us"):  # of a call with one task they are the same
        assert 0.5 * blocked_us <= _more(before, after, field) <= 1.25 * blocked_us + 20_000


def test_time_without_cpu_for_a_quota(daemon: Daemon) -> None:
    """What the quota of a session kept a call from a CPU is in the account of both; it is part of
    the time that the process did not run, here most of it."""
    with tool(daemon, QUOTA, labels={"kind": "quota"}) as running:
        off_cpu_us = running.says()["off_cpu_us"]
        used = running.account()
        session = daemon.get(f"/v1/sessions/{running.call['session']}")["account"]
    assert off_cpu_us > 500_000
    for account in (used, session):
        assert 0.5 * off_cpu_us <= account["cpu_throttled_us"] <= off_cpu_us + 200_000


def test_wait_for_memory(daemon: Daemon) -> None:
    """A call that can keep half of what it reads waits for memory within the time that reading
    took it, and has met its limit; one that holds next to nothing has not."""
    with tool(daemon, CACHE, "Small") as running:
        took_us = running.says()["took_us"]
        small = running.account()
    with tool(daemon, "tell()", "Small") as running:
        running.says()
        roomy = running.account()
    assert 0 < small["throttled_us"] <= small["memory_some_us"] <= took_us + 200_000
    assert small["memory_max_events"] + small["memory_high_events"] > 0
    assert roomy["memory_max_events"] == 0


def test_memory_that_is_held_now(daemon: Daemon) -> None:
    """What the process has to itself, and the page tables and the like that the kernel needs."""
    with tool(daemon, HELD) as running:
        before = running.account()["memory_current_bytes"]
        said = running.says()["bytes"]
        held = running.account()["memory_current_bytes"]
    assert said >= 64 * MIB
    assert 63 * MIB <= held - before <= said + 8 * MIB  # each CPU charges up to 64 pages ahead


@contextmanager
def clock_set(seconds: float) -> Iterator[None]:
    """The machine's clock is wrong by so much within the block."""
    epoch = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, epoch + time.clock_gettime(time.CLOCK_BOOTTIME))


@pytest.mark.parametrize("seconds", [1800, -1800])
def test_a_clock_that_is_set_while_a_call_runs(daemon: Daemon, seconds: int) -> None:
    """Its time is as long as it was: not half an hour longer, and not less than none."""
    began_s = time.monotonic()
    with tool(daemon, "tell()") as running:
        with clock_set(seconds):
            running.says()
            used = running.account()
            ended = daemon.end(running.call["id"])
        took_s = time.monotonic() - began_s
    assert 0 < used["wall_s"] <= ended["account"]["wall_s"] <= took_s
    assert 0 <= ended["ended_at"] - ended["begun_at"] <= took_s


def _more(before: Any, after: Any, field: str) -> int:
    return int(after[field] - before[field])
