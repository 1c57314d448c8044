# SPDX-License-Identifier: Apache-2.0
"""How long a KV cache is worth keeping, and what serving layers are told."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.cli.commands.bridge_programs import Programs
from agentcg.daemon.client import Client
from agentcg.daemon.messages import Event, Foreseen, Intent, SessionList
from agentcg.daemon.messages import Quantiles as Answered
from agentcg.errors import LimitExceeded, Unavailable
from agentcg.serving import (
    Costs,
    Quantiles,
    continuum,
    dynamo,
    events,
    expected_cost,
    intent_of,
    program,
    quantiles_of,
    thunderagent,
    time_to_live,
    webhook,
)
from support.commandline import cli
from support.examples import NOW, a_session
from support.scripted_daemon import Received, ScriptedDaemon, problem

QUICK = Quantiles(0.5, 1.0, 2.0)
COSTS = Costs(tokens=20_000, prefill_tokens_per_s=5000.0, cache_share=0.05)
BEGUN = {
    "kind": "call.begun", "time": 1.0, "session": "ci", "call": "k3f7",
    "foreseen": {"duration_s": {"p50": 0.5, "p90": 1.0, "p99": 2.0}},
}  # fmt: skip


def test_a_short_call_is_waited_for_and_a_long_one_is_not() -> None:
    """4 s of prefill against 5% of the memory: kept for all of it; for calls of minutes it is
    dropped, and kept where nobody else wants the memory."""
    assert time_to_live(QUICK, COSTS) == 4.0
    long = Quantiles(300.0, 600.0, 900.0)
    assert time_to_live(long, COSTS) == 0.0
    unwanted = Costs(tokens=20_000, prefill_tokens_per_s=5000.0, cache_share=0.05, pressure=0.0)
    assert time_to_live(long, unwanted) == 1800.0


def test_of_mostly_short_calls_the_few_long_ones_are_given_up() -> None:
    """Half are over in 1 s, the rest takes minutes: kept for about the short ones."""
    assert time_to_live(Quantiles(1.0, 300.0, 900.0), COSTS) == 1.0


def test_costs_add_up() -> None:
    """Dropped at once: a miss. Kept for good: what is held, evenly between quantiles."""
    assert expected_cost(QUICK, COSTS, 0.0) == COSTS.miss_s
    mean = 0.5 * 0.25 + 0.4 * 0.75 + 0.09 * 1.5 + 0.01 * 3.0
    assert expected_cost(QUICK, COSTS, 1e9) == pytest.approx(COSTS.hold * mean)


times = st.lists(st.floats(0, 1e5), min_size=3, max_size=3).map(lambda v: Quantiles(*sorted(v)))
costs = st.builds(
    Costs, st.integers(0, 10**6), st.floats(1, 1e6), st.floats(0, 100), st.floats(0, 1),
    st.floats(0, 1),
)  # fmt: skip


@given(times, costs, st.floats(0, 1e6))
def test_no_other_time_is_better(rest: Quantiles, cost: Costs, other_s: float) -> None:
    """Of all times the chosen one costs least."""
    best = expected_cost(rest, cost, time_to_live(rest, cost))
    other = expected_cost(rest, cost, other_s)
    assert best <= other * (1 + 1e-9) + 1e-9


def test_what_serving_layers_are_told() -> None:
    """Dynamo's header and hints, ThunderAgent's release, and a plain body with the time-to-live."""
    told = dynamo("ci", priority="high", forecast=BEGUN["foreseen"])  # type: ignore[arg-type]
    assert told["headers"] == {"X-Dynamo-Session-ID": "ci"}
    hints = {"priority": 10, "speculative_prefill": True}
    assert told["body"] == {"nvext": {"agent_hints": hints}}
    closed = {"kind": "session.closed", "session": "ci"}
    assert thunderagent(closed) == ("/programs/release", {"program_id": "ci"})
    assert thunderagent(BEGUN) is None
    assert program("ci") == {"program_id": "ci"}
    body = webhook(BEGUN, COSTS)
    assert body is not None
    assert (body["program"], body["kv_ttl_s"]) == ("ci", 4.0)
    assert webhook({"kind": "pressure"}) is None


def test_requests_to_continuum() -> None:
    """Its three fields; a call by the first word of its command, or by its tool, or left out."""
    told = continuum("ci", tool="Bash", command="pytest -x tests", last=False)
    assert told == {"job_id": "ci", "is_last_step": False, "this_func_call": "pytest"}
    assert continuum("ci", tool="Read", command=" ")["this_func_call"] == "Read"
    assert continuum("ci", last=True) == {"job_id": "ci", "is_last_step": True}


@pytest.mark.parametrize(
    ("state", "status", "kind"),
    [
        ("active", "reasoning", "generating"),
        ("active", "acting", None),
        ("paused", "reasoning", "idle"),
        ("paused", "acting", "idle"),
        ("terminated", "reasoning", None),
        (None, None, None),
    ],
)
def test_what_thunderagent_tells_of_a_program(
    state: str | None, status: str | None, kind: str | None
) -> None:
    """One whose request is held back is idle; one whose model writes is generating."""
    intent = intent_of({"state": state, "status": status, "step_count": 5})
    assert intent == (None if kind is None else {"kind": kind})


def test_programs_are_declared_as_they_change(daemon: ScriptedDaemon) -> None:
    """Once for each change, for sessions that there are; what was declared before is taken back,
    and it does not matter whether that was over. What is no answer of ThunderAgent is an error."""
    intents = "/v1/sessions/ci/intents"
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session("ci"), a_session("other")]))
    daemon.on("POST", intents, _declared)
    programs = Programs("http://127.0.0.1:1", Client(daemon.path))
    told = ["active reasoning", "active reasoning", "paused acting", "active acting"]
    for state, status in (one.split() for one in told):
        programs.note({"ci": {"state": state, "status": status}, "unknown": {"state": "paused"}})
    assert [one["kind"] for one in daemon.sent("POST", intents)] == ["generating", "idle"]
    assert len(daemon.sent("DELETE", f"{intents}/m2p5c7xa")) == 2
    with pytest.raises(ValueError, match="programs"):
        programs.note(["ci"])


def test_what_does_not_change_is_declared_again_before_it_is_over(daemon: ScriptedDaemon) -> None:
    """Of the 60 s for which the daemon keeps it, at the half; and the one before is taken back."""
    intents = "/v1/sessions/ci/intents"
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session("ci")]))
    daemon.on("POST", intents, _declared)
    now = [100.0]
    programs = Programs("http://127.0.0.1:1", Client(daemon.path), lambda: now[0])
    for passed_s in (0, 29, 2, 1):
        now[0] += passed_s
        programs.note({"ci": {"state": "paused", "status": "acting"}})
    methods = [one.method for one in daemon.requests if one.path.startswith(intents)]
    assert methods == ["POST", "POST", "DELETE"]


def test_each_session_is_served_whatever_becomes_of_others(daemon: ScriptedDaemon) -> None:
    """One that refuses does not keep those behind it waiting; one that was closed and is opened
    again has declared nothing."""
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session("a"), a_session("ci")]))
    daemon.on("POST", "/v1/sessions/a/intents", problem(429, "limit-exceeded", "too many"))
    daemon.on("POST", "/v1/sessions/ci/intents", _declared)
    programs = Programs("http://127.0.0.1:1", Client(daemon.path))
    told = {name: {"state": "paused", "status": "acting"} for name in ("a", "ci")}
    with pytest.raises(LimitExceeded):
        programs.note(told)
    assert len(daemon.sent("POST", "/v1/sessions/ci/intents")) == 1
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[]))
    programs.note(told)
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session("ci")]))
    programs.note(told)
    assert len(daemon.sent("POST", "/v1/sessions/ci/intents")) == 2


def _declared(request: Received) -> Intent:
    kind = request.body["kind"]
    return Intent(id="m2p5c7xa", session="ci", kind=kind, declared_at=NOW, expires_at=NOW + 60)


async def collected(path: Path, session: str | None = None) -> list[dict[str, Any]]:
    return [event async for event in events(str(path), session=session)]


def test_events_for_asyncio(daemon: ScriptedDaemon) -> None:
    """As they come, of one session where one is named; without a daemon, and where it refuses, an
    error that says so."""
    sent = [msgspec.json.encode(Event(id=n, time=1.0, kind="pressure")) for n in (1, 2)]
    stream = b"".join(b"event: pressure\ndata: " + one + b"\n\n" for one in sent)
    daemon.on("GET", "/v1/events", stream)
    found = asyncio.run(collected(daemon.path, "ci"))
    assert [(one["id"], one["kind"]) for one in found] == [(1, "pressure"), (2, "pressure")]
    assert daemon.requests[-1].query == "session=ci"
    daemon.on("GET", "/v1/events", problem(403, "forbidden", "not yours"))
    with pytest.raises(Unavailable, match="403"):
        asyncio.run(collected(daemon.path))
    with pytest.raises(Unavailable, match="absent"):
        asyncio.run(collected(daemon.path.with_name("absent")))


@pytest.mark.parametrize(
    "bad", [{}, {"remaining_s": {}}, {"remaining_s": {"p50": "x"}}, {"duration_s": 3}]
)
def test_what_is_no_forecast_is_an_error(bad: dict[str, Any]) -> None:
    """KeyError, TypeError or ValueError, as stated."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        quantiles_of(bad)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    with ScriptedDaemon(tmp_path / "socket") as listening:
        yield listening


