# SPDX-License-Identifier: Apache-2.0
"""Sessions and calls through the socket, on the running kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cgroup_support import process, until
from daemon_support import Daemon, fresh, own_daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def cgroup_of(pid: int) -> str:
    """Path below the mount of a process's cgroup v2."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def test_session_is_a_cgroup_with_a_runtime_leaf(daemon: Daemon) -> None:
    """Opening a session makes its cgroup and moves the agent's processes into the runtime."""
    name = fresh()
    with process() as agent:
        session = daemon.open(name, pids=[agent.pid], labels={"team": "a"})
        assert Path(session["runtime"]) == Path(session["cgroup"]) / "runtime"
        assert session["runtime"].endswith(cgroup_of(agent.pid))
        assert session["processes"] == 1
        assert session["labels"] == {"team": "a"}


def test_opening_again_finds_the_session(daemon: Daemon) -> None:
    """A second open of the same name answers 200 and changes neither priority nor labels."""
    name = fresh()
    first = daemon.ask("POST", "/v1/sessions", {"name": name, "priority": "low"})
    again = daemon.ask("POST", "/v1/sessions", {"name": name, "priority": "high"})
    assert (first.status, again.status) == (201, 200)
    assert again.body["id"] == first.body["id"]
    assert again.body["priority"] == "low"


def test_begin_places_the_process_and_end_removes_the_leaf(daemon: Daemon) -> None:
    """A call's process is in its leaf; when both are over, so is the leaf, and the record stays."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, command="make test", pid=tool.pid, reference="toolu_1")
        assert call["cgroup"].endswith(cgroup_of(tool.pid))
        assert (call["category"], call["reference"]) == ("test", "toolu_1")
        tool.kill()
        tool.wait()
        ended = daemon.end(call["id"], exit_status=137)
    assert (ended["state"], ended["end_reason"], ended["exit_status"]) == ("ended", "declared", 137)
    assert ended["account"]["cpu_user_us"] is not None
    until(lambda: not Path(call["cgroup"]).exists())
    assert daemon.get(f"/v1/calls/{call['id']}") == ended


def test_secrets_of_a_command_are_not_kept(daemon: Daemon) -> None:
    """What the daemon keeps of a command, where anybody on the host can read it, has no secrets."""
    name = fresh()
    daemon.open(name)
    call = daemon.begin(name, command="curl -u ada:hunter2 https://x/ && make test")
    assert call["command"] == "curl -u ada:*** https://x/ && make test"
    assert call["category"] == "test"
    assert b"hunter2" not in os.getxattr(call["cgroup"], "user.agentcg.call")


def test_begin_of_a_caller_that_has_gone_makes_no_call(daemon: Daemon) -> None:
    """Who gave a busy daemon up leaves no empty call behind."""
    name = fresh()
    daemon.open(name)
    target = f"/v1/sessions/{name}/calls"
    with daemon.standing_still():
        daemon.ask_and_leave("POST", target, {"tool": "given-up"})
    later = daemon.begin(name)
    assert [call["id"] for call in daemon.get(target)["calls"]] == [later["id"]]


def test_call_whose_leaf_empties_ends_by_itself(daemon: Daemon) -> None:
    """A call that nobody ends is ended once its last process is gone."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, pid=tool.pid)
    until(lambda: daemon.get(f"/v1/calls/{call['id']}")["state"] == "ended")
    assert daemon.get(f"/v1/calls/{call['id']}")["end_reason"] == "emptied"


