# SPDX-License-Identifier: Apache-2.0
"""What the commands that play recorded work have in common."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, NoReturn

import typer

Names = list[str] | None
Place = Path | None


def option(text: str, metavar: str | None = None, **bounds: Any) -> object:
    """An option whose default its help shows; `bounds` are min= and max=."""
    return typer.Option(help=text, metavar=metavar, show_default=True, **bounds)


def end_by_signals() -> None:
    """Let signals that end the process end it like ^C: what is to be cleaned up is."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)
