# SPDX-License-Identifier: Apache-2.0
"""What running calls will hold, and what fits beside that."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentcg.daemon.engine import Admit, CallRequest, HostView, SessionView, Wait, grant
from agentcg.daemon.engine.forecast import Spread
from agentcg.daemon.engine.occupancy import (
    POINTS_S,
    Occupant,
    ahead,
    area,
    both,
    fits,
    free_in_s,
    moments,
    needs_bytes,
    still_runs,
)
from agentcg.policies import DEFAULT, load

MIB = 1 << 20
# Half take 20M and 1 s, one of ten 100M and 5 s, one of a hundred 250M and 60 s.
TEST = Occupant(Spread(20 * MIB, 100 * MIB, 250 * MIB), Spread(1.0, 5.0, 60.0))
RISK = 0.01


def test_a_call_is_the_less_likely_to_run_the_later() -> None:
    """By its quantiles; and the longer it has run, the longer it will."""
    assert [round(still_runs(TEST, at), 3) for at in (0, 1, 5, 60)] == [1.0, 0.5, 0.1, 0.01]
    old = replace(TEST, since_s=5.0)
    assert still_runs(old, 5.0) > still_runs(TEST, 5.0)


def test_more_calls_fit_than_their_needs_allow() -> None:
    """Of 10 calls with a need of 250M each the sum of what is expected stays far below 2,500M."""
    needed = max(needs_bytes(ahead([TEST] * 10), RISK))
    assert 10 * moments(TEST)[0] < needed < 1300 * MIB


def test_nobody_counts_with_less_than_it_holds() -> None:
    """A call that holds more than was expected counts with that."""
    large = replace(TEST, held_bytes=900 * MIB, since_s=2.0)
    assert ahead([large]).means[0] == pytest.approx(900 * MIB)


def test_one_alone_counts_with_its_largest_peak() -> None:
    """The sum over few is not normal: one call takes room for its 99% peak."""
    assert needs_bytes(ahead([TEST]), RISK)[0] >= 250 * MIB
    assert not fits(ahead([]), TEST, 200 * MIB, RISK)


def test_what_was_announced_counts_from_its_start_on() -> None:
    """A call of 500M in 8 s leaves no room for one that will likely run then, and does for a short
    one."""
    coming = ahead([Occupant(Spread(*[500 * MIB] * 3), Spread(*[60.0] * 3), since_s=-8.0)])
    assert (coming.means[0], coming.means[POINTS_S.index(8.0)]) == (0.0, 500 * MIB)
    long = Occupant(Spread(*[300 * MIB] * 3), Spread(*[60.0] * 3))
    short = replace(long, walls=Spread(1.0, 2.0, 4.0))
    assert not fits(coming, long, 600 * MIB, RISK)
    needed = needs_bytes(both(coming, ahead([short])), RISK)
    assert needed[POINTS_S.index(8.0)] < 600 * MIB


def test_it_is_told_when_there_will_be_room() -> None:
    """Beside a call that will have ended after 4 s: then; beside one that goes on: not known."""
    new = Occupant(Spread(*[300 * MIB] * 3), Spread(*[10.0] * 3))
    ending = Occupant(Spread(*[500 * MIB] * 3), Spread(2.0, 3.0, 4.0))
    assert free_in_s(ahead([]), new, 600 * MIB, RISK) == 0.0
    assert free_in_s(ahead([ending]), new, 600 * MIB, 0.2) == 4.0
    staying = replace(ending, walls=Spread(600.0, 700.0, 800.0))
    assert free_in_s(ahead([staying]), new, 600 * MIB, RISK) is None


def test_the_stated_risk_holds_where_calls_are_as_expected() -> None:
    """2,000 draws of 30 calls from their spread: the sum exceeds what was computed for 5% in about
    5% of them; it is no normal distribution, so a little more."""
    drawn = random.Random(1)
    limit = needs_bytes(ahead([TEST] * 30), 0.05)[0]

    def peak() -> float:
        share = drawn.random()
        return TEST.peaks[0 if share < 0.5 else 1 if share < 0.9 else 2]

    beyond = sum(sum(peak() for _ in range(30)) > limit for _ in range(2000))
    assert beyond <= 0.07 * 2000


# A call of 250M need beside ten running ones whose needs fill the host, and that hold little.
FULL = HostView(
    memory_total_bytes=2500 * MIB, committed_bytes=2500 * MIB, calls_running=10,
    needs_bytes=2500 * MIB,
)  # fmt: skip
TEN = replace(FULL, ahead=ahead([replace(TEST, since_s=0.5, held_bytes=20 * MIB)] * 10))
ASKED = CallRequest("Bash", "pytest", wait_s=10.0, expected=TEST)
SESSION = SessionView(name="s", priority="low")


def test_a_call_begins_beside_what_others_will_hold() -> None:
    """Needs would have it wait; what is expected lets it begin, without a word of `no-room`."""
    assert isinstance(grant(DEFAULT, FULL, SESSION, ASKED, (), 0.0), Wait)
    found = grant(DEFAULT, TEN, SESSION, replace(ASKED, waited_s=1.0), (), 0.0)
    assert isinstance(found, Admit)
    assert [told.code for told in found.feedback] == ["waited"]


def test_a_declared_need_is_taken_at_its_word() -> None:
    """One that declares 2,000M waits, and is told when there may be room."""
    found = grant(DEFAULT, TEN, SESSION, replace(ASKED, memory_bytes=2000 * MIB), (), 0.0)
    assert isinstance(found, Wait)
    assert found.of_host


def test_risk_is_the_policys(tmp_path: Path) -> None:
    """With less risk fewer calls begin."""
    (tmp_path / "a.yaml").write_text("version: 1\nadmission:\n  risk: 0.001%\n")
    tight = replace(TEN, memory_total_bytes=1500 * MIB, committed_bytes=1500 * MIB,
                    needs_bytes=1500 * MIB)  # fmt: skip
    careful = load(tmp_path)
    assert isinstance(grant(DEFAULT, tight, SESSION, ASKED, (), 0.0), Admit)
    assert isinstance(grant(careful, tight, SESSION, ASKED, (), 0.0), Wait)


def test_sums_can_be_added() -> None:
    """Two sums are what one over both would be; of what one call can exceed, the most counts."""
    large = replace(TEST, held_bytes=900 * MIB)
    assert both(ahead([TEST]), ahead([large])) == ahead([TEST, large])


spreads = st.lists(st.floats(0.001, 1e4), min_size=3, max_size=3).map(lambda v: Spread(*sorted(v)))
occupants = st.builds(Occupant, spreads, spreads, st.floats(-60, 600), st.integers(0, 10_000))


@given(st.lists(occupants, max_size=6), occupants, st.floats(1e-4, 0.5))
def test_one_more_never_needs_less(some: list[Occupant], new: Occupant, risk: float) -> None:
    """What is to be had grows with every call, never lies below what is expected, and chances are
    shares."""
    before, after = ahead(some), ahead([*some, new])
    for less, more, mean in zip(
        needs_bytes(before, risk), needs_bytes(after, risk), after.means, strict=True
    ):
        assert more >= less - 1e-6 * abs(less) - 1e-6
        assert more >= mean
    for in_s in POINTS_S:
        assert 0.0 <= still_runs(new, in_s) <= 1.0
    assert area(new) >= 0