def test_declared_end_after_the_leaf_emptied_adds_the_exit_status(daemon: Daemon) -> None:
    """The caller that reaps its child late still gets to say how it ended, once."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, pid=tool.pid)
    until(lambda: daemon.get(f"/v1/calls/{call['id']}")["state"] == "ended")
    ended = daemon.end(call["id"], exit_status=3)
    assert (ended["end_reason"], ended["exit_status"]) == ("declared", 3)
    assert daemon.ask("POST", f"/v1/calls/{call['id']}/end", {}).status == 409


def test_ending_twice_is_refused(daemon: Daemon) -> None:
    """The second end of a call is a conflict and leaves the record as it is."""
    name = fresh()
    daemon.open(name)
    call = daemon.begin(name)
    first = daemon.end(call["id"], exit_status=0)
    second = daemon.ask("POST", f"/v1/calls/{call['id']}/end", {"exit_status": 1})
    assert second.status == 409
    assert second.body["type"] == "urn:agentcg:conflict"
    assert daemon.get(f"/v1/calls/{call['id']}") == first


def test_leftovers_linger_until_they_are_gone(daemon: Daemon) -> None:
    """A process that outlives its call keeps the leaf, is seen, and completes the record."""
    name = fresh()
    daemon.open(name)
    with process() as left:
        call = daemon.begin(name, pid=left.pid)
        ended = daemon.end(call["id"], exit_status=0)
        assert (ended["state"], ended["processes_now"]) == ("lingering", 1)
        assert "lingering" in [told["code"] for told in ended["feedback"]]
        assert Path(call["cgroup"]).exists()
        assert daemon.get(f"/v1/sessions/{name}")["calls_lingering"] == 1
        assert daemon.ask("POST", f"/v1/calls/{call['id']}/end", {}).status == 409
    until(lambda: daemon.get(f"/v1/calls/{call['id']}")["state"] == "ended")
    until(lambda: not Path(call["cgroup"]).exists())
    assert daemon.get(f"/v1/sessions/{name}")["calls_lingering"] == 0


def test_session_with_processes_closes_only_with_kill(daemon: Daemon) -> None:
    """DELETE refuses while something lives there and says so; with kill=true it ends it."""
    name = fresh()
    with process() as agent, process() as tool:
        session = daemon.open(name, pids=[agent.pid])
        call = daemon.begin(name, pid=tool.pid)
        refused = daemon.ask("DELETE", f"/v1/sessions/{name}")
        assert refused.status == 409
        assert "processes: 2" in refused.body["detail"]
        assert agent.poll() is None
        assert daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true").status == 204
        assert agent.wait() == -9
    assert not Path(session["cgroup"]).exists()
    assert daemon.ask("GET", f"/v1/sessions/{name}").status == 404
    assert daemon.get(f"/v1/calls/{call['id']}")["end_reason"] == "session-closed"


def test_closing_removes_cgroups_that_the_agent_made(daemon: Daemon) -> None:
    """A session goes even if its processes made cgroups of their own below it."""
    name = fresh()
    session = daemon.open(name)
    (Path(session["runtime"]) / "made" / "deeper").mkdir(parents=True)
    assert daemon.ask("DELETE", f"/v1/sessions/{name}").status == 204
    assert not Path(session["cgroup"]).exists()


def test_change_places_one_more_process_and_renegotiates(daemon: Daemon) -> None:
    """PATCH gives a running call another grant and another process; an ended one neither."""
    name = fresh()
    daemon.open(name)
    call = daemon.begin(name, memory_bytes=64 << 20)
    with process() as tool:
        changed = daemon.good(
            "PATCH", f"/v1/calls/{call['id']}", {"memory_bytes": 128 << 20, "pid": tool.pid}
        )
        assert changed["grant"]["memory_need_bytes"] == 128 << 20
        assert changed["processes_now"] == 1
    daemon.ask("POST", f"/v1/calls/{call['id']}/end", {})
    assert daemon.ask("PATCH", f"/v1/calls/{call['id']}", {"cpu": "low"}).status == 409


def test_grant_follows_the_intent_and_uses_it_up(daemon: Daemon) -> None:
    """A declared need shapes the next matching call's grant, and only that one's."""
    name = fresh()
    daemon.open(name)
    declared = daemon.good(
        "POST", f"/v1/sessions/{name}/intents",
        {"kind": "call", "tool": "Bash", "memory_bytes": 300 << 20},
    )  # fmt: skip
    assert [i["id"] for i in daemon.get(f"/v1/sessions/{name}/intents")["intents"]] == [
        declared["id"]
    ]
    first, second = daemon.begin(name), daemon.begin(name)
    assert (first["grant"]["source"], second["grant"]["source"]) == ("intent", "default")
    assert first["grant"]["memory_need_bytes"] == 300 << 20
    assert daemon.get(f"/v1/sessions/{name}/intents")["intents"] == []


def test_release_takes_declarations_back(daemon: Daemon) -> None:
    """After `release` nothing declared before holds."""
    name = fresh()
    daemon.open(name)
    for kind in ("call", "release"):
        daemon.good("POST", f"/v1/sessions/{name}/intents", {"kind": kind})
    assert daemon.get(f"/v1/sessions/{name}/intents")["intents"] == []


def test_call_waits_for_room_and_then_goes_ahead(daemon: Daemon) -> None:
    """A call that may wait waits while a running call holds the room, at most as long as asked."""
    name = fresh()
    daemon.open(name, priority="normal")
    host = daemon.get("/v1/host")
    daemon.begin(name, memory_bytes=host["memory_total_bytes"])
    waited = daemon.begin(name, memory_bytes=1 << 30, wait_s=0.3)
    assert waited["grant"]["waited_s"] >= 0.3
    assert waited["feedback"][0]["code"] == "no-room"
    assert daemon.ask("DELETE", f"/v1/sessions/{name}").status == 204


def test_calls_that_wait_are_counted(daemon: Daemon) -> None:
    """The host says how many wait for room; they begin when it is back."""
    name = fresh()
    daemon.open(name)
    holds = daemon.begin(name, memory_bytes=daemon.get("/v1/host")["memory_total_bytes"])
    with ThreadPoolExecutor() as threads:
        waits = threads.submit(daemon.begin, name, memory_bytes=64 << 20, wait_s=20)
        until(lambda: daemon.get("/v1/host")["calls_waiting"] == 1)
        daemon.end(holds["id"])
        assert waits.result()["feedback"][0]["code"] == "waited"
    assert daemon.get("/v1/host")["calls_waiting"] == 0
    assert daemon.ask("DELETE", f"/v1/sessions/{name}").status == 204


def test_calls_are_listed_by_session_state_and_number(daemon: Daemon) -> None:
    """The filters of the list, and its order: as the calls began."""
    name = fresh()
    daemon.open(name)
    ids = [daemon.begin(name)["id"] for _ in range(3)]
    daemon.end(ids[0])
    mine = [call["id"] for call in daemon.get(f"/v1/calls?session={name}")["calls"]]
    running = daemon.get(f"/v1/sessions/{name}/calls?state=running")["calls"]
    latest = daemon.get(f"/v1/calls?session={name}&limit=1")["calls"]
    assert mine == ids
    assert [call["id"] for call in running] == ids[1:]
    assert [call["id"] for call in latest] == ids[2:]


def test_calls_that_end_while_they_are_listed_are_listed_as_ended(daemon: Daemon) -> None:
    """A long list pauses for others' requests; what those end has no cgroup to be read any more."""
    names = [fresh() for _ in range(5)]
    for name in names:
        daemon.open(name)
    ids = [daemon.begin(name)["id"] for name in names * 30]
    with ThreadPoolExecutor(1) as ending:
        done = ending.submit(lambda: [daemon.end(call_id) for call_id in reversed(ids)])
        while not done.done():
            listed = daemon.get("/v1/calls?limit=500")["calls"]
            assert [call["id"] for call in listed if call["session"] in names] == ids
        done.result()


