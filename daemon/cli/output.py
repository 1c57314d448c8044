# SPDX-License-Identifier: Apache-2.0
"""JSON on standard output."""

from __future__ import annotations

from typing import Any

import msgspec
import typer


def print_json(data: Any) -> None:
    """`data` (messages, lists and dicts of them) as one indented JSON document."""
    typer.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())


def print_json_line(data: Any) -> None:
    """`data` on one line, for streams; flushed, so that a reader sees it at once."""
    typer.echo(msgspec.json.encode(data).decode())
