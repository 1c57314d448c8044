# SPDX-License-Identifier: Apache-2.0
"""Real clients, unmodified, on the service as systemd runs it, with memory for a few calls only.

Each is told by its scripted model to run one task, in which a call is granted, one waits for room,
one is refused and split, and one is killed. What counts is what reached the model, and when.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentcg.daemon.hooks.words import WAITED_TOLD_S
from cgroup_support import until
from clients.guest.agents import AGENTS, Agent
from clients.guest.programs import PROGRAMS
from clients.play import play
from daemon_support import Api, fresh
from systemd_support import PATIENCE_S, SOCKET, accounting, policy, systemctl

MIB = 1 << 20
BOUND = 1000 * MIB  # of all sessions
HELD = 500 * MIB  # by somebody else, at first
SITE = """
version: 1
admission: {wait_max: 10m, reserve_max: 5m}
calls:
  - match: {command: "*--greedy"}
    memory_max: 150M
"""
TAKE = Path("/tmp/take.py")  # MiB: takes so much, and ends

GRANTED = "echo granted"
WAITS = f"python3 {TAKE} 250"
WHOLE = f"python3 {TAKE} 2500"
PARTS = (f"python3 {TAKE} 100 part-1", f"python3 {TAKE} 100 part-2")
KILLED = f"python3 {TAKE} 1000 --greedy"
ALIVE = "echo alive"


def turns(agent: Agent) -> dict[str, list[Any]]:
    """What the model says, turn by turn."""
    return {
        "granted": [GRANTED],
        "asked": [agent.ask("600M", WAITS)],
        "waited": [WAITS],
        "refused": [agent.ask("3000M", WHOLE)],
        "split": [agent.ask("200M", part) for part in PARTS],
        "parts": [*PARTS],
        "killed": [KILLED],
        "alive": [ALIVE],
        **({} if agent.finish is None else {"finish": [agent.finish]}),
    }


@dataclass(frozen=True)
class Run:
    """What the model heard, by turns, and what the daemon knows of the calls, by commands."""

    agent: Agent
    turns: list[str]
    heard: list[str]
    calls: dict[str, dict[str, Any]]

    def told_after(self, text: str) -> str | None:
        """The turn that was answered with `text`: it is in the next request, and in none before."""
        quoted = json.dumps(text)[1:-1]
        number = next((n for n, request in enumerate(self.heard) if quoted in request), 0)
        return [None, *self.turns][number]

    def feedback(self, command: str, code: str) -> dict[str, Any]:
        """What there is to say of a call."""
        told: list[dict[str, Any]] = self.calls[command]["feedback"]
        return next((one for one in told if one["code"] == code), {"text": f"not told: {told}"})


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The daemon of the unit, with little memory for all sessions."""
    systemctl("start", "agentcgd")
    daemon = Api(SOCKET)
    until(lambda: accounting(daemon) == "bpf", PATIENCE_S)
    daemon.good("PATCH", "/v1/host", {"memory_max_bytes": BOUND})
    TAKE.write_text(
        "import sys\nheld = [bytearray(b'x' * (1 << 20)) for _ in range(int(sys.argv[1]))]\n"
        "if 'stay' in sys.argv:\n    print(flush=True)\n    input()\n"
    )
    with policy(SITE):
        assert daemon.get("/v1/health")["policy_error"] is None
        yield daemon
    daemon.good("PATCH", "/v1/host", {})


@pytest.fixture(scope="module", params=AGENTS)
def run(request: pytest.FixtureRequest, api: Api) -> Iterator[Run]:
    """The whole task, by one client."""
    agent = AGENTS[request.param]
    script = turns(agent)
    with somebody_else(api) as leave:

        def go_on() -> None:
            until(lambda: api.get("/v1/host")["calls_waiting"], PATIENCE_S)
            time.sleep(2 * WAITED_TOLD_S)  # a shorter wait is not told
            leave()

        says = list(script.values())
        said = play(agent.client, says, go_on, folder=PROGRAMS, timeout_s=PATIENCE_S)
    last = api.get("/v1/calls?limit=24")["calls"]
    yield Run(agent, list(script), said["heard"], {call["command"]: call for call in last})
    if agent.session is not None:
        api.good("DELETE", f"/v1/sessions/{agent.session}?kill=true")


