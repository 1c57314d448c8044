# SPDX-License-Identifier: Apache-2.0
"""Ended calls as CSV (RFC 4180): a title line, then a line each; not known is empty."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from agentcg.daemon.client.text import printable
from agentcg.daemon.messages import Account, Call, Delayed, Scheduled

_CALL = ("id", "session", "tool", "category", "command", "found", "end_reason", "exit_status")
_PARTS = {"scheduled": Scheduled, "delayed": Delayed}
_ACCOUNT = tuple(name for name in Account.__struct_fields__ if name not in {"commands", *_PARTS})
_FORMULA = ("=", "+", "-", "@")


def write_calls(calls: Iterable[Call], out: TextIO) -> None:
    """Write `calls`; times are ISO 8601 in UTC, other units as in the titles."""
    writer = csv.writer(out, lineterminator="\n")
    parts = [f"{part}_{name}" for part, kind in _PARTS.items() for name in kind.__struct_fields__]
    writer.writerow(["begun_at", "ended_at", *_CALL, *_ACCOUNT, *parts])
    for call in calls:
        row: list[object] = [_time(call.begun_at), _time(call.ended_at)]
        row += [_cell(getattr(call, name)) for name in _CALL]
        row += [_cell(getattr(call.account, name)) for name in _ACCOUNT]
        for part, kind in _PARTS.items():
            counted = getattr(call.account, part)
            row += [_cell(getattr(counted, name, None)) for name in kind.__struct_fields__]
        writer.writerow(row)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _cell(value: object) -> object:
    """`value`; text without what a terminal obeys, nor what a spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return "" if value is None else value
    shown = printable(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
