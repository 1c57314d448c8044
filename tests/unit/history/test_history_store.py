# SPDX-License-Identifier: Apache-2.0
"""The history's database: what it keeps, for whom, within which bounds, and what damages it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentcg.daemon.history import Bounds, Entry, Reader, Store, Wanted, open_store
from agentcg.daemon.history import query as query_module
from agentcg.daemon.history.schema import STEPS, migrate, version_of
from agentcg.errors import HistoryError, LimitExceeded


def entry(call_id: str = "aaaa", **changes: Any) -> Entry:
    given: dict[str, Any] = {
        "id": call_id, "session": "ci", "session_id": "s1", "owner": 1000, "tool": "Bash",
        "category": "test", "command": "pytest -x", "begun_at": 10.0, "ended_at": 20.0,
        "record": call_id.encode(),
    }  # fmt: skip
    return Entry(**(given | changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def opened(path: Path) -> Store:
    store, set_aside = open_store(path)
    assert set_aside is None
    return store


def ids(path: Path, **wanted: Any) -> list[str]:
    """Ids of the calls that are found, the latest first."""
    return [found.record.decode() for found in Reader(path).calls(Wanted(**wanted))]


def test_calls_are_found_the_latest_first(path: Path) -> None:
    """What ended last comes first; `limit` and `before` make pages of it."""
    opened(path).add([entry("aaaa"), entry("bbbb"), entry("cccc")])
    assert ids(path) == ["cccc", "bbbb", "aaaa"]
    page = Reader(path).calls(Wanted(limit=2))
    assert ids(path, before=page[-1].number) == ["aaaa"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"session": "ci"}, {"tool": "Bash"}, {"category": "test"}, {"command": "test -"},
        {"since": 20.0}, {"until": 20.5}, {"session": "ci", "tool": "Bash", "since": 1.0},
    ],
)  # fmt: skip
def test_each_filter_selects(path: Path, wanted: dict[str, Any]) -> None:
    """Every filter lets the call through that fits it, and no other one."""
    other = entry(
        "bbbb", session="x", tool="Edit", category="edit", command="50% of_it", ended_at=19.0
    )
    late = entry(
        "cccc", session="x", tool="Edit", category="edit", command=None, ended_at=30.0
    ) if "until" in wanted else other  # fmt: skip
    opened(path).add([entry("aaaa"), late])
    assert ids(path, **wanted) == ["aaaa"]


def test_a_command_is_searched_for_as_it_is(path: Path) -> None:
    """What SQL takes for wildcards or quotes stands for itself."""
    opened(path).add([entry("aaaa", command="echo '100%' a_b"), entry("bbbb", command="echo ab")])
    assert ids(path, command="%") == ids(path, command="_") == ids(path, command="'") == ["aaaa"]


def test_nobody_sees_what_is_not_theirs(path: Path) -> None:
    """A bound by owner or session holds for lists as for one call."""
    opened(path).add([
        entry("aaaa", owner=1000, session_id="s1"), entry("bbbb", owner=1001, session_id="s2"),
        entry("cccc", owner=1002, session_id="s3"),
    ])  # fmt: skip
    assert ids(path, owner=1000) == ["aaaa"]
    assert ids(path, owner=1000, session_id="s2") == ["bbbb", "aaaa"]
    assert Reader(path).call("cccc", Wanted(owner=1000, session_id="s2")) is None
    assert Reader(path).call("cccc", Wanted()) is not None


def test_a_call_that_is_written_again_is_replaced(path: Path) -> None:
    """An exit status that comes late changes the record in its place and keeps its curve."""
    store = opened(path)
    store.add([entry("aaaa", record=b"one", curve=b"curve"), entry("bbbb")])
    store.add([entry("aaaa", record=b"two")])
    assert ids(path) == ["bbbb", "two"]
    found = Reader(path).call("aaaa", Wanted())
    assert found is not None
    assert found.curve == b"curve"


def test_all_of_a_batch_or_nothing(path: Path) -> None:
    """An entry that is refused takes its batch along, so that writing it again doubles nothing."""
    store = opened(path)
    with pytest.raises(HistoryError):
        store.add([entry("aaaa"), entry("bbbb", session=None)])
    assert ids(path) == []
    store.add([entry("aaaa")])
    assert ids(path) == ["aaaa"]


def test_bounded_by_age(path: Path) -> None:
    """Calls that ended longer ago than the bound are deleted."""
    store = opened(path)
    store.add([entry("aaaa", ended_at=100.0), entry("bbbb", ended_at=200.0)])
    assert store.prune(Bounds(age_s=50.0), now=160.0) == 1
    assert ids(path) == ["bbbb"]


def test_bounded_by_size(path: Path) -> None:
    """Beyond the size the oldest go, the file shrinks, and the latest stay."""
    store = opened(path)
    for number in range(5):
        store.add([
            entry(f"c{number}{i:04}", record=bytes(1000), command=f"{number}") for i in range(1000)
        ])  # fmt: skip
    bounds = Bounds(age_s=1e12, size_bytes=3 << 20)
    whole = path.stat().st_size + Path(f"{path}-wal").stat().st_size
    while store.prune(bounds, now=20.0):
        pass
    assert store.size_bytes() <= bounds.size_bytes
    store.close()
    assert path.stat().st_size < whole / 1.5
    assert len(ids(path, command="4")) == 256


def test_a_new_database_takes_every_step(path: Path) -> None:
    """Its version is the number of steps; opening it again takes none."""
    store = opened(path)
    store.add([entry()])
    store.close()
    with sqlite3.connect(path) as connection:
        assert migrate(connection) == (len(STEPS), len(STEPS))
    opened(path).close()
    assert ids(path) == ["aaaa"]


def test_each_step_keeps_what_is_there(path: Path) -> None:
    """A database of any older version comes up to date with its calls; a step that fails is
    undone whole."""
    steps = (*STEPS, ("ALTER TABLE calls ADD COLUMN host TEXT",), ("SELECT 1", "no SQL"))
    store = opened(path)
    store.add([entry(actions=b"[]")])
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.Error):
        migrate(connection, steps)
    assert version_of(connection) == len(STEPS) + 1
    assert connection.execute("SELECT id, host FROM calls").fetchall() == [("aaaa", None)]
    connection.close()


def test_a_database_of_the_first_version_is_read_on(path: Path) -> None:
    """Calls that were kept before actions were have none, and new ones have."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate(connection, STEPS[:1])
        connection.execute(
            "INSERT INTO calls (id, session, session_id, owner, tool, category, begun_at, ended_at,"
            " record) VALUES ('aaaa', 'ci', 's1', 0, 'Bash', 'test', 1, 2, 'old')"
        )
    opened(path).add([entry("bbbb", actions=b"[]")])
    for call_id, actions in (("aaaa", None), ("bbbb", b"[]")):
        found = Reader(path).call(call_id, Wanted())
        assert found is not None
        assert found.actions == actions


