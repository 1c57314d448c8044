# SPDX-License-Identifier: Apache-2.0
"""What an intent is answered: whether memory is held for its call, when there may be some, or
what would fit.

Held memory counts as taken for the calls of other sessions, never for those of its own. It is
held from shortly before the stated start, for as long as the policy says, less where earlier
intents of the session were not used; so that nobody keeps others waiting by saying things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from agentcg.daemon.engine import admission, history, occupancy
from agentcg.daemon.engine.forecast import Spread
from agentcg.daemon.engine.intents import each_bytes, left, seconds, starts_at
from agentcg.daemon.engine.limits import most_bytes
from agentcg.daemon.engine.model import HostView, IntentView, SessionView
from agentcg.daemon.messages import Offer
from agentcg.policies import AdmissionRule
from agentcg.units import format_size

UNSAID_S = 10.0
"""How long a call is taken to take that does not say."""
LEAD_S = 2.0
"""Memory is held from so long before the stated start on: what runs then may end by then."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What is before an intent: calls and intents that wait, and what they wait for."""

    before: int = 0
    need_bytes: int = 0


def is_held(intent: IntentView, now: float) -> bool:
    """Whether memory counts as taken for it now."""
    offer = intent.offer
    return (
        offer is not None
        and offer.state == "grant"
        and offer.memory_bytes is not None
        and starts_at(intent) - LEAD_S <= now
        and (offer.held_until is None or now < offer.held_until)
    )


def held_bytes(intents: Sequence[IntentView], now: float) -> int:
    """What is held for a session's intents; a part of another one's counts once, with that."""
    whole = {intent.id: _size(intent) for intent in intents if is_held(intent, now)}
    parts: Counter[str] = Counter()
    for intent in intents:
        if intent.id in whole and intent.parent is not None:
            parts[intent.parent] += whole[intent.id]
    shared = sum(min(size, whole.get(parent, 0)) for parent, size in parts.items())
    return sum(whole.values()) - shared


def offer(  # noqa: PLR0917 - what an answer follows from
    rule: AdmissionRule,
    host: HostView,
    session: SessionView,
    intent: IntentView,
    others: Sequence[IntentView],
    queue: Queue,
    now: float,
    busy: Collection[str] = (),
) -> Offer:
    """The answer to `intent` as things are.

    `host`: without what is held for this session; `others`: the session's other intents; `busy`:
    ids of intents whose calls run.
    """
    known = _whatever_is_free(rule, intent, others, busy, most_bytes(host, session))
    if known is not None:
        return known
    need = (each_bytes(intent) or 0) * left(intent)
    room = _room(host, session, intent, others, now) - queue.need_bytes
    expected = _occupant(intent, need, now)
    future = room + host.needs_bytes
    fits = need <= room or (
        rule.by == "future" and host.ahead is not None and session.memory_max_bytes is None
        and occupancy.fits(host.ahead, expected, future, rule.risk)
    )  # fmt: skip
    if fits:
        hold_s = rule.reserve_max_s * history.trust(session.history)
        return _granted(intent, need, hold_s, now)
    in_s = None
    if host.ahead is not None:
        in_s = occupancy.free_in_s(host.ahead, expected, future, rule.risk)
    free = max(room, 0)
    return Offer(
        state="wait",
        reason=f"it needs {format_size(need)} and {format_size(free)} are free beside what runs, "
        "waits before it or is held for others",
        position=queue.before + 1,
        expected_at=None if in_s is None else now + in_s,
        fits_bytes=free // left(intent),
    )


def _whatever_is_free(  # noqa: PLR0911 - one return for each answer
    rule: AdmissionRule,
    intent: IntentView,
    others: Sequence[IntentView],
    busy: Collection[str],
    most: int,
) -> Offer | None:
    """The answer, where it does not follow from the room that there is now."""
    size, count = each_bytes(intent), left(intent)
    if intent.kind != "call":
        return Offer(state="grant", reason="noted")
    if size is None:
        return Offer(state="grant", reason="noted; no memory is declared, so none is held for it")
    if not count:
        return Offer(state="lapsed", reason="all calls of it came; nothing is held any more")
    if size * count > most:
        return _refused(size, count, most)
    ahead = [one.id for one in others if one.id in (intent.after or ()) and left(one)]
    ahead += [one for one in intent.after or () if one in busy]
    if ahead:
        return Offer(state="wait", reason=f"intent {ahead[0]} comes first; nothing is held yet")
    if rule.reserve_max_s <= 0:
        return Offer(state="grant", reason="noted; the policy holds nothing (reserve_max)")
    return None


def _occupant(intent: IntentView, need: int, now: float) -> occupancy.Occupant:
    """What its calls will take, as declared."""
    length_s = seconds(intent) or UNSAID_S
    walls = Spread(length_s, length_s, length_s)
    if intent.duration_quantiles is not None:
        said = intent.duration_quantiles
        walls = Spread(said.p50, said.p90, said.p99)
    begins_in_s = max(starts_at(intent) - now, 0.0)
    return occupancy.Occupant(Spread(need, need, need), walls, since_s=-begins_in_s)


def _refused(size: int, count: int, most: int) -> Offer:
    fits = most // count
    of = f"{count} calls at once need {format_size(size * count)}" if count > 1 else (
        f"it needs {format_size(size)}"
    )  # fmt: skip
    remedy = f"{format_size(fits)} each would fit" if count > 1 else f"{format_size(fits)} would"
    return Offer(
        state="refused", reason=f"{of}, and no more than {format_size(most)} can ever be had; "
        f"{remedy}", fits_bytes=fits,
    )  # fmt: skip


def _room(
    host: HostView,
    session: SessionView,
    intent: IntentView,
    others: Sequence[IntentView],
    now: float,
) -> int:
    """What could be held for it: of what is free, and of its parent's part what siblings leave."""
    room = admission.room_bytes(host, session) - held_bytes(others, now)
    parent = next((one for one in others if one.id == intent.parent), None)
    if parent is None or not is_held(parent, now):
        return room
    siblings = [one for one in others if one.parent == parent.id and is_held(one, now)]
    return room + max(_size(parent) - sum(_size(one) for one in siblings), 0)


def _size(intent: IntentView) -> int:
    return 0 if intent.offer is None else intent.offer.memory_bytes or 0


def _granted(intent: IntentView, need: int, hold_s: float, now: float) -> Offer:
    start = max(starts_at(intent), now)
    until = start + hold_s
    former = intent.offer
    if former is not None and former.state == "grant" and former.held_until is not None:
        until = min(until, max(former.held_until, starts_at(intent) + hold_s))
    return Offer(
        state="grant",
        reason=f"{format_size(need)} are held for it until {hold_s:.1f}s after its start",
        memory_bytes=need,
        held_until=until,
    )


def lapsed(intent: IntentView, now: float) -> IntentView | None:
    """`intent` once nothing is held for it any more; None: it is not so far.

    What was held and never used counts against later ones (`history.note_use`).
    """
    held = intent.offer
    if held is None or held.state != "grant" or held.held_until is None or now < held.held_until:
        return None
    words = "no further call came" if intent.taken else "no call came"
    return replace(intent, offer=Offer(state="lapsed", reason=f"{words}; nothing is held any more"))


def taken(intent: IntentView) -> IntentView:
    """`intent` after one more call has followed it: its part is held no longer."""
    after = replace(intent, taken=intent.taken + 1)
    held = after.offer
    if held is None or held.memory_bytes is None:
        return after
    rest = (each_bytes(after) or 0) * left(after)
    return replace(after, offer=replace(held, memory_bytes=rest or None))
