# SPDX-License-Identifier: Apache-2.0
"""The integrations, as far as they need no framework; tests/clients has the rest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.client import Client
from agentcg.daemon.messages import Feedback
from agentcg.integrations.openhands import OPEN_MAX, Listener
from agentcg.integrations.words import added, command_in, words
from support.examples import a_call, ended
from support.scripted_daemon import ScriptedDaemon

OOM = Feedback(code="oom-call", text="It needed more than 256M.")
WAITED = Feedback(code="waited", text="It waited 0ms.", waited_s=0.0001)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [({"command": "ls"}, "ls"), ({"cmd": ["ls", "-l"]}, "ls -l"), ({"commands": "x"}, "x"),
     ({"path": "/x"}, None), ({"command": 7}, None), ("text", None), (None, None)],
)  # fmt: skip
def test_command_in_the_arguments_of_a_tool(arguments: Any, command: str | None) -> None:
    """Under the names that tools have for it."""
    assert command_in(arguments) == command


def test_words_are_added_on_a_line_of_their_own() -> None:
    """To what a command has printed, or alone."""
    assert added("out\n", "agentcg: no") == "out\nagentcg: no"
    assert added("", "agentcg: no") == "agentcg: no"
    assert added("out\n", "") == "out\n"


def test_wrapped_command(daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: Any) -> None:
    """By agentcg-shell into the call; as it is without a call or without that program."""
    helper = tmp_path / "agentcg-shell"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AGENTCG_SHELL", str(helper))
    daemon.on("POST", "/v1/sessions/ci/calls", a_call())
    call = Client("ci", socket=daemon.path).call("Bash").begin()
    assert call.wrap(["ls", "-l"])[-2:] == ["ls", "-l"]
    helper.touch(0o755)
    assert call.wrap(["ls", "-l"]) == [str(helper), "--into", "k3f9a2b7c1", "ls", "-l"]
    assert Client("ci", socket=tmp_path / "absent").call("Bash").begin().wrap(["ls"]) == ["ls"]


class Terminal:
    """An action as the SDK has it: a pydantic model."""

    def model_dump(self) -> dict[str, Any]:
        return {"kind": "TerminalAction", "command": "make"}


def action(reference: Any = "c1", what: Any = None) -> Any:
    return SimpleNamespace(tool_name="terminal", tool_call_id=reference, action=what or Terminal())


def observation(reference: str = "c1", exit_code: Any = 137) -> Any:
    seen = SimpleNamespace(exit_code=exit_code)
    return SimpleNamespace(tool_name="terminal", tool_call_id=reference, observation=seen)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def listener(daemon: ScriptedDaemon, told: list[str], monkeypatch: Any) -> Listener:
    monkeypatch.setenv("AGENTCG_SOCKET", str(daemon.path))
    daemon.on("POST", "/v1/sessions/ci/calls", a_call())
    daemon.on("POST", "/v1/calls/k3f9a2b7c1/end", ended(a_call(), 137, OOM, WAITED))
    return Listener("ci", told=told.append)


def test_action_and_observation_are_a_call(
    listener: Listener, daemon: ScriptedDaemon, told: list[str]
) -> None:
    """With the id of the client, its exit status, and feedback to whoever wants it."""
    listener(action())
    listener(observation())
    (begun,) = daemon.sent("POST", "/v1/sessions/ci/calls")
    assert (begun["tool"], begun["command"], begun["reference"]) == ("terminal", "make", "c1")
    assert daemon.sent("POST", "/v1/calls/k3f9a2b7c1/end") == [{"exit_status": 137}]
    assert told == ["agentcg: It needed more than 256M."]


@pytest.mark.parametrize(
    "event", [None, SimpleNamespace(), observation("unknown"), action(7),
              action(what=SimpleNamespace(path="/x")), SimpleNamespace(tool_call_id="x")],
)  # fmt: skip
def test_other_events_are_nothing(listener: Listener, daemon: ScriptedDaemon, event: Any) -> None:
    """Messages, tools without a command, events of a newer SDK."""
    listener(event)
    assert daemon.requests == []


def test_error_ends_a_call_and_odd_statuses_are_none(
    listener: Listener, daemon: ScriptedDaemon
) -> None:
    """An action that failed has no observation, and one that still runs has status -1."""
    listener(action())
    listener(SimpleNamespace(tool_call_id="c1", error="no such tool"))
    listener(action())
    listener(observation(exit_code=-1))
    assert daemon.sent("POST", "/v1/calls/k3f9a2b7c1/end") == [{}, {}]


def test_actions_without_an_end_are_bounded(listener: Listener, daemon: ScriptedDaemon) -> None:
    """The oldest is ended."""
    for number in range(OPEN_MAX + 1):
        listener(action(f"c{number}"))
    assert len(daemon.sent("POST", "/v1/calls/k3f9a2b7c1/end")) == 1


def test_short_waits_are_not_told(daemon: ScriptedDaemon) -> None:
    """A model could not act on them."""
    daemon.on("POST", "/v1/sessions/ci/calls", a_call())
    daemon.on("POST", "/v1/calls/k3f9a2b7c1/end", ended(a_call(), 0, WAITED))
    call = Client("ci", socket=daemon.path).call("Bash").begin()
    call.end(0)
    assert words(call) == ""