def test_a_newer_database_is_set_aside(path: Path) -> None:
    """It is renamed, not touched and not lost, and a new one is begun; the message says both."""
    store = opened(path)
    store.add([entry("aaaa")])
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    store, said = open_store(path)
    assert said is not None
    assert "is of version 9999" in said
    store.add([entry("bbbb")])
    assert ids(path) == ["bbbb"]
    (kept,) = path.parent.glob("history.db.version-9999-*Z")
    assert str(kept) in said
    assert ids(kept) == ["aaaa"]


@pytest.mark.parametrize("damage", [b"not a database, " * 4096, b"SQLite format 3\0" + bytes(9000)])
def test_a_damaged_database_is_set_aside(path: Path, damage: bytes) -> None:
    """Whatever it holds, it is renamed and a new one begun."""
    path.write_bytes(damage)
    store, said = open_store(path)
    assert said is not None
    assert "damaged" in said
    store.add([entry()])
    assert ids(path) == ["aaaa"]
    (kept,) = path.parent.glob("history.db.damaged-*Z")
    assert kept.read_bytes() == damage


def test_a_locked_database_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that holds it locked is an error that says so, and nothing is renamed."""
    opened(path).close()
    monkeypatch.setattr("agentcg.daemon.history.store.BUSY_S", 0.01)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    store = opened(path)
    with pytest.raises(HistoryError, match="holds it locked"):
        store.add([entry()])
    holder.execute("ROLLBACK")
    holder.close()
    store.add([entry()])
    assert ids(path) == ["aaaa"]


def test_no_directory_is_said(tmp_path: Path) -> None:
    """The message names the file and what to do."""
    with pytest.raises(HistoryError, match=r"absent/history\.db .*directory must exist"):
        open_store(tmp_path / "absent" / "history.db")
    with pytest.raises(HistoryError, match="must exist"):
        ids(tmp_path / "absent" / "history.db")


def test_a_search_without_end_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can keep the daemon busy with a search: it ends with what to ask instead."""
    opened(path).add([entry(f"c{i:04}") for i in range(1000)])
    monkeypatch.setattr(query_module, "SEARCH_S", -1.0)
    monkeypatch.setattr(query_module, "_STEPS_BETWEEN_LOOKS", 10)
    with pytest.raises(LimitExceeded, match="a shorter time"):
        ids(path, command="nothing has this")
