# SPDX-License-Identifier: Apache-2.0
"""Each method: the request that it sends and the answer that it makes of the reply."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcg.daemon.client import Client, socket_path
from agentcg.daemon.messages import (
    BeginCall,
    CallList,
    ChangeCall,
    DeclareIntent,
    Feedback,
    Intent,
    IntentList,
    OpenSession,
    SessionList,
)
from agentcg.errors import AgentcgError, InvalidInput, NotFound
from support.examples import MIB, a_call, a_health, a_host, a_session, ended
from support.scripted_daemon import ScriptedDaemon


def test_state_is_decoded(daemon: ScriptedDaemon) -> None:
    """Health, host, sessions and calls arrive as the messages that were sent."""
    daemon.on("GET", "/v1/health", a_health())
    daemon.on("GET", "/v1/host", a_host())
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session()]))
    daemon.on("GET", "/v1/sessions/reviewer", a_session())
    daemon.on("GET", "/v1/calls", CallList(calls=[a_call()]))
    daemon.on("GET", "/v1/calls/k3f9a2b7c1", a_call())
    client = Client(daemon.path)
    assert client.health() == a_health()
    assert client.host() == a_host()
    assert client.sessions() == [a_session()]
    assert client.session("reviewer") == a_session()
    assert client.calls() == [a_call()]
    assert client.call("k3f9a2b7c1") == a_call()


def test_calls_are_asked_for_by_session_and_state(daemon: ScriptedDaemon) -> None:
    """What is not asked for is not in the query."""
    daemon.on("GET", "/v1/calls", CallList(calls=[]))
    client = Client(daemon.path)
    client.calls(session="reviewer", state="ended", limit=5)
    client.calls()
    assert [r.query for r in daemon.requests] == ["session=reviewer&state=ended&limit=5", ""]


def test_call_from_begin_to_end(daemon: ScriptedDaemon) -> None:
    """Begin, change and end send what they were given."""
    oom = Feedback(code="oom-call", text="it needed more than 256M")
    daemon.on("POST", "/v1/sessions/reviewer/calls", a_call())
    daemon.on("PATCH", "/v1/calls/k3f9a2b7c1", a_call())
    daemon.on("POST", "/v1/calls/k3f9a2b7c1/end", ended(a_call(), 137, oom))
    client = Client(daemon.path)
    call = client.begin("reviewer", BeginCall(tool="pytest", memory_bytes=256 * MIB, pid=4711))
    client.change(call.id, ChangeCall(memory_bytes=512 * MIB))
    assert client.end(call.id, 137).feedback == [oom]
    begin, change, end = (request.body for request in daemon.requests)
    assert (begin["tool"], begin["memory_bytes"], begin["pid"]) == ("pytest", 256 * MIB, 4711)
    assert change["memory_bytes"] == 512 * MIB
    assert end == {"exit_status": 137}


def test_session_from_open_to_close(daemon: ScriptedDaemon) -> None:
    """Open, declare, list and close address the session by its name."""
    intent = Intent(
        id="1nt3nt", session="ci", kind="idle", declared_at=1.0, expires_at=2.0, duration_s=60.0
    )
    daemon.on("POST", "/v1/sessions", a_session("ci"))
    daemon.on("POST", "/v1/sessions/ci/intents", intent)
    daemon.on("GET", "/v1/sessions/ci/intents", IntentList(intents=[intent]))
    daemon.on("DELETE", "/v1/sessions/ci", a_session("ci"))
    client = Client(daemon.path)
    assert client.open_session(OpenSession(name="ci", labels={"a": "b"})).name == "ci"
    assert client.declare("ci", DeclareIntent(kind="idle", duration_s=60.0)) == intent
    assert client.intents("ci") == [intent]
    client.close_session("ci")
    client.close_session("ci", kill=True)
    assert daemon.sent("POST", "/v1/sessions")[0]["labels"] == {"a": "b"}
    assert [r.query for r in daemon.requests if r.method == "DELETE"] == ["", "kill=true"]


def test_host_bound_is_set_and_taken_away(daemon: ScriptedDaemon) -> None:
    """None is sent as null: no bound."""
    daemon.on("PATCH", "/v1/host", a_host())
    client = Client(daemon.path)
    client.set_host_memory_max(6144 * MIB)
    client.set_host_memory_max(None)
    assert [b["memory_max_bytes"] for b in daemon.sent("PATCH", "/v1/host")] == [6144 * MIB, None]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a.b", "x" * 64, "a b", "a\0", "ä", "a\n"])
def test_impossible_names_are_not_sent(daemon: ScriptedDaemon, name: str) -> None:
    """A name that could change the path of the request never gets into one."""
    client = Client(daemon.path)
    with pytest.raises(InvalidInput):
        client.session(name)
    with pytest.raises(InvalidInput):
        client.call(name)
    assert daemon.requests == []


def test_refusal_is_raised(daemon: ScriptedDaemon) -> None:
    """A problem document arrives as an exception."""
    with pytest.raises(NotFound, match="no such thing"):
        Client(daemon.path).session("nobody")


def test_answer_of_another_shape_is_told(daemon: ScriptedDaemon) -> None:
    """A daemon of another version is named as the cause."""
    daemon.on("GET", "/v1/host", {"hostname": 1})
    with pytest.raises(AgentcgError, match=r"not understood: Expected `str`.*daemon's own version"):
        Client(daemon.path).host()


def test_new_fields_of_answers_are_ignored(daemon: ScriptedDaemon) -> None:
    """Answers may grow without breaking a client."""
    daemon.on("GET", "/v1/sessions", {"sessions": [], "next": "page"})
    assert Client(daemon.path).sessions() == []


def test_socket_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """$AGENTCG_SOCKET, if it is set and not empty."""
    monkeypatch.setenv("AGENTCG_SOCKET", "/run/other.sock")
    assert socket_path() == Path("/run/other.sock")
    monkeypatch.setenv("AGENTCG_SOCKET", "")
    assert socket_path() == Path("/run/agentcg/agentcg.sock")
