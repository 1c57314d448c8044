# SPDX-License-Identifier: Apache-2.0
"""Real clients, unmodified, with the hooks that `agentcg install-hooks` has put in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cgroup_support import until
from clients.catalogue import CLIENTS, DRIVERS, Client, Place
from clients.play import play
from daemon_support import PATIENCE_S, Daemon

TESTS = Path(__file__).parents[1]
AGENTCG = Path(sys.executable).with_name("agentcg")


def with_hooks(name: str, daemon: Daemon) -> Client:
    """The client, its hooks installed as a user would, its daemon that of the test."""
    known = CLIENTS[name]
    hooks = name.partition("-tmux")[0]

    def prepare(place: Place) -> None:
        if name != "claude-code":  # whose preparation has hooks of its own
            known.prepare(place)
        env = os.environ | {"HOME": str(place.home)}
        subprocess.run([AGENTCG, "install-hooks", hooks, "--wait", "5s"], env=env, check=True)

    def env(place: Place) -> dict[str, str]:
        own = {"AGENTCG_SOCKET": str(daemon.path), "PYTHONPATH": str(TESTS.parent / "src")}
        return {**known.env(place), **own}

    def argv(place: Place) -> list[str]:
        words = known.argv(place)
        if name == "codex":
            words.insert(2, "--dangerously-bypass-hook-trust")
        if hooks == "openhands":
            python = str(place.installed / "bin/python")
            words = [python, str(DRIVERS / "integrated.py"), "openhands-hooks"]
        return words

    return replace(known, prepare=prepare, env=env, argv=argv)


def kill_when_it_runs(daemon: Daemon, command: str) -> None:
    """As an operator does: `agentcg call kill`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for call in daemon.get("/v1/calls?state=running")["calls"]:
            if command in (call["command"] or "") and call["processes_now"]:
                daemon.good("POST", f"/v1/calls/{call['id']}/kill")
                return
        time.sleep(0.02)
    raise AssertionError(f"no call {command!r} with processes: {daemon.get('/v1/calls')}")


def test_feedback_reaches_the_model(daemon: Daemon) -> None:
    """Claude Code is told by its hooks, its calls are begun and ended by them, and what the daemon
    says of one that was killed is in the model's next request."""
    long = "python3 -c 'import time; time.sleep(47)'"
    said = play(
        with_hooks("claude-code", daemon),
        [["echo first"], [long], ["echo last"]],
        lambda: kill_when_it_runs(daemon, long),
    )
    calls = daemon.get("/v1/calls?limit=10")["calls"]
    assert [call["command"] for call in calls] == ["echo first", long, "echo last"]
    assert [call["reference"] for call in calls] == ["toolu_t0n0", "toolu_t1n0", "toolu_t2n0"]
    assert [call["state"] for call in calls] == ["ended"] * 3
    killed = calls[1]
    assert killed["found"] == "hook"
    word = next(one for one in killed["feedback"] if one["code"] not in ("ok", "waited"))
    text = json.dumps(word["text"])[1:-1]
    told = [text in heard for heard in said["heard"]]
    assert told == [False, False, True, True], (killed["feedback"], said["heard"][2][-900:])
    assert "agentcg:" not in said["heard"][1]
    until(lambda: daemon.get("/v1/sessions")["sessions"] == [])  # closed with the agent


def test_quick_commands_are_one_call_each(daemon: Daemon) -> None:
    """Commands that are over before anybody could look are not taken for calls of their own, and
    of nothing that went well does the model hear."""
    said = play(with_hooks("claude-code", daemon), [[f"echo {number}"] for number in range(12)])
    calls = daemon.get("/v1/calls?limit=12")["calls"]
    assert [call["command"] for call in calls] == [f"echo {number}" for number in range(12)]
    assert [call["exit_status"] for call in calls] == [0] * 12
    heard = said["heard"][-1]
    assert "agentcg:" not in heard, heard[heard.index("agentcg:") :][:500]


def denying(client: Client) -> Client:
    """The same with a rule against `touch`."""

    def prepare(place: Place) -> None:
        client.prepare(place)
        path = place.home / ".claude/settings.json"
        settings = json.loads(path.read_text())
        path.write_text(json.dumps(settings | {"permissions": {"deny": ["Bash(touch:*)"]}}))

    return replace(client, prepare=prepare)


def test_denied_command_holds_no_grant(daemon: Daemon, tmp_path: Path) -> None:
    """Its call is ended while the turn goes on; its client only says that a batch is over."""
    go = tmp_path / "go"

    def go_on() -> None:
        until(lambda: [call["end_reason"] for call in calls()[:1]] == ["expired"])
        go.write_text("")

    def calls() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = daemon.get("/v1/calls")["calls"]
        return [call for call in found if call["begun_at"] > began]

    began = time.time()
    wait = f"until [ -e {go} ]; do sleep 0.1; done"
    play(denying(with_hooks("claude-code", daemon)), [["touch denied"], [wait]], go_on)
    assert [call["command"] for call in calls()] == ["touch denied", wait]
    assert [call["exit_status"] for call in calls()] == [None, 0]


def test_refusal_reaches_the_model(daemon: Daemon) -> None:
    """A command that goes beyond the calls of its session runs all the same, outside of any grant;
    the model's next request has its result, and why it has none and what to do."""
    path = daemon.policies / "50-test.yaml"
    path.write_text("version: 1\nsessions: [{max_calls: 1}]\n")
    until(lambda: daemon.get("/v1/health")["policy"] == str(daemon.policies))
    waits = {"command": "until [ -e done ]; do sleep 0.1; done", "run_in_background": True}
    turns = [[{"tool": "Bash", "input": waits}], ["echo sec''ond"], ["touch done"]]
    try:
        said = play(with_hooks("claude-code", daemon), turns)
    finally:
        path.unlink()
        until(lambda: daemon.get("/v1/health")["policy"] != str(daemon.policies))
    refused = "agentcg: This command has no grant: the session has 1 calls running and its policy"
    for told in (refused, "second"):
        assert [told in heard for heard in said["heard"][:3]] == [False, False, True]
    calls = [call["command"] for call in daemon.get("/v1/calls?limit=5")["calls"]]
    assert calls[-1] == waits["command"]
