# SPDX-License-Identifier: Apache-2.0
"""kill -9 and a new start: sessions, calls, limits and counts are all still there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroup_support import process, until
from daemon_support import PATIENCE_S, Daemon, fresh, own_daemon


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def test_everything_is_adopted(daemon: Daemon) -> None:
    """After SIGKILL a new daemon knows the same sessions, calls, intents and numbers."""
    daemon.good("PATCH", "/v1/host", {"memory_max_bytes": 2 << 30})
    daemon.open("a", priority="high", labels={"team": "x"}, weight=300)
    daemon.open("gone")
    daemon.begin("gone")
    daemon.good("DELETE", "/v1/sessions/gone")
    daemon.good("POST", "/v1/sessions/a/intents", {"kind": "call", "memory_bytes": 1 << 30})
    with process() as agent, process() as tool, process() as left:
        daemon.open("a", pids=[agent.pid])
        call = daemon.begin("a", tool="x", command="make", reference="r", pid=tool.pid)
        old = daemon.begin("a", pid=left.pid)
        daemon.end(old["id"], exit_status=1)
        session, host = daemon.get("/v1/sessions/a"), daemon.get("/v1/host")
        daemon.restart()
        kept = daemon.get("/v1/sessions/a")
        for field in ("id", "uid", "priority", "weight", "labels", "opened_at", "rule",
                      "calls_running", "calls_lingering", "calls_total", "processes"):  # fmt: skip
            assert kept[field] == session[field], field
        again = daemon.get(f"/v1/calls/{call['id']}")
        for field in ("command", "reference", "grant", "begun_at", "state", "category", "cgroup"):
            assert again[field] == call[field], field
        assert daemon.get(f"/v1/calls/{old['id']}")["state"] == "lingering"
        assert daemon.get("/v1/host")["calls_total"] == host["calls_total"] == 3
        assert daemon.get("/v1/host")["memory_max_bytes"] == 2 << 30
        tool.kill()
        tool.wait()
        assert daemon.end(call["id"], exit_status=9)["end_reason"] == "declared"


def test_sessions_keep_their_order_and_calls_their_latest_grant(daemon: Daemon) -> None:
    """Sessions are listed as they were opened; what was renegotiated is not forgotten."""
    for name in ("b", "c", "a"):
        daemon.open(name)
    call = daemon.begin("c", memory_bytes=64 << 20)
    changed = daemon.good("PATCH", f"/v1/calls/{call['id']}", {"memory_bytes": 512 << 20})
    assert changed["grant"] != call["grant"]
    daemon.restart()
    assert [one["name"] for one in daemon.get("/v1/sessions")["sessions"]] == ["b", "c", "a"]
    assert daemon.get(f"/v1/calls/{call['id']}")["grant"] == changed["grant"]


def test_call_that_emptied_meanwhile_is_ended(daemon: Daemon) -> None:
    """Processes that ended while no daemon was there end their call at the next start."""
    daemon.open("a")
    with process() as tool, process() as left:
        call = daemon.begin("a", pid=tool.pid)
        old = daemon.begin("a", pid=left.pid)
        daemon.end(old["id"])
        daemon.kill()
    daemon.start()
    until(lambda: daemon.get(f"/v1/calls/{call['id']}")["state"] == "ended")
    assert daemon.get(f"/v1/calls/{old['id']}")["state"] == "ended"
    until(lambda: not Path(call["cgroup"]).exists())


def test_declared_intents_survive(daemon: Daemon) -> None:
    """The grant after a restart follows the intent from before it."""
    daemon.open("a")
    daemon.good("POST", "/v1/sessions/a/intents", {"kind": "call", "memory_bytes": 300 << 20})
    daemon.restart()
    assert daemon.begin("a")["grant"]["source"] == "intent"


def test_promised_room_is_not_given_away(daemon: Daemon) -> None:
    """What running calls were granted counts from the first request after a restart."""
    host = daemon.get("/v1/host")
    daemon.open("a", priority="normal")
    daemon.begin("a", memory_bytes=host["memory_total_bytes"])
    daemon.restart()
    waited = daemon.begin("a", memory_bytes=1 << 30, wait_s=0.3)
    assert [told["code"] for told in waited["feedback"]] == ["no-room"]


def test_stop_leaves_agents_running(daemon: Daemon) -> None:
    """SIGTERM ends the daemon and nothing else; the socket's file goes with it."""
    with process() as agent:
        session = daemon.open("a", pids=[agent.pid])
        daemon.stop()
        assert agent.poll() is None
        assert str(agent.pid) in (Path(session["runtime"]) / "cgroup.procs").read_text()
        assert not daemon.path.exists()
        daemon.start()
        assert daemon.get("/v1/sessions/a")["processes"] == 1


