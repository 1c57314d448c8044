# SPDX-License-Identifier: Apache-2.0
"""The other clients with hooks; `make test-clients` has them, for they take long to install."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from clients.catalogue import DRIVERS, Place
from clients.play import play
from clients.test_hooks import kill_when_it_runs, with_hooks
from daemon_support import Daemon, fresh

LONG = "python3 -c 'import time; time.sleep(47)'"


def test_feedback_reaches_the_model_of_codex(daemon: Daemon) -> None:
    """Begun and ended by its hooks, and told what became of a call that was killed."""
    said = play(
        with_hooks("codex", daemon),
        [["echo first"], [LONG], ["echo last"]],
        lambda: kill_when_it_runs(daemon, LONG),
    )
    calls = daemon.get("/v1/calls?limit=3")["calls"]
    assert [call["command"] for call in calls] == ["echo first", LONG, "echo last"]
    assert [call["reference"] for call in calls] == ["call_t0n0", "call_t1n0", "call_t2n0"]
    assert {call["state"] for call in calls} == {"ended"}
    word = next(one for one in calls[1]["feedback"] if one["code"] not in ("ok", "waited"))
    text = json.dumps(word["text"])[1:-1]
    assert [text in heard for heard in said["heard"]] == [False, False, True, True]


def test_openhands_by_its_hooks(daemon: Daemon) -> None:
    """It gives calls no id: begin and end are told by the command."""
    play(with_hooks("openhands-tmux", daemon), [["echo first"], ["echo last"]])
    calls = daemon.get("/v1/calls?limit=2")["calls"]
    assert [call["command"] for call in calls] == ["echo first", "echo last"]
    assert {call["state"] for call in calls} == {"ended"}


@pytest.mark.parametrize("session", [fresh()])
def test_openhands_by_a_callback(daemon: Daemon, session: str) -> None:
    """The SDK's own events, with its ids of calls."""
    client = with_hooks("openhands-tmux", daemon)

    def argv(place: Place) -> list[str]:
        return [str(place.installed / "bin/python"), str(DRIVERS / "integrated.py"), "openhands"]

    def env(place: Place) -> dict[str, str]:
        return {**client.env(place), "AGENTCG_SESSION": session}

    play(replace(client, argv=argv, env=env), [["echo first"], ["(exit 3)"]])
    calls = daemon.get(f"/v1/calls?session={session}")["calls"]
    assert [call["reference"] for call in calls] == ["call_t0n0", "call_t1n0"]
    assert [call["exit_status"] for call in calls] == [0, 3]