@contextmanager
def somebody_else(api: Api) -> Iterator[Callable[[], None]]:
    """A call of another session that holds `HELD`, until it is told to leave."""
    name, pipe = fresh(), subprocess.PIPE
    api.open(name)
    wait = 'read -r _ && exec "$@"'
    command = ["sh", "-c", wait, "sh", sys.executable, str(TAKE), str(HELD // MIB), "stay"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as tool:
        assert tool.stdin is not None
        assert tool.stdout is not None
        call = api.begin(name, pid=tool.pid, memory_bytes=HELD)
        tool.stdin.write(b"\n")
        tool.stdin.flush()
        assert tool.stdout.readline() == b"\n"

        def leave() -> None:
            tool.communicate(b"\n")
            api.end(call["id"], exit_status=tool.returncode)

        try:
            yield leave
        finally:
            tool.kill()
            api.ask("DELETE", f"/v1/sessions/{name}?kill=true")


def test_a_call_is_granted(run: Run) -> None:
    """It begins at once, in a grant, and nothing is to be said of it."""
    call = run.calls[GRANTED]
    assert (call["exit_status"], call["grant"]["waited_s"]) == (0, 0)
    assert call["grant"]["memory_high_bytes"] is not None
    assert "agentcg:" not in run.heard[1]


def test_a_call_waits_for_room(run: Run) -> None:
    """The model asks before, and hears what is free; the call begins when somebody else has
    left, and the model hears for how long it waited and what for."""
    assert run.told_after("it needs 600M and ") == "asked"
    call, waited = run.calls[WAITS], run.feedback(WAITS, "waited")
    assert (call["exit_status"], call["grant"]["source"]) == (0, "intent")
    assert waited["waited_s"] > WAITED_TOLD_S
    assert " until 600M were free" in waited["text"]
    assert run.told_after(waited["text"]) == "waited"


def test_a_call_is_refused_and_split(run: Run) -> None:
    """What can never be had is refused with what would fit; the parts that the model makes of it
    are granted, what is held for them is theirs, and they begin at once."""
    refused = "it needs 2.9G, and no more than 1.0G can ever be had; 1.0G would"
    assert run.told_after(refused) == "refused"
    assert run.told_after("200M are held for it until ") == "split"
    assert WHOLE not in run.calls
    for part in PARTS:
        grant = run.calls[part]["grant"]
        assert (grant["source"], grant["declared_bytes"]) == ("intent", 200 * MIB)
        assert (grant["waited_s"], run.calls[part]["exit_status"]) == (0, 0)


def test_a_call_is_killed_and_the_model_told_why(run: Run) -> None:
    """By the kernel, at the limit of its grant: the model's next request has by whom, at how much
    and what can be done. The agent lives and goes on."""
    call, killed = run.calls[KILLED], run.feedback(KILLED, "oom-call")
    assert (call["exit_status"], call["account"]["oom_kills"] > 0) == (137, True)
    assert (killed["limit_of"], killed["limit_bytes"]) == ("call", 150 * MIB)
    assert "its work did not fail by itself" in killed["text"]
    assert "such a call cannot have more than 150M" in killed["text"]
    assert run.told_after(killed["text"]) == "killed"
    assert run.calls[ALIVE]["exit_status"] == 0
    assert len(run.heard) >= len(run.turns)


def test_the_session_goes_with_the_agent(run: Run, api: Api) -> None:
    """One that hooks have opened is closed when the agent ends; one that was named stays."""
    assert len({run.calls[command]["session"] for command in (GRANTED, KILLED, ALIVE)}) == 1
    stay = [] if run.agent.session is None else [run.agent.session]

    def left() -> list[str]:
        return [one["name"] for one in api.get("/v1/sessions")["sessions"]]

    until(lambda: left() == stay, PATIENCE_S)