def test_phase_follows_the_calls(daemon: Daemon) -> None:
    """A session is calling while a call runs and thinking after it."""
    name = fresh()
    daemon.open(name)
    call = daemon.begin(name)
    assert daemon.get(f"/v1/sessions/{name}")["phase"] == "calling"
    daemon.end(call["id"])
    assert daemon.get(f"/v1/sessions/{name}")["phase"] == "thinking"


def test_leaf_removed_by_somebody_else_ends_the_call(daemon: Daemon) -> None:
    """A leaf that vanishes behind the daemon's back is an ended call, not an error."""
    name = fresh()
    daemon.open(name)
    call = daemon.begin(name)
    Path(call["cgroup"]).rmdir()
    assert daemon.end(call["id"])["state"] == "ended"


def test_cgroups_that_a_tool_makes_are_part_of_its_call(daemon: Daemon) -> None:
    """A container started by a tool keeps its call lingering; empty ones go with the leaf."""
    name = fresh()
    daemon.open(name)
    call = daemon.begin(name)
    nested = Path(call["cgroup"]) / "container"
    nested.mkdir()
    with process() as inside:
        (nested / "cgroup.procs").write_text(str(inside.pid))
        ended = daemon.end(call["id"])
        assert (ended["state"], ended["processes_now"]) == ("lingering", 1)
    until(lambda: not Path(call["cgroup"]).exists())
    assert daemon.get(f"/v1/calls/{call['id']}")["state"] == "ended"


def test_session_removed_by_somebody_else_is_forgotten(daemon: Daemon) -> None:
    """A session whose cgroups vanish behind the daemon's back is closed, with its calls."""
    name = fresh()
    session = daemon.open(name)
    call = daemon.begin(name)
    for path in (call["cgroup"], session["runtime"], session["cgroup"]):
        Path(path).rmdir()
    until(lambda: daemon.ask("GET", f"/v1/sessions/{name}").status == 404)
    assert daemon.get(f"/v1/calls/{call['id']}")["state"] == "ended"
    assert daemon.open(name)["id"] != session["id"]


def test_host_bound_is_kept(daemon: Daemon) -> None:
    """PATCH of the host's bound is answered by it, and None takes it away again."""
    before = daemon.get("/v1/host")["memory_max_bytes"]
    changed = daemon.good("PATCH", "/v1/host", {"memory_max_bytes": 1 << 30})
    assert changed["memory_max_bytes"] == 1 << 30
    assert daemon.good("PATCH", "/v1/host", {})["memory_max_bytes"] == before


def test_curl_is_all_it_takes(daemon: Daemon) -> None:
    """A session can be opened by curl's plainest form."""
    name = fresh()
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--unix-socket", str(daemon.path), "http://localhost/v1/sessions",
         "-d", f'{{"name": "{name}"}}'],
        check=True, capture_output=True,
    )  # fmt: skip
    assert name.encode() in done.stdout


def test_metrics_have_no_names_that_clients_chose(daemon: Daemon) -> None:
    """The scrape has calls and sessions as figures, and no session's name as a label; only what
    the scheduler counts of each session has, and here it is not loaded."""
    name = fresh()
    daemon.open(name)
    text = daemon.get("/metrics").decode()
    assert "agentcg_calls_begun_total" in text
    assert 'agentcg_sessions{phase="thinking",priority="normal"}' in text
    assert "agentcg_scheduler_loaded 0.0" in text
    assert name not in text