def test_torn_leaves_are_removed_and_strangers_left_alone(daemon: Daemon) -> None:
    """A leaf made and not yet marked is removed; what is not ours is not touched."""
    session = Path(daemon.open("a")["cgroup"])
    daemon.kill()
    for path in (session / "call-torn", session / "mine", daemon.root / "stranger"):
        path.mkdir()
    with process() as inside:
        (session / "call-busy").mkdir()
        (session / "call-busy" / "cgroup.procs").write_text(str(inside.pid))
        daemon.start()
        assert not (session / "call-torn").exists()
        assert (session / "call-busy").exists()
        assert inside.poll() is None
    assert (session / "mine").exists()
    assert (daemon.root / "stranger").exists()
    assert [s["name"] for s in daemon.get("/v1/sessions")["sessions"]] == ["a"]
    assert daemon.ask("POST", "/v1/sessions", {"name": "stranger"}).status == 409


def test_unreadable_state_is_loud_and_left_alone(daemon: Daemon) -> None:
    """A damaged attribute makes health degraded and its cgroup is kept with its processes."""
    daemon.open("good")
    with process() as agent:
        bad = Path(daemon.open("bad", pids=[agent.pid])["cgroup"])
        os.setxattr(bad, "user.agentcg.session", b'{"id": 7')
        daemon.restart()
        assert [s["name"] for s in daemon.get("/v1/sessions")["sessions"]] == ["good"]
        assert agent.poll() is None
    assert bad.exists()
    assert os.getxattr(bad, "user.agentcg.session") == b'{"id": 7'
    health = daemon.get("/v1/health")
    assert health["state"] == "degraded"
    assert any(str(bad) in control["detail"] for control in health["controls"])
    assert "not readable" in daemon.stop()


def test_record_of_a_newer_daemon_is_adopted(daemon: Daemon) -> None:
    """Fields that this version does not know are no reason to lose a session."""
    path = Path(daemon.open("a")["cgroup"])
    record = json.loads(os.getxattr(path, "user.agentcg.session"))
    os.setxattr(path, "user.agentcg.session", json.dumps({**record, "future": 1}).encode())
    daemon.restart()
    assert daemon.get("/v1/sessions/a")["id"] == record["id"]


def test_kill_under_load_loses_nothing_that_was_answered(daemon: Daemon) -> None:
    """Every call whose begin was answered before SIGKILL is known after the restart."""
    daemon.open("a")
    answered: list[str] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                daemon.end(daemon.begin("a")["id"])
                answered.append(daemon.begin("a", memory_bytes=1 << 20)["id"])
            except (OSError, AssertionError):
                return

    for target in (8, 16, 24):
        worker = threading.Thread(target=load)
        worker.start()
        until(lambda target=target: len(answered) >= target)  # type: ignore[misc]
        daemon.kill()
        worker.join()
        daemon.start()
        known = {call["id"] for call in daemon.get("/v1/calls?limit=1024&state=running")["calls"]}
        assert known >= set(answered)
    leaves = {path.name for path in (daemon.root / "a").iterdir() if path.is_dir()}
    assert leaves == {"runtime", *(f"call-{call}" for call in known)}


