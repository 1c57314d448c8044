# SPDX-License-Identifier: Apache-2.0
"""`agentcg.client`: what agents call. Every behaviour holds for both clients."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agentcg
from agentcg.client import AsyncClient, Client, requests
from agentcg.daemon.messages import Feedback
from agentcg.errors import InvalidInput, LimitExceeded, Unavailable
from support.examples import a_call, a_session, ended
from support.scripted_daemon import Received, ScriptedDaemon, problem

BEGIN = "/v1/sessions/ci/calls"
END = "/v1/calls/k3f9a2b7c1/end"


class Both:
    """One way to use either client: `run` a call with a body, and the rest by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def call(
        self, path: Path, *args: Any, body: Any = None, made: Any = None, **kwargs: Any
    ) -> Any:
        if self.kind == "sync":
            with Client("ci", socket=path, **(made or {})) as client:
                with client.call(*args, **kwargs) as call:
                    if body is not None:
                        body(call)
                return call

        async def asynchronously() -> Any:
            async with AsyncClient("ci", socket=path, **(made or {})) as client:
                async with client.call(*args, **kwargs) as call:
                    if body is not None:
                        body(call)
                return call

        return asyncio.run(asynchronously())

    def many(self, path: Path, *names: str, between: Any = None) -> list[Any]:
        """Ask `names` (methods without arguments) of one client, one after another."""
        if self.kind == "sync":
            client = Client("ci", socket=path)
            answers = []
            for name in names:
                answers.append(getattr(client, name)())
                if between is not None:
                    between()
            client.close()
            return answers

        async def asynchronously() -> list[Any]:
            client = AsyncClient("ci", socket=path)
            answers = []
            for name in names:
                answers.append(await getattr(client, name)())
                if between is not None:
                    await asyncio.to_thread(between)
                    await asyncio.sleep(0)
            client.close()
            return answers

        return asyncio.run(asynchronously())


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


def exit_status(status: int) -> Any:
    """The body of a call whose command ended so."""

    def body(call: Any) -> None:
        call.exit_status = status

    return body


def scripted(daemon: ScriptedDaemon, *feedback: Feedback) -> None:
    daemon.on("POST", BEGIN, a_call())
    daemon.on("POST", END, ended(a_call(), 137, *feedback))
    daemon.on("POST", "/v1/sessions/ci/intents", {"id": "1nt3nt"})
    daemon.on("POST", "/v1/sessions", a_session("ci"))


def test_call_from_begin_to_end(both: Both, daemon: ScriptedDaemon) -> None:
    """What was asked for is sent, grant, account and feedback come back, on one connection."""
    scripted(daemon, Feedback(code="oom-call", text="It needed more than 256M."))
    call = both.call(daemon.path, "pytest", "pytest -x", memory_bytes=1 << 28, body=exit_status(-9))
    assert daemon.sent("POST", BEGIN) == [
        {"tool": "pytest", "command": "pytest -x", "memory_bytes": 1 << 28, "wait_s": 0.0}
    ]
    assert daemon.sent("POST", END) == [{"exit_status": 137}]
    assert call.grant.memory_high_bytes == 256 << 20
    assert call.told() == "It needed more than 256M."
    assert call.problem is None
    assert daemon.connections == 1


def test_session_is_opened_where_there_is_none(both: Both, daemon: ScriptedDaemon) -> None:
    """The first call of a session opens it and is begun then."""
    scripted(daemon)
    answers = iter([problem(404, "not-found", "no session"), a_call()])
    daemon.on("POST", BEGIN, lambda _: next(answers))
    assert both.call(daemon.path, "Bash").id == "k3f9a2b7c1"
    assert daemon.sent("POST", "/v1/sessions") == [{"name": "ci"}]


def test_absent_daemon_costs_the_caller_nothing(both: Both, tmp_path: Path) -> None:
    """The body runs, and the call says why it is none."""
    ran = []
    call = both.call(tmp_path / "absent", "Bash", "make", body=ran.append)
    assert ran == [call]
    assert (call.id, call.told()) == (None, "")
    assert isinstance(call.problem, Unavailable)


def test_bad_request_costs_the_caller_nothing(both: Both, daemon: ScriptedDaemon) -> None:
    """Also what the daemon takes for a mistake only means to go without a call."""
    daemon.on("POST", BEGIN, problem(400, "invalid-input", "memory_bytes: -1 is not valid"))
    call = both.call(daemon.path, "Bash", memory_bytes=-1)
    assert isinstance(call.problem, InvalidInput)


def test_refusal_is_raised_where_it_is_wanted(both: Both, daemon: ScriptedDaemon) -> None:
    """A caller that can split its work hears what would fit; others go on without a call."""
    daemon.on("POST", BEGIN, problem(429, "limit-exceeded", "no", remedy="2G would fit"))
    with pytest.raises(LimitExceeded, match="2G would fit"):
        both.call(daemon.path, "Bash", made={"raise_refused": True})
    assert both.call(daemon.path, "Bash").id is None


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"[1]", b'{"id": 7, "grant": []}'])
def test_answers_that_are_not_understood(both: Both, daemon: ScriptedDaemon, answer: bytes) -> None:
    """Whatever answers on the socket, the body runs."""
    daemon.on("POST", BEGIN, answer)
    assert both.call(daemon.path, "Bash").id is None


def test_daemon_that_dies_in_a_call(both: Both, daemon: ScriptedDaemon) -> None:
    """The end cannot be told; the caller is not hurt by that."""
    scripted(daemon)
    call = both.call(daemon.path, "Bash", body=lambda _: daemon.stop())
    assert call.id == "k3f9a2b7c1"
    assert isinstance(call.problem, Unavailable)


