# SPDX-License-Identifier: Apache-2.0
"""Time in the account of a call, against what its processes read of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from daemon_support import Daemon, own_daemon
from usage_support import tool

BUSY = """
before = cpu()
for _ in range(3):
    if os.fork() == 0:
        while cpu() < 0.2: pass
        os._exit(0)
for _ in range(3): os.wait()
while cpu() < 0.2: pass
tell(cpu_us=(cpu() - before + cpu(resource.RUSAGE_CHILDREN)) * 1e6)
"""
# Three that share a CPU; each tells how long it was ready and had none.
SHARING = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
gate, opens = os.pipe()
reading, writing = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.close(opens)
        os.read(gate, 1)
        while cpu() < 0.3: pass
        os.write(writing, b"%d\\n" % ran_and_waited_us()[1])
        os._exit(0)
os.close(opens)
for _ in range(3): os.wait()
waits = [int(line) for line in os.read(reading, 4096).split()]
tell(waits_us=waits + [ran_and_waited_us()[1]])
"""
BETWEEN = """
def boot(): return time.clock_gettime(time.CLOCK_BOOTTIME)
began = boot()
tell()
tell(seconds=boot() - began)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def test_cpu_time_is_what_all_its_processes_used(daemon: Daemon) -> None:
    """getrusage of a process and of its children, and the little that it took to be told."""
    with tool(daemon, BUSY) as running:
        said_us = running.says()["cpu_us"]
        used = running.account()
    assert said_us > 700_000
    in_account_us = used["cpu_user_us"] + used["cpu_system_us"]
    assert 0.98 * said_us <= in_account_us < 1.2 * said_us + 500_000


def test_wait_for_a_cpu_is_that_of_its_processes(daemon: Daemon) -> None:
    """A call waits for a CPU while any of its processes does: as long as the one that waited
    longest, and not longer than all of them one after the other."""
    with tool(daemon, SHARING) as running:
        waits_us = running.says()["waits_us"]
        some_us = running.account()["cpu_some_us"]
    assert max(waits_us) > 200_000
    assert 0.9 * max(waits_us) - 20_000 <= some_us <= 1.1 * sum(waits_us) + 100_000


def test_wall_time_is_that_of_the_process_s_clock(daemon: Daemon) -> None:
    """A call has lasted at least as long as its process knows, and not longer than whoever began
    it has waited."""
    before_s = _boot_s()
    with tool(daemon, BETWEEN) as running:
        running.says()
        said_s = running.says()["seconds"]
        wall_s = running.account()["wall_s"]
    assert 0 < said_s <= wall_s <= _boot_s() - before_s


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
