# SPDX-License-Identifier: Apache-2.0
"""The daemon that holds the scheduler: what it shows of calls, and how it lives with its end.

On a kernel without sched_ext nothing is counted, and there is nothing that could end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from agentcg.bpf.scheduler import loaded
from cgroup_support import until
from daemon_support import Api, fresh, stream
from scheduler_support import (
    PATIENCE_S,
    THERE,
    control,
    daemon_with,
    main_pid,
    times_loaded,
)

MIB = 1 << 20
COLUMNS = (" WAIT", "DELAY")
NONE = {"count": 0}
# Computes for a while beside another thread that does, grows far beyond its grant, and waits.
WORK = """
import sys, threading, time
sys.stdin.readline()
def compute():
    while time.process_time() < 1: pass
other = threading.Thread(target=compute)
other.start(); compute(); other.join()
kept = [bytearray(b"x" * (1 << 20)) for _ in range(40)]
print("grown", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Api]:
    """The unit's daemon, in charge where the kernel has sched_ext."""
    with daemon_with("--bpf off --scheduler auto") as api:
        if THERE:
            until(lambda: control(api)["state"] == "enforced", PATIENCE_S)
        yield api


def agentcg(*words: str) -> str:
    """What it prints on a wide terminal."""
    wide = {**os.environ, "COLUMNS": "140"}
    done = subprocess.run(["agentcg", *words], check=True, capture_output=True, text=True, env=wide)
    return done.stdout


def test_which_scheduler_is_in_charge_is_shown(daemon: Api) -> None:
    """`agentcg sched status` says it of the kernel and of each part of ours; so do the metrics."""
    shown, metrics = agentcg("sched", "status").splitlines(), daemon.get("/metrics").decode()
    assert f"agentcg_scheduler_loaded {float(THERE)}\n" in metrics
    if not THERE:
        assert shown[0] == "in charge: the kernel itself"
        assert shown[1].startswith("agentcg's cannot be loaded: this kernel has no sched_ext")
        return
    assert shown[0] == "in charge: agentcg (full switch: of all normal tasks)"
    assert any(line.startswith("scheduler: enforced") for line in shown)
    # of the two only one delays: the kernel by itself where it can
    assert len({"memory delay: enforced", "memcg struct_ops: enforced"} & set(shown)) == 1


