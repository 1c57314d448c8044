# SPDX-License-Identifier: Apache-2.0
"""What an agent is told about a call: a code, what happened in numbers, and a way on.

The texts are made of numbers and fixed words only, so that they hold no control characters,
no part of a command and no secret, and their length is bounded. The numbers are fields, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentcg.daemon.engine.feedback_ends import ending_of, is_cut_short
from agentcg.daemon.engine.feedback_words import (
    MIB,
    delayed_s,
    held_back_words,
    is_held_back,
    known,
    not_negative,
    throttled_s,
    way_on,
)
from agentcg.daemon.engine.model import Ending
from agentcg.daemon.messages import Account, Feedback, Grant
from agentcg.units import format_duration, format_size

SLOWED_MIN_US = 100_000  # less is not worth telling
LOOP_FROM = 2  # calls of a kind that ran out of memory in a row
LEAVING_FROM = 3  # calls of a kind that left something running,
LEAVING_MIN_BYTES = 64 * MIB  # and held so much together


def of_call(account: Account, grant: Grant, ending: Ending) -> list[Feedback]:
    """Everything worth telling about an ended call, the gravest first; never empty."""
    told = [ending_of(account, grant, ending)] if is_cut_short(account, ending) else []
    if _is_over(account, grant) and not told:
        told.append(_over_grant(account, grant, ending))
    if is_held_back(account, ending) and not told:
        told.append(_held_back(account, ending))
    told += _loops(account, grant, ending)
    if ending.lingering_processes:
        told.append(_lingering(account, ending))
    return told or [_ok(account, grant)]


def is_plain(account: Account, grant: Grant, ending: Ending) -> bool:
    """Whether there is nothing to tell but that the call is done: then neither room nor limits
    matter, and `ending` may leave them out."""
    return not (
        is_cut_short(account, ending)
        or _is_over(account, grant)
        or is_held_back(account, ending)
        or ending.lingering_processes
        or len(ending.failed) >= LOOP_FROM
        or _grows(ending)
    )


# --- While it waits and runs ---


def waited(waited_s: float, need_bytes: int) -> Feedback:
    """The call waited and then there was room."""
    return Feedback(
        code="waited",
        text=f"The call waited {format_duration(waited_s)} until {format_size(need_bytes)} were "
        "free; a smaller declared need waits less.",
        waited_s=waited_s,
        need_bytes=need_bytes,
    )


def no_room(waited_s: float, need_bytes: int, room_bytes: int) -> Feedback:
    """The call waited as long as it was allowed to and went ahead all the same."""
    return Feedback(
        code="no-room",
        text=f"After {format_duration(waited_s)} there was still no room for "
        f"{format_size(need_bytes)} ({format_size(room_bytes)} free), so the call went ahead; it "
        "may be slow. Run a smaller part, or wait for the other calls to end.",
        waited_s=waited_s,
        need_bytes=need_bytes,
        room_bytes=room_bytes,
    )


def over_grant(held_bytes: int | None, grant: Grant) -> Feedback:
    """A running call has met its `memory_high` and is being slowed."""
    return Feedback(
        code="over-grant",
        text=f"The call{known(' holds {} and', held_bytes)} has met its grant of "
        f"{format_size(grant.memory_high_bytes)}, so the kernel slows it; declare what it needs "
        "(PATCH its memory_bytes), or run a smaller part.",
        held_bytes=held_bytes,
        granted_bytes=grant.memory_high_bytes,
    )


# --- What else there is to say ---


def _over_grant(account: Account, grant: Grant, ending: Ending) -> Feedback:
    lost_s = throttled_s(account)
    lost = "" if not lost_s else f" and waited {format_duration(lost_s)} for memory"
    words, declare = way_on(account, grant, ending)
    return Feedback(
        code="over-grant",
        text=f"The call met its grant of {format_size(grant.memory_high_bytes)}{lost}. "
        f"{words}{held_back_words(account, ending)}",
        wall_s=account.wall_s,
        throttled_s=lost_s,
        slowed_s=ending.slowed_s or None,
        frozen_s=ending.frozen_s or None,
        delayed_s=delayed_s(account),
        peak_bytes=account.memory_peak_bytes,
        granted_bytes=grant.memory_high_bytes,
        declare_bytes=declare,
        room_bytes=not_negative(ending.room_bytes),
    )


def _held_back(account: Account, ending: Ending) -> Feedback:
    free = known("; {} are free now", ending.room_bytes)
    return Feedback(
        code="held-back",
        text=f"The call took {format_duration(account.wall_s)}.{held_back_words(account, ending)} "
        f"Its own work is not slower; run fewer calls at once, or a smaller part{free}.",
        wall_s=account.wall_s,
        slowed_s=ending.slowed_s or None,
        frozen_s=ending.frozen_s or None,
        delayed_s=delayed_s(account),
        peak_bytes=account.memory_peak_bytes,
        room_bytes=not_negative(ending.room_bytes),
    )


def _loops(account: Account, grant: Grant, ending: Ending) -> Iterator[Feedback]:
    """What repeating the same thing has come to."""
    left, failed = ending.leaving, ending.failed
    grows = _grows(ending)
    stop = (
        f"stop what {left.calls} earlier ones left running first: it holds "
        f"{format_size(left.held_bytes)}"
    )
    if len(failed) >= LOOP_FROM:
        sizes = ", ".join(format_size(size) for size in failed[-3:])
        _, declare = way_on(account, grant, ending)
        ways = ["a smaller part", "fewer workers"]
        if declare is not None:
            ways.append(f"a declared need of {format_size(declare)}")
        yield Feedback(
            code="retry-loop",
            text=f"{len(failed)} {ending.category} calls in a row ran out of memory (at {sizes}); "
            f"the same again will end the same. Change it: {', or '.join(ways)}"
            f"{f'; {stop}' if grows else ''}. The next one runs alone in its session.",
            attempts=len(failed),
            peak_bytes=account.memory_peak_bytes,
            declare_bytes=declare,
            held_bytes=left.held_bytes if grows else None,
        )
    elif grows:
        yield Feedback(
            code="retry-loop",
            text=f"{left.calls} {ending.category} calls have left processes running, and each "
            f"retry leaves more: {format_size(left.held_bytes)} by now. Before the next one, stop "
            "them (a server or watcher that was started in the background?).",
            attempts=left.calls,
            held_bytes=left.held_bytes,
        )


def _grows(ending: Ending) -> bool:
    """Whether each call of the kind leaves more behind."""
    left = ending.leaving
    return left.calls >= LEAVING_FROM and left.held_bytes >= LEAVING_MIN_BYTES


def _lingering(account: Account, ending: Ending) -> Feedback:
    count = ending.lingering_processes
    running = "1 process of the call is" if count == 1 else f"{count} processes of the call are"
    holding = known(" holding {}", account.memory_current_bytes)
    return Feedback(
        code="lingering",
        text=f"{running} still running{holding}; stop what is not wanted, it counts against the "
        "session.",
        processes=count,
        held_bytes=account.memory_current_bytes,
    )


def _ok(account: Account, grant: Grant) -> Feedback:
    peak = known(" at a peak of {}", account.memory_peak_bytes)
    of = known(" of {} granted", grant.memory_high_bytes) if peak else ""
    return Feedback(
        code="ok",
        text=f"Done in {format_duration(account.wall_s)}{peak}{of}.",
        wall_s=account.wall_s,
        peak_bytes=account.memory_peak_bytes,
        granted_bytes=grant.memory_high_bytes,
    )


def _is_over(account: Account, grant: Grant) -> bool:
    """Whether the call met its limit and lost time by it; dropping page cache costs none."""
    if grant.memory_high_bytes is None or not account.memory_high_events:
        return False
    return account.throttled_us is None or account.throttled_us >= SLOWED_MIN_US
