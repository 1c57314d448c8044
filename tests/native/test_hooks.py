# SPDX-License-Identifier: Apache-2.0
"""The program that clients run as their hook, compiled and in Python, against a daemon."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcg import native
from agentcg.daemon.service.detection.hooks import name_of
from cgroup_support import until
from daemon_support import PATIENCE_S, Daemon, fresh, own_daemon
from support.scripted_daemon import Received, ScriptedDaemon

PROGRAMS = ("compiled", "python")
FEEDBACK = {"hookSpecificOutput": {"hookEventName": "PostToolUse", "additionalContext": "x" * 3000}}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native.build(tmp_path_factory.mktemp("bin"), "agentcg-hook")


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, compiled: Path) -> list[str]:
    """The hook in each of its two forms."""
    if request.param == "compiled":
        return [str(compiled)]
    return [str(Path(sys.executable).with_name("agentcg")), "hook"]


def run(
    program: list[str], path: Path, given: Any, *words: str, session: str = ""
) -> tuple[int, str, str]:
    """Status, standard output and standard error of a hook that is given JSON, or bytes."""
    data = given if isinstance(given, bytes) else json.dumps(given).encode()
    env = {**os.environ, "AGENTCG_SOCKET": str(path), "AGENTCG_SESSION": session}
    done = subprocess.run(
        [*program, "claude-code", *words], input=data, env=env, capture_output=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def event(name: str, conversation: str, **fields: Any) -> dict[str, Any]:
    return {
        "session_id": conversation, "hook_event_name": name, "tool_name": "Bash",
        "tool_input": {"command": "make"}, "tool_use_id": "toolu_1", **fields,
    }  # fmt: skip


QUIET = (0, "", "")


def test_conversation_from_start_to_end(program: list[str], daemon: Daemon) -> None:
    """A session of its own, a call that is begun once and ended, phases, and it is gone."""
    conversation = fresh("c").replace("-", "")
    name = f"claude-code-{conversation[-12:]}"
    assert run(program, daemon.path, event("SessionStart", conversation)) == QUIET
    session = daemon.get(f"/v1/sessions/{name}")
    assert session["labels"] == {"client": "claude-code"}
    kept = json.loads(os.getxattr(daemon.root / name, "user.agentcg.session"))
    assert kept["distant"]  # no agent of this client was found: it is closed after a silent day
    for _ in range(2):  # hooks of the user's and of the project's settings
        assert run(program, daemon.path, event("PreToolUse", conversation), "--wait", "5") == QUIET
    (call,) = daemon.get(f"/v1/calls?session={name}")["calls"]
    assert (call["tool"], call["command"], call["state"]) == ("Bash", "make", "running")
    ended = event("PostToolUse", conversation, tool_response={"stdout": "x" * 300_000})
    assert run(program, daemon.path, ended) == QUIET
    (call,) = daemon.get(f"/v1/calls?session={name}")["calls"]
    assert (call["state"], call["exit_status"]) == ("ended", 0)
    assert run(program, daemon.path, event("Stop", conversation)) == QUIET
    assert daemon.get(f"/v1/sessions/{name}")["phase"] == "idle"
    assert run(program, daemon.path, event("SessionEnd", conversation)) == QUIET
    assert daemon.ask("GET", f"/v1/sessions/{name}").status == 404


OVER = [
    event("PostToolBatch", "c4", tool_calls=[{"tool_use_id": "toolu_1"}]),
    event("Stop", "c4"), event("UserPromptSubmit", "c4"), event("SessionEnd", "c4"),
]  # fmt: skip


@pytest.mark.parametrize("over", OVER, ids=lambda told: told["hook_event_name"])
def test_denied_call_is_ended_when_its_client_goes_on(
    compiled: Path, daemon: Daemon, over: dict[str, Any]
) -> None:
    """No client tells of a denial. What runs, in the background too, goes on, and so do calls of
    other conversations and of sub-agents."""
    name, program = fresh(), [str(compiled)]

    def tell(*told: dict[str, Any]) -> None:
        for one in told:
            assert run(program, daemon.path, one, session=name) == QUIET

    def states() -> dict[str, str]:
        calls = daemon.get(f"/v1/calls?session={name}")["calls"]
        return {call["reference"]: call["end_reason"] or call["state"] for call in calls}

    background = {"command": "sleep 9", "run_in_background": True}
    tell(
        event("PreToolUse", "c4"),
        event("PreToolUse", "c4", tool_use_id="toolu_2", tool_input=background),
        event("PostToolUse", "c4", tool_use_id="toolu_2", tool_input=background),
        event("PreToolUse", "c4", tool_use_id="toolu_3"),
        event("PreToolUse", "c5", tool_use_id="toolu_4"),
    )
    if over["hook_event_name"] != "SessionEnd":
        tell(event("PreToolUse", "c4", tool_use_id="toolu_5", agent_id="sub"))
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        calls = daemon.get(f"/v1/calls?session={name}")["calls"]
        (used,) = (call["id"] for call in calls if call["reference"] == "toolu_3")
        daemon.good("PATCH", f"/v1/calls/{used}", {"pid": process.pid})
        tell(over)
        ended, *running = (states().pop(f"toolu_{n}", "running") for n in (1, 2, 3, 4, 5))
        process.kill()
    daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")  # other tests look at all sessions
    assert (ended, running) == ("expired", ["running"] * 4)


def test_session_that_was_named(program: list[str], daemon: Daemon) -> None:
    """AGENTCG_SESSION says which session the agent is."""
    name = fresh()
    assert run(program, daemon.path, event("PreToolUse", "c1"), session=name) == QUIET
    assert len(daemon.get(f"/v1/calls?session={name}")["calls"]) == 1


def test_refused_call_is_told(program: list[str], daemon: Daemon) -> None:
    """The model hears that its command has no grant, and that is no decision."""
    name = fresh()
    daemon.open(name)
    limit = 0
    while daemon.ask("POST", f"/v1/sessions/{name}/calls", {"tool": "x"}).status == 201:
        limit += 1
        assert limit <= 1000
    status, said, _ = run(program, daemon.path, event("PreToolUse", "c2"), session=name)
    assert status == 0
    output = json.loads(said)["hookSpecificOutput"]
    assert "This command has no grant" in output["additionalContext"]
    assert set(output) == {"hookEventName", "additionalContext"}
    daemon.ask("DELETE", f"/v1/sessions/{name}")


def test_other_users_session_is_not_touched(program: list[str], daemon: Daemon) -> None:
    """A name that the peer has no right to: nothing is said, nothing is done."""
    assert run(program, daemon.path, event("Stop", "c"), session="user-nobody") == QUIET


@pytest.mark.parametrize(
    "given",
    [b"", b"not json", b"[]", b"7", b'{"a":', b"\xff\xfe", b"[" * 200_000, b"x" * (3 << 20),
     b'{"hook_event_name": ["PreToolUse"], "tool_input": {"command": {}}}',
     b'{"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "x"}}'],
)  # fmt: skip
def test_bad_input_is_nothing(program: list[str], daemon: Daemon, given: bytes) -> None:
    """Not JSON, of a newer client, huge, without a session: status 0 and not a word."""

    def ids() -> list[str]:
        return [session["id"] for session in daemon.get("/v1/sessions")["sessions"]]

    before = ids()
    assert run(program, daemon.path, given) == QUIET
    assert ids() == before


def test_without_words_it_is_claude_codes(compiled: Path, daemon: Daemon) -> None:
    """Versions before 2.1.139 know no `args`: their calls are declared all the same."""
    conversation = fresh("c").replace("-", "")
    subprocess.run(
        [compiled], input=json.dumps(event("Stop", conversation)).encode(), timeout=30, check=True,
        env={"AGENTCG_SOCKET": str(daemon.path)},
    )  # fmt: skip
    assert daemon.get(f"/v1/sessions/claude-code-{conversation[-12:]}")["phase"] == "idle"


@pytest.mark.parametrize("words", [("--wait", "x"), ("--wait",), ("--wait", "-5"), ("--new",)])
def test_odd_options_are_nothing(program: list[str], daemon: Daemon, words: list[str]) -> None:
    """Of an older or newer agentcg: the hook does what it can."""
    assert run(program, daemon.path, event("Stop", "c3"), *words)[0] == 0


def test_daemon_that_is_away(program: list[str], tmp_path: Path) -> None:
    """No socket: nothing is said."""
    assert run(program, tmp_path / "absent", event("PreToolUse", "c"), "--wait", "600") == QUIET
    assert run(program, Path("/" + "x" * 200), event("PreToolUse", "c")) == QUIET


@pytest.mark.parametrize("words", [("--wait", "600"), ()])
def test_daemon_that_hangs(program: list[str], tmp_path: Path, words: list[str]) -> None:
    """It listens and says nothing: given up, however long a call might wait for room."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert run(program, tmp_path / "s", event("PreToolUse", "c"), *words) == QUIET


