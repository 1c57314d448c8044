# SPDX-License-Identifier: Apache-2.0
"""The writing side of the history: one database, bounded by age and size.

    history.db                            SQLite, WAL
    history.db.damaged-20260301T120000Z   set aside: it could not be read
    history.db.version-9-20260301T120000Z set aside: a newer agentcg wrote it

WAL with `synchronous=NORMAL`: what was committed survives the death of the process; a power cut
may take the last seconds, and never damages the file (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agentcg.daemon.history.schema import STEPS, migrate, version_of
from agentcg.errors import HistoryError

BUSY_S = 2.0
"""How long to wait for another process that writes, before it counts as locked."""
_WAL_MAX_BYTES = 4 << 20
CACHE_KIB = 256
"""Of the database in memory for each connection: it is appended to, and searched seldom."""
_DELETED_AT_ONCE = 2000
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept: nothing older, and not more than this on disk (the write-ahead log aside)."""

    age_s: float = 30 * 86400.0
    size_bytes: int = 1 << 30


class Entry(NamedTuple):
    """An ended call as it is kept, in the order of the columns. `record` and `actions` are JSON,
    `curve` packed (service/accounts/curves.py)."""

    id: str
    session: str
    session_id: str
    owner: int
    tool: str
    category: str
    command: str | None
    begun_at: float
    ended_at: float
    record: bytes
    curve: bytes | None = None
    actions: bytes | None = None


class Store:
    """The database, open for writing; `open_store` makes one. For one thread.

    Methods raise `HistoryError`: `damaged` where the database should be set aside, else the
    same call may succeed later (no room, locked).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._inode = path.stat().st_ino

    def is_there(self) -> bool:
        """Whether the database still is the file of that name: SQLite writes to removed ones."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep `entries`, all or none; one that is there already is replaced."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_ADD, entries)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def prune(self, bounds: Bounds, now: float) -> int:
        """Delete what is beyond `bounds`, at most some thousands at once; how many."""
        try:
            deleted = self._delete("ended_at < ?", now - bounds.age_s)
            if self.size_bytes() > bounds.size_bytes:
                deleted += self._delete("TRUE")
            if deleted:
                # Steps once a page; `execute` takes one step alone where there are no rows.
                self._connection.executescript("PRAGMA incremental_vacuum")
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return deleted

    def _delete(self, condition: str, *parameters: float) -> int:
        done = self._connection.execute(
            f"DELETE FROM calls WHERE number IN (SELECT number FROM calls WHERE {condition} "  # noqa: S608 - conditions of this class
            f"ORDER BY number LIMIT {_DELETED_AT_ONCE})",
            parameters,
        )
        return done.rowcount

    def size_bytes(self) -> int:
        """Bytes of the database that hold something."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        """Let go; the write-ahead log is merged."""
        with suppress(sqlite3.Error):
            self._connection.close()


_ADD = """
    INSERT INTO calls (id, session, session_id, owner, tool, category, command, begun_at, ended_at,
                       record, curve, actions)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id, begun_at) DO UPDATE SET
        ended_at = excluded.ended_at, record = excluded.record,
        curve = coalesce(excluded.curve, curve), actions = excluded.actions
"""


def open_store(path: Path, useless: HistoryError | None = None) -> tuple[Store, str | None]:
    """The history at `path`, made or brought up to date, and what was set aside on the way, in
    words. A damaged database, or one of a newer version, is renamed and a new one begun;
    `useless`: what was found wrong with it before.

    Raises `HistoryError` where that cannot be done: no directory, no permission, locked, no room.
    """
    try:
        if useless is not None:
            raise useless
        return _open(path), None
    except HistoryError as error:
        if not error.set_aside:
            raise
        kept = _set_aside(path, error.set_aside, time.time())
        return _open(path), f"{error.message}; it is kept as {kept}, and a new one was begun"


def _open(path: Path) -> Store:
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        found = version_of(connection)
        if found > len(STEPS):
            raise HistoryError(
                f"{path} is of version {found}, and this agentcg knows {len(STEPS)}",
                set_aside=f"version-{found}",
            )
        if not found:  # later it takes a whole VACUUM
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_MAX_BYTES}")
        connection.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
        migrate(connection)
        connection.execute("SELECT count(*) FROM (SELECT * FROM calls LIMIT 1)").fetchone()
    except BaseException as error:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if isinstance(error, sqlite3.Error):
            raise translated(error, path) from error
        raise
    return Store(path, connection)


def _set_aside(path: Path, why: str, now: float) -> Path:
    """Rename the database with its log, so that it can be looked at later."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    kept = path.with_name(f"{path.name}.{why}-{stamp}")
    try:
        path.rename(kept)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{kept}{suffix}")
    except OSError as error:
        raise HistoryError(f"{path} cannot be set aside: {error.strerror}") from error
    return kept


def translated(error: sqlite3.Error, path: Path, doing: str = "written") -> HistoryError:
    """SQLite's error with the path and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return HistoryError(f"{path} is damaged ({error})", set_aside="damaged")
    remedy = {
        sqlite3.SQLITE_FULL: "make room on its file system",
        sqlite3.SQLITE_BUSY: "another process holds it locked: end that process",
        sqlite3.SQLITE_READONLY: "its directory must be writable for agentcgd",
        sqlite3.SQLITE_CANTOPEN: "its directory must exist and be writable for agentcgd",
    }.get(code, "")
    return HistoryError(f"{path} cannot be {doing}: {error}", remedy=remedy)
