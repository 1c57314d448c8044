# SPDX-License-Identifier: Apache-2.0
"""`agentcg explain`: the timeline of a call or, where there is no such call, of a session."""

from __future__ import annotations

import json

import msgspec
from msgspec.structs import replace

from agentcg.daemon.cli.view.counted import words
from agentcg.daemon.messages import (
    Action,
    ActionList,
    CallList,
    Delayed,
    Feedback,
    HistoryList,
    Scheduled,
)
from support.commandline import cli
from support.examples import MIB, NOW, a_call, ended, with_account
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


WAITED = replace(
    FROZEN, time=NOW - 20, kind="wait", rule="default.yaml:25",
    reason="the call needs 300M and 200M are free; waited 3.2s",
)  # fmt: skip
GRANTED = replace(
    FROZEN, time=NOW - 17, kind="grant", rule="site.yaml:4",
    reason="313M expected: 3 earlier test calls, at most 183M",
)  # fmt: skip
KILLED = Feedback(code="killed", text="agentcg killed the call at 90M.", by="agentcg")
CALL = ended(a_call(), 137, KILLED)
MISSING = problem(404, "not-found", "there is no such call")


def test_a_call_is_explained(daemon: ScriptedDaemon) -> None:
    """From its wait to what its agent was told: one line a step, in order, each with why and by
    which rule; --json is the API's data."""
    actions = [WAITED, GRANTED, replace(FROZEN, time=NOW - 5)]
    daemon.on("GET", "/v1/calls/k3f9a2b7c1", CALL)
    daemon.on("GET", "/v1/calls/k3f9a2b7c1/actions", ActionList(actions=actions))
    said = cli(daemon.path, "explain", "k3f9a2b7c1")
    assert said.exit_code == 0, said.output
    assert [line[9:] for line in said.stdout.splitlines()] == [
        "wait       reviewer/k3f9a2b7c1 the call needs 300M and 200M are free; waited 3.2s "
        "[default.yaml:25]",
        "grant      reviewer/k3f9a2b7c1 313M expected: 3 earlier test calls, at most 183M "
        "[site.yaml:4]",
        "freeze     reviewer/k3f9a2b7c1 20M of 600M free: held 90M of 32M granted; paused, there "
        "is no swap [ladder: freeze below 6% of room]",
        "end        reviewer/k3f9a2b7c1 declared, exit status 137, after 12s",
        "killed     reviewer/k3f9a2b7c1 agentcg killed the call at 90M.",
    ]
    data = json.loads(cli(daemon.path, "explain", "k3f9a2b7c1", "--json").stdout)
    assert data == {
        "calls": [msgspec.to_builtins(CALL)],
        "actions": [msgspec.to_builtins(action) for action in actions],
    }


RAN = Scheduled(run_us=1_200_000, wait_us=300_000, waits=40, longest_wait_us=20_000, boosts=14)
HELD = Delayed(count=3, total_us=410_000, longest_us=200_000, overshoot_bytes=12 * MIB)


def test_it_is_told_what_the_scheduler_did(daemon: ScriptedDaemon) -> None:
    """Of a call that has ended, and of one that runs, so far: CPU time, waits, boosts, delays."""
    line = (
        "cpu        reviewer/k3f9a2b7c1 ran 1.2s, waited 300ms for a CPU (20ms longest), boosted "
        "14 times, held up 3 times for memory: 410ms together, 200ms longest, 12M over at most"
    )
    daemon.on("GET", "/v1/calls/k3f9a2b7c1/actions", ActionList(actions=[]))
    for call in (CALL, a_call()):
        daemon.on("GET", "/v1/calls/k3f9a2b7c1", with_account(call, scheduled=RAN, delayed=HELD))
        said = cli(daemon.path, "explain", "k3f9a2b7c1").stdout.splitlines()
        assert line in [told[9:] for told in said]


def test_what_did_not_happen_is_not_told() -> None:
    """No scheduler, no words; one delay is told as one; a call without delays says nothing of
    them."""
    assert words(None, None) is None
    once = Delayed(count=1, total_us=90_000, longest_us=90_000, overshoot_bytes=MIB)
    assert words(None, once) == "held up once for memory: 90ms, 1.0M over at most"
    quick = Scheduled(run_us=2000, wait_us=0, waits=0, longest_wait_us=0, boosts=0)
    assert words(quick, replace(once, count=0)) == "ran 2ms"
    assert words(replace(quick, wait_us=1000, waits=1, boosts=1), None) == (
        "ran 2ms, waited 1ms for a CPU, boosted once"
    )


def test_a_session_is_explained(daemon: ScriptedDaemon) -> None:
    """A word that is no call's id is taken for a session's name: its latest calls, and all that
    was done in it."""
    daemon.on("GET", "/v1/calls/reviewer", MISSING)
    daemon.on("GET", "/v1/sessions/reviewer/actions", ActionList(actions=[]))
    daemon.on("GET", "/v1/sessions/Reviewer-2/actions", ActionList(actions=[FROZEN]))
    daemon.on("GET", "/v1/calls", CallList(calls=[]))
    assert "nothing to explain" in cli(daemon.path, "explain", "reviewer").stdout
    daemon.on("GET", "/v1/calls", CallList(calls=[CALL]))
    said = [
        line.split()[1] for line in cli(daemon.path, "explain", "Reviewer-2").stdout.splitlines()
    ]
    assert said == ["grant", "freeze", "end", "killed"]


def test_a_closed_session_is_explained_from_the_history(daemon: ScriptedDaemon) -> None:
    """What is left of it on disk: its calls, each with what was done to it."""
    gone = problem(404, "not-found", "no such session")
    daemon.on("GET", "/v1/calls/reviewer", MISSING)
    daemon.on("GET", "/v1/sessions/reviewer/actions", gone)
    daemon.on("GET", "/v1/history", HistoryList(calls=[CALL], next_before=None))
    daemon.on("GET", "/v1/calls/k3f9a2b7c1/actions", ActionList(actions=[FROZEN]))
    said = [line.split()[1] for line in cli(daemon.path, "explain", "reviewer").stdout.splitlines()]
    assert said == ["grant", "freeze", "end", "killed"]


def test_unknown_is_said(daemon: ScriptedDaemon) -> None:
    """Neither a call nor a session: exit code 1; not even a name: 2."""
    daemon.on("GET", "/v1/calls/nobody", MISSING)
    daemon.on("GET", "/v1/sessions/nobody/actions", problem(404, "not-found", "no such session"))
    daemon.on("GET", "/v1/history", HistoryList(calls=[], next_before=None))
    assert cli(daemon.path, "explain", "nobody").exit_code == 1
    assert cli(daemon.path, "explain", "../x").exit_code == 2
