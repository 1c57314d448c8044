# SPDX-License-Identifier: Apache-2.0
"""The daemon as systemd runs it, with all controllers: limits, OOM kills, kill -9 under load."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import let_go, process, until, waiting
from daemon_support import Api, fresh, stream
from systemd_support import PATIENCE_S, SOCKET, accounting, knob, policy, systemctl

MIB = 1 << 20
ALLOCATE = "import time; x = bytearray({} << 20); time.sleep(1000)"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The daemon of the unit, once it has decided how it accounts."""
    systemctl("start", "agentcgd")
    daemon = Api(SOCKET)
    until(lambda: accounting(daemon) != "starting", PATIENCE_S)
    yield daemon
    for session in daemon.get("/v1/sessions")["sessions"]:
        daemon.ask("DELETE", f"/v1/sessions/{session['name']}?kill=true")


def test_nothing_is_missing_here(api: Api) -> None:
    """On a stock Debian with bcc every control is enforced and accounting is by BPF; extras are
    off until they are asked for."""
    until(lambda: not _being_attached(api), PATIENCE_S)
    health = api.get("/v1/health")
    fine = ("enforced", "off")
    lacking = {c["name"]: c["detail"] for c in health["controls"] if c["state"] not in fine}
    assert lacking == {}
    assert (health["state"], health["accounting"]) == ("ok", "bpf")


def _being_attached(api: Api) -> bool:
    return any("attached" in c["detail"] for c in api.get("/v1/health")["controls"])


def test_grant_is_what_the_kernel_enforces(api: Api) -> None:
    """The files of the leaf say what the grant says; memory is its lease, which begins at no less
    than what was asked for where there is room, and grows to the grant."""
    name = fresh()
    session = api.open(name, priority="low")
    call = api.begin(name, memory_bytes=64 * MIB, cpu="low")
    grant, leaf = call["grant"], call["cgroup"]
    assert grant["memory_high_bytes"] >= 64 * MIB
    assert 64 * MIB <= int(knob(leaf, "memory.high")) <= grant["memory_high_bytes"]
    assert knob(leaf, "cpu.weight") == str(grant["cpu_weight"])
    assert knob(leaf, "pids.max") == str(grant["pids_max"])
    assert knob(leaf, "memory.oom.group") == "1"
    until(lambda: knob(session["runtime"], "memory.low") != "0")
    changed = api.good("PATCH", f"/v1/calls/{call['id']}", {"memory_bytes": 96 * MIB})
    most = changed["grant"]["memory_high_bytes"]
    assert most > grant["memory_high_bytes"]
    assert 64 * MIB <= int(knob(leaf, "memory.high")) <= most
    api.good("DELETE", f"/v1/sessions/{name}")


def test_host_bound_is_enforced_and_survives(api: Api) -> None:
    """The bound over all sessions is memory.max of the root, also after a restart."""
    root = api.get("/v1/host")["cgroup"]
    api.good("PATCH", "/v1/host", {"memory_max_bytes": 400 * MIB})
    assert knob(root, "memory.max") == str(400 * MIB)
    systemctl("restart", "agentcgd")
    until(lambda: accounting(api) != "starting", PATIENCE_S)
    assert api.get("/v1/host")["memory_max_bytes"] == 400 * MIB
    api.good("PATCH", "/v1/host", {})
    assert knob(root, "memory.max") != str(400 * MIB)


def test_account_has_what_the_call_did(api: Api) -> None:
    """Peak memory, CPU time, faults, processes and commands of a finished call."""
    name = fresh()
    api.open(name)
    script = "import subprocess; x = bytearray(50 << 20);"
    with waiting(script + "subprocess.run(['/bin/true', '--password=hunter2'])") as tool:
        call = api.begin(name, command="python3 x.py", pid=tool.pid)
        let_go(tool)
        tool.wait()
        ended = api.end(call["id"], exit_status=tool.returncode)
    used = ended["account"]
    assert 50 * MIB <= used["memory_peak_bytes"] < 120 * MIB
    assert used["cpu_user_us"] > 0
    assert used["page_faults_minor"] > 100  # huge pages make them few
    assert (used["processes"], used["execs"], used["oom_kills"]) == (2, 1, 0)
    assert "/bin/true" in used["commands"][0]["argv"]
    assert "hunter2" not in used["commands"][0]["argv"]
    assert used["first_exit_status"] == 0
    assert ended["feedback"][0]["code"] == "ok"
    api.good("DELETE", f"/v1/sessions/{name}")


