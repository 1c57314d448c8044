# SPDX-License-Identifier: Apache-2.0
"""What an agent is told about a call that did not end by itself: by whom, and for what."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from agentcg.daemon.engine.feedback_words import (
    bare_name,
    delayed_s,
    held_back_words,
    known,
    not_negative,
    signal_name,
    throttled_s,
    way_on,
)
from agentcg.daemon.engine.model import Ending
from agentcg.daemon.messages import Account, Feedback, Grant
from agentcg.units import format_duration, format_size

_FAULTS = frozenset({"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"})
_LIMITS = ("SIGXCPU", "SIGXFSZ")
_SIGKILL = 9
LimitMet = Literal["call", "lease", "session", "user", "tenant", "host"]
_NOT_US = "not by agentcg and not for memory"
_BY_REQUEST = {
    "session-closed": ("session", "because its session was closed"),
    "killed": ("caller", "on request"),
}


def is_cut_short(account: Account, ending: Ending) -> bool:
    """Whether something other than the program's own exit ended the call."""
    if ending.killed is not None or account.oom_kills or ending.reason == "oom":
        return True
    return ending.cancelled or _signal_of(ending) is not None


def _signal_of(ending: Ending) -> int | None:
    status = ending.exit_status
    return status - 128 if status is not None and status > 128 else None


def ending_of(account: Account, grant: Grant, ending: Ending) -> Feedback:
    """What ended a call that was cut short."""
    if ending.killed is not None:
        told = _killed(ending.killed, account, ending)
    elif account.oom_kills or ending.reason == "oom":
        told = _oom(account, grant, ending)
    else:
        told = _stopped(account, ending)
    return replace(
        told,
        wall_s=account.wall_s,
        peak_bytes=account.memory_peak_bytes,
        room_bytes=not_negative(ending.room_bytes),
        throttled_s=throttled_s(account),
        slowed_s=ending.slowed_s or None,
        frozen_s=ending.frozen_s or None,
        delayed_s=delayed_s(account),
        signal=_signal_of(ending),
    )


def _killed(told: Feedback, account: Account, ending: Ending) -> Feedback:
    """By the ladder, which has said why; what is free by now is added."""
    free = known(" {} are free now.", ending.room_bytes)
    return replace(told, text=f"{told.text}{held_back_words(account, ending)}{free}", by="agentcg")


def _oom(account: Account, grant: Grant, ending: Ending) -> Feedback:
    peak = known(" at {}", account.memory_peak_bytes)
    after = format_duration(account.wall_s)
    limit, whose = _limit_met(account.memory_peak_bytes or 0, grant, ending)
    if limit is None:
        of = ""
    elif whose == "lease":
        of = f" (it grew faster than room was found for it: it had {format_size(limit)} then)"
    else:
        of = f" (the {whose}'s limit: {format_size(limit)})"
    status = " (exit status 137)" if _signal_of(ending) == _SIGKILL else ""
    words, declare = way_on(account, grant, ending)
    return Feedback(
        code="oom-call",
        text=f"The kernel killed the call for memory{peak} after {after}{of}; the call was killed"
        f"{status}, its work did not fail by itself. {words}",
        by="kernel",
        limit_bytes=limit,
        limit_of=whose,
        granted_bytes=grant.memory_high_bytes,
        declare_bytes=declare,
    )


def _limit_met(peak_bytes: int, grant: Grant, ending: Ending) -> tuple[int | None, LimitMet | None]:
    """Which limit the kernel killed at: the innermost that the call came near."""
    inner: list[tuple[int | None, LimitMet]] = [
        (grant.memory_max_bytes, "call"), (ending.lease_bytes, "lease")
    ]  # fmt: skip
    for limit, whose in inner:
        if limit is not None and peak_bytes >= limit * 0.9:
            return limit, whose
    if ending.limit_bytes is None:
        return None, None
    return ending.limit_bytes, ending.limit_of


def _stopped(account: Account, ending: Ending) -> Feedback:
    """By a signal, or by its caller; not for memory."""
    after = format_duration(account.wall_s)
    number = _signal_of(ending)
    by, whose = _whose_signal(number, ending)
    what = "was ended" if number is None else f"was ended by {signal_name(number)}"
    peak = known("; its peak was {}", account.memory_peak_bytes)
    return Feedback(code="signal", text=f"The call {what} after {after}, {whose}{peak}.", by=by)  # type: ignore[arg-type]


def _whose_signal(number: int | None, ending: Ending) -> tuple[str, str]:
    """Who sent it, as far as that can be known, and in words what follows."""
    if ending.reason in _BY_REQUEST:
        return _BY_REQUEST[ending.reason]
    if ending.cancelled:
        return "caller", "by its own caller (interrupted, or out of time), not for memory"
    name = bare_name(number)
    if name in _FAULTS:
        return "call", f"a fault of the program itself, {_NOT_US}"
    if name in _LIMITS:
        return "call", f"a resource limit of the process (ulimit), {_NOT_US}"
    others = ": by a user or another program (a time-out?)" if name == "SIGKILL" else ""
    return "unknown", f"{_NOT_US}{others}"
