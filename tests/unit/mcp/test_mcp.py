# SPDX-License-Identifier: Apache-2.0
"""The MCP server: the protocol, its two tools, and what comes in badly."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.client import Client
from agentcg.mcp import Server, serve
from agentcg.mcp.server import LINE_MAX_BYTES
from agentcg.mcp.tools import Tools
from support.examples import a_call, ended
from support.scripted_daemon import ScriptedDaemon, problem

OFFER = {"state": "wait", "reason": "2.0G are not free", "fits_bytes": 1 << 29, "position": 1}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    with ScriptedDaemon(tmp_path / "socket") as listening:
        yield listening


@pytest.fixture
def server(daemon: ScriptedDaemon) -> Server:
    return Server(Tools(Client("ci", socket=daemon.path)))


def ask(server: Server, method: str, **params: Any) -> Any:
    return server.answer({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def use(server: Server, name: str, meta: Any = None, **arguments: Any) -> Any:
    more = {} if meta is None else {"_meta": meta}
    return ask(server, "tools/call", name=name, arguments=arguments, **more)["result"]


def test_handshake(server: Server) -> None:
    """The revision that the client speaks, where it is known; the newest otherwise."""
    for asked, answered in (("2024-11-05", "2024-11-05"), ("2099-01-01", "2025-06-18")):
        result = ask(server, "initialize", protocolVersion=asked)["result"]
        assert result["protocolVersion"] == answered
    assert ask(server, "ping")["result"] == {}
    names = [tool["name"] for tool in ask(server, "tools/list")["result"]["tools"]]
    assert names == ["ask_for_room", "read_feedback"]


def test_room_is_asked_for(server: Server, daemon: ScriptedDaemon) -> None:
    """An intent of the session; the answer in words, and as data."""
    daemon.on("POST", "/v1/sessions/ci/intents", {"id": "1nt3nt", "offer": OFFER})
    result = use(server, "ask_for_room", memory="2G", command="make", duration_s=60)
    assert daemon.sent("POST", "/v1/sessions/ci/intents") == [
        {"kind": "call", "memory_bytes": 2 << 30, "command": "make", "duration_s": 60}
    ]
    assert result["content"][0]["text"].startswith(
        "Not now: 2.0G are not free. 512M would fit now."
    )
    assert result["_meta"] == {"dev.agentcg/offer": OFFER}
    assert not result["isError"]


def test_what_never_fits_is_to_be_split(server: Server, daemon: ScriptedDaemon) -> None:
    """What would fit is said once, in the daemon's own words."""
    never = {"state": "refused", "reason": "it needs 3G; 1G would", "fits_bytes": 1 << 30}
    daemon.on("POST", "/v1/sessions/ci/intents", {"id": "1nt3nt", "offer": never})
    (said,) = use(server, "ask_for_room", memory="3G")["content"]
    assert said["text"] == "It can never fit: it needs 3G; 1G would. Split it."


def test_each_call_is_for_the_session_that_the_server_is_in_by_then(
    daemon: ScriptedDaemon,
) -> None:
    """An agent starts its servers, and then its hooks move it, and them, into a session."""
    homes = iter(["user-root", "claude-code-1"])
    server = Server(Tools(Client("user-root", socket=daemon.path), lambda: next(homes)))
    for home in ("user-root", "claude-code-1"):
        daemon.on("POST", f"/v1/sessions/{home}/intents", {"id": "1nt3nt", "offer": OFFER})
        use(server, "ask_for_room", memory="2G")
        assert len(daemon.sent("POST", f"/v1/sessions/{home}/intents")) == 1


def test_need_of_a_client(server: Server, daemon: ScriptedDaemon) -> None:
    """A client that knows better says so under the key of our own."""
    daemon.on("POST", "/v1/sessions/ci/intents", {"id": "1nt3nt", "offer": None})
    use(server, "ask_for_room", {"dev.agentcg/need": {"memory_bytes": 1 << 30, "evil": 1}})
    assert daemon.sent("POST", "/v1/sessions/ci/intents") == [
        {"kind": "call", "memory_bytes": 1 << 30}
    ]


