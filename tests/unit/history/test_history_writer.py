# SPDX-License-Identifier: Apache-2.0
"""The thread that writes: nobody waits for it, and what it cannot write is counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentcg.daemon.history import Bounds, Entry, Reader, Wanted, Writer
from agentcg.daemon.history.store import Store
from cgroup_support import until


def entry(number: int) -> Entry:
    return Entry(
        id=f"c{number:05}", session="ci", session_id="s1", owner=0, tool="Bash", category="test",
        command=None, begun_at=1.0, ended_at=4e9, record=str(number).encode(),
    )  # fmt: skip


@contextmanager
def writer(path: Path, **options: int) -> Iterator[Writer]:
    started = Writer(path, Bounds(), retry_s=0.01, **options)
    started.start()
    try:
        yield started
    finally:
        started.stop()


def kept(path: Path) -> list[int]:
    return sorted(int(found.record) for found in Reader(path).calls(Wanted()))


def test_everything_is_written_by_the_stop(tmp_path: Path) -> None:
    """What waits when the daemon stops is written first."""
    path = tmp_path / "history.db"
    with writer(path) as busy:
        for number in range(100):
            busy.put(entry(number))
    assert kept(path) == list(range(100))
    assert (busy.status().lost, busy.status().waiting) == (0, 0)


def test_no_room_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is full calls wait, those beyond the queue are counted as lost, the problem
    is said; then all that waited is written."""
    path = tmp_path / "history.db"
    add = Store.add

    def full(store: Store, entries: list[Entry]) -> None:
        store._connection.execute("PRAGMA max_page_count = 1")
        add(store, [*entries, *(entry(number) for number in range(1000, 2000))])

    monkeypatch.setattr(Store, "add", full)
    with writer(path, waiting_max=10) as busy:
        for number in range(15):
            busy.put(entry(number))
        until(lambda: busy.status().problem)
        assert "full" in str(busy.status().problem)
        assert "make room" in str(busy.status().problem)
        assert (busy.status().lost, busy.status().waiting) == (5, 10)

        def room(store: Store, entries: list[Entry]) -> None:
            store._connection.execute("PRAGMA max_page_count = 100000")
            add(store, entries)

        monkeypatch.setattr(Store, "add", room)
        until(lambda: busy.status().problem is None)
    assert kept(path) == list(range(10))


def test_damage_while_it_runs(tmp_path: Path) -> None:
    """A database that is overwritten under the daemon is set aside and a new one takes over."""
    path = tmp_path / "history.db"
    with writer(path) as busy:
        busy.put(entry(1))
        until(lambda: not busy.status().waiting)
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with path.open("r+b") as file:
            file.write(b"x" * 65536)
        for number in range(2, 5):
            busy.put(entry(number))
        until(lambda: busy.status().set_aside)
    assert kept(path) == [2, 3, 4]
    assert list(tmp_path.glob("history.db.damaged-*"))


def test_a_removed_database_is_begun_anew(tmp_path: Path) -> None:
    """What is written after its file was removed is not written into the void."""
    path = tmp_path / "history.db"
    with writer(path) as busy:
        busy.put(entry(1))
        until(lambda: not busy.status().waiting)
        for file in tmp_path.iterdir():
            file.unlink()
        busy.put(entry(2))
    assert kept(path) == [2]


def test_what_no_database_takes_is_lost_alone(tmp_path: Path) -> None:
    """An entry that cannot be written at all is counted, and what comes later is written."""
    path = tmp_path / "history.db"
    with writer(path) as busy:
        busy.put(entry(1)._replace(session="\ud800"))
        until(lambda: busy.status().lost == 1)
        busy.put(entry(2))
    assert kept(path) == [2]


def test_a_place_that_comes_later(tmp_path: Path) -> None:
    """Calls wait for a directory that is mounted after the start."""
    path = tmp_path / "later" / "history.db"
    with writer(path) as busy:
        busy.put(entry(1))
        until(lambda: busy.status().problem)
        path.parent.mkdir()
        until(lambda: busy.status().problem is None)
    assert kept(path) == [1]
