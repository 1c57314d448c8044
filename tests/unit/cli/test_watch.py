# SPDX-License-Identifier: Apache-2.0
"""`agentcg status --watch` on a terminal: refreshed in place, left in order."""

from __future__ import annotations

import os
import signal

import pytest

from agentcg.daemon.messages import CallList, SessionList
from support.commandline import command, environment
from support.examples import a_health, a_host, a_session
from support.scripted_daemon import ScriptedDaemon
from support.terminal import Terminal

OTHER_SCREEN, OWN_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


@pytest.fixture
def watching(daemon: ScriptedDaemon) -> Terminal:
    """A terminal that shows the page of a host with one session."""
    daemon.on("GET", "/v1/health", a_health())
    daemon.on("GET", "/v1/host", a_host())
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session()]))
    daemon.on("GET", "/v1/calls", CallList(calls=[]))
    env = environment(daemon.path, TERM="xterm")
    del env["COLUMNS"]
    terminal = Terminal(command("status", "--watch"), env)
    terminal.expect(OTHER_SCREEN)
    terminal.expect("reviewer")
    return terminal


def test_interrupt_ends_it(watching: Terminal) -> None:
    """^C gives the screen back and is not a failure."""
    watching.type("\x03")
    watching.expect(OWN_SCREEN)
    assert watching.status() == 0
    assert "Traceback" not in watching.text


def test_termination_gives_the_screen_back(watching: Terminal) -> None:
    """SIGTERM, too, leaves the terminal as it was."""
    os.kill(watching.pid, signal.SIGTERM)
    watching.expect(OWN_SCREEN)
    assert watching.status() == 128 + signal.SIGTERM


def test_daemon_goes_and_comes_back(watching: Terminal, daemon: ScriptedDaemon) -> None:
    """While it is away the page says so; when it is back the page goes on."""
    daemon.stop()
    watching.expect("GONE")
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session("newcomer")]))
    daemon.start()
    watching.expect("newcomer")
    watching.type("\x03")
    assert watching.status() == 0


@pytest.mark.parametrize("words", [["status", "--watch"], ["top"]])
def test_a_terminal_that_cannot_be_painted_over(daemon: ScriptedDaemon, words: list[str]) -> None:
    """That of an editor, say: refused with what else to use, where nothing would be shown."""
    terminal = Terminal(command(*words), environment(daemon.path, TERM="dumb"))
    terminal.expect("agentcg status")
    assert terminal.status() == 2
