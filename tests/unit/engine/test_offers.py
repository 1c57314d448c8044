# SPDX-License-Identifier: Apache-2.0
"""What an intent is answered, what is held for it and for how long."""

from __future__ import annotations

from dataclasses import replace as with_

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentcg.daemon.engine import HostView, IntentView, SessionView, history
from agentcg.daemon.engine.forecast import Spread
from agentcg.daemon.engine.intents import left, matching
from agentcg.daemon.engine.occupancy import Occupant, ahead
from agentcg.daemon.engine.offers import (
    LEAD_S,
    Queue,
    held_bytes,
    is_held,
    lapsed,
    offer,
    taken,
)
from agentcg.daemon.messages import Offer, SizeQuantiles
from agentcg.policies import DEFAULT

MIB = 1 << 20
HOST = HostView(memory_total_bytes=1000 * MIB, committed_bytes=400 * MIB, calls_running=1)
SESSION = SessionView(name="s", priority="normal")
HOLD_S = 10.0
RULE = DEFAULT.admission
# The one running call needs 400M and holds 20M; it will have ended in 4 s.
ENDING = Occupant(Spread(*[400 * MIB] * 3), Spread(1.0, 2.0, 3.0))


def said(memory: int | None = 300, ident: str = "a", **fields: object) -> IntentView:
    """An intent of a call, declared at 100."""
    return IntentView(
        id=ident, session="s", declared_at=100.0, expires_at=900.0,
        **{"kind": "call", "memory_bytes": memory and memory * MIB, **fields},  # type: ignore[arg-type]
    )  # fmt: skip


def answer(intent: IntentView, *others: IntentView, **given_: object) -> Offer:
    """The answer at 100."""
    situation = {
        "host": HOST, "session": SESSION, "queue": Queue(), "now": 100.0, "rule": RULE, **given_
    }  # fmt: skip
    return offer(intent=intent, others=others, **situation)  # type: ignore[arg-type]


def answered(intent: IntentView, *others: IntentView) -> IntentView:
    """The intent with its answer at 100."""
    return replace(intent, offer=answer(intent, *others))


def test_what_fits_is_held_from_its_start_on() -> None:
    """600M are free: 300M are held until 10 s after the stated start."""
    intent = answered(said(start_in_s=20.0))
    assert intent.offer is not None
    assert (intent.offer.state, intent.offer.memory_bytes) == ("grant", 300 * MIB)
    assert intent.offer.held_until == 130.0
    assert not is_held(intent, 119.0 - LEAD_S)
    assert is_held(intent, 120.0 - LEAD_S)
    assert not is_held(intent, 130.0)


def test_what_does_not_fit_waits_behind_the_others_and_is_told_what_would() -> None:
    """Two wait before it for 200M, so 400M are left of 600M."""
    found = answer(said(500), queue=Queue(2, 200 * MIB))
    assert (found.state, found.position, found.expected_at) == ("wait", 3, None)
    assert found.fits_bytes == 400 * MIB


@pytest.mark.parametrize(
    ("intent", "session", "fits"),
    [
        (said(1001), SESSION, 1000),
        (said(500), replace(SESSION, memory_max_bytes=256 * MIB), 256),
        (said(300, parallelism=4), SESSION, 250),
    ],
    ids=["beyond the host", "beyond the session", "so many at once"],
)
def test_what_can_never_be_had_is_refused_with_what_would_fit(
    intent: IntentView, session: SessionView, fits: int
) -> None:
    """No waiting helps; `fits_bytes` is what each call could have."""
    found = answer(intent, session=session)
    assert (found.state, found.fits_bytes) == ("refused", fits * MIB)


def test_of_a_spread_the_p90_is_counted_with() -> None:
    """Quantiles instead of a value: the p90 is held."""
    spread = SizeQuantiles(p50=100 * MIB, p90=200 * MIB, p99=900 * MIB)
    assert answer(said(None, memory_quantiles=spread)).memory_bytes == 200 * MIB


