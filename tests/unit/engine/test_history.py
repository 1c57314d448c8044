# SPDX-License-Identifier: Apache-2.0
"""What a session's earlier calls make of its next one: its need, its retries, its declarations."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine import Admit, CallRequest, CallView, HostView, SessionView, Wait, grant
from agentcg.daemon.engine.history import (
    EMPTY,
    FORGET_FAILED_S,
    History,
    Outcome,
    correction,
    expected,
    failures,
    held_peak_bytes,
    learn,
    trust,
)
from agentcg.daemon.messages import Category, Grant
from agentcg.policies import CATEGORIES, DEFAULT

GIB = 1 << 30
MIB = 1 << 20
NOW = 1000.0
HOST = HostView(memory_total_bytes=8 * GIB)
PYTEST = CallRequest("Bash", "pytest -q", wait_s=10)


def after(*mib: int, failed: bool = False, category: Category = "test") -> History:
    """A history of test calls that held so many MiB; `failed`: the last one, for memory."""
    kept = EMPTY
    for number, size in enumerate(mib, 1):
        outcome = Outcome("Bash", category, size * MIB, failed and number == len(mib))
        kept = learn(kept, outcome, NOW)
    return kept


def failing(*mib: int) -> History:
    """A history of test calls that all ran out of memory."""
    kept = EMPTY
    for size in mib:
        kept = learn(kept, Outcome("Bash", "test", size * MIB, failed=True), NOW)
    return kept


def given_to(past: History, request: CallRequest = PYTEST) -> Grant:
    """The grant of a call in a session with this past."""
    session = SessionView("s", "normal", history=past)
    decision = grant(DEFAULT, HOST, session, request, (), NOW)
    assert isinstance(decision, Admit)
    return decision.grant


# --- What is expected ---


def test_the_need_follows_the_largest_earlier_call_of_the_kind() -> None:
    """A quarter more, and a third of the class default (250M); the reason has the numbers."""
    got = given_to(after(40, 183, 20))
    assert (got.source, got.memory_need_bytes) == ("history", 313 * MIB)
    assert got.reason.startswith("313M expected: 3 earlier test calls, at most 183M; slowed")


def test_one_small_call_is_not_trusted() -> None:
    """Until two calls of a kind are seen the need is not below the class default."""
    assert given_to(after(10)).memory_need_bytes == 250 * MIB
    assert given_to(after(10, 12)).memory_need_bytes == 99 * MIB


def test_other_kinds_tell_nothing() -> None:
    """A large build says nothing about a test, nor does another tool's test."""
    assert given_to(after(900, 900, category="build")).source == "default"
    other = learn(EMPTY, Outcome("run_tests", "test", GIB), NOW)
    assert given_to(other).source == "default"


def test_a_declaration_goes_before_the_past() -> None:
    """The agent knows what it is about to do."""
    declared = CallRequest("Bash", "pytest -q", memory_bytes=100 * MIB)
    got = given_to(after(900, 900), declared)
    assert (got.source, got.memory_need_bytes) == ("declared", 100 * MIB)


def test_a_larger_need_raises_the_limit_with_it() -> None:
    """A call that is expected to take more than half of what there is, is not slowed below it."""
    assert given_to(after(100, 100)).memory_high_bytes == 4 * GIB
    got = given_to(after(4000, 4000))
    assert got.memory_need_bytes == got.memory_high_bytes == (5000 + 84) * MIB


# --- Declarations ---


def declaring(*percent: int) -> History:
    """A history of calls that took so much of what they had declared."""
    kept = EMPTY
    for taken in percent:
        outcome = Outcome("Bash", "build", taken * MIB, declared_bytes=100 * MIB)
        kept = learn(kept, outcome, NOW)
    return kept


@pytest.mark.parametrize(
    ("percent", "factor"),
    [((), 1.0), ((10, 10), 1.0), ((10, 20, 16), 0.25), ((90, 10, 10), 1.0), ((250, 90, 90), 2.5),
     ((1, 1, 1), 0.1), ((5000, 1, 1), 4.0)],
    ids=["none", "too few", "a fifth", "about right", "too little", "least", "most"],
)  # fmt: skip
def test_declarations_are_counted_with_what_they_were_worth(
    percent: tuple[int, ...], factor: float
) -> None:
    """The worst of the latest decides; three are needed to doubt an agent's word."""
    assert correction(declaring(*percent)) == pytest.approx(factor)


def test_a_corrected_declaration_keeps_its_limit() -> None:
    """Whoever always asks for five times too much holds up nobody, and is not slowed earlier."""
    request = CallRequest("Bash", "make", memory_bytes=1000 * MIB)
    got = given_to(declaring(20, 20, 20), request)
    assert (got.memory_need_bytes, got.memory_high_bytes) == (250 * MIB, 1500 * MIB)
    assert got.declared_bytes == 1000 * MIB
    assert "counted as 250M after what earlier declarations were worth" in got.reason


# --- Retries ---


