# SPDX-License-Identifier: Apache-2.0
"""The commands: what they ask the daemon, what they print, how they end."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentcg.daemon.messages import (
    Account,
    Calibration,
    CallList,
    Event,
    Intent,
    IntentList,
    Offer,
    SessionList,
    Turn,
)
from support.commandline import agentcg, cli, command, environment
from support.examples import MIB, NOW, a_call, a_health, a_host, a_session, ended, with_account
from support.scripted_daemon import Received, ScriptedDaemon, problem

USED = Account(
    wall_s=600.0, network_sent_bytes=3 * MIB, run_queue_us=2_000_000, memory_some_us=500_000
)


@pytest.fixture
def host(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon with one session that makes one call."""
    daemon.on("GET", "/v1/health", a_health())
    daemon.on("GET", "/v1/host", a_host())
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session(calls_running=1)]))
    shown = a_session(labels={"team": "web"}, account=USED, tenant="acme", container="c0ffee")
    daemon.on("GET", "/v1/sessions/reviewer", shown)
    daemon.on("GET", "/v1/calls", calls_by_state)
    daemon.on("GET", "/v1/calls/k3f9a2b7c1", a_call())
    return daemon


def calls_by_state(request: Received) -> CallList:
    """One call in each state, as the query asks for them."""
    everything = [a_call(), a_call("l1nger1234", state="lingering"), ended(a_call("e2nded1234"), 3)]
    state = dict(pair.split("=") for pair in request.query.split("&") if pair).get("state")
    return CallList(calls=[call for call in everything if state in (None, call.state)])


def ok(daemon: ScriptedDaemon, *words: str) -> str:
    """Output of a command that must succeed."""
    result = cli(daemon.path, *words)
    assert result.exit_code == 0, result.output
    return result.stdout


# --- status ---


def test_status_json_is_the_api_data(host: ScriptedDaemon) -> None:
    """One object: health, host, sessions and calls as the API has them."""
    data = json.loads(ok(host, "status", "--json"))
    assert list(data) == ["health", "host", "sessions", "calls"]
    assert data["host"] == msgspec.to_builtins(a_host())
    assert data["calls"] == [msgspec.to_builtins(a_call())]
    assert data["sessions"][0]["name"] == "reviewer"


def test_status_page(host: ScriptedDaemon) -> None:
    """Printed without colour where standard output is no terminal."""
    done = agentcg(host.path, "status")
    assert done.returncode == 0
    assert "reviewer   high   thinking" in done.stdout
    assert "\x1b" not in done.stdout


def test_status_of_calls_alone(host: ScriptedDaemon) -> None:
    """--calls: a line for each call with how it was found and the CPU time so far, no sessions;
    with --json the calls as the API has them."""
    said = cli(host.path, "status", "--calls")
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    titles = next(n for n, line in enumerate(lines) if line.startswith("ID "))
    assert lines[titles].split()[:6] == ["ID", "SESSION", "FOUND", "STATE", "TIME", "CPU"]
    fields = lines[titles + 1].split()
    assert fields[:4] == ["k3f9a2b7c1", "reviewer", "declared", "running"]
    assert fields[5] == "12s"
    assert len(lines) == titles + 2
    assert list(json.loads(cli(host.path, "status", "--calls", "--json").stdout)) == ["calls"]