def test_restarted_daemon_is_found_again(both: Both, daemon: ScriptedDaemon) -> None:
    """A connection that died while it was idle is replaced."""
    scripted(daemon)

    def restart() -> None:
        daemon.stop()
        daemon.start()

    assert both.many(daemon.path, "idle", "generating", between=restart) == [True, True]
    assert daemon.connections == 2


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[socket.socket]:
    """A daemon that hangs: it listens and says nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent"))
        listener.listen(64)
        yield listener


def connections(listener: socket.socket) -> int:
    """How many wait to be accepted."""
    listener.setblocking(False)
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_hanging_daemon_is_given_up(both: Both, silent: socket.socket) -> None:
    """Who wants to wait for room does so for a daemon that shows life only."""
    call = both.call(Path(silent.getsockname()), "Bash", wait_s=600)
    assert "no answer within 0.25 s" in str(call.problem)


def test_hanging_daemon_is_not_waited_for_again(both: Both, silent: socket.socket) -> None:
    """After one request without an answer, a client asks nothing for a while."""
    assert both.many(Path(silent.getsockname()), *["idle"] * 3) == [False] * 3
    assert connections(silent) == 1


def test_wait_for_room_is_waited_for(
    both: Both, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that shows life may take its time."""
    monkeypatch.setattr(requests, "ALIVE_S", 1.0)
    scripted(daemon)

    def when_there_is_room(_: Received) -> Any:
        time.sleep(1.5)
        return a_call()

    daemon.on("POST", BEGIN, when_there_is_room)
    assert both.call(daemon.path, "Bash", wait_s=60).problem is None


def test_raised_errors_pass_and_end_the_call(both: Both, daemon: ScriptedDaemon) -> None:
    """An error of the body is the caller's; one of its own stopping is told as that."""
    scripted(daemon)

    def fail(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both.call(daemon.path, "Bash", body=fail)
    assert daemon.sent("POST", END) == [{"cancelled": True}]


def test_decorated_function_is_a_call(daemon: ScriptedDaemon) -> None:
    """Each call of it is one of the daemon's, under its name; its result is its own."""
    scripted(daemon)
    client = Client("ci", socket=daemon.path)

    @client.tool(memory_bytes=1 << 28)
    def search(words: str) -> str:
        return words.upper()

    assert search("abc") == "ABC"
    assert daemon.sent("POST", BEGIN)[0]["tool"] == "search"
    assert len(daemon.sent("POST", END)) == 1


async def test_decorated_coroutine_is_a_call(daemon: ScriptedDaemon) -> None:
    """The same for asyncio."""
    scripted(daemon)
    client = AsyncClient("ci", socket=daemon.path)

    @client.tool("web")
    async def fetch(url: str) -> str:
        return url

    assert await fetch("x") == "x"
    assert daemon.sent("POST", BEGIN)[0]["tool"] == "web"


async def test_waiting_call_holds_up_no_other(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one call waits for room, another one of the same client can end (and make room)."""
    monkeypatch.setattr(requests, "ALIVE_S", 60.0)
    scripted(daemon)
    room, came = threading.Event(), list[bool]()

    def begin(request: Received) -> Any:
        if request.body["tool"] == "second":
            came.append(room.wait(60))
        return a_call()

    def end(_: Received) -> Any:
        room.set()
        return ended(a_call(), 0)

    daemon.on("POST", BEGIN, begin)
    daemon.on("POST", END, end)
    client = AsyncClient("ci", socket=daemon.path)
    first = await client.call("first").begin()
    second = asyncio.create_task(client.call("second", wait_s=60).begin())
    while len(daemon.sent("POST", BEGIN)) < 2:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    await first.end(0)
    assert (await second).problem is None
    assert came == [True]


def test_threads_share_a_client(daemon: ScriptedDaemon) -> None:
    """Requests of several threads do not get each other's answers."""
    scripted(daemon)
    daemon.on("GET", "/echo", lambda request: {"said": request.query})
    client = Client("ci", socket=daemon.path)
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for turn in range(20):
            said = client.ask("GET", f"/echo?{number}-{turn}")["said"]
            if said != f"{number}-{turn}":
                wrong.append(said)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("text", ["x" * 100_000, "ä\udc80\0", ""])
def test_any_command_is_sent(both: Both, daemon: ScriptedDaemon, text: str) -> None:
    """Long commands are cut to what the daemon takes, broken characters replaced."""
    scripted(daemon)
    assert both.call(daemon.path, "Bash", text).problem is None
    assert len(daemon.sent("POST", BEGIN)[0]["command"]) <= 4096


def test_nothing_but_the_standard_library_is_imported() -> None:
    """Importing the client loads no dependency, no asyncio, and nothing else of agentcg."""
    program = (
        "import sys; before = set(sys.modules); import agentcg.client;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(agentcg.__file__).parents[1])},
    )
    loaded = done.stdout.split()
    own = {name for name in loaded if name.startswith("agentcg.") and ".client" not in name}
    assert own <= {"agentcg.errors", "agentcg.naming"}
    others = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert others == {"agentcg"}
    slow = {"asyncio", "http.client", "dataclasses", "subprocess", "typing", "pathlib", "email"}
    assert not slow & set(loaded)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # what a loop leaves open that has ended
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_each_run_has_a_loop_of_its_own(daemon: ScriptedDaemon) -> None:
    """A client that is made once and used by one `asyncio.run` after another, as by middleware."""
    daemon.on("POST", BEGIN, a_call())
    daemon.on("POST", END, ended(a_call()))
    client = AsyncClient("ci", socket=daemon.path)

    async def one() -> str | None:
        async with client.call("Bash", "make") as call:
            return call.id

    assert [asyncio.run(one()) for _ in range(3)] == ["k3f9a2b7c1"] * 3
    client.close()