def test_what_it_did_for_a_call_is_shown(daemon: Api) -> None:
    """Run time, waits, boosts and delays of a call that grows over its grant: in its account while
    it runs, when it has ended, and of its session; in `explain` and in /metrics. Without sched_ext
    there is none of it."""
    name = fresh()
    daemon.open(name, priority="low")
    words, pipe = [sys.executable, "-S", "-c", WORK], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as tool:
        call = daemon.begin(name, pid=tool.pid, memory_bytes=24 * MIB)
        assert tool.stdin is not None
        tool.stdin.write(b"\n")
        tool.stdin.flush()
        if THERE:
            until(lambda: shown(daemon, call["id"])["scheduled"], PATIENCE_S)
        assert tool.stdout is not None
        assert tool.stdout.readline() == b"grown\n"
        if THERE:
            until(lambda: (shown(daemon, call["id"])["delayed"] or NONE)["count"], PATIENCE_S)
        status = agentcg("status").splitlines()
        tool.communicate(timeout=PATIENCE_S)
        ended = daemon.end(call["id"], exit_status=0)["account"]
    session = next(s for s in daemon.get("/v1/sessions")["sessions"] if s["name"] == name)
    explained, metrics = agentcg("explain", call["id"]), daemon.get("/metrics").decode()
    label = f'{{session="{name}"}}'
    if not THERE:
        assert (ended["scheduled"], ended["delayed"], session["scheduled"]) == (None, None, None)
        assert "cpu" not in {line.split()[1] for line in explained.splitlines()}
        assert label not in metrics
        assert not [line for line in status if " DELAY " in line]
        return
    scheduled, delayed = ended["scheduled"], ended["delayed"]
    used_us = ended["cpu_user_us"] + ended["cpu_system_us"]
    assert abs(scheduled["run_us"] - used_us) < 0.2 * used_us
    assert scheduled["boosts"] > 0  # its first stretch
    assert scheduled["waits"] > 0
    assert 0 < scheduled["longest_wait_us"] <= scheduled["wait_us"]
    assert delayed["count"] > 0
    assert 0 < delayed["longest_us"] <= delayed["total_us"]
    assert 0 < delayed["overshoot_bytes"] < 16 * MIB
    assert shown(daemon, call["id"]) == ended
    assert session["scheduled"]["run_us"] >= scheduled["run_us"]
    assert session["delayed"] == delayed
    assert all(said in explained for said in ("ran ", ", waited ", ", boosted ", " for memory: "))
    assert agentcg("call", "show", call["id"]).count(" for memory: ") == 1
    (header,) = (line for line in status if " WAIT DELAY " in line)
    (row,) = (line for line in status if call["id"] in line)
    assert all(row[header.index(name) : header.index(name) + 5].strip("- ") for name in COLUMNS)
    figures = {
        line.split("{")[0]: float(line.split()[1]) for line in metrics.splitlines() if label in line
    }
    assert figures == {f"agentcg_session_{name}": pytest.approx(value) for name, value in {
        "cpu_run_seconds_total": session["scheduled"]["run_us"] / 1e6,
        "cpu_wait_seconds_total": session["scheduled"]["wait_us"] / 1e6,
        "cpu_waits_total": session["scheduled"]["waits"],
        "cpu_wait_longest_seconds": session["scheduled"]["longest_wait_us"] / 1e6,
        "boosts_total": session["scheduled"]["boosts"],
        "memory_delays_total": delayed["count"],
        "memory_delay_seconds_total": delayed["total_us"] / 1e6,
        "memory_delay_longest_seconds": delayed["longest_us"] / 1e6,
        "memory_overshoot_bytes": delayed["overshoot_bytes"],
    }.items()}  # fmt: skip
    daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")
    assert label not in daemon.get("/metrics").decode()


def shown(daemon: Api, call: str) -> Any:
    return daemon.get(f"/v1/calls/{call}")["account"]


def test_turns_of_a_session_are_shown(daemon: Api) -> None:
    """`agentcg sched trace` shows each turn of a call's tasks while it runs, of one session at a
    time, and whoever comes after it can trace. Without the scheduler it is refused."""
    name = fresh()
    daemon.open(name)
    target = f"/v1/sessions/{name}/trace"
    if not THERE:
        assert daemon.ask("GET", target).status == 409
        return
    with running("import time\nwhile True: time.sleep(0.01)") as tool:
        call = daemon.begin(name, pid=tool.pid)["id"]
        for _ in range(2):
            with stream(daemon, target) as turns:
                told = turns.take(20)
                assert {(turn["call"], turn["pid"]) for turn in told} == {(call, tool.pid)}
                refused = daemon.ask("GET", target)
                assert (refused.status, "traced already" in refused.body["detail"]) == (409, True)
        shown = agentcg("sched", "trace", name, "--count", "5")
        assert all(f" {call} python3[{tool.pid}] CPU " in line for line in shown.splitlines())


@contextlib.contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_daemon_that_hangs_is_replaced(daemon: Api) -> None:
    """Stopped, it leaves the scheduler in charge; the service manager's watchdog ends it, the
    kernel's own takes over, and the next daemon loads it again. So it goes after a kill."""
    if not THERE:
        assert loaded() is None
        return
    for signal in ("STOP", "KILL"):
        before = times_loaded()
        pid = main_pid()
        subprocess.run(["systemctl", "kill", f"--signal={signal}", "agentcgd"], check=True)
        if signal == "STOP":
            subprocess.run([sys.executable, "-c", "print(sum(range(100000)))"], check=True)
            assert (loaded(), main_pid()) == ("agentcg", pid)
        until(lambda before=before: times_loaded() > before, PATIENCE_S)
        until(lambda: control(daemon)["state"] == "enforced", PATIENCE_S)
        assert main_pid() != pid
        assert times_loaded() == before + 1
