# SPDX-License-Identifier: Apache-2.0
"""The tables of the history, by version, and the way from each version to the next.

`user_version` of the database is the number of steps that were taken. A step that was released
is never changed: a new one is added. What is searched for has a column of its own; everything
else of a call is in `record`, JSON as the API has it, so that a new field needs no step.
"""

from __future__ import annotations

import sqlite3

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE calls (
            number      INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order in which they ended
            id          TEXT NOT NULL,
            session     TEXT NOT NULL,
            session_id  TEXT NOT NULL,
            owner       INTEGER NOT NULL,                   -- uid
            tool        TEXT NOT NULL,
            category    TEXT NOT NULL,
            command     TEXT,                               -- secrets masked
            begun_at    REAL NOT NULL,                      -- seconds since the epoch
            ended_at    REAL NOT NULL,
            record      BLOB NOT NULL,                      -- messages.Call as JSON
            curve       BLOB,                               -- packed, see accounts/curves.py
            UNIQUE (id, begun_at)
        )
        """,
        "CREATE INDEX calls_session ON calls (session, number)",
        "CREATE INDEX calls_owner ON calls (owner, number)",
        "CREATE INDEX calls_ended_at ON calls (ended_at)",
    ),
    # JSON, a list of messages.Action: what `agentcg explain` tells
    ("ALTER TABLE calls ADD COLUMN actions BLOB",),
)


def version_of(connection: sqlite3.Connection) -> int:
    """How many steps the database has taken; 0: it is new."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(
    connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS
) -> tuple[int, int]:
    """Take the steps that are missing, each in a transaction of its own; versions before and after.

    Raises `sqlite3.Error`; then the database is as the last complete step left it.
    """
    before = version_of(connection)
    for number in range(before, len(steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version_of(connection) == number:  # else another process took this step meanwhile
                for statement in steps[number]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return before, version_of(connection)
