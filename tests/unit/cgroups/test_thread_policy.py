# SPDX-License-Identifier: Apache-2.0
"""Who is given the policy SCHED_EXT, and who is left alone: also when numbers are used again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentcg.cgroups import thread_policy
from agentcg.cgroups.thread_policy import GIVE_BACK, SCHED_EXT, TAKE, Had, change, threads_of, tree

NORMAL = Had(os.SCHED_OTHER, 0)
TAKEN = Had(SCHED_EXT, 0)


class Threads:
    """The kernel's threads, and which of them are listed; `then` happens after a change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, had: dict[int, Had]) -> None:
        self.had = had
        self.listed = set(had)
        self.others: set[int] = set()  # users without whose leave nothing is changed
        self.then: Callable[[int], None] = lambda _: None
        monkeypatch.setattr(thread_policy, "had_by", had.get)
        monkeypatch.setattr(thread_policy, "give", self.give)

    def give(self, thread: int, wanted: Had) -> bool:
        if thread in self.others:
            return False
        if thread in self.had:
            self.had[thread] = wanted
            self.then(thread)
        return True

    def change(self, what: thread_policy.Change, stays: bool = False) -> int:
        return change(what, lambda: list(self.listed), lambda _: stays)


@pytest.mark.parametrize(
    ("had", "taken"),
    [
        (NORMAL, TAKEN),
        (Had(os.SCHED_OTHER, -5), Had(SCHED_EXT, -5)),
        (Had(os.SCHED_BATCH, 3), Had(SCHED_EXT, 3)),
        (Had(os.SCHED_IDLE, 0), Had(SCHED_EXT, 19)),
        (Had(os.SCHED_RR, 0), Had(os.SCHED_RR, 0)),
        (Had(6, 0), Had(6, 0)),  # SCHED_DEADLINE
        (
            Had(os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, 1),
            Had(SCHED_EXT | os.SCHED_RESET_ON_FORK, 1),
        ),
    ],
)
def test_who_is_taken(monkeypatch: pytest.MonkeyPatch, had: Had, taken: Had) -> None:
    """Normal tasks, with their nice level; the idle policy as the nicest; nothing above them."""
    threads = Threads(monkeypatch, {7: had})
    assert threads.change(TAKE) == 0
    assert threads.had == {7: taken}


def test_who_was_taken_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its nice level; who was not is left alone."""
    threads = Threads(monkeypatch, {7: Had(SCHED_EXT, 4), 8: Had(os.SCHED_BATCH, 0)})
    threads.change(GIVE_BACK)
    assert threads.had == {7: Had(os.SCHED_OTHER, 4), 8: Had(os.SCHED_BATCH, 0)}


def test_who_is_born_meanwhile_is_taken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was not taken yet makes another: the next round finds it."""
    threads = Threads(monkeypatch, {7: NORMAL})

    def born(_: int) -> None:
        threads.then = lambda _: None
        threads.had[8] = NORMAL
        threads.listed.add(8)

    threads.then = born
    threads.change(TAKE)
    assert threads.had == {7: TAKEN, 8: TAKEN}


def test_a_number_that_is_anothers_by_now_gets_back_what_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that was listed has ended, and a process of the host has its number."""
    threads = Threads(monkeypatch, {7: Had(os.SCHED_BATCH, 3)})
    threads.then = lambda _: threads.listed.discard(7)
    threads.change(TAKE)
    assert threads.had == {7: Had(os.SCHED_BATCH, 3)}


def test_who_moved_within_the_session_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not listed any more, and is where it should be all the same."""
    threads = Threads(monkeypatch, {7: NORMAL})
    threads.then = lambda _: threads.listed.discard(7)
    threads.change(TAKE, stays=True)
    assert threads.had == {7: TAKEN}


def test_who_the_kernel_refuses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, whatever becomes of the others."""
    threads = Threads(monkeypatch, {7: NORMAL, 8: NORMAL, 9: NORMAL})
    threads.others = {7, 9}
    assert threads.change(TAKE) == 2
    assert threads.had == {7: NORMAL, 8: TAKEN, 9: NORMAL}


def test_who_always_sets_itself_back_does_not_hold_up_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is an end to rounds."""
    threads, changes = Threads(monkeypatch, {7: NORMAL}), list[int]()

    def back(thread: int) -> None:
        changes.append(thread)
        threads.had[thread] = NORMAL

    threads.then = back
    threads.change(TAKE)
    assert 1 < len(changes) < 100


def test_a_thread_that_is_gone_has_nothing() -> None:
    """The kernel's own numbers: this thread, and one that nobody can have."""
    own = thread_policy.had_by(os.getpid())
    assert own == Had(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
    assert thread_policy.had_by(1 << 30) is None
    assert thread_policy.give(1 << 30, NORMAL)
    assert thread_policy.give(os.getpid(), own)


def test_cgroups_come_and_go(tmp_path: Path) -> None:
    """All below are found, of the one that has gone nothing is; 0 is a thread out of sight."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cgroup.threads").write_text("0\n12\n13\n")
    found = tree(tmp_path)
    assert next(found) == tmp_path
    assert next(found) == tmp_path / "a"
    assert threads_of(tmp_path / "a") == [12, 13]
    assert next(found) == tmp_path / "a" / "b"
    (tmp_path / "a" / "b").rmdir()
    assert list(found) == []
    assert threads_of(tmp_path / "a" / "b") == []