def test_oom_kills_the_call_and_not_the_agent(api: Api) -> None:
    """A call beyond its memory.max dies whole, is told so in numbers, and nobody else is hurt."""
    name = fresh()
    with process() as agent, policy("version: 1\ncalls:\n  - memory_max: 64M\n"):
        api.open(name, pids=[agent.pid])
        with waiting(ALLOCATE.format(300)) as tool, process() as helper:
            call = api.begin(name, pid=tool.pid)
            api.good("PATCH", f"/v1/calls/{call['id']}", {"pid": helper.pid})
            assert knob(call["cgroup"], "memory.max") == str(64 * MIB)
            let_go(tool)
            assert (tool.wait(), helper.wait()) == (-9, -9)
        until(lambda: api.get(f"/v1/calls/{call['id']}")["state"] == "ended", PATIENCE_S)
        ended = api.end(call["id"], exit_status=137)
        assert agent.poll() is None
    assert ended["end_reason"] == "oom"
    assert ended["account"]["oom_kills"] >= 1
    assert ended["account"]["oom_victim"] in {f"python3[{tool.pid}]", f"python3[{helper.pid}]"}
    told = ended["feedback"][0]
    assert told["code"] == "oom-call"
    assert "64M" in told["text"]
    assert api.get(f"/v1/sessions/{name}")["oom_kills"] >= 1
    api.good("DELETE", f"/v1/sessions/{name}")


def test_call_that_declared_too_little_is_widened_while_there_is_room(api: Api) -> None:
    """A wrong declaration does not stall a call on an idle host: its lease grows."""
    name = fresh()
    api.open(name)
    with waiting(ALLOCATE.format(150)) as tool:
        call = api.begin(name, pid=tool.pid, memory_bytes=32 * MIB)
        let_go(tool)
        until(
            lambda: (
                int(knob(call["cgroup"], "memory.current")) > 150 * MIB
                and int(knob(call["cgroup"], "memory.high")) > 150 * MIB
            ),
            PATIENCE_S,
        )
        actions = api.get(f"/v1/calls/{call['id']}/actions")["actions"]
    assert [action["kind"] for action in actions] == ["grant", "lease"]
    assert actions[-1]["reason"].startswith("may grow to ")
    assert actions[-1]["size_bytes"] > 150 * MIB
    assert api.good("DELETE", f"/v1/sessions/{name}?kill=true") == b""


def test_call_over_its_grant_without_room_is_told(api: Api) -> None:
    """Where nothing is free the call is slowed, and that is said with numbers and a way on."""
    name = fresh()
    api.good("PATCH", "/v1/host", {"memory_max_bytes": 100 * MIB})
    try:
        api.open(name)
        with waiting(ALLOCATE.format(300)) as tool, stream(api) as events:
            call = api.begin(name, pid=tool.pid, memory_bytes=32 * MIB)
            let_go(tool)
            told: dict[str, Any] = {}
            while "call.over_grant" not in told or "pressure" not in told:
                told.update({event["kind"]: event for event in events.take(1)})
    finally:
        api.good("PATCH", "/v1/host", {})
        api.good("DELETE", f"/v1/sessions/{name}?kill=true")
    assert told["call.over_grant"]["call"] == call["id"]
    # The bound leaves it 32 MiB or less: which of the two it meets first is a matter of moments.
    assert told["call.over_grant"]["feedback"]["code"] in ("over-grant", "no-room")
    assert "memory" in told["pressure"]["text"]


def test_fork_bomb_stays_in_its_call(api: Api) -> None:
    """pids.max of the call stops it; killing the session ends all of it."""
    name = fresh()
    bomb = "import os, time\nwhile True:\n try: os.fork()\n except OSError: time.sleep(1)"
    with policy("version: 1\ncalls:\n  - pids_max: 20\n"):
        api.open(name)
        with waiting(bomb) as tool:
            call = api.begin(name, pid=tool.pid)
            let_go(tool)
            until(lambda: knob(call["cgroup"], "pids.current") == "20", PATIENCE_S)
            assert api.ask("DELETE", f"/v1/sessions/{name}?kill=true").status == 204
    assert not Path(call["cgroup"]).exists()


