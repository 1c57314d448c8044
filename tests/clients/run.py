# SPDX-License-Identifier: Apache-2.0
"""One client, one script, one daemon: what was asked for and what was found."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cgroup_support import until
from clients.catalogue import Client, Place
from clients.install import installed
from daemon_support import Daemon, fresh

TESTS = Path(__file__).parents[1]
_MARK = re.compile(r"\bmark-(\d+)\b")
_TURN = re.compile(r"(?:call|toolu)_t(\d+)n(\d+)")

# What a call does beside leaving its mark. In a persistent shell nothing may end the shell.
WORK = (
    ":", "git --version", "ls -l / | sort | tail -1", "exit 3", "(exit 4)",
    "bash -c 'bash -c true'", "python3 -c 'x = bytearray(32 << 20); print(len(x))'",
    "for i in 1 2 3; do (echo $i); done",
    "sleep 0.3", "sleep 0.2 & wait", "(sleep 1 > /dev/null 2>&1 &)", "false", "echo \"a 'b' c\"",
    "cat < /dev/null", "seq 1 20000 | wc -l", "kill -9 $(sh -c 'echo $PPID') 2> /dev/null; true",
)  # fmt: skip


def script(client: Client, calls: int) -> dict[str, Any]:
    """`calls` calls, each with a mark of its own; every fourth turn has two at once."""
    commands = []
    for number in range(calls):
        work = WORK[number % (len(WORK) - 1)]
        if client.persistent and work.startswith("exit"):
            work = "sh -c 'exit 3'"
        commands.append(f"/bin/true mark-{number}; {work}")
    turns: list[list[str]] = []
    while commands:
        both = client.parallel and len(turns) % 4 == 3 and len(commands) > 1
        turns.append([commands.pop(0) for _ in range(2 if both else 1)])
    if client.finish is not None:
        turns.append([f"/bin/true mark-{calls}; {client.finish}"])
    return {"delay_s": client.delay_s, "turns": turns}


@dataclass
class Outcome:
    """What one run found. Calls are those that were asked for, findings those of the daemon."""

    asked: int
    calls: list[dict[str, Any]]
    session: dict[str, Any]
    status: int
    log: str
    turns: list[list[str]]
    matched: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for call in self.calls:
            marks = self.marks(call)
            for mark in marks:
                self.matched.setdefault(mark, []).append(call)
            if not marks:
                self.wrong.append(call)

    def marks(self, call: dict[str, Any]) -> set[int]:
        """Marks in the call that its reference names, in its command, or executed in its leaf."""
        named = _TURN.fullmatch(call["reference"] or "")
        if named is not None:
            asked = self.turns[int(named[1])][int(named[2])]
            return {int(number) for number in _MARK.findall(asked)}
        executed = " ".join(each["argv"] for each in call["account"]["commands"])
        return {int(number) for number in _MARK.findall(f"{call['command']} {executed}")}

    def told(self) -> str:
        """What to look at when it is not as it should be."""
        missing = [mark for mark in range(self.asked) if mark not in self.matched]
        doubled = [mark for mark, calls in self.matched.items() if len(calls) > 1]
        wrong = [call["command"] for call in self.wrong]
        return f"missing {missing}, found twice {doubled}, no calls {wrong}"

    @property
    def recall(self) -> float:
        """Share of the calls asked for that were found."""
        return len(self.matched) / self.asked

    @property
    def precision(self) -> float:
        """Share of findings that are one call, and the only finding of it."""
        right = sum(
            1
            for calls in self.matched.values()
            if len(calls) == 1 and len(self.marks(calls[0])) == 1
        )
        return right / len(self.calls) if self.calls else 0.0


def run(daemon: Daemon, client: Client, calls: int, *, latest: bool = False) -> Outcome:
    """Run `client` through a script of `calls` calls, in a session that was opened for it."""
    folder = installed(client, latest=latest)
    with tempfile.TemporaryDirectory(prefix="agentcg-client-") as directory:
        place = Place(folder, Path(directory) / "home", Path(directory) / "work")
        place.home.mkdir()
        place.work.mkdir()
        client.prepare(place)
        out = Path(directory) / "out"
        spec = {
            "argv": client.argv(place), "cwd": str(place.work), "out": str(out), "timeout_s": 240,
            "env": environment(client, place),
            "script": script(client, calls),
        }  # fmt: skip
        name = fresh(client.name)
        try:
            with stage(directory, spec) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                pid = int(process.stdout.readline())
                labels = {} if client.label is None else {"client": client.label}
                daemon.open(name, pids=[pid], labels=labels)
                process.stdin.write("go\n")
                process.stdin.flush()
                said = json.loads(process.stdout.readline() or '{"status": -1}')
            until(lambda: not running(daemon, name))
            session = daemon.get(f"/v1/sessions/{name}")
            found = daemon.get(f"/v1/calls?session={name}&limit=1000")["calls"]
            log = out.read_text(errors="replace")
        finally:
            daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true")
            subprocess.run(["tmux", "kill-server"], env=spec["env"], check=False,
                           capture_output=True)  # fmt: skip
    turns: list[list[str]] = spec["script"]["turns"]
    return Outcome(sum(map(len, turns)), found, session, said["status"], log, turns)


def running(daemon: Daemon, session: str) -> bool:
    return bool(daemon.get(f"/v1/calls?session={session}&state=running")["calls"])


def environment(client: Client, place: Place) -> dict[str, str]:
    """Nothing of the tester's own environment but where programs are."""
    return {
        "HOME": str(place.home), "PATH": f"{Path(shutil.which('node') or '/bin/node').parent}:"
        "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "SHELL": "/bin/bash", "TERM": "xterm",
        "USER": "root", "TMPDIR": str(place.work), "TMUX_TMPDIR": str(place.home),
        "DO_NOT_TRACK": "1", **client.env(place),
    }  # fmt: skip


@contextlib.contextmanager
def stage(directory: str, spec: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The client, waiting to be let go, in a network namespace without a way out."""
    path = Path(directory) / "spec.json"
    path.write_text(json.dumps(spec))
    with subprocess.Popen(
        ["unshare", "--net", "--", sys.executable, "-m", "clients.stage", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