def test_the_bridge_sends_what_happens(daemon: ScriptedDaemon) -> None:
    """A call that begins reaches a receiver with its time-to-live; what is no URL
    is refused, and a receiver that does not speak HTTP ends nothing."""
    got: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path.startswith("/odd"):
                self.wfile.write(b"SSH-2.0\r\n\r\n")
                return
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    spread = Answered(p50=0.5, p90=1.0, p99=2.0)
    foreseen = Foreseen(duration_s=spread, peak_bytes=spread, own_calls=1, other_calls=0)
    begun = Event(id=1, time=1.0, kind="call.begun", session="ci", call="k3f7", foreseen=foreseen)
    stream = b"".join(
        b"data: " + msgspec.json.encode(event) + b"\n\n"
        for event in (Event(id=0, time=1.0, kind="pressure"), begun)
    )
    daemon.on("GET", "/v1/events", stream)
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/x"
        words = ["bridge", "--to", url, "--tokens", "20000", "--share", "0.05", "--count", "1"]
        done = cli(daemon.path, *words)
        words[2] = f"http://127.0.0.1:{server.server_port}/odd"
        odd = cli(daemon.path, *words)
        server.shutdown()
    assert done.exit_code == 0, done.output
    assert (odd.exit_code, "SSH-2.0" in odd.output) == (0, True)  # said, and forgotten
    assert [one["kv_ttl_s"] for one in got] == [4.0]
    assert cli(daemon.path, "bridge", "--to", "file:///etc/passwd").exit_code == 2
    assert cli(daemon.path, "bridge", "--to", url, "--programs").exit_code == 2  # of a webhook