def test_status_shows_calls_that_were_just_killed(
    host: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended calls are asked for only where a session had an OOM kill."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    killed = with_account(ended(a_call("dead000000"), 137), oom_kills=1)
    recent = msgspec.structs.replace(killed, ended_at=NOW - 5)
    old = msgspec.structs.replace(killed, id="old0000000", ended_at=NOW - 3600)
    calls = {"running": [], "ended": [recent, old]}
    host.on("GET", "/v1/sessions", SessionList(sessions=[a_session(oom_kills=1)]))
    host.on(
        "GET", "/v1/calls",
        lambda r: CallList(calls=calls["ended" if "state=ended" in r.query else "running"]),
    )  # fmt: skip
    shown = json.loads(ok(host, "status", "--json"))["calls"]
    assert [call["id"] for call in shown] == ["dead000000"]


def test_status_without_daemon(tmp_path: Path) -> None:
    """Exit code 3, nothing on standard output, and how to start it on standard error."""
    for words in (["status"], ["status", "--json"], ["sessions"], ["events"]):
        done = agentcg(tmp_path / "absent", *words)
        assert (done.returncode, done.stdout) == (3, "")
        assert "systemctl start agentcgd" in done.stderr


def test_watch_needs_a_terminal(host: ScriptedDaemon) -> None:
    """Refused where it could not refresh in place, and together with --json."""
    done = agentcg(host.path, "status", "--watch")
    assert (done.returncode, done.stdout) == (2, "")
    assert "agentcg status" in done.stderr
    assert agentcg(host.path, "status", "--watch", "--json").returncode == 2


def test_colour(host: ScriptedDaemon) -> None:
    """On a terminal there is colour, with NO_COLOR there is none."""
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        env = environment(host.path, **({"TERM": "xterm"} | more))
        words = ["script", "-qec", shlex.join(command("status")), "/dev/null"]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        assert ("\x1b[32m" in done.stdout) is coloured, more


# --- sessions and calls ---


def test_sessions(host: ScriptedDaemon) -> None:
    """A line each; --json as the API has it."""
    assert "reviewer  high  thinking  212M/1.5G  700M" in ok(host, "sessions")
    assert json.loads(ok(host, "sessions", "--json"))["sessions"][0]["uid"] == 1000


def test_session_open(host: ScriptedDaemon) -> None:
    """Priority, weight, labels and processes are sent as they were given."""
    host.on("POST", "/v1/sessions", a_session("ci"))
    words = [
        "--priority",
        "low",
        "--weight",
        "50",
        "--label",
        "a=b",
        "--label",
        "c=d=e",
        "--pid",
        "10",
        "--pid",
        "11",
    ]
    assert "session ci is open: /sys/fs/cgroup" in ok(host, "session", "open", "ci", *words)
    assert host.sent("POST", "/v1/sessions") == [
        {"name": "ci", "priority": "low", "weight": 50, "labels": {"a": "b", "c": "d=e"},
         "pids": [10, 11]}
    ]  # fmt: skip


def test_session_close(host: ScriptedDaemon) -> None:
    """Refused while processes live in it; --kill is passed on."""
    host.on("DELETE", "/v1/sessions/ci", problem(409, "conflict", "it has 3 processes"))
    result = cli(host.path, "session", "close", "ci")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it has 3 processes" in result.stderr
    host.on("DELETE", "/v1/sessions/ci", {})
    assert ok(host, "session", "close", "ci", "--kill") == "session ci is closed\n"
    assert host.requests[-1].query == "kill=true"


def test_session_show(host: ScriptedDaemon) -> None:
    """Limits by their knobs' names, labels, rule and cgroup."""
    shown = ok(host, "session", "show", "reviewer")
    for part in (
        "memory.max 1.5G",
        "team=web",
        "tenant       acme",
        "container    c0ffee",
        "default.yaml:12",
        "sessions/reviewer",
        "network      3.0M sent",
        "waited       2.0s for a CPU, 500ms for memory",
    ):
        assert part in shown


def test_calls_are_those_that_live(host: ScriptedDaemon) -> None:
    """Without --state those that run or linger; with it those that are asked for."""
    listed = ok(host, "calls")
    assert "k3f9a2b7c1" in listed
    assert "l1nger1234" in listed
    assert "e2nded1234" not in listed
    assert "e2nded1234  reviewer  pytest  exit 3" in ok(host, "calls", "--state", "ended")
    everything = json.loads(ok(host, "calls", "--state", "all", "--json"))["calls"]
    assert [call["id"] for call in everything] == ["k3f9a2b7c1", "l1nger1234", "e2nded1234"]


def test_calls_of_a_session(host: ScriptedDaemon) -> None:
    """--session and --limit go into the query."""
    ok(host, "calls", "--session", "reviewer", "--state", "running", "--limit", "5")
    assert host.requests[-1].query == "session=reviewer&state=running&limit=5"


def test_call_show(host: ScriptedDaemon) -> None:
    """The grant and why, and what was used; what is not known is left out."""
    shown = ok(host, "call", "show", "k3f9a2b7c1")
    assert "policy: category test (default.yaml:30)" in shown
    assert "96M now, 120M at most" in shown
    assert "None" not in shown


# --- intents, events, host ---


def test_intent_declare_and_list(host: ScriptedDaemon) -> None:
    """Sizes and times are sent in bytes and seconds."""
    kept = Intent(
        id="1nt3nt", session="reviewer", kind="call", tool="pytest", memory_bytes=1536 * MIB,
        declared_at=NOW, expires_at=NOW + 60, duration_s=120.0,
    )  # fmt: skip
    host.on("POST", "/v1/sessions/reviewer/intents", kept)
    host.on("GET", "/v1/sessions/reviewer/intents", IntentList(intents=[kept]))
    words = "call --tool pytest --memory 1.5G --for 2m --in 500ms --confidence 0.9 --cpu high"
    told = ok(host, "intent", "declare", *words.split(), "--session", "reviewer")
    assert told == "intent 1nt3nt of session reviewer is declared\n"
    sent = host.sent("POST", "/v1/sessions/reviewer/intents")[0]
    assert {name: value for name, value in sent.items() if value is not None} == {
        "kind": "call", "tool": "pytest", "memory_bytes": 1536 * MIB, "duration_s": 120.0,
        "start_in_s": 0.5, "confidence": 0.9, "cpu": "high",
    }  # fmt: skip
    assert "1nt3nt  call  pytest    1.5G" in ok(host, "intent", "list", "-s", "reviewer")


def test_intent_change_withdraw_calibration(
    host: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spread is three values; the answer is told with its place; what is worth what, in words."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    offer = Offer(state="wait", reason="full", position=2, expected_at=NOW + 4)
    kept = Intent(
        id="1nt3nt", session="ci", kind="call", declared_at=NOW, expires_at=NOW + 60, offer=offer
    )
    host.on("PATCH", "/v1/sessions/ci/intents/1nt3nt", kept)
    host.on("DELETE", "/v1/sessions/ci/intents/1nt3nt", {})
    host.on("GET", "/v1/sessions/ci/calibration", Calibration(
        session="ci", used=1, unused=1, trust=0.75, memory_percent=[50], duration_percent=[],
        correction=1.0,
    ))  # fmt: skip
    words = "change 1nt3nt -s ci --memory 1M,2M,3M --for 1s,2s,3s --parallel 2 --after abcd"
    told = ok(host, "intent", *words.split())
    assert "is changed: wait, number 2 in the queue, room expected in 4s: full" in told
    sent = host.sent("PATCH", "/v1/sessions/ci/intents/1nt3nt")[0]
    assert {name: value for name, value in sent.items() if value is not None} == {
        "memory_quantiles": {"p50": MIB, "p90": 2 * MIB, "p99": 3 * MIB}, "parallelism": 2,
        "duration_quantiles": {"p50": 1.0, "p90": 2.0, "p99": 3.0}, "after": ["abcd"],
    }  # fmt: skip
    assert ok(host, "intent", "withdraw", "1nt3nt", "-s", "ci") == ""
    shown = ok(host, "intent", "calibration", "-s", "ci")
    assert "1 of 2; trust 0.75" in shown
    assert "memory taken of what was declared: 50%" in shown


def test_events(host: ScriptedDaemon) -> None:
    """A line each until --count; --kept asks for those before, and leaves out that there were more
    once, which others are told; --json is a line of JSON each."""
    event = Event(
        id=4, time=NOW, kind="call.oom", session="reviewer", call="k3f9", text="killed \x1b[1m"
    )
    lost = msgspec.structs.replace(event, kind="events.lost")
    raw = [b"data: " + msgspec.json.encode(one) + b"\n\n" for one in (lost, event)]
    host.on("GET", "/v1/events", raw[0] + raw[1])
    line = ok(host, "events", "--count", "1", "--session", "reviewer", "--kept")
    assert line.endswith("call.oom         reviewer/k3f9 killed \\x1b[1m\n")
    assert host.requests[-1].query == "session=reviewer"
    assert host.requests[-1].headers["Last-Event-ID"] == "0"
    host.on("GET", "/v1/events", raw[0])
    assert json.loads(ok(host, "events", "-n", "1", "--json")) == msgspec.to_builtins(lost)


def test_sched_trace(host: ScriptedDaemon) -> None:
    """A line for each turn, and for each delay, until --count; --json is a line of JSON each."""
    turn = Turn(
        time=NOW, call="k3f9", pid=12, comm="cc\x1b", cpu=1, waited_us=40, ran_us=900, delayed_us=0,
        boosted=True,
    )  # fmt: skip
    delay = msgspec.structs.replace(turn, call=None, delayed_us=50_000, lost=3)
    sent = b"".join(b"data: %s\n\n" % msgspec.json.encode(one) for one in (turn, delay))
    host.on("GET", "/v1/sessions/reviewer/trace", sent)
    first, second = ok(host, "sched", "trace", "reviewer").splitlines()
    assert first.endswith(" k3f9 cc\\x1b[12] CPU 1: waited 40us, ran 900us, boosted")
    assert second.endswith(" agent cc\\x1b[12] CPU 1: held up 50000us (3 lost before)")
    said = ok(host, "sched", "trace", "reviewer", "--count", "1", "--json")
    assert json.loads(said) == msgspec.to_builtins(turn)


def test_host(host: ScriptedDaemon) -> None:
    """Shown in full; the bound is set in bytes and taken away with none."""
    assert "1.2G used, bound: 6.0G" in ok(host, "host", "show")
    host.on("PATCH", "/v1/host", a_host())
    assert ok(host, "host", "set", "--memory-max", "6G") == "sessions together may use 6.0G\n"
    host.on("PATCH", "/v1/host", a_host(memory_max_bytes=None))
    assert ok(host, "host", "set", "--memory-max", "none") == "sessions together have no bound\n"
    assert [body["memory_max_bytes"] for body in host.sent("PATCH", "/v1/host")] == [6 << 30, None]


def test_version(host: ScriptedDaemon, tmp_path: Path) -> None:
    """Of both; the daemon's absence is no failure."""
    assert "agentcgd 0.1.0" in ok(host, "version")
    absent = cli(tmp_path / "absent", "version", "--json")
    assert json.loads(absent.stdout)["agentcgd"] is None
    assert cli(tmp_path / "absent", "--version").stdout.startswith("agentcg 0.")


# --- errors ---


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (problem(400, "invalid-input", "name: bad", field="name", rule="good"), 2),
        (problem(403, "forbidden", "not yours"), 4),
        (problem(404, "not-found", "no such session"), 1),
        (problem(409, "conflict", "name taken"), 1),
        (problem(429, "limit-exceeded", "64 sessions at most"), 1),
        (problem(500, "internal", "failed"), 1),
        (problem(503, "unavailable", "it starts"), 3),
    ],
    ids=lambda value: getattr(value, "title", ""),
)
def test_exit_code_of_a_refusal(daemon: ScriptedDaemon, refusal: Any, code: int) -> None:
    """Each kind of refusal has its code, and its reason is on standard error."""
    daemon.on("POST", "/v1/sessions", refusal)
    result = cli(daemon.path, "session", "open", "ci")
    assert (result.exit_code, result.stdout) == (code, "")
    assert refusal.detail in result.stderr


