# SPDX-License-Identifier: Apache-2.0
"""`agentcg top`: what keys do, what is shown, and that it leaves a terminal as it was."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from agentcg.daemon.cli.commands.top import keys
from agentcg.daemon.cli.snapshot import Snapshot
from agentcg.daemon.cli.view.details import session_details
from agentcg.daemon.cli.view.top import View, lines, pressed, rows
from agentcg.daemon.messages import CallList, MemoryWait, SessionList
from support.commandline import agentcg, command, environment
from support.examples import MIB, NOW, a_call, a_health, a_host, a_session, with_account
from support.scripted_daemon import ScriptedDaemon
from support.terminal import Terminal


def look(sessions: int = 3) -> Snapshot:
    """Sessions s0, s1 ... of growing memory; the call of each has its name in the command."""
    return Snapshot(
        a_health(), a_host(),
        [a_session(f"s{n}", memory_current_bytes=n * MIB) for n in range(sessions)],
        [a_call(f"call{n:04}", session=f"s{n}", command=f"make part{n}") for n in range(sessions)],
        NOW,
    )  # fmt: skip


def after(typed: list[str], shown: Snapshot, view: View | None = None) -> View:
    view = view or View()
    for key in typed:
        view = pressed(view, key, rows(shown, view, {}))
    return view


def text(view: View, shown: Snapshot, width: int = 80, height: int = 24) -> str:
    return "\n".join(line.plain for line in lines(shown, None, view, width, height))


def test_the_largest_first_each_with_its_calls() -> None:
    """Sorted by memory; s goes on to CPU, time and name."""
    assert [row.key for row in rows(look(), View(), {})] == [
        "s2", "call0002", "s1", "call0001", "s0", "call0000",
    ]  # fmt: skip
    by_cpu = rows(look(), after(["s"], look()), {"s1": 90.0, "s0": 5.0})
    assert [row.key for row in by_cpu if row.call is None] == ["s1", "s0", "s2"]
    assert [r.key for r in rows(look(), after(["s"] * 3, look()), {}) if r.call is None] == [
        "s0", "s1", "s2",
    ]  # fmt: skip


def test_an_agent_that_waits_for_memory() -> None:
    """That is said in the place of its phase; enter shows what it holds."""
    waiting = a_session("s0", memory_wait=MemoryWait(NOW - 9, 655 * MIB, 650 * MIB))
    shown = Snapshot(a_health(), a_host(), [waiting, a_session("s1")], [], NOW)
    states = {line[:2]: line.rstrip() for line in text(View(), shown).splitlines()}
    assert states["s0"].endswith(" no room")
    assert states["s1"].endswith(" thinking")
    details = "\n".join(line.plain for line in session_details(waiting))
    assert "holds 655M, slowed beyond 650M" in details


def test_filter() -> None:
    """/ and some letters of a session or of a command; escape takes it away."""
    found = after(["/", *"part1", "enter"], look())
    assert [row.key for row in rows(look(), found, {})] == ["s1", "call0001"]
    assert "filter: part1" in text(found, look())
    assert after(["escape"], look(), found).filter == ""
    assert rows(look(), after(["/", *"nothing", "enter"], look()), {}) == []


@pytest.mark.parametrize(("key", "act"), [("f", "freeze"), ("t", "thaw"), ("x", "kill")])
def test_an_act_takes_a_call_and_a_yes(key: str, act: str) -> None:
    """Nothing happens without y, nor for a session; the question names the call."""
    assert after([key], look()).asked is None
    asked = after(["down", key], look())
    assert f"{act} call call0002? y: yes" in text(asked, look())
    assert after(["n"], look(), asked).wanted is None
    assert after(["y"], look(), asked).wanted == (act, "call0002")


def test_what_is_chosen_stays_chosen() -> None:
    """The mark stays with its call when the order changes; once that is gone, on the first row."""
    view = after(["down", "down", "down"], look())
    assert view.chosen == "call0001"
    gone = Snapshot(a_health(), a_host(), look().sessions, [], NOW)
    assert after(["x"], gone, view).asked is None


def test_detail() -> None:
    """Enter shows everything about a call, enter again the list."""
    detail = after(["down", "enter"], look())
    assert "call0002" in text(detail, look())
    assert "s1" not in text(detail, look())
    assert after(["enter"], look(), detail).detail is False


@pytest.mark.parametrize(("width", "height"), [(80, 24), (20, 4), (200, 60)])
@pytest.mark.parametrize("typed", [[], ["pagedown"] * 200, ["down", "enter"], ["/"]])
def test_it_fits_every_terminal(width: int, height: int, typed: list[str]) -> None:
    """Never more lines than there are nor wider, with 1,000 sessions and wherever the mark is."""
    many = look(1000)
    view = after(typed, many)
    shown = lines(many, None, view, width, height)
    assert len(shown) == height
    if not view.detail:
        assert all(cell_len(line.plain) <= width for line in shown)


def test_keys() -> None:
    """Arrows as terminals send them, letters, and nothing for sequences without meaning."""
    assert keys("\x1b[Aj\x1b[6~\r\x7f") == ["up", "j", "pagedown", "enter", "backspace"]
    assert keys("\x1b[1;5Cq\x1b") == ["q", "escape"]


def test_needs_a_terminal(daemon: ScriptedDaemon) -> None:
    """A pipe is refused with what to use instead."""
    done = agentcg(daemon.path, "top")
    assert done.returncode == 2
    assert "agentcg status" in done.stderr


def test_on_a_terminal(daemon: ScriptedDaemon) -> None:
    """A call is killed with three keys; q gives the screen back."""
    killed: list[Any] = []
    daemon.on("GET", "/v1/health", a_health())
    daemon.on("GET", "/v1/host", a_host())
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session()]))
    daemon.on("GET", "/v1/calls", CallList(calls=[with_account(a_call())]))
    daemon.on("POST", "/v1/calls/k3f9a2b7c1/kill", lambda r: killed.append(r.path) or a_call())
    env = environment(daemon.path, TERM="xterm")
    del env["COLUMNS"]
    terminal = Terminal(command("top"), env)
    terminal.expect("k3f9a2b7c1")
    terminal.type("j")
    terminal.type("x")
    terminal.expect("kill call")
    terminal.type("y")
    terminal.expect("kill: k3f9a2b7c1")
    terminal.type("q")
    terminal.expect("\x1b[?1049l")
    assert terminal.status() == 0
    assert killed == ["/v1/calls/k3f9a2b7c1/kill"]


def test_tree(daemon: ScriptedDaemon) -> None:
    """Each session with its runtime and its calls below it, or one session alone."""
    daemon.on("GET", "/v1/health", a_health())
    daemon.on("GET", "/v1/host", a_host())
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session(), a_session("other")]))
    daemon.on("GET", "/v1/calls", CallList(calls=[a_call(command="make \x1b[2J")]))
    shown = agentcg(daemon.path, "tree")
    assert shown.returncode == 0, shown.stderr
    first, *_ = [line for line in shown.stdout.splitlines() if "call-k3f9a2b7c1" in line]
    assert "running  96M  pytest: make \\x1b[2J" in first
    assert shown.stdout.count("runtime") == 2
    assert shown.stdout.count("call-k3f9a2b7c1") == 1
    daemon.on("GET", "/v1/sessions/reviewer", a_session())
    assert "other" not in agentcg(daemon.path, "tree", "--session", "reviewer").stdout
    assert agentcg(daemon.path, "tree", "--session", "nobody").returncode == 1