def test_calls_at_once_are_held_memory_for_all_and_it_goes_with_each() -> None:
    """Of three calls of 100M, 300M are held; once one has come, 200M; then nothing."""
    intent = answered(said(100, parallelism=3))
    held = []
    for _ in range(4):
        held.append(held_bytes([intent], 105.0) // MIB)
        intent = taken(intent)
    assert held == [300, 200, 100, 0]
    assert left(intent) == 0
    assert answer(intent).state == "lapsed"


@pytest.mark.parametrize("busy", [set(), {"first"}], ids=["it holds", "its call runs"])
def test_what_comes_after_another_intent_is_held_nothing_before(busy: set[str]) -> None:
    """`after`: while the first one, or its call, is not over, it waits without a position."""
    others = [] if busy else [said(ident="first")]
    found = answer(said(10, after=["first"]), *others, busy=busy)
    assert (found.state, found.memory_bytes, found.position) == ("wait", None, None)
    assert "first" in found.reason
    assert answer(said(10, after=["first"])).state == "grant"


def test_a_part_of_another_intent_is_held_once() -> None:
    """Of a parent's 500M two children have 200M each, counted once; a third one finds 100M free and
    100M left of the parent's."""
    parent = answered(said(500, "parent"))
    one = answered(said(200, "b", parent="parent"), parent)
    two = answered(said(200, "c", parent="parent"), parent, one)
    assert [one.offer.state, two.offer.state] == ["grant", "grant"]  # type: ignore[union-attr]
    assert held_bytes([parent, one, two], 105.0) == 500 * MIB
    third = answer(said(250, "d", parent="parent"), parent, one, two)
    assert (third.state, third.fits_bytes) == ("wait", 200 * MIB)


def test_what_was_held_in_vain_lapses() -> None:
    """Ten seconds after its start nothing is held any more."""
    intent = answered(said())
    assert lapsed(intent, 109.9) is None
    over = lapsed(intent, 110.0)
    assert over is not None
    assert over.offer is not None
    assert over.offer.state == "lapsed"
    assert held_bytes([over], 110.0) == 0


def test_unused_intents_shorten_the_time_that_memory_is_held() -> None:
    """After six that no call came for, a quarter of the time; used ones restore it."""
    past = history.EMPTY
    for _ in range(6):
        past = history.note_use(past, used=False)
    doubted = answer(said(), session=replace(SESSION, history=past))
    assert doubted.held_until == pytest.approx(100 + HOLD_S * 2 / 8)
    for _ in range(history.USES_KEPT):
        past = history.note_use(past, used=True)
    assert history.trust(past) == 1.0


def test_declaring_anew_does_not_hold_longer() -> None:
    """An intent that is answered again keeps the end of its time."""
    intent = answered(said())
    again = answer(intent, now=105.0)
    assert again.held_until == 110.0


@pytest.mark.parametrize(
    "intent",
    [said(None), said(kind="idle"), said(kind="generating")],
    ids=["no need", "idle", "generating"],
)
def test_nothing_is_held_for_what_needs_nothing(intent: IntentView) -> None:
    """Noted, and no memory."""
    found = answer(intent)
    assert (found.state, found.memory_bytes) == ("grant", None)


def test_a_policy_can_hold_nothing() -> None:
    """`reserve_max: 0`: intents are advice only."""
    assert answer(said(), rule=with_(RULE, reserve_max_s=0.0)).memory_bytes is None


def test_what_running_calls_will_hold_counts_where_the_policy_says_so() -> None:
    """800M beside a call of 400M that is about to end: in 4 s. Beside one that is expected to hold
    50M: granted at once, and not by needs."""
    host = replace(HOST, ahead=ahead([ENDING]), needs_bytes=400 * MIB)
    assert answer(said(800), host=host).expected_at == 104.0
    small = ahead([Occupant(Spread(*[50 * MIB] * 3), Spread(1.0, 2.0, 3.0))])
    host = replace(HOST, ahead=small, needs_bytes=400 * MIB)
    assert answer(said(800), host=host).state == "grant"
    assert answer(said(800), host=host, rule=with_(RULE, by="peaks")).state == "wait"
    assert answer(said(990), host=host).state == "wait"


def test_a_call_can_name_its_intent() -> None:
    """The named one is followed, though another one fits better; a used-up one is not."""
    named, better = said(ident="a"), said(ident="b", tool="Bash")
    assert matching([named, better], "Bash", None, "test", 101.0) == better
    assert matching([named, better], "Bash", None, "test", 101.0, "a") == named
    assert matching([replace(better, taken=1)], "Bash", None, "test", 101.0) is None


sizes = st.integers(1, 2000)
intents = st.builds(
    lambda ident, size, start, count, parent: said(
        size, str(ident), start_in_s=start, parallelism=count, parent=parent
    ),
    st.uuids(), sizes, st.floats(0, 100), st.integers(1, 4), st.none(),
)  # fmt: skip


@given(st.lists(intents, max_size=6), st.integers(0, 1500), st.floats(100, 300))
def test_no_more_is_ever_held_than_there_is(
    asked: list[IntentView], committed: int, now: float
) -> None:
    """Answered one after the other, what is held for a session fits beside what is committed."""
    host = replace(HOST, committed_bytes=committed * MIB)
    kept: list[IntentView] = []
    for intent in asked:
        kept.append(replace(intent, offer=answer(intent, *kept, host=host, now=now)))
    held = held_bytes(kept, now)
    assert held <= max(host.room_bytes, 0)
    for intent in kept:
        assert intent.offer is not None
        if intent.offer.fits_bytes is not None and intent.offer.state == "refused":
            assert intent.offer.fits_bytes * left(intent) <= host.bound_bytes