@pytest.mark.parametrize("size", ["1.5X", "-1", "NaN", "inf", "99999999999999999999", "", "1e9"])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "--memory", "SIZE", "--", "true"],
        ["intent", "declare", "call", "--memory", "SIZE"],
        ["host", "set", "--memory-max", "SIZE"],
    ],
    ids=["run", "intent", "host"],
)
def test_bad_size(daemon: ScriptedDaemon, words: list[str], size: str) -> None:
    """Option, value and rule are named; nothing is asked of the daemon; exit code 2."""
    done = cli(daemon.path, *(size if word == "SIZE" else word for word in words))
    assert done.exit_code == 2
    assert f"'--memory{'-max' if words[0] == 'host' else ''}'" in done.stderr
    assert f"'{size}' is not valid: a size such as 512M" in done.stderr
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--memory", "9999999T", "--", "true"], "'9999999T' is not valid: at most 1024T"),
        (["run", "--memory", "1023K", "--", "true"], "'1023K' is not valid: at least 1M"),
        (["run", "--wait", "11m", "--", "true"], "'11m' is not valid: at most 10m"),
        (["run", "--wait", "soon", "--", "true"], "'soon' is not valid: a duration"),
        (["run", "--cpu", "lots", "--", "true"], "'low', 'normal', 'high'"),
        (["run", "--session", "a/b", "--", "true"], "--session: 'a/b' is not valid"),
        (["run"], "Missing argument"),
        (["calls", "--state", "undead"], "'running', 'lingering', 'ended', 'all'"),
        (["calls", "--session", "../x"], "'../x' is not valid"),
        (["call", "show", "../../etc"], "'../../etc' is not valid"),
        (["session", "open", "x" * 10_000], "is not valid"),
        (["session", "open", "ci", "--label", "novalue"], "'novalue' is not valid: KEY=VALUE"),
        (["session", "open", "ci", "--weight", "0"], "--weight"),
        (["events", "--count", "0"], "--count"),
        (["history", "--command", "\udcff"], "is not valid: text in UTF-8"),
        (["session", "open", "ci", "--label", "a=\udcff"], "is not valid: text in UTF-8"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_bad_arguments(daemon: ScriptedDaemon, words: list[str], told: str) -> None:
    """A clear message, exit code 2, and the daemon is not asked."""
    done = cli(daemon.path, *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert len(done.stderr) < 600
    assert daemon.requests == []
