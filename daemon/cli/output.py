# SPDX-License-Identifier: Apache-2.0
"""JSON on standard output, without a character that a terminal would obey.

JSON itself escapes only what is below U+0020; the rest of the control characters, and those that
change the direction of text, are written as escapes here. It is the same document.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import typer


def print_json(data: Any) -> None:
    """`data` (messages, lists and dicts of them) as one indented JSON document."""
    typer.echo(escaped(msgspec.json.format(msgspec.json.encode(data), indent=2).decode()))


def print_json_line(data: Any) -> None:
    """`data` on one line, for streams; flushed, so that a reader sees it at once."""
    typer.echo(escaped(msgspec.json.encode(data).decode()))


def escaped(document: str) -> str:
    r"""The JSON `document` with every unprintable character but line ends as `\uXXXX`."""
    if document.replace("\n", "").isprintable():
        return document
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in document)
