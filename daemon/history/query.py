# SPDX-License-Identifier: Apache-2.0
"""The reading side of the history: what was asked for, as far as the asker may see it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcg.daemon.history.store import BUSY_S, CACHE_KIB, translated
from agentcg.daemon.messages import HISTORY_LISTED_MAX
from agentcg.errors import LimitExceeded

SEARCH_S = 5.0
"""A search that takes longer is given up."""
_STEPS_BETWEEN_LOOKS = 10_000  # of SQLite's machine, some ms


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls. None: whatever. `owner` and `session_id` bound what may be seen: calls of that
    user or of that session; both None: all."""

    session: str | None = None
    tool: str | None = None
    category: str | None = None
    command: str | None = None  # a part of it
    since: float | None = None  # ended at or after, seconds since the epoch
    until: float | None = None  # ended before
    before: int | None = None  # number of the oldest call of the page before
    limit: int = HISTORY_LISTED_MAX
    owner: int | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A call as it is kept."""

    number: int
    record: bytes
    curve: bytes | None = None
    actions: bytes | None = None


class Reader:
    """Reads beside the writer, with a connection for each question. Raises `HistoryError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uri = path.absolute().as_uri()

    def calls(self, wanted: Wanted) -> list[Found]:
        """Calls that match, the latest first; raises `LimitExceeded` if it takes long."""
        condition, parameters = _condition(wanted)
        limit = min(wanted.limit, HISTORY_LISTED_MAX)
        rows = self._rows(
            f"SELECT number, record FROM calls WHERE {condition} "  # noqa: S608 - of constants
            f"ORDER BY number DESC LIMIT {limit:d}",
            parameters,
        )
        return [Found(*row) for row in rows]

    def call(self, call_id: str, wanted: Wanted) -> Found | None:
        """The latest call of that id that may be seen, with all that is kept of it."""
        condition, parameters = _condition(wanted)
        rows = self._rows(
            f"SELECT number, record, curve, actions FROM calls WHERE id = ? AND {condition} "  # noqa: S608
            "ORDER BY number DESC LIMIT 1",
            [call_id, *parameters],
        )
        return Found(*rows[0]) if rows else None

    def _rows(self, statement: str, parameters: list[object]) -> list[tuple[Any, ...]]:
        deadline = time.monotonic() + SEARCH_S
        try:
            with closing(
                sqlite3.connect(f"{self._uri}?mode=ro", uri=True, timeout=BUSY_S)
            ) as connection:
                connection.set_progress_handler(
                    lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS
                )
                connection.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
                return connection.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise LimitExceeded(
                    f"the history was searched for {SEARCH_S:.0f} s, in vain so far",
                    remedy="ask for a session, or a shorter time (since=)",
                ) from error
            raise translated(error, self._path, "read") from error
        except sqlite3.Error as error:
            raise translated(error, self._path, "read") from error


def _condition(wanted: Wanted) -> tuple[str, list[object]]:
    """The WHERE clause, made of constants, and its parameters."""
    terms: list[tuple[str, object]] = [
        ("session = ?", wanted.session),
        ("tool = ?", wanted.tool),
        ("category = ?", wanted.category),
        ("instr(command, ?) > 0", wanted.command),
        ("ended_at >= ?", wanted.since),
        ("ended_at < ?", wanted.until),
        ("number < ?", wanted.before),
    ]
    given = [(term, value) for term, value in terms if value is not None]
    conditions, parameters = [term for term, _ in given], [value for _, value in given]
    if wanted.owner is not None or wanted.session_id is not None:
        conditions.append("(owner = ? OR session_id = ?)")
        parameters += [wanted.owner, wanted.session_id]
    return " AND ".join(conditions) or "TRUE", parameters
