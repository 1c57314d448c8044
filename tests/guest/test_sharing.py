# SPDX-License-Identifier: Apache-2.0
"""What users share on a real host, and what a session's calls teach, in the kernel's knobs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import process, until
from daemon_support import Api, as_user, fresh
from systemd_support import PATIENCE_S, SOCKET, accounting, knob, policy, systemctl

MIB = 1 << 20
SOMEBODY = 4501
PIDS, MEMORY = 90, 700 * MIB
POLICY = f"""\
version: 1
users:
  - match: {{uid: {SOMEBODY}}}
    pids_max: {PIDS}
    memory_max: {MEMORY}
calls:
  - match: {{category: test}}
    memory_max: 64M
"""
HUNGRY = "x = bytearray(300 << 20)"
FORKS = """
import os, time
made = 0
try:
    while made < 1000:
        if os.fork() == 0:
            time.sleep(1000)
        made += 1
except BlockingIOError:
    pass
print(made, flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The daemon of the unit under `POLICY`."""
    systemctl("start", "agentcgd")
    daemon = Api(SOCKET)
    until(lambda: accounting(daemon) != "starting", PATIENCE_S)
    daemon.close_all()  # who is at work counts here, whoever left it
    with policy(POLICY):
        yield daemon
        daemon.close_all()


def opened_by(api: Api, uid: int, count: int) -> list[Any]:
    """So many new sessions of a user."""
    names = [fresh() for _ in range(count)]
    return list(as_user(uid, lambda: [api.open(name) for name in names]))


def weights(sessions: list[Any]) -> list[int]:
    return [int(knob(session["cgroup"], "cpu.weight")) for session in sessions]


def test_cpu_is_shared_between_users(api: Api) -> None:
    """Three sessions at work of one user weigh what one of another does; alone, all of it."""
    many, (one,) = opened_by(api, SOMEBODY, 3), opened_by(api, 0, 1)
    calls = [api.begin(session["name"]) for session in [*many, one]]
    until(lambda: weights([*many, one]) == [33, 33, 33, 100], PATIENCE_S)
    api.end(calls[-1]["id"])
    until(lambda: weights([*many, one]) == [100, 100, 100, 100], PATIENCE_S)
    for call in calls[:-1]:
        api.end(call["id"])


def test_a_cap_holds_over_all_sessions_of_a_user(api: Api) -> None:
    """Bounds of processes add up to the cap, and a fork bomb ends at its part of it; no session has
    more memory than the user may have."""
    bomber, quiet = opened_by(api, SOMEBODY, 2)
    both = (bomber, quiet)
    until(lambda: all(knob(s["cgroup"], "memory.max") == str(MEMORY) for s in both), PATIENCE_S)
    until(lambda: sum(_pids_max(api)) <= PIDS, PATIENCE_S)
    with ExitStack() as stack:
        tool = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", "input()\n" + FORKS],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )  # fmt: skip
        call = api.begin(bomber["name"], pid=tool.pid)
        assert tool.stdin is not None
        tool.stdin.write("\n")
        tool.stdin.flush()
        assert tool.stdout is not None
        assert 0 < int(tool.stdout.readline()) < PIDS
        until(lambda: sum(_pids_max(api)) <= PIDS, PATIENCE_S)
        with process() as other:
            assert api.begin(quiet["name"], pid=other.pid)["processes_now"] == 1
        (Path(call["cgroup"]) / "cgroup.kill").write_text("1")


def _pids_max(api: Api) -> list[int]:
    """`pids.max` of all sessions of the user; unlimited counts as everything."""
    sessions = [s for s in api.get("/v1/sessions")["sessions"] if s["uid"] == SOMEBODY]
    return [1 << 22 if s["pids_max"] is None else s["pids_max"] for s in sessions]


def test_a_retry_loop_is_recognised_and_answered(api: Api, tmp_path: Path) -> None:
    """Tests that run into their limit again and again: standard error explains status 137 with
    numbers and, from the second on, that trying again is no use; the next grant has learnt."""
    name = fresh()
    api.open(name)
    script = tmp_path / "run_tests.sh"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S -c '{HUNGRY}'\n")
    script.chmod(0o755)
    command = ["agentcg", "run", "--strict", "--session", name, "--", str(script)]
    for number in (1, 2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 137, done.stderr
        assert "The kernel killed the call for memory" in done.stderr
        assert "(the call's limit: 64M); the call was killed (exit status 137)" in done.stderr
        assert ("2 test calls in a row ran out of memory" in done.stderr) is (number == 2)
    (first, second) = api.get(f"/v1/sessions/{name}/calls")["calls"]
    assert first["grant"]["source"] == "default"
    assert second["grant"]["source"] == "history"
    assert "the last test call ran out of memory at 6" in second["grant"]["reason"]
    told = {feedback["code"]: feedback for feedback in second["feedback"]}
    assert told["oom-call"]["by"] == "kernel"
    assert told["oom-call"]["limit_of"] == "call"
    assert told["oom-call"]["limit_bytes"] == 64 * MIB
    assert told["retry-loop"]["attempts"] == 2