def test_hook_that_gave_up_leaves_nothing_behind(program: list[str], daemon: Daemon) -> None:
    """Its client has gone on without it: no call holds a grant that nobody enters, and no session
    is opened for an agent that cannot be seen any more. What has ended is ended all the same."""
    conversation, later = fresh("h"), fresh("h")
    name, second = name_of("claude-code", conversation), {"tool_use_id": "toolu_2"}

    def calls() -> list[tuple[str, str]]:
        found = daemon.get(f"/v1/calls?session={name}")["calls"]
        return [(call["reference"], call["state"]) for call in found]

    def begun() -> bool:
        assert run(program, daemon.path, event("PreToolUse", conversation)) == QUIET
        return bool(calls())

    until(begun)
    with daemon.standing_still():
        assert run(program, daemon.path, event("PostToolUse", conversation)) == QUIET
        assert run(program, daemon.path, event("PreToolUse", conversation, **second)) == QUIET
        assert run(program, daemon.path, event("PreToolUse", later)) == QUIET
    until(lambda: ("toolu_1", "ended") in calls())
    assert run(program, daemon.path, event("PostToolUse", conversation, **second)) == QUIET
    assert calls() == [("toolu_1", "ended")]
    assert daemon.ask("GET", f"/v1/sessions/{name_of('claude-code', later)}").status == 404


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
     b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{",
     b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}", b"x" * 400_000],
)  # fmt: skip
def test_daemon_that_dies_half_way(program: list[str], tmp_path: Path, answer: bytes) -> None:
    """Part of an answer, or another program's, is not passed on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1 << 16)
                with contextlib.suppress(ConnectionError):  # it has seen enough
                    peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert run(program, tmp_path / "s", event("PostToolUse", "c")) == QUIET
        thread.join()


def test_answer_is_printed_as_it_is(program: list[str], tmp_path: Path) -> None:
    """Also one that waits for room first, and shows life meanwhile."""
    with ScriptedDaemon(tmp_path / "s") as scripted:

        def late(request: Received) -> Any:
            if "wait_s=9" in request.query:
                threading.Event().wait(1.5)  # longer than an answer may take otherwise
            return FEEDBACK

        scripted.on("POST", "/v1/hooks/claude-code", late)
        for words in (("--wait", "9", "--stay"), ()):
            status, said, _ = run(program, tmp_path / "s", event("PostToolUse", "c"), *words)
            assert (status, json.loads(said)) == (0, FEEDBACK)
        assert scripted.requests[0].query == "wait_s=9&stay=true"
        assert scripted.requests[0].body == event("PostToolUse", "c")


def test_reader_that_is_gone(program: list[str], tmp_path: Path) -> None:
    """A client that closes the hook's output sees no failure."""
    with ScriptedDaemon(tmp_path / "s") as scripted:
        scripted.on("POST", "/v1/hooks/claude-code", FEEDBACK)
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [*program, "claude-code"], input=json.dumps(event("PostToolUse", "c")).encode(),
            env={**os.environ, "AGENTCG_SOCKET": str(tmp_path / "s")}, stdout=writing,
            stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_call_waits_for_room(program: list[str]) -> None:
    """As long as the hook was told; then it goes ahead, and the model hears of it at the end."""
    with own_daemon() as full:
        full.good("PATCH", "/v1/host", {"memory_max_bytes": 256 << 20})
        full.open("other")
        full.begin("other", memory_bytes=250 << 20)
        assert run(program, full.path, event("PreToolUse", "c9"), "--wait", "2") == QUIET
        (call,) = full.get("/v1/calls?session=claude-code-c9")["calls"]
        assert call["grant"]["waited_s"] >= 1
        _, said, _ = run(program, full.path, event("PostToolUse", "c9"))
        assert "agentcg: " in json.loads(said)["hookSpecificOutput"]["additionalContext"]
