# SPDX-License-Identifier: Apache-2.0
"""`agentcg explain`: the actions of a call or, where there is no such call, of a session."""

from __future__ import annotations

import json

import msgspec

from agentcg.daemon.messages import Action, ActionList
from support.commandline import cli
from support.examples import MIB, NOW
from support.scripted_daemon import ScriptedDaemon, problem

FROZEN = Action(
    time=NOW,
    kind="freeze",
    session="reviewer",
    call="k3f9a2b7c1",
    reason="20M of 600M free: held 90M of 32M granted; paused, there is no swap",
    rule="ladder: freeze below 6% of room",
    size_bytes=None,
    room_bytes=20 * MIB,
    bound_bytes=600 * MIB,
    stall_percent=None,
    swap_free_bytes=0,
    held_bytes=90 * MIB,
    granted_bytes=32 * MIB,
)


def test_a_call_is_explained(daemon: ScriptedDaemon) -> None:
    """One line a step: when, what, on whom, why, by which rule; --json is the API's data."""
    daemon.on("GET", "/v1/calls/k3f9a2b7c1/actions", ActionList(actions=[FROZEN]))
    said = cli(daemon.path, "explain", "k3f9a2b7c1")
    assert said.exit_code == 0, said.output
    assert "freeze     reviewer/k3f9a2b7c1 20M of 600M free: held 90M of 32M" in said.stdout
    assert "[ladder: freeze below 6% of room]" in said.stdout
    data = json.loads(cli(daemon.path, "explain", "k3f9a2b7c1", "--json").stdout)
    assert data == {"actions": [msgspec.to_builtins(FROZEN)]}


def test_a_session_is_explained(daemon: ScriptedDaemon) -> None:
    """A word that is no call's id is taken for a session's name."""
    missing = problem(404, "not-found", "there is no call 'reviewer'")
    daemon.on("GET", "/v1/calls/reviewer/actions", missing)
    daemon.on("GET", "/v1/sessions/reviewer/actions", ActionList(actions=[]))
    daemon.on("GET", "/v1/sessions/Reviewer-2/actions", ActionList(actions=[FROZEN]))
    assert "nothing was done" in cli(daemon.path, "explain", "reviewer").stdout
    assert "freeze" in cli(daemon.path, "explain", "Reviewer-2").stdout


def test_unknown_is_said(daemon: ScriptedDaemon) -> None:
    """Neither a call nor a session: exit code 1; not even a name: 2."""
    daemon.on("GET", "/v1/calls/nobody/actions", problem(404, "not-found", "no call 'nobody'"))
    daemon.on("GET", "/v1/sessions/nobody/actions", problem(404, "not-found", "no such session"))
    assert cli(daemon.path, "explain", "nobody").exit_code == 1
    assert cli(daemon.path, "explain", "../x").exit_code == 2