def test_reload_takes_a_good_policy_and_keeps_it_over_a_bad_one(daemon: Daemon) -> None:
    """SIGHUP: a good file holds for the next session, a bad one changes nothing and is said."""
    policy = daemon.policies / "10.yaml"
    policy.write_text("version: 1\nsessions:\n  - weight: 321\n")
    daemon.signal(signal.SIGHUP)
    until(lambda: str(daemon.policies) in daemon.get("/v1/health")["policy"])
    assert daemon.open(fresh())["weight"] == 321
    policy.write_text("version: 1\nsessions:\n  - wieght: 7\n")
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.get("/v1/health")["policy_error"])
    health = daemon.get("/v1/health")
    assert "10.yaml:3:" in health["policy_error"]
    assert health["state"] == "degraded"
    assert daemon.open(fresh())["weight"] == 321
    policy.unlink()
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.get("/v1/health")["policy_error"] is None)


def test_bad_policy_at_start_leaves_the_default_in_force(daemon: Daemon) -> None:
    """A daemon that does not start helps nobody: it starts degraded and says why."""
    daemon.stop()
    (daemon.policies / "10.yaml").write_text("version: 1\nsessions: [\n")
    daemon.start()
    health = daemon.get("/v1/health")
    assert health["state"] == "degraded"
    assert "10.yaml" in health["policy_error"]
    assert daemon.open("a")["weight"] == 100


def refused(daemon: Daemon, *options: str) -> str:
    """What another daemon with `options` says before it gives up."""
    done = subprocess.run(
        daemon.command(*options), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_second_daemon_on_the_same_root_is_refused(daemon: Daemon) -> None:
    """One instance a root, whatever socket the second one asks for."""
    assert "another agentcgd works on" in refused(daemon, "--socket", f"{daemon.path}2")
    assert daemon.get("/v1/health")["pid"] == daemon.process.pid  # type: ignore[union-attr]


def test_socket_of_a_running_daemon_is_not_taken(daemon: Daemon) -> None:
    """A second daemon with its own root may not take the first one's socket."""
    said = refused(daemon, "--root", f"{daemon.root}2")
    assert "another daemon listens" in said
    assert daemon.get("/v1/health")


def test_socket_path_with_something_else_is_not_taken(daemon: Daemon) -> None:
    """A file that is no socket stays what it is."""
    daemon.stop()
    daemon.path.write_text("precious")
    assert "is not a socket" in refused(daemon)
    assert daemon.path.read_text() == "precious"
    daemon.path.unlink()


def test_socket_of_a_killed_daemon_is_replaced(daemon: Daemon) -> None:
    """A file on which nobody answers is what a killed daemon left."""
    daemon.kill()
    assert daemon.path.exists()
    daemon.start()
    assert daemon.get("/v1/health")


def test_missing_controller_is_an_error_at_start(daemon: Daemon) -> None:
    """A control that is asked for and cannot be enforced keeps the daemon from starting."""
    daemon.stop()
    said = refused(daemon, "--require", "rdma")
    assert "rdma" in said
    assert "subtree_control" in said or "cgroup v1" in said


def test_root_that_is_no_cgroup_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    """A path outside cgroup v2, and a cgroup whose parent does not exist."""
    daemon.stop()
    assert "is not below" in refused(daemon, "--root", str(tmp_path / "x"))
    assert "no such cgroup" in refused(daemon, "--root", f"{daemon.root}/none/x")


def test_root_that_is_somebody_else_s_is_refused(daemon: Daemon) -> None:
    """A cgroup that exists, is not ours and is in use is neither claimed nor changed."""
    daemon.stop()
    foreign = daemon.root.parent / "foreign"
    (foreign / "child").mkdir(parents=True)
    assert "not made by agentcg" in refused(daemon, "--root", str(foreign))
    assert os.listxattr(foreign) == []


def test_usage_errors_exit_with_2(daemon: Daemon) -> None:
    """Options that mean nothing are told apart from a host that will not do."""
    for options in (["--require", "memroy"], ["--bpf", "perhaps"], ["--nonsense"]):
        done = subprocess.run(daemon.command(*options), capture_output=True, check=False)
        assert done.returncode == 2
