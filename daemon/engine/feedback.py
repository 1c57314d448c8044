# SPDX-License-Identifier: Apache-2.0
"""What an agent is told about a call: a code, what happened in numbers, and a way on.

The texts are made of numbers and fixed words only, so that they hold no control characters,
no part of a command and no secret, and their length is bounded.
"""

from __future__ import annotations

import math
import signal

from agentcg.daemon.engine.model import Ending
from agentcg.daemon.messages import Account, Feedback, Grant
from agentcg.units import format_duration, format_size

MIB = 1 << 20
SLOWED_MIN_US = 100_000  # less is not worth telling
HEADROOM = 1.25  # of the peak, for the need that is proposed


def of_call(account: Account, grant: Grant, ending: Ending) -> list[Feedback]:
    """Everything worth telling about an ended call, the gravest first; never empty."""
    told = []
    if ending.killed is not None:
        told.append(ending.killed)
    elif account.oom_kills or ending.reason == "oom":
        told.append(_oom(account, grant, ending))
    elif ending.exit_status is not None and ending.exit_status > 128:
        told.append(_signal(ending.exit_status - 128, account, ending))
    if _over(account, grant) and not told:
        told.append(_over_grant(account, grant, ending))
    if ending.lingering_processes:
        told.append(_lingering(account, ending))
    return told or [_ok(account, grant)]


def waited(waited_s: float, need_bytes: int) -> Feedback:
    """The call waited and then there was room."""
    return Feedback(
        code="waited",
        text=f"The call waited {format_duration(waited_s)} until {format_size(need_bytes)} were "
        "free; a smaller declared need waits less.",
    )


def no_room(waited_s: float, need_bytes: int, room_bytes: int) -> Feedback:
    """The call waited as long as it was allowed to and went ahead all the same."""
    return Feedback(
        code="no-room",
        text=f"After {format_duration(waited_s)} there was still no room for "
        f"{format_size(need_bytes)} ({format_size(room_bytes)} free), so the call went ahead; it "
        "may be slow. Run a smaller part, or wait for the other calls to end.",
    )


def over_grant(held_bytes: int | None, grant: Grant) -> Feedback:
    """A running call has met its `memory_high` and is being slowed."""
    return Feedback(
        code="over-grant",
        text=f"The call{_known(' holds {} and', held_bytes)} has met its grant of "
        f"{format_size(grant.memory_high_bytes)}, so the kernel slows it; declare what it needs "
        "(PATCH its memory_bytes), or run a smaller part.",
    )


def _oom(account: Account, grant: Grant, ending: Ending) -> Feedback:
    peak = _known(" at {}", account.memory_peak_bytes)
    after = format_duration(account.wall_s)
    limit, whose = grant.memory_max_bytes, "its own limit"
    if limit is None or (account.memory_peak_bytes or 0) < limit * 0.9:
        limit, whose = ending.limit_bytes, "the limit of the session or host"
    of = "" if limit is None else f" ({whose}: {format_size(limit)})"
    return Feedback(
        code="oom-call",
        text=f"The kernel killed the call for memory{peak} after {after}{of}; the call was "
        f"killed, it did not fail by itself. {_way_on(account, grant, ending)}",
    )


def _over_grant(account: Account, grant: Grant, ending: Ending) -> Feedback:
    slowed = account.throttled_us
    lost = "" if not slowed else f" and waited {format_duration(slowed / 1e6)} for memory"
    return Feedback(
        code="over-grant",
        text=f"The call met its grant of {format_size(grant.memory_high_bytes)}{lost}. "
        f"{_way_on(account, grant, ending)}",
    )


def _signal(number: int, account: Account, ending: Ending) -> Feedback:
    after = format_duration(account.wall_s)
    if ending.reason in ("killed", "session-closed"):
        whose = "on request" if ending.reason == "killed" else "because its session was closed"
    else:
        whose = "not by agentcg and not for memory"
    return Feedback(
        code="signal",
        text=f"The call was ended by {_signal_name(number)} after {after}, {whose}"
        f"{_known('; its peak was {}', account.memory_peak_bytes)}.",
    )


def _lingering(account: Account, ending: Ending) -> Feedback:
    count = ending.lingering_processes
    running = "1 process of the call is" if count == 1 else f"{count} processes of the call are"
    holding = _known(" holding {}", account.memory_current_bytes)
    return Feedback(
        code="lingering",
        text=f"{running} still running{holding}; stop what is not wanted, it counts against the "
        "session.",
    )


def _ok(account: Account, grant: Grant) -> Feedback:
    peak = _known(" at a peak of {}", account.memory_peak_bytes)
    of = _known(" of {} granted", grant.memory_high_bytes) if peak else ""
    return Feedback(code="ok", text=f"Done in {format_duration(account.wall_s)}{peak}{of}.")


def _over(account: Account, grant: Grant) -> bool:
    """Whether the call met its limit and lost time by it; dropping page cache costs none."""
    if grant.memory_high_bytes is None or not account.memory_high_events:
        return False
    return account.throttled_us is None or account.throttled_us >= SLOWED_MIN_US


def _way_on(account: Account, grant: Grant, ending: Ending) -> str:
    """What to do about too little memory, with the numbers to do it with."""
    if account.memory_peak_bytes is None:
        return "Run a smaller part, or declare a larger need."
    need = propose(account.memory_peak_bytes)
    bounds = (ending.limit_bytes, grant.memory_max_bytes)  # a declaration lifts neither
    most = min((bound for bound in bounds if bound is not None), default=need)
    if need > most:
        return f"Run a smaller part: such a call cannot have more than {format_size(most)}."
    free = _known("; {} free now", ending.room_bytes)
    return f"Run a smaller part, or declare {format_size(need)}{free}."


def _known(words: str, size_bytes: int | None) -> str:
    """`words` with a size in it, or nothing where it is not known."""
    return "" if size_bytes is None else words.format(format_size(max(size_bytes, 0)))


def propose(peak_bytes: int) -> int:
    """A need to declare after a peak: a quarter more, rounded up to a round number."""
    wanted = peak_bytes * HEADROOM
    step = 16 * MIB if wanted < 512 * MIB else 128 * MIB
    return math.ceil(wanted / step) * step


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"