def test_after_running_out_of_memory_there_is_more() -> None:
    """Half as much again as it failed with, and the reason says so."""
    got = given_to(after(100, 100, 800, failed=True))
    assert got.memory_need_bytes == 1200 * MIB
    assert "the last test call ran out of memory at 800M" in got.reason


def test_the_third_try_runs_alone() -> None:
    """After two that ran out of memory the next waits for the session's other calls, if its
    caller lets it; with nothing else running it goes ahead."""
    other = CallView("c", "test", "running", 0.0, given_to(EMPTY), MIB)
    for tries, waits in ((1, False), (2, True)):
        session = SessionView("s", "low", calls=(other,), history=failing(*[100] * tries))
        decision = grant(DEFAULT, HOST, session, PYTEST, (), NOW)
        assert isinstance(decision, Wait) is waits
    alone = SessionView("s", "low", history=failing(100, 100))
    assert isinstance(grant(DEFAULT, HOST, alone, PYTEST, (), NOW), Admit)


def test_the_fifth_try_hurts_nobody_else() -> None:
    """After four it is killed at its need instead of being slowed and pressing on the host."""
    got = given_to(failing(400, 400, 400))
    assert (got.memory_high_bytes, got.memory_max_bytes) == (4 * GIB, None)
    got = given_to(failing(400, 400, 400, 400))
    assert (got.memory_high_bytes, got.memory_max_bytes) == (None, 600 * MIB)
    assert got.reason.endswith("killed beyond 600M")


def test_a_loop_ends_with_success_or_with_time() -> None:
    """A call that held as much and went well ends it; a trifle of the same kind does not; half an
    hour later it is forgotten."""
    looped = failing(400, 400)
    trifle = learn(looped, Outcome("Bash", "test", 5 * MIB), NOW)
    assert failures(trifle, "Bash", "test", NOW) == (400 * MIB, 400 * MIB)
    assert given_to(trifle).memory_need_bytes == 250 * MIB
    passed = learn(looped, Outcome("Bash", "test", 300 * MIB), NOW)
    assert failures(passed, "Bash", "test", NOW) == ()
    assert failures(looped, "Bash", "test", NOW + FORGET_FAILED_S) == ()


# --- What is kept ---


@pytest.mark.parametrize(
    ("peak", "cache", "seen", "held"),
    [(None, None, None, None), (None, None, 7, 7), (100, None, None, 100), (100, 60, 30, 40),
     (100, 60, 80, 80), (100, 120, None, 0)],
)  # fmt: skip
def test_page_cache_is_not_need(
    peak: int | None, cache: int | None, seen: int | None, held: int | None
) -> None:
    """memory.peak counts files that were read; what is left of them at the end is taken off, and
    never below what was seen to be held."""
    assert held_peak_bytes(peak, cache, seen) == held


OUTCOMES = st.lists(
    st.builds(
        Outcome,
        tool=st.text(min_size=1, max_size=64),
        category=st.sampled_from(CATEGORIES),
        peak_bytes=st.integers(0, 1 << 50),
        failed=st.booleans(),
        declared_bytes=st.none() | st.integers(MIB, 1 << 50),
    ),
    max_size=80,
)


@given(OUTCOMES, st.floats(0, 2e9))
def test_a_history_is_small_and_survives(outcomes: list[Outcome], now: float) -> None:
    """However many calls: it fits an extended attribute (64 KiB) and reads back as it was."""
    kept = EMPTY
    for outcome in outcomes:
        kept = learn(kept, outcome, now)
    raw = msgspec.json.encode(kept)
    assert len(raw) < 24_000
    assert msgspec.json.decode(raw, type=History) == kept


@given(OUTCOMES, st.integers(MIB, 1 << 50))
def test_what_succeeded_is_covered_next_time(outcomes: list[Outcome], peak: int) -> None:
    """A call just like the last one always fits its expected need."""
    kept = EMPTY
    for outcome in [*outcomes, Outcome("Bash", "test", peak)]:
        kept = learn(kept, outcome, NOW)
    known = expected(kept, "Bash", "test", None, NOW)
    assert known is not None
    assert known.need_bytes >= peak


def test_declared_times_are_compared_with_those_taken() -> None:
    """A call that was to take 4 s and took 10 is worth 250%; one that declared nothing is none."""
    past = learn(EMPTY, Outcome("Bash", "test", MIB, wall_s=10.0, declared_s=4.0), 0.0)
    past = learn(past, Outcome("Bash", "test", MIB, wall_s=10.0), 0.0)
    assert past.duration_percent == (250,)
    assert past.kinds[0].walls_ms == (10_000, 10_000)


def test_what_an_older_daemon_kept_is_read() -> None:
    """A history without times and uses, as it was kept before there were any."""
    old = b'[[["Bash","test",[100],[],0.0,false]],[90]]'
    found = msgspec.json.decode(old, type=History)
    assert found.kinds[0].peaks_mib == (100,)
    assert (found.uses, trust(found)) == ((), 1.0)