def test_kill_dash_nine_under_load_loses_nothing(api: Api) -> None:
    """systemd starts a killed daemon again; sessions, calls, limits and BPF counts are there."""
    name = fresh()
    script = "import os; os.system('true'); sys.stdin.readline()"
    with process() as agent, waiting(script) as tool:
        api.open(name, pids=[agent.pid], priority="high")
        call = api.begin(name, pid=tool.pid, memory_bytes=64 * MIB)
        let_go(tool)
        until(lambda: api.get(f"/v1/calls/{call['id']}")["account"]["processes"] == 2, PATIENCE_S)
        answered = _load_while(api, name, lambda: systemctl("kill", "-s", "KILL", "agentcgd"))
        until(lambda: accounting(api) != "starting", PATIENCE_S)
        kept = api.get(f"/v1/calls/{call['id']}")
        assert (kept["state"], kept["grant"]) == ("running", call["grant"])
        # How much of its grant it may take at the moment is its lease; that it is bounded is kept.
        assert 0 < int(knob(call["cgroup"], "memory.high")) <= call["grant"]["memory_high_bytes"]
        running = api.get(f"/v1/calls?session={name}&state=running&limit=1024")["calls"]
        assert {c["id"] for c in running} >= {*answered, call["id"]}
        assert agent.poll() is None
        tool.communicate(b"\n")
        ended = api.end(call["id"], exit_status=0)
    assert ended["account"]["processes"] == 2  # python3 and sh, counted before the kill
    api.good("DELETE", f"/v1/sessions/{name}?kill=true")


def _load_while(api: Api, name: str, act: Any) -> list[str]:
    """Begin calls without end until `act` has cut the daemon off; those that were answered."""
    answered: list[str] = []

    def load() -> None:
        try:
            while True:
                answered.append(api.begin(name)["id"])
        except (OSError, AssertionError):
            return

    worker = threading.Thread(target=load)
    worker.start()
    until(lambda: len(answered) >= 5, PATIENCE_S)
    act()
    worker.join()
    return answered


def test_stop_leaves_agents_and_limits(api: Api) -> None:
    """`systemctl stop` ends the daemon; the agent runs on under the same limits."""
    name = fresh()
    with process() as agent:
        session = api.open(name, pids=[agent.pid])
        until(lambda: knob(session["runtime"], "memory.low") != "0")
        before = knob(session["runtime"], "memory.low")
        systemctl("stop", "agentcgd")
        assert agent.poll() is None
        assert knob(session["runtime"], "memory.low") == before
        assert str(agent.pid) in knob(session["runtime"], "cgroup.procs")
        systemctl("start", "agentcgd")
        until(lambda: accounting(api) != "starting", PATIENCE_S)
        assert api.get(f"/v1/sessions/{name}")["processes"] == 1
    until(lambda: api.ask("DELETE", f"/v1/sessions/{name}").status == 204)


def test_undelegated_root_is_refused() -> None:
    """The daemon does not build in a cgroup that systemd believes to be its own."""
    done = subprocess.run(
        ["agentcgd", "--root", "/sys/fs/cgroup/system.slice/s", "--socket", "/run/other.sock"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "not delegated" in done.stderr
    assert not Path("/sys/fs/cgroup/system.slice/s").exists()


def test_read_only_cgroups_are_refused() -> None:
    """Where cgroup v2 is mounted read-only the daemon says so, and what to do."""
    done = subprocess.run(
        ["unshare", "--mount", "--cgroup", "sh", "-c",
         "mount -o remount,bind,ro /sys/fs/cgroup && exec agentcgd --socket /run/other.sock"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "read-only" in done.stderr


def test_absent_cgroup2_is_refused() -> None:
    """Without any cgroup v2 the daemon says so, and what to do."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         "umount -l /sys/fs/cgroup && exec agentcgd --socket /run/other.sock"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "cgroup v2" in done.stderr