def test_feedback_is_read(server: Server, daemon: ScriptedDaemon) -> None:
    """The latest first; what went well is not told."""
    oom = {"code": "oom-call", "text": "It needed more than 256M."}
    fine = {"code": "ok", "text": "Done."}
    calls = [
        {"id": "aaaa", "command": "make\n  all", "feedback": [oom]},
        {"id": "bbbb", "command": "ls", "feedback": [fine]},
        {"id": "cccc", "command": None, "tool": "Bash", "feedback": [oom, fine]},
    ]
    daemon.on("GET", "/v1/calls", {"calls": calls})
    result = use(server, "read_feedback")
    assert result["content"][0]["text"].splitlines() == [
        "Bash: It needed more than 256M.", "make all: It needed more than 256M.",
    ]  # fmt: skip
    assert [one["call"] for one in result["_meta"]["dev.agentcg/feedback"]] == ["cccc", "aaaa"]
    assert "session=ci" in daemon.requests[-1].query
    daemon.on("GET", "/v1/calls", {"calls": [ended(a_call(), 0)]})
    assert "all went well" in use(server, "read_feedback", limit=1)["content"][0]["text"]


def test_daemon_that_is_away(tmp_path: Path) -> None:
    """The model is told to go on."""
    server = Server(Tools(Client("ci", socket=tmp_path / "absent")))
    for name, arguments in (("ask_for_room", {"memory": "1G"}), ("read_feedback", {})):
        result = use(server, name, **arguments)
        assert "Go on without it" in result["content"][0]["text"]
        assert not result["isError"]


def test_session_that_is_not_there(server: Server, daemon: ScriptedDaemon) -> None:
    """What the daemon says against it is passed on."""
    daemon.on("GET", "/v1/calls", problem(403, "forbidden", "it belongs to another"))
    assert "belongs to another" in use(server, "read_feedback")["content"][0]["text"]


@pytest.mark.parametrize("memory", ["lots", "", "-1", "1e9", "9999999T", "½G"])
def test_sizes_that_are_none(server: Server, memory: str) -> None:
    """The model can mend that: an error of the tool, not of the protocol."""
    assert use(server, "ask_for_room", memory=memory)["isError"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"method": "no/such"}, -32601),
        ({"method": "tools/call", "params": []}, -32602),
        ({"method": "tools/call", "params": {"name": "rm"}}, -32602),
        ({"method": "tools/call", "params": {"name": "ask_for_room"}}, -32602),
        ({"method": "tools/call", "params": {"name": "read_feedback", "arguments": 7}}, -32602),
        ({"method": 7}, -32600),
        ({"jsonrpc": "1.0", "method": "ping"}, -32600),
    ],
)
def test_bad_requests(server: Server, message: dict[str, Any], code: int) -> None:
    """Each with the code that the protocol has for it."""
    assert server.answer({"jsonrpc": "2.0", "id": 1, **message})["error"]["code"] == code


@given(st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(["2.0", "tools/call", "initialize"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["jsonrpc", "id", "method", "params", "name", "arguments"]), inner),
))  # fmt: skip
def test_any_message_is_survived(message: Any) -> None:
    """An answer, or none, and never an exception."""
    server = Server(Tools(Client("ci", socket="/nonexistent")))
    json.dumps(server.line(json.dumps(message).encode()))


def test_stream_of_lines(server: Server) -> None:
    """Broken and endless lines get an error, notifications nothing, and what follows its answer."""
    lines = [
        b"nonsense", b"[" * 100_000, b"x" * (2 * LINE_MAX_BYTES), b"", b"\xff",
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        b'[{"jsonrpc": "2.0", "id": 6, "method": "ping"}]',
        b'{"jsonrpc": "2.0", "id": 7, "method": "ping"}',
    ]  # fmt: skip
    out = io.BytesIO()
    serve(Tools(Client("ci", socket="/nonexistent")), io.BytesIO(b"\n".join(lines) + b"\n"), out)
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [answer["error"]["code"] for answer in answers[:4]] == [-32700, -32700, -32600, -32700]
    assert answers[4:] == [
        [{"jsonrpc": "2.0", "id": 6, "result": {}}], {"jsonrpc": "2.0", "id": 7, "result": {}}
    ]  # fmt: skip


def test_command_serves_until_its_input_ends() -> None:
    """`agentcg mcp`, as a client starts it."""
    agentcg = Path(sys.executable).with_name("agentcg")
    done = subprocess.run(
        [agentcg, "mcp"], input=b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n',
        capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"jsonrpc": "2.0", "id": 1, "result": {}}
