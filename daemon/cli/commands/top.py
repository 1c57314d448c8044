# SPDX-License-Identifier: Apache-2.0
"""`agentcg top`: a live view in which calls can be looked at, frozen, thawed and killed."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from agentcg.daemon.cli.options import client_of
from agentcg.errors import AgentcgError, InvalidInput, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from agentcg.daemon.cli.snapshot import Snapshot
    from agentcg.daemon.cli.view.top import View
    from agentcg.daemon.client import Client

HELP = """A live view of sessions and calls, for a terminal of any size, over ssh and in tmux.

\b
Keys:
  up, down, page up, page down, j, k    choose
  s        sort by memory, CPU, time, name
  /        filter by session, tool or command; escape takes it away
  enter    everything about the chosen call, and back
  f, t, x  freeze, thaw, kill the chosen call, after a y
  q, ^C    leave

Exit codes: 0; 2 no terminal; 3 if the daemon is not there.
"""
REFRESH_S = 1.0
_SEQUENCES = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown", "\x1b": "escape", "\r": "enter", "\n": "enter", "\x7f": "backspace",
    "\x08": "backspace",
}  # fmt: skip


def top(ctx: typer.Context) -> None:
    """Show the live view until q."""
    from agentcg.daemon.cli.snapshot import take
    from agentcg.daemon.cli.view.screen import is_live

    if not (is_live() and sys.stdin.isatty()):
        raise InvalidInput("top", "a pipe or dumb terminal", "a terminal; else: agentcg status")
    client = client_of(ctx)
    looks = _Looks(client.path, take(client))
    signal.signal(signal.SIGTERM, _leave)
    with _keyboard() as keyboard, looks:
        try:
            _show(client, looks, keyboard)
        except KeyboardInterrupt:
            return


class _Looks:
    """Asks the daemon once a second on a thread of its own: with 1,000 sessions an answer takes
    longer than a key should."""

    def __init__(self, path: Path, first: Snapshot) -> None:
        self._path = path
        self._stop = threading.Event()
        self._news, self._ring = os.pipe()
        self.now, self.gone = first, ""
        self.before: Snapshot | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # not waited for: it may be in the middle of an answer

    def fileno(self) -> int:
        """Readable once there is something new."""
        return self._news

    def taken(self) -> None:
        """What is new has been seen."""
        os.read(self._news, 4096)

    def _run(self) -> None:
        from agentcg.daemon.cli.snapshot import take
        from agentcg.daemon.client import Client

        client = Client(self._path)
        while not self._stop.wait(REFRESH_S):
            try:
                latest = take(client)
            except Unavailable as error:
                self.gone = error.message
            except AgentcgError:
                pass  # a session that was closed between two questions
            else:
                self.now, self.before, self.gone = latest, self.now, ""
            os.write(self._ring, b"x")


def _show(client: Client, looks: _Looks, keyboard: int) -> None:
    from rich.live import Live

    from agentcg.daemon.cli.snapshot import cpu_percents
    from agentcg.daemon.cli.view.screen import console, joined, page_size
    from agentcg.daemon.cli.view.top import View, lines, pressed, rows

    view = View()
    with Live(console=console(), screen=True, auto_refresh=False) as live:
        while not view.quit:
            now, before = looks.now, looks.before
            screen = lines(now, before, view, *page_size(), gone=looks.gone)
            live.update(joined(screen), refresh=True)
            ready, _, _ = select.select([keyboard, looks.fileno()], [], [])
            if looks.fileno() in ready:
                looks.taken()
            if keyboard in ready:
                for key in keys(os.read(keyboard, 1024).decode(errors="replace")):
                    view = pressed(view, key, rows(now, view, cpu_percents(now, before)))
                    view = _carried_out(client, view)


def _carried_out(client: Client, view: View) -> View:
    if view.wanted is None:
        return view
    act, call = view.wanted
    try:
        client.by_hand(call, act)
        said = f"{act}: {call}"
    except AgentcgError as error:
        said = str(error)
    return replace(view, wanted=None, said=said)


def keys(text: str) -> list[str]:
    """What was typed, key by key; sequences that mean nothing here are left out."""
    found = []
    while text:
        for sequence in sorted(_SEQUENCES, key=len, reverse=True):
            if text.startswith(sequence):
                if sequence != "\x1b" or len(text) == 1:
                    found.append(_SEQUENCES[sequence])
                    text = text[len(sequence) :]
                else:
                    text = _after_sequence(text)
                break
        else:
            found.append(text[0])
            text = text[1:]
    return found


def _after_sequence(text: str) -> str:
    """What comes after an escape sequence that is not known: it ends with a letter or ~."""
    for index in range(1, len(text)):
        if (text[index].isalpha() and text[index] != "O") or text[index] == "~":
            return text[index + 1 :]
    return ""


@contextmanager
def _keyboard() -> Iterator[int]:
    """Keys as they are pressed, without echo; the terminal is given back as it was."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _leave(number: int, _: object) -> None:
    raise typer.Exit(128 + number)
